/* SPDX-License-Identifier: MIT */
/*
 * Task switches of a 32-bit guest: each way there is to one exits, with nothing of it done, unless
 * the descriptors say no before. SDM3 26.4.2, 28.2.1, 28.2.4.
 */
#include "vmx.h"

#define SEL_FIRST 0x1c0  /* the task that the guest runs in */
#define SEL_SECOND 0x1c8
#define SEL_ABSENT 0x1d0
#define VECTOR 0x50

#define CODE32(name, text) CODE(name, ".code32; " text "; .code64")
CODE32(jump_task, "ljmp $0x1c8, $0");
CODE32(jump_gate, "ljmp $0x1d8, $0");
CODE32(call_task, "lcall $0x1c8, $0");
CODE32(int_task, "int $0x50");
CODE32(fault_task, "movl $0xfff8, %ebp; fault_here: mov %ebp, %fs");
CODE32(return_task, "iret");
CODE32(jump_absent, "ljmp $0x1d0, $0");
CODE32(jump_busy, "ljmp $0x1c0, $0");
CODE32(nothing, "nop");
extern u8 fault_here[];

struct tss32 {
	u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp,
		esi,
		edi, es, cs, ss, ds, fs, gs, ldt, trap_iomap;
};

static struct tss32 *first, *second;
static u64 *idt, *pdpt;

static u64 tss_descriptor(const void *tss, u64 access)
{
	u64 base = (u64)tss;

	return 103 | (base & 0xffffff) << 16 | access << 40 | (base >> 24) << 56;
}

static void prepare(void)
{
	vmx_fresh();
	*first = (struct tss32){ .trap_iomap = 104u << 16, .link = SEL_SECOND };
	*second = (struct tss32){ .eip = (u32)(u64)nothing, .eflags = 2, .esp = (u32)(u64)vmx_stack_top,
		.cs = SEL_CODE32, .ss = SEL_DATA32, .ds = SEL_DATA32, .es = SEL_DATA32,
		.trap_iomap = 104u << 16 };
	guest_gdt[SEL_FIRST / 8] = tss_descriptor(first, 0x8b);
	guest_gdt[SEL_SECOND / 8] = tss_descriptor(second, 0x89);
	guest_gdt[SEL_ABSENT / 8] = tss_descriptor(second, 0x09);
	guest_gdt[0x1d8 / 8] = (u64)SEL_SECOND << 16 | 0x85ull << 40; /* a task gate */
	idt[VECTOR] = idt[VEC_GP] = (u64)SEL_SECOND << 16 | 0x85ull << 40;
	put(entry_controls, get(entry_controls) & ~ENTRY_IA32E);
	put(guest_cr3, pdpt);
	put(guest_cs_selector, SEL_CODE32);
	put(guest_cs_rights, 0xc09b);
	put(guest_tr_selector, SEL_FIRST);
	put(guest_tr_base, first);
	put(guest_idtr_base, idt);
	put(guest_idtr_limit, 0x7ff);
}

enum { BY_CALL, BY_IRET, BY_JUMP, BY_GATE };

static void switches(const void *code, u64 rip, unsigned source, u32 vectoring, unsigned length,
	const char *name)
{
	struct tss32 before = *first;

	if (!check_equal(vmx_run_at(code), VMX_EXIT_TASK_SWITCH, "%s", name))
		return;
	check_equal(get(exit_qualification), SEL_SECOND | (u64)source << 30, "%s: qualification",
		name);
	check_equal(get(guest_rip), rip, "%s: RIP", name);
	check_equal(get(idt_vectoring_info) & (vectoring ? ~0ull : INTR_INFO_VALID), vectoring,
		"%s: IDT vectoring", name);
	if (length)
		check_equal(get(exit_instruction_length), length, "%s: length", name);
	check_equal(get(guest_tr_selector), SEL_FIRST, "%s: TR stays", name);
	check(!memcmp(&before, first, sizeof(before)), "%s: the TSS stays", name);
	check_equal(guest_gdt[SEL_SECOND / 8] >> 40 & 0xff, 0x89, "%s: the new task is not busy",
		name);
	check_equal(guest_gdt[SEL_FIRST / 8] >> 40 & 0xff, 0x8b, "%s: the old one is", name);
}

static void by_instructions(void)
{
	prepare();
	switches(jump_task, (u64)jump_task, BY_JUMP, 0, 7, "JMP to a TSS");
	prepare();
	switches(jump_gate, (u64)jump_gate, BY_JUMP, 0, 7, "JMP to a task gate");
	prepare();
	switches(call_task, (u64)call_task, BY_CALL, 0, 7, "CALL to a TSS");
	prepare();
	guest_gdt[SEL_SECOND / 8] |= 2ull << 40; /* busy, as what IRET goes back to must be */
	put(guest_rflags, 2 | FLAG_NT);
	check_equal(vmx_run_at(return_task), VMX_EXIT_TASK_SWITCH, "IRET with NT");
	check_equal(get(exit_qualification), SEL_SECOND | BY_IRET << 30, "IRET: qualification");
	check_equal(get(guest_rip), return_task, "IRET: RIP");
	check_equal(get(exit_instruction_length), 1, "IRET: length");
	check(get(guest_rflags) & FLAG_NT, "IRET: NT stays");
}

static void by_events(void)
{
	prepare();
	switches(int_task, (u64)int_task, BY_GATE, EVENT(INTR_SOFTWARE, VECTOR), 2,
		"INT n through a task gate");
	prepare();
	switches(fault_task, (u64)fault_here, BY_GATE, EVENT_ERROR(INTR_HARDWARE_EXCEPTION, VEC_GP),
		0,
		"#GP through a task gate");
	check_equal(get(idt_vectoring_error_code), 0xfff8, "#GP: error code");
	/* injected */
	prepare();
	put(guest_rflags, 2 | FLAG_IF);
	put(entry_interruption_info, EVENT(INTR_EXTERNAL, VECTOR));
	switches(nothing, (u64)nothing, BY_GATE, EVENT(INTR_EXTERNAL, VECTOR), 0,
		"an injected interrupt");
	prepare();
	put(entry_interruption_info, EVENT(INTR_SOFTWARE, VECTOR));
	put(entry_instruction_length, 3);
	switches(nothing, (u64)nothing, BY_GATE, EVENT(INTR_SOFTWARE, VECTOR), 3,
		"an injected INT n");
	/* the exception bitmap is asked first */
	prepare();
	put(exception_bitmap, BIT(VEC_GP));
	check_equal(vmx_run_at(fault_task), VMX_EXIT_EXCEPTION, "#GP that exits");
}

/* The gate and the descriptor of the TSS are looked at before. */
static void refused(void)
{
	prepare();
	put(exception_bitmap, BIT(VEC_NP) | BIT(VEC_GP));
	check_equal(vmx_run_at(jump_absent), VMX_EXIT_EXCEPTION, "JMP to an absent TSS");
	check_equal(get(exit_interruption_info), EVENT_ERROR(INTR_HARDWARE_EXCEPTION, VEC_NP),
		"is #NP");
	check_equal(get(exit_error_code), SEL_ABSENT, "its selector");
	prepare();
	put(exception_bitmap, BIT(VEC_GP));
	check_equal(vmx_run_at(jump_busy), VMX_EXIT_EXCEPTION, "JMP to a busy TSS");
	check_equal(get(exit_interruption_info), EVENT_ERROR(INTR_HARDWARE_EXCEPTION, VEC_GP),
		"is #GP");
	check_equal(get(exit_error_code), SEL_FIRST, "its selector");
}

void guest_main(void)
{
	if (!vmx_setup())
		return;
	first = guest_pages(1);
	second = guest_pages(1);
	idt = guest_pages(1);
	pdpt = guest_pages(1);
	for (unsigned i = 0; i < 4; i++)
		pdpt[i] = (u64)(guest_pd + 512 * i) | PTE_P;
	by_instructions();
	by_events();
	refused();
}
