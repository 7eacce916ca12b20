#!/bin/bash
# SPDX-License-Identifier: MIT
# Memory above 4 GiB: the guest sees it and uses it on both sides of the PCI hole.
. "$(dirname "$0")/lib.sh"
use_kernel
# 4 GiB of the guest's 5 are filled
available=$(awk '/MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
[ "$available" -gt 6000 ] || skip "the host has $available MiB of free memory"
mkdir -p "$dir/tree"
gcc -O2 -static -o "$dir/tree/fill" "$root/tests/systems/fill.c"
make_initrd <<'END'
echo "guest: total $(awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo) MiB"
dmesg | grep 'BIOS-e820'
/fill 4400 && echo "guest: filled"
END
run 300 --kernel "$vmlinuz" --initrd "$dir/initrd.cpio" --append "console=ttyS0 quiet panic=-1" --memory 5G
expect 'guest: filled'
expect_status 0
total=$(sed -n 's/.*guest: total \([0-9]*\) MiB.*/\1/p' "$log")
[ "${total:-0}" -gt 4700 ] || fail "the guest sees $total MiB of 5 GiB"
expect 'BIOS-e820.*0x0000000100000000-' "no RAM above 4 GiB in the guest's map"
pass "5 GiB: the guest sees $total MiB and fills them"
