// SPDX-License-Identifier: MIT
/*
 * The state that VM entries and exits move between the CPU and the VMCS: SDM3 27.3.2, 28.3, 28.5.
 * Entries come here with a VMCS that has passed vmx_check.c.
 */
#include "cpu/descriptor.h"
#include "cpu/tlb.h"
#include "virt/vmx.h"
#include "virt/vmx_caps.h"

/* Bits of CR0 that entries and exits leave alone, 27.3.2.1 and 28.5.1. */
#define CR0_KEPT (CR0_ET | CR0_NW | CR0_CD | MASK(28, 19) | BIT(17) | MASK(15, 6))
/* DR7 as 27.3.2.1 has it loaded: bits 12, 14 and 15 are clear, bit 10 is set. */
#define DR7_LOADED (MASK(31, 16) | BIT(13) | BIT(11) | MASK(9, 0))

/* ---- pages that the controls name ---- */

static u8 *control_page(struct cpu *cpu, bool wanted, u64 pa)
{
	u64 offset;

	return wanted ? vmx_page(cpu, pa, &offset) : NULL;
}

static void load_pages(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);
	const struct vmcs *v = &vmx->vmcs;
	bool shadowing = vmx->secondary & SEC_SHADOWING;

	for (unsigned i = 0; i < 2; i++)
		vmx->io_bitmap[i] = control_page(cpu, v->cpu_controls & PROC_IO_BITMAPS,
			i ? v->io_bitmap_b : v->io_bitmap_a);
	vmx->msr_bitmap = control_page(cpu, v->cpu_controls & PROC_MSR_BITMAPS, v->msr_bitmap);
	vmx->virtual_apic = control_page(cpu, v->cpu_controls & PROC_TPR_SHADOW,
		v->virtual_apic_address);
	vmx->vmread_bitmap = control_page(cpu, shadowing, v->vmread_bitmap);
	vmx->vmwrite_bitmap = control_page(cpu, shadowing, v->vmwrite_bitmap);
	vmx->shadow = NULL;
	if (shadowing && v->link_pointer != VMCS_NONE)
		vmx->shadow = (struct vmcs *)vmx_page(cpu, v->link_pointer, &vmx->shadow_offset);
	vmx->posted = control_page(cpu, v->pin_controls & PIN_POSTED_INTERRUPTS,
		v->posted_interrupt_descriptor);
	if (vmx->posted)
		vmx->posted += v->posted_interrupt_descriptor & ~PAGE_MASK;
}

/* ---- segments ---- */

/* Rights to the attributes that struct segment keeps; unusable is a null selector's: none. */
static u16 attr_of(u64 rights)
{
	u16 attr = rights & 0xff;

	if (rights & RIGHTS_UNUSABLE)
		return rights & SEG_DPL; /* SS's DPL is the CPL all the same */
	return attr | (rights >> 4 & (SEG_AVL | SEG_L | SEG_DB | SEG_G));
}

static u64 rights_of(const struct segment *seg)
{
	u64 rights = (seg->attr & 0xff) | (u64)(seg->attr & 0xf00) << 4;

	return seg->attr & SEG_P ? rights : rights | RIGHTS_UNUSABLE;
}

#define LOAD_SEGMENT(cpu, index, v, name) \
	((cpu)->seg[index] = (struct segment){ \
		 .sel = (v)->guest_##name##_selector, \
		 .attr = attr_of((v)->guest_##name##_rights), \
		 .limit = (v)->guest_##name##_limit, \
		 .base = (v)->guest_##name##_base, \
	 })

#define SAVE_SEGMENT(cpu, index, v, name) \
	do { \
		(v)->guest_##name##_selector = (cpu)->seg[index].sel; \
		(v)->guest_##name##_rights = rights_of(&(cpu)->seg[index]); \
		(v)->guest_##name##_limit = (cpu)->seg[index].limit; \
		(v)->guest_##name##_base = (cpu)->seg[index].base; \
	} while (0)

/* ---- the world: what of cpu-> follows from being in a guest ---- */

/* Without VPIDs translations belong to VPID 0, which entries and exits empty: SDM3 29.4.3.3. */
static void flush_untagged(struct cpu *cpu)
{
	if (!(vmx_of(cpu)->secondary & SEC_VPID))
		tlb_flush_asid(cpu, 0);
}

static void enter_world(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);
	const struct vmcs *v = &vmx->vmcs;
	u32 secondary = vmx->secondary;

	cpu->in_guest = true;
	cpu->vmx_root = false;
	cpu->ept = cpu->nested_paging = secondary & SEC_EPT;
	cpu->ept_mode_based = secondary & SEC_MODE_BASED_EXECUTE;
	cpu->ept_pml = secondary & SEC_PML;
	cpu->nested_root = v->eptp;
	cpu->nested_asid = secondary & SEC_VPID ? v->vpid : 0;
	cpu->apic_access_page = secondary & SEC_APIC_ACCESSES ? v->apic_access_address :
								NO_APIC_ACCESS_PAGE;
	flush_untagged(cpu);
	tlb_world_changed(cpu);

	cpu->intr_apart = v->pin_controls & PIN_EXTERNAL_INTERRUPT;
	cpu->intr_host_if = true;
	cpu->nmi_apart = v->pin_controls & PIN_VIRTUAL_NMIS;
	cpu->nmi_iret_blind = (v->pin_controls & (PIN_NMI | PIN_VIRTUAL_NMIS)) == PIN_NMI;
	cpu->virtual_tpr = v->cpu_controls & PROC_TPR_SHADOW;
	cpu->virtual_x2apic = secondary & SEC_X2APIC;
	cpu->guest_lacks = (secondary & SEC_RDTSCP ? 0 : LACKS_RDTSCP) |
			   (secondary & SEC_INVPCID ? 0 : LACKS_INVPCID) |
			   (secondary & SEC_XSAVES ? 0 : LACKS_XSAVES);
	cpu->cr0_mask = v->cr0_mask;
	cpu->cr0_shadow = v->cr0_shadow;
	cpu->cr4_mask = v->cr4_mask;
	cpu->cr4_shadow = v->cr4_shadow;
	cpu->cr0_fixed1 = VMX_CR0_FIXED0;
	if (secondary & SEC_UNRESTRICTED)
		cpu->cr0_fixed1 &= ~(CR0_PE | CR0_PG);
	/* without an offset there is no scaling either, 26.3 */
	if (!(v->cpu_controls & PROC_TSC_OFFSETTING))
		cpu_enter_guest_tsc(cpu, TSC_RATIO_ONE, 0);
	else
		cpu_enter_guest_tsc(cpu, secondary & SEC_TSC_SCALING ? v->tsc_multiplier : TSC_RATIO_ONE,
			v->tsc_offset);
	cpu->guest_wants = (v->cpu_controls & PROC_RDTSC) || (cpu->guest_lacks & LACKS_RDTSCP) ||
		cpu->tsc_ratio != TSC_RATIO_ONE ? WANTS_TSC : 0;
}

void vmx_leave_world(struct cpu *cpu)
{
	cpu->in_guest = false;
	cpu->vmx_root = vmx_of(cpu)->on;
	cpu->ept = cpu->nested_paging = cpu->ept_mode_based = cpu->ept_pml = false;
	cpu->nested_asid = 0;
	cpu->apic_access_page = NO_APIC_ACCESS_PAGE;
	if (cpu->context) {
		flush_untagged(cpu);
		tlb_world_changed(cpu);
	}
	cpu->intr_apart = cpu->nmi_apart = cpu->nmi_iret_blind = cpu->iret_unblocked = false;
	cpu->virtual_tpr = cpu->virtual_x2apic = cpu->virt_step = cpu->virt_pending = false;
	cpu->guest_lacks = 0;
	cpu->cr0_mask = cpu->cr4_mask = 0;
	cpu->cr0_fixed1 = VMX_CR0_FIXED0;
	vmx_of(cpu)->monitor_trap = MONITOR_TRAP_OFF;
	vmx_of(cpu)->apic_exits = 0;
}

/* ---- entry, SDM3 27.3.2 ---- */

static void load_control_registers(struct cpu *cpu, const struct vmcs *v)
{
	bool long_mode = v->entry_controls & ENTRY_IA32E;

	cpu->cr0 = (v->guest_cr0 & ~CR0_KEPT) | (cpu->cr0 & CR0_KEPT);
	cpu->cr3 = v->guest_cr3;
	cpu->cr4 = v->guest_cr4;
	if (v->entry_controls & ENTRY_LOAD_EFER)
		cpu->efer = v->guest_efer;
	else
		cpu->efer &= ~EFER_LMA;
	if (long_mode)
		cpu->efer |= EFER_LMA;
	if (!(v->entry_controls & ENTRY_LOAD_EFER) && (cpu->cr0 & CR0_PG))
		cpu->efer = (cpu->efer & ~EFER_LME) | (long_mode ? EFER_LME : 0);
	if (v->entry_controls & ENTRY_LOAD_DEBUG) {
		cpu->dr7 = (v->guest_dr7 & DR7_LOADED) | DR7_FIXED1;
		cpu->debugctl = v->guest_debugctl;
	}
	if (v->entry_controls & ENTRY_LOAD_PAT)
		cpu->pat = v->guest_pat;
	cpu->sysenter_cs = v->guest_sysenter_cs;
	cpu->sysenter_esp = v->guest_sysenter_esp;
	cpu->sysenter_eip = v->guest_sysenter_eip;
}

/* PAE paging outside long mode, 27.3.2.4: as the check found them. */
static void load_pdptes(struct cpu *cpu)
{
	if (cpu_lma(cpu) || !(cpu->cr0 & CR0_PG) || !(cpu->cr4 & CR4_PAE))
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(cpu->pdpte); i++)
		cpu->pdpte[i] = vmx_of(cpu)->pdpte[i];
}

static void load_non_register_state(struct cpu *cpu, const struct vmcs *v)
{
	static const enum cpu_activity activity[] = {
		[ACTIVITY_ACTIVE] = CPU_RUNNING,
		[ACTIVITY_HLT] = CPU_HALTED,
		[ACTIVITY_SHUTDOWN] = CPU_GUEST_SHUTDOWN,
		[ACTIVITY_WAIT_SIPI] = CPU_WAIT_SIPI,
	};
	u64 interruptibility = v->guest_interruptibility, pending = v->guest_pending_debug;

	cpu->activity = activity[v->guest_activity & 3];
	if (interruptibility & (INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS))
		cpu_shadow_begin(cpu, cpu->rip, interruptibility & INTERRUPTIBILITY_MOV_SS);
	else
		cpu_shadow_end(cpu);
	cpu->nmi_blocked = interruptibility & INTERRUPTIBILITY_NMI;
	cpu->rf_seen = false;
	cpu->branched = false;
	cpu->step_after = false;
	/* B0 to B3 count where a breakpoint was enabled, 25.4.2 */
	cpu->pending_db = pending & PENDING_BS ? DR6_BS : 0;
	if (pending & PENDING_ENABLED_BREAKPOINT)
		cpu->pending_db |= pending & PENDING_B;
}

void vmx_load_guest(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);
	const struct vmcs *v = &vmx->vmcs;

	vmx->host_nmi_blocked = cpu->nmi_blocked;
	if (!vmx->checked) {
		load_pages(cpu);
		vmx->checked = true;
	}
	load_control_registers(cpu, v);
	LOAD_SEGMENT(cpu, ES, v, es);
	LOAD_SEGMENT(cpu, CS, v, cs);
	/* of an unusable one L, D and G count, and the rest may be anything: 27.3.2.2 */
	cpu->seg[CS].attr = attr_of(v->guest_cs_rights & ~(u64)RIGHTS_UNUSABLE);
	LOAD_SEGMENT(cpu, SS, v, ss);
	LOAD_SEGMENT(cpu, DS, v, ds);
	LOAD_SEGMENT(cpu, FS, v, fs);
	LOAD_SEGMENT(cpu, GS, v, gs);
	LOAD_SEGMENT(cpu, LDTR, v, ldtr);
	LOAD_SEGMENT(cpu, TR, v, tr);
	cpu->cpl = attr_dpl(cpu->seg[SS].attr);
	cpu->gdtr = (struct table_register){ v->guest_gdtr_base, v->guest_gdtr_limit };
	cpu->idtr = (struct table_register){ v->guest_idtr_base, v->guest_idtr_limit };
	cpu_set_rflags(cpu, v->guest_rflags);
	cpu->rip = v->guest_rip;
	cpu->gpr[RSP] = v->guest_rsp;
	enter_world(cpu);
	load_pdptes(cpu);
	load_non_register_state(cpu, v);
	vmx->ple_first = vmx->ple_last = 0;
	cpu->virt_step = v->cpu_controls & PROC_MONITOR_TRAP;
	vmx_apic_enter(cpu);
	cpu->context_stale = true;
	cpu_mode_update(cpu);
}

/* ---- exit, SDM3 28.3 ---- */

/*
 * A shadow that went stale in translated code is none: the guest is elsewhere, or has come back to where
 * it was. With IF clear it surely has, and no entry would take the pair: 27.3.1.5.
 */
static u64 interruptibility_of(const struct cpu *cpu)
{
	u64 state = 0;

	if (cpu->intr_shadow && cpu->rip == cpu->shadow_rip) {
		if (cpu->shadow_mov_ss)
			state = INTERRUPTIBILITY_MOV_SS;
		else if (cpu->rflags_system & RFLAGS_IF)
			state = INTERRUPTIBILITY_STI;
	}
	if (cpu->nmi_blocked)
		state |= INTERRUPTIBILITY_NMI;
	return state;
}

/*
 * Traps that wait: at a boundary those of the instruction that has ended. A shadow or HLT with TF
 * set has one in any case, or the next entry would be refused: 27.3.1.5.
 */
static u64 pending_debug_of(const struct cpu *cpu, const struct vmcs *v, bool boundary)
{
	bool step = (cpu->rflags_system & RFLAGS_TF) && !(cpu->debugctl & DEBUGCTL_BTF);
	bool held = (v->guest_interruptibility & (INTERRUPTIBILITY_STI | INTERRUPTIBILITY_MOV_SS)) ||
		    v->guest_activity == ACTIVITY_HLT;
	u64 pending = 0;

	if (boundary || cpu->shadow_mov_ss) {
		pending = cpu->pending_db & (PENDING_B | PENDING_BS);
		if (pending & PENDING_B)
			pending |= PENDING_ENABLED_BREAKPOINT;
	}
	if ((step && held) || (boundary && cpu->step_after))
		pending |= PENDING_BS;
	return pending;
}

static u64 activity_of(const struct cpu *cpu)
{
	switch (cpu->activity) {
	case CPU_HALTED:
		return ACTIVITY_HLT;
	case CPU_GUEST_SHUTDOWN:
		return ACTIVITY_SHUTDOWN;
	case CPU_WAIT_SIPI:
		return ACTIVITY_WAIT_SIPI;
	default:
		return ACTIVITY_ACTIVE;
	}
}

static void save_control_registers(struct cpu *cpu, struct vmcs *v)
{
	v->guest_cr0 = cpu->cr0;
	v->guest_cr3 = cpu->cr3;
	v->guest_cr4 = cpu->cr4;
	if (v->exit_controls & EXIT_SAVE_DEBUG) {
		v->guest_dr7 = cpu->dr7;
		v->guest_debugctl = cpu->debugctl;
	}
	if (v->exit_controls & EXIT_SAVE_PAT)
		v->guest_pat = cpu->pat;
	if (v->exit_controls & EXIT_SAVE_EFER)
		v->guest_efer = cpu->efer;
	if (!(v->entry_controls & ENTRY_IA32E) != !cpu_lma(cpu)) {
		v->entry_controls ^= ENTRY_IA32E;
		vmx_of(cpu)->checked = false;
	}
	v->guest_sysenter_cs = cpu->sysenter_cs;
	v->guest_sysenter_esp = cpu->sysenter_esp;
	v->guest_sysenter_eip = cpu->sysenter_eip;
	if (cpu->ept) {
		v->guest_pdpte0 = cpu->pdpte[0];
		v->guest_pdpte1 = cpu->pdpte[1];
		v->guest_pdpte2 = cpu->pdpte[2];
		v->guest_pdpte3 = cpu->pdpte[3];
	}
}

void vmx_save_guest(struct cpu *cpu, const struct vmx_exit *exit)
{
	struct vmcs *v = &vmx_of(cpu)->vmcs;

	save_control_registers(cpu, v);
	SAVE_SEGMENT(cpu, ES, v, es);
	SAVE_SEGMENT(cpu, CS, v, cs);
	SAVE_SEGMENT(cpu, SS, v, ss);
	SAVE_SEGMENT(cpu, DS, v, ds);
	SAVE_SEGMENT(cpu, FS, v, fs);
	SAVE_SEGMENT(cpu, GS, v, gs);
	SAVE_SEGMENT(cpu, LDTR, v, ldtr);
	SAVE_SEGMENT(cpu, TR, v, tr);
	/* SS's DPL is where entries find the CPL, whatever SS is: 25.4.1 */
	v->guest_ss_rights = (v->guest_ss_rights & ~(u64)SEG_DPL) | (u64)cpu->cpl << SEG_DPL_SHIFT;
	v->guest_gdtr_base = cpu->gdtr.base;
	v->guest_gdtr_limit = cpu->gdtr.limit;
	v->guest_idtr_base = cpu->idtr.base;
	v->guest_idtr_limit = cpu->idtr.limit;
	v->guest_rip = cpu->rip;
	v->guest_rsp = cpu->gpr[RSP];
	v->guest_rflags = cpu_rflags(cpu) | (exit->fault ? RFLAGS_RF : 0);
	v->guest_activity = activity_of(cpu);
	v->guest_interruptibility = interruptibility_of(cpu);
	v->guest_pending_debug = pending_debug_of(cpu, v, exit->boundary);
	if (v->exit_controls & EXIT_SAVE_PREEMPTION_TIMER)
		v->preemption_timer = vmx_timer_left(cpu);
	vmx_apic_leave(cpu);
}

/* ---- host, SDM3 28.5 ---- */

static void load_host_segment(struct cpu *cpu, unsigned index, u16 sel, u64 base)
{
	const u16 data = SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED | SEG_DB | SEG_G;

	cpu->seg[index] = (struct segment){ .sel = sel, .base = base };
	if (sel) {
		cpu->seg[index].attr = data;
		cpu->seg[index].limit = 0xffffffff;
	}
}

static void load_host_segments(struct cpu *cpu, const struct vmcs *v, bool long_mode)
{
	cpu->seg[CS] = (struct segment){
		.sel = v->host_cs_selector, .limit = 0xffffffff,
		.attr = SEG_P | SEG_S | SEG_CODE | SEG_READABLE | SEG_ACCESSED | SEG_G |
			(long_mode ? SEG_L : SEG_DB),
	};
	load_host_segment(cpu, SS, v->host_ss_selector, 0);
	load_host_segment(cpu, DS, v->host_ds_selector, 0);
	load_host_segment(cpu, ES, v->host_es_selector, 0);
	load_host_segment(cpu, FS, v->host_fs_selector, v->host_fs_base);
	load_host_segment(cpu, GS, v->host_gs_selector, v->host_gs_base);
	cpu->seg[TR] = (struct segment){
		.sel = v->host_tr_selector, .base = v->host_tr_base, .limit = 0x67,
		.attr = SEG_P | SYS_TSS32_BUSY,
	};
	cpu->seg[LDTR] = (struct segment){ .sel = 0 };
	cpu->gdtr = (struct table_register){ v->host_gdtr_base, 0xffff };
	cpu->idtr = (struct table_register){ v->host_idtr_base, 0xffff };
}

bool vmx_load_host(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);
	const struct vmcs *v = &vmx->vmcs;
	bool long_mode = v->exit_controls & EXIT_HOST_64;
	/* without virtual NMIs the guest's blocking was the CPU's own */
	bool nmi_blocked = cpu->in_guest && cpu->nmi_apart ? vmx->host_nmi_blocked : cpu->nmi_blocked;
	bool by_nmi = v->exit_reason == VMX_EXIT_EXCEPTION &&
		      INTR_INFO_TYPE(v->exit_interruption_info) == INTR_NMI;

	cpu->cr0 = (v->host_cr0 & ~CR0_KEPT) | (cpu->cr0 & CR0_KEPT);
	cpu->cr3 = v->host_cr3;
	cpu->cr4 = v->host_cr4;
	if (v->exit_controls & EXIT_LOAD_EFER)
		cpu->efer = v->host_efer;
	else
		cpu->efer = (cpu->efer & ~(EFER_LMA | EFER_LME)) |
			    (long_mode ? EFER_LMA | EFER_LME : 0);
	if (v->exit_controls & EXIT_LOAD_PAT)
		cpu->pat = v->host_pat;
	cpu->dr7 = DR7_FIXED1;
	cpu->debugctl = 0;
	cpu->sysenter_cs = v->host_sysenter_cs;
	cpu->sysenter_esp = v->host_sysenter_esp;
	cpu->sysenter_eip = v->host_sysenter_eip;
	load_host_segments(cpu, v, long_mode);
	cpu->cpl = 0;
	cpu->rip = v->host_rip;
	cpu->gpr[RSP] = v->host_rsp;
	cpu_set_rflags(cpu, RFLAGS_RESERVED1);

	cpu->event.valid = false;
	cpu_shadow_end(cpu);
	cpu->rf_seen = cpu->step_after = false;
	cpu->branched = 0;
	cpu->pending_db = 0;
	cpu->activity = CPU_RUNNING;
	cpu->nmi_blocked = nmi_blocked || by_nmi;
	cpu_leave_guest_tsc(cpu);
	vmx_leave_world(cpu);
	cpu->context_stale = true;
	cpu_mode_update(cpu);
	if (cpu_lma(cpu) || !(cpu->cr4 & CR4_PAE))
		return true;
	return !mmu_load_pdptes(cpu, cpu->cr3);
}
