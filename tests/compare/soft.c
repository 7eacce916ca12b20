/* SPDX-License-Identifier: MIT */
/*
 * The engine's side: a vCPU without a machine around it. Its page tables map the addresses that the
 * native child has; every vector's gate leads to a HLT at CPL 0, and the wait of a halted CPU,
 * which the machine would do, ends the run.
 */
#include "compare.h"
#include "cpu/tlb.h"
#include "machine/machine.h"
#include "translate/engine.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Guest-physical addresses. */
#define RAM_SIZE (8 * MIB)
#define PHYS_CODE 0x10000ull
#define PHYS_DATA 0x40000ull /* pages apart, so that neighbours in linear space are none here */
#define PHYS_SYSTEM 0x80000ull
#define PHYS_TABLES 0x100000ull

/* The supervisor's pages, by linear address: one that wild operands do not come upon. */
#define SYSTEM 0xffffb5a396780000ull
#define SYSTEM_IDT SYSTEM
#define SYSTEM_GDT (SYSTEM + 0x1000)
#define SYSTEM_TSS (SYSTEM + 0x2000)
#define SYSTEM_HANDLERS (SYSTEM + 0x3000)
#define SYSTEM_STACK_TOP (SYSTEM + 0x6000)
#define SYSTEM_PAGES 6

#define KERNEL_CS 0x10
#define VECTOR_SHUTDOWN 998

#define PTE_P BIT(0)
#define PTE_W BIT(1)
#define PTE_U BIT(2)
#define PTE_NX BIT(63)

struct soft {
	struct machine machine;
	struct cpu *cpu;
	struct engine *engine;
	struct options host;
	enum way way;
	u64 next_table;
	u64 root;
};

static const u8 rw_pages[RW_PAGES] = { 0, 1, 4, 6, 7 };

/* ---- what cpu/ and translate/ ask of a machine ---- */
void machine_lock(struct machine *machine)
{
}

void machine_unlock(struct machine *machine)
{
}

void machine_kick(struct cpu *cpu)
{
	__atomic_store_n(&cpu->exit_request, 1, __ATOMIC_SEQ_CST);
}

void machine_wake_at(struct cpu *cpu, u64 ns)
{
}

void machine_wait(struct cpu *cpu)
{
	machine_end(cpu->machine, END_STOPPED);
}

void machine_end(struct machine *machine, enum machine_end how)
{
	machine->end = how;
	machine->leaving = 1;
}

void machine_request_reset(struct machine *machine)
{
	machine_end(machine, END_RESET);
}

bool machine_is_leaving(const struct machine *machine)
{
	return machine->leaving;
}

void machine_cpu_shutdown(struct cpu *cpu)
{
	machine_end(cpu->machine, END_TRIPLE_FAULT);
}

/* ---- guest memory ---- */
static u64 phys_of_data(unsigned page)
{
	return PHYS_DATA + (page * 5 % DATA_PAGES) * 2 * PAGE_SIZE;
}

static void map(struct soft *soft, u64 linear, u64 physical, u64 flags)
{
	u64 table = soft->root;

	for (unsigned level = 4; level > 1; level--) {
		u64 *entry = (u64 *)(soft->machine.ram.host + table) +
			     (linear >> (12 + 9 * (level - 1)) & 511);

		if (!(*entry & PTE_P)) {
			*entry = soft->next_table | PTE_P | PTE_W | PTE_U;
			soft->next_table += PAGE_SIZE;
		}
		table = *entry & MASK(51, 12);
	}
	((u64 *)(soft->machine.ram.host + table))[linear >> 12 & 511] = physical | flags;
}

static void map_all(struct soft *soft)
{
	soft->root = PHYS_TABLES;
	soft->next_table = PHYS_TABLES + PAGE_SIZE;
	for (unsigned mode = 0; mode < MODE_TOTAL; mode++) {
		for (u64 at = 0; at < CODE_SIZE; at += PAGE_SIZE) {
			u64 code = layouts[mode].code + at;

			map(soft, code, PHYS_CODE + at, PTE_P | PTE_U);
			if (mode != MODE16)
				map(soft, code + CODE_WRITABLE, PHYS_CODE + at,
					PTE_P | PTE_W | PTE_U);
		}
		for (unsigned i = 0; i < DATA_PAGES; i++)
			if (data_page_kind[i] != '-')
				map(soft, layouts[mode].data + i * PAGE_SIZE, phys_of_data(i),
					PTE_P | PTE_U | PTE_NX |
						(data_page_kind[i] == 'w' ? PTE_W : 0));
	}
	for (u64 at = 0; at < SYSTEM_PAGES * PAGE_SIZE; at += PAGE_SIZE)
		map(soft, SYSTEM + at, PHYS_SYSTEM + at, PTE_P | PTE_W);
}

static void *system_at(struct soft *soft, u64 linear)
{
	return soft->machine.ram.host + PHYS_SYSTEM + (linear - SYSTEM);
}

/* Gates to a HLT each, on a stack of their own. */
static void make_system(struct soft *soft)
{
	u64 *idt = system_at(soft, SYSTEM_IDT), *gdt = system_at(soft, SYSTEM_GDT);
	u8 *handlers = system_at(soft, SYSTEM_HANDLERS), *tss = system_at(soft, SYSTEM_TSS);
	u64 stack = SYSTEM_STACK_TOP;

	for (unsigned vector = 0; vector < 256; vector++) {
		u64 entry = SYSTEM_HANDLERS + vector * 16;
		u64 dpl = vector == VEC_BP || vector == VEC_OF ? 3 : 0;

		idt[2 * vector] = (entry & 0xffff) | (u64)KERNEL_CS << 16 |
				  (0x8e01 | dpl << 13) << 32 | (entry & 0xffff0000) << 32;
		idt[2 * vector + 1] = entry >> 32;
		handlers[vector * 16] = 0xf4;
	}
	gdt[KERNEL_CS / 8] = 0x00af9b000000ffff;
	memcpy(tss + 36, &stack, 8); /* IST1, whatever the CPL */
	tss[102] = 104; /* no I/O map */
}

struct soft *soft_start(const struct batch *batch, enum way way)
{
	struct soft *soft = calloc(1, sizeof(*soft));
	struct cpu *cpu;

	if (!soft || ram_new(&soft->machine.ram, RAM_SIZE) || tlb_init(&cpu))
		goto fail;
	soft->cpu = cpu;
	host_ask(&soft->host);
	soft->way = way;
	soft->machine.memory = space_new("memory");
	soft->machine.ports = space_new("ports");
	soft->machine.cpus[0] = cpu;
	soft->machine.cpu_count = 1;
	cpu->machine = &soft->machine;
	cpu->memory = soft->machine.memory;
	cpu->ports = soft->machine.ports;
	if (space_add_ram(cpu->memory, 0, RAM_SIZE, &soft->machine.ram, 0) ||
		cpuid_table_new(&cpu->cpuid, NESTED_OFF, NULL, 1))
		goto fail;
	cpu->phys_bits = cpuid_phys_bits(cpu->cpuid);
	if (cpu_fpu_new(cpu))
		goto fail;
	if (engine_new(&cpu->engine, cpu, 64 * MIB))
		goto fail;
	soft->engine = cpu->engine;
	cpu_reset(cpu);
	map_all(soft);
	make_system(soft);
	memcpy(soft->machine.ram.host + phys_of_data(2), batch->data + 2 * PAGE_SIZE, PAGE_SIZE);
	return soft;
fail:
	fprintf(stderr, "the engine's side does not start\n");
	exit(3);
}

void soft_load(struct soft *soft, const struct batch *batch)
{
	memcpy(soft->machine.ram.host + PHYS_CODE, batch->pristine, CODE_SIZE);
	engine_flush(soft->engine);
}

static void set_segment(struct segment *seg, u16 sel, u64 base, u32 limit, u16 attr)
{
	*seg = (struct segment){ .sel = sel, .base = base, .limit = limit, .attr = attr };
}

static void enter_mode(struct cpu *cpu, enum mode mode, bool supervisor)
{
	u16 data = SEG_P | SEG_DPL | SEG_S | SEG_WRITABLE | SEG_ACCESSED;
	u16 code = SEG_P | SEG_DPL | SEG_S | SEG_CODE | SEG_READABLE | SEG_ACCESSED;
	unsigned i;

	cpu->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	cpu->cpl = 3;
	if (supervisor) {
		cpu->cpl = 0;
		data &= ~SEG_DPL;
		code &= ~SEG_DPL;
	}
	switch (mode) {
	case MODE64:
		set_segment(&cpu->seg[CS], 0x33, 0, ~0u, code | SEG_L | SEG_G);
		for (i = 0; i <= GS; i++)
			if (i != CS)
				set_segment(&cpu->seg[i], i < FS ? 0x2b : 0, 0, ~0u,
					data | SEG_DB | SEG_G);
		cpu->seg[GS].base = GS_BASE;
		break;
	case MODE32:
		set_segment(&cpu->seg[CS], 0x23, 0, ~0u, code | SEG_DB | SEG_G);
		for (i = 0; i <= GS; i++)
			if (i != CS)
				set_segment(&cpu->seg[i], i < FS ? 0x2b : 0, 0, ~0u,
					data | SEG_DB | SEG_G);
		break;
	default:
		set_segment(&cpu->seg[CS], 0x07, layouts[MODE16].code, 0xffff, code);
		for (i = 0; i <= GS; i++)
			if (i != CS)
				set_segment(&cpu->seg[i], i < FS ? 0x0f : 0, SEGMENT_BASE16, 0xffff, data);
	}
	set_segment(&cpu->seg[TR], 0x40, SYSTEM_TSS, 103, SEG_P | 0xb);
	/* as Linux has them: STR and SLDT tell user code, also where UMIP makes the kernel answer */
	set_segment(&cpu->seg[LDTR], 0x50, 0, 0, 0);
	cpu->gdtr = (struct table_register){ .base = SYSTEM_GDT, .limit = 0xfff };
	cpu->idtr = (struct table_register){ .base = SYSTEM_IDT, .limit = 0xfff };
}

static void load_fpu(struct soft *soft, const u8 *xsave)
{
	u8 *area = soft->cpu->fpu_area;
	u64 bv;

	cpu_park_fpu(soft->cpu);
	memcpy(area, xsave, 28);
	memcpy(area + 32, xsave + 32, 384);
	memcpy(&bv, xsave + 512, 8);
	memcpy(area + 512, &bv, 8);
	for (unsigned i = 2; i < 8; i++)
		if (bv >> i & 1)
			memcpy(area + soft->host.xsave_offset[i], xsave + soft->host.xsave_offset[i],
				xsave_sizes[i]);
}

static void read_fpu(struct soft *soft, u8 *xsave)
{
	const u8 *area = soft->cpu->fpu_area;
	u64 bv;

	cpu_park_fpu(soft->cpu);
	memcpy(xsave, area, 576);
	memcpy(&bv, area + 512, 8);
	for (unsigned i = 2; i < 8; i++)
		if (bv >> i & 1)
			memcpy(xsave + soft->host.xsave_offset[i], area + soft->host.xsave_offset[i],
				xsave_sizes[i]);
}

static void read_result(struct soft *soft, struct result *result)
{
	struct cpu *cpu = soft->cpu;
	struct state *state = &result->state;
	u64 handler = cpu->rip - SYSTEM_HANDLERS, frame[6];
	unsigned i;

	memcpy(state->gpr, cpu->gpr, sizeof(state->gpr));
	state->cr2 = cpu->cr2;
	state->error = 0;
	read_fpu(soft, state->xsave);
	for (i = 0; i < RW_PAGES; i++)
		memcpy(result->pages[i], soft->machine.ram.host + phys_of_data(rw_pages[i]), PAGE_SIZE);
	if (soft->machine.end != END_STOPPED || handler >= 4096 ||
		cpu->gpr[RSP] - SYSTEM > SYSTEM_STACK_TOP - SYSTEM - 40) {
		state->vector = VECTOR_SHUTDOWN;
		state->rip = cpu->rip;
		state->rflags = cpu_rflags(cpu);
		return;
	}
	state->vector = (u32)(handler / 16);
	memset(frame, 0, sizeof(frame));
	if (SYSTEM_STACK_TOP - cpu->gpr[RSP] >= 48)
		memcpy(frame, system_at(soft, cpu->gpr[RSP]), 48);
	else
		memcpy(frame + 1, system_at(soft, cpu->gpr[RSP]), 40);
	state->error = (u32)frame[0];
	state->rip = frame[1];
	state->rflags = frame[3];
	state->gpr[RSP] = frame[4];
}

void soft_run(struct soft *soft, const struct sequence *seq, const u8 *pool, struct result *result)
{
	struct cpu *cpu = soft->cpu;
	unsigned i;

	for (i = 0; i < RW_PAGES; i++)
		memcpy(soft->machine.ram.host + phys_of_data(rw_pages[i]),
			pool + seq->pool_offset + i * PAGE_SIZE, PAGE_SIZE);
	memcpy(cpu->gpr, seq->in.gpr, sizeof(cpu->gpr));
	cpu->rip = seq->in.rip;
	cpu->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
	cpu->cr4 = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_MCE;
	if (soft->host.xfeatures & XCR0_AVX)
		cpu->cr4 |= CR4_OSXSAVE;
	cpu->cr3 = soft->root;
	cpu->xcr0 = soft->host.xfeatures;
	cpu->cr2 = 0;
	cpu->dr6 = DR6_FIXED1;
	enter_mode(cpu, seq->mode, soft->way == WAY_SUPERVISOR);
	cpu_set_rflags(cpu, seq->in.rflags);
	cpu->activity = CPU_RUNNING;
	cpu->intr_shadow = false;
	cpu->pending_db = 0;
	cpu->step_after = false;
	cpu->exit_request = 0;
	cpu->context_stale = true;
	cpu_mode_update(cpu);
	load_fpu(soft, seq->in.xsave);
	soft->machine.end = END_NONE;
	soft->machine.leaving = 0;
	if (soft->way == WAY_STEP)
		while (!soft->machine.leaving && cpu->activity == CPU_RUNNING) {
			if (cpu_must_poll(cpu))
				cpu_poll_events(cpu);
			engine_step(soft->engine);
		}
	engine_run(soft->engine);
	read_result(soft, result);
}

void soft_stop(struct soft *soft)
{
	engine_free(soft->engine);
	free(soft);
}
