/* SPDX-License-Identifier: MIT */
/*
 * The way between C and translated code. The guest's registers are in the host's of the same
 * name, RSP included, so nothing is ever pushed while translated code runs: registers are saved
 * to struct cpu through gs:, and C runs on the stack that engine_enter() came from. R10 and R11
 * are the translator's; the guest's own always live in struct cpu.
 *
 * With the address sanitizer nobody can say what C does to vector registers: the guest's are put
 * away before all of it.
 */
#include "translate/entry.h"

	.text

	/* RDI, R10 and R11 stay */
	.macro PARK_FPU
#ifdef __SANITIZE_ADDRESS__
	pushq %r10
	pushq %r11
	call cpu_park_fpu
	popq %r11
	popq %r10
	movq %gs:CPU_SELF, %rdi
#endif
	.endm

	.macro SAVE_GUEST
	movq %rax, %gs:CPU_GPR+0
	movq %rcx, %gs:CPU_GPR+8
	movq %rdx, %gs:CPU_GPR+16
	movq %rbx, %gs:CPU_GPR+24
	movq %rsp, %gs:CPU_GPR+32
	movq %rbp, %gs:CPU_GPR+40
	movq %rsi, %gs:CPU_GPR+48
	movq %rdi, %gs:CPU_GPR+56
	movq %r8, %gs:CPU_GPR+64
	movq %r9, %gs:CPU_GPR+72
	movq %r12, %gs:CPU_GPR+96
	movq %r13, %gs:CPU_GPR+104
	movq %r14, %gs:CPU_GPR+112
	movq %r15, %gs:CPU_GPR+120
	movq %gs:CPU_SELF, %rdi
	movq %gs:CPU_HOST_RSP, %rsp
	PARK_FPU
	.endm

	.globl engine_enter
	.type engine_enter, @function
engine_enter:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	subq $8, %rsp
	movq %rsp, CPU_BASE+CPU_HOST_RSP(%rdi)
	movq %rsi, %rax
resume:
	/* RAX: where to go on; 0: back to engine_enter's caller */
	testq %rax, %rax
	jz 1f
#ifdef __SANITIZE_ADDRESS__
	pushq %rax
	subq $8, %rsp
	movq %gs:CPU_SELF, %rdi
	call cpu_unpark_fpu
	addq $8, %rsp
	popq %rax
#endif
	movq %rax, %gs:CPU_SCRATCH+8
	movq %gs:CPU_SCRATCH, %r11
	movq %gs:CPU_GPR+0, %rax
	movq %gs:CPU_GPR+8, %rcx
	movq %gs:CPU_GPR+16, %rdx
	movq %gs:CPU_GPR+24, %rbx
	movq %gs:CPU_GPR+32, %rsp
	movq %gs:CPU_GPR+40, %rbp
	movq %gs:CPU_GPR+48, %rsi
	movq %gs:CPU_GPR+56, %rdi
	movq %gs:CPU_GPR+64, %r8
	movq %gs:CPU_GPR+72, %r9
	movq %gs:CPU_GPR+96, %r12
	movq %gs:CPU_GPR+104, %r13
	movq %gs:CPU_GPR+112, %r14
	movq %gs:CPU_GPR+120, %r15
	jmpq *%gs:CPU_SCRATCH+8
1:
	movq %gs:CPU_HOST_RSP, %rsp
	addq $8, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

	/*
	 * R11 is a linear target: to its code if it is in one of these ways of the jump cache. R10 stays; it
	 * is in scratch[1] already with \saved.
	 */
	.macro TRY_WAYS saved, ways:vararg
	.ifb \saved
	movq %r10, %gs:CPU_SCRATCH+8
	.endif
	cmpl $0, %gs:CPU_EXIT_REQUEST
	jne 1f
	xorl %r10d, %r10d
	crc32q %r11, %r10
	andl $CONTEXT_JUMP_MASK, %r10d
	.irp way, \ways
	cmpq %gs:CONTEXT_JUMP+16*\way(%r10), %r11
	jne 2f
	jmpq *%gs:CONTEXT_JUMP+16*\way+8(%r10)
2:
	.endr
1:
	movq %gs:CPU_SCRATCH+8, %r10
	.endm

	.globl engine_miss
engine_miss:
	TRY_WAYS , 1, 2, 3
	.globl engine_far
engine_far:
	SAVE_GUEST
	movq %r11, %rsi
	call rt_far
	jmp resume

	.globl engine_chain
engine_chain:
	SAVE_GUEST
	movq %r10, %rsi
	call rt_chain
	jmp resume

	/*
	 * R11 is not in the slot of tlb_hash(): if it is in that of tlb_second(), on with the host address. One in
	 * sixteen goes to C nevertheless, which lets the page have its first slot again.
	 */
	.globl engine_second
engine_second:
	addb $16, %gs:CPU_SCRATCH+40
	jc engine_access
	movq %rax, %gs:CPU_SCRATCH
	movq %rcx, %gs:CPU_SCRATCH+8
	movq %r11, %rax
	movq %r11, %rcx
	shrq $12, %rax
	shrq $12 + CONTEXT_TLB_BITS, %rcx
	xorl %ecx, %eax
	xorl $1 << (CONTEXT_TLB_BITS - 1), %eax
	andl $(1 << CONTEXT_TLB_BITS) - 1, %eax
	shll $ENTRY_SIZE_LOG, %eax
	movzbl SITE_TAG(%r10), %ecx
	movq %gs:(%rax,%rcx), %rcx
	negq %rcx
	addq %r11, %rcx
	/* from the page's start */
	testq $-4096, %rcx
	jnz 1f
	cmpw SITE_LAST(%r10), %cx
	ja 1f
	movq %rcx, %r11
	addq %gs:ENTRY_HOST(%rax), %r11
	movslq SITE_WAY(%r10), %rcx
	addq %rcx, %r10
	movq %gs:CPU_SCRATCH+8, %rcx
	movq %gs:CPU_SCRATCH, %rax
	jmpq *%r10
1:
	movq %gs:CPU_SCRATCH+8, %rcx
	movq %gs:CPU_SCRATCH, %rax
	.globl engine_access
engine_access:
	SAVE_GUEST
	movq %r10, %rsi
	movq %r11, %rdx
	call rt_access
	jmp resume

	/* The site and the instruction behind it are in no cache of the host as a rule, see rt_exec(). */
	.globl engine_exec
engine_exec:
	prefetcht0 (%r10)
	prefetcht0 64(%r10)
	prefetcht0 128(%r10)
	SAVE_GUEST
	movq %r10, %rsi
	call rt_exec
	jmp resume

	.globl engine_commit
engine_commit:
	SAVE_GUEST
	movq %r10, %rsi
	call rt_commit
	jmp resume

	.globl engine_link
engine_link:
	SAVE_GUEST
	movq %r10, %rsi
	call rt_link
	jmp resume

	.globl engine_jump_flags
engine_jump_flags:
	movq %r10, %gs:CPU_SCRATCH+8
	movq %rax, %r10
	lahf
	seto %al
	movw %ax, %gs:CPU_AFLAGS
	movq %r10, %rax
	TRY_WAYS saved, 0, 1, 2, 3
	jmp engine_branch
	.globl engine_jump
engine_jump:
	TRY_WAYS , 0, 1, 2, 3
	jmp engine_branch
	.globl engine_branch_miss
engine_branch_miss:
	TRY_WAYS , 1, 2, 3
	.globl engine_branch
engine_branch:
	SAVE_GUEST
	movq %r10, %rsi
	movq %r11, %rdx
	call rt_branch
	jmp resume

	.globl engine_native_fault
engine_native_fault:
	movq %gs:CPU_SELF, %rdi
	movq %gs:CPU_HOST_RSP, %rsp
	PARK_FPU
	call rt_native_fault
	jmp resume

	.globl engine_retry, engine_retry_jump
engine_retry:
	movq %gs:CPU_STRAY_RSP, %rsp
engine_retry_jump:
	jmpq *%gs:CPU_STRAY_RIP

	.section .note.GNU-stack, "", @progbits
