/* SPDX-License-Identifier: MIT */
/*
 * 32-bit protected mode: segment limits and rights, the LDT, call gates and rings, task switches,
 * paging of 32-bit and PAE form, SYSENTER, the I/O map. APM2 chapters 4, 5 and 12.
 */
#include "guest32.h"

enum { SEL_A = SEL_FREE, SEL_B = SEL_FREE + 8, SEL_C = SEL_FREE + 16, SEL_LDT = SEL_FREE + 24,
	SEL_TASK = SEL_FREE + 32, SEL_CALL = SEL_FREE + 40, SEL_CONFORMING = SEL_FREE + 48,
	SEL_TASK_GATE = SEL_FREE + 56 };

/* TCG looks at neither limits nor rights of data segments at an access. */
static bool strict;
#define check_strict(...) \
	do { \
		if (strict) \
			check_equal(__VA_ARGS__); \
	} while (0)

static u8 area[0x3000] __attribute__((aligned(4096)));

static void put(u16 selector, u64 descriptor)
{
	guest_gdt[selector / 8] = descriptor;
}

static unsigned load_es(u16 selector)
{
	/* the trap's return loads the old one again, whose descriptor may have changed */
	__asm__ volatile("movl %0, %%es" : : "r"(0));
	return guest_try("movl %0, %%es", : : "r"((u32)selector));
}

static unsigned es_byte(u32 offset)
{
	return guest_try("movb %%es:(%0), %%al", : : "r"(offset) : "eax");
}

static unsigned es_word(u32 offset)
{
	return guest_try("movw %%es:(%0), %%ax", : : "r"(offset) : "eax");
}

static unsigned es_store(u32 offset)
{
	return guest_try("movl $0x11223344, %%es:(%0)", : : "r"(offset) : "memory");
}

static void limits(void)
{
	put(SEL_A, guest_descriptor((u32)area, 0xfff, 0x493));
	check_equal(load_es(SEL_A), NO_TRAP, "a data segment");
	area[0xfff] = 0x77;
	check_equal(es_byte(0xfff), NO_TRAP, "its last byte");
	check_strict(es_byte(0x1000), VEC_GP, "the byte after");
	check_strict(guest_last.error, 0, "error code");
	check_strict(es_word(0xfff), VEC_GP, "a word that reaches out");
	check_strict(es_byte(0xffffffff), VEC_GP, "far out");
	check_equal(es_store(0xffc), NO_TRAP, "a store at its end");
	check_equal(*(u32 *)(area + 0xffc), 0x11223344, "went through the base");
	check_strict(es_store(0xffd), VEC_GP, "a store that reaches out");
	/* pages */
	put(SEL_A, guest_descriptor((u32)area, 0, 0xc93));
	load_es(SEL_A);
	check_equal(es_byte(0xfff), NO_TRAP, "granularity: limit 0 is 4 KiB");
	check_strict(es_byte(0x1000), VEC_GP, "and no more");
	/* the hidden part stays until the next load */
	put(SEL_A, 0);
	check_equal(es_byte(0x10), NO_TRAP, "the cached descriptor is used");
	check_equal(load_es(SEL_A), VEC_GP, "an empty descriptor does not load");
	check_equal(guest_last.error, SEL_A, "error code");
	/* expand-down: valid above the limit */
	put(SEL_A, guest_descriptor((u32)area - 0x1000, 0xfff, 0x497));
	check_equal(load_es(SEL_A), NO_TRAP, "an expand-down segment");
	check_strict(es_byte(0xfff), VEC_GP, "its limit is out");
	check_equal(es_byte(0x1000), NO_TRAP, "the byte above is in");
	check_equal(es_word(0xffff), NO_TRAP, "B set: beyond 64K too");
	put(SEL_A, guest_descriptor((u32)area - 0x1000, 0xfff, 0x097));
	load_es(SEL_A);
	check_equal(es_byte(0x1000), NO_TRAP, "B clear: above the limit");
	check_strict(es_word(0xffff), VEC_GP, "B clear: up to FFFFh only");
	/* rights */
	put(SEL_A, guest_descriptor((u32)area, 0xfff, 0x491));
	load_es(SEL_A);
	check_equal(es_byte(0), NO_TRAP, "read-only data: read");
	check_strict(es_store(0), VEC_GP, "read-only data: write");
	put(SEL_A, guest_descriptor((u32)area, 0xfff, 0x499));
	check_equal(load_es(SEL_A), VEC_GP, "execute-only code does not load into ES");
	put(SEL_A, guest_descriptor((u32)area, 0xfff, 0x49b));
	check_equal(load_es(SEL_A), NO_TRAP, "readable code does");
	check_strict(es_store(0), VEC_GP, "but is not written");
	check_strict(guest_try("movl $1, %%cs:(%0)", : : "r"(area) : "memory"), VEC_GP, "a store through CS");
	put(SEL_A, guest_descriptor((u32)area, 0xfff, 0x413));
	check_equal(load_es(SEL_A), VEC_NP, "not present");
	check_equal(guest_last.error, SEL_A, "error code");
	put(SEL_A, guest_descriptor((u32)area, 0xfff, 0x482));
	check_equal(load_es(SEL_A), VEC_GP, "a system descriptor");
	check_equal(load_es(0), NO_TRAP, "a null selector loads");
	check_strict(es_byte(0), VEC_GP, "but may not be used");
	check_equal(load_es(3), NO_TRAP, "whatever its RPL");
	/* the A bit */
	put(SEL_A, guest_descriptor((u32)area, 0xfff, 0x492));
	load_es(SEL_A);
	check_equal(guest_gdt[SEL_A / 8] >> 40 & 1, 1, "loading sets the accessed bit");
	load_es(SEL_DATA);
	/* SS */
	check_equal(guest_try("movl %0, %%ss", : : "r"(0)), VEC_GP, "a null SS");
	put(SEL_A, guest_descriptor(0, 0xfffff, 0xc91));
	check_equal(guest_try("movl %0, %%ss", : : "r"(SEL_A)), VEC_GP, "a read-only SS");
	put(SEL_A, guest_descriptor(0, 0xfffff, 0xc13));
	check_equal(guest_try("movl %0, %%ss", : : "r"(SEL_A)), VEC_SS, "an SS that is not present");
	check_equal(guest_last.error, SEL_A, "error code");
	check_equal(guest_try("movl %0, %%ss", : : "r"(SEL_USER_DATA)), VEC_GP, "an SS of DPL 3");
	/* CS limit */
	put(SEL_C, guest_descriptor(0, 0xffff, 0x49b));
	check_equal(guest_try("ljmp %0, $0x123456", : : "i"(SEL_C)), VEC_GP, "a far jump beyond the limit");
}

static void stack_limit(void)
{
	unsigned vector;

	/* a stack whose limit is where ESP is: the handler's pushes are in, what lies above is out */
	put(SEL_A, guest_descriptor(0, (u32)area >> 12, 0xc93));
	guest_last.vector = NO_TRAP;
	__asm__ volatile("movl $1f, guest_fixup\n\tmovl %%esp, %%ebx; movl %%ss, %%edx\n\t"
			 "movl %0, %%ss; movl %1, %%esp; popl %%eax\n"
			 "1: movl %%edx, %%ss; movl %%ebx, %%esp; movl $0, guest_fixup"
			 : : "r"(SEL_A), "r"(area + 0x1000) : "eax", "ebx", "edx", "memory");
	vector = guest_last.vector;
	check_equal(vector, VEC_SS, "a pop beyond the stack's limit");
	check_equal(guest_last.error, 0, "error code");
}

static void other_instructions(void)
{
	u32 value = 0, flags;
	static const i32 bounds[2] = { -5, 5 };

	check_equal(guest_try("boundl %0, %1", : : "r"(6), "m"(bounds)), VEC_BR, "BOUND, above");
	check_equal(guest_try("boundl %0, %1", : : "r"(-6), "m"(bounds)), VEC_BR, "BOUND, below");
	check_equal(guest_try("boundl %0, %1", : : "r"(5), "m"(bounds)), NO_TRAP, "BOUND, within");
	check_equal(guest_try("movb $127, %%al; addb $1, %%al; into", : : : "eax", "cc"), VEC_OF, "INTO");
	check_equal(guest_try("xorl %%eax, %%eax; into", : : : "eax", "cc"), NO_TRAP, "INTO without overflow");
	put(SEL_A, guest_descriptor(0, 0x12345, 0x4f3));
	__asm__ volatile("larl %2, %0; pushfl; popl %1" : "+r"(value), "=r"(flags) : "r"(SEL_A));
	check_equal(value & 0xf0ff00, 0x40f300, "LAR");
	check(flags & 0x40, "LAR sets ZF");
	__asm__ volatile("lsll %1, %0" : "+r"(value) : "r"(SEL_A) : "cc");
	check_equal(value, 0x12345, "LSL");
	put(SEL_A, guest_descriptor(0, 0x12345, 0xcf3));
	__asm__ volatile("lsll %1, %0" : "+r"(value) : "r"(SEL_A) : "cc");
	check_equal(value, 0x12345fff, "LSL with granularity");
	__asm__ volatile("verr %w1; pushfl; popl %0" : "=r"(flags) : "r"(SEL_A) : "cc");
	check(flags & 0x40, "VERR of data");
	__asm__ volatile("verw %w1; pushfl; popl %0" : "=r"(flags) : "r"(SEL_CODE) : "cc");
	check(!(flags & 0x40), "VERW of code");
	__asm__ volatile("larl %2, %0; pushfl; popl %1" : "+r"(value), "=r"(flags) : "r"(0xfff8));
	check(!(flags & 0x40), "LAR beyond the GDT");
	__asm__ volatile("movw $0x10, %%ax; movw $3, %%cx; arpl %%cx, %%ax; movzwl %%ax, %0; pushfl; popl %1"
			 : "=r"(value), "=r"(flags) : : "eax", "ecx", "cc");
	check_equal(value, 0x13, "ARPL raises the RPL");
	check(flags & 0x40, "and sets ZF");
}

static void ldt(void)
{
	static u64 table[4];

	table[1] = guest_descriptor((u32)area, 0xff, 0x493);
	put(SEL_LDT, guest_descriptor((u32)table, sizeof(table) - 1, 0x082));
	check_equal(guest_try("lldt %w0", : : "r"(SEL_A)), VEC_GP, "LLDT of what is no LDT");
	check_equal(guest_try("lldt %w0", : : "r"(SEL_LDT)), NO_TRAP, "LLDT");
	check_equal(load_es(8 | 4), NO_TRAP, "a selector of the LDT");
	check_equal(es_byte(0xff), NO_TRAP, "its segment");
	check_strict(es_byte(0x100), VEC_GP, "its limit");
	check_equal(load_es(32 | 4), VEC_GP, "beyond the LDT");
	check_equal(guest_last.error, 32 | 4, "error code with TI");
	check_equal(guest_try("lldt %w0", : : "r"(0)), NO_TRAP, "LLDT of null");
	check_equal(load_es(8 | 4), VEC_GP, "no LDT, no selector of it");
	load_es(SEL_DATA);
}

/* ---- rings ---- */
u32 gate_seen[8];
extern u8 gate_target[], conforming_target[];
__asm__(".text\ngate_target:\n"
	"movl 8(%esp), %eax; movl %eax, gate_seen\n" /* the first parameter: above EIP and CS */
	"movl 12(%esp), %eax; movl %eax, gate_seen + 4\n"
	"movl %cs, %eax; movl %eax, gate_seen + 8\n"
	"movl %ss, %eax; movl %eax, gate_seen + 12\n"
	"movl 16(%esp), %eax; movl %eax, gate_seen + 16\n" /* the caller's ESP */
	"movl 20(%esp), %eax; movl %eax, gate_seen + 20\n" /* and SS */
	"lret $8\n"
	"conforming_target:\n"
	"movl %cs, %eax\n"
	"lret\n");

static u32 user_gate(u32 arg)
{
	u32 before, after;

	__asm__ volatile("movl %%esp, %0; pushl $0x2222; pushl $0x1111; lcall %2, $0; movl %%esp, %1"
			 : "=&r"(before), "=r"(after) : "i"(SEL_CALL | 3) : "eax", "memory");
	gate_seen[6] = before;
	return after;
}

static u32 user_conforming(u32 arg)
{
	u32 cs;

	__asm__ volatile("lcall *%1" : "=a"(cs) : "m"(*(struct { u32 offset; u16 selector; } *)arg));
	return cs;
}

static u32 user_far(u32 selector)
{
	struct {
		u32 offset;
		u16 selector;
	} __attribute__((packed)) pointer = { (u32)conforming_target, (u16)selector };

	return guest_try("lcall *%0", : : "m"(pointer) : "eax", "memory");
}

static u32 user_load(u32 selector)
{
	unsigned vector = load_es((u16)selector);

	__asm__ volatile("movl %0, %%es" : : "r"(SEL_USER_DATA));
	return vector;
}

static u32 user_out(u32 port)
{
	return guest_try("outb %%al, %w0", : : "d"(port));
}

static u32 user_sti(u32 arg)
{
	return guest_try("sti; cli", : :);
}

static void rings(void)
{
	struct {
		u32 offset;
		u16 selector;
	} __attribute__((packed)) conforming = { (u32)conforming_target, SEL_CONFORMING };
	u32 after;

	put(SEL_CALL, guest_gate(SEL_CODE, (u32)gate_target, 0xec, 2));
	after = guest_user(user_gate, 0);
	check_equal(after, gate_seen[6], "a call gate and back: ESP as before");
	check_equal(gate_seen[0], 0x1111, "first parameter");
	check_equal(gate_seen[1], 0x2222, "second parameter");
	check_equal(gate_seen[2], SEL_CODE, "CS in the gate's target");
	check_equal(gate_seen[3], SEL_DATA, "SS from the TSS");
	check_equal(gate_seen[4], gate_seen[6] - 8, "the caller's ESP is saved");
	check_equal(gate_seen[5], SEL_USER_DATA, "and its SS");
	put(SEL_CALL, guest_gate(SEL_CODE, (u32)gate_target, 0x8c, 2));
	check_equal(guest_user(user_far, SEL_CALL | 3), VEC_GP, "a gate of DPL 0 from CPL 3");
	check_equal(guest_last.error, SEL_CALL, "error code");
	put(SEL_CALL, guest_gate(SEL_CODE, (u32)gate_target, 0x6c, 2));
	check_equal(guest_user(user_far, SEL_CALL | 3), VEC_NP, "a gate that is not present");
	put(SEL_CALL, guest_gate(0, (u32)gate_target, 0xec, 2));
	check_equal(guest_user(user_far, SEL_CALL | 3), VEC_GP, "a gate to nowhere");
	put(SEL_CONFORMING, guest_descriptor(0, 0xfffff, 0xc9f));
	check_equal(guest_user(user_conforming, (u32)&conforming), SEL_CONFORMING | 3,
		"conforming code runs at the caller's CPL");
	check_equal(guest_user(user_far, SEL_CODE), VEC_GP, "a far call inwards");
	check_equal(guest_last.error, SEL_CODE, "error code");
	check_equal(guest_user(user_load, SEL_DATA), VEC_GP, "data of DPL 0 at CPL 3");
	put(SEL_A, guest_descriptor(0, 0xfffff, 0xc93 | 0x60));
	check_equal(guest_user(user_load, SEL_A), NO_TRAP, "data of DPL 3 with RPL 0");
	check_equal(load_es(SEL_DATA | 3), VEC_GP, "RPL 3 for data of DPL 0");
	load_es(SEL_DATA);

	/* I/O map and IOPL, 12.2.4 */
	check_equal(guest_user(user_out, 0x80), VEC_GP, "OUT at CPL 3");
	guest_tss.io[0x80 / 8] &= (u8)~1;
	check_equal(guest_user(user_out, 0x80), NO_TRAP, "OUT that the I/O map permits");
	check_equal(guest_user(user_out, 0x81), VEC_GP, "its neighbour");
	guest_tss.io[0x80 / 8] = 0xff;
	check_equal(guest_user(user_sti, 0), VEC_GP, "STI at IOPL 0");
	guest_user_eflags = 3 << 12;
	check_equal(guest_user(user_out, 0x81), NO_TRAP, "OUT at IOPL 3");
	check_equal(guest_user(user_sti, 0), NO_TRAP, "STI at IOPL 3");
	guest_user_eflags = 0;
}

/* ---- tasks ---- */
static struct tss32 other;
static u8 other_stack[4096];
static u32 task_seen[8];

static void task_body(void)
{
	for (;;) {
		u32 eflags;
		u16 tr;

		__asm__ volatile("pushfl; popl %0; strw %1" : "=r"(eflags), "=m"(tr));
		task_seen[0]++;
		task_seen[1] = eflags;
		task_seen[2] = tr;
		task_seen[3] = other.link;
		task_seen[4] = read_cr0();
		task_seen[5] = (u32)(guest_gdt[SEL_TSS / 8] >> 40 & 0x1f);
		__asm__ volatile("clts");
		if (eflags & FLAG_NT)
			__asm__ volatile("iret" : : : "memory");
		else
			__asm__ volatile("ljmp %0, $0" : : "i"(SEL_TSS) : "memory");
	}
}

static void new_task(void)
{
	memset(&other, 0, sizeof(other));
	other.eip = (u32)task_body;
	other.eflags = 2;
	other.esp = (u32)other_stack + sizeof(other_stack) - 64;
	other.cs = SEL_CODE;
	other.ss = other.ds = other.es = SEL_DATA;
	other.io_map = offsetof(struct tss32, io);
	put(SEL_TASK, guest_descriptor((u32)&other, 0x67, 0x089));
}

static void tasks(void)
{
	u32 kept = 0x1234;

	memset(task_seen, 0, sizeof(task_seen));
	new_task();
	__asm__ volatile("ljmp %0, $0" : : "i"(SEL_TASK) : "memory");
	check_equal(task_seen[0], 1, "JMP to a TSS runs its task");
	check(!(task_seen[1] & FLAG_NT), "without NT");
	check_equal(task_seen[2], SEL_TASK, "TR names it");
	check(task_seen[4] & CR0_TS, "CR0.TS is set");
	check_equal(task_seen[5], 0x09, "the task left is not busy");
	check_equal(guest_gdt[SEL_TSS / 8] >> 40 & 0x1f, 0x0b, "the task come back to is busy");
	check_equal(guest_gdt[SEL_TASK / 8] >> 40 & 0x1f, 0x09, "the other is available");

	new_task();
	__asm__ volatile("lcall %1, $0" : "+b"(kept) : "i"(SEL_TASK) : "memory");
	check_equal(task_seen[0], 2, "CALL to a TSS");
	check(task_seen[1] & FLAG_NT, "NT is set in the new task");
	check_equal(task_seen[3], SEL_TSS, "the back link names the caller");
	check_equal(task_seen[5], 0x0b, "the caller stays busy");
	check_equal(kept, 0x1234, "the caller's registers are back");
	check_equal(guest_gdt[SEL_TASK / 8] >> 40 & 0x1f, 0x09, "IRET makes the task available");
	check_equal(other.eflags & FLAG_NT, 0, "and clears its NT");

	new_task();
	put(SEL_TASK_GATE, guest_gate(SEL_TASK, 0, 0x85, 0));
	__asm__ volatile("lcall %0, $0" : : "i"(SEL_TASK_GATE) : "memory");
	check_equal(task_seen[0], 3, "CALL to a task gate");
	new_task();
	guest_idt[0x60] = guest_gate(SEL_TASK, 0, 0x85, 0);
	__asm__ volatile("int $0x60" : : : "memory");
	check_equal(task_seen[0], 4, "a task gate in the IDT");
	check(task_seen[1] & FLAG_NT, "nests");

	put(SEL_TASK, guest_descriptor((u32)&other, 0x67, 0x08b));
	check_equal(guest_try("lcall %0, $0", : : "i"(SEL_TASK) : "memory"), VEC_GP, "a busy task");
	check_equal(guest_last.error, SEL_TASK, "error code");
	put(SEL_TASK, guest_descriptor((u32)&other, 0x66, 0x089));
	check_equal(guest_try("lcall %0, $0", : : "i"(SEL_TASK) : "memory"), VEC_TS, "a TSS that is too short");
	check_equal(guest_last.error, SEL_TASK, "error code");
	put(SEL_TASK, guest_descriptor((u32)&other, 0x67, 0x009));
	check_equal(guest_try("lcall %0, $0", : : "i"(SEL_TASK) : "memory"), VEC_NP, "a TSS that is not present");
	__asm__ volatile("clts");
}

/* ---- paging ---- */
static u32 *directory;
static u64 *pointers;

static void paging32(void)
{
	u32 *table = guest_pages(1), *page = guest_pages(2);
	unsigned i;

	directory = guest_pages(1);
	for (i = 0; i < 1024; i++)
		directory[i] = i << 22 | 0x87; /* 4M pages to themselves */
	page[0] = 0x1111;
	page[1024] = 0x2222;
	table[0] = (u32)page | 3;
	table[1] = ((u32)page + 4096) | 1;
	directory[0x40000000 >> 22] = (u32)table | 7;
	write_cr4(read_cr4() | CR4_PSE);
	write_cr3((u32)directory);
	write_cr0(read_cr0() | CR0_PG | CR0_WP);
	check_equal(*(volatile u32 *)0x40000000, 0x1111, "32-bit paging: 4K page");
	check_equal(*(volatile u32 *)0x40001000, 0x2222, "the next");
	check_equal(directory[0] & 0x20, 0x20, "A of the 4M page that we run in");
	check_equal(guest_try("movl $1, 0x40001000", : : : "memory"), VEC_PF, "read-only");
	check_equal(guest_last.error, 3, "error code");
	check_equal(guest_try("movl 0x40002000, %%eax", : : : "eax"), VEC_PF, "not present");
	check_equal(guest_last.error, 0, "error code");
	*(volatile u32 *)0x40000004 = 5;
	check_equal(page[1], 5, "a store");
	check_equal(table[0] & 0x60, 0x60, "A and D");
	/* a 4M page elsewhere */
	directory[0x50000000 >> 22] = 0x1000000 | 0x83;
	invlpg(0x50000000);
	check_equal(*(volatile u32 *)(0x50000000 + ((u32)page - 0x1000000)), 0x1111, "4M page");
	/* without PSE the bit means nothing: the entry points to a table */
	write_cr0(read_cr0() & ~CR0_PG);
}

static void paging_pae(void)
{
	u64 *directories = guest_pages(4), *table = guest_pages(1);
	u32 *page = guest_pages(1);
	unsigned i;

	pointers = guest_pages(1);
	for (i = 0; i < 4; i++)
		pointers[i] = (u32)(directories + 512 * i) | 1;
	for (i = 0; i < 2048; i++)
		directories[i] = (u64)i << 21 | 0x87;
	page[0] = 0x3333;
	table[0] = (u32)page | 3;
	directories[0x60000000u >> 21] = (u32)table | 7;
	write_cr4(read_cr4() | CR4_PAE);
	write_cr3((u32)pointers);
	write_cr0(read_cr0() | CR0_PG);
	check_equal(*(volatile u32 *)0x60000000, 0x3333, "PAE: 4K page");
	check_equal(*(volatile u32 *)((u32)page), 0x3333, "PAE: 2M page");
	if (!guest_tcg_wrong("A bits of PDPTEs"))
		check_equal(pointers[0] & 0x20, 0, "PDPTEs have no A bit");
	check_equal(guest_try("movl 0x60001000, %%eax", : : : "eax"), VEC_PF, "not present");
	/* PDPTEs are loaded with CR3 and not read again, 5.3.2 */
	pointers[3] = 0;
	if (!guest_tcg_wrong("PDPTEs that were loaded stay in use"))
		check_equal(guest_try("movl 0xc0000000, %%eax", : : : "eax"), NO_TRAP,
			"an old PDPTE stays in use");
	write_cr3((u32)pointers);
	check_equal(guest_try("movl 0xc0000000, %%eax", : : : "eax"), VEC_PF, "until CR3 is loaded");
	pointers[3] = (u32)(directories + 512 * 3) | 1 | BIT(1);
	if (!guest_tcg_wrong("reserved bits of PDPTEs"))
		check_equal(guest_try("movl %0, %%cr3", : : "r"(pointers)), VEC_GP, "reserved bits of a PDPTE");
	pointers[3] &= ~BIT(1);
	write_cr3((u32)pointers);
	if (cpu_has(0x80000001, 3, 20)) {
		wrmsr(0xc0000080, rdmsr(0xc0000080) | BIT(11));
		table[0] |= BIT(63);
		page[0] = 0xc3;
		invlpg(0x60000000);
		check_equal(guest_try("movl %%esp, %%ebx; movl $1f, guest_fixup; call *%0\n"
				    "1: movl %%ebx, %%esp", : : "r"(0x60000000) : "ebx", "memory"),
			VEC_PF, "PAE: NX");
		check_equal(guest_last.error, 0x11, "error code");
		__asm__ volatile("" : : : "memory");
	}
	write_cr0(read_cr0() & ~CR0_PG);
	write_cr4(read_cr4() & ~CR4_PAE);
}

/* ---- SYSENTER ---- */
extern u8 sysenter_target[], sysexit_landing[];
__asm__(".text\nsysenter_target:\n"
	"movl %cs, %ecx; movl %ecx, sysenter_seen_asm\n"
	"movl %ss, %ecx; movl %ecx, sysenter_seen_asm + 4\n"
	"movl $sysexit_landing, %edx\n"
	"movl %ebp, %ecx\n"
	"sysexit\n"
	".data\nsysenter_seen_asm: .long 0, 0\n.text\n");
extern u32 sysenter_seen_asm[2];

static u32 user_sysenter(u32 arg)
{
	u32 cs;

	__asm__ volatile("pushl %%ebp; movl %%esp, %%ebp; sysenter\n"
			 "sysexit_landing: popl %%ebp; movl %%cs, %0"
			 : "=r"(cs) : : "ecx", "edx", "memory");
	return cs;
}

static void sysenter(void)
{
	if (!cpu_has(1, 3, 11)) {
		guest_skip("SYSENTER");
		return;
	}
	/* CS, SS, user CS, user SS in a row from SEL_A */
	put(SEL_A, guest_gdt[SEL_CODE / 8]);
	put(SEL_A + 8, guest_gdt[SEL_DATA / 8]);
	put(SEL_A + 16, guest_gdt[SEL_USER_CODE / 8]);
	put(SEL_A + 24, guest_gdt[SEL_USER_DATA / 8]);
	wrmsr(0x174, SEL_A);
	wrmsr(0x175, (u32)other_stack + sizeof(other_stack));
	wrmsr(0x176, (u32)sysenter_target);
	check_equal(guest_user(user_sysenter, 0), SEL_A + 16 + 3, "SYSENTER and SYSEXIT");
	check_equal(sysenter_seen_asm[0], SEL_A, "CS of SYSENTER");
	check_equal(sysenter_seen_asm[1], SEL_A + 8, "SS of SYSENTER");
	wrmsr(0x174, 0);
	check_equal(guest_try("sysenter", : :), VEC_GP, "SYSENTER_CS null");
}

void guest_main(void)
{
	strict = !guest_tcg_wrong("limits and rights of data segments");
	limits();
	if (strict)
		stack_limit();
	other_instructions();
	ldt();
	rings();
	tasks();
	paging32();
	paging_pae();
	sysenter();
}
