/* SPDX-License-Identifier: MIT */
/* One guest instruction into host code, by its kind. */
#include "translate/translate.h"

static const struct encoding_slots as_it_was = {
	.slot = { INSN_NO_REG, INSN_NO_REG, INSN_NO_REG, INSN_NO_REG }, .mem_base = INSN_NO_REG };

/* A host register that the instruction does not touch, to be borrowed; low: without REX. */
static unsigned borrow(const struct guest_insn *g, bool low)
{
	static const u8 order[] = { RSI, RDI, RBX, RDX, RCX, RAX, RBP, R8, R9, R12, R13 };

	for (unsigned i = 0; i < (low ? 6 : ARRAY_SIZE(order)); i++)
		if (!(g->gpr_used & 1u << order[i]))
			return order[i];
	return RBP; /* not reached: no instruction names six of these */
}

static void store_written(struct translator *t, const struct guest_insn *g, unsigned guest,
	unsigned host)
{
	if (g->gpr_written & 1u << guest)
		store_gs(&t->e, host, GPR(guest));
}

/* No memory operand: R10 and R11 are fetched, used under their own names and put back. */
static void emit_registers(struct translator *t, unsigned i)
{
	const struct guest_insn *g = &t->insns[i];

	if (g->gpr_used & 1u << R11)
		release_r11(t);
	for (unsigned reg = R10; reg <= R11; reg++)
		if (g->gpr_used & 1u << reg)
			load_gs(&t->e, reg, GPR(reg));
	flags_before(t, i);
	reencode(t, g, &as_it_was);
	flags_after(t, i);
	for (unsigned reg = R10; reg <= R11; reg++)
		store_written(t, g, reg, reg);
}

/*
 * With a memory operand at [R11]. Of the guest's R10 and R11 as data one gets R10; where both
 * are, the second borrows a register that the instruction leaves alone.
 */
static void emit_with_memory(struct translator *t, unsigned i)
{
	struct emitter *e = &t->e;
	const struct guest_insn *g = &t->insns[i];
	struct encoding_slots slots = as_it_was;
	unsigned data[2], host[2], count = 0, lent = INSN_NO_REG, base = R11;

	slots.mem_disp = emit_operand(t, i, g->mem_size, g->mem_read, g->mem_write, 0);
	for (unsigned s = 0; s < SLOT_COUNT; s++) {
		unsigned n;

		if (!is_stolen(g->slot[s]))
			continue;
		for (n = 0; n < count && data[n] != g->slot[s]; n++)
			;
		if (n == count) {
			data[n] = g->slot[s];
			host[n] = n == 0 ? R10 : borrow(g, false);
			if (n == 1) {
				lent = host[n];
				store_gs(e, lent, SCRATCH(3));
			}
			load_gs(e, host[n], GPR(data[n]));
			count++;
		}
		slots.slot[s] = host[n];
	}
	if (g->high_byte) {
		/* AH and its like cannot be named beside R11 */
		lent = base = borrow(g, true);
		store_gs(e, lent, SCRATCH(3));
		mov_rr(e, base, R11);
	}
	slots.mem_base = base;
	flags_before(t, i);
	reencode(t, g, &slots);
	flags_after(t, i);
	for (unsigned n = 0; n < count; n++)
		store_written(t, g, data[n], host[n]);
	if (lent != INSN_NO_REG)
		load_gs(e, lent, SCRATCH(3));
	emit_access_done(t, i, g->mem_write);
}

static void emit_exec(struct translator *t, unsigned i)
{
	struct site *site;

	release_r11(t);
	flags_save(t);
	site = emit_site(t, i, &t->insns[i].insn);
	jmp_gs(&t->e, RUNTIME(RT_EXEC));
	site->resume = cache_offset(t, t->e.at);
}

/* A move of size bytes between a register and [R11 + disp]. */
static void mov_memory(struct translator *t, bool load, unsigned reg, i32 disp, unsigned size)
{
	if (load && reg == R11)
		release_r11(t);
	if (size == 2)
		put8(&t->e, 0x66);
	put_mem(&t->e, size == 8, load ? 0x8b : 0x89, reg, R11, NO_INDEX, 0, disp);
}

/* reg of the guest := host register, as an instruction of that operand size does it. */
static void assign(struct translator *t, unsigned guest, unsigned host, unsigned size)
{
	struct emitter *e = &t->e;

	if (size == 2) {
		unsigned to = guest;

		if (is_stolen(guest)) {
			to = host == R10 ? R11 : R10;
			load_gs(e, to, GPR(guest));
		}
		put8(e, 0x66);
		put_rr(e, false, 0x89, to, host);
		if (is_stolen(guest))
			store_gs(e, to, GPR(guest));
		return;
	}
	if (!is_stolen(guest)) {
		put_rr(e, size == 8, 0x89, guest, host);
		return;
	}
	if (size == 4)
		mov_rr32(e, host, host);
	store_gs(e, host, GPR(guest));
}

static void emit_lea(struct translator *t, unsigned i)
{
	const struct guest_insn *g = &t->insns[i];

	if (t->code64 && !g->insn.rip_relative && !(g->gpr_used & (1u << R10 | 1u << R11))) {
		reencode(t, g, &as_it_was);
		return;
	}
	emit_operand_address(t, i, 0);
	assign(t, g->slot[SLOT_REG], R11, g->insn.opsize);
}

static void emit_push(struct translator *t, unsigned i)
{
	struct emitter *e = &t->e;
	const struct guest_insn *g = &t->insns[i];
	unsigned size = g->insn.opsize;
	unsigned reg = g->slot[SLOT_OPCODE] != INSN_NO_REG ? g->slot[SLOT_OPCODE] : g->slot[SLOT_RM];
	i32 disp;

	if (g->insn.is_mem) {
		disp = emit_operand(t, i, size, true, false, 0);
		mov_memory(t, true, R11, disp, size);
		store_gs(e, R11, SCRATCH(3));
	}
	disp = emit_stack(t, i, -(i32)size, size, false, true);
	if (g->insn.is_mem) {
		load_gs(e, R10, SCRATCH(3));
		mov_memory(t, false, R10, disp, size);
	} else if (reg != INSN_NO_REG) {
		if (is_stolen(reg)) {
			load_gs(e, R10, GPR(reg));
			reg = R10;
		}
		mov_memory(t, false, reg, disp, size);
	} else {
		if (size == 2)
			put8(e, 0x66);
		put_mem(e, size == 8, 0xc7, 0, R11, NO_INDEX, 0, disp);
		if (size == 2)
			put16(e, g->insn.imm);
		else
			put32(e, g->insn.imm);
	}
	emit_access_done(t, i, true);
	emit_stack_owe(t, -(i32)size);
}

static void emit_pop(struct translator *t, unsigned i)
{
	struct emitter *e = &t->e;
	const struct guest_insn *g = &t->insns[i];
	unsigned size = g->insn.opsize;
	unsigned reg = g->slot[SLOT_OPCODE] != INSN_NO_REG ? g->slot[SLOT_OPCODE] : g->slot[SLOT_RM];
	i32 disp = emit_stack(t, i, 0, size, true, false);

	if (!g->insn.is_mem) {
		if (reg == RSP) {
			/* the increment comes first and is lost, but for its upper half */
			if (size == 2)
				emit_stack_adjust(t, size);
			mov_memory(t, true, RSP, disp, size);
			return;
		}
		if (is_stolen(reg)) {
			mov_memory(t, true, R11, disp, size);
			assign(t, reg, R11, size);
		} else {
			mov_memory(t, true, reg, disp, size);
		}
		emit_stack_owe(t, size);
		return;
	}
	mov_memory(t, true, R11, disp, size);
	store_gs(e, R11, SCRATCH(3));
	/* RSP as a base is taken after the increment, SDM2 POP */
	disp = emit_operand(t, i, size, false, true, g->insn.base == RSP ? size : 0);
	load_gs(e, R10, SCRATCH(3));
	mov_memory(t, false, R10, disp, size);
	emit_access_done(t, i, true);
	emit_stack_adjust(t, size);
}

static void emit_leave(struct translator *t, unsigned i)
{
	release_r11(t);
	mov_rr(&t->e, R11, RBP);
	emit_access(t, i, SS, 8, true, false);
	mov_memory(t, true, R11, 0, 8);
	lea(&t->e, true, RSP, RBP, 8);
	mov_rr(&t->e, RBP, R11);
}

/* The target of an indirect jump or call into R11. */
static void emit_indirect_target(struct translator *t, unsigned i)
{
	struct emitter *e = &t->e;
	const struct guest_insn *g = &t->insns[i];
	unsigned size = g->insn.opsize;

	if (g->insn.is_mem) {
		i32 disp = emit_operand(t, i, size, true, false, 0);

		mov_memory(t, true, R11, disp, size);
	} else {
		release_r11(t);
		if (is_stolen(g->slot[SLOT_RM]))
			load_gs(e, R11, GPR(g->slot[SLOT_RM]));
		else
			mov_rr(e, R11, g->slot[SLOT_RM]);
	}
	if (size == 4)
		mov_rr32(e, R11, R11);
}

/* The linear address at `next` of the page, or EIP, to [R11 + disp]. */
static void emit_return_address(struct translator *t, i64 next, i32 disp, unsigned size)
{
	i64 address = t->vpage + next;

	if (t->fixed && address == (i32)address) {
		put_mem(&t->e, true, 0xc7, 0, R11, NO_INDEX, 0, disp);
		put32(&t->e, address);
	} else {
		emit_page_address(t, R10, next);
		mov_memory(t, false, R10, disp, size);
	}
}

/*
 * Where the RET to this address will look it up: known now, and fetched until then. What a kernel executes
 * once in a timer tick is in no cache of the host by the next one, and the jump cache is looked at for each
 * RET.
 */
static void emit_prefetch(struct translator *t, u64 address)
{
	put_gs_0f(&t->e, 0x18, 1, /* prefetcht0 */
		CONTEXT_OFFSET(jump) + jump_hash(address) * sizeof(struct jump_entry));
}

static void emit_call(struct translator *t, unsigned i)
{
	struct emitter *e = &t->e;
	const struct guest_insn *g = &t->insns[i];
	unsigned size = t->code64 ? 8 : 4;
	i64 next = (i64)g->offset + g->insn.len;
	i32 disp;

	if (!g->relative) {
		emit_indirect_target(t, i);
		store_gs(e, R11, SCRATCH(4));
	}
	disp = emit_stack(t, i, -(i32)size, size, false, true);
	if (!g->relative)
		emit_branch_check(t, SCRATCH(4));
	emit_return_address(t, next, disp, size);
	if (t->fixed)
		emit_prefetch(t, t->vpage + next);
	emit_access_done(t, i, true);
	emit_stack_adjust(t, -(i32)size);
	emit_taken(t);
	if (g->relative) {
		emit_exit(t, next + (i64)g->insn.imm);
	} else {
		load_gs(e, R11, SCRATCH(4));
		emit_branch(t, 0);
	}
}

static void emit_ret(struct translator *t, unsigned i)
{
	const struct guest_insn *g = &t->insns[i];
	unsigned size = t->code64 ? 8 : 4;

	i32 disp = emit_stack(t, i, 0, size, true, false);

	mov_memory(t, true, R11, disp, size);
	emit_stack_adjust(t, size + (u16)g->insn.imm);
	emit_taken(t);
	emit_branch(t, size + (u16)g->insn.imm);
}

static void emit_jmp(struct translator *t, unsigned i)
{
	const struct guest_insn *g = &t->insns[i];

	if (g->relative) {
		emit_taken(t);
		emit_exit(t, (i64)g->offset + g->insn.len + (i64)g->insn.imm);
		return;
	}
	emit_indirect_target(t, i);
	emit_taken(t);
	emit_branch(t, 0);
}

static void emit_jcc(struct translator *t, unsigned i)
{
	const struct guest_insn *g = &t->insns[i];
	i64 target = (i64)g->offset + g->insn.len + (i64)g->insn.imm;
	unsigned condition = g->insn.opcode & 15;

	flags_load(t);
	if (!emit_jump_back(t, condition, target, g->offset))
		emit_side_exit(t, jcc_rel32(&t->e, condition), target, g->offset);
}

/* LOOP and JCXZ as they are, over a short jump that keeps to the main line. */
static void emit_loop(struct translator *t, unsigned i)
{
	struct emitter *e = &t->e;
	const struct guest_insn *g = &t->insns[i];

	if (g->flags_read)
		flags_load(t);
	if (g->insn.addrsize == 4)
		put8(e, 0x67);
	put8(e, g->insn.opcode);
	put8(e, 2);
	put8(e, 0xeb);
	put8(e, 5);
	emit_side_exit(t, jmp_rel32(e), (i64)g->offset + g->insn.len + (i64)g->insn.imm, g->offset);
}

/* A bit string: the index, a register, reaches beyond the operand. SDM2 3.1.1.9. */
static void emit_bit(struct translator *t, unsigned i)
{
	struct emitter *e = &t->e;
	const struct guest_insn *g = &t->insns[i];
	struct encoding_slots slots = as_it_was;
	unsigned size = g->insn.opsize, index = g->slot[SLOT_REG];
	unsigned log = size == 8 ? 6 : size == 4 ? 5 : 4;

	flags_guard(t, i);
	emit_operand_address(t, i, 0);
	if (is_stolen(index))
		load_gs(e, R10, GPR(index));
	else
		mov_rr(e, R10, index);
	if (size == 4) {
		put8(e, 0x4d); /* movsxd r10, r10d */
		put8(e, 0x63);
		put8(e, 0xd2);
	} else if (size == 2) {
		put8(e, 0x4d); /* movsx r10, r10w */
		put8(e, 0x0f);
		put8(e, 0xbf);
		put8(e, 0xd2);
	}
	shift_imm(e, true, 7, R10, log);
	shift_imm(e, true, 4, R10, log - 3);
	put_mem(e, g->insn.addrsize == 8, 0x8d, R11, R11, R10, 0, 0);
	if (g->insn.addrsize == 2) {
		put8(e, 0x45); /* movzx r11d, r11w */
		put8(e, 0x0f);
		put8(e, 0xb7);
		put8(e, 0xdb);
	}
	emit_access(t, i, g->insn.seg, size, true, g->mem_write);
	if (is_stolen(index))
		load_gs(e, R10, GPR(index));
	else
		mov_rr(e, R10, index);
	and_imm32(e, R10, size * 8 - 1);
	flags_before(t, i);
	slots.slot[SLOT_REG] = R10;
	slots.mem_base = R11;
	reencode(t, g, &slots);
	flags_after(t, i);
	emit_access_done(t, i, g->mem_write);
}

static void emit_maskmov(struct translator *t, unsigned i)
{
	struct emitter *e = &t->e;
	const struct guest_insn *g = &t->insns[i];
	struct guest_insn plain = *g;

	emit_operand_address(t, i, 0);
	emit_access(t, i, g->insn.seg, g->mem_size, true, true);
	/* a pending x87 exception must not find another RDI: FWAIT */
	if (g->waits)
		put8(e, 0x9b);
	store_gs(e, RDI, SCRATCH(3));
	mov_rr(e, RDI, R11);
	/* without the prefixes that would move RDI once more */
	plain.insn.len = 0;
	for (unsigned at = 0; at < g->insn.len; at++) {
		u8 byte = g->insn.bytes[at];
		bool drop = at < g->opcode_at && (byte == 0x64 || byte == 0x65 || byte == 0x67);

		if (!drop)
			plain.insn.bytes[plain.insn.len++] = byte;
	}
	put_bytes(e, plain.insn.bytes, plain.insn.len);
	load_gs(e, RDI, SCRATCH(3));
	emit_access_done(t, i, true);
}

void emit_insn(struct translator *t, unsigned i)
{
	switch (t->insns[i].kind) {
	case KIND_PLAIN:
		if (t->insns[i].insn.is_mem)
			emit_with_memory(t, i);
		else
			emit_registers(t, i);
		break;
	case KIND_EXEC:
		if (vmcs_is_inline(t, &t->insns[i].insn))
			emit_vmcs(t, i);
		else if (is_inline(t, &t->insns[i].insn))
			emit_inline(t, i);
		else
			emit_exec(t, i);
		break;
	case KIND_NOP: break;
	case KIND_LEA: emit_lea(t, i); break;
	case KIND_PUSH: emit_push(t, i); break;
	case KIND_POP: emit_pop(t, i); break;
	case KIND_LEAVE: emit_leave(t, i); break;
	case KIND_CALL: emit_call(t, i); break;
	case KIND_RET: emit_ret(t, i); break;
	case KIND_JMP: emit_jmp(t, i); break;
	case KIND_JCC: emit_jcc(t, i); break;
	case KIND_LOOP: emit_loop(t, i); break;
	case KIND_BIT: emit_bit(t, i); break;
	case KIND_MASKMOV: emit_maskmov(t, i); break;
	}
}
