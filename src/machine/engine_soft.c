/* SPDX-License-Identifier: MIT */
/* The soft engine as a machine sees it: one struct engine a vCPU, kicked by a flag and a futex. */
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "board/board.h"
#include "machine/engines.h"
#include "mem/dirty.h"
#include "translate/engine.h"
#include "virt/svm.h"
#include "virt/vmx.h"

static int soft_open(struct machine *machine, const struct machine_config *config,
	char problem[MACHINE_PROBLEM_LEN])
{
	int error = 0;

	for (unsigned i = 0; !error && i < machine->cpu_count; i++)
		if (config->nested == NESTED_AMD)
			error = svm_new(machine->cpus[i]);
		else if (config->nested == NESTED_INTEL)
			error = vmx_new(machine->cpus[i]);
	return error;
}

/* A page that is not noted in the log has no write tag in any TLB: its first store is seen. */
static int dirty_start(void *arg)
{
	struct machine *machine = arg;

	for (unsigned i = 0; i < machine->cpu_count; i++)
		engine_forget_writes(machine->cpus[i]->engine);
	return 0;
}

static int dirty_fetch(void *arg, u64 *bitmap)
{
	struct machine *machine = arg;

	dirty_take(&machine->ram, bitmap);
	return dirty_start(machine);
}

static void dirty_stop(void *arg)
{
}

static const struct dirty_ops soft_dirty = { dirty_start, dirty_fetch, dirty_stop };

static int soft_start(struct machine *machine, const struct machine_config *config)
{
	int error = 0;

	machine->ram.dirty_ops = &soft_dirty;
	machine->ram.dirty_arg = machine;
	for (unsigned i = 0; !error && i < machine->cpu_count; i++)
		error = engine_new(&machine->cpus[i]->engine, machine->cpus[i],
			config->code_cache);
	return error;
}

static void soft_close(struct machine *machine)
{
	for (unsigned i = 0; i < machine->cpu_count; i++) {
		struct cpu *cpu = machine->cpus[i];

		if (cpu->engine)
			engine_free(cpu->engine);
		if (cpu->virt == &svm_ops)
			svm_free(cpu);
		else if (cpu->virt == &vmx_ops)
			vmx_free(cpu);
	}
}

static struct board_interrupts soft_interrupts(struct machine *machine)
{
	return (struct board_interrupts){ 0 };
}

static void soft_run(struct cpu *cpu)
{
	engine_flush(cpu->engine);
	engine_run(cpu->engine);
}

static void soft_kick(struct cpu *cpu)
{
	u32 *sleeping = &cpu->machine->sleeping[cpu->id];

	__atomic_store_n(&cpu->exit_request, 1, __ATOMIC_SEQ_CST);
	/* Whoever finds it asleep, wakes it; a running one costs a load. */
	if (__atomic_load_n(sleeping, __ATOMIC_SEQ_CST) &&
	    __atomic_exchange_n(sleeping, 0, __ATOMIC_SEQ_CST))
		syscall(SYS_futex, sleeping, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void machine_wait(struct cpu *cpu)
{
	u32 *sleeping = &cpu->machine->sleeping[cpu->id];

	__atomic_store_n(sleeping, 1, __ATOMIC_SEQ_CST);
	/* A kick before this look shows in exit_request; one after it clears the futex word */
	if (!__atomic_load_n(&cpu->exit_request, __ATOMIC_SEQ_CST))
		syscall(SYS_futex, sleeping, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
	__atomic_store_n(sleeping, 0, __ATOMIC_SEQ_CST);
}

const struct engine_ops soft_engine = {
	.name = "soft",
	.open = soft_open,
	.start = soft_start,
	.close = soft_close,
	.interrupts = soft_interrupts,
	.run = soft_run,
	.kick = soft_kick,
};
