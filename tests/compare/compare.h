/* SPDX-License-Identifier: MIT */
/*
 * The instruction comparison: random sequences run by the host CPU in a child process and by the
 * soft engine; registers, flags, vector state, memory and faults must be the same.
 *
 *   templates.c  which encodings there are, asked of Zydis
 *   generate.c   a sequence and its initial state from a seed, of what maker.c, encode.c and
 *                patterns.c make
 *   native.c     the host CPU's side
 *   soft.c       the engine's side
 *   check.c      the comparison and what it prints
 *   main.c       options, workers, shrinking
 */
#ifndef COMPARE_H
#define COMPARE_H

#include "base/types.h"
#include "x86/regs.h"
#include <Zydis/Zydis.h>

enum mode { MODE64, MODE32, MODE16, MODE_TOTAL };

/* What --class takes: a group of encodings, or a pattern of patterns.c. */
#define CLASSES \
	CLASS(integer, 14, "two-operand arithmetic, MOV, LEA, MOVZX, XCHG, MOVBE") \
	CLASS(shift, 6, "shifts and rotates") \
	CLASS(muldiv, 6, "multiply and divide") \
	CLASS(bit, 6, "BT family, BSF, POPCNT, LZCNT, BSWAP") \
	CLASS(bmi, 5, "BMI1, BMI2, ADX") \
	CLASS(cond, 5, "CMOV, SETcc") \
	CLASS(stack, 7, "PUSH, POP, ENTER, LEAVE, PUSHF, POPF") \
	CLASS(atomic, 5, "LOCK, XADD, CMPXCHG, 8B, 16B") \
	CLASS(string, 6, "MOVS, STOS, LODS, CMPS, SCAS, with and without REP") \
	CLASS(branch, 8, "jumps, calls, returns, loops") \
	CLASS(flags, 3, "flag instructions, LAHF, SAHF") \
	CLASS(decimal, 2, "BCD, BOUND, INTO and others that 64-bit mode lacks") \
	CLASS(x87, 6, "x87") \
	CLASS(mmx, 3, "MMX") \
	CLASS(sse, 9, "SSE to SSE4.2, AES, PCLMULQDQ, SHA, GFNI") \
	CLASS(avx, 9, "AVX, AVX2, FMA, F16C, VAES") \
	CLASS(gather, 2, "AVX2 and AVX-512 gathers and scatters") \
	CLASS(avx512, 9, "AVX-512") \
	CLASS(xsave, 1, "FXSAVE, XSAVE and their loads") \
	CLASS(privileged, 1, "what CPL 3 may not do, and invalid opcodes") \
	CLASS(smc, 1, "stores to code that is about to run")
enum class {
#define CLASS(name, weight, comment) CLASS_##name,
	CLASSES
#undef CLASS
	CLASS_COUNT
};
extern const char *const class_names[CLASS_COUNT];
extern const char *const class_comments[CLASS_COUNT];

/* ---- the address space of a sequence, the same on both sides ---- */
#define CODE_SIZE 0x10000u /* an IP of 16 bits reaches all of it */
#define DATA_PAGES 8 /* RW RW RO none RW none RW RW(the stack) with page 5 unmapped */
#define RW_PAGES 5
/* Pages of the data area by what they are; the last two are the stack's. */
extern const char data_page_kind[DATA_PAGES + 1]; /* 'w', 'r' or '-' */
struct layout {
	u64 code, data;
};
extern const struct layout layouts[MODE_TOTAL];
/*
 * The code area may be written to at this distance only, where the sequences of class "smc" run.
 * The others must not change themselves by a wild store: whether a REP goes on that has overwritten
 * itself is a matter of luck, and the engine takes flags for dead by the code that it translated.
 */
#define CODE_WRITABLE 0x100000u
#define SEGMENT_BASE16 0x30000000u /* DS, ES, SS of MODE16; CS starts with the code area */

#define GS_BASE 0x7531864ull /* of 64-bit mode; FS belongs to the child's libc */

/* ---- a sequence ---- */
#define MAX_INSNS 40
#define NO_TARGET 0xff

struct gen_insn {
	u8 bytes[15];
	u8 len;
	u8 target;    /* index of the instruction that is its target or operand, NO_TARGET */
	u8 fix_at;    /* where in bytes the target's address goes */
	u8 fix_size;  /* 1, 2, 4, 8 */
	bool fix_abs; /* absolute, else relative to the next instruction */
	bool keep;    /* shrinking must leave it: what follows would differ for a reason of its own */
	u8 fix_add;   /* added to the target's address */
	bool rip_mem; /* 4 bytes at fix_at are relative to RIP; rip_target is what is meant */
	u64 rip_target;
};

#define XSAVE_SIZE 4096
struct state {
	u64 gpr[16];
	u64 rip;
	u64 rflags;
	u32 vector; /* 3: ran to its end; VECTOR_TIMEOUT: did not end */
	u32 error;
	u64 cr2;
	u8 xsave[XSAVE_SIZE] __attribute__((aligned(64))); /* standard form */
};
#define VECTOR_TIMEOUT 999

struct sequence {
	u64 seed;
	enum mode mode;
	enum class class;
	u8 count;
	bool stores_code;
	u8 images;       /* pages, as bits of pages[], where state images are made */
	u32 pool_offset; /* of the initial memory in the pool */
	u32 code_at;     /* offset in the code area */
	u32 code_len;
	struct gen_insn insn[MAX_INSNS];
	u64 start[MAX_INSNS + 1]; /* address of each instruction after layout */
	struct state in;
};

struct result {
	struct state state;
	u8 pages[RW_PAGES][PAGE_SIZE];
};

/* The address that offset 0 of the code area has to the sequence: its IP there. */
static inline u64 code_base(const struct sequence *seq)
{
	if (seq->mode == MODE16)
		return 0;
	return layouts[seq->mode].code + (seq->stores_code ? CODE_WRITABLE : 0);
}

#define BATCH 96 /* times 40 instructions of 15 bytes fit in the code area */
#define POOL_SIZE 0x20000u
/* Shared between a worker and its native child. */
struct batch {
	u8 code[CODE_SIZE];       /* first, so that it is mapped in whole pages */
	u8 data[DATA_PAGES * PAGE_SIZE];
	u8 pristine[CODE_SIZE];   /* the code as made: sequences may have stored to theirs */
	unsigned count;
	unsigned done;            /* native: how many have run */
	u8 pool[POOL_SIZE];
	struct sequence sequences[BATCH];
	struct result native[BATCH];
};

/* ---- random numbers: splitmix64 ---- */
struct rng {
	u64 state;
};
u64 rng_next(struct rng *rng);
static inline u32 rng_below(struct rng *rng, u32 limit)
{
	return (u32)((rng_next(rng) >> 32) * limit >> 32);
}
static inline bool rng_percent(struct rng *rng, u32 percent)
{
	return rng_below(rng, 100) < percent;
}

/* ---- templates.c ---- */
enum encoding { ENC_LEGACY, ENC_VEX, ENC_EVEX };
struct template {
	u16 mnemonic;
	u8 encoding;   /* enum encoding */
	u8 map;        /* 0: one byte, 1: 0f, 2: 0f38, 3: 0f3a, 5 and 6: EVEX's */
	u8 prefix;     /* 0, 66, f3, f2 */
	u8 opcode;
	u8 reg;        /* modrm.reg, 0xff: free, 0xfe: no modrm */
	u8 rm;         /* modrm.rm of mod 3, 0xff: free */
	u8 l, w;       /* vector length and W of VEX and EVEX */
	bool memory;
};
void templates_init(bool avx512);
/* A template of a class: first its mnemonic, evenly, then one of its forms. NULL: none. */
const struct template *templates_pick(struct rng *rng, enum mode mode, enum class class);
/* Which class an instruction belongs to; CLASS_COUNT: must not be generated. */
enum class classify(const ZydisDecodedInstruction *insn, enum mode mode);
/* Whether its outcome is the kernel's doing as much as the CPU's; never generated. */
bool is_kernel_bound(const ZydisDecodedInstruction *insn, enum mode mode);
extern ZydisDecoder decoders[MODE_TOTAL];
void templates_print_counts(void);

/* ---- generate.c ---- */
/* How the engine runs a sequence: as user code, in blocks or by single steps; as supervisor code,
 * which is translated differently. */
enum way { WAY_USER, WAY_STEP, WAY_SUPERVISOR, WAY_TOTAL };
struct options {
	u32 classes;  /* BIT(class) */
	u32 modes;    /* BIT(mode) */
	unsigned max_insns;
	enum way way;
	bool avx512;
	bool ldt;
	bool amd;
	bool code32;         /* the host runs 32-bit code */
	bool keeps_nt;       /* RFLAGS.NT is there after a fault */
	bool keeps_rsp;      /* an RSP that is not canonical too */
	u64 xfeatures;       /* XCR0 of the host */
	u32 xsave_offset[8]; /* of the components in the standard form, CPUID 0Dh */
};
extern const u32 xsave_sizes[8]; /* of components 2, 5, 6, 7 */
void sequence_generate(struct sequence *sequence, const struct options *options, u64 seed);
/* Places the instructions at an offset of the code area, resolves targets, ends with INT3. */
void sequence_layout(struct sequence *sequence, u32 code_at);
void sequence_emit(const struct sequence *sequence, u8 *code);
void pool_init(u8 *pool);

/* ---- native.c ---- */
struct native;
/* batch lies at the start of memory file fd. */
struct native *native_start(struct batch *batch, int fd);
/* Runs the batch. A sequence that does not end, or kills the child, gets VECTOR_TIMEOUT. */
void native_run(struct native *native);
void native_stop(struct native *native);

/* ---- host.c ---- */
/* Asks the host: XCR0, offsets of XSAVE components, AVX-512, and whether 16-bit segments (an LDT)
 * may be had. */
void host_ask(struct options *options);
/* Finds out what its kernel and who runs that kernel leave of the CPU. */
void host_try(struct options *options);

/* ---- soft.c ---- */
struct soft;
struct soft *soft_start(const struct batch *batch, enum way way);
/* The batch's code, as made, goes into guest RAM; translations are forgotten. */
void soft_load(struct soft *soft, const struct batch *batch);
void soft_run(struct soft *soft, const struct sequence *sequence, const u8 *pool,
	struct result *result);
void soft_stop(struct soft *soft);

/* ---- check.c ---- */
/* What differs, as text; false: nothing. code: the area as the native run left it. */
bool results_differ(const struct sequence *sequence, const struct result *native,
	const struct result *soft, const struct options *options, const u8 *code, char *text,
	size_t size);
void sequence_print(const struct sequence *sequence);

#endif
