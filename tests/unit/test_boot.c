/* SPDX-License-Identifier: MIT */
/*
 * Loaders: kernels made here byte by byte, whole and broken. What matters of a broken one is that
 * it is refused in one line and that nothing outside of guest RAM is touched.
 */
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "board/board.h"

#define RAM_SIZE (32 * MIB)

struct fixture {
	struct boot_source source;
	struct boot_module module;
	struct memory_map map;
	struct boot boot;
	u8 *ram;
};

static struct boot_file make_file(const char *option, const void *bytes, u64 len)
{
	struct boot_file file = { .option = option, .path = "/some/where/file name", .size = len };

	file.fd = memfd_create("kernel", MFD_CLOEXEC);
	assert_true(file.fd >= 0);
	assert_int_equal(write(file.fd, bytes, len), len);
	return file;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->ram = calloc(1, RAM_SIZE);
	f->source.append = "some words";
	f->source.initrd.fd = f->source.kernel.fd = f->module.file.fd = -1;
	board_memory_map(&f->map, RAM_SIZE);
	f->boot = (struct boot){ .source = &f->source, .map = &f->map, .low = f->ram,
		.low_size = RAM_SIZE, .rsdp = 0x12340 };
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->source.kernel.fd >= 0)
		close(f->source.kernel.fd);
	if (f->source.initrd.fd >= 0)
		close(f->source.initrd.fd);
	if (f->module.file.fd >= 0)
		close(f->module.file.fd);
	free(f->ram);
	free(f);
	return 0;
}

static void use_kernel(struct fixture *f, const void *bytes, u64 len)
{
	if (f->source.kernel.fd >= 0)
		close(f->source.kernel.fd);
	f->source.kernel = make_file("--kernel", bytes, len);
}

/* Refused, in one line that names the option. */
static void refused(struct fixture *f, const char *word)
{
	assert_int_equal(boot_load(&f->boot), -1);
	assert_int_equal(strncmp(f->boot.problem, "--", 2), 0);
	assert_null(strchr(f->boot.problem, '\n'));
	if (!strstr(f->boot.problem, word))
		fail_msg("\"%s\" does not speak of \"%s\"", f->boot.problem, word);
}

static u64 get(const u8 *at, unsigned size)
{
	u64 value = 0;

	memcpy(&value, at, size);
	return value;
}

static void put(u8 *at, u64 value, unsigned size)
{
	memcpy(at, &value, size);
}

/* ---- Linux ---- */

#define SETUP_SECTS 2
#define LINUX_SIZE ((1 + SETUP_SECTS) * 512 + 4096)

static void make_linux(u8 image[LINUX_SIZE])
{
	memset(image, 0, LINUX_SIZE);
	image[0x1f1] = SETUP_SECTS;
	put(image + 0x200, 0x6aeb, 2);
	memcpy(image + 0x202, "HdrS", 4);
	put(image + 0x206, 0x20f, 2);
	image[0x211] = 1;
	put(image + 0x22c, 0x7fffffff, 4);
	put(image + 0x230, 0x200000, 4);
	image[0x234] = 1;
	put(image + 0x236, 1, 2);
	put(image + 0x238, 255, 4);
	put(image + 0x258, 16 * MIB, 8);
	put(image + 0x260, 4 * MIB, 4);
	memset(image + (1 + SETUP_SECTS) * 512, 0xab, 4096);
}

static void linux_loads(void **state)
{
	struct fixture *f = *state;
	u8 image[LINUX_SIZE], initrd[5000], *zero_page;
	u64 at;

	make_linux(image);
	memset(initrd, 0xcd, sizeof(initrd));
	use_kernel(f, image, sizeof(image));
	f->source.initrd = make_file("--initrd", initrd, sizeof(initrd));
	assert_int_equal(boot_load(&f->boot), 0);
	assert_int_equal(f->boot.kind, BOOT_LINUX);
	assert_true(f->boot.entry.long_mode);
	assert_int_equal(f->boot.entry.rip, 16 * MIB + 0x200);
	assert_int_equal(f->ram[16 * MIB], 0xab);
	assert_int_equal(f->ram[16 * MIB + 4095], 0xab);
	zero_page = f->ram + f->boot.entry.rsi;
	assert_int_equal(get(zero_page + 0x202, 4), 0x53726448);
	assert_int_equal(get(zero_page + 0x070, 8), 0x12340);
	assert_int_equal(zero_page[0x210], 0xff);
	assert_string_equal((char *)f->ram + get(zero_page + 0x228, 4), "some words");
	assert_int_equal(zero_page[0x1e8], f->map.count);
	assert_int_equal(get(zero_page + 0x21c, 4), sizeof(initrd));
	at = get(zero_page + 0x218, 4);
	assert_int_equal(at % PAGE_SIZE, 0);
	assert_true(at >= 20 * MIB && at + sizeof(initrd) <= RAM_SIZE);
	assert_memory_equal(f->ram + at, initrd, sizeof(initrd));
	/* What the header does not cover stays zero: 0x202 + 0x6a */
	assert_int_equal(get(zero_page + 0x26c, 4), 0);

	/* The identity tables lead an address to itself */
	for (u64 address = 0; address < 4 * GIB; address += GIB - 2 * MIB) {
		u64 entry = get(f->ram + f->boot.entry.cr3, 8);

		entry = get(f->ram + (entry & PAGE_MASK) + 8 * (address >> 30), 8);
		entry = get(f->ram + (entry & PAGE_MASK) + 8 * (address >> 21 & 511), 8);
		assert_int_equal(entry, (address & ~(2 * MIB - 1)) | 0x83);
	}
	assert_int_equal(f->boot.entry.code, 0x10);
	assert_int_equal(f->boot.entry.data, 0x18);
	/* Long-mode code, and data */
	assert_int_equal(get(f->ram + f->boot.entry.gdt_base + 0x10, 8), 0x00af9b000000ffff);
	assert_int_equal(get(f->ram + f->boot.entry.gdt_base + 0x18, 8), 0x00cf93000000ffff);
}

static void linux_moves_down(void **state)
{
	struct fixture *f = *state;
	u8 image[LINUX_SIZE];

	make_linux(image);
	put(image + 0x258, 30 * MIB, 8);
	use_kernel(f, image, sizeof(image));
	assert_int_equal(boot_load(&f->boot), 0);
	assert_int_equal(f->boot.entry.rip, 2 * MIB + 0x200);
	image[0x234] = 0;
	use_kernel(f, image, sizeof(image));
	refused(f, "34 MiB");
}

static void linux_refused(void **state)
{
	struct fixture *f = *state;
	u8 image[LINUX_SIZE];

	make_linux(image);
	put(image + 0x206, 0x20b, 2);
	use_kernel(f, image, sizeof(image));
	refused(f, "64-bit");
	make_linux(image);
	put(image + 0x236, 0, 2);
	use_kernel(f, image, sizeof(image));
	refused(f, "64-bit");
	make_linux(image);
	image[0x201] = 0x10;
	use_kernel(f, image, sizeof(image));
	refused(f, "header");
	make_linux(image);
	put(image + 0x260, 64 * MIB, 4);
	use_kernel(f, image, sizeof(image));
	refused(f, "--memory");
	make_linux(image);
	put(image + 0x258, ~0ull, 8);
	put(image + 0x260, ~0u, 4);
	use_kernel(f, image, sizeof(image));
	refused(f, "--memory");
	make_linux(image);
	put(image + 0x238, 4, 4);
	use_kernel(f, image, sizeof(image));
	refused(f, "--append");
	make_linux(image);
	image[0x1f1] = 255;
	use_kernel(f, image, sizeof(image));
	refused(f, "cut off");
	for (unsigned len = 0x206; len < (1 + SETUP_SECTS) * 512; len += 97) {
		make_linux(image);
		use_kernel(f, image, len);
		refused(f, "cut off");
	}
}

static void initrd_does_not_fit(void **state)
{
	struct fixture *f = *state;
	u8 image[LINUX_SIZE];

	make_linux(image);
	use_kernel(f, image, sizeof(image));
	f->source.initrd = make_file("--initrd", "x", 1);
	/* From 20 MiB, where the kernel ends, to 32 MiB */
	assert_int_equal(ftruncate(f->source.initrd.fd, 13 * MIB), 0);
	f->source.initrd.size = 12 * MIB;
	assert_int_equal(boot_load(&f->boot), 0);
	f->source.initrd.size = 12 * MIB + 1;
	refused(f, "--initrd");
	f->source.initrd.size = ~0ull;
	refused(f, "--initrd");
	/* The kernel's own limit */
	f->source.initrd.size = PAGE_SIZE;
	put(image + 0x22c, 20 * MIB + 4094, 4);
	use_kernel(f, image, sizeof(image));
	refused(f, "--initrd");
	put(image + 0x22c, 20 * MIB + 4095, 4);
	use_kernel(f, image, sizeof(image));
	assert_int_equal(boot_load(&f->boot), 0);
	/* The file shrank since it was measured */
	f->source.initrd.size = 2 * MIB;
	make_linux(image);
	use_kernel(f, image, sizeof(image));
	assert_int_equal(ftruncate(f->source.initrd.fd, MIB), 0);
	refused(f, "--initrd");
}

/* ---- ELF ---- */

struct small_elf {
	Elf32_Ehdr header;
	Elf32_Phdr segments[2];
	u32 multiboot[8];
	struct {
		Elf32_Nhdr header;
		char name[4];
		u32 entry;
	} note;
	u8 code[64];
};

static void make_elf(struct small_elf *elf)
{
	memset(elf, 0, sizeof(*elf));
	memcpy(elf->header.e_ident, ELFMAG, SELFMAG);
	elf->header.e_ident[EI_CLASS] = ELFCLASS32;
	elf->header.e_ident[EI_DATA] = ELFDATA2LSB;
	elf->header.e_machine = EM_386;
	elf->header.e_phoff = offsetof(struct small_elf, segments);
	elf->header.e_phentsize = sizeof(Elf32_Phdr);
	elf->header.e_phnum = 2;
	elf->header.e_entry = 0xc0100004;
	elf->segments[0] = (Elf32_Phdr){ .p_type = PT_LOAD, .p_offset = offsetof(struct small_elf,
		code), .p_vaddr = 0xc0100000, .p_paddr = 2 * MIB, .p_filesz = 64, .p_memsz = 8192 };
	memset(elf->code, 0x90, sizeof(elf->code));
}

static void add_multiboot(struct small_elf *elf)
{
	elf->multiboot[0] = 0x1badb002;
	elf->multiboot[1] = 3;
	elf->multiboot[2] = -(0x1badb002 + 3);
}

static void add_note(struct small_elf *elf)
{
	elf->segments[1] = (Elf32_Phdr){ .p_type = PT_NOTE, .p_offset = offsetof(struct small_elf,
		note), .p_filesz = sizeof(elf->note) };
	elf->note.header = (Elf32_Nhdr){ 4, 4, 18 };
	memcpy(elf->note.name, "Xen", 4);
	elf->note.entry = 0x200010;
}

static void multiboot_loads(void **state)
{
	struct fixture *f = *state;
	struct small_elf elf;
	u8 module[5000];
	const u8 *info, *entry;

	make_elf(&elf);
	add_multiboot(&elf);
	memset(module, 0xee, sizeof(module));
	use_kernel(f, &elf, sizeof(elf));
	f->module = (struct boot_module){ make_file("--module", module, sizeof(module)), "a=b c" };
	f->source.modules = &f->module;
	f->source.module_count = 1;
	memset(f->ram + 2 * MIB, 0x55, 8192);
	assert_int_equal(boot_load(&f->boot), 0);
	assert_int_equal(f->boot.kind, BOOT_MULTIBOOT);
	assert_false(f->boot.entry.long_mode);
	assert_int_equal(f->boot.entry.rip, 2 * MIB + 4); /* virtual entry, physical place */
	assert_int_equal(f->boot.entry.rax, 0x2badb002);
	assert_int_equal(f->ram[2 * MIB + 63], 0x90);
	assert_int_equal(f->ram[2 * MIB + 64], 0);   /* bss */
	assert_int_equal(f->ram[2 * MIB + 8191], 0);
	info = f->ram + f->boot.entry.rbx;
	assert_int_equal(get(info, 4) & 0x4d, 0x4d);
	assert_int_equal(get(info + 4, 4), 636);
	assert_int_equal(get(info + 8, 4), (RAM_SIZE - MIB) / 1024);
	assert_string_equal((char *)f->ram + get(info + 16, 4), "file_name some words");
	assert_int_equal(get(info + 20, 4), 1);
	entry = f->ram + get(info + 24, 4);
	assert_int_equal(get(entry, 4), 2 * MIB + 8192);
	assert_int_equal(get(entry + 4, 4), 2 * MIB + 8192 + sizeof(module));
	assert_memory_equal(f->ram + get(entry, 4), module, sizeof(module));
	assert_string_equal((char *)f->ram + get(entry + 8, 4), "file_name a=b c");
	assert_int_equal(get(info + 44, 4), f->map.count * 24);
	assert_int_equal(get(f->ram + get(info + 48, 4), 4), 20);

	f->source.append = ""; /* no trailing space: some kernels would see an empty word */
	assert_int_equal(boot_load(&f->boot), 0);
	assert_string_equal((char *)f->ram + get(info + 16, 4), "file_name");
}

static void multiboot_by_addresses(void **state)
{
	struct fixture *f = *state;
	u32 image[64] = { 0 };

	image[4] = 0x1badb002;
	image[5] = 0x10000;
	image[6] = -(0x1badb002 + 0x10000);
	image[7] = 0x200010; /* header_addr */
	image[8] = 0x200008; /* load_addr: file offset 8 */
	image[9] = 0x200028; /* load_end_addr */
	image[10] = 0x201000; /* bss_end_addr */
	image[11] = 0x200020;
	image[2] = 0x11223344;
	use_kernel(f, image, sizeof(image));
	memset(f->ram + 2 * MIB, 0x55, 8192);
	assert_int_equal(boot_load(&f->boot), 0);
	assert_int_equal(f->boot.entry.rip, 0x200020);
	assert_int_equal(get(f->ram + 0x200008, 4), 0x11223344);
	assert_int_equal(get(f->ram + 0x200027, 2), 0);
	assert_int_equal(f->ram[0x201000], 0x55);

	image[8] = 0x200000 - 0x100; /* more before the header than the file has */
	use_kernel(f, image, sizeof(image));
	refused(f, "header");
	image[8] = 0x200020; /* behind the header */
	use_kernel(f, image, sizeof(image));
	refused(f, "header");
	image[8] = 0x200008;
	image[9] = 0x200000; /* ends before it begins */
	use_kernel(f, image, sizeof(image));
	refused(f, "header");
	image[9] = 0x300000; /* more than the file has */
	use_kernel(f, image, sizeof(image));
	refused(f, "cut off");
	image[9] = 0;
	image[10] = 0xffffffff;
	use_kernel(f, image, sizeof(image));
	refused(f, "--memory");
	image[7] = 0x10;
	image[8] = 8;
	use_kernel(f, image, sizeof(image));
	refused(f, "1 MiB");
}

static void multiboot_refused(void **state)
{
	struct fixture *f = *state;
	struct small_elf elf;

	make_elf(&elf);
	add_multiboot(&elf);
	elf.multiboot[1] = 0x8;
	elf.multiboot[2] = -(0x1badb002 + 8);
	use_kernel(f, &elf, sizeof(elf));
	refused(f, "multiboot");
	/* A wrong checksum is no header */
	elf.multiboot[2]++;
	use_kernel(f, &elf, sizeof(elf));
	refused(f, "no kernel");
	make_elf(&elf);
	add_multiboot(&elf);
	elf.header.e_ident[0] = 'x';
	use_kernel(f, &elf, sizeof(elf));
	refused(f, "no ELF");
	make_elf(&elf);
	add_multiboot(&elf);
	use_kernel(f, &elf, sizeof(elf));
	f->source.initrd = make_file("--initrd", "x", 1);
	refused(f, "--module");
}

static void elf_refused(void **state)
{
	struct fixture *f = *state;
	struct small_elf good, elf;

	make_elf(&good);
	add_multiboot(&good);
	elf = good;
	elf.segments[0].p_paddr = 0x1000;
	use_kernel(f, &elf, sizeof(elf));
	refused(f, "1 MiB");
	elf = good;
	elf.segments[0].p_memsz = 0xfffff000;
	use_kernel(f, &elf, sizeof(elf));
	refused(f, "--memory");
	elf = good;
	elf.segments[0].p_paddr = RAM_SIZE - 8192 + 1;
	use_kernel(f, &elf, sizeof(elf));
	refused(f, "--memory");
	elf = good;
	elf.segments[0].p_filesz = 8193;
	use_kernel(f, &elf, sizeof(elf));
	refused(f, "headers");
	elf = good;
	elf.segments[0].p_filesz = 65;
	use_kernel(f, &elf, sizeof(elf));
	refused(f, "cut off");
	elf = good;
	elf.segments[0].p_offset = 0xffffffff;
	use_kernel(f, &elf, sizeof(elf));
	refused(f, "cut off");
	elf = good;
	elf.header.e_phnum = 0xffff;
	use_kernel(f, &elf, sizeof(elf));
	refused(f, "headers");
	elf = good;
	elf.header.e_phoff = 0xfffffff0;
	use_kernel(f, &elf, sizeof(elf));
	refused(f, "cut off");
	elf = good;
	elf.header.e_machine = EM_ARM;
	use_kernel(f, &elf, sizeof(elf));
	refused(f, "processor");
	elf = good;
	elf.segments[0].p_type = PT_NULL;
	use_kernel(f, &elf, sizeof(elf));
	refused(f, "nothing to load");
}

static void pvh_loads(void **state)
{
	struct fixture *f = *state;
	struct small_elf elf;
	const u8 *info, *module;

	make_elf(&elf);
	add_note(&elf);
	use_kernel(f, &elf, sizeof(elf));
	f->source.initrd = make_file("--initrd", "initrd", 6);
	assert_int_equal(boot_load(&f->boot), 0);
	assert_int_equal(f->boot.kind, BOOT_PVH);
	assert_int_equal(f->boot.entry.rip, 0x200010);
	info = f->ram + f->boot.entry.rbx;
	assert_int_equal(get(info, 4), 0x336ec578);
	assert_int_equal(get(info + 4, 4), 1);
	assert_int_equal(get(info + 12, 4), 1);
	module = f->ram + get(info + 16, 8);
	assert_memory_equal(f->ram + get(module, 8), "initrd", 6);
	assert_int_equal(get(module + 8, 8), 6);
	assert_string_equal((char *)f->ram + get(info + 24, 8), "some words");
	assert_int_equal(get(info + 32, 8), 0x12340);
	assert_int_equal(get(info + 48, 4), f->map.count);
	assert_int_equal(get(f->ram + get(info + 40, 8) + 8, 8), f->map.ranges[0].size);

	elf.note.header.n_descsz = 0xfffffffc;
	use_kernel(f, &elf, sizeof(elf));
	refused(f, "no kernel");
	elf.note.header.n_descsz = 2;
	use_kernel(f, &elf, sizeof(elf));
	refused(f, "note");
	elf.note.header.n_namesz = 0xffffffff;
	use_kernel(f, &elf, sizeof(elf));
	refused(f, "no kernel");
}

/* ---- the rest ---- */

static void no_kernel(void **state)
{
	struct fixture *f = *state;

	use_kernel(f, "", 0);
	refused(f, "no kernel");
	use_kernel(f, "\x1f\x8b\x08", 3);
	refused(f, "gzip");
	f->boot.low_size = MIB;
	refused(f, "--memory");
}

/* Checking alone finds the same faults and touches nothing. */
static void check_only(void **state)
{
	struct fixture *f = *state;
	u8 image[LINUX_SIZE];

	make_linux(image);
	use_kernel(f, image, sizeof(image));
	f->boot.low = NULL;
	assert_int_equal(boot_load(&f->boot), 0);
	assert_int_equal(f->boot.entry.rip, 16 * MIB + 0x200);
	f->source.initrd = make_file("--initrd", "x", 1);
	f->source.initrd.size = 30 * MIB;
	refused(f, "--initrd");
}

static void memory_map(void **state)
{
	static const u64 sizes[] = { 2 * MIB, 512 * MIB, 3 * GIB, 3 * GIB + PAGE_SIZE, 4 * GIB,
		64 * GIB };

	for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
		struct memory_map map;
		u64 ram = 0, end = 0;

		board_memory_map(&map, sizes[s]);
		assert_true(map.count <= ARRAY_SIZE(map.ranges));
		for (unsigned i = 0; i < map.count; i++) {
			/* In order, not empty, none over another */
			assert_true(map.ranges[i].size);
			assert_true(map.ranges[i].base >= end);
			end = map.ranges[i].base + map.ranges[i].size;
			if (map.ranges[i].type != MAP_RAM)
				continue;
			ram += map.ranges[i].size;
			/* None in the hole of devices */
			assert_true(end <= BOARD_LOW_END || map.ranges[i].base >= 4 * GIB);
		}
		/* All but what a PC keeps below 1 MiB */
		assert_int_equal(ram, sizes[s] - MIB + 0x9fc00);
	}
}

static u8 sum(const u8 *at, u64 len)
{
	u8 total = 0;

	while (len--)
		total += *at++;
	return total;
}

static void acpi(void **state)
{
	u8 *area = calloc(1, BOARD_FIRMWARE_LEN);
	struct acpi_layout layout = { .cpus = 256, .ioapic = 0xfec00000, .lapic = 0xfee00000,
		.hpet = 0xfed00000, .pm = 0x600, .reset = 0xcf9, .reset_value = 0xe, .sci = 9 };
	const u8 *rsdp = area + BOARD_RSDP - BOARD_FIRMWARE, *xsdt;
	unsigned hpets = 0;

	acpi_put_tables(area, &layout);
	assert_memory_equal(rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	xsdt = area + get(rsdp + 24, 8) - BOARD_FIRMWARE;
	assert_memory_equal(xsdt, "XSDT", 4);
	assert_int_equal(sum(xsdt, get(xsdt + 4, 4)), 0);
	for (unsigned i = 36; i < get(xsdt + 4, 4); i += 8) {
		const u8 *table = area + get(xsdt + i, 8) - BOARD_FIRMWARE;

		assert_int_equal(sum(table, get(table + 4, 4)), 0);
		if (!memcmp(table, "FACP", 4)) {
			const u8 *dsdt = area + get(table + 40, 4) - BOARD_FIRMWARE;
			const u8 *facs = area + get(table + 36, 4) - BOARD_FIRMWARE;

			assert_memory_equal(dsdt, "DSDT", 4);
			assert_int_equal(sum(dsdt, get(dsdt + 4, 4)), 0);
			assert_memory_equal(facs, "FACS", 4);
			assert_int_equal(get(table + 36, 4) % 64, 0);
		} else if (!memcmp(table, "HPET", 4)) {
			assert_int_equal(get(table + 36, 4), HPET_ID);
			assert_int_equal(get(table + 40, 1), 0); /* memory */
			assert_int_equal(get(table + 44, 8), 0xfed00000);
			hpets++;
		}
	}
	assert_int_equal(hpets, 1);
	free(area);
}

#define WITH_FIXTURE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(linux_loads), WITH_FIXTURE(linux_moves_down), WITH_FIXTURE(linux_refused),
		WITH_FIXTURE(initrd_does_not_fit), WITH_FIXTURE(multiboot_loads),
		WITH_FIXTURE(multiboot_by_addresses), WITH_FIXTURE(multiboot_refused),
		WITH_FIXTURE(elf_refused), WITH_FIXTURE(pvh_loads), WITH_FIXTURE(no_kernel),
		WITH_FIXTURE(check_only), cmocka_unit_test(memory_map), cmocka_unit_test(acpi),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
