/* SPDX-License-Identifier: MIT */
/*
 * Paging in long mode: sizes, permissions, NX, A and D bits, global pages, reserved bits, SMEP, SMAP,
 * PCID, INVPCID. APM2 chapter 5.
 */
#include "guest.h"

#define WINDOW 0x100000000000ull /* linear space that nobody else uses */

static u64 *root;

static u64 value_at(u64 address)
{
	return *(volatile u64 *)address;
}

static void flush_all(void)
{
	write_cr4(read_cr4() ^ CR4_PGE);
	write_cr4(read_cr4() ^ CR4_PGE);
}

static unsigned read_trap(u64 address)
{
	return guest_try("movb (%0), %%al", : : "r"(address) : "rax");
}

static unsigned write_trap(u64 address)
{
	return guest_try("movb $7, (%0)", : : "r"(address));
}

/* The page must hold a RET. */
static unsigned fetch_trap(u64 address)
{
	unsigned vector;

	guest_fixup = 0;
	guest_last.vector = NO_TRAP;
	__asm__ volatile("movq %%rsp, %%rbx; movq $1f, guest_fixup; call *%0\n1: movq %%rbx, %%rsp; "
			 "movq $0, guest_fixup" : : "r"(address) : "rbx", "memory");
	vector = guest_last.vector;
	return vector;
}

static u64 user_read(u64 address) { return read_trap(address); }
static u64 user_write(u64 address) { return write_trap(address); }
static u64 user_fetch(u64 address) { return fetch_trap(address); }

static void sizes(void)
{
	u8 *frame = guest_pages(1024); /* 4 MiB: one aligned 2 MiB in it */
	u64 large = ((u64)frame + 0x1fffff) & ~0x1fffffull;

	*(u64 *)(large + 0x1234 * 8) = 0x1122334455667788;
	*guest_pte(root, WINDOW, 1) = ((large + 0x1234 * 8) & ~0xfffull) | PTE_P | PTE_W;
	check_equal(value_at(WINDOW + (0x1234 * 8 & 0xfff)), 0x1122334455667788, "4K page");
	*guest_pte(root, WINDOW + (1ull << 30), 2) = large | PTE_P | PTE_W | PTE_PS;
	check_equal(value_at(WINDOW + (1ull << 30) + 0x1234 * 8), 0x1122334455667788, "2M page");
	if (cpu_has(0x80000001, 3, 26)) {
		*guest_pte(root, WINDOW + (2ull << 30), 3) = PTE_P | PTE_W | PTE_PS;
		check_equal(value_at(WINDOW + (2ull << 30) + large + 0x1234 * 8), 0x1122334455667788,
			"1G page");
		*guest_pte(root, WINDOW + (2ull << 30), 3) = 0;
		flush_all();
		check_equal(read_trap(WINDOW + (2ull << 30) + large), VEC_PF, "1G page gone");
	} else {
		guest_skip("1G pages");
	}
	/* upper half */
	*guest_pte(root, 0xffffffff80000000, 2) = large | PTE_P | PTE_W | PTE_PS;
	check_equal(value_at(0xffffffff80000000 + 0x1234 * 8), 0x1122334455667788, "upper half");
}

static void accessed_dirty(void)
{
	u64 page = (u64)guest_pages(1), at = WINDOW + 0x10000;
	u64 *entry = guest_pte(root, at, 1), *upper = guest_pte(root, at, 2);

	*entry = page | PTE_P | PTE_W;
	*upper &= ~PTE_A;
	invlpg(at);
	flush_all();
	read_trap(at);
	check(*entry & PTE_A, "a read sets A");
	check(!(*entry & PTE_D), "a read does not set D");
	check(*upper & PTE_A, "A is set in upper levels");
	check(!(*upper & PTE_D), "D is not");
	write_trap(at);
	check(*entry & PTE_D, "a write after a read sets D");
	*entry &= ~(PTE_A | PTE_D);
	invlpg(at);
	write_trap(at);
	check((*entry & (PTE_A | PTE_D)) == (PTE_A | PTE_D), "a write sets A and D");
	/* a fault sets no D */
	*entry = page | PTE_P;
	invlpg(at);
	check_equal(write_trap(at), VEC_PF, "write of a read-only page");
	check(!(*entry & PTE_D), "a write that faults sets no D");
	/* the read half of a read-modify-write sets D too, at once */
	*entry = page | PTE_P | PTE_W;
	invlpg(at);
	__asm__ volatile("lock; addl $0, (%0)" : : "r"(at) : "memory", "cc");
	check(*entry & PTE_D, "a locked add sets D");
	/* 2M */
	entry = guest_pte(root, WINDOW + (1ull << 30), 2);
	*entry &= ~(PTE_A | PTE_D);
	invlpg(WINDOW + (1ull << 30));
	read_trap(WINDOW + (1ull << 30) + 0x3000);
	check((*entry & (PTE_A | PTE_D)) == PTE_A, "2M page: a read sets A alone");
	write_trap(WINDOW + (1ull << 30) + 0x3000);
	check(*entry & PTE_D, "2M page: a write sets D");
	*entry &= ~PTE_D;
	invlpg(WINDOW + (1ull << 30) + 0x5000);
	write_trap(WINDOW + (1ull << 30) + 0x3000);
	check(*entry & PTE_D, "INVLPG of any address flushes the whole 2M page");
}

static void tlb(void)
{
	u64 *pages = guest_pages(2), at = WINDOW + 0x20000;
	u64 *entry = guest_pte(root, at, 1);

	pages[0] = 1;
	pages[PAGE / 8] = 2;
	*entry = (u64)pages | PTE_P | PTE_W;
	check_equal(value_at(at), 1, "first mapping");
	*entry = ((u64)pages + PAGE) | PTE_P | PTE_W;
	invlpg(at + 8);
	check_equal(value_at(at), 2, "INVLPG");
	*entry = (u64)pages | PTE_P | PTE_W;
	write_cr3(read_cr3());
	check_equal(value_at(at), 1, "MOV CR3");
	write_cr4(read_cr4() | CR4_PGE);
	*entry = (u64)pages | PTE_P | PTE_W | PTE_G;
	invlpg(at);
	check_equal(value_at(at), 1, "a global page");
	*entry = ((u64)pages + PAGE) | PTE_P | PTE_W | PTE_G;
	write_cr3(read_cr3()); /* keeps global pages, or may: nothing to claim */
	write_cr4(read_cr4() & ~CR4_PGE);
	check_equal(value_at(at), 2, "a change of CR4.PGE flushes them");
	/* not-present entries are never cached */
	*entry = 0;
	invlpg(at);
	check_equal(read_trap(at), VEC_PF, "not present");
	*entry = (u64)pages | PTE_P;
	check_equal(read_trap(at), NO_TRAP, "present now, without INVLPG");
	/* more rights need no INVLPG after the fault */
	check_equal(write_trap(at), VEC_PF, "read-only");
	*entry |= PTE_W;
	check_equal(write_trap(at), NO_TRAP, "writable now, without INVLPG");
}

static void check_reserved(u64 error)
{
	if (!guest_tcg_wrong("P in the error code of a reserved bit"))
		check_equal(guest_last.error, error, "error code of a reserved bit");
}

static void rights(void)
{
	u8 *page = guest_pages(1);
	u64 at = WINDOW + 0x30000;
	u64 *entry = guest_pte(root, at, 1), *upper = guest_pte(root, at, 2), kept = *upper;

	page[0] = 0xc3; /* RET */
	*entry = (u64)page | PTE_P | PTE_W | PTE_U;
	invlpg(at);
	check_equal(guest_user(user_read, at), NO_TRAP, "user page, user read");
	check_equal(guest_user(user_fetch, at), NO_TRAP, "user page, user fetch");
	*upper &= ~PTE_U;
	invlpg(at);
	check_equal(guest_user(user_read, at), VEC_PF, "U clear in an upper level");
	check_equal(guest_last.error, 5, "error code");
	*upper = kept & ~PTE_W;
	invlpg(at);
	check_equal(guest_user(user_write, at), VEC_PF, "W clear in an upper level");
	check_equal(write_trap(at), VEC_PF, "the same for the supervisor");
	*upper = kept;
	*entry = (u64)page | PTE_P | PTE_W | PTE_U | PTE_NX;
	invlpg(at);
	check_equal(fetch_trap(at), VEC_PF, "NX: supervisor fetch");
	check_equal(guest_last.error, 0x11, "error code");
	check_equal(guest_last.cr2, at, "CR2");
	check_equal(guest_last.rip, at, "RIP");
	check_equal(guest_user(user_fetch, at), VEC_PF, "NX: user fetch");
	check_equal(guest_last.error, 0x15, "error code");
	check_equal(read_trap(at), NO_TRAP, "NX: reads are well");
	*entry = (u64)page | PTE_P | PTE_W | PTE_U;
	*upper |= PTE_NX;
	invlpg(at);
	check_equal(fetch_trap(at), VEC_PF, "NX in an upper level");
	*upper = kept;
	*entry = (u64)page | PTE_P | PTE_W | PTE_U | PTE_NX;
	invlpg(at);
	/* without EFER.NXE the bit is reserved */
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_NXE);
	invlpg(at);
	check_equal(read_trap(at), VEC_PF, "NX without EFER.NXE is reserved");
	check_reserved(9);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	/* reserved physical address bits */
	*entry = (u64)page | PTE_P | PTE_W | PTE_U | BIT(51);
	invlpg(at);
	check_equal(write_trap(at), VEC_PF, "reserved address bit");
	check_reserved(0xb);
	*entry = (u64)page | PTE_P | PTE_W | PTE_U;
	*upper = kept | PTE_PS | BIT(13);
	invlpg(at);
	check_equal(read_trap(at), VEC_PF, "reserved bit of a 2M entry");
	check_reserved(9);
	*upper = kept;
	invlpg(at);
}

static void smep(void)
{
	u8 *page = guest_pages(1);
	u64 at = WINDOW + 0x40000, *entry = guest_pte(root, at, 1);

	if (!cpu_has(7, 1, 7)) {
		guest_skip("SMEP");
		return;
	}
	/* our own code is in user pages: an alias of it is not needed, since only the page below is
	 * fetched with SMEP on; the instructions that set and clear it must be supervisor's */
	page[0] = 0xc3;
	*entry = (u64)page | PTE_P | PTE_W | PTE_U;
	for (u64 linear = 0; linear < 64 << 20; linear += 2 << 20)
		*guest_pte(root, linear, 2) &= ~PTE_U;
	flush_all();
	write_cr4(read_cr4() | CR4_SMEP);
	check_equal(fetch_trap(at), VEC_PF, "SMEP: supervisor fetch of a user page");
	check_equal(guest_last.error, 0x11, "error code");
	check_equal(read_trap(at), NO_TRAP, "SMEP: reads are well");
	*entry &= ~PTE_U;
	invlpg(at);
	check_equal(fetch_trap(at), NO_TRAP, "SMEP: supervisor fetch of a supervisor page");
	write_cr4(read_cr4() & ~CR4_SMEP);
	*entry |= PTE_U;
	invlpg(at);
	check_equal(fetch_trap(at), NO_TRAP, "without SMEP");
}

/* Called with supervisor-only code and data, as smep() leaves them. */
static void smap(void)
{
	u64 at = WINDOW + 0x40000;

	if (!cpu_has(7, 1, 20)) {
		guest_skip("SMAP");
		return;
	}
	write_cr4(read_cr4() | CR4_SMAP);
	check_equal(read_trap(at), VEC_PF, "SMAP: supervisor read of a user page");
	check_equal(guest_last.error, 1, "error code");
	check_equal(write_trap(at), VEC_PF, "SMAP: supervisor write");
	check_equal(guest_last.error, 3, "error code");
	__asm__ volatile("stac" : : : "memory", "cc");
	check_equal(read_trap(at), NO_TRAP, "STAC: read");
	check_equal(write_trap(at), NO_TRAP, "STAC: write");
	__asm__ volatile("clac" : : : "memory", "cc");
	check_equal(read_trap(at), VEC_PF, "CLAC: read");
	/* POPF sets AC too */
	check_equal(guest_try("pushfq; orl $0x40000, (%%rsp); popfq; movb (%0), %%al; clac",
			    : : "r"(at) : "rax", "cc"), NO_TRAP, "AC by POPF");
	check_equal(read_trap(at), VEC_PF, "SMAP again");
	write_cr4(read_cr4() & ~CR4_SMAP);
	check_equal(read_trap(at), NO_TRAP, "without SMAP");
	check_equal(guest_try("stac", : : : "cc"), NO_TRAP, "STAC decodes whatever CR4.SMAP is");
	__asm__ volatile("clac" : : : "cc");
}

/*
 * Pages a multiple of 32 MiB apart, used in turn: they want the same slot of the engine's TLB, and each change of
 * one must be seen wherever it is.
 */
#define RIVALS 4
static void rivals(void)
{
	u8 *frames = guest_pages(RIVALS + 2);
	u64 at[RIVALS], *entry[RIVALS];

	for (unsigned i = 0; i < RIVALS; i++) {
		/* each 32 MiB apart, and the last where the bits above 64 GiB say otherwise */
		at[i] = WINDOW + 0x48000 + i * 0x2000000ull + (i == RIVALS - 1 ? 1ull << 38 : 0);
		entry[i] = guest_pte(root, at[i], 1);
		*entry[i] = (u64)&frames[i * PAGE] | PTE_P | PTE_W;
		*guest_pte(root, at[i] + PAGE, 1) = (u64)&frames[(RIVALS + 1) * PAGE] | PTE_P | PTE_W;
		for (unsigned k = 0; k < PAGE; k++)
			frames[i * PAGE + k] = i * 16 + k;
	}
	flush_all();
	for (unsigned round = 0; round < 400; round++) {
		unsigned i = round % RIVALS, changed = round / 16 % RIVALS;
		volatile u8 *byte = (volatile u8 *)at[i];

		check_equal(byte[round], (u8)(i * 16 + round), "read, round %u", round);
		byte[round] = i * 16 + round;
		check_equal(*(volatile u64 *)&byte[PAGE - 8], *(u64 *)&frames[i * PAGE + PAGE - 8], "its end");
		check_equal(*(volatile u64 *)&byte[PAGE - 4],
			*(u32 *)&frames[i * PAGE + PAGE - 4] | (u64)*(u32 *)&frames[(RIVALS + 1) * PAGE] << 32,
			"over its end");
		if (round % 16 == 15) {
			/* no longer to be written to, though it was a moment ago */
			*entry[changed] &= ~(u64)PTE_W;
			invlpg(at[changed]);
			for (unsigned n = 0; n < RIVALS; n++)
				check_equal(read_trap(at[n]), NO_TRAP, "read beside it");
			check_equal(write_trap(at[changed] + 5), VEC_PF, "read-only, round %u", round);
			check_equal(write_trap(at[changed] + 5), VEC_PF, "again");
			*entry[changed] ^= (u64)&frames[changed * PAGE] ^ (u64)&frames[RIVALS * PAGE];
			invlpg(at[changed]);
			check_equal(*(volatile u8 *)(at[changed] + 9), frames[RIVALS * PAGE + 9], "another page");
			*entry[changed] = (u64)&frames[changed * PAGE] | PTE_P | PTE_W;
			if (round & 16)
				invlpg(at[changed]);
			else
				write_cr3(read_cr3());
		}
	}
	for (unsigned i = 0; i < RIVALS; i++)
		for (unsigned k = 0; k < PAGE; k++)
			check_equal(frames[i * PAGE + k], (u8)(i * 16 + k), "page %u, byte %u", i, k);
}

/* Whatever else the engine tells contexts apart by, CR0.TS say: what changes in one shows in the other. */
static void modes_apart(void)
{
	u8 *frames = guest_pages(2);
	u64 at = WINDOW + 0x46000, *entry = guest_pte(root, at, 1);
	const u64 one = (u64)frames | PTE_P | PTE_W, two = (u64)(frames + PAGE) | PTE_P | PTE_W;

	frames[0] = 1;
	frames[PAGE] = 2;
	for (unsigned ts = 0; ts < 2; ts++) {
		u64 here = ts ? read_cr0() | CR0_TS : read_cr0() & ~CR0_TS;

		*entry = one;
		invlpg(at);
		write_cr0(here ^ CR0_TS);
		check_equal(*(volatile u8 *)at, 1, "before, TS %u", !ts);
		write_cr0(here);
		check_equal(*(volatile u8 *)at, 1, "before, TS %u", ts);
		*entry = two;
		invlpg(at);
		write_cr0(here ^ CR0_TS);
		check_equal(*(volatile u8 *)at, 2, "INVLPG, TS %u", !ts);
		/* a page fault drops what there was of its page, APM2 5.5.1 */
		write_cr0(here);
		*entry = 0;
		invlpg(at);
		*entry = one;
		write_cr0(here ^ CR0_TS);
		check_equal(*(volatile u8 *)at, 1, "again");
		*entry = 0;
		write_cr0(here);
		check_equal(read_trap(at), VEC_PF, "not present, TS %u", ts);
		*entry = two;
		write_cr0(here ^ CR0_TS);
		check_equal(*(volatile u8 *)at, 2, "after the fault, TS %u", !ts);
	}
	write_cr0(read_cr0() & ~CR0_TS);
}

static unsigned flags_ac(void) { return read_rflags() >> 18 & 1; }

/* STAC and CLAC again and again, with all that may happen to translations in between. */
static void smap_often(void)
{
	u8 *pages = guest_pages(2);
	u64 at = WINDOW + 0x44000, *entry = guest_pte(root, at, 1);

	if (!cpu_has(7, 1, 20))
		return;
	pages[0] = 0;
	pages[PAGE] = 1;
	write_cr4(read_cr4() | CR4_SMAP);
	for (unsigned round = 0; round < 200; round++) {
		unsigned page = round / 6 & 1;

		*entry = (u64)&pages[page * PAGE] | PTE_P | PTE_W | PTE_U;
		flush_all();
		__asm__ volatile("stac" : : : "memory", "cc");
		check_equal(flags_ac(), 1, "STAC sets AC");
		check_equal(*(volatile u8 *)at, page, "after STAC, round %u", round);
		__asm__ volatile("stac" : : : "memory", "cc");
		check_equal(*(volatile u8 *)at, page, "after another");
		switch (round % 6) {
		case 1:
			write_cr3(read_cr3());
			break;
		case 2: /* what changes with AC set shows with AC clear, and the other way round */
			*entry ^= (u64)&pages[0] ^ (u64)&pages[PAGE];
			invlpg(at);
			check_equal(*(volatile u8 *)at, !page, "another page");
			break;
		case 3:
			write_cr4(read_cr4() & ~CR4_SMAP);
			break;
		}
		__asm__ volatile("clac" : : : "memory", "cc");
		check_equal(flags_ac(), 0, "CLAC clears AC");
		if (round % 6 == 3) {
			check_equal(read_trap(at), NO_TRAP, "CLAC without SMAP");
			__asm__ volatile("stac" : : : "memory", "cc");
			check_equal(read_trap(at), NO_TRAP, "STAC without SMAP");
			__asm__ volatile("clac" : : : "memory", "cc");
			check_equal(read_trap(at), NO_TRAP, "and CLAC again");
			write_cr4(read_cr4() | CR4_SMAP);
		}
		check_equal(read_trap(at), VEC_PF, "after CLAC, round %u", round);
		__asm__ volatile("clac" : : : "memory", "cc");
		check_equal(read_trap(at), VEC_PF, "after another");
		if (round % 6 == 4) {
			*entry ^= (u64)&pages[0] ^ (u64)&pages[PAGE];
			invlpg(at);
		}
		__asm__ volatile("stac" : : : "memory", "cc");
		check_equal(*(volatile u8 *)at, round % 6 == 2 || round % 6 == 4 ? !page : page,
			"in the end, round %u", round);
		__asm__ volatile("clac" : : : "memory", "cc");
	}
	write_cr4(read_cr4() & ~CR4_SMAP);
}

static void user_pages_again(void)
{
	for (u64 linear = 0; linear < 64 << 20; linear += 2 << 20)
		*guest_pte(root, linear, 2) |= PTE_U;
	flush_all();
}

static u64 user_stac(u64 arg)
{
	return guest_try("stac", : : : "cc");
}

static void invpcid(u64 type, u64 pcid, u64 linear)
{
	u64 descriptor[2] = { pcid, linear };

	__asm__ volatile("invpcid %1, %0" : : "r"(type), "m"(descriptor) : "memory");
}

static void pcid(void)
{
	u64 *pages = guest_pages(2), at = WINDOW + 0x50000;
	u64 *entry = guest_pte(root, at, 1), cr3 = read_cr3() & ~0xfffull;
	u64 bad[2] = { 0x1000, 0 };

	if (!cpu_has(1, 2, 17)) {
		guest_skip("PCID");
		return;
	}
	pages[0] = 1;
	pages[PAGE / 8] = 2;
	write_cr3(cr3);
	write_cr4(read_cr4() | CR4_PCIDE);
	*entry = (u64)pages | PTE_P | PTE_W;
	write_cr3(cr3 | 1);
	check_equal(value_at(at), 1, "PCID 1");
	write_cr3(cr3 | 2);
	*entry = ((u64)pages + PAGE) | PTE_P | PTE_W;
	check_equal(value_at(at), 2, "PCID 2 has entries of its own");
	write_cr3(cr3 | 1);
	check_equal(value_at(at), 2, "MOV CR3 with bit 63 clear flushes PCID 1");
	*entry = (u64)pages | PTE_P | PTE_W;
	write_cr3(cr3 | 2 | BIT(63));
	check_equal(read_cr3(), cr3 | 2, "bit 63 is not stored");
	if (cpu_has(7, 1, 10)) {
		invpcid(0, 2, at);
		check_equal(value_at(at), 1, "INVPCID of one address");
		*entry = ((u64)pages + PAGE) | PTE_P | PTE_W;
		invpcid(1, 2, 0);
		check_equal(value_at(at), 2, "INVPCID of one PCID");
		*entry = (u64)pages | PTE_P | PTE_W;
		invpcid(3, 0, 0);
		check_equal(value_at(at), 1, "INVPCID of all but global ones");
		*entry = ((u64)pages + PAGE) | PTE_P | PTE_W;
		invpcid(2, 0, 0);
		check_equal(value_at(at), 2, "INVPCID of all");
		check_equal(guest_try("invpcid %1, %0", : : "r"(4ull), "m"(bad)), VEC_GP,
			"INVPCID of a type that is none");
		check_equal(guest_try("invpcid %1, %0", : : "r"(1ull), "m"(bad)), VEC_GP,
			"INVPCID with reserved bits");
	} else {
		guest_skip("INVPCID");
	}
	check_equal(guest_try("movq %0, %%cr0", : : "r"(read_cr0() & ~CR0_PG)), VEC_GP,
		"CR0.PG may not be cleared in 64-bit mode");
	write_cr3(cr3);
	write_cr4(read_cr4() & ~CR4_PCIDE);
	write_cr3(cr3 | 8);
	check_equal(guest_try("movq %0, %%cr4", : : "r"(read_cr4() | CR4_PCIDE)), VEC_GP,
		"CR4.PCIDE while CR3 bits 11:0 are not 0");
	write_cr3(cr3);
	if (!guest_tcg_wrong("reserved bits of CR3"))
		check_equal(guest_try("movq %0, %%cr3", : : "r"(cr3 | BIT(62))), VEC_GP,
			"reserved bits of CR3");
	check_equal(guest_try("movq %0, %%cr4", : : "r"(read_cr4() & ~CR4_PAE)), VEC_GP,
		"CR4.PAE may not be cleared in long mode");
}

void guest_main(void)
{
	root = (u64 *)read_cr3();
	sizes();
	accessed_dirty();
	tlb();
	rights();
	rivals();
	modes_apart();
	smep();
	smap();
	smap_often();
	user_pages_again();
	check_equal(guest_user(user_stac, 0), VEC_UD, "STAC at CPL 3");
	pcid();
}
