/* SPDX-License-Identifier: MIT */
/*
 * Decoding by Zydis, and the decision how each instruction is translated. The default is that the
 * host runs it; what C must run, or what this CPU does not offer, is listed in opcodes.c.
 */
#include <string.h>

#include "translate/decode_parts.h"

static int gpr_number(ZydisRegister reg)
{
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8:
		if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH)
			return reg - ZYDIS_REGISTER_AH;
		return reg < ZYDIS_REGISTER_AH ? reg - ZYDIS_REGISTER_AL
					       : reg - ZYDIS_REGISTER_SPL + 4;
	case ZYDIS_REGCLASS_GPR16: return reg - ZYDIS_REGISTER_AX;
	case ZYDIS_REGCLASS_GPR32: return reg - ZYDIS_REGISTER_EAX;
	case ZYDIS_REGCLASS_GPR64: return reg - ZYDIS_REGISTER_RAX;
	default: return -1;
	}
}

static bool is_high_byte(ZydisRegister reg)
{
	return reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
}

static unsigned segment_number(ZydisRegister reg)
{
	return reg >= ZYDIS_REGISTER_ES && reg <= ZYDIS_REGISTER_GS ? reg - ZYDIS_REGISTER_ES : DS;
}

/* Finds where prefixes end; the last REX counts only directly before the opcode. */
static void scan_prefixes(struct guest_insn *g, u32 mode)
{
	const u8 *bytes = g->insn.bytes;
	unsigned at = 0;

	g->rex = 0;
	for (; at < 15; at++) {
		u8 byte = bytes[at];

		if (byte == 0x66 || byte == 0x67 || byte == 0xf0 || byte == 0xf2 || byte == 0xf3 ||
			byte == 0x2e || byte == 0x36 || byte == 0x3e || byte == 0x26 ||
			byte == 0x64 || byte == 0x65)
			g->rex = 0;
		else if (mode & MODE_CODE64 && (byte & 0xf0) == 0x40)
			g->rex = byte;
		else
			break;
	}
	g->opcode_at = at;
}

static void read_flags(struct guest_insn *g, const ZydisDecodedInstruction *z)
{
	const ZydisAccessedFlags *flags = z->cpu_flags;
	ZydisInstructionCategory category = z->meta.category;
	u32 undefined;

	if (!flags)
		return;
	g->flags_read = flags->tested & RFLAGS_ARITH;
	g->flags_written = (flags->modified | flags->set_0 | flags->set_1) & RFLAGS_ARITH;
	undefined = flags->undefined & RFLAGS_ARITH;
	/*
	 * A flag that the manual leaves undefined may keep its old value on some host, so it counts
	 * as not written, save for logic and shifts, where no host does that.
	 */
	if (category == ZYDIS_CATEGORY_LOGICAL)
		g->flags_written |= undefined;
	else
		g->flags_written &= ~undefined;
	if (category == ZYDIS_CATEGORY_SHIFT || category == ZYDIS_CATEGORY_ROTATE ||
		z->mnemonic == ZYDIS_MNEMONIC_SHLD || z->mnemonic == ZYDIS_MNEMONIC_SHRD) {
		/* A count of zero changes nothing. */
		bool by_immediate = z->raw.imm[0].size != 0;
		bool by_one = z->opcode == 0xd0 || z->opcode == 0xd1;
		u64 mask = z->operand_width == 64 ? 63 : 31;

		if (by_one || (by_immediate && (z->raw.imm[0].value.u & mask)))
			g->flags_written |= category == ZYDIS_CATEGORY_SHIFT ? undefined : 0;
		else
			g->flags_written = 0;
		g->flags_read |= RFLAGS_ARITH & ~g->flags_written;
	}
	if (g->insn.rep && (z->meta.category == ZYDIS_CATEGORY_STRINGOP))
		g->flags_written = 0;
	/* What is neither surely written nor untouched depends on what was there before. */
	g->flags_read |= undefined & ~g->flags_written;
}

static void read_operands(struct guest_insn *g, const ZydisDecodedInstruction *z,
	const ZydisDecodedOperand *ops)
{
	struct insn *insn = &g->insn;

	for (unsigned i = 0; i < z->operand_count; i++) {
		const ZydisDecodedOperand *op = &ops[i];

		if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
			int number = gpr_number(op->reg.value);

			if (op->visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN) {
				bool high = is_high_byte(op->reg.value);

				g->high_byte |= high;
				if (op->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG && number >= 0) {
					g->slot[SLOT_REG] = number;
					insn->reg_high = high;
				} else if (op->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM && number >= 0) {
					g->slot[SLOT_RM] = number;
					insn->rm_high = high;
				} else if (op->encoding == ZYDIS_OPERAND_ENCODING_NDSNDD && number >= 0) {
					g->slot[SLOT_VVVV] = number;
				} else if (op->encoding == ZYDIS_OPERAND_ENCODING_OPCODE && number >= 0) {
					g->slot[SLOT_OPCODE] = number;
				}
			}
			if (number >= 0) {
				g->gpr_used |= 1u << number;
				if (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
					g->gpr_written |= 1u << number;
			}
		} else if (op->type == ZYDIS_OPERAND_TYPE_MEMORY) {
			int base = gpr_number(op->mem.base), index = gpr_number(op->mem.index);

			if (base >= 0)
				g->gpr_used |= 1u << base;
			if (index >= 0)
				g->gpr_used |= 1u << index;
			if (op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
				continue;
			insn->is_mem = true;
			insn->seg = segment_number(op->mem.segment);
			insn->base = base >= 0 ? base : INSN_NO_REG;
			insn->index = index >= 0 ? index : INSN_NO_REG;
			insn->scale = op->mem.scale ? op->mem.scale : 1;
			insn->disp = op->mem.disp.value;
			insn->rip_relative = op->mem.base == ZYDIS_REGISTER_RIP ||
					     op->mem.base == ZYDIS_REGISTER_EIP;
			g->mem_size = op->size / 8;
			g->mem_read = op->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
			g->mem_write = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
			if (op->mem.type == ZYDIS_MEMOP_TYPE_VSIB)
				g->kind = KIND_GATHER;
		}
	}
}

void set_exec(struct guest_insn *g, unsigned op)
{
	g->kind = KIND_EXEC;
	g->insn.op = op;
	g->ends_block = op_ends_block(op, g->insn.code_size);
}

/* Moves to and from control, debug and segment registers share one mnemonic with all others. */
static int op_of_mov(const struct guest_insn *g, const ZydisDecodedInstruction *z)
{
	if (z->opcode_map == ZYDIS_OPCODE_MAP_0F) {
		switch (z->opcode) {
		case 0x20: return OP_MOV_FROM_CR;
		case 0x22: return OP_MOV_TO_CR;
		case 0x21: return OP_MOV_FROM_DR;
		case 0x23: return OP_MOV_TO_DR;
		}
	} else if (z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT) {
		switch (z->opcode) {
		case 0x8c: return OP_MOV_FROM_SEG;
		case 0x8e: return OP_MOV_TO_SEG;
		}
	}
	return -1;
}

static void classify_branch(struct guest_insn *g, const ZydisDecodedInstruction *z, u32 mode)
{
	struct insn *insn = &g->insn;
	/* Inline only where the segments are flat and the operand size is the mode's own. */
	bool native = mode & MODE_CODE64
			      ? insn->opsize == 8
			      : (mode & MODE_FLAT) && (mode & MODE_CODE32) && insn->opsize == 4;
	bool stack_ok = mode & (MODE_CODE64 | MODE_STACK32);
	bool far = z->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;

	g->ends_block = true;
	g->relative = z->raw.imm[0].is_relative;
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_JMP:
		g->kind = KIND_JMP;
		if (far)
			set_exec(g, OP_JMP_FAR);
		else if (!native)
			set_exec(g, OP_JMP_NEAR);
		break;
	case ZYDIS_MNEMONIC_CALL:
		g->kind = KIND_CALL;
		if (far)
			set_exec(g, OP_CALL_FAR);
		else if (!native || !stack_ok)
			set_exec(g, OP_CALL_NEAR);
		break;
	case ZYDIS_MNEMONIC_RET:
		g->kind = KIND_RET;
		if (far)
			set_exec(g, OP_RET_FAR);
		else if (!native || !stack_ok)
			set_exec(g, OP_RET_NEAR);
		break;
	case ZYDIS_MNEMONIC_LOOP:
	case ZYDIS_MNEMONIC_LOOPE:
	case ZYDIS_MNEMONIC_LOOPNE:
	case ZYDIS_MNEMONIC_JCXZ:
	case ZYDIS_MNEMONIC_JECXZ:
	case ZYDIS_MNEMONIC_JRCXZ:
		g->kind = KIND_LOOP;
		if (!native || insn->addrsize == 2)
			set_exec(g, OP_LOOP);
		break;
	default:
		g->kind = KIND_JCC;
		if (!native)
			set_exec(g, OP_JCC);
		break;
	}
}

static void classify(struct guest_insn *g, const ZydisDecodedInstruction *z,
	const ZydisDecodedOperand *ops, u32 mode)
{
	struct insn *insn = &g->insn;
	int op = op_of_mnemonic(z->mnemonic);
	bool mode64 = mode & MODE_CODE64;

	if (op < 0 && z->mnemonic == ZYDIS_MNEMONIC_MOV)
		op = op_of_mov(g, z);
	/* MOVSD and CMPSD are a string instruction or an SSE2 one. */
	if (op < 0 && z->meta.category == ZYDIS_CATEGORY_STRINGOP) {
		if (z->mnemonic == ZYDIS_MNEMONIC_MOVSD)
			op = OP_MOVS;
		else if (z->mnemonic == ZYDIS_MNEMONIC_CMPSD)
			op = OP_CMPS;
	}
	if (op >= 0) {
		set_exec(g, op);
		return;
	}
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_JMP:
	case ZYDIS_MNEMONIC_CALL:
	case ZYDIS_MNEMONIC_RET:
	case ZYDIS_MNEMONIC_LOOP:
	case ZYDIS_MNEMONIC_LOOPE:
	case ZYDIS_MNEMONIC_LOOPNE:
	case ZYDIS_MNEMONIC_JCXZ:
	case ZYDIS_MNEMONIC_JECXZ:
	case ZYDIS_MNEMONIC_JRCXZ:
		classify_branch(g, z, mode);
		return;
	case ZYDIS_MNEMONIC_PUSH:
	case ZYDIS_MNEMONIC_POP:
		if (ops[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
			ZydisRegisterGetClass(ops[0].reg.value) == ZYDIS_REGCLASS_SEGMENT) {
			insn->reg = segment_number(ops[0].reg.value);
			set_exec(g, z->mnemonic == ZYDIS_MNEMONIC_PUSH ? OP_PUSH_SEG : OP_POP_SEG);
		} else {
			g->kind = z->mnemonic == ZYDIS_MNEMONIC_PUSH ? KIND_PUSH : KIND_POP;
		}
		return;
	case ZYDIS_MNEMONIC_LEAVE:
		if (mode64 && insn->opsize == 8)
			g->kind = KIND_LEAVE;
		else
			set_exec(g, OP_LEAVE);
		return;
	case ZYDIS_MNEMONIC_LEA:
		g->kind = KIND_LEA;
		return;
	case ZYDIS_MNEMONIC_PAUSE:
		/* With REX.B it exchanges R8 and the accumulator, and pauses nothing. */
		if (z->raw.rex.B) {
			g->gpr_used |= 1u << R8 | 1u << RAX;
			g->gpr_written |= 1u << R8 | 1u << RAX;
			return;
		}
		if (mode & MODE_GUEST)
			set_exec(g, OP_PAUSE);
		return;
	case ZYDIS_MNEMONIC_RDRAND:
	case ZYDIS_MNEMONIC_RDSEED:
		if (mode & MODE_GUEST)
			set_exec(g, z->mnemonic == ZYDIS_MNEMONIC_RDRAND ? OP_RDRAND : OP_RDSEED);
		return;
	case ZYDIS_MNEMONIC_BT:
	case ZYDIS_MNEMONIC_BTS:
	case ZYDIS_MNEMONIC_BTR:
	case ZYDIS_MNEMONIC_BTC:
		if (insn->is_mem && g->slot[SLOT_REG] != INSN_NO_REG)
			g->kind = KIND_BIT;
		return;
	case ZYDIS_MNEMONIC_MASKMOVQ:
	case ZYDIS_MNEMONIC_MASKMOVDQU:
	case ZYDIS_MNEMONIC_VMASKMOVDQU:
		g->kind = KIND_MASKMOV;
		for (unsigned i = 0; i < z->operand_count; i++)
			if (ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
				insn->seg = segment_number(ops[i].mem.segment);
		g->mem_read = g->mem_write = true;
		g->mem_size = z->mnemonic == ZYDIS_MNEMONIC_MASKMOVQ ? 8 : 16;
		insn->is_mem = true;
		insn->base = RDI;
		insn->index = INSN_NO_REG;
		insn->scale = 1;
		insn->disp = 0;
		return;
	case ZYDIS_MNEMONIC_NOP:
		/* A prefetch of a register: some CPUs have that as a NOP, others raise #UD. */
		if (z->opcode_map == ZYDIS_OPCODE_MAP_0F && z->opcode == 0x0d)
			return;
		g->kind = KIND_NOP;
		return;
	case ZYDIS_MNEMONIC_ENDBR32:
	case ZYDIS_MNEMONIC_ENDBR64:
	case ZYDIS_MNEMONIC_RDSSPD:
	case ZYDIS_MNEMONIC_RDSSPQ:
	case ZYDIS_MNEMONIC_CLDEMOTE:
	case ZYDIS_MNEMONIC_PREFETCH:
	case ZYDIS_MNEMONIC_PREFETCHNTA:
	case ZYDIS_MNEMONIC_PREFETCHT0:
	case ZYDIS_MNEMONIC_PREFETCHT1:
	case ZYDIS_MNEMONIC_PREFETCHT2:
	case ZYDIS_MNEMONIC_PREFETCHW:
	case ZYDIS_MNEMONIC_PREFETCHWT1:
		g->kind = KIND_NOP;
		return;
	case ZYDIS_MNEMONIC_CLFLUSH:
	case ZYDIS_MNEMONIC_CLFLUSHOPT:
	case ZYDIS_MNEMONIC_CLWB:
		/* Checked as a load of one byte, APM3 CLFLUSH. */
		g->mem_size = 1;
		g->mem_read = true;
		g->mem_write = false;
		return;
	default:
		break;
	}
	if (z->meta.category == ZYDIS_CATEGORY_COND_BR)
		classify_branch(g, z, mode);
	else if (z->meta.category == ZYDIS_CATEGORY_CET || z->meta.category == ZYDIS_CATEGORY_UINTR)
		set_exec(g, OP_UD); /* shadow stacks are not offered: what is no hint is #UD */
}

/* Of SSE's sets, but without a vector register: CR0 and CR4.OSFXSR are nothing to them. APM1 4.12 */
static bool needs_no_state(const struct guest_insn *g, ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_LFENCE:
	case ZYDIS_MNEMONIC_MFENCE:
	case ZYDIS_MNEMONIC_SFENCE:
	case ZYDIS_MNEMONIC_MOVNTI:
	case ZYDIS_MNEMONIC_CRC32:
		return true;
	default:
		return g->kind == KIND_NOP;
	}
}

/* VPINSRQ and VPEXTRQ are 64-bit mode's alone. Elsewhere Intel's CPUs take VEX.W for 0, SDM2 PINSRD; AMD's (seen
 * on Zen 5) have no such instruction. */
static bool is_missing_form(const struct cpu *cpu, const struct guest_insn *g, const ZydisDecodedInstruction *z)
{
	return g->w_ignored && g->encoding == ENCODING_VEX && z->raw.vex.W && !cpu_host_is_intel(cpu) &&
	       (z->mnemonic == ZYDIS_MNEMONIC_VPINSRD || z->mnemonic == ZYDIS_MNEMONIC_VPEXTRD);
}

static void check_state(const struct cpu *cpu, struct guest_insn *g,
	const ZydisDecodedInstruction *z, u32 mode)
{
	/* FISTTP came with SSE3, but is x87's */
	enum fpu_need need = z->mnemonic == ZYDIS_MNEMONIC_FISTTP ? NEED_X87
								  : need_of_isa(z->meta.isa_set);
	static const u32 enabled[] = { [NEED_X87] = 0, [NEED_SSE] = MODE_SSE, [NEED_AVX] = MODE_AVX,
		[NEED_AVX512] = MODE_AVX512 };

	if (needs_no_state(g, z->mnemonic))
		need = NEED_NONE;
	g->vector = need >= NEED_SSE || z->meta.isa_set == ZYDIS_ISA_SET_PENTIUMMMX;
	if (need == NEED_ABSENT || !cpu_offers(cpu, z->meta.isa_set) || is_missing_form(cpu, g, z) ||
		(need == NEED_AVX512 && !cpu_has(cpu, 7, 1, 16))) {
		set_exec(g, OP_UD);
		return;
	}
	if (z->mnemonic == ZYDIS_MNEMONIC_FWAIT) {
		if (mode & MODE_FWAIT_NM)
			set_exec(g, OP_NM);
		return;
	}
	if (g->kind == KIND_EXEC || need == NEED_NONE)
		return;
	/* FXSAVE's and XSAVE's own handlers look at CR0 themselves. APM2 8.2.8, APM1 4.12 */
	if ((mode & enabled[need]) != enabled[need]) {
		set_exec(g, OP_UD);
	} else if (!(mode & MODE_FPU)) {
		set_exec(g, OP_NM);
		g->insn.imm = need == NEED_SSE; /* with CR0.EM that is #UD */
	}
}

/* x87 and MMX instructions but for the FN ones: APM2 8.2.17, SDM1 8.7 */
static bool waits_for_x87(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *ops)
{
	if (z->mnemonic == ZYDIS_MNEMONIC_FNSTCW || z->mnemonic == ZYDIS_MNEMONIC_FNSTSW)
		return false;
	if (need_of_isa(z->meta.isa_set) == NEED_X87 || z->mnemonic == ZYDIS_MNEMONIC_FISTTP)
		return true;
	for (unsigned i = 0; i < z->operand_count; i++)
		if (ops[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
			ZydisRegisterGetClass(ops[i].reg.value) == ZYDIS_REGCLASS_MMX)
			return true;
	return false;
}

/* W selects the width of a general register or its like in memory, which is 32 bits here. SDM2 2.3.5,
 * and the instructions' own pages. */
static bool ignores_w(const struct guest_insn *g, const ZydisDecodedInstruction *z)
{
	for (unsigned i = 0; i < SLOT_COUNT; i++)
		if (g->slot[i] != INSN_NO_REG)
			return true;
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_VCVTSI2SS:
	case ZYDIS_MNEMONIC_VCVTSI2SD:
	case ZYDIS_MNEMONIC_VCVTUSI2SS:
	case ZYDIS_MNEMONIC_VCVTUSI2SD:
	case ZYDIS_MNEMONIC_VMOVD:
	case ZYDIS_MNEMONIC_VPINSRD:
	case ZYDIS_MNEMONIC_VPEXTRD:
	case ZYDIS_MNEMONIC_VPCMPESTRI:
	case ZYDIS_MNEMONIC_VPCMPESTRM:
		return true;
	default:
		return false;
	}
}

/*
 * What becomes of an instruction that may not have its LOCK: all of it is fetched before that is seen,
 * so whether it is too long, or not all there, comes first.
 */
static ZyanStatus fetch_locked(const ZydisDecoder *decoder, const u8 *bytes, unsigned available)
{
	ZydisDecodedInstruction z;
	ZyanStatus status;
	u8 copy[15];

	memcpy(copy, bytes, available);
	for (unsigned i = 0; i < available; i++) {
		if (copy[i] != 0xf0)
			continue;
		copy[i] = 0x3e;
		status = ZydisDecoderDecodeInstruction(decoder, NULL, copy, available, &z);
		if (status != ZYDIS_STATUS_ILLEGAL_LOCK)
			return ZYAN_SUCCESS(status) ? ZYDIS_STATUS_ILLEGAL_LOCK : status;
	}
	return ZYDIS_STATUS_ILLEGAL_LOCK;
}

int decode_guest(const struct cpu *cpu, u32 mode, const u8 *bytes, unsigned available,
	struct guest_insn *g)
{
	ZydisDecoder decoder;
	ZydisDecodedInstruction z;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	struct insn *insn = &g->insn;
	bool mode64 = mode & MODE_CODE64, mode32 = mode & MODE_CODE32;
	ZyanStatus status;

	memset(g, 0, sizeof(*g));
	memset(g->slot, INSN_NO_REG, sizeof(g->slot));
	insn->base = insn->index = INSN_NO_REG;
	insn->code_size = mode64 ? 8 : mode32 ? 4 : 2;
	insn->seg = DS;
	if (mode64)
		ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	else if (mode32)
		ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
	else
		ZydisDecoderInit(&decoder,
			mode & MODE_PROTECTED ? ZYDIS_MACHINE_MODE_LEGACY_16 : ZYDIS_MACHINE_MODE_REAL_16,
			ZYDIS_STACK_WIDTH_16);
	if (available > 15)
		available = 15;
	status = ZydisDecoderDecodeFull(&decoder, bytes, available, &z, ops);
	if (status == ZYDIS_STATUS_ILLEGAL_LOCK)
		status = fetch_locked(&decoder, bytes, available);
	if (!ZYAN_SUCCESS(status)) {
		if (status == ZYDIS_STATUS_NO_MORE_DATA && available < 15)
			return -1;
		memcpy(insn->bytes, bytes, available);
		insn->len = 1;
		/* Longer than 15 bytes: #GP(0), APM2 8.2.14; all else that does not decode: #UD. */
		set_exec(g, status == ZYDIS_STATUS_NO_MORE_DATA ||
				status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG ? OP_GP : OP_UD);
		return 0;
	}
	memcpy(insn->bytes, bytes, z.length);
	insn->len = z.length;
	insn->opsize = z.operand_width / 8;
	insn->addrsize = z.address_width / 8;
	insn->lock = z.attributes & ZYDIS_ATTRIB_HAS_LOCK;
	insn->opcode = z.opcode;
	scan_prefixes(g, mode);
	for (unsigned i = 0; i < g->opcode_at; i++) {
		if (bytes[i] == 0x66)
			g->prefix_66 = true;
		else if (bytes[i] == 0xf2 || bytes[i] == 0xf3)
			g->prefix_rep = bytes[i];
	}
	g->prefix_lock = insn->lock;
	g->encoding = z.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? ENCODING_VEX :
		z.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX ? ENCODING_EVEX : ENCODING_LEGACY;
	g->has_modrm = z.attributes & ZYDIS_ATTRIB_HAS_MODRM;
	g->modrm_at = z.raw.modrm.offset;
	if (z.raw.imm[0].size) {
		g->imm_at = z.raw.imm[0].offset;
		g->imm_len = insn->len - g->imm_at;
	} else {
		g->imm_at = insn->len;
		if (z.encoding == ZYDIS_INSTRUCTION_ENCODING_3DNOW)
			g->imm_at--;
	}
	if (g->has_modrm) {
		insn->reg = z.raw.modrm.reg | (z.raw.rex.R ? 8 : 0);
		insn->modrm_ext = z.raw.modrm.reg;
		insn->rm = z.raw.modrm.rm | (z.raw.rex.B ? 8 : 0);
	} else {
		insn->rm = (z.opcode & 7) | (z.raw.rex.B ? 8 : 0);
	}
	insn->imm = z.raw.imm[0].value.u;
	insn->imm2 = z.raw.imm[1].value.u;
	if (z.operand_count && ops[0].type == ZYDIS_OPERAND_TYPE_POINTER) {
		insn->imm = ops[0].ptr.offset;
		insn->imm2 = ops[0].ptr.segment;
	} else if (z.raw.imm[0].size && (z.raw.imm[0].is_signed || z.raw.imm[0].is_relative)) {
		insn->imm = z.raw.imm[0].value.s;
	}
	if (z.meta.category == ZYDIS_CATEGORY_STRINGOP || z.meta.category == ZYDIS_CATEGORY_IOSTRINGOP)
		insn->rep = g->prefix_rep;
	read_operands(g, &z, ops);
	if (g->encoding != ENCODING_LEGACY) {
		g->w_ignored = !mode64 && ignores_w(g, &z);
		for (unsigned i = 0; i < z.operand_count; i++)
			g->imm_is_register |= ops[i].encoding == ZYDIS_OPERAND_ENCODING_IS4;
	}
	/* Strings and XLAT have hidden memory operands, whose segment an override may change. */
	if (!insn->is_mem)
		for (unsigned i = 0; i < z.operand_count; i++)
			if (ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
				ops[i].mem.base != ZYDIS_REGISTER_RDI &&
				ops[i].mem.base != ZYDIS_REGISTER_EDI &&
				ops[i].mem.base != ZYDIS_REGISTER_DI)
				insn->seg = segment_number(ops[i].mem.segment);
	if (z.mnemonic == ZYDIS_MNEMONIC_LSS)
		insn->imm2 = SS;
	else if (z.mnemonic == ZYDIS_MNEMONIC_LDS)
		insn->imm2 = DS;
	else if (z.mnemonic == ZYDIS_MNEMONIC_LES)
		insn->imm2 = ES;
	else if (z.mnemonic == ZYDIS_MNEMONIC_LFS)
		insn->imm2 = FS;
	else if (z.mnemonic == ZYDIS_MNEMONIC_LGS)
		insn->imm2 = GS;
	read_flags(g, &z);
	if (g->kind != KIND_GATHER)
		classify(g, &z, ops, mode);
	check_state(cpu, g, &z, mode);
	if (g->kind == KIND_GATHER)
		set_gather(g, &z, ops);
	else if (insn->is_mem && g->kind != KIND_EXEC)
		set_mask(g, &z, ops);
	if (insn->is_mem) {
		/* with a 16-bit operand Intel's CPUs read r/m16, SDM2 MOVSX; AMD's r/m32, APM3 */
		if (z.mnemonic == ZYDIS_MNEMONIC_MOVSXD && insn->opsize == 2 && cpu_host_is_intel(cpu))
			g->mem_size = 2;
		find_alignment(cpu, g, &z);
		g->waits = waits_for_x87(&z, ops);
	}
	return 0;
}
