/* SPDX-License-Identifier: MIT */
/* The soft engine's life: made, run, flushed, freed. What runs is in runtime.c. */
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "cpu/tlb.h"
#include "cpu/trail.h"
#include "translate/host.h"
#include "translate/runtime.h"

/* Any thread: a device changed a page that is watched. */
static void watched_written(void *opaque, u64 page)
{
	struct engine *engine = opaque;

	trail_page_written(engine->cpu, page);
	if (!(__atomic_load_n(&space_ram(engine->cpu->memory)->page_flags[page], __ATOMIC_ACQUIRE) &
		    RAM_HAS_CODE))
		return;
	while (__atomic_exchange_n(&engine->drop_lock, 1, __ATOMIC_ACQUIRE))
		__builtin_ia32_pause();
	if (engine->drop_count < DROP_QUEUE)
		engine->drops[engine->drop_count++] = page;
	else
		engine->drop_all = true;
	__atomic_store_n(&engine->drop_lock, 0, __ATOMIC_RELEASE);
	machine_kick(engine->cpu);
}

int engine_new(struct engine **result, struct cpu *cpu, u64 code_cache)
{
	struct engine *engine = aligned_alloc(_Alignof(struct engine), sizeof(*engine));
	struct ram *ram = space_ram(cpu->memory);
	int error;

	if (!engine)
		return -ENOMEM;
	memset(engine, 0, sizeof(*engine));
	engine->cpu = cpu;
	engine->translator = calloc(1, sizeof(*engine->translator));
	error = engine->translator ? cache_new(&engine->cache, code_cache, ram->size >> PAGE_SHIFT)
				   : -ENOMEM;
	if (!error)
		error = faults_install();
	if (error) {
		free(engine->translator);
		free(engine);
		return error;
	}
	engine->gs_way = gs_find_way();
	engine->translator->cache = &engine->cache;
	engine->translator->has_bmi2 = host_has_bmi2();
	engine->translator->writes_gs = engine->gs_way != GS_ASKED;
	engine_attach(engine);
	ram->watched_written = watched_written;
	ram->engine = engine;
	*result = engine;
	return 0;
}

void engine_free(struct engine *engine)
{
	cache_free(&engine->cache);
	free(engine->translator);
	free(engine->signal_stack);
	free(engine);
}

int engine_check(void)
{
	struct code_cache cache = { 0 };
	int error = cache_new(&cache, 4 * MIB, 1);

	if (!error)
		cache_free(&cache);
	return error;
}

void engine_flush(struct engine *engine)
{
	struct ram *ram = space_ram(engine->cpu->memory);

	for (u32 i = 0; i < engine->cache.block_count; i++) {
		struct block *block = cache_block(&engine->cache, engine->cache.blocks[i]);

		__atomic_fetch_and(&ram->page_flags[block->page], (u8)~RAM_HAS_CODE, __ATOMIC_SEQ_CST);
	}
	cache_reset(&engine->cache);
	engine->generation++;
	tlb_flush_all(engine->cpu);
}

/* gs: is the thread's, so each run takes it anew. */
static bool take_thread(struct engine *engine)
{
	sigset_t all, faults;

	/* A signal that is not of the guest's making must not come while RSP is the guest's. */
	sigfillset(&all);
	faults_signals(&faults);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	pthread_sigmask(SIG_UNBLOCK, &faults, NULL);
	engine->cpu->gs_context = NULL;
	gs_thread();
	engine->cpu->context_stale = true;
	return faults_thread(engine) == 0;
}

/* `forget` is written before `running` is read, and there the other way round: one sees the other. */
void engine_forget_writes(struct engine *engine)
{
	__atomic_store_n(&engine->forget, 1, __ATOMIC_SEQ_CST);
	machine_kick(engine->cpu);
	while (__atomic_load_n(&engine->running, __ATOMIC_SEQ_CST) &&
	       __atomic_load_n(&engine->forget, __ATOMIC_SEQ_CST))
		syscall(SYS_futex, &engine->forget, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
}

void engine_forget_now(struct engine *engine)
{
	if (likely(!__atomic_load_n(&engine->forget, __ATOMIC_SEQ_CST)))
		return;
	cpu_park_fpu(engine->cpu);
	tlb_flush_all(engine->cpu);
	__atomic_store_n(&engine->forget, 0, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &engine->forget, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void engine_run(struct engine *engine)
{
	if (!take_thread(engine))
		bug("no alternate stack for the vCPU's thread");
	__atomic_store_n(&engine->running, 1, __ATOMIC_SEQ_CST);
	engine_forget_now(engine);
	engine_loop(engine);
	__atomic_store_n(&engine->running, 0, __ATOMIC_SEQ_CST);
	engine_forget_now(engine);
}

void engine_step(struct engine *engine)
{
	if (!take_thread(engine))
		bug("no alternate stack for the vCPU's thread");
	engine_one(engine);
}
