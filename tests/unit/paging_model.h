/* SPDX-License-Identifier: MIT */
/*
 * Two-stage paging written from the manuals' figures and not from src/cpu: what a walk gives, how it
 * faults, and what it leaves in memory. Slow and plain. For test_mmu.c.
 */
#ifndef TESTS_PAGING_MODEL_H
#define TESTS_PAGING_MODEL_H

#include "cpu/cpu.h"

#define PAGES 64 /* of RAM; each stage and level has eight of them for its tables */
#define SECOND_TABLES 32 /* pages from here on have the second stage's tables */
#define PHYS_BITS 40
#define LOG_ROOM 512

enum form { NONE, LEGACY, PAE, LONG, EPT };

struct stage {
	enum form form;
	bool pse, nxe, second;
	bool flags, mode_based; /* of EPT: accessed and dirty flags; mode-based execute control */
	u64 root;
};

struct model {
	u8 *ram;
	struct stage first, next; /* next.form NONE: no nested paging */
	u64 pdpte[4];
	bool wp, smep, pge;
	u64 apic_page; /* ~0: none */
	bool pml;
	unsigned log_room; /* how many more the log takes */
	unsigned logged;
	u64 log[LOG_ROOM];
	/* A or D of the first stage was set in a page of the second stage's tables: what a CPU
	 * remembers of those may be old from now on */
	bool second_changed;
};

struct result {
	enum { OK, PAGE_FAULT, NESTED_FAULT, VIOLATION, MISCONFIGURATION, LOG_FULL, APIC_ACCESS,
		ENDS } end;
	u64 gpa, span;
	bool writable, global;
	u32 error;
	u64 fault_gpa;
	bool in_walk;
	unsigned qualification;
	bool suppress_ve;
};

u64 model_read(const struct model *m, u64 address, unsigned size);
/* Whether bits hi..lo of a value are all clear. */
bool model_clear(u64 value, unsigned hi, unsigned lo);
/* access: ACCESS_READ, WRITE or EXEC. A PAGE_FAULT's error code is in `error`. */
void model_translate(struct model *m, u64 linear, unsigned access, bool user, bool smap,
	struct result *r);
/* MOV CR3's loading of the PDPTEs into m->pdpte; PAGE_FAULT stands for #GP(0). */
void model_load_pdptes(struct model *m, struct result *r);

#endif
