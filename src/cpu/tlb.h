/* SPDX-License-Identifier: MIT */
/*
 * Contexts: for each address-space tag and privilege class of a vCPU one block of memory that
 * holds its software TLB and its indirect-jump cache. Translated code reaches it through gs:, so
 * that a switch of address space, CPL or world is one WRGSBASE and flushes nothing.
 *
 * The blocks lie one after the other, to be in large pages of the host; struct cpu is mapped again for
 * each, CPU_DISTANCE below it.
 */
#ifndef CPU_TLB_H
#define CPU_TLB_H

#include "cpu/cpu.h"

#define TLB_BITS 13
#define TLB_ENTRIES (1u << TLB_BITS)
#define JUMP_BITS 14
#define JUMP_SLOTS (1u << JUMP_BITS)
#define JUMP_WAYS 4
#define EXEC_ENTRIES 64
#define TLB_LIST 2048
#define JUMP_LIST 2048
#define JUMP_PAGE_BITS 12
#define CONTEXTS 96
#define CODE_IDS 16384
#define CODE_LIST 512
#define WALK_HINTS 64

/*
 * A linear page that may be accessed without further checks. A tag is the page's address; an
 * invalid one names a page of another slot, so that no address whatever can match it.
 * Translated code looks into the slot that tlb_hash() names. What another page drove out of there may be in that
 * of tlb_second(), where entry.S and tlb_fill() find it.
 */
struct tlb_entry {
	u64 read_tag;
	u64 write_tag;
	u64 host; /* address of the page in our memory */
	u64 gpa;  /* guest-physical page, for C; bit 0: global */
};

struct jump_entry {
	u64 target; /* linear address */
	u64 code;   /* host address; the miss stub where the entry is empty */
};

struct context_block {
	struct tlb_entry tlb[TLB_ENTRIES]; /* gs: points here: a check's displacements are short */
	/* JUMP_WAYS of one index, side by side: translated code looks at the first, entry.S at the others. */
	struct jump_entry jump[JUMP_SLOTS];
	/* By linear page: which code page (the engine's numbers) is mapped there; 0: unknown. Jumps
	 * that are linked across pages compare it. */
	u32 code_ids[CODE_IDS];
	/* The context that differs from this one in EFLAGS.AC alone, and may be used as it is: where STAC and
	 * CLAC lead under SMAP. Both NULL: C has to look. */
	struct context_block *ac_block;
	struct context *ac_context;
	u8 rest[PAGE_SIZE - 2 * sizeof(u64)];
};

#define CONTEXTS_SIZE (CONTEXTS * sizeof(struct context_block))
/* From where struct cpu is mapped for a context to that one's block: below them all. */
#define CPU_DISTANCE CONTEXTS_SIZE

/* Who accesses: user code, supervisor with SMAP in force, supervisor without. */
enum privilege { PRIV_USER, PRIV_SUPERVISOR, PRIV_SUPERVISOR_AC, PRIV_COUNT };

/*
 * A context's key: what its translations are tagged with besides cpu->nested_tag. Bits of CR0, CR4
 * and EFER count where paging is on; SMAP is a part of the privilege class.
 */
#define KEY_PCID 0xfffull
#define KEY_PRIVILEGE MASK(15, 14)
#define KEY_PAGING BIT(24)
#define KEY_MODE (BIT(13) | MASK(30, 25))
#define KEY_VALID BIT(31)
#define KEY_ASID MASK(63, 32)

/* The table entries that a context was filled by, see trail.h. */
#define TRAIL_KNOWN 256
struct trail {
	struct trail_entry {
		u64 line; /* eight entries of a table, in RAM; which of them, and which with D: TRAIL_* */
		u64 sum;  /* of what they were, see trail.c */
	} *entries; /* TRAIL_ENTRIES */
	u32 count;
	u32 watched;   /* of them, the first ones: they are as they were ... */
	u64 watched_at; /* ... as long as cpu->tables_written is this */
	u16 calm;      /* flushes in a row that it held at ... */
	u16 calm_wanted; /* ... and after which it is watched */
	u32 held;      /* flushes that it held at, by comparison */
	bool complete; /* nothing is in the context that came by others */
	u16 known[TRAIL_KNOWN]; /* numbers of entries, by a hash of where they are */
	struct trail_roots {
		u64 cr3, nested_root, nested_cr4, nested_efer;
	} roots; /* where the walks began */
};

struct context {
	struct context_block *block;
	u64 key, tag;
	enum privilege privilege;
	bool flush_due;             /* nothing in it may be used: it is emptied when it is selected */
	bool flush_asked;           /* the same unless its trail holds then */
	struct trail trail;
	u64 large_base, large_mask; /* a range that covers every large page cached here */
	bool large_all;             /* they lie too far apart for one range */
	/* slots in the lists; beyond them all slots are cleared */
	u32 tlb_filled, jump_filled, code_filled;
	u16 tlb_list[TLB_LIST], jump_list[JUMP_LIST], code_list[CODE_LIST];
	/* which linear pages have jump entries: a Bloom filter */
	u64 jump_pages[(1 << JUMP_PAGE_BITS) / 64];
	/* which of them are of global pages, and outlive a change of CR3 */
	u64 jump_global[JUMP_SLOTS / 64], code_global[CODE_IDS / 64];
	struct exec_entry {
		u64 linear; /* of the page; all ones: empty */
		u8 *host;
		bool global;
	} exec[EXEC_ENTRIES];
	/*
	 * Where walks of each stage ended, by 2 MiB regions, so that the next one there reads only
	 * the last entry: what the manuals call paging-structure caches, APM2 5.5.1. mmu.c's.
	 */
	struct walk_hint {
		u64 region;  /* address and generation; 0: empty */
		u64 *table;  /* the last level's, in RAM */
		u64 rights;  /* of the levels above it */
		u8 shift;    /* of the pages it holds */
	} hints[2][WALK_HINTS];
	u32 hint_generation; /* never 0 */
	u64 drops; /* counts invalidations of whatever was in it */
};

int tlb_init(struct cpu **cpu);   /* allocates the vCPU and its contexts; -errno */
void tlb_free(struct cpu *cpu);

/* Paging-structure caches go with any invalidation, whatever address it names. */
static inline void walk_hints_flush(struct context *context)
{
	if (!++context->hint_generation) {
		zero_bytes(context->hints, sizeof(context->hints));
		context->hint_generation = 1;
	}
}

/*
 * What a context's translations are tagged with: ASID or VPID, the second stage (EPT: EP4TA, A/D,
 * mode-based execution; whether there is an APIC-access page), PCID, privilege class, the bits of
 * CR0, CR4 and EFER that give page tables their meaning, and key_of_mode(). So a VM entry or exit flushes
 * nothing on account of such bits: it changes them and selects another context.
 *
 * What virt/ must do as it enters a guest, leaves one or switches EPTPs: set nested_paging,
 * nested_root, nested_asid, ept, ept_mode_based and apic_access_page as they are from now on, then
 * call tlb_world_changed() and, once control registers are loaded, cpu_mode_update(). Without VPIDs
 * (nested_asid 0 in the guest too): tlb_flush_asid(cpu, 0) at each entry and each exit.
 */
void tlb_world_changed(struct cpu *cpu);

static inline enum privilege tlb_privilege(const struct cpu *cpu)
{
	if (cpu->cpl == 3)
		return PRIV_USER;
	if ((cpu->cr4 & CR4_SMAP) && !(cpu->rflags_system & RFLAGS_AC))
		return PRIV_SUPERVISOR;
	return PRIV_SUPERVISOR_AC;
}

static inline u64 key_asid(u32 asid)
{
	return (u64)asid << 32;
}

static inline u64 key_of_privilege(enum privilege privilege)
{
	return (u64)privilege << 14;
}

static inline enum privilege key_privilege(u64 key)
{
	return (key & KEY_PRIVILEGE) >> 14;
}

/*
 * Supervisor code in 64-bit mode, as kernels run all the time, has a context of its own for each set of the
 * mode bits that blocks are keyed by. What its jump cache names needs no check of the mode then.
 */
static inline bool mode_in_key(u32 mode)
{
	return (mode & (MODE_CODE64 | MODE_USER | MODE_STEP | MODE_CPL12)) == MODE_CODE64;
}

static inline u64 key_of_mode(u32 mode)
{
	if (!mode_in_key(mode))
		return 0;
	return BIT(13) | (u64)(mode & (MODE_FPU | MODE_SSE | MODE_AVX | MODE_AVX512)) << 21 |
	       (u64)(mode & MODE_GUEST) << 19 | (u64)(mode & MODE_FWAIT_NM) << 18;
}

static inline u64 tlb_key(const struct cpu *cpu, enum privilege privilege)
{
	u64 key = KEY_VALID | key_asid(cpu->nested_asid) | key_of_privilege(privilege) |
		key_of_mode(cpu->mode);

	if (!(cpu->cr0 & CR0_PG))
		return key;
	if (cpu->cr4 & CR4_PCIDE)
		key |= cpu->cr3 & KEY_PCID;
	/* bits 12 and 16 to 23; which is which does not matter. SMAP: so that no context leads by AC to one
	 * that knows nothing of it */
	return key | KEY_PAGING | (cpu->cr4 & CR4_SMAP) >> 9 | (cpu->cr0 & CR0_WP) | (cpu->cr4 & CR4_SMEP) |
	       (cpu->cr4 & (CR4_PSE | CR4_PAE | CR4_PGE)) << 14 |
	       (cpu->efer & (EFER_LMA | EFER_NXE)) << 12;
}

/* Whether cpu->context is the one for the state as it is. */
static inline bool tlb_selected(const struct cpu *cpu)
{
	return cpu->context && cpu->context->key == tlb_key(cpu, tlb_privilege(cpu)) &&
	       cpu->context->tag == cpu->nested_tag;
}

/* Picks cpu->context by all that; makes one where there is none. */
void tlb_select(struct cpu *cpu);

/*
 * What a flush drops. `asid` is AMD's ASID or Intel's VPID, under whichever EPTP. SDM3 29.4.3.1:
 * INVVPID's types 0 to 3 are tlb_flush_page() with every_pcid, tlb_flush_asid(),
 * tlb_flush_every_vpid() and tlb_flush_asid_local(); INVEPT's 1 and 2 are tlb_flush_ept() and
 * tlb_flush_every_ept().
 */
void tlb_flush_all(struct cpu *cpu);                     /* everything, every world */
void tlb_flush_asid(struct cpu *cpu, u32 asid);
void tlb_flush_asid_local(struct cpu *cpu, u32 asid);    /* all but global pages, every PCID */
void tlb_flush_every_vpid(struct cpu *cpu);              /* but for VPID 0 */
void tlb_flush_pcid(struct cpu *cpu, u32 asid, u32 pcid); /* all but global pages */
void tlb_flush_page(struct cpu *cpu, u32 asid, u32 pcid, u64 linear, bool every_pcid);
void tlb_flush_ept(struct cpu *cpu, u64 eptp);           /* by EP4TA: bits 51:12 count */
void tlb_flush_every_ept(struct cpu *cpu);               /* of what was cached with EPT on */
/* A walk for `linear` in the current context ended in a fault: its 4 KiB, under any privilege. */
void tlb_drop_faulted(struct cpu *cpu, u64 linear);
/* A host page became write-protected (translated code): no entry may write to it. */
void tlb_protect_ram_page(struct cpu *cpu, u64 host);
/* The same of every page that is watched, ram_is_watched(). */
void tlb_protect_watched(struct cpu *cpu);
/* Jump caches name blocks that are about to go: empty them all. */
void tlb_flush_jumps(struct cpu *cpu);

/* The jump cache of the current context learns that linear's code is at `code`. */
void tlb_add_jump(struct cpu *cpu, u64 linear, u64 code);
/* The page at `linear`, just fetched, is the one with this number. */
void tlb_set_code_id(struct cpu *cpu, u64 linear, u32 id);
/* The page at `linear` is no longer the one with this number, in any context. */
void tlb_forget_code_id(struct cpu *cpu, u64 linear, u32 id);
/* Where the code at linear lies in our memory. 0 or OUTCOME_FAULT; *host NULL: not RAM. */
int tlb_fetch(struct cpu *cpu, u64 linear, u8 **host);

/* Whether data at an address of the machine's space is virt->apic_*'s to read and write. */
static inline bool tlb_apic_access(const struct cpu *cpu, u64 gpa)
{
	return unlikely((gpa & PAGE_MASK) == cpu->apic_access_page);
}

/* Walks and fills the current context. 0 or OUTCOME_FAULT. *host NULL: not RAM, *gpa says where.
 * A page that is watched, or whose first store the dirty log is to see, gets no write tag, and one of
 * tlb_apic_access() no entry at all. */
int tlb_fill(struct cpu *cpu, u64 linear, unsigned access, u8 **host, u64 *gpa);

#include "cpu/tlb_inline.h"

#endif
