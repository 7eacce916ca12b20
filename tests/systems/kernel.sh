#!/bin/bash
# SPDX-License-Identifier: MIT
# Debian's kernel to its user space and to a power-off; output by the serial port to a file too.
. "$(dirname "$0")/lib.sh"
use_kernel
initrd=$("$root/tools/tiny-initrd.sh")

run 120 --kernel "$vmlinuz" --initrd "$initrd" --append "console=ttyS0 quiet panic=-1 marker=L1"
expect 'L1: user space after'
expect 'L1: off'
expect_status 0 "the guest powered off"

run 120 --kernel "$vmlinuz" --initrd "$initrd" --append "console=ttyS0 quiet marker=again" \
	--serial "file:$dir/serial"
grep -q 'again: user space after' "$dir/serial" || fail "nothing in the file of --serial file:"
expect_status 0 "the guest powered off"
pass "Debian's kernel reaches user space and powers off"
