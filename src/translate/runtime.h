/* SPDX-License-Identifier: MIT */
/* What the engine's life, its runtime and its fault handler share. */
#ifndef TRANSLATE_RUNTIME_H
#define TRANSLATE_RUNTIME_H

#include <signal.h>
#include <ucontext.h>

#include "translate/engine.h"
#include "translate/gs.h"
#include "translate/translate.h"

/* RAM pages whose code someone else changed (DMA), waiting for the vCPU's thread. */
#define DROP_QUEUE 256

/*
 * Where the last blocks of one instruction began (VARIANT_*): a program that meets MMIO, a stack that crosses a
 * page or a shadow of STI meets it again. Holds as long as nothing was dropped, from the cache or from the
 * context's TLB.
 */
#define RECENT_VARIANTS 32 /* a power of two */
struct recent_variant {
	u64 linear;
	u64 code; /* 0: none */
	u64 generation, dropped; /* the engine's */
	const struct context *context;
	u64 drops;               /* the context's */
	u32 mode; /* with VARIANT_* */
};

struct engine {
	struct cpu *cpu;
	struct code_cache cache;
	struct translator *translator;
	struct access access;   /* the memory operand of a VARIANT_SLOW block */
	u64 generation;         /* counts how often the cache was emptied */
	u64 dropped;            /* counts pages whose code was dropped */
	bool single, single_done; /* engine_step() */
	struct recent_variant recent[RECENT_VARIANTS];
	enum gs_way gs_way;
	u8 *signal_stack;
	bool stray_trial;       /* stray_rsp.c: the host runs one instruction with another RSP */
	u32 stray_repeats;      /* stray_rsp.c: of a #UD at cpu->stray_rip */
	u32 drop_lock;          /* for the three below */
	u32 drop_count;
	u32 drops[DROP_QUEUE];
	bool drop_all;
	u32 running;            /* the vCPU's thread is in engine_run() */
	u32 forget;             /* a futex: its TLB shall go before it runs on */
};

/* Host address to run at for cpu->rip, or 0: the loop must act. variant: of the next block alone. */
u64 engine_dispatch(struct cpu *cpu, u32 variant);
void engine_attach(struct engine *engine);
void engine_loop(struct engine *engine);
void engine_one(struct engine *engine);
/* Empties the TLB where engine_forget_writes() asks for it. The vCPU's thread. */
void engine_forget_now(struct engine *engine);
void engine_drop_ram_page(struct engine *engine, u64 page);

/* Takes the signals of faults_signals(); process-wide. -errno. */
int faults_install(void);
/* The signals that faults of translated code come as. */
void faults_signals(sigset_t *set);
/*
 * In their handler: true if the host could not go back to the guest's RSP, and it is seen to that
 * the thread goes on.
 */
bool stray_rsp_take(struct engine *engine, ucontext_t *context);
/* Gives this thread the engine's alternate stack and makes it the one whose faults it takes. */
int faults_thread(struct engine *engine);

/* Points gs: at a context. */
static inline void set_gs(struct engine *engine, struct context *context)
{
	u64 base = (u64)context->block;

	engine->cpu->gs_context = context; /* first: where the kernel loses gs:, the handler looks here */
	if (likely(engine->gs_way != GS_ASKED))
		gs_write(base);
	else
		gs_ask(base);
}

#endif
