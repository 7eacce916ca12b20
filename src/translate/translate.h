/* SPDX-License-Identifier: MIT */
/* The state of translating one block, shared by the files that emit. */
#ifndef TRANSLATE_TRANSLATE_H
#define TRANSLATE_TRANSLATE_H

#include "cpu/tlb.h"
#include "translate/block.h"
#include "translate/decode.h"
#include "translate/emit.h"
#include "translate/entry.h"

#define MAX_INSNS 48
#define MAX_SITES (MAX_INSNS * 8 + 8)
#define MAX_EXITS (MAX_INSNS * 4 + 8)
#define MAX_STUBS (MAX_INSNS * 4 + 4)

/* A site waiting to be placed behind the code; `lea` is the rel32 of the LEA that names it. */
struct pending_site {
	u8 *lea;
	struct site site;
	const struct insn *insn;
};

/* The slow way of an access, out of line. */
struct pending_access {
	u8 *jump;        /* rel32 of the conditional jump that leads here */
	bool has_tag;    /* R11 is address minus tag: add it back */
	bool has_constant; /* R11 is to be this address */
	u64 constant;
	bool write;      /* which tag */
	struct site site;
};

/* Accesses that one check covers, see groups.c. */
#define MAX_GROUPS 64
#define GROUP_SLOTS 8 /* of cpu->group_host */
#define NO_GROUP 0xff

/* What names the memory: registers as they were at some point of the block. */
struct address_key {
	u32 base, index; /* numbers of values; 0: none */
	u8 scale;
};

struct group {
	struct address_key key;
	i64 min, max;    /* bytes covered, relative to the key's sum */
	bool write;
	u8 count;
	u8 done;         /* emission: how many of them are behind us */
	u8 slot;         /* of cpu->group_host, NO_GROUP: not checked yet */
	bool stored;     /* the host address is there, and not in R11 alone */
};

/* Where an access of an instruction belongs: [0] its operand, [1] its stack access. */
struct access_plan {
	u8 group;
	i64 offset;      /* relative to the key's sum */
};

/* A way out of the block, out of line. */
struct pending_exit {
	u8 *jump;
	i64 target;      /* offset from the page's start; may lie outside of the page */
	bool flags_in_host;
	bool poll;       /* look for events first */
	bool leave;      /* to C, whatever the target: events are waiting */
	bool placed;
	bool taken;      /* a conditional branch was taken */
	u32 link_id, link_jump; /* cache offsets of what rt_link() patches; 0: no link */
};

/* An instruction that was begun in line and that C has to execute after all, out of line. */
struct pending_exec {
	u8 *jumps[2];
	unsigned insn;   /* its number */
	u32 resume;
};

struct translator {
	struct emitter e;     /* where things go now: to the block's code, in the end aside */
	struct emitter aside;
	struct code_cache *cache;
	struct cpu *cpu;
	bool has_bmi2;   /* of the host */
	bool writes_gs;  /* WRGSBASE may be used, gs.h */
	struct block *block;
	u32 mode;        /* MODE_* and VARIANT_* */
	bool code64;
	bool fixed;      /* mode_is_fixed() */
	u64 vpage;       /* then: the linear address of its page */
	bool flags_in_host; /* where the arithmetic flags are now; else in cpu->aflags */
	const u8 *page_bytes; /* a copy of the page's code from `page_from` on */
	unsigned page_from, page_to;

	struct guest_insn insns[MAX_INSNS];
	u32 live_in[MAX_INSNS], live_after[MAX_INSNS]; /* arithmetic flags */
	unsigned count;

	struct pending_site sites[MAX_SITES];
	unsigned site_count;
	struct pending_access accesses[MAX_STUBS];
	unsigned access_count;
	struct pending_exit exits[MAX_EXITS];
	unsigned exit_count;
	struct pending_exec execs[MAX_INSNS];
	unsigned exec_count;
	u8 *misses[MAX_EXITS * 2 + 4]; /* rel32s that go to the block's way to engine_miss */
	unsigned miss_count;
	u8 *wrong_mode;  /* rel32 of the far entry, found in the jump cache in another mode; NULL */
	u8 *not_canonical; /* rel32 of an indirect call's check; NULL */
	u32 not_canonical_target; /* where the target is kept then */
	bool branch;     /* the misses are an indirect branch's, in 64-bit mode ... */
	u32 branch_undo; /* ... which has added this to RSP */
	struct place places[MAX_INSNS];
	u32 aside_begin, aside_end; /* of the code there */

	struct group groups[MAX_GROUPS];
	unsigned group_count;
	struct access_plan plans[MAX_INSNS][2];
	u8 slots_used;   /* mask of group_host[] */
	u8 r11_group;    /* the group whose host address R11 holds; NO_GROUP */
	i32 rsp_owed;    /* what pushes and pops of a group have not yet added to RSP */
};

/* Displacements from gs: of what is in struct cpu and in a context. */
#define CPU_OFFSET(member) ((u32)(offsetof(struct cpu, member) - CPU_DISTANCE))
#define CONTEXT_OFFSET(member) ((u32)offsetof(struct context_block, member))
#define RUNTIME(n) (CPU_OFFSET(runtime) + 8 * (n))
#define SCRATCH(n) (CPU_OFFSET(scratch) + 8 * (n))
#define GPR(n) (CPU_OFFSET(gpr) + 8 * (n))

static inline bool is_stolen(unsigned reg)
{
	return reg == R10 || reg == R11;
}

static inline u32 cache_offset(const struct translator *t, const u8 *at)
{
	return at - t->cache->rw;
}

/* ---- flags.c ---- */
/* The host's to cpu->aflags, where they are not yet, and back; R10 is lost. */
void flags_save(struct translator *t);
void flags_load(struct translator *t);
/* Before checks that clobber the host's flags. */
void flags_guard(struct translator *t, unsigned i);
/* Before the guest's instruction itself: what it reads or leaves alone must be in the host's. */
void flags_before(struct translator *t, unsigned i);
void flags_after(struct translator *t, unsigned i);
void flags_liveness(struct translator *t);
/* The block needs them in memory before it needs them in the host's. */
bool flags_guarded_first(const struct translator *t);

/* ---- groups.c ---- */
/* Finds the accesses that can share a check: fills groups and plans. */
void plan_groups(struct translator *t);

/* ---- memory.c ---- */
void emit_operand_address(struct translator *t, unsigned i, i64 extra); /* R11: offset */
/* From the offset in R11 to the host address, with all checks. */
void emit_access(struct translator *t, unsigned i, unsigned seg, unsigned size, bool read,
	bool write);
/* The whole way: [R11 + what is returned] is the operand, or the stack at RSP + delta. */
i32 emit_operand(struct translator *t, unsigned i, unsigned size, bool read, bool write, i32 extra);
i32 emit_stack(struct translator *t, unsigned i, i32 delta, unsigned size, bool read, bool write);
void emit_access_done(struct translator *t, unsigned i, bool write);
void emit_stack_address(struct translator *t, i32 delta);
/* RSP += delta, and all that is owed. */
void emit_stack_adjust(struct translator *t, i32 delta);
/* The same of a push or pop, to be done with the next adjustment in 64-bit code. */
void emit_stack_owe(struct translator *t, i32 delta);
/* Before instruction i, or in the block's end: what is owed, unless it is another that can do without RSP. */
void emit_stack_settle(struct translator *t, unsigned i);
/* R11 is about to be overwritten: the group that lies in it and has members to come is stored. */
void release_r11(struct translator *t);
/* LEA R10, site; the caller emits the jump and sets site->resume. */
struct site *emit_site(struct translator *t, unsigned i, const struct insn *insn);

/* ---- reencode.c ---- */
struct encoding_slots {
	u8 slot[SLOT_COUNT]; /* host register for each, INSN_NO_REG: as it was */
	u8 mem_base;         /* host register that holds the address; INSN_NO_REG: no memory */
	i32 mem_disp;        /* and what is to be added */
};
void reencode(struct translator *t, const struct guest_insn *g, const struct encoding_slots *slots);

/* ---- exits.c ---- */
void emit_exit(struct translator *t, i64 target); /* unconditional, from the main line */
/* The conditional jump at `jump` leaves for target; out of line. */
void emit_side_exit(struct translator *t, u8 *jump, i64 target, i64 from);
/* A conditional jump back in the page, to where no flag is live: loops run straight on, with a look for events but
 * no second jump. False, and nothing is emitted: it is another. */
bool emit_jump_back(struct translator *t, unsigned condition, i64 target, i64 from);
void emit_branch(struct translator *t, u32 undo); /* R11: linear target, RSP changed by undo */
/* A call must fault before it pushes anything. target: where the linear target is kept. */
void emit_branch_check(struct translator *t, u32 target);
void emit_far(struct translator *t);              /* R11: linear target */
/* Before a branch's way out, where nothing can fault any more: cpu->branched, in MODE_STEP. */
void emit_taken(struct translator *t);
void emit_page_address(struct translator *t, unsigned reg, i64 offset);
void emit_pending(struct translator *t);          /* everything out of line, the last of it aside */

/* From two conditional jumps (either may be NULL) to C, which executes instruction i; it goes on behind what is
 * emitted yet. Flags are in memory. */
void leave_to_c(struct translator *t, unsigned i, u8 *jump, u8 *other);

/* ---- inline.c ---- */
bool is_inline(const struct translator *t, const struct insn *insn);
void emit_inline(struct translator *t, unsigned i);

/* ---- vmcs.c ---- */
bool vmcs_is_inline(const struct translator *t, const struct insn *insn);
void emit_vmcs(struct translator *t, unsigned i);

/* ---- insns.c ---- */
void emit_insn(struct translator *t, unsigned i);

/*
 * The linear page behind the one of linear, for an instruction at cpu->rip that crosses. 0, or
 * OUTCOME_FAULT where code ends there: the segment's limit, canonical addresses. APM2 4.8, 5.3.1
 */
static inline int next_code_page(struct cpu *cpu, u64 linear, u64 *next)
{
	*next = (linear & PAGE_MASK) + PAGE_SIZE;
	if (cpu_long64(cpu))
		return is_canonical(*next) ? 0 : cpu_fault_code(cpu, VEC_GP, 0);
	if (cpu->rip + (*next - linear) > cpu->seg[CS].limit)
		return cpu_fault_code(cpu, VEC_GP, 0);
	*next = (u32)*next;
	return 0;
}

/* ---- translate.c ---- */
/*
 * Translates the block at cpu's linear address `linear`, whose first byte lies at page and offset
 * of RAM. Libc is used: the FPU must be parked. NULL: the cache is full; or the instruction's
 * second page faulted, then *fault is set and cpu->fault says it.
 */
struct block *translate(struct translator *t, struct cpu *cpu, u32 page, u16 offset, u32 mode,
	u64 linear, bool *fault);

#endif
