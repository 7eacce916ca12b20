/* SPDX-License-Identifier: MIT */
/* What must be equal, and how a difference is shown. */
#include "compare.h"
#include "cpu/cpu.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const reg_names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };

struct text {
	char *at;
	size_t left;
	bool any;
};

static void PRINTF(2, 3) say(struct text *text, const char *format, ...)
{
	va_list args;
	int n;

	text->any = true;
	va_start(args, format);
	n = vsnprintf(text->at, text->left, format, args);
	va_end(args);
	if (n > 0 && (size_t)n < text->left) {
		text->at += n;
		text->left -= (size_t)n;
	}
}

static void differ(struct text *text, const char *name, u64 native, u64 soft)
{
	if (native != soft)
		say(text, "  %-8s host %016llx  engine %016llx\n", name, (unsigned long long)native,
			(unsigned long long)soft);
}

static u64 component(const u8 *xsave, unsigned number)
{
	u64 bv;

	memcpy(&bv, xsave + 512, 8);
	return bv >> number & 1;
}

static void differ_bytes(struct text *text, const char *name, unsigned index, const u8 *native,
	const u8 *soft, size_t len)
{
	if (!memcmp(native, soft, len))
		return;
	say(text, "  %s%u\n    host  ", name, index);
	for (size_t i = len; i-- > 0;)
		say(text, "%02x", native[i]);
	say(text, "\n    engine ");
	for (size_t i = len; i-- > 0;)
		say(text, "%02x", soft[i]);
	say(text, "\n");
}

/* A component that XSTATE_BV says is in its initial state reads as that. */
static const u8 *part(const u8 *xsave, unsigned number, size_t offset)
{
	static const u8 zero[1024];

	return component(xsave, number) ? xsave + offset : zero;
}

static void differ_x87(struct text *text, const u8 *native, const u8 *soft)
{
	static const u8 initial[24] = { 0x7f, 0x03 };
	static const u8 zero[128];
	const u8 *a = component(native, 0) ? native : initial;
	const u8 *b = component(soft, 0) ? soft : initial;
	const u8 *a_regs = component(native, 0) ? native + 32 : zero;
	const u8 *b_regs = component(soft, 0) ? soft + 32 : zero;
	unsigned i;

	differ(text, "fcw", a[0] | a[1] << 8, b[0] | b[1] << 8);
	differ(text, "fsw", a[2] | a[3] << 8, b[2] | b[3] << 8);
	differ(text, "ftw", a[4], b[4]);
	/* FOP, FIP and FDP hold where the code was: not compared */
	for (i = 0; i < 8; i++)
		differ_bytes(text, "st", i, a_regs + 16 * i, b_regs + 16 * i, 10);
}

static void differ_vectors(struct text *text, const u8 *native, const u8 *soft,
	const struct options *options, u32 mxcsr_mask)
{
	u32 a, b;
	unsigned i;

	memcpy(&a, native + 24, 4);
	memcpy(&b, soft + 24, 4);
	differ(text, "mxcsr", a & mxcsr_mask, b & mxcsr_mask);
	for (i = 0; i < 16; i++)
		differ_bytes(text, "xmm", i, part(native, 1, 160 + 16 * i), part(soft, 1, 160 + 16 * i),
			16);
	if (options->xfeatures & XCR0_AVX)
		for (i = 0; i < 16; i++)
			differ_bytes(text, "ymm high ", i, part(native, 2, 576 + 16 * i),
				part(soft, 2, 576 + 16 * i), 16);
	if (!options->avx512)
		return;
	for (i = 0; i < 8; i++) {
		size_t at = options->xsave_offset[5] + 8 * i;
		differ_bytes(text, "k", i, part(native, 5, at), part(soft, 5, at), 8);
	}
	for (i = 0; i < 16; i++) {
		size_t at = options->xsave_offset[6] + 32 * i;
		differ_bytes(text, "zmm high ", i, part(native, 6, at), part(soft, 6, at), 32);
	}
	for (i = 0; i < 16; i++) {
		size_t at = options->xsave_offset[7] + 64 * i;
		differ_bytes(text, "zmm", 16 + i, part(native, 7, at), part(soft, 7, at), 64);
	}
}

/* Flags that an instruction surely leaves changed or undefined. */
static u32 flags_overwritten(const ZydisDecodedInstruction *insn)
{
	const ZydisAccessedFlags *flags = insn->cpu_flags;
	bool shift = insn->meta.category == ZYDIS_CATEGORY_SHIFT ||
		     insn->meta.category == ZYDIS_CATEGORY_ROTATE ||
		     insn->mnemonic == ZYDIS_MNEMONIC_SHLD || insn->mnemonic == ZYDIS_MNEMONIC_SHRD;
	bool by_one = insn->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && (insn->opcode & 0xfe) == 0xd0;

	if (!flags || insn->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE |
						 ZYDIS_ATTRIB_HAS_REPNE))
		return 0;
	/* a count of zero changes nothing */
	if (shift && !by_one &&
		!(insn->raw.imm[0].value.u & (insn->operand_width == 64 ? 63 : 31)))
		return 0;
	return flags->modified | flags->set_0 | flags->set_1 | flags->undefined;
}

/*
 * Arithmetic flags that are overwritten before anyone reads them when the instruction at rip runs
 * again. At its fault the engine may show older ones, by design: it saves flags around a memory
 * access only where they live. Decoded is what lies there now: the sequence may have changed it.
 */
static u32 dead_flags(const struct sequence *seq, const u8 *code, u64 rip)
{
	u32 unknown = RFLAGS_ARITH, dead = 0;
	u64 at = rip - code_base(seq);

	for (unsigned n = 0; n < MAX_INSNS && unknown && at < CODE_SIZE; n++) {
		ZydisDecodedInstruction insn;

		if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoders[seq->mode], NULL, code + at,
			    MIN(15u, CODE_SIZE - at), &insn)))
			break;
		/* a jump forward is no more than a place to go on */
		if (insn.mnemonic == ZYDIS_MNEMONIC_JMP && insn.raw.imm[0].is_relative &&
			insn.raw.imm[0].value.s >= 0) {
			at += insn.length + insn.raw.imm[0].value.s;
			continue;
		}
		if (insn.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE)
			break;
		if (insn.cpu_flags)
			unknown &= ~insn.cpu_flags->tested;
		dead |= unknown & flags_overwritten(&insn);
		unknown &= ~dead;
		at += insn.length;
	}
	return dead;
}

/* The instruction at rip as it is in memory. */
static bool decode_at(const struct sequence *seq, const u8 *code, u64 rip,
	ZydisDecodedInstruction *insn)
{
	u64 at = rip - code_base(seq);

	return at < CODE_SIZE && ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoders[seq->mode], NULL,
					 code + at, MIN(15u, CODE_SIZE - at), insn));
}

static ZydisMnemonic mnemonic_at(const struct sequence *seq, const u8 *code, u64 rip)
{
	ZydisDecodedInstruction insn;

	return decode_at(seq, code, rip, &insn) ? insn.mnemonic : ZYDIS_MNEMONIC_INVALID;
}

/*
 * Wild jumps meet instructions that are never generated, since what they do depends on the host's
 * kernel: on its descriptors, on the bases of FS and GS.
 */
static bool depends_on_kernel(const struct sequence *seq, const u8 *code, u64 rip)
{
	ZydisDecodedInstruction insn;

	return decode_at(seq, code, rip, &insn) && is_kernel_bound(&insn, seq->mode);
}

/*
 * An EVEX prefix whose V' names a register that only 64-bit mode has is #UD outside of it, SDM2 2.7.11.1;
 * Zen 4 executes it all the same. None is generated, wild jumps meet them.
 */
static bool is_high_evex(const struct sequence *seq, const u8 *code, u64 rip)
{
	u64 at = rip - code_base(seq);

	return seq->mode != MODE64 && at + 4 <= CODE_SIZE && code[at] == 0x62 && code[at + 1] >= 0xc0 &&
	       !(code[at + 3] & 8);
}

/* State images: which of their bytes faults first is the CPU's choice. */
static bool is_image(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_FNSAVE:
	case ZYDIS_MNEMONIC_FRSTOR:
	case ZYDIS_MNEMONIC_FNSTENV:
	case ZYDIS_MNEMONIC_FLDENV:
	case ZYDIS_MNEMONIC_FXSAVE:
	case ZYDIS_MNEMONIC_FXSAVE64:
	case ZYDIS_MNEMONIC_FXRSTOR:
	case ZYDIS_MNEMONIC_FXRSTOR64:
	case ZYDIS_MNEMONIC_XSAVE:
	case ZYDIS_MNEMONIC_XSAVE64:
	case ZYDIS_MNEMONIC_XSAVEOPT:
	case ZYDIS_MNEMONIC_XSAVEOPT64:
	case ZYDIS_MNEMONIC_XSAVEC:
	case ZYDIS_MNEMONIC_XSAVEC64:
	case ZYDIS_MNEMONIC_XRSTOR:
	case ZYDIS_MNEMONIC_XRSTOR64:
		return true;
	default:
		return false;
	}
}

static bool is_maskmov(ZydisMnemonic mnemonic)
{
	return mnemonic == ZYDIS_MNEMONIC_MASKMOVQ || mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU ||
	       mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU;
}

/*
 * VCVTPS2PH to memory that cannot be written. Intel's CPUs convert first, so that MXCSR has the
 * exceptions, and an unmasked one wins; AMD's and the engine look at the address first. All of these
 * faults are of one class, whose order SDM3 table 6-2 leaves to the CPU.
 */
static bool converts_first(const struct sequence *seq, const u8 *code, const struct state *native,
	const struct state *soft, const struct options *options)
{
	return !options->amd && native->rip == soft->rip &&
	       (soft->vector == VEC_PF || soft->vector == VEC_GP || soft->vector == VEC_SS) &&
	       (native->vector == soft->vector || native->vector == VEC_XM) &&
	       mnemonic_at(seq, code, native->rip) == ZYDIS_MNEMONIC_VCVTPS2PH;
}

static bool is_memory_fault(u32 vector)
{
	return vector == VEC_PF || vector == VEC_GP || vector == VEC_SS || vector == VEC_AC;
}

/* MMX registers stored: MOVQ, MOVD and MOVNTQ to memory. */
static bool is_mmx_store(ZydisMnemonic mnemonic, const ZydisDecodedInstruction *insn)
{
	if (mnemonic == ZYDIS_MNEMONIC_MOVNTQ)
		return true;
	return (mnemonic == ZYDIS_MNEMONIC_MOVQ || mnemonic == ZYDIS_MNEMONIC_MOVD) &&
	       (insn->opcode == 0x7e || insn->opcode == 0x7f) &&
	       insn->meta.isa_set == ZYDIS_ISA_SET_PENTIUMMMX;
}

/*
 * The x87 state before an MMX store that faults, as an Intel CPU shows it: TOP is 0 by then, the
 * tags are not touched. The registers of the image are by their distance from TOP.
 */
static void turn_to_mmx(u8 *xsave)
{
	unsigned top = xsave[3] >> 3 & 7;
	u8 turned[128];

	for (unsigned i = 0; i < 8; i++)
		memcpy(turned + 16 * i, xsave + 32 + 16 * ((i - top) & 7), 16);
	memcpy(xsave + 32, turned, 128);
	xsave[3] &= (u8)~0x38;
}

static bool is_x87_store(ZydisMnemonic mnemonic)
{
	switch (mnemonic) {
	case ZYDIS_MNEMONIC_FIST:
	case ZYDIS_MNEMONIC_FISTP:
	case ZYDIS_MNEMONIC_FISTTP:
	case ZYDIS_MNEMONIC_FBSTP:
	case ZYDIS_MNEMONIC_FST:
	case ZYDIS_MNEMONIC_FSTP:
		return true;
	default:
		return false;
	}
}

static bool pushes_flags(ZydisMnemonic mnemonic)
{
	return mnemonic == ZYDIS_MNEMONIC_PUSHF || mnemonic == ZYDIS_MNEMONIC_PUSHFD ||
	       mnemonic == ZYDIS_MNEMONIC_PUSHFQ;
}

/* A pending x87 exception, without a look at it. */
static bool drops_x87_exceptions(ZydisMnemonic mnemonic)
{
	return mnemonic == ZYDIS_MNEMONIC_FNINIT || mnemonic == ZYDIS_MNEMONIC_FNCLEX ||
	       mnemonic == ZYDIS_MNEMONIC_FNSAVE;
}

static bool any_insn(const struct sequence *seq, const u8 *code, bool (*is)(ZydisMnemonic))
{
	for (unsigned i = 0; i < seq->count; i++)
		if (is(mnemonic_at(seq, code, seq->start[i])))
			return true;
	return false;
}

/*
 * Where an Intel CPU goes another way that the manuals allow too:
 * - outside 64-bit mode an operand that goes beyond 4 GiB in a segment with that limit may fault or
 *   not, SDM3 5.3; the host goes on to a page fault at the end of the space, or its start, or to
 *   an alignment check;
 * - of an unmasked x87 exception and a fault of the memory operand, faults of one class in SDM3
 *   table 6-2, the first is the CPU's choice: the host stores nothing and does not look at it. FSW.ES
 *   tells that there was one, unless it was dropped since.
 */
static bool intel_goes_elsewhere(const struct sequence *seq, const struct state *host,
	const struct state *soft, const u8 *code)
{
	if (seq->mode != MODE64 && host->rip == soft->rip &&
		(soft->vector == VEC_GP || soft->vector == VEC_SS)) {
		if (host->vector == VEC_PF)
			return host->cr2 >= 0xfffff000 || host->cr2 < PAGE_SIZE;
		if (host->vector == VEC_AC)
			return true;
	}
	return is_memory_fault(soft->vector) && soft->vector != VEC_AC &&
	       is_x87_store(mnemonic_at(seq, code, soft->rip)) && host->rip != soft->rip &&
	       (host->xsave[2] & 0x80 || any_insn(seq, code, drops_x87_exceptions));
}

/*
 * Bytes that an Intel CPU has stored before it faults, which the manuals leave open: the return
 * address of a CALL to a target that is not canonical, and what of the ten bytes of FBSTP and FSTP is
 * before the page that faults.
 */
static bool stored_before_fault(const struct sequence *seq, const struct state *host, const u8 *code,
	u64 address)
{
	ZydisMnemonic mnemonic = mnemonic_at(seq, code, host->rip);

	if (mnemonic == ZYDIS_MNEMONIC_CALL && host->vector == VEC_GP && seq->mode == MODE64)
		return host->gpr[RSP] - 1 - address < 8;
	return (mnemonic == ZYDIS_MNEMONIC_FBSTP || mnemonic == ZYDIS_MNEMONIC_FSTP) &&
	       host->vector == VEC_PF &&
	       !(host->cr2 & (PAGE_SIZE - 1)) && host->cr2 - 1 - address < 9;
}

bool results_differ(const struct sequence *seq, const struct result *native,
	const struct result *soft, const struct options *options, const u8 *code, char *buffer,
	size_t size)
{
	struct text text = { buffer, size, false };
	const struct state *a = &native->state, *b = &soft->state;
	/* RF is in the frame of a fault, not of a signal's trap on every kernel */
	u64 flags = RFLAGS_ARITH | RFLAGS_DF | RFLAGS_TF | RFLAGS_NT | RFLAGS_AC | RFLAGS_ID |
		    RFLAGS_IF | RFLAGS_IOPL;
	bool converts = converts_first(seq, code, a, b, options);
	bool loses_nt = !options->keeps_nt && any_insn(seq, code, pushes_flags);
	ZydisDecodedInstruction at_fault;
	u8 turned[520]; /* with XSTATE_BV */
	const u8 *x87 = b->xsave;
	unsigned i;

	buffer[0] = 0;
	/* whether bytes that the mask leaves out may fault is the CPU's choice; ours is AMD's */
	if (!options->amd && (is_maskmov(mnemonic_at(seq, code, a->rip)) ||
				     is_maskmov(mnemonic_at(seq, code, b->rip))))
		return false;
	if ((a->vector != VEC_BP && depends_on_kernel(seq, code, a->rip)) ||
		(b->vector != VEC_BP && depends_on_kernel(seq, code, b->rip)))
		return false;
	if (options->amd && b->vector == VEC_UD && is_high_evex(seq, code, b->rip))
		return false;
	if (!options->amd && intel_goes_elsewhere(seq, a, b, code))
		return false;
	/* the host was interrupted with such an RSP, and what it then did is not the CPU's work */
	if (!options->keeps_rsp && !is_canonical(b->gpr[RSP]))
		return false;
	if (!options->keeps_nt)
		flags &= ~(u64)RFLAGS_NT;
	if (a->vector != b->vector && !converts)
		say(&text, "  ended at %llx by vector %u on the host, %u in the engine\n",
			(unsigned long long)a->rip, a->vector, b->vector);
	differ(&text, "rip", a->rip, b->rip);
	if (a->vector == b->vector && a->vector == VEC_PF) {
		u64 byte = is_image(mnemonic_at(seq, code, a->rip)) ? PAGE_MASK : ~0ull;
		u32 ignore = 0;

		/* Linux says "protection" for all kernel addresses, to give no layout away; the last
		 * user page counts as one */
		if (a->cr2 >= 0x7ffffffff000)
			ignore = PF_P;
		if (options->way == WAY_SUPERVISOR)
			ignore |= PF_U;
		differ(&text, "cr2", a->cr2 & byte, b->cr2 & byte);
		differ(&text, "error", a->error | ignore, b->error | ignore);
	} else if (a->vector == b->vector && a->vector != VEC_BP && a->vector != VEC_DB) {
		differ(&text, "error", a->error, b->error);
	}
	for (i = 0; i < (seq->mode == MODE64 ? 16u : 8u); i++) {
		/* upper halves are undefined outside 64-bit mode, APM1 3.1.2 */
		u64 mask = seq->mode == MODE64 ? ~0ull : 0xffffffff;
		differ(&text, reg_names[i], a->gpr[i] & mask, b->gpr[i] & mask);
	}
	if ((a->vector == b->vector || converts) && a->vector != VEC_BP && a->vector != VEC_DB)
		flags &= ~(u64)dead_flags(seq, code, a->rip);
	differ(&text, "rflags", a->rflags & flags, b->rflags & flags);
	if (!options->amd && is_memory_fault(a->vector) && decode_at(seq, code, a->rip, &at_fault) &&
		is_mmx_store(at_fault.mnemonic, &at_fault)) {
		memcpy(turned, b->xsave, sizeof(turned));
		turn_to_mmx(turned);
		x87 = turned;
	}
	/* AMD's MASKMOVQ has turned the x87 stack over to MMX by the time it faults */
	if (mnemonic_at(seq, code, a->rip) != ZYDIS_MNEMONIC_MASKMOVQ)
		differ_x87(&text, a->xsave, x87);
	differ_vectors(&text, a->xsave, b->xsave, options, converts ? ~(u32)MASK(5, 0) : ~0u);
	for (i = 0; i < RW_PAGES; i++) {
		static const char *const names[RW_PAGES] = { "data+0000", "data+1000", "data+4000",
			"data+6000", "data+7000" };
		static const u8 page_numbers[RW_PAGES] = { 0, 1, 4, 6, 7 };

		if (!memcmp(native->pages[i], soft->pages[i], PAGE_SIZE))
			continue;
		/* a state image that a fault kept from being wiped */
		if (a->vector != VEC_BP && seq->images >> i & 1)
			continue;
		for (unsigned at = 0, shown = 0; at < PAGE_SIZE && shown < 4; at++) {
			u8 bits = loses_nt ? (u8)~(RFLAGS_NT >> 8) : 0xff;
			u64 address = layouts[seq->mode].data + page_numbers[i] * PAGE_SIZE + at;

			if (!((native->pages[i][at] ^ soft->pages[i][at]) & bits) ||
				(!options->amd && stored_before_fault(seq, a, code, address)))
				continue;
			say(&text, "  %s +%03x host %02x engine %02x\n", names[i], at,
				native->pages[i][at], soft->pages[i][at]);
			shown++;
		}
	}
	return text.any;
}

void sequence_print(const struct sequence *seq)
{
	ZydisFormatter formatter;
	unsigned i;

	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	printf("%s, class %s, data area at %llx (%s)\n",
		seq->mode == MODE64 ? "64-bit" : seq->mode == MODE32 ? "32-bit" : "16-bit",
		class_names[seq->class], (unsigned long long)layouts[seq->mode].data, data_page_kind);
	for (i = 0; i < (seq->mode == MODE64 ? 16u : 8u); i++)
		printf("  %-3s %016llx%s", reg_names[i], (unsigned long long)seq->in.gpr[i],
			i % 4 == 3 ? "\n" : "");
	printf("  rflags %llx\n", (unsigned long long)seq->in.rflags);
	for (i = 0; i < seq->count; i++) {
		const struct gen_insn *insn = &seq->insn[i];
		ZydisDecodedInstruction decoded;
		ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
		char text[128] = "?";
		char hex[40];

		for (unsigned j = 0; j < insn->len; j++)
			sprintf(hex + 2 * j, "%02x", insn->bytes[j]);
		if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoders[seq->mode], insn->bytes, insn->len,
			    &decoded, operands)))
			ZydisFormatterFormatInstruction(&formatter, &decoded, operands,
				decoded.operand_count_visible, text, sizeof(text), seq->start[i], NULL);
		printf("  %012llx  %-30s  %s\n", (unsigned long long)seq->start[i], hex, text);
	}
	printf("  %012llx  cc                              int3\n",
		(unsigned long long)seq->start[seq->count]);
}
