/* SPDX-License-Identifier: MIT */
/*
 * Events in and out: EVENTINJ and EXITINTINFO, physical and virtual interrupts and their masks, the
 * interrupt shadow, GIF and its virtual form, NMIs, HLT. APM2 15.13, 15.17, 15.20, 15.21, 15.33.2.
 */
#include "svm.h"

#define VEC_SX 30
#define VEC_A 0x41
#define VEC_B 0x42

CODE(nothing, "nop; nop");
CODE(sti_code, "sti; nop; nop; cli");
CODE(spin_if, "sti; 1: incq (%rbx); cmpq $1000000, (%rbx); jne 1b; cli");
CODE(self_ipi, "movl %ecx, (%rbx); nop; nop; nop; nop");
CODE(sti_hlt, "sti; hlt; cli");
CODE(mov_cr8, "sti; nop; nop; mov %rcx, %cr8; nop; nop; cli");
CODE(stgi_late, "sti; nop; nop; stgi; nop; cli");
CODE(clgi_code, "clgi; sti; nop; nop; cli");
CODE(sti_exit, "sti; vmmcall");
CODE(mov_ss_exit, "mov %ss, %eax; mov %eax, %ss; vmmcall");
CODE(int3_code, "int3");
CODE(int_code, "int $0x41");
CODE(icebp_code, ".byte 0xf1");
CODE(sti_icebp, "sti; .byte 0xf1");

static unsigned taken[256], order[8], ordered;
static u64 taken_rip[256], taken_error[256], taken_cr8;
static bool in_guest_then;

static void on_event(struct frame *frame)
{
	taken[frame->vector]++;
	taken_rip[frame->vector] = frame->rip;
	taken_error[frame->vector] = frame->error;
	/* the guest runs on a stack of its own */
	in_guest_then = frame->rsp <= (u64)svm_stack_top && frame->rsp > (u64)svm_stack_top - 8 * PAGE;
	if (ordered < ARRAY_SIZE(order))
		order[ordered++] = frame->vector;
	taken_cr8 = read_cr8();
}

static void on_interrupt(struct frame *frame)
{
	on_event(frame);
	apic_eoi();
}

static void fresh(void)
{
	svm_fresh();
	memset(taken, 0, sizeof(taken));
	memset(taken_error, 0, sizeof(taken_error));
	ordered = 0;
	guest_set_handler(VEC_A, on_event);
	guest_set_handler(VEC_B, on_event);
}

/* ---- injection ---- */

static void inject(unsigned type, unsigned vector, bool has_error, u32 error)
{
	vmcb->event_inj = EVENT_INFO_VALID | type << 8 | vector | (has_error ? EVENT_INFO_EV : 0) |
			  (u64)error << 32;
}

static void injection(void)
{
	/* an external interrupt needs no IF, an exception brings its error code */
	fresh();
	inject(0, VEC_A, false, 0);
	check_equal(svm_run_at(nothing), SVM_EXIT_VMMCALL, "inject: interrupt");
	check_equal(taken[VEC_A], 1, "inject: interrupt was taken");
	check(in_guest_then, "inject: in the guest");
	check_equal(taken_rip[VEC_A], nothing, "inject: before the first instruction");
	check(!(vmcb->event_inj & EVENT_INFO_VALID), "inject: V is cleared");
	check_equal(svm_run_at(nothing), SVM_EXIT_VMMCALL, "inject: again");
	check_equal(taken[VEC_A], 1, "inject: once only");

	fresh();
	guest_set_handler(VEC_GP, on_event);
	inject(3, VEC_GP, true, 0x1238);
	svm_intercept(SVM_EXIT_EXCEPTION + VEC_GP, true);
	check_equal(svm_run_at(nothing), SVM_EXIT_VMMCALL, "inject: exceptions pass intercepts");
	check_equal(taken[VEC_GP], 1, "inject: #GP");
	check_equal(taken_error[VEC_GP], 0x1238, "inject: error code");
	guest_set_handler(VEC_GP, NULL);

	fresh();
	guest_set_handler(2, on_event);
	inject(2, 2, false, 0);
	check_equal(svm_run_at(nothing), SVM_EXIT_VMMCALL, "inject: NMI");
	check_equal(taken[2], 1, "inject: NMI was taken");
	guest_set_handler(2, NULL);

	/* #PF: CR2 is the VMCB's */
	fresh();
	guest_set_handler(VEC_PF, on_event);
	vmcb->cr2 = 0xabc000;
	inject(3, VEC_PF, true, 6);
	check_equal(svm_run_at(nothing), SVM_EXIT_VMMCALL, "inject: #PF");
	check_equal(taken_error[VEC_PF], 6, "inject: #PF's error code");
	check_equal(vmcb->cr2, 0xabc000, "inject: CR2");
	guest_set_handler(VEC_PF, NULL);

	/* what is not valid is not injected */
	fresh();
	vmcb->event_inj = VEC_A;
	check_equal(svm_run_at(nothing), SVM_EXIT_VMMCALL, "inject: V clear");
	check_equal(taken[VEC_A], 0, "inject: nothing");
}

/* INT n, INT3 return to nRIP. */
static void software_injection(void)
{
	if (!svm_has(SVM_NRIPS)) {
		guest_skip("injection with nRIP");
		return;
	}
	fresh();
	inject(4, VEC_A, false, 0);
	vmcb->nrip = (u64)int_code_end;
	check_equal(svm_run_at(int_code), SVM_EXIT_VMMCALL, "inject: INT n");
	check_equal(taken[VEC_A], 1, "inject: INT n was taken");
	check_equal(taken_rip[VEC_A], int_code_end, "inject: INT n returns to nRIP");
	fresh();
	guest_set_handler(VEC_BP, on_event);
	inject(3, VEC_BP, false, 0);
	vmcb->nrip = (u64)int3_code_end;
	check_equal(svm_run_at(int3_code), SVM_EXIT_VMMCALL, "inject: INT3");
	check_equal(taken[VEC_BP], 1, "inject: INT3 was taken");
	check_equal(taken_rip[VEC_BP], int3_code_end, "inject: INT3 returns to nRIP");
	guest_set_handler(VEC_BP, NULL);
	/* what an intercepted INT n left behind serves to inject it again */
	fresh();
	svm_intercept(SVM_EXIT_SWINT, true);
	check_equal(svm_run_at(int_code), SVM_EXIT_SWINT, "INT n exits");
	inject(4, vmcb->exit_info1, false, 0);
	check_equal(svm_run(), SVM_EXIT_VMMCALL, "and goes back in");
	check_equal(taken_rip[VEC_A], int_code_end, "to return behind itself");
}

/* A fault while an injected event is delivered: EXITINTINFO gives the event back. */
static void faulting_injection(void)
{
	struct {
		unsigned type, vector;
		bool has_error;
		u32 error;
	} rows[] = { { 0, VEC_A, false, 0 }, { 3, VEC_GP, true, 0x50 }, { 3, VEC_UD, false, 0 },
		{ 2, 2, false, 0 }, { 4, VEC_A, false, 0 } };

	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		u64 info;

		fresh();
		inject(rows[i].type, rows[i].vector, rows[i].has_error, rows[i].error);
		info = vmcb->event_inj;
		vmcb->nrip = (u64)nothing;
		vmcb->idtr_base = 0x3000000000; /* nothing is there */
		svm_intercept(SVM_EXIT_EXCEPTION + VEC_PF, true);
		check_equal(svm_run_at(nothing), SVM_EXIT_EXCEPTION + VEC_PF, "fault while injecting %u", i);
		check_equal(vmcb->exit_int_info, info, "EXITINTINFO is what was injected, %u", i);
		check_equal(vmcb->exit_info2, 0x3000000000 + 16 * rows[i].vector, "where it faulted, %u", i);
		check_equal(vmcb->rip, nothing, "RIP, %u", i);
		check(!(vmcb->event_inj & EVENT_INFO_VALID), "EVENTINJ is used up, %u", i);
	}
}

/* ICEBP's #DB is a trap wherever it is seen; its own intercept comes before it. 15.9, 15.12.2 */
static void icebp(void)
{
	if (guest_tcg_wrong("ICEBP"))
		return;
	fresh();
	guest_set_handler(VEC_DB, on_event);
	check_equal(svm_run_at(icebp_code), SVM_EXIT_VMMCALL, "ICEBP");
	check_equal(taken[VEC_DB], 1, "ICEBP: #DB in the guest");
	check_equal(taken_rip[VEC_DB], icebp_code_end, "ICEBP: a trap");
	fresh();
	svm_intercept(SVM_EXIT_EXCEPTION + VEC_DB, true);
	check_equal(svm_run_at(icebp_code), SVM_EXIT_EXCEPTION + VEC_DB, "ICEBP, #DB intercepted");
	check_equal(vmcb->rip, icebp_code_end, "ICEBP, #DB intercepted: RIP is the next instruction's");
	/* as hypervisors go on: the #DB is injected, its handler returns behind ICEBP */
	inject(3, VEC_DB, false, 0);
	check_equal(svm_run(), SVM_EXIT_VMMCALL, "ICEBP, injected again");
	check_equal(taken[VEC_DB], 1, "ICEBP, injected again: once");
	check_equal(taken_rip[VEC_DB], icebp_code_end, "ICEBP, injected again: RIP in the frame");
	fresh();
	svm_intercept(SVM_EXIT_ICEBP, true);
	svm_intercept(SVM_EXIT_EXCEPTION + VEC_DB, true);
	check_equal(svm_run_at(icebp_code), SVM_EXIT_ICEBP, "ICEBP's own intercept comes first");
	check_equal(vmcb->rip, icebp_code, "ICEBP's own intercept: RIP");
	fresh();
	svm_intercept(SVM_EXIT_EXCEPTION + VEC_DB, true);
	check_equal(svm_run_at(sti_icebp), SVM_EXIT_EXCEPTION + VEC_DB, "ICEBP in a shadow");
	check(!(vmcb->interrupt_state & INTERRUPT_STATE_SHADOW), "ICEBP ends the shadow");
	fresh();
	vmcb->idtr_base = 0x3000000000;
	svm_intercept(SVM_EXIT_EXCEPTION + VEC_PF, true);
	check_equal(svm_run_at(icebp_code), SVM_EXIT_EXCEPTION + VEC_PF, "ICEBP, a fault of its delivery");
	check_equal(vmcb->exit_int_info, EVENT_INFO_VALID | 3 << 8 | VEC_DB, "ICEBP: EXITINTINFO");
	check_equal(vmcb->rip, icebp_code_end, "ICEBP, a fault of its delivery: RIP");
	guest_set_handler(VEC_DB, NULL);
}

/* ---- physical interrupts ---- */

static void physical(void)
{
	/* intercepted, host IF set: exits before the first instruction and stays pending */
	fresh();
	guest_set_handler(VEC_A, on_interrupt);
	svm_intercept(SVM_EXIT_INTR, true);
	vmcb->vintr = VINTR_MASKING;
	svm_host_if = true;
	apic_self(VEC_A);
	check_equal(svm_run_at(nothing), SVM_EXIT_INTR, "INTR pending at VMRUN");
	check_equal(vmcb->rip, nothing, "no instruction ran");
	check_equal(taken[VEC_A], 1, "the host takes it after STGI");
	check(!in_guest_then, "in the host");

	/* masked by the host's IF, whatever the guest's */
	fresh();
	guest_set_handler(VEC_A, on_interrupt);
	svm_intercept(SVM_EXIT_INTR, true);
	vmcb->vintr = VINTR_MASKING;
	apic_self(VEC_A);
	check_equal(svm_run_at(sti_code), SVM_EXIT_VMMCALL, "masked by the host's IF");
	check_equal(taken[VEC_A], 0, "not taken");
	/* without V_INTR_MASKING the guest's IF counts */
	vmcb->vintr = 0;
	check_equal(svm_run_at(sti_code), SVM_EXIT_INTR, "unmasked by the guest's STI");
	check_equal(vmcb->rip, sti_code + 2, "after the shadow of STI");
	/* and without the intercept the guest takes it */
	svm_intercept(SVM_EXIT_INTR, false);
	check_equal(svm_run_at(sti_code), SVM_EXIT_VMMCALL, "no intercept");
	check_equal(taken[VEC_A], 1, "the guest takes it");
	check(in_guest_then, "in the guest");

	/* host IF set, guest IF clear, not intercepted: the guest takes it all the same */
	fresh();
	guest_set_handler(VEC_A, on_interrupt);
	vmcb->vintr = VINTR_MASKING;
	svm_host_if = true;
	apic_self(VEC_A);
	check_equal(svm_run_at(nothing), SVM_EXIT_VMMCALL, "host IF, no intercept");
	check_equal(taken[VEC_A], 1, "the guest takes it without IF");
	check(in_guest_then, "in the guest, by the host's IF");

	/* one that arrives while the guest runs */
	fresh();
	guest_set_handler(VEC_A, on_interrupt);
	svm_intercept(SVM_EXIT_INTR, true);
	vmcb->vintr = VINTR_MASKING;
	svm_host_if = true;
	svm_regs.rbx = APIC_BASE + 0x300;
	svm_regs.rcx = 0x44000 | VEC_A;
	check_equal(svm_run_at(self_ipi), SVM_EXIT_INTR, "INTR that the guest sends itself");
	check_equal(taken[VEC_A], 1, "INTR: the host takes it");
	check(vmcb->rip > (u64)self_ipi, "INTR: the IPI was sent");
	check_equal(vmcb->exit_int_info, 0, "INTR: EXITINTINFO");
}

/* There is no system management mode, but who intercepts SMIs sees them. */
static void smi(void)
{
	fresh();
	clgi();
	apic_write(0x310, apic_read(0x20));
	apic_write(0x300, 0x4200);
	svm_intercept(SVM_EXIT_SMI, true);
	check_equal(svm_run_at(nothing), SVM_EXIT_SMI, "SMI pending at VMRUN");
	check_equal(vmcb->rip, nothing, "SMI: no instruction ran");
	fresh();
	svm_intercept(SVM_EXIT_SMI, true);
	svm_intercept(SVM_EXIT_HLT, false);
	svm_regs.rbx = APIC_BASE + 0x300;
	svm_regs.rcx = 0x44200; /* by the shorthand, as guests of KVM may */
	check_equal(svm_run_at(self_ipi), SVM_EXIT_SMI, "SMI that the guest sends itself");
	fresh();
	svm_regs.rbx = APIC_BASE + 0x300;
	svm_regs.rcx = 0x44200;
	check_equal(svm_run_at(self_ipi), SVM_EXIT_VMMCALL, "SMI without intercept");
}

static void nmi(void)
{
	fresh();
	guest_set_handler(2, on_event);
	/* GIF holds it back; with the intercept it exits and is the host's after STGI */
	clgi();
	apic_self(2);
	check_equal(taken[2], 0, "NMI waits for GIF");
	svm_intercept(SVM_EXIT_NMI, true);
	check_equal(svm_run_at(nothing), SVM_EXIT_NMI, "NMI pending at VMRUN");
	check_equal(vmcb->rip, nothing, "NMI: no instruction ran");
	check_equal(taken[2], 1, "NMI: taken by the host");
	check(!in_guest_then, "NMI: in the host");
	/* without it the guest takes it */
	fresh();
	clgi();
	apic_self(2);
	check_equal(svm_run_at(nothing), SVM_EXIT_VMMCALL, "NMI without intercept");
	check_equal(taken[2], 1, "NMI: taken");
	check(in_guest_then, "NMI: in the guest");
	/* GIF clear after an exit: nothing is taken before STGI */
	fresh();
	svm_keep_gif = true;
	check_equal(svm_run_at(nothing), SVM_EXIT_VMMCALL, "GIF clear");
	apic_self(2);
	check_equal(taken[2], 0, "NMI waits");
	guest_set_handler(VEC_A, on_interrupt);
	apic_self(VEC_A);
	sti();
	__asm__ volatile("nop; nop");
	check_equal(taken[VEC_A], 0, "an interrupt waits");
	stgi();
	__asm__ volatile("nop; nop");
	cli();
	check_equal(taken[2], 1, "STGI lets the NMI in");
	check_equal(taken[VEC_A], 1, "STGI lets the interrupt in");
	check_equal(order[0], 2, "the NMI comes first");
	guest_set_handler(2, NULL);
}

/* Under VM_CR.R_INIT an INIT is #SX; GIF and the intercept hold it back before; 15.28. */
static void init(void)
{
	if (guest_tcg_wrong("INIT redirection"))
		return;
	wrmsr(MSR_VM_CR, VM_CR_R_INIT);
	fresh();
	guest_set_handler(VEC_SX, on_event);
	clgi();
	apic_init_self();
	check_equal(taken[VEC_SX], 0, "INIT waits for GIF");
	svm_intercept(SVM_EXIT_INIT, true);
	check_equal(svm_run_at(nothing), SVM_EXIT_INIT, "INIT pending at VMRUN");
	check_equal(vmcb->rip, nothing, "INIT: no instruction ran");
	check_equal(taken[VEC_SX], 1, "INIT: #SX in the host after STGI");
	check_equal(taken_error[VEC_SX], 1, "INIT: #SX's error code");
	/* without the intercept it is the guest's */
	fresh();
	clgi();
	apic_init_self();
	check_equal(svm_run_at(nothing), SVM_EXIT_VMMCALL, "INIT without intercept");
	check_equal(taken[VEC_SX], 1, "INIT: #SX in the guest");
	check(in_guest_then, "INIT: in the guest");
	fresh();
	clgi();
	apic_init_self();
	svm_intercept(SVM_EXIT_EXCEPTION + VEC_SX, true);
	check_equal(svm_run_at(nothing), SVM_EXIT_EXCEPTION + VEC_SX, "#SX has an intercept");
	check_equal(vmcb->exit_info1, 1, "#SX: EXITINFO1");
	guest_set_handler(VEC_SX, NULL);
	wrmsr(MSR_VM_CR, 0);
}

/* ---- virtual interrupts ---- */

static u64 virq(unsigned vector, unsigned prio, u64 flags)
{
	return VINTR_IRQ | (u64)vector << 32 | (u64)prio << 16 | flags;
}

static void virtual_interrupts(void)
{
	fresh();
	vmcb->vintr = virq(VEC_A, 5, VINTR_MASKING);
	check_equal(svm_run_at(nothing), SVM_EXIT_VMMCALL, "V_IRQ, IF clear");
	check_equal(taken[VEC_A], 0, "V_IRQ waits for IF");
	check(vmcb->vintr & VINTR_IRQ, "V_IRQ stays");
	check_equal(svm_run_at(sti_code), SVM_EXIT_VMMCALL, "V_IRQ, STI");
	check_equal(taken[VEC_A], 1, "V_IRQ is taken");
	check_equal(taken_rip[VEC_A], sti_code + 2, "V_IRQ: after the shadow of STI");
	check(!(vmcb->vintr & VINTR_IRQ), "V_IRQ is clear");

	/* IF set at VMRUN */
	fresh();
	vmcb->vintr = virq(VEC_A, 5, VINTR_MASKING);
	vmcb->rflags |= FLAG_IF;
	check_equal(svm_run_at(nothing), SVM_EXIT_VMMCALL, "V_IRQ at VMRUN");
	check_equal(taken_rip[VEC_A], nothing, "V_IRQ comes before the first instruction");
	/* with an interrupt shadow, after it */
	fresh();
	vmcb->vintr = virq(VEC_A, 5, VINTR_MASKING);
	vmcb->rflags |= FLAG_IF;
	vmcb->interrupt_state = INTERRUPT_STATE_SHADOW;
	check_equal(svm_run_at(nothing), SVM_EXIT_VMMCALL, "V_IRQ in a shadow");
	check_equal(taken_rip[VEC_A], nothing + 1, "V_IRQ comes after the first instruction");
	check(!(vmcb->interrupt_state & INTERRUPT_STATE_SHADOW), "the shadow is over");

	/* the intercept: the guest has not taken it */
	fresh();
	vmcb->vintr = virq(VEC_A, 5, VINTR_MASKING);
	svm_intercept(SVM_EXIT_VINTR, true);
	check_equal(svm_run_at(sti_code), SVM_EXIT_VINTR, "VINTR");
	check_equal(vmcb->rip, sti_code + 2, "VINTR: RIP");
	check(vmcb->vintr & VINTR_IRQ, "VINTR: V_IRQ stays");
	check_equal(taken[VEC_A], 0, "VINTR: not taken");

	/* V_TPR against V_INTR_PRIO */
	for (unsigned prio = 0; prio < 16; prio += 5)
		for (unsigned tpr = 0; tpr < 16; tpr += 5) {
			fresh();
			vmcb->vintr = virq(VEC_A, prio, VINTR_MASKING | tpr);
			check_equal(svm_run_at(sti_code), SVM_EXIT_VMMCALL, "V_TPR");
			check_equal(taken[VEC_A], prio > tpr, "priority %u, V_TPR %u", prio, tpr);
			fresh();
			vmcb->vintr = virq(VEC_A, prio, VINTR_MASKING | VINTR_IGN_TPR | tpr);
			check_equal(svm_run_at(sti_code), SVM_EXIT_VMMCALL, "V_IGN_TPR");
			check_equal(taken[VEC_A], 1, "priority %u, V_TPR %u ignored", prio, tpr);
		}

	/* CR8 is V_TPR: written by the guest it lets the interrupt in, and comes back */
	fresh();
	write_cr8(3);
	vmcb->vintr = virq(VEC_A, 5, VINTR_MASKING | 9);
	svm_regs.rcx = 4;
	check_equal(svm_run_at(mov_cr8), SVM_EXIT_VMMCALL, "MOV CR8");
	check_equal(taken[VEC_A], 1, "MOV CR8 unmasks it");
	check_equal(taken_cr8, 4, "CR8 in the guest is V_TPR");
	check_equal(vmcb->vintr & VINTR_TPR, 4, "V_TPR is written back");
	check_equal(read_cr8(), 3, "the host's TPR stays");
	write_cr8(0);
}

static void shadow(void)
{
	fresh();
	check_equal(svm_run_at(sti_exit), SVM_EXIT_VMMCALL, "exit in the shadow of STI");
	check(vmcb->interrupt_state & INTERRUPT_STATE_SHADOW, "STI: the shadow is saved");
	fresh();
	check_equal(svm_run_at(mov_ss_exit), SVM_EXIT_VMMCALL, "exit in the shadow of MOV SS");
	check(vmcb->interrupt_state & INTERRUPT_STATE_SHADOW, "MOV SS: the shadow is saved");
	fresh();
	check_equal(svm_run_at(sti_code), SVM_EXIT_VMMCALL, "exit behind the shadow");
	check(!(vmcb->interrupt_state & INTERRUPT_STATE_SHADOW), "no shadow is saved");
}

static void virtual_gif(void)
{
	if (!svm_has(SVM_VGIF)) {
		guest_skip("virtual GIF");
		return;
	}
	fresh();
	vmcb->vintr = virq(VEC_A, 5, VINTR_MASKING | VINTR_GIF_ENABLE);
	check_equal(svm_run_at(sti_code), SVM_EXIT_VMMCALL, "V_GIF clear");
	check_equal(taken[VEC_A], 0, "V_GIF clear holds V_IRQ back");
	check_equal(svm_run_at(stgi_late), SVM_EXIT_VMMCALL, "STGI sets V_GIF");
	check(vmcb->vintr & VINTR_GIF, "V_GIF is saved");
	check_equal(taken[VEC_A], 1, "STGI lets V_IRQ in");
	check_equal(taken_rip[VEC_A], stgi_late + 6, "behind STGI");
	fresh();
	vmcb->vintr = virq(VEC_A, 5, VINTR_MASKING | VINTR_GIF_ENABLE | VINTR_GIF);
	check_equal(svm_run_at(clgi_code), SVM_EXIT_VMMCALL, "CLGI clears V_GIF");
	check(!(vmcb->vintr & VINTR_GIF), "V_GIF clear is saved");
	check_equal(taken[VEC_A], 0, "CLGI holds V_IRQ back");
	/* intercepts go first */
	svm_intercept(SVM_EXIT_STGI, true);
	check_equal(svm_run_at(stgi_late), SVM_EXIT_STGI, "STGI's intercept");
	check(!(vmcb->vintr & VINTR_GIF), "STGI's intercept: V_GIF stays");
	/* the virtual flag is no mask of physical interrupts */
	fresh();
	guest_set_handler(VEC_A, on_interrupt);
	svm_intercept(SVM_EXIT_INTR, true);
	vmcb->vintr = VINTR_MASKING | VINTR_GIF_ENABLE;
	svm_host_if = true;
	apic_self(VEC_A);
	check_equal(svm_run_at(nothing), SVM_EXIT_INTR, "V_GIF clear and INTR");
	check_equal(taken[VEC_A], 1, "V_GIF clear: the host takes it");
}

/* HLT that nobody intercepts sleeps until something wakes it. */
static void halt(void)
{
	u64 exit = 0;

	fresh();
	vmcb->vintr = virq(VEC_A, 5, VINTR_MASKING);
	check_equal(svm_run_at(sti_hlt), SVM_EXIT_VMMCALL, "HLT and V_IRQ");
	check_equal(taken[VEC_A], 1, "V_IRQ wakes it");
	check_equal(taken_rip[VEC_A], sti_hlt + 2, "V_IRQ: after HLT");
	/* a timer of the local APIC, which is the host's; where it came before HLT it has more time */
	for (u32 time = 100000; time < 1000000000; time *= 4) {
		fresh();
		guest_set_handler(VEC_B, on_interrupt);
		apic_write(0x3e0, 0xb);
		apic_write(0x320, VEC_B);
		apic_write(0x380, time);
		svm_intercept(SVM_EXIT_INTR, true);
		vmcb->vintr = VINTR_MASKING;
		svm_host_if = true;
		exit = svm_run_at(sti_hlt);
		if (vmcb->rip - (u64)sti_hlt > 1)
			break;
	}
	check_equal(exit, SVM_EXIT_INTR, "HLT and INTR");
	check_equal(vmcb->rip, sti_hlt + 2, "INTR: after HLT");
	check_equal(taken[VEC_B], 1, "INTR: the host's timer");
	/* code that never leaves its loop is interrupted as well */
	fresh();
	guest_set_handler(VEC_B, on_interrupt);
	svm_intercept(SVM_EXIT_INTR, true);
	vmcb->vintr = VINTR_MASKING;
	svm_host_if = true;
	svm_regs.rbx = (u64)guest_pages(1);
	*(u64 *)svm_regs.rbx = 2000000;
	apic_write(0x380, 100000);
	check_equal(svm_run_at(spin_if), SVM_EXIT_INTR, "a loop and INTR");
	check_equal(taken[VEC_B], 1, "a loop: the host's timer");
}

void guest_main(void)
{
	if (!svm_setup())
		return;
	apic_enable();
	injection();
	software_injection();
	faulting_injection();
	icebp();
	physical();
	if (!guest_tcg_wrong("SMI"))
		smi();
	nmi();
	init();
	virtual_interrupts();
	shadow();
	virtual_gif();
	halt();
}
