/* SPDX-License-Identifier: MIT */
/* Interrupts, exceptions, IRET and system calls in every mode; what happens at boundaries. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "cpu/virt.h"
#include "cpu_rig.h"

static const struct insn int80 = { .op = OP_INT, .len = 2, .imm = 0x80 };
static const struct insn int81 = { .op = OP_INT, .len = 2, .imm = 0x81 };
static const struct insn sti = { .op = OP_STI, .len = 1 };
static const struct insn cld = { .op = OP_CLD, .len = 1 };
static const struct insn hlt = { .op = OP_HLT, .len = 1 };

static struct insn iret(unsigned size)
{
	return (struct insn){ .op = OP_IRET, .len = 2, .opsize = size };
}

static u64 handler(unsigned vector)
{
	return RIG_HANDLER + vector * 16;
}

static void flags_have_two_halves(void **state)
{
	struct rig *rig = *state;

	for (u64 f = 0; f < 0x1000; f++) {
		u64 arith = f & RFLAGS_ARITH;

		assert_int_equal(aflags_to_rflags(aflags_from_rflags(f)), arith);
	}
	cpu_set_rflags(rig->cpu, ~0ull);
	assert_int_equal(cpu_rflags(rig->cpu), 0x3f7fd7);
	cpu_set_rflags(rig->cpu, 0);
	assert_int_equal(cpu_rflags(rig->cpu), 2);
}

static void reset_is_the_manuals(void **state)
{
	struct cpu *cpu = ((struct rig *)*state)->cpu;

	cpu_reset(cpu);
	assert_int_equal(cpu->rip, 0xfff0);
	assert_int_equal(cpu->seg[CS].base, 0xffff0000);
	assert_int_equal(cpu->cr0, 0x60000010);
	assert_int_equal(cpu->dr6, 0xffff0ff0);
	assert_int_equal(cpu->mode & (MODE_CODE_MASK | MODE_PROTECTED | MODE_USER), MODE_CODE16);
	cpu->cr0 = CR0_PE;
	cpu_init(cpu);
	assert_int_equal(cpu->cr0, CR0_ET);
}

static void real_mode_interrupt(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;

	cpu_set_rflags(cpu, RFLAGS_IF | RFLAGS_CF);
	assert_int_equal(rig_exec(rig, int80), OUTCOME_JUMP);
	assert_int_equal(cpu->seg[CS].base + cpu->rip, 0x3000 + 0x80 * 16);
	assert_int_equal(cpu->gpr[RSP], RIG_STACK0 - 6);
	assert_int_equal(rig_get(rig, RIG_STACK0 - 6, 2), 0x7002);
	assert_int_equal(rig_get(rig, RIG_STACK0 - 2, 2), 0x203);
	assert_int_equal(cpu_rflags(cpu) & RFLAGS_IF, 0);
	rig_exec(rig, iret(2));
	assert_int_equal(cpu->rip, 0x7002);
	assert_int_equal(cpu->seg[CS].sel, 0);
	assert_int_equal(cpu_rflags(cpu), 0x203);
	assert_int_equal(cpu->gpr[RSP], RIG_STACK0);
	/* no room for the vector: on to #DF, and out of the table again */
	cpu->idtr.limit = 0x1f;
	rig_exec(rig, int80);
	assert_int_equal(cpu->activity, CPU_SHUTDOWN);
}

static void protected_mode_inner_level(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;

	rig_protected(rig);
	rig_user(rig);
	cpu_set_rflags(cpu, RFLAGS_IF | RFLAGS_ZF);
	rig_exec(rig, int80);
	assert_int_equal(cpu->rip, handler(0x80));
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->seg[SS].sel, SEL_DATA0);
	assert_int_equal(cpu->gpr[RSP], RIG_STACK0 - 20);
	assert_int_equal(rig_get(rig, RIG_STACK0 - 20, 4), 0x7002);
	assert_int_equal(rig_get(rig, RIG_STACK0 - 8, 4), RIG_STACK3);
	assert_int_equal(rig_get(rig, RIG_STACK0 - 4, 4), SEL_DATA3);
	assert_int_equal(cpu->seg[DS].sel, SEL_DATA3);
	cpu->seg[DS] = cpu->seg[SS];
	rig_exec(rig, iret(4));
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->rip, 0x7002);
	assert_int_equal(cpu->gpr[RSP], RIG_STACK3);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_IF | RFLAGS_ZF | 2);
	/* level 0's data segment was not for level 3 */
	assert_int_equal(cpu->seg[DS].sel, 0);
	assert_int_equal(cpu->seg[ES].sel, SEL_DATA3);
	/* DPL 0: #GP with the gate's number, and no EXT for INT n */
	rig_exec(rig, int81);
	assert_int_equal(cpu->rip, handler(VEC_GP));
	assert_int_equal(rig_get(rig, cpu->gpr[RSP], 4), 0x81 * 8 + 2);
	assert_int_equal(rig_get(rig, cpu->gpr[RSP] + 4, 4), 0x7002);
}

static void virtual_8086(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	u64 frame[] = { 0x123, 0x100, RFLAGS_VM | RFLAGS_IF | 2, 0x800, 0x200, 0x300, 0x400, 0x500,
		0x600 };

	rig_protected(rig);
	cpu->gpr[RSP] -= sizeof(frame) / 2;
	for (unsigned i = 0; i < ARRAY_SIZE(frame); i++)
		rig_put(rig, cpu->gpr[RSP] + i * 4, frame[i], 4);
	rig_exec(rig, iret(4));
	assert_true(cpu_v86(cpu));
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->seg[CS].base, 0x1000);
	assert_int_equal(cpu->seg[GS].base, 0x6000);
	assert_int_equal(cpu->seg[SS].limit, 0xffff);
	assert_int_equal(cpu->mode & (MODE_CODE_MASK | MODE_PROTECTED | MODE_USER), MODE_USER);
	/* below IOPL 3 INT n, STI and PUSHF are #GP */
	rig_exec(rig, int80);
	assert_int_equal(cpu->rip, handler(VEC_GP));
	assert_false(cpu_v86(cpu));
	assert_int_equal(cpu->gpr[RSP], RIG_STACK0 - 40);
	assert_int_equal(rig_get(rig, RIG_STACK0 - 4, 4), 0x600);
	assert_int_equal(rig_get(rig, RIG_STACK0 - 36, 4), 0x123);
	assert_int_equal(cpu->seg[DS].attr & SEG_P, 0);
	/* with VME and a clear bit in the map, to the 8086's own table */
	cpu->gpr[RSP] += 4;
	rig_exec(rig, iret(4));
	assert_true(cpu_v86(cpu));
	cpu->cr4 |= CR4_VME;
	cpu->rflags_system |= RFLAGS_VIF;
	cpu->seg[TR].limit = 0x200;
	rig_put(rig, RIG_TSS + 0x66, 0x88, 2);
	rig_exec(rig, int80);
	assert_true(cpu_v86(cpu));
	assert_int_equal(cpu->seg[CS].base + cpu->rip, 0x3000 + 0x80 * 16);
	assert_int_equal(cpu_rflags(cpu) & RFLAGS_VIF, 0);
	assert_int_equal(rig_get(rig, 0x2000 + cpu->gpr[RSP] + 4, 2) & 0x3200, 0x3200);
	rig_exec(rig, iret(2));
	assert_int_equal(cpu->rip, 0x125);
	assert_true(cpu_rflags(cpu) & RFLAGS_VIF);
}

static void long_mode_frames(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;

	rig_long(rig);
	cpu->gpr[RSP] = RIG_STACK0 - 3;
	rig_exec(rig, int80);
	assert_int_equal(cpu->gpr[RSP], RIG_STACK0 - 16 - 40);
	assert_int_equal(rig_get(rig, cpu->gpr[RSP] + 24, 8), RIG_STACK0 - 3);
	assert_int_equal(cpu->seg[SS].sel, SEL_DATA0);
	rig_exec(rig, iret(8));
	assert_int_equal(cpu->gpr[RSP], RIG_STACK0 - 3);
	assert_int_equal(cpu->rip, 0x7002);
	/* from level 3: RSP0, a null SS; with an error code six words */
	rig_user(rig);
	rig_exec(rig, int81);
	assert_int_equal(cpu->rip, handler(VEC_GP));
	assert_int_equal(cpu->gpr[RSP], RIG_STACK0 - 48);
	assert_int_equal(cpu->seg[SS].sel, 0);
	assert_int_equal(rig_get(rig, cpu->gpr[RSP], 8), 0x81 * 8 + 2);
	assert_int_equal(rig_get(rig, cpu->gpr[RSP] + 8, 8), 0x7002);
	assert_int_equal(rig_get(rig, cpu->gpr[RSP] + 24, 8) & RFLAGS_RF, RFLAGS_RF);
	cpu->gpr[RSP] += 8;
	rig_exec(rig, iret(8));
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->mode & (MODE_USER | MODE_CODE64), MODE_USER | MODE_CODE64);
	/* an interrupt stack, and a compatibility-mode program that comes back */
	rig_gate(rig, 0x80, 14, 3, 1);
	cpu->seg[CS].sel = SEL_COMPAT3;
	cpu->seg[CS].attr = 0xcfb;
	cpu_mode_update(cpu);
	rig_exec(rig, int80);
	assert_int_equal(cpu->gpr[RSP], RIG_IST - 40);
	assert_true(cpu_long64(cpu));
	rig_exec(rig, iret(8));
	assert_int_equal(cpu->seg[CS].sel, SEL_COMPAT3);
	assert_false(cpu_long64(cpu));
	/* a stack pointer that is none: #SS(0), and with the same stack #DF, on the IST */
	rig_put(rig, RIG_TSS + 4, 0x800000000000, 8);
	rig_gate(rig, VEC_DF, 14, 0, 1);
	rig_exec(rig, int81);
	assert_int_equal(cpu->rip, handler(VEC_DF));
	assert_int_equal(cpu->gpr[RSP], RIG_IST - 48);
}

static void exceptions_meet(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;

	/* #GP is not present: #NP is contributory as well, so #DF with error code 0 */
	rig_protected(rig);
	rig_put(rig, RIG_IDT + VEC_GP * 8 + 5, 0x0e, 1);
	rig_exec(rig, (struct insn){ .op = OP_GP, .len = 1 });
	assert_int_equal(cpu->rip, handler(VEC_DF));
	assert_int_equal(rig_get(rig, cpu->gpr[RSP], 4), 0);
	assert_false(cpu->event.valid);
	/* #UD is benign: its missing gate gives a plain #NP, EXT set */
	rig_put(rig, RIG_IDT + VEC_UD * 8 + 5, 0x0e, 1);
	rig_exec(rig, (struct insn){ .op = OP_UD, .len = 2 });
	assert_int_equal(cpu->rip, handler(VEC_NP));
	assert_int_equal(rig_get(rig, cpu->gpr[RSP], 4), VEC_UD * 8 + 3);
	/* and without #DF nothing is left */
	rig_put(rig, RIG_IDT + VEC_NP * 8 + 5, 0x0e, 1);
	rig_put(rig, RIG_IDT + VEC_DF * 8 + 5, 0x0e, 1);
	rig_exec(rig, (struct insn){ .op = OP_GP, .len = 1 });
	assert_int_equal(cpu->activity, CPU_SHUTDOWN);
	assert_false(cpu_has_wakeup(cpu));
}

static void system_calls(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;

	rig_long(rig);
	rig_user(rig);
	cpu->star = (u64)0x10 << 48 | (u64)SEL_CODE0 << 32;
	cpu->lstar = 0x12345;
	cpu->sfmask = RFLAGS_IF | RFLAGS_DF;
	cpu_set_rflags(cpu, RFLAGS_IF | RFLAGS_DF | RFLAGS_CF);
	rig_exec(rig, (struct insn){ .op = OP_SYSCALL, .len = 2 });
	assert_int_equal(cpu->rip, 0x12345);
	assert_int_equal(cpu->gpr[RCX], 0x7002);
	assert_int_equal(cpu->gpr[R11], RFLAGS_IF | RFLAGS_DF | RFLAGS_CF | 2);
	assert_int_equal(cpu_rflags(cpu), RFLAGS_CF | 2);
	assert_int_equal(cpu->cpl, 0);
	assert_int_equal(cpu->seg[SS].sel, SEL_DATA0);
	rig_exec(rig, (struct insn){ .op = OP_SYSRET, .len = 3, .opsize = 8 });
	assert_int_equal(cpu->rip, 0x7002);
	assert_int_equal(cpu->cpl, 3);
	assert_int_equal(cpu->seg[CS].sel, 0x23);
	assert_int_equal(cpu->seg[SS].sel, 0x1b);
	assert_true(cpu_long64(cpu));
	assert_int_equal(cpu_rflags(cpu), RFLAGS_IF | RFLAGS_DF | RFLAGS_CF | 2);
	rig_exec(rig, (struct insn){ .op = OP_SYSRET, .len = 3, .opsize = 8 });
	assert_int_equal(cpu->rip, handler(VEC_GP));
	cpu->efer &= ~EFER_SCE;
	rig_exec(rig, (struct insn){ .op = OP_SYSCALL, .len = 2 });
	assert_int_equal(cpu->rip, handler(VEC_UD));
}

static void sti_holds_one_instruction(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;

	rig_long(rig);
	rig_interrupt(rig, 0x55);
	assert_false(rig_boundary(rig));
	assert_false(cpu_must_poll(cpu));
	rig_exec(rig, sti);
	assert_true(cpu_must_poll(cpu));
	assert_false(rig_boundary(rig));
	assert_true(cpu_must_step(cpu));
	rig_exec(rig, cld);
	assert_true(rig_boundary(rig));
	assert_int_equal(cpu->rip, handler(0x55));
	assert_int_equal(rig_get(rig, cpu->gpr[RSP], 8), 0x7002);
	assert_false(cpu->intr_shadow);
	/* HLT in the shadow wakes at once and comes back behind itself */
	cpu->rip = 0x7000;
	rig_interrupt(rig, 0x56);
	rig_boundary(rig);
	rig_exec(rig, sti);
	rig_boundary(rig);
	rig_exec(rig, hlt);
	assert_int_equal(cpu->activity, CPU_HALTED);
	assert_true(cpu_has_wakeup(cpu));
	assert_true(rig_boundary(rig));
	assert_int_equal(cpu->activity, CPU_RUNNING);
	assert_int_equal(rig_get(rig, cpu->gpr[RSP], 8), 0x7002);
}

static void halted_sleeps_until_woken(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;

	rig_long(rig);
	rig_exec(rig, hlt);
	rig_boundary(rig);
	rig_interrupt(rig, 0x55);
	assert_false(cpu_has_wakeup(cpu));
	rig_boundary(rig);
	assert_int_equal(cpu->activity, CPU_HALTED);
	cpu_pin_set(cpu, CPU_PIN_NMI, true);
	assert_true(cpu_has_wakeup(cpu));
	assert_true(rig_boundary(rig));
	assert_int_equal(cpu->rip, handler(VEC_NMI));
	/* a second one waits for IRET */
	cpu_pin_set(cpu, CPU_PIN_NMI, true);
	assert_false(rig_boundary(rig));
	rig_exec(rig, iret(8));
	assert_true(rig_boundary(rig));
	assert_int_equal(cpu->rip, handler(VEC_NMI));
}

static void single_step(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;
	struct insn popf = { .op = OP_POPF, .len = 1, .opsize = 8 };

	rig_long(rig);
	rig_put(rig, cpu->gpr[RSP], RFLAGS_TF | 2, 8);
	rig_put(rig, cpu->gpr[RSP] + 8, 2, 8);
	rig_exec(rig, popf);
	/* the one after POPF runs, then comes the trap */
	assert_false(rig_boundary(rig));
	assert_true(cpu_must_step(cpu));
	rig_exec(rig, cld);
	assert_true(rig_boundary(rig));
	assert_int_equal(cpu->rip, handler(VEC_DB));
	assert_true(cpu->dr6 & DR6_BS);
	assert_int_equal(rig_get(rig, cpu->gpr[RSP], 8), 0x7002);
	assert_int_equal(rig_get(rig, cpu->gpr[RSP] + 16, 8) & (RFLAGS_TF | RFLAGS_RF), RFLAGS_TF);
	assert_false(cpu_must_step(cpu));
	rig_exec(rig, iret(8));
	/* a POPF that clears TF is still traced itself */
	assert_false(rig_boundary(rig));
	rig_exec(rig, popf);
	assert_true(rig_boundary(rig));
	assert_int_equal(cpu->rip, handler(VEC_DB));
	rig_exec(rig, iret(8));
	assert_false(cpu_must_poll(cpu));
}

static void instruction_breakpoint(void **state)
{
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;

	rig_long(rig);
	cpu->dr[1] = 0x7001;
	cpu->dr7 |= BIT(2);
	cpu_mode_update(cpu);
	assert_false(rig_boundary(rig));
	rig_exec(rig, cld);
	assert_true(rig_boundary(rig));
	assert_int_equal(cpu->rip, handler(VEC_DB));
	assert_int_equal(cpu->dr6 & 15, 2);
	/* RF in the frame passes it once */
	rig_put(rig, cpu->gpr[RSP] + 16, 2 | RFLAGS_RF, 8);
	rig_exec(rig, iret(8));
	assert_false(rig_boundary(rig));
	rig_exec(rig, cld);
	assert_false(rig_boundary(rig));
	assert_int_equal(cpu_rflags(cpu) & RFLAGS_RF, 0);
	cpu->rip = 0x7001;
	assert_true(rig_boundary(rig));
}

static void who_was_woken_asks_again(void **state)
{
	struct rig *rig = *state;

	rig->cpu->wake_at = 1;
	rig_boundary(rig);
	assert_int_equal(rig->cpu->wake_at, 1);
	cpu_pin_set(rig->cpu, CPU_PIN_TIMER, true);
	rig_boundary(rig);
	assert_int_equal(rig->cpu->wake_at, 0);
}

/* In VMX root operation INIT is blocked, SDM3 24.8: it may not keep a shutdown from being seen. */
static void shutdown_is_for_init_to_end(void **state)
{
	struct rig *rig = *state;

	rig->cpu->activity = CPU_SHUTDOWN;
	assert_false(cpu_has_wakeup(rig->cpu));
	cpu_pin_set(rig->cpu, CPU_PIN_INIT, true);
	assert_true(cpu_has_wakeup(rig->cpu));
	rig->cpu->vmx_root = true;
	assert_false(cpu_has_wakeup(rig->cpu));
	rig->cpu->vmx_root = false;
	rig_boundary(rig);
	assert_int_equal(rig->cpu->activity, CPU_RUNNING);
}

static bool no_intercept(struct cpu *cpu, const struct insn *insn, enum virt_event event, u64 a, u64 b)
{
	fail();
	return false;
}

/* A guest that waits for a SIPI knows no INIT either, SDM3 26.2. */
static void init_is_blocked_in_wait_for_sipi(void **state)
{
	static const struct virt_ops ops = { .intercept = no_intercept };
	struct rig *rig = *state;
	struct cpu *cpu = rig->cpu;

	cpu->virt = &ops;
	cpu->in_guest = true;
	cpu->activity = CPU_WAIT_SIPI;
	cpu_pin_set(cpu, CPU_PIN_INIT, true);
	assert_false(cpu_has_wakeup(cpu));
	rig_boundary(rig);
	assert_int_equal(cpu->activity, CPU_WAIT_SIPI);
	assert_true(cpu->pins & BIT(CPU_PIN_INIT));
	/* which a CPU without a guest does */
	cpu->in_guest = false;
	cpu->virt = NULL;
	assert_true(cpu_has_wakeup(cpu));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup, rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(flags_have_two_halves),
		TEST(reset_is_the_manuals),
		TEST(real_mode_interrupt),
		TEST(protected_mode_inner_level),
		TEST(virtual_8086),
		TEST(long_mode_frames),
		TEST(exceptions_meet),
		TEST(system_calls),
		TEST(sti_holds_one_instruction),
		TEST(halted_sleeps_until_woken),
		TEST(single_step),
		TEST(instruction_breakpoint),
		TEST(who_was_woken_asks_again),
		TEST(shutdown_is_for_init_to_end),
		TEST(init_is_blocked_in_wait_for_sipi),
	};

	return cmocka_run_group_tests_name("events", tests, NULL, NULL);
}
