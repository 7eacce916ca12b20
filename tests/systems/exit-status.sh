#!/bin/bash
# SPDX-License-Identifier: MIT
# How a machine ends is its exit status.
. "$(dirname "$0")/lib.sh"
make_end_guest
guest=$dir/end.guest

run 30 --kernel "$guest" --append d --debug-exit
expect_status 85 "debug exit of 0x2a"
run 30 --kernel "$guest" --append d --debug-exit=0xf4
expect_status 85 "debug exit of 0x2a, with its port"
run 30 --kernel "$guest" --append t --no-reboot
expect_status 3 "triple fault with --no-reboot"
run 30 --kernel "$guest" --append r --no-reboot
expect_status 1 "reset with --no-reboot"

# Another port: the write goes nowhere, the guest spins until it is stopped
start --kernel "$guest" --append d --debug-exit=0x501
sleep 1
kill -TERM "$pid"
finish 20
expect_status 1 "stopped by SIGTERM"

# No --no-reboot: it starts again and again
start --kernel "$guest" --append t
sleep 1
kill -0 "$pid" || fail "a triple fault without --no-reboot ended the machine"
kill -TERM "$pid"
finish 20
expect_status 1 "stopped by SIGTERM"

status=0
"$nestbox" run --help >"$log" 2>&1 || status=$?
expect_status 0 "--help"
pass "power-off, debug exit, triple fault, reset and a stop each have their status"
