#!/bin/bash
# SPDX-License-Identifier: MIT
# The terminal is as it was before after every way out: Ctrl-A X, signals, the guest's own end, and
# a wrong command line.
. "$(dirname "$0")/lib.sh"
command -v script >/dev/null || skip "no script(1)"
make_end_guest

# A shell in a terminal of its own: settings before, the machine, settings after. Not bash: it mends
# the terminal itself after a signal.
cat >"$dir/machine" <<END
echo \$\$ >"$dir/pid"
exec "$nestbox" run --kernel "$dir/end.guest" "\$@"
END
cat >"$dir/session" <<END
stty -a >"$dir/before"
dash "$dir/machine" "\$@"
echo \$? >"$dir/status"
stty -a >"$dir/after"
END

# session APPEND KEYS SIGNAL: what is typed, and the signal that is sent, once the machine runs
session() {
	rm -f "$dir"/{pid,status,after}
	mkfifo "$dir/keys" 2>/dev/null || true
	: >"$log"
	# A background job of a script ignores these two, and what it starts would too
	env --default-signal=INT,QUIT script -qec "dash $dir/session $1" /dev/null <"$dir/keys" >"$log" 2>&1 &
	pid=$!
	started+=("$pid")
	exec 8>"$dir/keys"
	if [ -n "$2$3" ]; then
		wait_for '!' 20
		[ -z "$2" ] || printf "$2" >&8
		[ -z "$3" ] || kill "-$3" "$(cat "$dir/pid")"
	fi
	local left=100
	until [ -s "$dir/after" ]; do
		left=$((left - 1))
		[ $left -gt 0 ] || fail "the machine is still there ($1, $3)"
		sleep 0.2
	done
	exec 8>&-
	finish 20
	cmp -s "$dir/before" "$dir/after" ||
		fail "the terminal has changed ($1, $3): $(diff "$dir/before" "$dir/after" | head -n 4)"
	status=$(cat "$dir/status")
}

session "--append c" '\001x' ''
expect_status 1 "Ctrl-A X"
session "--append c" '\001h\001x' ''
grep -qi 'ctrl-a x' "$log" || fail "no help on Ctrl-A H"
for signal in TERM INT HUP; do
	session "--append c" '' $signal
	expect_status 1 "SIG$signal"
done
for signal in QUIT ABRT SEGV USR1 IO PWR RTMIN RTMAX; do
	session "--append c" '' $signal
	[ "$status" -gt 128 ] || fail "SIG$signal did not end nestbox: $status"
done
session "--append d --debug-exit" '' ''
expect_status 85 "debug exit"
session "--append t --no-reboot" '' ''
expect_status 3 "triple fault"
session "--append d --memroy 1G" '' ''
expect_status 2 "wrong command line"
pass "the terminal is restored after every way out"
