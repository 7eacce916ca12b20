/* SPDX-License-Identifier: MIT */
/*
 * A multiboot kernel of a few instructions for the tests of how a machine ends. What it does is the
 * first letter of its command line's last word:
 *   d  writes 0x2a to the debug exit port      t  triple fault
 *   r  reset by port CF9h                      s  spins with interrupts off
 *   h  halts with interrupts off               c  prints a character and spins
 *   m  runs code where no memory is
 */
	.text
	.align 4
	.long 0x1badb002, 0, -0x1badb002

	.global start
start:
	/* Multiboot information: the command line's address is at 16 */
	movl 16(%ebx), %esi
	/* Whether the loader puts the image's name before it is not said: the last word counts */
	movl %esi, %edi
1:	lodsb
	cmpb $' ', %al
	jne 2f
	movl %esi, %edi
2:	testb %al, %al
	jnz 1b
	movb (%edi), %al
	cmpb $'d', %al
	je debug_exit
	cmpb $'t', %al
	je triple_fault
	cmpb $'r', %al
	je reset
	cmpb $'h', %al
	je halt
	cmpb $'c', %al
	je print
	cmpb $'m', %al
	je no_memory
spin:	jmp spin

debug_exit:
	movb $0x2a, %al
	outb %al, $0xf4
	jmp spin

triple_fault:
	lidt no_idt
	ud2

reset:
	movw $0xcf9, %dx
	movb $6, %al
	outb %al, %dx
	jmp spin

halt:	cli
	hlt
	jmp halt

print:	movw $0x3f8, %dx
	movb $'!', %al
	outb %al, %dx
	movb $'\n', %al
	outb %al, %dx
	jmp spin

no_memory:
	movl $0xd0000000, %eax
	jmp *%eax

	.align 8
no_idt:	.word 0
	.long 0
