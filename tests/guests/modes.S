/* SPDX-License-Identifier: MIT */
/*
 * Code for modes.c: a blob that runs at linear 8000h in real mode (segment 0), in 16-bit protected
 * mode and in virtual-8086 mode, and the way to long mode and back. What it finds it stores at
 * RESULT + 4 * index.
 */
#define LOW 0x8000
#define RESULT 0x7000
#define AT(label) ((label) - low_start + LOW)
#define SAVE16(index, value) movl value, %cs:RESULT + 4 * (index)

	.text
	.code32
/* void real_mode(void): from flat 32-bit code without paging to the blob and back. */
	.global real_mode
real_mode:
	pushal
	sidt kept_idtr
	movl %esp, kept_esp
	/* 16-bit protected mode first: CS 18h and DS 20h have base 0 and limit FFFFh */
	ljmp $0x18, $LOW
real_mode_end:
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl %eax, %fs
	movl %eax, %gs
	movl kept_esp, %esp
	lidt kept_idtr
	popal
	ret

	.data
	.balign 4
kept_esp:
	.long 0
kept_idtr:
	.word 0
	.long 0
	.balign 16
	.global low_start, low_end
low_start:
	.code16
	/* ---- 16-bit protected mode ---- */
	movw $0x20, %ax
	movw %ax, %ds
	movw %ax, %ss
	movl $0x6ff0, %esp
	/* ES keeps a limit of 4 GiB into real mode */
	movw $0x10, %ax
	movw %ax, %es
	/* SS.B is 0: SP wraps at 64K, and ESP's upper half is neither used nor changed */
	movl $0x12340002, %esp
	pushw $0x5a5a
	pushw $0xa5a5
	movl %esp, %ebx
	movw 0, %cx		/* the word at 0 */
	movw 0xfffe, %dx
	movl $0x6ff0, %esp
	movl %ebx, %ds:RESULT
	movw %cx, %ds:RESULT + 4
	movw %dx, %ds:RESULT + 8
	/* operands of 32 bits in 16-bit code, and 32-bit addresses */
	movl $0x11223344, %eax
	addl $0x01010101, %eax
	movl $RESULT + 12, %ebx
	movl %eax, (%ebx)
	/* to real mode */
	movl %cr0, %eax
	andl $~1, %eax
	movl %eax, %cr0
	ljmp $0, $AT(real)
real:
	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %ss
	movl $0x6ff0, %esp
	lidtl %cs:AT(real_idtr)
	smsww %ax
	movw %ax, RESULT + 16
	/* the limit of ES is still 4 GiB, its base is that of selector 10h */
	movl $0x200000, %edi
	movl $0xcafe, %eax
	movl %eax, %es:(%edi)
	/* now a load: base is selector * 16, the limit stays */
	movw $0x1234, %ax
	movw %ax, %es
	movl $0xbeef, %es:0x10
	/* INT and IRET */
	movw $AT(on_int60), 0x60 * 4
	movw $0, 0x60 * 4 + 2
	stc
	int $0x60
after_int60:
	pushfw
	popw %ax
	movw %ax, RESULT + 20	/* CF was cleared in the frame by the handler */
	/* #DE is a fault: the handler gets the address of DIV */
	movw $AT(on_divide), 0
	movw $0, 2
	xorw %cx, %cx
the_divide:
	divw %cx
	/* a word at FFFFh is beyond the limit: vector 13, no error code */
	movw $AT(on_protection), 13 * 4
	movw $0, 13 * 4 + 2
	movw %sp, RESULT + 36
the_access:
	movw 0xffff, %bx
	movw %sp, RESULT + 40
	/* undefined: vector 6 */
	movw $AT(on_undefined), 6 * 4
	movw $0, 6 * 4 + 2
	ud2
	/* far call and return with release */
	pushw $0x1111
	pushw $0x2222
	lcall $LOW >> 4, $far_target - low_start
	movw %sp, RESULT + 52
	/* LES, LDS through memory; string move between segments */
	movw $0x100, RESULT + 100
	movw $0x2000, RESULT + 102
	lesw RESULT + 100, %di
	movw %es, RESULT + 56
	movw %di, RESULT + 60
	movw $AT(text), %si
	movw $8, %cx
	cld
	rep movsb
	movw %di, RESULT + 64
	/* SI wraps in 64K: LODSB at FFFFh goes on at 0 */
	movb $0x77, 0
	movw $0xffff, %si
	lodsb
	movw %si, RESULT + 68
	/* IVT elsewhere */
	lidtl %cs:AT(moved_idtr)
	movw $AT(on_int61), 0x6400 + 0x61 * 4
	movw $0, 0x6400 + 0x61 * 4 + 2
	int $0x61
	/* INTO, BOUND */
	movw $AT(on_into), 0x6400 + 4 * 4
	movw $0, 0x6400 + 4 * 4 + 2
	movb $0x7f, %al
	incb %al
	into
	/* a hardware interrupt wakes HLT: the 8254 on vector 68h */
	movw $AT(on_timer), 0x6400 + 0x68 * 4
	movw $0, 0x6400 + 0x68 * 4 + 2
	movb $0x11, %al
	outb %al, $0x20
	movb $0x68, %al
	outb %al, $0x21
	movb $4, %al
	outb %al, $0x21
	movb $1, %al
	outb %al, $0x21
	movb $0xfe, %al
	outb %al, $0x21
	movb $0x30, %al
	outb %al, $0x43
	movb $0, %al
	outb %al, $0x40
	movb $0x10, %al
	outb %al, $0x40
	sti
	hlt
	cli
	movb $0xff, %al
	outb %al, $0x21
	/* back to protected mode */
	lgdtl %cs:AT(flat_gdtr)
	movl %cr0, %eax
	orl $1, %eax
	movl %eax, %cr0
	ljmpl $0x08, $real_mode_end

on_int60:
	pushw %bp
	movw %sp, %bp
	movw 2(%bp), %ax
	movw %ax, RESULT + 24
	movw 6(%bp), %ax
	movw %ax, RESULT + 28
	andw $~1, 6(%bp)
	popw %bp
	iretw
on_divide:
	pushw %bp
	movw %sp, %bp
	movw 2(%bp), %ax
	movw %ax, RESULT + 32
	addw $2, 2(%bp)
	popw %bp
	iretw
on_protection:
	pushw %bp
	movw %sp, %bp
	movw 2(%bp), %ax
	movw %ax, RESULT + 44
	addw $4, 2(%bp)
	popw %bp
	iretw
on_undefined:
	pushw %bp
	movw %sp, %bp
	addw $2, 2(%bp)
	incw RESULT + 48
	popw %bp
	iretw
on_int61:
	movw $0x61, RESULT + 72
	iretw
on_into:
	movw $4, RESULT + 76
	iretw
on_timer:
	incw RESULT + 80
	movb $0x20, %al
	outb %al, $0x20
	iretw
far_target:
	movw %cs, %ax
	movw %ax, RESULT + 84
	lretw $4
text:
	.ascii "nestbox!"
	.balign 4
real_idtr:
	.word 0x3ff
	.long 0
moved_idtr:
	.word 0x3ff
	.long 0x6400
flat_gdtr:
	.word 64 * 8 - 1
	.long guest_gdt

	/* ---- virtual-8086 mode: entered at v86_code ---- */
v86_code:
	movw %cs, %ax
	movw %ax, RESULT + 120
	movw $0x1234, %ax
	movw %ax, %ds
	movw $0x4321, 0x20	/* linear 12360h */
	xorw %ax, %ax
	movw %ax, %ds
	int $0x70		/* by IOPL: to the 32-bit handler, or #GP */
	cli			/* #GP below IOPL 3 */
	sti
	pushfw
	popw %ax
	movw %ax, RESULT + 124
	inb $0x80, %al		/* by the I/O map */
	movl $0x55667788, %eax
	movl %eax, RESULT + 128
	ud2
	hlt			/* #GP always: the handler takes it as the end */
v86_end:
	.global at_the_divide, at_the_access, at_after_int60, at_v86
at_the_divide:
	.long AT(the_divide)
at_the_access:
	.long AT(the_access)
at_after_int60:
	.long AT(after_int60)
at_v86:
	.long AT(v86_code)
low_end:

	.text
	.code32
/* u32 high_16bit(void): 16-bit code above 64 KiB, protected and real; the steps it made. */
	.global high_16bit
high_16bit:
	pushl %ebx
	pushl %esi
	xorl %ebx, %ebx
	ljmp $0x60, $1f
	.code16
	/* what C executes, a branch not taken and one of 32 bits all leave EIP as large as it is */
1:	movl %cr0, %eax
	incl %ebx
	andl $~1, %eax
	movl %eax, %cr0
	incl %ebx
	ljmpl $0, $2f
2:	smsww %ax
	incl %ebx
	clc
	jc 2b
	calll 3f
	cpuid
	movl %esi, %ebx
	movl %cr0, %eax
	orl $1, %eax
	movl %eax, %cr0
	ljmpl $0x08, $4f
3:	incl %ebx
	movl %ebx, %esi
	retl
	.code32
4:	movl $0x10, %eax
	movl %eax, %ss
	movl %ebx, %eax
	popl %esi
	popl %ebx
	ret

/* u32 long_mode(u32 cr3): to 64-bit mode, some 64-bit work, compatibility mode, and back. */
	.global long_mode
long_mode:
	movl 4(%esp), %eax
	pushl %ebx
	movl %eax, %cr3
	movl %cr4, %eax
	orl $0x20, %eax
	movl %eax, %cr4
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x100, %eax
	wrmsr
	movl %cr0, %eax
	orl $0x80000000, %eax
	movl %eax, %cr0
	/* compatibility mode now: the CS is a 32-bit one */
	rdmsr
	shrl $10, %eax		/* EFER.LMA */
	andl $1, %eax
	movl %eax, %ebx
	ljmp $0x58, $1f
	.code64
1:	movabsq $0x1122334455667788, %r10
	movq %r10, %r11
	rolq $32, %r11
	xorl %eax, %eax
	cmpl $0x11223344, %r11d
	sete %al
	leal (%ebx, %eax, 2), %ebx
	ljmp *2f(%rip)
2:	.long 3f
	.word 0x08
	.code32
3:	/* a REX prefix is INC here */
	movl $5, %eax
	.byte 0x48		/* DEC EAX */
	cmpl $4, %eax
	jne 4f
	orl $4, %ebx
4:	movl %cr0, %eax
	andl $0x7fffffff, %eax
	movl %eax, %cr0
	rdmsr
	andl $~0x100, %eax
	wrmsr
	shrl $10, %eax
	andl $1, %eax
	shll $3, %eax
	orl %ebx, %eax
	popl %ebx
	ret

	.section .note.GNU-stack, "", @progbits
