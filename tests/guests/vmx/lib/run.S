/* SPDX-License-Identifier: MIT */
/* u64 vmx_enter(struct vmx_regs *regs, bool launch): 0: the guest ran; else RFLAGS of the failure */
#define HOST_RSP 0x6c14
#define HOST_RIP 0x6c16

	.text
	.global vmx_enter
vmx_enter:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	pushq %rdi
	movl $HOST_RSP, %eax
	vmwrite %rsp, %rax
	movl $HOST_RIP, %eax
	movl $exited, %ecx
	vmwrite %rcx, %rax
	testb %sil, %sil
	movq 0x00(%rdi), %rax
	movq 0x08(%rdi), %rcx
	movq 0x10(%rdi), %rdx
	movq 0x18(%rdi), %rbx
	movq 0x20(%rdi), %rbp
	movq 0x28(%rdi), %rsi
	movq 0x38(%rdi), %r8
	movq 0x40(%rdi), %r9
	movq 0x48(%rdi), %r10
	movq 0x50(%rdi), %r11
	movq 0x58(%rdi), %r12
	movq 0x60(%rdi), %r13
	movq 0x68(%rdi), %r14
	movq 0x70(%rdi), %r15
	movq 0x30(%rdi), %rdi
	jz 1f
	vmlaunch
	jmp 2f
1:	vmresume
2:	pushfq
	popq %rax
	addq $8, %rsp
	jmp 3f

exited:
	pushq %rdi
	movq 8(%rsp), %rdi
	movq %rax, 0x00(%rdi)
	movq %rcx, 0x08(%rdi)
	movq %rdx, 0x10(%rdi)
	movq %rbx, 0x18(%rdi)
	movq %rbp, 0x20(%rdi)
	movq %rsi, 0x28(%rdi)
	popq 0x30(%rdi)
	movq %r8, 0x38(%rdi)
	movq %r9, 0x40(%rdi)
	movq %r10, 0x48(%rdi)
	movq %r11, 0x50(%rdi)
	movq %r12, 0x58(%rdi)
	movq %r13, 0x60(%rdi)
	movq %r14, 0x68(%rdi)
	movq %r15, 0x70(%rdi)
	addq $8, %rsp
	xorl %eax, %eax
3:	cld
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret
	.section .note.GNU-stack, "", @progbits
