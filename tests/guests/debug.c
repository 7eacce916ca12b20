/* SPDX-License-Identifier: MIT */
/* Single-step, breakpoints in DR0-3, RF, DR6 and DR7's rules, ICEBP. APM2 chapter 13. */
#include "guest.h"

#define DR7_LOCAL(n) (1ull << (2 * (n)))
#define DR7_TYPE(n, type, len) ((u64)(type) << (16 + 4 * (n)) | (u64)(len) << (18 + 4 * (n)))
enum { EXECUTE, WRITE, IO, ACCESS };

static struct {
	u64 rip, dr6, rflags;
} hits[32];
static volatile unsigned hit_count;
static bool set_rf, clear_tf;

static void on_debug(struct frame *frame)
{
	if (hit_count < ARRAY_SIZE(hits)) {
		hits[hit_count].rip = frame->rip;
		hits[hit_count].dr6 = read_dr6();
		hits[hit_count].rflags = frame->rflags;
	}
	hit_count++;
	write_dr6(0xffff0ff0);
	if (set_rf)
		frame->rflags |= FLAG_RF;
	if (clear_tf)
		frame->rflags &= ~FLAG_TF;
	if (hit_count > 1000)
		guest_exit(GUEST_FAIL);
}

static void start(void)
{
	hit_count = 0;
	write_dr6(0xffff0ff0);
	__asm__ volatile("" : : : "memory");
}

static void single_step(void)
{
	u64 at[6], a;

	start();
	__asm__ volatile("leaq 1f(%%rip), %%rax; movq %%rax, 0(%1); leaq 2f(%%rip), %%rax; movq %%rax, 8(%1)\n\t"
			 "leaq 3f(%%rip), %%rax; movq %%rax, 16(%1); leaq 4f(%%rip), %%rax; movq %%rax, 24(%1)\n\t"
			 "pushfq; orq $0x100, (%%rsp); popfq\n"
			 "nop\n1: movl $3, %%ecx\n2: pushfq\n3: popq %0; jmp 4f\n\tud2\n4:\n\t"
			 "pushfq; andq $~0x100, (%%rsp); popfq; nop"
			 : "=&r"(a) : "r"(at) : "rax", "rcx", "memory");
	check_equal(hits[0].rip, at[0], "TF: the trap comes after the instruction that follows POPF");
	check_equal(hits[0].dr6, 0xffff4ff0, "DR6.BS");
	check_equal(hits[1].rip, at[1], "then after each");
	check_equal(hits[2].rip, at[2], "third");
	check(a & FLAG_TF, "PUSHF shows TF");
	check_equal(hits[4].rip, at[3], "a jump traps at its target");
	check(hits[0].rflags & FLAG_TF, "TF is set in the frame");
	/* pushfq, andq, popfq: POPF that clears TF still traps */
	check_equal(hit_count, 8, "POPF that clears TF traps a last time");

	/* REP traps after each step */
	static u8 buffer[8];
	start();
	__asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; rep stosb; pushfq; andq $~0x100, (%%rsp); popfq"
			 : : "D"(buffer), "c"(5), "a"(1) : "memory");
	check_equal(hit_count, 8, "REP STOSB traps after each of its 5 steps");
	/* SDM3 18.3.1.1 */
	check(hits[0].rflags & FLAG_RF, "RF is set in the frame of a step before the last");
	check(hits[3].rflags & FLAG_RF, "and of the last but one");
	check(!(hits[4].rflags & FLAG_RF), "but not of the last");

	/* INT n clears TF for the handler, IRET brings it back */
	start();
	__asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; int $0x60; nop\n\t"
			 "pushfq; andq $~0x100, (%%rsp); popfq" : : : "memory");
	/* none after INT, which clears TF, none after IRET, which began without it; then four */
	check_equal(hit_count, 4, "traps of TF over INT n and its IRET");
}

static u64 user_step(u64 arg)
{
	u64 a;

	__asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq; nop; nop; pushfq; popq %0\n\t"
			 "pushfq; andq $~0x100, (%%rsp); popfq" : "=r"(a) : : "memory");
	return a;
}

static void execute_breakpoints(void)
{
	static u8 stored[5];
	u64 at, next, steps = sizeof(stored);
	u8 *to = stored;

	start();
	set_rf = true;
	__asm__ volatile("leaq 1f(%%rip), %0; leaq 2f(%%rip), %1" : "=r"(at), "=r"(next));
	__asm__ volatile("jmp 3f\n1: nop\n2: nop; jmp 4f\n3:" : :);
	__asm__ volatile("movq %0, %%dr0; movq %1, %%dr7; jmp 1b\n4:" : : "r"(at),
			 "r"(0x400 | DR7_LOCAL(0) | DR7_TYPE(0, EXECUTE, 0)) : "memory");
	write_dr7(0x400);
	check_equal(hit_count, 1, "an execution breakpoint hits once, RF in the frame passes it");
	check_equal(hits[0].rip, at, "it is a fault");
	check_equal(hits[0].dr6, 0xffff0ff1, "DR6.B0");
	/* SDM3 6.8.3: of all faults this one alone does not set RF in the frame */
	check(!(hits[0].rflags & FLAG_RF), "RF is clear in the frame");
	/* and RF lasts until the instruction is done: SDM3 18.3.1.1 */
	start();
	__asm__ volatile("leaq 1f(%%rip), %%rdx; movq %%rdx, %%dr0; movq %2, %%dr7\n"
			 "1: rep stosb"
			 : "+D"(to), "+c"(steps)
			 : "r"(0x400 | DR7_LOCAL(0) | DR7_TYPE(0, EXECUTE, 0)), "a"(1) : "rdx", "memory");
	write_dr7(0x400);
	check_equal(hit_count, 1, "a breakpoint on REP STOSB hits once, not at each step");
	check_equal(steps, 0, "it went on to its end");
	set_rf = false;
}

static u64 target __attribute__((aligned(16)));
static u64 other __attribute__((aligned(16)));

static void data_breakpoints(void)
{
	u64 after, lens[] = { 0, 1, 3, 2 }, sizes[] = { 1, 2, 4, 8 };

	write_dr1((u64)&target);
	start();
	write_dr7(0x400 | DR7_LOCAL(1) | DR7_TYPE(1, WRITE, 2));
	__asm__ volatile("movl $5, %1\n1: leaq 1b(%%rip), %0" : "=r"(after), "=m"(target));
	check_equal(hit_count, 1, "a write breakpoint");
	check_equal(hits[0].rip, after, "is a trap");
	check_equal(hits[0].dr6, 0xffff0ff2, "DR6.B1");
	start();
	__asm__ volatile("movl %0, %%eax; movl $1, %1" : : "m"(target), "m"(other) : "rax", "memory");
	check_equal(hit_count, 0, "reads do not hit a write breakpoint, nor other writes");
	__asm__ volatile("movb $1, 7+%0" : "=m"(target));
	check_equal(hit_count, 1, "the last of 8 bytes");
	start();
	__asm__ volatile("movl $1, -3+%0" : "=m"(target));
	check_equal(hit_count, 1, "an access that reaches in from below");
	write_dr7(0x400 | DR7_LOCAL(1) | DR7_TYPE(1, ACCESS, 3));
	start();
	__asm__ volatile("movl %0, %%eax" : : "m"(target) : "rax", "memory");
	check_equal(hit_count, 1, "an access breakpoint hits on reads");
	start();
	__asm__ volatile("addl $1, %0" : "+m"(target) : : "cc");
	check_equal(hit_count, 1, "a read-modify-write hits once");
	start();
	__asm__ volatile("movq %0, %%rsi; leaq %1, %%rdi; movsq" : : "r"(&target), "m"(other) : "rsi", "rdi", "memory");
	check_equal(hit_count, 1, "MOVS");
	for (unsigned i = 0; i < 4; i++) {
		write_dr7(0x400 | DR7_LOCAL(1) | DR7_TYPE(1, WRITE, lens[i]));
		start();
		__asm__ volatile("movb $1, (%0)" : : "r"((u8 *)&target + sizes[i] - 1) : "memory");
		check_equal(hit_count, 1, "length %lu: its last byte", sizes[i]);
		start();
		__asm__ volatile("movb $1, (%0)" : : "r"((u8 *)&target + sizes[i]) : "memory");
		check_equal(hit_count, 0, "length %lu: the byte after", sizes[i]);
	}
	/* a store that faults does not hit */
	write_dr7(0x400);
	start();
	__asm__ volatile("movl $9, %0" : "=m"(target));
	check_equal(hit_count, 0, "disabled breakpoints are silent");
}

static void registers(void)
{
	check_equal(read_dr7() & 0x400, 0x400, "DR7 bit 10 reads 1");
	write_dr6(0);
	check_equal(read_dr6() & 0xffff0ff0, 0xffff0ff0, "DR6's fixed bits read 1");
	check_equal(guest_try("movq %0, %%dr7", : : "r"(1ull << 32)), VEC_GP, "DR7 upper half");
	check_equal(guest_try("movq %0, %%dr6", : : "r"(1ull << 32)), VEC_GP, "DR6 upper half");
	write_dr0(0x123456789abcdef0);
	check_equal(read_dr0(), 0x123456789abcdef0, "DR0 has 64 bits");
	/* DR4 and DR5 */
	write_cr4(read_cr4() & ~CR4_DE);
	check_equal(guest_try("movq %%dr4, %%rax", : : : "rax"), NO_TRAP, "DR4 is DR6 without CR4.DE");
	write_cr4(read_cr4() | CR4_DE);
	check_equal(guest_try("movq %%dr4, %%rax", : : : "rax"), VEC_UD, "with CR4.DE it is #UD");
	/* general detect */
	if (guest_tcg_wrong("DR7.GD"))
		return;
	start();
	guest_set_handler(VEC_DB, NULL);
	write_dr7(0x400 | BIT(13));
	check_equal(guest_try("movq %%dr0, %%rax", : : : "rax"), VEC_DB, "DR7.GD");
	check(guest_last.dr6 & BIT(13), "DR6.BD");
	guest_set_handler(VEC_DB, on_debug);
	check(!(read_dr7() & BIT(13)), "GD is clear in the handler");
	write_dr7(0x400);
}

static void icebp(void)
{
	u64 after;

	if (guest_tcg_wrong("INT1"))
		return;
	start();
	__asm__ volatile(".byte 0xf1\n1: leaq 1b(%%rip), %0" : "=r"(after) : : "memory");
	check_equal(hit_count, 1, "INT1");
	check_equal(hits[0].rip, after, "INT1 is a trap");
	start();
	write_dr7(0x400 | BIT(13));
	__asm__ volatile(".byte 0xf1" : : : "memory");
	check_equal(hit_count, 1, "INT1 ends general detection: its handler reads DR6");
}

static void on_int(struct frame *frame)
{
	check(!(read_rflags() & FLAG_TF), "TF is clear in a handler");
}

void guest_main(void)
{
	guest_set_handler(VEC_DB, on_debug);
	guest_set_handler(0x60, on_int);
	single_step();
	start();
	check(guest_user(user_step, 0) & FLAG_TF, "TF at CPL 3");
	check_equal(hit_count, 7, "traps at CPL 3");
	execute_breakpoints();
	data_breakpoints();
	registers();
	icebp();
}
