/* SPDX-License-Identifier: MIT */
/*
 * Instructions that exit: always, or by a control, whose other setting lets them run. Reason, RIP,
 * length, exit qualification, instruction information; which faults come first. SDM3 26.1, 28.2.
 */
#include "vmx.h"

/* named by the code below */
struct table table_image;
u16 word_image;
u64 pair_image[2] __attribute__((aligned(16)));
u8 xsave_image[8192] __attribute__((aligned(64)));

CODE(cpuid_insn, "cpuid");
CODE(getsec_insn, "getsec");
CODE(hlt_insn, "hlt");
CODE(invd_insn, "invd");
CODE(wbinvd_insn, "wbinvd");
CODE(invlpg_insn, "invlpg 0x10(%rbx)");
CODE(invlpg_fs, "invlpg %fs:0x20(%rbx)");
CODE(invpcid_insn, "invpcid 0x100(%rbx, %r9, 4), %r13");
CODE(rdpmc_insn, "rdpmc");
CODE(rdtsc_insn, "rdtsc");
CODE(rdtscp_insn, "rdtscp");
CODE(rdrand_16, "rdrand %cx");
CODE(rdrand_64, "rdrand %r10");
CODE(rdseed_32, "rdseed %ebx");
CODE(rdseed_64, "rdseed %r14");
CODE(pause_insn, "pause");
CODE(monitor_insn, "monitor %rax, %ecx, %edx");
CODE(mwait_insn, "mwait %eax, %ecx");
CODE(xsetbv_insn, "xsetbv");
CODE(rsm_insn, "rsm");
CODE(sgdt_insn, "sgdt table_image");
CODE(sidt_base, "sidt 8(%r12)");
CODE(lgdt_insn, "lgdt guest_gdtr");
CODE(lidt_prefixed, "lidt %fs:(%r13d, %ebx, 2)");
CODE(sldt_memory, "sldt word_image(%rip)");
CODE(sldt_register, "sldt %r11d");
CODE(str_register, "str %ebx");
CODE(lldt_register, "lldt %cx");
CODE(lldt_memory, "lldt -2(%rsp)");
CODE(ltr_register, "ltr %r8w");

CODE(vmcall_insn, "nop");
CODE(vmclear_insn, "vmclear pair_image");
CODE(vmptrld_insn, "vmptrld -8(%rbp, %r9, 8)");
CODE(vmptrst_insn, "vmptrst (%r15)");
CODE(vmxon_insn, "vmxon %gs:0x12345678(%eax, %ecx, 4)");
CODE(vmxoff_insn, "vmxoff");
CODE(vmlaunch_insn, "vmlaunch");
CODE(vmresume_insn, "vmresume");
CODE(vmread_register, "vmread %r9, %rdx");
CODE(vmread_memory, "vmread %rcx, pair_image(%rip)");
CODE(vmwrite_register, "vmwrite %rdx, %r12");
CODE(vmwrite_memory, "vmwrite 0x20(%rsi), %rax");
CODE(invept_insn, "invept (%rsi), %rdx");
CODE(invvpid_insn, "invvpid 0x40(%rsp, %rsi), %r8");
CODE(vmfunc_insn, "vmfunc");
CODE(xsaves_insn, "xsaves xsave_image");
CODE(xrstors_insn, "xrstors xsave_image");

enum kind { ALWAYS, PROC, SECONDARY };

/* Who must offer the instruction: a CPUID bit; leaf 0: everyone. */
struct need {
	u32 leaf;
	u8 reg, bit;
};
#define EVERYWHERE { 0, 0, 0 }

struct row {
	const char *name;
	const u8 *code, *end;
	u8 reason, kind;
	u64 bit;         /* of the control */
	u32 with;        /* secondary controls that must be on in any case */
	unsigned plain;  /* the vector it raises where it does not exit */
	unsigned user;   /* at CPL 3, should it exit at CPL 0: the vector that comes first */
	struct need need;
	u64 qualification;
	u32 info, info_mask;
};
#define NOT_PLAIN 0xffff /* would not come back, or has no other setting */
#define ANY_PLAIN 0xfffe
#define ROW(label, ...) { #label, label, label##_end, __VA_ARGS__ }

/* Instruction information, tables 28-9 to 28-16; what they call undefined is in no mask. */
#define SIZE64 (2 << 7)
#define SIZE32 (1 << 7)
#define SEGMENT(n) ((n) << 15)
#define INDEX(reg) ((reg) << 18)
#define NO_INDEX BIT(22)
#define BASE(reg) ((u32)(reg) << 23)
#define NO_BASE BIT(27)
#define REG2(reg) ((u32)(reg) << 28)
#define REG1(reg) ((reg) << 3)
#define REGISTER BIT(10)
#define IDENTITY(n) ((u32)(n) << 28)
#define OPERAND(n) ((u32)(n) << 11)
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum { ES, CS, SS, DS, FS, GS };
#define ADDRESS_MASK (MASK(9, 7) | MASK(17, 15) | BIT(22) | BIT(27))
#define BASE_MASK (ADDRESS_MASK | MASK(26, 23))
#define INDEX_MASK (BASE_MASK | MASK(21, 18) | MASK(1, 0))
#define REG2_MASK MASK(31, 28)
#define IDENTITY_MASK MASK(29, 28)
#define REG1_MASK (BIT(10) | MASK(6, 3))
#define RANDOM_MASK (MASK(12, 11) | MASK(6, 3))

static const struct row rows[] = {
	ROW(cpuid_insn, VMX_EXIT_CPUID, ALWAYS, 0, 0, NOT_PLAIN, NO_TRAP, EVERYWHERE, 0),
	ROW(invd_insn, VMX_EXIT_INVD, ALWAYS, 0, 0, NOT_PLAIN, VEC_GP, EVERYWHERE, 0),
	ROW(xsetbv_insn, VMX_EXIT_XSETBV, ALWAYS, 0, 0, NOT_PLAIN, VEC_GP, { 1, 2, 26 }, 0),
	ROW(hlt_insn, VMX_EXIT_HLT, PROC, PROC_HLT, 0, NOT_PLAIN, VEC_GP, EVERYWHERE, 0),
	ROW(invlpg_insn, VMX_EXIT_INVLPG, PROC, PROC_INVLPG, 0, NO_TRAP, VEC_GP, EVERYWHERE,
		0x123456010),
	ROW(invlpg_fs, VMX_EXIT_INVLPG, PROC, PROC_INVLPG, 0, NO_TRAP, VEC_GP, EVERYWHERE,
		0x123466020),
	ROW(invpcid_insn, VMX_EXIT_INVPCID, PROC, PROC_INVLPG, SEC_INVPCID, NO_TRAP, VEC_GP,
		{ 7, 1, 10 }, 0x100, SIZE64 | SEGMENT(DS) | INDEX(R9) | BASE(RBX) | REG2(R13) | 2,
		INDEX_MASK | REG2_MASK),
	ROW(rdpmc_insn, VMX_EXIT_RDPMC, PROC, PROC_RDPMC, 0, ANY_PLAIN, VEC_GP, EVERYWHERE, 0),
	ROW(rdtsc_insn, VMX_EXIT_RDTSC, PROC, PROC_RDTSC, 0, NO_TRAP, NO_TRAP, EVERYWHERE, 0),
	ROW(rdtscp_insn, VMX_EXIT_RDTSCP, PROC, PROC_RDTSC, SEC_RDTSCP, NO_TRAP, NO_TRAP,
		{ 0x80000001, 3, 27 }, 0),
	ROW(rdrand_16, VMX_EXIT_RDRAND, SECONDARY, SEC_RDRAND, 0, NO_TRAP, NO_TRAP, { 1, 2, 30 }, 0,
		REG1(RCX) | OPERAND(0), RANDOM_MASK),
	ROW(rdrand_64, VMX_EXIT_RDRAND, SECONDARY, SEC_RDRAND, 0, NO_TRAP, NO_TRAP, { 1, 2, 30 }, 0,
		REG1(R10) | OPERAND(2), RANDOM_MASK),
	ROW(rdseed_32, VMX_EXIT_RDSEED, SECONDARY, SEC_RDSEED, 0, NO_TRAP, NO_TRAP, { 7, 1, 18 }, 0,
		REG1(RBX) | OPERAND(1), RANDOM_MASK),
	ROW(rdseed_64, VMX_EXIT_RDSEED, SECONDARY, SEC_RDSEED, 0, NO_TRAP, NO_TRAP, { 7, 1, 18 }, 0,
		REG1(R14) | OPERAND(2), RANDOM_MASK),
	ROW(pause_insn, VMX_EXIT_PAUSE, PROC, PROC_PAUSE, 0, NO_TRAP, NO_TRAP, EVERYWHERE, 0),
	ROW(monitor_insn, VMX_EXIT_MONITOR, PROC, PROC_MONITOR, 0, NO_TRAP, VEC_UD, { 1, 2, 3 }, 0),
	ROW(mwait_insn, VMX_EXIT_MWAIT, PROC, PROC_MWAIT, 0, NOT_PLAIN, VEC_UD, { 1, 2, 3 }, 0),
	ROW(wbinvd_insn, VMX_EXIT_WBINVD, SECONDARY, SEC_WBINVD, 0, NO_TRAP, VEC_GP, EVERYWHERE, 0),

	ROW(sgdt_insn, VMX_EXIT_GDTR_IDTR, SECONDARY, SEC_DESCRIPTOR_TABLES, 0, NO_TRAP, NO_TRAP,
		EVERYWHERE, (u64)&table_image,
		SIZE64 | SEGMENT(DS) | NO_INDEX | NO_BASE | IDENTITY(0), ADDRESS_MASK |
		IDENTITY_MASK),
	ROW(sidt_base, VMX_EXIT_GDTR_IDTR, SECONDARY, SEC_DESCRIPTOR_TABLES, 0, NO_TRAP, NO_TRAP,
		EVERYWHERE, 8, SIZE64 | SEGMENT(DS) | NO_INDEX | BASE(R12) | IDENTITY(1),
		BASE_MASK | IDENTITY_MASK),
	ROW(lgdt_insn, VMX_EXIT_GDTR_IDTR, SECONDARY, SEC_DESCRIPTOR_TABLES, 0, NO_TRAP, VEC_GP,
		EVERYWHERE, (u64)&guest_gdtr,
		SIZE64 | SEGMENT(DS) | NO_INDEX | NO_BASE | IDENTITY(2), ADDRESS_MASK |
		IDENTITY_MASK),
	ROW(lidt_prefixed, VMX_EXIT_GDTR_IDTR, SECONDARY, SEC_DESCRIPTOR_TABLES, 0, NO_TRAP, VEC_GP,
		EVERYWHERE, 0, SIZE32 | SEGMENT(FS) | INDEX(RBX) | BASE(R13) | 1 | IDENTITY(3),
		INDEX_MASK | IDENTITY_MASK),
	ROW(sldt_memory, VMX_EXIT_LDTR_TR, SECONDARY, SEC_DESCRIPTOR_TABLES, 0, NO_TRAP, NO_TRAP,
		EVERYWHERE, (u64)&word_image, SIZE64 | SEGMENT(DS) | NO_INDEX | NO_BASE |
		IDENTITY(0),
		ADDRESS_MASK | REGISTER | IDENTITY_MASK),
	ROW(sldt_register, VMX_EXIT_LDTR_TR, SECONDARY, SEC_DESCRIPTOR_TABLES, 0, NO_TRAP, NO_TRAP,
		EVERYWHERE, 0, REGISTER | REG1(R11) | IDENTITY(0), REG1_MASK | IDENTITY_MASK),
	ROW(str_register, VMX_EXIT_LDTR_TR, SECONDARY, SEC_DESCRIPTOR_TABLES, 0, NO_TRAP, NO_TRAP,
		EVERYWHERE, 0, REGISTER | REG1(RBX) | IDENTITY(1), REG1_MASK | IDENTITY_MASK),
	ROW(lldt_register, VMX_EXIT_LDTR_TR, SECONDARY, SEC_DESCRIPTOR_TABLES, 0, NO_TRAP, VEC_GP,
		EVERYWHERE, 0, REGISTER | REG1(RCX) | IDENTITY(2), REG1_MASK | IDENTITY_MASK),
	ROW(lldt_memory, VMX_EXIT_LDTR_TR, SECONDARY, SEC_DESCRIPTOR_TABLES, 0, NO_TRAP, VEC_GP,
		EVERYWHERE, -2ull, SIZE64 | SEGMENT(SS) | NO_INDEX | BASE(RSP) | IDENTITY(2),
		BASE_MASK | REGISTER | IDENTITY_MASK),
	ROW(ltr_register, VMX_EXIT_LDTR_TR, SECONDARY, SEC_DESCRIPTOR_TABLES, 0, VEC_GP, VEC_GP,
		EVERYWHERE, 0, REGISTER | REG1(R8) | IDENTITY(3), REG1_MASK | IDENTITY_MASK),

	/* these exit at CPL 3 too */
	ROW(vmclear_insn, VMX_EXIT_VMCLEAR, ALWAYS, 0, 0, NOT_PLAIN, NO_TRAP, EVERYWHERE,
		(u64)pair_image, SIZE64 | SEGMENT(DS) | NO_INDEX | NO_BASE, ADDRESS_MASK),
	ROW(vmptrld_insn, VMX_EXIT_VMPTRLD, ALWAYS, 0, 0, NOT_PLAIN, NO_TRAP, EVERYWHERE, -8ull,
		SIZE64 | SEGMENT(SS) | INDEX(R9) | BASE(RBP) | 3, INDEX_MASK),
	ROW(vmptrst_insn, VMX_EXIT_VMPTRST, ALWAYS, 0, 0, NOT_PLAIN, NO_TRAP, EVERYWHERE, 0,
		SIZE64 | SEGMENT(DS) | NO_INDEX | BASE(R15), BASE_MASK),
	ROW(vmxon_insn, VMX_EXIT_VMXON, ALWAYS, 0, 0, NOT_PLAIN, NO_TRAP, EVERYWHERE, 0x12345678,
		SIZE32 | SEGMENT(GS) | INDEX(RCX) | BASE(RAX) | 2, INDEX_MASK),
	ROW(vmxoff_insn, VMX_EXIT_VMXOFF, ALWAYS, 0, 0, NOT_PLAIN, NO_TRAP, EVERYWHERE, 0),
	ROW(vmlaunch_insn, VMX_EXIT_VMLAUNCH, ALWAYS, 0, 0, NOT_PLAIN, NO_TRAP, EVERYWHERE, 0),
	ROW(vmresume_insn, VMX_EXIT_VMRESUME, ALWAYS, 0, 0, NOT_PLAIN, NO_TRAP, EVERYWHERE, 0),
	ROW(vmread_register, VMX_EXIT_VMREAD, ALWAYS, 0, 0, NOT_PLAIN, NO_TRAP, EVERYWHERE, 0,
		REGISTER | REG1(RDX) | REG2(R9), REG1_MASK | REG2_MASK),
	ROW(vmread_memory, VMX_EXIT_VMREAD, ALWAYS, 0, 0, NOT_PLAIN, NO_TRAP, EVERYWHERE,
		(u64)pair_image, SIZE64 | SEGMENT(DS) | NO_INDEX | NO_BASE | REG2(RCX),
		ADDRESS_MASK | REGISTER | REG2_MASK),
	ROW(vmwrite_register, VMX_EXIT_VMWRITE, ALWAYS, 0, 0, NOT_PLAIN, NO_TRAP, EVERYWHERE, 0,
		REGISTER | REG1(RDX) | REG2(R12), REG1_MASK | REG2_MASK),
	ROW(vmwrite_memory, VMX_EXIT_VMWRITE, ALWAYS, 0, 0, NOT_PLAIN, NO_TRAP, EVERYWHERE, 0x20,
		SIZE64 | SEGMENT(DS) | NO_INDEX | BASE(RSI) | REG2(RAX),
		BASE_MASK | REGISTER | REG2_MASK),
	ROW(invept_insn, VMX_EXIT_INVEPT, ALWAYS, 0, 0, NOT_PLAIN, NO_TRAP, EVERYWHERE, 0,
		SIZE64 | SEGMENT(DS) | NO_INDEX | BASE(RSI) | REG2(RDX), BASE_MASK | REG2_MASK),
	ROW(invvpid_insn, VMX_EXIT_INVVPID, ALWAYS, 0, 0, NOT_PLAIN, NO_TRAP, EVERYWHERE, 0x40,
		SIZE64 | SEGMENT(SS) | INDEX(RSI) | BASE(RSP) | REG2(R8), INDEX_MASK | REG2_MASK),
	ROW(vmfunc_insn, VMX_EXIT_VMFUNC, ALWAYS, 0, SEC_VM_FUNCTIONS | SEC_EPT, NOT_PLAIN, NO_TRAP,
		EVERYWHERE, 0),
};

/* What the rows want in registers. */
static void set_registers(const struct row *row)
{
	put(guest_fs_base, 0x10000);
	put(guest_cr4, get(guest_cr4) | CR4_PCE);
	vmx_regs.r12 = (u64)&table_image;
	vmx_regs.r8 = SEL_TSS;
	if (row->code == invlpg_insn || row->code == invlpg_fs)
		vmx_regs.rbx = 0x123456000;
	else if (row->code == lidt_prefixed)
		vmx_regs.r13 = (u64)&guest_idtr - 0x10000 - 0x20, vmx_regs.rbx = 0x10;
	else if (row->code == xsetbv_insn)
		put(guest_cr4, get(guest_cr4) | CR4_OSXSAVE), vmx_regs.rax = 1;
	else if (row->code == monitor_insn)
		vmx_regs.rax = (u64)&word_image;
	else if (row->code == invpcid_insn)
		vmx_regs.rbx = (u64)pair_image - 0x100, vmx_regs.r13 = 2;
	else if (row->code == vmfunc_insn)
		vmx_regs.rax = 63;
	else if (row->code == lldt_memory)
		((u16 *)vmx_stack_top)[-1] = 0;
}

static void prepare(const struct row *row, bool on, bool user)
{
	vmx_fresh();
	set_registers(row);
	if (row->with & SEC_EPT)
		vmx_ept();
	if (row->with)
		vmx_secondary(row->with);
	if (user) {
		vmx_user();
		put(guest_cr4, get(guest_cr4) & ~CR4_PCE);
	}
	if (!on)
		return;
	if (row->kind == PROC)
		vmx_proc((u32)row->bit);
	else if (row->kind == SECONDARY)
		vmx_secondary((u32)row->bit);
}

static void check_row(const struct row *row)
{
	if (row->need.leaf && !cpu_has(row->need.leaf, row->need.reg, row->need.bit)) {
		guest_skip(row->name);
		return;
	}
	prepare(row, true, false);
	if (vmx_check_exit(row->code, row->end, vmx_run_fixup(row->code, row->end), row->reason,
		    row->name)) {
		check_equal(get(exit_qualification), row->qualification, "%s: qualification",
			row->name);
		check_equal(get(exit_instruction_info) & row->info_mask, row->info,
			"%s: instruction information", row->name);
		check_equal(get(exit_interruption_info) & INTR_INFO_VALID, 0,
			"%s: interruption information", row->name);
	}
	prepare(row, true, true);
	if (row->user == NO_TRAP) {
		vmx_check_exit(row->code, row->end, vmx_run_fixup(row->code, row->end), row->reason,
			row->name);
	} else {
		vmx_check_plain(row->end, vmx_run_fixup(row->code, row->end), row->name);
		check_equal(vmx_trap.vector, row->user, "%s: exception at CPL 3", row->name);
	}
	if (row->plain == NOT_PLAIN)
		return;
	prepare(row, false, false);
	vmx_check_plain(row->end, vmx_run_fixup(row->code, row->end), row->name);
	if (row->plain != ANY_PLAIN)
		check_equal(vmx_trap.vector, row->plain, "%s: plain vector", row->name);
}

/* ---- what is invalid comes first, SDM3 26.1.1 ---- */

static void not_enabled(void)
{
	vmx_fresh();
	RAISES(rsm_insn, VEC_UD);
	if (cpu_has(0x80000001, 3, 27)) {
		vmx_fresh();
		vmx_proc(PROC_RDTSC);
		RAISES(rdtscp_insn, VEC_UD);
	}
	if (cpu_has(7, 1, 10)) {
		vmx_fresh();
		vmx_proc(PROC_INVLPG);
		RAISES(invpcid_insn, VEC_UD);
	}
	vmx_fresh();
	RAISES(vmfunc_insn, VEC_UD);
	vmx_fresh();
	vmx_ept();
	vmx_secondary(SEC_VM_FUNCTIONS);
	vmx_regs.rax = 64;
	RAISES(vmfunc_insn, VEC_UD);
	vmx_fresh();
	RAISES(getsec_insn, VEC_UD);
	/* XSETBV and VMXON look at CR4 */
	vmx_fresh();
	put(guest_cr4, get(guest_cr4) & ~CR4_OSXSAVE);
	RAISES(xsetbv_insn, VEC_UD);
	/* INVEPT and the like: reserved types are the hypervisor's affair */
	vmx_fresh();
	vmx_regs.rdx = 77;
	check_equal(vmx_run_fixup(invept_insn, invept_insn_end), VMX_EXIT_INVEPT,
		"INVEPT of no type");
	/* values that XSETBV would refuse too */
	if (cpu_has(1, 2, 26)) {
		vmx_fresh();
		put(guest_cr4, get(guest_cr4) | CR4_OSXSAVE);
		vmx_regs.rcx = 99;
		check_equal(vmx_run_fixup(xsetbv_insn, xsetbv_insn_end), VMX_EXIT_XSETBV,
			"XSETBV of no register");
	}
}

/* TSD and PCE: the fault comes before the exit. */
static void privilege_first(void)
{
	static const struct row rdtsc_row = { .code = rdtsc_insn, .kind = PROC, .bit = PROC_RDTSC };

	prepare(&rdtsc_row, true, true);
	put(guest_cr4, get(guest_cr4) | CR4_TSD);
	vmx_check_plain(rdtsc_insn_end, vmx_run_fixup(rdtsc_insn, rdtsc_insn_end),
		"RDTSC under TSD");
	check_equal(vmx_trap.vector, VEC_GP, "RDTSC under TSD: #GP");
	vmx_fresh();
	put(guest_cr4, get(guest_cr4) | CR4_TSD);
	vmx_proc(PROC_RDTSC);
	check_equal(vmx_run_at(rdtsc_insn), VMX_EXIT_RDTSC, "RDTSC under TSD at CPL 0");
}

static void vmcall(void)
{
	vmx_fresh();
	check_equal(vmx_run_at(vmcall_insn), VMX_EXIT_VMCALL, "VMCALL");
	check_equal(get(guest_rip), vmcall_insn_end, "VMCALL: RIP");
	check_equal(get(exit_instruction_length), 3, "VMCALL: length");
	check_equal(get(exit_qualification), 0, "VMCALL: qualification");
	check_equal(get(exit_reason), VMX_EXIT_VMCALL, "VMCALL: the field, all of it");
}

/* ---- XSAVES and XRSTORS: SDM3 25.6.21, 26.1.3 ---- */

static void xsaves(void)
{
	u32 leaf[4];
	u64 supervisor;

	cpuid(13, 1, leaf);
	if (!cpu_has(1, 2, 26) || !(leaf[0] & BIT(3))) {
		guest_skip("XSAVES");
		return;
	}
	supervisor = leaf[2];
	vmx_fresh();
	put(guest_cr4, get(guest_cr4) | CR4_OSXSAVE);
	RAISES(xsaves_insn, VEC_UD);
	vmx_fresh();
	put(guest_cr4, get(guest_cr4) | CR4_OSXSAVE);
	RAISES(xrstors_insn, VEC_UD);

	vmx_fresh();
	put(guest_cr4, get(guest_cr4) | CR4_OSXSAVE);
	vmx_secondary(SEC_XSAVES);
	put(xss_exiting_bitmap, ~0ull);
	vmx_regs.rax = 3;
	vmx_check_plain(xsaves_insn_end, vmx_run_fixup(xsaves_insn, xsaves_insn_end),
		"XSAVES with no bit of XSS");
	check_equal(vmx_trap.vector, NO_TRAP, "XSAVES: plain");
	vmx_check_plain(xrstors_insn_end, vmx_run_fixup(xrstors_insn, xrstors_insn_end), "XRSTORS");
	check_equal(vmx_trap.vector, NO_TRAP, "XRSTORS: plain");
	if (!supervisor) {
		guest_skip("XSAVES with a supervisor state");
		return;
	}
	wrmsr(0xda0, supervisor);
	put(xss_exiting_bitmap, ~0ull);
	vmx_regs.rax = (u32)supervisor;
	vmx_regs.rdx = supervisor >> 32;
	vmx_check_exit(xsaves_insn, xsaves_insn_end, vmx_run_fixup(xsaves_insn, xsaves_insn_end),
		VMX_EXIT_XSAVES, "XSAVES");
	vmx_check_exit(xrstors_insn, xrstors_insn_end, vmx_run_fixup(xrstors_insn,
		xrstors_insn_end),
		VMX_EXIT_XRSTORS, "XRSTORS");
	check_equal(get(exit_qualification), xsave_image, "XRSTORS: qualification");
	put(xss_exiting_bitmap, 0);
	vmx_check_plain(xsaves_insn_end, vmx_run_fixup(xsaves_insn, xsaves_insn_end),
		"XSAVES with no bit of the bitmap");
	wrmsr(0xda0, 0);
}

/* ---- PAUSE in a loop, SDM3 26.1.3 ---- */

CODE(pauses, "1: incq %rbx; pause; cmpq $100000, %rbx; jne 1b");
CODE(one_pause, "pause");

static void pause_loop(void)
{
	static const struct row row = { .code = pauses };

	/* a window that any loop outlasts */
	vmx_fresh();
	vmx_secondary(SEC_PAUSE_LOOP);
	put(ple_gap, 0xffffffff);
	put(ple_window, 1);
	check_equal(vmx_run_at(pauses), VMX_EXIT_PAUSE, "the window is over");
	check(vmx_regs.rbx > 1, "not with the first PAUSE");
	check_equal(get(exit_instruction_length), 2, "PAUSE: length");
	/* every PAUSE is the first of a loop of its own */
	vmx_fresh();
	vmx_secondary(SEC_PAUSE_LOOP);
	put(ple_gap, 0);
	put(ple_window, 1);
	check_equal(vmx_run_at(pauses), VMX_EXIT_VMCALL, "PAUSEs far apart are no loop");
	vmx_fresh();
	vmx_secondary(SEC_PAUSE_LOOP);
	put(ple_gap, 0xffffffff);
	put(ple_window, 0xffffffff);
	check_equal(vmx_run_at(pauses), VMX_EXIT_VMCALL, "the window is not over");
	/* at CPL 3 it means nothing, and PAUSE exiting does not ask */
	prepare(&row, false, true);
	vmx_secondary(SEC_PAUSE_LOOP);
	put(ple_gap, 0xffffffff);
	put(ple_window, 1);
	check_equal(vmx_run_at(pauses), VMX_EXIT_VMCALL, "PAUSE loop at CPL 3");
	vmx_proc(PROC_PAUSE);
	check_equal(vmx_run_at(one_pause), VMX_EXIT_PAUSE, "PAUSE exiting at CPL 3");
	vmx_fresh();
	vmx_secondary(SEC_PAUSE_LOOP);
	vmx_proc(PROC_PAUSE);
	put(ple_gap, 0xffffffff);
	put(ple_window, 0xffffffff);
	check_equal(vmx_run_at(one_pause), VMX_EXIT_PAUSE, "PAUSE exiting comes before the loop");
}

void guest_main(void)
{
	if (!vmx_setup())
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		check_row(&rows[i]);
	not_enabled();
	privilege_first();
	vmcall();
	xsaves();
	pause_loop();
}
