#!/bin/bash
# SPDX-License-Identifier: MIT
# Makes the initrd that every level of nestbox inside nestbox runs: busybox, Debian's kernel and its
# KVM modules, and a nestbox. A level packs the next one's initrd from what it is made of itself
# (boot/files lists it), so that depth costs no space. Prints its path.
#   level-initrd.sh [NESTBOX]    the program to carry, with its libraries; build/nestbox if not given
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

program=$(realpath "${1:-$root/build/nestbox}")
[ -x "$program" ] || fail "no $program: make first"
out=$cache/level.cpio
kernel=$("$root/tools/kernel.sh")
busybox=$(command -v busybox) || fail "busybox is missing: tools/setup.sh demo"
lock level

from=("$kernel/vmlinuz" "$busybox" "$program" "$root/tools/initrd/level-init" "$root/bench/work.c" "$0")
if ! fresh "$out" "${from[@]}"; then
	scratch_dir
	tree=$scratch/tree
	mkdir -p "$tree"/{bin,boot,dev,proc,sys,tmp,lib/modules,usr/bin}
	install "$busybox" "$tree/bin/busybox"
	install "$root/tools/initrd/level-init" "$tree/init"
	install -m 644 "$kernel/vmlinuz" "$tree/boot/vmlinuz"
	gcc -O2 -static -o "$tree/usr/bin/work" "$root/bench/work.c" -lm
	for vendor in amd intel; do
		for module in $(modules_of "$kernel" kvm-$vendor); do
			install -m 644 "$module" "$tree/lib/modules/"
			echo "/lib/modules/$(basename "$module")" >>"$tree/boot/modules-$vendor"
		done
	done
	copy_program "$tree" "$program" /usr/bin/nestbox
	(cd "$tree" && { find . -mindepth 1; echo ./boot/files; } | LC_ALL=C sort -u) >"$scratch/files"
	install -m 644 "$scratch/files" "$tree/boot/files"
	pack_initrd "$tree" "$out"
	made "$out" "${from[@]}"
fi
echo "$out"
