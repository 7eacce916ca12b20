#!/bin/bash
# SPDX-License-Identifier: MIT
# --stats at the end: counts of the engine, exits by reason and level, seconds in each level.
. "$(dirname "$0")/lib.sh"
use_kernel
initrd=$("$root/tools/l1-initrd.sh")
run 300 --kernel "$vmlinuz" --initrd "$initrd" --memory 1G --nested-hw-virt amd --stats \
	--append "console=ttyS0 quiet panic=-1"
expect_status 0
for words in 'instructions translated' 'blocks' 'TLB fills' 'level 1 .*[1-9]' 'level 2 .*[1-9]' 'L2 to L1 NPF'; do
	grep -aqiE -- "$words" "$log" || fail "--stats does not tell \"$words\""
done
pass "--stats tells translations, TLB fills, exits and the seconds of each level"
