/* SPDX-License-Identifier: MIT */
/*
 * Exceptions of a guest: the exception bitmap, page-fault filtering, what an exit tells of each,
 * faults while something is being delivered, triple faults. SDM3 25.6.3, 26.2, 28.1, 28.2, 28.3.3.
 */
#include "vmx.h"

u64 word_image;

CODE(nothing, "nop; nop");
CODE(raise_de, "div %r15");
CODE(raise_bp, "int3");
CODE(icebp, ".byte 0xf1");
CODE(int_40, "int $0x40");
CODE(raise_ud, "ud2");
CODE(raise_nm, "fnop");
CODE(raise_np, "mov %ebp, %fs");
CODE(raise_ss, "mov (%rbp), %eax");
CODE(raise_gp, "mov %ebp, %fs");
CODE(raise_pf, "movb $1, 1(%rbp)");
CODE(read_pf, "mov (%rbp), %rax");
CODE(raise_mf, "fwait");
CODE(raise_xm, "divps %xmm0, %xmm0");
CODE(raise_ac, "pushfq; orq $0x40000, (%rsp); popfq; raise_ac_here: mov (%rbp), %rax");
CODE(write_word, "movq $1, word_image; nop");
CODE(move_dr, "mov %dr0, %rax");
extern u8 raise_ac_here[];

#define HOLE 0x123456789000ull
#define NP_SELECTOR 0x1f0
#define BOGUS 0xfff8

struct row {
	const char *name;
	const u8 *code, *at, *end;
	u8 vector, type;
	bool has_error, trap; /* trap: RF is not set in what is saved */
	u32 error;
	u64 rbp, qualification;
	u8 length;            /* where it is defined */
};
#define ROW(label, ...) { #label, label, label, label##_end, __VA_ARGS__ }

static const struct row rows[] = {
	ROW(raise_de, VEC_DE, INTR_HARDWARE_EXCEPTION, false, false, 0, 0, 0, 0),
	ROW(raise_bp, VEC_BP, INTR_SOFTWARE_EXCEPTION, false, true, 0, 0, 0, 1),
	ROW(icebp, VEC_DB, INTR_PRIVILEGED_EXCEPTION, false, true, 0, 0, 0, 1),
	ROW(raise_ud, VEC_UD, INTR_HARDWARE_EXCEPTION, false, false, 0, 0, 0, 0),
	ROW(raise_nm, VEC_NM, INTR_HARDWARE_EXCEPTION, false, false, 0, 0, 0, 0),
	ROW(raise_np, VEC_NP, INTR_HARDWARE_EXCEPTION, true, false, NP_SELECTOR, NP_SELECTOR, 0, 0),
	ROW(raise_ss, VEC_SS, INTR_HARDWARE_EXCEPTION, true, false, 0, BIT(63), 0, 0),
	ROW(raise_gp, VEC_GP, INTR_HARDWARE_EXCEPTION, true, false, BOGUS, BOGUS, 0, 0),
	ROW(raise_pf, VEC_PF, INTR_HARDWARE_EXCEPTION, true, false, 2, HOLE, HOLE + 1, 0),
	ROW(read_pf, VEC_PF, INTR_HARDWARE_EXCEPTION, true, false, 0, HOLE, HOLE, 0),
	ROW(raise_mf, VEC_MF, INTR_HARDWARE_EXCEPTION, false, false, 0, 0, 0, 0),
	{ "raise_ac", raise_ac, raise_ac_here, raise_ac_end, VEC_AC, INTR_HARDWARE_EXCEPTION, true,
		false, 0, (u64)&word_image + 1, 0, 0 },
	ROW(raise_xm, VEC_XM, INTR_HARDWARE_EXCEPTION, false, false, 0, 0, 0, 0),
};

static void prepare(const struct row *row)
{
	vmx_fresh();
	write_cr2(0x1111);
	vmx_regs.rbp = row->rbp;
	put(guest_cr0, (get(guest_cr0) | CR0_NE | CR0_AM) & ~(CR0_EM | CR0_TS));
	put(guest_cr4, get(guest_cr4) | CR4_OSFXSR | CR4_OSXMMEXCPT);
	__asm__ volatile("fninit");
	switch (row->vector) {
	case VEC_NM:
		put(guest_cr0, get(guest_cr0) | CR0_TS);
		break;
	case VEC_AC:
		vmx_user();
		break;
	case VEC_MF: {
		static const u16 control = 0x360;

		/* an invalid operation that nobody masked waits for the next x87 instruction */
		__asm__ volatile("fldcw %0\n\tfldz\n\tfldz\n\tfdivp" : : "m"(control));
		break;
	}
	case VEC_XM: {
		static const u32 mxcsr = 0x1f00; /* invalid operation unmasked */

		__asm__ volatile("pxor %%xmm0, %%xmm0\n\tldmxcsr %0" : : "m"(mxcsr) : "memory");
		break;
	}
	}
}

static u64 read_misaligned(u64 address)
{
	return guest_try("mov (%0), %%rax", : : "r"(address) : "rax");
}

/* Whether this CPU checks alignment at all, as the engine of nestbox does not. */
static bool checks_alignment(void)
{
	u64 cr0 = read_cr0();
	bool checks;

	write_cr0(cr0 | CR0_AM);
	guest_user_rflags = FLAG_AC;
	checks = guest_user(read_misaligned, (u64)&word_image + 1) == VEC_AC;
	guest_user_rflags = 0;
	write_cr0(cr0);
	return checks;
}

static void check_row(const struct row *row)
{
	static const u32 mxcsr = 0x1f80;
	u32 info = row->has_error ? EVENT_ERROR(row->type, row->vector) : EVENT(row->type,
		row->vector);

	if (row->vector == VEC_AC && !checks_alignment()) {
		guest_skip("#AC");
		return;
	}
	prepare(row);
	put(exception_bitmap, BIT(row->vector));
	if (check_equal(vmx_run_fixup(row->code, row->end), VMX_EXIT_EXCEPTION, "%s: exit",
		row->name)) {
		check_equal(get(exit_interruption_info), info, "%s: interruption information",
			row->name);
		if (row->has_error)
			check_equal(get(exit_error_code), row->error, "%s: error code", row->name);
		check_equal(get(exit_qualification), row->qualification, "%s: qualification",
			row->name);
		check_equal(get(guest_rip), row->at, "%s: RIP", row->name);
		check_equal(!!(get(guest_rflags) & FLAG_RF), !row->trap, "%s: RF", row->name);
		check_equal(get(idt_vectoring_info) & INTR_INFO_VALID, 0, "%s: IDT vectoring",
			row->name);
		if (row->length)
			check_equal(get(exit_instruction_length), row->length, "%s: length",
				row->name);
		check_equal(read_cr2(), 0x1111, "%s: CR2 stays", row->name);
	}
	/* all bits but its own */
	prepare(row);
	put(exception_bitmap, (u32)~BIT(row->vector));
	if (row->vector == VEC_PF)
		put(exception_bitmap, 0);
	vmx_check_plain(row->end, vmx_run_fixup(row->code, row->end), row->name);
	check_equal(vmx_trap.vector, row->vector, "%s: the guest takes it", row->name);
	if (row->vector == VEC_PF)
		check_equal(read_cr2(), row->qualification, "%s: CR2", row->name);
	__asm__ volatile("fninit\n\tldmxcsr %0" : : "m"(mxcsr));
}

static unsigned taken[256];
static u64 taken_error;

static void on_event(struct frame *frame)
{
	taken[frame->vector]++;
	taken_error = frame->error;
}

/* INT n exits by no bit, and passes the bitmap whatever its vector. */
static void software_interrupts(void)
{
	vmx_fresh();
	put(exception_bitmap, 0xffffffff);
	guest_set_handler(0x40, on_event);
	taken[0x40] = 0;
	PASSES(int_40);
	check_equal(taken[0x40], 1, "INT n is delivered");
	guest_set_handler(0x40, NULL);
}

/* 26.2: PFEC & mask == match tells whether bit 14 or its opposite counts. */
static void page_fault_filter(void)
{
	static const struct {
		u32 mask, match;
	} filters[] = { { 0, 0 }, { 0, 1 }, { 2, 2 }, { 2, 0 }, { 3, 2 }, { 3, 3 }, { 0xffffffff,
		2 },
		{ 0xffffffff, 0 }, { 16, 16 } };

	for (unsigned i = 0; i < ARRAY_SIZE(filters); i++)
		for (unsigned write = 0; write < 2; write++)
			for (unsigned bit = 0; bit < 2; bit++) {
				u32 error = write ? 2 : 0;
				bool same = (error & filters[i].mask) == filters[i].match;
				const u8 *code = write ? raise_pf : read_pf;
				const u8 *end = write ? raise_pf_end : read_pf_end;

				vmx_fresh();
				vmx_regs.rbp = HOLE;
				put(exception_bitmap, bit << VEC_PF);
				put(pf_error_mask, filters[i].mask);
				put(pf_error_match, filters[i].match);
				check_equal(vmx_run_fixup(code, end),
					same == bit ? VMX_EXIT_EXCEPTION : VMX_EXIT_VMCALL,
					"#PF %u, mask %x, match %x, bit %u", error, filters[i].mask,
					filters[i].match, bit);
			}
}

/* ---- #DB: what it is goes to the qualification, DR6 stays; table 28-4 ---- */

static void debug_exit(const void *code, u64 rip, u64 qualification, const char *name)
{
	put(exception_bitmap, BIT(VEC_DB));
	write_dr6(0xffff0ff0);
	if (!check_equal(vmx_run_at(code), VMX_EXIT_EXCEPTION, "%s: exit", name))
		return;
	check_equal(get(exit_interruption_info), EVENT(INTR_HARDWARE_EXCEPTION, VEC_DB), "%s: #DB",
		name);
	check_equal(get(exit_qualification), qualification, "%s: qualification", name);
	check_equal(get(guest_rip), rip, "%s: RIP", name);
	check_equal(read_dr6() & 0xe00f, 0, "%s: DR6 stays", name);
}

static void set_dr7(u64 value)
{
	vmx_on_entry(ENTRY_LOAD_DEBUG);
	put(guest_dr7, value);
}

#define DB_BD BIT(13)
#define DB_BS BIT(14)
#define DR7_GD BIT(13)

static void debug_exceptions(void)
{
	vmx_fresh();
	put(guest_rflags, 2 | FLAG_TF);
	debug_exit(nothing, (u64)nothing + 1, DB_BS, "single step");
	/* an instruction breakpoint is a fault */
	vmx_fresh();
	write_dr1((u64)nothing + 1);
	set_dr7(0x400 | 0x8);
	debug_exit(nothing, (u64)nothing + 1, BIT(1), "instruction breakpoint");
	/* the one fault that leaves RF for the handler to set, SDM3 18.3.1.1 */
	check(!(get(guest_rflags) & FLAG_RF), "instruction breakpoint: RF");
	/* a data breakpoint is a trap */
	vmx_fresh();
	write_dr2((u64)&word_image);
	set_dr7(0x400 | 0x20 | 0xdull << 24);
	debug_exit(write_word, (u64)write_word_end - 1, BIT(2), "data breakpoint");
	check(!(get(guest_rflags) & FLAG_RF), "data breakpoint: RF");
	/* both at once */
	vmx_fresh();
	put(guest_rflags, 2 | FLAG_TF);
	set_dr7(0x400 | 0x20 | 0xdull << 24);
	debug_exit(write_word, (u64)write_word_end - 1, BIT(2) | DB_BS, "data breakpoint and step");
	/* general detect; the saved DR7 has GD clear only if the exception is delivered */
	vmx_fresh();
	set_dr7(0x400 | DR7_GD);
	vmx_on_exit(EXIT_SAVE_DEBUG);
	debug_exit(move_dr, (u64)move_dr, DB_BD, "general detect");
	check(get(guest_dr7) & DR7_GD, "general detect: GD stays");
	write_dr1(0);
	write_dr2(0);
	/* without the exit DR6 is the guest's affair */
	vmx_fresh();
	write_dr6(0xffff0ff0);
	put(guest_rflags, 2 | FLAG_TF);
	vmx_check_plain(nothing_end, vmx_run_fixup(nothing, nothing_end), "single step, no exit");
	check_equal(vmx_trap.vector, VEC_DB, "single step, no exit: #DB");
	check_equal(vmx_trap.dr6 & 0xe00f, DB_BS, "single step, no exit: DR6");
	write_dr6(0xffff0ff0);
}

/* ---- faults while something is delivered, 28.2.4 ---- */

#define NO_IDT 0x3000000000ull /* nothing is mapped there */

static void fault_in_delivery(void)
{
	static const struct {
		const u8 *code;
		u8 type, vector;
		bool has_error;
		u32 error;
		u8 length;
		u64 rbp;
	} events[] = {
		{ int_40, INTR_SOFTWARE, 0x40, false, 0, 2, 0 },
		{ raise_bp, INTR_SOFTWARE_EXCEPTION, VEC_BP, false, 0, 1, 0 },
		{ icebp, INTR_PRIVILEGED_EXCEPTION, VEC_DB, false, 0, 1, 0 },
		{ raise_ud, INTR_HARDWARE_EXCEPTION, VEC_UD, false, 0, 0, 0 },
		{ raise_gp, INTR_HARDWARE_EXCEPTION, VEC_GP, true, BOGUS, 0, BOGUS },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(events); i++) {
		u32 info = EVENT(events[i].type, events[i].vector);

		if (events[i].has_error)
			info |= (u32)INTR_INFO_ERROR;
		/* #PF at the IDT */
		vmx_fresh();
		vmx_regs.rbp = events[i].rbp;
		put(guest_idtr_base, NO_IDT);
		put(exception_bitmap, BIT(VEC_PF));
		check_equal(vmx_run_at(events[i].code), VMX_EXIT_EXCEPTION, "event %u: #PF", i);
		check_equal(get(exit_interruption_info), EVENT_ERROR(INTR_HARDWARE_EXCEPTION,
			VEC_PF),
			"event %u: #PF it is", i);
		check_equal(get(exit_qualification), NO_IDT + 16 * events[i].vector,
			"event %u: where", i);
		check_equal(get(idt_vectoring_info), info, "event %u: IDT vectoring", i);
		if (events[i].has_error)
			check_equal(get(idt_vectoring_error_code), events[i].error,
				"event %u: error code", i);
		if (events[i].length)
			check_equal(get(exit_instruction_length), events[i].length,
				"event %u: length", i);
		check_equal(get(guest_rip), events[i].code, "event %u: RIP", i);
		/* #GP for the IDT's limit */
		vmx_fresh();
		vmx_regs.rbp = events[i].rbp;
		put(guest_idtr_limit, 16 * events[i].vector + 14);
		put(exception_bitmap, BIT(VEC_GP));
		if (events[i].vector == VEC_GP)
			continue;
		check_equal(vmx_run_at(events[i].code), VMX_EXIT_EXCEPTION, "event %u: #GP", i);
		check_equal(get(exit_interruption_info), EVENT_ERROR(INTR_HARDWARE_EXCEPTION,
			VEC_GP),
			"event %u: #GP it is", i);
		/* the external-event bit is clear for what software asked for */
		check_equal(get(exit_error_code), 8u * events[i].vector + 2 +
			(events[i].type == INTR_HARDWARE_EXCEPTION ||
				events[i].type == INTR_PRIVILEGED_EXCEPTION),
			"event %u: #GP's error code", i);
		check_equal(get(idt_vectoring_info), info, "event %u: IDT vectoring with #GP", i);
	}
}

/* Double and triple faults: nothing was being delivered, 28.2.4. */
static void worse_faults(void)
{
	vmx_fresh();
	put(guest_idtr_limit, 0);
	put(exception_bitmap, BIT(VEC_DF));
	check_equal(vmx_run_at(raise_de), VMX_EXIT_EXCEPTION, "#DF");
	check_equal(get(exit_interruption_info), EVENT_ERROR(INTR_HARDWARE_EXCEPTION, VEC_DF),
		"#DF it is");
	check_equal(get(exit_error_code), 0, "#DF: error code");
	check_equal(get(idt_vectoring_info) & INTR_INFO_VALID, 0, "#DF: IDT vectoring");
	check_equal(get(guest_rip), raise_de, "#DF: RIP");
	/* a benign one meets #GP: no #DF */
	vmx_fresh();
	put(guest_idtr_limit, 0);
	put(exception_bitmap, BIT(VEC_DF) | BIT(VEC_GP));
	check_equal(vmx_run_at(raise_ud), VMX_EXIT_EXCEPTION, "#GP after #UD");
	check_equal(get(exit_interruption_info), EVENT_ERROR(INTR_HARDWARE_EXCEPTION, VEC_GP),
		"#GP it is");
	/* the bitmap is asked of the second fault before it becomes #DF */
	vmx_fresh();
	put(guest_idtr_limit, 0);
	put(exception_bitmap, BIT(VEC_DF) | BIT(VEC_GP));
	check_equal(vmx_run_at(raise_de), VMX_EXIT_EXCEPTION, "#GP after #DE");
	check_equal(get(exit_interruption_info), EVENT_ERROR(INTR_HARDWARE_EXCEPTION, VEC_GP),
		"#GP and not #DF");
	check_equal(get(idt_vectoring_info), EVENT(INTR_HARDWARE_EXCEPTION, VEC_DE),
		"#DE was on its way");

	vmx_fresh();
	put(guest_idtr_limit, 0);
	check_equal(vmx_run_at(raise_ud), VMX_EXIT_TRIPLE_FAULT, "triple fault");
	check_equal(get(exit_qualification), 0, "triple fault: qualification");
	check_equal(get(exit_interruption_info) & INTR_INFO_VALID, 0, "triple fault: interruption");
	check_equal(get(idt_vectoring_info) & INTR_INFO_VALID, 0, "triple fault: IDT vectoring");
	check_equal(get(guest_rip), raise_ud, "triple fault: RIP");
	check_equal(get(guest_activity), ACTIVITY_ACTIVE, "triple fault: activity state");
}

void guest_main(void)
{
	if (!vmx_setup())
		return;
	guest_gdt[NP_SELECTOR / 8] = 0x00cf13000000ffffull; /* data, not present */
	write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
	write_cr0((read_cr0() | CR0_NE) & ~(CR0_EM | CR0_TS));
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		check_row(&rows[i]);
	software_interrupts();
	page_fault_filter();
	debug_exceptions();
	fault_in_delivery();
	worse_faults();
}
