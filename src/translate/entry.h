/* SPDX-License-Identifier: MIT */
/*
 * What entry.S needs to know of struct cpu and of contexts (asserted in runtime.c): displacements from
 * gs:; and its entry points.
 */
#ifndef TRANSLATE_ENTRY_H
#define TRANSLATE_ENTRY_H

#define CPU_BASE 0x3660000 /* from struct cpu to where gs: points */
#define CPU_GPR (0 - CPU_BASE)
#define CPU_SCRATCH (160 - CPU_BASE)
#define CPU_AFLAGS (144 - CPU_BASE)
#define CPU_EXIT_REQUEST (152 - CPU_BASE)
#define CPU_HOST_RSP (208 - CPU_BASE)
#define CPU_SELF (216 - CPU_BASE)
#define CPU_STRAY_RSP (352 - CPU_BASE)
#define CPU_STRAY_RIP (360 - CPU_BASE)
#define CONTEXT_JUMP 0x40000       /* the jump cache */
#define CONTEXT_JUMP_MASK 0x3ffc0  /* of what CRC32 gives: the offset of a target's first way */

#define CONTEXT_TLB_BITS 13
#define ENTRY_SIZE_LOG 5           /* struct tlb_entry */
#define ENTRY_HOST 16
#define SITE_WAY 0                 /* struct site */
#define SITE_LAST 4
#define SITE_TAG 6

#ifndef __ASSEMBLER__
#include "cpu/cpu.h"

/*
 * Runs translated code at `code` with the guest's registers, R11 from scratch[0]; returns when a
 * runtime function says so by returning 0. gs: must be the current context.
 */
void engine_enter(struct cpu *cpu, u64 code);

/* Where translated code goes to reach C; cpu->runtime[RT_*] holds their addresses. */
void engine_far(void);    /* R11: linear target */
void engine_miss(void);   /* R11: linear target that is not in the jump cache's first way */
void engine_chain(void);  /* R10: site */
void engine_access(void); /* R10: site, R11: linear address or offset */
void engine_second(void); /* the same, a linear address that is not in its first slot of the TLB */
void engine_exec(void);   /* R10: site */
void engine_commit(void); /* R10: site */
void engine_link(void);   /* R10: site */
void engine_branch(void); /* R10: site, R11: linear target of an indirect branch */
void engine_branch_miss(void); /* the same, not in the first way */
/* The same, not looked for yet: does what emit_far() does in line, and saves the flags first. */
void engine_jump(void);
void engine_jump_flags(void);
void engine_native_fault(void); /* from the signal handler: registers already saved */
/* From the signal handler, on the stack of engine_enter(): on at cpu->stray_rip with stray_rsp. */
void engine_retry(void);
void engine_retry_jump(void); /* its second instruction */

enum { RT_FAR, RT_CHAIN, RT_ACCESS, RT_SECOND, RT_EXEC, RT_COMMIT, RT_LINK, RT_BRANCH, RT_MISS,
	RT_BRANCH_MISS, RT_JUMP, RT_JUMP_FLAGS };

struct site;
/* The C side. Each returns the host address to go on at, with R11 in scratch[0]; 0: leave. */
u64 rt_far(struct cpu *cpu, u64 target);
u64 rt_chain(struct cpu *cpu, struct site *site);
u64 rt_access(struct cpu *cpu, struct site *site, u64 address);
u64 rt_exec(struct cpu *cpu, struct site *site);
u64 rt_commit(struct cpu *cpu, struct site *site);
u64 rt_link(struct cpu *cpu, struct site *site);
u64 rt_branch(struct cpu *cpu, struct site *site, u64 target);
u64 rt_native_fault(struct cpu *cpu);
#endif

#endif
