// SPDX-License-Identifier: MIT
/*
 * The state that VMRUN, #VMEXIT, VMLOAD and VMSAVE move between the CPU, the VMCB and the host save
 * area: APM2 15.5.1, 15.5.2, 15.6 and appendix B. The host save area's form is the processor's own
 * business (15.5.1), so it is kept in struct svm and the page at VM_HSAVE_PA is never touched.
 */
#include "cpu/tlb.h"
#include "mem/dirty.h"
#include "virt/svm.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Classes of vmcb.def that are no bits of the clean field. */
#define CLASS_ENTRY BIT(16)
#define CLASS_EXIT BIT(17)
#define CLASS_VMLOAD BIT(18)
#define CLASS_NONE BIT(19)
#define CLASS_I VMCB_CLEAN_I
#define CLASS_IOPM VMCB_CLEAN_IOPM
#define CLASS_ASID VMCB_CLEAN_ASID
#define CLASS_TPR VMCB_CLEAN_TPR
#define CLASS_NP VMCB_CLEAN_NP
#define CLASS_CRX VMCB_CLEAN_CRX
#define CLASS_DRX VMCB_CLEAN_DRX
#define CLASS_DT VMCB_CLEAN_DT
#define CLASS_SEG VMCB_CLEAN_SEG
#define CLASS_CR2 VMCB_CLEAN_CR2
#define CLASS_LBR VMCB_CLEAN_LBR

bool svm_find_vmcb(struct cpu *cpu, u64 pa, struct vmcb_memory *memory)
{
	struct space_hit hit = space_find(cpu->memory, pa);

	if (!hit.host || hit.read_only || hit.contiguous < PAGE_SIZE)
		return false;
	memory->host = (union vmcb *)hit.host;
	memory->ram_offset = hit.ram_offset;
	return true;
}

/* Each field is read exactly once; the compiler may not read it again. */
ALWAYS_INLINE void read_class(union vmcb *copy, const union vmcb *memory, u32 class)
{
#define VMCB_FIELD(offset, type, name, of) \
	if (class & CLASS_##of) \
		copy->name = *(const volatile type *)&memory->bytes[offset];
#define VMCB_ARRAY(offset, type, name, count, of)
#include "x86/vmcb.def"
}

ALWAYS_INLINE void write_class(union vmcb *memory, const union vmcb *copy, u32 class)
{
#define VMCB_FIELD(offset, type, name, of) \
	if (class & CLASS_##of) \
		memory->name = copy->name;
#define VMCB_ARRAY(offset, type, name, count, of) \
	if (class & CLASS_##of) \
		copy_bytes(memory->name, copy->name, sizeof(memory->name));
#include "x86/vmcb.def"
}

u32 svm_read_vmcb(union vmcb *copy, const union vmcb *memory, bool cached)
{
	u32 dirty;

	read_class(copy, memory, CLASS_ENTRY);
	dirty = cached ? ~copy->clean : ~0u;
	if (dirty & CLASS_I)
		read_class(copy, memory, CLASS_I);
	if (dirty & (CLASS_IOPM | CLASS_ASID | CLASS_NP | CLASS_LBR)) {
		if (dirty & CLASS_IOPM)
			read_class(copy, memory, CLASS_IOPM);
		if (dirty & CLASS_ASID)
			read_class(copy, memory, CLASS_ASID);
		if (dirty & CLASS_NP)
			read_class(copy, memory, CLASS_NP);
		if (dirty & CLASS_LBR)
			read_class(copy, memory, CLASS_LBR);
	}
	if (dirty & CLASS_TPR)
		read_class(copy, memory, CLASS_TPR);
	if (dirty & CLASS_CRX)
		read_class(copy, memory, CLASS_CRX);
	if (dirty & CLASS_DRX)
		read_class(copy, memory, CLASS_DRX);
	if (dirty & CLASS_DT)
		read_class(copy, memory, CLASS_DT);
	if (dirty & CLASS_SEG)
		read_class(copy, memory, CLASS_SEG);
	if (dirty & CLASS_CR2)
		read_class(copy, memory, CLASS_CR2);
	return dirty;
}

/* A VMCB was written: code that was translated from that page is void, and what tables it had. */
static void vmcb_written(struct cpu *cpu, const struct vmcb_memory *memory)
{
	dirty_note(space_ram(cpu->memory), memory->ram_offset, PAGE_SIZE);
	if (unlikely(ram_is_watched(space_ram(cpu->memory), memory->ram_offset)))
		cpu->watched_page_written(cpu, memory->ram_offset, PAGE_SIZE);
}

static void write_state(const struct svm *svm, union vmcb *memory, const union vmcb *copy)
{	memory->rflags = copy->rflags;
	memory->rip = copy->rip;
	memory->rsp = copy->rsp;
	memory->rax = copy->rax;
	memory->interrupt_state = copy->interrupt_state;
	write_class(memory, copy,
		CLASS_TPR | CLASS_CRX | CLASS_DRX | CLASS_DT | CLASS_SEG | CLASS_CR2);
	if (svm->guest_has_pat)
		memory->g_pat = copy->g_pat;
	if (svm->guest_has_lbr)
		write_class(memory, copy, CLASS_LBR);
}

/*
 * What #VMEXIT writes, APM2 15.6. Without `state` only why: the guest never ran. What the
 * hypervisor alone writes (intercepts, ASID, clean field, ...) is left as memory has it.
 */
void svm_write_vmcb(struct cpu *cpu, bool state)
{
	struct svm *svm = svm_of(cpu);
	union vmcb *memory = svm->memory.host;
	const union vmcb *copy = &svm->vmcb;

	write_class(memory, copy, CLASS_EXIT);
	memory->nrip = copy->nrip;
	memory->event_inj = copy->event_inj;
	if (state)
		write_state(svm, memory, copy);
	vmcb_written(cpu, &svm->memory);
}

/* APM2 15.5.1: bases are put into canonical form as they are loaded. */
static u64 canonical(u64 address)
{
	return (u64)((i64)(address << 16) >> 16);
}

#define LOAD_SEGMENT(cpu, index, vmcb, name) \
	((cpu)->seg[index] = (struct segment){ \
		 .sel = (vmcb)->name##_selector, \
		 .attr = (vmcb)->name##_attrib & 0xfff, \
		 .limit = (vmcb)->name##_limit, \
		 .base = canonical((vmcb)->name##_base), \
	 })

#define SAVE_SEGMENT(cpu, index, vmcb, name) \
	do { \
		(vmcb)->name##_selector = (cpu)->seg[index].sel; \
		(vmcb)->name##_attrib = (cpu)->seg[index].attr; \
		(vmcb)->name##_limit = (cpu)->seg[index].limit; \
		(vmcb)->name##_base = (cpu)->seg[index].base; \
	} while (0)

/* APM2 15.5.2 */
void svm_vmload(struct cpu *cpu, const union vmcb *memory)
{
	union vmcb copy;

	read_class(&copy, memory, CLASS_VMLOAD);
	LOAD_SEGMENT(cpu, FS, &copy, fs);
	LOAD_SEGMENT(cpu, GS, &copy, gs);
	LOAD_SEGMENT(cpu, LDTR, &copy, ldtr);
	LOAD_SEGMENT(cpu, TR, &copy, tr);
	cpu->star = copy.star;
	cpu->lstar = canonical(copy.lstar);
	cpu->cstar = canonical(copy.cstar);
	cpu->sfmask = copy.sfmask & 0xffffffff;
	cpu->kernel_gs_base = canonical(copy.kernel_gs_base);
	cpu->sysenter_cs = copy.sysenter_cs;
	cpu->sysenter_esp = canonical(copy.sysenter_esp);
	cpu->sysenter_eip = canonical(copy.sysenter_eip);
}

void svm_vmsave(struct cpu *cpu, const struct vmcb_memory *to)
{
	union vmcb *memory = to->host;

	SAVE_SEGMENT(cpu, FS, memory, fs);
	SAVE_SEGMENT(cpu, GS, memory, gs);
	SAVE_SEGMENT(cpu, LDTR, memory, ldtr);
	SAVE_SEGMENT(cpu, TR, memory, tr);
	memory->star = cpu->star;
	memory->lstar = cpu->lstar;
	memory->cstar = cpu->cstar;
	memory->sfmask = cpu->sfmask;
	memory->kernel_gs_base = cpu->kernel_gs_base;
	memory->sysenter_cs = cpu->sysenter_cs;
	memory->sysenter_esp = cpu->sysenter_esp;
	memory->sysenter_eip = cpu->sysenter_eip;
	vmcb_written(cpu, to);
}

void svm_save_host(struct cpu *cpu, u64 rip)
{
	struct svm_host *host = &svm_of(cpu)->host;

	host->es = cpu->seg[ES];
	host->cs = cpu->seg[CS];
	host->ss = cpu->seg[SS];
	host->ds = cpu->seg[DS];
	host->gdtr = cpu->gdtr;
	host->idtr = cpu->idtr;
	host->cr0 = cpu->cr0;
	host->cr3 = cpu->cr3;
	host->cr4 = cpu->cr4;
	host->efer = cpu->efer;
	host->rflags_system = cpu->rflags_system;
	host->aflags = cpu->aflags;
	host->rip = rip;
	host->rsp = cpu->gpr[RSP];
	host->rax = cpu->gpr[RAX];
	host->nmi_blocked = cpu->nmi_blocked;
	host->step_after = cpu->step_after;
	host->pat = cpu->pat;
	for (unsigned i = 0; i < ARRAY_SIZE(host->pdpte); i++)
		host->pdpte[i] = cpu->pdpte[i];
	host->debugctl = cpu->debugctl;
	host->last_branch_from = cpu->last_branch_from;
	host->last_branch_to = cpu->last_branch_to;
	host->last_int_from = cpu->last_int_from;
	host->last_int_to = cpu->last_int_to;
}

/* APM2 15.6, from "reload host state" on. GIF is the caller's. */
void svm_load_host(struct cpu *cpu)
{
	struct svm *svm = svm_of(cpu);
	const struct svm_host *host = &svm->host;

	cpu->seg[ES] = host->es;
	cpu->seg[CS] = host->cs;
	cpu->seg[SS] = host->ss;
	cpu->seg[DS] = host->ds;
	cpu->gdtr = host->gdtr;
	cpu->idtr = host->idtr;
	cpu->cr0 = host->cr0;
	cpu->cr3 = host->cr3;
	cpu->cr4 = host->cr4;
	cpu->efer = host->efer;
	for (unsigned i = 0; i < ARRAY_SIZE(host->pdpte); i++)
		cpu->pdpte[i] = host->pdpte[i];
	cpu->dr7 = DR7_FIXED1;
	cpu->rflags_system = host->rflags_system & ~(RFLAGS_VM | RFLAGS_RF);
	cpu->aflags = host->aflags;
	cpu->rip = host->rip;
	cpu->gpr[RSP] = host->rsp;
	cpu->gpr[RAX] = host->rax;
	cpu->cpl = 0;
	cpu->nmi_blocked = host->nmi_blocked;
	if (svm->guest_has_pat)
		cpu->pat = host->pat;
	if (svm->guest_has_lbr) {
		cpu->debugctl = host->debugctl;
		cpu->last_branch_from = host->last_branch_from;
		cpu->last_branch_to = host->last_branch_to;
		cpu->last_int_from = host->last_int_from;
		cpu->last_int_to = host->last_int_to;
	}
	svm->guest_has_pat = svm->guest_has_lbr = false;
	cpu_leave_guest_tsc(cpu);

	/* nothing that was about to happen to the guest happens to the host */
	cpu->event.valid = false;
	cpu->intr_shadow = cpu->shadow_seen = cpu->shadow_mov_ss = false;
	cpu->rf_seen = false;
	cpu->pending_db = 0;
	/* TF that was set when VMRUN began traps at its end, which is now: 15.5.1 */
	cpu->step_after = host->step_after;
	cpu->activity = CPU_RUNNING;

	cpu->in_guest = false;
	cpu->nested_paging = false;
	cpu->nested_asid = 0;
	cpu->virtual_tpr = cpu->intr_apart = false;
	tlb_world_changed(cpu);
	cpu_mode_update(cpu);
}

/* APM2 15.5.1, from "load guest state" on; the copy has been checked. */
bool svm_load_guest(struct cpu *cpu)
{
	struct svm *svm = svm_of(cpu);
	const union vmcb *v = &svm->vmcb;
	bool long_mode = (v->efer & EFER_LME) && (v->cr0 & CR0_PG);
	u64 rflags = v->rflags;

	LOAD_SEGMENT(cpu, ES, v, es);
	LOAD_SEGMENT(cpu, CS, v, cs);
	LOAD_SEGMENT(cpu, SS, v, ss);
	LOAD_SEGMENT(cpu, DS, v, ds);
	cpu->gdtr = (struct table_register){ canonical(v->gdtr_base), (u16)v->gdtr_limit };
	cpu->idtr = (struct table_register){ canonical(v->idtr_base), (u16)v->idtr_limit };
	cpu->nested_cr4 = cpu->cr4;
	cpu->nested_efer = cpu->efer;
	cpu->cr0 = v->cr0 | CR0_ET;
	cpu->cr2 = v->cr2;
	cpu->cr3 = v->cr3;
	cpu->cr4 = v->cr4;
	cpu->efer = (v->efer & ~EFER_LMA) | (long_mode ? EFER_LMA : 0);
	cpu->dr6 = (v->dr6 & (DR6_BT | DR6_BS | DR6_BD | 0xf)) | DR6_FIXED1;
	cpu->dr7 = (v->dr7 & 0xffff2bff) | DR7_FIXED1;
	if (long_mode)
		rflags &= ~RFLAGS_VM;
	cpu_set_rflags(cpu, rflags);
	cpu->rip = v->rip;
	cpu->gpr[RSP] = v->rsp;
	cpu->gpr[RAX] = v->rax;
	/* 15.5.1: real mode is CPL 0, virtual-8086 mode CPL 3, whatever the field says */
	cpu->cpl = !(v->cr0 & CR0_PE) ? 0 : (rflags & RFLAGS_VM) ? 3 : v->cpl & 3;

	cpu->nested_paging = v->nested_control & NESTED_NP_ENABLE;
	cpu->nested_root = v->n_cr3;
	cpu->nested_asid = v->guest_asid;
	svm->guest_has_pat = cpu->nested_paging;
	if (svm->guest_has_pat)
		cpu->pat = v->g_pat;
	svm->guest_has_lbr = v->virt_ext & VIRT_EXT_LBR;
	if (svm->guest_has_lbr) {
		cpu->debugctl = v->dbgctl & DEBUGCTL_WRITABLE;
		cpu->last_branch_from = v->br_from;
		cpu->last_branch_to = v->br_to;
		cpu->last_int_from = v->last_excp_from;
		cpu->last_int_to = v->last_excp_to;
	}
	/* TSC_RATIO is 8.32 fixed point, 15.30.5 */
	cpu_enter_guest_tsc(cpu, svm->tsc_ratio << 16, v->tsc_offset);
	cpu->guest_wants = svm_intercepted(svm, SVM_EXIT_RDTSC) || svm_intercepted(svm, SVM_EXIT_RDTSCP) ||
		cpu->tsc_ratio != TSC_RATIO_ONE ? WANTS_TSC : 0;
	if (svm_intercepted(svm, SVM_EXIT_PUSHF))
		cpu->guest_wants |= WANTS_PUSHF;
	svm->pause_count = v->pause_filter_count;
	svm->pause_tsc = 0;

	cpu->intr_shadow = v->interrupt_state & INTERRUPT_STATE_SHADOW;
	cpu->shadow_seen = cpu->shadow_mov_ss = false;
	cpu->rf_seen = false;
	cpu->pending_db = 0;
	cpu->step_after = false;
	cpu->intr_host_if = svm->host.rflags_system & RFLAGS_IF;
	cpu->virtual_tpr = cpu->intr_apart = v->vintr & VINTR_MASKING;
	cpu->cr8_shadow = v->vintr & VINTR_TPR_VALUE;
	cpu->in_guest = true;
	tlb_world_changed(cpu);

	/* 15.16.2; a reserved value drops more than it might */
	if (v->tlb_control == TLB_CONTROL_GUEST || v->tlb_control == TLB_CONTROL_GUEST_LOCAL)
		tlb_flush_asid(cpu, cpu->nested_asid);
	else if (v->tlb_control != TLB_CONTROL_NOTHING)
		tlb_flush_all(cpu);
	cpu_mode_update(cpu);
	/* 15.25.10: with nested paging they are read when a walk needs them */
	return long_mode || !(v->cr0 & CR0_PG) || !(v->cr4 & CR4_PAE) || cpu->nested_paging ||
	       !mmu_load_pdptes(cpu, v->cr3);
}

void svm_save_guest(struct cpu *cpu)
{
	struct svm *svm = svm_of(cpu);
	union vmcb *v = &svm->vmcb;

	SAVE_SEGMENT(cpu, ES, v, es);
	SAVE_SEGMENT(cpu, CS, v, cs);
	SAVE_SEGMENT(cpu, SS, v, ss);
	SAVE_SEGMENT(cpu, DS, v, ds);
	v->gdtr_base = cpu->gdtr.base;
	v->gdtr_limit = cpu->gdtr.limit;
	v->idtr_base = cpu->idtr.base;
	v->idtr_limit = cpu->idtr.limit;
	v->efer = cpu->efer;
	v->cr0 = cpu->cr0;
	v->cr2 = cpu->cr2;
	v->cr3 = cpu->cr3;
	v->cr4 = cpu->cr4;
	v->dr6 = cpu->dr6;
	v->dr7 = cpu->dr7;
	v->rflags = cpu_rflags(cpu);
	v->rip = cpu->rip;
	v->rsp = cpu->gpr[RSP];
	v->rax = cpu->gpr[RAX];
	v->cpl = cpu->cpl;
	v->interrupt_state = (v->interrupt_state & ~INTERRUPT_STATE_SHADOW) |
			     (cpu->intr_shadow ? INTERRUPT_STATE_SHADOW : 0);
	if (cpu->virtual_tpr)
		v->vintr = (v->vintr & ~VINTR_TPR) | (cpu->cr8_shadow & VINTR_TPR_VALUE);
	if (svm->guest_has_pat)
		v->g_pat = cpu->pat;
	if (svm->guest_has_lbr) {
		v->dbgctl = cpu->debugctl;
		v->br_from = cpu->last_branch_from;
		v->br_to = cpu->last_branch_to;
		v->last_excp_from = cpu->last_int_from;
		v->last_excp_to = cpu->last_int_to;
	}
}
