/* SPDX-License-Identifier: MIT */
/* What the two files of VM-entry checks share; not for others. */
#ifndef VIRT_VMX_CHECK_H
#define VIRT_VMX_CHECK_H

#include "virt/vmx.h"

/* In a function that has `vmx` and `v`, its copy of the VMCS, and gives a bool. */
#define FAIL_IF(condition, section, ...) \
	do { \
		if (unlikely(condition)) \
			return FAILURE(&vmx->failure, "SDM3 " section, __VA_ARGS__); \
	} while (0)

/* The secondary controls that count: none where the primary ones do not activate them. */
static inline u64 vmx_secondary(const struct vmcs *v)
{
	return v->cpu_controls & PROC_SECONDARY ? v->secondary_controls : 0;
}

static inline bool vmx_beyond_width(const struct cpu *cpu, u64 address)
{
	return address >> cpu->phys_bits;
}

/* IA32_PERF_GLOBAL_CTRL's bits that no counter of CPUID leaf 0Ah has, SDM3 20.2.2. */
u64 vmx_perf_global_reserved(struct cpu *cpu);
/* 4 or 8 aligned bytes of guest memory, read once; all ones where no memory is. */
u64 vmx_peek(struct cpu *cpu, u64 pa, unsigned size);

#endif
