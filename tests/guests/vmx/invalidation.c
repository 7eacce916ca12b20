/* SPDX-License-Identifier: MIT */
/*
 * Cached translations: what drops them must drop them, for loads, stores and fetches, and what is
 * tagged by VPID, PCID or EPTP is kept apart. Whether something else is dropped too is nowhere
 * visible, for processors may forget at any time. SDM3 29.4.
 */
#include "vmx.h"

#define AT 0x8000000000ull /* linear, under an entry of the PML4 that is nobody else's */

CODE(load, "mov (%rbx), %rax");
CODE(store, "mov %rcx, (%rbx)");
CODE(jump, "jmp *%rdx");
CODE(load_after_invlpg, "invlpg (%rbx); mov (%rbx), %rax");
CODE(load_after_cr3, "mov %cr3, %rax; mov %rax, %cr3; mov (%rbx), %rax");
CODE(load_after_pge,
	"mov %cr4, %rax; xor $0x80, %rax; mov %rax, %cr4; xor $0x80, %rax; mov %rax, %cr4;"
	"mov (%rbx), %rax");
CODE(load_after_invpcid, "invpcid invpcid_descriptor, %rsi; mov (%rbx), %rax");
CODE(load_under_two_pcids,
	"mov (%rbx), %rax; mov %r8, %cr3; mov (%rbx), %r9; mov %r10, %cr3; mov (%rbx), %r11");

struct {
	u64 pcid, linear;
} invpcid_descriptor __attribute__((aligned(16)));

/* Two pages with a word and a routine each; the word is the routine's value too. */
static u8 *first, *second;
static u64 *roots, *other_roots; /* the guest's */
static u64 *pml4;                /* EPT */

static void make_page(u8 *page, u32 value)
{
	memset(page, 0, PAGE);
	*(u64 *)page = value;
	page[0x100] = 0xb8; /* MOV $value, %EAX; VMCALL */
	memcpy(page + 0x101, &value, 4);
	memcpy(page + 0x105, "\x0f\x01\xc1", 3);
}
#define FIRST 0x111
#define SECOND 0x222

static void map(u64 *root, u64 linear, const u8 *page, u64 flags)
{
	*guest_pte(root, linear, 1) = (u64)page | PTE_P | PTE_W | PTE_U | flags;
}

enum { NO_VPID = 0, NO_EPT = 0, WITH_EPT = 1 };

static void fresh(u16 vpid, bool ept)
{
	vmx_fresh();
	make_page(first, FIRST);
	make_page(second, SECOND);
	pml4 = ept ? vmx_ept() : NULL;
	if (vpid) {
		vmx_secondary(SEC_VPID);
		put(vpid, vpid);
	}
	put(guest_cr3, roots);
	put(guest_cr4, get(guest_cr4) | CR4_PGE);
	map(roots, AT, first, 0);
	check_equal(invvpid(INVVPID_ALL, 0, 0), VM_SUCCEED, "INVVPID");
	check_equal(invept(INVEPT_ALL, 0), VM_SUCCEED, "INVEPT");
	vmx_regs.rbx = AT;
	vmx_regs.rdx = AT + 0x100;
}

/* What a load and a fetch see; 0: not the same. */
static u64 seen(void)
{
	u64 loaded;

	check_equal(vmx_run_at(load), VMX_EXIT_VMCALL, "load");
	loaded = vmx_regs.rax;
	check_equal(vmx_run_at(jump), VMX_EXIT_VMCALL, "fetch");
	return (u32)vmx_regs.rax == (u32)loaded ? loaded : 0;
}

/* ---- what the hypervisor does ---- */

static void nothing(void) { }
static void by_address(void) { check_equal(invvpid(INVVPID_ADDRESS, 1, AT), VM_SUCCEED, "INVVPID");
	}
static void by_vpid(void) { check_equal(invvpid(INVVPID_SINGLE, 1, 0), VM_SUCCEED, "INVVPID"); }
static void all_vpids(void) { check_equal(invvpid(INVVPID_ALL, 0, 0), VM_SUCCEED, "INVVPID"); }
static void but_global(void) { check_equal(invvpid(INVVPID_LOCAL, 1, 0), VM_SUCCEED, "INVVPID"); }
static void by_eptp(void) { check_equal(invept(INVEPT_SINGLE, get(eptp)), VM_SUCCEED, "INVEPT"); }
static void all_epts(void) { check_equal(invept(INVEPT_ALL, 0), VM_SUCCEED, "INVEPT"); }

static const struct method {
	const char *name;
	void (*run)(void);
	u16 vpid;
	bool ept;
	bool drops_global;  /* of the guest's page tables */
	bool drops_linear;  /* what was cached from those */
	bool drops_second;  /* what was cached from EPT */
} methods[] = {
	/* without VPIDs entries and exits do it */
	{ "an entry", nothing, NO_VPID, NO_EPT, true, true, false },
	{ "an entry, EPT", nothing, NO_VPID, WITH_EPT, true, true, false },
	{ "INVVPID of an address", by_address, 1, NO_EPT, true, true, false },
	{ "INVVPID of a VPID", by_vpid, 1, NO_EPT, true, true, false },
	{ "INVVPID of all", all_vpids, 1, NO_EPT, true, true, false },
	{ "INVVPID but for global pages", but_global, 1, NO_EPT, false, true, false },
	{ "INVVPID of an address, EPT", by_address, 1, WITH_EPT, true, true, false },
	{ "INVVPID of a VPID, EPT", by_vpid, 1, WITH_EPT, true, true, false },
	{ "INVVPID of all, EPT", all_vpids, 1, WITH_EPT, true, true, false },
	{ "INVVPID but for global pages, EPT", but_global, 1, WITH_EPT, false, true, false },
	{ "INVEPT of one", by_eptp, 1, WITH_EPT, true, true, true },
	{ "INVEPT of all", all_epts, 1, WITH_EPT, true, true, true },
	{ "INVEPT of one, no VPID", by_eptp, NO_VPID, WITH_EPT, true, true, true },
	{ "INVEPT of all, no VPID", all_epts, NO_VPID, WITH_EPT, true, true, true },
};

static void linear(const struct method *method)
{
	const char *name = method->name;

	for (unsigned global = 0; global <= method->drops_global; global++) {
		u64 flags = global ? PTE_G : 0;

		/* another page */
		fresh(method->vpid, method->ept);
		map(roots, AT, first, flags);
		check_equal(seen(), FIRST, "%s: before", name);
		map(roots, AT, second, flags);
		method->run();
		check_equal(seen(), SECOND, "%s: another page, global %u", name, global);
		/* none */
		*guest_pte(roots, AT, 1) = 0;
		method->run();
		RAISES(load, VEC_PF);
		RAISES(store, VEC_PF);
		/* no right to write */
		map(roots, AT, first, flags);
		method->run();
		RAISES(store, NO_TRAP);
		*guest_pte(roots, AT, 1) &= ~PTE_W;
		method->run();
		RAISES(store, VEC_PF);
		/* dirty is set anew */
		map(roots, AT, first, flags);
		method->run();
		RAISES(store, NO_TRAP);
		check(*guest_pte(roots, AT, 1) & PTE_D, "%s: D", name);
		*guest_pte(roots, AT, 1) &= ~(PTE_D | PTE_A);
		method->run();
		RAISES(store, NO_TRAP);
		check(*guest_pte(roots, AT, 1) & PTE_D, "%s: D again", name);
	}
	/* a table, where its address is named it goes too: 29.4.3.1 */
	fresh(method->vpid, method->ept);
	check_equal(seen(), FIRST, "%s: before", name);
	*guest_pte(roots, AT, 2) = 0;
	method->run();
	RAISES(load, VEC_PF);
	map(roots, AT, first, 0);
}

static void second_stage(const struct method *method)
{
	const char *name = method->name;
	u64 *entry;

	fresh(method->vpid, method->ept);
	entry = vmx_ept_entry(pml4, (u64)first, 1);
	method->run();
	check_equal(seen(), FIRST, "%s: before", name);
	*entry = (u64)second | EPT_RWX | EPT_WB;
	method->run();
	check_equal(seen(), SECOND, "%s: another page by EPT", name);
	*entry &= ~EPT_W;
	method->run();
	check_equal(vmx_run_at(store), VMX_EXIT_EPT_VIOLATION, "%s: no right to write by EPT",
		name);
	*entry &= ~EPT_X;
	method->run();
	check_equal(vmx_run_at(load), VMX_EXIT_VMCALL, "%s: load", name);
	check_equal(vmx_run_at(jump), VMX_EXIT_EPT_VIOLATION, "%s: no right to execute by EPT",
		name);
	*entry = 0;
	method->run();
	check_equal(vmx_run_at(load), VMX_EXIT_EPT_VIOLATION, "%s: no page by EPT", name);
	*entry = (u64)first | EPT_RWX | EPT_WB;
	/* a violation has dropped what it found, 29.4.3.1: no INVEPT is needed for more rights */
	check_equal(vmx_run_at(load), VMX_EXIT_VMCALL, "%s: more rights after a violation", name);
	put(eptp, get(eptp) | EPTP_ACCESSED_DIRTY);
	method->run();
	check_equal(vmx_run_at(store), VMX_EXIT_VMCALL, "%s: store", name);
	check(*entry & EPT_D, "%s: D of EPT", name);
	*entry &= ~(EPT_A | EPT_D);
	method->run();
	check_equal(vmx_run_at(store), VMX_EXIT_VMCALL, "%s: store again", name);
	check(*entry & EPT_D, "%s: D of EPT again", name);
	/* the page that the guest's page table is in */
	entry = vmx_ept_entry(pml4, (u64)guest_pte(roots, AT, 1) & ~(PAGE - 1), 1);
	check_equal(vmx_run_at(load), VMX_EXIT_VMCALL, "%s: load", name);
	*entry = 0;
	method->run();
	check_equal(vmx_run_at(load), VMX_EXIT_EPT_VIOLATION, "%s: no page table by EPT", name);
}

/* ---- what the guest does, by its own instructions: SDM3 4.10.4, 29.4.3.1 ---- */

static void by_the_guest(void)
{
	static const struct {
		const char *name;
		const u8 *code;
		bool drops_global;
		u64 type;  /* of INVPCID */
	} ways[] = {
		{ "INVLPG", load_after_invlpg, true, 0 },
		{ "MOV CR3", load_after_cr3, false, 0 },
		{ "MOV CR4", load_after_pge, true, 0 },
		{ "INVPCID of an address", load_after_invpcid, false, 0 },
		{ "INVPCID of a PCID", load_after_invpcid, false, 1 },
		{ "INVPCID of all", load_after_invpcid, true, 2 },
		{ "INVPCID but for global pages", load_after_invpcid, false, 3 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++)
		for (unsigned ept = 0; ept < 2; ept++)
			for (unsigned global = 0; global <= ways[i].drops_global; global++) {
				u64 flags = global ? PTE_G : 0;

				if (ways[i].code == load_after_invpcid && !cpu_has(7, 1, 10))
					continue;
				fresh(1, ept);
				vmx_secondary(SEC_INVPCID);
				map(roots, AT, first, flags);
				check_equal(seen(), FIRST, "%s: before", ways[i].name);
				map(roots, AT, second, flags);
				invpcid_descriptor.linear = AT;
				vmx_regs.rsi = ways[i].type;
				check_equal(vmx_run_at(ways[i].code), VMX_EXIT_VMCALL, "%s",
					ways[i].name);
				check_equal(vmx_regs.rax, SECOND,
					"%s in the guest, EPT %u, global %u",
					ways[i].name, ept, global);
			}
}

/* ---- what is kept apart ---- */

static void tags(void)
{
	/* two VPIDs, two page tables, one linear address */
	for (unsigned ept = 0; ept < 2; ept++) {
		fresh(1, ept);
		map(other_roots, AT, second, 0);
		for (unsigned i = 0; i < 6; i++) {
			put(vpid, 1 + (i & 1));
			put(guest_cr3, i & 1 ? other_roots : roots);
			check_equal(seen(), i & 1 ? SECOND : FIRST, "VPID %u", 1 + (i & 1));
		}
		/* dropping one, the other works */
		check_equal(invvpid(INVVPID_SINGLE, 2, 0), VM_SUCCEED, "INVVPID");
		put(vpid, 1);
		put(guest_cr3, roots);
		check_equal(seen(), FIRST, "VPID 1 after INVVPID of 2");
		/* global pages are a VPID's own too */
		map(roots, AT, first, PTE_G);
		map(other_roots, AT, second, PTE_G);
		check_equal(invvpid(INVVPID_ALL, 0, 0), VM_SUCCEED, "INVVPID");
		for (unsigned i = 0; i < 4; i++) {
			put(vpid, 1 + (i & 1));
			put(guest_cr3, i & 1 ? other_roots : roots);
			check_equal(seen(), i & 1 ? SECOND : FIRST, "global pages of VPID %u",
				1 + (i & 1));
		}
	}
	/* the host has neither */
	for (u16 vpid = 0; vpid < 2; vpid++) {
		fresh(vpid, false);
		guest_map(guest_pml4, AT, (u64)second, PTE_P | PTE_W | PTE_U);
		check_equal(*(volatile u64 *)AT, SECOND, "the host's page");
		put(guest_cr3, roots);
		check_equal(seen(), FIRST, "the guest's, VPID %u", vpid);
		check_equal(*(volatile u64 *)AT, SECOND, "the host's page again");
		check_equal(seen(), FIRST, "the guest's again");
		*guest_pte(guest_pml4, AT, 1) = 0;
		invlpg(AT);
	}
	/* two EPTPs, one VPID: no INVEPT is needed to change them */
	fresh(1, true);
	u64 eptp = get(eptp), *other = vmx_ept(), other_eptp = get(eptp);
	*vmx_ept_entry(other, (u64)first, 1) = (u64)second | EPT_RWX | EPT_WB;
	for (unsigned i = 0; i < 6; i++) {
		put(eptp, i & 1 ? other_eptp : eptp);
		check_equal(seen(), i & 1 ? SECOND : FIRST, "EPTP %u", i & 1);
	}
	check_equal(invept(INVEPT_SINGLE, other_eptp), VM_SUCCEED, "INVEPT");
	put(eptp, eptp);
	check_equal(seen(), FIRST, "one EPTP after INVEPT of the other");
	/* EPT and none, one VPID: a guest-physical address is not a physical one */
	for (unsigned i = 0; i < 4; i++) {
		put(eptp, other_eptp);
		put(secondary_controls, (get(secondary_controls) & ~SEC_EPT) |
			(i & 1 ? SEC_EPT : 0));
		check_equal(seen(), i & 1 ? SECOND : FIRST, "EPT %u", i & 1);
	}
}

/* PCIDs of a guest under a VPID: 29.4.1. */
static void pcids(void)
{
	if (!cpu_has(1, 2, 17)) {
		guest_skip("PCIDs");
		return;
	}
	for (unsigned ept = 0; ept < 2; ept++) {
		fresh(1, ept);
		map(other_roots, AT, second, 0);
		put(guest_cr4, get(guest_cr4) | CR4_PCIDE);
		put(guest_cr3, (u64)roots | 1);
		vmx_regs.r8 = (u64)other_roots | 2 | BIT(63);
		vmx_regs.r10 = (u64)roots | 1 | BIT(63);
		for (unsigned i = 0; i < 2; i++) {
			put(guest_cr3, (u64)roots | 1);
			check_equal(vmx_run_at(load_under_two_pcids), VMX_EXIT_VMCALL, "PCIDs");
			check_equal(vmx_regs.rax, FIRST, "PCID 1");
			check_equal(vmx_regs.r9, SECOND, "PCID 2");
			check_equal(vmx_regs.r11, FIRST, "PCID 1 again");
		}
		/* the hypervisor's INVVPID goes through all of them */
		map(roots, AT, second, 0);
		map(other_roots, AT, first, 0);
		check_equal(invvpid(INVVPID_ADDRESS, 1, AT), VM_SUCCEED, "INVVPID");
		put(guest_cr3, (u64)roots | 1);
		check_equal(vmx_run_at(load_under_two_pcids), VMX_EXIT_VMCALL, "PCIDs");
		check_equal(vmx_regs.rax, SECOND, "INVVPID of an address: PCID 1");
		check_equal(vmx_regs.r9, FIRST, "INVVPID of an address: PCID 2");
		map(roots, AT, first, 0);
		map(other_roots, AT, second, 0);
		check_equal(invvpid(INVVPID_LOCAL, 1, 0), VM_SUCCEED, "INVVPID");
		put(guest_cr3, (u64)roots | 1);
		check_equal(vmx_run_at(load_under_two_pcids), VMX_EXIT_VMCALL, "PCIDs");
		check_equal(vmx_regs.rax, FIRST, "INVVPID but for global pages: PCID 1");
		check_equal(vmx_regs.r9, SECOND, "INVVPID but for global pages: PCID 2");
	}
}

/* An entry that fails loads the host's state as an exit does, SDM3 27.8: without VPIDs it drops as much. */
static void failed_entry(void)
{
	volatile u64 *word = (u64 *)AT;

	fresh(1, NO_EPT);
	check_equal(seen(), FIRST, "a guest with a VPID");
	fresh(NO_VPID, NO_EPT);
	guest_map(guest_pml4, AT, (u64)first, PTE_P | PTE_W);
	put(guest_tr_rights, 0x89);
	check_equal(*word, FIRST, "the host's page");
	*guest_pte(guest_pml4, AT, 1) = (u64)second | PTE_P | PTE_W;
	check_equal(vmx_run_at(load), VMX_EXIT_INVALID_GUEST_STATE | (u32)EXIT_REASON_ENTRY_FAILURE,
		"an entry fails");
	check_equal(*word, SECOND, "the host's page after it");
}

void guest_main(void)
{
	if (!vmx_setup() || !vmx_offers_secondary(SEC_VPID | SEC_EPT, "VPIDs and EPT"))
		return;
	first = guest_pages(1);
	second = guest_pages(1);
	roots = guest_pages(1);
	other_roots = guest_pages(1);
	roots[0] = other_roots[0] = guest_pml4[0];
	for (unsigned i = 0; i < ARRAY_SIZE(methods); i++) {
		if (methods[i].drops_linear)
			linear(&methods[i]);
		if (methods[i].drops_second)
			second_stage(&methods[i]);
	}
	by_the_guest();
	tags();
	pcids();
	failed_entry();
}
