#!/bin/bash
# SPDX-License-Identifier: MIT
# The bare-metal guests as L2 on Linux' KVM in L1, with and without nested paging. Left out are those
# that ask for more than KVM gives: branches, interrupts, msrs and most of svm/; legacy wants PDPTEs
# that stay loaded, which nested paging does not promise, and paging a TLB that does not look ahead.
. "$(dirname "$0")/lib.sh"
use_kernel
guests=$(dirname "$nestbox")/tests/guests
[ -e "$guests/selftest.guest" ] || skip "no bare-metal guests beside $nestbox"
program=$(realpath "$nestbox")
tree=$dir/tree
mkdir -p "$tree/guests"
install -m 644 "$guests"/*.guest "$guests"/svm/*.guest "$tree/guests/"
copy_program "$tree" "$program"
both="debug exceptions fpu modes selftest smc strings svm_permission_maps svm_task_switch"
shadow="$both legacy"
nested="$both paging"

make_initrd kvm-amd <<END
# KVM again, with a parameter, then each guest
guests() {
	local name
	rmmod kvm-amd
	insmod /lib/modules/kvm-amd.ko npt=\$1
	shift
	for name; do
		$program run --engine kvm --kernel /guests/\$name.guest --memory 128M --debug-exit --no-reboot \
			--nested-hw-virt amd </dev/null >/tmp/log
		status=\$?
		echo "npt=\$(cat /sys/module/kvm_amd/parameters/npt) \$name: status \$status"
		[ \$status = 33 ] || cat /tmp/log
	done
}
guests 1 $nested
guests 0 $shadow
END

run 300 --kernel "$vmlinuz" --initrd "$dir/initrd.cpio" --memory 1G --nested-hw-virt amd \
	--append "console=ttyS0 quiet"
for name in $nested; do expect "npt=[1Y] $name: status 33"; done
for name in $shadow; do expect "npt=[0N] $name: status 33"; done
expect_status 0 "L1 powered off"
pass "$(wc -w <<<"$nested") bare-metal guests with nested paging and $(wc -w <<<"$shadow") without, as L2"
