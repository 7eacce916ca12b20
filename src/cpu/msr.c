/* SPDX-License-Identifier: MIT */
/*
 * Model-specific registers: a table sorted by number, each row with what reading and writing mean.
 * APM2 appendix A, SDM4, and the processor manuals for the C001xxxxh ones.
 *
 * MTRRs and PAT are kept and checked but change nothing: RAM is write-back. There are no machine
 * check banks, and performance counters do not count. The virtualization unit answers for its own MSRs, the
 * local APIC for its.
 */
#include "base/log.h"
#include "cpu/handlers.h"

enum msr_kind {
	MSR_VALUE,     /* reads as value, writes are ignored */
	MSR_READ_ONLY, /* reads as value, writes are #GP */
	MSR_FIELD,     /* cpu's field, bits outside value are #GP */
	MSR_FIELD_RO,
	MSR_CANONICAL, /* cpu's field, an address */
	MSR_CALL,      /* read and write */
	MSR_INTC,      /* the local APIC's */
};

/* Models differ where a vendor has an MSR that the other has not. */
enum msr_vendor { ANY, AMD, INTEL };

struct msr_row {
	u32 first, last;
	u8 kind, vendor;
	u16 field;
	u64 value;
	/* 0, or -1 for #GP(0) */
	int (*read)(struct cpu *cpu, u32 msr, u64 *value);
	int (*write)(struct cpu *cpu, u32 msr, u64 value);
};

/* ---- rows with a function ---- */

static int read_tsc(struct cpu *cpu, u32 msr, u64 *value)
{
	*value = cpu_tsc(cpu);
	return 0;
}

/* SDM3 18.17.3: a write moves TSC_ADJUST by as much. */
static int write_tsc(struct cpu *cpu, u32 msr, u64 value)
{
	/* L1's, also where a guest was let write it: APM2 15.30.5 */
	cpu->tsc_adjust += value - (__builtin_ia32_rdtsc() + cpu->tsc_l1_offset);
	cpu_set_tsc(cpu, value);
	return 0;
}

static int write_tsc_adjust(struct cpu *cpu, u32 msr, u64 value)
{
	u64 by = value - cpu->tsc_adjust;

	cpu->tsc_adjust = value;
	if (by)
		cpu_set_tsc(cpu, __builtin_ia32_rdtsc() + cpu->tsc_l1_offset + by);
	return 0;
}

static int read_tsc_adjust(struct cpu *cpu, u32 msr, u64 *value)
{
	*value = cpu->tsc_adjust;
	return 0;
}

/* Speculation controls are accepted where CPUID names them; there is nothing to switch. */
static bool has_spec_ctrl(const struct cpu *cpu)
{
	return cpu_has(cpu, 7, 3, 26);
}

static int read_spec_ctrl(struct cpu *cpu, u32 msr, u64 *value)
{
	*value = cpu->spec_ctrl;
	return has_spec_ctrl(cpu) ? 0 : -1;
}

static int write_spec_ctrl(struct cpu *cpu, u32 msr, u64 value)
{
	if (!has_spec_ctrl(cpu) || (value & ~MASK(2, 0)))
		return -1;
	cpu->spec_ctrl = value;
	return 0;
}

static int write_pred_cmd(struct cpu *cpu, u32 msr, u64 value)
{
	return has_spec_ctrl(cpu) && !(value & ~1ull) ? 0 : -1;
}

/* The virtualization unit's, where it is Intel's; without one it is locked and off, SDM3 24.7. */
static int read_feature_control(struct cpu *cpu, u32 msr, u64 *value)
{
	*value = 1;
	return cpu->virt ? cpu->virt->read_msr(cpu, msr, value) : 0;
}

static int write_feature_control(struct cpu *cpu, u32 msr, u64 value)
{
	return cpu->virt ? cpu->virt->write_msr(cpu, msr, value) : -1;
}

static int read_forbidden(struct cpu *cpu, u32 msr, u64 *value)
{
	return -1;
}

/*
 * No speculation flaw can be mitigated from in here; say so that the guest does not try at a cost:
 * RDCL_NO, IBRS_ALL, SKIP_L1DFL, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO, FBSDP_NO,
 * PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO, ITS_NO; SDM4 table 2-2
 */
static int read_arch_capabilities(struct cpu *cpu, u32 msr, u64 *value)
{
	*value = BIT(0) | BIT(1) | MASK(6, 3) | BIT(8) | MASK(15, 13) | BIT(20) | BIT(24) | BIT(26) |
		BIT(27) | BIT(62);
	return cpu_has(cpu, 7, 3, 29) ? 0 : -1;
}

static int write_forbidden(struct cpu *cpu, u32 msr, u64 value)
{
	return -1;
}

/* Memory types of MTRRs, APM2 7.7.1, and of PAT, which has UC- too, APM2 7.8.1 */
static bool mtrr_type_valid(u64 type)
{
	return type < 8 && (0x73 & BIT(type));
}

static bool pat_type_valid(u64 type)
{
	return type < 8 && (0xf3 & BIT(type));
}

static bool every_byte(u64 value, bool (*valid)(u64 type))
{
	for (unsigned i = 0; i < 64; i += 8)
		if (!valid(value >> i & 0xff))
			return false;
	return true;
}

bool cpu_pat_valid(u64 value)
{
	return every_byte(value, pat_type_valid);
}

static int read_mtrr_variable(struct cpu *cpu, u32 msr, u64 *value)
{
	unsigned index = (msr - MSR_MTRR_PHYSBASE0) / 2;

	*value = msr & 1 ? cpu->mtrr_mask[index] : cpu->mtrr_base[index];
	return 0;
}

static int write_mtrr_variable(struct cpu *cpu, u32 msr, u64 value)
{
	unsigned index = (msr - MSR_MTRR_PHYSBASE0) / 2;
	u64 address = MASK(cpu->phys_bits - 1, 12);

	if (msr & 1) {
		if (value & ~(address | BIT(11)))
			return -1;
		cpu->mtrr_mask[index] = value;
	} else {
		if ((value & ~(address | 0xff)) || !mtrr_type_valid(value & 0xff))
			return -1;
		cpu->mtrr_base[index] = value;
	}
	return 0;
}

static unsigned mtrr_fixed_index(u32 msr)
{
	if (msr >= MSR_MTRR_FIX4K_C0000)
		return 3 + msr - MSR_MTRR_FIX4K_C0000;
	return msr == MSR_MTRR_FIX64K_00000 ? 0 : 1 + msr - MSR_MTRR_FIX16K_80000;
}

static int read_mtrr_fixed(struct cpu *cpu, u32 msr, u64 *value)
{
	*value = cpu->mtrr_fixed[mtrr_fixed_index(msr)];
	return 0;
}

static int write_mtrr_fixed(struct cpu *cpu, u32 msr, u64 value)
{
	if (!every_byte(value, mtrr_type_valid))
		return -1;
	cpu->mtrr_fixed[mtrr_fixed_index(msr)] = value;
	return 0;
}

static int read_mtrr_def_type(struct cpu *cpu, u32 msr, u64 *value)
{
	*value = cpu->mtrr_def_type;
	return 0;
}

static int write_mtrr_def_type(struct cpu *cpu, u32 msr, u64 value)
{
	if ((value & ~(MASK(11, 10) | 0xff)) || !mtrr_type_valid(value & 0xff))
		return -1;
	cpu->mtrr_def_type = value;
	return 0;
}

static int read_pat(struct cpu *cpu, u32 msr, u64 *value)
{
	*value = cpu->pat;
	return 0;
}

static int write_pat(struct cpu *cpu, u32 msr, u64 value)
{
	if (!cpu_pat_valid(value))
		return -1;
	cpu->pat = value;
	return 0;
}

/* No supervisor state exists that XSAVES could save. */
static int read_xss(struct cpu *cpu, u32 msr, u64 *value)
{
	*value = cpu->xss;
	return cpu_has(cpu, 1, 2, 26) ? 0 : -1;
}

static int write_xss(struct cpu *cpu, u32 msr, u64 value)
{
	return value || !cpu_has(cpu, 1, 2, 26) ? -1 : 0;
}

static int read_efer(struct cpu *cpu, u32 msr, u64 *value)
{
	*value = cpu->efer;
	return 0;
}

static int write_efer(struct cpu *cpu, u32 msr, u64 value)
{
	return cpu_write_efer(cpu, value) ? -1 : 0;
}

/* FS and GS: hidden bases that MSRs show, APM2 4.5.3. MODE_FLAT does not look at them. */
static int read_segment_base(struct cpu *cpu, u32 msr, u64 *value)
{
	*value = cpu->seg[FS + msr - MSR_FS_BASE].base;
	return 0;
}

static int write_segment_base(struct cpu *cpu, u32 msr, u64 value)
{
	if (!is_canonical(value))
		return -1;
	cpu->seg[FS + msr - MSR_FS_BASE].base = value;
	return 0;
}

static int read_debugctl(struct cpu *cpu, u32 msr, u64 *value)
{
	*value = cpu->debugctl;
	return 0;
}

static int write_debugctl(struct cpu *cpu, u32 msr, u64 value)
{
	if (value & ~DEBUGCTL_WRITABLE)
		return -1;
	cpu->debugctl = value;
	cpu_mode_update(cpu);
	return 0;
}

static int write_tsc_aux(struct cpu *cpu, u32 msr, u64 value)
{
	if (value >> 32)
		return -1;
	cpu->tsc_aux = value;
	return 0;
}

static int read_tsc_aux(struct cpu *cpu, u32 msr, u64 *value)
{
	*value = cpu->tsc_aux;
	return 0;
}

/* ---- the table ---- */

#define VALUE(number, who, v) { number, number, MSR_VALUE, who, 0, v, NULL, NULL }
#define READ_ONLY(number, who, v) { number, number, MSR_READ_ONLY, who, 0, v, NULL, NULL }
#define FIELD(number, who, name, bits) \
	{ number, number, MSR_FIELD, who, offsetof(struct cpu, name), bits, NULL, NULL }
#define FIELD_RO(number, name) \
	{ number, number, MSR_FIELD_RO, ANY, offsetof(struct cpu, name), 0, NULL, NULL }
#define CANONICAL(number, name) \
	{ number, number, MSR_CANONICAL, ANY, offsetof(struct cpu, name), 0, NULL, NULL }
#define CALL(number, read, write) { number, number, MSR_CALL, ANY, 0, 0, read, write }
#define CALLS(first, last, read, write) { first, last, MSR_CALL, ANY, 0, 0, read, write }
#define INTC(first, last) { first, last, MSR_INTC, ANY, 0, 0, NULL, NULL }

#define PATCH_LEVEL_AMD 0x01000065
#define PATCH_LEVEL_INTEL BIT(32)
#define MTRRCAP_VALUE 0x508 /* write-combining, fixed ranges, eight variable ones */

static const struct msr_row msr_table[] = {
	{ 0, 1, MSR_VALUE, ANY, 0, 0, NULL, NULL }, /* P5_MC_ADDR, P5_MC_TYPE */
	CALL(MSR_TSC, read_tsc, write_tsc),
	READ_ONLY(0x17, INTEL, 0), /* PLATFORM_ID */
	INTC(MSR_APIC_BASE, MSR_APIC_BASE),
	VALUE(0x2a, INTEL, 0), /* EBL_CR_POWERON */
	{ MSR_FEATURE_CONTROL, MSR_FEATURE_CONTROL, MSR_CALL, INTEL, 0, 0, read_feature_control,
		write_feature_control },
	CALL(MSR_TSC_ADJUST, read_tsc_adjust, write_tsc_adjust),
	CALL(MSR_SPEC_CTRL, read_spec_ctrl, write_spec_ctrl),
	CALL(MSR_PRED_CMD, read_forbidden, write_pred_cmd),
	VALUE(MSR_PATCH_LEVEL, AMD, PATCH_LEVEL_AMD),
	VALUE(MSR_BIOS_SIGN_ID, INTEL, PATCH_LEVEL_INTEL),
	READ_ONLY(0xce, INTEL, 0), /* PLATFORM_INFO */
	READ_ONLY(MSR_MTRRCAP, ANY, MTRRCAP_VALUE),
	CALL(MSR_ARCH_CAPABILITIES, read_arch_capabilities, write_forbidden),
	VALUE(0x140, INTEL, 0), /* MISC_FEATURES_ENABLES */
	FIELD(MSR_SYSENTER_CS, ANY, sysenter_cs, MASK(31, 0)),
	CANONICAL(MSR_SYSENTER_ESP, sysenter_esp),
	CANONICAL(MSR_SYSENTER_EIP, sysenter_eip),
	/* no banks, APM2 9.3.1: nothing here finds an error of a processor, and kernels do without */
	READ_ONLY(MSR_MCG_CAP, ANY, 0),
	VALUE(MSR_MCG_STATUS, ANY, 0),
	FIELD(MSR_MISC_ENABLE, ANY, misc_enable, ~0ull), /* AMD has none, but KVM shows it to all */
	CALL(MSR_DEBUGCTL, read_debugctl, write_debugctl),
	FIELD_RO(MSR_LASTBRANCHFROMIP, last_branch_from),
	FIELD_RO(MSR_LASTBRANCHTOIP, last_branch_to),
	FIELD_RO(MSR_LASTINTFROMIP, last_int_from),
	FIELD_RO(MSR_LASTINTTOIP, last_int_to),
	CALLS(MSR_MTRR_PHYSBASE0, MSR_MTRR_PHYSBASE0 + 15, read_mtrr_variable, write_mtrr_variable),
	CALL(MSR_MTRR_FIX64K_00000, read_mtrr_fixed, write_mtrr_fixed),
	CALLS(MSR_MTRR_FIX16K_80000, MSR_MTRR_FIX16K_A0000, read_mtrr_fixed, write_mtrr_fixed),
	CALLS(MSR_MTRR_FIX4K_C0000, MSR_MTRR_FIX4K_C0000 + 7, read_mtrr_fixed, write_mtrr_fixed),
	CALL(MSR_PAT, read_pat, write_pat),
	CALL(MSR_MTRR_DEF_TYPE, read_mtrr_def_type, write_mtrr_def_type),
	INTC(MSR_TSC_DEADLINE, MSR_TSC_DEADLINE),
	INTC(MSR_X2APIC_FIRST, MSR_X2APIC_LAST),
	CALL(MSR_XSS, read_xss, write_xss),
	CALLS(MSR_KVM_WALL_CLOCK, MSR_KVM_SYSTEM_TIME, pvclock_read, pvclock_write),
	CALL(MSR_EFER, read_efer, write_efer),
	FIELD(MSR_STAR, ANY, star, ~0ull),
	CANONICAL(MSR_LSTAR, lstar),
	CANONICAL(MSR_CSTAR, cstar),
	FIELD(MSR_SFMASK, ANY, sfmask, MASK(31, 0)),
	CALLS(MSR_FS_BASE, MSR_GS_BASE, read_segment_base, write_segment_base),
	CANONICAL(MSR_KERNEL_GS_BASE, kernel_gs_base),
	CALL(MSR_TSC_AUX, read_tsc_aux, write_tsc_aux),
	/*
	 * PERFEVTSEL and PERFCTR: what looks for them must not fault; that they do not keep a value
	 * tells an OS that nothing is counted.
	 */
	{ MSR_K7_EVNTSEL0, MSR_K7_EVNTSEL0 + 7, MSR_VALUE, AMD, 0, 0, NULL, NULL },
	FIELD(MSR_SYSCFG, AMD, syscfg, ~0ull),
	FIELD(MSR_HWCR, AMD, hwcr, ~0ull),
	{ 0xc0010016, 0xc001001f, MSR_VALUE, AMD, 0, 0, NULL, NULL }, /* IORRs, TOP_MEM, NB_CFG */
	VALUE(0xc0010020, AMD, 0), /* PATCH_LOADER */
	VALUE(0xc0010055, AMD, 0), /* interrupt pending message */
	VALUE(0xc0010058, AMD, 0), /* MMIO_CFG_BASE_ADDR: no extended configuration space */
	{ 0xc0010111, 0xc0010113, MSR_VALUE, AMD, 0, 0, NULL, NULL }, /* SMM base and range */
	{ 0xc0011020, 0xc0011028, MSR_VALUE, AMD, 0, 0, NULL, NULL }, /* LS_CFG and its like */
	VALUE(MSR_DE_CFG, AMD, BIT(1)), /* LFENCE serializes */
	{ 0xc001102a, 0xc001102f, MSR_VALUE, AMD, 0, 0, NULL, NULL }, /* CU_CFG2 and its like */
};

static bool row_exists(const struct cpu *cpu, const struct msr_row *row)
{
	return row->vendor == ANY || (row->vendor == INTEL) == cpu_is_intel(cpu);
}

static const struct msr_row *find_row(const struct cpu *cpu, u32 msr)
{
	unsigned low = 0, high = ARRAY_SIZE(msr_table);

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (msr_table[middle].last < msr)
			low = middle + 1;
		else
			high = middle;
	}
	/* a number may have a row for each vendor */
	for (; low < ARRAY_SIZE(msr_table) && msr_table[low].first <= msr; low++)
		if (row_exists(cpu, &msr_table[low]))
			return &msr_table[low];
	return NULL;
}

static void refuse(struct cpu *cpu, u32 msr, const char *what)
{
	if (trace_on(TRACE_msr)) {
		cpu_park_fpu(cpu);
		trace_print(TRACE_msr, "%s of MSR %#x refused at %#llx", what, msr,
			(unsigned long long)cpu->rip);
	}
}

static u64 *row_field(struct cpu *cpu, const struct msr_row *row)
{
	return (u64 *)((u8 *)cpu + row->field);
}

static int intc_msr(struct cpu *cpu, u32 msr, u64 *value, bool write)
{
	int result;

	if (!cpu->intc_ops)
		return -1;
	cpu_park_fpu(cpu);
	machine_lock(cpu->machine);
	result = write ? cpu->intc_ops->write_msr(cpu->intc, msr, *value) :
			 cpu->intc_ops->read_msr(cpu->intc, msr, value);
	machine_unlock(cpu->machine);
	if (write && !result && msr == MSR_APIC_BASE)
		cpu->apic_disabled = !(*value & BIT(11)); /* E, APM2 16.3.1 */
	return result;
}

static int read_row(struct cpu *cpu, const struct msr_row *row, u32 msr, u64 *value)
{
	switch (row->kind) {
	case MSR_VALUE:
	case MSR_READ_ONLY:
		*value = row->value;
		return 0;
	case MSR_CALL:
		return row->read(cpu, msr, value);
	case MSR_INTC:
		return intc_msr(cpu, msr, value, false);
	default:
		*value = *row_field(cpu, row);
		return 0;
	}
}

static int write_row(struct cpu *cpu, const struct msr_row *row, u32 msr, u64 value)
{
	switch (row->kind) {
	case MSR_VALUE:
		return 0;
	case MSR_FIELD:
		if (value & ~row->value)
			return -1;
		break;
	case MSR_CANONICAL:
		if (!is_canonical(value))
			return -1;
		break;
	case MSR_CALL:
		return row->write(cpu, msr, value);
	case MSR_INTC:
		return intc_msr(cpu, msr, &value, true);
	default:
		return -1;
	}
	*row_field(cpu, row) = value;
	return 0;
}

static bool is_x2apic(u32 msr)
{
	return msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST;
}

int cpu_read_msr(struct cpu *cpu, u32 msr, u64 *value)
{
	const struct msr_row *row = find_row(cpu, msr);
	int result = 1;

	if (unlikely(cpu->virtual_x2apic) && is_x2apic(msr))
		result = cpu->virt->read_msr(cpu, msr, value);
	if (result <= 0)
		return result ? cpu_fault_gp0(cpu) : 0;
	result = -1;
	if (row)
		result = read_row(cpu, row, msr, value);
	else if (cpu->virt)
		result = cpu->virt->read_msr(cpu, msr, value);
	if (result)
		refuse(cpu, msr, "read");
	return result ? cpu_fault_gp0(cpu) : 0;
}

int cpu_write_msr(struct cpu *cpu, u32 msr, u64 value)
{
	const struct msr_row *row = find_row(cpu, msr);
	int result = 1;

	if (unlikely(cpu->virtual_x2apic) && is_x2apic(msr))
		result = cpu->virt->write_msr(cpu, msr, value);
	if (result <= 0)
		return result ? cpu_fault_gp0(cpu) : 0;
	result = -1;
	if (row)
		result = write_row(cpu, row, msr, value);
	else if (cpu->virt)
		result = cpu->virt->write_msr(cpu, msr, value);
	if (result)
		refuse(cpu, msr, "write");
	return result ? cpu_fault_gp0(cpu) : 0;
}

int exec_RDMSR(struct cpu *cpu, const struct insn *insn)
{
	u32 msr = cpu->gpr[RCX];
	u64 value;

	if (cpu->cpl)
		return cpu_fault_gp0(cpu);
	if (cpu_intercepted(cpu, insn, VIRT_MSR_READ, msr, 0))
		return OUTCOME_JUMP;
	if (cpu_read_msr(cpu, msr, &value))
		return OUTCOME_FAULT;
	cpu->gpr[RAX] = (u32)value;
	cpu->gpr[RDX] = value >> 32;
	return OUTCOME_NEXT;
}

int exec_WRMSR(struct cpu *cpu, const struct insn *insn)
{
	u32 msr = cpu->gpr[RCX];
	u64 value = cpu->gpr[RDX] << 32 | (u32)cpu->gpr[RAX];

	if (cpu->cpl)
		return cpu_fault_gp0(cpu);
	if (cpu_intercepted(cpu, insn, VIRT_MSR_WRITE, msr, value))
		return OUTCOME_JUMP;
	return cpu_write_msr(cpu, msr, value);
}
