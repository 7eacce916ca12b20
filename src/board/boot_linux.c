/* SPDX-License-Identifier: MIT */
/*
 * Linux by its boot protocol, Documentation/arch/x86/boot.rst ("boot.rst"): a bzImage of protocol
 * 2.12 or later entered at its 64-bit entry point, with a zero page
 * (Documentation/arch/x86/zero-page.rst). Real-mode and 32-bit entries are not used; kernels
 * without a 64-bit entry are refused.
 */
#include "board/boot.h"

#include <string.h>

/* Offsets in the zero page and, from 1f1h to its end, in the file. boot.rst "Header fields" */
#define ZP_ACPI_RSDP 0x070
#define ZP_EXT_RAMDISK_IMAGE 0x0c0
#define ZP_EXT_RAMDISK_SIZE 0x0c4
#define ZP_EXT_CMD_LINE 0x0c8
#define ZP_E820_ENTRIES 0x1e8
#define ZP_E820_TABLE 0x2d0
#define HDR_FIRST 0x1f1
#define HDR_SETUP_SECTS 0x1f1
#define HDR_SYSSIZE 0x1f4
#define HDR_JUMP 0x200
#define HDR_MAGIC 0x202
#define HDR_VERSION 0x206
#define HDR_TYPE_OF_LOADER 0x210
#define HDR_LOADFLAGS 0x211
#define HDR_RAMDISK_IMAGE 0x218
#define HDR_RAMDISK_SIZE 0x21c
#define HDR_CMD_LINE_PTR 0x228
#define HDR_INITRD_ADDR_MAX 0x22c
#define HDR_KERNEL_ALIGNMENT 0x230
#define HDR_RELOCATABLE 0x234
#define HDR_XLOADFLAGS 0x236
#define HDR_CMDLINE_SIZE 0x238
#define HDR_PREF_ADDRESS 0x258
#define HDR_INIT_SIZE 0x260
#define HDR_END 0x290 /* the zero page's next field: edd_mbr_sig_buffer */

#define MAGIC 0x53726448 /* "HdrS" */
#define LOADED_HIGH 0x01
#define XLF_KERNEL_64 0x01
#define LOADER_UNDEFINED 0xff

#define ENTRY_64 0x200 /* from the start of the protected-mode part */

static u64 get(const u8 *page, unsigned offset, unsigned size)
{
	u64 value = 0;

	memcpy(&value, page + offset, size);
	return value;
}

static void set(u8 *page, unsigned offset, u64 value, unsigned size)
{
	memcpy(page + offset, &value, size);
}

bool boot_linux_probe(const struct boot_file *kernel)
{
	u32 magic = 0;

	return boot_file_read(kernel, HDR_MAGIC, &magic, sizeof(magic)) && magic == MAGIC;
}

/* Reads the setup header into the zero page and checks that this kernel can be started. */
static int read_header(struct boot *boot, u8 *zero_page)
{
	const struct boot_file *kernel = &boot->source->kernel;
	unsigned end;

	if (!boot_file_read(kernel, HDR_FIRST, zero_page + HDR_FIRST, HDR_END - HDR_FIRST))
		return boot_fail(boot, kernel, "the file is cut off; get it again");
	if (get(zero_page, HDR_VERSION, 2) < 0x20c ||
	    !(get(zero_page, HDR_XLOADFLAGS, 2) & XLF_KERNEL_64) ||
	    !(get(zero_page, HDR_LOADFLAGS, 1) & LOADED_HIGH))
		return boot_fail(boot, kernel, "has no 64-bit entry point; give a 64-bit Linux of "
			"version 3.8 or later");
	/* The byte after the jump's opcode says where the header ends; the rest is not header. */
	end = HDR_MAGIC + get(zero_page, HDR_JUMP + 1, 1);
	if (end < HDR_INIT_SIZE + 4)
		return boot_fail(boot, kernel, "has a broken setup header; get the file again");
	if (end < HDR_END)
		memset(zero_page + end, 0, HDR_END - end);
	return 0;
}

/* Where the kernel goes: where it likes best, or, if it can be moved, as low as is allowed. */
static int place_kernel(struct boot *boot, const u8 *zero_page, u64 image_size, u64 *address,
	u64 *needed)
{
	const struct boot_file *kernel = &boot->source->kernel;
	u64 align = get(zero_page, HDR_KERNEL_ALIGNMENT, 4);

	*needed = MAX(get(zero_page, HDR_INIT_SIZE, 4), image_size);
	*address = get(zero_page, HDR_PREF_ADDRESS, 8);
	if (*address >= BOOT_KERNEL_MIN && boot_fits(boot, *address, *needed))
		return 0;
	if (get(zero_page, HDR_RELOCATABLE, 1) && align && !(align & (align - 1))) {
		*address = (BOOT_KERNEL_MIN + align - 1) & ~(align - 1);
		if (boot_fits(boot, *address, *needed))
			return 0;
	}
	return boot_fail(boot, kernel, "needs %llu MiB of guest memory to start; give more --memory",
		(unsigned long long)((*address + *needed + MIB - 1) / MIB));
}

static int load_initrd(struct boot *boot, u8 *zero_page, u64 kernel_end)
{
	const struct boot_file *initrd = &boot->source->initrd;
	u64 top = MIN(boot->low_size, get(zero_page, HDR_INITRD_ADDR_MAX, 4) + 1);
	u64 address;

	if (!initrd->path || !initrd->size)
		return 0;
	if (initrd->size > top || ((top - initrd->size) & PAGE_MASK) < kernel_end)
		return boot_fail(boot, initrd, "%llu MiB do not fit beside the kernel; give more "
			"--memory or a smaller initrd",
			(unsigned long long)((initrd->size + MIB - 1) / MIB));
	address = (top - initrd->size) & PAGE_MASK;
	set(zero_page, HDR_RAMDISK_IMAGE, address, 4);
	set(zero_page, ZP_EXT_RAMDISK_IMAGE, address >> 32, 4);
	set(zero_page, HDR_RAMDISK_SIZE, initrd->size, 4);
	set(zero_page, ZP_EXT_RAMDISK_SIZE, initrd->size >> 32, 4);
	return boot_put_file(boot, initrd, 0, address, initrd->size);
}

static int put_command_line(struct boot *boot, u8 *zero_page)
{
	const char *append = boot->source->append;
	u64 len = strlen(append);
	u64 limit = MIN(get(zero_page, HDR_CMDLINE_SIZE, 4), BOOT_INFO_END - BOOT_INFO - 1);
	struct boot_file option = { .option = "--append" };

	if (len > limit)
		return boot_fail(boot, &option, "the kernel takes at most %llu characters; give "
			"less", (unsigned long long)limit);
	boot_put(boot, BOOT_INFO, append, len + 1);
	set(zero_page, HDR_CMD_LINE_PTR, BOOT_INFO, 4);
	set(zero_page, ZP_EXT_CMD_LINE, 0, 4);
	return 0;
}

/* zero-page.rst: entries of 20 bytes, 128 at most */
static void put_memory_map(const struct memory_map *map, u8 *zero_page)
{
	for (unsigned i = 0; i < map->count; i++) {
		unsigned at = ZP_E820_TABLE + 20 * i;

		set(zero_page, at, map->ranges[i].base, 8);
		set(zero_page, at + 8, map->ranges[i].size, 8);
		set(zero_page, at + 16, map->ranges[i].type, 4);
	}
	set(zero_page, ZP_E820_ENTRIES, map->count, 1);
}

/* The first 4 GiB at themselves, in pages of 2 MiB: one PML4, one PDPT, four directories. */
static void put_page_tables(struct boot *boot, u64 address)
{
	u64 table[512] = { (address + PAGE_SIZE) | 3 };

	boot_put(boot, address, table, sizeof(table));
	for (unsigned i = 0; i < 4; i++)
		table[i] = (address + (2 + i) * PAGE_SIZE) | 3;
	boot_put(boot, address + PAGE_SIZE, table, sizeof(table));
	for (unsigned directory = 0; directory < 4; directory++) {
		for (unsigned i = 0; i < 512; i++)
			table[i] = ((u64)directory << 30 | (u64)i << 21) | 0x83;
		boot_put(boot, address + (2 + directory) * PAGE_SIZE, table, sizeof(table));
	}
}

int boot_linux_load(struct boot *boot)
{
	const struct boot_file *kernel = &boot->source->kernel;
	u8 zero_page[PAGE_SIZE] = { 0 };
	u64 setup_sects, payload, address, needed;

	if (read_header(boot, zero_page))
		return -1;
	if (boot->source->module_count)
		return boot_fail(boot, &boot->source->modules[0].file, "a Linux kernel takes no "
			"modules; give it with --initrd");
	/* boot.rst "The real-mode code": 0 means 4, and the boot sector comes before */
	setup_sects = get(zero_page, HDR_SETUP_SECTS, 1);
	payload = ((setup_sects ? setup_sects : 4) + 1) * 512;
	/* boot.rst "syssize": of the protected-mode part, in 16 bytes; a signature may follow it */
	if (payload + ENTRY_64 >= kernel->size ||
	    payload + get(zero_page, HDR_SYSSIZE, 4) * 16 > kernel->size)
		return boot_fail(boot, kernel, "the file is cut off; get it again");
	if (place_kernel(boot, zero_page, kernel->size - payload, &address, &needed) ||
	    boot_put_file(boot, kernel, payload, address, kernel->size - payload) ||
	    load_initrd(boot, zero_page, address + needed) ||
	    put_command_line(boot, zero_page))
		return -1;

	set(zero_page, HDR_TYPE_OF_LOADER, LOADER_UNDEFINED, 1);
	set(zero_page, ZP_ACPI_RSDP, boot->rsdp, 8);
	put_memory_map(boot->map, zero_page);
	boot_put(boot, BOOT_PARAMS, zero_page, sizeof(zero_page));
	put_page_tables(boot, BOOT_PAGE_TABLES);

	boot->entry.long_mode = true;
	boot->entry.cr3 = BOOT_PAGE_TABLES;
	boot->entry.rip = address + ENTRY_64;
	boot->entry.rsi = BOOT_PARAMS;
	boot->entry.rsp = BOOT_PARAMS;
	boot_put_gdt(boot, BOOT_GDT);
	return 0;
}
