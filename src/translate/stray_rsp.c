/* SPDX-License-Identifier: MIT */
/*
 * The guest's RSP is in the host's, and may be no canonical address. A host CPU does not mind until
 * it is accessed by, but some hosts' kernels do: run without VT-x or AMD-V under a hypervisor that
 * switches rings by software (PVM), they cannot go back from an interrupt to such an RSP, and what
 * comes of it is a #GP, or at some instructions a #UD, at whatever was next. It is no fault of the
 * guest's: the handler lets its thread go back with the stack of engine_enter(), to engine_retry,
 * which loads the stray RSP and goes on.
 *
 * Whether an instruction that does not name RSP raised the fault itself is told by trial: with the
 * other RSP, and TF, it either faults again or is done. One that names RSP raises no #GP (operands in
 * memory are addressed by R10 and R11), but a #UD if the host lacks it: then again and again.
 */
#include <Zydis/Zydis.h>
#include <ucontext.h>

#include "translate/runtime.h"

#define MAX_REPEATS 1000 /* of #UD at one place, without another stray fault between them */

/* True as well if it is none at all: a trial would be in vain. */
static bool names_rsp(const void *code, u64 length)
{
	ZydisDecoder decoder;
	ZydisDecodedInstruction insn;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];

	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, code, length, &insn, ops)))
		return true;
	for (unsigned i = 0; i < insn.operand_count; i++) {
		const ZydisDecodedOperand *op = &ops[i];
		ZydisRegister reg = op->type == ZYDIS_OPERAND_TYPE_REGISTER ? op->reg.value :
			op->type == ZYDIS_OPERAND_TYPE_MEMORY ? op->mem.base : ZYDIS_REGISTER_NONE;

		if (ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg) ==
			ZYDIS_REGISTER_RSP)
			return true;
	}
	return false;
}

/* From here on it is as if RSP had never been another. */
static void end_trial(struct engine *engine, greg_t *regs)
{
	engine->stray_trial = false;
	regs[REG_EFL] &= ~(greg_t)RFLAGS_TF;
	regs[REG_RSP] = (greg_t)engine->cpu->stray_rsp;
}

static void go_on(struct cpu *cpu, greg_t *regs)
{
	/* back to engine_retry itself, between its two instructions: what it goes on at stays */
	if (regs[REG_RIP] != (greg_t)engine_retry_jump) {
		cpu->stray_rip = (u64)regs[REG_RIP];
		cpu->stray_rsp = (u64)regs[REG_RSP];
	}
	regs[REG_RIP] = (greg_t)engine_retry;
	regs[REG_RSP] = (greg_t)cpu->host_rsp;
}

bool stray_rsp_take(struct engine *engine, ucontext_t *context)
{
	greg_t *regs = context->uc_mcontext.gregs;
	struct cpu *cpu = engine->cpu;
	u64 end = (u64)engine->cache.rx + engine->cache.size;

	if (engine->stray_trial) {
		end_trial(engine, regs);
		if (regs[REG_TRAPNO] != VEC_DB)
			return false;
		go_on(cpu, regs);
		return true;
	}
	if ((regs[REG_TRAPNO] != VEC_GP && regs[REG_TRAPNO] != VEC_UD) ||
		is_canonical((u64)regs[REG_RSP]))
		return false;
	if (cache_find_pc(&engine->cache, (u64)regs[REG_RIP]) &&
		!names_rsp((const void *)regs[REG_RIP], end - (u64)regs[REG_RIP])) {
		engine->stray_trial = true;
		cpu->stray_rsp = (u64)regs[REG_RSP];
		regs[REG_RSP] = (greg_t)cpu->host_rsp;
		regs[REG_EFL] |= RFLAGS_TF;
		return true;
	}
	if (regs[REG_TRAPNO] == VEC_UD && (u64)regs[REG_RIP] == cpu->stray_rip) {
		if (++engine->stray_repeats == MAX_REPEATS)
			return false;
	} else {
		engine->stray_repeats = 0;
	}
	go_on(cpu, regs);
	return true;
}
