/* SPDX-License-Identifier: MIT */
/*
 * VMREAD and VMWRITE, of which hypervisors do dozens at every exit: in line where the operands are
 * registers and the field is plain. Two tables of struct cpu say for each encoding where in the
 * copy of the current VMCS the field lies; a zero there (no such field, half of one, no current
 * VMCS, no VMX operation) leaves the instruction to C, as do all that may fault or exit.
 */
#include "translate/translate.h"

#define ENCODINGS 0x8000
#define FLAGS_ALL_CLEAR 0x0200 /* cpu->aflags: as LAHF and SETO give it, SDM3 31.2 VMsucceed */

bool vmcs_is_inline(const struct translator *t, const struct insn *insn)
{
	return (insn->op == OP_VMREAD || insn->op == OP_VMWRITE) && t->code64 && !insn->is_mem &&
	       !(t->mode & (MODE_GUEST | MODE_USER | MODE_CPL12));
}

/* A guest register's value in a host register: itself, or the scratch one it is fetched into. */
static unsigned value_of(struct translator *t, unsigned guest, unsigned scratch)
{
	if (!is_stolen(guest))
		return guest;
	load_gs(&t->e, scratch, GPR(guest));
	return scratch;
}

static void emit_vmread(struct translator *t, unsigned to)
{
	struct emitter *e = &t->e;
	unsigned host = is_stolen(to) ? R10 : to;

	load_gs(e, R10, CPU_OFFSET(vmcs_fields));
	put_mem(e, true, 0x8b, host, R10, R11, 0, 0);
	if (is_stolen(to))
		store_gs(e, host, GPR(to));
}

/* Bit 0 of what the table gives: the field has 32 bits, those above them stay zero. */
static void emit_vmwrite(struct translator *t, unsigned from)
{
	struct emitter *e = &t->e;
	unsigned host, lent = INSN_NO_REG;
	u8 *narrow, *done;

	if (is_stolen(from)) {
		/* the pointer and the offset have both scratch registers */
		lent = RAX;
		store_gs(e, lent, SCRATCH(3));
		load_gs(e, lent, GPR(from));
	}
	host = lent == INSN_NO_REG ? from : lent;
	load_gs(e, R10, CPU_OFFSET(vmcs_fields));
	put8(e, 0x41); /* test r11b, 1 */
	put8(e, 0xf6);
	put8(e, 0xc3);
	put8(e, 1);
	narrow = jcc_rel32(e, CC_NE);
	put_mem(e, true, 0x89, host, R10, R11, 0, 0);
	done = jmp_rel32(e);
	if (!e->overflow)
		patch_rel32(narrow, e->at);
	put_mem(e, false, 0x89, host, R10, R11, 0, -1);
	if (!e->overflow)
		patch_rel32(done, e->at);
	if (lent != INSN_NO_REG)
		load_gs(e, lent, SCRATCH(3));
}

void emit_vmcs(struct translator *t, unsigned i)
{
	struct emitter *e = &t->e;
	const struct insn *insn = &t->insns[i].insn;
	bool read = insn->op == OP_VMREAD;
	u8 *beyond, *none;

	release_r11(t);
	flags_save(t);
	mov_rr(e, R11, value_of(t, insn->reg, R11));
	cmp_imm32(e, R11, ENCODINGS);
	beyond = jcc_rel32(e, CC_AE);
	load_gs(e, R10, read ? CPU_OFFSET(vmread_offsets) : CPU_OFFSET(vmwrite_offsets));
	put8(e, 0x47); /* movzx r11d, word [r10 + r11 * 2] */
	put8(e, 0x0f);
	put8(e, 0xb7);
	put8(e, 0x1c);
	put8(e, 0x5a);
	put_rr(e, false, 0x85, R11, R11);
	none = jcc_rel32(e, CC_E);
	if (read)
		emit_vmread(t, insn->rm);
	else
		emit_vmwrite(t, insn->rm);
	mov_gs_imm32(e, CPU_OFFSET(aflags), FLAGS_ALL_CLEAR);
	leave_to_c(t, i, beyond, none);
}
