/* SPDX-License-Identifier: MIT */
/*
 * What all loaders share: telling kernels apart, reading files, writing low RAM. The machine has no
 * firmware: what a BIOS and a boot loader would have left behind is put there directly.
 */
#include "board/boot.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int boot_fail(struct boot *boot, const struct boot_file *file, const char *format, ...)
{
	va_list args;
	int used = snprintf(boot->problem, sizeof(boot->problem), "%s%s%.160s: ", file->option,
		file->path ? " " : "", file->path ? file->path : "");

	va_start(args, format);
	if (used > 0 && (size_t)used < sizeof(boot->problem))
		vsnprintf(boot->problem + used, sizeof(boot->problem) - used, format, args);
	va_end(args);
	return -1;
}

bool boot_file_read(const struct boot_file *file, u64 offset, void *to, u64 len)
{
	u8 *at = to;

	if (offset > file->size || len > file->size - offset)
		return false;
	while (len) {
		ssize_t got = pread(file->fd, at, MIN(len, 64 * MIB), (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		at += got;
		offset += got;
		len -= got;
	}
	return true;
}

bool boot_fits(const struct boot *boot, u64 address, u64 len)
{
	return address <= boot->low_size && len <= boot->low_size - address;
}

void boot_put(struct boot *boot, u64 address, const void *from, u64 len)
{
	if (boot->low && boot_fits(boot, address, len))
		memcpy(boot->low + address, from, len);
}

void boot_zero(struct boot *boot, u64 address, u64 len)
{
	if (boot->low && boot_fits(boot, address, len))
		memset(boot->low + address, 0, len);
}

int boot_put_file(struct boot *boot, const struct boot_file *file, u64 offset, u64 address,
	u64 len)
{
	if (offset > file->size || len > file->size - offset)
		return boot_fail(boot, file, "the file is cut off; get it again");
	if (!boot_fits(boot, address, len))
		return boot_fail(boot, file, "does not fit into guest memory; give more --memory");
	if (boot->low && !boot_file_read(file, offset, boot->low + address, len))
		return boot_fail(boot, file, "cannot be read; check the file and its disk");
	return 0;
}

/* A descriptor of base 0 and 4 GiB: attributes as they stand in bits 55:40, APM2 4.7. */
static u64 flat_descriptor(u16 attributes)
{
	return 0x000f00000000ffffull | (u64)attributes << 40;
}

void boot_put_gdt(struct boot *boot, u64 address)
{
	/* Linux wants CS 10h and DS 18h, Documentation/arch/x86/boot.rst "64-bit boot protocol" */
	u64 gdt[4] = { 0, 0, flat_descriptor(boot->entry.long_mode ? 0xa09b : 0xc09b),
		flat_descriptor(0xc093) };

	boot_put(boot, address, gdt, sizeof(gdt));
	boot->entry.gdt_base = address;
	boot->entry.gdt_limit = sizeof(gdt) - 1;
	boot->entry.code = 0x10;
	boot->entry.data = 0x18;
}

int boot_load(struct boot *boot)
{
	const struct boot_file *kernel = &boot->source->kernel;
	u8 head[2] = { 0 };

	boot->kind = BOOT_NONE;
	memset(&boot->entry, 0, sizeof(boot->entry));
	boot->problem[0] = 0;
	if (boot->low_size < 2 * MIB)
		return boot_fail(boot, kernel, "no kernel fits into so little --memory");

	if (boot_linux_probe(kernel)) {
		boot->kind = BOOT_LINUX;
		return boot_linux_load(boot);
	}
	if (boot_multiboot_probe(kernel)) {
		boot->kind = BOOT_MULTIBOOT;
		return boot_multiboot_load(boot);
	}
	if (boot_pvh_probe(kernel)) {
		boot->kind = BOOT_PVH;
		return boot_pvh_load(boot);
	}
	boot_file_read(kernel, 0, head, sizeof(head));
	if (head[0] == 0x1f && head[1] == 0x8b)
		return boot_fail(boot, kernel, "is packed by gzip; unpack it first (gunzip -c)");
	return boot_fail(boot, kernel, "is no kernel that can be started; give a Linux bzImage, or "
		"an ELF file with a multiboot header or a PVH note");
}
