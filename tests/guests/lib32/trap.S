/* SPDX-License-Identifier: MIT */
/* The entry points of the 32-bit IDT, and the way into CPL 3 and back. */
	.text
	.balign 16
	.global guest_trap_entries
guest_trap_entries:
	.set v, 0
	.rept 256
	.balign 16
	.if (v == 8) || (v >= 10 && v <= 14) || (v == 17) || (v == 21)
	.else
	pushl $0
	.endif
	pushl $v
	jmp trap_common
	.set v, v + 1
	.endr

trap_common:
	cld
	pushal
	movl %ds, %eax
	pushl %eax
	movl %es, %eax
	pushl %eax
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	pushl %esp
	call guest_trap
	addl $4, %esp
	popl %eax
	movl %eax, %es
	popl %eax
	movl %eax, %ds
	popal
	addl $8, %esp
	iretl

/* u32 guest_user(u32 (*fn)(u32), u32 arg): runs fn at CPL 3. INT 81h ends it. */
	.global guest_user, guest_user_return
guest_user:
	pushl %ebx
	pushl %ebp
	pushl %esi
	pushl %edi
	pushfl
	pushl guest_user_esp
	movl %esp, guest_user_esp
	movl 28(%esp), %ebx
	movl 32(%esp), %ecx
	leal -256(%esp), %eax
	movl %eax, guest_tss + 4
	movl $0x33, %eax
	movl %eax, %ds
	movl %eax, %es
	pushl $0x33
	pushl $(guest_user_stack_top - 256)
	pushfl
	movl %ss:guest_user_eflags, %eax
	orl %eax, (%esp)
	pushl $0x2b
	pushl $1f
	iretl
1:	pushl %ecx
	call *%ebx
	int $0x81
guest_user_return:
	movl $0x10, %ecx
	movl %ecx, %ss
	movl %ecx, %ds
	movl %ecx, %es
	movl guest_user_esp, %esp
	popl guest_user_esp
	popfl
	popl %edi
	popl %esi
	popl %ebp
	popl %ebx
	ret

	.data
	.balign 4
	.global guest_user_esp, guest_user_eflags
guest_user_esp:
	.long 0
guest_user_eflags:
	.long 0
	.section .note.GNU-stack, "", @progbits
