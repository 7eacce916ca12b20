/* SPDX-License-Identifier: MIT */
/*
 * Control and debug registers of a guest: masks and shadows, CR3 targets, LMSW, CLTS, SMSW, CR8,
 * MOV DR, and what of them exits. SDM3 25.6.6, 25.6.7, 26.1.3, 26.3, 28.2.1.
 */
#include "vmx.h"

u16 word_image;

CODE(read_cr0_rbx, "mov %cr0, %rbx");
CODE(read_cr4_r12, "mov %cr4, %r12");
CODE(read_cr3_r9, "mov %cr3, %r9");
CODE(read_cr8_rsi, "mov %cr8, %rsi");
CODE(write_cr0_rbx, "mov %rbx, %cr0");
CODE(write_cr4_r13, "mov %r13, %cr4");
CODE(write_cr3_rdi, "mov %rdi, %cr3");
CODE(write_cr8_r10, "mov %r10, %cr8");
CODE(smsw_insn, "smsw %rcx");
CODE(smsw_16, "smsw %cx");
CODE(lmsw_register, "lmsw %dx");
CODE(lmsw_memory, "lmsw word_image");
CODE(clts_insn, "clts");
CODE(read_dr0_insn, "mov %dr0, %rbx");
CODE(read_dr6_insn, "mov %dr6, %r14");
CODE(write_dr3_insn, "mov %r9, %dr3");
CODE(write_dr7_insn, "mov %rcx, %dr7");
CODE(write_dr4, "mov %rcx, %dr4");

enum { MOV_TO, MOV_FROM, CLTS, LMSW };
#define CR_ACCESS(cr, type, reg) ((u64)(cr) | (type) << 4 | (reg) << 8)
#define LMSW_MEMORY BIT(6)
#define LMSW_SOURCE(value) ((u64)(value) << 16)

static void exits(const void *code, const void *end, u64 qualification, const char *name)
{
	vmx_check_exit(code, end, vmx_run_at(code), VMX_EXIT_CR_ACCESS, name);
	check_equal(get(exit_qualification), qualification, "%s: qualification", name);
}
#define EXITS(label, qualification) exits(label, label##_end, qualification, #label)

static void reads(void)
{
	u64 cr0, cr4;

	/* the host's bits come from the shadow, the guest's own from the register */
	vmx_fresh();
	cr0 = get(guest_cr0);
	cr4 = get(guest_cr4);
	put(cr0_mask, CR0_TS | CR0_AM | CR0_NE);
	put(cr0_shadow, CR0_TS | CR0_WP);
	put(cr4_mask, CR4_VMXE | CR4_TSD);
	put(cr4_shadow, CR4_TSD | CR4_DE);
	PASSES(read_cr0_rbx);
	check_equal(vmx_regs.rbx, (cr0 & ~(CR0_TS | CR0_AM | CR0_NE)) | CR0_TS,
		"CR0 as the guest reads it");
	PASSES(read_cr4_r12);
	check_equal(vmx_regs.r12, (cr4 & ~(CR4_VMXE | CR4_TSD)) | CR4_TSD,
		"CR4 as the guest reads it");
	PASSES(smsw_insn);
	check_equal(vmx_regs.rcx, (cr0 & ~(CR0_TS | CR0_AM | CR0_NE)) | CR0_TS, "SMSW");
	vmx_regs.rcx = 0x12345;
	PASSES(smsw_16);
	check_equal(vmx_regs.rcx, 0x10000 | (((cr0 & ~(CR0_TS | CR0_NE)) | CR0_TS) & 0xffff),
		"SMSW, 16 bits");
	check_equal(get(guest_cr0), cr0, "and CR0 is what it was");
	check_equal(get(guest_cr4), cr4, "CR4 too");
}

static void cr0(void)
{
	u64 real;

	/* a bit of the host's that differs from the shadow */
	vmx_fresh();
	real = get(guest_cr0);
	put(cr0_mask, CR0_TS);
	put(cr0_shadow, 0);
	vmx_regs.rbx = real | CR0_TS;
	EXITS(write_cr0_rbx, CR_ACCESS(0, MOV_TO, 3));
	check_equal(get(guest_cr0), real, "CR0 stays at the exit");
	/* one that agrees with it, whatever the register holds: no exit, and no change */
	put(guest_cr0, real | CR0_TS);
	vmx_regs.rbx = real ^ CR0_MP;
	PASSES(write_cr0_rbx);
	check_equal(get(guest_cr0), (real ^ CR0_MP) | CR0_TS,
		"the host's bit stays, the guest's changes");
	/* what VMX operation fixes, in a bit of the guest's */
	vmx_fresh();
	vmx_regs.rbx = real & ~CR0_NE;
	RAISES(write_cr0_rbx, VEC_GP);
	/* and in one of the host's */
	vmx_fresh();
	put(cr0_mask, CR0_NE);
	put(cr0_shadow, 0);
	vmx_regs.rbx = real & ~CR0_NE;
	PASSES(write_cr0_rbx);
	check_equal(get(guest_cr0), real, "NE stays set");
	/* a fault of the value comes after the exit */
	vmx_fresh();
	put(cr0_mask, CR0_PE);
	put(cr0_shadow, CR0_PE);
	vmx_regs.rbx = real & ~CR0_PE;
	EXITS(write_cr0_rbx, CR_ACCESS(0, MOV_TO, 3));
}

static void cr4(void)
{
	u64 real;

	vmx_fresh();
	real = get(guest_cr4);
	put(cr4_mask, CR4_TSD | CR4_VMXE);
	put(cr4_shadow, 0);
	vmx_regs.r13 = real | CR4_TSD;
	EXITS(write_cr4_r13, CR_ACCESS(4, MOV_TO, 13));
	vmx_regs.r13 = (real & ~CR4_VMXE) | CR4_DE;
	PASSES(write_cr4_r13);
	check_equal(get(guest_cr4), real | CR4_DE, "VMXE is the host's");
	vmx_fresh();
	vmx_regs.r13 = real & ~CR4_VMXE;
	RAISES(write_cr4_r13, VEC_GP);
}

static void cr3(void)
{
	static const u64 targets[] = { 0x1000000, 0x1001000, 0x1002000, 0x1003000 };
	u64 root;

	vmx_fresh();
	root = get(guest_cr3);
	vmx_regs.rdi = root;
	PASSES(write_cr3_rdi);
	PASSES(read_cr3_r9);
	check_equal(vmx_regs.r9, root, "CR3");
	vmx_proc(PROC_CR3_LOAD);
	EXITS(write_cr3_rdi, CR_ACCESS(3, MOV_TO, 7));
	PASSES(read_cr3_r9);
	vmx_fresh();
	vmx_proc(PROC_CR3_STORE);
	vmx_regs.rdi = root;
	PASSES(write_cr3_rdi);
	EXITS(read_cr3_r9, CR_ACCESS(3, MOV_FROM, 9));
	/* targets, as far as the count goes */
	for (unsigned count = 0; count <= 4; count++)
		for (unsigned hit = 0; hit < 4; hit++) {
			vmx_fresh();
			vmx_proc(PROC_CR3_LOAD);
			put(cr3_target_count, count);
			for (unsigned i = 0; i < 4; i++)
				vmcs_write(FIELD_cr3_target0 + 2 * i, i == hit ? root : targets[i]);
			vmx_regs.rdi = root;
			check_equal(vmx_run_at(write_cr3_rdi),
				hit < count ? VMX_EXIT_VMCALL : VMX_EXIT_CR_ACCESS,
				"CR3 target %u of %u", hit, count);
		}
	/* a value that CR3 would refuse is not looked at first */
	vmx_fresh();
	vmx_proc(PROC_CR3_LOAD);
	vmx_regs.rdi = BIT(62);
	EXITS(write_cr3_rdi, CR_ACCESS(3, MOV_TO, 7));
	vmx_fresh();
	vmx_regs.rdi = BIT(62);
	RAISES(write_cr3_rdi, VEC_GP);
}

static void cr8(void)
{
	vmx_fresh();
	vmx_regs.r10 = 5;
	PASSES(write_cr8_r10);
	check_equal(read_cr8(), 5, "CR8 is the real one");
	PASSES(read_cr8_rsi);
	check_equal(vmx_regs.rsi, 5, "CR8, read");
	write_cr8(0);
	vmx_proc(PROC_CR8_LOAD);
	EXITS(write_cr8_r10, CR_ACCESS(8, MOV_TO, 10));
	check_equal(read_cr8(), 0, "CR8 stays");
	PASSES(read_cr8_rsi);
	vmx_fresh();
	vmx_proc(PROC_CR8_STORE);
	vmx_regs.r10 = 0;
	PASSES(write_cr8_r10);
	EXITS(read_cr8_rsi, CR_ACCESS(8, MOV_FROM, 6));
	/* reserved bits: the exit comes first */
	vmx_fresh();
	vmx_regs.r10 = 16;
	RAISES(write_cr8_r10, VEC_GP);
	vmx_fresh();
	vmx_proc(PROC_CR8_LOAD);
	vmx_regs.r10 = 16;
	EXITS(write_cr8_r10, CR_ACCESS(8, MOV_TO, 10));
}

static void clts(void)
{
	u64 real;

	vmx_fresh();
	real = get(guest_cr0) & ~CR0_TS;
	/* TS is the guest's */
	put(guest_cr0, real | CR0_TS);
	PASSES(clts_insn);
	check_equal(get(guest_cr0), real, "CLTS clears TS");
	/* the host's: exits where the shadow has it set */
	put(cr0_mask, CR0_TS);
	put(cr0_shadow, CR0_TS);
	EXITS(clts_insn, CR_ACCESS(0, CLTS, 0));
	put(cr0_shadow, 0);
	put(guest_cr0, real | CR0_TS);
	PASSES(clts_insn);
	check_equal(get(guest_cr0), real | CR0_TS, "CLTS leaves the host's TS");
}

static void lmsw(void)
{
	static const struct {
		u32 mask, shadow, source;
		bool exits;
	} rows[] = {
		{ 0, 0, CR0_PE | CR0_TS, false },
		{ CR0_TS, 0, CR0_PE | CR0_TS, true },
		{ CR0_TS, CR0_TS, CR0_PE | CR0_TS, false },
		{ CR0_TS, CR0_TS, CR0_PE, true },
		{ CR0_MP, 0, CR0_PE | CR0_MP, true },
		{ CR0_EM, 0, CR0_PE | CR0_TS, false },
		/* LMSW can set PE and not clear it */
		{ CR0_PE, 0, CR0_PE, true },
		{ CR0_PE, CR0_PE, CR0_PE, false },
		{ CR0_PE, CR0_PE, 0, false },
		/* no other bits are looked at */
		{ CR0_NE | (u32)CR0_PG, 0, CR0_PE | CR0_NE, false },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		u64 real, want;

		vmx_fresh();
		real = get(guest_cr0) & ~(CR0_TS | CR0_MP);
		put(guest_cr0, real);
		put(cr0_mask, rows[i].mask);
		put(cr0_shadow, rows[i].shadow);
		vmx_regs.rdx = rows[i].source;
		word_image = (u16)rows[i].source;
		if (rows[i].exits) {
			EXITS(lmsw_register, CR_ACCESS(0, LMSW, 0) | LMSW_SOURCE(rows[i].source));
			EXITS(lmsw_memory, CR_ACCESS(0, LMSW, 0) | LMSW_MEMORY |
				LMSW_SOURCE(rows[i].source));
			check_equal(get(guest_linear_address), &word_image, "LMSW: linear address");
			check_equal(get(guest_cr0), real, "LMSW %u: CR0 stays", i);
			continue;
		}
		want = (real & ~14ull) | (rows[i].source & 14);
		want = (want & ~(u64)rows[i].mask) | (real & rows[i].mask);
		PASSES(lmsw_register);
		check_equal(get(guest_cr0), want, "LMSW %u", i);
	}
}

static void dr(const void *code, const void *end, u64 qualification, const char *name)
{
	vmx_check_exit(code, end, vmx_run_at(code), VMX_EXIT_MOV_DR, name);
	check_equal(get(exit_qualification), qualification, "%s: qualification", name);
}
#define DR_EXITS(label, qualification) dr(label, label##_end, qualification, #label)
#define DR_FROM BIT(4)

static void debug_registers(void)
{
	vmx_fresh();
	vmx_regs.r9 = 0x1234;
	vmx_regs.rcx = 0x400;
	PASSES(write_dr3_insn);
	check_equal(read_dr3(), 0x1234, "DR3 is the real one");
	PASSES(read_dr0_insn);
	write_dr3(0);
	vmx_proc(PROC_MOV_DR);
	DR_EXITS(read_dr0_insn, 0 | DR_FROM | 3 << 8);
	DR_EXITS(read_dr6_insn, 6 | DR_FROM | 14 << 8);
	DR_EXITS(write_dr3_insn, 3 | 9 << 8);
	DR_EXITS(write_dr7_insn, 7 | 1 << 8);
	check_equal(read_dr3(), 0, "DR3 stays");
	/* before the privilege level and CR4.DE are looked at */
	put(guest_cr4, get(guest_cr4) | CR4_DE);
	DR_EXITS(write_dr4, 4 | 1 << 8);
	vmx_user();
	DR_EXITS(read_dr0_insn, 0 | DR_FROM | 3 << 8);
	vmx_fresh();
	put(guest_cr4, get(guest_cr4) | CR4_DE);
	RAISES(write_dr4, VEC_UD);
	vmx_user();
	RAISES(read_dr0_insn, VEC_GP);
}

/* MOV CR and the like at CPL 3: the fault comes first. */
static void privilege(void)
{
	vmx_fresh();
	vmx_proc(PROC_CR3_LOAD | PROC_CR3_STORE | PROC_CR8_LOAD | PROC_CR8_STORE);
	put(cr0_mask, ~0ull);
	put(cr0_shadow, CR0_TS);
	vmx_user();
	RAISES(read_cr3_r9, VEC_GP);
	RAISES(write_cr3_rdi, VEC_GP);
	RAISES(read_cr8_rsi, VEC_GP);
	RAISES(write_cr8_r10, VEC_GP);
	RAISES(write_cr0_rbx, VEC_GP);
	RAISES(clts_insn, VEC_GP);
	RAISES(lmsw_register, VEC_GP);
	RAISES(smsw_insn, NO_TRAP);
	check_equal(vmx_regs.rcx, CR0_TS, "SMSW at CPL 3 gives the shadow");
}

void guest_main(void)
{
	if (!vmx_setup())
		return;
	reads();
	cr0();
	cr4();
	cr3();
	cr8();
	clts();
	lmsw();
	debug_registers();
	privilege();
}
