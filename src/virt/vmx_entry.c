// SPDX-License-Identifier: MIT
/*
 * VM exits and VM entries in the manual's order: SDM3 chapters 27 and 28. What they check stands in
 * vmx_check.c and vmx_check_guest.c, the state that they move in vmx_state.c.
 */
#include "base/log.h"
#include "cpu/handlers.h"
#include "virt/vmx.h"

const char *vmx_exit_name(unsigned reason)
{
	switch (reason) {
#define X(number, name) \
	case number: \
		return #name;
		VMX_EXITS(X)
#undef X
	}
	return NULL;
}

/* ---- traces ---- */

#define LL(value) ((unsigned long long)(value))

static void trace_entry(struct cpu *cpu)
{
	const struct vmx *vmx = vmx_of(cpu);
	const struct vmcs *v = &vmx->vmcs;

	cpu_park_fpu(cpu);
	trace_print(TRACE_vmx,
		"entry vmcs %llx rip %llx rsp %llx cr0 %llx cr3 %llx cr4 %llx efer %llx rflags %llx "
		"pin %llx proc %llx %llx vpid %llx eptp %llx inject %llx", LL(vmx->current_pa),
		LL(v->guest_rip), LL(v->guest_rsp), LL(v->guest_cr0), LL(v->guest_cr3),
		LL(v->guest_cr4), LL(v->guest_efer), LL(v->guest_rflags), LL(v->pin_controls),
		LL(v->cpu_controls), LL(v->secondary_controls), LL(v->vpid), LL(v->eptp),
		LL(v->entry_interruption_info));
}

static void trace_exit(struct cpu *cpu)
{
	const struct vmcs *v = &vmx_of(cpu)->vmcs;
	const char *name = vmx_exit_name((u16)v->exit_reason);

	cpu_park_fpu(cpu);
	trace_print(TRACE_vmx,
		"exit %s (%llx) qualification %llx info %llx vectoring %llx gpa %llx rip %llx len %llx",
		name ? name : "?", LL(v->exit_reason), LL(v->exit_qualification),
		LL(v->exit_interruption_info), LL(v->idt_vectoring_info),
		LL(v->guest_physical_address), LL(v->guest_rip), LL(v->exit_instruction_length));
}

/* ---- the way out ---- */

void vmx_abort(struct cpu *cpu, enum vmx_abort why)
{
	struct vmx *vmx = vmx_of(cpu);

	if (trace_on(TRACE_vmx)) {
		cpu_park_fpu(cpu);
		trace_print(TRACE_vmx, "VMX abort %u", why);
	}
	vmx->vmcs.abort = why;
	vmx_store_region(cpu);
	/* a guest that could not leave is none any more: neither its events nor its exits */
	cpu->event.valid = false;
	if (cpu->in_guest) {
		cpu_leave_guest_tsc(cpu);
		vmx_leave_world(cpu);
	}
	cpu->activity = CPU_SHUTDOWN;
	__atomic_store_n(&cpu->exit_request, 1, __ATOMIC_RELAXED);
}

/* Host state as every exit and every failed entry loads it: SDM3 28.5, 28.6. */
static void back_to_host(struct cpu *cpu)
{
	const struct vmcs *v = &vmx_of(cpu)->vmcs;

	if (!vmx_load_host(cpu))
		vmx_abort(cpu, VMX_ABORT_HOST_PDPTE);
	else if (vmx_load_msrs(cpu, v->exit_msr_load_address, v->exit_msr_load_count))
		vmx_abort(cpu, VMX_ABORT_LOAD_MSR);
}

static void count_exit(struct cpu *cpu)
{
	unsigned reason = (u16)vmx_of(cpu)->vmcs.exit_reason;

	cpu->stats.exits[1][MIN(reason, STAT_EXIT_REASONS - 1)]++;
	if (trace_on(TRACE_vmx))
		trace_exit(cpu);
}

/* SDM3 28.1: what happened, the guest's state, its MSRs, the host's state, its MSRs. */
void vmx_exit(struct cpu *cpu, const struct vmx_exit *exit)
{
	struct vmx *vmx = vmx_of(cpu);
	struct vmcs *v = &vmx->vmcs;

	cpu_account(cpu, LEVEL_GUEST);
	v->exit_reason = exit->reason;
	v->exit_qualification = exit->qualification;
	v->exit_interruption_info = exit->interruption_info;
	v->exit_error_code = exit->error_code;
	v->idt_vectoring_info = vmx_event_info(&cpu->event);
	v->idt_vectoring_error_code = cpu->event.valid && cpu->event.has_error ? cpu->event.error : 0;
	v->exit_instruction_length = cpu->event.valid && cpu->event.insn_len ?
		cpu->event.insn_len : exit->instruction_length;
	v->exit_instruction_info = exit->instruction_info;
	v->guest_linear_address = exit->guest_linear;
	v->guest_physical_address = exit->guest_physical;
	v->entry_interruption_info &= ~INTR_INFO_VALID; /* 28.2: injected once */
	vmx_save_guest(cpu, exit);
	count_exit(cpu);
	if (vmx_store_msrs(cpu, v->exit_msr_store_address, v->exit_msr_store_count)) {
		vmx_abort(cpu, VMX_ABORT_SAVE_MSR);
		return;
	}
	back_to_host(cpu);
}

void vmx_exit_insn(struct cpu *cpu, const struct insn *insn, u32 reason, u64 qualification,
	u32 instruction_info)
{
	vmx_exit(cpu, &(struct vmx_exit){
		.reason = reason, .qualification = qualification,
		.instruction_length = insn->len, .instruction_info = instruction_info,
	});
}

void vmx_exit_plain(struct cpu *cpu, u32 reason, u64 qualification)
{
	vmx_exit(cpu, &(struct vmx_exit){
		.reason = reason, .qualification = qualification, .boundary = true,
	});
}

/* ---- the way in ---- */

static const char *name_of(const struct insn *insn)
{
	return insn->op == OP_VMLAUNCH ? "VMLAUNCH" : "VMRESUME";
}

/* SDM3 27.8: the guest never ran; of its state nothing is saved. */
static void fail_entry(struct cpu *cpu, const struct insn *insn, u64 rip, u32 reason,
	u64 qualification)
{
	struct vmx *vmx = vmx_of(cpu);

	failure_report(cpu, &vmx->failure, name_of(insn), rip, vmx->current_pa);
	vmx->vmcs.exit_reason = reason | EXIT_REASON_ENTRY_FAILURE;
	vmx->vmcs.exit_qualification = qualification;
	count_exit(cpu);
	back_to_host(cpu);
}

static int refuse_entry(struct cpu *cpu, const struct insn *insn, enum vmx_error error)
{
	struct vmx *vmx = vmx_of(cpu);

	failure_report(cpu, &vmx->failure, name_of(insn), cpu->rip, vmx->current_pa);
	return vmx_fail_valid(cpu, error);
}

/* SDM3 27.1: what can be wrong before anything of the VMCS is looked at. 0 or an enum vmx_error. */
static int check_launch(struct cpu *cpu, bool launch)
{
	struct vmx *vmx = vmx_of(cpu);
	const struct vmcs *v = &vmx->vmcs;

	if (cpu->intr_shadow && cpu->shadow_mov_ss) {
		FAILURE(&vmx->failure, "SDM3 27.1", "events are blocked by MOV SS",
			SHOW_AS("rip", cpu->rip));
		return VMX_ERROR_MOV_SS;
	}
	if (launch && v->launched) {
		FAILURE(&vmx->failure, "SDM3 27.1", "VMLAUNCH of a VMCS that is launched already",
			SHOW(launched));
		return VMX_ERROR_VMLAUNCH_NOT_CLEAR;
	}
	if (!launch && !v->launched) {
		FAILURE(&vmx->failure, "SDM3 27.1", "VMRESUME of a VMCS that is not launched",
			SHOW(launched));
		return VMX_ERROR_VMRESUME_NOT_LAUNCHED;
	}
	return 0;
}

/* SDM3 27: VMLAUNCH and VMRESUME differ in the launch state alone. */
int vmx_enter(struct cpu *cpu, const struct insn *insn)
{
	struct vmx *vmx = vmx_of(cpu);
	struct vmcs *v = &vmx->vmcs;
	bool launch = insn->op == OP_VMLAUNCH;
	u64 rip = cpu->rip, qualification = 0;
	u32 bad_msr;
	int error;

	if (vmx->current_pa == VMCS_NONE || (v->revision & VMCS_SHADOW))
		return vmx_fail_invalid(cpu);
	if (trace_on(TRACE_vmx))
		trace_entry(cpu);
	vmx->failure.text = NULL;
	error = check_launch(cpu, launch);
	if (!error)
		error = vmx_check_controls(cpu);
	if (!error)
		error = vmx_check_host(cpu);
	if (error)
		return refuse_entry(cpu, insn, error);
	/* from here on the way back is an exit's, which looks at them */
	vmx->secondary = v->cpu_controls & PROC_SECONDARY ? v->secondary_controls : 0;

	if (!vmx_check_guest(cpu, &qualification)) {
		fail_entry(cpu, insn, rip, VMX_EXIT_INVALID_GUEST_STATE, qualification);
		return OUTCOME_JUMP;
	}
	cpu_account(cpu, LEVEL_HOST);
	vmx_load_guest(cpu);
	bad_msr = vmx_load_msrs(cpu, v->entry_msr_load_address, v->entry_msr_load_count);
	if (bad_msr) {
		FAILURE(&vmx->failure, "SDM3 27.4", "an entry of the MSR-load area cannot be loaded",
			SHOW_AS("entry", bad_msr), SHOW(entry_msr_load_address),
			SHOW(entry_msr_load_count));
		cpu_account(cpu, LEVEL_GUEST);
		fail_entry(cpu, insn, rip, VMX_EXIT_MSR_LOADING, bad_msr);
		return OUTCOME_JUMP;
	}
	v->launched = true;
	vmx_inject(cpu);
	vmx_timer_start(cpu);
	vmx_events_changed(cpu);
	__atomic_store_n(&cpu->exit_request, 1, __ATOMIC_RELAXED);
	return OUTCOME_JUMP;
}
