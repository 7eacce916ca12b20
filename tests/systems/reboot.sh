#!/bin/bash
# SPDX-License-Identifier: MIT
# A guest that reboots comes up again in the same process; with --no-reboot the machine ends.
. "$(dirname "$0")/lib.sh"
use_kernel
truncate -s 1M "$dir/disk"
make_initrd virtio_pci virtio_blk <<'END'
boots=$(head -c 1 /dev/vda | tr '\0' 0)
echo "guest: boot $boots"
if [ "$boots" -lt 2 ]; then
	printf $((boots + 1)) | dd of=/dev/vda conv=notrunc,fsync 2>/dev/null
	sync
	reboot -f
fi
END
run 240 --kernel "$vmlinuz" --initrd "$dir/initrd.cpio" --append "console=ttyS0 quiet" \
	--disk "$dir/disk"
for boot in 0 1 2; do
	expect "guest: boot $boot"
done
expect_status 0 "the third boot powers off"

truncate -s 0 "$dir/disk"
truncate -s 1M "$dir/disk"
run 120 --kernel "$vmlinuz" --initrd "$dir/initrd.cpio" --append "console=ttyS0 quiet" \
	--disk "$dir/disk" --no-reboot
expect "guest: boot 0"
! grep -aq "guest: boot 1" "$log" || fail "it started again in spite of --no-reboot"
expect_status 1 "--no-reboot"
pass "a guest reboots twice and comes up again; --no-reboot ends it"
