/* SPDX-License-Identifier: MIT */
/*
 * What the files of cpu/ share among themselves: the handler of each row of ops.def, operands,
 * registers by size, and the one-line question whether the hypervisor intercepts.
 */
#ifndef CPU_HANDLERS_H
#define CPU_HANDLERS_H

#include "cpu/cpu.h"
#include "cpu/virt.h"

/* int exec_MOV_TO_CR(struct cpu *cpu, const struct insn *insn): an enum outcome; and so on. */
#define OP(name, comment) int exec_##name(struct cpu *cpu, const struct insn *insn);
#define OP_VIRT(name, comment)
#include "cpu/ops.def"
#undef OP

/* True: the #VMEXIT has been done, return OUTCOME_JUMP. */
static inline bool cpu_intercepted(struct cpu *cpu, const struct insn *insn, enum virt_event event,
	u64 a, u64 b)
{
	return unlikely(cpu->in_guest) && cpu->virt->intercept(cpu, insn, event, a, b);
}

/* The value's low `size` bytes; size is 1, 2, 4 or 8. */
static inline u64 low_bytes(u64 value, unsigned size)
{
	return size == 8 ? value : value & (BIT(size * 8) - 1);
}

static inline u64 sign_extend(u64 value, unsigned size)
{
	unsigned shift = 64 - size * 8;

	return (u64)((i64)(value << shift) >> shift);
}

/* A general register's low part; never AH, CH, DH, BH (those come through operand.c). */
static inline u64 gpr_read(const struct cpu *cpu, unsigned reg, unsigned size)
{
	return low_bytes(cpu->gpr[reg], size);
}

/* As instructions write: 32 bits clear the upper half, 8 and 16 leave the rest, APM1 3.1.2. */
static inline void gpr_write(struct cpu *cpu, unsigned reg, unsigned size, u64 value)
{
	if (size >= 4) {
		cpu->gpr[reg] = low_bytes(value, size);
	} else {
		u64 mask = BIT(size * 8) - 1;

		cpu->gpr[reg] = (cpu->gpr[reg] & ~mask) | (value & mask);
	}
}

static inline int cpu_fault_gp0(struct cpu *cpu)
{
	return cpu_fault_code(cpu, VEC_GP, 0);
}

/* CR0.PE without VM: selectors name descriptors. */
static inline bool cpu_protected(const struct cpu *cpu)
{
	return (cpu->cr0 & CR0_PE) && !cpu_v86(cpu);
}

/* ---- pvclock.c ---- */
int pvclock_write(struct cpu *cpu, u32 msr, u64 value); /* 0, or -1 for #GP(0) */
int pvclock_read(struct cpu *cpu, u32 msr, u64 *value);
void pvclock_tsc_changed(struct cpu *cpu);

/* ---- operand.c ---- */
/* The r/m operand, `size` bytes of it, zero-extended. 0 or OUTCOME_FAULT. */
int operand_read_rm(struct cpu *cpu, const struct insn *insn, unsigned size, u64 *value);
/* Memory: faults before it writes. Register: as gpr_write. */
int operand_write_rm(struct cpu *cpu, const struct insn *insn, unsigned size, u64 value);
/* The byte, word, ... register named by insn->reg. */
u64 operand_read_reg(const struct cpu *cpu, const struct insn *insn, unsigned size);
void operand_write_reg(struct cpu *cpu, const struct insn *insn, unsigned size, u64 value);

#endif
