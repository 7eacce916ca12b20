/* SPDX-License-Identifier: MIT */
/* A 32-bit guest stays where the multiboot loader left it: protected mode, no paging. */
	.section .multiboot, "a"
	.balign 4
	.long 0x1badb002
	.long 0
	.long -0x1badb002

	.text
	.global guest_start
guest_start:
	cli
	cld
	movl %eax, guest_boot_magic
	movl %ebx, guest_boot_info
	movl $guest_stack_top, %esp
	xorl %ebp, %ebp
	/* NE, MP, PE */
	movl $0x33, %eax
	movl %eax, %cr0
	lgdt guest_gdtr
	ljmp $0x08, $1f
1:	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl %eax, %fs
	movl %eax, %gs
	call guest_setup
	call guest_main
	call guest_finish
2:	hlt
	jmp 2b

	.data
	.balign 16
	.global guest_gdt, guest_gdtr, guest_boot_magic, guest_boot_info
guest_gdt:
	.quad 0
	.quad 0x00cf9b000000ffff	/* 08 code, 32 bits */
	.quad 0x00cf93000000ffff	/* 10 data */
	.quad 0x00009b000000ffff	/* 18 code, 16 bits, base 0 */
	.quad 0x000093000000ffff	/* 20 data, 16 bits, base 0 */
	.quad 0x00cffb000000ffff	/* 28 code, 32 bits, CPL 3 */
	.quad 0x00cff3000000ffff	/* 30 data, CPL 3 */
	.quad 0				/* 38 TSS, filled by guest_setup */
	.fill 64 - 8, 8, 0		/* 40.. free for tests */
guest_gdt_end:
guest_gdtr:
	.word guest_gdt_end - guest_gdt - 1
	.long guest_gdt
	.balign 4
guest_boot_magic:
	.long 0
guest_boot_info:
	.long 0

	.bss
	.balign 4096
	.global guest_stack_top, guest_user_stack_top
	.skip 16384
guest_user_stack_top:
	.skip 32768
guest_stack_top:

	.section .note.GNU-stack, "", @progbits
