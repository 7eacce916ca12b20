/* SPDX-License-Identifier: MIT */
/* void svm_enter(u64 vmcb, struct svm_regs *regs, bool host_if, bool keep_gif) */
	.text
	.global svm_enter
svm_enter:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	pushq %rcx
	pushq %rsi
	clgi
	testb %dl, %dl
	jz 1f
	sti
1:	movq %rdi, %rax
	movq 0x00(%rsi), %rcx
	movq 0x08(%rsi), %rdx
	movq 0x10(%rsi), %rbx
	movq 0x18(%rsi), %rbp
	movq 0x28(%rsi), %rdi
	movq 0x30(%rsi), %r8
	movq 0x38(%rsi), %r9
	movq 0x40(%rsi), %r10
	movq 0x48(%rsi), %r11
	movq 0x50(%rsi), %r12
	movq 0x58(%rsi), %r13
	movq 0x60(%rsi), %r14
	movq 0x68(%rsi), %r15
	movq 0x20(%rsi), %rsi
	.global svm_vmrun_insn
svm_vmrun_insn:
	vmrun %rax
	movq %rsi, %rax
	popq %rsi
	movq %rcx, 0x00(%rsi)
	movq %rdx, 0x08(%rsi)
	movq %rbx, 0x10(%rsi)
	movq %rbp, 0x18(%rsi)
	movq %rax, 0x20(%rsi)
	movq %rdi, 0x28(%rsi)
	movq %r8, 0x30(%rsi)
	movq %r9, 0x38(%rsi)
	movq %r10, 0x40(%rsi)
	movq %r11, 0x48(%rsi)
	movq %r12, 0x50(%rsi)
	movq %r13, 0x58(%rsi)
	movq %r14, 0x60(%rsi)
	movq %r15, 0x68(%rsi)
	popq %rcx
	testb %cl, %cl
	jnz 1f
	stgi
	nop
1:	cli
	cld
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret
	.section .note.GNU-stack, "", @progbits
