# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# What the system tests share. A test is one script that ends by pass or by fail, each with a
# message; it leaves nothing behind, no process and no file. NESTBOX names the program under test.
# Times are limits for a machine that hangs, far above what a slow host needs.
. "$(dirname "${BASH_SOURCE[0]}")/../../tools/common.sh"

nestbox=${NESTBOX:-$root/build/nestbox}
[ -x "$nestbox" ] || { say "no $nestbox: make, or NESTBOX=FILE"; exit 1; }
dir=$(mktemp -d "${TMPDIR:-/tmp}/nestbox-test.XXXXXX")
log=$dir/log
: >"$log"
started=()

end_test() {
	local pid
	for pid in "${started[@]}"; do
		kill -KILL "$pid" 2>/dev/null || true
	done
	wait 2>/dev/null
	rm -rf "$dir"
}
trap end_test EXIT
trap 'exit 1' INT TERM
trap 'fail "line $LINENO failed: $BASH_COMMAND"' ERR
set -E

pass() {
	echo "pass: $(basename "$0" .sh): $*"
	trap - ERR
	exit 0
}

fail() {
	trap - ERR
	echo "FAIL: $(basename "$0" .sh): $*"
	if [ -s "$log" ]; then
		echo "the last lines of the machine:"
		tail -n 25 "$log" | tr -d '\r' | sed 's/^/	/'
	fi
	exit 1
}

# For what the host lacks, not for what fails.
skip() {
	trap - ERR
	echo "skip: $(basename "$0" .sh): $*"
	exit 77
}

# Starts a machine in the background, on the soft engine unless another is named; what it and
# nestbox print goes to $log. Sets pid. What is written to file descriptor 7 goes to the serial port.
start() {
	[ -p "$dir/in" ] || mkfifo "$dir/in"
	exec 7<>"$dir/in"
	"$nestbox" run --engine soft "$@" <"$dir/in" >"$log" 2>&1 7>&- &
	pid=$!
	started+=("$pid")
}

# Until a line of the log matches, or the machine ends or SECONDS are over: then the test fails.
wait_for() {
	local pattern=$1 left=$(($2 * 5))
	until grep -aqE -- "$pattern" "$log"; do
		if ! kill -0 "$pid" 2>/dev/null; then
			grep -aqE -- "$pattern" "$log" && return
			fail "the machine ended before \"$pattern\""
		fi
		left=$((left - 1))
		[ $left -gt 0 ] || fail "no \"$pattern\" within $2 s"
		sleep 0.2
	done
}

# Waits for the machine's end, at most SECONDS, and puts its exit status into status.
finish() {
	local left=$(($1 * 5))
	while kill -0 "$pid" 2>/dev/null; do
		left=$((left - 1))
		[ $left -gt 0 ] || fail "the machine is still there after $1 s"
		sleep 0.2
	done
	status=0
	wait "$pid" || status=$?
}

# One whole run in the foreground, limited to SECONDS: run SECONDS OPTION... Sets status.
run() {
	local seconds=$1
	shift
	start "$@"
	finish "$seconds"
}

expect_status() {
	[ "$status" = "$1" ] || fail "exit status $status, not $1${2:+: $2}"
}

expect() {
	grep -aqE -- "$1" "$log" || fail "${2:-no \"$1\"}"
}

# The kernel of Debian's package; its directory is in kernel.
use_kernel() {
	kernel=$("$root/tools/kernel.sh")
	vmlinuz=$kernel/vmlinuz
}

# Makes $dir/initrd.cpio: busybox, the modules named, and a script that runs once they are loaded.
# The machine powers off when the script ends. The script comes from standard input.
make_initrd() {
	local tree=$dir/tree module
	mkdir -p "$tree"/{bin,dev,proc,sys,tmp,mnt,lib/modules}
	install "$(command -v busybox)" "$tree/bin/busybox"
	for module in $(modules_of "$kernel" "$@"); do
		install -m 644 "$module" "$tree/lib/modules/"
		echo "/lib/modules/$(basename "$module")" >>"$tree/modules.list"
	done
	touch "$tree/modules.list"
	cat - >"$tree/script"
	cat >"$tree/init" <<-'END'
		#!/bin/busybox sh
		/bin/busybox mount -t proc proc /proc
		/bin/busybox mount -t sysfs sys /sys
		/bin/busybox mount -t devtmpfs dev /dev
		/bin/busybox --install -s /bin
		while read -r module; do insmod "$module"; done </modules.list
		sh /script
		poweroff -f
	END
	chmod +x "$tree/init"
	pack_initrd "$tree" "$dir/initrd.cpio"
}

# Begins anew the tree of an initrd for L1: nestbox, its name in program, and the kernel and these
# files in /boot.
begin_l1_tree() {
	program=$(realpath "$nestbox")
	rm -rf "$dir/tree"
	mkdir -p "$dir/tree/boot"
	install -m 644 "$vmlinuz" "$@" "$dir/tree/boot/"
	copy_program "$dir/tree" "$program"
}

# Makes $dir/end.guest, a machine that ends as the first letter of --append says: see end.S.
make_end_guest() {
	gcc -m32 -c -o "$dir/end.o" "$root/tests/systems/end.S"
	ld -m elf_i386 --no-warn-rwx-segments -N -Ttext=0x100000 -e start -o "$dir/end.guest" "$dir/end.o"
}

# Levels of nestbox inside nestbox: start_levels DEEPEST MIB WORD..., L1 with that much memory; the
# words are tools/initrd/level-init's. In $dir/stamped each line has the host's time before it.
start_levels() {
	local deepest=$1 memory=$2 line
	shift 2
	start --kernel "$vmlinuz" --initrd "$("$root/tools/level-initrd.sh" "$nestbox")" \
		--memory "${memory}M" --nested-hw-virt amd --serial stdio \
		--append "console=ttyS0 quiet panic=-1 level=1 deepest=$deepest $*"
	tail -f -n +1 --pid="$pid" "$log" 2>/dev/null |
		while IFS= read -r line; do printf '%s %s\n' "$EPOCHREALTIME" "$line"; done >"$dir/stamped" &
	started+=($!)
}

# Whether the clocks of a level, told in $dir/stamped, went as fast as the host's, within MS
# milliseconds from the first half of the samples to the second, and its calendar is right. A line may
# come late but not early, so that of each half the promptest counts: check_clock LEVEL MS.
check_clock() {
	local verdict
	verdict=$(awk -v level="L$1:" -v bound="$2" '
		$2 == level && $3 == "clock" && NF == 5 {
			n++; host[n] = $1; up[n] = $4 - $1
			if (n == 1 || $5 - $1 > date) date = $5 - $1
		}
		END {
			if (n < 10) { print "only", n + 0, "samples"; exit }
			for (i = 1; i <= n; i++) {
				half = host[i] - host[1] < (host[n] - host[1]) / 2 ? 1 : 2
				if (!(half in best) || up[i] > best[half]) best[half] = up[i]
			}
			drift = (best[2] - best[1]) * 1000
			print (drift < bound && drift > -bound && date > -3 && date < 2 ? "good" : "bad"), \
				"drift", int(drift), "ms of", int(host[n] - host[1]), "s, calendar off by", date, "s"
		}' <(tr -d '\r' <"$dir/stamped"))
	echo "the clock of L$1: $verdict"
	[[ $verdict == good* ]] || fail "the clock of L$1: $verdict"
}

# A TCP port of the host that nobody listens on now.
free_port() {
	local port
	for port in $(shuf -i 20000-32000 -n 50); do
		if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			echo "$port"
			return
		fi
	done
	fail "no free port"
}

# Puts into private what runs a command with mounts of its own, as root of a namespace; empty
# where that is not to be had.
use_private_mounts() {
	private=(unshare --mount)
	[ "$(id -u)" = 0 ] || private=(unshare --map-root-user --mount)
	"${private[@]}" true 2>/dev/null || private=()
}
