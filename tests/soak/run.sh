#!/bin/bash
# SPDX-License-Identifier: MIT
# The long test, outside CI: a tiny L2 started and stopped a thousand times by nested and by shadow
# paging, then an hour in which L1
# runs one L2 after another under load. The memory of the process must be flat at the end.
#   run.sh [--starts N] [--minutes N] [--npt 0|1]
# NESTBOX names the program.
. "$(dirname "$0")/../systems/lib.sh"

starts=1000 minutes=60 npt=1
while [ $# -gt 0 ]; do
	case $1 in
	--starts) starts=$2 ;;
	--minutes) minutes=$2 ;;
	--npt) npt=$2 ;;
	*) fail "run.sh [--starts N] [--minutes N] [--npt 0|1]" ;;
	esac
	shift 2
done
use_kernel

# KiB that the process has resident, guest RAM apart: anonymous memory and what is in its files
resident() {
	awk '/^[0-9a-f]+-[0-9a-f]+ / { name = $6 }
		/^Pss:/ && name !~ /memfd:nestbox-(ram|code)/ { sum += $2 }
		END { print sum + 0 }' "/proc/$pid/smaps"
}

descriptors() { find "/proc/$pid/fd" -mindepth 1 2>/dev/null | wc -l; }

# flat NAME BEFORE AFTER SLACK
flat() {
	echo "soak: $1: $2 early, $3 at the end"
	[ "$3" -le $(($2 + $4)) ] || fail "$1 grew from $2 to $3"
}

# A thousand starts of the tiny hypervisor
mkdir -p "$dir/tree"
gcc -O2 -Wall -Wextra -static -o "$dir/tree/tiny_vm" "$root/tests/soak/tiny_vm.c"
make_initrd kvm-amd <<END
/tiny_vm 20 && echo "guest: warm"
sleep 2
/tiny_vm $starts && echo "guest: nested paging done"
rmmod kvm_amd && insmod /lib/modules/kvm-amd.ko npt=0
/tiny_vm $starts && echo "guest: shadow paging done"
sleep 5
END
start --kernel "$vmlinuz" --initrd "$dir/initrd.cpio" --memory 512M --nested-hw-virt amd \
	--append "console=ttyS0 quiet panic=-1"
wait_for 'guest: warm' 300
sleep 1
early=$(resident) early_descriptors=$(descriptors)
wait_for 'guest: shadow paging done' $((120 + starts * 20))
flat "KiB beside guest RAM" "$early" "$(resident)" 4096
flat "descriptors" "$early_descriptors" "$(descriptors)" 0
finish 120
expect_status 0
echo "soak: a tiny L2 started and stopped $starts times with npt=1 and npt=0 each"

[ "$minutes" -gt 0 ] || pass "$starts starts"

# The nested load, one L2 after another
initrd=$("$root/tools/l1-initrd.sh")
start --kernel "$vmlinuz" --initrd "$initrd" --memory 1G --nested-hw-virt amd \
	--append "console=ttyS0 quiet panic=-1 npt=$npt soak=1000000 work"
end=$((SECONDS + minutes * 60))
samples=()
rounds() { grep -ac 'L1: L2 ended with status 0' "$log" || true; }
while [ $SECONDS -lt $end ]; do
	kill -0 "$pid" 2>/dev/null || fail "L1 ended after $(rounds) rounds"
	! grep -aqE 'L1: L2 ended with status [1-9]|Kernel panic|BUG:|Oops|soft lockup|Call Trace' "$log" ||
		fail "something went wrong in round $(rounds)"
	[ "$(rounds)" -lt 2 ] || samples+=("$(resident)")
	sleep 5
done
[ ${#samples[@]} -ge 10 ] || fail "only $(rounds) rounds: give more --minutes"
# The second half must not lie above the first
half=$((${#samples[@]} / 2))
first=$(printf '%s\n' "${samples[@]:0:half}" | sort -n | tail -n 1)
second=$(printf '%s\n' "${samples[@]:half}" | sort -n | tail -n 1)
flat "KiB beside guest RAM, most of a half" "$first" "$second" 4096
flat "descriptors" "$early_descriptors" "$(descriptors)" 0
done=$(rounds)
kill -TERM "$pid"
finish 60
expect_status 1 "stopped"
pass "$starts starts of a tiny L2; $done L2s in $minutes minutes; memory is flat"
