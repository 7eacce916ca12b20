/* SPDX-License-Identifier: MIT */
/*
 * Events: which one an instruction boundary brings (APM2 8.5), what becomes of a fault (8.2.9,
 * double faults), and the vCPU's pins. How a frame is written is interrupt.c's.
 *
 * The engine and this file agree on the following.
 *
 * - A boundary is the moment between two instructions, cpu->rip being that of the next. The engine
 *   may look at events at any boundary, and must at those where cpu_must_poll() says so; in code
 *   that runs chained it looks at exit_request alone, at least once in every loop. Whoever makes
 *   cpu_must_poll() true inside an instruction returns OUTCOME_JUMP, so that the block ends.
 * - After cpu_poll_events(), where cpu_must_step() says so, the engine runs one instruction,
 *   whatever exit_request says, and polls again. So a block that starts at such a boundary holds
 *   one instruction, and it does not check exit_request.
 * - intr_shadow: STI (when IF was clear), MOV SS, POP SS and VM entries set it, for the instruction
 *   at shadow_rip. A boundary before that one holds interrupts back and remembers that it did
 *   (shadow_seen); any other clears the flag. Where nothing waits STI need not end its block: then
 *   the flag goes stale, and what looks at it in C drops it first (cpu_exec(), cpu_deliver_fault()
 *   and cpu_poll_events() do). A fault or interrupt that is delivered clears it as well.
 * - step_after: cpu_poll_events() copies TF into it as the last thing before an instruction; true
 *   at the next boundary it means a #DB trap. So TF set by POPF or IRET traps one instruction late,
 *   as it must, and TF cleared by POPF still traps after it.
 *   With DEBUGCTL.BTF only where the instruction was a taken branch.
 * - branched: with MODE_STEP whatever executes a taken branch sets it, translated code and
 *   cpu_exec(); the next boundary records the branch and clears it.
 * - pending_db: data breakpoints that an instruction hit; raised at its end.
 * - event.valid at a boundary: a VM entry injects it; it comes before everything else. While an
 *   instruction or cpu_deliver_fault() runs it names what is on its way, and any fault then is a
 *   fault during its delivery: virt/ makes EXITINTINFO of it and clears it.
 * - A pin or virtual interrupt that is masked leaves exit_request clear. Who unmasks (STI, POPF,
 *   IRET, SYSRET, STGI, VMRUN, #VMEXIT, MOV CR8) calls cpu_events_unmasked() or sets exit_request.
 * - CPU_HALTED: the engine waits until cpu_has_wakeup() or exit_request, then polls; delivery makes
 *   the CPU run. CPU_SHUTDOWN and CPU_WAIT_SIPI are left through INIT and SIPI only;
 *   CPU_GUEST_SHUTDOWN, of which the machine is not told, by NMIs and exits too.
 * - RFLAGS.RF is loaded only while DR7 arms breakpoints, for nothing else looks at it. With MODE_STEP
 *   cpu_exec() sets it where an instruction stops midway, and the boundary after its end clears it.
 *
 * There is no system management mode: an SMI is intercepted or forgotten.
 */
#include "cpu/descriptor.h"
#include "base/log.h"

void cpu_pin_set(void *opaque, unsigned pin, bool level)
{
	struct cpu *cpu = opaque;
	u32 bit = BIT(pin & 31);

	if (!level) {
		/* the others are edges, and cleared by who acts on them */
		if ((pin & 0xff) == CPU_PIN_INTR)
			__atomic_fetch_and(&cpu->pins, ~bit, __ATOMIC_SEQ_CST);
		return;
	}
	if ((pin & 0xff) == CPU_PIN_SIPI)
		__atomic_store_n(&cpu->sipi_vector, pin >> 8, __ATOMIC_RELAXED);
	__atomic_fetch_or(&cpu->pins, bit, __ATOMIC_SEQ_CST);
	machine_kick(cpu);
}

static u32 pins_now(const struct cpu *cpu)
{
	return __atomic_load_n(&cpu->pins, __ATOMIC_SEQ_CST);
}

static void pin_clear(struct cpu *cpu, unsigned pin)
{
	__atomic_fetch_and(&cpu->pins, ~(u32)BIT(pin), __ATOMIC_SEQ_CST);
}

void cpu_take_pin(struct cpu *cpu, unsigned pin)
{
	pin_clear(cpu, pin);
	if (pin == CPU_PIN_NMI)
		cpu->nmi_pending = false;
}

static bool nmi_masked(const struct cpu *cpu)
{
	return !cpu->gif || (cpu->nmi_blocked && !(cpu->in_guest && cpu->nmi_apart));
}

/* What the INTR pin is masked by: APM2 15.21.1, SDM3 26.3. */
static bool intr_enabled(const struct cpu *cpu)
{
	if (!cpu->gif)
		return false;
	if (cpu->in_guest && cpu->intr_apart)
		return cpu->intr_host_if;
	return cpu->rflags_system & RFLAGS_IF;
}

/* What ends a shutdown that a VM entry began, besides INIT: SDM3 25.4.2, 26.5.1. */
static bool ends_guest_shutdown(const struct cpu *cpu, u32 pins)
{
	if (!nmi_masked(cpu) && (cpu->nmi_pending || (pins & BIT(CPU_PIN_NMI))))
		return true;
	return (pins & BIT(CPU_PIN_TIMER)) || (cpu->virt_pending && cpu->virt->wakes(cpu));
}

/* An INIT that is there and not blocked by VMX operation, SDM3 24.8, 26.2. */
static bool init_comes(const struct cpu *cpu, u32 pins)
{
	return (pins & BIT(CPU_PIN_INIT)) && !cpu->vmx_root &&
	       !(cpu->in_guest && cpu->activity == CPU_WAIT_SIPI);
}

bool cpu_has_wakeup(struct cpu *cpu)
{
	u32 pins = pins_now(cpu);

	if (cpu->activity == CPU_WAIT_SIPI)
		return (pins & BIT(CPU_PIN_SIPI)) || init_comes(cpu, pins);
	if (cpu->activity == CPU_SHUTDOWN)
		return init_comes(cpu, pins);
	if (cpu->activity == CPU_GUEST_SHUTDOWN)
		return init_comes(cpu, pins) || ends_guest_shutdown(cpu, pins);
	if (cpu->event.valid || cpu->pending_db || cpu->step_after)
		return true;
	if (cpu->virt_pending && cpu->virt->wakes(cpu))
		return true;
	if (cpu->gif && init_comes(cpu, pins))
		return true;
	if (cpu->gif && cpu->in_guest && (pins & BIT(CPU_PIN_SMI)))
		return true;
	if (!nmi_masked(cpu) && (cpu->nmi_pending || (pins & BIT(CPU_PIN_NMI))))
		return true;
	if (cpu->in_guest && (pins & BIT(CPU_PIN_TIMER)))
		return true;
	return (pins & BIT(CPU_PIN_INTR)) && intr_enabled(cpu);
}

/* Exceptions whose meeting makes a double fault, APM2 table 8-3. */
enum fault_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE_FAULT };

static enum fault_class fault_class(u8 vector)
{
	switch (vector) {
	case VEC_DE:
	case VEC_TS:
	case VEC_NP:
	case VEC_SS:
	case VEC_GP:
	case VEC_CP:
		return CONTRIBUTORY;
	case VEC_PF:
	case VEC_VE: /* SDM3 table 6-5 */
		return PAGE_FAULT;
	case VEC_DF:
		return DOUBLE_FAULT;
	default:
		return BENIGN;
	}
}

static bool makes_double_fault(enum fault_class first, enum fault_class second)
{
	if (first == BENIGN || second == BENIGN)
		return false;
	return first == PAGE_FAULT || second == CONTRIBUTORY || first == DOUBLE_FAULT;
}

static void shut_down(struct cpu *cpu)
{
	cpu->event.valid = false;
	if (cpu_intercepted(cpu, NULL, VIRT_SHUTDOWN, 0, 0))
		return;
	if (trace_on(TRACE_cpu)) {
		cpu_park_fpu(cpu);
		trace_print(TRACE_cpu, "shutdown at %04x:%llx", cpu->seg[CS].sel,
			(unsigned long long)cpu->rip);
	}
	cpu->activity = CPU_SHUTDOWN;
}

static void trace_fault(struct cpu *cpu, const struct fault *fault)
{
	cpu_park_fpu(cpu);
	trace_print(TRACE_event, "exception %u error %x address %llx at %04x:%llx cpl %u%s",
		fault->vector, fault->error, (unsigned long long)fault->address,
		cpu->seg[CS].sel, (unsigned long long)cpu->rip, cpu->cpl,
		cpu->in_guest ? " (guest)" : "");
}

/* ---- control-transfer recording, APM2 13.1.1.6 and 13.1.6 ---- */

static void record_branch(struct cpu *cpu, u64 from)
{
	cpu->last_branch_from = from;
	cpu->last_branch_to = cpu->rip;
}

void cpu_record_interrupt(struct cpu *cpu, u64 from)
{
	if (likely(!(cpu->debugctl & DEBUGCTL_LBR)))
		return;
	cpu->last_int_from = cpu->last_branch_from;
	cpu->last_int_to = cpu->last_branch_to;
	record_branch(cpu, from);
}

void cpu_debug_raised(struct cpu *cpu)
{
	cpu->dr7 &= ~DR7_GD;
	cpu->debugctl &= ~(DEBUGCTL_LBR | DEBUGCTL_BTF);
}

void cpu_debug_registers(struct cpu *cpu, const struct fault *fault)
{
	cpu->dr6 = (cpu->dr6 & ~MASK(3, 0)) | fault->dr6;
	cpu_debug_raised(cpu);
}

/*
 * One exception on its way to its handler. Returns OUTCOME_FAULT where that raised another, which
 * cpu->fault describes while cpu->event still names this one.
 */
static int deliver_exception(struct cpu *cpu, const struct fault *fault)
{
	enum fault_class first = cpu->event.valid && cpu->event.type == EVENT_EXCEPTION ?
					 fault_class(cpu->event.vector) :
					 BENIGN;
	u8 vector = fault->vector;
	u32 error = fault->error;
	bool has_error = fault->has_error;

	/* asked before it becomes a double fault: APM2 15.12, 15.20 */
	if (cpu_intercepted(cpu, NULL, VIRT_EXCEPTION, vector, error))
		return 0;
	if (vector == VEC_DB)
		cpu_debug_registers(cpu, fault);
	if (makes_double_fault(first, fault_class(vector))) {
		if (first == DOUBLE_FAULT) {
			shut_down(cpu);
			return 0;
		}
		vector = VEC_DF;
		error = 0;
		has_error = true;
		if (cpu_intercepted(cpu, NULL, VIRT_EXCEPTION, vector, error))
			return 0;
	} else if (vector == VEC_PF) {
		cpu->cr2 = fault->address;
	}
	cpu->event = (struct event){
		.valid = true, .type = EVENT_EXCEPTION, .vector = vector,
		.has_error = has_error, .error = error,
	};
	if (cpu_interrupt(cpu, &cpu->event))
		return OUTCOME_FAULT;
	cpu->event.valid = false;
	return 0;
}

void cpu_deliver_fault(struct cpu *cpu)
{
	if (unlikely(cpu->intr_shadow) && cpu->rip != cpu->shadow_rip)
		cpu_shadow_end(cpu);
	/* what the faulting instruction had pending is void; it will run again */
	cpu->step_after = false;
	cpu->branched = false;
	cpu->pending_db = 0;
	for (;;) {
		struct fault fault = cpu->fault;

		if (unlikely(fault.kind >= FAULT_NESTED)) {
			cpu->virt->nested_fault(cpu, &fault);
			break;
		}
		if (trace_on(TRACE_event))
			trace_fault(cpu, &fault);
		if (!deliver_exception(cpu, &fault))
			break;
	}
	cpu->iret_unblocked = false;
}

void cpu_deliver_event(struct cpu *cpu, const struct event *event)
{
	cpu->activity = CPU_RUNNING;
	cpu->event = *event;
	cpu->event.valid = true;
	if (cpu_interrupt(cpu, &cpu->event))
		cpu_deliver_fault(cpu);
	else
		cpu->event.valid = false;
}

int cpu_acknowledge(struct cpu *cpu)
{
	int vector;

	cpu_park_fpu(cpu);
	machine_lock(cpu->machine);
	vector = cpu->intc_ops->acknowledge(cpu->intc);
	machine_unlock(cpu->machine);
	return vector;
}

#define SX_INIT_REDIRECTED 1 /* #SX's error code, APM2 8.4.3 */

/* INIT and SIPI: APM2 14.1.4, 16.5. True when one was acted on. */
static bool poll_init(struct cpu *cpu, u32 pins)
{
	if (init_comes(cpu, pins) && (cpu->gif || cpu->activity != CPU_RUNNING)) {
		/* where it is intercepted it stays pending for the hypervisor, APM2 15.21.8 */
		if (cpu_intercepted(cpu, NULL, VIRT_INIT, 0, 0))
			return true;
		pin_clear(cpu, CPU_PIN_INIT);
		if (cpu->init_redirect && cpu->activity <= CPU_HALTED) {
			cpu->activity = CPU_RUNNING;
			cpu_fault_code(cpu, VEC_SX, SX_INIT_REDIRECTED);
			cpu_deliver_fault(cpu);
			return true;
		}
		pin_clear(cpu, CPU_PIN_SIPI);
		cpu_init(cpu);
		return true;
	}
	if (pins & BIT(CPU_PIN_SIPI)) {
		pin_clear(cpu, CPU_PIN_SIPI);
		if (cpu->activity != CPU_WAIT_SIPI)
			return false;
		if (cpu_intercepted(cpu, NULL, VIRT_SIPI, cpu->sipi_vector, 0))
			return true;
		segment_load_real(cpu, CS, cpu->sipi_vector << 8);
		cpu->rip = 0;
		cpu->activity = CPU_RUNNING;
		cpu_mode_update(cpu);
		return true;
	}
	return false;
}

static bool poll_smi(struct cpu *cpu)
{
	if (!cpu->gif)
		return false;
	/* an intercepted SMI stays pending for the hypervisor, APM2 15.13.3 */
	if (cpu_intercepted(cpu, NULL, VIRT_SMI, 0, 0))
		return true;
	pin_clear(cpu, CPU_PIN_SMI);
	return false;
}

static void deliver_debug(struct cpu *cpu, u64 dr6, bool trap)
{
	cpu->activity = CPU_RUNNING;
	cpu->pending_db = 0;
	cpu->fault = (struct fault){
		.kind = FAULT_EXCEPTION, .vector = VEC_DB, .trap = trap, .dr6 = dr6,
	};
	cpu_deliver_fault(cpu);
}

/* Traps of the instruction that has just ended, APM2 13.1.3 and 13.1.4. */
static bool poll_traps(struct cpu *cpu, bool mov_ss, bool branched)
{
	if (mov_ss)
		return false;
	if (cpu->step_after) {
		cpu->step_after = false;
		if (!(cpu->debugctl & DEBUGCTL_BTF) || branched)
			cpu->pending_db |= DR6_BS;
	}
	/* with GIF clear breakpoints are discarded, single steps are not: APM2 table 15-10 */
	if (!cpu->gif)
		cpu->pending_db &= ~MASK(3, 0);
	if (!cpu->pending_db)
		return false;
	deliver_debug(cpu, cpu->pending_db, true);
	return true;
}

static bool poll_nmi(struct cpu *cpu, u32 pins)
{
	const struct event nmi = { .type = EVENT_NMI, .vector = VEC_NMI };

	if (pins & BIT(CPU_PIN_NMI)) {
		pin_clear(cpu, CPU_PIN_NMI);
		cpu->nmi_pending = true;
	}
	if (!cpu->nmi_pending || nmi_masked(cpu))
		return false;
	/* an intercepted NMI stays pending for the hypervisor, APM2 15.13.2 */
	if (cpu_intercepted(cpu, NULL, VIRT_NMI, 0, 0))
		return true;
	cpu->nmi_pending = false;
	cpu->nmi_blocked = true;
	cpu_deliver_event(cpu, &nmi);
	return true;
}

static bool poll_intr(struct cpu *cpu, u32 pins)
{
	struct event event = { .type = EVENT_INTR };
	int vector;

	if (!(pins & BIT(CPU_PIN_INTR)) || !intr_enabled(cpu))
		return false;
	if (cpu_intercepted(cpu, NULL, VIRT_INTR, 0, 0))
		return true;
	vector = cpu_acknowledge(cpu);
	if (vector < 0)
		return false;
	if (trace_on(TRACE_irq))
		trace_print(TRACE_irq, "interrupt %02x at %04x:%llx", (unsigned)vector,
			cpu->seg[CS].sel, (unsigned long long)cpu->rip);
	cpu->stats.irqs++;
	event.vector = vector;
	cpu_deliver_event(cpu, &event);
	return true;
}

/* Instruction breakpoints, APM2 13.1.3: faults of the instruction that is about to run. */
static bool poll_breakpoints(struct cpu *cpu)
{
	u64 linear = cpu_long64(cpu) ? cpu->rip : (u32)(cpu->seg[CS].base + cpu->rip);
	u64 hit = 0;

	if (likely(!(cpu->mode & MODE_STEP)))
		return false;
	if (cpu->rflags_system & RFLAGS_RF) {
		cpu->rf_seen = true;
		return false;
	}
	if (!(cpu->dr7 & DR7_ENABLE) || !cpu->gif)
		return false;
	for (unsigned i = 0; i < 4; i++) {
		bool enabled = (cpu->dr7 >> (2 * i)) & 3;
		bool execute = !((cpu->dr7 >> (16 + 4 * i)) & 3);

		if (enabled && execute && cpu->dr[i] == linear)
			hit |= DR6_B(i);
	}
	if (!hit)
		return false;
	deliver_debug(cpu, hit, false);
	return true;
}

/* The boundary's part in the life of the interrupt shadow; true: interrupts wait. */
static bool shadow_holds(struct cpu *cpu)
{
	if (likely(!cpu->intr_shadow))
		return false;
	if (!cpu->shadow_seen && cpu->rip == cpu->shadow_rip) {
		cpu->shadow_seen = true;
		return true;
	}
	cpu_shadow_end(cpu);
	return false;
}

static bool poll_virt(struct cpu *cpu, enum virt_moment moment)
{
	return unlikely(cpu->virt_pending) && cpu->virt->poll(cpu, moment);
}

static bool poll_in_order(struct cpu *cpu)
{
	u32 pins = pins_now(cpu);
	bool held, mov_ss, branched = cpu->branched;

	if (unlikely(branched)) {
		cpu->branched = false;
		if (cpu->debugctl & DEBUGCTL_LBR)
			record_branch(cpu, cpu->step_rip);
	}
	if (cpu->event.valid) {
		struct event injected = cpu->event;

		cpu_deliver_event(cpu, &injected);
		return true;
	}
	if (unlikely(pins & (BIT(CPU_PIN_INIT) | BIT(CPU_PIN_SIPI))) && poll_init(cpu, pins))
		return true;
	if (unlikely(pins & BIT(CPU_PIN_TIMER))) {
		pin_clear(cpu, CPU_PIN_TIMER);
		cpu->wake_at = 0;
		cpu->virt_pending |= cpu->in_guest;
	}
	if (cpu->activity == CPU_GUEST_SHUTDOWN)
		return poll_virt(cpu, VIRT_BEFORE_NMI) || poll_nmi(cpu, pins);
	if (cpu->activity > CPU_HALTED)
		return false;
	if (unlikely(pins & BIT(CPU_PIN_SMI)) && poll_smi(cpu))
		return true;
	if (cpu->rf_seen) {
		cpu->rf_seen = false;
		cpu->rflags_system &= ~RFLAGS_RF;
	}
	held = shadow_holds(cpu);
	mov_ss = held && cpu->shadow_mov_ss;
	if (poll_virt(cpu, VIRT_AFTER_INSN) || poll_traps(cpu, mov_ss, branched) ||
	    poll_virt(cpu, VIRT_BEFORE_NMI))
		return true;
	if (!mov_ss && poll_nmi(cpu, pins))
		return true;
	if (!held && (poll_virt(cpu, VIRT_BEFORE_INTR) || poll_intr(cpu, pins) ||
			     poll_virt(cpu, VIRT_AFTER_INTR)))
		return true;
	return cpu->activity == CPU_RUNNING && poll_breakpoints(cpu);
}

/*
 * How many events one boundary may bring. What waits behind an event comes before the handler's first
 * instruction, and what is left over after so many comes after it: a guest whose interrupts never end
 * must leave us time for others.
 */
#define EVENTS_A_BOUNDARY 4

bool cpu_poll_events(struct cpu *cpu)
{
	bool changed = false;

	for (unsigned i = 0; i < EVENTS_A_BOUNDARY; i++) {
		__atomic_store_n(&cpu->exit_request, 0, __ATOMIC_SEQ_CST);
		if (!poll_in_order(cpu))
			break;
		changed = true;
		cpu_events_unmasked(cpu);
		if (!__atomic_load_n(&cpu->exit_request, __ATOMIC_RELAXED))
			break;
	}
	/* a step that waits for MOV SS's shadow to end goes on waiting */
	if (!(cpu->step_after && cpu->shadow_mov_ss))
		cpu->step_after = cpu->activity == CPU_RUNNING &&
				  (cpu->rflags_system & RFLAGS_TF);
	cpu->step_rip = cpu->rip;
	return changed;
}
