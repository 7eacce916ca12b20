/* SPDX-License-Identifier: MIT */
/*
 * VMCS shadowing: a guest's VMREAD and VMWRITE go to the VMCS of the link pointer, or exit, by
 * bitmaps and operand. SDM3 25.6.15, 25.10, 26.1.3, 31.3 VMREAD and VMWRITE.
 */
#include "vmx.h"

u64 memory_operand;

/* What a guest may see of an instruction's flags comes back in R14. */
#define WITH_FLAGS(insn) "pushq $0x8d7; popfq; " insn "; pushfq; popq %r14"
CODE(read_register, WITH_FLAGS("vmread %rcx, %rax"));
CODE(read_memory, WITH_FLAGS("vmread %rcx, memory_operand"));
CODE(read_nowhere, "vmread %rcx, (%rdi)");
CODE(write_register, WITH_FLAGS("vmwrite %rax, %rcx"));
CODE(write_memory, WITH_FLAGS("vmwrite memory_operand, %rcx"));
CODE(call_twice, "call *%rdi; mov %rax, %rbx; vmread %rcx, %rdx; call *%rdi");
CODE(plain_read, "vmread %rcx, %rax");
CODE(plain_write, "vmwrite %rax, %rcx");

static u8 *shadow, *read_bitmap, *write_bitmap;

/* The shadow VMCS as new, with the fields that the tests look at; then the ordinary one. */
static void fresh(void)
{
	vmx_fresh();
	check_equal(vmclear((u64)shadow), VM_SUCCEED, "VMCLEAR of the shadow");
	memset(shadow, 0, PAGE);
	*(u32 *)shadow = vmx_revision() | (u32)VMCS_SHADOW;
	check_equal(vmptrld((u64)shadow), VM_SUCCEED, "VMPTRLD of the shadow");
	put(guest_rip, 0x1122334455667788);
	put(guest_cs_selector, 0xabcd);
	put(exit_qualification, 0x77);
	put(instruction_error, 0);
	check_equal(vmclear((u64)shadow), VM_SUCCEED, "VMCLEAR of the shadow");
	check_equal(vmptrld((u64)vmx_region), VM_SUCCEED, "VMPTRLD");
	memset(read_bitmap, 0, PAGE);
	memset(write_bitmap, 0, PAGE);
	put(vmread_bitmap, read_bitmap);
	put(vmwrite_bitmap, write_bitmap);
	put(link_pointer, shadow);
	vmx_secondary(SEC_SHADOWING);
	vmx_regs.rcx = FIELD_guest_rip;
}

static u64 in_shadow(u64 field)
{
	u64 value;

	check_equal(vmclear((u64)shadow), VM_SUCCEED, "VMCLEAR of the shadow");
	check_equal(vmptrld((u64)shadow), VM_SUCCEED, "VMPTRLD of the shadow");
	value = vmcs_read(field);
	check_equal(vmclear((u64)shadow), VM_SUCCEED, "VMCLEAR of the shadow");
	check_equal(vmptrld((u64)vmx_region), VM_SUCCEED, "VMPTRLD");
	return value;
}

static void comes_to(const u8 *code, const u8 *end, u64 flags, const char *name)
{
	if (vmx_check_plain(end, vmx_run_fixup(code, end), name)) {
		check_equal(vmx_trap.vector, NO_TRAP, "%s: no exception", name);
		check_equal(vmx_regs.r14 & 0x8d5, flags, "%s: flags", name);
	}
}
#define COMES_TO(label, flags) comes_to(label, label##_end, flags, #label)

static void set_bit(u8 *bitmap, u64 field)
{
	bitmap[field / 8] |= (u8)BIT(field % 8);
}

static void accesses(void)
{
	u64 real;

	fresh();
	real = get(guest_rip);
	COMES_TO(read_register, 0);
	check_equal(vmx_regs.rax, 0x1122334455667788, "VMREAD to a register");
	COMES_TO(read_memory, 0);
	check_equal(memory_operand, 0x1122334455667788, "VMREAD to memory");
	vmx_regs.rcx = FIELD_guest_cs_selector;
	COMES_TO(read_memory, 0);
	check_equal(memory_operand, 0xabcd, "VMREAD of 16 bits");
	vmx_regs.rcx = FIELD_guest_cs_selector;
	vmx_regs.rax = 0x12345678;
	COMES_TO(write_register, 0);
	vmx_regs.rcx = FIELD_guest_rsp;
	memory_operand = 0x9999aaaabbbbcccc;
	COMES_TO(write_memory, 0);
	/* a field that is read-only by its class */
	vmx_regs.rcx = FIELD_exit_qualification;
	vmx_regs.rax = 0x4321;
	COMES_TO(write_register, 0);
	COMES_TO(read_register, 0);
	check_equal(vmx_regs.rax, 0x4321, "written and read back");
	check_equal(in_shadow(FIELD_guest_cs_selector), 0x5678, "VMWRITE of 16 bits");
	check_equal(in_shadow(FIELD_guest_rsp), 0x9999aaaabbbbcccc, "VMWRITE from memory");
	check_equal(in_shadow(FIELD_exit_qualification), 0x4321, "VMWRITE of a read-only field");
	check_equal(get(guest_cs_selector), SEL_CODE64, "the ordinary VMCS has its own");
	check_equal(get(guest_rsp), vmx_stack_top, "in each field");
	check(get(guest_rip) != real, "(its RIP is the guest's)");
	/* high halves */
	vmx_regs.rcx = FIELD_msr_bitmap | 1;
	vmx_regs.rax = 0x1234;
	COMES_TO(write_register, 0);
	vmx_regs.rcx = FIELD_msr_bitmap;
	COMES_TO(read_register, 0);
	check_equal(vmx_regs.rax >> 32, 0x1234, "VMWRITE of a high half");
}

static void exits(const u8 *code, const u8 *end, u32 reason, const char *name)
{
	vmx_check_exit(code, end, vmx_run_at(code), reason, name);
}

static void bitmaps(void)
{
	fresh();
	set_bit(read_bitmap, FIELD_guest_rip);
	exits(plain_read, plain_read_end, VMX_EXIT_VMREAD, "VMREAD, bit set");
	vmx_regs.rax = 0x55;
	vmx_check_plain(plain_write_end, vmx_run_at(plain_write), "VMWRITE, its bit clear");
	vmx_regs.rcx = FIELD_guest_cs_selector;
	vmx_check_plain(plain_read_end, vmx_run_at(plain_read), "VMREAD of another field");
	fresh();
	set_bit(write_bitmap, FIELD_guest_rip);
	exits(plain_write, plain_write_end, VMX_EXIT_VMWRITE, "VMWRITE, bit set");
	vmx_check_plain(plain_read_end, vmx_run_at(plain_read), "VMREAD, its bit clear");
	/* a bit for each encoding, of fields that do not exist too: high halves, the last one */
	fresh();
	memset(read_bitmap, 0xff, PAGE);
	for (unsigned i = 0; i < 4; i++) {
		static const u16 encodings[] = { FIELD_msr_bitmap | 1, 0x7fff, 0, FIELD_host_rip };

		vmx_regs.rcx = encodings[i];
		exits(plain_read, plain_read_end, VMX_EXIT_VMREAD, "VMREAD, all bits set");
		read_bitmap[encodings[i] / 8] &= (u8)~BIT(encodings[i] % 8);
		vmx_check_plain(plain_read_end, vmx_run_at(plain_read),
			"VMREAD, all bits but its own");
	}
	/* bits 63:15 of the operand: always an exit */
	fresh();
	for (unsigned bit = 15; bit < 64; bit += 8) {
		vmx_regs.rcx = FIELD_guest_rip | BIT(bit);
		exits(plain_read, plain_read_end, VMX_EXIT_VMREAD,
			"VMREAD, a high bit of the operand");
		exits(plain_write, plain_write_end, VMX_EXIT_VMWRITE,
			"VMWRITE, a high bit of the operand");
	}
	/* without the control all exit */
	put(secondary_controls, get(secondary_controls) & ~SEC_SHADOWING);
	put(link_pointer, VMCS_NONE);
	vmx_regs.rcx = FIELD_guest_rip;
	exits(plain_read, plain_read_end, VMX_EXIT_VMREAD, "VMREAD, no shadowing");
	exits(plain_write, plain_write_end, VMX_EXIT_VMWRITE, "VMWRITE, no shadowing");
}

static void failures(void)
{
	/* no field: the error number is the shadow's */
	fresh();
	vmx_regs.rcx = 0x1000;
	COMES_TO(read_register, FLAG_ZF);
	check_equal(in_shadow(FIELD_instruction_error), VMX_ERROR_FIELD,
		"the error number of the shadow");
	COMES_TO(write_register, FLAG_ZF);
	vmx_regs.rcx = FIELD_guest_cs_selector | 1;
	COMES_TO(read_register, FLAG_ZF);
	/* no shadow VMCS */
	fresh();
	put(link_pointer, VMCS_NONE);
	COMES_TO(read_register, FLAG_CF);
	COMES_TO(write_register, FLAG_CF);
	vmx_regs.rcx = 0x1000;
	COMES_TO(read_register, FLAG_CF);
	/* the level comes after the exit and before the rest */
	fresh();
	vmx_user();
	RAISES(plain_read, VEC_GP);
	RAISES(plain_write, VEC_GP);
	set_bit(read_bitmap, FIELD_guest_rip);
	exits(plain_read, plain_read_end, VMX_EXIT_VMREAD, "VMREAD at CPL 3, bit set");
	/* memory operands fault */
	fresh();
	vmx_regs.rdi = 0x123456789000;
	RAISES(read_nowhere, VEC_PF);
	/* and the other instructions exit all the same */
	check_equal(vmx_run_at(plain_read_end), VMX_EXIT_VMCALL, "VMCALL under shadowing");
}

/* A region is memory like other memory: code in it that a guest's own VMREAD changes is new code. */
static void code_in_the_shadow(void)
{
	u8 *code = shadow + offsetof(struct vmcs, instruction_error) - 2;

	fresh();
	/* MOV of the error number to RAX; RET */
	memcpy(code, "\x48\xb8", 2);
	*(u64 *)(code + 2) = 0x77;
	code[10] = 0xc3;
	vmx_regs.rcx = 0x1000;
	vmx_regs.rdi = (u64)code;
	vmx_check_plain(call_twice_end, vmx_run_at(call_twice), "code in the shadow VMCS");
	check_equal(vmx_regs.rbx, 0x77, "its first run");
	check_equal(vmx_regs.rax, VMX_ERROR_FIELD, "and after VMREAD has failed");
}

/* 27.3.1.5: the link pointer must lead to a shadow VMCS just if shadowing is on. */
static void link_pointer(void)
{
	u32 failed = VMX_EXIT_INVALID_GUEST_STATE | (u32)EXIT_REASON_ENTRY_FAILURE;

	fresh();
	*(u32 *)shadow = vmx_revision();
	check_equal(vmx_run_at(plain_read), failed, "an ordinary VMCS at the link pointer");
	check_equal(get(exit_qualification), 4, "tells of the link pointer");
	put(secondary_controls, get(secondary_controls) & ~SEC_SHADOWING);
	check_equal(vmx_run_at(plain_read_end), VMX_EXIT_VMCALL,
		"which is right without shadowing");
	*(u32 *)shadow = vmx_revision() | (u32)VMCS_SHADOW;
	check_equal(vmx_run_at(plain_read_end), failed, "where a shadow VMCS is not");
	put(link_pointer, vmx_region);
	check_equal(vmx_run_at(plain_read_end), failed, "and the current VMCS never");
	put(link_pointer, (u64)shadow + 8);
	check_equal(vmx_run_at(plain_read_end), failed, "nor what is not aligned");
}

void guest_main(void)
{
	if (!vmx_setup() || !vmx_offers_secondary(SEC_SHADOWING, "VMCS shadowing"))
		return;
	shadow = guest_pages(1);
	read_bitmap = guest_pages(1);
	write_bitmap = guest_pages(1);
	*(u32 *)shadow = vmx_revision() | (u32)VMCS_SHADOW;
	accesses();
	bitmaps();
	failures();
	code_in_the_shadow();
	link_pointer();
}
