/* SPDX-License-Identifier: MIT */
/* Code that changes: its own block, the next, another page, through an alias, by a string store. */
#include "guest.h"

#define ALIAS 0x200000000000ull

static u8 *code;

/* MOV EAX, imm32; RET */
static void put_return(u8 *at, u32 value)
{
	at[0] = 0xb8;
	memcpy(at + 1, &value, 4);
	at[5] = 0xc3;
}

static u32 call(void *at)
{
	u32 value;

	__asm__ volatile("call *%1" : "=a"(value) : "r"(at) : "memory", "rcx", "rdx", "cc");
	return value;
}

static void other_function(void)
{
	put_return(code, 1);
	check_equal(call(code), 1, "code just written");
	put_return(code, 2);
	check_equal(call(code), 2, "the same place, changed");
	for (u32 i = 0; i < 2000; i++) {
		put_return(code, i);
		if (call(code) != i) {
			check(false, "change %u is seen", i);
			return;
		}
	}
	check(true, "2000 changes are seen");
	/* one byte of the immediate, many calls between */
	put_return(code, 0x100);
	for (u32 i = 0; i < 200; i++) {
		for (u32 j = 0; j < 100; j++)
			call(code);
		code[1] = (u8)i;
		if (call(code) != (0x100 | i)) {
			check(false, "hot code, change %u", i);
			return;
		}
	}
	check(true, "hot code changes");
}

/* A store to the very next instruction: x86 sees it at once, SDM3 8.1.3 asks a jump between. */
static void own_block(void)
{
	u32 value;

	for (u32 i = 1; i < 5; i++) {
		__asm__ volatile("movl %1, 1f+1; jmp 1f\n1: movl $0x55555555, %0" : "=a"(value) : "r"(i)
				 : "memory");
		check_equal(value, i, "store, jump, changed instruction");
	}
	for (u32 i = 1; i < 5; i++) {
		__asm__ volatile("movl %1, 1f+1; nop; nop\n1: movl $0x55555555, %0" : "=a"(value)
				 : "r"(i + 100) : "memory");
		check_equal(value, i + 100, "store, straight on, changed instruction");
	}
	/* a loop whose body changes at each turn */
	__asm__ volatile("movl $5, %%ecx; xorl %%ebx, %%ebx\n"
			 "1: addl $0, %%ebx\n2: movb %%cl, 2b-1; decl %%ecx; jnz 1b; movl %%ebx, %0"
			 : "=r"(value) : : "rcx", "rbx", "memory", "cc");
	check_equal(value, 5 + 4 + 3 + 2, "a loop that changes its own addition");
}

static void opcode(void)
{
	/* INC EAX to DEC EAX: the length stays, the instruction is another */
	code[0] = 0xff;
	code[1] = 0xc0;
	code[2] = 0xc3;
	u32 value;
	__asm__ volatile("movl $10, %%eax; call *%1" : "=&a"(value) : "r"(code) : "memory", "cc");
	check_equal(value, 11, "INC");
	code[1] = 0xc8;
	__asm__ volatile("movl $10, %%eax; call *%1" : "=&a"(value) : "r"(code) : "memory", "cc");
	check_equal(value, 9, "DEC in its place");
}

static void across_pages(void)
{
	u8 *at = code + PAGE - 3;

	put_return(at, 0x12345678);
	check_equal(call(at), 0x12345678, "an instruction over two pages");
	at[4] = 0x99; /* in the second page */
	check_equal(call(at), 0x99345678, "its second half changed");
	at[1] = 0x77;
	check_equal(call(at), 0x99345677, "its first half changed");
	/* the second page becomes another frame */
	u8 *frame = guest_pages(1);
	memcpy(frame, code + PAGE, PAGE);
	frame[1] = 0x11;
	guest_map(guest_pml4, (u64)code + PAGE, (u64)frame, PTE_P | PTE_W);
	check_equal(call(at), 0x11345677, "the second page is another frame now");
	guest_map(guest_pml4, (u64)code + PAGE, (u64)code + PAGE, PTE_P | PTE_W);
	check_equal(call(at), 0x99345677, "and back");
}

static void alias(void)
{
	u8 *other = (u8 *)ALIAS;

	guest_map(guest_pml4, ALIAS, (u64)code, PTE_P | PTE_W);
	put_return(code, 5);
	check_equal(call(code), 5, "at home");
	check_equal(call(other), 5, "by the alias");
	other[1] = 6;
	check_equal(call(code), 6, "changed through the alias");
	code[1] = 7;
	check_equal(call(other), 7, "changed at home, run by the alias");
	/* position matters: LEA RAX, [RIP] gives where it runs */
	memcpy(code + 64, "\x48\x8d\x05\x00\x00\x00\x00\xc3", 8);
	u64 value;
	__asm__ volatile("call *%1" : "=a"(value) : "r"(code + 64) : "memory");
	check_equal(value, (u64)code + 71, "RIP at home");
	__asm__ volatile("call *%1" : "=a"(value) : "r"(other + 64) : "memory");
	check_equal(value, ALIAS + 71, "RIP by the alias");
}

static void remapped(void)
{
	u8 *frames = guest_pages(2);

	put_return(frames, 21);
	put_return(frames + PAGE, 22);
	for (unsigned i = 0; i < 6; i++) {
		guest_map(guest_pml4, ALIAS, (u64)frames + (i & 1) * PAGE, PTE_P | PTE_W);
		check_equal(call((void *)ALIAS), 21 + (i & 1), "the mapping decides what runs");
	}
}

static void strings(void)
{
	static u8 image[6] = { 0xb8, 0x0d, 0xf0, 0xad, 0xba, 0xc3 };

	put_return(code, 1);
	call(code);
	memcpy(code, image, sizeof(image)); /* REP MOVSB */
	check_equal(call(code), 0xbaadf00d, "code written by REP MOVSB");
	__asm__ volatile("rep stosb" : : "D"(code + 1), "a"(0x44), "c"(4) : "memory");
	check_equal(call(code), 0x44444444, "by REP STOSB");
	__asm__ volatile("lock; addl $1, (%0)" : : "r"(code + 1) : "memory", "cc");
	check_equal(call(code), 0x44444445, "by LOCK ADD");
}

static void stack_store(void)
{
	u64 kept;

	put_return(code, 1);
	call(code);
	__asm__ volatile("movq %%rsp, %0; movq %1, %%rsp; pushq %2; movq %0, %%rsp"
			 : "=&r"(kept) : "r"(code + 8), "r"(0x0000c3000000a1b8ull) : "memory");
	check_equal(call(code), 0xa1, "code written by PUSH");
}

/* XOR EAX, EAX; ADD or SUB EAX, [RBX]; RET, of an operand in two pages: an instruction met alone each time. */
static void put_slow(u8 *at, bool subtract)
{
	static const u8 add[] = { 0x31, 0xc0, 0x03, 0x03, 0xc3 };

	memcpy(at, add, sizeof(add));
	if (subtract)
		at[2] = 0x2b;
}

static u32 call_slow(void *at, const u8 *operand)
{
	u32 value;

	__asm__ volatile("call *%1" : "=a"(value) : "r"(at), "b"(operand) : "memory", "cc");
	return value;
}

static void slow_instruction(void)
{
	u8 *data = guest_pages(2), *other = guest_pages(1), *operand = data + PAGE - 2;

	memcpy(operand, "\1\0\0\0", 4);
	for (unsigned i = 0; i < 6; i++) {
		put_slow(code, i & 1);
		for (unsigned again = 0; again < 3; again++)
			check_equal(call_slow(code, operand), i & 1 ? ~0u : 1, "operand in two pages, changed");
	}
	put_slow(code, false);
	put_slow(other, true);
	for (unsigned i = 0; i < 6; i++) {
		guest_map(guest_pml4, ALIAS, (u64)(i & 1 ? other : code), PTE_P | PTE_W);
		for (unsigned again = 0; again < 3; again++)
			check_equal(call_slow((void *)ALIAS, operand), i & 1 ? ~0u : 1,
				"operand in two pages, another page of code");
	}
}

/* SIDT over the instruction behind it: MOV AL, 7; RET from what LIDT has loaded. */
static void stored_by_c(void)
{
	static const u8 image[] = { 0x0f, 0x01, 0x0b, 0xb0, 0x01, 0xc3 }; /* SIDT [RBX]; MOV AL, 1; RET */
	const struct table bytes = { .limit = 0x07b0, .base = 0xc3 };
	u8 elsewhere[16], first, second;

	memcpy(code, image, sizeof(image));
	first = (u8)call_slow(code, elsewhere);
	lidt(&bytes);
	second = (u8)call_slow(code, code + 3);
	lidt(&guest_idtr);
	check_equal(first, 1, "SIDT to elsewhere");
	check_equal(second, 7, "SIDT to the next instruction");
}

void guest_main(void)
{
	code = guest_pages(2);
	other_function();
	own_block();
	opcode();
	across_pages();
	alias();
	remapped();
	strings();
	stack_store();
	slow_instruction();
	stored_by_c();
}
