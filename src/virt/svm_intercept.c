// SPDX-License-Identifier: MIT
/*
 * "Is this event intercepted?": APM2 15.7 to 15.14. An exit code below C0h is also the number of
 * its intercept bit, so most events are one look at a bit; permission maps, selective writes of CR0
 * and the pause filter want more. The words are those VMRUN took, never those in memory; the
 * permission maps are read where they lie, as processors do.
 *
 * Bits of intercepts for what CPUID does not offer may be set, VMRUN does not look at them, and
 * they do nothing: FERR freezes (nothing raises FERR), write traps of CRs and EFER (SEV-ES),
 * INVLPGB, MCOMMIT, TLBSYNC and SKINIT, which are #UD.
 *
 * Not modelled: the armed state of MONITOR: a conditional MWAIT intercept finds it armed.
 */
#include "cpu/descriptor.h"
#include "virt/svm.h"

/* The code of each event that needs nothing but its bit. */
static const u8 simple_codes[] = {
	[VIRT_IDTR_READ] = SVM_EXIT_IDTR_READ,
	[VIRT_GDTR_READ] = SVM_EXIT_GDTR_READ,
	[VIRT_LDTR_READ] = SVM_EXIT_LDTR_READ,
	[VIRT_TR_READ] = SVM_EXIT_TR_READ,
	[VIRT_IDTR_WRITE] = SVM_EXIT_IDTR_WRITE,
	[VIRT_GDTR_WRITE] = SVM_EXIT_GDTR_WRITE,
	[VIRT_LDTR_WRITE] = SVM_EXIT_LDTR_WRITE,
	[VIRT_TR_WRITE] = SVM_EXIT_TR_WRITE,
	[VIRT_RDTSC] = SVM_EXIT_RDTSC,
	[VIRT_RDTSCP] = SVM_EXIT_RDTSCP,
	[VIRT_RDPMC] = SVM_EXIT_RDPMC,
	[VIRT_RDPRU] = SVM_EXIT_RDPRU,
	[VIRT_PUSHF] = SVM_EXIT_PUSHF,
	[VIRT_POPF] = SVM_EXIT_POPF,
	[VIRT_CPUID] = SVM_EXIT_CPUID,
	[VIRT_RSM] = SVM_EXIT_RSM,
	[VIRT_IRET] = SVM_EXIT_IRET,
	[VIRT_ICEBP] = SVM_EXIT_ICEBP,
	[VIRT_INVD] = SVM_EXIT_INVD,
	[VIRT_WBINVD] = SVM_EXIT_WBINVD,
	[VIRT_HLT] = SVM_EXIT_HLT,
	[VIRT_INVPCID] = SVM_EXIT_INVPCID,
	[VIRT_MONITOR] = SVM_EXIT_MONITOR,
	[VIRT_XSETBV] = SVM_EXIT_XSETBV,
	[VIRT_SHUTDOWN] = SVM_EXIT_SHUTDOWN,
	[VIRT_INTR] = SVM_EXIT_INTR,
	[VIRT_NMI] = SVM_EXIT_NMI,
	[VIRT_INIT] = SVM_EXIT_INIT,
	[VIRT_SMI] = SVM_EXIT_SMI,
};

static const u8 *map_page(struct cpu *cpu, u64 pa)
{
	struct space_hit hit = space_find(cpu->memory, pa);

	return hit.contiguous >= PAGE_SIZE ? hit.host : NULL;
}

void svm_load_intercepts(struct cpu *cpu, u32 dirty)
{
	struct svm *svm = svm_of(cpu);
	const union vmcb *v = &svm->vmcb;

	if (dirty & VMCB_CLEAN_I) {
		svm->intercepts[0] = v->intercept_cr;
		svm->intercepts[1] = v->intercept_dr;
		svm->intercepts[2] = v->intercept_exception;
		svm->intercepts[3] = v->intercept_misc1;
		svm->intercepts[4] = v->intercept_misc2;
		svm->intercepts[5] = v->intercept_misc3;
	}
	if (dirty & VMCB_CLEAN_IOPM) {
		for (unsigned i = 0; i < IOPM_PAGES; i++)
			svm->iopm[i] = map_page(cpu, (v->iopm_base_pa & PAGE_MASK) + i * PAGE_SIZE);
		for (unsigned i = 0; i < MSRPM_PAGES; i++)
			svm->msrpm[i] = map_page(cpu, (v->msrpm_base_pa & PAGE_MASK) + i * PAGE_SIZE);
	}
}

/* A bit of a permission map; what lies outside RAM is intercepted. */
static bool map_bit(const u8 *const *pages, u32 bit)
{
	const u8 *page = pages[bit >> 15];

	return !page || (__atomic_load_n(&page[(bit >> 3) & 0xfff], __ATOMIC_RELAXED) >> (bit & 7) & 1);
}

/* APM2 15.10.1: each byte that is accessed has its bit; ports wrap into three bits more. */
static bool io_intercepted(const struct svm *svm, u16 port, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		if (map_bit(svm->iopm, port + i))
			return true;
	return false;
}

/* APM2 15.11: two bits an MSR, reads below writes; MSRs in no range are intercepted. */
static bool msr_intercepted(const struct svm *svm, u32 msr, bool write)
{
	u32 base;

	if (msr <= 0x1fff)
		base = 0;
	else if (msr >= 0xc0000000 && msr <= 0xc0001fff)
		base = 0x800 * 8;
	else if (msr >= 0xc0010000 && msr <= 0xc0011fff)
		base = 0x1000 * 8;
	else
		return true;
	return map_bit(svm->msrpm, base + (msr & 0x1fff) * 2 + write);
}

/* exit_info1, APM2 15.10.2 */
static u64 io_info(u16 port, u64 b)
{
	unsigned size = VIRT_IO_SIZE(b), address = VIRT_IO_ADDRSIZE(b);
	/* INS stores through ES, whatever its prefixes say */
	unsigned seg = (b & VIRT_IO_IN) ? ES : VIRT_IO_SEG(b);
	u64 info = (u64)port << 16 | size << 4 | (b & VIRT_IO_STRING ? seg << 10 : 0);

	info |= address == 2 ? BIT(7) : address == 4 ? BIT(8) : BIT(9);
	if (b & VIRT_IO_IN)
		info |= IOIO_IN;
	if (b & VIRT_IO_STRING)
		info |= IOIO_STRING;
	if (b & VIRT_IO_REP)
		info |= IOIO_REP;
	return info;
}

/* exit_info1 with decode assists, APM2 15.8.1: CLTS, LMSW and SMSW name no register. */
static u64 cr_info(const struct insn *insn)
{
	if (insn->op == OP_MOV_TO_CR || insn->op == OP_MOV_FROM_CR)
		return CR_INFO_MOV | insn->rm;
	return 0;
}

/*
 * APM2 15.9: writes that change more of CR0 than TS and MP; LMSW whatever it changes. The general
 * intercept of CR0 writes comes first.
 */
static bool cr0_selective(const struct cpu *cpu, const struct insn *insn, u64 value)
{
	if (insn->op == OP_CLTS)
		return false;
	return insn->op == OP_LMSW || ((cpu->cr0 ^ value) & ~(u64)(CR0_TS | CR0_MP));
}

/* APM2 15.14.4. True: the filter has run out. */
static bool pause_intercepted(struct svm *svm)
{
	const union vmcb *v = &svm->vmcb;

	if (!svm_intercepted(svm, SVM_EXIT_PAUSE))
		return false;
	if (v->pause_filter_threshold) {
		u64 now = __builtin_ia32_rdtsc();

		if (now - svm->pause_tsc > v->pause_filter_threshold)
			svm->pause_count = v->pause_filter_count;
		svm->pause_tsc = now;
	}
	if (!svm->pause_count)
		return true;
	svm->pause_count--;
	return false;
}

static u64 task_info2(const struct cpu *cpu, u64 b)
{
	u64 info = VIRT_TASK_ERROR_CODE(b);

	if (b & VIRT_TASK_HAS_ERROR)
		info |= TASK_INFO_HAS_ERROR;
	if (b & VIRT_TASK_IRET)
		info |= TASK_INFO_IRET;
	if (b & VIRT_TASK_JMP)
		info |= TASK_INFO_JMP;
	if (cpu->rflags_system & RFLAGS_RF)
		info |= TASK_INFO_RF;
	return info;
}

/* ICEBP's #DB is a trap: it is intercepted with RIP behind the instruction, APM2 15.12.2. */
static void icebp_registers(struct cpu *cpu, const struct insn *insn)
{
	u64 next = cpu->rip + insn->len;

	/* a trap that MOV SS held back is the same #DB */
	cpu->dr6 |= cpu->pending_db;
	cpu->pending_db = 0;
	cpu_debug_raised(cpu);
	cpu_shadow_end(cpu);
	cpu->rip = cpu_long64(cpu) ? next : (u32)next;
}

/* An exception about to be delivered, or one met while delivering another; APM2 15.12. */
static void exception_exit(struct cpu *cpu, const struct insn *insn, u8 vector, u32 error)
{
	u64 info1 = 0, info2 = 0;

	if (vector == VEC_DB && !insn) {
		/* 15.12.2: DR6 and DR7 as the handler would find them */
		cpu_debug_registers(cpu, &cpu->fault);
	} else if (vector == VEC_DB) {
		icebp_registers(cpu, insn);
	} else if (vector == VEC_PF) {
		/* 15.12.15: CR2 keeps its value; the address goes here */
		info2 = cpu->fault.address;
		svm_fetch_insn_bytes(cpu);
	}
	if (cpu->fault.has_error || vector == VEC_PF)
		info1 = error;
	/* 15.7.1: INT3 and INTO have a next instruction */
	if (insn && (insn->op == OP_INT3 || insn->op == OP_INTO || insn->op == OP_BOUND))
		svm_vmexit_insn(cpu, insn, SVM_EXIT_EXCEPTION + vector, info1, info2);
	else
		svm_vmexit(cpu, SVM_EXIT_EXCEPTION + vector, info1, info2);
}

bool svm_intercept(struct cpu *cpu, const struct insn *insn, enum virt_event event, u64 a, u64 b)
{
	struct svm *svm = svm_of(cpu);
	unsigned code;
	u64 info1 = 0, info2 = 0;

	switch (event) {
	case VIRT_CR_READ:
		code = SVM_EXIT_CR_READ + (a & 15);
		info1 = cr_info(insn);
		break;
	case VIRT_CR_WRITE:
		code = SVM_EXIT_CR_WRITE + (a & 15);
		if (a == 0 && !svm_intercepted(svm, code) && cr0_selective(cpu, insn, b))
			code = SVM_EXIT_CR0_SEL_WRITE;
		info1 = cr_info(insn);
		break;
	case VIRT_DR_READ:
		code = SVM_EXIT_DR_READ + (a & 15);
		info1 = insn->rm;
		break;
	case VIRT_DR_WRITE:
		code = SVM_EXIT_DR_WRITE + (a & 15);
		info1 = insn->rm;
		break;
	case VIRT_SWINT:
		code = SVM_EXIT_SWINT;
		info1 = a & 0xff;
		break;
	case VIRT_INVLPG:
		code = SVM_EXIT_INVLPG;
		info1 = a;
		break;
	case VIRT_INVLPGA:
		code = SVM_EXIT_INVLPGA;
		info1 = a;
		break;
	case VIRT_INVPCID:
		code = SVM_EXIT_INVPCID; /* APM2 15.9, table 15-7 */
		info1 = a;
		info2 = b;
		break;
	case VIRT_PAUSE:
		if (!pause_intercepted(svm))
			return false;
		code = SVM_EXIT_PAUSE;
		break;
	case VIRT_IO:
		code = SVM_EXIT_IOIO;
		if (!svm_intercepted(svm, code) || !io_intercepted(svm, a, VIRT_IO_SIZE(b)))
			return false;
		info1 = io_info(a, b);
		info2 = cpu->rip + insn->len;
		break;
	case VIRT_MSR_READ:
	case VIRT_MSR_WRITE:
		code = SVM_EXIT_MSR;
		info1 = event == VIRT_MSR_WRITE;
		if (!svm_intercepted(svm, code) || !msr_intercepted(svm, a, info1))
			return false;
		break;
	case VIRT_MWAIT:
		code = svm_intercepted(svm, SVM_EXIT_MWAIT) ? SVM_EXIT_MWAIT :
							      SVM_EXIT_MWAIT_CONDITIONAL;
		break;
	case VIRT_TASK_SWITCH:
		code = SVM_EXIT_TASK_SWITCH;
		if (!svm_intercepted(svm, code))
			return false;
		/* 15.14.1: no next instruction is given, whoever switched */
		svm_vmexit(cpu, code, a & 0xffff, task_info2(cpu, b));
		return true;
	case VIRT_EXCEPTION:
		if (a > 31 || !svm_intercepted(svm, SVM_EXIT_EXCEPTION + a))
			return false;
		exception_exit(cpu, insn, a, b);
		return true;
	case VIRT_RDRAND:
	case VIRT_RDSEED:
	case VIRT_XSAVES:
	case VIRT_XRSTORS:
	case VIRT_SIPI:
		return false; /* SVM has no intercept of these */
	default:
		code = simple_codes[event];
		break;
	}
	if (!svm_intercepted(svm, code))
		return false;
	if (insn)
		svm_vmexit_insn(cpu, insn, code, info1, info2);
	else
		svm_vmexit(cpu, code, info1, info2);
	return true;
}

/* APM2 15.25.6 */
void svm_nested_fault(struct cpu *cpu, const struct fault *fault)
{
	u64 info1 = fault->error | (fault->in_walk ? NPF_WALK : NPF_FINAL);
	u64 gpa = fault->gpa;

	/* 15.8.4: bytes are there for data accesses; a failed fetch has none to give */
	if (!(fault->error & PF_I))
		svm_fetch_insn_bytes(cpu);
	svm_vmexit(cpu, SVM_EXIT_NPF, info1, gpa);
}
