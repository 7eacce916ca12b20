/* SPDX-License-Identifier: MIT */
/* IDT, TSS, and what becomes of an exception: a handler, a fix-up, a catch, or the end. */
#include "guest.h"

struct idt_gate guest_idt[256] __attribute__((aligned(16)));
struct table guest_idtr = { sizeof(guest_idt) - 1, (u64)guest_idt };
struct trap guest_last = { .vector = NO_TRAP };
u64 guest_fixup;

static trap_handler handlers[256];
static u8 ist_stacks[7][8192] __attribute__((aligned(16)));
static u8 rsp0_stack[16384] __attribute__((aligned(16)));

extern u64 guest_catch_rsp;
extern u8 guest_catch_landing[], guest_user_return[];
void guest_trap(struct frame *frame);
void guest_setup(void);

void guest_set_handler(unsigned vector, trap_handler handler)
{
	handlers[vector] = handler;
}

void guest_set_gate(unsigned vector, void *entry, u16 selector, u8 attr, unsigned ist)
{
	u64 offset = (u64)entry;

	guest_idt[vector] = (struct idt_gate){ .offset0 = (u16)offset, .selector = selector,
		.ist = (u8)ist, .attr = attr, .offset1 = (u16)(offset >> 16),
		.offset2 = (u32)(offset >> 32) };
}

void guest_set_ist(unsigned vector, unsigned ist)
{
	guest_idt[vector].ist = (u8)ist;
}

static void dump(const struct frame *f)
{
	guest_print("exception %lu error 0x%lx at %lx:0x%lx rflags 0x%lx cr2 0x%lx\n", f->vector,
		f->error, f->cs, f->rip, f->rflags, read_cr2());
	guest_print("rax %016lx rcx %016lx rdx %016lx rbx %016lx\n", f->rax, f->rcx, f->rdx, f->rbx);
	guest_print("rsp %016lx rbp %016lx rsi %016lx rdi %016lx\n", f->rsp, f->rbp, f->rsi, f->rdi);
	guest_print("r8  %016lx r9  %016lx r10 %016lx r11 %016lx\n", f->r8, f->r9, f->r10, f->r11);
	guest_print("r12 %016lx r13 %016lx r14 %016lx r15 %016lx\n", f->r12, f->r13, f->r14, f->r15);
}

/* Called from trap.S for every vector. */
void guest_trap(struct frame *frame)
{
	if (handlers[frame->vector]) {
		handlers[frame->vector](frame);
		return;
	}
	if (frame->vector < 32 && (guest_fixup || guest_catch_rsp)) {
		guest_last = (struct trap){ .vector = (unsigned)frame->vector, .error = frame->error,
			.rip = frame->rip, .cr2 = read_cr2(), .dr6 = read_dr6(),
			.rflags = frame->rflags, .cs = frame->cs, .rsp = frame->rsp,
			.ss = frame->ss };
		if (guest_fixup) {
			frame->rip = guest_fixup;
			guest_fixup = 0;
			return;
		}
		frame->rip = (u64)guest_catch_landing;
		frame->cs = SEL_CODE64;
		frame->ss = SEL_DATA;
		frame->rsp = guest_catch_rsp;
		frame->rax = frame->vector;
		frame->rflags = 2;
		return;
	}
	dump(frame);
	check(false, "unexpected vector %lu", frame->vector);
	guest_finish();
}

/* Called from boot.S before guest_main(). */
void guest_setup(void)
{
	u64 base = (u64)guest_tss;
	unsigned i;

	for (i = 0; i < 256; i++)
		guest_set_gate(i, guest_trap_entries + 16 * i, SEL_CODE64, 0x8e, 0);
	guest_idt[VEC_BP].attr = 0xee;
	guest_idt[VEC_OF].attr = 0xee;
	guest_set_gate(0x81, guest_user_return, SEL_CODE64, 0xee, 0);
	lidt(&guest_idtr);

	for (i = 0; i < 7; i++) {
		u64 top = (u64)ist_stacks[i] + sizeof(ist_stacks[i]);
		memcpy(guest_tss + 36 + 8 * i, &top, 8);
	}
	tss_rsp0 = (u64)rsp0_stack + sizeof(rsp0_stack);
	guest_gdt[SEL_TSS / 8] = 103 | (base & 0xffffff) << 16 | 0x89ull << 40 |
				 (base >> 24 & 0xff) << 56;
	guest_gdt[SEL_TSS / 8 + 1] = base >> 32;
	__asm__ volatile("ltr %w0" : : "r"(SEL_TSS));

	/* 16550: 115200 8N1, FIFO on; both 8259 masked */
	outb(0x3f9, 0);
	outb(0x3fb, 0x80);
	outb(0x3f8, 1);
	outb(0x3f9, 0);
	outb(0x3fb, 3);
	outb(0x3fa, 7);
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
}
