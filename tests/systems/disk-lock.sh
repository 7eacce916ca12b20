#!/bin/bash
# SPDX-License-Identifier: MIT
# A disk that another machine has: exit 2 and one line that says so. Two may read the same disk.
. "$(dirname "$0")/lib.sh"
make_end_guest
truncate -s 1M "$dir/disk"

second() {
	status=0
	"$nestbox" run --kernel "$dir/end.guest" --append d --debug-exit --disk "$1" \
		</dev/null >"$dir/second" 2>&1 || status=$?
}

start --kernel "$dir/end.guest" --append c --disk "$dir/disk"
wait_for '!' 20
for disk in "$dir/disk" "$dir/disk,readonly"; do
	second "$disk"
	expect_status 2 "$disk is another's"
	[ "$(wc -l <"$dir/second")" = 1 ] || fail "not one line: $(cat "$dir/second")"
	grep -q -- '--disk' "$dir/second" || fail "--disk is not named: $(cat "$dir/second")"
done
kill -TERM "$pid"
finish 20
second "$dir/disk"
expect_status 85 "the disk is free again"

start --kernel "$dir/end.guest" --append c --disk "$dir/disk,readonly"
wait_for '!' 20
second "$dir/disk,readonly"
expect_status 85 "both only read"
second "$dir/disk"
expect_status 2 "a reader is there"
kill -TERM "$pid"
finish 20
pass "a disk has one machine that writes, or several that read"
