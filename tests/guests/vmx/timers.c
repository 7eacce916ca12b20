/* SPDX-License-Identifier: MIT */
/*
 * What ends a guest by itself or counts for it: the preemption timer, the monitor trap flag, TSC
 * offset and scaling. SDM3 25.6.5, 26.3, 26.5.1, 26.5.2, 27.7.4, 27.7.8.
 */
#include "vmx.h"

#define VEC_A 0x41

u64 counter;
u8 text[64];

CODE(nothing, "nop; nop");
CODE(endless, "1: incq counter; jmp 1b");
CODE(step_int, "int $0x41");
CODE(step_ud, "ud2");
CODE(step_movs, "rep movsb; nop");
CODE(step_movs_fault, "rep movsb");
CODE(step_sti, "sti; nop");
CODE(step_mov_ss, "mov %ss, %ecx; mov %ecx, %ss; nop");
CODE(step_cpuid, "cpuid");
CODE(step_branch, "jmp 1f; nop; 1: nop");
CODE(tsc_rdtsc, "rdtsc; shl $32, %rdx; or %rdx, %rax");
CODE(tsc_rdtscp, "rdtscp; shl $32, %rdx; or %rdx, %rax");
CODE(tsc_rdmsr, "movl $0x10, %ecx; rdmsr; shl $32, %rdx; or %rdx, %rax");

/* ---- the preemption timer ---- */

static void preemption_timer(void)
{
	/* zero: before the first instruction */
	vmx_fresh();
	vmx_pin(PIN_PREEMPTION_TIMER);
	check_equal(vmx_run_at(nothing), VMX_EXIT_PREEMPTION_TIMER, "timer at zero");
	check_equal(get(guest_rip), nothing, "no instruction ran");
	check_equal(get(exit_qualification), 0, "timer: qualification");
	check_equal(get(exit_interruption_info) & INTR_INFO_VALID, 0,
		"timer: interruption information");
	/* the value does nothing while the control is off */
	vmx_fresh();
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "no timer");
	/* it ends what would never end, and the value stays unless it is to be saved */
	vmx_fresh();
	vmx_pin(PIN_PREEMPTION_TIMER);
	put(preemption_timer, 5000);
	counter = 0;
	check_equal(vmx_run_at(endless), VMX_EXIT_PREEMPTION_TIMER, "timer in a loop");
	check(get(guest_rip) >= (u64)endless && get(guest_rip) < (u64)endless_end, "timer: RIP");
	check_equal(get(preemption_timer), 5000, "timer: the field stays");
	vmx_on_exit(EXIT_SAVE_PREEMPTION_TIMER);
	check_equal(vmx_run_at(endless), VMX_EXIT_PREEMPTION_TIMER, "timer in a loop, saved");
	check_equal(get(preemption_timer), 0, "timer: zero is saved");
	/* what is left at another exit */
	put(preemption_timer, 0xffffff00);
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "timer still running");
	check(get(preemption_timer) < 0xffffff00, "timer: it has counted");
	check(get(preemption_timer) > 0xf0000000, "timer: not too much");
	/* after an injection, before its handler's first instruction */
	vmx_fresh();
	vmx_pin(PIN_PREEMPTION_TIMER);
	put(entry_interruption_info, EVENT(INTR_HARDWARE_EXCEPTION, VEC_UD));
	check_equal(vmx_run_at(nothing), VMX_EXIT_PREEMPTION_TIMER, "timer and an injection");
	check_equal(get(guest_rip), guest_trap_entries + 16 * VEC_UD,
		"timer: the event was delivered");
	check_equal(get(idt_vectoring_info) & INTR_INFO_VALID, 0, "timer: nothing is on its way");
	/* before windows and interrupts */
	vmx_fresh();
	vmx_pin(PIN_PREEMPTION_TIMER);
	vmx_proc(PROC_INTERRUPT_WINDOW);
	put(guest_rflags, 2 | FLAG_IF);
	check_equal(vmx_run_at(nothing), VMX_EXIT_PREEMPTION_TIMER,
		"timer before an interrupt window");
}

/* ---- the monitor trap flag ---- */

static unsigned taken;

static void on_event(struct frame *frame)
{
	taken++;
}

static void step(const void *code, u64 rip, const char *name)
{
	if (!check_equal(vmx_run_at(code), VMX_EXIT_MONITOR_TRAP, "step: %s", name))
		return;
	check_equal(get(guest_rip), rip, "step: %s: RIP", name);
	check_equal(get(exit_qualification), 0, "step: %s: qualification", name);
	check_equal(get(idt_vectoring_info) & INTR_INFO_VALID, 0, "step: %s: IDT vectoring", name);
}

static void monitor_trap(void)
{
	u64 handler_a = (u64)(guest_trap_entries + 16 * VEC_A);
	u64 handler_ud = (u64)(guest_trap_entries + 16 * VEC_UD);
	u64 handler_pf = (u64)(guest_trap_entries + 16 * VEC_PF);

	vmx_fresh();
	vmx_proc(PROC_MONITOR_TRAP);
	step(nothing, (u64)nothing + 1, "NOP");
	check_equal(vmx_run(), VMX_EXIT_MONITOR_TRAP, "step: and on");
	check_equal(get(guest_rip), nothing + 2, "step: and on: RIP");
	step(step_branch, (u64)step_branch + 3, "a jump");
	step(step_int, handler_a, "INT n");
	step(step_ud, handler_ud, "a fault");
	step(step_sti, (u64)step_sti + 1, "STI");
	check_equal(get(guest_interruptibility), INTERRUPTIBILITY_STI, "step: in its shadow");
	put(guest_interruptibility, 0);
	put(guest_rflags, 2);
	step(step_mov_ss + 2, (u64)step_mov_ss + 4, "MOV SS");
	check_equal(get(guest_interruptibility), INTERRUPTIBILITY_MOV_SS,
		"step: in its shadow too");
	put(guest_interruptibility, 0);
	/* each iteration of a string instruction */
	vmx_regs.rsi = (u64)text;
	vmx_regs.rdi = (u64)text + 32;
	vmx_regs.rcx = 3;
	step(step_movs, (u64)step_movs, "REP MOVS");
	check_equal(vmx_regs.rcx, 2, "step: one iteration");
	step(step_movs, (u64)step_movs, "REP MOVS");
	step(step_movs, (u64)step_movs + 2, "the last iteration");
	check_equal(vmx_regs.rcx, 0, "step: all done");
	vmx_regs.rsi = 0x123456789000;
	vmx_regs.rcx = 3;
	step(step_movs_fault, handler_pf, "REP MOVS that faults");
	check_equal(vmx_regs.rcx, 3, "step: none done");
	/* an instruction that exits does that */
	check_equal(vmx_run_at(step_cpuid), VMX_EXIT_CPUID, "step: CPUID");
	/* after an injection, before the handler's first instruction */
	put(guest_rsp, vmx_stack_top);
	put(entry_interruption_info, EVENT(INTR_HARDWARE_EXCEPTION, VEC_UD));
	step(nothing, handler_ud, "an injection");
	/* an interrupt that comes first counts as the step */
	put(guest_rsp, vmx_stack_top);
	put(guest_rflags, 2 | FLAG_IF);
	apic_self(VEC_A);
	step(nothing, handler_a, "an interrupt");
	apic_eoi();
	/* TF's trap comes after it: it is pending */
	vmx_fresh();
	vmx_proc(PROC_MONITOR_TRAP);
	put(guest_rflags, 2 | FLAG_TF);
	step(nothing, (u64)nothing + 1, "TF");
	check_equal(get(guest_pending_debug) & PENDING_BS, PENDING_BS,
		"step: TF's trap is pending");
	/* pending by injection, whatever the control says */
	vmx_fresh();
	put(entry_interruption_info, EVENT(INTR_OTHER, 0));
	step(nothing, (u64)nothing, "injected");
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "once");
	/* and it wakes from HLT */
	put(guest_activity, ACTIVITY_HLT);
	put(entry_interruption_info, EVENT(INTR_OTHER, 0));
	step(nothing, (u64)nothing, "injected into HLT");
}

/* ---- the time-stamp counter ---- */

/* What a guest's reading must lie between, by the host's before and after. */
static void tsc(const void *code, u64 offset, u64 multiplier, bool scaled, const char *name)
{
	u64 before, after;

	before = rdtsc();
	check_equal(vmx_run_at(code), VMX_EXIT_VMCALL, "%s", name);
	after = rdtsc();
	if (scaled) {
		before = (u64)((unsigned __int128)before * multiplier >> 48);
		after = (u64)((unsigned __int128)after * multiplier >> 48);
	}
	/* differences, for an offset may lead around zero */
	check(vmx_regs.rax - (before + offset) <= after - before, "%s: between the host's readings",
		name);
}

static void time_stamps(void)
{
	static const u64 offsets[] = { 0, 1ull << 40, -(1ull << 44), BIT(63) };
	static const struct {
		const u8 *code;
		const char *name;
	} ways[] = { { tsc_rdtsc, "RDTSC" }, { tsc_rdtscp, "RDTSCP" }, { tsc_rdmsr, "RDMSR" } };

	for (unsigned w = 0; w < ARRAY_SIZE(ways); w++) {
		if (ways[w].code == tsc_rdtscp && !cpu_has(0x80000001, 3, 27))
			continue;
		for (unsigned o = 0; o < ARRAY_SIZE(offsets); o++) {
			vmx_fresh();
			vmx_proc(PROC_MSR_BITMAPS);
			vmx_secondary(SEC_RDTSCP);
			put(tsc_offset, offsets[o]);
			tsc(ways[w].code, 0, 0, false, ways[w].name);
			vmx_proc(PROC_TSC_OFFSETTING);
			tsc(ways[w].code, offsets[o], 0, false, ways[w].name);
			if (!vmx_offers_secondary(SEC_TSC_SCALING, "TSC scaling"))
				continue;
			vmx_secondary(SEC_TSC_SCALING);
			put(tsc_multiplier, 3ull << 47);
			tsc(ways[w].code, offsets[o], 3ull << 47, true, ways[w].name);
			put(tsc_multiplier, 1ull << 44);
			tsc(ways[w].code, offsets[o], 1ull << 44, true, ways[w].name);
			/* without an offset there is no scaling either: 26.3 */
			put(cpu_controls, get(cpu_controls) & ~PROC_TSC_OFFSETTING);
			tsc(ways[w].code, 0, 0, false, ways[w].name);
		}
	}
}

void guest_main(void)
{
	if (!vmx_setup())
		return;
	apic_enable();
	guest_set_handler(VEC_A, on_event);
	preemption_timer();
	monitor_trap();
	time_stamps();
}
