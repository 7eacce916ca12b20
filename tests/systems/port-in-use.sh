#!/bin/bash
# SPDX-License-Identifier: MIT
# A forwarded port that something else listens on: exit 2 and one line that names the option.
. "$(dirname "$0")/lib.sh"
make_end_guest
port=$(free_port)

start --kernel "$dir/end.guest" --append c --net "user,hostfwd=tcp:127.0.0.1:$port-:22"
wait_for '!' 20
status=0
"$nestbox" run --kernel "$dir/end.guest" --append d --debug-exit \
	--net "user,hostfwd=tcp:127.0.0.1:$port-:22" </dev/null >"$dir/second" 2>&1 || status=$?
expect_status 2 "the port is in use"
[ "$(wc -l <"$dir/second")" = 1 ] || fail "not one line: $(cat "$dir/second")"
grep -q -- '--net' "$dir/second" || fail "--net is not named: $(cat "$dir/second")"
grep -q "$port" "$dir/second" || fail "the port is not named: $(cat "$dir/second")"
kill -TERM "$pid"
finish 20
run 30 --kernel "$dir/end.guest" --append d --debug-exit \
	--net "user,hostfwd=tcp:127.0.0.1:$port-:22"
expect_status 85 "the port is free again"
pass "a port in use is told before anything starts"
