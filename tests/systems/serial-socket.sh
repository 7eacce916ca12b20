#!/bin/bash
# SPDX-License-Identifier: MIT
# --serial unix:PATH: a client talks with the guest, leaves, and another one goes on; the socket goes
# with the machine, and a file that is there already stays.
. "$(dirname "$0")/lib.sh"
use_kernel
gcc -O2 -o "$dir/client" "$root/tests/systems/client.c"
make_initrd <<'END'
while read -r word; do
	echo "guest: read $word"
	[ "$word" != end ] || exit
done </dev/ttyS0
END

talk() {
	mkfifo "$dir/keys" 2>/dev/null || true
	"$dir/client" "$dir/serial" <"$dir/keys" >>"$dir/heard" &
	client=$!
	started+=("$client")
	exec 8>"$dir/keys"
}

hear() {
	local left=300
	until grep -aq "$1" "$dir/heard"; do
		left=$((left - 1))
		[ $left -gt 0 ] || fail "no \"$1\" from the socket: $(tail -n 3 "$dir/heard")"
		sleep 0.2
	done
}

: >"$dir/heard"
start --kernel "$vmlinuz" --initrd "$dir/initrd.cpio" --append "console=ttyS0 quiet" \
	--serial "unix:$dir/serial"
left=100
until [ -S "$dir/serial" ]; do
	left=$((left - 1))
	[ $left -gt 0 ] || fail "no socket"
	sleep 0.1
done
talk
# Until the guest reads, what it is sent waits
printf 'one\n' >&8
hear 'guest: read one'
exec 8>&-
kill "$client"
wait "$client" 2>/dev/null || true
talk
printf 'two\nend\n' >&8
hear 'guest: read end'
finish 60
expect_status 0
[ ! -e "$dir/serial" ] || fail "the socket is still there"

echo precious >"$dir/file"
run 30 --kernel "$vmlinuz" --serial "unix:$dir/file"
expect_status 2 "the path is a file"
grep -q precious "$dir/file" || fail "the file that was there is gone"
pass "clients of the serial socket come and go"
