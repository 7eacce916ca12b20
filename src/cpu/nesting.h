/* SPDX-License-Identifier: MIT */
/*
 * How deep inside nestboxes a machine is. Its CPUID tells, with either engine, in leaves of
 * nestbox's own beside those of KVM; docs/levels.md has their layout.
 */
#ifndef CPU_NESTING_H
#define CPU_NESTING_H

#include "base/types.h"

#define NESTING_LEAF 0x40000100u /* EAX: last leaf of the range; EBX, ECX, EDX: the name */
#define NESTING_WORD0 0x7473656eu /* "nest" */
#define NESTING_WORD1 0x20786f62u /* "box " */
#define NESTING_WORD2 0x004d4d56u /* "VMM" */
#define NESTING_LEVEL (NESTING_LEAF + 1) /* EAX: version 1; EBX: level; ECX: engine */
#define NESTING_LEVEL_MAX 255

enum nesting_engine { NESTING_NONE, NESTING_SOFT, NESTING_KVM };

struct nesting {
	unsigned level; /* nestboxes around: 0 none, 1 in a machine of the outermost, ... */
	enum nesting_engine engine; /* of the nestbox right around */
};

/* Reads one CPUID leaf into EAX, EBX, ECX, EDX. */
struct cpuid_source {
	void (*read)(void *arg, u32 leaf, u32 subleaf, u32 out[4]);
	void *arg;
};

struct nesting nesting_find(const struct cpuid_source *source);
/* Of the machine that this process is on. */
struct nesting nesting_here(void);
/* The CPU of this thread itself. */
void nesting_read_cpu(void *arg, u32 leaf, u32 subleaf, u32 out[4]);

#endif
