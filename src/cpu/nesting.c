/* SPDX-License-Identifier: MIT */
#include "cpu/nesting.h"

#include <cpuid.h>

enum { EAX, EBX, ECX, EDX };

#define HYPERVISOR_PRESENT BIT(31) /* leaf 1, ECX: APM3 E.3.2 keeps it for hypervisors */

void nesting_read_cpu(void *arg, u32 leaf, u32 subleaf, u32 out[4])
{
	__cpuid_count(leaf, subleaf, out[EAX], out[EBX], out[ECX], out[EDX]);
}

struct nesting nesting_find(const struct cpuid_source *source)
{
	struct nesting nesting = { 0 };
	u32 out[4];

	/* Real CPUs answer leaves that they do not have with those of another */
	source->read(source->arg, 1, 0, out);
	if (!(out[ECX] & HYPERVISOR_PRESENT))
		return nesting;
	source->read(source->arg, NESTING_LEAF, 0, out);
	if (out[EBX] != NESTING_WORD0 || out[ECX] != NESTING_WORD1 || out[EDX] != NESTING_WORD2 ||
	    out[EAX] < NESTING_LEVEL)
		return nesting;
	source->read(source->arg, NESTING_LEVEL, 0, out);
	nesting.level = MIN(MAX(out[EBX], 1u), (u32)NESTING_LEVEL_MAX);
	nesting.engine = out[ECX] == NESTING_KVM ? NESTING_KVM : NESTING_SOFT;
	return nesting;
}

struct nesting nesting_here(void)
{
	struct cpuid_source source = { .read = nesting_read_cpu };

	return nesting_find(&source);
}
