/* SPDX-License-Identifier: MIT */
/*
 * VMRUN with whatever a hypervisor may leave in a VMCB, its permission maps and its nested tables,
 * and what the guest does then: instructions that may be intercepted, events, exits, entries again
 * with clean bits. Beyond what the sanitizers see, an exit must bring the host back exactly, and
 * nothing of the guest's world may stay on.
 */
#include <string.h>

#include "virt/svm.h"
#include "virt_rig.h"

#define VMCB 0x40000
#define IOPM 0x41000
#define MSRPM 0x44000
#define NESTED 0x46000 /* PML4, PDPT, PD */
#define HOST_FLAGS (RFLAGS_RESERVED1 | RFLAGS_IF)

/* One form of each instruction that is AMD's own. */
static const struct insn insns[] = {
	{ .op = OP_RSM }, { .op = OP_INVLPGA }, { .op = OP_VMRUN }, { .op = OP_VMLOAD },
	{ .op = OP_VMSAVE }, { .op = OP_VMMCALL }, { .op = OP_STGI }, { .op = OP_CLGI },
	{ .op = OP_SKINIT },
};

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static void build_vmcb(struct rig *rig)
{
	struct cpu *cpu = rig->cpu;
	union vmcb *v = (union vmcb *)(rig->machine.ram.host + VMCB);

	memset(v, 0, sizeof(*v));
	v->intercept_misc1 = BIT(31);
	v->intercept_misc2 = 3;
	v->guest_asid = 1;
	v->iopm_base_pa = IOPM;
	v->msrpm_base_pa = MSRPM;
	v->n_cr3 = NESTED;
	v->g_pat = cpu->pat;
	v->cs_selector = SEL_CODE0;
	v->cs_attrib = cpu->seg[CS].attr;
	v->ss_selector = v->ds_selector = v->es_selector = SEL_DATA0;
	v->ss_attrib = v->ds_attrib = v->es_attrib = 0xc93;
	v->cs_limit = v->ss_limit = v->ds_limit = v->es_limit = 0xffffffff;
	v->gdtr_base = cpu->gdtr.base;
	v->gdtr_limit = cpu->gdtr.limit;
	v->idtr_base = cpu->idtr.base;
	v->idtr_limit = cpu->idtr.limit;
	v->efer = cpu->efer;
	v->cr0 = cpu->cr0;
	v->cr3 = cpu->cr3;
	v->cr4 = cpu->cr4;
	v->dr6 = DR6_FIXED1;
	v->dr7 = DR7_FIXED1;
	v->rflags = RFLAGS_RESERVED1;
	v->rip = 0x7000;
	v->rsp = RIG_STACK0;
	rig_put(rig, NESTED, (NESTED + 0x1000) | 7, 8);
	rig_put(rig, NESTED + 0x1000, (NESTED + 0x2000) | 7, 8);
	for (unsigned i = 0; i < 4; i++)
		rig_put(rig, NESTED + 0x2000 + 8 * i, i * 2 * MIB | 0x87, 8);
}

static void power_on(struct rig *rig)
{
	virt_rig_power_on(rig);
	rig->cpu->efer |= EFER_SVME;
	cpu_set_rflags(rig->cpu, HOST_FLAGS);
	build_vmcb(rig);
}

/* What was the host's when VMRUN began. */
struct host {
	u64 cr0, cr3, cr4, efer, rsp, rip, pat, tsc_offset;
	struct segment cs, ss, ds, es;
	struct table_register gdtr, idtr;
};

static void note_host(const struct cpu *cpu, struct host *host)
{
	*host = (struct host){ cpu->cr0, cpu->cr3, cpu->cr4, cpu->efer, cpu->gpr[RSP], cpu->rip + 3,
		cpu->pat, cpu->tsc_offset, cpu->seg[CS], cpu->seg[SS], cpu->seg[DS], cpu->seg[ES],
		cpu->gdtr, cpu->idtr };
}

static void check_segment(const struct segment *a, const struct segment *b)
{
	require(a->sel == b->sel && a->attr == b->attr && a->limit == b->limit && a->base == b->base);
}

static void check_host(const struct cpu *cpu, const struct host *host)
{
	require(!cpu->in_guest && !cpu->nested_paging && !cpu->nested_asid && !cpu->virtual_tpr);
	require(!cpu->gif && !cpu->virt_pending && !cpu->event.valid && !cpu->cpl);
	require(cpu->cr0 == host->cr0 && cpu->cr3 == host->cr3 && cpu->cr4 == host->cr4);
	require(cpu->efer == host->efer && cpu->gpr[RSP] == host->rsp && cpu->rip == host->rip);
	require(cpu->tsc_offset == cpu->tsc_l1_offset && cpu->tsc_ratio == TSC_RATIO_ONE);
	require(cpu->dr7 == DR7_FIXED1 && cpu->gpr[RAX] == VMCB);
	check_segment(&cpu->seg[CS], &host->cs);
	check_segment(&cpu->seg[SS], &host->ss);
	check_segment(&cpu->seg[DS], &host->ds);
	check_segment(&cpu->seg[ES], &host->es);
	require(cpu->gdtr.base == host->gdtr.base && cpu->gdtr.limit == host->gdtr.limit);
	require(cpu->idtr.base == host->idtr.base && cpu->idtr.limit == host->idtr.limit);
}

/* What no check may have let through, APM2 15.5.1. */
static void check_guest(const struct cpu *cpu)
{
	require(cpu->nested_asid && (cpu->efer & EFER_SVME));
	require(!(cpu->cr0 >> 32) && !(cpu->cr4 & ~cpu_cr4_valid(cpu)));
	require(!!(cpu->efer & EFER_LMA) == ((cpu->efer & EFER_LME) && (cpu->cr0 & CR0_PG)));
	require(svm_intercepted(svm_of(cpu), SVM_EXIT_VMRUN));
	require(cpu->cpl <= 3);
}

static void enter(struct rig *rig, struct host *host)
{
	struct cpu *cpu = rig->cpu;

	cpu->gpr[RAX] = VMCB;
	note_host(cpu, host);
	require(virt_rig_run(rig, (struct insn){ .op = OP_VMRUN }) == OUTCOME_JUMP);
	if (!cpu->in_guest) {
		require(svm_of(cpu)->failure.text && svm_of(cpu)->failure.section);
		check_host(cpu, host);
	} else {
		check_guest(cpu);
	}
}

/* One thing the guest, the world around it or the hypervisor does. */
static void step(struct rig *rig, struct fuzz_input *input)
{
	u64 at;

	switch (fuzz_take(input, 1) & 7) {
	case 0:
		at = VMCB + fuzz_take(input, 2) % 0x6f8;
		rig_put(rig, at, fuzz_take(input, 8), 8);
		break;
	case 1:
		at = VMCB + fuzz_take(input, 2) % 0x6ff;
		rig_put(rig, at, fuzz_take(input, 1), 1);
		break;
	case 2:
		virt_rig_set_memory(rig, input);
		break;
	case 3:
		virt_rig_set_register(rig, input);
		break;
	case 4:
		virt_rig_set_pin(rig, input);
		break;
	case 5:
		rig_boundary(rig);
		break;
	default:
		virt_rig_step(rig, *virt_rig_choose(input, insns, ARRAY_SIZE(insns)));
		break;
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct fuzz_input input = { data, size };
	static struct rig *rig;
	struct host host;
	struct cpu *cpu;

	if (!rig)
		rig = virt_rig_new(NESTED_AMD, svm_new);
	power_on(rig);
	cpu = rig->cpu;
	while (input.left) {
		/* the hypervisor prepares, with the host's registers out of reach */
		for (unsigned n = fuzz_take(&input, 1) & 15; n; n--) {
			u64 at = VMCB + fuzz_take(&input, 2) % 0x6f8;

			rig_put(rig, at, fuzz_take(&input, 4), 1 + (at & 3));
		}
		enter(rig, &host);
		while (cpu->in_guest && input.left)
			step(rig, &input);
		if (!cpu->in_guest && cpu->rip != host.rip)
			break; /* INIT or a reset took the host as well */
		if (!cpu->in_guest)
			check_host(cpu, &host);
		else
			break;
	}
	return 0;
}
