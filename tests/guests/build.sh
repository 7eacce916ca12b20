#!/bin/sh
# SPDX-License-Identifier: MIT
# Makes a bare-metal guest: build.sh OUTPUT [--32] [-IDIR...] SOURCE... The loader of a multiboot
# kernel wants ELF32, also for 64-bit code.
set -eu
out=$1
shift
here=$(dirname "$0")
lib=$here/lib mode='-m64 -mno-red-zone'
if [ "$1" = --32 ]; then
	lib=$here/lib32 mode='-m32 -Wl,-m,elf_i386'
	shift
fi
# shellcheck disable=SC2086 # several options
${GUEST_CC:-gcc} $mode -ffreestanding -O2 -g -std=gnu11 -fno-pic -fno-pie \
	-mgeneral-regs-only -fno-stack-protector -fno-asynchronous-unwind-tables \
	-fcf-protection=none -fno-delete-null-pointer-checks -Wall -Wextra -Wshadow -Wno-unused-parameter \
	-Wno-missing-field-initializers "-I$lib" -nostdlib -static -no-pie \
	"-Wl,-T,$here/lib/guest.ld" -Wl,--build-id=none -Wl,-z,max-page-size=4096 \
	-Wl,-z,noexecstack -Wl,--no-warn-rwx-segments -o "$out.elf" "$@"
objcopy -O elf32-i386 "$out.elf" "$out"
