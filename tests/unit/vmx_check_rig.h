/* SPDX-License-Identifier: MIT */
/*
 * Tests of the checks of a VM entry: a row is a sound VMCS that passes, what a check must find in
 * it, one change at a time, and what stands next to that and must pass.
 */
#ifndef TESTS_VMX_CHECK_RIG_H
#define TESTS_VMX_CHECK_RIG_H

#include "virt/vmx.h"
#include "virt/vmx_caps.h"

/* A physical-address width that no host changes, and its border. */
#define PHYS_BITS 40
#define BEYOND BIT(PHYS_BITS)
#define TOP_PAGE (BIT(PHYS_BITS) - PAGE_SIZE)
/* The border of canonical addresses. */
#define NOT_CANONICAL BIT(47)
#define LAST_LOW (BIT(47) - 1)
#define FIRST_HIGH MASK(63, 47)

/* What lies in RAM, which ends below NO_MEMORY. */
#define CURRENT 0x20000u
#define SHADOW_REGION 0x21000u
#define PLAIN_REGION 0x22000u
#define STRANGE_REGION 0x23000u
#define VIRTUAL_APIC 0x24000u      /* VTPR is 5Fh */
#define PDPTES 0x25000u            /* sound */
#define PDPTES_BIT1 0x25020u       /* with a reserved bit in one that is present */
#define PDPTES_BIT8 0x25040u
#define PDPTES_WIDE 0x25060u
#define PDPTES_ABSENT 0x25080u     /* with reserved bits in one that is not */
#define NO_MEMORY 0x200000u

/* A field of the VMCS and what it becomes. Field 0, the revision, ends a list. */
struct set {
	size_t field;
	u64 value;
};

#define SET(name, value) { offsetof(struct vmcs, name), value }
#define NOTHING { 0 }

/* Controls with nothing chosen but a host of 64 bits. */
#define PIN VMX_PIN_ALLOWED0
#define PROC VMX_PROC_ALLOWED0
#define EXIT (VMX_EXIT_ALLOWED0 | EXIT_HOST_64)
#define ENTRY VMX_ENTRY_ALLOWED0
#define SECONDARY(controls) \
	SET(cpu_controls, PROC | PROC_SECONDARY), SET(secondary_controls, controls)
#define SECONDARY_APIC(controls) \
	SET(cpu_controls, PROC | PROC_SECONDARY | PROC_TPR_SHADOW), SET(secondary_controls, controls)
#define EPTP (0x5000 | 6 | 3 << 3)

/* An event to inject. */
#define EVENT(type, vector) SET(entry_interruption_info, INTR_INFO_VALID | (type) << 8 | (vector))

enum guest_kind {
	LONG_GUEST,   /* 64-bit mode */
	LEGACY_GUEST, /* 32 bits, paging without PAE */
	LEGACY_HOST,  /* the same, and the hypervisor is outside IA-32e mode */
	PAE_GUEST,
	V86_GUEST,
	REAL_GUEST,   /* unrestricted */
	GUEST_KINDS
};

struct rule {
	const char *section, *text; /* text NULL: all of the row passes */
	enum guest_kind guest;
	struct set with[8];         /* changes for the whole row */
	struct set bad[12], good[12];
	u64 qualification;
};

int vmx_rig_setup(void **state);
int vmx_rig_teardown(void **state);
void vmx_rig_run(void **state, const struct rule *rules, size_t count);
/* The VMCS of a row as far as `with`, for what no row can say. */
struct vmcs *vmx_rig_vmcs(void **state, enum guest_kind guest);
/* Runs all checks: the failed one's text, or NULL. */
const char *vmx_rig_check(void **state);

#endif
