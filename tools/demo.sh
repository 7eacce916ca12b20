#!/bin/bash
# SPDX-License-Identifier: MIT
# Shows what nestbox is for: a virtual machine inside a virtual machine, without any help of the
# host's hardware. Installs what it needs, builds, fetches Debian's kernel, and tells what happens.
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

if [ -t 1 ]; then bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'; else bold='' dim='' plain=''; fi
tell() { printf '%s%s%s\n' "$bold" "$*" "$plain"; }

tell "Preparing: packages, build, Debian's kernel (the first time takes a few minutes)"
"$root/tools/setup.sh" demo
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! make -s -C "$root" >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	fail "it does not build"
fi
kernel=$("$root/tools/kernel.sh")
initrd=$("$root/tools/l1-initrd.sh")
version=$(basename "$(readlink -f "$kernel/vmlinuz")")
version=${version#vmlinuz-}

if grep -qwE 'svm|vmx' /proc/cpuinfo; then hardware=yes; else hardware=no; fi
cat <<END

  L0  this machine: Linux $(uname -r), $(grep -m 1 'model name' /proc/cpuinfo | sed 's/.*: //')
      virtualization hardware: $hardware; nestbox does not use it
      and runs as uid $(id -u), no kernel module
   └─ L1  Debian's kernel $version in nestbox,
          whose processor has AMD-V: nestbox makes it in software
       └─ L2  the same kernel in Debian's own QEMU and KVM, unchanged

END

start=$EPOCHREALTIME
since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'; }
passed() { printf '%s%6s s%s  ' "$dim" "$(since "$start")" "$plain"; }

command=("$root/build/nestbox" run --engine soft --kernel "$kernel/vmlinuz" --initrd "$initrd"
	--memory 1G --nested-hw-virt amd --append "console=ttyS0 quiet panic=-1 demo")
passed
echo "nestbox run --kernel vmlinuz --initrd l1.cpio --memory 1G --nested-hw-virt amd"
while IFS= read -r line; do
	line=${line%$'\r'}
	case $line in
	"L1: user space"*)
		l1=$(since "$start")
		passed && tell "L1 is in user space"
		;;
	"L1: CPU "*)
		passed && echo "L1 sees: ${line#L1: CPU }"
		;;
	"L1: starting L2"*)
		l2_start=$EPOCHREALTIME
		passed && echo "L1 has loaded kvm_amd and starts QEMU: qemu-system-x86_64 -accel kvm -cpu host"
		;;
	"L2: user space"*)
		l2=$(since "$l2_start")
		passed && tell "L2 is in user space, inside L1"
		;;
	"L2: CPU "*)
		passed && echo "L2 sees: ${line#L2: CPU }"
		;;
	"L2: off"*) passed && echo "L2 powers off" ;;
	"L1: L2 ended with status 0"*) ended=yes && passed && echo "L1 sees its QEMU end" ;;
	"L1: off"*) passed && echo "L1 powers off" ;;
	*"reboot: Power down"*) ;;
	*) printf '%s          %s%s\n' "$dim" "$line" "$plain" ;;
	esac
done < <("${command[@]}" </dev/null 2>&1)

echo
if [ -z "${l1:-}" ] || [ -z "${l2:-}" ] || [ -z "${ended:-}" ]; then
	fail "this should have gone further; please report it with what is above"
fi
tell "L1 took $l1 s to its user space, L2 $l2 s more."
cat <<END
Try it yourself, with a shell in L1 (Ctrl-A X quits):

    build/nestbox run --kernel $kernel/vmlinuz \\
        --initrd $initrd --memory 1G --nested-hw-virt amd \\
        --append "console=ttyS0 quiet shell"
END
