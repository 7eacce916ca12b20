/* SPDX-License-Identifier: MIT */
/* See cpu_rig.h. */
#include <stdlib.h>
#include <string.h>

#include "cpu_rig.h"
#include "machine/engines.h"

#define RAM_SIZE (1 * MIB)

static u64 descriptor(u32 base, u32 limit, u16 attr)
{
	return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)(attr & 0xff) << 40 |
	       (u64)(limit >> 16) << 48 | (u64)(attr >> 8) << 52 | (u64)(base >> 24) << 56;
}

void rig_put(struct rig *rig, u64 at, u64 value, unsigned size)
{
	memcpy(rig->machine.ram.host + at, &value, size);
}

u64 rig_get(struct rig *rig, u64 at, unsigned size)
{
	u64 value = 0;

	memcpy(&value, rig->machine.ram.host + at, size);
	return value;
}

static int acknowledge(void *opaque)
{
	struct rig *rig = opaque;
	int vector = rig->vector;

	rig->vector = -1;
	cpu_pin_set(rig->cpu, CPU_PIN_INTR, false);
	return vector;
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

static const struct intc_ops intc = {
	.acknowledge = acknowledge, .read_msr = read_msr, .write_msr = write_msr, .init = init,
};

void rig_interrupt(struct rig *rig, int vector)
{
	rig->vector = vector;
	cpu_pin_set(rig->cpu, CPU_PIN_INTR, true);
}

int rig_setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct cpu *cpu;

	if (!rig || ram_new(&rig->machine.ram, RAM_SIZE))
		return -1;
	rig->machine.memory = space_new("memory");
	rig->machine.ports = space_new("ports");
	pthread_mutex_init(&rig->machine.lock, NULL);
	if (space_add_ram(rig->machine.memory, 0, RAM_SIZE, &rig->machine.ram, 0) ||
	    tlb_init(&cpu))
		return -1;
	rig->cpu = cpu;
	rig->machine.engine = &soft_engine; /* who is kicked */
	rig->machine.cpus[0] = cpu;
	cpu->machine = &rig->machine;
	cpu->memory = rig->machine.memory;
	cpu->ports = rig->machine.ports;
	cpu->intc_ops = &intc;
	cpu->intc = rig;
	if (cpuid_table_new(&cpu->cpuid, NESTED_OFF, NULL, 1) || cpu_fpu_new(cpu))
		return -1;
	cpu->phys_bits = cpuid_phys_bits(cpu->cpuid);
	cpu_reset(cpu);
	rig_real(rig);
	*state = rig;
	return 0;
}

int rig_teardown(void **state)
{
	struct rig *rig = *state;

	cpu_fpu_free(rig->cpu);
	cpuid_table_free(rig->cpu->cpuid);
	tlb_free(rig->cpu);
	space_free(rig->machine.memory);
	space_free(rig->machine.ports);
	ram_free(&rig->machine.ram);
	free(rig);
	return 0;
}

void rig_real(struct rig *rig)
{
	struct cpu *cpu = rig->cpu;

	for (unsigned i = ES; i <= GS; i++) {
		cpu->seg[i].sel = 0;
		cpu->seg[i].base = 0;
	}
	cpu->rip = 0x7000;
	cpu->gpr[RSP] = RIG_STACK0;
	for (unsigned v = 0; v < 256; v++)
		rig_put(rig, v * 4, 0x300 << 16 | (v * 16), 4);
	cpu_mode_update(cpu);
}

static void put_gdt(struct rig *rig, unsigned sel, u64 value)
{
	rig_put(rig, RIG_GDT + (sel & ~7u), value, 8);
}

static void load(struct rig *rig, unsigned seg, u16 sel, u16 attr)
{
	rig->cpu->seg[seg] = (struct segment){
		.sel = sel, .attr = attr, .limit = 0xffffffff,
	};
}

/* What protected and long mode have in common. */
static void tables(struct rig *rig, u16 code_attr)
{
	struct cpu *cpu = rig->cpu;

	put_gdt(rig, SEL_CODE0, descriptor(0, 0xfffff, 0x89b | code_attr));
	put_gdt(rig, SEL_DATA0, descriptor(0, 0xfffff, 0xc93));
	put_gdt(rig, SEL_CODE3, descriptor(0, 0xfffff, 0x8fb | code_attr));
	put_gdt(rig, SEL_DATA3, descriptor(0, 0xfffff, 0xcf3));
	put_gdt(rig, SEL_TSS, descriptor(RIG_TSS, 0x67, 0x08b));
	put_gdt(rig, SEL_ABSENT, descriptor(0, 0xfffff, 0xc13));
	put_gdt(rig, SEL_EXECUTE, descriptor(0, 0xfffff, 0xc99));
	put_gdt(rig, SEL_COMPAT3, descriptor(0, 0xfffff, 0xcfb));
	put_gdt(rig, SEL_SMALL, descriptor(0x20000, 0xfff, 0x493));
	cpu->gdtr = (struct table_register){ .base = RIG_GDT, .limit = 0x7f };
	cpu->seg[TR] = (struct segment){
		.sel = SEL_TSS, .attr = 0x08b, .limit = 0x67, .base = RIG_TSS,
	};
	load(rig, CS, SEL_CODE0, 0x89b | code_attr);
	load(rig, SS, SEL_DATA0, 0xc93);
	load(rig, DS, SEL_DATA0, 0xc93);
	load(rig, ES, SEL_DATA0, 0xc93);
	load(rig, FS, SEL_DATA0, 0xc93);
	load(rig, GS, SEL_DATA0, 0xc93);
	cpu->cr0 = CR0_PE | CR0_ET | CR0_NE;
	cpu->gpr[RSP] = RIG_STACK0;
	cpu->rip = 0x7000;
	cpu->cpl = 0;
}

void rig_protected(struct rig *rig)
{
	struct cpu *cpu = rig->cpu;

	tables(rig, SEG_DB);
	put_gdt(rig, SEL_GATE, (u64)0x3 << 32 | (u64)0xec << 40 | (u64)SEL_CODE0 << 16 | 0x6000);
	put_gdt(rig, SEL_TSS2, descriptor(RIG_TSS2, 0x67, 0x089));
	rig_put(rig, RIG_TSS + 4, RIG_STACK0, 4);
	rig_put(rig, RIG_TSS + 8, SEL_DATA0, 4);
	cpu->idtr = (struct table_register){ .base = RIG_IDT, .limit = 0x7ff };
	for (unsigned v = 0; v < 256; v++)
		rig_gate(rig, v, 14, v == 0x80 ? 3 : 0, 0);
	cpu_mode_update(cpu);
	cpu->context_stale = true;
}

void rig_long(struct rig *rig)
{
	struct cpu *cpu = rig->cpu;

	tables(rig, SEG_L);
	put_gdt(rig, SEL_TSS + 8, 0);
	put_gdt(rig, SEL_GATE, (u64)0xec << 40 | (u64)SEL_CODE0 << 16 | 0x6000);
	put_gdt(rig, SEL_GATE + 8, 0);
	rig_put(rig, RIG_TSS + 4, RIG_STACK0, 8);
	rig_put(rig, RIG_TSS + 36, RIG_IST, 8);
	rig_put(rig, RIG_TABLES, (RIG_TABLES + 0x1000) | 7, 8);
	rig_put(rig, RIG_TABLES + 0x1000, (RIG_TABLES + 0x2000) | 7, 8);
	rig_put(rig, RIG_TABLES + 0x2000, 0x87, 8);
	cpu->cr0 |= CR0_PG;
	cpu->cr3 = RIG_TABLES;
	cpu->cr4 = CR4_PAE;
	cpu->efer = EFER_LME | EFER_LMA | EFER_SCE;
	cpu->idtr = (struct table_register){ .base = RIG_IDT, .limit = 0xfff };
	for (unsigned v = 0; v < 256; v++)
		rig_gate(rig, v, 14, v == 0x80 ? 3 : 0, 0);
	cpu_mode_update(cpu);
	cpu->context_stale = true;
}

void rig_user(struct rig *rig)
{
	struct cpu *cpu = rig->cpu;

	cpu->cpl = 3;
	load(rig, CS, SEL_CODE3, cpu_lma(cpu) ? 0xafb : 0xcfb);
	load(rig, SS, SEL_DATA3, 0xcf3);
	load(rig, DS, SEL_DATA3, 0xcf3);
	load(rig, ES, SEL_DATA3, 0xcf3);
	load(rig, FS, SEL_DATA3, 0xcf3);
	load(rig, GS, SEL_DATA3, 0xcf3);
	cpu->gpr[RSP] = RIG_STACK3;
	cpu_mode_update(cpu);
}

void rig_gate(struct rig *rig, unsigned vector, unsigned type, unsigned dpl, unsigned ist)
{
	u32 handler = RIG_HANDLER + vector * 16;
	u64 low = (handler & 0xffff) | (u64)SEL_CODE0 << 16 | (u64)ist << 32 |
		  (u64)(0x80 | dpl << 5 | type) << 40 | (u64)(handler >> 16) << 48;

	if (cpu_lma(rig->cpu)) {
		rig_put(rig, RIG_IDT + vector * 16, low, 8);
		rig_put(rig, RIG_IDT + vector * 16 + 8, 0, 8);
	} else {
		rig_put(rig, RIG_IDT + vector * 8, low, 8);
	}
}

int rig_exec(struct rig *rig, struct insn insn)
{
	struct cpu *cpu = rig->cpu;
	int outcome = cpu_exec(cpu, &insn);

	if (outcome == OUTCOME_NEXT)
		cpu->rip += insn.len;
	else if (outcome == OUTCOME_FAULT)
		cpu_deliver_fault(cpu);
	return outcome;
}

bool rig_boundary(struct rig *rig)
{
	return cpu_must_poll(rig->cpu) && cpu_poll_events(rig->cpu);
}
