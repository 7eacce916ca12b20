#!/bin/bash
# SPDX-License-Identifier: MIT
# Makes the initrd of L2, and of the first boot test: a static busybox that prints a marker and
# powers off. Prints its path.
# shellcheck source=tools/common.sh
. "$(dirname "$0")/common.sh"

out=$cache/tiny.cpio
busybox=$(command -v busybox) || fail "busybox is missing: tools/setup.sh test"
lock tiny
from=("$busybox" "$root/tools/initrd/tiny-init" "$root/bench/work.c" "$0")
if ! fresh "$out" "${from[@]}"; then
	scratch_dir
	tree=$scratch/tree
	mkdir -p "$tree/bin" "$tree/dev" "$tree/proc"
	install "$busybox" "$tree/bin/busybox"
	install "$root/tools/initrd/tiny-init" "$tree/init"
	gcc -O2 -static -o "$tree/work" "$root/bench/work.c" -lm
	pack_initrd "$tree" "$out"
	made "$out" "${from[@]}"
fi
echo "$out"
