#!/bin/bash
# SPDX-License-Identifier: MIT
# SIGTERM, SIGINT and SIGHUP stop a machine whatever its guest does.
. "$(dirname "$0")/lib.sh"
make_end_guest

for signal in TERM INT HUP; do
	for guest in s h c; do
		start --kernel "$dir/end.guest" --append $guest
		[ $guest != c ] || wait_for '!' 20
		sleep 0.5
		kill -0 "$pid" 2>/dev/null || fail "guest $guest ended by itself"
		kill -$signal "$pid"
		finish 20
		expect_status 1 "SIG$signal, guest $guest"
	done
done
pass "signals stop a machine that spins, halts or prints"
