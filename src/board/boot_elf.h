/* SPDX-License-Identifier: MIT */
/* Kernels in ELF files, 32 and 64 bits, as the multiboot and PVH loaders take them. */
#ifndef BOARD_BOOT_ELF_H
#define BOARD_BOOT_ELF_H

#include "board/boot.h"

#define ELF_SEGMENTS_MAX 64

/* The file's headers, read and checked once. */
struct elf_image {
	u64 entry;  /* physical */
	u64 lowest, end; /* of all loaded segments, physical */
	unsigned count;
	struct elf_segment {
		u32 type;
		u64 offset, virtual, physical, file_size, memory_size;
	} segments[ELF_SEGMENTS_MAX];
};

bool elf_probe(const struct boot_file *kernel);
/* 0 or -1 with boot->problem set. */
int elf_read(struct boot *boot, struct elf_image *image);
/* Copies the segments to their physical addresses. */
int elf_load(struct boot *boot, const struct elf_image *image);
/* A note of one owner and type: up to len bytes of its content; returns how many there are, 0:
 * none. Does not need a checked image. */
u32 elf_note(const struct boot_file *kernel, const char *owner, u32 type, void *to, u32 len);

#endif
