/* SPDX-License-Identifier: MIT */
/*
 * ELF files (System V ABI, chapters 4 and 5) of little-endian x86, both classes. Only program
 * headers are looked at: sections, relocations and dynamic linking have no meaning for a kernel.
 */
#include "board/boot_elf.h"

#include <elf.h>
#include <string.h>

#define NOTES_MAX (64 * KIB)

bool elf_probe(const struct boot_file *kernel)
{
	u8 ident[EI_NIDENT];

	return boot_file_read(kernel, 0, ident, sizeof(ident)) && !memcmp(ident, ELFMAG, SELFMAG) &&
		(ident[EI_CLASS] == ELFCLASS32 || ident[EI_CLASS] == ELFCLASS64) &&
		ident[EI_DATA] == ELFDATA2LSB;
}

/* Reads the headers of either class into one form. NULL, or what is wrong. */
static const char *read_headers(const struct boot_file *kernel, struct elf_image *image)
{
	union {
		Elf32_Ehdr small;
		Elf64_Ehdr large;
	} header;
	bool wide;
	u64 table;
	unsigned size, count;

	memset(image, 0, sizeof(*image));
	memset(&header, 0, sizeof(header));
	if (!boot_file_read(kernel, 0, &header.small, sizeof(header.small)))
		return "the file is cut off";
	wide = header.small.e_ident[EI_CLASS] == ELFCLASS64;
	if (wide && !boot_file_read(kernel, 0, &header.large, sizeof(header.large)))
		return "the file is cut off";
	table = wide ? header.large.e_phoff : header.small.e_phoff;
	size = wide ? header.large.e_phentsize : header.small.e_phentsize;
	count = wide ? header.large.e_phnum : header.small.e_phnum;
	image->entry = wide ? header.large.e_entry : header.small.e_entry;
	/* e_machine has the same place in both */
	if (header.small.e_machine != EM_386 && header.small.e_machine != EM_X86_64)
		return "is for another processor than x86";
	if (!count || count > ELF_SEGMENTS_MAX ||
	    size != (wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
		return "has broken program headers";

	for (unsigned i = 0; i < count; i++) {
		struct elf_segment *to = &image->segments[i];
		Elf64_Phdr large;
		Elf32_Phdr small;

		if (table > kernel->size || !boot_file_read(kernel, table + (u64)i * size,
			wide ? (void *)&large : (void *)&small, size))
			return "the file is cut off";
		if (wide)
			*to = (struct elf_segment){ large.p_type, large.p_offset, large.p_vaddr,
				large.p_paddr, large.p_filesz, large.p_memsz };
		else
			*to = (struct elf_segment){ small.p_type, small.p_offset, small.p_vaddr,
				small.p_paddr, small.p_filesz, small.p_memsz };
		image->count++;
	}
	return NULL;
}

int elf_read(struct boot *boot, struct elf_image *image)
{
	const struct boot_file *kernel = &boot->source->kernel;
	const char *wrong = read_headers(kernel, image);
	u64 virtual_entry = image->entry;

	if (wrong)
		return boot_fail(boot, kernel, "%s; get the file again", wrong);
	image->lowest = ~0ull;
	for (unsigned i = 0; i < image->count; i++) {
		const struct elf_segment *segment = &image->segments[i];

		if (segment->type != PT_LOAD || !segment->memory_size)
			continue;
		if (segment->file_size > segment->memory_size)
			return boot_fail(boot, kernel, "has broken program headers; get the file "
				"again");
		if (segment->physical < BOOT_KERNEL_MIN)
			return boot_fail(boot, kernel, "wants to be loaded at 0x%llx; only kernels "
				"linked at 1 MiB and above can be started",
				(unsigned long long)segment->physical);
		if (!boot_fits(boot, segment->physical, segment->memory_size))
			return boot_fail(boot, kernel, "wants memory up to 0x%llx; give more --memory",
				(unsigned long long)(segment->physical + segment->memory_size));
		image->lowest = MIN(image->lowest, segment->physical);
		image->end = MAX(image->end, segment->physical + segment->memory_size);
		/* The entry may be a virtual address of a kernel that is linked elsewhere */
		if (virtual_entry >= segment->virtual &&
		    virtual_entry - segment->virtual < segment->memory_size)
			image->entry = virtual_entry - segment->virtual + segment->physical;
	}
	if (!image->end)
		return boot_fail(boot, kernel, "has nothing to load; give a linked kernel");
	return 0;
}

int elf_load(struct boot *boot, const struct elf_image *image)
{
	for (unsigned i = 0; i < image->count; i++) {
		const struct elf_segment *segment = &image->segments[i];

		if (segment->type != PT_LOAD || !segment->memory_size)
			continue;
		if (boot_put_file(boot, &boot->source->kernel, segment->offset, segment->physical,
			segment->file_size))
			return -1;
		boot_zero(boot, segment->physical + segment->file_size,
			segment->memory_size - segment->file_size);
	}
	return 0;
}

/* Looks through one PT_NOTE segment, ABI chapter 5 "Note section": three words, then the owner and
 * the content, each padded to 4 bytes. */
static u32 note_in_segment(const struct boot_file *kernel, const struct elf_segment *segment,
	const char *owner, u32 type, void *to, u32 len)
{
	u64 at = segment->offset;
	u64 end;

	if (segment->file_size > NOTES_MAX || at > kernel->size ||
	    segment->file_size > kernel->size - at)
		return 0;
	end = at + segment->file_size;
	while (end - at >= sizeof(Elf32_Nhdr)) {
		Elf32_Nhdr note;
		char name[16] = "";
		u64 name_size, content_size, content;

		if (!boot_file_read(kernel, at, &note, sizeof(note)))
			return 0;
		name_size = ((u64)note.n_namesz + 3) & ~3ull;
		content_size = ((u64)note.n_descsz + 3) & ~3ull;
		at += sizeof(note);
		if (name_size > end - at || content_size > end - at - name_size)
			return 0;
		content = at + name_size;
		if (note.n_type == type && note.n_namesz == strlen(owner) + 1 &&
		    note.n_namesz <= sizeof(name) &&
		    boot_file_read(kernel, at, name, note.n_namesz) &&
		    !memcmp(name, owner, note.n_namesz))
			return boot_file_read(kernel, content, to, MIN(len, note.n_descsz)) ?
				note.n_descsz : 0;
		at = content + content_size;
	}
	return 0;
}

u32 elf_note(const struct boot_file *kernel, const char *owner, u32 type, void *to, u32 len)
{
	struct elf_image image;

	if (!elf_probe(kernel) || read_headers(kernel, &image))
		return 0;
	for (unsigned i = 0; i < image.count; i++) {
		u32 found = 0;

		if (image.segments[i].type == PT_NOTE)
			found = note_in_segment(kernel, &image.segments[i], owner, type, to, len);
		if (found)
			return found;
	}
	return 0;
}
