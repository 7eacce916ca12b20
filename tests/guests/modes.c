/* SPDX-License-Identifier: MIT */
/* Round trips between protected, 16-bit protected, real, virtual-8086, compatibility and long mode. */
#include "guest32.h"

void real_mode(void);
u32 long_mode(u32 cr3);
u32 high_16bit(void);
extern u8 low_start[], low_end[];
extern u32 at_the_divide, at_the_access, at_after_int60, at_v86;

#define RESULT(offset) (*(volatile u32 *)(0x7000 + (offset)))
#define RESULT16(offset) (*(volatile u16 *)(0x7000 + (offset)))

static void copy_low(void)
{
	memset((void *)0x6400, 0, 0x1400);
	memcpy((void *)0x8000, low_start, (size_t)(low_end - low_start));
}

static void real(void)
{
	*(volatile u32 *)0x200000 = 0;
	real_mode();
	check_equal(RESULT(0), 0x1234fffe, "SS.B clear: SP wraps, ESP's upper half stays");
	check_equal(RESULT16(4), 0x5a5a, "the first push is at 0");
	check_equal(RESULT16(8), 0xa5a5, "the second at FFFEh");
	check_equal(RESULT(12), 0x12233445, "32-bit operands and addresses in 16-bit code");
	check_equal(RESULT16(16) & 1, 0, "CR0.PE is clear");
	check_equal(*(volatile u32 *)0x200000, 0xcafe, "a limit of 4 GiB outlives the change of mode");
	check_equal(*(volatile u32 *)(0x12340 + 0x10), 0xbeef, "a segment's base is its selector * 16");
	check_equal(RESULT16(24), at_after_int60, "INT: the saved IP");
	check(RESULT16(28) & 1, "INT: the saved flags");
	check(!(RESULT16(20) & 1), "IRET loads the flags");
	check_equal(RESULT16(32), at_the_divide, "#DE saves the address of DIV");
	check_equal(RESULT16(36), RESULT16(40), "no error code in real mode");
	if (!guest_tcg_wrong("limits in real mode"))
		check_equal(RESULT16(44), at_the_access, "a word at FFFFh: vector 13");
	check_equal(RESULT16(48), 1, "UD2: vector 6");
	check_equal(RESULT16(52), 0x6ff0, "far return releases parameters");
	check_equal(RESULT16(84), 0x800, "CS in the far call's target");
	check_equal(RESULT16(56), 0x2000, "LES: segment");
	check_equal(RESULT16(60), 0x100, "LES: offset");
	check(!memcmp((void *)0x20100, "nestbox!", 8), "REP MOVSB between segments");
	check_equal(RESULT16(64), 0x108, "DI");
	check_equal(RESULT16(68), 0, "SI wraps");
	check_equal(RESULT16(72), 0x61, "the vector table moved by LIDT");
	check_equal(RESULT16(76), 4, "INTO");
	check_equal(RESULT16(80), 1, "a timer interrupt wakes HLT in real mode");
}

/* ---- virtual-8086 mode, SDM3 chapter 21 ---- */
static struct {
	unsigned int70, protection, undefined, by_opcode[256];
	u32 eflags, ds, last_eip;
} v86;
u32 v86_return_esp;

void v86_enter(u32 eip, u32 eflags);
extern u8 v86_leave[];
__asm__(".text\n.code32\nv86_enter:\n"
	"pushal\n"
	"movl %esp, v86_return_esp\n"
	"movl 36(%esp), %ecx; movl 40(%esp), %edx\n"
	"leal -512(%esp), %eax; movl %eax, guest_tss + 4\n"
	"pushl $0; pushl $0; pushl $0; pushl $0\n" /* GS FS DS ES */
	"pushl $0; pushl $0x6000\n"                /* SS ESP */
	"pushl %edx; pushl $0; pushl %ecx\n"       /* EFLAGS CS EIP */
	"iretl\n"
	"v86_leave:\n"
	"movl $0x10, %eax; movl %eax, %ds; movl %eax, %es; movl %eax, %fs; movl %eax, %gs\n"
	"movl v86_return_esp, %esp\n"
	"popal\n"
	"ret\n");

static void leave(struct frame *frame)
{
	/* the frame becomes that of a return within CPL 0 */
	static u32 stack[64];

	stack[60] = (u32)v86_leave;
	stack[61] = SEL_CODE;
	stack[62] = 2;
	__asm__ volatile("movl %0, %%esp; iretl" : : "r"(&stack[60]) : "memory");
	__builtin_unreachable();
}

static void on_protection(struct frame *frame)
{
	u8 *code = (u8 *)((frame->cs & 0xffff) * 16 + (frame->eip & 0xffff));

	if (!(frame->eflags & FLAG_VM)) {
		check(false, "a #GP from outside of virtual-8086 mode at %x:%x", frame->cs, frame->eip);
		guest_finish();
	}
	v86.protection++;
	v86.by_opcode[*code]++;
	v86.last_eip = frame->eip;
	v86.ds = frame->v86_ds;
	switch (*code) {
	case 0xf4: /* HLT */
		leave(frame);
		break;
	case 0xcd: /* INT n */
	case 0xe4: /* IN */
		frame->eip += 2;
		break;
	case 0xfa: /* CLI, STI, PUSHF, POP AX */
	case 0xfb:
		frame->eip++;
		break;
	case 0x9c:
		frame->eip += 2; /* and the POP */
		break;
	default:
		check(false, "#GP at opcode %x", *code);
		guest_finish();
	}
}

static void on_undefined(struct frame *frame)
{
	v86.undefined++;
	frame->eip += 2;
}

static void on_int70(struct frame *frame)
{
	v86.int70++;
	v86.eflags = frame->eflags;
}

static void run_v86(u32 iopl)
{
	memset(&v86, 0, sizeof(v86));
	memset((void *)0x7078, 0, 16);
	v86_enter(at_v86, FLAG_VM | iopl << 12 | 2);
}

static void virtual8086(void)
{
	guest_set_handler(VEC_GP, on_protection);
	guest_set_handler(VEC_UD, on_undefined);
	guest_set_handler(0x70, on_int70);
	guest_idt[0x70] = guest_gate(SEL_CODE, (u32)guest_trap_entries + 16 * 0x70, 0xee, 0);

	guest_tss.io[0x80 / 8] = 0xff;
	run_v86(0);
	check_equal(RESULT16(120), 0, "V86: CS");
	check_equal(*(volatile u16 *)0x12360, 0x4321, "V86: bases are selectors * 16");
	check_equal(v86.int70, 0, "V86, IOPL 0: INT n does not reach its gate");
	check_equal(v86.by_opcode[0xcd], 1, "but is #GP");
	check_equal(v86.by_opcode[0xfa], 1, "CLI is #GP");
	check_equal(v86.by_opcode[0xfb], 1, "STI is #GP");
	check_equal(v86.by_opcode[0x9c], 1, "PUSHF is #GP");
	check_equal(v86.by_opcode[0xe4], 1, "IN is #GP by the I/O map");
	check_equal(v86.by_opcode[0xf4], 1, "HLT is #GP");
	check_equal(v86.undefined, 1, "UD2 is #UD");
	check_equal(v86.ds, 0, "the frame has DS");
	check_equal(RESULT(128), 0x55667788, "32-bit operands in V86");

	guest_tss.io[0x80 / 8] = 0xfe;
	run_v86(3);
	check_equal(v86.int70, 1, "V86, IOPL 3: INT n reaches its gate");
	check(v86.eflags & FLAG_VM, "VM is set in the frame");
	check_equal(v86.by_opcode[0xfa] + v86.by_opcode[0xfb] + v86.by_opcode[0x9c], 0,
		"IOPL 3: CLI, STI and PUSHF run");
	check_equal(RESULT16(124) >> 12 & 3, 3, "PUSHF shows IOPL");
	check(RESULT16(124) & FLAG_IF, "and IF");
	check_equal(v86.by_opcode[0xe4], 0, "IN is allowed by the I/O map");
	check_equal(v86.by_opcode[0xf4], 1, "HLT is #GP");
	guest_tss.io[0x80 / 8] = 0xff;
	guest_set_handler(VEC_GP, NULL);
	guest_set_handler(VEC_UD, NULL);
}

static void long_trips(void)
{
	u64 *pml4 = guest_pages(1), *pdpt = guest_pages(1), *directory = guest_pages(1);

	if (!cpu_has(0x80000001, 3, 29)) {
		guest_skip("long mode");
		return;
	}
	pml4[0] = (u32)pdpt | 7;
	pdpt[0] = (u32)directory | 7;
	for (unsigned i = 0; i < 512; i++)
		directory[i] = (u64)i << 21 | 0x87;
	guest_gdt[0x58 / 8] = 0x00af9b000000ffff;
	for (unsigned i = 0; i < 20; i++) {
		u32 got = long_mode((u32)pml4);

		check_equal(got & 1, 1, "EFER.LMA with paging on");
		check_equal(got & 2, 2, "64-bit code");
		check_equal(got & 4, 4, "compatibility code");
		check_equal(got & 8, 0, "EFER.LMA with paging off");
		if (i % 5 == 0) {
			copy_low();
			real();
		}
	}
	/* the rules of the way there, 14.6.1 */
	if (guest_tcg_wrong("consistency of CR0, CR4 and EFER"))
		return;
	wrmsr(0xc0000080, rdmsr(0xc0000080) | BIT(8));
	write_cr4(read_cr4() & ~CR4_PAE);
	check_equal(guest_try("movl %0, %%cr0", : : "r"((u32)(read_cr0() | CR0_PG))), VEC_GP,
		"long mode without CR4.PAE");
	wrmsr(0xc0000080, rdmsr(0xc0000080) & ~BIT(8));
	check_equal(guest_try("movl %0, %%cr0", : : "r"((u32)((read_cr0() | CR0_PG) & ~CR0_PE))), VEC_GP,
		"paging without protection");
	check_equal(guest_try("movl %0, %%cr0", : : "r"((u32)(read_cr0() | BIT(29)))), VEC_GP, "CR0.NW without CD");
}

/* EIP has 32 bits in 16-bit code too, where CS's limit lets it: APM2 1.2.4, 4.5.3. */
static void above_64k(void)
{
	guest_gdt[0x60 / 8] = guest_descriptor(0, 0xfffff, 0x89b);
	check_equal(high_16bit(), 4, "16-bit code above 64 KiB");
}

void guest_main(void)
{
	above_64k();
	copy_low();
	real();
	virtual8086();
	copy_low();
	real();
	long_trips();
}
