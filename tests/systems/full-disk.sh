#!/bin/bash
# SPDX-License-Identifier: MIT
# The host's disk fills under a running machine, or the image comes to the limit of files' size: an
# I/O error in the guest, not a crash; what the guest had flushed before is on the disk.
. "$(dirname "$0")/lib.sh"
use_kernel
# A file system of 24 MiB for the image: a mount, for which a namespace of our own is enough
use_private_mounts
if [ "${1:-}" != --inside ]; then
	[ ${#private[@]} -gt 0 ] || skip "no mount namespaces"
	trap - ERR EXIT
	rm -rf "$dir"
	exec "${private[@]}" "$0" --inside
fi
mkdir "$dir/small"
mount -t tmpfs -o size=24M small "$dir/small"
trap 'umount "$dir/small"; end_test' EXIT
truncate -s 64M "$dir/small/disk"

make_initrd virtio_pci virtio_blk <<'END'
tr '\0' A </dev/zero | dd iflag=fullblock of=/dev/vda bs=64k count=64 conv=fsync 2>/dev/null && echo "guest: first written"
tr '\0' B </dev/zero | dd iflag=fullblock of=/dev/vda bs=64k seek=256 count=512 conv=fsync 2>/tmp/err &&
	echo "guest: no error" || echo "guest: error: $(cat /tmp/err)"
dd if=/dev/vda bs=64k count=64 iflag=direct 2>/dev/null | tr -d A | wc -c | sed 's/^/guest: other bytes: /'
dmesg | grep -i 'vda' | tail -n 3
echo "guest: alive"
END
check() {
	run 120 --code-cache 16M --kernel "$vmlinuz" --initrd "$dir/initrd.cpio" \
		--append "console=ttyS0 loglevel=1 panic=-1" --disk "$1"
	expect 'guest: first written'
	expect "guest: error: .*($2)" "no I/O error in the guest ($1)"
	expect 'guest: other bytes: 0' "what was written before does not read back ($1)"
	expect 'guest: alive'
	expect_status 0 "the guest powered off ($1)"
	[ "$(head -c 4M "$1" | tr -d A | wc -c)" = 0 ] || fail "flushed data is not in the file ($1)"
}
check "$dir/small/disk" 'Input/output error|No space'
truncate -s 64M "$dir/limited"
ulimit -S -f $((20 * 1024))
check "$dir/limited" 'Input/output error'
pass "a full host disk and a limit are I/O errors in the guest; what it flushed is there"
