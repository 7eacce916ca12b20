// SPDX-License-Identifier: MIT
/*
 * What VMRUN checks before the guest runs: APM2 15.5.1 (Canonicalization and Consistency Checks),
 * 15.20 and 15.25.3. One line a check; the first that fails is recorded with its section, its words
 * and the fields it looked at, and the guest ends with VMEXIT_INVALID.
 *
 * Fields that the clean bits let VMRUN keep were checked when they were read. Not here: what needs
 * features that are not offered (CET, AVIC, SEV, V_NMI, GMET).
 */
#include "virt/svm.h"

/* APM2 15.11: 8 KiB. APM2 15.10.1: a bit for each of 64K + 3 ports. */
#define MSRPM_SIZE 0x2000ull
#define IOPM_SIZE 0x2001ull

#define FAIL_IF(condition, section, ...) \
	do { \
		if (unlikely(condition)) \
			return FAILURE(&svm->failure, "APM2 " section, __VA_ARGS__); \
	} while (0)

/* The map's last byte is at or above the limit of physical addresses, low 12 bits ignored. */
static bool map_too_high(const struct cpu *cpu, u64 base, u64 size)
{
	base &= PAGE_MASK;
	return base >= BIT(cpu->phys_bits) || base + size >= BIT(cpu->phys_bits);
}

static bool check_controls(struct cpu *cpu, struct svm *svm, const union vmcb *v)
{
	FAIL_IF(!(v->intercept_misc2 & BIT(0)), "15.5.1", "the VMRUN intercept is clear",
		SHOW(intercept_misc2));
	FAIL_IF(!v->guest_asid, "15.5.1", "the ASID is zero", SHOW(guest_asid));
	FAIL_IF(map_too_high(cpu, v->iopm_base_pa, IOPM_SIZE), "15.5.1",
		"the I/O permission map reaches beyond physical memory's limit", SHOW(iopm_base_pa));
	FAIL_IF(map_too_high(cpu, v->msrpm_base_pa, MSRPM_SIZE), "15.5.1",
		"the MSR permission map reaches beyond physical memory's limit", SHOW(msrpm_base_pa));
	return true;
}

static bool check_nested_paging(struct cpu *cpu, struct svm *svm, const union vmcb *v)
{
	if (!(v->nested_control & NESTED_NP_ENABLE))
		return true;
	FAIL_IF(!(cpu->cr0 & CR0_PG), "15.25.3", "nested paging while the host's CR0.PG is clear",
		SHOW_AS("host_cr0", cpu->cr0), SHOW(nested_control));
	FAIL_IF(v->n_cr3 & ~(BIT(cpu->phys_bits) - 1), "15.25.4",
		"nCR3 has bits above the physical address width", SHOW(n_cr3));
	FAIL_IF(!cpu_pat_valid(v->g_pat), "15.25.4", "G_PAT has a reserved memory type", SHOW(g_pat));
	return true;
}

static bool check_control_registers(struct cpu *cpu, struct svm *svm, const union vmcb *v)
{
	bool long_mode = (v->efer & EFER_LME) && (v->cr0 & CR0_PG);

	FAIL_IF(!(v->efer & EFER_SVME), "15.5.1", "EFER.SVME is zero", SHOW(efer));
	FAIL_IF(v->efer & ~(cpu_efer_valid(cpu) | EFER_LMA), "15.5.1", "EFER has reserved bits set",
		SHOW(efer));
	FAIL_IF(!(v->cr0 & CR0_CD) && (v->cr0 & CR0_NW), "15.5.1", "CR0.NW is set and CR0.CD is not",
		SHOW(cr0));
	FAIL_IF(v->cr0 >> 32, "15.5.1", "CR0 bits 63:32 are not zero", SHOW(cr0));
	FAIL_IF(v->cr4 & ~cpu_cr4_valid(cpu), "15.5.1", "CR4 has reserved bits set", SHOW(cr4));
	FAIL_IF(long_mode && !(v->cr4 & CR4_PAE), "15.5.1",
		"EFER.LME and CR0.PG are set and CR4.PAE is not", SHOW(efer), SHOW(cr0), SHOW(cr4));
	FAIL_IF(long_mode && !(v->cr0 & CR0_PE), "15.5.1",
		"EFER.LME and CR0.PG are set and CR0.PE is not", SHOW(efer), SHOW(cr0));
	FAIL_IF(v->cr3 & MASK(63, cpu->phys_bits), "15.5.1",
		"CR3 has bits above the physical address width", SHOW(cr3));
	return true;
}

/* Both classes may have been read: any of EFER, CR0, CR4 and CS's attributes. */
static bool check_code_segment(struct svm *svm, const union vmcb *v)
{
	const u16 both = SEG_L | SEG_DB;

	FAIL_IF((v->efer & EFER_LME) && (v->cr0 & CR0_PG) && (v->cr4 & CR4_PAE) &&
		(v->cs_attrib & both) == both, "15.5.1",
		"EFER.LME, CR0.PG, CR4.PAE, CS.L and CS.D are all set", SHOW(efer), SHOW(cs_attrib));
	return true;
}

static bool check_debug_registers(struct svm *svm, const union vmcb *v)
{
	FAIL_IF(v->dr6 >> 32, "15.5.1", "DR6 bits 63:32 are not zero", SHOW(dr6));
	FAIL_IF(v->dr7 >> 32, "15.5.1", "DR7 bits 63:32 are not zero", SHOW(dr7));
	return true;
}

/* Vectors that are exceptions on this CPU, APM2 table 8-1. */
#define EXCEPTION_VECTORS \
	(BIT(VEC_DE) | BIT(VEC_DB) | BIT(VEC_BP) | BIT(VEC_OF) | BIT(VEC_BR) | BIT(VEC_UD) | \
		BIT(VEC_NM) | BIT(VEC_DF) | BIT(VEC_TS) | BIT(VEC_NP) | BIT(VEC_SS) | BIT(VEC_GP) | \
		BIT(VEC_PF) | BIT(VEC_MF) | BIT(VEC_AC) | BIT(VEC_MC) | BIT(VEC_XM) | BIT(VEC_SX))

static bool check_event(struct svm *svm, const union vmcb *v)
{
	unsigned type = EVENT_INFO_TYPE(v->event_inj);
	u8 vector = v->event_inj & EVENT_INFO_VECTOR;

	if (!(v->event_inj & EVENT_INFO_VALID))
		return true;
	FAIL_IF(type != EVENT_INTR && type != EVENT_NMI && type != EVENT_EXCEPTION &&
		type != EVENT_SOFT, "15.20", "EVENTINJ has a reserved type", SHOW(event_inj));
	if (type != EVENT_EXCEPTION)
		return true;
	FAIL_IF(vector == VEC_NMI, "15.20", "EVENTINJ is an exception with the NMI's vector",
		SHOW(event_inj));
	FAIL_IF(vector > 31 || !(EXCEPTION_VECTORS & BIT(vector)), "15.20",
		"EVENTINJ is an exception with a vector that no exception has", SHOW(event_inj));
	return true;
}

bool svm_check(struct cpu *cpu, u32 dirty)
{
	struct svm *svm = svm_of(cpu);
	const union vmcb *v = &svm->vmcb;

	svm->failure.text = NULL;
	if ((dirty & (VMCB_CLEAN_I | VMCB_CLEAN_ASID | VMCB_CLEAN_IOPM)) && !check_controls(cpu, svm, v))
		return false;
	if (!check_nested_paging(cpu, svm, v))
		return false;
	if ((dirty & VMCB_CLEAN_CRX) && !check_control_registers(cpu, svm, v))
		return false;
	if ((dirty & (VMCB_CLEAN_CRX | VMCB_CLEAN_SEG)) && !check_code_segment(svm, v))
		return false;
	if ((dirty & VMCB_CLEAN_DRX) && !check_debug_registers(svm, v))
		return false;
	return check_event(svm, v);
}
