/* SPDX-License-Identifier: MIT */
/*
 * VMRUN with whatever a hypervisor may leave in a VMCB, its permission maps and its nested tables,
 * and what the guest does then: instructions that may be intercepted, events, exits, entries again
 * with clean bits. Beyond what the sanitizers see, an exit must bring the host back exactly, and
 * nothing of the guest's world may stay on.
 */
#include <sanitizer/lsan_interface.h>
#include <stdlib.h>
#include <string.h>

#include "cpu_rig.h"
#include "virt/svm.h"

#define VMCB 0x40000
#define IOPM 0x41000
#define MSRPM 0x44000
#define NESTED 0x46000 /* PML4, PDPT, PD */
#define HOST_FLAGS (RFLAGS_RESERVED1 | RFLAGS_IF)

struct input {
	const u8 *at, *end;
};

static u64 take(struct input *input, unsigned size)
{
	u64 value = 0;

	for (unsigned i = 0; i < size && input->at < input->end; i++)
		value |= (u64)*input->at++ << 8 * i;
	return value;
}

/* One form of each instruction that C executes and a guest without memory operands can name. */
static const struct insn insns[] = {
	{ .op = OP_MOV_FROM_CR, .reg = 0, .rm = RBX }, { .op = OP_MOV_FROM_CR, .reg = 8, .rm = RBX },
	{ .op = OP_MOV_TO_CR, .reg = 0, .rm = RBX }, { .op = OP_MOV_TO_CR, .reg = 2, .rm = RBX },
	{ .op = OP_MOV_TO_CR, .reg = 3, .rm = RBX }, { .op = OP_MOV_TO_CR, .reg = 4, .rm = RBX },
	{ .op = OP_MOV_TO_CR, .reg = 8, .rm = RBX }, { .op = OP_CLTS },
	{ .op = OP_LMSW, .rm = RBX, .opsize = 2 }, { .op = OP_SMSW, .rm = RBX, .opsize = 4 },
	{ .op = OP_MOV_FROM_DR, .reg = 7, .rm = RBX }, { .op = OP_MOV_TO_DR, .reg = 7, .rm = RBX },
	{ .op = OP_MOV_TO_DR, .reg = 6, .rm = RBX }, { .op = OP_SLDT, .rm = RBX, .opsize = 4 },
	{ .op = OP_STR, .rm = RBX, .opsize = 4 }, { .op = OP_LLDT, .rm = RBX, .opsize = 2 },
	{ .op = OP_LTR, .rm = RBX, .opsize = 2 }, { .op = OP_RDTSC }, { .op = OP_RDTSCP },
	{ .op = OP_RDPMC }, { .op = OP_PUSHF, .opsize = 8 }, { .op = OP_POPF, .opsize = 8 },
	{ .op = OP_CPUID }, { .op = OP_RSM }, { .op = OP_IRET, .opsize = 8 },
	{ .op = OP_INT, .imm = 0x40 }, { .op = OP_INT3 }, { .op = OP_INT1 }, { .op = OP_INVD },
	{ .op = OP_WBINVD }, { .op = OP_PAUSE }, { .op = OP_HLT },
	{ .op = OP_INVLPG, .is_mem = true, .base = RBX, .index = INSN_NO_REG, .scale = 1, .seg = DS },
	{ .op = OP_INVLPGA }, { .op = OP_IN, .opcode = 0xec, .opsize = 1 },
	{ .op = OP_OUT, .opcode = 0xee, .opsize = 4 }, { .op = OP_RDMSR }, { .op = OP_WRMSR },
	{ .op = OP_XSETBV }, { .op = OP_VMRUN }, { .op = OP_VMLOAD }, { .op = OP_VMSAVE },
	{ .op = OP_VMMCALL }, { .op = OP_STGI }, { .op = OP_CLGI }, { .op = OP_SKINIT },
	{ .op = OP_STI }, { .op = OP_CLI }, { .op = OP_UD }, { .op = OP_NM }, { .op = OP_GP },
	{ .op = OP_SYSCALL }, { .op = OP_SYSRET, .opsize = 8 }, { .op = OP_MONITOR }, { .op = OP_MWAIT },
};

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

/* ---- an interrupt controller that has one vector and a TPR that nobody reads ---- */

static int acknowledge(void *opaque)
{
	cpu_pin_set(((struct rig *)opaque)->cpu, CPU_PIN_INTR, false);
	return 0x30;
}

static u64 read_cr8(void *opaque)
{
	return 0;
}

static void write_cr8(void *opaque, u64 value)
{
}

static int read_msr(void *opaque, u32 msr, u64 *value)
{
	*value = 0;
	return 0;
}

static int write_msr(void *opaque, u32 msr, u64 value)
{
	return 0;
}

static void init(void *opaque)
{
}

static const struct intc_ops intc = { .acknowledge = acknowledge, .read_cr8 = read_cr8,
	.write_cr8 = write_cr8, .read_msr = read_msr, .write_msr = write_msr, .init = init };

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

/* Made once: asking the real CPU for its CPUID takes milliseconds on a virtual host. */
static struct rig *build(void)
{
	struct rig *rig;

	if (rig_setup((void **)&rig))
		abort();
	cpuid_table_free(rig->cpu->cpuid);
	if (cpuid_table_new(&rig->cpu->cpuid, NESTED_AMD, NULL, 1) || svm_new(rig->cpu))
		abort();
	rig->cpu->phys_bits = cpuid_phys_bits(rig->cpu->cpuid);
	rig->cpu->intc_ops = &intc;
	return rig;
}

static void power_on(struct rig *rig)
{
	struct cpu *cpu = rig->cpu;

	memset(rig->machine.ram.host, 0, rig->machine.ram.size);
	cpu->pins = 0;
	cpu_reset(cpu);
	rig_long(rig);
	cpu->efer |= EFER_SVME;
	cpu_set_rflags(cpu, HOST_FLAGS);
	build_vmcb(rig);
}

static void require(bool good)
{
	if (!good)
		abort();
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
	struct insn vmrun = { .op = OP_VMRUN, .len = 3, .addrsize = 8 };

	cpu->gpr[RAX] = VMCB;
	note_host(cpu, host);
	require(rig_exec(rig, vmrun) == OUTCOME_JUMP);
	if (!cpu->in_guest) {
		require(svm_of(cpu)->failure.text && svm_of(cpu)->failure.section);
		check_host(cpu, host);
	} else {
		check_guest(cpu);
	}
}

static void run_insn(struct rig *rig, struct input *input)
{
	struct insn insn = insns[take(input, 1) % ARRAY_SIZE(insns)];

	insn.len = 3;
	insn.addrsize = 8;
	insn.code_size = 8;
	if (!insn.opsize)
		insn.opsize = 4;
	rig_exec(rig, insn);
}

/* One thing the guest, the world around it or the hypervisor does. */
static void step(struct rig *rig, struct input *input)
{
	struct cpu *cpu = rig->cpu;
	u64 at, pin;

	switch (take(input, 1) & 7) {
	case 0:
		at = VMCB + take(input, 2) % 0x6f8;
		rig_put(rig, at, take(input, 8), 8);
		break;
	case 1:
		at = VMCB + take(input, 2) % 0x6ff;
		rig_put(rig, at, take(input, 1), 1);
		break;
	case 2:
		at = take(input, 3) % (MIB - 8);
		rig_put(rig, at, take(input, 8), 8);
		break;
	case 3:
		at = take(input, 1) & 15;
		cpu->gpr[at] = take(input, 8);
		break;
	case 4:
		pin = take(input, 1) & 3;
		cpu_pin_set(cpu, pin, true);
		break;
	case 5:
		rig_boundary(rig);
		break;
	default:
		run_insn(rig, input);
		break;
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct input input = { data, data + size };
	static struct rig *rig;
	struct host host;
	struct cpu *cpu;

	if (!rig) {
		/* the leak checker does not look into a vCPU's mapping */
		__lsan_disable();
		rig = build();
		__lsan_enable();
	}
	power_on(rig);
	cpu = rig->cpu;
	while (input.at < input.end) {
		/* the hypervisor prepares, with the host's registers out of reach */
		for (unsigned n = take(&input, 1) & 15; n; n--) {
			u64 at = VMCB + take(&input, 2) % 0x6f8;

			rig_put(rig, at, take(&input, 4), 1 + (at & 3));
		}
		enter(rig, &host);
		while (cpu->in_guest && input.at < input.end)
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
