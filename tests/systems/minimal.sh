#!/bin/bash
# SPDX-License-Identifier: MIT
# The minimal build: one static file below 3 MiB that runs by itself in an initramfs, on both
# engines; what it lacks it says in one line.
. "$(dirname "$0")/lib.sh"
make -s -C "$root" minimal >"$log" 2>&1 || fail "make minimal"
nestbox=$root/build-minimal/nestbox
LC_ALL=C readelf -ldW "$nestbox" >"$log"
! grep -E 'INTERP|NEEDED' "$log" || fail "it is not static"
size=$(stat -L -c %s "$nestbox")
[ "$size" -gt 0 ] && [ "$size" -lt $((3 << 20)) ] || fail "it has $size bytes"

use_kernel
make_end_guest
status=0
"$nestbox" run --kernel "$dir/end.guest" --net user >"$log" 2>&1 || status=$?
expect_status 2 "--net user"
[ "$(wc -l <"$log")" = 1 ] || fail "not one line"
expect '^nestbox: --net user: this build'
"$nestbox" run --help | grep -q 'This build has no network' || fail "--help does not tell"
"${NESTBOX:-$root/build/nestbox}" run --help | grep -q 'This build has no network' &&
	fail "the full build says that it has no network"

# Nothing but the kernel, busybox and the one file
tree=$dir/tree
mkdir -p "$tree/boot"
install -m 644 "$vmlinuz" "$tree/boot/vmlinuz"
install -m 644 "$("$root/tools/tiny-initrd.sh")" "$tree/boot/l2.cpio"
install -m 644 "$dir/end.guest" "$tree/boot/end.guest"
install "$nestbox" "$tree/nestbox"
make_initrd kvm-amd <<'END'
echo "L1: /lib has $(ls /lib | tr '\n' ' ')"
/nestbox run --engine kvm --memory 96M --kernel /boot/vmlinuz --initrd /boot/l2.cpio \
	--append "console=ttyS0 quiet marker=L2" </dev/null
echo "L1: kvm: status $?"
/nestbox run --engine soft --memory 16M --kernel /boot/end.guest --append d --debug-exit </dev/null
echo "L1: soft: status $?"
END
run 300 --kernel "$vmlinuz" --initrd "$dir/initrd.cpio" --memory 512M --nested-hw-virt amd \
	--append "console=ttyS0 quiet"
expect 'L1: /lib has modules .?$' "L1 has libraries, so this proves nothing"
expect 'L2: user space after'
expect 'L1: kvm: status 0'
expect 'L1: soft: status 85'
expect_status 0 "L1 powered off"
pass "static, $size bytes, runs L1 on the soft engine and L2 on KVM there"
