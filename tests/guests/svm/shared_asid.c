/* SPDX-License-Identifier: MIT */
/*
 * A hypervisor that runs several guests under one ASID and has it flushed at each entry: APM2
 * 15.16.2. Whatever changed since the last flush must be seen after the next: each level of both
 * stages, both roots, flags that were cleared; and where nothing changed all must be as it was.
 */
#include "svm.h"

/* The probe's linear and guest-physical address: far from all that the guest needs. */
#define PROBE 0x40000000ull
#define PROBE_GPA BIT(39)
#define RWU (PTE_P | PTE_W | PTE_U)
/* Entries between two changes: so many flushes find nothing new that a hypervisor may have stopped to compare the
 * tables, and must notice stores to them. */
#define ROUNDS 40

CODE(read_probe, "mov (%rbx), %rax");
CODE(write_probe, "mov %rcx, (%rbx); mov (%rbx), %rax");
CODE(call_probe, "call *%rbx");

static u64 *nested;
static u8 *first, *second; /* pages with different contents */

static u64 *nested_entry(unsigned level)
{
	return guest_pte(nested, PROBE_GPA, level);
}

static u64 *own_entry(unsigned level)
{
	return guest_pte(guest_pml4, PROBE, level);
}

static void prepare(void)
{
	svm_fresh();
	nested = svm_nested_paging();
	*nested_entry(1) = (u64)first | RWU;
	/* a neighbour that is mapped to the second page, for tables to lead to */
	*guest_pte(nested, PROBE_GPA + PAGE_SIZE, 1) = (u64)second | RWU;
	guest_map(guest_pml4, PROBE, PROBE_GPA, RWU);
	svm_regs.rbx = PROBE;
	svm_regs.rcx = 0x1234;
	*(u64 *)first = 1;
	*(u64 *)second = 2;
}

/* An entry with a flush. */
static u64 enter(const void *code)
{
	vmcb->tlb_control = TLB_CONTROL_GUEST;
	return svm_run_at(code);
}

static void sees(u64 value, const char *what)
{
	for (unsigned round = 0; round < ROUNDS; round++) {
		check_equal(enter(read_probe), SVM_EXIT_VMMCALL, "%s: exit code", what);
		check_equal(vmcb->rax, value, "%s: what is read, round %u", what, round);
	}
}

/* A table like the one that an entry leads to, but with the second page for the probe below it. */
static u64 another_table(u64 *root, u64 address, unsigned level, u64 leaf)
{
	u64 *copy = guest_pages(1);

	memcpy(copy, (void *)(*guest_pte(root, address, level) & MASK(51, 12)), PAGE_SIZE);
	copy[address >> (12 + 9 * (level - 2)) & 511] =
		level == 2 ? leaf : another_table(root, address, level - 1, leaf) | RWU;
	return (u64)copy;
}

static void changed_tables(void)
{
	prepare();
	sees(1, "as it was made");
	*(u64 *)first = 11;
	sees(11, "another content");
	*nested_entry(1) = (u64)second | RWU;
	sees(2, "a nested page");
	*nested_entry(1) = (u64)first | RWU;
	sees(11, "and back");
	for (unsigned level = 2; level <= 4; level++) {
		u64 before = *nested_entry(level);

		*nested_entry(level) = another_table(nested, PROBE_GPA, level, (u64)second | RWU) | RWU;
		sees(2, "a nested table");
		*nested_entry(level) = before;
		sees(11, "and back");
	}
	*own_entry(1) = (PROBE_GPA + PAGE_SIZE) | RWU;
	sees(2, "a page of the guest's");
	*own_entry(1) = PROBE_GPA | RWU;
	sees(11, "and back");
	for (unsigned level = 2; level <= 4; level++) {
		u64 before = *own_entry(level);

		*own_entry(level) =
			another_table(guest_pml4, PROBE, level, (PROBE_GPA + PAGE_SIZE) | RWU) | RWU;
		sees(2, "a table of the guest's");
		*own_entry(level) = before;
		sees(11, "and back");
	}
	*nested_entry(1) = 0;
	check_equal(enter(read_probe), SVM_EXIT_NPF, "a nested page that went");
	*nested_entry(1) = (u64)first | RWU;
	sees(11, "and came back");
}

/* Guests in turn, with roots of their own. */
static void changed_roots(void)
{
	u64 *copy = guest_pages(1), *own = guest_pages(1);

	prepare();
	memcpy(copy, nested, PAGE_SIZE);
	copy[PROBE_GPA >> 39 & 511] = another_table(nested, PROBE_GPA, 4, (u64)second | RWU) | RWU;
	memcpy(own, guest_pml4, PAGE_SIZE);
	own[PROBE >> 39 & 511] =
		another_table(guest_pml4, PROBE, 4, (PROBE_GPA + PAGE_SIZE) | RWU) | RWU;
	for (unsigned round = 0; round < 3 * ROUNDS; round++) {
		vmcb->n_cr3 = (u64)(round & 1 ? copy : nested);
		check_equal(enter(read_probe), SVM_EXIT_VMMCALL, "nCR3: exit code");
		check_equal(vmcb->rax, 1 + (round & 1), "nCR3: what is read, round %u", round);
	}
	vmcb->n_cr3 = (u64)nested;
	for (unsigned round = 0; round < 3 * ROUNDS; round++) {
		vmcb->cr3 = (u64)(round & 1 ? own : guest_pml4);
		check_equal(enter(read_probe), SVM_EXIT_VMMCALL, "CR3: exit code");
		check_equal(vmcb->rax, 1 + (round & 1), "CR3: what is read, round %u", round);
	}
}

static void flags(void)
{
	prepare();
	sees(1, "flags");
	for (unsigned level = 1; level <= 4; level++) {
		check(*own_entry(level) & *nested_entry(level) & PTE_A, "A is set, level %u", level);
		*own_entry(level) &= ~(u64)PTE_A;
		sees(1, "flags");
		check(*own_entry(level) & PTE_A, "A of the guest's is set anew, level %u", level);
		*nested_entry(level) &= ~(u64)PTE_A;
		sees(1, "flags");
		check(*nested_entry(level) & PTE_A, "A of a nested entry is set anew, level %u", level);
	}
	check(!((*own_entry(1) | *nested_entry(1)) & PTE_D), "D is not set by a read");
	for (unsigned round = 0; round < ROUNDS; round++) {
		check_equal(enter(write_probe), SVM_EXIT_VMMCALL, "write: exit code");
		check_equal(vmcb->rax, 0x1234, "write: what is read");
		check(*own_entry(1) & *nested_entry(1) & PTE_D, "D is set, round %u", round);
		if (round & 1)
			*own_entry(1) &= ~(u64)PTE_D;
		else
			*nested_entry(1) &= ~(u64)PTE_D;
	}
	*nested_entry(1) &= ~(u64)PTE_W;
	check_equal(enter(write_probe), SVM_EXIT_NPF, "no write any more");
	check_equal(enter(read_probe), SVM_EXIT_VMMCALL, "but a read");
}

static void code(void)
{
	static const u8 returns[] = { 0xb8, 1, 0, 0, 0, 0xc3 }; /* mov eax, 1; ret */

	prepare();
	memcpy(first, returns, sizeof(returns));
	memcpy(second, returns, sizeof(returns));
	second[1] = 2;
	for (unsigned round = 0; round < 3 * ROUNDS; round++) {
		bool other = round / ROUNDS & 1;

		*nested_entry(1) = (u64)(other ? second : first) | RWU;
		check_equal(enter(call_probe), SVM_EXIT_VMMCALL, "code: exit code");
		check_equal(vmcb->rax, other ? 2 : 1, "code: which one ran, round %u", round);
	}
	*nested_entry(1) = (u64)first | RWU | PTE_NX;
	check_equal(enter(call_probe), SVM_EXIT_NPF, "code: not to be executed any more");
}

void guest_main(void)
{
	if (!svm_setup())
		return;
	if (!svm_has(SVM_NPT) || !svm_has(SVM_FLUSH_BY_ASID)) {
		guest_skip("flush by ASID under nested paging");
		return;
	}
	first = guest_pages(1);
	second = guest_pages(1);
	changed_tables();
	changed_roots();
	flags();
	code();
}
