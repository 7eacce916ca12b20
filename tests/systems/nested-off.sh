#!/bin/bash
# SPDX-License-Identifier: MIT
# Without --nested-hw-virt the guest finds no virtualization unit.
. "$(dirname "$0")/lib.sh"
use_kernel
make_initrd <<'END'
grep -qwE 'svm|vmx' /proc/cpuinfo && echo "flags: there" || echo "flags: none"
END
for choice in '' off; do
	run 120 --kernel "$vmlinuz" --initrd "$dir/initrd.cpio" --append "console=ttyS0 quiet" \
		${choice:+--nested-hw-virt $choice}
	expect 'flags: none'
	expect_status 0
done
run 120 --kernel "$vmlinuz" --initrd "$dir/initrd.cpio" --append "console=ttyS0 quiet" \
	--nested-hw-virt amd
expect 'flags: there'
pass "no virtualization unit unless asked for"
