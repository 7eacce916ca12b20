/* SPDX-License-Identifier: MIT */
/* What the engine's life, its runtime and its fault handler share. */
#ifndef TRANSLATE_RUNTIME_H
#define TRANSLATE_RUNTIME_H

#include "translate/engine.h"
#include "translate/translate.h"

/* RAM pages whose code someone else changed (DMA), waiting for the vCPU's thread. */
#define DROP_QUEUE 256

struct engine {
	struct cpu *cpu;
	struct code_cache cache;
	struct translator *translator;
	struct context *gs;     /* what gs: points at now */
	struct access access;   /* the memory operand of a VARIANT_SLOW block */
	u64 generation;         /* counts how often the cache was emptied */
	bool single, single_done; /* engine_step() */
	u8 *signal_stack;
	u32 drop_lock;          /* for the three below */
	u32 drop_count;
	u32 drops[DROP_QUEUE];
	bool drop_all;
};

/* Host address to run at for cpu->rip, or 0: the loop must act. variant: of the next block alone. */
u64 engine_dispatch(struct cpu *cpu, u32 variant);
void engine_attach(struct engine *engine);
void engine_loop(struct engine *engine);
void engine_one(struct engine *engine);
void engine_drop_ram_page(struct engine *engine, u64 page);

/* SIGSEGV, SIGFPE, SIGILL, SIGBUS in translated code; process-wide. -errno. */
int faults_install(void);
/* Gives this thread the engine's alternate stack and makes it the one whose faults it takes. */
int faults_thread(struct engine *engine);

static inline void set_gs(const void *base)
{
	__asm__ volatile("wrgsbase %0" : : "r"(base));
}

#endif
