/* SPDX-License-Identifier: MIT */
/* The I/O and MSR permission maps, every edge of them: APM2 15.10, 15.11. */
#include "svm.h"

CODE(in_imm8, "inb $0x61, %al");
CODE(out_imm8, "outb %al, $0x80");
CODE(in8, "inb %dx, %al");
CODE(in16, "inw %dx, %ax");
CODE(in32, "inl %dx, %eax");
CODE(out8, "outb %al, %dx");
CODE(out16, "outw %ax, %dx");
CODE(out32, "outl %eax, %dx");
CODE(ins8, "insb");
CODE(rep_ins8, "rep insb");
CODE(rep_outs16, "rep outsw");
CODE(outs32_fs_a32, "outsl %fs:(%esi), %dx");
CODE(rdmsr_insn, "rdmsr");
CODE(wrmsr_insn, "wrmsr");

static void io_bit(unsigned port, bool on)
{
	if (on)
		svm_iopm[port / 8] |= 1 << port % 8;
	else
		svm_iopm[port / 8] &= ~(1 << port % 8);
}

struct io_row {
	const char *name;
	const u8 *code, *end;
	u16 port;
	u64 info; /* EXITINFO1 without the port */
	unsigned size;
};
#define SIZE(n) ((u64)(n) << 4)
#define A32 BIT(8)
#define A64 BIT(9)
#define SEGMENT(n) ((u64)(n) << 10)
#define IO(label, port, info, size) { #label, label, label##_end, port, info, size }

static const struct io_row io_rows[] = {
	IO(in_imm8, 0x61, IOIO_IN | SIZE(1), 1),
	IO(out_imm8, 0x80, SIZE(1), 1),
	IO(in8, 0x0, IOIO_IN | SIZE(1), 1),
	IO(in8, 0x7f, IOIO_IN | SIZE(1), 1),
	IO(in8, 0xffff, IOIO_IN | SIZE(1), 1),
	IO(in16, 0x5658, IOIO_IN | SIZE(2), 2),
	IO(in16, 0xffff, IOIO_IN | SIZE(2), 2),
	IO(in32, 0x8000, IOIO_IN | SIZE(4), 4),
	IO(in32, 0x7ffe, IOIO_IN | SIZE(4), 4),
	IO(out8, 0x80, SIZE(1), 1),
	IO(out16, 0x5657, SIZE(2), 2),
	IO(out32, 0x5655, SIZE(4), 4),
	IO(ins8, 0x5655, IOIO_IN | IOIO_STRING | SIZE(1), 1),
	IO(rep_ins8, 0x5655, IOIO_IN | IOIO_STRING | IOIO_REP | SIZE(1), 1),
	IO(rep_outs16, 0x5655, IOIO_STRING | IOIO_REP | SIZE(2), 2),
	IO(outs32_fs_a32, 0x5655, IOIO_STRING | SIZE(4), 4),
};

static void prepare_io(const struct io_row *row)
{
	static u8 buffer[64];

	svm_fresh();
	svm_intercept(SVM_EXIT_IOIO, true);
	svm_regs.rdx = row->port;
	svm_regs.rsi = svm_regs.rdi = (u64)buffer;
	svm_regs.rcx = 2;
}

static void check_io(const struct io_row *row)
{
	bool string = row->info & IOIO_STRING;
	u64 info = row->info | (u64)row->port << 16;

	if (!svm_tcg)
		info |= row->code == outs32_fs_a32 ? A32 : A64;
	for (unsigned byte = 0; byte < row->size; byte++) {
		prepare_io(row);
		io_bit(row->port + byte, true);
		check_equal(svm_run_at(row->code), SVM_EXIT_IOIO, "%s at %x: byte %u", row->name,
			row->port, byte);
		check_equal(vmcb->rip, row->code, "%s: RIP", row->name);
		check_equal(vmcb->exit_info2, row->end, "%s: EXITINFO2", row->name);
		if (svm_has(SVM_NRIPS))
			check_equal(vmcb->nrip, row->end, "%s: nRIP", row->name);
		/* the segment of a string instruction is a decode assist */
		check_equal(vmcb->exit_info1 & ~SEGMENT(7), info, "%s: EXITINFO1", row->name);
		if (string && svm_has(SVM_DECODE))
			check_equal(vmcb->exit_info1 >> 10 & 7,
				row->code == outs32_fs_a32 ? 4 : row->info & IOIO_IN ? 0 : 3,
				"%s: the segment", row->name);
	}
	if (row->port < 0x70)
		return;
	/* neighbours do not count, nor the map without the intercept */
	prepare_io(row);
	io_bit(row->port - 1, true);
	io_bit(row->port + row->size, true);
	check_equal(svm_run_at(row->code), SVM_EXIT_VMMCALL, "%s: neighbours", row->name);
	prepare_io(row);
	memset(svm_iopm, 0xff, 3 * PAGE);
	svm_intercept(SVM_EXIT_IOIO, false);
	check_equal(svm_run_at(row->code), SVM_EXIT_VMMCALL, "%s: no intercept", row->name);
}

struct msr_row {
	u32 msr;
	unsigned byte, bit; /* of the read bit */
};

static const struct msr_row msr_rows[] = {
	{ 0x10, 4, 0 },             /* TSC */
	{ 0x174, 0x5d, 0 },         /* SYSENTER_CS */
	{ 0x277, 0x9d, 6 },         /* PAT */
	{ 0xc0000080, 0x820, 0 },   /* EFER */
	{ 0xc0000081, 0x820, 2 },   /* STAR */
	{ 0xc0000102, 0x840, 4 },   /* KERNEL_GS_BASE */
	{ 0xc0010117, 0x1045, 6 },  /* VM_HSAVE_PA */
};

static u64 run_msr(const u8 *code, u32 msr, u64 value)
{
	svm_regs.rcx = msr;
	vmcb->rax = (u32)value;
	svm_regs.rdx = value >> 32;
	svm_intercept(SVM_EXIT_MSR, true);
	return svm_run_fixup(code, code + 2);
}

static void check_msr(const struct msr_row *row)
{
	u64 value = rdmsr(row->msr);

	for (unsigned write = 0; write < 2; write++) {
		const u8 *code = write ? wrmsr_insn : rdmsr_insn;

		svm_fresh();
		svm_msrpm[row->byte] = 1 << (row->bit + write);
		check_equal(run_msr(code, row->msr, value), SVM_EXIT_MSR, "MSR %x, write %u", row->msr,
			write);
		check_equal(vmcb->exit_info1, write, "MSR %x: EXITINFO1", row->msr);
		check_equal(vmcb->rip, code, "MSR %x: RIP", row->msr);
		if (svm_has(SVM_NRIPS))
			check_equal(vmcb->nrip, code + 2, "MSR %x: nRIP", row->msr);
		svm_fresh();
		memset(svm_msrpm, 0xff, 2 * PAGE);
		svm_msrpm[row->byte] = ~(1 << (row->bit + write));
		if (row->msr == 0x10 && write)
			value = rdmsr(0x10);
		check_equal(run_msr(code, row->msr, value), SVM_EXIT_VMMCALL, "MSR %x, write %u: plain",
			row->msr, write);
		check_equal(guest_last.vector, NO_TRAP, "MSR %x, write %u: plain", row->msr, write);
		if (!write && row->msr != 0x10 && row->msr != MSR_PAT)
			check_equal(svm_regs.rdx << 32 | (u32)vmcb->rax, value, "MSR %x: the value", row->msr);
	}
}

static void msr_edges(void)
{
	static const u32 outside[] = { 0x2000, 0x40000000, 0xbfffffff, 0xc0002000, 0xc000ffff,
		0xc0012000, 0xffffffff };

	for (unsigned i = 0; i < ARRAY_SIZE(outside); i++) {
		svm_fresh();
		check_equal(run_msr(rdmsr_insn, outside[i], 0), SVM_EXIT_MSR, "MSR %x is in no range",
			outside[i]);
	}
	/* the exception of an MSR that is not there comes after the intercept */
	svm_fresh();
	check_equal(run_msr(rdmsr_insn, 0x1fff, 0), SVM_EXIT_VMMCALL, "unknown MSR, not intercepted");
	if (!guest_tcg_wrong("unknown MSRs raise #GP"))
		check_equal(guest_last.vector, VEC_GP, "unknown MSR, not intercepted: #GP");
	svm_fresh();
	svm_msrpm[0x7ff] = 0x40;
	check_equal(run_msr(rdmsr_insn, 0x1fff, 0), SVM_EXIT_MSR, "the last MSR of the first range");
	svm_fresh();
	svm_msrpm[0x1800] = 0xff;
	svm_msrpm[0x17ff] = 0x80;
	check_equal(run_msr(wrmsr_insn, 0xc0011fff, 0), SVM_EXIT_MSR, "the last MSR of the third range");
	/* the map without the intercept */
	svm_fresh();
	memset(svm_msrpm, 0xff, 2 * PAGE);
	svm_regs.rcx = MSR_EFER;
	check_equal(svm_run_at(rdmsr_insn), SVM_EXIT_VMMCALL, "the map without the intercept");
}

/* At CPL 3 the #GP comes before the intercept: APM2 table 15-7. */
static void privilege(void)
{
	const u16 user_code = SEL_USER_CODE64, user_data = SEL_USER_DATA;

	svm_fresh();
	memset(svm_msrpm, 0xff, 2 * PAGE);
	vmcb->cpl = 3;
	vmcb->cs_selector = user_code;
	vmcb->cs_attrib = 0xafb;
	vmcb->ss_selector = user_data;
	vmcb->ss_attrib = 0xcf3;
	svm_intercept(SVM_EXIT_EXCEPTION + VEC_GP, true);
	check_equal(run_msr(rdmsr_insn, MSR_EFER, 0), SVM_EXIT_EXCEPTION + VEC_GP, "RDMSR at CPL 3");
	check_equal(vmcb->cpl, 3, "CPL is saved");
	/* and the TSS forbids the port before the map is asked */
	memset(svm_iopm, 0xff, 3 * PAGE);
	svm_intercept(SVM_EXIT_IOIO, true);
	svm_regs.rdx = 0x5655;
	check_equal(svm_run_at(in8), SVM_EXIT_EXCEPTION + VEC_GP, "IN at CPL 3");
	vmcb->rflags |= 3 << 12;
	check_equal(svm_run_at(in8), SVM_EXIT_IOIO, "IN at CPL 3 with IOPL 3");
}

void guest_main(void)
{
	if (!svm_setup())
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(io_rows); i++)
		check_io(&io_rows[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(msr_rows); i++)
		check_msr(&msr_rows[i]);
	msr_edges();
	privilege();
}
