#!/bin/bash
# SPDX-License-Identifier: MIT
# Trace points print what src/base/trace.def says, and only those that are asked for.
. "$(dirname "$0")/lib.sh"
guests=$(dirname "$nestbox")/tests/guests

all=$("$nestbox" run --trace none 2>&1 | sed 's/.*some of: //; s/ /|/g') || true

# traced POINT GUEST PATTERN [OPTION...]
traced() {
	local point=$1 guest=$guests/$2.guest pattern=$3
	shift 3
	[ -e "$guest" ] || fail "no $guest: ninja -C $(dirname "$nestbox")"
	run 120 --kernel "$guest" --memory 128M --debug-exit --no-reboot --trace "$point" "$@"
	expect "^$point: .*$pattern"
	! grep -avE "^$point: " "$log" | grep -aqE "^($all): " || fail "more than $point"
}

for point in ${all//|/ }; do
	grep -q "^\.BR $point " "$root/docs/nestbox.1" || fail "$point is not in the man page"
done
for mode in real protected virtual-8086 compatibility 64-bit; do
	traced cpu modes "$mode mode at"
done
traced event exceptions 'exception 6'
traced mmu paging 'page fault at'
traced msr msrs 'refused at'
traced svm svm/svm_state 'exit VMMCALL' --nested-hw-virt amd
traced vmx vmx/vmx_state 'exit VMCALL' --nested-hw-virt intel
traced vmentry svm/svm_checks 'APM2' --nested-hw-virt amd
traced block smc 'instructions'
traced code smc 'guest'
traced irq interrupts 'lapic'

use_kernel
truncate -s 1M "$dir/disk"
make_initrd virtio_pci virtio_blk <<'END'
cat /dev/vda >/dev/null
END
run 120 --kernel "$vmlinuz" --initrd "$dir/initrd.cpio" --append "console=ttyS0 loglevel=1" \
	--disk "$dir/disk" --trace io,pci,virtio
expect '^io: .*read of 1 bytes'
expect '^pci: .*config'
expect '^virtio: '
pass "trace points print what they are for"
