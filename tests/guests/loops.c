/* SPDX-License-Identifier: MIT */
/*
 * Jumps back: what flags a loop's beginning finds and what its end leaves, while a timer interrupts it all the
 * time. An engine may look for events in such a jump, and none of that may show.
 */
#include "apic.h"

#define TURNS 2000000ull
#define TIMER 0x40

static volatile u64 interrupts, awaited;

static void on_timer(struct frame *frame)
{
	interrupts++;
	awaited = interrupts;
	apic_eoi();
}

/* An odd number whose multiples carry and overflow now and then. */
static const u64 step = 0x5851f42d4c957f2dull;

/* The beginning reads the carry that was left a turn before. */
static void carry_goes_round(void)
{
	u64 sum = 1, turns = TURNS, want = 1, carry = 0;

	for (u64 i = 0; i < TURNS; i++) {
		u64 once = want + step, both = once + carry;

		carry = (once < step) | (both < once);
		want = both;
	}
	__asm__ volatile("clc\n1: adcq %2, %0; decq %1; jnz 1b" : "+&r"(sum), "+&r"(turns) : "r"(step) : "cc");
	check_equal(sum, want, "a carry that goes round");
}

/* The beginning reads one flag through a jump, and the jump back is by another. */
static void sign_is_asked_first(void)
{
	u64 value = step, turns = TURNS, negative = 0, want = 0;

	for (u64 i = 0, v = step; i < TURNS; i++, v += step)
		want += v >> 63;
	__asm__ volatile("testq %0, %0\n"
			 "1: jns 2f; incq %2\n"
			 "2: subq $1, %1; jz 3f; addq %3, %0; jmp 1b\n3:"
			 : "+&r"(value), "+&r"(turns), "+&r"(negative) : "r"(step) : "cc");
	check_equal(negative, want, "signs, by a jump that nothing was asked at");
	value = step;
	turns = TURNS;
	negative = 0;
	__asm__ volatile("testq %0, %0\n"
			 "1: jns 2f; incq %2\n"
			 "2: subq $1, %1; jz 3f; addq %3, %0; jnz 1b\n3:"
			 : "+&r"(value), "+&r"(turns), "+&r"(negative) : "r"(step) : "cc");
	check_equal(negative, want, "signs, by a conditional jump");
}

/* The end leaves the flags of the last instruction that wrote them, not those of a look for events. */
static void flags_at_the_end(void)
{
	u64 value = 1, turns = 0, want = 1, want_turns = 0;
	u8 zero, carry, sign, overflow, parity;

	/* the 64 bits of a sum that does not carry for long */
	while (want + (step >> 22) >= want) {
		want += step >> 22;
		want_turns++;
	}
	want += step >> 22;
	want_turns++;
	__asm__ volatile("1: movq %0, %%r8; movq %%r8, %%r9; leaq 1(%1), %1; movq %%r9, %%r12; movq %%r12, %%r13\n"
			 "movq %%r13, %%r14; notq %%r14; movq %%r14, %%r15; notq %%r15; movq %%r15, %0\n"
			 "nop; leaq 2(%%r8), %%r8; addq %7, %0; jnc 1b\n"
			 "setz %2; setc %3; sets %4; seto %5; setp %6"
			 : "+&r"(value), "+&r"(turns), "=&q"(zero), "=&q"(carry), "=&q"(sign), "=&q"(overflow),
			   "=m"(parity)
			 : "r"(step >> 22) : "r8", "r9", "r12", "r13", "r14", "r15", "cc");
	check_equal(value, want, "what is added until it carries");
	check_equal(turns, want_turns, "and how often");
	check_equal(zero, want == 0, "ZF at the end");
	check_equal(carry, 1, "CF at the end");
	check_equal(sign, want >> 63, "SF at the end");
	check_equal(overflow, 0, "OF at the end");
	check_equal(parity, !(__builtin_popcountll(want & 0xff) & 1), "PF at the end");
}

/* More than one block, and jumps back to where the other begins. */
static void two_blocks(void)
{
	u64 sum = 0, turns = TURNS, want = 0;

	for (u64 i = TURNS; i; i--)
		want += i & 1 ? 3 : i & 2 ? 5 : 0;
	__asm__ volatile("jmp 1f\n"
			 "0: subq $1, %1; jz 4f\n"
			 "1: testb $1, %b1; jz 2f; addq $3, %0; subq $1, %1; jnz 1b; jmp 4f\n"
			 "2: testb $2, %b1; jz 0b; addq $5, %0; subq $1, %1; jnz 1b\n"
			 "4:" : "+&r"(sum), "+&q"(turns) : : "cc");
	check_equal(sum, want, "a loop of several blocks");
}

static void vectors(void)
{
	static u32 values[256] __attribute__((aligned(64)));
	u32 sum[4] __attribute__((aligned(16)));
	u64 rounds = TURNS / 64, want = 0;

	for (u32 i = 0; i < 256; i++) {
		values[i] = i * 0x9e3779b9u;
		want += values[i];
	}
	__asm__ volatile("pxor %%xmm0, %%xmm0\n"
			 "1: xorl %%eax, %%eax\n"
			 "2: movdqa (%2,%%rax), %%xmm1; movdqa 16(%2,%%rax), %%xmm2; movdqa 32(%2,%%rax), %%xmm3\n"
			 "movdqa 48(%2,%%rax), %%xmm4; paddd %%xmm1, %%xmm0; paddd %%xmm2, %%xmm3\n"
			 "paddd %%xmm3, %%xmm0; paddd %%xmm4, %%xmm0; addq $64, %%rax; cmpq $1024, %%rax; jne 2b\n"
			 "subq $1, %0; jnz 1b; movdqa %%xmm0, (%1)"
			 : "+&r"(rounds) : "r"(sum), "r"(values)
			 : "rax", "memory", "cc"); /* no code of the guest is of vectors otherwise */
	check_equal(sum[0] + sum[1] + sum[2] + sum[3], (u32)(want * (TURNS / 64)), "sums of vectors");
}

/* Only an interrupt ends these. */
static void waits(void)
{
	u64 spins = 0;

	for (unsigned i = 0; i < 20; i++) {
		awaited = 0;
		__asm__ volatile("1: cmpq $0, %0; je 1b" : : "m"(awaited) : "cc", "memory");
		awaited = 0;
		__asm__ volatile("1: leaq 1(%0), %0; movq %1, %%rax; testq %%rax, %%rax; jz 1b"
				 : "+&r"(spins) : "m"(awaited) : "rax", "cc", "memory");
	}
	check(spins > 0, "a loop that waits");
}

void guest_main(void)
{
	apic_enable();
	guest_set_handler(TIMER, on_timer);
	apic_write(0x3e0, 0xb);           /* as fast as the bus */
	apic_write(0x320, TIMER | BIT(17)); /* again and again */
	apic_write(0x380, 50000);
	__asm__ volatile("sti");
	carry_goes_round();
	sign_is_asked_first();
	flags_at_the_end();
	two_blocks();
	vectors();
	waits();
	__asm__ volatile("cli");
	check(interrupts > 100, "interrupts came all the time: %llu", (unsigned long long)interrupts);
}
