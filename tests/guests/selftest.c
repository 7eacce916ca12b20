/* SPDX-License-Identifier: MIT */
/* The framework's own test: what the other guests stand on works before they are believed. */
#include "guest.h"

static void divide(void *arg)
{
	__asm__ volatile("xorl %%ecx, %%ecx; divl %%ecx" : : : "eax", "ecx", "edx", "cc");
}

static void nothing(void *arg)
{
}

static u64 in_user(u64 arg)
{
	u16 cs;

	__asm__ volatile("movw %%cs, %0" : "=r"(cs));
	return guest_try("cli") << 16 | (cs & 3) << 8 | arg;
}

static unsigned seen;
static void on_int(struct frame *frame)
{
	seen++;
}

void guest_main(void)
{
	u8 *page = guest_pages(2);

	check_equal(guest_try("ud2"), VEC_UD, "fix-up takes #UD");
	check_equal(guest_try("nop"), NO_TRAP, "no exception, none recorded");
	check_equal(guest_catch(divide, NULL), VEC_DE, "catch takes #DE");
	check_equal(guest_catch(nothing, NULL), NO_TRAP, "catch of nothing");
	check_equal(guest_user(in_user, 7), VEC_GP << 16 | 3 << 8 | 7, "CPL 3 and back");
	guest_set_handler(0x40, on_int);
	__asm__ volatile("int $0x40");
	check_equal(seen, 1, "INT n reaches its handler");
	guest_map(guest_pml4, (u64)page, (u64)page + PAGE, PTE_P | PTE_W);
	page[0] = 5;
	check_equal(page[PAGE], 5, "guest_map maps");
	*guest_pte(guest_pml4, (u64)page, 1) = 0;
	invlpg((u64)page);
	check_equal(guest_try("movb $1, (%0)", : : "r"(page)), VEC_PF, "#PF");
	check_equal(guest_last.error, 2, "#PF error code");
	check_equal(guest_last.cr2, page, "CR2");
}
