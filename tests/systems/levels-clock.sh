#!/bin/bash
# SPDX-License-Identifier: MIT
# True time at every level: the clocks of L1, L2 and L3 against the host's for half a minute. The bound
# is for wrong clocks, not for small errors: what a busy host delays is no fault.
. "$(dirname "$0")/lib.sh"
use_kernel
start_levels 3 800 clock=30
finish 900
expect_status 0 "L1 powered off"
for level in 1 2 3; do
	check_clock $level 1500
done
pass "L1, L2 and L3 keep the host's time"
