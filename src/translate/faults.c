/* SPDX-License-Identifier: MIT */
/*
 * Faults that the host CPU raises in translated code are the guest's own: a division, a misaligned
 * SSE operand, an x87 or SIMD exception, an instruction the host lacks. The handler finds the guest
 * instruction by the side table, saves the registers and sends the thread to rt_native_fault().
 * Page faults cannot be the guest's: every address was checked. What the host's kernel makes of gs: and
 * RSP is told in gs.c and stray_rsp.c.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/log.h"
#include "translate/runtime.h"

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

#define SIGNAL_STACK_SIZE (64 * KIB)

static __thread struct engine *engine_of_thread;

static void save_registers(struct cpu *cpu, const greg_t *host)
{
	static const u8 from[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI,
		REG_RDI, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

	for (unsigned reg = 0; reg < 16; reg++)
		if (!is_stolen(reg))
			cpu->gpr[reg] = host[from[reg]];
}

/* Which guest instruction a host address is part of. */
static const struct place *find_place(const struct engine *engine, const struct block *block, u64 pc)
{
	const struct place *table = (const struct place *)(engine->cache.rw + block->table);
	u64 at = pc - (u64)engine->cache.rx - block->far_entry;
	const struct place *found = &table[0];

	for (unsigned i = 0; i < block->insn_count; i++)
		if (table[i].host <= at)
			found = &table[i];
	return found;
}

/* True: it was the guest's fault, and the context now leads to rt_native_fault(). */
static bool take(struct engine *engine, ucontext_t *context)
{
	greg_t *regs = context->uc_mcontext.gregs;
	struct cpu *cpu = engine->cpu;
	struct block *block = cache_find_pc(&engine->cache, regs[REG_RIP]);
	const struct place *place;
	u64 linear;

	if (!block)
		return false;
	place = find_place(engine, block, regs[REG_RIP]);
	switch (regs[REG_TRAPNO]) {
	case VEC_DE:
	case VEC_UD:
	case VEC_MF:
	case VEC_XM:
		cpu->fault = (struct fault){ .kind = FAULT_EXCEPTION, .vector = regs[REG_TRAPNO] };
		/* APM2 8.2.19: an OS that does not handle #XM gets #UD */
		if (regs[REG_TRAPNO] == VEC_XM && !(cpu->cr4 & CR4_OSXMMEXCPT))
			cpu->fault.vector = VEC_UD;
		break;
	case VEC_GP:
		cpu->fault = (struct fault){ .kind = FAULT_EXCEPTION, .vector = VEC_GP,
			.has_error = true };
		break;
	default:
		return false;
	}
	save_registers(cpu, regs);
	if (place->flags_in_host)
		cpu->aflags = aflags_from_rflags(regs[REG_EFL]);
	linear = (mode_is_fixed(block->mode) ? block->vpage : cpu->vpage) + place->offset;
	cpu->rip = cpu->mode & MODE_CODE64 ? linear : (u32)(linear - cpu->seg[CS].base);
	regs[REG_RIP] = (greg_t)engine_native_fault;
	regs[REG_RSP] = (greg_t)cpu->host_rsp; /* the guest's may be one that no way leads back to */
	return true;
}

static bool take_lost_gs(struct engine *engine, int number, const siginfo_t *info)
{
	if (number != SIGSEGV || !engine->cpu->gs_context || !gs_is_lost(info->si_addr))
		return false;
	set_gs(engine, engine->cpu->gs_context);
	return true;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
	struct engine *engine = engine_of_thread;

	if (engine && (take_lost_gs(engine, number, info) || stray_rsp_take(engine, context) ||
			      take(engine, context)))
		return;
	/* Not the guest's but ours. Who restores the terminal listens for SIGABRT. */
	abort();
}

/* SIGTRAP: for the trials of stray_rsp.c. */
static const int numbers[] = { SIGSEGV, SIGFPE, SIGILL, SIGBUS, SIGTRAP };

void faults_signals(sigset_t *set)
{
	sigemptyset(set);
	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++)
		sigaddset(set, numbers[i]);
}

int faults_install(void)
{
	struct sigaction action = { .sa_sigaction = on_fault,
		.sa_flags = SA_SIGINFO | SA_ONSTACK };

	sigfillset(&action.sa_mask);
	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++)
		if (sigaction(numbers[i], &action, NULL) < 0)
			return -errno;
	return 0;
}

/*
 * The guest's RSP is in the host's and may point anywhere, into the alternate stack too; with
 * SS_AUTODISARM the kernel always starts at its top.
 */
int faults_thread(struct engine *engine)
{
	stack_t stack = { .ss_size = SIGNAL_STACK_SIZE, .ss_flags = (int)SS_AUTODISARM };

	if (!engine->signal_stack)
		engine->signal_stack = malloc(SIGNAL_STACK_SIZE);
	if (!engine->signal_stack)
		return -ENOMEM;
	stack.ss_sp = engine->signal_stack;
	engine_of_thread = engine;
	return sigaltstack(&stack, NULL) < 0 ? -errno : 0;
}
