/* SPDX-License-Identifier: MIT */
/*
 * From the loader's 32-bit protected mode (Multiboot Specification 0.6.96, 3.2) to long mode with
 * the first 4 GiB mapped to themselves by 2 MiB pages, all of them open to CPL 3, and then to C.
 */
	.section .multiboot, "a"
	.balign 4
	.long 0x1badb002
	.long 0
	.long -0x1badb002

	.text
	.code32
	.global guest_start
guest_start:
	cli
	cld
	movl %eax, guest_boot_magic
	movl %ebx, guest_boot_info
	movl $guest_stack_top, %esp

	/* PML4 -> PDPT -> four page directories of 512 pages of 2 MiB */
	movl $(guest_pdpt + 7), guest_pml4
	movl $guest_pd, %eax
	orl $7, %eax
	xorl %ecx, %ecx
1:	movl %eax, guest_pdpt(, %ecx, 8)
	addl $4096, %eax
	incl %ecx
	cmpl $4, %ecx
	jne 1b
	movl $0x87, %eax
	xorl %ecx, %ecx
2:	movl %eax, guest_pd(, %ecx, 8)
	addl $0x200000, %eax
	incl %ecx
	cmpl $2048, %ecx
	jne 2b

	/* PAE, OSFXSR, OSXMMEXCPT */
	movl %cr4, %eax
	orl $0x620, %eax
	movl %eax, %cr4
	movl $guest_pml4, %eax
	movl %eax, %cr3
	/* EFER: SCE, LME, and NXE, which every CPU with long mode that we meet has */
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x901, %eax
	wrmsr
	/* PG, WP, NE, MP, PE; EM, TS, CD and NW off */
	movl $0x80010033, %eax
	movl %eax, %cr0
	lgdt guest_gdtr
	ljmp $0x08, $start64

	.code64
start64:
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	movq $guest_stack_top, %rsp
	xorl %ebp, %ebp
	call guest_setup
	call guest_main
	call guest_finish
1:	hlt
	jmp 1b

	.data
	.balign 16
	.global guest_gdt, guest_gdtr, guest_boot_magic, guest_boot_info
guest_gdt:
	.quad 0
	.quad 0x00af9b000000ffff	/* 08 code, 64 bits */
	.quad 0x00cf93000000ffff	/* 10 data */
	.quad 0x00cf9b000000ffff	/* 18 code, 32 bits */
	.quad 0x00cf93000000ffff	/* 20 data */
	.quad 0x00009b000000ffff	/* 28 code, 16 bits, base 0 */
	.quad 0x000093000000ffff	/* 30 data, 16 bits, base 0 */
	.quad 0x00cffb000000ffff	/* 38 code, 32 bits, CPL 3; SYSRET's order from here */
	.quad 0x00cff3000000ffff	/* 40 data, CPL 3 */
	.quad 0x00affb000000ffff	/* 48 code, 64 bits, CPL 3 */
	.quad 0, 0			/* 50 TSS, filled by guest_setup */
	.fill 64 - 12, 8, 0		/* 60.. free for tests */
guest_gdt_end:
guest_gdtr:
	.word guest_gdt_end - guest_gdt - 1
	.quad guest_gdt
	.balign 8
guest_boot_magic:
	.long 0
guest_boot_info:
	.long 0

	.bss
	.balign 4096
	.global guest_pml4, guest_pdpt, guest_pd, guest_stack_top
guest_pml4:
	.skip 4096
guest_pdpt:
	.skip 4096
guest_pd:
	.skip 4 * 4096
guest_stack:
	.skip 65536
guest_stack_top:

	.section .note.GNU-stack, "", @progbits
