/* SPDX-License-Identifier: MIT */
/*
 * Every encoding that Zydis decodes in a mode, found by walking the opcode maps, and put into
 * classes. Classes are by instruction set, so that what guests do not get (TSX, XOP, AMX, ...) and
 * what would not be the same twice (RDTSC, RDRAND) or would leave the child (SYSCALL, INT n) is
 * never generated.
 */
#include "compare.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const class_names[CLASS_COUNT] = {
#define CLASS(name, weight, comment) #name,
	CLASSES
#undef CLASS
};
const char *const class_comments[CLASS_COUNT] = {
#define CLASS(name, weight, comment) comment,
	CLASSES
#undef CLASS
};

ZydisDecoder decoders[MODE_TOTAL];

struct group {
	u16 mnemonic;
	u32 first, count;
};
struct table {
	struct template *templates;
	u32 count, room;
	struct group *groups;
	u32 group_count;
};
static struct table tables[MODE_TOTAL][CLASS_COUNT];

static enum class classify_set(ZydisISASet set)
{
	switch (set) {
	case ZYDIS_ISA_SET_X87:
	case ZYDIS_ISA_SET_FCMOV:
	case ZYDIS_ISA_SET_SSE3X87:
		return CLASS_x87;
	case ZYDIS_ISA_SET_PENTIUMMMX:
	case ZYDIS_ISA_SET_SSE2MMX:
	case ZYDIS_ISA_SET_SSSE3MMX:
		return CLASS_mmx;
	case ZYDIS_ISA_SET_SSE:
	case ZYDIS_ISA_SET_SSEMXCSR:
	case ZYDIS_ISA_SET_SSE2:
	case ZYDIS_ISA_SET_SSE3:
	case ZYDIS_ISA_SET_SSSE3:
	case ZYDIS_ISA_SET_SSE4:
	case ZYDIS_ISA_SET_SSE42:
	case ZYDIS_ISA_SET_AES:
	case ZYDIS_ISA_SET_PCLMULQDQ:
	case ZYDIS_ISA_SET_SHA:
	case ZYDIS_ISA_SET_GFNI:
	case ZYDIS_ISA_SET_SSE_PREFETCH:
		return CLASS_sse;
	case ZYDIS_ISA_SET_AVX:
	case ZYDIS_ISA_SET_AVX2:
	case ZYDIS_ISA_SET_AVXAES:
	case ZYDIS_ISA_SET_AVX_GFNI:
	case ZYDIS_ISA_SET_AVX_VNNI:
	case ZYDIS_ISA_SET_FMA:
	case ZYDIS_ISA_SET_F16C:
	case ZYDIS_ISA_SET_VAES:
	case ZYDIS_ISA_SET_VPCLMULQDQ:
		return CLASS_avx;
	case ZYDIS_ISA_SET_AVX2GATHER:
		return CLASS_gather;
	case ZYDIS_ISA_SET_BMI1:
	case ZYDIS_ISA_SET_BMI2:
	case ZYDIS_ISA_SET_ADOX_ADCX:
		return CLASS_bmi;
	case ZYDIS_ISA_SET_CMOV:
		return CLASS_cond;
	case ZYDIS_ISA_SET_CMPXCHG16B:
		return CLASS_atomic;
	case ZYDIS_ISA_SET_LAHF:
		return CLASS_flags;
	case ZYDIS_ISA_SET_POPCNT:
	case ZYDIS_ISA_SET_LZCNT:
		return CLASS_bit;
	case ZYDIS_ISA_SET_MOVBE:
	case ZYDIS_ISA_SET_FAT_NOP:
	case ZYDIS_ISA_SET_PREFETCH_NOP:
	case ZYDIS_ISA_SET_CLFSH:
	case ZYDIS_ISA_SET_PAUSE:
	case ZYDIS_ISA_SET_I86:
	case ZYDIS_ISA_SET_I186:
	case ZYDIS_ISA_SET_I386:
	case ZYDIS_ISA_SET_I486:
	case ZYDIS_ISA_SET_I486REAL:
	case ZYDIS_ISA_SET_PENTIUMREAL:
	case ZYDIS_ISA_SET_PPRO:
	case ZYDIS_ISA_SET_LONGMODE:
		return CLASS_integer;
	default:
		if (set >= ZYDIS_ISA_SET_AVX512BW_128 && set <= ZYDIS_ISA_SET_AVX512_VPOPCNTDQ_512)
			return CLASS_avx512;
		return CLASS_COUNT;
	}
}

static bool privileged(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_HLT:
	case ZYDIS_MNEMONIC_CLI:
	case ZYDIS_MNEMONIC_STI:
	case ZYDIS_MNEMONIC_CLTS:
	case ZYDIS_MNEMONIC_INVD:
	case ZYDIS_MNEMONIC_WBINVD:
	case ZYDIS_MNEMONIC_RDMSR:
	case ZYDIS_MNEMONIC_WRMSR:
	case ZYDIS_MNEMONIC_LGDT:
	case ZYDIS_MNEMONIC_LIDT:
	case ZYDIS_MNEMONIC_LLDT:
	case ZYDIS_MNEMONIC_LTR:
	case ZYDIS_MNEMONIC_LMSW:
	case ZYDIS_MNEMONIC_INVLPG:
	case ZYDIS_MNEMONIC_IN:
	case ZYDIS_MNEMONIC_OUT:
	case ZYDIS_MNEMONIC_SWAPGS:
	case ZYDIS_MNEMONIC_UD0:
	case ZYDIS_MNEMONIC_UD1:
	case ZYDIS_MNEMONIC_UD2:
		return true;
	default:
		return false;
	}
}

static bool forbidden(const ZydisDecodedInstruction *insn)
{
	switch (insn->meta.category) {
	case ZYDIS_CATEGORY_INTERRUPT:
		return insn->mnemonic != ZYDIS_MNEMONIC_INTO;
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSRET:
	case ZYDIS_CATEGORY_SYSTEM:
	case ZYDIS_CATEGORY_IO:
	case ZYDIS_CATEGORY_IOSTRINGOP:
	case ZYDIS_CATEGORY_SEGOP:
	case ZYDIS_CATEGORY_VTX:
	case ZYDIS_CATEGORY_XSAVE:
	case ZYDIS_CATEGORY_XSAVEOPT:
	case ZYDIS_CATEGORY_SMAP:
	/* branches come from the generator, which knows where to */
	case ZYDIS_CATEGORY_CALL:
	case ZYDIS_CATEGORY_RET:
	case ZYDIS_CATEGORY_UNCOND_BR:
	case ZYDIS_CATEGORY_COND_BR:
		return true;
	default:
		break;
	}
	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_INVALID:
	case ZYDIS_MNEMONIC_INT3:
	case ZYDIS_MNEMONIC_INT1: /* where the host is a guest itself, its RIP is not to be relied on */
	/* images with FIP and FDP, which are not compared: pattern "xsave" has them */
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FLDENV:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXSAVE64:
	case ZYDIS_MNEMONIC_FXRSTOR64:
	/* descriptors of the host's kernel, and what it emulates for UMIP */
	case ZYDIS_MNEMONIC_LAR:
	case ZYDIS_MNEMONIC_LSL:
	case ZYDIS_MNEMONIC_VERR:
	case ZYDIS_MNEMONIC_VERW:
	case ZYDIS_MNEMONIC_SGDT:
	case ZYDIS_MNEMONIC_SIDT:
	case ZYDIS_MNEMONIC_SLDT:
	case ZYDIS_MNEMONIC_STR:
	case ZYDIS_MNEMONIC_SMSW:
	case ZYDIS_MNEMONIC_CPUID:
	case ZYDIS_MNEMONIC_RDTSC:
	case ZYDIS_MNEMONIC_RDPMC:
	case ZYDIS_MNEMONIC_RSM:
		return true;
	default:
		return false;
	}
}

static bool writes_segment(const ZydisDecodedInstruction *insn, enum mode mode)
{
	if (insn->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && insn->mnemonic == ZYDIS_MNEMONIC_MOV &&
		insn->opcode == 0x8e)
		return true;
	if (insn->mnemonic != ZYDIS_MNEMONIC_POP)
		return false;
	if (insn->opcode_map == ZYDIS_OPCODE_MAP_0F)
		return true; /* FS, GS */
	return mode != MODE64 && (insn->opcode == 0x07 || insn->opcode == 0x17 ||
					 insn->opcode == 0x1f);
}

bool is_kernel_bound(const ZydisDecodedInstruction *insn, enum mode mode)
{
	switch (insn->meta.category) {
	case ZYDIS_CATEGORY_SYSCALL:
	case ZYDIS_CATEGORY_SYSRET:
	case ZYDIS_CATEGORY_SYSTEM:
	case ZYDIS_CATEGORY_INTERRUPT:
	case ZYDIS_CATEGORY_SEGOP:
		return !privileged(insn->mnemonic) && insn->mnemonic != ZYDIS_MNEMONIC_INTO;
	default:
		return writes_segment(insn, mode) ||
		       insn->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ||
		       insn->attributes & (ZYDIS_ATTRIB_HAS_SEGMENT_FS | ZYDIS_ATTRIB_HAS_SEGMENT_GS);
	}
}

enum class classify(const ZydisDecodedInstruction *insn, enum mode mode)
{
	enum class class;

	if (privileged(insn->mnemonic))
		return CLASS_privileged;
	if (forbidden(insn) || writes_segment(insn, mode))
		return CLASS_COUNT;
	/* outside 64-bit mode Zen 4 moves 64 bits all the same, and nobody knows what is above ESP */
	if (mode != MODE64 && insn->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && insn->raw.vex.W &&
		insn->mnemonic == ZYDIS_MNEMONIC_KMOVD)
		return CLASS_COUNT;
	class = classify_set(insn->meta.isa_set);
	if (class == CLASS_avx512 && (insn->meta.category == ZYDIS_CATEGORY_GATHER ||
					     insn->meta.category == ZYDIS_CATEGORY_SCATTER))
		return CLASS_gather;
	if (class != CLASS_integer)
		return class;
	switch (insn->meta.category) {
	case ZYDIS_CATEGORY_SHIFT:
	case ZYDIS_CATEGORY_ROTATE:
		return CLASS_shift;
	case ZYDIS_CATEGORY_X87_ALU:
		return CLASS_x87;
	case ZYDIS_CATEGORY_BITBYTE:
		return CLASS_bit;
	case ZYDIS_CATEGORY_SETCC:
	case ZYDIS_CATEGORY_CMOV:
		return CLASS_cond;
	case ZYDIS_CATEGORY_PUSH:
	case ZYDIS_CATEGORY_POP:
		return CLASS_stack;
	case ZYDIS_CATEGORY_STRINGOP:
		return CLASS_string;
	case ZYDIS_CATEGORY_FLAGOP:
		return CLASS_flags;
	case ZYDIS_CATEGORY_SEMAPHORE:
		return CLASS_atomic;
	case ZYDIS_CATEGORY_DECIMAL:
		return CLASS_decimal;
	default:
		break;
	}
	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_MUL:
	case ZYDIS_MNEMONIC_IMUL:
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV:
		return CLASS_muldiv;
	case ZYDIS_MNEMONIC_ENTER:
	case ZYDIS_MNEMONIC_LEAVE:
		return CLASS_stack;
	case ZYDIS_MNEMONIC_BSF:
	case ZYDIS_MNEMONIC_BSR:
	case ZYDIS_MNEMONIC_BSWAP:
		return CLASS_bit;
	case ZYDIS_MNEMONIC_CMPXCHG:
	case ZYDIS_MNEMONIC_CMPXCHG8B:
	case ZYDIS_MNEMONIC_XADD:
	case ZYDIS_MNEMONIC_XCHG:
		return CLASS_atomic;
	case ZYDIS_MNEMONIC_BOUND:
	case ZYDIS_MNEMONIC_INTO:
	case ZYDIS_MNEMONIC_SALC:
	case ZYDIS_MNEMONIC_ARPL:
	case ZYDIS_MNEMONIC_XLAT:
		return CLASS_decimal;
	default:
		return CLASS_integer;
	}
}

static void add(enum mode mode, enum class class, const struct template *template)
{
	struct table *table = &tables[mode][class];

	if (table->count == table->room) {
		table->room = table->room ? table->room * 2 : 64;
		table->templates = realloc(table->templates, table->room * sizeof(*template));
		if (!table->templates)
			abort();
	}
	table->templates[table->count++] = *template;
}

/* The template's bytes up to modrm with everything free at zero; offset of modrm by *modrm_at. */
static unsigned skeleton(const struct template *t, u8 *bytes, unsigned *modrm_at)
{
	static const u8 simd_prefix[4] = { 0, 0x66, 0xf3, 0xf2 };
	unsigned n = 0, pp = 0;

	while (simd_prefix[pp] != t->prefix)
		pp++;
	switch (t->encoding) {
	case ENC_VEX:
		bytes[n++] = 0xc4;
		bytes[n++] = (u8)(0xe0 | t->map);
		bytes[n++] = (u8)(t->w << 7 | 0x78 | t->l << 2 | pp);
		break;
	case ENC_EVEX:
		bytes[n++] = 0x62;
		bytes[n++] = (u8)(0xf0 | t->map);
		bytes[n++] = (u8)(t->w << 7 | 0x7c | pp);
		bytes[n++] = (u8)(t->l << 5 | 0x08);
		break;
	default:
		if (t->prefix)
			bytes[n++] = t->prefix;
		if (t->map)
			bytes[n++] = 0x0f;
		if (t->map > 1)
			bytes[n++] = t->map == 2 ? 0x38 : 0x3a;
	}
	bytes[n++] = t->opcode;
	*modrm_at = n;
	bytes[n++] = (u8)((t->memory ? 0x00 : 0xc0) | (t->reg < 8 ? t->reg << 3 : 0) |
		(t->rm < 8 ? t->rm : t->memory ? 3 : 0));
	memset(bytes + n, 0, 15 - n);
	return n;
}

/* Zydis's word on a template; gathers want an index by SIB, and a mask register that is not k0. */
static enum class probe(const struct template *t, enum mode mode, ZydisDecodedInstruction *insn)
{
	u8 bytes[16];
	unsigned modrm_at;

	skeleton(t, bytes, &modrm_at);
	for (unsigned attempt = 0; attempt < 4; attempt++) {
		if (attempt == 1) {
			if (!t->memory || t->encoding == ENC_LEGACY)
				break;
			bytes[modrm_at] = (u8)((bytes[modrm_at] & 0x38) | 0x04);
			bytes[modrm_at + 1] = 0x10; /* [rax + xmm2], not the destination xmm0 */
			if (t->encoding == ENC_VEX)
				bytes[2] = (u8)((bytes[2] & ~0x78) | 0x70); /* mask: xmm1 */
		}
		if (attempt == 2) {
			if (t->encoding != ENC_EVEX)
				break;
			bytes[3] |= 1;
		}
		if (attempt == 3)
			break;
		if (ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoders[mode], NULL, bytes,
			    sizeof(bytes), insn)))
			return classify(insn, mode);
	}
	return CLASS_COUNT;
}

/* Bytes of the one-byte map that are no opcodes: prefixes, and the escapes of VEX, EVEX and XOP. */
static bool is_prefix(enum mode mode, u8 byte)
{
	static const u8 prefixes[] = { 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3,
		0x0f, 0xc4, 0xc5, 0x62 };

	if (mode == MODE64 && (byte & 0xf0) == 0x40)
		return true;
	if (mode != MODE64 && byte == 0x62)
		return false; /* BOUND where modrm says memory */
	return memchr(prefixes, byte, sizeof(prefixes));
}

/* All forms of one opcode; reg and rm that make no difference to the mnemonic become free. */
static void add_opcode(enum mode mode, struct template t)
{
	ZydisDecodedInstruction insn;
	enum class classes[8];
	u16 mnemonics[8];
	bool same = true;
	unsigned i;

	for (i = 0; i < 8; i++) {
		t.reg = (u8)i;
		t.rm = 0xff;
		classes[i] = probe(&t, mode, &insn);
		mnemonics[i] = classes[i] == CLASS_COUNT ? 0 : (u16)insn.mnemonic;
		if (!(insn.attributes & ZYDIS_ATTRIB_HAS_MODRM) && classes[i] != CLASS_COUNT) {
			if (t.memory)
				return;
			t.mnemonic = mnemonics[i];
			t.reg = 0xfe;
			add(mode, classes[i], &t);
			return;
		}
		same &= mnemonics[i] == mnemonics[0] && classes[i] == classes[0];
	}
	if (t.encoding == ENC_LEGACY && !t.memory && t.map == 0 && (t.opcode & 0xf8) == 0xd8)
		same = false;
	if (same) {
		if (classes[0] == CLASS_COUNT)
			return;
		t.reg = 0xff;
		t.mnemonic = mnemonics[0];
		add(mode, classes[0], &t);
		return;
	}
	for (i = 0; i < 8; i++) {
		t.reg = (u8)i;
		if (!t.memory) {
			for (unsigned rm = 0; rm < 8; rm++) {
				t.rm = (u8)rm;
				enum class class = probe(&t, mode, &insn);
				if (class == CLASS_COUNT)
					continue;
				t.mnemonic = (u16)insn.mnemonic;
				add(mode, class, &t);
			}
		} else if (classes[i] != CLASS_COUNT) {
			t.mnemonic = mnemonics[i];
			add(mode, classes[i], &t);
		}
	}
}

static int by_mnemonic(const void *a, const void *b)
{
	const struct template *p = a, *q = b;

	return p->mnemonic - q->mnemonic;
}

static void group(struct table *table)
{
	qsort(table->templates, table->count, sizeof(struct template), by_mnemonic);
	table->groups = calloc(table->count + 1, sizeof(struct group));
	if (!table->groups)
		abort();
	for (u32 i = 0; i < table->count; i++) {
		if (!i || table->templates[i].mnemonic != table->templates[i - 1].mnemonic)
			table->groups[table->group_count++] = (struct group){
				.mnemonic = table->templates[i].mnemonic, .first = i };
		table->groups[table->group_count - 1].count++;
	}
}

void templates_init(bool avx512)
{
	static const u8 prefixes[4] = { 0, 0x66, 0xf3, 0xf2 };
	static const ZydisMachineMode machine_modes[] = { ZYDIS_MACHINE_MODE_LONG_64,
		ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_MACHINE_MODE_LONG_COMPAT_16 };
	static const ZydisStackWidth stacks[] = { ZYDIS_STACK_WIDTH_64, ZYDIS_STACK_WIDTH_32,
		ZYDIS_STACK_WIDTH_16 };

	for (unsigned mode = 0; mode < MODE_TOTAL; mode++) {
		ZydisDecoderInit(&decoders[mode], machine_modes[mode], stacks[mode]);
		for (unsigned encoding = ENC_LEGACY; encoding <= ENC_EVEX; encoding++) {
			if (encoding == ENC_EVEX && !avx512)
				continue;
			for (unsigned i = 0; i < 256 * 4 * 8 * 2 * 4 * 2; i++) {
				struct template t = { .encoding = (u8)encoding,
					.opcode = (u8)i, .prefix = prefixes[i >> 8 & 3],
					.map = i >> 10 & 7, .memory = i >> 13 & 1,
					.l = i >> 14 & 3, .w = i >> 16 & 1 };
				if (encoding == ENC_LEGACY ? t.l || t.w : !t.map)
					continue;
				/* EVEX has two more, for FP16 */
				if (encoding == ENC_EVEX ? t.map == 4 || t.map == 7 : t.map > 3)
					continue;
				if (encoding == ENC_LEGACY && !t.map && is_prefix(mode, t.opcode))
					continue;
				/* 0f38 and 0f3a are maps of their own */
				if (encoding == ENC_LEGACY && t.map == 1 && (t.opcode & 0xfd) == 0x38)
					continue;
				if (encoding == ENC_VEX ? t.l > 1 : t.l > 2)
					continue;
				add_opcode(mode, t);
			}
		}
		for (unsigned class = 0; class < CLASS_COUNT; class++)
			group(&tables[mode][class]);
	}
}

const struct template *templates_pick(struct rng *rng, enum mode mode, enum class class)
{
	const struct table *table = &tables[mode][class];
	const struct group *group;

	if (!table->group_count)
		return NULL;
	group = &table->groups[rng_below(rng, table->group_count)];
	return &table->templates[group->first + rng_below(rng, group->count)];
}

void templates_print_counts(void)
{
	for (unsigned class = 0; class < CLASS_COUNT; class++) {
		printf("%-11s", class_names[class]);
		for (unsigned mode = 0; mode < MODE_TOTAL; mode++)
			printf(" %5u forms of %4u", tables[mode][class].count,
				tables[mode][class].group_count);
		printf("  %s\n", class_comments[class]);
	}
}
