/* SPDX-License-Identifier: MIT */
/*
 * Loaders: from a kernel's file to guest RAM and the registers it starts with. A loader knows
 * files and bytes of low RAM (below the PCI hole) only, no CPU and no machine; boot_enter() alone
 * touches a CPU. Loading with `low` NULL checks all and writes nothing: it is done before a
 * machine is made, so that what is wrong with the files is said first.
 */
#ifndef BOARD_BOOT_H
#define BOARD_BOOT_H

#include "base/types.h"

struct cpu;

/* A file to be loaded. Read where it is needed, never mapped: it may shrink meanwhile. */
struct boot_file {
	const char *option; /* as the user named it: "--kernel" */
	const char *path;
	int fd;
	u64 size;
};

struct boot_module {
	struct boot_file file;
	const char *args; /* "" where there are none */
};

/* What the user asked for; all strings and descriptors stay the caller's. */
struct boot_source {
	struct boot_file kernel; /* path NULL: none */
	struct boot_file initrd; /* path NULL: none */
	const char *append;      /* "" where there is none */
	const struct boot_module *modules;
	unsigned module_count;
};

/* The firmware's memory map; types as ACPI 6.4 15.1 and e820 number them. */
enum { MAP_RAM = 1, MAP_RESERVED = 2, MAP_ACPI = 3, MAP_NVS = 4 };

struct memory_map {
	struct memory_range {
		u64 base, size;
		u32 type;
	} ranges[8];
	unsigned count;
};

enum boot_kind { BOOT_NONE, BOOT_LINUX, BOOT_MULTIBOOT, BOOT_PVH };

/* Registers at the kernel's first instruction; all others are as after reset. */
struct boot_entry {
	bool long_mode;     /* 64-bit with identity tables at cr3; else 32-bit without paging */
	u64 rip, rsp, cr3;
	u64 rax, rbx, rsi;
	u64 gdt_base;
	u16 gdt_limit, code, data; /* limit; selectors in that table */
};

struct boot {
	const struct boot_source *source;
	const struct memory_map *map;
	u8 *low;       /* host address of guest-physical 0, or NULL */
	u64 low_size;
	u64 rsdp;
	enum boot_kind kind;
	struct boot_entry entry;
	char problem[320]; /* one line: option, file, what is wrong, what to do */
};

/* 0, or -1 with `problem` set. Works at any time on any thread: touches no CPU. */
int boot_load(struct boot *boot);
/* Puts the vCPU, just reset, at the kernel's entry. */
void boot_enter(const struct boot *boot, struct cpu *cpu);

/* ---- for the loaders ---- */
/* Sets problem, with the file named first; returns -1. */
int boot_fail(struct boot *boot, const struct boot_file *file, const char *format, ...)
	PRINTF(3, 4);
/* Reads exactly len bytes; false: the file ends before, or cannot be read. */
bool boot_file_read(const struct boot_file *file, u64 offset, void *to, u64 len);
/* Whether guest-physical bytes are all low RAM. */
bool boot_fits(const struct boot *boot, u64 address, u64 len);
/* Writes of what boot_fits(); nothing happens when only checking. */
void boot_put(struct boot *boot, u64 address, const void *from, u64 len);
void boot_zero(struct boot *boot, u64 address, u64 len);
/* A part of a file into RAM. 0 or -1 with problem set. */
int boot_put_file(struct boot *boot, const struct boot_file *file, u64 offset, u64 address,
	u64 len);
/* Flat code and data of 4 GiB; sets entry's gdt fields and selectors. */
void boot_put_gdt(struct boot *boot, u64 address);

int boot_linux_load(struct boot *boot);
int boot_multiboot_load(struct boot *boot);
int boot_pvh_load(struct boot *boot);
/* Whether a kernel's file is of the loader's kind. */
bool boot_linux_probe(const struct boot_file *kernel);
bool boot_multiboot_probe(const struct boot_file *kernel);
bool boot_pvh_probe(const struct boot_file *kernel);

/* Where loaders put what is theirs, below the kernel's 1 MiB. */
#define BOOT_GDT 0x1000
#define BOOT_PAGE_TABLES 0x2000 /* six pages */
#define BOOT_PARAMS 0x8000      /* two pages */
#define BOOT_INFO 0x10000       /* strings and tables of the loader, up to BOOT_INFO_END */
#define BOOT_INFO_END 0x9f000
#define BOOT_KERNEL_MIN 0x100000

#endif
