/* SPDX-License-Identifier: MIT */
/*
 * What the fuzzers of the virtualization units share: a vCPU of either vendor, an interrupt
 * controller that always has one vector, and the instructions that both vendors' guests run.
 */
#ifndef FUZZ_VIRT_RIG_H
#define FUZZ_VIRT_RIG_H

#include "cpu_rig.h"
#include "fuzz_input.h"

#define VIRT_RIG_VECTOR 0x30

#define require(holds) fuzz_require(holds, #holds)

/* An operand in memory: (%rbx). */
#define MEMORY .is_mem = true, .base = RBX, .index = INSN_NO_REG, .scale = 1, .seg = DS

/* With CPUID's answers as `nested` has them and the unit that unit_new() makes; never freed. */
struct rig *virt_rig_new(enum nested_vendor nested, int (*unit_new)(struct cpu *cpu));
/* Power-on state, all RAM zero, then 64-bit mode at CPL 0. */
void virt_rig_power_on(struct rig *rig);
/* rig_exec(), with what the form leaves open: 3 bytes long, 64-bit code and addresses. */
int virt_rig_run(struct rig *rig, struct insn insn);
/*
 * The same of a guest, behind the boundary before it where the engine may not pass it by: as it may where
 * only exit_request or a shadow of STI's would have it look, cpu/event.c. Nothing where the boundary leaves
 * the guest or halts it.
 */
void virt_rig_step(struct rig *rig, struct insn insn);
/* An instruction by the input's choice: one of both vendors', or of these. */
const struct insn *virt_rig_choose(struct fuzz_input *input, const struct insn *own,
	unsigned count);
/* By the input's choice too: a register, a pin or memory changes. */
void virt_rig_set_register(struct rig *rig, struct fuzz_input *input);
void virt_rig_set_pin(struct rig *rig, struct fuzz_input *input);
void virt_rig_set_memory(struct rig *rig, struct fuzz_input *input);

#endif
