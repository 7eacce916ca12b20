#!/bin/bash
# SPDX-License-Identifier: MIT
# --console: Debian's kernel with its own driver. On the terminal the serial port is off; beside it both
# are there; more than the buffers hold comes whole and in order, both ways.
. "$(dirname "$0")/lib.sh"
use_kernel
make_initrd virtio_pci virtio_console <<'END'
exec </dev/hvc0 >/dev/hvc0 2>&1
stty raw -echo
echo "L1: hvc0 is $(cat /sys/class/tty/hvc0/dev)"
head -c 100000 | md5sum | sed 's/^/L1: got /'
seq 1 40000
END
seq 1000001 1012500 >"$dir/sent" # 8 bytes a line
sent=$(md5sum <"$dir/sent" | cut -d ' ' -f 1)

start --kernel "$vmlinuz" --initrd "$dir/initrd.cpio" --append "console=hvc0 quiet" --console stdio
wait_for 'L1: hvc0 is 229:0' 120
cat "$dir/sent" >&7
finish 120
expect "L1: got $sent" "input did not come as it was sent"
expect_status 0
tr -d '\r' <"$log" | grep -axE '[0-9]+' >"$dir/numbers" || true
cmp -s "$dir/numbers" <(seq 1 40000) || fail "output did not come whole: $(wc -l <"$dir/numbers") lines"

make_initrd virtio_pci virtio_console <<'END'
echo "L1: to the serial port"
echo "L1: to the console" >/dev/hvc0
END
run 120 --kernel "$vmlinuz" --initrd "$dir/initrd.cpio" --append "console=ttyS0 quiet" \
	--console "file:$dir/console"
expect_status 0
expect 'L1: to the serial port'
grep -q 'L1: to the console' "$dir/console" || fail "nothing in the file of --console file:"
! grep -q 'L1: to the serial port' "$dir/console" || fail "the serial port's words are in the console's file"
pass "hvc0 on the terminal and in a file"
