/* SPDX-License-Identifier: MIT */
/*
 * Kernels by Xen's PVH protocol ("x86/HVM direct boot ABI", docs/misc/pvh.pandoc and
 * public/arch-x86/hvm/start_info.h): an ELF file whose note 18 of owner "Xen" names a 32-bit
 * entry. Linux's vmlinux is one.
 */
#include "board/boot.h"
#include "board/boot_elf.h"

#include <string.h>

#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define START_MAGIC 0x336ec578

/* hvm_start_info, version 1 */
struct start_info {
	u32 magic, version, flags, module_count;
	u64 modules, command_line, rsdp, memory_map;
	u32 memory_map_count, reserved;
};

struct start_module {
	u64 address, size, command_line, reserved;
};

struct start_range {
	u64 address, size;
	u32 type, reserved;
};

#define START_INFO BOOT_PARAMS
#define START_MAP (BOOT_PARAMS + 0x100)
#define START_MODULES (BOOT_PARAMS + 0x800)
#define START_MODULES_MAX 32

bool boot_pvh_probe(const struct boot_file *kernel)
{
	u32 entry;

	return elf_note(kernel, "Xen", XEN_ELFNOTE_PHYS32_ENTRY, &entry, sizeof(entry)) != 0;
}

/* Loads one module behind what is there and lists it; *next and *text move on. */
static int put_module(struct boot *boot, const struct boot_file *file, const char *args,
	unsigned index, u64 *next, u64 *text)
{
	struct start_module module = { .address = *next, .size = file->size };
	u64 len = strlen(args) + 1;

	if (index >= START_MODULES_MAX)
		return boot_fail(boot, file, "is one module too many; at most %u can be given",
			START_MODULES_MAX);
	if (len > BOOT_INFO_END - *text)
		return boot_fail(boot, file, "its arguments are too long; give less");
	if (boot_put_file(boot, file, 0, *next, file->size))
		return -1;
	module.command_line = *text;
	boot_put(boot, *text, args, len);
	*text += len;
	*next = (*next + file->size + PAGE_SIZE - 1) & PAGE_MASK;
	boot_put(boot, START_MODULES + index * sizeof(module), &module, sizeof(module));
	return 0;
}

int boot_pvh_load(struct boot *boot)
{
	const struct boot_source *source = boot->source;
	struct boot_file append = { .option = "--append" };
	struct start_info info = { .magic = START_MAGIC, .version = 1, .rsdp = boot->rsdp,
		.memory_map = START_MAP, .memory_map_count = boot->map->count,
		.modules = START_MODULES, .command_line = BOOT_INFO };
	u64 len = strlen(source->append) + 1, text = BOOT_INFO + len, next, entry = 0;
	struct elf_image image;
	u32 size;

	/* Both widths are seen: the content is 4 or 8 bytes */
	size = elf_note(&source->kernel, "Xen", XEN_ELFNOTE_PHYS32_ENTRY, &entry, sizeof(entry));
	if ((size != 4 && size != 8) || entry >> 32)
		return boot_fail(boot, &source->kernel, "has a broken PVH note; get the file again");
	if (elf_read(boot, &image) || elf_load(boot, &image))
		return -1;
	if (len > BOOT_INFO_END - BOOT_INFO)
		return boot_fail(boot, &append, "is too long; give less");
	boot_put(boot, BOOT_INFO, source->append, len);

	next = (image.end + PAGE_SIZE - 1) & PAGE_MASK;
	if (source->initrd.path && put_module(boot, &source->initrd, "", info.module_count++,
		&next, &text))
		return -1;
	for (unsigned i = 0; i < source->module_count; i++)
		if (put_module(boot, &source->modules[i].file, source->modules[i].args,
			info.module_count++, &next, &text))
			return -1;
	for (unsigned i = 0; i < boot->map->count; i++) {
		const struct memory_range *from = &boot->map->ranges[i];
		struct start_range range = { from->base, from->size, from->type, 0 };

		boot_put(boot, START_MAP + i * sizeof(range), &range, sizeof(range));
	}
	boot_put(boot, START_INFO, &info, sizeof(info));
	boot->entry.rip = entry;
	boot->entry.rbx = START_INFO;
	boot_put_gdt(boot, BOOT_GDT);
	return 0;
}
