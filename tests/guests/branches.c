/* SPDX-License-Identifier: MIT */
/* Control-transfer recording and single-stepping by branches: DEBUGCTL, APM2 13.1.1.6, 13.1.6. */
#include "guest.h"

#define MSR_DEBUGCTL 0x1d9
#define MSR_BRANCH_FROM 0x1db
#define MSR_BRANCH_TO 0x1dc
#define MSR_INT_FROM 0x1dd
#define MSR_INT_TO 0x1de

/* WRMSR of a constant, in assembly: nothing but what stands there branches. */
#define DEBUGCTL(value) "movl $0x1d9, %%ecx; movl $" #value ", %%eax; xorl %%edx, %%edx; wrmsr\n\t"
#define CLOBBERS "rax", "rcx", "rdx", "rsi", "r11", "memory", "cc"

/* Runs code with recording on: it must leave a record from its label 1 to its label 2. */
#define RECORDED(what, before, code) \
	do { \
		u64 at, target; \
		__asm__ volatile("leaq 1f(%%rip), %0; leaq 2f(%%rip), %1\n\t" before "\n\t" \
				 DEBUGCTL(1) code "\n\t" DEBUGCTL(0) \
				 : "=&r"(at), "=&r"(target) : : CLOBBERS); \
		check_equal(rdmsr(MSR_BRANCH_FROM), at, what ": LASTBRANCHFROMIP"); \
		check_equal(rdmsr(MSR_BRANCH_TO), target, what ": LASTBRANCHTOIP"); \
	} while (0)

static void near_branches(void)
{
	u64 from, to;

	RECORDED("JMP", "", "1: jmp 2f; ud2; 2:");
	/* a loop within a page, which translators like to link to itself */
	__asm__ volatile("leaq 1f(%%rip), %0; leaq 2f(%%rip), %1; xorl %%esi, %%esi\n\t" DEBUGCTL(1)
			 "2: incl %%esi; cmpl $100, %%esi; 1: jne 2b\n\t" DEBUGCTL(0)
			 : "=&r"(from), "=&r"(to) : : CLOBBERS);
	check_equal(rdmsr(MSR_BRANCH_FROM), from, "a loop: LASTBRANCHFROMIP");
	check_equal(rdmsr(MSR_BRANCH_TO), to, "a loop: LASTBRANCHTOIP");
}

static void conditional_branches(void)
{
	RECORDED("JZ taken", "", "xorl %%esi, %%esi; 1: jz 2f; ud2; 2:");
	RECORDED("JZ to the next instruction", "", "xorl %%esi, %%esi; 1: jz 2f; 2:");
	RECORDED("JZ not taken", "", "1: jmp 2f; 2: testq %%rsp, %%rsp; jz 3f; 3:");
	RECORDED("LOOP", "", "movl $2, %%ecx; 1: loop 2f; ud2; 2:");
	RECORDED("LOOP not taken", "", "1: jmp 2f; ud2; 2: movl $1, %%ecx; loop 3f; 3:");
	RECORDED("JRCXZ", "", "xorl %%ecx, %%ecx; 1: jrcxz 2f; ud2; 2:");
}

u64 far_pointer[2]; /* named in assembly */

static void far_branches(void)
{
	RECORDED("JMP to another page", "", "1: jmp 2f; .skip 5000, 0xcc; 2:");
	RECORDED("JMP register", "leaq 2f(%%rip), %%rsi", "1: jmp *%%rsi; ud2; 2:");
	RECORDED("CALL", "", "1: call 2f; ud2; 2: popq %%rsi");
	RECORDED("CALL register", "leaq 2f(%%rip), %%rsi", "1: call *%%rsi; ud2; 2: popq %%rsi");
	RECORDED("RET", "leaq 2f(%%rip), %%rsi; pushq %%rsi", "1: ret; ud2; 2:");
	RECORDED("JMP memory", "leaq 2f(%%rip), %%rsi; movq %%rsi, far_pointer(%%rip)",
		"1: jmp *far_pointer(%%rip); ud2; 2:");
	RECORDED("JMP far", "leaq 2f(%%rip), %%rsi; movq %%rsi, far_pointer(%%rip)\n\t"
		"movl $8, 4+far_pointer(%%rip)", "1: ljmp *far_pointer(%%rip); ud2; 2:");
	RECORDED("RET far", "pushq $8; leaq 2f(%%rip), %%rsi; pushq %%rsi", "1: lretq; ud2; 2:");
	RECORDED("IRET", "movq %%rsp, %%rsi; pushq $0x10; pushq %%rsi; pushfq; pushq $8\n\t"
		"leaq 2f(%%rip), %%rsi; pushq %%rsi", "1: iretq; ud2; 2:");
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
	wrmsr(MSR_STAR, 8ull << 32);
	wrmsr(MSR_SFMASK, 0);
	RECORDED("SYSCALL", "leaq 2f(%%rip), %%rax; movq %%rax, %%rdx; shrq $32, %%rdx\n\t"
		"movl $0xc0000082, %%ecx; wrmsr", "1: syscall; ud2; 2:");
}

/* Ends recording before anything branches. */
__asm__(".text\nhandler:\n\tmovl $0x1d9, %ecx; xorl %eax, %eax; xorl %edx, %edx; wrmsr\n\t"
	"movq resume(%rip), %rax; movq %rax, (%rsp); iretq\n");
extern u8 handler[];
u64 resume; /* named in assembly */

#define INTERRUPTED(what, code) \
	do { \
		u64 first, second, interrupted; \
		__asm__ volatile("leaq 1f(%%rip), %0; leaq 2f(%%rip), %1; leaq 3f(%%rip), %2\n\t" \
				 "leaq 4f(%%rip), %%rax; movq %%rax, resume(%%rip)\n\t" \
				 DEBUGCTL(1) "1: jmp 2f; ud2; 2: nop\n\t" code "\n4:" \
				 : "=&r"(first), "=&r"(second), "=&r"(interrupted) : : CLOBBERS); \
		check_equal(rdmsr(MSR_BRANCH_FROM), interrupted, what ": LASTBRANCHFROMIP"); \
		check_equal(rdmsr(MSR_BRANCH_TO), handler, what ": LASTBRANCHTOIP"); \
		check_equal(rdmsr(MSR_INT_FROM), first, what ": LASTINTFROMIP"); \
		check_equal(rdmsr(MSR_INT_TO), second, what ": LASTINTTOIP"); \
	} while (0)

static void interrupts(void)
{
	guest_set_gate(0x61, handler, SEL_CODE64, 0x8e, 0);
	guest_set_gate(VEC_UD, handler, SEL_CODE64, 0x8e, 0);
	INTERRUPTED("INT n", "3: int $0x61");
	INTERRUPTED("#UD", "3: ud2");
}

static u64 debugctl, step_rip, step_dr6;
static unsigned steps;

static void on_debug(struct frame *frame)
{
	steps++;
	debugctl = rdmsr(MSR_DEBUGCTL);
	step_rip = frame->rip;
	step_dr6 = read_dr6();
	write_dr6(0xffff0ff0);
	frame->rflags &= ~FLAG_TF;
}

static void debug_exceptions(void)
{
	u64 from, to, at;

	guest_set_handler(VEC_DB, on_debug);
	write_dr6(0xffff0ff0);
	__asm__ volatile("leaq 1f(%%rip), %0; leaq 2f(%%rip), %1\n\t" DEBUGCTL(1)
			 "1: jmp 2f; ud2; 2: pushfq; orq $0x100, (%%rsp); popfq; nop\n\t"
			 : "=&r"(from), "=&r"(to) : : CLOBBERS);
	check_equal(steps, 1, "single step");
	check_equal(debugctl, 0, "#DB ends recording");
	check_equal(rdmsr(MSR_BRANCH_FROM), from, "and is not recorded");
	check_equal(rdmsr(MSR_BRANCH_TO), to, "and is not recorded");

	steps = 0;
	__asm__ volatile("leaq 2f(%%rip), %0\n\t" DEBUGCTL(2)
			 "pushfq; orq $0x100, (%%rsp); popfq; nop; nop; movl $7, %%esi\n\t"
			 "testq %%rsp, %%rsp; jz 3f; 3: nop; jnz 2f; ud2; 2: nop; nop"
			 : "=&r"(at) : : CLOBBERS);
	check_equal(steps, 1, "BTF: one trap");
	check_equal(step_rip, at, "after the first branch taken");
	check_equal(step_dr6, 0xffff4ff0, "DR6.BS");
	check_equal(debugctl, 0, "#DB clears BTF");
	steps = 0;
	__asm__ volatile("leaq 2f(%%rip), %0; pushq %0\n\t" DEBUGCTL(2)
			 "pushfq; orq $0x100, (%%rsp); popfq; nop; ret; ud2; 2: nop; nop"
			 : "=&r"(at) : : CLOBBERS);
	check_equal(step_rip, at, "BTF: RET");
	steps = 0;
	__asm__ volatile("leaq 2f(%%rip), %0; pushq $8; pushq %0\n\t" DEBUGCTL(2)
			 "pushfq; orq $0x100, (%%rsp); popfq; nop; lretq; ud2; 2: nop; nop"
			 : "=&r"(at) : : CLOBBERS);
	check_equal(step_rip, at, "BTF: RET far");
	if (guest_tcg_wrong("INT1"))
		return;
	wrmsr(MSR_DEBUGCTL, 1);
	__asm__ volatile(".byte 0xf1" : : : "memory");
	check_equal(debugctl, 0, "INT1 ends recording");
}

void guest_main(void)
{
	if (guest_tcg_wrong("DEBUGCTL"))
		return;
	check_equal(rdmsr(MSR_DEBUGCTL), 0, "DEBUGCTL after reset");
	check_equal(guest_try("wrmsr", : : "c"(MSR_DEBUGCTL), "a"(0), "d"(1)), VEC_GP,
		"DEBUGCTL's reserved bits");
	near_branches();
	conditional_branches();
	far_branches();
	interrupts();
	debug_exceptions();
}
