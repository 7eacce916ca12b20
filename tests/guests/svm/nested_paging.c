/* SPDX-License-Identifier: MIT */
/*
 * Nested paging: APM2 15.25. Faults of the guest's final addresses and of its page tables, each
 * permission, page sizes, NX, accessed and dirty bits, PAT, flushes by ASID, and the guest's own
 * paging modes over it.
 */
#include "svm.h"

/* The probe's linear and guest-physical address: far from all that the guest needs. */
#define PROBE 0x40000000ull
#define PROBE_GPA BIT(39)

CODE(read_probe, "mov (%rbx), %rax");
CODE(write_probe, "mov %rcx, (%rbx)");
CODE(add_probe, "add %rcx, (%rbx)");
CODE(call_probe, "call *%rbx");
CODE(read_twice, "mov (%rbx), %rax; vmmcall; mov (%rbx), %rdx");
CODE(write_pat, "wrmsr");
CODE(read_pat, "rdmsr");
CODE(int_insn, "int $0x40");

static u64 *nested;
static u8 *page;

static u64 *probe_entry(unsigned level)
{
	return guest_pte(nested, PROBE_GPA, level);
}

/* A guest whose probe maps to `page` by a nested entry of its own at a level, 1 to 3. */
static void prepare_level(u64 flags, unsigned level)
{
	u64 mask = BIT(12 + 9 * (level - 1)) - 1;

	svm_fresh();
	nested = svm_nested_paging();
	*probe_entry(level) = ((u64)page & ~mask) | flags | (level > 1 ? PTE_PS : 0);
	guest_map(guest_pml4, PROBE, PROBE_GPA + ((u64)page & mask), PTE_P | PTE_W | PTE_U);
	svm_regs.rbx = PROBE;
	svm_regs.rcx = 0x1234;
}

static void prepare(u64 flags)
{
	prepare_level(flags, 1);
}

#define RWU (PTE_P | PTE_W | PTE_U)
enum { P = 1, W = 2, U = 4, RSV = 8, I = 16 };

static void final_fault(const u8 *code, u64 error, const char *what)
{
	check_equal(svm_run_at(code), SVM_EXIT_NPF, "%s: exit code", what);
	if (!(error & RSV) || !guest_tcg_wrong("P with RSV"))
		check_equal(vmcb->exit_info1, NPF_FINAL | error, "%s: EXITINFO1", what);
	check_equal(vmcb->exit_info2 & ~0x3fffffffull, PROBE_GPA, "%s: EXITINFO2", what);
	check_equal(vmcb->exit_int_info, 0, "%s: EXITINTINFO", what);
	if (error & I)
		return;
	check_equal(vmcb->rip, code, "%s: RIP", what);
	if (svm_has(SVM_DECODE)) {
		check_equal(vmcb->insn_len, 15, "%s: bytes fetched", what);
		check(!memcmp(vmcb->insn_bytes, code, 15), "%s: the instruction's bytes", what);
	}
}

static void permissions(void)
{
	prepare(RWU);
	*(u64 *)page = 0x5555;
	check_equal(svm_run_at(read_probe), SVM_EXIT_VMMCALL, "read: exit code");
	check_equal(vmcb->rax, 0x5555, "read: the page behind");
	prepare(RWU);
	check_equal(svm_run_at(write_probe), SVM_EXIT_VMMCALL, "write: exit code");
	check_equal(*(u64 *)page, 0x1234, "write: the page behind");

	prepare(0);
	final_fault(read_probe, U, "read of an absent page");
	prepare(0);
	final_fault(write_probe, U | W, "write to an absent page");
	prepare(PTE_P | PTE_U);
	final_fault(write_probe, P | U | W, "write to a read-only page");
	check_equal(*(u64 *)page, 0x1234, "nothing was written");
	prepare(PTE_P | PTE_U);
	final_fault(add_probe, P | U | W, "read-modify-write of a read-only page");
	prepare(PTE_P | PTE_U);
	check_equal(svm_run_at(read_probe), SVM_EXIT_VMMCALL, "read of a read-only page");
	prepare(PTE_P | PTE_W);
	final_fault(read_probe, P | U, "a supervisor page is not the guest's");
	prepare(RWU | BIT(51));
	final_fault(read_probe, P | U | RSV, "a reserved bit");
	prepare(0);
	final_fault(call_probe, U | I, "fetch from an absent page");
	check_equal(vmcb->rip, PROBE, "fetch: RIP is where it would have gone");
	page[0] = 0xc3;
	prepare(RWU | PTE_NX);
	final_fault(call_probe, P | U | I, "fetch from an NX page");
	prepare(RWU);
	check_equal(svm_run_at(call_probe), SVM_EXIT_VMMCALL, "fetch");
	for (unsigned level = 2; level <= 4; level++) {
		prepare(RWU);
		*probe_entry(level) &= ~PTE_W;
		final_fault(write_probe, P | U | W, "write under a read-only table");
		prepare(RWU);
		*probe_entry(level) &= ~PTE_U;
		final_fault(read_probe, P | U, "read under a supervisor table");
		prepare(RWU);
		*probe_entry(level) |= PTE_NX;
		final_fault(call_probe, P | U | I, "fetch under an NX table");
		prepare(RWU);
		*probe_entry(level) = 0;
		final_fault(read_probe, U, "read under an absent table");
	}
	prepare(RWU);
	*probe_entry(4) |= PTE_G;
	final_fault(read_probe, P | U | RSV, "bit 8 of a PML4E");
	/* a frame pushed for an event: EXITINTINFO names the event */
	prepare(0);
	vmcb->rsp = PROBE + 0x800;
	check_equal(svm_run_at(int_insn), SVM_EXIT_NPF, "INT n whose stack faults");
	check_equal(vmcb->exit_int_info, EVENT_INFO_VALID | 4 << 8 | 0x40, "EXITINTINFO: INT 40h");
	check_equal(vmcb->rip, int_insn, "INT n: RIP");
	check_equal(vmcb->rsp, PROBE + 0x800, "INT n: RSP");
}

static void page_sizes(void)
{
	for (unsigned level = 2; level <= 3; level++) {
		if (level == 3 && !cpu_has(0x80000001, 3, 26)) {
			guest_skip("1 GiB pages");
			continue;
		}
		*(u64 *)page = 0x77;
		prepare_level(RWU, level);
		check_equal(svm_run_at(read_probe), SVM_EXIT_VMMCALL, "large page: read");
		check_equal(vmcb->rax, 0x77, "large page: the right bytes");
		prepare_level(PTE_P | PTE_U, level);
		final_fault(write_probe, P | U | W, "large read-only page");
		prepare_level(RWU | BIT(level == 2 ? 20 : 29), level);
		final_fault(read_probe, P | U | RSV, "large page: reserved address bit");
	}
}

/* APM2 15.25.4: the guest's tables are accessed as by a user's write. */
static void table_walks(void)
{
	u64 *tables = guest_pages(4), gpa = PROBE_GPA;

	/* the guest's page table for PROBE lies at the probe's guest-physical address */
	for (unsigned present = 0; present < 2; present++) {
		svm_fresh();
		nested = svm_nested_paging();
		*probe_entry(1) = (u64)tables | (present ? PTE_P | PTE_U : 0);
		*guest_pte(guest_pml4, PROBE, 2) = gpa | RWU;
		invlpg(PROBE);
		svm_regs.rbx = PROBE + 0x5008;
		tables[5] = (u64)page | RWU;
		check_equal(svm_run_at(read_probe), SVM_EXIT_NPF, "walk: exit code");
		check_equal(vmcb->exit_info1, NPF_WALK | U | W | present, "walk: EXITINFO1, present %u",
			present);
		check_equal(vmcb->exit_info2 & ~0xfffull, gpa, "walk: EXITINFO2");
		check_equal(vmcb->rip, read_probe, "walk: RIP");
	}
	*probe_entry(1) = (u64)tables | RWU;
	vmcb->tlb_control = TLB_CONTROL_ALL;
	*(u64 *)(page + 8) = 0x99;
	check_equal(svm_run_at(read_probe), SVM_EXIT_VMMCALL, "walk: writable at last");
	check_equal(vmcb->rax, 0x99, "walk: the page");
	check(tables[5] & PTE_A, "the guest's A bit");
	check(!(tables[5] & PTE_D), "the guest's D bit is for writes");
	svm_regs.rcx = 1;
	check_equal(svm_run_at(write_probe), SVM_EXIT_VMMCALL, "walk: write");
	check(tables[5] & PTE_D, "the guest's D bit");
	/* a guest's own page fault goes to the guest */
	tables[5] = 0;
	vmcb->tlb_control = TLB_CONTROL_ALL;
	check_equal(svm_run_fixup(read_probe, read_probe_end), SVM_EXIT_VMMCALL, "the guest's own #PF");
	check_equal(guest_last.vector, VEC_PF, "the guest's own #PF: vector");
	check_equal(vmcb->cr2, PROBE + 0x5008, "the guest's own #PF: CR2");
	*guest_pte(guest_pml4, PROBE, 2) = 0;
}

static void accessed_and_dirty(void)
{
	prepare(RWU);
	check_equal(svm_run_at(read_probe), SVM_EXIT_VMMCALL, "A and D: read");
	check_equal(*probe_entry(1) & (PTE_A | PTE_D), PTE_A, "a read sets A");
	for (unsigned level = 2; level <= 4; level++)
		check(*probe_entry(level) & PTE_A, "a read sets A at level %u", level);
	check_equal(svm_run_at(write_probe), SVM_EXIT_VMMCALL, "A and D: write");
	check_equal(*probe_entry(1) & (PTE_A | PTE_D), PTE_A | PTE_D, "a write sets D");
}

/* What is cached stays until it is flushed; APM2 15.16. */
static void flushes(void)
{
	u8 *other = guest_pages(1);

	*(u64 *)page = 1;
	*(u64 *)other = 2;
	for (unsigned how = 0; how < 3; how++) {
		static const u8 control[] = { TLB_CONTROL_ALL, TLB_CONTROL_GUEST, TLB_CONTROL_GUEST_LOCAL };

		if (how && !svm_has(SVM_FLUSH_BY_ASID)) {
			guest_skip("flush by ASID");
			break;
		}
		prepare(RWU);
		check_equal(svm_run_at(read_twice), SVM_EXIT_VMMCALL, "flush: first");
		check_equal(vmcb->rax, 1, "flush: the first page");
		*probe_entry(1) = (u64)other | RWU;
		vmcb->tlb_control = control[how];
		vmcb->rip += 3;
		check_equal(svm_run(), SVM_EXIT_VMMCALL, "flush: second");
		check_equal(svm_regs.rdx, 2, "flush: the second page");
	}
	/* another ASID has its own translations */
	prepare(RWU);
	svm_run_at(read_probe);
	*probe_entry(1) = (u64)other | RWU;
	vmcb->tlb_control = TLB_CONTROL_NOTHING;
	vmcb->guest_asid = 7;
	check_equal(svm_run_at(read_probe), SVM_EXIT_VMMCALL, "another ASID");
	check_equal(vmcb->rax, 2, "another ASID walks anew");
	/* INVLPGA drops one page of one ASID */
	*probe_entry(1) = (u64)page | RWU;
	__asm__ volatile("invlpga %%rax, %%ecx" : : "a"(PROBE), "c"(7));
	check_equal(svm_run_at(read_probe), SVM_EXIT_VMMCALL, "INVLPGA");
	check_equal(vmcb->rax, 1, "INVLPGA drops the page");
}

/* G_PAT is the guest's PAT and nobody else's; APM2 15.25.8. */
static void pat(void)
{
	u64 host = rdmsr(MSR_PAT), guest = 0x0001040506070001ull;

	svm_fresh();
	svm_nested_paging();
	svm_regs.rcx = MSR_PAT;
	svm_regs.rdx = guest >> 32;
	vmcb->rax = (u32)guest;
	if (guest_tcg_wrong("G_PAT"))
		return;
	check_equal(svm_run_at(write_pat), SVM_EXIT_VMMCALL, "PAT: write");
	check_equal(vmcb->g_pat, guest, "G_PAT is written back");
	check_equal(rdmsr(MSR_PAT), host, "the host's PAT stays");
	check_equal(svm_run_at(read_pat), SVM_EXIT_VMMCALL, "PAT: read");
	check_equal(svm_regs.rdx << 32 | (u32)vmcb->rax, guest, "the guest reads G_PAT");
	svm_fresh();
	svm_regs.rcx = MSR_PAT;
	svm_regs.rdx = guest >> 32;
	vmcb->rax = (u32)guest;
	check_equal(svm_run_at(write_pat), SVM_EXIT_VMMCALL, "PAT without nested paging");
	check_equal(rdmsr(MSR_PAT), guest, "it is the host's");
	wrmsr(MSR_PAT, host);
}

/* The guest's paging modes over nested paging: none, 32-bit, PAE. Code stays below 4 GiB. */
#define CODE32(name, text) CODE(name, ".code32; " text "; .code64")
CODE32(read32, "mov (%ebx), %eax");

static void legacy(u64 cr3, u64 cr4, bool paging, const char *what)
{
	svm_fresh();
	nested = svm_nested_paging();
	vmcb->efer &= ~(EFER_LME | EFER_LMA);
	vmcb->cs_attrib = 0xc9b;
	vmcb->cs_selector = SEL_CODE32;
	vmcb->cr0 = CR0_PE | CR0_NE | (paging ? CR0_PG : 0);
	vmcb->cr4 = cr4;
	vmcb->cr3 = cr3;
	svm_regs.rbx = (u64)page;
	*(u64 *)page = 0xaabbccdd;
	check_equal(svm_run_at(read32), SVM_EXIT_VMMCALL, "%s: read", what);
	check_equal(vmcb->rax, 0xaabbccdd, "%s: the value", what);
	/* its page is missing */
	*guest_pte(nested, (u64)page, 1) = 0;
	vmcb->tlb_control = TLB_CONTROL_ALL;
	check_equal(svm_run_at(read32), SVM_EXIT_NPF, "%s: fault", what);
	check_equal(vmcb->exit_info1, NPF_FINAL | U, "%s: EXITINFO1", what);
	check_equal(vmcb->exit_info2, page, "%s: EXITINFO2", what);
}

static void legacy_modes(void)
{
	u32 *directory = guest_pages(1);
	u64 *pdpt = guest_pages(1), *pd = guest_pages(4);

	legacy(0, 0, false, "no paging");
	for (unsigned i = 0; i < 1024; i++)
		directory[i] = i << 22 | PTE_P | PTE_W | PTE_U | PTE_PS;
	legacy((u64)directory, CR4_PSE, true, "32-bit paging");
	for (unsigned i = 0; i < 4; i++)
		pdpt[i] = (u64)(pd + 512 * i) | PTE_P;
	for (unsigned i = 0; i < 2048; i++)
		pd[i] = (u64)i << 21 | PTE_P | PTE_W | PTE_U | PTE_PS;
	legacy((u64)pdpt, CR4_PAE, true, "PAE paging");
	/* its pointers are read by the walk, and a reserved bit there is the guest's fault */
	*guest_pte(nested, (u64)pdpt, 1) = 0;
	vmcb->tlb_control = TLB_CONTROL_ALL;
	check_equal(svm_run_at(read32), SVM_EXIT_NPF, "PAE: PDPTEs' page is missing");
	check_equal(vmcb->exit_info1, NPF_WALK | U | W, "PAE: EXITINFO1");
	check_equal(vmcb->exit_info2 & ~0xfffull, pdpt, "PAE: EXITINFO2");
}

static void on_event(struct frame *frame)
{
}

void guest_main(void)
{
	u32 id[4];

	if (!svm_setup())
		return;
	if (!svm_has(SVM_NPT)) {
		guest_skip("nested paging");
		return;
	}
	cpuid(0x80000008, 0, id);
	check((id[0] & 0xff) >= 40, "physical addresses have 40 bits");
	guest_set_handler(0x40, on_event);
	page = guest_pages(1);
	permissions();
	page_sizes();
	accessed_and_dirty();
	flushes();
	pat();
	table_walks();
	legacy_modes();
}
