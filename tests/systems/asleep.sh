#!/bin/bash
# SPDX-License-Identifier: MIT
# --stats tells the time that a machine slept from the time it ran.
. "$(dirname "$0")/lib.sh"
make_end_guest
guest=$dir/end.guest

seconds() {
	sed -n "s/^  seconds $1 *\([0-9]*\)\.[0-9]*$/\1/p" "$log"
}

start --kernel "$guest" --append h --stats
sleep 3
kill -TERM "$pid"
finish 20
expect_status 1 "stopped by SIGTERM"
[ "$(seconds asleep)" -ge 1 ] || fail "a halted machine was not asleep"
[ "$(seconds 'in level 1')" -eq 0 ] || fail "a halted machine ran"

start --kernel "$guest" --append s --stats
sleep 3
kill -TERM "$pid"
finish 20
[ "$(seconds asleep)" -eq 0 ] || fail "a machine that spins slept"
[ "$(seconds 'in level 1')" -ge 1 ] || fail "a machine that spins did not run"
grep -q '^  blocks  *[1-9]' "$log" || fail "no block was counted"
pass "seconds asleep and in level 1 are told apart"
