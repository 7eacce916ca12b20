// SPDX-License-Identifier: MIT
/*
 * Events on their way into and out of a guest: injection (SDM3 27.6), IDT-vectoring information
 * (28.2.4), the windows (26.2), the preemption timer (26.5.1), the monitor trap flag (26.5.2), and
 * the guest's own interrupts with virtual-interrupt delivery. Pins, their masks and their order are
 * cpu/event.c's, which asks virt_ops here.
 */
#include "cpu/handlers.h"
#include "virt/vmx.h"
#include "virt/vmx_caps.h"

#define TIMER_COUNT BIT(VMX_TIMER_RATE)

/* ---- injection and vectoring ---- */

void vmx_inject(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);
	const struct vmcs *v = &vmx->vmcs;
	u64 info = v->entry_interruption_info;
	unsigned type = INTR_INFO_TYPE(info);
	struct event event = {
		.valid = true,
		.vector = info & INTR_INFO_VECTOR,
		.has_error = info & INTR_INFO_ERROR,
		.error = v->entry_error_code,
	};

	cpu->event.valid = false;
	vmx->monitor_trap = v->cpu_controls & PROC_MONITOR_TRAP ? MONITOR_TRAP_NEXT :
								  MONITOR_TRAP_OFF;
	if (!(info & INTR_INFO_VALID))
		return;
	if (type == INTR_OTHER) {
		vmx->monitor_trap = MONITOR_TRAP_PENDING;
		return;
	}
	switch (type) {
	case INTR_EXTERNAL:
		event.type = EVENT_INTR;
		break;
	case INTR_NMI:
		event.type = EVENT_NMI;
		cpu->nmi_blocked = true;
		break;
	case INTR_SOFTWARE:
		event.type = EVENT_SOFT;
		event.insn_len = v->entry_instruction_length;
		break;
	case INTR_HARDWARE_EXCEPTION:
		event.type = EVENT_EXCEPTION;
		break;
	default:
		event.type = EVENT_EXCEPTION;
		event.by_insn = true;
		event.insn_len = v->entry_instruction_length;
		break;
	}
	/* 27.7.3: only INT n, INT3 and INTO after MOV SS leave debug exceptions pending */
	if ((type != INTR_SOFTWARE && type != INTR_SOFTWARE_EXCEPTION) ||
	    !(v->guest_interruptibility & INTERRUPTIBILITY_MOV_SS))
		cpu->pending_db = 0;
	cpu->event = event;
	/* 26.5.2: the trap comes before the handler's first instruction */
	if (vmx->monitor_trap == MONITOR_TRAP_NEXT)
		vmx->monitor_trap = MONITOR_TRAP_PENDING;
}

u32 vmx_event_info(const struct event *event)
{
	unsigned type;

	if (!event->valid)
		return 0;
	if (event->type == EVENT_EXCEPTION && event->by_insn)
		type = event->vector == VEC_DB ? INTR_PRIVILEGED_EXCEPTION : INTR_SOFTWARE_EXCEPTION;
	else
		type = event->type; /* the two vendors' numbers are the same here */
	return INTR_INFO_VALID | type << 8 | event->vector | (event->has_error ? INTR_INFO_ERROR : 0);
}

_Static_assert((int)EVENT_INTR == INTR_EXTERNAL && (int)EVENT_NMI == INTR_NMI &&
		       (int)EVENT_EXCEPTION == INTR_HARDWARE_EXCEPTION &&
		       (int)EVENT_SOFT == INTR_SOFTWARE,
	"types of events");

/* ---- the preemption timer: one count every 2^VMX_TIMER_RATE ticks of L1's TSC ---- */

/*
 * The deadline is kept in the host's TSC, which nobody writes: only the phase of the first count is
 * L1's. The machine wakes us about at the deadline: clocks differ, so whoever is woken looks and asks
 * anew. One wake-up that is due already and comes earlier will do. So entries that move the
 * deadline outwards, as most do, cost nothing.
 */
static void arm_timer(struct cpu *cpu, u64 now)
{
	u64 deadline = vmx_of(cpu)->timer_deadline;

	if (cpu->wake_at > now && cpu->wake_at <= deadline)
		return;
	cpu->wake_at = deadline;
	cpu_park_fpu(cpu);
	machine_wake_at(cpu, cpu_tsc_to_ns(cpu, deadline + cpu->tsc_l1_offset));
}

void vmx_timer_start(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);
	u64 now = __builtin_ia32_rdtsc(), into_count = (now + cpu->tsc_l1_offset) % TIMER_COUNT;

	if (!(vmx->vmcs.pin_controls & PIN_PREEMPTION_TIMER))
		return;
	vmx->timer_deadline = now - into_count + vmx->vmcs.preemption_timer * TIMER_COUNT;
	if (vmx->timer_deadline > now)
		arm_timer(cpu, now);
}

static u64 counts_left(const struct cpu *cpu, u64 now)
{
	u64 deadline = vmx_of(cpu)->timer_deadline;

	return deadline > now ? (deadline - now + TIMER_COUNT - 1) / TIMER_COUNT : 0;
}

u32 vmx_timer_left(const struct cpu *cpu)
{
	return counts_left(cpu, __builtin_ia32_rdtsc());
}

static bool timer_expired(const struct cpu *cpu)
{
	return (vmx_of(cpu)->vmcs.pin_controls & PIN_PREEMPTION_TIMER) && !vmx_timer_left(cpu);
}

/* ---- what waits ---- */

static bool nmi_window_open(const struct cpu *cpu)
{
	return (vmx_of(cpu)->vmcs.cpu_controls & PROC_NMI_WINDOW) && !cpu->nmi_blocked;
}

static bool interrupt_window_wanted(const struct cpu *cpu)
{
	return vmx_of(cpu)->vmcs.cpu_controls & PROC_INTERRUPT_WINDOW;
}

/* Something that vmx_poll() would act on now, but for RFLAGS.IF and shadows. */
static bool something_waits(const struct cpu *cpu)
{
	const struct vmx *vmx = vmx_of(cpu);

	return vmx->monitor_trap != MONITOR_TRAP_OFF || vmx->apic_exits || nmi_window_open(cpu) ||
	       interrupt_window_wanted(cpu) || timer_expired(cpu) || vmx_apic_interrupt_ready(cpu);
}

void vmx_events_changed(struct cpu *cpu)
{
	cpu->virt_pending = something_waits(cpu);
	if (cpu->virt_pending)
		__atomic_store_n(&cpu->exit_request, 1, __ATOMIC_RELAXED);
}

bool vmx_wakes(const struct cpu *cpu)
{
	const struct vmx *vmx = vmx_of(cpu);

	if (vmx->monitor_trap == MONITOR_TRAP_PENDING || vmx->apic_exits || nmi_window_open(cpu) ||
	    timer_expired(cpu))
		return true;
	return (cpu->rflags_system & RFLAGS_IF) && cpu->activity != CPU_GUEST_SHUTDOWN &&
	       (interrupt_window_wanted(cpu) || vmx_apic_interrupt_ready(cpu));
}

static bool poll_monitor_trap(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);

	if (vmx->monitor_trap == MONITOR_TRAP_PENDING) {
		vmx_exit_plain(cpu, VMX_EXIT_MONITOR_TRAP, 0);
		return true;
	}
	if (vmx->monitor_trap == MONITOR_TRAP_NEXT)
		vmx->monitor_trap = MONITOR_TRAP_PENDING;
	return false;
}

static bool poll_timer(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);
	u64 now = __builtin_ia32_rdtsc();

	if (!(vmx->vmcs.pin_controls & PIN_PREEMPTION_TIMER))
		return false;
	if (counts_left(cpu, now)) {
		arm_timer(cpu, now);
		return false;
	}
	vmx_exit_plain(cpu, VMX_EXIT_PREEMPTION_TIMER, 0);
	return true;
}

static void deliver_virtual_interrupt(struct cpu *cpu)
{
	struct event event = { .type = EVENT_INTR, .vector = vmx_apic_deliver(cpu) };

	vmx_events_changed(cpu);
	cpu_deliver_event(cpu, &event);
}

bool vmx_poll(struct cpu *cpu, enum virt_moment moment)
{
	bool mov_ss = cpu->intr_shadow && cpu->shadow_mov_ss;

	switch (moment) {
	case VIRT_AFTER_INSN:
		return vmx_apic_poll_traps(cpu) || poll_monitor_trap(cpu);
	case VIRT_BEFORE_NMI:
		if (poll_timer(cpu))
			return true;
		if (!nmi_window_open(cpu) || mov_ss)
			break;
		vmx_exit_plain(cpu, VMX_EXIT_NMI_WINDOW, 0);
		return true;
	case VIRT_BEFORE_INTR:
		if (!(cpu->rflags_system & RFLAGS_IF))
			break;
		if (interrupt_window_wanted(cpu))
			vmx_exit_plain(cpu, VMX_EXIT_INTERRUPT_WINDOW, 0);
		else if (vmx_apic_interrupt_ready(cpu)) /* 30.2.2: of the same priority */
			deliver_virtual_interrupt(cpu);
		else
			break;
		return true;
	case VIRT_AFTER_INTR:
		/* last at a boundary: what does not wait for a flag is not asked for again */
		cpu->virt_pending = something_waits(cpu);
		break;
	}
	return false;
}
