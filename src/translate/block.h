/* SPDX-License-Identifier: MIT */
/*
 * Translated blocks and the cache they live in.
 *
 * A block is keyed by where its code lies in RAM and by the mode bits, never by nesting level;
 * user code not by linear address either: processes that share a page share its translations, and
 * what depends on RIP is computed from cpu->vpage. A block has three entries:
 *   far    from an indirect jump, C or, where the block is not fixed, another page, with the arithmetic
 *          flags in cpu->aflags. Not fixed: cpu->mode is checked, R11 holds the linear target and cpu->vpage
 *          is set from it. Fixed: the same as the next, the context is of its mode.
 *   flags  from within the page, arithmetic flags in cpu->aflags.
 *   near   from within the page, arithmetic flags in the host's.
 *
 * The cache is one memfd mapped twice: writable, and executable (W^X). Everything about a block
 * lies in it, in two places: the code that runs close to that of other blocks, since kernels run so
 * much of it that the host's caches are what they wait for; and aside of it what runs rarely or never,
 * ways to C, the header, sites, the side table. When the cache is full, all of it is dropped.
 */
#ifndef TRANSLATE_BLOCK_H
#define TRANSLATE_BLOCK_H

#include "cpu/tlb.h"

#define NO_PAGE 0xffffffffu

/* Variants of a block, in its key beside MODE_*: only C enters these. */
#define VARIANT_ONE 0x10000  /* one instruction, then back to C */
#define VARIANT_SLOW 0x20000 /* one instruction whose memory operand goes through C both ways */
#define VARIANT_UNGROUPED 0x40000 /* every access has a check of its own, see groups.c */

/*
 * Supervisor code in 64-bit mode is translated for its linear address too: its jumps, calls and
 * globals are constants then. User code is not, since each process maps libraries elsewhere.
 */
static inline bool mode_is_fixed(u32 mode)
{
	return mode_in_key(mode);
}

struct block {
	u32 far_entry, flags_entry, near_entry; /* offsets in the cache */
	u32 far_out;     /* mode_is_fixed(): the way to engine_far(), for when the block is no more */
	u32 code_end;    /* of what is not aside */
	u32 page;        /* number of the RAM page its first byte lies in */
	u32 page2;       /* the second one of an instruction that crosses; NO_PAGE */
	u32 mode;        /* MODE_* and VARIANT_* */
	u64 vpage;       /* mode_is_fixed(): linear address of its page; else 0 */
	u16 offset;      /* in the page */
	u16 insn_count;
	bool valid;
	u32 table;       /* cache offset of the side table: insn_count struct place */
	u32 hash_next;   /* cache offsets, 0 ends */
	u32 page_next, page2_next;
};

/* Side table: which guest instruction a host address belongs to. */
struct place {
	u16 host;        /* from the block's far entry */
	u16 offset : 13; /* guest instruction's offset in its page */
	u16 flags_in_host : 1;
};

/* What a call from translated code to C is about; it lies aside. Where C is to execute an instruction its
 * struct insn comes behind. */
struct site {
	i32 way;         /* from the site to where to go on */
	u16 last;        /* access by the TLB: offset in the page that it may begin at */
	u8 tag;          /* and where in struct tlb_entry the tag that counts is */
	u32 resume;      /* cache offset to go on at */
	u32 block;       /* cache offset of the block */
	u32 patch;       /* chain, link: cache offset of the rel32 to patch; branch: added to RSP */
	u32 patch_id;    /* link: of the code page's number */
	u64 target;      /* link: linear address; exec in a fixed block: the instruction's own */
	u16 offset;      /* guest instruction's offset in its page; chain: the target's */
	u8 len;          /* of the guest instruction */
	u8 size;         /* bytes accessed */
	u8 align;        /* access: what it must be aligned to, 0: nothing */
	bool waits;      /* access: a pending x87 exception comes first */
	bool align_waived; /* MXCSR.MM allows otherwise */
	bool any_alignment; /* access: not checked under MODE_ALIGN */
	u8 seg;          /* access: segment, when R11 is an offset and not yet a linear address */
	bool is_offset;
	bool write, read;
	bool masked;
	bool flags_in_host; /* chain: patch to the near entry */
	bool ends_block;
	bool fixed;         /* exec: its block is */
	u16 delta;          /* access: from where R11 points to this one's own operand */
	bool group_write;   /* R11 is where a group of them begins ... */
	u8 group_size;      /* ... 0: no group */
};

struct code_cache {
	u8 *rw;          /* writable view */
	u8 *rx;          /* executable view */
	u64 size, used;  /* used: by the areas */
	struct code_area {
		u64 at, end; /* offsets: where the next block's part begins, and where there is no more room */
	} code, aside;
	u32 *hash;       /* heads, cache offsets */
	u32 *pages;      /* first block of each RAM page, cache offsets; lazily touched */
	u64 page_count;
	u32 *blocks;     /* all, in order of their code, for cache_find_pc() */
	u32 block_count;
	/* Code pages by number: RAM pages as they are mapped at linear ones, see cache_code_id(). */
	struct code_page {
		u64 linear;
		u32 next; /* of the same RAM page */
	} *code_pages;
	u32 code_page_count;
	u32 *page_ids;   /* first code page of each RAM page */
};

#define HASH_SIZE (1u << 18)
#define MAX_BLOCKS (1u << 20)
#define MAX_CODE_PAGES (1u << 16)

int cache_new(struct code_cache *cache, u64 size, u64 ram_pages); /* -errno */
void cache_free(struct code_cache *cache);
void cache_reset(struct code_cache *cache);
/* Room for a block of at most `room` bytes in each area; false: the cache is full. */
bool cache_make_room(struct code_cache *cache, u64 room);
static inline struct block *cache_block(const struct code_cache *cache, u32 offset)
{
	return (struct block *)(cache->rw + offset);
}
struct block *cache_find(const struct code_cache *cache, u32 page, u16 offset, u32 mode, u64 vpage);
void cache_insert(struct code_cache *cache, struct block *block);
/*
 * The number of a RAM page as mapped at a linear page: what a jump from another page compares
 * before it enters. 0: there are no more numbers, until the cache is emptied.
 */
u32 cache_code_id(struct code_cache *cache, u32 page, u64 linear);
/* The block that a host address lies in; NULL. */
struct block *cache_find_pc(const struct code_cache *cache, u64 pc);
/* Forgets every block of a page; their far entries lead to `miss` from then on. */
void cache_drop_page(struct code_cache *cache, u32 page, u32 miss_slot);
#define KILLED_ENTRY 6 /* bytes that are overwritten then */
/* Whether that has happened to a fixed block's far entry. */
bool cache_entry_is_killed(const u8 *entry);

#endif
