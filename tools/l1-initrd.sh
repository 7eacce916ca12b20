#!/bin/bash
# SPDX-License-Identifier: MIT
# Makes the initrd of L1: busybox, Debian's KVM modules and QEMU with what they need, and L2's
# kernel and initrd. Prints its path.
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

out=$cache/l1.cpio
kernel=$("$root/tools/kernel.sh")
tiny=$("$root/tools/tiny-initrd.sh")
qemu=$(command -v qemu-system-x86_64) || fail "qemu-system-x86_64 is missing: tools/setup.sh test"
lock l1

from=("$kernel/vmlinuz" "$tiny" "$qemu" "$root"/tools/initrd/l{1-init,2} "$root/bench/work.c" "$0")
if ! fresh "$out" "${from[@]}"; then
	scratch_dir
	tree=$scratch/tree
	mkdir -p "$tree"/{bin,boot,dev,proc,sys,tmp,lib/modules,usr/bin,usr/share}
	install "$(command -v busybox)" "$tree/bin/busybox"
	install "$root/tools/initrd/l1-init" "$tree/init"
	install "$root/tools/initrd/l2" "$tree/usr/bin/l2"
	install -m 644 "$kernel/vmlinuz" "$tree/boot/vmlinuz"
	install -m 644 "$tiny" "$tree/boot/l2.cpio"
	gcc -O2 -static -o "$tree/work" "$root/bench/work.c" -lm
	for module in $(modules_of "$kernel" kvm-amd); do
		install -m 644 "$module" "$tree/lib/modules/"
		echo "/lib/modules/$(basename "$module")" >>"$tree/modules.list"
	done
	copy_program "$tree" "$qemu"
	for rom in seabios/bios-256k.bin seabios/bios.bin qemu/linuxboot.bin qemu/linuxboot_dma.bin \
		qemu/kvmvapic.bin qemu/multiboot.bin; do
		install -D -m 644 "/usr/share/$rom" "$tree/usr/share/$rom"
	done
	pack_initrd "$tree" "$out"
	made "$out" "${from[@]}"
fi
echo "$out"
