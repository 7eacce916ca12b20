/* SPDX-License-Identifier: MIT */
/*
 * CLI and STI, which kernels execute more often than all else that C would have to do: in line where
 * they may touch IF itself, as CPL 0 always may (APM3 CLI, STI), and where no event waits for IF.
 */
#include "translate/translate.h"

#define IF_BIT 9

_Static_assert(RFLAGS_IF == BIT(IF_BIT), "BTS takes the bit's number");
/* What cpu_events_waiting() looks at is eight bytes, what cpu_shadow_begin() sets besides RIP is four. */
_Static_assert(offsetof(struct cpu, pins) % 8 == 0 &&
	offsetof(struct cpu, no_event) == offsetof(struct cpu, pins) + 6 &&
	offsetof(struct cpu, virt_pending) == offsetof(struct cpu, pins) + 4, "cpu.h");
_Static_assert(offsetof(struct cpu, intr_shadow) % 4 == 0 &&
	offsetof(struct cpu, no_shadow) == offsetof(struct cpu, intr_shadow) + 3, "cpu.h");

bool interrupt_flag_is_inline(const struct translator *t, const struct insn *insn)
{
	return (insn->op == OP_CLI || insn->op == OP_STI) && t->fixed &&
	       !(t->mode & (MODE_CPL12 | MODE_STEP | VARIANT_ONE | VARIANT_SLOW));
}

static void emit_cli(struct translator *t)
{
	put_gs(&t->e, false, 0x81, 4, CPU_OFFSET(rflags_system)); /* and dword */
	put32(&t->e, ~(u32)RFLAGS_IF);
}

/* As exec_STI() does it: the instruction behind it runs in a shadow. */
static void emit_sti(struct translator *t, unsigned i)
{
	struct emitter *e = &t->e;
	const struct guest_insn *g = &t->insns[i];
	u8 *event, *set;

	put_gs(e, true, 0x83, 7, CPU_OFFSET(pins)); /* cmp qword */
	put8(e, 0);
	event = jcc_rel32(e, CC_NE);
	put8(e, 0x65); /* bts dword gs:[], imm8 */
	put8(e, 0x0f);
	put8(e, 0xba);
	put8(e, 0x2c);
	put8(e, 0x25);
	put32(e, CPU_OFFSET(rflags_system));
	put8(e, IF_BIT);
	/* it was set already: no shadow */
	set = jcc_rel32(e, CC_B);
	mov_gs_imm32(e, CPU_OFFSET(intr_shadow), 1);
	emit_page_address(t, R11, (i64)g->offset + g->insn.len);
	store_gs(e, R11, CPU_OFFSET(shadow_rip));
	leave_to_c(t, i, event, set);
}

void emit_interrupt_flag(struct translator *t, unsigned i)
{
	flags_save(t);
	if (t->insns[i].insn.op == OP_CLI)
		emit_cli(t);
	else
		emit_sti(t, i);
}
