/* SPDX-License-Identifier: MIT */
/*
 * Kernels by the Multiboot Specification 0.6.96: an ELF file of either class, or any file whose
 * header gives addresses ("a.out kludge"), with modules. Not offered: video modes, drives, the
 * APM table, symbols. A kernel that requires a video mode is started without.
 */
#include "board/boot.h"
#include "board/boot_elf.h"

#include <stdio.h>
#include <string.h>

#define HEADER_MAGIC 0x1badb002
#define HEADER_SEARCH 8192 /* 3.1: it lies in the first 8192 bytes, on a 4-byte boundary */
#define ENTRY_MAGIC 0x2badb002

/* Header flags, 3.1.2 */
#define WANT_UNKNOWN 0xfff8 /* bits of the lower half that 0.6.96 does not define */
#define HAS_ADDRESSES BIT(16)

/* Information flags, 3.3 */
#define INFO_MEMORY BIT(0)
#define INFO_COMMAND_LINE BIT(2)
#define INFO_MODULES BIT(3)
#define INFO_MAP BIT(6)
#define INFO_LOADER BIT(9)

struct header {
	u32 magic, flags, checksum;
	u32 header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

struct info {
	u32 flags, mem_lower, mem_upper, boot_device, command_line, module_count, modules;
	u32 symbols[4], map_length, map, drives_length, drives, config_table, loader_name, apm_table;
	u32 video[10];
};

struct module_entry {
	u32 start, end, string, reserved;
};

struct map_entry {
	u32 size; /* of what follows */
	u64 base, length;
	u32 type;
} __attribute__((packed));

#define MULTIBOOT_INFO BOOT_PARAMS
#define MULTIBOOT_MAP (BOOT_PARAMS + 0x100)
#define MULTIBOOT_MODULES (BOOT_PARAMS + 0x800)
#define MODULES_MAX 64

/* Finds the header; false: there is none. */
static bool find_header(const struct boot_file *kernel, struct header *header, u32 *offset)
{
	u8 head[HEADER_SEARCH] = { 0 };
	u32 size = MIN(kernel->size, sizeof(head));

	if (!boot_file_read(kernel, 0, head, size))
		return false;
	for (u32 at = 0; at + 12 <= size; at += 4) {
		memset(header, 0, sizeof(*header));
		memcpy(header, head + at, MIN(sizeof(*header), size - at));
		if (header->magic != HEADER_MAGIC ||
		    header->magic + header->flags + header->checksum != 0)
			continue;
		*offset = at;
		return true;
	}
	return false;
}

bool boot_multiboot_probe(const struct boot_file *kernel)
{
	struct header header;
	u32 offset;

	return find_header(kernel, &header, &offset);
}

/* The a.out kludge, 3.1.3: the header itself says what goes where. */
static int load_by_addresses(struct boot *boot, const struct header *header, u32 offset, u64 *end)
{
	const struct boot_file *kernel = &boot->source->kernel;
	u64 file_offset, size, load_end;

	if (header->load_addr > header->header_addr ||
	    header->header_addr - header->load_addr > offset)
		return boot_fail(boot, kernel, "has a broken multiboot header; get the file again");
	if (header->load_addr < BOOT_KERNEL_MIN)
		return boot_fail(boot, kernel, "wants to be loaded at 0x%x; only kernels linked at 1 "
			"MiB and above can be started", header->load_addr);
	file_offset = offset - (header->header_addr - header->load_addr);
	size = kernel->size - file_offset;
	if (header->load_end_addr) {
		if (header->load_end_addr < header->load_addr)
			return boot_fail(boot, kernel, "has a broken multiboot header; get the file "
				"again");
		size = header->load_end_addr - header->load_addr;
	}
	load_end = header->load_addr + size;
	*end = MAX(load_end, header->bss_end_addr);
	if (!boot_fits(boot, header->load_addr, *end - header->load_addr))
		return boot_fail(boot, kernel, "wants memory up to 0x%llx; give more --memory",
			(unsigned long long)*end);
	if (boot_put_file(boot, kernel, file_offset, header->load_addr, size))
		return -1;
	boot_zero(boot, load_end, *end - load_end);
	boot->entry.rip = header->entry_addr;
	return 0;
}

static int load_kernel(struct boot *boot, u64 *end)
{
	const struct boot_file *kernel = &boot->source->kernel;
	struct header header;
	struct elf_image image;
	u32 offset;

	if (!find_header(kernel, &header, &offset))
		return boot_fail(boot, kernel, "cannot be read; check the file and its disk");
	if (header.flags & WANT_UNKNOWN)
		return boot_fail(boot, kernel, "asks by its multiboot header (flags 0x%x) for more "
			"than multiboot 1 has; give another kernel", header.flags);
	if (header.flags & HAS_ADDRESSES)
		return load_by_addresses(boot, &header, offset, end);
	if (!elf_probe(kernel))
		return boot_fail(boot, kernel, "has a multiboot header, but is no ELF file and names "
			"no addresses; give the linked ELF kernel");
	if (elf_read(boot, &image) || elf_load(boot, &image))
		return -1;
	if (image.entry >> 32)
		return boot_fail(boot, kernel, "its entry lies above 4 GiB; give another kernel");
	*end = image.end;
	boot->entry.rip = image.entry;
	return 0;
}

/*
 * Puts "name args" behind what is already there, 3.3: kernels expect the file's name first and
 * skip it. A space in the name would make it two words.
 */
static int put_string(struct boot *boot, const struct boot_file *file, const char *args, u64 *text,
	u32 *address)
{
	const char *slash = strrchr(file->path, '/');
	const char *name = slash ? slash + 1 : file->path;
	u64 name_len = strlen(name), len = strlen(args);

	if (name_len + len + 2 > BOOT_INFO_END - *text)
		return boot_fail(boot, file, "its arguments are too long; give less");
	*address = *text;
	for (u64 i = 0; i < name_len; i++)
		boot_put(boot, (*text)++, name[i] == ' ' ? "_" : &name[i], 1);
	if (len) {
		boot_put(boot, (*text)++, " ", 1);
		boot_put(boot, *text, args, len);
		*text += len;
	}
	boot_put(boot, (*text)++, "", 1);
	return 0;
}

/* Modules go behind the kernel, each on a page boundary (3.1.2 bit 0). */
static int put_modules(struct boot *boot, struct info *info, u64 end, u64 *text)
{
	const struct boot_source *source = boot->source;
	u64 next = (end + PAGE_SIZE - 1) & PAGE_MASK;

	for (unsigned i = 0; i < source->module_count; i++) {
		const struct boot_module *module = &source->modules[i];
		struct module_entry entry = { .start = next, .end = next + module->file.size };

		if (i >= MODULES_MAX)
			return boot_fail(boot, &module->file, "is one module too many; at most %u can "
				"be given", MODULES_MAX);
		if (boot_put_file(boot, &module->file, 0, next, module->file.size) ||
		    put_string(boot, &module->file, module->args, text, &entry.string))
			return -1;
		boot_put(boot, MULTIBOOT_MODULES + i * sizeof(entry), &entry, sizeof(entry));
		next = (next + module->file.size + PAGE_SIZE - 1) & PAGE_MASK;
	}
	info->modules = MULTIBOOT_MODULES;
	info->module_count = source->module_count;
	info->flags |= INFO_MODULES;
	return 0;
}

static void put_map(struct boot *boot, struct info *info)
{
	for (unsigned i = 0; i < boot->map->count; i++) {
		const struct memory_range *from = &boot->map->ranges[i];
		struct map_entry entry = { sizeof(entry) - 4, from->base, from->size, from->type };

		boot_put(boot, MULTIBOOT_MAP + i * sizeof(entry), &entry, sizeof(entry));
	}
	info->map = MULTIBOOT_MAP;
	info->map_length = boot->map->count * sizeof(struct map_entry);
	/* KiB below 640 KiB and from 1 MiB on up to the first hole, 3.3 */
	info->mem_lower = BOOT_INFO_END / KIB;
	info->mem_upper = (boot->low_size - MIB) / KIB;
	info->flags |= INFO_MAP | INFO_MEMORY;
}

int boot_multiboot_load(struct boot *boot)
{
	static const char loader_name[] = "nestbox";
	const struct boot_source *source = boot->source;
	struct info info = { .flags = INFO_COMMAND_LINE | INFO_LOADER };
	u64 end = 0, text = BOOT_INFO;

	if (source->initrd.path)
		return boot_fail(boot, &source->initrd, "a multiboot kernel takes no initrd; give it "
			"with --module");
	if (load_kernel(boot, &end))
		return -1;
	info.loader_name = text;
	boot_put(boot, text, loader_name, sizeof(loader_name));
	text += sizeof(loader_name);
	if (put_string(boot, &source->kernel, source->append, &text, &info.command_line) ||
	    put_modules(boot, &info, end, &text))
		return -1;
	put_map(boot, &info);
	boot_put(boot, MULTIBOOT_INFO, &info, sizeof(info));

	/* 3.2 */
	boot->entry.rax = ENTRY_MAGIC;
	boot->entry.rbx = MULTIBOOT_INFO;
	boot_put_gdt(boot, BOOT_GDT);
	return 0;
}
