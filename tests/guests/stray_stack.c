/* SPDX-License-Identifier: MIT */
/*
 * RSP may be any number as long as nothing is accessed by it. Some hosts cannot go back from an
 * interrupt to a process with such an RSP; a guest sees nothing of that: its registers stay, and
 * only what is to fault faults, once.
 */
#include "guest.h"

#define STRAY 0x080000000040fff0ull
#define ROUNDS 60000000ull
#define FAULTS 20000ull

static u8 words[64] __attribute__((aligned(64)));

/* Counts by RSP itself for a good while, with loads, stores and vectors in it. */
static void loops(void)
{
	u64 left = ROUNDS, sum = 0, last, vector;

	__asm__ volatile("movq %%rsp, %%r12; movq %4, %%rsp; pxor %%xmm0, %%xmm0\n"
			 "1: addq $3, %1; leaq 1(%%rsp), %%rsp; movdqu 1(%3), %%xmm1\n\t"
			 "paddq 16(%3), %%xmm0; movaps %%xmm0, 32(%3); decq %0; jnz 1b\n\t"
			 "movq %%rsp, %2; movq %%r12, %%rsp"
			 : "+r"(left), "+r"(sum), "=&r"(last)
			 : "r"(words), "r"(STRAY)
			 : "r12", "cc", "memory");
	memcpy(&vector, words + 32, 8);
	check_equal(sum, 3 * ROUNDS, "a sum made with a stray RSP");
	check_equal(last, STRAY + ROUNDS, "RSP itself");
	check_equal(vector, ROUNDS, "a sum of vectors");
}

static u64 faulted, wrong;
extern u8 misaligned[], after_misaligned[];

static void on_gp(struct frame *frame)
{
	faulted++;
	wrong += frame->rip != (u64)misaligned || frame->rsp != STRAY;
	frame->rip = (u64)after_misaligned;
}

static void faults(void)
{
	u64 left = FAULTS;

	guest_set_handler(VEC_GP, on_gp);
	__asm__ volatile("movq %%rsp, %%r12; movq %2, %%rsp\n"
			 "1: movq %%rcx, %%xmm0\n"
			 "misaligned: movaps 1(%1), %%xmm0\n"
			 "after_misaligned: decq %0; jnz 1b; movq %%r12, %%rsp"
			 : "+c"(left) : "r"(words), "r"(STRAY)
			 : "r12", "cc", "memory");
	guest_set_handler(VEC_GP, NULL);
	check_equal(faulted, FAULTS, "faults of a misaligned operand with a stray RSP");
	check_equal(wrong, 0, "of them elsewhere or with another RSP");
}

void guest_main(void)
{
	words[16] = 1;
	guest_set_ist(VEC_GP, 1);
	loops();
	faults();
}
