/* SPDX-License-Identifier: MIT */
/*
 * MOVS, STOS, LODS, CMPS, SCAS: APM3 chapter 3, APM1 3.3.8 and 3.6 for REP. The host's own string
 * instructions work on as many elements as lie in one page of every operand; an element that
 * crosses a page, or one at a device or in a watched page, goes alone through access.c. Registers
 * advance after every such step, so faults and interrupts find them as the manual says.
 */
#include "cpu/handlers.h"
#include "cpu/tlb.h"

struct operand {
	u64 linear;
	u8 *host;  /* of the element at linear; NULL: go through access.c, one element */
	u64 count; /* elements that lie together from here, in the direction of DF */
};

/* Elements from an address to the end, or to the start, of its page; 0: the first one crosses. */
static inline u64 elements_in_page(u64 linear, unsigned size, bool down)
{
	u64 offset = linear & ~PAGE_MASK;

	if (!down)
		return (PAGE_SIZE - offset) / size;
	return offset + size <= PAGE_SIZE ? offset / size + 1 : 0;
}

/* Elements until the offset wraps in its address size. */
static inline u64 elements_to_wrap(u64 offset, unsigned addrsize, unsigned size, bool down)
{
	if (down)
		return offset / size + 1;
	return (BIT(addrsize * 8) - offset) / size;
}

/* Segments that are not flat: the check is made for all elements, else for the first alone. */
static int segment_operand(struct cpu *cpu, unsigned seg, u64 offset, unsigned size, bool down,
	bool write, u64 want, struct operand *operand)
{
	u64 n, linear;

	if (cpu_linear(cpu, seg, offset, size, write, &operand->linear))
		return OUTCOME_FAULT;
	n = MIN(want, elements_in_page(operand->linear, size, down));
	operand->count = n;
	if (n > 1 && cpu_linear(cpu, seg, down ? offset - (n - 1) * size : offset, n * size, write,
			     &linear))
		operand->count = 1;
	return 0;
}

static inline int operand_find(struct cpu *cpu, const struct insn *insn, unsigned seg, unsigned reg,
	bool down, bool write, u64 want, struct operand *operand)
{
	u64 offset = gpr_read(cpu, reg, insn->addrsize);
	unsigned size = insn->opsize;
	u64 gpa;

	if (insn->addrsize != 8)
		want = MIN(want, elements_to_wrap(offset, insn->addrsize, size, down));
	if (likely(cpu_long64(cpu))) {
		operand->linear = offset;
		if (seg == FS || seg == GS)
			operand->linear += cpu->seg[seg].base;
		if (unlikely(!is_canonical(operand->linear) ||
			    !is_canonical(operand->linear + size - 1)))
			return cpu_fault_code(cpu, seg == SS ? VEC_SS : VEC_GP, 0);
		operand->count = elements_in_page(operand->linear, size, down);
	} else if ((cpu->mode & MODE_FLAT) && seg < FS && seg != CS && insn->addrsize == 4) {
		operand->linear = offset;
		if (unlikely(offset + size - 1 > 0xffffffff))
			return cpu_fault_code(cpu, seg == SS ? VEC_SS : VEC_GP, 0);
		operand->count = elements_in_page(offset, size, down);
	} else if (segment_operand(cpu, seg, offset, size, down, write, want, operand)) {
		return OUTCOME_FAULT;
	}
	if (cpu_check_aligned(cpu, operand->linear, size))
		return OUTCOME_FAULT;
	operand->count = MIN(want, operand->count);
	operand->host = NULL;
	/* faults come in the order of the operands, whichever of them crosses pages */
	if (unlikely(!operand->count))
		return cpu_probe(cpu, operand->linear, size, write ? ACCESS_WRITE : ACCESS_READ);
	operand->host = write ? tlb_write_hit(cpu, operand->linear, size) :
				tlb_read_hit(cpu, operand->linear, size);
	if (likely(operand->host))
		return 0;
	if (tlb_fill(cpu, operand->linear, write ? ACCESS_WRITE : ACCESS_READ, &operand->host,
		    &gpa))
		return OUTCOME_FAULT;
	if (write)
		operand->host = tlb_write_hit(cpu, operand->linear, size);
	return 0;
}

/* ---- the repetition ---- */

struct repeat {
	u64 left;  /* elements still to do */
	u64 limit; /* how many may be done before the engine looks at traps */
	bool down;
};

/* False: nothing to do. */
static inline bool repeat_begin(struct cpu *cpu, const struct insn *insn, struct repeat *repeat)
{
	if (unlikely(cpu->context_stale))
		tlb_select(cpu);
	repeat->down = cpu->rflags_system & RFLAGS_DF;
	repeat->left = insn->rep ? gpr_read(cpu, RCX, insn->addrsize) : 1;
	/* single-stepping and breakpoints look at every iteration, SDM3 17.3 */
	repeat->limit = cpu->mode & MODE_STEP ? 1 : ~0ull;
	return repeat->left;
}

static inline void advance(struct cpu *cpu, const struct insn *insn, unsigned reg,
	const struct repeat *repeat, u64 n)
{
	u64 bytes = n * insn->opsize;

	gpr_write(cpu, reg, insn->addrsize, cpu->gpr[reg] + (repeat->down ? 0 - bytes : bytes));
}

/* Counts n elements. True: stop here, *outcome says how. */
static inline bool repeat_done(struct cpu *cpu, const struct insn *insn, struct repeat *repeat,
	u64 n, int *outcome)
{
	repeat->left -= n;
	if (insn->rep)
		gpr_write(cpu, RCX, insn->addrsize, repeat->left);
	*outcome = repeat->left ? OUTCOME_AGAIN : OUTCOME_NEXT;
	return !repeat->left || repeat->limit == 1 ||
	       unlikely(__atomic_load_n(&cpu->exit_request, __ATOMIC_RELAXED));
}

/* ---- the host's instructions, one a size ---- */

#define NATIVE(down, insn, after, ...) \
	do { \
		if (likely(!(down))) \
			__asm__ volatile(insn after __VA_ARGS__); \
		else \
			__asm__ volatile("std; " insn "; cld" after __VA_ARGS__); \
	} while (0)
#define BY_SIZE(size, down, insn, after, ...) \
	do { \
		if ((size) == 1) \
			NATIVE(down, insn "b", after, __VA_ARGS__); \
		else if ((size) == 2) \
			NATIVE(down, insn "w", after, __VA_ARGS__); \
		else if ((size) == 4) \
			NATIVE(down, insn "l", after, __VA_ARGS__); \
		else \
			NATIVE(down, insn "q", after, __VA_ARGS__); \
	} while (0)

/* Flags as struct cpu keeps them: LAHF's byte in AH, OF in AL. */
#define TAKE_FLAGS "; lahf; seto %%al"

static inline void host_movs(u8 *to, const u8 *from, u64 n, unsigned size, bool down)
{
	BY_SIZE(size, down, "rep movs", "", : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

static inline void host_stos(u8 *to, u64 value, u64 n, unsigned size, bool down)
{
	BY_SIZE(size, down, "rep stos", "", : "+D"(to), "+c"(n) : "a"(value) : "memory");
}

/* Compares n > 0 elements at most, a's with b's; returns how many it did. */
static u64 host_cmps(struct cpu *cpu, const u8 *a, const u8 *b, u64 n, unsigned size, bool down,
	bool while_equal)
{
	u64 left = n, flags;

	if (while_equal)
		BY_SIZE(size, down, "repe cmps", TAKE_FLAGS,
			: "+S"(a), "+D"(b), "+c"(left), "=&a"(flags) : : "memory", "cc");
	else
		BY_SIZE(size, down, "repne cmps", TAKE_FLAGS,
			: "+S"(a), "+D"(b), "+c"(left), "=&a"(flags) : : "memory", "cc");
	cpu->aflags = flags & 0xffff;
	return n - left;
}

/* The same with the accumulator in the place of a's elements. */
static u64 host_scas(struct cpu *cpu, u64 value, const u8 *b, u64 n, unsigned size, bool down,
	bool while_equal)
{
	u64 left = n;

	if (while_equal)
		BY_SIZE(size, down, "repe scas", TAKE_FLAGS,
			: "+D"(b), "+c"(left), "+a"(value) : : "memory", "cc");
	else
		BY_SIZE(size, down, "repne scas", TAKE_FLAGS,
			: "+D"(b), "+c"(left), "+a"(value) : : "memory", "cc");
	cpu->aflags = value & 0xffff;
	return n - left;
}

/* REPE (f3h) goes on while equal, REPNE (f2h) while not. ZF is bit 6 of LAHF's byte. */
static inline bool comparison_ends(const struct cpu *cpu, const struct insn *insn)
{
	bool equal = cpu->aflags >> 14 & 1;

	return insn->rep && equal != (insn->rep == 0xf3);
}

/*
 * A fault in a later repetition: Intel's CPUs show the flags from before the instruction, SDM2 REP;
 * AMD's those of the last comparison.
 */
static int comparison_faults(struct cpu *cpu, u32 aflags)
{
	if (cpu_is_intel(cpu))
		cpu->aflags = aflags;
	return OUTCOME_FAULT;
}

/* ---- the instructions ---- */

int exec_MOVS(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->opsize;
	struct repeat repeat;
	int outcome;

	if (!repeat_begin(cpu, insn, &repeat))
		return OUTCOME_NEXT;
	for (;;) {
		struct operand from, to;
		u64 want = MIN(repeat.left, repeat.limit), n, element;

		if (operand_find(cpu, insn, insn->seg, RSI, repeat.down, false, want, &from) ||
		    operand_find(cpu, insn, ES, RDI, repeat.down, true, want, &to))
			return OUTCOME_FAULT;
		n = MIN(from.count, to.count);
		if (likely(from.host && to.host && n)) {
			host_movs(to.host, from.host, n, size, repeat.down);
		} else {
			n = 1;
			if (cpu_read(cpu, from.linear, &element, size, ACCESS_READ) ||
			    cpu_write(cpu, to.linear, &element, size, ACCESS_WRITE))
				return OUTCOME_FAULT;
		}
		advance(cpu, insn, RSI, &repeat, n);
		advance(cpu, insn, RDI, &repeat, n);
		if (repeat_done(cpu, insn, &repeat, n, &outcome))
			return outcome;
	}
}

int exec_STOS(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->opsize;
	u64 value = cpu->gpr[RAX];
	struct repeat repeat;
	int outcome;

	if (!repeat_begin(cpu, insn, &repeat))
		return OUTCOME_NEXT;
	for (;;) {
		struct operand to;
		u64 n;

		if (operand_find(cpu, insn, ES, RDI, repeat.down, true,
			    MIN(repeat.left, repeat.limit), &to))
			return OUTCOME_FAULT;
		n = to.count;
		if (likely(to.host)) {
			host_stos(to.host, value, n, size, repeat.down);
		} else {
			n = 1;
			if (cpu_write(cpu, to.linear, &value, size, ACCESS_WRITE))
				return OUTCOME_FAULT;
		}
		advance(cpu, insn, RDI, &repeat, n);
		if (repeat_done(cpu, insn, &repeat, n, &outcome))
			return outcome;
	}
}

int exec_LODS(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = insn->opsize;
	struct repeat repeat;
	int outcome;

	if (!repeat_begin(cpu, insn, &repeat))
		return OUTCOME_NEXT;
	for (;;) {
		struct operand from;
		u64 n, value = 0;
		u8 *last;

		if (operand_find(cpu, insn, insn->seg, RSI, repeat.down, false,
			    MIN(repeat.left, repeat.limit), &from))
			return OUTCOME_FAULT;
		n = from.count;
		if (likely(from.host)) {
			/* memory has no effects: of many elements the last one remains */
			last = repeat.down ? from.host - (n - 1) * size : from.host + (n - 1) * size;
			copy_bytes(&value, last, size);
		} else {
			n = 1;
			if (cpu_read(cpu, from.linear, &value, size, ACCESS_READ))
				return OUTCOME_FAULT;
		}
		gpr_write(cpu, RAX, size, value);
		advance(cpu, insn, RSI, &repeat, n);
		if (repeat_done(cpu, insn, &repeat, n, &outcome))
			return outcome;
	}
}

/*
 * Which of CMPS's operands is looked at first the manuals leave open: Intel's CPUs begin with the one at RDI;
 * AMD's with the one at RSI, Zen 4 REPE CMPSB alone, Zen 5 all.
 */
static bool rsi_first(const struct cpu *cpu, const struct insn *insn)
{
	if (cpu_host_is_intel(cpu))
		return false;
	return cpu_host_is_zen5(cpu) || (insn->rep == 0xf3 && insn->opsize == 1);
}

static int find_compared(struct cpu *cpu, const struct insn *insn, bool down, u64 want,
	struct operand *a, struct operand *b)
{
	if (rsi_first(cpu, insn))
		return operand_find(cpu, insn, insn->seg, RSI, down, false, want, a) ||
		       operand_find(cpu, insn, ES, RDI, down, false, want, b);
	return operand_find(cpu, insn, ES, RDI, down, false, want, b) ||
	       operand_find(cpu, insn, insn->seg, RSI, down, false, want, a);
}

static int read_compared(struct cpu *cpu, const struct insn *insn, const struct operand *a,
	const struct operand *b, unsigned size, u64 *x, u64 *y)
{
	if (rsi_first(cpu, insn))
		return cpu_read(cpu, a->linear, x, size, ACCESS_READ) ||
		       cpu_read(cpu, b->linear, y, size, ACCESS_READ);
	return cpu_read(cpu, b->linear, y, size, ACCESS_READ) ||
	       cpu_read(cpu, a->linear, x, size, ACCESS_READ);
}

int exec_CMPS(struct cpu *cpu, const struct insn *insn)
{
	bool while_equal = insn->rep == 0xf3;
	unsigned size = insn->opsize;
	u32 aflags = cpu->aflags;
	struct repeat repeat;
	int outcome;

	if (!repeat_begin(cpu, insn, &repeat))
		return OUTCOME_NEXT;
	for (;;) {
		struct operand a, b;
		u64 want = MIN(repeat.left, repeat.limit), n, x = 0, y = 0;

		if (find_compared(cpu, insn, repeat.down, want, &a, &b))
			return comparison_faults(cpu, aflags);
		n = MIN(a.count, b.count);
		if (likely(a.host && b.host && n)) {
			n = host_cmps(cpu, a.host, b.host, n, size, repeat.down, while_equal);
		} else {
			if (read_compared(cpu, insn, &a, &b, size, &x, &y))
				return comparison_faults(cpu, aflags);
			n = host_cmps(cpu, (u8 *)&x, (u8 *)&y, 1, size, false, while_equal);
		}
		advance(cpu, insn, RSI, &repeat, n);
		advance(cpu, insn, RDI, &repeat, n);
		if (repeat_done(cpu, insn, &repeat, n, &outcome))
			return comparison_ends(cpu, insn) ? OUTCOME_NEXT : outcome;
		if (comparison_ends(cpu, insn))
			return OUTCOME_NEXT;
	}
}

int exec_SCAS(struct cpu *cpu, const struct insn *insn)
{
	bool while_equal = insn->rep == 0xf3;
	unsigned size = insn->opsize;
	u32 aflags = cpu->aflags;
	u64 value = cpu->gpr[RAX];
	struct repeat repeat;
	int outcome;

	if (!repeat_begin(cpu, insn, &repeat))
		return OUTCOME_NEXT;
	for (;;) {
		struct operand b;
		u64 n, element = 0;

		if (operand_find(cpu, insn, ES, RDI, repeat.down, false,
			    MIN(repeat.left, repeat.limit), &b))
			return comparison_faults(cpu, aflags);
		n = b.count;
		if (likely(b.host)) {
			n = host_scas(cpu, value, b.host, n, size, repeat.down, while_equal);
		} else {
			if (cpu_read(cpu, b.linear, &element, size, ACCESS_READ))
				return comparison_faults(cpu, aflags);
			n = host_scas(cpu, value, (u8 *)&element, 1, size, false, while_equal);
		}
		advance(cpu, insn, RDI, &repeat, n);
		if (repeat_done(cpu, insn, &repeat, n, &outcome))
			return comparison_ends(cpu, insn) ? OUTCOME_NEXT : outcome;
		if (comparison_ends(cpu, insn))
			return OUTCOME_NEXT;
	}
}
