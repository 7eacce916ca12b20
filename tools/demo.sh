#!/bin/bash
# SPDX-License-Identifier: MIT
# Shows what nestbox is for: virtual machines inside virtual machines, without any help of the host's
# hardware. Installs what it needs, builds, fetches Debian's kernel, and tells what happens. First
# Debian's own QEMU and KVM run an L2, then nestbox runs in nestbox in nestbox.
#   DEPTH   the deepest level of nestbox in nestbox, 2 to 6 (3)
#   NESTED  the virtualization unit that CPUs get: amd or intel (amd)
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

depth=${DEPTH:-3} nested=${NESTED:-amd}
bad() {
	say "make demo: $*"
	exit 2
}
[[ $depth =~ ^[2-6]$ ]] || bad "DEPTH=$depth: give a number from 2 to 6"
[[ $nested =~ ^(amd|intel)$ ]] || bad "NESTED=$nested: give amd or intel"

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi
tell() { printf '%s%s%s\n' "$bold" "$*" "$plain"; }

tell "Preparing: packages, build, Debian's kernel (the first time takes a few minutes)"
"$root/tools/setup.sh" demo
build_log=$(mktemp)
machine=$(mktemp -d)
trap 'rm -rf "$build_log" "$machine"' EXIT
if ! make -s -C "$root" >"$build_log" 2>&1; then
	tail -n 20 "$build_log" >&2
	fail "it does not build"
fi
nestbox=$root/build/nestbox
kernel=$("$root/tools/kernel.sh")
# The one that is carried inwards: a single small file, if the parts of it are to be had
carried=$root/build-minimal/nestbox
if ! make -s -C "$root" minimal >"$build_log" 2>&1; then
	say "make minimal does not work here, so build/nestbox and its libraries go inwards"
	carried=$nestbox
fi
cat "$("$root/tools/l1-initrd.sh")" "$("$root/tools/level-initrd.sh" "$carried")" >"$machine/initrd"
version=$(basename "$(readlink -f "$kernel/vmlinuz")")
version=${version#vmlinuz-}

# ---- who will run where ----

if grep -qwE 'svm|vmx' /proc/cpuinfo; then hardware=yes; else hardware=no; fi
[ "$nested" = amd ] && unit=AMD-V || unit=VT-x
cat <<END

  L0  this machine: Linux $(uname -r), $(grep -m 1 'model name' /proc/cpuinfo | sed 's/.*: //')
      virtualization hardware: $hardware; nestbox does not use it
      and runs as uid $(id -u), no kernel module
   └─ L1  Debian's kernel $version in nestbox,
          whose processor has $unit: nestbox makes it in software
       ├─ L2  the same kernel in Debian's own QEMU and KVM, unchanged
       └─ L2  the same kernel in nestbox, which uses L1's KVM
END
indent='           '
for ((level = 3; level <= depth; level++)); do
	echo "$indent└─ L$level  and in nestbox again"
	indent+='    '
done
echo

# ---- running ----

start=$EPOCHREALTIME
since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'; }
passed() { printf '%s%6s s%s  ' "$dim" "$(since "$start")" "$plain"; }
declare -A begun took engine flags cpu ended
engine[L1]="nestbox, soft" begun[L1]=$start
row=L1 # of the level that is starting: L2q is the one in QEMU
rows=(L1)

# Each level tells what it is by lines "Ln: ..."
hear() {
	local line=$1 level=${1%%:*} text=${1#*: }
	[ "$level $row" != "L2 L2q" ] || level=L2q
	case $line in
	L[1-9]": user space after "*)
		took[$level]=$(since "${begun[$level]}")
		passed && tell "${line%%:*} is in user space, ${took[$level]} s after it was started"
		;;
	L[1-9]": CPU "*)
		cpu[$level]=${text#CPU }
		passed && echo "${line%%:*} sees the CPU \"${cpu[$level]%, *}\" and the hypervisor ${cpu[$level]##* }"
		;;
	L[1-9]": flags "*)
		flags[$level]=${text#flags }
		passed && echo "${line%%:*} sees of virtualization: ${flags[$level]}"
		;;
	L[1-9]": starting L"*)
		row=${text#starting } row=${row%% *}
		passed && echo "$level starts $row in ${text##* }"
		if [[ $text == *QEMU ]]; then
			row=L2q engine[L2q]="Debian's QEMU, KVM" flags[L2q]="not asked for"
		fi
		rows+=("$row")
		begun[$row]=$EPOCHREALTIME
		;;
	"nestbox (L"*"): engine "*)
		engine[$row]=${line#*: engine } engine[$row]="nestbox, ${engine[$row]%%:*}"
		passed && echo "its nestbox says: ${line#*: }"
		;;
	L[1-9]": L"[2-9]" ended with status "*)
		ended[$row]=${line##* }
		passed && echo "$level sees it end with status ${line##* }"
		if [ "$row" = L2q ]; then row=L1; else row=$level; fi
		;;
	L[1-9]": off") passed && echo "${level%q} powers off" ;;
	*"reboot: Power down"*) ;;
	*) printf '%s          %s%s\n' "$dim" "$line" "$plain" ;;
	esac
}

memory=$((600 + 200 * (depth - 1)))M
passed
echo "nestbox run --kernel vmlinuz --initrd level.cpio --memory $memory --nested-hw-virt $nested"
while IFS= read -r line; do
	hear "${line//$'\r'/}" # each level's terminal adds one
done < <("$nestbox" run --engine soft --kernel "$kernel/vmlinuz" --initrd "$machine/initrd" \
	--memory "$memory" --nested-hw-virt "$nested" \
	--append "console=ttyS0 quiet panic=-1 level=1 deepest=$depth qemu" </dev/null 2>&1)

# ---- what came of it ----

echo
tell "$(printf '%-6s %-20s %-10s %s' level "runs in" "boot, s" "virtualization that its processor shows")"
for row in "${rows[@]}"; do
	shown=${flags[$row]:--}
	[ ${#shown} -le 50 ] || shown="${shown:0:46} ..."
	printf '%-6s %-20s %-10s %s\n' "${row%q}" "${engine[$row]:--}" "${took[$row]:--}" "$shown"
done
echo
for row in L2q $(seq -f L%g 2 "$depth"); do
	[ "${ended[$row]:-}" = 0 ] || fail "${row%q} should have come up and ended well; please report it with what is above"
done
cp "$machine/initrd" "$cache/demo.cpio.new" && mv "$cache/demo.cpio.new" "$cache/demo.cpio"
cat <<END
Try it yourself, with a shell in L1 (Ctrl-A X quits); there, l2 starts an L2 in QEMU, and nestbox is
installed too:

    build/nestbox run --kernel $kernel/vmlinuz \\
        --initrd $cache/demo.cpio --memory 1G --nested-hw-virt $nested \\
        --append "console=ttyS0 quiet level=1 shell"
END
