/* SPDX-License-Identifier: MIT */
/*
 * The virtual APIC: CR8 and TPR thresholds, the APIC-access page, x2APIC MSRs, virtual interrupts,
 * EOI exits, posted interrupts. SDM3 chapter 30.
 */
#include "vmx.h"

#define VEC_A 0x41
#define VEC_B 0x62
#define VEC_POSTED 0xf2

CODE(nothing, "nop; nop");
CODE(write_cr8_rcx, "mov %rcx, %cr8; nop");
CODE(read_cr8_rdx, "mov %cr8, %rdx");
CODE(load32, "movl (%rbx), %eax");
CODE(load8, "movb (%rbx), %al");
CODE(load64, "movq (%rbx), %rax");
CODE(store32, "movl %ecx, (%rbx); nop; nop");
CODE(store8, "movb %cl, (%rbx); nop");
CODE(store64, "movq %rcx, (%rbx)");
CODE(or32, "orl %ecx, (%rbx); nop");
CODE(call_there, "jmp *%rbx");
CODE(move_string, "movsb");
CODE(push_there, "mov %rbx, %rsp; push %rcx");
CODE(read_msr, "rdmsr");
CODE(write_msr, "wrmsr; nop");
CODE(sti_code, "sti; nop; nop; cli");
CODE(self_posted, "movl %ecx, (%rbx); nop; nop; nop");
CODE(int_a, "int $0x41");

static u32 *page;          /* virtual-APIC page */
static u64 access_page;    /* where the guest sees it: an address that is mapped to nothing else */
static u64 *descriptor;

static unsigned taken[256], ordered;
static u8 order[8];
static u64 taken_rip[256];

static void on_event(struct frame *frame)
{
	taken[frame->vector]++;
	taken_rip[frame->vector] = frame->rip;
	if (ordered < ARRAY_SIZE(order))
		order[ordered++] = (u8)frame->vector;
}

static u32 *reg(unsigned offset)
{
	return page + offset / 4;
}

static void set_vector(unsigned base, unsigned vector)
{
	*reg(base + vector / 32 * 16) |= (u32)BIT(vector % 32);
}

static bool has_vector(unsigned base, unsigned vector)
{
	return *reg(base + vector / 32 * 16) >> vector % 32 & 1;
}

static void fresh(u32 secondary)
{
	vmx_fresh();
	memset(page, 0, PAGE);
	memset(taken, 0, sizeof(taken));
	ordered = 0;
	put(virtual_apic_address, page);
	put(apic_access_address, access_page);
	vmx_proc(PROC_TPR_SHADOW | PROC_MSR_BITMAPS);
	if (secondary & SEC_VIRTUAL_INTERRUPTS)
		vmx_pin(PIN_EXTERNAL_INTERRUPT);
	if (secondary)
		vmx_secondary(secondary);
	vmx_regs.rbx = access_page;
}

/* ---- CR8, 30.3 ---- */

static void cr8(void)
{
	fresh(0);
	write_cr8(7);
	*reg(0x80) = 0x5a;
	PASSES(read_cr8_rdx);
	check_equal(vmx_regs.rdx, 5, "CR8 is VTPR");
	vmx_regs.rcx = 9;
	PASSES(write_cr8_rcx);
	check_equal(*reg(0x80), 0x90, "VTPR is written");
	check_equal(read_cr8(), 7, "the host's TPR stays");
	write_cr8(0);
	/* threshold: an exit once the instruction is done */
	put(tpr_threshold, 6);
	vmx_regs.rcx = 6;
	PASSES(write_cr8_rcx);
	vmx_regs.rcx = 5;
	check_equal(vmx_run_at(write_cr8_rcx), VMX_EXIT_TPR_BELOW_THRESHOLD, "below the threshold");
	check_equal(get(guest_rip), write_cr8_rcx + 4, "after the instruction");
	check_equal(*reg(0x80), 0x50, "which was done");
	check_equal(get(exit_qualification), 0, "TPR threshold: qualification");
	/* exits of MOV CR8 come first */
	vmx_proc(PROC_CR8_LOAD);
	*reg(0x80) = 0xf0;
	vmx_regs.rcx = 1;
	check_equal(vmx_run_at(write_cr8_rcx), VMX_EXIT_CR_ACCESS, "CR8-load exiting");
	check_equal(*reg(0x80), 0xf0, "VTPR stays");
	/* 27.7.7: at the entry, where APIC accesses are virtualized */
	fresh(SEC_APIC_ACCESSES);
	*reg(0x80) = 0x30;
	put(tpr_threshold, 4);
	check_equal(vmx_run_at(nothing), VMX_EXIT_TPR_BELOW_THRESHOLD,
		"below the threshold at the entry");
	check_equal(get(guest_rip), nothing, "no instruction ran");
	put(entry_interruption_info, EVENT(INTR_HARDWARE_EXCEPTION, VEC_UD));
	check_equal(vmx_run_at(nothing), VMX_EXIT_TPR_BELOW_THRESHOLD, "and after an injection");
	check_equal(get(guest_rip), guest_trap_entries + 16 * VEC_UD, "which was delivered");
	put(guest_rsp, vmx_stack_top);
	put(guest_activity, ACTIVITY_HLT);
	check_equal(vmx_run_at(nothing), VMX_EXIT_TPR_BELOW_THRESHOLD, "and in HLT");
	put(guest_activity, ACTIVITY_ACTIVE);
	*reg(0x80) = 0x40;
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "at the threshold");
}

/* ---- the APIC-access page, 30.4 ---- */

enum { READ, WRITE, FETCH, EVENT_DELIVERY };

static void access_exit(const void *code, u32 offset, unsigned type, const char *name)
{
	vmx_regs.rbx = access_page + offset;
	if (!check_equal(vmx_run_at(code), VMX_EXIT_APIC_ACCESS, "%s at %x", name, offset))
		return;
	check_equal(get(exit_qualification) & 0xffff, offset | type << 12,
		"%s at %x: qualification", name,
		offset);
	check_equal(get(guest_rip), type == FETCH ? access_page + offset : (u64)code,
		"%s at %x: RIP", name,
		offset);
}

static void access_passes(const void *code, u32 offset, const char *name)
{
	vmx_regs.rbx = access_page + offset;
	check_equal(vmx_run_at(code), VMX_EXIT_VMCALL, "%s at %x", name, offset);
}

static void write_exit(const void *code, u32 offset, const char *name)
{
	vmx_regs.rbx = access_page + offset;
	if (!check_equal(vmx_run_at(code), VMX_EXIT_APIC_WRITE, "%s at %x", name, offset))
		return;
	check_equal(get(exit_qualification), offset, "%s at %x: qualification", name, offset);
	check_equal(get(guest_rip), (u64)code + 2, "%s at %x: RIP", name, offset);
}

static void accesses_alone(void)
{
	if (!vmx_offers_secondary(SEC_APIC_ACCESSES, "virtualize APIC accesses"))
		return;
	/* without the TPR shadow all exit */
	fresh(SEC_APIC_ACCESSES);
	put(cpu_controls, get(cpu_controls) & ~PROC_TPR_SHADOW);
	access_exit(load32, 0x80, READ, "load");
	access_exit(store32, 0x80, WRITE, "store");
	access_exit(call_there, 0x20, FETCH, "fetch");
	/* with it TPR is virtual */
	fresh(SEC_APIC_ACCESSES);
	*reg(0x80) = 0x12345678;
	access_passes(load32, 0x80, "load of TPR");
	check_equal((u32)vmx_regs.rax, 0x12345678, "TPR, loaded");
	access_passes(load8, 0x80, "load of a byte of TPR");
	vmx_regs.rcx = 0xffffff57;
	access_passes(store32, 0x80, "store to TPR");
	check_equal(*reg(0x80), 0x57, "TPR, stored");
	vmx_regs.rcx = 0x20;
	access_passes(or32, 0x80, "OR to TPR");
	check_equal(*reg(0x80), 0x77, "TPR, read and written");
	access_exit(load64, 0x80, READ, "load of 8 bytes");
	access_exit(store64, 0x80, WRITE, "store of 8 bytes");
	access_exit(load8, 0x81, READ, "load of TPR's second byte");
	access_exit(load32, 0x82, READ, "load across TPR's end");
	access_exit(load32, 0x20, READ, "load of ID");
	access_exit(load32, 0xb0, READ, "load of EOI");
	access_exit(store32, 0xb0, WRITE, "store to EOI");
	access_exit(store32, 0x300, WRITE, "store to ICR");
	access_exit(or32, 0x300, WRITE, "OR to ICR");
	access_exit(call_there, 0x80, FETCH, "fetch");
	/* the threshold */
	put(tpr_threshold, 5);
	*reg(0x80) = 0x50;
	vmx_regs.rcx = 0x4f;
	vmx_regs.rbx = access_page + 0x80;
	check_equal(vmx_run_at(store8), VMX_EXIT_TPR_BELOW_THRESHOLD, "store below the threshold");
	check_equal(get(guest_rip), store8 + 2, "after the store");
	/* it takes the control: the same page without it is memory */
	fresh(0);
	put(cpu_controls, get(cpu_controls) | PROC_SECONDARY);
	*(u32 *)access_page = 0x77;
	access_passes(load32, 0, "load without the control");
	check_equal((u32)vmx_regs.rax, 0x77, "it is memory");
	/* in the middle of a string, and of an event's delivery */
	fresh(SEC_APIC_ACCESSES);
	vmx_regs.rsi = access_page + 0x3f0;
	vmx_regs.rdi = (u64)page + 0x800;
	check_equal(vmx_run_at(move_string), VMX_EXIT_APIC_ACCESS, "MOVS from the page");
	check_equal(get(exit_qualification) & 0xffff, 0x3f0, "MOVS: qualification");
	vmx_regs.rbx = access_page + 0x108;
	check_equal(vmx_run_at(push_there), VMX_EXIT_APIC_ACCESS, "PUSH to the page");
	check_equal(get(exit_qualification) & 0xffff, 0x100 | WRITE << 12, "PUSH: qualification");
	put(guest_rsp, access_page + 0x400);
	check_equal(vmx_run_at(int_a), VMX_EXIT_APIC_ACCESS, "INT with its stack in the page");
	check_equal(get(exit_qualification) >> 12 & 15, EVENT_DELIVERY, "INT: qualification");
	check_equal(get(idt_vectoring_info), EVENT(INTR_SOFTWARE, VEC_A), "INT: IDT vectoring");
	check_equal(get(exit_instruction_length), 2, "INT: length");
}

static void register_virtualization(void)
{
	static const u16 both[] = { 0x20, 0x80, 0xd0, 0xe0, 0xf0, 0x280, 0x310, 0x320, 0x330, 0x340,
		0x350,
		0x360, 0x370, 0x380, 0x3e0, 0xb0, 0x300 };
	static const u16 read_only[] = { 0x30, 0x100, 0x170, 0x180, 0x1f0, 0x200, 0x270 };
	static const u16 neither[] = { 0x00, 0x10, 0x40, 0x90, 0xa0, 0xc0, 0x290, 0x2f0, 0x390,
		0x3a0, 0x3f0,
		0x400, 0xff0 };

	if (!vmx_offers_secondary(SEC_APIC_REGISTERS, "APIC-register virtualization"))
		return;
	fresh(SEC_APIC_ACCESSES | SEC_APIC_REGISTERS);
	for (unsigned i = 0; i < ARRAY_SIZE(both); i++) {
		*reg(both[i]) = 0xabcd00 | i;
		access_passes(load32, both[i], "load");
		check_equal((u32)vmx_regs.rax, 0xabcd00 | i, "load at %x: value", both[i]);
		vmx_regs.rcx = 0x11000000 | i;
		if (both[i] == 0x80 || both[i] == 0x310)
			access_passes(store32, both[i], "store");
		else
			write_exit(store32, both[i], "store");
		check_equal(*reg(both[i]),
			both[i] == 0x80 ? i : both[i] == 0x310 ? 0x11000000 : 0x11000000 | i,
			"store at %x: value", both[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(read_only); i++) {
		access_passes(load32, read_only[i], "load");
		access_exit(store32, read_only[i], WRITE, "store");
	}
	for (unsigned i = 0; i < ARRAY_SIZE(neither); i++) {
		access_exit(load32, neither[i], READ, "load");
		access_exit(store32, neither[i], WRITE, "store");
	}
	*reg(0xf0) = 0xffffffff;
	vmx_regs.rcx = 0x12;
	vmx_regs.rbx = access_page + 0xf1;
	check_equal(vmx_run_at(store8), VMX_EXIT_APIC_WRITE, "store of one byte");
	check_equal(get(exit_qualification), 0xf1, "its offset");
	check_equal(*reg(0xf0), 0xffff12ff, "its value");
	access_exit(load32, 0xf4, READ, "load beside a register");
	access_exit(load32, 0xf2, READ, "load across a register's end");
}

/* ---- virtual interrupts, 30.1, 30.2 ---- */

static void interrupts(void)
{
	if (!vmx_offers_secondary(SEC_VIRTUAL_INTERRUPTS, "virtual-interrupt delivery"))
		return;
	/* at the entry, by RVI against VTPR */
	for (unsigned tpr = 0x30; tpr <= 0x50; tpr += 0x10) {
		fresh(SEC_APIC_ACCESSES | SEC_VIRTUAL_INTERRUPTS);
		set_vector(0x200, VEC_A);
		*reg(0x80) = tpr;
		put(guest_interrupt_status, VEC_A);
		put(guest_rflags, 2 | FLAG_IF);
		check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "virtual interrupt, TPR %x", tpr);
		check_equal(taken[VEC_A], tpr < 0x40, "virtual interrupt, TPR %x: taken", tpr);
		check_equal(has_vector(0x200, VEC_A), tpr >= 0x40, "TPR %x: IRR", tpr);
		check_equal(has_vector(0x100, VEC_A), tpr < 0x40, "TPR %x: ISR", tpr);
		check_equal(*reg(0xa0), tpr < 0x40 ? 0x40 : tpr, "TPR %x: PPR", tpr);
		check_equal(get(guest_interrupt_status), tpr < 0x40 ? VEC_A << 8 : VEC_A,
			"TPR %x: status", tpr);
	}
	/* by IF and shadows */
	fresh(SEC_VIRTUAL_INTERRUPTS);
	set_vector(0x200, VEC_A);
	put(guest_interrupt_status, VEC_A);
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "virtual interrupt, IF clear");
	check_equal(taken[VEC_A], 0, "waits");
	check_equal(vmx_run_at(sti_code), VMX_EXIT_VMCALL, "virtual interrupt, STI");
	check_equal(taken[VEC_A], 1, "is taken");
	check_equal(taken_rip[VEC_A], sti_code + 2, "after the shadow of STI");
	fresh(SEC_VIRTUAL_INTERRUPTS);
	set_vector(0x200, VEC_A);
	put(guest_interrupt_status, VEC_A);
	put(guest_rflags, 2 | FLAG_IF);
	put(guest_interruptibility, INTERRUPTIBILITY_MOV_SS);
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "virtual interrupt in a shadow");
	check_equal(taken_rip[VEC_A], nothing + 1, "an instruction later");
	/* it wakes from HLT, of the entry and of the guest */
	fresh(SEC_VIRTUAL_INTERRUPTS);
	set_vector(0x200, VEC_A);
	put(guest_interrupt_status, VEC_A);
	put(guest_rflags, 2 | FLAG_IF);
	put(guest_activity, ACTIVITY_HLT);
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "virtual interrupt in HLT");
	check_equal(taken[VEC_A], 1, "ends it");
	/* an interrupt window holds it back, for good */
	fresh(SEC_VIRTUAL_INTERRUPTS);
	vmx_proc(PROC_INTERRUPT_WINDOW);
	set_vector(0x200, VEC_A);
	put(guest_interrupt_status, VEC_A);
	put(guest_rflags, 2 | FLAG_IF);
	check_equal(vmx_run_at(nothing), VMX_EXIT_INTERRUPT_WINDOW, "a window instead");
	check_equal(taken[VEC_A], 0, "and no virtual interrupt");
	/* after an injection; the higher of two first */
	fresh(SEC_VIRTUAL_INTERRUPTS);
	set_vector(0x200, VEC_A);
	set_vector(0x200, VEC_B);
	put(guest_interrupt_status, VEC_B);
	put(guest_rflags, 2 | FLAG_IF);
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "two virtual interrupts");
	check_equal(taken[VEC_B], 1, "the higher one");
	check_equal(taken[VEC_A], 0, "the lower one waits for EOI");
	check_equal(get(guest_interrupt_status), VEC_B << 8 | VEC_A, "RVI and SVI");
	/* a real one exits meanwhile */
	fresh(SEC_VIRTUAL_INTERRUPTS);
	set_vector(0x200, VEC_A);
	put(guest_interrupt_status, VEC_A);
	put(guest_rflags, 2 | FLAG_IF);
	apic_self(VEC_B);
	check_equal(vmx_run_at(nothing), VMX_EXIT_EXTERNAL_INTERRUPT, "a real interrupt");
	check_equal(get(guest_interrupt_status), VEC_A << 8, "the virtual one comes before it");
	check_equal(get(guest_rip), guest_trap_entries + 16 * VEC_A, "and is delivered, no more");
	sti();
	__asm__ volatile("nop; nop");
	cli();
	apic_eoi();
	check_equal(taken[VEC_B], 1, "the real one is the host's");
}

static void tpr_and_eoi(void)
{
	/* lowering TPR lets one in, by each way */
	for (unsigned way = 0; way < 3; way++) {
		static const char *const names[] = { "CR8", "the page", "the MSR" };

		fresh(way == 2 ? SEC_X2APIC | SEC_VIRTUAL_INTERRUPTS :
				 SEC_APIC_ACCESSES | SEC_VIRTUAL_INTERRUPTS);
		set_vector(0x200, VEC_A);
		*reg(0x80) = 0x80;
		put(guest_interrupt_status, VEC_A);
		put(guest_rflags, 2 | FLAG_IF);
		vmx_regs.rcx = way == 0 ? 3 : way == 1 ? 0x30 : 0x808;
		vmx_regs.rax = 0x30;
		vmx_regs.rdx = 0;
		vmx_regs.rbx = access_page + 0x80;
		check_equal(vmx_run_at(way == 0 ? write_cr8_rcx : way == 1 ? store32 : write_msr),
			VMX_EXIT_VMCALL, "TPR lowered by %s", names[way]);
		check_equal(taken[VEC_A], 1, "TPR lowered by %s: taken", names[way]);
		check_equal(taken_rip[VEC_A],
			way == 0 ? write_cr8_rcx + 4 : way == 1 ? store32 + 2 : write_msr + 2,
			"TPR lowered by %s: at once", names[way]);
	}
	/* EOI of one in service lets the next one in */
	for (unsigned way = 0; way < 2; way++) {
		fresh(way ? SEC_X2APIC | SEC_VIRTUAL_INTERRUPTS : SEC_APIC_ACCESSES |
			SEC_VIRTUAL_INTERRUPTS);
		set_vector(0x100, VEC_B);
		set_vector(0x200, VEC_A);
		put(guest_interrupt_status, VEC_B << 8 | VEC_A);
		put(guest_rflags, 2 | FLAG_IF);
		vmx_regs.rcx = way ? 0x80b : 0x55;
		vmx_regs.rbx = access_page + 0xb0;
		check_equal(vmx_run_at(way ? write_msr : store32), VMX_EXIT_VMCALL, "EOI");
		check_equal(taken[VEC_A], 1, "EOI: the next one");
		check(!has_vector(0x100, VEC_B), "EOI: out of service");
		check_equal(*reg(0xb0), 0, "EOI: VEOI");
		check_equal(get(guest_interrupt_status), VEC_A << 8, "EOI: status");
		/* and by the bitmap exits */
		fresh(way ? SEC_X2APIC | SEC_VIRTUAL_INTERRUPTS : SEC_APIC_ACCESSES |
			SEC_VIRTUAL_INTERRUPTS);
		set_vector(0x100, VEC_B);
		set_vector(0x200, VEC_A);
		put(guest_interrupt_status, VEC_B << 8 | VEC_A);
		put(guest_rflags, 2 | FLAG_IF);
		put(eoi_exit_bitmap1, BIT(VEC_B - 64));
		vmx_regs.rcx = way ? 0x80b : 0x55;
		vmx_regs.rbx = access_page + 0xb0;
		check_equal(vmx_run_at(way ? write_msr : store32), VMX_EXIT_VIRTUALIZED_EOI,
			"EOI exits");
		check_equal(get(exit_qualification), VEC_B, "EOI exits: vector");
		check_equal(get(guest_rip), way ? write_msr + 2 : store32 + 2, "EOI exits: RIP");
		check_equal(taken[VEC_A], 0, "EOI exits: nothing is taken");
		check_equal(get(guest_interrupt_status), VEC_A, "EOI exits: status");
		check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "the next entry");
		check_equal(taken[VEC_A], 1, "lets it in");
	}
	/* an interrupt to oneself */
	fresh(SEC_APIC_ACCESSES | SEC_VIRTUAL_INTERRUPTS);
	put(guest_rflags, 2 | FLAG_IF);
	vmx_regs.rcx = 0x40000 | VEC_A;
	access_passes(store32, 0x300, "self-IPI");
	check_equal(taken[VEC_A], 1, "self-IPI: taken");
	check_equal(taken_rip[VEC_A], store32 + 2, "self-IPI: at once");
	vmx_regs.rcx = VEC_A; /* no shorthand */
	write_exit(store32, 0x300, "IPI to another");
	check_equal(*reg(0x300), VEC_A, "IPI to another: ICR");
	vmx_regs.rcx = 0x4000f;
	write_exit(store32, 0x300, "self-IPI of a vector that may not be");
	access_passes(load32, 0x300, "load of ICR");
	access_passes(load32, 0xb0, "load of EOI");
	access_exit(load32, 0x310, READ, "load of ICR's upper half");
}

/* ---- MSRs, 30.5 ---- */

static void msr(const void *code, u32 number, u64 value, u32 want, const char *name)
{
	vmx_regs.rcx = number;
	vmx_regs.rax = (u32)value;
	vmx_regs.rdx = value >> 32;
	check_equal(vmx_run_fixup(code, code == read_msr ? read_msr_end : write_msr_end), want,
		"%s %x", name,
		number);
}

static void msrs(void)
{
	if (!vmx_offers_secondary(SEC_X2APIC, "virtualize x2APIC mode"))
		return;
	/* the real local APIC is in xAPIC mode, so whatever is not virtual is #GP */
	fresh(SEC_X2APIC);
	*reg(0x80) = 0x123;
	*reg(0x84) = 0x456;
	msr(read_msr, 0x808, 0, VMX_EXIT_VMCALL, "RDMSR");
	check_equal(vmx_trap.vector, NO_TRAP, "RDMSR of TPR");
	check_equal(vmx_regs.rax, 0x123, "TPR, low");
	check_equal(vmx_regs.rdx, 0x456, "TPR, high: what lies behind it");
	msr(write_msr, 0x808, 0x60, VMX_EXIT_VMCALL, "WRMSR");
	check_equal(*reg(0x80), 0x60, "TPR, written");
	msr(write_msr, 0x808, 0x160, VMX_EXIT_VMCALL, "WRMSR of reserved bits");
	check_equal(vmx_trap.vector, VEC_GP, "TPR: reserved bits");
	static const u32 real[] = { 0x802, 0x803, 0x80a, 0x80d, 0x80f, 0x828, 0x830, 0x832 };
	for (unsigned i = 0; i < ARRAY_SIZE(real); i++) {
		msr(read_msr, real[i], 0, VMX_EXIT_VMCALL, "RDMSR");
		check_equal(vmx_trap.vector, VEC_GP, "RDMSR %x is not virtual", real[i]);
	}
	msr(write_msr, 0x80b, 0, VMX_EXIT_VMCALL, "WRMSR");
	check_equal(vmx_trap.vector, VEC_GP, "WRMSR of EOI is not virtual");
	/* the bitmap comes first */
	vmx_msr_bitmap[0x808 / 8] |= 1;
	msr(read_msr, 0x808, 0, VMX_EXIT_RDMSR, "RDMSR that exits");
	/* all of them are readable with APIC-register virtualization */
	fresh(SEC_X2APIC | SEC_APIC_REGISTERS);
	for (unsigned i = 0; i < 0x100; i += 3) {
		*reg(i << 4) = 0x1000 + i;
		msr(read_msr, 0x800 + i, 0, VMX_EXIT_VMCALL, "RDMSR");
		check_equal(vmx_trap.vector, NO_TRAP, "RDMSR %x", 0x800 + i);
		check_equal(vmx_regs.rax, 0x1000 + i, "RDMSR %x: value", 0x800 + i);
	}
	/* self-IPI */
	fresh(SEC_X2APIC | SEC_VIRTUAL_INTERRUPTS);
	put(guest_rflags, 2 | FLAG_IF);
	msr(write_msr, 0x83f, VEC_A, VMX_EXIT_VMCALL, "WRMSR");
	check_equal(taken[VEC_A], 1, "self-IPI by MSR");
	msr(write_msr, 0x83f, 5, VMX_EXIT_APIC_WRITE, "WRMSR");
	check_equal(get(exit_qualification), 0x3f0, "self-IPI of a low vector: qualification");
	msr(write_msr, 0x80b, 1, VMX_EXIT_VMCALL, "WRMSR of EOI, not zero");
	check_equal(vmx_trap.vector, VEC_GP, "EOI: reserved bits");
	/* without the control they are the real ones */
	fresh(0);
	msr(read_msr, 0x808, 0, VMX_EXIT_VMCALL, "RDMSR");
	check_equal(vmx_trap.vector, VEC_GP, "RDMSR of TPR, not virtualized");
}

/* ---- posted interrupts, 30.6 ---- */

static void posted_fresh(void)
{
	fresh(SEC_VIRTUAL_INTERRUPTS);
	vmx_pin(PIN_EXTERNAL_INTERRUPT | PIN_POSTED_INTERRUPTS);
	vmx_on_exit(EXIT_ACKNOWLEDGE);
	memset(descriptor, 0, 64);
	put(posted_interrupt_descriptor, descriptor);
	put(posted_interrupt_vector, VEC_POSTED);
	vmx_regs.rbx = APIC_BASE + 0x300;
	vmx_regs.rcx = 0x44000 | VEC_POSTED;
}

static void posted_interrupts(void)
{
	/* pending at the entry */
	posted_fresh();
	descriptor[1] = BIT(VEC_A - 64);
	descriptor[4] = 1 | 0xff00;
	put(guest_rflags, 2 | FLAG_IF);
	apic_self(VEC_POSTED);
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "notification at the entry");
	check_equal(taken[VEC_A], 1, "posted: taken");
	check_equal(descriptor[1], 0, "posted: PIR is empty");
	check_equal(descriptor[4], 0xff00, "posted: ON is clear, and nothing else");
	check_equal(apic_read(0x100 + (VEC_POSTED >> 5) * 16), 0,
		"posted: the notification is over");
	check_equal(taken[VEC_POSTED], 0, "posted: and nobody's");
	/* while it runs, with IF clear: requested, not delivered */
	posted_fresh();
	descriptor[1] = BIT(VEC_A - 64) | BIT(VEC_B - 64);
	descriptor[4] = 1;
	check_equal(vmx_run_at(self_posted), VMX_EXIT_VMCALL, "notification, IF clear");
	check_equal(taken[VEC_B], 0, "posted: IF holds it back");
	check_equal(get(guest_interrupt_status), VEC_B, "posted: RVI is the highest");
	check(has_vector(0x200, VEC_A) && has_vector(0x200, VEC_B), "posted: both in IRR");
	check_equal(descriptor[4], 0, "posted: ON is clear");
	check_equal(vmx_run_at(sti_code), VMX_EXIT_VMCALL, "STI");
	check_equal(taken[VEC_B], 1, "posted: taken then");
	/* it wakes from HLT only for what it brings */
	posted_fresh();
	descriptor[1] = BIT(VEC_A - 64);
	put(guest_activity, ACTIVITY_HLT);
	put(guest_rflags, 2 | FLAG_IF);
	apic_self(VEC_POSTED);
	check_equal(vmx_run_at(nothing), VMX_EXIT_VMCALL, "notification in HLT");
	check_equal(taken[VEC_A], 1, "posted: ends HLT");
	posted_fresh();
	vmx_pin(PIN_PREEMPTION_TIMER);
	put(preemption_timer, 20000);
	put(guest_activity, ACTIVITY_HLT);
	put(guest_rflags, 2 | FLAG_IF);
	apic_self(VEC_POSTED);
	check_equal(vmx_run_at(nothing), VMX_EXIT_PREEMPTION_TIMER,
		"notification of nothing in HLT");
	check_equal(get(guest_activity), ACTIVITY_HLT, "HLT goes on");
	check_equal(get(guest_rip), nothing, "no instruction ran");
	/* other vectors exit */
	posted_fresh();
	apic_self(VEC_B);
	check_equal(vmx_run_at(nothing), VMX_EXIT_EXTERNAL_INTERRUPT, "another vector");
	check_equal(get(exit_interruption_info), EVENT(INTR_EXTERNAL, VEC_B),
		"another vector: which");
	apic_eoi();
}

void guest_main(void)
{
	if (!vmx_setup())
		return;
	apic_enable();
	page = guest_pages(1);
	descriptor = guest_pages(1);
	access_page = (u64)guest_pages(1);
	/* the control is sure to work for 4 KiB pages alone, 30.4.5 */
	guest_map(guest_pml4, access_page, access_page, PTE_P | PTE_W | PTE_U);
	guest_set_handler(VEC_A, on_event);
	guest_set_handler(VEC_B, on_event);
	guest_set_handler(VEC_POSTED, on_event);
	cr8();
	accesses_alone();
	register_virtualization();
	interrupts();
	tpr_and_eoi();
	msrs();
	posted_interrupts();
}
