#!/bin/bash
# SPDX-License-Identifier: MIT
# Nested VT-x: Debian's kvm_intel finds all that it uses, and L2 boots by Debian's QEMU and by nestbox
# with each part of it in turn switched off by kvm_intel's parameters.
. "$(dirname "$0")/lib.sh"
use_kernel
program=$(realpath "$nestbox")
copy_program "$dir/tree" "$program"

make_initrd kvm-intel <<END
parameter() { cat /sys/module/kvm_intel/parameters/\$1; }
for name in ept vpid unrestricted_guest flexpriority enable_apicv enable_shadow_vmcs preemption_timer pml \\
	eptad nested; do
	echo "L1: \$name \$(parameter \$name)"
done
for parameters in nested=1 ept=0 unrestricted_guest=0 vpid=0 enable_apicv=0; do
	rmmod kvm_intel
	insmod /lib/modules/kvm-intel.ko \$parameters
	echo "L1: with \$parameters, \${parameters%=*} is \$(parameter \${parameters%=*})"
	l2 with=\$parameters </dev/null >/tmp/log 2>&1
	echo "L1: \$parameters: qemu \$?: \$(grep -c 'L2: user space' /tmp/log)"
	$program run --engine kvm --memory 128M --kernel /boot/vmlinuz --initrd /boot/l2.cpio \\
		--append "console=ttyS0 quiet marker=L2" </dev/null >/tmp/log 2>&1
	echo "L1: \$parameters: nestbox \$?: \$(grep -c 'L2: user space' /tmp/log)"
done
dmesg | grep -E 'BUG|WARNING|Call Trace' && echo "L1: the kernel complains"
END
# L1's own tree lies behind that of the nested tests, whose QEMU and L2 it uses
cat "$("$root/tools/l1-initrd.sh")" "$dir/initrd.cpio" >"$dir/l1.cpio"

run 900 --kernel "$vmlinuz" --initrd "$dir/l1.cpio" --memory 1G --nested-hw-virt intel \
	--append "console=ttyS0 quiet panic=-1"
for name in ept vpid unrestricted_guest flexpriority enable_apicv enable_shadow_vmcs preemption_timer pml \
	eptad nested; do
	expect "L1: $name [Y1]" "kvm_intel does not use $name"
done
for parameters in nested=1 ept=0 unrestricted_guest=0 vpid=0 enable_apicv=0; do
	[ $parameters = nested=1 ] || expect "L1: with $parameters, ${parameters%=*} is N"
	expect "L1: $parameters: qemu 0: 1"
	expect "L1: $parameters: nestbox 0: 1"
done
! grep -aq 'the kernel complains' "$log" || fail "L1's kernel complains"
expect_status 0 "L1 powered off"
pass "kvm_intel uses all of VT-x; L2 boots in QEMU and nestbox with each part of it off"
