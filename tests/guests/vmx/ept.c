/* SPDX-License-Identifier: MIT */
/*
 * The second translation stage: walks and their permissions, violations and misconfigurations with
 * all that they tell, accessed and dirty flags, page-modification logging, mode-based execution,
 * EPTP switching and #VE. SDM3 26.5.6, 26.5.7, 28.2.1, 29.3.
 */
#include "vmx.h"

#define VEC_A 0x41
#define VEC_VE 20
#define QUAL_READ BIT(0)
#define QUAL_WRITE BIT(1)
#define QUAL_FETCH BIT(2)
#define QUAL_RIGHTS(rights) ((u64)(rights) << 3)
#define QUAL_USER_X BIT(6)
#define QUAL_LINEAR BIT(7)
#define QUAL_FINAL BIT(8)
#define QUAL_MASK MASK(8, 0) /* what lies above is told by features that are not offered */

CODE(nothing, "nop; nop");
CODE(load, "mov (%rbx), %rax");
CODE(store, "mov %rcx, (%rbx)");
CODE(add, "lock addq $1, (%rbx)");
CODE(jump, "jmp *%rbx");
CODE(int_a, "int $0x41");
CODE(iret_insn, "iretq");
CODE(vmfunc_insn, "vmfunc");
CODE(vmfunc_load, "vmfunc; mov (%rbx), %rax");

static u64 *pml4;   /* of EPT */
static u64 *roots;  /* the guest's own page tables, apart from the host's */
static u64 page;    /* a 4 KiB page that the guest sees at PAGE_AT, physical = guest-physical */
#define PAGE_AT 0x8000000000ull /* linear: 512 GiB */

static void fresh(void)
{
	vmx_fresh();
	pml4 = vmx_ept();
	*(u64 *)page = 0x1122334455667788;
	((u8 *)page)[8] = 0x0f; /* VMCALL */
	((u8 *)page)[9] = 0x01;
	((u8 *)page)[10] = 0xc1;
	*vmx_ept_entry(pml4, page, 1) = page | EPT_RWX | EPT_WB;
	put(guest_cr3, roots);
	*guest_pte(roots, PAGE_AT, 1) = page | PTE_P | PTE_W | PTE_U;
	vmx_regs.rbx = PAGE_AT;
	vmx_regs.rcx = 0x99;
	invept(INVEPT_ALL, 0);
	invvpid(INVVPID_ALL, 0, 0);
}

static void drop(void)
{
	check_equal(invept(INVEPT_SINGLE, get(eptp)), VM_SUCCEED, "INVEPT");
}

static void violation(const void *code, u64 qualification, u64 gpa, u64 linear, const char *name)
{
	if (!check_equal(vmx_run_at(code), VMX_EXIT_EPT_VIOLATION, "%s", name))
		return;
	check_equal(get(exit_qualification) & QUAL_MASK, qualification, "%s: qualification", name);
	check_equal(get(guest_physical_address), gpa, "%s: guest-physical address", name);
	if (qualification & QUAL_LINEAR)
		check_equal(get(guest_linear_address), linear, "%s: linear address", name);
	check_equal(get(guest_rip), code == jump ? linear : (u64)code, "%s: RIP", name);
	check_equal(get(idt_vectoring_info) & INTR_INFO_VALID, 0, "%s: IDT vectoring", name);
}

/* ---- what an entry permits, 29.3.3.2 ---- */

static void permissions(void)
{
	for (u64 rights = 0; rights < 8; rights++) {
		bool possible = rights != EPT_W && rights != (EPT_W | EPT_X);
		u64 tells = QUAL_RIGHTS(rights) | QUAL_LINEAR | QUAL_FINAL;

		fresh();
		*vmx_ept_entry(pml4, page, 1) = page | rights | EPT_WB;
		if (!possible) {
			check_equal(vmx_run_at(load), VMX_EXIT_EPT_MISCONFIGURATION, "rights %u",
				(u32)rights);
			check_equal(get(guest_physical_address), page, "rights %u: where",
				(u32)rights);
			continue;
		}
		if (rights & EPT_R)
			check_equal(vmx_run_at(load), VMX_EXIT_VMCALL, "load, rights %u",
				(u32)rights);
		else
			violation(load, QUAL_READ | tells, page, PAGE_AT, "load");
		if (rights & EPT_W) {
			check_equal(vmx_run_at(store), VMX_EXIT_VMCALL, "store, rights %u",
				(u32)rights);
			check_equal(*(u64 *)page, 0x99, "stored");
			check_equal(vmx_run_at(add), VMX_EXIT_VMCALL, "ADD, rights %u",
				(u32)rights);
			check_equal(*(u64 *)page, 0x9a, "added");
		} else {
			violation(store, QUAL_WRITE | tells, page, PAGE_AT, "store");
			/* a read and write access may tell of both */
			check_equal(vmx_run_at(add), VMX_EXIT_EPT_VIOLATION, "ADD, rights %u",
				(u32)rights);
			check(get(exit_qualification) & QUAL_WRITE, "ADD: a write");
			check_equal(*(u64 *)page, 0x1122334455667788, "nothing is stored");
		}
		vmx_regs.rbx = PAGE_AT + 8;
		if (rights & EPT_X)
			check_equal(vmx_run_at(jump), VMX_EXIT_VMCALL, "fetch, rights %u",
				(u32)rights);
		else
			violation(jump, QUAL_FETCH | tells, page + 8, PAGE_AT + 8, "fetch");
	}
}

/* The rights of all levels count together, and what is told is their AND. */
static void levels(void)
{
	for (unsigned level = 2; level <= 4; level++) {
		u64 *entry;

		fresh();
		entry = vmx_ept_entry(pml4, PAGE_AT, level); /* a place of its own in the tree */
		vmx_ept_entry(pml4, PAGE_AT, 1)[0] = page | EPT_RWX | EPT_WB;
		*guest_pte(roots, PAGE_AT, 1) = PAGE_AT | PTE_P | PTE_W | PTE_U;
		check_equal(vmx_run_at(store), VMX_EXIT_VMCALL, "store, level %u", level);
		*entry &= ~EPT_W;
		drop();
		check_equal(vmx_run_at(load), VMX_EXIT_VMCALL, "load, no write at level %u", level);
		violation(store, QUAL_WRITE | QUAL_RIGHTS(EPT_R | EPT_X) | QUAL_LINEAR | QUAL_FINAL,
			PAGE_AT,
			PAGE_AT, "store, no write at a higher level");
		*entry = 0;
		drop();
		violation(load, QUAL_READ | QUAL_LINEAR | QUAL_FINAL, PAGE_AT, PAGE_AT,
			"nothing at a level");
	}
}

static void page_sizes(void)
{
	/* 2 MiB, with an offset in it, at a guest-physical address that is not the physical one */
	fresh();
	*vmx_ept_entry(pml4, PAGE_AT, 2) = (page & ~0x1fffffull) | EPT_RWX | EPT_WB | EPT_LARGE;
	*guest_pte(roots, PAGE_AT, 1) = (PAGE_AT + (page & 0x1ff000)) | PTE_P | PTE_W | PTE_U;
	PASSES(load);
	check_equal(vmx_regs.rax, 0x1122334455667788, "2 MiB page");
	/* 1 GiB */
	fresh();
	*vmx_ept_entry(pml4, PAGE_AT, 3) = 0 | EPT_RWX | EPT_WB | EPT_LARGE;
	*guest_pte(roots, PAGE_AT, 1) = (PAGE_AT + page) | PTE_P | PTE_W | PTE_U;
	PASSES(load);
	check_equal(vmx_regs.rax, 0x1122334455667788, "1 GiB page");
}

/* ---- the guest's page tables are translated too, 29.3.3.2, 28.2.1 ---- */

static void page_walks(void)
{
	u64 table, tells;

	fresh();
	table = (u64)guest_pte(roots, PAGE_AT, 1) & ~(PAGE - 1);
	/* not readable: bit 8 says that it is no access of the instruction's */
	*vmx_ept_entry(pml4, table, 1) = 0;
	tells = QUAL_READ | QUAL_LINEAR;
	violation(load, tells, table | (PAGE_AT >> 12 & 511) * 8, PAGE_AT,
		"walk through an absent page");
	/* not writable: A cannot be set, which is a write and a read at once */
	*vmx_ept_entry(pml4, table, 1) = table | EPT_R | EPT_WB;
	*guest_pte(roots, PAGE_AT, 1) = page | PTE_P | PTE_W | PTE_U;
	drop();
	check_equal(vmx_run_at(load), VMX_EXIT_EPT_VIOLATION, "A in a read-only page");
	check_equal(get(exit_qualification) & (QUAL_MASK & ~QUAL_READ), QUAL_WRITE |
		QUAL_RIGHTS(EPT_R) | QUAL_LINEAR,
		"A in a read-only page: qualification");
	check_equal(get(guest_physical_address), table | (PAGE_AT >> 12 & 511) * 8, "A: where");
	/* nothing to set: read-only tables will do, unless A and D of EPT make each walk a write */
	*guest_pte(roots, PAGE_AT, 1) = page | PTE_P | PTE_W | PTE_U | PTE_A | PTE_D;
	drop();
	PASSES(load);
	PASSES(store);
	put(eptp, get(eptp) | EPTP_ACCESSED_DIRTY);
	drop();
	check_equal(vmx_run_at(load), VMX_EXIT_EPT_VIOLATION,
		"walk of a read-only page with A and D on");
	check_equal(get(exit_qualification) & QUAL_MASK, QUAL_READ | QUAL_WRITE |
		QUAL_RIGHTS(EPT_R) | QUAL_LINEAR,
		"walk with A and D on: qualification");
	/* a page fault of the guest's comes before a violation of the page it would lead to */
	fresh();
	*vmx_ept_entry(pml4, page, 1) = 0;
	*guest_pte(roots, PAGE_AT, 1) = page | PTE_P | PTE_U;
	RAISES(store, VEC_PF);
	violation(load, QUAL_READ | QUAL_LINEAR | QUAL_FINAL, page, PAGE_AT,
		"and a load gets there");
}

/* ---- misconfigurations, 29.3.3.1 ---- */

static void misconfigurations(void)
{
	static const struct {
		const char *name;
		unsigned level;
		u64 set, clear;
	} rows[] = {
		{ "memory type 2", 1, 2 << 3, MASK(5, 3) },
		{ "memory type 3", 1, 3 << 3, MASK(5, 3) },
		{ "memory type 7", 1, 7 << 3, MASK(5, 3) },
		{ "write without read", 1, 0, EPT_R },
		{ "write alone", 1, 0, EPT_R | EPT_X },
		{ "physical width", 1, BIT(51), 0 },
		{ "reserved bit 3 of level 2", 2, BIT(3), 0 },
		{ "reserved bit 6 of level 2", 2, BIT(6), 0 },
		{ "reserved bit 5 of level 3", 3, BIT(5), 0 },
		{ "reserved bit 7 of level 4", 4, BIT(7), 0 },
		{ "write without read at level 4", 4, 0, EPT_R },
		{ "physical width at level 3", 3, BIT(51), 0 },
		{ "offset of a 2 MiB page", 2, EPT_LARGE | BIT(13) | EPT_WB, 0 },
		{ "offset of a 1 GiB page", 3, EPT_LARGE | BIT(21) | EPT_WB, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		u64 *entry;

		fresh();
		vmx_ept_entry(pml4, PAGE_AT, 1)[0] = page | EPT_RWX | EPT_WB;
		*guest_pte(roots, PAGE_AT, 1) = PAGE_AT | PTE_P | PTE_W | PTE_U;
		entry = vmx_ept_entry(pml4, PAGE_AT, rows[i].level);
		PASSES(load);
		*entry = (*entry & ~rows[i].clear) | rows[i].set;
		drop();
		check_equal(vmx_run_at(load), VMX_EXIT_EPT_MISCONFIGURATION, "%s", rows[i].name);
		check_equal(get(guest_physical_address), PAGE_AT, "%s: where", rows[i].name);
		check_equal(get(exit_qualification), 0, "%s: qualification", rows[i].name);
		check_equal(get(guest_rip), load, "%s: RIP", rows[i].name);
		/* what is not present has no other bits */
		*entry = rows[i].set & ~EPT_RWX;
		drop();
		check_equal(vmx_run_at(load), VMX_EXIT_EPT_VIOLATION, "%s, not present",
			rows[i].name);
	}
	/* bits that software may use */
	fresh();
	*vmx_ept_entry(pml4, page, 1) |= BIT(52) | BIT(62) | EPT_SUPPRESS_VE | BIT(11) | BIT(6);
	PASSES(load);
}

/* ---- accessed and dirty flags, 29.3.5; page-modification logging, 29.3.6 ---- */

static void flags(void)
{
	u64 *entry;

	fresh();
	entry = vmx_ept_entry(pml4, page, 1);
	PASSES(store);
	check_equal(*entry & (EPT_A | EPT_D), 0, "A and D off: no flags");
	put(eptp, get(eptp) | EPTP_ACCESSED_DIRTY);
	drop();
	PASSES(load);
	check_equal(*entry & (EPT_A | EPT_D), EPT_A, "load: A");
	check(*vmx_ept_entry(pml4, page, 2) & EPT_A, "load: A of level 2");
	check(*vmx_ept_entry(pml4, page, 4) & EPT_A, "load: A of level 4");
	check(!(*vmx_ept_entry(pml4, page, 2) & EPT_D), "no D there");
	PASSES(store);
	check_equal(*entry & (EPT_A | EPT_D), EPT_A | EPT_D, "store: D");
	/* a walk is a write of the page tables */
	entry = vmx_ept_entry(pml4, (u64)roots, 1);
	*entry &= ~(EPT_A | EPT_D);
	drop();
	PASSES(load);
	check_equal(*entry & (EPT_A | EPT_D), EPT_A | EPT_D,
		"a walk sets D of the page tables' pages");
}

static void logging(void)
{
	u64 *log = guest_pages(1);

	if (!vmx_offers_secondary(SEC_PML, "page-modification logging"))
		return;
	fresh();
	/* keep the guest's own page tables, stacks and the rest out of it */
	PASSES(store);
	put(eptp, get(eptp) | EPTP_ACCESSED_DIRTY);
	put(pml_address, log);
	put(pml_index, 511);
	drop();
	PASSES(store);
	put(pml_index, 511);
	memset(log, 0, PAGE);
	*vmx_ept_entry(pml4, page, 1) &= ~EPT_D;
	drop();
	vmx_secondary(SEC_PML);
	PASSES(load);
	check_equal(get(pml_index), 511, "a load is not logged");
	PASSES(store);
	check_equal(get(pml_index), 510, "a store is");
	check_equal(log[511], page, "where");
	PASSES(store);
	check_equal(get(pml_index), 510, "once");
	/* full: the exit comes before the access */
	*vmx_ept_entry(pml4, page, 1) &= ~EPT_D;
	drop();
	put(pml_index, 0xffff);
	vmx_regs.rcx = 0x1234;
	check_equal(vmx_run_at(store), VMX_EXIT_PML_FULL, "the log is full");
	check_equal(get(guest_rip), store, "full: RIP");
	check(*(u64 *)page != 0x1234, "full: nothing is stored");
	check(!(*vmx_ept_entry(pml4, page, 1) & EPT_D), "full: D is clear");
	put(pml_index, 0);
	PASSES(store);
	check_equal(get(pml_index), 0xffff, "the last entry");
	check_equal(log[0], page, "the last entry: where");
}

/* ---- mode-based execution, 29.3.3.2 ---- */

static void mode_based(void)
{
	if (!vmx_offers_secondary(SEC_MODE_BASED_EXECUTE, "mode-based execute control"))
		return;
	for (unsigned user = 0; user < 2; user++)
		for (unsigned rights = 0; rights < 4; rights++) {
			u64 bits = (rights & 1 ? EPT_X : 0) | (rights & 2 ? EPT_USER_X : 0);
			bool may = rights & (user ? 2 : 1);

			fresh();
			vmx_secondary(SEC_MODE_BASED_EXECUTE);
			/* bit 10 counts at every level now */
			for (unsigned i = 0; i < 4; i++)
				*vmx_ept_entry(pml4, (u64)i << 30, 3) |= EPT_USER_X;
			*pml4 |= EPT_USER_X;
			for (unsigned i = 0; i < 64; i++)
				*vmx_ept_entry(pml4, (u64)i << 21, 2) |= EPT_USER_X;
			*vmx_ept_entry(pml4, page, 1) = page | EPT_R | EPT_W | EPT_WB | bits;
			for (unsigned i = 0; i < 512; i++) {
				u64 *entry = vmx_ept_entry(pml4, (page & ~0x1fffffull) + i * PAGE,
					1);

				if (entry != vmx_ept_entry(pml4, page, 1))
					*entry |= EPT_USER_X;
			}
			/* the linear address's rights decide: user page or supervisor's */
			*guest_pte(roots, PAGE_AT, 1) = page | PTE_P | PTE_W | (user ? PTE_U : 0);
			drop();
			vmx_regs.rbx = PAGE_AT + 8;
			if (user)
				vmx_user();
			if (may) {
				check_equal(vmx_run_at(jump), VMX_EXIT_VMCALL,
					"fetch, user %u, rights %u", user,
					rights);
				continue;
			}
			check_equal(vmx_run_at(jump), VMX_EXIT_EPT_VIOLATION,
				"fetch, user %u, rights %u", user,
				rights);
			check_equal(get(exit_qualification) & QUAL_MASK, QUAL_FETCH |
				QUAL_RIGHTS(EPT_R | EPT_W) |
				(rights & 1 ? QUAL_RIGHTS(EPT_X) : 0) |
				(rights & 2 ? QUAL_USER_X : 0) |
				QUAL_LINEAR | QUAL_FINAL,
				"fetch, user %u, rights %u: qualification", user, rights);
		}
}

/* ---- a violation while an event is delivered ---- */

static void delivery(void)
{
	fresh();
	*vmx_ept_entry(pml4, page, 1) = page | EPT_R | EPT_WB;
	put(guest_rsp, PAGE_AT + 0x800);
	check_equal(vmx_run_at(int_a), VMX_EXIT_EPT_VIOLATION,
		"INT with a stack that cannot be written");
	check_equal(get(idt_vectoring_info), EVENT(INTR_SOFTWARE, VEC_A), "IDT vectoring");
	check_equal(get(exit_instruction_length), 2, "length");
	check_equal(get(exit_qualification) & QUAL_WRITE, QUAL_WRITE, "a write");
	check_equal(get(guest_rip), int_a, "RIP");
	/* and of an injected one: it can be injected again */
	put(entry_interruption_info, EVENT_ERROR(INTR_HARDWARE_EXCEPTION, VEC_GP));
	put(entry_error_code, 0x18);
	check_equal(vmx_run_at(nothing), VMX_EXIT_EPT_VIOLATION, "injection onto that stack");
	check_equal(get(idt_vectoring_info), EVENT_ERROR(INTR_HARDWARE_EXCEPTION, VEC_GP),
		"IDT vectoring");
	check_equal(get(idt_vectoring_error_code), 0x18, "its error code");
}

/* 28.2.3, 28.3.4: an IRET that had unblocked NMIs when its stack could not be read. */
static void iret(void)
{
	for (unsigned blocked = 0; blocked < 2; blocked++) {
		fresh();
		vmx_pin(PIN_NMI | PIN_VIRTUAL_NMIS);
		put(guest_interruptibility, blocked ? INTERRUPTIBILITY_NMI : 0);
		put(guest_rsp, PAGE_AT);
		*vmx_ept_entry(pml4, page, 1) = 0;
		check_equal(vmx_run_at(iret_insn), VMX_EXIT_EPT_VIOLATION, "IRET, no stack");
		check_equal(get(exit_qualification) >> 12 & 1, blocked, "NMIs unblocked, %u", blocked);
		check_equal(get(guest_interruptibility), 0, "IRET: they are");
		/* no such bit is in what a misconfiguration or an APIC access tells */
		put(guest_interruptibility, blocked ? INTERRUPTIBILITY_NMI : 0);
		*vmx_ept_entry(pml4, page, 1) = page | EPT_W | EPT_WB;
		drop();
		check_equal(vmx_run_at(iret_insn), VMX_EXIT_EPT_MISCONFIGURATION, "IRET, a bad stack");
		check_equal(get(exit_qualification), 0, "IRET, a bad stack: qualification");
		put(guest_interruptibility, blocked ? INTERRUPTIBILITY_NMI : 0);
		*vmx_ept_entry(pml4, page, 1) = page | EPT_RWX | EPT_WB;
		vmx_secondary(SEC_APIC_ACCESSES);
		put(apic_access_address, page);
		drop();
		check_equal(vmx_run_at(iret_insn), VMX_EXIT_APIC_ACCESS, "IRET, its stack an APIC");
		check_equal(get(exit_qualification) >> 12 & 15, 0, "IRET, its stack an APIC: a read");
	}
}

/* ---- PAE paging: the PDPTEs are loaded through EPT by MOV CR3, 29.3.1 ---- */

CODE(load_cr3_32, ".code32; mov %ebx, %cr3; vmcall; .code64");

static void pae(void)
{
	u64 *pdpt = guest_pages(1), *bad = guest_pages(1);

	if (!vmx_offers_secondary(SEC_UNRESTRICTED, "unrestricted guest"))
		return;
	for (unsigned i = 0; i < 4; i++)
		pdpt[i] = (u64)(guest_pd + 512 * i) | PTE_P;
	bad[0] = PTE_P | PTE_W; /* reserved in a PDPTE */
	fresh();
	put(entry_controls, get(entry_controls) & ~ENTRY_IA32E);
	put(guest_cs_selector, SEL_CODE32);
	put(guest_cs_rights, 0xc09b);
	put(guest_cr3, pdpt);
	for (unsigned i = 0; i < 4; i++)
		vmcs_write(FIELD_guest_pdpte0 + 2 * i, pdpt[i]);
	vmx_regs.rbx = (u64)pdpt;
	check_equal(vmx_run_at(load_cr3_32), VMX_EXIT_VMCALL, "MOV CR3 under PAE paging");
	check_equal(get(guest_pdpte3), pdpt[3], "PDPTEs are saved");
	/* a PDPT that cannot be read exits as a guest-physical access without a linear address */
	*vmx_ept_entry(pml4, (u64)bad, 1) = 0;
	drop();
	vmx_regs.rbx = (u64)bad;
	check_equal(vmx_run_at(load_cr3_32), VMX_EXIT_EPT_VIOLATION,
		"MOV CR3, the PDPT is not there");
	check_equal(get(exit_qualification) & (QUAL_READ | QUAL_LINEAR), QUAL_READ,
		"no linear address");
	check_equal(get(guest_physical_address) & ~(PAGE - 1), bad, "where");
	/* what the VMCS says is used, whatever memory holds */
	put(guest_cr3, bad);
	check_equal(vmx_run_at((u8 *)load_cr3_32 + 3), VMX_EXIT_VMCALL, "PDPTEs of the VMCS");
}

/* ---- EPTP switching, 26.5.6.3, and #VE, 26.5.7 ---- */

static void eptp_switching(void)
{
	u64 *list = guest_pages(1), *second, other = (u64)guest_pages(1), first_eptp;

	if (!vmx_offers_secondary(SEC_VM_FUNCTIONS, "VM functions"))
		return;
	fresh();
	first_eptp = get(eptp);
	second = vmx_ept();
	*(u64 *)other = 0x5555;
	*vmx_ept_entry(second, page, 1) = other | EPT_RWX | EPT_WB;
	put(eptp, first_eptp);
	vmx_secondary(SEC_VM_FUNCTIONS);
	put(vm_function_controls, VM_FUNCTION_EPTP_SWITCHING);
	put(eptp_list_address, list);
	list[3] = vmx_eptp(second);
	list[5] = vmx_eptp(second) | BIT(7); /* not valid */
	list[6] = first_eptp;
	vmx_regs.rcx = 3;
	PASSES(load);
	check_equal(vmx_regs.rax, 0x1122334455667788, "the first EPT");
	vmx_regs.rax = 0;
	PASSES(vmfunc_load);
	check_equal(vmx_regs.rax, 0x5555, "the second, by VMFUNC");
	check_equal(get(eptp), list[3], "VMFUNC: EPTP in the VMCS");
	if (rdmsr(MSR_VMX_PROC_CTLS2) >> 32 & SEC_EPT_VE)
		check_equal(get(eptp_index), 3, "VMFUNC: the index");
	vmx_regs.rcx = 6;
	vmx_regs.rax = 0;
	PASSES(vmfunc_load);
	check_equal(vmx_regs.rax, 0x1122334455667788, "and back");
	/* what exits */
	static const u64 refused[] = { 512, 5, 0 };
	for (unsigned i = 0; i < ARRAY_SIZE(refused); i++) {
		vmx_regs.rcx = refused[i];
		vmx_regs.rax = 0;
		vmx_check_exit(vmfunc_insn, vmfunc_insn_end, vmx_run_at(vmfunc_insn),
			VMX_EXIT_VMFUNC, "VMFUNC");
		check_equal(get(eptp), first_eptp, "VMFUNC refused: EPTP stays");
	}
	vmx_regs.rcx = 3;
	vmx_regs.rax = 1;
	check_equal(vmx_run_at(vmfunc_insn), VMX_EXIT_VMFUNC,
		"VMFUNC of a function that is not enabled");
	vmx_regs.rax = 0;
	put(vm_function_controls, 0);
	check_equal(vmx_run_at(vmfunc_insn), VMX_EXIT_VMFUNC, "VMFUNC, no function enabled");
	/* CPL 3 may */
	put(vm_function_controls, VM_FUNCTION_EPTP_SWITCHING);
	vmx_user();
	vmx_regs.rax = 0;
	PASSES(vmfunc_load);
	check_equal(vmx_regs.rax, 0x5555, "VMFUNC at CPL 3");
}

static unsigned taken;

static void on_ve(struct frame *frame)
{
	taken++;
	frame->rip = (u64)load_end;
}

struct ve_area {
	u32 reason, busy;
	u64 qualification, linear, physical;
	u16 index;
};

static void virtualization_exceptions(void)
{
	struct ve_area *area = guest_pages(1);

	if (!vmx_offers_secondary(SEC_EPT_VE, "EPT-violation #VE"))
		return;
	guest_set_handler(VEC_VE, on_ve);
	fresh();
	vmx_secondary(SEC_EPT_VE);
	put(ve_information_address, area);
	put(eptp_index, 0x123);
	*vmx_ept_entry(pml4, page, 1) = 0;
	drop();
	taken = 0;
	PASSES(load);
	check_equal(taken, 1, "#VE");
	check_equal(area->reason, VMX_EXIT_EPT_VIOLATION, "#VE: reason");
	check_equal(area->busy, 0xffffffff, "#VE: busy");
	check_equal(area->qualification & QUAL_MASK, QUAL_READ | QUAL_LINEAR | QUAL_FINAL,
		"#VE: qualification");
	check_equal(area->linear, PAGE_AT, "#VE: linear address");
	check_equal(area->physical, page, "#VE: guest-physical address");
	check_equal(area->index, 0x123, "#VE: EPTP index");
	/* busy: an exit */
	check_equal(vmx_run_at(load), VMX_EXIT_EPT_VIOLATION, "busy");
	area->busy = 0;
	PASSES(load);
	check_equal(taken, 2, "and again");
	/* suppressed */
	area->busy = 0;
	*vmx_ept_entry(pml4, page, 1) = EPT_SUPPRESS_VE;
	drop();
	check_equal(vmx_run_at(load), VMX_EXIT_EPT_VIOLATION, "suppressed");
	check_equal(area->busy, 0, "suppressed: nothing is written");
	/* it obeys the exception bitmap */
	*vmx_ept_entry(pml4, page, 1) = 0;
	drop();
	put(exception_bitmap, BIT(VEC_VE));
	check_equal(vmx_run_at(load), VMX_EXIT_EXCEPTION, "#VE exits");
	check_equal(get(exit_interruption_info), EVENT(INTR_HARDWARE_EXCEPTION, VEC_VE),
		"#VE exits: it is");
	put(exception_bitmap, 0);
	/* while an event is delivered there is none */
	area->busy = 0;
	put(guest_rsp, PAGE_AT + 0x800);
	check_equal(vmx_run_at(int_a), VMX_EXIT_EPT_VIOLATION, "violation while delivering");
	check_equal(area->busy, 0, "which is no #VE");
	put(guest_rsp, vmx_stack_top);
	/* misconfigurations are none either */
	*vmx_ept_entry(pml4, page, 1) = page | EPT_W | EPT_WB;
	drop();
	check_equal(vmx_run_at(load), VMX_EXIT_EPT_MISCONFIGURATION, "misconfiguration");
	guest_set_handler(VEC_VE, NULL);
}

void guest_main(void)
{
	if (!vmx_setup())
		return;
	page = (u64)guest_pages(1);
	roots = guest_pages(1);
	roots[0] = guest_pml4[0];
	guest_pte(roots, PAGE_AT, 1);
	permissions();
	levels();
	page_sizes();
	page_walks();
	misconfigurations();
	flags();
	logging();
	mode_based();
	delivery();
	iret();
	pae();
	eptp_switching();
	virtualization_exceptions();
}
