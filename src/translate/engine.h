/* SPDX-License-Identifier: MIT */
/* The soft engine: translated blocks and the loop that runs them. One engine a vCPU. */
#ifndef TRANSLATE_ENGINE_H
#define TRANSLATE_ENGINE_H

#include "cpu/cpu.h"

/* code_cache: bytes. 0 or -errno. Installs the process's fault handlers once. */
int engine_new(struct engine **engine, struct cpu *cpu, u64 code_cache);
void engine_free(struct engine *engine);
/* Whether the host gives memory for translated code: 0 or -errno. Any thread, no engine needed. */
int engine_check(void);
/*
 * Runs the vCPU on this thread until machine->end is set or a reset was asked for. Sleeps in
 * machine_wait() while the CPU is halted.
 */
void engine_run(struct engine *engine);
/*
 * Returns when no store of the vCPU can go by what its TLB knew at the call, so that each page is
 * looked up anew. Any thread but the vCPU's; machine lock not held, which the vCPU may wait for.
 */
void engine_forget_writes(struct engine *engine);
/* Drops all translations. The vCPU's thread. */
void engine_flush(struct engine *engine);
/* Runs exactly one instruction and polls no events: tests and the comparison with the host. */
void engine_step(struct engine *engine);

#endif
