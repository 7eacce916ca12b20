#!/bin/bash
# SPDX-License-Identifier: MIT
# Debian 12 with systemd from a virtio disk to its login: ssh through a forwarded port, a file
# written, a clean power-off; the file is there at the next boot, where root logs in at the console.
. "$(dirname "$0")/lib.sh"
use_kernel
debian=$("$root/tools/disk-image.sh")
cp --sparse=always "$debian/disk.img" "$dir/disk.img"
install -m 600 "$debian/ssh_key" "$dir/ssh_key"
port=$(free_port)

boot() {
	start --kernel "$vmlinuz" --initrd "$debian/initrd.img" --memory 1G --rng on \
		--append "console=ttyS0 quiet panic=-1" --disk "$dir/disk.img" \
		--net "user,hostfwd=tcp:127.0.0.1:$port-:22"
	wait_for 'nestbox login:' 240
	local left=60
	until in_guest true 2>"$dir/ssh.log"; do
		left=$((left - 1))
		[ $left -gt 0 ] || fail "no ssh: $(tail -n 3 "$dir/ssh.log")"
		sleep 1
	done
}

in_guest() {
	timeout 60 ssh -p "$port" -i "$dir/ssh_key" -o BatchMode=yes -o ConnectTimeout=30 \
		-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR \
		root@127.0.0.1 "$@"
}

power_off() {
	in_guest systemctl poweroff || true
	finish 120
	expect_status 0 "a clean power-off"
	expect 'Power down' "the kernel did not say that it powers down"
	! grep -aqE 'Kernel panic|BUG:|Oops' "$log" || fail "the kernel complains"
}

boot
text="written at $(date)"
in_guest "cat >/root/note && sync" <<<"$text"
# Enough to fill the network's buffers in both directions
head -c 20000000 /dev/urandom >"$dir/data"
in_guest "cat >/root/data" <"$dir/data"
in_guest "cat /root/data" >"$dir/back"
cmp "$dir/data" "$dir/back" || fail "20 MB came back changed"
failed=$(in_guest systemctl --failed --no-legend || true)
[ -z "$failed" ] || fail "units failed: $failed"
[ "$(in_guest "head -c 64 /dev/hwrng | wc -c")" = 64 ] || fail "nothing from the virtio rng"
power_off

boot
[ "$(in_guest cat /root/note)" = "$text" ] || fail "the file is not as it was written"
in_guest "cat /root/data" | cmp - "$dir/data" || fail "the large file is not as it was written"
printf 'root\r' >&7
wait_for 'Password:' 60
printf 'nestbox\r' >&7
wait_for 'root@nestbox:~#' 60
printf 'echo console $((6 * 7))\r' >&7
wait_for 'console 42' 60
power_off
e2fsck -fn "$dir/disk.img" >"$dir/fsck" 2>&1 || fail "the file system: $(tail -n 3 "$dir/fsck")"
pass "Debian 12 boots from a disk, takes ssh, keeps a file over a power-off, logs in at its console"
