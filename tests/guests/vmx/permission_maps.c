/* SPDX-License-Identifier: MIT */
/*
 * I/O instructions and MSRs: unconditional exits and bitmaps, which ports and MSRs a bit speaks of,
 * and what an exit tells. SDM3 25.6.4, 25.6.9, 26.1.3, 28.2.1, 28.2.5.
 */
#include "vmx.h"

u8 buffer[64] __attribute__((aligned(64)));

CODE(in8, "inb %dx, %al");
CODE(in16, "inw %dx, %ax");
CODE(in32, "inl %dx, %eax");
CODE(in8_immediate, "inb $0x80, %al");
CODE(in32_immediate, "inl $0xfe, %eax");
CODE(out8, "outb %al, %dx");
CODE(out16, "outw %ax, %dx");
CODE(out32, "outl %eax, %dx");
CODE(out8_immediate, "outb %al, $0x80");
CODE(ins8, "insb");
CODE(ins16_32, ".byte 0x67; insw");
CODE(rep_ins32, "rep insl");
CODE(outs8, "outsb");
CODE(outs16_fs, "outsw %fs:(%rsi), %dx");
CODE(rep_outs32, "rep outsl");
CODE(rep_outs8_gs32, ".byte 0x67; rep outsb %gs:(%rsi), %dx");
CODE(read_msr, "rdmsr");
CODE(write_msr, "wrmsr");

#define IN BIT(3)
#define STRING BIT(4)
#define REP BIT(5)
#define IMMEDIATE BIT(6)
#define PORT(port) ((u64)(port) << 16)
enum { SIZE8 = 0, SIZE16 = 1, SIZE32 = 3 };
#define ADDRESS32 (1 << 7)
#define ADDRESS64 (2 << 7)
#define SEGMENT(n) ((n) << 15)
enum { ES, CS, SS, DS, FS, GS };

struct row {
	const char *name;
	const u8 *code, *end;
	u64 qualification;
	u32 info;
	u64 linear; /* of a string's operand; 0: none */
};
#define ROW(label, ...) { #label, label, label##_end, __VA_ARGS__ }
#define FS_BASE 0x10000
#define GS_BASE 0x20000
#define SOURCE ((u64)buffer)
#define TARGET ((u64)buffer + 32)

/* With DX = 0E0h, a port that nothing answers. */
#define SILENT 0xe0
static const struct row rows[] = {
	ROW(in8, SIZE8 | IN | PORT(SILENT), 0, 0),
	ROW(in16, SIZE16 | IN | PORT(SILENT), 0, 0),
	ROW(in32, SIZE32 | IN | PORT(SILENT), 0, 0),
	ROW(in8_immediate, SIZE8 | IN | IMMEDIATE | PORT(0x80), 0, 0),
	ROW(in32_immediate, SIZE32 | IN | IMMEDIATE | PORT(0xfe), 0, 0),
	ROW(out8, SIZE8 | PORT(SILENT), 0, 0),
	ROW(out16, SIZE16 | PORT(SILENT), 0, 0),
	ROW(out32, SIZE32 | PORT(SILENT), 0, 0),
	ROW(out8_immediate, SIZE8 | IMMEDIATE | PORT(0x80), 0, 0),
	ROW(ins8, SIZE8 | IN | STRING | PORT(SILENT), ADDRESS64, TARGET),
	ROW(ins16_32, SIZE16 | IN | STRING | PORT(SILENT), ADDRESS32, TARGET),
	ROW(rep_ins32, SIZE32 | IN | STRING | REP | PORT(SILENT), ADDRESS64, TARGET),
	ROW(outs8, SIZE8 | STRING | PORT(SILENT), ADDRESS64 | SEGMENT(DS), SOURCE),
	ROW(outs16_fs, SIZE16 | STRING | PORT(SILENT), ADDRESS64 | SEGMENT(FS), SOURCE + FS_BASE),
	ROW(rep_outs32, SIZE32 | STRING | REP | PORT(SILENT), ADDRESS64 | SEGMENT(DS), SOURCE),
	ROW(rep_outs8_gs32, SIZE8 | STRING | REP | PORT(SILENT), ADDRESS32 | SEGMENT(GS),
		SOURCE + GS_BASE),
};

static void fresh(void)
{
	vmx_fresh();
	vmx_regs.rdx = SILENT;
	vmx_regs.rcx = 3;
	vmx_regs.rsi = SOURCE;
	vmx_regs.rdi = TARGET;
	vmx_regs.rax = 0x11223344;
	put(guest_fs_base, FS_BASE);
	put(guest_gs_base, GS_BASE);
}

static void check_row(const struct row *row)
{
	struct vmx_regs before;

	fresh();
	vmx_proc(PROC_UNCONDITIONAL_IO);
	before = vmx_regs;
	vmx_check_exit(row->code, row->end, vmx_run_at(row->code), VMX_EXIT_IO, row->name);
	check_equal(get(exit_qualification), row->qualification, "%s: qualification", row->name);
	if (row->linear) {
		bool out = !(row->qualification & IN);

		check_equal(get(guest_linear_address), row->linear, "%s: linear address",
			row->name);
		check_equal(get(exit_instruction_info) & (MASK(9, 7) | (out ? MASK(17, 15) : 0)),
			row->info,
			"%s: instruction information", row->name);
	}
	check(!memcmp(&before, &vmx_regs, sizeof(before)), "%s: registers stay", row->name);
	fresh();
	vmx_check_plain(row->end, vmx_run_at(row->code), row->name);
}

static void port_bit(unsigned port, bool on)
{
	u8 *byte = vmx_io_bitmap + port / 8;

	*byte = (u8)((*byte & ~BIT(port % 8)) | (on ? BIT(port % 8) : 0));
}

/* An access of a size to a port exits just if the bit of one of its ports is set. */
static void io_bitmaps(void)
{
	static const u16 ports[] = { 0, SILENT, SILENT + 1, 0x7ffe, 0x7fff, 0x8000, 0xfffc };
	static const struct {
		unsigned size;
		const u8 *in, *out;
	} sizes[] = { { 1, in8, out8 }, { 2, in16, out16 }, { 4, in32, out32 } };

	for (unsigned p = 0; p < ARRAY_SIZE(ports); p++)
		for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++)
			for (int bit = -1; bit <= (int)sizes[s].size; bit++) {
				int port = ports[p] + bit;
				bool exits = bit >= 0 && bit < (int)sizes[s].size;

				if (port < 0 || port > 0xffff)
					continue;
				fresh();
				vmx_proc(PROC_IO_BITMAPS);
				vmx_regs.rdx = ports[p];
				port_bit((unsigned)port, true);
				check_equal(vmx_run_at(sizes[s].in),
					exits ? VMX_EXIT_IO : VMX_EXIT_VMCALL,
					"IN of %u at %x, bit of port %x", sizes[s].size, ports[p],
					port);
			}
	/* outputs obey the same bit; every other is set */
	fresh();
	vmx_proc(PROC_IO_BITMAPS);
	memset(vmx_io_bitmap, 0xff, 2 * PAGE);
	port_bit(SILENT, false);
	check_equal(vmx_run_at(out8), VMX_EXIT_VMCALL, "OUT, its bit clear");
	check_equal(vmx_run_at(in8), VMX_EXIT_VMCALL, "IN, its bit clear");
	check_equal(vmx_run_at(outs8), VMX_EXIT_VMCALL, "OUTS, its bit clear");
	check_equal(vmx_run_at(out16), VMX_EXIT_IO, "OUT of 2, the next bit set");
	check_equal(vmx_run_at(in8_immediate), VMX_EXIT_IO, "IN of another port");
	/* with bitmaps in use the unconditional control means nothing */
	vmx_proc(PROC_UNCONDITIONAL_IO);
	check_equal(vmx_run_at(out8), VMX_EXIT_VMCALL, "bitmaps come before unconditional exits");
	/* around the end of the port space */
	fresh();
	vmx_proc(PROC_IO_BITMAPS);
	vmx_regs.rdx = 0xffff;
	check_equal(vmx_run_at(in8), VMX_EXIT_VMCALL, "the last port");
	check_equal(vmx_run_at(in16), VMX_EXIT_IO, "IN of 2 around the end");
	check_equal(get(exit_qualification), SIZE16 | IN | PORT(0xffff), "qualification");
	vmx_regs.rdx = 0xfffd;
	check_equal(vmx_run_at(out32), VMX_EXIT_IO, "OUT of 4 around the end");
	vmx_regs.rdx = 0xfffe;
	check_equal(vmx_run_at(out16), VMX_EXIT_VMCALL, "OUT of 2 up to the end");
}

/* Faults of the I/O privilege come before, those of the operand's page do not: SDM3 26.1.1. */
static void io_faults(void)
{
	fresh();
	vmx_proc(PROC_UNCONDITIONAL_IO);
	vmx_user();
	vmx_check_plain(out8_end, vmx_run_fixup(out8, out8_end), "OUT at CPL 3, IOPL 0");
	check_equal(vmx_trap.vector, VEC_GP, "OUT at CPL 3: #GP");
	put(guest_rflags, 2 | 3 << 12);
	check_equal(vmx_run_at(out8), VMX_EXIT_IO, "OUT at CPL 3, IOPL 3");
	fresh();
	vmx_proc(PROC_UNCONDITIONAL_IO);
	vmx_regs.rsi = vmx_regs.rdi = 0x123456789000;
	check_equal(vmx_run_at(ins8), VMX_EXIT_IO, "INS to a page that is not there");
	check_equal(get(guest_linear_address), 0x123456789000, "its address all the same");
}

/* ---- MSRs ---- */

#define MSR_SYSENTER_CS 0x174
#define READ_LOW 0
#define READ_HIGH 1024
#define WRITE_LOW 2048
#define WRITE_HIGH 3072

static void msr_bit(unsigned at, u32 msr)
{
	vmx_msr_bitmap[at + (msr & 0x1fff) / 8] |= (u8)BIT(msr % 8);
}

static void msr(u32 number, bool write, bool exits, const char *name)
{
	const u8 *code = write ? write_msr : read_msr;
	u64 value = rdmsr(number);

	vmx_regs.rcx = number;
	vmx_regs.rax = (u32)value;
	vmx_regs.rdx = value >> 32;
	if (!exits) {
		vmx_check_plain(code + 2, vmx_run_at(code), name);
		return;
	}
	vmx_check_exit(code, code + 2, vmx_run_at(code), write ? VMX_EXIT_WRMSR : VMX_EXIT_RDMSR,
		name);
	check_equal(get(exit_qualification), 0, "%s: qualification", name);
	check_equal(vmx_regs.rcx, number, "%s: ECX", name);
}

static void msrs(void)
{
	/* without bitmaps all exit */
	vmx_fresh();
	msr(MSR_SYSENTER_CS, false, true, "RDMSR, no bitmaps");
	msr(MSR_SYSENTER_CS, true, true, "WRMSR, no bitmaps");
	vmx_fresh();
	vmx_proc(PROC_MSR_BITMAPS);
	msr(MSR_SYSENTER_CS, false, false, "RDMSR, bit clear");
	msr(MSR_SYSENTER_CS, true, false, "WRMSR, bit clear");
	msr(MSR_LSTAR, false, false, "RDMSR, high, bit clear");
	msr(MSR_LSTAR, true, false, "WRMSR, high, bit clear");
	/* each bit has one meaning */
	for (unsigned which = 0; which < 4; which++) {
		vmx_fresh();
		vmx_proc(PROC_MSR_BITMAPS);
		msr_bit(which * 1024, which & 1 ? MSR_LSTAR : MSR_SYSENTER_CS);
		msr(MSR_SYSENTER_CS, false, which == 0, "RDMSR, low");
		msr(MSR_LSTAR, false, which == 1, "RDMSR, high");
		msr(MSR_SYSENTER_CS, true, which == 2, "WRMSR, low");
		msr(MSR_LSTAR, true, which == 3, "WRMSR, high");
	}
	vmx_fresh();
	vmx_proc(PROC_MSR_BITMAPS);
	msr_bit(READ_LOW, MSR_SYSENTER_CS + 1);
	msr_bit(READ_LOW, MSR_SYSENTER_CS - 1);
	msr(MSR_SYSENTER_CS, false, false, "RDMSR, the bits beside it set");
	/* MSRs of neither range exit */
	vmx_fresh();
	vmx_proc(PROC_MSR_BITMAPS);
	for (unsigned i = 0; i < 4; i++) {
		static const u32 outside[] = { 0x2000, 0xbfffffff, 0xc0002000, 0x40000000 };

		vmx_regs.rcx = outside[i];
		check_equal(vmx_run_at(read_msr), VMX_EXIT_RDMSR, "RDMSR of %x", outside[i]);
		check_equal(vmx_run_at(write_msr), VMX_EXIT_WRMSR, "WRMSR of %x", outside[i]);
	}
	/* an MSR that there is not: the exit comes first, else #GP */
	vmx_regs.rcx = 0x1fff;
	vmx_check_plain(read_msr_end, vmx_run_fixup(read_msr, read_msr_end), "RDMSR of no MSR");
	check_equal(vmx_trap.vector, VEC_GP, "RDMSR of no MSR: #GP");
	msr_bit(READ_LOW, 0x1fff);
	check_equal(vmx_run_at(read_msr), VMX_EXIT_RDMSR, "RDMSR of no MSR, bit set");
	/* the upper half of RCX does not count */
	vmx_regs.rcx = 0xffffffff00000000 | MSR_SYSENTER_CS;
	check_equal(vmx_run_at(read_msr), VMX_EXIT_VMCALL, "RDMSR ignores RCX's upper half");
	/* the privilege level comes first */
	vmx_fresh();
	vmx_user();
	RAISES(read_msr, VEC_GP);
	RAISES(write_msr, VEC_GP);
}

/* A bitmap that changes while the VMCS is launched is obeyed at the latest after an entry. */
static void changed_maps(void)
{
	fresh();
	vmx_proc(PROC_IO_BITMAPS | PROC_MSR_BITMAPS);
	check_equal(vmx_run_at(out8), VMX_EXIT_VMCALL, "OUT passes");
	port_bit(SILENT, true);
	check_equal(vmx_run_at(out8), VMX_EXIT_IO, "its bit is set meanwhile");
	port_bit(SILENT, false);
	check_equal(vmx_run_at(out8), VMX_EXIT_VMCALL, "and clear again");
	/* other maps by VMWRITE */
	put(io_bitmap_a, vmx_stack_top + 256 - 8 * PAGE);
	vmx_stack_top[256 - 8 * PAGE + SILENT / 8] = 1;
	check_equal(vmx_run_at(out8), VMX_EXIT_IO, "another bitmap");
	vmx_stack_top[256 - 8 * PAGE + SILENT / 8] = 0;
}

void guest_main(void)
{
	if (!vmx_setup())
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		check_row(&rows[i]);
	io_bitmaps();
	io_faults();
	msrs();
	changed_maps();
}
