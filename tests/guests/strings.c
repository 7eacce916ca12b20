/* SPDX-License-Identifier: MIT */
/* String instructions over pages, with faults in the middle, both directions, address sizes. */
#include "guest.h"

static u8 *area;  /* four pages, the third may be taken away */
static u8 *plain;

static void unmap(u64 address)
{
	guest_map(guest_pml4, address, address, 0);
}

static void map_again(u64 address, u64 flags)
{
	guest_map(guest_pml4, address, address, PTE_P | flags);
}

struct registers {
	u64 rcx, rsi, rdi;
	unsigned vector;
};

#define RUN(text, r, acc) \
	do { \
		__asm__ volatile("" : : : "memory"); \
		(r).vector = guest_try(text, : "+c"((r).rcx), "+S"((r).rsi), "+D"((r).rdi) : "a"(acc) \
				       : "cc", "memory"); \
	} while (0)

static void fill(void)
{
	for (unsigned i = 0; i < 4 * PAGE; i++) {
		area[i] = (u8)(i * 7 + (i >> 8));
		plain[i] = 0;
	}
}

static void moves(void)
{
	struct registers r;
	bool same;

	fill();
	r = (struct registers){ 3 * PAGE, (u64)area + 5, (u64)plain + 9 };
	RUN("rep movsb", r, 0);
	same = !memcmp(area + 5, plain + 9, 3 * PAGE);
	check(same && r.rcx == 0 && r.rsi == (u64)area + 5 + 3 * PAGE, "REP MOVSB over pages");
	fill();
	r = (struct registers){ 3 * PAGE / 8, (u64)area + 5, (u64)plain + 9 };
	RUN("rep movsq", r, 0);
	check(!memcmp(area + 5, plain + 9, 3 * PAGE), "REP MOVSQ over pages, misaligned");
	fill();
	r = (struct registers){ PAGE, (u64)area + 2 * PAGE + 3, (u64)plain + 2 * PAGE + 1 };
	RUN("std; rep movsb; cld", r, 0);
	check(r.vector == NO_TRAP && !memcmp(area + PAGE + 4, plain + PAGE + 2, PAGE) &&
		      r.rsi == (u64)area + PAGE + 3, "REP MOVSB downwards");
	/* overlap by one byte spreads the first */
	fill();
	r = (struct registers){ 1000, (u64)area + 100, (u64)area + 101 };
	RUN("rep movsb", r, 0);
	same = true;
	for (unsigned i = 0; i < 1000; i++)
		same &= area[101 + i] == area[100];
	check(same, "REP MOVSB that overlaps forwards");
	r = (struct registers){ 0, 1, 2 };
	RUN("rep movsb", r, 0);
	check(r.vector == NO_TRAP && r.rsi == 1 && r.rdi == 2, "a count of 0 touches nothing");
	/* RCX and not ECX counts; with an address-size prefix ECX does */
	fill();
	r = (struct registers){ 0xffffffff00000003, (u64)area, (u64)plain };
	RUN("addr32 rep movsb", r, 0);
	check(r.rcx == 0 && r.rsi == (u64)area + 3 && plain[2] == area[2] && plain[3] == 0,
		"ADDR32 REP MOVSB counts with ECX and clears the upper half");
}

static void faults(void)
{
	struct registers r;

	fill();
	unmap((u64)area + 2 * PAGE);
	r = (struct registers){ 3 * PAGE, (u64)area + 5, (u64)plain };
	RUN("rep movsb", r, 0);
	check_equal(r.vector, VEC_PF, "the source goes away in the middle");
	check_equal(r.rcx, 3 * PAGE - (2 * PAGE - 5), "RCX: what is left");
	check_equal(r.rsi, (u64)area + 2 * PAGE, "RSI: the byte that faults");
	check_equal(r.rdi, (u64)plain + 2 * PAGE - 5, "RDI goes with it");
	check_equal(guest_last.cr2, (u64)area + 2 * PAGE, "CR2");
	check(!memcmp(plain, area + 5, 2 * PAGE - 5), "what came before is stored");
	check_equal(plain[2 * PAGE - 5], 0, "and nothing after");

	/* a quadword half in the missing page: none of it moves */
	r = (struct registers){ 100, (u64)area + 2 * PAGE - 12, (u64)plain };
	RUN("rep movsq", r, 0);
	check_equal(r.vector, VEC_PF, "a quadword that reaches into the missing page");
	check_equal(r.rcx, 99, "one was done");
	check_equal(guest_last.cr2, (u64)area + 2 * PAGE, "CR2 is in the missing page");

	r = (struct registers){ 3 * PAGE, (u64)plain, (u64)area + 7 };
	RUN("rep movsb", r, 0);
	check_equal(r.vector, VEC_PF, "the destination goes away");
	check_equal(guest_last.error, 2, "as a write");
	check_equal(r.rdi, (u64)area + 2 * PAGE, "RDI: the byte that faults");

	r = (struct registers){ 5 * PAGE, 0, (u64)area };
	RUN("rep stosb", r, 0x5a);
	check_equal(r.vector, VEC_PF, "REP STOSB");
	check_equal(r.rcx, 3 * PAGE, "RCX");
	check_equal(area[2 * PAGE - 1], 0x5a, "the last byte before is stored");

	r = (struct registers){ PAGE, 0, (u64)area + 3 * PAGE + 10 };
	RUN("std; rep stosb", r, 0x33);
	__asm__ volatile("cld");
	check_equal(r.vector, VEC_PF, "REP STOSB downwards");
	check_equal(r.rdi, (u64)area + 3 * PAGE - 1, "RDI");
	check_equal(guest_last.cr2, (u64)area + 3 * PAGE - 1, "CR2");
	check(guest_last.rflags & BIT(10), "DF in the frame");

	map_again((u64)area + 2 * PAGE, 0);
	r = (struct registers){ 5 * PAGE, 0, (u64)area };
	RUN("rep stosq", r, 0);
	check_equal(r.vector, VEC_PF, "a read-only page");
	check_equal(guest_last.error, 3, "its error code");
	check_equal(r.rdi, (u64)area + 2 * PAGE, "RDI");

	unmap((u64)area + 2 * PAGE);
	r = (struct registers){ 4 * PAGE, (u64)area, (u64)area };
	RUN("repe cmpsb", r, 0);
	check_equal(r.vector, VEC_PF, "REPE CMPSB");
	check_equal(r.rcx, 2 * PAGE, "RCX");
	memset(area, 1, 2 * PAGE);
	r = (struct registers){ 4 * PAGE, 0, (u64)area };
	RUN("repne scasb", r, 0);
	check_equal(r.vector, VEC_PF, "REPNE SCASB");
	check_equal(r.rcx, 2 * PAGE, "RCX");
	map_again((u64)area + 2 * PAGE, PTE_W | PTE_U);
}

static void scans(void)
{
	struct registers r;
	u64 flags;

	memset(area, 1, 4 * PAGE);
	area[PAGE + 77] = 9;
	r = (struct registers){ 4 * PAGE, 0, (u64)area };
	RUN("repne scasb", r, 9);
	check_equal(r.rdi, (u64)area + PAGE + 78, "REPNE SCASB stops after the match");
	memset(plain, 1, 4 * PAGE);
	r = (struct registers){ 4 * PAGE, (u64)area, (u64)plain };
	RUN("repe cmpsb", r, 0);
	check_equal(r.rsi, (u64)area + PAGE + 78, "REPE CMPSB stops after the difference");
	check_equal(r.rcx, 4 * PAGE - PAGE - 78, "RCX");
	/* a count of 0 leaves the flags */
	__asm__ volatile("xorl %%ecx, %%ecx; xorl %%eax, %%eax; addl $1, %%eax; stc; repe cmpsb; pushfq; popq %0"
			 : "=r"(flags) : "S"(area), "D"(plain) : "rax", "rcx", "cc", "memory");
	check(flags & FLAG_CF, "REPE CMPSB of 0 bytes leaves the flags");
	__asm__ volatile("lodsb" : "=a"(flags), "+S"(area) : "0"(0));
	area--;
	check_equal(flags, 1, "LODSB");
}

/* An interrupt in the middle of a long REP leaves it to go on. */
static volatile unsigned ticks;
static void on_tick(struct frame *frame)
{
	ticks++;
	*(volatile u32 *)0xfee000b0 = 0;
}

static void interrupted(void)
{
	bool good = true;

	guest_set_handler(0x40, on_tick);
	*(volatile u32 *)0xfee000f0 = 0x1ff;
	*(volatile u32 *)0xfee003e0 = 0xb;
	*(volatile u32 *)0xfee00320 = 0x40 | 1 << 17;
	*(volatile u32 *)0xfee00380 = 20000;
	for (unsigned round = 0; round < 200; round++) {
		u64 count = 4 * PAGE;
		void *from = area, *to = plain;

		memset(plain, 0, 4 * PAGE);
		__asm__ volatile("sti; rep movsb; cli" : "+c"(count), "+S"(from), "+D"(to) : : "memory");
		good &= count == 0 && from == area + 4 * PAGE && !memcmp(area, plain, 4 * PAGE);
	}
	*(volatile u32 *)0xfee00380 = 0;
	check(good, "REP MOVSB under interrupts");
}

void guest_main(void)
{
	area = guest_pages(4);
	plain = guest_pages(4);
	/* 4K pages */
	for (unsigned i = 0; i < 4; i++) {
		guest_map(guest_pml4, (u64)area + i * PAGE, (u64)area + i * PAGE, PTE_P | PTE_W | PTE_U);
		guest_map(guest_pml4, (u64)plain + i * PAGE, (u64)plain + i * PAGE, PTE_P | PTE_W | PTE_U);
	}
	moves();
	faults();
	scans();
	interrupted();
}
