/* SPDX-License-Identifier: MIT */
/*
 * Translates one block: fetch, decode, liveness of flags, emission. A block runs from its first
 * instruction over conditional jumps (side exits) and forward jumps within the page to the first
 * instruction that must end it, the page's end, or MAX_INSNS.
 *
 * Host addresses of code pages are read here only after the page was write-protected, and only
 * once: what is decoded is a copy.
 */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "translate/translate.h"

/* Room that one block may take at most. */
#define BLOCK_ROOM (96 * KIB)

/*
 * Decodes instructions into t->insns. bytes holds the page's code from `offset` on, with the
 * second page's first bytes behind it where there are any.
 */
static void decode_block(struct translator *t, u16 offset, unsigned limit)
{
	unsigned at = offset;

	t->count = 0;
	while (t->count < limit) {
		struct guest_insn *g = &t->insns[t->count];
		i64 target;

		if (at >= t->page_to ||
			decode_guest(t->cpu, t->mode & 0xffff, t->page_bytes + (at - t->page_from),
				t->page_to - at, g) < 0)
			return;
		/* One that crosses is a block of its own. */
		if (at + g->insn.len > PAGE_SIZE && t->count)
			return;
		g->offset = at;
		t->count++;
		at += g->insn.len;
		if (g->ends_block) {
			if (g->kind == KIND_JCC)
				continue;
			target = (i64)at + (i64)g->insn.imm;
			/* A jump forward in the page is no more than a place to go on. */
			if (g->kind == KIND_JMP && g->relative && target >= at &&
				target < (i64)PAGE_SIZE && limit > 1) {
				g->kind = KIND_NOP;
				at = target;
				continue;
			}
			return;
		}
		if (at >= PAGE_SIZE)
			return;
	}
}

/* Where the block goes on when it just ends. */
static i64 next_offset(const struct translator *t)
{
	const struct guest_insn *g = &t->insns[t->count - 1];
	i64 next = (i64)g->offset + g->insn.len;

	if (g->kind == KIND_NOP && g->ends_block)
		next += (i64)g->insn.imm;
	return next;
}

static bool falls_through(const struct guest_insn *g)
{
	return g->kind != KIND_JMP && g->kind != KIND_CALL && g->kind != KIND_RET;
}

/* It jumps to its own beginning: all of a loop is in it. */
static bool is_loop(const struct translator *t)
{
	for (unsigned i = 0; i < t->count; i++) {
		const struct guest_insn *g = &t->insns[i];

		if (g->relative && g->kind != KIND_CALL &&
			(i64)g->offset + g->insn.len + (i64)g->insn.imm == t->insns[0].offset)
			return true;
	}
	return false;
}

/* A loop begins where a line of the host's caches does: a short one takes up to a fifth more elsewhere. */
static void emit_entry(struct translator *t)
{
	struct emitter *e = &t->e;
	struct block *block = t->block;
	bool stay_in_memory = t->live_in[0] && flags_guarded_first(t), loop = is_loop(t);
	u8 *to_flags_entry = NULL;

	if (loop && (t->fixed || stay_in_memory))
		align64(e);
	if (stay_in_memory) {
		block->near_entry = cache_offset(t, e->at);
		t->flags_in_host = true;
		flags_save(t);
		if (!t->fixed)
			to_flags_entry = jmp_rel8(e);
	}
	block->far_entry = cache_offset(t, e->at);
	if (!t->fixed) {
		cmp_gs_imm32(e, CPU_OFFSET(mode), t->mode & 0xffff);
		t->wrong_mode = jcc_rel32(e, CC_NE);
		if (block->offset)
			lea(e, true, R11, R11, -(i32)block->offset);
		store_gs(e, R11, CPU_OFFSET(vpage));
		if (loop && !stay_in_memory)
			align64(e);
	}
	block->flags_entry = cache_offset(t, e->at);
	t->flags_in_host = false;
	if (stay_in_memory) {
		if (to_flags_entry)
			patch_rel8(e, to_flags_entry);
		return;
	}
	if (t->live_in[0])
		flags_load(t);
	t->flags_in_host = true;
	block->near_entry = cache_offset(t, e->at);
}

static void emit_block(struct translator *t)
{
	struct emitter *e = &t->e;

	emit_entry(t);
	for (unsigned i = 0; i < t->count; i++) {
		u32 at = cache_offset(t, e->at) - t->block->far_entry;

		emit_stack_settle(t, i);
		emit_insn(t, i);
		t->places[i] = (struct place){ .host = at, .offset = t->insns[i].offset,
			.flags_in_host = t->flags_in_host };
	}
	emit_stack_settle(t, t->count);
	if (falls_through(&t->insns[t->count - 1]))
		emit_exit(t, next_offset(t));
	emit_pending(t);
	t->block->table = cache_offset(t, e->at);
	put_bytes(e, t->places, t->count * sizeof(struct place));
	align8(e);
}

/* The first bytes of the next linear page, for an instruction that reaches into it. */
static int fetch_second_page(struct translator *t, u64 linear, u8 *to, u32 *page)
{
	struct cpu *cpu = t->cpu;
	u64 next;
	struct ram *ram = space_ram(cpu->memory);
	struct translation translation;
	struct space_hit hit;

	if (next_code_page(cpu, linear, &next) ||
		mmu_translate(cpu, next, ACCESS_EXEC, cpu->cpl == 3, false, &translation))
		return OUTCOME_FAULT;
	hit = space_find(cpu->memory, translation.gpa);
	if (!hit.host)
		return -1;
	*page = hit.ram_offset >> PAGE_SHIFT;
	__atomic_fetch_or(&ram->page_flags[*page], RAM_HAS_CODE, __ATOMIC_SEQ_CST);
	tlb_protect_ram_page(cpu, (u64)hit.host & PAGE_MASK);
	memcpy(to, hit.host, 15);
	return 0;
}

static void trace_hex(const char *what, const u8 *bytes, unsigned len)
{
	char line[3 * 64 + 1];

	for (unsigned at = 0; at < len; at += 64) {
		unsigned n = 0;

		for (unsigned i = at; i < len && i < at + 64; i++)
			n += snprintf(line + n, sizeof(line) - n, "%02x ", bytes[i]);
		trace_print(TRACE_code, "%s %s", what, line);
	}
}

/* The block's guest instructions and what became of them, to be fed to a disassembler. */
static void trace_code(const struct translator *t, u64 linear)
{
	const struct block *block = t->block;

	trace_print(TRACE_code, "block %lx at %x", linear, block->far_entry);
	for (unsigned i = 0; i < t->count; i++) {
		unsigned end = i + 1 < t->count ? t->places[i + 1].host
						: block->code_end - block->far_entry;

		trace_hex("guest", t->insns[i].insn.bytes, t->insns[i].insn.len);
		trace_hex("host", t->cache->rw + block->far_entry + t->places[i].host,
			end - t->places[i].host);
	}
	trace_hex("aside", t->cache->rw + t->aside_begin, t->aside_end - t->aside_begin);
}

struct block *translate(struct translator *t, struct cpu *cpu, u32 page, u16 offset, u32 mode,
	u64 linear, bool *fault)
{
	struct code_cache *cache = t->cache;
	struct ram *ram = space_ram(cpu->memory);
	u8 *host = ram->host + ((u64)page << PAGE_SHIFT);
	u8 bytes[PAGE_SIZE + 16];
	bool single = mode & (VARIANT_ONE | VARIANT_SLOW | MODE_STEP);
	u32 page2 = NO_PAGE;
	struct block *block;

	*fault = false;
	if (cache->block_count == MAX_BLOCKS || !cache_make_room(cache, BLOCK_ROOM))
		return NULL;
	if (!(__atomic_fetch_or(&ram->page_flags[page], RAM_HAS_CODE, __ATOMIC_SEQ_CST) &
		    RAM_HAS_CODE))
		tlb_protect_ram_page(cpu, (u64)host);
	/* A loop's head may lie a little before: flags_dead_at() looks there. */
	t->page_from = offset > 256 ? offset - 256 : 0;
	t->page_to = MIN(PAGE_SIZE, offset + (single ? 16 : MAX_INSNS * 15));
	memcpy(bytes, host + t->page_from, t->page_to - t->page_from);
	t->page_bytes = bytes;
	t->cpu = cpu;
	t->mode = mode;
	t->code64 = mode & MODE_CODE64;
	t->fixed = mode_is_fixed(mode);
	t->vpage = t->fixed ? linear & PAGE_MASK : 0;
	decode_block(t, offset, single ? 1 : MAX_INSNS);
	if (!t->count) {
		int outcome = fetch_second_page(t, linear, bytes + (PAGE_SIZE - t->page_from), &page2);

		if (outcome == OUTCOME_FAULT) {
			*fault = true;
			return NULL;
		}
		if (outcome < 0)
			memset(bytes + (PAGE_SIZE - t->page_from), 0xff, 15);
		t->page_to = PAGE_SIZE + 15;
		decode_block(t, offset, 1);
	}
	flags_liveness(t);
	plan_groups(t);

	block = (struct block *)(cache->rw + cache->aside.at);
	t->block = block;
	*block = (struct block){ .page = page, .page2 = page2, .mode = mode, .offset = offset,
		.insn_count = t->count, .valid = true, .vpage = t->vpage };
	t->e = (struct emitter){ .at = cache->rw + cache->code.at, .end = cache->rw + cache->code.end };
	t->aside = (struct emitter){ .at = (u8 *)(block + 1), .end = cache->rw + cache->aside.end };
	t->site_count = t->access_count = t->exit_count = t->exec_count = t->miss_count = 0;
	t->wrong_mode = t->not_canonical = NULL;
	t->branch = false;
	emit_block(t);
	if (t->e.overflow)
		bug("block at page %x+%x, %u instructions, outgrew its room", page, offset, t->count);
	cache->code.at = block->code_end;
	cache->aside.at = cache_offset(t, t->e.at);
	cache_insert(cache, block);
	cpu->stats.blocks++;
	cpu->stats.insns_translated += t->count;
	if (trace_on(TRACE_block))
		trace_print(TRACE_block, "%016lx page %x mode %x, %u instructions, %u bytes at %p",
			linear, page, mode, t->count, block->code_end - block->far_entry,
			(void *)(cache->rx + block->far_entry));
	if (trace_on(TRACE_code))
		trace_code(t, linear);
	return block;
}
