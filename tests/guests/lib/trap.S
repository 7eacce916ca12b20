/* SPDX-License-Identifier: MIT */
/* The 256 entry points of the IDT, the way into CPL 3 and back, and catching of exceptions. */
	.text
	.balign 16
	.global guest_trap_entries
guest_trap_entries:
	.set v, 0
	.rept 256
	.balign 16
	.if (v == 8) || (v >= 10 && v <= 14) || (v == 17) || (v == 21) || (v == 29) || (v == 30)
	.else
	pushq $0
	.endif
	pushq $v
	jmp trap_common
	.set v, v + 1
	.endr

trap_common:
	cld
	pushq %rax
	pushq %rcx
	pushq %rdx
	pushq %rbx
	pushq %rbp
	pushq %rsi
	pushq %rdi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, %rdi
	movq %rsp, %rbp
	andq $-16, %rsp
	call guest_trap
	movq %rbp, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rdi
	popq %rsi
	popq %rbp
	popq %rbx
	popq %rdx
	popq %rcx
	popq %rax
	addq $16, %rsp
	iretq

/* unsigned guest_catch(void (*fn)(void *), void *arg): the vector that fn raised, or 256. */
	.global guest_catch, guest_catch_landing
guest_catch:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	pushfq
	pushq guest_catch_rsp
	movq %rsp, guest_catch_rsp
	movq %rdi, %rax
	movq %rsi, %rdi
	subq $8, %rsp
	call *%rax
	movl $256, %eax
	movq guest_catch_rsp, %rsp
/* The trap handler comes here with the vector in EAX and RSP as it was saved. */
guest_catch_landing:
	popq guest_catch_rsp
	popfq
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

/* u64 guest_user(u64 (*fn)(u64), u64 arg): runs fn at CPL 3 in 64-bit mode. INT 81h ends it. */
	.global guest_user, guest_user_return
guest_user:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	pushfq
	pushq tss_rsp0
	pushq guest_user_rsp
	movq %rsp, guest_user_rsp
	leaq -512(%rsp), %rax	/* handlers run below this frame */
	andq $-16, %rax
	movq %rax, tss_rsp0
	movq %rdi, %rbx
	movq %rsi, %rdi
	pushq $0x43
	pushq $(guest_user_stack_top - 256)
	pushfq
	movq guest_user_rflags, %rax
	orq %rax, (%rsp)
	pushq $0x4b
	pushq $1f
	iretq
1:	call *%rbx
	int $0x81

/* Reached from the gate of INT 81h with fn's value in RAX. */
guest_user_return:
	movl $0x10, %ecx
	movl %ecx, %ss
	movl %ecx, %ds
	movl %ecx, %es
	movq guest_user_rsp, %rsp
	popq guest_user_rsp
	popq tss_rsp0
	popfq
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

	.data
	.balign 8
	.global guest_catch_rsp, guest_user_rsp, guest_user_rflags, tss_rsp0, guest_tss
guest_catch_rsp:
	.quad 0
guest_user_rsp:
	.quad 0
guest_user_rflags:		/* ORed into RFLAGS of code at CPL 3 */
	.quad 0
	.balign 128
	.skip 4			/* so that the quadwords of the TSS are aligned */
guest_tss:
	.long 0
tss_rsp0:
	.quad 0, 0, 0
	.quad 0
	.quad 0, 0, 0, 0, 0, 0, 0	/* IST1..7 */
	.quad 0
	.word 0
	.word 104		/* I/O map base: the map follows */
	.fill 8192 + 1, 1, 0xff

	.bss
	.balign 4096
	.global guest_user_stack_top
	.skip 16384
guest_user_stack_top:

	.section .note.GNU-stack, "", @progbits
