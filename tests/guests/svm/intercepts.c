/* SPDX-License-Identifier: MIT */
/*
 * Each intercept of an instruction or exception: with its bit set it exits with its code, RIP, nRIP
 * and decode assists; with the bit clear it does not. APM2 15.7 - 15.14.
 */
#include "svm.h"

/* named by the code below */
struct table table_image;
u16 word_image;
u64 invpcid_image[2] __attribute__((aligned(16)));
static u64 iret_frame[5];

CODE(cr0_read, "mov %cr0, %rbx");
CODE(cr2_read, "mov %cr2, %rcx");
CODE(cr3_read, "mov %cr3, %r12");
CODE(cr4_read, "mov %cr4, %rsi");
CODE(cr8_read, "mov %cr8, %r9");
CODE(smsw_reg, "smsw %eax");
CODE(cr0_write, "mov %rbx, %cr0");
CODE(cr2_write, "mov %rcx, %cr2");
CODE(cr3_write, "mov %rbx, %cr3");
CODE(cr4_write, "mov %r13, %cr4");
CODE(cr8_write, "mov %r9, %cr8");
CODE(clts, "clts");
CODE(lmsw_reg, "lmsw %bx");
CODE(dr0_read, "mov %dr0, %rbx");
CODE(dr1_read, "mov %dr1, %rcx");
CODE(dr2_read, "mov %dr2, %r14");
CODE(dr3_read, "mov %dr3, %rdi");
CODE(dr6_read, "mov %dr6, %rax");
CODE(dr7_read, "mov %dr7, %r8");
CODE(dr0_write, "mov %rcx, %dr0");
CODE(dr1_write, "mov %rcx, %dr1");
CODE(dr2_write, "mov %rcx, %dr2");
CODE(dr3_write, "mov %rcx, %dr3");
CODE(dr6_write, "mov %rcx, %dr6");
CODE(dr7_write, "mov %rcx, %dr7");
CODE(sidt, "sidt table_image");
CODE(sgdt, "sgdt table_image");
CODE(sldt, "sldt word_image");
CODE(str_reg, "str %ebx");
CODE(lidt_insn, "lidt guest_idtr");
CODE(lgdt_insn, "lgdt guest_gdtr");
CODE(lldt, "lldt %cx");
CODE(ltr_busy, "ltr %dx");
CODE(rdtsc_insn, "rdtsc");
CODE(rdtscp_insn, "rdtscp");
CODE(rdpmc_insn, "rdpmc");
CODE(pushf_insn, "pushfq");
CODE(popf_insn, "popfq");
CODE(cpuid_insn, "cpuid");
CODE(rsm_insn, "rsm");
CODE(iret_insn, "iretq");
CODE(swint, "int $0x40");
CODE(invd_insn, "invd");
CODE(wbinvd_insn, "wbinvd");
CODE(pause_insn, "pause");
CODE(hlt_insn, "hlt");
CODE(invlpg_insn, "invlpg 0x10(%rbx)");
CODE(invlpga_insn, "invlpga %rax, %ecx");
CODE(invpcid_insn, "invpcid invpcid_image, %rdx");
CODE(vmrun_insn, "vmrun %rax");
CODE(vmmcall_insn, "nop; nop");
CODE(vmload_insn, "vmload %rax");
CODE(vmsave_insn, "vmsave %rax");
CODE(stgi_insn, "stgi");
CODE(clgi_insn, "clgi; stgi");
CODE(icebp, ".byte 0xf1");
CODE(monitor_insn, "monitor %rax, %ecx, %edx");
CODE(mwait_insn, "mwait %eax, %ecx");
CODE(xsetbv_insn, "xsetbv");
CODE(control_writes, "mov %cr0, %rbx; mov %rbx, %cr0; mov %cr3, %rbx; mov %rbx, %cr3; mov %cr4, %rbx;"
	"mov %rbx, %cr4; mov %cr8, %rbx; mov %rbx, %cr8; movl $0xc0000080, %ecx; rdmsr; wrmsr");
CODE(invlpgb_insn, ".byte 0x0f, 0x01, 0xfe");

CODE(pauses, "1: inc %rbx; pause; cmp $20, %rbx; jne 1b");

CODE(raise_de, "div %r15");
CODE(raise_bp, "int3");
CODE(raise_ud, "ud2");
CODE(raise_np, "mov %ebp, %fs");
CODE(raise_gp, "mov %ebp, %fs");
CODE(raise_ss, "mov (%rbp), %eax");
CODE(raise_pf, "movb $1, (%rbp)");
CODE(raise_nm, "fnop");
CODE(raise_mf, "fwait");
CODE(raise_xm, "divps %xmm0, %xmm0");

/* Who must offer the instruction: a CPUID bit; leaf 0: everyone. */
struct need {
	u32 leaf;
	u8 reg, bit;
};

struct row {
	const char *name;
	const u8 *code, *end;
	unsigned exit;
	u64 info1;      /* with decode assists */
	unsigned plain; /* the vector it raises where it is not intercepted */
	struct need need;
};
#define ANY_VECTOR 0xffff
#define NO_PLAIN 0xfffe /* would not come back */
#define ROW(label, exit, ...) { #label, label, label##_end, exit, __VA_ARGS__ }
#define MOV(reg) (BIT(63) | (reg))
#define ALWAYS { 0, 0, 0 }

static const struct row rows[] = {
	ROW(cr0_read, 0x00, MOV(3), NO_TRAP, ALWAYS),
	ROW(cr2_read, 0x02, MOV(1), NO_TRAP, ALWAYS),
	ROW(cr3_read, 0x03, MOV(12), NO_TRAP, ALWAYS),
	ROW(cr4_read, 0x04, MOV(6), NO_TRAP, ALWAYS),
	ROW(cr8_read, 0x08, MOV(9), NO_TRAP, ALWAYS),
	ROW(smsw_reg, 0x00, 0, NO_TRAP, ALWAYS),
	ROW(cr0_write, 0x10, MOV(3), NO_TRAP, ALWAYS),
	ROW(cr2_write, 0x12, MOV(1), NO_TRAP, ALWAYS),
	ROW(cr4_write, 0x14, MOV(13), NO_TRAP, ALWAYS),
	ROW(cr8_write, 0x18, MOV(9), NO_TRAP, ALWAYS),
	ROW(clts, 0x10, 0, NO_TRAP, ALWAYS),
	ROW(lmsw_reg, 0x10, 0, NO_TRAP, ALWAYS),
	ROW(dr0_read, 0x20, 3, NO_TRAP, ALWAYS),
	ROW(dr1_read, 0x21, 1, NO_TRAP, ALWAYS),
	ROW(dr2_read, 0x22, 14, NO_TRAP, ALWAYS),
	ROW(dr3_read, 0x23, 7, NO_TRAP, ALWAYS),
	ROW(dr6_read, 0x26, 0, NO_TRAP, ALWAYS),
	ROW(dr7_read, 0x27, 8, NO_TRAP, ALWAYS),
	ROW(dr0_write, 0x30, 1, NO_TRAP, ALWAYS),
	ROW(dr1_write, 0x31, 1, NO_TRAP, ALWAYS),
	ROW(dr2_write, 0x32, 1, NO_TRAP, ALWAYS),
	ROW(dr3_write, 0x33, 1, NO_TRAP, ALWAYS),
	ROW(dr6_write, 0x36, 1, NO_TRAP, ALWAYS),
	ROW(dr7_write, 0x37, 1, NO_TRAP, ALWAYS),
	ROW(sidt, SVM_EXIT_IDTR_READ, 0, NO_TRAP, ALWAYS),
	ROW(sgdt, SVM_EXIT_GDTR_READ, 0, NO_TRAP, ALWAYS),
	ROW(sldt, SVM_EXIT_LDTR_READ, 0, NO_TRAP, ALWAYS),
	ROW(str_reg, SVM_EXIT_TR_READ, 0, NO_TRAP, ALWAYS),
	ROW(lidt_insn, SVM_EXIT_IDTR_WRITE, 0, NO_TRAP, ALWAYS),
	ROW(lgdt_insn, SVM_EXIT_GDTR_WRITE, 0, NO_TRAP, ALWAYS),
	ROW(lldt, SVM_EXIT_LDTR_WRITE, 0, NO_TRAP, ALWAYS),
	ROW(ltr_busy, SVM_EXIT_TR_WRITE, 0, VEC_GP, ALWAYS),
	ROW(rdtsc_insn, SVM_EXIT_RDTSC, 0, NO_TRAP, ALWAYS),
	ROW(rdtscp_insn, SVM_EXIT_RDTSCP, 0, NO_TRAP, { 0x80000001, 3, 27 }),
	ROW(rdpmc_insn, SVM_EXIT_RDPMC, 0, ANY_VECTOR, ALWAYS),
	ROW(pushf_insn, SVM_EXIT_PUSHF, 0, NO_TRAP, ALWAYS),
	ROW(popf_insn, SVM_EXIT_POPF, 0, NO_TRAP, ALWAYS),
	ROW(cpuid_insn, SVM_EXIT_CPUID, 0, NO_TRAP, ALWAYS),
	ROW(rsm_insn, SVM_EXIT_RSM, 0, VEC_UD, ALWAYS),
	ROW(swint, SVM_EXIT_SWINT, 0x40, NO_TRAP, ALWAYS),
	ROW(invd_insn, SVM_EXIT_INVD, 0, NO_TRAP, ALWAYS),
	ROW(wbinvd_insn, SVM_EXIT_WBINVD, 0, NO_TRAP, ALWAYS),
	ROW(pause_insn, SVM_EXIT_PAUSE, 0, NO_TRAP, ALWAYS),
	ROW(hlt_insn, SVM_EXIT_HLT, 0, NO_PLAIN, ALWAYS),
	ROW(invlpg_insn, SVM_EXIT_INVLPG, 0x123456010, NO_TRAP, ALWAYS),
	ROW(invlpga_insn, SVM_EXIT_INVLPGA, 0x7654321000, NO_TRAP, ALWAYS),
	ROW(invpcid_insn, SVM_EXIT_INVPCID, (u64)invpcid_image, NO_TRAP, { 7, 1, 10 }),
	ROW(vmload_insn, SVM_EXIT_VMLOAD, 0, NO_TRAP, ALWAYS),
	ROW(vmsave_insn, SVM_EXIT_VMSAVE, 0, NO_TRAP, ALWAYS),
	ROW(stgi_insn, SVM_EXIT_STGI, 0, NO_TRAP, ALWAYS),
	ROW(icebp, SVM_EXIT_ICEBP, 0, VEC_DB, ALWAYS),
	ROW(monitor_insn, SVM_EXIT_MONITOR, 0, NO_TRAP, { 1, 2, 3 }),
	ROW(mwait_insn, SVM_EXIT_MWAIT, 0, NO_PLAIN, { 1, 2, 3 }),
	ROW(mwait_insn, SVM_EXIT_MWAIT_CONDITIONAL, 0, NO_PLAIN, { 1, 2, 3 }),
	ROW(xsetbv_insn, SVM_EXIT_XSETBV, 0, NO_TRAP, { 1, 2, 26 }),
};

static void set_registers(void)
{
	svm_regs.rbx = vmcb->cr0;
	svm_regs.r13 = vmcb->cr4;
	svm_regs.rdx = SEL_TSS;
}

/* What some rows want in registers; all else is as set_registers() leaves it. */
static void set_row_registers(const struct row *row)
{
	set_registers();
	if (row->code == dr6_write)
		svm_regs.rcx = 0xffff0ff0;
	else if (row->code == dr7_write)
		svm_regs.rcx = 0x400;
	else if (row->code == invlpg_insn)
		svm_regs.rbx = 0x123456000;
	else if (row->code == invlpga_insn)
		vmcb->rax = 0x7654321000;
	else if (row->code == vmload_insn || row->code == vmsave_insn)
		vmcb->rax = (u64)guest_pages(1);
	else if (row->code == monitor_insn)
		vmcb->rax = (u64)vmcb, svm_regs.rdx = 0;
	else if (row->code == xsetbv_insn)
		vmcb->cr4 |= CR4_OSXSAVE, vmcb->rax = 1, svm_regs.rdx = 0;
	else if (row->code == invpcid_insn)
		svm_regs.rdx = 2;
	else if (row->code == popf_insn)
		*(u64 *)(vmcb->rsp -= 8) = 2;
	if (row->code == vmload_insn)
		__asm__ volatile("vmsave %%rax" : : "a"(vmcb->rax) : "memory");
}

static void check_row(const struct row *row)
{
	const u8 *end = row->end;

	if (row->need.leaf && !cpu_has(row->need.leaf, row->need.reg, row->need.bit)) {
		guest_skip(row->name);
		return;
	}
	svm_fresh();
	set_row_registers(row);
	svm_intercept(row->exit, true);
	check_equal(svm_run_fixup(row->code, end), row->exit, "%s: exit code", row->name);
	check_equal(vmcb->rip, row->code, "%s: RIP", row->name);
	if (svm_has(SVM_NRIPS))
		check_equal(vmcb->nrip, end, "%s: nRIP", row->name);
	if (svm_has(SVM_DECODE))
		check_equal(vmcb->exit_info1, row->info1, "%s: EXITINFO1", row->name);
	if (row->code == invpcid_insn)
		check_equal(vmcb->exit_info2, 2, "INVPCID: its type is EXITINFO2");
	check_equal(vmcb->exit_int_info, 0, "%s: EXITINTINFO", row->name);
	if (row->plain == NO_PLAIN)
		return;
	svm_fresh();
	set_row_registers(row);
	check_equal(svm_run_fixup(row->code, end), SVM_EXIT_VMMCALL, "%s: plain", row->name);
	check_equal(vmcb->rip, end, "%s: plain RIP", row->name);
	if (row->plain != ANY_VECTOR)
		check_equal(guest_last.vector, row->plain, "%s: plain vector", row->name);
}

/* APM2 15.8.1, 15.9 */
static void cr0_selective(void)
{
	const unsigned select = SVM_EXIT_CR0_SEL_WRITE;

	svm_fresh();
	set_registers();
	svm_intercept(select, true);
	check_equal(svm_run_at(cr0_write), SVM_EXIT_VMMCALL, "selective: nothing changes");
	svm_fresh();
	set_registers();
	svm_regs.rbx ^= CR0_TS | CR0_MP;
	svm_intercept(select, true);
	check_equal(svm_run_at(cr0_write), SVM_EXIT_VMMCALL, "selective: TS and MP change");
	check_equal(vmcb->cr0, svm_regs.rbx, "selective: the write is done");
	svm_fresh();
	set_registers();
	svm_regs.rbx ^= CR0_AM;
	svm_intercept(select, true);
	check_equal(svm_run_at(cr0_write), select, "selective: AM changes");
	if (svm_has(SVM_DECODE))
		check_equal(vmcb->exit_info1, MOV(3), "selective: EXITINFO1");
	svm_intercept(0x10, true);
	check_equal(svm_run_at(cr0_write), 0x10, "the general intercept comes first");
	svm_fresh();
	set_registers();
	svm_intercept(select, true);
	if (!guest_tcg_wrong("LMSW under the selective intercept"))
		check_equal(svm_run_at(lmsw_reg), select, "selective: LMSW");
	svm_fresh();
	svm_intercept(select, true);
	vmcb->cr0 |= CR0_TS;
	check_equal(svm_run_at(clts), SVM_EXIT_VMMCALL, "selective: CLTS");
	check(!(vmcb->cr0 & CR0_TS), "CLTS clears TS");
	svm_fresh();
	svm_intercept(0x13, true);
	svm_regs.rbx = vmcb->cr3;
	check_equal(svm_run_at(cr3_write), 0x13, "CR3 write");
	svm_fresh();
	svm_regs.rbx = vmcb->cr3;
	check_equal(svm_run_at(cr3_write), SVM_EXIT_VMMCALL, "CR3 write: plain");
}

struct exception_row {
	const char *name;
	const u8 *code, *end;
	unsigned vector;
	u64 info1, info2;
	u64 rbp;
};
#define HOLE 0x123456789000ull
#define NP_SELECTOR 0x1f0
#define EXCEPTION(label, vector, ...) { #label, label, label##_end, vector, __VA_ARGS__ }

static const struct exception_row exceptions[] = {
	EXCEPTION(raise_de, VEC_DE, 0, 0, 0),
	EXCEPTION(raise_bp, VEC_BP, 0, 0, 0),
	EXCEPTION(raise_ud, VEC_UD, 0, 0, 0),
	EXCEPTION(raise_np, VEC_NP, NP_SELECTOR, 0, NP_SELECTOR),
	EXCEPTION(raise_gp, VEC_GP, 0xfff8, 0, 0xfff8),
	EXCEPTION(raise_ss, VEC_SS, 0, 0, BIT(63)),
	EXCEPTION(raise_pf, VEC_PF, 2, HOLE, HOLE),
	EXCEPTION(raise_nm, VEC_NM, 0, 0, 0),
	EXCEPTION(raise_mf, VEC_MF, 0, 0, 0),
	EXCEPTION(raise_xm, VEC_XM, 0, 0, 0),
};

static void prepare_exception(const struct exception_row *row)
{
	svm_fresh();
	svm_regs.rbp = row->rbp;
	vmcb->cr2 = 0x1111;
	vmcb->cr0 = (vmcb->cr0 | CR0_NE) & ~(CR0_EM | CR0_TS);
	vmcb->cr4 |= CR4_OSFXSR | CR4_OSXMMEXCPT;
	__asm__ volatile("fninit");
	if (row->vector == VEC_NM)
		vmcb->cr0 |= CR0_TS;
	if (row->vector == VEC_MF) {
		static const u16 control = 0x360;

		/* an invalid operation that nobody masked waits for the next x87 instruction */
		__asm__ volatile("fldcw %0\n\tfldz\n\tfldz\n\tfdivp" : : "m"(control));
	}
	if (row->vector == VEC_XM) {
		static const u32 mxcsr = 0x1f00; /* invalid operation unmasked */

		__asm__ volatile("pxor %%xmm0, %%xmm0\n\tldmxcsr %0" : : "m"(mxcsr) : "memory");
	}
}

static void check_exception(const struct exception_row *row)
{
	static const u32 mxcsr = 0x1f80;

	prepare_exception(row);
	svm_intercept(SVM_EXIT_EXCEPTION + row->vector, true);
	check_equal(svm_run_fixup(row->code, row->end), SVM_EXIT_EXCEPTION + row->vector,
		"%s: exit code", row->name);
	check_equal(vmcb->rip, row->code, "%s: RIP", row->name);
	check_equal(vmcb->exit_info1, row->info1, "%s: EXITINFO1", row->name);
	check_equal(vmcb->exit_int_info, 0, "%s: EXITINTINFO", row->name);
	if (row->vector == VEC_PF) {
		check_equal(vmcb->exit_info2, row->info2, "%s: EXITINFO2", row->name);
		check_equal(vmcb->cr2, 0x1111, "%s: CR2 stays", row->name);
		if (svm_has(SVM_DECODE)) {
			check_equal(vmcb->insn_len, 15, "#PF: bytes fetched");
			check(!memcmp(vmcb->insn_bytes, row->code, 15), "#PF: the instruction's bytes");
		}
	}
	if (svm_has(SVM_NRIPS))
		check_equal(vmcb->nrip, row->vector == VEC_BP ? (u64)row->end : 0, "%s: nRIP", row->name);

	prepare_exception(row);
	check_equal(svm_run_fixup(row->code, row->end), SVM_EXIT_VMMCALL, "%s: plain", row->name);
	check_equal(guest_last.vector, row->vector, "%s: plain vector", row->name);
	if (row->vector == VEC_PF)
		check_equal(vmcb->cr2, HOLE, "CR2 is the guest's after its own #PF");
	__asm__ volatile("fninit\n\tldmxcsr %0" : : "m"(mxcsr));
}

/* Intercepts whose ways out are their own. */
static void others(void)
{
	svm_fresh();
	check_equal(svm_run_at(vmmcall_insn), SVM_EXIT_VMMCALL, "VMMCALL");
	check_equal(vmcb->rip, vmmcall_insn_end, "VMMCALL: RIP");
	if (svm_has(SVM_NRIPS))
		check_equal(vmcb->nrip, vmmcall_insn_end + 3, "VMMCALL: nRIP");

	svm_fresh();
	vmcb->rax = (u64)vmcb;
	check_equal(svm_run_at(vmrun_insn), SVM_EXIT_VMRUN, "VMRUN in a guest");

	svm_fresh();
	svm_intercept(SVM_EXIT_CLGI, true);
	check_equal(svm_run_at(clgi_insn), SVM_EXIT_CLGI, "CLGI");
	svm_intercept(SVM_EXIT_CLGI, false);
	check_equal(svm_run_at(clgi_insn), SVM_EXIT_VMMCALL, "CLGI: plain");

	/* IRET to its own end, same level */
	for (unsigned on = 0; on < 2; on++) {
		svm_fresh();
		iret_frame[0] = (u64)iret_insn_end;
		iret_frame[1] = SEL_CODE64;
		iret_frame[2] = 2;
		iret_frame[3] = (u64)svm_stack_top;
		iret_frame[4] = SEL_DATA;
		vmcb->rsp = (u64)iret_frame;
		svm_intercept(SVM_EXIT_IRET, on);
		check_equal(svm_run_at(iret_insn), on ? SVM_EXIT_IRET : SVM_EXIT_VMMCALL, "IRET");
		check_equal(vmcb->rip, on ? iret_insn : iret_insn_end, "IRET: RIP");
	}

	/* #UD without an IDT is #GP, then #DF, then shutdown; each may be intercepted */
	svm_fresh();
	vmcb->idtr_limit = 0;
	check_equal(svm_run_at(raise_ud), SVM_EXIT_SHUTDOWN, "shutdown");
	svm_fresh();
	vmcb->idtr_limit = 0;
	svm_intercept(SVM_EXIT_EXCEPTION + VEC_DF, true);
	check_equal(svm_run_at(raise_de), SVM_EXIT_EXCEPTION + VEC_DF, "#DF");
	if (!guest_tcg_wrong("EXITINFO1 of #DF"))
		check_equal(vmcb->exit_info1, 0, "#DF: error code");
	svm_fresh();
	vmcb->idtr_limit = 0;
	svm_intercept(SVM_EXIT_EXCEPTION + VEC_GP, true);
	check_equal(svm_run_at(raise_ud), SVM_EXIT_EXCEPTION + VEC_GP, "#GP while delivering #UD");
	check_equal(vmcb->exit_int_info, EVENT_INFO_VALID | 3 << 8 | VEC_UD, "EXITINTINFO names #UD");
	svm_fresh();
	svm_intercept(SVM_EXIT_EXCEPTION + VEC_DB, true);
	vmcb->rflags |= FLAG_TF;
	check_equal(svm_run_at(vmmcall_insn), SVM_EXIT_EXCEPTION + VEC_DB, "#DB of TF");
	check_equal(vmcb->rip, vmmcall_insn + 1, "#DB after the first instruction");
	check_equal(vmcb->dr6 & 0x400f, 0x4000, "#DB: DR6.BS");
}

/* APM2 15.14.4 */
static void pause_filter(void)
{
	if (!svm_has(SVM_PAUSE)) {
		guest_skip("pause filter");
		return;
	}
	svm_fresh();
	svm_intercept(SVM_EXIT_PAUSE, true);
	vmcb->pause_filter_count = 10;
	check_equal(svm_run_at(pauses), SVM_EXIT_PAUSE, "the filter runs out");
	check_equal(svm_regs.rbx, 11, "the filter's count");
	svm_fresh();
	svm_intercept(SVM_EXIT_PAUSE, true);
	vmcb->pause_filter_count = 100;
	check_equal(svm_run_at(pauses), SVM_EXIT_VMMCALL, "the filter holds");
	check_equal(svm_regs.rbx, 20, "all pauses done");
	if (!svm_has(SVM_PAUSE_THRESHOLD)) {
		guest_skip("pause threshold");
		return;
	}
	svm_fresh();
	svm_intercept(SVM_EXIT_PAUSE, true);
	vmcb->pause_filter_count = 5;
	vmcb->pause_filter_threshold = 1;
	check_equal(svm_run_at(pauses), SVM_EXIT_VMMCALL, "pauses far apart are no loop");
	svm_fresh();
	svm_intercept(SVM_EXIT_PAUSE, true);
	vmcb->pause_filter_count = 5;
	vmcb->pause_filter_threshold = 0xffff;
	check_equal(svm_run_at(pauses), SVM_EXIT_PAUSE, "pauses close together are");
}

static void on_int40(struct frame *frame)
{
}

/* Bits for what CPUID does not offer do nothing. */
static void not_offered(void)
{
	svm_fresh();
	svm_intercept(SVM_EXIT_FERR_FREEZE, true);
	svm_intercept(SVM_EXIT_EFER_WRITE_TRAP, true);
	for (unsigned cr = 0; cr < 16; cr++)
		svm_intercept(SVM_EXIT_CR_WRITE_TRAP + cr, true);
	check_equal(svm_run_at(control_writes), SVM_EXIT_VMMCALL, "write traps are not there");
	svm_fresh();
	svm_intercept(SVM_EXIT_INVLPGB, true);
	svm_intercept(SVM_EXIT_INVLPGB_ILLEGAL, true);
	svm_intercept(SVM_EXIT_EXCEPTION + VEC_UD, true);
	check_equal(svm_run_at(invlpgb_insn), SVM_EXIT_EXCEPTION + VEC_UD, "INVLPGB is not there");
}

void guest_main(void)
{
	if (!svm_setup())
		return;
	guest_set_handler(0x40, on_int40);
	guest_gdt[NP_SELECTOR / 8] = 0x00cf13000000ffffull; /* data, not present */
	write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
	write_cr0((read_cr0() | CR0_NE) & ~(CR0_EM | CR0_TS));
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		check_row(&rows[i]);
	cr0_selective();
	for (unsigned i = 0; i < ARRAY_SIZE(exceptions); i++)
		check_exception(&exceptions[i]);
	others();
	pause_filter();
	if (!guest_tcg_wrong("what CPUID does not offer"))
		not_offered();
}
