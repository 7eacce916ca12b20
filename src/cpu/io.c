/* SPDX-License-Identifier: MIT */
/*
 * Ports: IN, OUT, INS, OUTS with the I/O permission bitmap (APM2 12.2.4, SDM1 19.5) and the
 * hypervisor's question; and how the CPU reaches devices at all.
 */
#include "cpu/handlers.h"

#define TSS_IOMAP_BASE 102 /* of a 32-bit or 64-bit TSS, APM2 12.2.2, 12.2.5 */
#define REP_BATCH 64       /* elements before the engine may look at events */

u64 cpu_io_read(struct cpu *cpu, struct space *space, u64 address, unsigned size)
{
	u64 value;

	cpu_park_fpu(cpu);
	machine_lock(cpu->machine);
	value = space_read(space, address, size);
	machine_unlock(cpu->machine);
	return value;
}

void cpu_io_write(struct cpu *cpu, struct space *space, u64 address, unsigned size, u64 value)
{
	cpu_park_fpu(cpu);
	machine_lock(cpu->machine);
	space_write(space, address, size, value);
	machine_unlock(cpu->machine);
}

/* SDM1 19.5.2: the current task's bitmap decides; two bytes of it are read whatever the size. */
static int bitmap_permits(struct cpu *cpu, u16 port, unsigned size)
{
	const struct segment *tr = &cpu->seg[TR];
	u16 base, bits;
	u64 at;

	/* a present TSS of the 386 kind; 286 ones have no bitmap */
	if (!(tr->attr & SEG_P) || (tr->attr & SEG_TYPE & ~2) != 9 || tr->limit < 103)
		return cpu_fault_gp0(cpu);
	if (cpu_read(cpu, tr->base + TSS_IOMAP_BASE, &base, 2, ACCESS_READ | ACCESS_SYSTEM))
		return OUTCOME_FAULT;
	at = (u64)base + port / 8;
	if (at + 1 > tr->limit)
		return cpu_fault_gp0(cpu);
	if (cpu_read(cpu, tr->base + at, &bits, 2, ACCESS_READ | ACCESS_SYSTEM))
		return OUTCOME_FAULT;
	if (bits >> (port & 7) & (BIT(size) - 1))
		return cpu_fault_gp0(cpu);
	return 0;
}

static inline int check_port(struct cpu *cpu, u16 port, unsigned size)
{
	if (likely(!(cpu->cr0 & CR0_PE) || (cpu->cpl <= cpu_iopl(cpu) && !cpu_v86(cpu))))
		return 0;
	return bitmap_permits(cpu, port, size);
}

/* The b word of VIRT_IO. */
static u64 io_details(const struct insn *insn, unsigned size, bool in, bool string)
{
	return (in ? VIRT_IO_IN : 0) | (string ? VIRT_IO_STRING : 0) |
	       (string && insn->rep ? VIRT_IO_REP : 0) | size << 4 | insn->addrsize << 8 |
	       (string ? insn->seg << 12 : 0);
}

static u16 port_of(const struct cpu *cpu, const struct insn *insn)
{
	return insn->opcode & 8 ? cpu->gpr[RDX] : insn->imm & 0xff;
}

/* Bytes, words or doublewords: a 64-bit operand size means 32 bits. */
static unsigned io_size(const struct insn *insn)
{
	return insn->opsize == 8 ? 4 : insn->opsize;
}

int exec_IN(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = io_size(insn);
	u16 port = port_of(cpu, insn);

	if (check_port(cpu, port, size))
		return OUTCOME_FAULT;
	if (cpu_intercepted(cpu, insn, VIRT_IO, port, io_details(insn, size, true, false)))
		return OUTCOME_JUMP;
	gpr_write(cpu, RAX, size, cpu_io_read(cpu, cpu->ports, port, size));
	return OUTCOME_NEXT;
}

int exec_OUT(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = io_size(insn);
	u16 port = port_of(cpu, insn);

	if (check_port(cpu, port, size))
		return OUTCOME_FAULT;
	if (cpu_intercepted(cpu, insn, VIRT_IO, port, io_details(insn, size, false, false)))
		return OUTCOME_JUMP;
	cpu_io_write(cpu, cpu->ports, port, size, gpr_read(cpu, RAX, size));
	return OUTCOME_NEXT;
}

static void advance(struct cpu *cpu, const struct insn *insn, unsigned reg, unsigned size)
{
	u64 step = cpu->rflags_system & RFLAGS_DF ? 0 - (u64)size : size;

	gpr_write(cpu, reg, insn->addrsize, cpu->gpr[reg] + step);
}

static int ins_one(struct cpu *cpu, const struct insn *insn, unsigned size)
{
	u64 linear, value;

	/* the destination is checked before the port is read: reading has effects */
	if (cpu_linear(cpu, ES, gpr_read(cpu, RDI, insn->addrsize), size, true, &linear) ||
	    cpu_check_aligned(cpu, linear, size) || cpu_probe(cpu, linear, size, ACCESS_WRITE))
		return OUTCOME_FAULT;
	value = cpu_io_read(cpu, cpu->ports, (u16)cpu->gpr[RDX], size);
	if (cpu_write(cpu, linear, &value, size, ACCESS_WRITE))
		return OUTCOME_FAULT;
	advance(cpu, insn, RDI, size);
	return 0;
}

static int outs_one(struct cpu *cpu, const struct insn *insn, unsigned size)
{
	u64 value = 0;

	if (cpu_read_seg(cpu, insn->seg, gpr_read(cpu, RSI, insn->addrsize), &value, size))
		return OUTCOME_FAULT;
	cpu_io_write(cpu, cpu->ports, (u16)cpu->gpr[RDX], size, value);
	advance(cpu, insn, RSI, size);
	return 0;
}

static int string_io(struct cpu *cpu, const struct insn *insn, bool in,
	int (*one)(struct cpu *cpu, const struct insn *insn, unsigned size))
{
	unsigned size = io_size(insn), batch = cpu->mode & MODE_STEP ? 1 : REP_BATCH;
	u16 port = cpu->gpr[RDX];

	if (check_port(cpu, port, size))
		return OUTCOME_FAULT;
	if (insn->rep && !gpr_read(cpu, RCX, insn->addrsize))
		return OUTCOME_NEXT;
	if (cpu_intercepted(cpu, insn, VIRT_IO, port, io_details(insn, size, in, true)))
		return OUTCOME_JUMP;
	if (!insn->rep)
		return one(cpu, insn, size);
	while (batch--) {
		u64 left = gpr_read(cpu, RCX, insn->addrsize);

		if (one(cpu, insn, size))
			return OUTCOME_FAULT;
		gpr_write(cpu, RCX, insn->addrsize, left - 1);
		if (left == 1)
			return OUTCOME_NEXT;
	}
	return OUTCOME_AGAIN;
}

int exec_INS(struct cpu *cpu, const struct insn *insn)
{
	return string_io(cpu, insn, true, ins_one);
}

int exec_OUTS(struct cpu *cpu, const struct insn *insn)
{
	return string_io(cpu, insn, false, outs_one);
}
