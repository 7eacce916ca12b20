/* SPDX-License-Identifier: MIT */
/*
 * Traps of a gather and a fault in the middle of it. SDM2 VPGATHERDD: those of elements already
 * gathered come in lieu of the fault, with RF set; a single step is one of them.
 */
#include "guest.h"

#define DR7_EXECUTE 0x401ull  /* of the byte that DR0 names */
#define DR7_ACCESS4 0xf0401ull /* of four bytes */
#define DR7_NONE 0x400ull
#define DR6_NONE 0xffff0ff0ull
#define DR6_B0 0x1ull
#define DR6_BS 0x4000ull
#define LEFT_OUT 0
#define WANTED 0x80000000

static struct event {
	u64 vector, rip, rflags, dr6;
	u32 left; /* of the mask: bit i for element i */
} events[16];
static unsigned event_count;
static u8 *page; /* the one behind it is absent until a fault brings it */
static u32 gathered[4];
extern u8 gather_insn[], gather_next[];

static void note(const struct frame *frame)
{
	struct event event = { frame->vector, frame->rip, frame->rflags, read_dr6() ^ DR6_NONE, 0 };

	__asm__ volatile("vmovmskps %%xmm2, %0" : "=r"(event.left));
	if (event_count == ARRAY_SIZE(events)) {
		check(false, "no end of events");
		guest_finish();
	}
	events[event_count++] = event;
	write_dr6(DR6_NONE);
}

static void on_debug(struct frame *frame)
{
	note(frame);
	/* to go on from a breakpoint on the instruction */
	if (events[event_count - 1].dr6 == DR6_B0)
		frame->rflags |= FLAG_RF;
}

static void on_page_fault(struct frame *frame)
{
	note(frame);
	guest_map(guest_pml4, (u64)page + PAGE, (u64)page + PAGE, PTE_P | PTE_W);
}

/* Four words at these offsets in page[], with TF or a breakpoint at DR0; it makes events[]. */
static __attribute__((noipa)) void gather(const u32 offsets[4], const u32 mask[4], u64 tf, u64 dr7)
{
	guest_map(guest_pml4, (u64)page + PAGE, (u64)page + PAGE, 0);
	event_count = 0;
	__asm__ volatile("vmovdqu (%0), %%xmm1; vmovdqu (%1), %%xmm2\n\t"
			 "vpxor %%xmm0, %%xmm0, %%xmm0\n\t"
			 "movq %3, %%dr7; pushfq; orq %2, (%%rsp); popfq\n"
			 "gather_insn: vpgatherdd %%xmm2, (%4,%%xmm1,1), %%xmm0\n"
			 "gather_next: pushfq; andq $~0x100, (%%rsp); popfq\n\t"
			 "movq %6, %%dr7; vmovdqu %%xmm0, (%5)"
			 : : "r"(offsets), "r"(mask), "r"(tf), "r"(dr7), "r"(page), "r"(gathered),
			 "r"(DR7_NONE) : "cc", "memory");
	/* those of the instructions that end single-stepping */
	if (tf)
		event_count -= 3;
}

static void check_event(unsigned n, u64 vector, const u8 *rip, u64 dr6, u32 left, bool rf,
	const char *name)
{
	check(n < event_count, "%s: event %u comes", name, n);
	check_equal(events[n].vector, vector, "%s: event %u", name, n);
	check_equal(events[n].rip, (u64)rip, "%s: RIP of event %u", name, n);
	check_equal(events[n].dr6, dr6, "%s: DR6 at event %u", name, n);
	check_equal(events[n].left, left, "%s: what event %u leaves to be gathered", name, n);
	check_equal(!!(events[n].rflags & FLAG_RF), rf, "%s: RF of event %u", name, n);
}

/* Its end: nothing is left, and the elements are there. */
static void check_end(unsigned count, const u32 offsets[4], const u32 mask[4], const char *name)
{
	u32 want;

	check_equal(event_count, count, "%s: number of events", name);
	for (unsigned i = 0; i < 4; i++) {
		memcpy(&want, page + offsets[i], 4);
		check_equal(gathered[i], mask[i] ? want : 0, "%s: element %u", name, i);
	}
}

static const u32 all[4] = { WANTED, WANTED, WANTED, WANTED };
static const u32 third_faults[4] = { 0, 4, PAGE, 8 };

static void single_step(void)
{
	static const u32 first_faults[4] = { PAGE, 0, 4, 8 };
	static const u32 but_first[4] = { LEFT_OUT, WANTED, WANTED, WANTED };
	static const u32 second_faults[4] = { 0, PAGE + 4, 4, 8 };
	const char *name = "a step, the third faults";
	unsigned n = 0;

	gather(third_faults, all, FLAG_TF, DR7_NONE);
	check_event(n++, VEC_DB, gather_insn, DR6_BS, 0xc, true, name);
	check_event(n++, VEC_PF, gather_insn, 0, 0xc, true, name);
	check_event(n++, VEC_DB, gather_next, DR6_BS, 0, false, name);
	check_end(n, third_faults, all, name);

	name = "a step, the first faults";
	gather(first_faults, all, FLAG_TF, DR7_NONE);
	check_event(0, VEC_PF, gather_insn, 0, 0xf, true, name);
	check_event(1, VEC_DB, gather_next, DR6_BS, 0, false, name);
	check_end(2, first_faults, all, name);

	name = "a step, the first that is wanted faults";
	gather(second_faults, but_first, FLAG_TF, DR7_NONE);
	check_event(0, VEC_PF, gather_insn, 0, 0xe, true, name);
	check_event(1, VEC_DB, gather_next, DR6_BS, 0, false, name);
	check_end(2, second_faults, but_first, name);

	name = "no step";
	gather(third_faults, all, 0, DR7_NONE);
	check_event(0, VEC_PF, gather_insn, 0, 0xc, true, name);
	check_end(1, third_faults, all, name);
}

static void breakpoints(void)
{
	static const u32 crosses[4] = { 0, PAGE - 3, 4, 8 };
	const char *name = "data of the first";
	unsigned n = 0;

	write_dr0((u64)page);
	gather(third_faults, all, 0, DR7_ACCESS4);
	check_event(0, VEC_DB, gather_insn, DR6_B0, 0xc, true, name);
	check_event(1, VEC_PF, gather_insn, 0, 0xc, true, name);
	check_end(2, third_faults, all, name);

	name = "data of one that comes later";
	write_dr0((u64)page + 8);
	gather(third_faults, all, 0, DR7_ACCESS4);
	check_event(0, VEC_PF, gather_insn, 0, 0xc, true, name);
	check_event(1, VEC_DB, gather_next, DR6_B0, 0, false, name);
	check_end(2, third_faults, all, name);

	name = "data of the one that faults";
	write_dr0((u64)page + PAGE - 4);
	gather(crosses, all, 0, DR7_ACCESS4);
	check_event(0, VEC_PF, gather_insn, 0, 0xe, true, name);
	check_event(1, VEC_DB, gather_next, DR6_B0, 0, false, name);
	check_end(2, crosses, all, name);

	name = "the instruction, and a step";
	write_dr0((u64)gather_insn);
	gather(third_faults, all, FLAG_TF, DR7_EXECUTE);
	check_event(n++, VEC_DB, gather_insn, DR6_B0, 0xf, false, name);
	check_event(n++, VEC_DB, gather_insn, DR6_BS, 0xc, true, name);
	check_event(n++, VEC_PF, gather_insn, 0, 0xc, true, name);
	check_event(n++, VEC_DB, gather_next, DR6_BS, 0, false, name);
	check_end(n, third_faults, all, name);
}

void guest_main(void)
{
	if (!cpu_has(7, 1, 5)) {
		guest_skip("AVX2");
		return;
	}
	write_cr4(read_cr4() | CR4_OSXSAVE);
	__asm__ volatile("xsetbv" : : "c"(0), "a"(7), "d"(0));
	page = guest_pages(2);
	for (unsigned i = 0; i < 16; i++)
		page[i] = page[PAGE - 8 + i] = 0x11 * i + 1;
	guest_set_handler(VEC_DB, on_debug);
	guest_set_handler(VEC_PF, on_page_fault);
	write_dr6(DR6_NONE);
	single_step();
	breakpoints();
}
