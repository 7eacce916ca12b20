/* SPDX-License-Identifier: MIT */
/* How gs: is pointed at a context: by an instruction or by the kernel, and what becomes of it. */
#ifndef TRANSLATE_GS_H
#define TRANSLATE_GS_H

#include <asm/prctl.h>
#include <sys/syscall.h>

#include "cpu/tlb.h"

enum gs_way {
	GS_WRITTEN,       /* WRGSBASE, and the kernel keeps it */
	GS_LOST_AT_TIMES, /* WRGSBASE, and the kernel knows nothing of it: gs.c */
	GS_ASKED,         /* arch_prctl(2) */
};

/* What translated code reaches from where gs: points, in bytes. */
#define GS_REACH_BELOW CPU_DISTANCE
#define GS_REACH_ABOVE sizeof(struct context_block)

/* Finds out once, for the process; the first call before other threads run translated code. */
enum gs_way gs_find_way(void);
/* Of each thread, before it runs translated code. */
void gs_thread(void);
/* A page fault at this address is because the kernel has taken gs: away. */
bool gs_is_lost(const void *address);

static inline void gs_write(u64 base)
{
	__asm__ volatile("wrgsbase %0" : : "r"(base) : "memory");
}

static inline void gs_ask(u64 base)
{
	long result = SYS_arch_prctl;

	__asm__ volatile("syscall"
			 : "+a"(result)
			 : "D"(ARCH_SET_GS), "S"(base)
			 : "rcx", "r11", "memory");
}

#endif
