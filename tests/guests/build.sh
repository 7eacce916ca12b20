#!/bin/sh
# SPDX-License-Identifier: MIT
# Makes a bare-metal guest: build.sh OUTPUT SOURCE... The loader of a multiboot kernel wants ELF32.
set -eu
out=$1
shift
lib=$(dirname "$0")/lib
${GUEST_CC:-gcc} -m64 -ffreestanding -O2 -g -std=gnu11 -fno-pic -fno-pie -mno-red-zone \
	-mgeneral-regs-only -fno-stack-protector -fno-asynchronous-unwind-tables \
	-fcf-protection=none -Wall -Wextra -Wshadow -Wno-unused-parameter \
	-Wno-missing-field-initializers "-I$lib" -nostdlib -static -no-pie \
	"-Wl,-T,$lib/guest.ld" -Wl,--build-id=none -Wl,-z,max-page-size=4096 \
	-Wl,-z,noexecstack -Wl,--no-warn-rwx-segments -o "$out.elf64" "$@"
objcopy -O elf32-i386 "$out.elf64" "$out"
