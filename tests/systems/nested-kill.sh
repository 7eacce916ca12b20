#!/bin/bash
# SPDX-License-Identifier: MIT
# L1 stays up, and can start another L2, when L2's QEMU is killed while L2 runs.
. "$(dirname "$0")/lib.sh"
use_kernel
initrd=$("$root/tools/l1-initrd.sh")

run 400 --kernel "$vmlinuz" --initrd "$initrd" --memory 1G --nested-hw-virt amd \
	--append "console=ttyS0 quiet panic=-1 kill"
expect 'L1: killed L2'
expect 'L2: user space after' "no other L2 came up after the kill"
expect 'L1: L2 ended with status 0'
expect_status 0 "L1 powered off"
pass "L1 stays up while L2's QEMU is killed, and runs another L2"
