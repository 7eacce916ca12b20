/* SPDX-License-Identifier: MIT */
/*
 * Events into a guest and out of it: injection, external interrupts, NMIs and virtual NMIs,
 * windows, INIT, activity states, blocking by STI and MOV SS. SDM3 25.4.2, 26.2, 27.6, 27.7.
 */
#include "vmx.h"

#define VEC_A 0x41
#define VEC_B 0x52

CODE(nothing, "nop; nop");
CODE(sti_code, "sti; nop; nop; cli");
CODE(sti_vmcall, "sti");
CODE(sti_loop, "sti; 1: mov (%rbx), %ecx; cli; mov %rdx, %rbx; jmp 1b");
CODE(mov_ss_vmcall, "mov %ss, %eax; mov %eax, %ss");
CODE(self_ipi, "movl %ecx, (%rbx); nop; nop; nop; nop");
CODE(halt, "hlt; nop");
CODE(sti_halt, "sti; hlt; cli");
CODE(iret_insn, "iretq");
CODE(ud_insn, "ud2");

static unsigned taken[256], ordered;
static u8 order[8];
static u64 taken_rip[256], taken_error[256];
static bool in_guest_then;

static void on_event(struct frame *frame)
{
	taken[frame->vector]++;
	taken_rip[frame->vector] = frame->rip;
	taken_error[frame->vector] = frame->error;
	/* the guest runs on a stack of its own */
	in_guest_then = frame->rsp <= (u64)vmx_stack_top &&
			frame->rsp > (u64)vmx_stack_top - 8 * PAGE;
	if (ordered < ARRAY_SIZE(order))
		order[ordered++] = (u8)frame->vector;
}

static void on_interrupt(struct frame *frame)
{
	on_event(frame);
	apic_eoi();
}

static void fresh(void)
{
	vmx_fresh();
	memset(taken, 0, sizeof(taken));
	memset(taken_error, 0, sizeof(taken_error));
	ordered = 0;
	for (unsigned vector = 0; vector < 32; vector++)
		guest_set_handler(vector, NULL);
	guest_set_handler(VEC_NMI, on_event);
	guest_set_handler(VEC_A, on_interrupt);
	guest_set_handler(VEC_B, on_interrupt);
}

/* After an exit by an NMI the host is in its handler, so to speak, until it executes IRET. */
static void unblock_nmis(void)
{
	__asm__ volatile("movq %%rsp, %%rax\n\tpushq %0\n\tpushq %%rax\n\tpushfq\n\tpushq %1\n\t"
			 "pushq $1f\n\tiretq\n1:"
			 : : "i"(SEL_DATA), "i"(SEL_CODE64) : "rax", "memory", "cc");
}

/* Lets what is pending in, in the host. */
static void window(void)
{
	sti();
	__asm__ volatile("nop; nop");
	cli();
}

/* ---- injection, 27.6 ---- */

static void inject(u32 info, u32 error, u32 length)
{
	put(entry_interruption_info, info);
	put(entry_error_code, error);
	put(entry_instruction_length, length);
}

static void injection(void)
{
	static const struct {
		const char *name;
		u32 info, error, length;
		u64 rflags;
		u64 back; /* RIP of the frame, relative to the guest's */
	} rows[] = {
		{ "interrupt", EVENT(INTR_EXTERNAL, VEC_A), 0, 0, FLAG_IF, 0 },
		{ "NMI", EVENT(INTR_NMI, VEC_NMI), 0, 0, 0, 0 },
		{ "#UD", EVENT(INTR_HARDWARE_EXCEPTION, VEC_UD), 0, 0, 0, 0 },
		{ "#GP", EVENT_ERROR(INTR_HARDWARE_EXCEPTION, VEC_GP), 0x1238, 0, 0, 0 },
		{ "#PF", EVENT_ERROR(INTR_HARDWARE_EXCEPTION, VEC_PF), 6, 0, 0, 0 },
		{ "#DB", EVENT(INTR_HARDWARE_EXCEPTION, VEC_DB), 0, 0, 0, 0 },
		{ "#AC", EVENT_ERROR(INTR_HARDWARE_EXCEPTION, VEC_AC), 0, 0, 0, 0 },
		{ "INT n", EVENT(INTR_SOFTWARE, VEC_A), 0, 2, 0, 2 },
		{ "INT n, prefixed", EVENT(INTR_SOFTWARE, VEC_A), 0, 15, 0, 15 },
		{ "INT1", EVENT(INTR_PRIVILEGED_EXCEPTION, VEC_DB), 0, 1, 0, 1 },
		{ "INT3", EVENT(INTR_SOFTWARE_EXCEPTION, VEC_BP), 0, 1, 0, 1 },
		{ "INT3, no length", EVENT(INTR_SOFTWARE_EXCEPTION, VEC_BP), 0, 0, 0, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		u8 vector = rows[i].info & 0xff;
		const char *name = rows[i].name;
		u64 at = (u64)nothing - rows[i].back;

		fresh();
		guest_set_handler(vector, on_event);
		put(guest_rflags, 2 | rows[i].rflags);
		put(exception_bitmap, 0xffffffff);
		write_cr2(0x5555);
		write_dr6(0xffff0ff0);
		inject(rows[i].info, rows[i].error, rows[i].length);
		check_equal(vmx_run_at((void *)at), VMX_EXIT_VMCALL, "inject %s", name);
		check_equal(taken[vector], 1, "inject %s: taken", name);
		check(in_guest_then, "inject %s: in the guest", name);
		check_equal(taken_rip[vector], (u64)nothing, "inject %s: RIP of the frame", name);
		check_equal(taken_error[vector], rows[i].error, "inject %s: error code", name);
		check_equal(read_cr2(), 0x5555, "inject %s: CR2", name);
		check_equal(read_dr6() & 0xe00f, 0, "inject %s: DR6", name);
		check(!(get(entry_interruption_info) & INTR_INFO_VALID), "inject %s: used up",
			name);
		check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "inject %s: and again", name);
		check_equal(taken[vector], 1, "inject %s: once only", name);
	}
	/* what is not valid is not injected */
	fresh();
	inject(VEC_A, 0, 0);
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "inject nothing");
	check_equal(taken[VEC_A], 0, "nothing was injected");
	/* an interrupt goes first in what the guest sees, and masks IF for it */
	fresh();
	put(guest_activity, ACTIVITY_HLT);
	put(guest_rflags, 2 | FLAG_IF);
	inject(EVENT(INTR_EXTERNAL, VEC_A), 0, 0);
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "inject into HLT");
	check_equal(taken[VEC_A], 1, "which ends it");
	check_equal(get(guest_activity), ACTIVITY_ACTIVE, "active afterwards");
}

/* A fault while an injected event is delivered gives the event back. */
static void faulting_injection(void)
{
	static const struct {
		u32 info, error, length;
	} rows[] = {
		{ EVENT(INTR_EXTERNAL, VEC_A), 0, 0 },
		{ EVENT(INTR_NMI, VEC_NMI), 0, 0 },
		{ EVENT(INTR_HARDWARE_EXCEPTION, VEC_UD), 0, 0 },
		{ EVENT_ERROR(INTR_HARDWARE_EXCEPTION, VEC_GP), 0x50, 0 },
		{ EVENT(INTR_SOFTWARE, VEC_A), 0, 2 },
		{ EVENT(INTR_PRIVILEGED_EXCEPTION, VEC_DB), 0, 1 },
		{ EVENT(INTR_SOFTWARE_EXCEPTION, VEC_BP), 0, 1 },
		/* of no length, as IA32_VMX_MISC allows */
		{ EVENT(INTR_PRIVILEGED_EXCEPTION, VEC_DB), 0, 0 },
		{ EVENT(INTR_SOFTWARE_EXCEPTION, VEC_BP), 0, 0 },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		fresh();
		put(guest_rflags, 2 | FLAG_IF);
		put(guest_idtr_base, 0x3000000000); /* nothing is there */
		put(exception_bitmap, BIT(VEC_PF));
		inject(rows[i].info, rows[i].error, rows[i].length);
		check_equal(vmx_run_at(nothing), VMX_EXIT_EXCEPTION, "fault while injecting %u", i);
		check_equal(get(idt_vectoring_info), rows[i].info,
			"IDT vectoring is what was injected, %u", i);
		if (rows[i].info & INTR_INFO_ERROR)
			check_equal(get(idt_vectoring_error_code), rows[i].error, "error code, %u",
				i);
		if (INTR_INFO_TYPE(rows[i].info) >= INTR_SOFTWARE)
			check_equal(get(exit_instruction_length), rows[i].length, "length, %u", i);
		check_equal(get(exit_qualification), 0x3000000000 + 16 * (rows[i].info & 0xff),
			"where it faulted, %u", i);
		check_equal(get(guest_rip), nothing, "RIP, %u", i);
		check(!(get(entry_interruption_info) & INTR_INFO_VALID), "used up, %u", i);
	}
}

/* Into real mode: the IVT, frames of 16 bits. */
static void real_mode_injection(void)
{
	u16 *ivt = (u16 *)0x38000, *stack = (u16 *)0x37000;
	u8 *code = (u8 *)0x34000;

	if (!vmx_offers_secondary(SEC_UNRESTRICTED, "unrestricted guest"))
		return;
	fresh();
	vmx_ept();
	vmx_secondary(SEC_UNRESTRICTED);
	put(entry_controls, get(entry_controls) & ~ENTRY_IA32E);
	put(guest_cr0, CR0_NE);
	put(guest_cr4, CR4_VMXE);
	put(guest_cr3, 0);
	for (unsigned i = 0; i < 6; i++) { /* ES, CS, SS, DS, FS, GS */
		vmcs_write(FIELD_guest_es_selector + 2 * i, 0x3000);
		vmcs_write(FIELD_guest_es_base + 2 * i, 0x30000);
		vmcs_write(FIELD_guest_es_limit + 2 * i, 0xffff);
		vmcs_write(FIELD_guest_es_rights + 2 * i, i == 1 ? 0x9b : 0x93);
	}
	put(guest_idtr_base, ivt);
	put(guest_idtr_limit, 0x3ff);
	ivt[2 * VEC_A] = 0x4800;
	ivt[2 * VEC_A + 1] = 0x3000;
	memset(code, 0x90, 0x10);
	memcpy(code + 0x800, "\x0f\x01\xc1", 3); /* VMCALL */
	put(guest_rsp, 0x7000);
	put(guest_rflags, 2 | FLAG_IF);
	inject(EVENT(INTR_SOFTWARE, VEC_A), 0, 2);
	check_equal(vmx_run_at((void *)0x4000), VMX_EXIT_VMCALL, "inject INT n into real mode");
	check_equal(get(guest_rip), 0x4800, "real mode: the handler");
	check_equal(get(guest_cs_selector), 0x3000, "real mode: CS");
	check_equal(stack[-3], 0x4002, "real mode: IP of the frame");
	check_equal(stack[-2], 0x3000, "real mode: CS of the frame");
	check_equal(stack[-1] & FLAG_IF, FLAG_IF, "real mode: FLAGS of the frame");
	check_equal(get(guest_rsp), 0x7000 - 6, "real mode: SP");
}

/* ---- external interrupts, 26.2 ---- */

static void interrupts(void)
{
	/* no exit: the guest takes it, when its IF says so */
	fresh();
	apic_self(VEC_A);
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "interrupt, IF clear");
	check_equal(taken[VEC_A], 0, "it waits");
	check_equal(vmx_run_at(sti_code), VMX_EXIT_VMCALL, "interrupt, STI");
	check_equal(taken[VEC_A], 1, "the guest takes it");
	check(in_guest_then, "in the guest");
	check_equal(taken_rip[VEC_A], sti_code + 2, "after the shadow of STI");
	/* exit: IF does not count, and it stays pending */
	fresh();
	vmx_pin(PIN_EXTERNAL_INTERRUPT);
	apic_self(VEC_A);
	check_equal(vmx_run_at(nothing), VMX_EXIT_EXTERNAL_INTERRUPT, "interrupt exits, IF clear");
	check_equal(get(guest_rip), nothing, "before the first instruction");
	check(!(get(exit_interruption_info) & INTR_INFO_VALID), "not acknowledged");
	check_equal(get(exit_qualification), 0, "interrupt: qualification");
	window();
	check_equal(taken[VEC_A], 1, "the host takes it");
	check(!in_guest_then, "in the host");
	/* with acknowledgment it is the exit's */
	fresh();
	vmx_pin(PIN_EXTERNAL_INTERRUPT);
	vmx_on_exit(EXIT_ACKNOWLEDGE);
	apic_self(VEC_B);
	check_equal(vmx_run_at(sti_code), VMX_EXIT_EXTERNAL_INTERRUPT,
		"interrupt exits, acknowledged");
	check_equal(get(exit_interruption_info), EVENT(INTR_EXTERNAL, VEC_B), "its vector");
	check_equal(apic_read(0x100 + (VEC_B >> 5) * 16) >> (VEC_B & 31) & 1, 1,
		"it is in service");
	window();
	check_equal(taken[VEC_B], 0, "and not pending");
	apic_eoi();
	/* one that arrives while the guest runs */
	fresh();
	vmx_pin(PIN_EXTERNAL_INTERRUPT);
	vmx_regs.rbx = APIC_BASE + 0x300;
	vmx_regs.rcx = 0x44000 | VEC_A;
	check_equal(vmx_run_at(self_ipi), VMX_EXIT_EXTERNAL_INTERRUPT,
		"interrupt that the guest sends");
	check(get(guest_rip) > (u64)self_ipi, "after the IPI");
	window();
	/* and one that ends a HLT */
	fresh();
	vmx_pin(PIN_EXTERNAL_INTERRUPT);
	put(guest_activity, ACTIVITY_HLT);
	apic_self(VEC_A);
	check_equal(vmx_run_at(nothing), VMX_EXIT_EXTERNAL_INTERRUPT, "interrupt in HLT");
	check_equal(get(guest_activity), ACTIVITY_HLT, "HLT is where it was");
	window();
}

/* Activity states other than active, 25.4.2, 27.7.2. */
static void activity(void)
{
	fresh();
	put(guest_activity, ACTIVITY_HLT);
	put(guest_rflags, 2 | FLAG_IF);
	apic_self(VEC_A);
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "HLT ends by an interrupt");
	check_equal(taken[VEC_A], 1, "which is taken");
	check_equal(taken_rip[VEC_A], nothing, "first");
	/* HLT of the guest's own, saved */
	fresh();
	vmx_pin(PIN_PREEMPTION_TIMER);
	/* long enough for the guest to come to its HLT */
	for (u64 left = 10000; left < BIT(31); left *= 4) {
		put(preemption_timer, left);
		check_equal(vmx_run_at(halt), VMX_EXIT_PREEMPTION_TIMER, "HLT ends by the timer");
		if (get(guest_rip) != (u64)halt)
			break;
	}
	check_equal(get(guest_activity), ACTIVITY_HLT, "HLT is saved");
	check_equal(get(guest_rip), halt + 1, "RIP behind HLT");
	/* shutdown: an NMI exit or INIT ends it, an interrupt does not */
	fresh();
	vmx_pin(PIN_EXTERNAL_INTERRUPT | PIN_NMI);
	put(guest_activity, ACTIVITY_SHUTDOWN);
	apic_self(VEC_A);
	apic_self(VEC_NMI);
	check_equal(taken[VEC_NMI], 1, "(the NMI is the host's)");
	vmx_pin(PIN_PREEMPTION_TIMER);
	put(preemption_timer, 1000);
	check_equal(vmx_run_at(nothing), VMX_EXIT_PREEMPTION_TIMER,
		"shutdown heeds the timer alone");
	check_equal(get(guest_activity), ACTIVITY_SHUTDOWN, "shutdown is saved");
	window();
}

/* INIT is blocked in root operation and exits from a guest: 24.8, 26.2. */
static void init(void)
{
	fresh();
	apic_init_self();
	__asm__ volatile("nop; nop");
	check(true, "INIT waits in root operation");
	check_equal(vmx_run_at(nothing), VMX_EXIT_INIT, "INIT");
	check_equal(get(guest_rip), nothing, "INIT: no instruction ran");
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "INIT is over");
}

/* ---- NMIs ---- */

static void nmis(void)
{
	/* without NMI exiting the guest takes it, and is then blocked by it */
	fresh();
	vmx_regs.rbx = APIC_BASE + 0x300;
	vmx_regs.rcx = 0x4400;
	apic_write(0x310, apic_read(0x20));
	check_equal(vmx_run_at(self_ipi), VMX_EXIT_VMCALL, "NMI, no exit");
	check_equal(taken[VEC_NMI], 1, "NMI: taken");
	check(in_guest_then, "NMI: in the guest");
	/* with it */
	fresh();
	vmx_pin(PIN_NMI);
	vmx_regs.rbx = APIC_BASE + 0x300;
	vmx_regs.rcx = 0x4400;
	check_equal(vmx_run_at(self_ipi), VMX_EXIT_EXCEPTION, "NMI exits");
	check_equal(get(exit_interruption_info), EVENT(INTR_NMI, VEC_NMI), "NMI it is");
	check_equal(get(idt_vectoring_info) & INTR_INFO_VALID, 0, "NMI: IDT vectoring");
	check_equal(taken[VEC_NMI], 0, "NMI: not taken");
	/* which has begun it: the next one waits for IRET */
	apic_self(VEC_NMI);
	check_equal(taken[VEC_NMI], 0, "NMIs are blocked after the exit");
	unblock_nmis();
	check_equal(taken[VEC_NMI], 1, "until IRET");
	/* the guest's blocking is loaded and saved */
	fresh();
	put(guest_interruptibility, INTERRUPTIBILITY_NMI);
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "NMIs blocked in the guest");
	check_equal(get(guest_interruptibility), INTERRUPTIBILITY_NMI, "and saved");
	unblock_nmis();
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "and again");
	unblock_nmis();
}

static u64 iret_frame[5];

static void prepare_iret(u64 to)
{
	iret_frame[0] = to;
	iret_frame[1] = SEL_CODE64;
	iret_frame[2] = 2;
	iret_frame[3] = (u64)vmx_stack_top;
	iret_frame[4] = SEL_DATA;
	put(guest_rsp, iret_frame);
}

static void virtual_nmis(void)
{
	/* an NMI that is injected blocks virtual NMIs until IRET */
	fresh();
	vmx_pin(PIN_NMI | PIN_VIRTUAL_NMIS);
	put(entry_interruption_info, EVENT(INTR_NMI, VEC_NMI));
	guest_set_handler(VEC_NMI, NULL);
	guest_set_gate(VEC_NMI, nothing_end, SEL_CODE64, 0x8e, 0);
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "virtual NMI");
	check_equal(get(guest_interruptibility), INTERRUPTIBILITY_NMI, "blocks virtual NMIs");
	guest_set_gate(VEC_NMI, guest_trap_entries + 16 * VEC_NMI, SEL_CODE64, 0x8e, 0);
	guest_set_handler(VEC_NMI, on_event);
	/* but not the real ones */
	apic_self(VEC_NMI);
	check_equal(taken[VEC_NMI], 1, "no NMI is blocked in the host");
	prepare_iret((u64)iret_insn_end);
	check_equal(vmx_run_at(iret_insn), VMX_EXIT_VMCALL, "IRET");
	check_equal(get(guest_interruptibility), 0, "unblocks them");

	/* the window */
	fresh();
	vmx_pin(PIN_NMI | PIN_VIRTUAL_NMIS);
	vmx_proc(PROC_NMI_WINDOW);
	check_equal(vmx_run_at(nothing), VMX_EXIT_NMI_WINDOW, "NMI window");
	check_equal(get(guest_rip), nothing, "NMI window: at once");
	check_equal(get(exit_qualification), 0, "NMI window: qualification");
	put(guest_interruptibility, INTERRUPTIBILITY_NMI);
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "no NMI window while they are blocked");
	prepare_iret((u64)nothing);
	check_equal(vmx_run_at(iret_insn), VMX_EXIT_NMI_WINDOW, "NMI window by IRET");
	check_equal(get(guest_rip), nothing, "NMI window: after IRET");
	put(guest_interruptibility, INTERRUPTIBILITY_MOV_SS);
	check_equal(vmx_run_at(nothing), VMX_EXIT_NMI_WINDOW, "NMI window after MOV SS");
	check_equal(get(guest_rip), nothing + 1, "NMI window: one instruction later");
	put(guest_interruptibility, 0);
	put(guest_activity, ACTIVITY_HLT);
	check_equal(vmx_run_at(nothing), VMX_EXIT_NMI_WINDOW, "NMI window in HLT");

	/* IRET that faults has unblocked them all the same, and the exit says so: 28.2.3 */
	fresh();
	vmx_pin(PIN_NMI | PIN_VIRTUAL_NMIS);
	put(guest_interruptibility, INTERRUPTIBILITY_NMI);
	put(exception_bitmap, BIT(VEC_GP));
	prepare_iret((u64)nothing);
	iret_frame[1] = 0xfff8;
	check_equal(vmx_run_at(iret_insn), VMX_EXIT_EXCEPTION, "IRET that faults");
	check_equal(get(exit_interruption_info),
		EVENT_ERROR(INTR_HARDWARE_EXCEPTION, VEC_GP) | INTR_INFO_NMI_UNBLOCKED,
		"tells that NMIs are unblocked");
	check_equal(get(guest_interruptibility), 0, "and they are");
	put(exception_bitmap, BIT(VEC_UD));
	check_equal(vmx_run_at(ud_insn), VMX_EXIT_EXCEPTION, "another fault");
	check_equal(get(exit_interruption_info), EVENT(INTR_HARDWARE_EXCEPTION, VEC_UD),
		"does not say so");
}

/* ---- interrupt window ---- */

static void interrupt_window(void)
{
	fresh();
	vmx_proc(PROC_INTERRUPT_WINDOW);
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "no interrupt window, IF clear");
	check_equal(vmx_run_at(sti_code), VMX_EXIT_INTERRUPT_WINDOW, "interrupt window, STI");
	check_equal(get(guest_rip), sti_code + 2, "after the shadow of STI");
	check_equal(get(exit_qualification), 0, "interrupt window: qualification");
	check_equal(get(guest_interruptibility), 0, "interrupt window: interruptibility");
	put(guest_rflags, 2 | FLAG_IF);
	check_equal(vmx_run_at(nothing), VMX_EXIT_INTERRUPT_WINDOW,
		"interrupt window at the entry");
	check_equal(get(guest_rip), nothing, "at once");
	for (unsigned blocking = INTERRUPTIBILITY_STI; blocking <= INTERRUPTIBILITY_MOV_SS;
		blocking++) {
		put(guest_interruptibility, blocking);
		check_equal(vmx_run_at(nothing), VMX_EXIT_INTERRUPT_WINDOW,
			"interrupt window, blocked");
		check_equal(get(guest_rip), nothing + 1, "one instruction later, %u", blocking);
	}
	put(guest_interruptibility, 0);
	put(guest_activity, ACTIVITY_HLT);
	check_equal(vmx_run_at(nothing), VMX_EXIT_INTERRUPT_WINDOW, "interrupt window in HLT");
	put(guest_activity, ACTIVITY_ACTIVE);
	check_equal(vmx_run_at(sti_halt), VMX_EXIT_INTERRUPT_WINDOW,
		"interrupt window after STI, HLT");
	/* it comes before an interrupt, and after an injection */
	fresh();
	vmx_proc(PROC_INTERRUPT_WINDOW);
	vmx_pin(PIN_EXTERNAL_INTERRUPT);
	put(guest_rflags, 2 | FLAG_IF);
	apic_self(VEC_A);
	check_equal(vmx_run_at(nothing), VMX_EXIT_INTERRUPT_WINDOW,
		"interrupt window before interrupts");
	window();
	fresh();
	vmx_proc(PROC_INTERRUPT_WINDOW);
	put(guest_rflags, 2 | FLAG_IF);
	put(entry_interruption_info, EVENT(INTR_EXTERNAL, VEC_B));
	guest_set_handler(VEC_B, on_event);
	check_equal(vmx_run_at(nothing), VMX_EXIT_INTERRUPT_WINDOW, "injection, then a window");
	check_equal(taken[VEC_B], 1, "the handler ran first");
	check_equal(get(guest_rip), nothing, "then the window");
}

/* ---- blocking ---- */

static void blocking(void)
{
	fresh();
	check_equal(vmx_run_at(sti_vmcall), VMX_EXIT_VMCALL, "exit in the shadow of STI");
	check_equal(get(guest_interruptibility), INTERRUPTIBILITY_STI, "STI: saved");
	put(guest_rflags, 2);
	put(guest_interruptibility, 0);
	check_equal(vmx_run_at(mov_ss_vmcall), VMX_EXIT_VMCALL, "exit in the shadow of MOV SS");
	check_equal(get(guest_interruptibility), INTERRUPTIBILITY_MOV_SS, "MOV SS: saved");
	put(guest_interruptibility, 0);
	check_equal(vmx_run_at(sti_code), VMX_EXIT_VMCALL, "exit behind the shadow");
	check_equal(get(guest_interruptibility), 0, "no shadow is saved");
	/* STI with IF set casts none */
	put(guest_rflags, 2 | FLAG_IF);
	check_equal(vmx_run_at(sti_vmcall), VMX_EXIT_VMCALL, "STI, IF set before");
	check_equal(get(guest_interruptibility), 0, "no shadow");
	/* nor one that a loop comes back to with IF clear, which no entry would take: 27.3.1.5 */
	fresh();
	put(exception_bitmap, BIT(VEC_GP));
	vmx_regs.rbx = (u64)nothing;
	vmx_regs.rdx = BIT(63);
	check_equal(vmx_run_at(sti_loop), VMX_EXIT_EXCEPTION, "a fault in the loop's second round");
	check_equal(get(guest_rip), sti_loop + 1, "where the shadow of STI was");
	check_equal(get(guest_interruptibility), 0, "STI's shadow has passed");
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "what was saved can be entered");
	/* loaded: an interrupt waits one instruction */
	for (unsigned by = INTERRUPTIBILITY_STI; by <= INTERRUPTIBILITY_MOV_SS; by++) {
		fresh();
		put(guest_rflags, 2 | FLAG_IF);
		put(guest_interruptibility, by);
		apic_self(VEC_A);
		check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "blocked by %u", by);
		check_equal(taken_rip[VEC_A], nothing + 1, "interrupt one instruction late, %u",
			by);
	}
	/* the host starts without */
	fresh();
	apic_self(VEC_A);
	check_equal(vmx_run_at(mov_ss_vmcall), VMX_EXIT_VMCALL, "MOV SS");
	window();
	check_equal(taken[VEC_A], 1, "the host has no shadow");
}

/* ---- pending debug exceptions, 25.4.2, 27.7.3 ---- */

#define PENDING_BS_BIT BIT(14)

static void pending_debug(void)
{
	/* raised before the first instruction, with what they say in DR6 */
	fresh();
	guest_set_handler(VEC_DB, on_event);
	write_dr6(0xffff0ff0);
	put(guest_rflags, 2);
	put(guest_pending_debug, BIT(1) | PENDING_ENABLED_BREAKPOINT);
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "pending breakpoint");
	check_equal(taken[VEC_DB], 1, "is raised");
	check_equal(taken_rip[VEC_DB], nothing, "before the first instruction");
	check_equal(read_dr6() & 0xe00f, BIT(1), "and is in DR6");
	/* not after MOV SS: an instruction later */
	fresh();
	guest_set_handler(VEC_DB, on_event);
	write_dr6(0xffff0ff0);
	put(guest_interruptibility, INTERRUPTIBILITY_MOV_SS);
	put(guest_pending_debug, BIT(2) | PENDING_ENABLED_BREAKPOINT);
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "pending breakpoint after MOV SS");
	check_equal(taken_rip[VEC_DB], nothing + 1, "an instruction later");
	/* gone where such an event is injected: the handler's first instruction sees none */
	fresh();
	guest_set_handler(VEC_DB, on_event);
	guest_set_handler(VEC_UD, on_event);
	put(guest_pending_debug, BIT(1) | PENDING_ENABLED_BREAKPOINT);
	put(entry_interruption_info, EVENT(INTR_HARDWARE_EXCEPTION, VEC_UD));
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "pending breakpoint, #UD injected");
	check_equal(taken[VEC_UD], 1, "#UD is taken");
	check_equal(taken[VEC_DB], 0, "the breakpoint is lost");
	/* it exits like any #DB */
	fresh();
	put(exception_bitmap, BIT(VEC_DB));
	put(guest_pending_debug, BIT(3) | PENDING_ENABLED_BREAKPOINT);
	check_equal(vmx_run_at(nothing), VMX_EXIT_EXCEPTION, "pending breakpoint exits");
	check_equal(get(exit_qualification), BIT(3), "with its qualification");
	check_equal(get(guest_pending_debug), 0, "and is pending no more");
	/* an exit that comes first saves them */
	fresh();
	put(guest_rflags, 2 | FLAG_TF);
	put(exception_bitmap, BIT(VEC_DB));
	check_equal(vmx_run_at(mov_ss_vmcall), VMX_EXIT_EXCEPTION, "TF: the first instruction");
	fresh();
	put(guest_rflags, 2 | FLAG_TF);
	put(guest_interruptibility, INTERRUPTIBILITY_MOV_SS);
	put(guest_pending_debug, PENDING_BS_BIT);
	check_equal(vmx_run_at(nothing_end), VMX_EXIT_VMCALL, "VMCALL after MOV SS under TF");
	check_equal(get(guest_pending_debug) & PENDING_BS_BIT, PENDING_BS_BIT,
		"the step is still pending");
	put(guest_interruptibility, 0);
	put(exception_bitmap, BIT(VEC_DB));
	check_equal(vmx_run_at(nothing), VMX_EXIT_EXCEPTION, "and comes with the next entry");
	check_equal(get(guest_rip), nothing, "before its first instruction");
	check_equal(get(exit_qualification), PENDING_BS_BIT, "as a single step");
}

void guest_main(void)
{
	if (!vmx_setup())
		return;
	apic_enable();
	injection();
	faulting_injection();
	real_mode_injection();
	interrupts();
	activity();
	init();
	nmis();
	virtual_nmis();
	interrupt_window();
	blocking();
	pending_debug();
}
