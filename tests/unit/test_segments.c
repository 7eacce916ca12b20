/* SPDX-License-Identifier: MIT */
/* Segment loads and their checks, far transfers, gates, tasks, near transfers with limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "cpu_rig.h"

/* What an instruction came to: NO_FAULT, or vector and error code of cpu->fault. */
#define NO_FAULT 0xffff0000u
#define FAULT(vector, error) ((u32)(vector) << 16 | (error))

static u32 try(struct rig *rig, struct insn insn)
{
	struct cpu *cpu = rig->cpu;

	if (cpu_exec(cpu, &insn) != OUTCOME_FAULT)
		return NO_FAULT;
	return FAULT(cpu->fault.vector, cpu->fault.error);
}

static u32 load(struct rig *rig, unsigned seg, u16 sel)
{
	rig->cpu->gpr[RAX] = sel;
	return try(rig, (struct insn){
		.op = OP_MOV_TO_SEG, .len = 2, .opsize = 4, .reg = seg, .rm = RAX });
}

static struct insn far(unsigned op, u16 sel, u64 offset)
{
	return (struct insn){
		.op = op, .len = 7, .opsize = 4, .imm = offset, .imm2 = sel, .code_size = 4 };
}

static void data_segments(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	u64 linear;

	rig_protected(rig);
	assert_int_equal(load(rig, DS, SEL_SMALL), NO_FAULT);
	assert_int_equal(cpu->seg[DS].base, 0x20000);
	assert_false(cpu->mode & MODE_FLAT);
	assert_int_equal(cpu_linear(cpu, DS, 0xffc, 4, true, &linear), 0);
	assert_int_equal(linear, 0x20ffc);
	assert_int_equal(cpu_linear(cpu, DS, 0xffd, 4, false, &linear), OUTCOME_FAULT);
	assert_int_equal(cpu->fault.vector, VEC_GP);
	assert_int_equal(load(rig, DS, SEL_DATA0), NO_FAULT);
	assert_true(cpu->mode & MODE_FLAT);
	assert_int_equal(load(rig, DS, SEL_ABSENT), FAULT(VEC_NP, SEL_ABSENT));
	assert_int_equal(load(rig, DS, SEL_EXECUTE), FAULT(VEC_GP, SEL_EXECUTE));
	assert_int_equal(load(rig, DS, SEL_TSS), FAULT(VEC_GP, SEL_TSS));
	assert_int_equal(load(rig, DS, 0x80), FAULT(VEC_GP, 0x80)); /* beyond the table */
	assert_int_equal(load(rig, DS, SEL_DATA0 | 4), FAULT(VEC_GP, SEL_DATA0 | 4)); /* no LDT */
	assert_int_equal(cpu->seg[DS].sel, SEL_DATA0);
	/* a null one may be loaded but not used */
	assert_int_equal(load(rig, DS, 3), NO_FAULT);
	assert_int_equal(cpu_linear(cpu, DS, 0, 1, false, &linear), OUTCOME_FAULT);
	/* the accessed bit */
	rig_put(rig, RIG_GDT + SEL_SMALL + 5, 0x92, 1);
	assert_int_equal(load(rig, FS, SEL_SMALL), NO_FAULT);
	assert_int_equal(rig_get(rig, RIG_GDT + SEL_SMALL + 5, 1), 0x93);
	rig_user(rig);
	assert_int_equal(load(rig, DS, SEL_DATA0), FAULT(VEC_GP, SEL_DATA0));
	rig_put(rig, RIG_GDT + (SEL_DATA3 & ~7) + 5, 0xf2, 1);
	assert_int_equal(load(rig, DS, SEL_DATA3), NO_FAULT);
	assert_int_equal(rig_get(rig, RIG_GDT + (SEL_DATA3 & ~7) + 5, 1), 0xf3);
	assert_int_equal(cpu->cpl, 3);
}

static void stack_segments(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;

	rig_protected(rig);
	assert_int_equal(load(rig, SS, SEL_SMALL), NO_FAULT);
	assert_true(cpu->intr_shadow);
	assert_int_equal(load(rig, SS, 0), FAULT(VEC_GP, 0));
	assert_int_equal(load(rig, SS, SEL_DATA3), FAULT(VEC_GP, SEL_DATA3 & ~3));
	assert_int_equal(load(rig, SS, SEL_CODE0), FAULT(VEC_GP, SEL_CODE0));
	assert_int_equal(load(rig, SS, SEL_ABSENT), FAULT(VEC_SS, SEL_ABSENT));
	/* 64-bit mode takes a null one below level 3 */
	rig_long(rig);
	assert_int_equal(load(rig, SS, 0), NO_FAULT);
	assert_int_equal(load(rig, SS, 3), FAULT(VEC_GP, 0));
	rig_user(rig);
	assert_int_equal(load(rig, SS, 3), FAULT(VEC_GP, 0));
}

static void expand_down_and_canonical(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	u64 linear;

	rig_protected(rig);
	cpu->seg[DS] = (struct segment){ .sel = 8, .attr = 0x497, .limit = 0xfff };
	assert_int_equal(cpu_linear(cpu, DS, 0xfff, 1, true, &linear), OUTCOME_FAULT);
	assert_int_equal(cpu_linear(cpu, DS, 0x1000, 4, true, &linear), 0);
	assert_int_equal(cpu_linear(cpu, DS, 0xfffffffc, 4, true, &linear), 0);
	assert_int_equal(cpu_linear(cpu, DS, 0xfffffffd, 4, true, &linear), OUTCOME_FAULT);
	cpu->seg[DS].attr &= ~SEG_DB;
	assert_int_equal(cpu_linear(cpu, DS, 0x10000, 1, true, &linear), OUTCOME_FAULT);
	rig_long(rig);
	cpu->seg[FS].base = 0x1000;
	assert_int_equal(cpu_linear(cpu, FS, 0x7ffffffff000 - 0x1000, 8, true, &linear), 0);
	assert_int_equal(linear, 0x7ffffffff000);
	assert_int_equal(cpu_linear(cpu, DS, 0x7ffffffffffc, 8, true, &linear), OUTCOME_FAULT);
	assert_int_equal(cpu->fault.vector, VEC_GP);
	assert_int_equal(cpu_linear(cpu, SS, 1ull << 47, 8, true, &linear), OUTCOME_FAULT);
	assert_int_equal(cpu->fault.vector, VEC_SS);
}

static void inspection(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	struct insn lar = { .op = OP_LAR, .len = 3, .opsize = 4, .reg = RBX, .rm = RAX };
	struct insn lsl = { .op = OP_LSL, .len = 3, .opsize = 4, .reg = RBX, .rm = RAX };
	struct insn verw = { .op = OP_VERW, .len = 3, .rm = RAX };

	assert_int_equal(try(rig, lar), FAULT(VEC_UD, 0)); /* real mode */
	rig_protected(rig);
	cpu->gpr[RAX] = SEL_SMALL;
	try(rig, lar);
	assert_true(cpu_rflags(cpu) & RFLAGS_ZF);
	assert_int_equal(cpu->gpr[RBX], 0x409300);
	try(rig, lsl);
	assert_int_equal(cpu->gpr[RBX], 0xfff);
	try(rig, verw);
	assert_true(cpu_rflags(cpu) & RFLAGS_ZF);
	cpu->gpr[RAX] = SEL_CODE0;
	try(rig, verw);
	assert_false(cpu_rflags(cpu) & RFLAGS_ZF);
	cpu->gpr[RAX] = SEL_GATE;
	try(rig, lar);
	assert_true(cpu_rflags(cpu) & RFLAGS_ZF);
	cpu->gpr[RBX] = 1;
	try(rig, lsl); /* a gate has no limit */
	assert_false(cpu_rflags(cpu) & RFLAGS_ZF);
	assert_int_equal(cpu->gpr[RBX], 1);
	cpu->gpr[RAX] = 0x80;
	assert_int_equal(try(rig, lar), NO_FAULT);
	assert_false(cpu_rflags(cpu) & RFLAGS_ZF);
}

static void far_jumps(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;

	rig_protected(rig);
	assert_int_equal(try(rig, far(OP_JMP_FAR, SEL_CODE0, 0x1234)), NO_FAULT);
	assert_int_equal(cpu->rip, 0x1234);
	assert_int_equal(try(rig, far(OP_JMP_FAR, 0, 0)), FAULT(VEC_GP, 0));
	assert_int_equal(try(rig, far(OP_JMP_FAR, SEL_CODE3, 0)), FAULT(VEC_GP, SEL_CODE3 & ~3));
	assert_int_equal(try(rig, far(OP_JMP_FAR, SEL_DATA0, 0)), FAULT(VEC_GP, SEL_DATA0));
	rig_put(rig, RIG_GDT + SEL_EXECUTE, 0xfff, 2);
	rig_put(rig, RIG_GDT + SEL_EXECUTE + 6, 0x40, 1);
	assert_int_equal(try(rig, far(OP_JMP_FAR, SEL_EXECUTE, 0x1000)), FAULT(VEC_GP, 0));
	assert_int_equal(cpu->seg[CS].sel, SEL_CODE0);
	/* a conforming segment keeps the level */
	rig_put(rig, RIG_GDT + SEL_EXECUTE + 5, 0x9c, 1);
	rig_user(rig);
	assert_int_equal(try(rig, far(OP_JMP_FAR, SEL_EXECUTE, 0xfff)), NO_FAULT);
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->seg[CS].sel, SEL_EXECUTE | 3);
}

static void call_gate_and_back(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	struct insn ret = { .op = OP_RET_FAR, .len = 3, .opsize = 4, .imm = 12 };

	rig_protected(rig);
	rig_user(rig);
	cpu->gpr[RSP] -= 12;
	for (unsigned i = 0; i < 3; i++)
		rig_put(rig, cpu->gpr[RSP] + 4 * i, 0x11 * (i + 1), 4);
	assert_int_equal(try(rig, far(OP_CALL_FAR, SEL_GATE | 3, 0)), NO_FAULT);
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->rip, 0x6000);
	assert_int_equal(cpu->seg[CS].sel, SEL_CODE0);
	assert_int_equal(cpu->gpr[RSP], RIG_STACK0 - 4 * 7);
	assert_int_equal(rig_get(rig, cpu->gpr[RSP], 4), 0x7007);
	assert_int_equal(rig_get(rig, cpu->gpr[RSP] + 4, 4), SEL_CODE3);
	assert_int_equal(rig_get(rig, cpu->gpr[RSP] + 8, 4), 0x11);
	assert_int_equal(rig_get(rig, cpu->gpr[RSP] + 16, 4), 0x33);
	assert_int_equal(rig_get(rig, cpu->gpr[RSP] + 20, 4), RIG_STACK3 - 12);
	assert_int_equal(try(rig, ret), NO_FAULT);
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->rip, 0x7007);
	assert_int_equal(cpu->gpr[RSP], RIG_STACK3);
	/* JMP may not go inwards; a gate of DPL 0 is not for level 3 */
	assert_int_equal(try(rig, far(OP_JMP_FAR, SEL_GATE | 3, 0)), FAULT(VEC_GP, SEL_CODE0));
	rig_put(rig, RIG_GDT + SEL_GATE + 5, 0x8c, 1);
	assert_int_equal(try(rig, far(OP_CALL_FAR, SEL_GATE | 3, 0)), FAULT(VEC_GP, SEL_GATE));
	/* RET does not go inwards */
	rig_put(rig, cpu->gpr[RSP], 0x7000, 4);
	rig_put(rig, cpu->gpr[RSP] + 4, SEL_CODE0, 4);
	assert_int_equal(try(rig, ret), FAULT(VEC_GP, SEL_CODE0));
}

static void long_call_gate(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	struct insn call = { .op = OP_CALL_FAR, .len = 3, .opsize = 4, .is_mem = true, .seg = DS,
		.base = RAX, .index = INSN_NO_REG, .addrsize = 8 };
	struct insn ret = { .op = OP_RET_FAR, .len = 2, .opsize = 8 };

	rig_long(rig);
	rig_user(rig);
	cpu->gpr[RAX] = 0x100000 - 6;
	rig_put(rig, cpu->gpr[RAX], (u64)(SEL_GATE | 3) << 32, 6);
	assert_int_equal(try(rig, call), NO_FAULT);
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->seg[SS].sel, 0);
	assert_int_equal(cpu->gpr[RSP], RIG_STACK0 - 32);
	assert_int_equal(rig_get(rig, cpu->gpr[RSP] + 24, 8), SEL_DATA3);
	assert_int_equal(try(rig, ret), NO_FAULT);
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->gpr[RSP], RIG_STACK3);
	/* a task gate does not exist there */
	rig_put(rig, cpu->gpr[RAX] + 4, SEL_TSS | 3, 2);
	assert_int_equal(try(rig, call), FAULT(VEC_GP, SEL_TSS));
}

static void tasks(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	struct insn iret = { .op = OP_IRET, .len = 1, .opsize = 4 };

	rig_protected(rig);
	rig_put(rig, RIG_TSS2 + 0x20, 0x6543, 4);
	rig_put(rig, RIG_TSS2 + 0x24, 2 | RFLAGS_CF, 4);
	rig_put(rig, RIG_TSS2 + 0x28, 0xabcd, 4);
	rig_put(rig, RIG_TSS2 + 0x38, RIG_STACK3, 4);
	rig_put(rig, RIG_TSS2 + 0x4c, SEL_CODE0, 2);
	rig_put(rig, RIG_TSS2 + 0x50, SEL_DATA0, 2);
	cpu->gpr[RAX] = 0x1111;
	assert_int_equal(try(rig, far(OP_CALL_FAR, SEL_TSS2, 0)), NO_FAULT);
	assert_int_equal(cpu->rip, 0x6543);
	assert_int_equal(cpu->gpr[RAX], 0xabcd);
	assert_int_equal(cpu->seg[TR].sel, SEL_TSS2);
	assert_int_equal(cpu->seg[DS].sel, 0);
	assert_int_equal(cpu_rflags(cpu), 2 | RFLAGS_CF | RFLAGS_NT);
	assert_true(cpu->cr0 & CR0_TS);
	assert_int_equal(rig_get(rig, RIG_TSS2, 2), SEL_TSS);
	assert_int_equal(rig_get(rig, RIG_TSS + 0x28, 4), 0x1111);
	assert_int_equal(rig_get(rig, RIG_GDT + SEL_TSS2 + 5, 1), 0x8b);
	/* it is busy */
	assert_int_equal(try(rig, far(OP_JMP_FAR, SEL_TSS2, 0)), FAULT(VEC_GP, SEL_TSS2));
	cpu->gpr[RAX] = 0x2222;
	assert_int_equal(try(rig, iret), NO_FAULT);
	assert_int_equal(cpu->seg[TR].sel, SEL_TSS);
	assert_int_equal(cpu->rip, 0x7007);
	assert_int_equal(cpu->gpr[RAX], 0x1111);
	assert_int_equal(cpu_rflags(cpu) & RFLAGS_NT, 0);
	assert_int_equal(rig_get(rig, RIG_TSS2 + 0x28, 4), 0x2222);
	assert_int_equal(rig_get(rig, RIG_GDT + SEL_TSS2 + 5, 1), 0x89);
	/* a task whose stack segment is none faults in its own context */
	rig_put(rig, RIG_TSS2 + 0x50, SEL_CODE0, 2);
	assert_int_equal(try(rig, far(OP_JMP_FAR, SEL_TSS2, 0)), FAULT(VEC_TS, SEL_CODE0));
	assert_int_equal(cpu->seg[TR].sel, SEL_TSS2);
}

static void near_limits(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	struct insn loop = { .op = OP_LOOP, .opcode = 0xe2, .len = 2, .opsize = 2, .addrsize = 2,
		.imm = -0x10ull };
	struct insn jcc = { .op = OP_JCC, .opcode = 0x7c, .len = 2, .opsize = 4, .imm = 0x9000 };
	struct insn call = { .op = OP_CALL_NEAR, .opcode = 0xe8, .len = 3, .opsize = 2,
		.imm = 0x100 };
	struct insn ret = { .op = OP_RET_NEAR, .len = 3, .opsize = 2, .imm = 4 };

	cpu->gpr[RCX] = 0x70001;
	assert_int_equal(cpu_exec(cpu, &loop), OUTCOME_NEXT);
	assert_int_equal(cpu->gpr[RCX], 0x70000);
	assert_int_equal(cpu_exec(cpu, &loop), OUTCOME_JUMP);
	assert_int_equal(cpu->rip, 0x6ff2);
	cpu->rip = 4;
	assert_int_equal(cpu_exec(cpu, &loop), OUTCOME_JUMP); /* 16 bits wrap */
	assert_int_equal(cpu->rip, 0xfff6);
	/* SF differs from OF: taken, beyond the limit */
	cpu->rip = 0x7000;
	cpu_set_rflags(cpu, RFLAGS_SF);
	assert_int_equal(try(rig, jcc), FAULT(VEC_GP, 0));
	assert_int_equal(cpu->rip, 0x7000);
	cpu_set_rflags(cpu, RFLAGS_SF | RFLAGS_OF);
	assert_int_equal(cpu_exec(cpu, &jcc), OUTCOME_NEXT);
	/* SP wraps in its 16 bits */
	cpu->gpr[RSP] = 0x10000;
	assert_int_equal(cpu_exec(cpu, &call), OUTCOME_JUMP);
	assert_int_equal(cpu->gpr[RSP], 0x1fffe);
	assert_int_equal(rig_get(rig, 0xfffe, 2), 0x7003);
	assert_int_equal(cpu_exec(cpu, &ret), OUTCOME_JUMP);
	assert_int_equal(cpu->rip, 0x7003);
	assert_int_equal(cpu->gpr[RSP], 0x10004);
}

static void frames(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	struct insn pusha = { .op = OP_PUSHA, .len = 1, .opsize = 4 };
	struct insn popa = { .op = OP_POPA, .len = 1, .opsize = 4 };
	struct insn enter = { .op = OP_ENTER, .len = 4, .opsize = 4, .imm = 0x20, .imm2 = 2 };
	struct insn leave = { .op = OP_LEAVE, .len = 1, .opsize = 4 };

	rig_protected(rig);
	for (unsigned i = 0; i < 8; i++)
		if (i != RSP)
			cpu->gpr[i] = 0x100 + i;
	assert_int_equal(try(rig, pusha), NO_FAULT);
	assert_int_equal(rig_get(rig, RIG_STACK0 - 4, 4), 0x100);
	assert_int_equal(rig_get(rig, RIG_STACK0 - 20, 4), RIG_STACK0);
	assert_int_equal(rig_get(rig, RIG_STACK0 - 32, 4), 0x107);
	cpu->gpr[RBX] = 0;
	assert_int_equal(try(rig, popa), NO_FAULT);
	assert_int_equal(cpu->gpr[RBX], 0x103);
	assert_int_equal(cpu->gpr[RSP], RIG_STACK0);
	cpu->gpr[RBP] = RIG_STACK3;
	rig_put(rig, RIG_STACK3 - 4, 0x77, 4);
	assert_int_equal(try(rig, enter), NO_FAULT);
	assert_int_equal(cpu->gpr[RBP], RIG_STACK0 - 4);
	assert_int_equal(cpu->gpr[RSP], RIG_STACK0 - 12 - 0x20);
	assert_int_equal(rig_get(rig, RIG_STACK0 - 8, 4), 0x77);
	assert_int_equal(rig_get(rig, RIG_STACK0 - 12, 4), RIG_STACK0 - 4);
	assert_int_equal(try(rig, leave), NO_FAULT);
	assert_int_equal(cpu->gpr[RSP], RIG_STACK0);
	assert_int_equal(cpu->gpr[RBP], RIG_STACK3);
	/* a frame that would lie outside the segment leaves all as it was */
	cpu->seg[SS] = (struct segment){ .sel = SEL_SMALL, .attr = 0x493, .limit = 0xfff };
	cpu_mode_update(cpu);
	cpu->gpr[RSP] = 0x10;
	assert_int_equal(try(rig, pusha), FAULT(VEC_SS, 0));
	assert_int_equal(try(rig, enter), FAULT(VEC_SS, 0));
	assert_int_equal(cpu->gpr[RSP], 0x10);
	assert_int_equal(cpu->gpr[RBP], RIG_STACK3);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(data_segments),
		TEST(stack_segments),
		TEST(expand_down_and_canonical),
		TEST(inspection),
		TEST(far_jumps),
		TEST(call_gate_and_back),
		TEST(long_call_gate),
		TEST(tasks),
		TEST(near_limits),
		TEST(frames),
	};

	return cmocka_run_group_tests_name("segments", tests, NULL, NULL);
}
