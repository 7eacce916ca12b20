/* SPDX-License-Identifier: MIT */
/*
 * Vector instructions' memory operands: gathers and scatters, masks that leave elements out, and
 * alignment.
 */

#include "translate/decode_parts.h"

/* SDM2 VGATHERDPS, VPGATHERDD, VSCATTERDPS, VPSCATTERDD: opcodes 0F38 90..93 and A0..A3. */
void set_gather(struct guest_insn *g, const ZydisDecodedInstruction *z,
	const ZydisDecodedOperand *ops)
{
	const u8 *p = g->insn.bytes + g->opcode_at;
	bool evex = g->encoding == ENCODING_EVEX;
	unsigned len = 16 << (evex ? p[3] >> 5 & 3 : p[2] >> 2 & 1);
	struct insn_vector *vector = &g->insn.vector;

	set_exec(g, OP_GATHER);
	*vector = (struct insn_vector){ .element = p[2] & 0x80 ? 8 : 4,
		.index_size = z->opcode & 1 ? 8 : 4, .store = z->opcode >= 0xa0 };
	vector->count = vector->mask_count = len / MAX(vector->element, vector->index_size);
	vector->mask_kind = evex ? INSN_MASK_OPMASK : INSN_MASK_VECTOR;
	for (unsigned i = 0; i < z->operand_count; i++) {
		if (ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			vector->index = ZydisRegisterGetId(ops[i].mem.index);
		else if (ops[i].encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG)
			vector->reg = ZydisRegisterGetId(ops[i].reg.value);
		else if (ops[i].encoding == ZYDIS_OPERAND_ENCODING_NDSNDD ||
			 ops[i].encoding == ZYDIS_OPERAND_ENCODING_MASK)
			vector->mask = ZydisRegisterGetId(ops[i].reg.value);
	}
}

/* Instructions of these exception classes access all of their operand. SDM2 2.8 */
static bool suppresses_faults(ZydisExceptionClass class)
{
	switch (class) {
	case ZYDIS_EXCEPTION_CLASS_E1:
	case ZYDIS_EXCEPTION_CLASS_E2:
	case ZYDIS_EXCEPTION_CLASS_E3:
	case ZYDIS_EXCEPTION_CLASS_E4:
	case ZYDIS_EXCEPTION_CLASS_E5:
	case ZYDIS_EXCEPTION_CLASS_E6:
	case ZYDIS_EXCEPTION_CLASS_E10:
	case ZYDIS_EXCEPTION_CLASS_E11:
		return true;
	default:
		return false;
	}
}

/* AVX-512's {k}: which elements of the operand in memory its bits stand for. */
static void set_opmask(struct guest_insn *g, const ZydisDecodedInstruction *z,
	const ZydisDecodedOperand *mem)
{
	static const u8 broadcast[][2] = { /* elements in memory, elements made of them */
		[ZYDIS_BROADCAST_MODE_1_TO_2] = { 1, 2 }, [ZYDIS_BROADCAST_MODE_1_TO_4] = { 1, 4 },
		[ZYDIS_BROADCAST_MODE_1_TO_8] = { 1, 8 }, [ZYDIS_BROADCAST_MODE_1_TO_16] = { 1, 16 },
		[ZYDIS_BROADCAST_MODE_1_TO_32] = { 1, 32 }, [ZYDIS_BROADCAST_MODE_1_TO_64] = { 1, 64 },
		[ZYDIS_BROADCAST_MODE_2_TO_4] = { 2, 4 }, [ZYDIS_BROADCAST_MODE_2_TO_8] = { 2, 8 },
		[ZYDIS_BROADCAST_MODE_2_TO_16] = { 2, 16 }, [ZYDIS_BROADCAST_MODE_4_TO_8] = { 4, 8 },
		[ZYDIS_BROADCAST_MODE_4_TO_16] = { 4, 16 }, [ZYDIS_BROADCAST_MODE_8_TO_16] = { 8, 16 },
	};
	struct insn_vector *vector = &g->insn.vector;
	unsigned mode = z->avx.broadcast.mode;

	if (mode != ZYDIS_BROADCAST_MODE_INVALID) {
		vector->count = broadcast[mode][0];
		vector->mask_count = broadcast[mode][1];
	} else {
		vector->count = vector->mask_count = mem->element_count;
	}
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_VPDPBUSD:
	case ZYDIS_MNEMONIC_VPDPBUSDS:
	case ZYDIS_MNEMONIC_VPDPWSSD:
	case ZYDIS_MNEMONIC_VPDPWSSDS:
	case ZYDIS_MNEMONIC_VDPBF16PS:
		/* sums of several: a bit speaks of 32 bits */
		if (mode == ZYDIS_BROADCAST_MODE_INVALID)
			vector->count = vector->mask_count = g->mem_size / 4;
		break;
	case ZYDIS_MNEMONIC_VPCOMPRESSB:
	case ZYDIS_MNEMONIC_VPCOMPRESSW:
	case ZYDIS_MNEMONIC_VPCOMPRESSD:
	case ZYDIS_MNEMONIC_VPCOMPRESSQ:
	case ZYDIS_MNEMONIC_VCOMPRESSPS:
	case ZYDIS_MNEMONIC_VCOMPRESSPD:
	case ZYDIS_MNEMONIC_VPEXPANDB:
	case ZYDIS_MNEMONIC_VPEXPANDW:
	case ZYDIS_MNEMONIC_VPEXPANDD:
	case ZYDIS_MNEMONIC_VPEXPANDQ:
	case ZYDIS_MNEMONIC_VEXPANDPS:
	case ZYDIS_MNEMONIC_VEXPANDPD:
		vector->packed = true;
		break;
	case ZYDIS_MNEMONIC_VDBPSADBW:
	case ZYDIS_MNEMONIC_VGF2P8AFFINEQB:
	case ZYDIS_MNEMONIC_VGF2P8AFFINEINVQB:
	case ZYDIS_MNEMONIC_VCVTNE2PS2BF16:
		return; /* a bit is not of one element in memory; of class E4NF in the manual */
	default:
		break;
	}
	if (!vector->count || g->mem_size % vector->count)
		return;
	vector->element = g->mem_size / vector->count;
	vector->mask_kind = INSN_MASK_OPMASK;
	vector->mask = g->insn.bytes[g->opcode_at + 3] & 7;
}

/* Finds out which mask says what of the memory operand is accessed. */
void set_mask(struct guest_insn *g, const ZydisDecodedInstruction *z,
	const ZydisDecodedOperand *ops)
{
	struct insn_vector *vector = &g->insn.vector;

	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_VMASKMOVPS:
	case ZYDIS_MNEMONIC_VPMASKMOVD:
	case ZYDIS_MNEMONIC_VMASKMOVPD:
	case ZYDIS_MNEMONIC_VPMASKMOVQ:
		vector->element = z->mnemonic == ZYDIS_MNEMONIC_VMASKMOVPS ||
				  z->mnemonic == ZYDIS_MNEMONIC_VPMASKMOVD ? 4 : 8;
		vector->mask_kind = INSN_MASK_VECTOR;
		vector->mask = ZydisRegisterGetId(ops[1].reg.value);
		vector->count = vector->mask_count = g->mem_size / vector->element;
		break;
	default:
		if (g->encoding != ENCODING_EVEX || !(g->insn.bytes[g->opcode_at + 3] & 7) ||
			!suppresses_faults(z->meta.exception_class))
			return;
		for (unsigned i = 0; i < z->operand_count; i++)
			if (ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
				set_opmask(g, z, &ops[i]);
		break;
	}
	g->masked = vector->mask_kind != INSN_MASK_NONE;
}

/* Vector operands that must be aligned: SDM2 2.5 (legacy types 1, 2, 4), APM1 4.3.2. */
void find_alignment(const struct cpu *cpu, struct guest_insn *g, const ZydisDecodedInstruction *z)
{
	switch (z->mnemonic) {
	case ZYDIS_MNEMONIC_MOVAPS:
	case ZYDIS_MNEMONIC_MOVAPD:
	case ZYDIS_MNEMONIC_MOVDQA:
	case ZYDIS_MNEMONIC_MOVNTPS:
	case ZYDIS_MNEMONIC_MOVNTPD:
	case ZYDIS_MNEMONIC_MOVNTDQ:
	case ZYDIS_MNEMONIC_MOVNTDQA:
	case ZYDIS_MNEMONIC_VMOVAPS:
	case ZYDIS_MNEMONIC_VMOVAPD:
	case ZYDIS_MNEMONIC_VMOVDQA:
	case ZYDIS_MNEMONIC_VMOVDQA32:
	case ZYDIS_MNEMONIC_VMOVDQA64:
	case ZYDIS_MNEMONIC_VMOVNTPS:
	case ZYDIS_MNEMONIC_VMOVNTPD:
	case ZYDIS_MNEMONIC_VMOVNTDQ:
	case ZYDIS_MNEMONIC_VMOVNTDQA:
	case ZYDIS_MNEMONIC_CMPXCHG16B:
		g->align = g->mem_size;
		return;
	case ZYDIS_MNEMONIC_MOVUPS:
	case ZYDIS_MNEMONIC_MOVUPD:
	case ZYDIS_MNEMONIC_MOVDQU:
	case ZYDIS_MNEMONIC_LDDQU:
	case ZYDIS_MNEMONIC_PCMPESTRI:
	case ZYDIS_MNEMONIC_PCMPESTRM:
	case ZYDIS_MNEMONIC_PCMPISTRI:
	case ZYDIS_MNEMONIC_PCMPISTRM:
		return;
	case ZYDIS_MNEMONIC_VCVTPH2PS:
	case ZYDIS_MNEMONIC_VCVTPS2PH:
		/* SDM2: "do not report #AC", of VEX's; Intel's CPUs do not with EVEX either */
		g->insn.any_alignment = cpu_is_intel(cpu);
		return;
	case ZYDIS_MNEMONIC_SHA1MSG1:
	case ZYDIS_MNEMONIC_SHA1MSG2:
	case ZYDIS_MNEMONIC_SHA1NEXTE:
	case ZYDIS_MNEMONIC_SHA1RNDS4:
	case ZYDIS_MNEMONIC_SHA256MSG1:
	case ZYDIS_MNEMONIC_SHA256MSG2:
	case ZYDIS_MNEMONIC_SHA256RNDS2:
		/* here CPUs differ, and the host has the word: Intel's check them, AMD's do not */
		if (!cpu_host_is_intel(cpu))
			return;
		/* fall through */
	default:
		if (g->kind != KIND_PLAIN || !g->vector || g->encoding != ENCODING_LEGACY ||
			g->mem_size != 16)
			return;
		g->align = 16;
		g->align_waived = true;
	}
}
