/* SPDX-License-Identifier: MIT */
/*
 * System instructions that kernels execute more often than all else that C would have to do, in line in 64-bit
 * code: CLI and STI, where they may touch IF itself, as CPL 0 always may (APM3 CLI, STI), and where no event
 * waits for IF; STAC and CLAC, where the other context is known; PUSHF; RDTSC and RDTSCP. In a guest
 * cpu->guest_wants says whether they are C's after all.
 */
#include "translate/translate.h"

#define IF_BIT 9
#define OF_BIT 11
#define AC_BIT 18

_Static_assert(RFLAGS_IF == BIT(IF_BIT) && RFLAGS_OF == BIT(OF_BIT) &&
	RFLAGS_AC == BIT(AC_BIT), "BTS and shifts take numbers");
_Static_assert(CR4_TSD < 256 && (WANTS_TSC | WANTS_PUSHF) < 256, "one byte is looked at");
/* What cpu_events_waiting() looks at is eight bytes, what cpu_shadow_begin() sets besides RIP is four. */
_Static_assert(offsetof(struct cpu, pins) % 8 == 0 &&
	offsetof(struct cpu, no_event) == offsetof(struct cpu, pins) + 6 &&
	offsetof(struct cpu, virt_pending) == offsetof(struct cpu, pins) + 4, "cpu.h");
_Static_assert(offsetof(struct cpu, intr_shadow) % 4 == 0 &&
	offsetof(struct cpu, no_shadow) == offsetof(struct cpu, intr_shadow) + 3, "cpu.h");

bool is_inline(const struct translator *t, const struct insn *insn)
{
	if (!t->code64 || t->mode & (MODE_STEP | VARIANT_ONE | VARIANT_SLOW))
		return false;
	switch (insn->op) {
	case OP_CLI:
	case OP_STI:
		return t->fixed;
	case OP_STAC:
	case OP_CLAC:
		return t->fixed && t->writes_gs;
	case OP_PUSHF:
		return insn->opsize == 8;
	case OP_RDTSC:
	case OP_RDTSCP:
		return true;
	default:
		return false;
	}
}

enum bit_operation { BTS = 5, BTR = 6 }; /* as ModRM.reg has them */

/* On a dword at gs:[offset]; CF is what the bit was. */
static void put_gs_bit(struct emitter *e, enum bit_operation operation, u32 offset, u8 bit)
{
	put_gs_0f(e, 0xba, operation, offset);
	put8(e, bit);
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
	put_gs_bit(e, BTS, CPU_OFFSET(rflags_system), IF_BIT);
	/* it was set already: no shadow */
	set = jcc_rel32(e, CC_B);
	mov_gs_imm32(e, CPU_OFFSET(intr_shadow), 1);
	emit_page_address(t, R11, (i64)g->offset + g->insn.len);
	store_gs(e, R11, CPU_OFFSET(shadow_rip));
	leave_to_c(t, i, event, set);
}

/* A jump that is taken where one of these bits of a byte at gs:[offset] is set. */
static u8 *jump_if_set(struct translator *t, u32 offset, u8 bits)
{
	put_gs(&t->e, false, 0xf6, 0, offset); /* test byte */
	put8(&t->e, bits);
	return jcc_rel32(&t->e, CC_NE);
}

static u8 *jump_if_wanted(struct translator *t, u8 wants)
{
	return t->mode & MODE_GUEST ? jump_if_set(t, CPU_OFFSET(guest_wants), wants) : NULL;
}

/* As exec_PUSHF() does it outside of virtual-8086 mode. */
static void emit_pushf(struct translator *t, unsigned i)
{
	struct emitter *e = &t->e;
	u8 *wanted = jump_if_wanted(t, WANTS_PUSHF);
	i32 disp = emit_stack(t, i, -8, 8, false, true);

	load_gs32(e, R10, CPU_OFFSET(rflags_system));
	and_imm32(e, R10, ~(u32)(RFLAGS_VM | RFLAGS_RF));
	put_mem(e, true, 0x89, R10, R11, NO_INDEX, 0, disp);
	/* of the two halves of aflags AH is where RFLAGS has it, AL is OF */
	load_gs32(e, R10, CPU_OFFSET(aflags));
	shift_imm(e, false, 5, R10, 8);
	and_imm32(e, R10, RFLAGS_ARITH & 0xff);
	put_mem(e, true, 0x09, R10, R11, NO_INDEX, 0, disp);
	load_gs32(e, R10, CPU_OFFSET(aflags));
	and_imm32(e, R10, 1);
	shift_imm(e, false, 4, R10, OF_BIT);
	put_mem(e, true, 0x09, R10, R11, NO_INDEX, 0, disp);
	emit_access_done(t, i, true);
	emit_stack_adjust(t, -8);
	if (wanted)
		leave_to_c(t, i, wanted, NULL);
}

/* As give_tsc() of cpu/system.c does it where the TSC is not scaled. */
static void emit_rdtsc(struct translator *t, unsigned i)
{
	struct emitter *e = &t->e;
	bool with_aux = t->insns[i].insn.op == OP_RDTSCP;
	u8 *wanted = jump_if_wanted(t, WANTS_TSC), *forbidden = NULL;

	if (t->mode & (MODE_USER | MODE_CPL12))
		forbidden = jump_if_set(t, CPU_OFFSET(cr4), CR4_TSD);
	if (with_aux)
		put_bytes(e, "\x0f\xae\xe8", 3); /* lfence: all before it has been executed, SDM2 RDTSCP */
	put_bytes(e, "\x0f\x31", 2);
	shift_imm(e, true, 4, RDX, 32);
	put_rr(e, true, 0x09, RAX, RDX);
	add_gs(e, RAX, CPU_OFFSET(tsc_offset));
	mov_rr(e, RDX, RAX);
	shift_imm(e, true, 5, RDX, 32);
	mov_rr32(e, RAX, RAX);
	if (with_aux)
		load_gs32(e, RCX, CPU_OFFSET(tsc_aux));
	if (wanted || forbidden)
		leave_to_c(t, i, wanted, forbidden);
}

/* gs: moves to the context of the other AC, if AC changes. */
static void emit_ac(struct translator *t, unsigned i)
{
	struct emitter *e = &t->e;
	bool set = t->insns[i].insn.op == OP_STAC;
	u8 *unknown, *same;

	load_gs(e, R11, CONTEXT_OFFSET(ac_block));
	put_rr(e, true, 0x85, R11, R11);
	unknown = jcc_rel32(e, CC_E);
	put_gs_bit(e, set ? BTS : BTR, CPU_OFFSET(rflags_system), AC_BIT);
	same = jcc_rel32(e, set ? CC_B : CC_AE);
	load_gs(e, R10, CONTEXT_OFFSET(ac_context));
	store_gs(e, R10, CPU_OFFSET(context));
	store_gs(e, R10, CPU_OFFSET(gs_context)); /* first: where the kernel loses gs:, the handler looks here */
	put_bytes(e, "\xf3\x49\x0f\xae\xdb", 5); /* wrgsbase r11 */
	if (!e->overflow)
		patch_rel32(same, e->at);
	leave_to_c(t, i, unknown, NULL);
}

void emit_inline(struct translator *t, unsigned i)
{
	release_r11(t);
	flags_save(t);
	switch (t->insns[i].insn.op) {
	case OP_CLI:
		emit_cli(t);
		break;
	case OP_STI:
		emit_sti(t, i);
		break;
	case OP_STAC:
	case OP_CLAC:
		emit_ac(t, i);
		break;
	case OP_PUSHF:
		emit_pushf(t, i);
		break;
	default:
		emit_rdtsc(t, i);
		break;
	}
}
