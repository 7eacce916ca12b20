/* SPDX-License-Identifier: MIT */
/* IDT, TSS, traps and fix-ups of a 32-bit guest; 64-bit division for the printing. */
#include "guest32.h"

u64 guest_idt[256] __attribute__((aligned(16)));
struct table guest_idtr = { sizeof(guest_idt) - 1, (u32)guest_idt };
struct tss32 guest_tss __attribute__((aligned(128)));
struct trap guest_last = { .vector = NO_TRAP };
u32 guest_fixup;

static trap_handler handlers[256];
static u32 next_page = 16 << 20;

extern u8 guest_user_return[];
void guest_trap(struct frame *frame);
void guest_setup(void);
u64 __udivmoddi4(u64 a, u64 b, u64 *rest);

/* What gcc calls for % and / of 64 bits; speed does not matter here. */
u64 __udivmoddi4(u64 a, u64 b, u64 *rest)
{
	u64 quotient = 0, remainder = 0;

	for (int bit = 63; bit >= 0; bit--) {
		remainder = remainder << 1 | (a >> bit & 1);
		if (remainder >= b) {
			remainder -= b;
			quotient |= 1ull << bit;
		}
	}
	if (rest)
		*rest = remainder;
	return quotient;
}

void *guest_pages(unsigned count)
{
	void *pages = (void *)next_page;

	next_page += count * PAGE;
	memset(pages, 0, count * PAGE);
	return pages;
}

u64 guest_descriptor(u32 base, u32 limit, u32 attr)
{
	return (limit & 0xffff) | (u64)(base & 0xffffff) << 16 | (u64)(attr & 0xff) << 40 |
	       (u64)(limit >> 16 & 15) << 48 | (u64)(attr >> 8 & 15) << 52 | (u64)(base >> 24) << 56;
}

u64 guest_gate(u16 selector, u32 offset, u8 attr, u8 count)
{
	return (offset & 0xffff) | (u64)selector << 16 | (u64)count << 32 | (u64)attr << 40 |
	       (u64)(offset >> 16) << 48;
}

void guest_set_handler(unsigned vector, trap_handler handler)
{
	handlers[vector] = handler;
}

void guest_trap(struct frame *frame)
{
	if (handlers[frame->vector]) {
		handlers[frame->vector](frame);
		return;
	}
	if (frame->vector < 32 && guest_fixup) {
		guest_last = (struct trap){ .vector = frame->vector, .error = frame->error,
			.eip = frame->eip, .cr2 = read_cr2(), .dr6 = read_dr6(),
			.eflags = frame->eflags, .cs = frame->cs };
		frame->eip = guest_fixup;
		guest_fixup = 0;
		return;
	}
	guest_print("exception %u error 0x%x at %x:0x%x eflags 0x%x cr2 0x%x\n", frame->vector,
		frame->error, frame->cs, frame->eip, frame->eflags, read_cr2());
	guest_print("eax %08x ecx %08x edx %08x ebx %08x ebp %08x esi %08x edi %08x frame %p\n",
		frame->eax, frame->ecx, frame->edx, frame->ebx, frame->ebp, frame->esi, frame->edi,
		(void *)frame);
	check(false, "unexpected vector %u", frame->vector);
	guest_finish();
}

void guest_setup(void)
{
	for (unsigned i = 0; i < 256; i++)
		guest_idt[i] = guest_gate(SEL_CODE, (u32)guest_trap_entries + 16 * i, 0x8e, 0);
	guest_idt[VEC_BP] = guest_gate(SEL_CODE, (u32)guest_trap_entries + 16 * VEC_BP, 0xee, 0);
	guest_idt[VEC_OF] = guest_gate(SEL_CODE, (u32)guest_trap_entries + 16 * VEC_OF, 0xee, 0);
	guest_idt[0x81] = guest_gate(SEL_CODE, (u32)guest_user_return, 0xee, 0);
	__asm__ volatile("lidt %0" : : "m"(guest_idtr));
	guest_tss.ss0 = SEL_DATA;
	guest_tss.io_map = offsetof(struct tss32, io);
	memset(guest_tss.io, 0xff, sizeof(guest_tss.io));
	guest_gdt[SEL_TSS / 8] = guest_descriptor((u32)&guest_tss, sizeof(guest_tss) - 1, 0x089);
	__asm__ volatile("ltr %w0" : : "r"(SEL_TSS));
	outb(0x3f9, 0);
	outb(0x3fb, 0x80);
	outb(0x3f8, 1);
	outb(0x3f9, 0);
	outb(0x3fb, 3);
	outb(0x3fa, 7);
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
}
