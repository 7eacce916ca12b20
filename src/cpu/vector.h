/* SPDX-License-Identifier: MIT */
/* The guest's vector and mask registers as C reads and writes them, where they lie when parked. */
#ifndef CPU_VECTOR_H
#define CPU_VECTOR_H

#include "cpu/handlers.h"

#define VECTOR_BYTES 64

/* Parks the FPU and makes the parked registers valid. Before any of the others. */
void vector_open(struct cpu *cpu);
/* A register's bytes from `at` on, up to the end of their 16. */
u8 *vector_bytes(struct cpu *cpu, unsigned reg, unsigned at);
/* Zeroes a register from a byte on, up to what the CPU has of it. */
void vector_clear_from(struct cpu *cpu, unsigned reg, unsigned at);
u64 opmask_read(struct cpu *cpu, unsigned reg);
void opmask_write(struct cpu *cpu, unsigned reg, u64 value);
/* Whether the mask is set for element i of those it speaks of. */
bool vector_mask_bit(struct cpu *cpu, const struct insn_vector *vector, unsigned i);

/* Registers 8 and up, which instructions outside 64-bit mode leave alone: all of them at once. */
#define VECTOR_UPPER_BYTES (24 * VECTOR_BYTES)
void vector_upper_get(struct cpu *cpu, u8 *to);
void vector_upper_put(struct cpu *cpu, const u8 *from);

#endif
