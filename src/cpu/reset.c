/* SPDX-License-Identifier: MIT */
/*
 * What a vCPU is after power-up, after INIT and after a start-up IPI: APM2 14.1 (table 14-1) and
 * 16.5. Devices, the local APIC included, are reset by the machine; BIST is not modelled.
 */
#include "cpu/descriptor.h"
#include "cpu/tlb.h"

#define RESET_CS_SELECTOR 0xf000
#define RESET_CS_BASE 0xffff0000ull
#define RESET_RIP 0xfff0
#define RESET_PAT 0x0007040600070406ull
#define MISC_ENABLE_RESET (BIT(0) | BIT(11) | BIT(12)) /* fast strings; no BTS, no PEBS: SDM4 */
#define HWCR_TSC_FREQ_SEL BIT(24) /* the TSC counts at the P0 frequency */

static void reset_segment(struct segment *seg, u16 sel, u64 base, u16 attr)
{
	*seg = (struct segment){ .sel = sel, .attr = attr, .limit = 0xffff, .base = base };
}

/* What INIT and power-up have in common. */
static void reset_common(struct cpu *cpu, bool init)
{
	u32 id[4];

	if (cpu->virt && cpu->virt->reset)
		cpu->virt->reset(cpu, init);
	cpu->in_guest = false;
	cpu->nested_paging = false;
	cpu->nested_asid = 0;
	cpu->ept = cpu->ept_mode_based = cpu->ept_pml = false;
	cpu->apic_access_page = NO_APIC_ACCESS_PAGE;
	tlb_world_changed(cpu);
	cpu->gif = true;
	cpu->virt_pending = false;
	cpu->virtual_tpr = cpu->virtual_x2apic = cpu->virt_step = false;
	cpu->intr_apart = cpu->nmi_apart = cpu->nmi_iret_blind = cpu->iret_unblocked = false;
	cpu->guest_lacks = 0;
	cpu->cr0_mask = cpu->cr4_mask = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(cpu->gpr); i++)
		cpu->gpr[i] = 0;
	cpu_cpuid(cpu, 1, 0, id);
	cpu->gpr[RDX] = id[0];
	cpu->rip = RESET_RIP;
	cpu_set_rflags(cpu, RFLAGS_RESERVED1);

	reset_segment(&cpu->seg[CS], RESET_CS_SELECTOR, RESET_CS_BASE,
		SEG_P | SEG_S | SEG_CODE | SEG_READABLE | SEG_ACCESSED);
	for (unsigned i = 0; i < LDTR; i++)
		if (i != CS)
			reset_segment(&cpu->seg[i], 0, 0, SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED);
	reset_segment(&cpu->seg[LDTR], 0, 0, SEG_P | 2);
	reset_segment(&cpu->seg[TR], 0, 0, SEG_P | 11);
	cpu->gdtr = (struct table_register){ .base = 0, .limit = 0xffff };
	cpu->idtr = (struct table_register){ .base = 0, .limit = 0xffff };

	cpu->cr2 = cpu->cr3 = cpu->cr4 = cpu->cr8_shadow = 0;
	cpu->efer = 0;
	cpu->cpl = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(cpu->dr); i++)
		cpu->dr[i] = 0;
	cpu->dr6 = DR6_FIXED1;
	cpu->dr7 = DR7_FIXED1;
	cpu->kernel_gs_base = 0;

	cpu->activity = cpu->id ? CPU_WAIT_SIPI : CPU_RUNNING;
	cpu->event.valid = false;
	cpu->fault.kind = FAULT_NONE;
	cpu_shadow_end(cpu);
	cpu->rf_seen = false;
	cpu->nmi_blocked = cpu->nmi_pending = false;
	cpu->pending_db = 0;
	cpu->step_after = false;
}

void cpu_reset(struct cpu *cpu)
{
	reset_common(cpu, false);
	cpu->cr0 = CR0_CD | CR0_NW | CR0_ET;
	cpu->xcr0 = XCR0_X87;
	cpu->xss = 0;
	cpu->pat = RESET_PAT;
	cpu->star = cpu->lstar = cpu->cstar = cpu->sfmask = 0;
	cpu->sysenter_cs = cpu->sysenter_esp = cpu->sysenter_eip = 0;
	cpu->tsc_aux = cpu->tsc_adjust = 0;
	cpu->tsc_ratio = TSC_RATIO_ONE;
	cpu->pv_clock = cpu->pv_wall_clock = 0;
	cpu_set_tsc(cpu, 0);
	cpu->debugctl = cpu->last_branch_from = cpu->last_branch_to = 0;
	cpu->last_int_from = cpu->last_int_to = 0;
	cpu->spec_ctrl = 0;
	cpu->apic_disabled = false;
	cpu->misc_enable = MISC_ENABLE_RESET;
	cpu->syscfg = 0;
	cpu->hwcr = HWCR_TSC_FREQ_SEL;
	cpu->mtrr_def_type = 0;
	zero_bytes(cpu->mtrr_fixed, sizeof(cpu->mtrr_fixed));
	zero_bytes(cpu->mtrr_base, sizeof(cpu->mtrr_base));
	zero_bytes(cpu->mtrr_mask, sizeof(cpu->mtrr_mask));
	/* INTR is a level that its source keeps up; the rest were edges */
	__atomic_fetch_and(&cpu->pins, BIT(CPU_PIN_INTR), __ATOMIC_SEQ_CST);
	cpu_fpu_reset(cpu);
	if (cpu->context)
		tlb_flush_all(cpu);
	cpu_mode_update(cpu);
	cpu->context_stale = true;
}

void cpu_init(struct cpu *cpu)
{
	/* table 14-1: INIT leaves the cache bits, x87 and SSE registers, MTRRs, PAT, the TSC and
	 * the system-call MSRs as they are */
	u64 cache = cpu->cr0 & (CR0_CD | CR0_NW);

	reset_common(cpu, true);
	cpu->cr0 = cache | CR0_ET;
	if (cpu->intc_ops && cpu->intc_ops->init) {
		cpu_park_fpu(cpu);
		machine_lock(cpu->machine);
		cpu->intc_ops->init(cpu->intc);
		machine_unlock(cpu->machine);
	}
	if (cpu->context)
		tlb_flush_all(cpu);
	cpu_mode_update(cpu);
	cpu->context_stale = true;
}
