// SPDX-License-Identifier: MIT
/*
 * VMRUN and #VMEXIT in the manual's order, and the other instructions of AMD's virtualization
 * unit: APM2 15.5, 15.6, 15.8.4, 15.33 and the instructions' pages in APM3.
 *
 * Not modelled: SKINIT (CPUID does not offer it), SEV, AVIC, GMET, write traps of control registers.
 */
#include <stdlib.h>
#include <errno.h>

#include "base/log.h"
#include "cpu/tlb.h"
#include "virt/svm.h"

const char *svm_exit_name(u64 code)
{
	switch (code) {
#define X(number, name) \
	case number: \
		return #name;
		SVM_EXITS(X)
#undef X
	}
	if (code == SVM_EXIT_INVALID)
		return "INVALID";
	switch (code >> 4) {
	case SVM_EXIT_CR_READ >> 4:
		return "CR_READ";
	case SVM_EXIT_CR_WRITE >> 4:
		return "CR_WRITE";
	case SVM_EXIT_DR_READ >> 4:
		return "DR_READ";
	case SVM_EXIT_DR_WRITE >> 4:
		return "DR_WRITE";
	case SVM_EXIT_EXCEPTION >> 4:
	case (SVM_EXIT_EXCEPTION >> 4) + 1:
		return "EXCEPTION";
	}
	return "?";
}

/* Slots of cpu->stats.exits: the code itself where it fits. */
enum { STAT_NPF = 0xf0, STAT_INVALID = 0xfe, STAT_OTHER = 0xff };

static unsigned stat_slot(u64 code)
{
	if (code < SVM_INTERCEPT_BITS)
		return code;
	return code == SVM_EXIT_NPF ? STAT_NPF : code == SVM_EXIT_INVALID ? STAT_INVALID : STAT_OTHER;
}

const char *svm_stat_name(unsigned slot)
{
	if (slot < SVM_INTERCEPT_BITS)
		return svm_exit_name(slot);
	return slot == STAT_NPF ? "NPF" : slot == STAT_INVALID ? "INVALID" : slot == STAT_OTHER ? "OTHER" : NULL;
}

/* ---- traces ---- */

#define LL(value) ((unsigned long long)(value))

static void trace_entry(struct cpu *cpu)
{
	const struct svm *svm = svm_of(cpu);
	const union vmcb *v = &svm->vmcb;

	cpu_park_fpu(cpu);
	trace_print(TRACE_svm,
		"vmrun vmcb %llx rip %llx rsp %llx cr0 %llx cr3 %llx cr4 %llx efer %llx rflags %llx "
		"asid %u tlb %u ncr3 %llx inject %llx vintr %llx clean %x", LL(svm->vmcb_pa), LL(v->rip),
		LL(v->rsp), LL(v->cr0), LL(v->cr3), LL(v->cr4), LL(v->efer), LL(v->rflags),
		v->guest_asid, v->tlb_control, LL(v->nested_control & NESTED_NP_ENABLE ? v->n_cr3 : 0),
		LL(v->event_inj), LL(v->vintr), v->clean);
}

static void trace_exit(struct cpu *cpu)
{
	const union vmcb *v = &svm_of(cpu)->vmcb;

	cpu_park_fpu(cpu);
	trace_print(TRACE_svm, "exit %s (%llx) info %llx %llx intinfo %llx rip %llx nrip %llx",
		svm_exit_name(v->exit_code), LL(v->exit_code), LL(v->exit_info1), LL(v->exit_info2),
		LL(v->exit_int_info), LL(v->rip), LL(v->nrip));
}

/* ---- the way out ---- */

static void exit_to_host(struct cpu *cpu, bool ran)
{
	struct svm *svm = svm_of(cpu);
	union vmcb *v = &svm->vmcb;

	cpu_account(cpu, LEVEL_GUEST);
	v->event_inj &= ~(u64)EVENT_INFO_VALID; /* 15.20: injected once */
	cpu->stats.exits[0][stat_slot(v->exit_code)]++;
	if (trace_on(TRACE_svm))
		trace_exit(cpu);
	svm_write_vmcb(cpu, ran);
	v->insn_len = 0;
	svm->cached = ran;
	svm_load_host(cpu);
	cpu->virt_pending = false;
	svm_set_gif(cpu, false);
}

/*
 * EXITINTINFO does not tell ICEBP's #DB from other traps, whose RIP is the next instruction's, so the
 * saved RIP has to be that too. A task switch alone exits with RIP at the ICEBP, APM2 15.14.1.
 */
static bool delivers_icebp(const struct cpu *cpu, u64 code)
{
	const struct event *event = &cpu->event;

	return event->valid && event->type == EVENT_EXCEPTION && event->vector == VEC_DB &&
	       event->by_insn && code != SVM_EXIT_TASK_SWITCH;
}

static void vmexit(struct cpu *cpu, u64 code, u64 info1, u64 info2, u64 nrip)
{
	union vmcb *v = &svm_of(cpu)->vmcb;

	if (delivers_icebp(cpu, code))
		cpu->rip += cpu->event.insn_len;
	v->exit_code = code;
	v->exit_info1 = info1;
	v->exit_info2 = info2;
	v->exit_int_info = svm_exit_int_info(cpu);
	v->nrip = nrip;
	svm_save_guest(cpu);
	exit_to_host(cpu, true);
}

void svm_vmexit(struct cpu *cpu, u64 code, u64 info1, u64 info2)
{
	vmexit(cpu, code, info1, info2, 0);
}

void svm_vmexit_insn(struct cpu *cpu, const struct insn *insn, u64 code, u64 info1, u64 info2)
{
	u64 next = cpu->rip + insn->len;

	vmexit(cpu, code, info1, info2, cpu_long64(cpu) ? next : (u32)next);
}

/* VMRUN found something that may not be; the guest never ran. */
static void fail_entry(struct cpu *cpu, u64 rip)
{
	struct svm *svm = svm_of(cpu);
	union vmcb *v = &svm->vmcb;

	failure_report(cpu, &svm->failure, "VMRUN", rip, svm->vmcb_pa);
	v->exit_code = SVM_EXIT_INVALID;
	v->exit_info1 = v->exit_info2 = v->exit_int_info = 0;
	exit_to_host(cpu, false);
}

/* Host memory of code at a linear address, for as far as its page goes; NULL: not to be had. */
static const u8 *code_at(struct cpu *cpu, u64 linear, unsigned len)
{
	struct translation translation;
	const u8 *host = cpu->context_stale ? NULL : tlb_read_hit(cpu, linear, len);

	if (host)
		return host;
	if (mmu_translate(cpu, linear, ACCESS_EXEC, cpu->cpl == 3, false, &translation))
		return NULL;
	return space_find(cpu->memory, translation.gpa).host;
}

/* APM2 15.8.4 */
void svm_fetch_insn_bytes(struct cpu *cpu)
{
	union vmcb *v = &svm_of(cpu)->vmcb;
	u64 linear = cpu_long64(cpu) ? cpu->rip : (u32)(cpu->seg[CS].base + cpu->rip);
	struct fault fault = cpu->fault;
	unsigned len = sizeof(v->insn_bytes), done = 0;

	zero_bytes(v->insn_bytes, len);
	while (done < len) {
		unsigned left = PAGE_SIZE - (linear & ~PAGE_MASK);
		unsigned piece = MIN(len - done, left);
		const u8 *host = code_at(cpu, linear, piece);

		if (!host)
			break;
		copy_bytes(v->insn_bytes + done, host, piece);
		done += piece;
		linear += piece;
	}
	v->insn_len = done;
	cpu->fault = fault;
}

/* ---- the instructions ---- */

/* APM3: all but VMMCALL need SVME, protected mode and CPL 0. */
static int gate(struct cpu *cpu)
{
	if (!(cpu->efer & EFER_SVME) || !(cpu->cr0 & CR0_PE) || cpu_v86(cpu))
		return cpu_fault(cpu, VEC_UD);
	if (cpu->cpl)
		return cpu_fault_code(cpu, VEC_GP, 0);
	return 0;
}

static u64 rax_operand(const struct cpu *cpu, const struct insn *insn)
{
	u64 rax = cpu->gpr[RAX];

	return insn->addrsize == 8 ? rax : insn->addrsize == 4 ? (u32)rax : (u16)rax;
}

/* gate(), then a page's physical address in rAX: #GP before the intercept, APM3 VMRUN. */
static int gate_with_address(struct cpu *cpu, const struct insn *insn, u64 *pa)
{
	if (gate(cpu))
		return OUTCOME_FAULT;
	*pa = rax_operand(cpu, insn);
	if ((*pa & ~PAGE_MASK) || *pa >> cpu->phys_bits)
		return cpu_fault_code(cpu, VEC_GP, 0);
	return 0;
}

static bool exits(struct cpu *cpu, const struct insn *insn, unsigned code, u64 info1)
{
	if (!cpu->in_guest || !svm_intercepted(svm_of(cpu), code))
		return false;
	svm_vmexit_insn(cpu, insn, code, info1, 0);
	return true;
}

/* APM2 15.5.1 */
static int vmrun(struct cpu *cpu, const struct insn *insn)
{
	struct svm *svm = svm_of(cpu);
	struct vmcb_memory memory;
	u64 rip = cpu->rip, pa;
	u32 dirty;

	if (gate_with_address(cpu, insn, &pa))
		return OUTCOME_FAULT;
	/* in a guest the intercept is always set, 15.5.1 */
	if (exits(cpu, insn, SVM_EXIT_VMRUN, 0))
		return OUTCOME_JUMP;
	/* an address that is no memory is one that the processor does not support */
	if (!svm_find_vmcb(cpu, pa, &memory))
		return cpu_fault_code(cpu, VEC_GP, 0);
	cpu_account(cpu, LEVEL_HOST);
	svm_save_host(cpu, cpu->rip + insn->len);
	svm->memory = memory;
	dirty = svm_read_vmcb(&svm->vmcb, memory.host, svm->cached && svm->vmcb_pa == pa);
	svm->vmcb_pa = pa;
	svm->vmcb.insn_len = 0;
	if (trace_on(TRACE_svm))
		trace_entry(cpu);
	if (!svm_check(cpu, dirty)) {
		fail_entry(cpu, rip);
		return OUTCOME_JUMP;
	}
	svm_load_intercepts(cpu, dirty);
	if (!svm_load_guest(cpu)) {
		FAILURE(&svm->failure, "APM2 15.5.1",
			"a PDPTE of legacy PAE paging has reserved bits set",
			SHOW_AS("cr3", svm->vmcb.cr3));
		fail_entry(cpu, rip);
		return OUTCOME_JUMP;
	}
	svm_inject(cpu);
	svm_events_changed(cpu);
	svm_set_gif(cpu, true);
	return OUTCOME_JUMP;
}

/*
 * The VMCB that VMLOAD or VMSAVE names: virtualized, it is the guest's own address (APM2 15.33.1);
 * else physical, also from within a guest that is not intercepted.
 */
static int named_vmcb(struct cpu *cpu, u64 pa, unsigned access, struct vmcb_memory *memory)
{
	if (cpu->in_guest && cpu->nested_paging &&
	    (svm_of(cpu)->vmcb.virt_ext & VIRT_EXT_VMLOAD_VMSAVE)) {
		struct translation translation;

		if (mmu_translate_guest_physical(cpu, pa, access, false, 0, &translation))
			return OUTCOME_FAULT;
		pa = translation.gpa;
	}
	if (!svm_find_vmcb(cpu, pa, memory))
		return cpu_fault_code(cpu, VEC_GP, 0);
	return 0;
}

static int vmload(struct cpu *cpu, const struct insn *insn)
{
	struct vmcb_memory memory;
	u64 pa;

	if (gate_with_address(cpu, insn, &pa))
		return OUTCOME_FAULT;
	if (exits(cpu, insn, SVM_EXIT_VMLOAD, 0))
		return OUTCOME_JUMP;
	if (named_vmcb(cpu, pa, ACCESS_READ, &memory))
		return OUTCOME_FAULT;
	svm_vmload(cpu, memory.host);
	return OUTCOME_NEXT;
}

static int vmsave(struct cpu *cpu, const struct insn *insn)
{
	struct vmcb_memory memory;
	u64 pa;

	if (gate_with_address(cpu, insn, &pa))
		return OUTCOME_FAULT;
	if (exits(cpu, insn, SVM_EXIT_VMSAVE, 0))
		return OUTCOME_JUMP;
	if (named_vmcb(cpu, pa, ACCESS_WRITE, &memory))
		return OUTCOME_FAULT;
	svm_vmsave(cpu, &memory);
	return OUTCOME_NEXT;
}

/* APM3 VMMCALL: any CPL, any mode; #UD where nobody intercepts it. */
static int vmmcall(struct cpu *cpu, const struct insn *insn)
{
	if (exits(cpu, insn, SVM_EXIT_VMMCALL, 0))
		return OUTCOME_JUMP;
	return cpu_fault(cpu, VEC_UD);
}

/* STGI and CLGI, on GIF or, in a guest that has one, on the virtual GIF: APM2 15.17, 15.33.2. */
static int change_gif(struct cpu *cpu, const struct insn *insn, unsigned code, bool gif)
{
	union vmcb *v = &svm_of(cpu)->vmcb;

	if (gate(cpu))
		return OUTCOME_FAULT;
	if (exits(cpu, insn, code, 0))
		return OUTCOME_JUMP;
	if (cpu->in_guest && (v->vintr & VINTR_GIF_ENABLE)) {
		v->vintr = (v->vintr & ~(u64)VINTR_GIF) | (gif ? VINTR_GIF : 0);
		svm_events_changed(cpu);
	} else {
		svm_set_gif(cpu, gif);
	}
	return OUTCOME_NEXT;
}

/* APM3 INVLPGA: every PCID of the ASID; ASID 0 is the host's. */
static int invlpga(struct cpu *cpu, const struct insn *insn)
{
	u64 linear = rax_operand(cpu, insn);

	if (gate(cpu))
		return OUTCOME_FAULT;
	if (exits(cpu, insn, SVM_EXIT_INVLPGA, linear))
		return OUTCOME_JUMP;
	if (is_canonical(linear))
		tlb_flush_page(cpu, (u32)cpu->gpr[RCX], 0, linear, true);
	return OUTCOME_NEXT;
}

static int svm_execute(struct cpu *cpu, const struct insn *insn)
{
	switch (insn->op) {
	case OP_VMRUN:
		return vmrun(cpu, insn);
	case OP_VMLOAD:
		return vmload(cpu, insn);
	case OP_VMSAVE:
		return vmsave(cpu, insn);
	case OP_VMMCALL:
		return vmmcall(cpu, insn);
	case OP_STGI:
		return change_gif(cpu, insn, SVM_EXIT_STGI, true);
	case OP_CLGI:
		return change_gif(cpu, insn, SVM_EXIT_CLGI, false);
	case OP_INVLPGA:
		return invlpga(cpu, insn);
	default:
		return cpu_fault(cpu, VEC_UD); /* SKINIT, and Intel's */
	}
}

const struct virt_ops svm_ops = {
	.intercept = svm_intercept,
	.nested_fault = svm_nested_fault,
	.execute = svm_execute,
	.read_msr = svm_read_msr,
	.write_msr = svm_write_msr,
	.poll = svm_poll,
	.wakes = svm_wakes,
	.read_cr8 = svm_read_cr8,
	.write_cr8 = svm_write_cr8,
	.reset = svm_reset,
};

int svm_new(struct cpu *cpu)
{
	struct svm *svm = calloc(1, sizeof(*svm));

	if (!svm)
		return -ENOMEM;
	cpu->virt = &svm_ops;
	cpu->virt_state = svm;
	svm_reset(cpu, false);
	return 0;
}

void svm_free(struct cpu *cpu)
{
	free(cpu->virt_state);
	cpu->virt_state = NULL;
	cpu->virt = NULL;
}
