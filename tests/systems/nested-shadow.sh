#!/bin/bash
# SPDX-License-Identifier: MIT
# Debian's KVM and QEMU run L2 by shadow paging.
. "$(dirname "$0")/lib.sh"
use_kernel
initrd=$("$root/tools/l1-initrd.sh")

run 300 --kernel "$vmlinuz" --initrd "$initrd" --memory 1G --nested-hw-virt amd \
	--append "console=ttyS0 quiet panic=-1 npt=0"
expect 'L1: user space after'
expect 'L2: user space after'
expect 'L1: L2 ended with status 0'
expect_status 0 "L1 powered off"
pass "L2 reaches user space with npt=0"
