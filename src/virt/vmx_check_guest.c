// SPDX-License-Identifier: MIT
/*
 * What a VM entry checks of the guest-state area, SDM3 27.3.1. One line a check, in the manual's
 * order; the first that fails is recorded with its section, its words and the fields it looked at,
 * and the entry ends as an exit with reason 33.
 *
 * Only the copy of the VMCS is looked at; of guest memory the PDPTEs and the first word of the
 * VMCS that the link pointer names, each read once. Not here: BNDCFGS, RTIT_CTL, CET, LBR_CTL,
 * PKRS, UINV and SMM, whose controls are not offered.
 */
#include "virt/vmx_check.h"

#include "virt/vmx_caps.h"

/* Exit qualifications, 27.8 */
enum { OTHER_CHECK = 0, PDPTE_CHECK = 2, NMI_UNDER_STI = 3, LINK_POINTER = 4 };

struct guest {
	struct cpu *cpu;
	bool unrestricted, ia32e, v86;
	u64 qualification;
};

/* ---- 27.3.1.1: control registers, debug registers and MSRs ---- */

static bool check_cr0_cr4(const struct guest *g, struct vmx *vmx, const struct vmcs *v)
{
	u64 fixed0 = VMX_CR0_FIXED0 & ~(g->unrestricted ? CR0_PE | CR0_PG : 0);
	u64 cr4_fixed1 = cpu_cr4_valid(g->cpu);

	FAIL_IF(fixed0 & ~v->guest_cr0, "27.3.1.1", "CR0 has a bit 0 that VMX operation fixes to 1",
		SHOW(guest_cr0), SHOW_AS("fixed0", fixed0));
	FAIL_IF(v->guest_cr0 & ~VMX_CR0_FIXED1, "27.3.1.1",
		"CR0 has a bit 1 that VMX operation fixes to 0", SHOW(guest_cr0),
		SHOW_AS("fixed1", VMX_CR0_FIXED1));
	FAIL_IF((v->guest_cr0 & CR0_PG) && !(v->guest_cr0 & CR0_PE), "27.3.1.1",
		"CR0.PG is 1 and CR0.PE is 0", SHOW(guest_cr0));
	FAIL_IF(VMX_CR4_FIXED0 & ~v->guest_cr4, "27.3.1.1",
		"CR4 has a bit 0 that VMX operation fixes to 1", SHOW(guest_cr4),
		SHOW_AS("fixed0", VMX_CR4_FIXED0));
	FAIL_IF(v->guest_cr4 & ~cr4_fixed1, "27.3.1.1",
		"CR4 has a bit 1 that VMX operation fixes to 0", SHOW(guest_cr4),
		SHOW_AS("fixed1", cr4_fixed1));
	return true;
}

static bool check_registers(const struct guest *g, struct vmx *vmx, const struct vmcs *v)
{
	bool load_debug = v->entry_controls & ENTRY_LOAD_DEBUG;

	FAIL_IF(load_debug && (v->guest_debugctl & ~DEBUGCTL_WRITABLE), "27.3.1.1",
		"IA32_DEBUGCTL has reserved bits set", SHOW(guest_debugctl));
	FAIL_IF(g->ia32e && !(v->guest_cr0 & CR0_PG), "27.3.1.1",
		"\"IA-32e mode guest\" is 1 and CR0.PG is 0", SHOW(guest_cr0), SHOW(entry_controls));
	FAIL_IF(g->ia32e && !(v->guest_cr4 & CR4_PAE), "27.3.1.1",
		"\"IA-32e mode guest\" is 1 and CR4.PAE is 0", SHOW(guest_cr4), SHOW(entry_controls));
	FAIL_IF(!g->ia32e && (v->guest_cr4 & CR4_PCIDE), "27.3.1.1",
		"\"IA-32e mode guest\" is 0 and CR4.PCIDE is 1", SHOW(guest_cr4),
		SHOW(entry_controls));
	FAIL_IF(vmx_beyond_width(g->cpu, v->guest_cr3), "27.3.1.1",
		"CR3 has bits beyond the physical-address width", SHOW(guest_cr3));
	FAIL_IF(load_debug && v->guest_dr7 >> 32, "27.3.1.1", "bits 63:32 of DR7 are not 0",
		SHOW(guest_dr7));
	FAIL_IF(!is_canonical(v->guest_sysenter_esp), "27.3.1.1", "IA32_SYSENTER_ESP is not canonical",
		SHOW(guest_sysenter_esp));
	FAIL_IF(!is_canonical(v->guest_sysenter_eip), "27.3.1.1", "IA32_SYSENTER_EIP is not canonical",
		SHOW(guest_sysenter_eip));
	FAIL_IF((v->entry_controls & ENTRY_LOAD_PERF_GLOBAL) &&
		(v->guest_perf_global_ctrl & vmx_perf_global_reserved(g->cpu)), "27.3.1.1",
		"IA32_PERF_GLOBAL_CTRL has reserved bits set", SHOW(guest_perf_global_ctrl));
	FAIL_IF((v->entry_controls & ENTRY_LOAD_PAT) && !cpu_pat_valid(v->guest_pat), "27.3.1.1",
		"IA32_PAT has a reserved memory type", SHOW(guest_pat));
	if (!(v->entry_controls & ENTRY_LOAD_EFER))
		return true;
	FAIL_IF(v->guest_efer & ~(cpu_efer_valid(g->cpu) | EFER_LMA), "27.3.1.1",
		"IA32_EFER has reserved bits set", SHOW(guest_efer));
	FAIL_IF(!(v->guest_efer & EFER_LMA) != !g->ia32e, "27.3.1.1",
		"IA32_EFER.LMA is not the \"IA-32e mode guest\" control", SHOW(guest_efer),
		SHOW(entry_controls));
	FAIL_IF((v->guest_cr0 & CR0_PG) && !(v->guest_efer & EFER_LMA) != !(v->guest_efer & EFER_LME),
		"27.3.1.1", "IA32_EFER.LMA is not LME and CR0.PG is 1", SHOW(guest_efer),
		SHOW(guest_cr0));
	return true;
}

/* ---- 27.3.1.2: segment registers ---- */

/* Where the four fields of each segment register are, and what they are called. */
enum part { SELECTOR, BASE, LIMIT, RIGHTS };

struct segment_field {
	const char *name;
	size_t offset;
};

#define AT(field) { #field, offsetof(struct vmcs, field) }
#define FIELDS(seg) \
	{ AT(guest_##seg##_selector), AT(guest_##seg##_base), AT(guest_##seg##_limit), \
		AT(guest_##seg##_rights) }

static const struct segment_field segment_field[SEG_COUNT][4] = {
	[ES] = FIELDS(es),
	[CS] = FIELDS(cs),
	[SS] = FIELDS(ss),
	[DS] = FIELDS(ds),
	[FS] = FIELDS(fs),
	[GS] = FIELDS(gs),
	[LDTR] = FIELDS(ldtr),
	[TR] = FIELDS(tr),
};

static inline u64 get(const struct vmcs *v, unsigned seg, enum part part)
{
	return *(const u64 *)((const u8 *)v + segment_field[seg][part].offset);
}

#define SHOW_PART(part) segment_field[seg][part].name, get(v, seg, part)

static inline unsigned dpl(u64 rights)
{
	return (rights & SEG_DPL) >> SEG_DPL_SHIFT;
}

/* CS always is, for the checks that ask. */
static inline bool usable(const struct vmcs *v, unsigned seg)
{
	return seg == CS || !(get(v, seg, RIGHTS) & RIGHTS_UNUSABLE);
}

static bool check_selectors(const struct guest *g, struct vmx *vmx, const struct vmcs *v)
{
	const u64 ti = BIT(2), rpl = 3;

	FAIL_IF(v->guest_tr_selector & ti, "27.3.1.2", "TI of TR's selector is 1",
		SHOW(guest_tr_selector));
	FAIL_IF(usable(v, LDTR) && (v->guest_ldtr_selector & ti), "27.3.1.2",
		"TI of LDTR's selector is 1 and LDTR is usable", SHOW(guest_ldtr_selector),
		SHOW(guest_ldtr_rights));
	FAIL_IF(!g->v86 && !g->unrestricted &&
		((v->guest_ss_selector ^ v->guest_cs_selector) & rpl), "27.3.1.2",
		"RPL of SS's selector is not that of CS's", SHOW(guest_ss_selector),
		SHOW(guest_cs_selector));
	return true;
}

static bool check_bases(const struct guest *g, struct vmx *vmx, const struct vmcs *v)
{
	for (unsigned seg = ES; g->v86 && seg <= GS; seg++)
		FAIL_IF(get(v, seg, BASE) != get(v, seg, SELECTOR) << 4, "27.3.1.2",
			"a segment's base is not its selector times 16 in virtual-8086 mode",
			SHOW_PART(BASE), SHOW_PART(SELECTOR));
	FAIL_IF(!is_canonical(v->guest_tr_base), "27.3.1.2", "TR's base is not canonical",
		SHOW(guest_tr_base));
	FAIL_IF(!is_canonical(v->guest_fs_base), "27.3.1.2", "FS's base is not canonical",
		SHOW(guest_fs_base));
	FAIL_IF(!is_canonical(v->guest_gs_base), "27.3.1.2", "GS's base is not canonical",
		SHOW(guest_gs_base));
	FAIL_IF(usable(v, LDTR) && !is_canonical(v->guest_ldtr_base), "27.3.1.2",
		"LDTR's base is not canonical and LDTR is usable", SHOW(guest_ldtr_base),
		SHOW(guest_ldtr_rights));
	FAIL_IF(v->guest_cs_base >> 32, "27.3.1.2", "bits 63:32 of CS's base are not 0",
		SHOW(guest_cs_base));
	FAIL_IF(usable(v, SS) && v->guest_ss_base >> 32, "27.3.1.2",
		"bits 63:32 of SS's base are not 0 and SS is usable", SHOW(guest_ss_base),
		SHOW(guest_ss_rights));
	FAIL_IF(usable(v, DS) && v->guest_ds_base >> 32, "27.3.1.2",
		"bits 63:32 of DS's base are not 0 and DS is usable", SHOW(guest_ds_base),
		SHOW(guest_ds_rights));
	FAIL_IF(usable(v, ES) && v->guest_es_base >> 32, "27.3.1.2",
		"bits 63:32 of ES's base are not 0 and ES is usable", SHOW(guest_es_base),
		SHOW(guest_es_rights));
	return true;
}

static bool check_v86(struct vmx *vmx, const struct vmcs *v)
{
	for (unsigned seg = ES; seg <= GS; seg++)
		FAIL_IF(get(v, seg, LIMIT) != 0xffff, "27.3.1.2",
			"a segment's limit is not FFFFh in virtual-8086 mode", SHOW_PART(LIMIT));
	for (unsigned seg = ES; seg <= GS; seg++)
		FAIL_IF(get(v, seg, RIGHTS) != 0xf3, "27.3.1.2",
			"a segment's access rights are not F3h in virtual-8086 mode", SHOW_PART(RIGHTS));
	return true;
}

/* Bits 3:0 of the access rights. */
#define TYPE_DATA 3u               /* read/write, accessed, expand-up */
#define TYPE_CODE 9u               /* accessed; and 11, readable */
#define TYPE_CONFORMING 13u        /* accessed; and 15, readable */

static inline unsigned type_of(const struct vmcs *v, unsigned seg)
{
	return get(v, seg, RIGHTS) & SEG_TYPE;
}

/* 9 and 11, or 13 and 15. */
static inline bool is_type(const struct vmcs *v, unsigned seg, unsigned type)
{
	return (type_of(v, seg) & ~SEG_READABLE) == type;
}

static bool check_types(const struct guest *g, struct vmx *vmx, const struct vmcs *v)
{
	static const u8 data[] = { DS, ES, FS, GS };
	bool code = is_type(v, CS, TYPE_CODE) || is_type(v, CS, TYPE_CONFORMING);
	unsigned type = type_of(v, SS);

	FAIL_IF(!g->unrestricted && !code, "27.3.1.2",
		"CS's type is none of 9, 11, 13 and 15, without \"unrestricted guest\"",
		SHOW(guest_cs_rights));
	FAIL_IF(g->unrestricted && !code && type_of(v, CS) != TYPE_DATA, "27.3.1.2",
		"CS's type is none of 3, 9, 11, 13 and 15, with \"unrestricted guest\"",
		SHOW(guest_cs_rights));
	FAIL_IF(usable(v, SS) && type != TYPE_DATA && type != (TYPE_DATA | SEG_EXPAND_DOWN),
		"27.3.1.2", "SS's type is neither 3 nor 7 and SS is usable", SHOW(guest_ss_rights));
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++) {
		unsigned seg = data[i];

		if (!usable(v, seg))
			continue;
		FAIL_IF(!(type_of(v, seg) & SEG_ACCESSED), "27.3.1.2",
			"a data segment's type is not accessed and the register is usable",
			SHOW_PART(RIGHTS));
		FAIL_IF((type_of(v, seg) & SEG_CODE) && !(type_of(v, seg) & SEG_READABLE), "27.3.1.2",
			"a data segment's type is code that is not readable and the register is usable",
			SHOW_PART(RIGHTS));
	}
	for (unsigned seg = ES; seg <= GS; seg++)
		FAIL_IF(usable(v, seg) && !(get(v, seg, RIGHTS) & SEG_S), "27.3.1.2",
			"a segment's S is 0 and the register is usable", SHOW_PART(RIGHTS));
	return true;
}

static bool check_privilege(const struct guest *g, struct vmx *vmx, const struct vmcs *v)
{
	static const u8 data[] = { DS, ES, FS, GS };
	unsigned cs_dpl = dpl(v->guest_cs_rights), ss_dpl = dpl(v->guest_ss_rights);
	unsigned cs_type = type_of(v, CS);

	FAIL_IF(cs_type == TYPE_DATA && cs_dpl, "27.3.1.2", "CS's type is 3 and its DPL is not 0",
		SHOW(guest_cs_rights));
	FAIL_IF(is_type(v, CS, TYPE_CODE) && cs_dpl != ss_dpl, "27.3.1.2",
		"CS is non-conforming and its DPL is not SS's", SHOW(guest_cs_rights),
		SHOW(guest_ss_rights));
	FAIL_IF(is_type(v, CS, TYPE_CONFORMING) && cs_dpl > ss_dpl, "27.3.1.2",
		"CS is conforming and its DPL is greater than SS's", SHOW(guest_cs_rights),
		SHOW(guest_ss_rights));
	FAIL_IF(!g->unrestricted && ss_dpl != (v->guest_ss_selector & 3), "27.3.1.2",
		"SS's DPL is not its selector's RPL, without \"unrestricted guest\"",
		SHOW(guest_ss_rights), SHOW(guest_ss_selector));
	FAIL_IF(cs_type == TYPE_DATA && ss_dpl, "27.3.1.2", "CS's type is 3 and SS's DPL is not 0",
		SHOW(guest_ss_rights), SHOW(guest_cs_rights));
	FAIL_IF(!(v->guest_cr0 & CR0_PE) && ss_dpl, "27.3.1.2", "CR0.PE is 0 and SS's DPL is not 0",
		SHOW(guest_ss_rights), SHOW(guest_cr0));
	for (unsigned i = 0; !g->unrestricted && i < ARRAY_SIZE(data); i++) {
		unsigned seg = data[i];

		FAIL_IF(usable(v, seg) && type_of(v, seg) <= 11 &&
			dpl(get(v, seg, RIGHTS)) < (get(v, seg, SELECTOR) & 3), "27.3.1.2",
			"a data segment's DPL is less than its selector's RPL, without "
			"\"unrestricted guest\"", SHOW_PART(RIGHTS), SHOW_PART(SELECTOR));
	}
	return true;
}

/* Bit 15, the same for all that are usable. */
static bool check_granularity(struct vmx *vmx, const struct vmcs *v, unsigned seg)
{
	u64 limit = get(v, seg, LIMIT), rights = get(v, seg, RIGHTS);

	FAIL_IF((limit & 0xfff) != 0xfff && (rights & RIGHTS_G), "27.3.1.2",
		"a segment's G is 1 and bits 11:0 of its limit are not all 1", SHOW_PART(RIGHTS),
		SHOW_PART(LIMIT));
	FAIL_IF(limit >> 20 && !(rights & RIGHTS_G), "27.3.1.2",
		"a segment's G is 0 and bits 31:20 of its limit are not all 0", SHOW_PART(RIGHTS),
		SHOW_PART(LIMIT));
	return true;
}

static bool check_rights(const struct guest *g, struct vmx *vmx, const struct vmcs *v)
{
	if (!check_types(g, vmx, v) || !check_privilege(g, vmx, v))
		return false;
	for (unsigned seg = ES; seg <= GS; seg++)
		FAIL_IF(usable(v, seg) && !(get(v, seg, RIGHTS) & SEG_P), "27.3.1.2",
			"a segment's P is 0 and the register is usable", SHOW_PART(RIGHTS));
	for (unsigned seg = ES; seg <= GS; seg++)
		FAIL_IF(usable(v, seg) && (get(v, seg, RIGHTS) & MASK(11, 8)), "27.3.1.2",
			"reserved bits 11:8 of a segment's access rights are not 0", SHOW_PART(RIGHTS));
	FAIL_IF(g->ia32e && (v->guest_cs_rights & RIGHTS_L) && (v->guest_cs_rights & RIGHTS_DB),
		"27.3.1.2", "CS's L and D/B are both 1 and \"IA-32e mode guest\" is 1",
		SHOW(guest_cs_rights), SHOW(entry_controls));
	for (unsigned seg = ES; seg <= GS; seg++)
		if (usable(v, seg) && !check_granularity(vmx, v, seg))
			return false;
	for (unsigned seg = ES; seg <= GS; seg++)
		FAIL_IF(usable(v, seg) && (get(v, seg, RIGHTS) & MASK(63, 17)), "27.3.1.2",
			"reserved bits 31:17 of a segment's access rights are not 0", SHOW_PART(RIGHTS));
	return true;
}

static bool check_tr(const struct guest *g, struct vmx *vmx, const struct vmcs *v)
{
	unsigned type = type_of(v, TR);

	FAIL_IF(!g->ia32e && type != 3 && type != 11, "27.3.1.2",
		"TR's type is neither 3 nor 11, a busy TSS", SHOW(guest_tr_rights));
	FAIL_IF(g->ia32e && type != 11, "27.3.1.2",
		"TR's type is not 11, a busy 64-bit TSS, and \"IA-32e mode guest\" is 1",
		SHOW(guest_tr_rights), SHOW(entry_controls));
	FAIL_IF(v->guest_tr_rights & SEG_S, "27.3.1.2", "TR's S is 1", SHOW(guest_tr_rights));
	FAIL_IF(!(v->guest_tr_rights & SEG_P), "27.3.1.2", "TR's P is 0", SHOW(guest_tr_rights));
	FAIL_IF(v->guest_tr_rights & MASK(11, 8), "27.3.1.2",
		"reserved bits 11:8 of TR's access rights are not 0", SHOW(guest_tr_rights));
	if (!check_granularity(vmx, v, TR))
		return false;
	FAIL_IF(v->guest_tr_rights & RIGHTS_UNUSABLE, "27.3.1.2", "TR is unusable",
		SHOW(guest_tr_rights));
	FAIL_IF(v->guest_tr_rights & MASK(63, 17), "27.3.1.2",
		"reserved bits 31:17 of TR's access rights are not 0", SHOW(guest_tr_rights));
	return true;
}

static bool check_ldtr(struct vmx *vmx, const struct vmcs *v)
{
	if (!usable(v, LDTR))
		return true;
	FAIL_IF(type_of(v, LDTR) != 2, "27.3.1.2", "LDTR's type is not 2, an LDT",
		SHOW(guest_ldtr_rights));
	FAIL_IF(v->guest_ldtr_rights & SEG_S, "27.3.1.2", "LDTR's S is 1", SHOW(guest_ldtr_rights));
	FAIL_IF(!(v->guest_ldtr_rights & SEG_P), "27.3.1.2", "LDTR's P is 0 and it is usable",
		SHOW(guest_ldtr_rights));
	FAIL_IF(v->guest_ldtr_rights & MASK(11, 8), "27.3.1.2",
		"reserved bits 11:8 of LDTR's access rights are not 0", SHOW(guest_ldtr_rights));
	if (!check_granularity(vmx, v, LDTR))
		return false;
	FAIL_IF(v->guest_ldtr_rights & MASK(63, 17), "27.3.1.2",
		"reserved bits 31:17 of LDTR's access rights are not 0", SHOW(guest_ldtr_rights));
	return true;
}

static bool check_segments(const struct guest *g, struct vmx *vmx, const struct vmcs *v)
{
	return check_selectors(g, vmx, v) && check_bases(g, vmx, v) &&
	       (g->v86 ? check_v86(vmx, v) : check_rights(g, vmx, v)) && check_tr(g, vmx, v) &&
	       check_ldtr(vmx, v);
}

/* ---- 27.3.1.3: descriptor-table registers; 27.3.1.4: RIP and RFLAGS ---- */

static bool check_tables(struct vmx *vmx, const struct vmcs *v)
{
	FAIL_IF(!is_canonical(v->guest_gdtr_base), "27.3.1.3", "GDTR's base is not canonical",
		SHOW(guest_gdtr_base));
	FAIL_IF(!is_canonical(v->guest_idtr_base), "27.3.1.3", "IDTR's base is not canonical",
		SHOW(guest_idtr_base));
	FAIL_IF(v->guest_gdtr_limit >> 16, "27.3.1.3", "bits 31:16 of GDTR's limit are not 0",
		SHOW(guest_gdtr_limit));
	FAIL_IF(v->guest_idtr_limit >> 16, "27.3.1.3", "bits 31:16 of IDTR's limit are not 0",
		SHOW(guest_idtr_limit));
	return true;
}

static inline bool injects(const struct vmcs *v, unsigned type)
{
	return (v->entry_interruption_info & INTR_INFO_VALID) &&
	       INTR_INFO_TYPE(v->entry_interruption_info) == type;
}

#define RFLAGS_RESERVED (MASK(63, 22) | BIT(15) | BIT(5) | BIT(3))

static bool check_rip_rflags(const struct guest *g, struct vmx *vmx, const struct vmcs *v)
{
	bool long64 = g->ia32e && (v->guest_cs_rights & RIGHTS_L);

	FAIL_IF(!long64 && v->guest_rip >> 32, "27.3.1.4",
		"bits 63:32 of RIP are not 0 and the guest is not in 64-bit mode", SHOW(guest_rip),
		SHOW(guest_cs_rights), SHOW(entry_controls));
	FAIL_IF(long64 && !is_canonical(v->guest_rip), "27.3.1.4",
		"RIP is not canonical and the guest is in 64-bit mode", SHOW(guest_rip));
	FAIL_IF(v->guest_rflags & RFLAGS_RESERVED, "27.3.1.4", "RFLAGS has reserved bits set",
		SHOW(guest_rflags));
	FAIL_IF(!(v->guest_rflags & RFLAGS_RESERVED1), "27.3.1.4", "bit 1 of RFLAGS is 0",
		SHOW(guest_rflags));
	FAIL_IF(g->v86 && g->ia32e, "27.3.1.4", "RFLAGS.VM is 1 and \"IA-32e mode guest\" is 1",
		SHOW(guest_rflags), SHOW(entry_controls));
	FAIL_IF(g->v86 && !(v->guest_cr0 & CR0_PE), "27.3.1.4", "RFLAGS.VM is 1 and CR0.PE is 0",
		SHOW(guest_rflags), SHOW(guest_cr0));
	FAIL_IF(!(v->guest_rflags & RFLAGS_IF) && injects(v, INTR_EXTERNAL), "27.3.1.4",
		"an external interrupt is injected and RFLAGS.IF is 0", SHOW(guest_rflags),
		SHOW(entry_interruption_info));
	return true;
}

/* ---- 27.3.1.5: non-register state ---- */

/* The event to be injected would not be blocked in HLT. */
static bool wakes_hlt(u64 info)
{
	unsigned vector = info & INTR_INFO_VECTOR, type = INTR_INFO_TYPE(info);

	return type == INTR_EXTERNAL || type == INTR_NMI || (type == INTR_OTHER && !vector) ||
	       (type == INTR_HARDWARE_EXCEPTION && (vector == VEC_DB || vector == VEC_MC));
}

static bool wakes_shutdown(u64 info)
{
	unsigned vector = info & INTR_INFO_VECTOR, type = INTR_INFO_TYPE(info);

	return type == INTR_NMI || (type == INTR_HARDWARE_EXCEPTION && vector == VEC_MC);
}

static bool check_activity(struct vmx *vmx, const struct vmcs *v)
{
	const u64 blocking = INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS;
	u64 activity = v->guest_activity, info = v->entry_interruption_info;
	bool valid = info & INTR_INFO_VALID;

	FAIL_IF(activity > ACTIVITY_WAIT_SIPI, "27.3.1.5", "the activity state is greater than 3",
		SHOW(guest_activity));
	FAIL_IF(activity == ACTIVITY_HLT && dpl(v->guest_ss_rights), "27.3.1.5",
		"the activity state is HLT and SS's DPL is not 0", SHOW(guest_activity),
		SHOW(guest_ss_rights));
	FAIL_IF(activity != ACTIVITY_ACTIVE && (v->guest_interruptibility & blocking), "27.3.1.5",
		"the activity state is not active and STI or MOV SS blocks", SHOW(guest_activity),
		SHOW(guest_interruptibility));
	FAIL_IF(activity == ACTIVITY_HLT && valid && !wakes_hlt(info), "27.3.1.5",
		"an event is injected that HLT blocks", SHOW(entry_interruption_info),
		SHOW(guest_activity));
	FAIL_IF(activity == ACTIVITY_SHUTDOWN && valid && !wakes_shutdown(info), "27.3.1.5",
		"an event is injected that shutdown blocks", SHOW(entry_interruption_info),
		SHOW(guest_activity));
	FAIL_IF(activity == ACTIVITY_WAIT_SIPI && valid, "27.3.1.5",
		"an event is injected and the activity state is wait-for-SIPI",
		SHOW(entry_interruption_info), SHOW(guest_activity));
	return true;
}

#define INTERRUPTIBILITY_RESERVED MASK(63, 5)

static bool check_interruptibility(struct guest *g, struct vmx *vmx, const struct vmcs *v)
{
	u64 state = v->guest_interruptibility;
	bool sti = state & INTERRUPTIBILITY_STI, mov_ss = state & INTERRUPTIBILITY_MOV_SS;

	FAIL_IF(state & INTERRUPTIBILITY_RESERVED, "27.3.1.5",
		"reserved bits 31:5 of the interruptibility state are not 0",
		SHOW(guest_interruptibility));
	FAIL_IF(sti && mov_ss, "27.3.1.5", "STI and MOV SS both block",
		SHOW(guest_interruptibility));
	FAIL_IF(sti && !(v->guest_rflags & RFLAGS_IF), "27.3.1.5", "STI blocks and RFLAGS.IF is 0",
		SHOW(guest_interruptibility), SHOW(guest_rflags));
	FAIL_IF((sti || mov_ss) && injects(v, INTR_EXTERNAL), "27.3.1.5",
		"an external interrupt is injected and STI or MOV SS blocks",
		SHOW(guest_interruptibility), SHOW(entry_interruption_info));
	FAIL_IF(mov_ss && injects(v, INTR_NMI), "27.3.1.5", "an NMI is injected and MOV SS blocks",
		SHOW(guest_interruptibility), SHOW(entry_interruption_info));
	g->qualification = NMI_UNDER_STI;
	FAIL_IF(sti && injects(v, INTR_NMI), "27.3.1.5", "an NMI is injected and STI blocks",
		SHOW(guest_interruptibility), SHOW(entry_interruption_info));
	g->qualification = OTHER_CHECK;
	FAIL_IF(state & INTERRUPTIBILITY_SMI, "27.3.1.5",
		"blocking by SMI is 1 and the processor is not in SMM", SHOW(guest_interruptibility));
	FAIL_IF((state & INTERRUPTIBILITY_NMI) && (v->pin_controls & PIN_VIRTUAL_NMIS) &&
		injects(v, INTR_NMI), "27.3.1.5",
		"an NMI is injected and virtual NMIs are blocked", SHOW(guest_interruptibility),
		SHOW(entry_interruption_info), SHOW(pin_controls));
	FAIL_IF((state & INTERRUPTIBILITY_ENCLAVE) && mov_ss, "27.3.1.5",
		"enclave interruption is 1 and MOV SS blocks", SHOW(guest_interruptibility));
	FAIL_IF((state & INTERRUPTIBILITY_ENCLAVE) && !cpu_has(g->cpu, 7, 1, 2), "27.3.1.5",
		"enclave interruption is 1 and the processor has no SGX",
		SHOW(guest_interruptibility));
	return true;
}

#define PENDING_RESERVED (MASK(11, 4) | BIT(13) | BIT(15) | MASK(63, 17))

static bool check_pending_debug(const struct guest *g, struct vmx *vmx, const struct vmcs *v)
{
	const u64 blocking = INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS;
	u64 pending = v->guest_pending_debug;
	bool step = (v->guest_rflags & RFLAGS_TF) && !(v->guest_debugctl & DEBUGCTL_BTF);

	FAIL_IF(pending & PENDING_RESERVED, "27.3.1.5",
		"reserved bits of the pending debug exceptions are not 0", SHOW(guest_pending_debug));
	if ((v->guest_interruptibility & blocking) || v->guest_activity == ACTIVITY_HLT) {
		FAIL_IF(step && !(pending & PENDING_BS), "27.3.1.5",
			"pending BS is 0 with RFLAGS.TF 1 and BTF 0, under blocking or in HLT",
			SHOW(guest_pending_debug), SHOW(guest_rflags), SHOW(guest_debugctl));
		FAIL_IF(!step && (pending & PENDING_BS), "27.3.1.5",
			"pending BS is 1 with RFLAGS.TF 0 or BTF 1, under blocking or in HLT",
			SHOW(guest_pending_debug), SHOW(guest_rflags), SHOW(guest_debugctl));
	}
	if (!(pending & PENDING_RTM))
		return true;
	FAIL_IF(pending != (PENDING_RTM | PENDING_ENABLED_BREAKPOINT), "27.3.1.5",
		"pending RTM is 1 and the other bits are not just bit 12", SHOW(guest_pending_debug));
	FAIL_IF(v->guest_interruptibility & INTERRUPTIBILITY_MOV_SS, "27.3.1.5",
		"pending RTM is 1 and MOV SS blocks", SHOW(guest_pending_debug),
		SHOW(guest_interruptibility));
	FAIL_IF(!cpu_has(g->cpu, 7, 1, 11), "27.3.1.5",
		"pending RTM is 1 and the processor has no RTM", SHOW(guest_pending_debug));
	return true;
}

static bool check_link_pointer(struct guest *g, struct vmx *vmx, const struct vmcs *v)
{
	bool shadowing = vmx_secondary(v) & SEC_SHADOWING;
	u64 word;

	if (v->link_pointer == VMCS_NONE)
		return true;
	g->qualification = LINK_POINTER;
	FAIL_IF(v->link_pointer & ~PAGE_MASK, "27.3.1.5",
		"bits 11:0 of the VMCS link pointer are not 0", SHOW(link_pointer));
	FAIL_IF(vmx_beyond_width(g->cpu, v->link_pointer), "27.3.1.5",
		"the VMCS link pointer is beyond the physical-address width", SHOW(link_pointer));
	word = (u32)vmx_peek(g->cpu, v->link_pointer, 4);
	FAIL_IF((word & MASK(30, 0)) != VMCS_REVISION, "27.3.1.5",
		"the VMCS link pointer names a region without this processor's revision identifier",
		SHOW(link_pointer), SHOW_AS("revision", word));
	FAIL_IF(!(word & VMCS_SHADOW) != !shadowing, "27.3.1.5",
		"the shadow indicator of what the VMCS link pointer names is not \"VMCS shadowing\"",
		SHOW(link_pointer), SHOW_AS("revision", word), SHOW(secondary_controls));
	FAIL_IF(v->link_pointer == vmx->current_pa, "27.3.1.5",
		"the VMCS link pointer is the current VMCS", SHOW(link_pointer));
	g->qualification = OTHER_CHECK;
	return true;
}

static bool check_non_register_state(struct guest *g, struct vmx *vmx, const struct vmcs *v)
{
	return check_activity(vmx, v) && check_interruptibility(g, vmx, v) &&
	       check_pending_debug(g, vmx, v) && check_link_pointer(g, vmx, v);
}

/* ---- 27.3.1.6: PDPTEs ---- */

/* What is found valid is left in vmx->pdpte, so that memory is not read a second time. */
static bool check_pdptes(struct guest *g, struct vmx *vmx, const struct vmcs *v)
{
	static const char *const name[] = { "pdpte0", "pdpte1", "pdpte2", "pdpte3" };
	const u64 field[] = { v->guest_pdpte0, v->guest_pdpte1, v->guest_pdpte2, v->guest_pdpte3 };
	const u64 table = v->guest_cr3 & MASK(31, 5);
	bool ept = vmx_secondary(v) & SEC_EPT;

	if (g->ia32e || !(v->guest_cr0 & CR0_PG) || !(v->guest_cr4 & CR4_PAE))
		return true;
	g->qualification = PDPTE_CHECK;
	for (unsigned i = 0; i < ARRAY_SIZE(vmx->pdpte); i++) {
		/* one at a time, to show which */
		const u64 entry[4] = { ept ? field[i] : vmx_peek(g->cpu, table + i * 8, 8) };

		FAIL_IF(!mmu_pdptes_valid(g->cpu, entry), "27.3.1.6",
			"a PDPTE of PAE paging has reserved bits set", SHOW_AS(name[i], entry[0]),
			SHOW(guest_cr3));
		vmx->pdpte[i] = entry[0];
	}
	g->qualification = OTHER_CHECK;
	return true;
}

bool vmx_check_guest(struct cpu *cpu, u64 *qualification)
{
	struct vmx *vmx = vmx_of(cpu);
	const struct vmcs *v = &vmx->vmcs;
	struct guest g = {
		.cpu = cpu,
		.unrestricted = vmx_secondary(v) & SEC_UNRESTRICTED,
		.ia32e = v->entry_controls & ENTRY_IA32E,
		.v86 = v->guest_rflags & RFLAGS_VM,
		.qualification = OTHER_CHECK,
	};
	bool good;

	vmx->failure.text = NULL;
	good = check_cr0_cr4(&g, vmx, v) && check_registers(&g, vmx, v) &&
	       check_segments(&g, vmx, v) && check_tables(vmx, v) && check_rip_rflags(&g, vmx, v) &&
	       check_non_register_state(&g, vmx, v) && check_pdptes(&g, vmx, v);
	*qualification = g.qualification;
	return good;
}
