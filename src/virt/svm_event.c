// SPDX-License-Identifier: MIT
/*
 * Events on their way into and out of a guest: EVENTINJ and EXITINTINFO (APM2 15.20, 15.7.2),
 * virtual interrupts (15.21), the global interrupt flag and its virtual form (15.17, 15.33.2).
 * Pins, their masks and their order are cpu/event.c's, which asks virt_ops here.
 */
#include "virt/svm.h"

/* GIF=1 or a changed mask: whatever waits is looked at before the next instruction. */
static void look_soon(struct cpu *cpu)
{
	__atomic_store_n(&cpu->exit_request, 1, __ATOMIC_RELEASE);
}

/* A virtual interrupt waits that no mask but RFLAGS.IF and a shadow holds back; APM2 15.21.4. */
static bool virtual_interrupt_ready(const struct cpu *cpu)
{
	const union vmcb *v = &svm_of(cpu)->vmcb;

	if (!cpu->in_guest || !(v->vintr & VINTR_IRQ))
		return false;
	if ((v->vintr & VINTR_GIF_ENABLE) && !(v->vintr & VINTR_GIF))
		return false;
	if (v->vintr & VINTR_IGN_TPR)
		return true;
	return VINTR_PRIO(v->vintr) >
	       (cpu->virtual_tpr ? cpu->cr8_shadow : v->vintr & VINTR_TPR_VALUE);
}

void svm_events_changed(struct cpu *cpu)
{
	cpu->virt_pending = virtual_interrupt_ready(cpu);
	if (cpu->virt_pending)
		look_soon(cpu);
}

void svm_set_gif(struct cpu *cpu, bool gif)
{
	cpu->gif = gif;
	if (gif && (__atomic_load_n(&cpu->pins, __ATOMIC_ACQUIRE) || cpu->nmi_pending ||
			   cpu->virt_pending))
		look_soon(cpu);
}

bool svm_wakes(const struct cpu *cpu)
{
	return virtual_interrupt_ready(cpu) && cpu->gif && (cpu->rflags_system & RFLAGS_IF);
}

/* V_TPR under V_INTR_MASKING, APM2 15.21.1. */
u64 svm_read_cr8(struct cpu *cpu)
{
	return cpu->cr8_shadow;
}

void svm_write_cr8(struct cpu *cpu, u64 value)
{
	cpu->cr8_shadow = value;
	svm_events_changed(cpu);
}

bool svm_poll(struct cpu *cpu, enum virt_moment moment)
{
	struct svm *svm = svm_of(cpu);
	union vmcb *v = &svm->vmcb;
	struct event event = { .type = EVENT_INTR };

	if (moment != VIRT_AFTER_INTR || !svm_wakes(cpu))
		return false;
	/* 15.13.5: the intercept comes before the interrupt is taken, V_IRQ stays */
	if (svm_intercepted(svm, SVM_EXIT_VINTR)) {
		svm_vmexit(cpu, SVM_EXIT_VINTR, 0, 0);
		return true;
	}
	v->vintr &= ~VINTR_IRQ;
	cpu->virt_pending = false;
	event.vector = VINTR_VECTOR(v->vintr);
	cpu_deliver_event(cpu, &event);
	return true;
}

/* APM2 15.20: the event is delivered before the guest's first instruction, past all intercepts. */
void svm_inject(struct cpu *cpu)
{
	const union vmcb *v = &svm_of(cpu)->vmcb;
	u64 info = v->event_inj;
	u64 length;

	cpu->event.valid = false;
	if (!(info & EVENT_INFO_VALID))
		return;
	cpu->event = (struct event){
		.valid = true,
		.type = EVENT_INFO_TYPE(info),
		.vector = info & EVENT_INFO_VECTOR,
		.has_error = info & EVENT_INFO_EV,
		.error = info >> 32,
	};
	if (cpu->event.type == EVENT_NMI)
		cpu->event.vector = VEC_NMI;
	/*
	 * INT n, INT3 and INTO return to nRIP. A hypervisor that does not know nRIP leaves it zero
	 * and has moved RIP itself.
	 */
	if (v->nrip && (cpu->event.type == EVENT_SOFT || (cpu->event.type == EVENT_EXCEPTION &&
				(cpu->event.vector == VEC_BP || cpu->event.vector == VEC_OF)))) {
		length = v->nrip - v->rip;
		if (cpu->event.type == EVENT_SOFT && length <= 15)
			cpu->event.insn_len = length;
		else
			cpu->rip = v->nrip;
	}
	look_soon(cpu);
}

/* APM2 15.7.2: the event whose delivery the exit interrupted. */
u64 svm_exit_int_info(const struct cpu *cpu)
{
	const struct event *event = &cpu->event;

	if (!event->valid)
		return 0;
	return EVENT_INFO_VALID | (u64)event->type << 8 | event->vector |
	       (event->has_error ? EVENT_INFO_EV | (u64)event->error << 32 : 0);
}
