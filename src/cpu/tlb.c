/* SPDX-License-Identifier: MIT */
/*
 * What is in a context, see tlb.h: its software TLB, its jump cache, the pages that code was fetched
 * from. All of it is the vCPU thread's own.
 */
#include "cpu/context.h"
#include "cpu/trail.h"
#include "mem/dirty.h"

_Static_assert(sizeof(struct tlb_entry) == 32 && sizeof(struct jump_entry) == 16,
	"the translator shifts by these sizes");

/* A page that has the slot neither by tlb_hash() nor by tlb_second(): no address that is looked for here can
 * match it. */
static u64 no_page(unsigned slot)
{
	return (u64)(slot ^ 16) << PAGE_SHIFT;
}

static void clear_tlb_slot(struct context *context, unsigned slot)
{
	struct tlb_entry *entry = &context->block->tlb[slot];

	entry->read_tag = entry->write_tag = no_page(slot);
}

static bool tlb_slot_empty(const struct context *context, unsigned slot)
{
	return context->block->tlb[slot].read_tag == no_page(slot);
}

/* A linear page's place in a context's jump_pages. */
static unsigned page_bit(u64 linear)
{
	return crc_hash(linear >> PAGE_SHIFT) & ((1 << JUMP_PAGE_BITS) - 1);
}

/* A target that hashes elsewhere: 0 hashes to 0, 1 does not. */
static u64 no_jump(unsigned slot)
{
	return slot < JUMP_WAYS;
}

static void clear_tlb(struct context *context)
{
	if (context->tlb_filled > TLB_LIST) {
		for (unsigned i = 0; i < TLB_ENTRIES; i++)
			clear_tlb_slot(context, i);
	} else {
		for (unsigned i = 0; i < context->tlb_filled; i++)
			clear_tlb_slot(context, context->tlb_list[i]);
	}
	context->drops++;
	context->tlb_filled = 0;
	context->large_mask = 0;
	context->large_all = false;
	for (unsigned i = 0; i < EXEC_ENTRIES; i++)
		context->exec[i].linear = ~0ull;
	walk_hints_flush(context);
}

static void clear_code_ids(struct context *context)
{
	u32 *ids = context->block->code_ids;

	if (context->code_filled > CODE_LIST)
		zero_bytes(ids, sizeof(context->block->code_ids));
	else
		for (unsigned i = 0; i < context->code_filled; i++)
			ids[context->code_list[i]] = 0;
	context->code_filled = 0;
}

void context_clear_jumps(struct context *context)
{
	struct jump_entry *jump = context->block->jump;

	if (context->jump_filled > JUMP_LIST) {
		for (unsigned i = 0; i < JUMP_SLOTS; i++)
			jump[i].target = no_jump(i);
	} else {
		for (unsigned i = 0; i < context->jump_filled; i++)
			jump[context->jump_list[i]].target = no_jump(context->jump_list[i]);
	}
	context->jump_filled = 0;
	zero_bytes(context->jump_pages, sizeof(context->jump_pages));
	clear_code_ids(context);
}

static void set_bit(u64 *map, unsigned bit, bool value)
{
	map[bit / 64] = (map[bit / 64] & ~BIT(bit % 64)) | (u64)value << bit % 64;
}

static bool get_bit(const u64 *map, unsigned bit)
{
	return map[bit / 64] >> bit % 64 & 1;
}

/* A slot that was empty is filled. */
static void note_filled(u16 *list, u32 *filled, u32 room, unsigned slot)
{
	if (*filled < room)
		list[(*filled)++] = slot;
	else
		*filled = room + 1;
}

/* The lists are made anew of what stays. */
void context_keep_global(struct cpu *cpu, struct context *context)
{
	struct context_block *block = context->block;
	bool all = context->tlb_filled > TLB_LIST;
	u32 count = all ? TLB_ENTRIES : context->tlb_filled, filled = 0;

	context->drops++;
	for (u32 n = 0; n < count; n++) {
		unsigned slot = all ? n : context->tlb_list[n];

		if (tlb_slot_empty(context, slot))
			continue;
		if (block->tlb[slot].gpa & 1)
			note_filled(context->tlb_list, &filled, TLB_LIST, slot);
		else
			clear_tlb_slot(context, slot);
	}
	context->tlb_filled = filled;
	all = context->jump_filled > JUMP_LIST;
	count = all ? JUMP_SLOTS : context->jump_filled;
	filled = 0;
	for (u32 n = 0; n < count; n++) {
		unsigned slot = all ? n : context->jump_list[n];

		if (block->jump[slot].target == no_jump(slot))
			continue;
		if (get_bit(context->jump_global, slot))
			note_filled(context->jump_list, &filled, JUMP_LIST, slot);
		else
			block->jump[slot].target = no_jump(slot);
	}
	context->jump_filled = filled;
	all = context->code_filled > CODE_LIST;
	count = all ? CODE_IDS : context->code_filled;
	filled = 0;
	for (u32 n = 0; n < count; n++) {
		unsigned slot = all ? n : context->code_list[n];

		if (!block->code_ids[slot])
			continue;
		if (get_bit(context->code_global, slot))
			note_filled(context->code_list, &filled, CODE_LIST, slot);
		else
			block->code_ids[slot] = 0;
	}
	context->code_filled = filled;
	for (unsigned i = 0; i < EXEC_ENTRIES; i++)
		if (!context->exec[i].global)
			context->exec[i].linear = ~0ull;
	walk_hints_flush(context);
	/* what stays may have come by another CR3 */
	trail_lose(&context->trail);
	cpu->stats.flushes++;
}

void context_fresh(struct context *context)
{
	context->tlb_filled = TLB_LIST + 1;
	for (unsigned i = 0; i < JUMP_SLOTS && no_jump(i); i++)
		context->block->jump[i].target = no_jump(i);
}

void context_clear(struct cpu *cpu, struct context *context)
{
	clear_tlb(context);
	context_clear_jumps(context);
	trail_begin(&context->trail, context->tag & TAG_NESTED);
	cpu->stats.flushes++;
}

static void put_code_id(struct context *context, unsigned slot, u32 id, bool global)
{
	if (!context->block->code_ids[slot])
		note_filled(context->code_list, &context->code_filled, CODE_LIST, slot);
	context->block->code_ids[slot] = id;
	set_bit(context->code_global, slot, global);
}

void context_copy_global(struct context *to, const struct context *from)
{
	u32 count = MIN(from->tlb_filled, TLB_LIST);

	for (u32 n = 0; n < count; n++) {
		unsigned slot = from->tlb_list[n];
		const struct tlb_entry *entry = &from->block->tlb[slot];

		if (tlb_slot_empty(from, slot) || !(entry->gpa & 1) || !tlb_slot_empty(to, slot))
			continue;
		to->block->tlb[slot] = *entry;
		note_filled(to->tlb_list, &to->tlb_filled, TLB_LIST, slot);
	}
	to->large_all = from->large_all;
	to->large_base = from->large_base;
	to->large_mask = from->large_mask;
	count = MIN(from->jump_filled, JUMP_LIST);
	for (u32 n = 0; n < count; n++) {
		unsigned slot = from->jump_list[n], bit;
		const struct jump_entry *entry = &from->block->jump[slot];

		if (entry->target == no_jump(slot) || !get_bit(from->jump_global, slot) ||
			to->block->jump[slot].target != no_jump(slot))
			continue;
		to->block->jump[slot] = *entry;
		note_filled(to->jump_list, &to->jump_filled, JUMP_LIST, slot);
		bit = page_bit(entry->target);
		to->jump_pages[bit / 64] |= BIT(bit % 64);
		set_bit(to->jump_global, slot, true);
	}
	count = MIN(from->code_filled, CODE_LIST);
	for (u32 n = 0; n < count; n++) {
		unsigned slot = from->code_list[n];

		if (from->block->code_ids[slot] && get_bit(from->code_global, slot))
			put_code_id(to, slot, from->block->code_ids[slot], true);
	}
}

/* Jumps into a page, and into the one before it: an instruction there may reach into this. */
static void clear_jumps_to(struct context *context, u64 page)
{
	struct jump_entry *jump = context->block->jump;
	unsigned here = page_bit(page), before = page_bit(page - PAGE_SIZE);

	if (!(context->jump_pages[here / 64] & BIT(here % 64)) &&
		!(context->jump_pages[before / 64] & BIT(before % 64)))
		return;
	if (context->jump_filled > JUMP_LIST) {
		for (unsigned i = 0; i < JUMP_SLOTS; i++)
			if (jump[i].target - (page - PAGE_SIZE) < 2 * PAGE_SIZE)
				jump[i].target = no_jump(i);
		return;
	}
	/* A slot stays in the list though it is empty now: it may be there twice later. */
	for (unsigned n = 0; n < context->jump_filled; n++) {
		unsigned i = context->jump_list[n];

		if (jump[i].target - (page - PAGE_SIZE) < 2 * PAGE_SIZE)
			jump[i].target = no_jump(i);
	}
}

void context_drop_piece(struct context *context, u64 page)
{
	unsigned slot = tlb_hash(page);
	struct exec_entry *exec = &context->exec[(page >> PAGE_SHIFT) % EXEC_ENTRIES];

	context->drops++;
	if (context->block->tlb[slot].read_tag == page)
		clear_tlb_slot(context, slot);
	else if (context->block->tlb[tlb_second(page)].read_tag == page)
		clear_tlb_slot(context, tlb_second(page));
	if (exec->linear == page)
		exec->linear = ~0ull;
	context->block->code_ids[code_id_slot(page)] = 0;
	clear_jumps_to(context, page);
}

void context_drop_page(struct cpu *cpu, struct context *context, u64 page)
{
	/* Of a large page every piece must go, wherever it is. */
	if (context->large_all ||
		(context->large_mask && (page & context->large_mask) == context->large_base)) {
		context_clear(cpu, context);
		return;
	}
	walk_hints_flush(context);
	context_drop_piece(context, page);
}

static void protect_slot(struct context *context, unsigned slot, u64 host)
{
	struct tlb_entry *entry = &context->block->tlb[slot];

	if (entry->host == host && !tlb_slot_empty(context, slot))
		entry->write_tag = no_page(slot);
}

void context_protect(struct context *context, u64 host)
{
	if (context->tlb_filled > TLB_LIST) {
		for (unsigned slot = 0; slot < TLB_ENTRIES; slot++)
			protect_slot(context, slot, host);
	} else {
		for (unsigned n = 0; n < context->tlb_filled; n++)
			protect_slot(context, context->tlb_list[n], host);
	}
}

void context_protect_watched(struct context *context, const struct ram *ram)
{
	bool all = context->tlb_filled > TLB_LIST;
	u32 count = all ? TLB_ENTRIES : context->tlb_filled;

	for (u32 n = 0; n < count; n++) {
		unsigned slot = all ? n : context->tlb_list[n];
		struct tlb_entry *entry = &context->block->tlb[slot];

		if (entry->write_tag == entry->read_tag && !tlb_slot_empty(context, slot) &&
			ram_is_watched(ram, entry->host - (u64)ram->host))
			entry->write_tag = no_page(slot);
	}
}

/* Whether the page last fetched at `linear` is global. */
static bool fetched_global(const struct context *context, u64 linear)
{
	const struct exec_entry *exec = &context->exec[(linear >> PAGE_SHIFT) % EXEC_ENTRIES];

	return exec->linear == (linear & PAGE_MASK) && exec->global;
}

static void put_jump(struct context *context, unsigned slot, struct jump_entry jump, bool global)
{
	struct jump_entry *entry = &context->block->jump[slot];

	if (entry->target == no_jump(slot))
		note_filled(context->jump_list, &context->jump_filled, JUMP_LIST, slot);
	*entry = jump;
	set_bit(context->jump_global, slot, global);
}

void tlb_add_jump(struct cpu *cpu, u64 linear, u64 code)
{
	struct context *context = cpu->context;
	const struct jump_entry *jump = context->block->jump;
	unsigned slot = jump_hash(linear), bit = page_bit(linear), way = 0;

	/* what was found last is found first, and the oldest goes */
	while (way < JUMP_WAYS - 1 && jump[slot + way].target != no_jump(slot) &&
		jump[slot + way].target != linear)
		way++;
	for (; way; way--)
		put_jump(context, slot + way, jump[slot + way - 1],
			get_bit(context->jump_global, slot + way - 1));
	put_jump(context, slot, (struct jump_entry){ .target = linear, .code = code },
		fetched_global(context, linear));
	context->jump_pages[bit / 64] |= BIT(bit % 64);
}

void tlb_set_code_id(struct cpu *cpu, u64 linear, u32 id)
{
	struct context *context = cpu->context;

	put_code_id(context, code_id_slot(linear), id, fetched_global(context, linear));
}

/* Widens the range of large pages so that it covers this one. */
static void note_large(struct context *context, u64 linear, u64 span)
{
	u64 mask = ~(span - 1);

	if (context->large_all)
		return;
	if (!context->large_mask) {
		context->large_mask = mask;
		context->large_base = linear & mask;
		return;
	}
	mask &= context->large_mask;
	while (mask && ((context->large_base ^ linear) & mask))
		mask <<= 1;
	context->large_mask = mask;
	context->large_base = linear & mask;
	context->large_all = !mask; /* pages in both halves: any flush is a full one */
}

static int translate_now(struct cpu *cpu, u64 linear, unsigned access, struct translation *out)
{
	enum privilege privilege = cpu->context->privilege;

	if (likely(!mmu_translate(cpu, linear, access, privilege == PRIV_USER,
		    privilege == PRIV_SUPERVISOR, out)))
		return 0;
	/* a fault drops what is cached of its address, SDM3 4.10.4.1 and 29.4.3.1 */
	tlb_drop_faulted(cpu, linear);
	return OUTCOME_FAULT;
}

static void put_tlb(struct context *context, unsigned slot, struct tlb_entry entry)
{
	if (tlb_slot_empty(context, slot))
		note_filled(context->tlb_list, &context->tlb_filled, TLB_LIST, slot);
	context->block->tlb[slot] = entry;
}

/* What is in its first slot gives way: to its second, unless that has a page that is in its own first. */
static void make_way(struct context *context, unsigned slot)
{
	const struct tlb_entry *tlb = context->block->tlb;
	u64 page = tlb[slot].read_tag;
	unsigned other = tlb_second(page);

	if (!tlb_slot_empty(context, slot) && tlb_hash(page) == slot &&
		(tlb_slot_empty(context, other) || tlb_hash(tlb[other].read_tag) != other)) {
		struct tlb_entry moved = tlb[slot];

		if (moved.write_tag != page)
			moved.write_tag = no_page(other);
		put_tlb(context, other, moved);
	}
}

/* The page is in its second slot: it comes back to the first, if it may be accessed so; else it goes. */
static bool take_back(struct context *context, unsigned slot, u64 page, unsigned access)
{
	unsigned other = tlb_second(page);
	struct tlb_entry found = context->block->tlb[other];

	if (found.read_tag != page)
		return false;
	clear_tlb_slot(context, other);
	if ((access & ACCESS_WRITE) && found.write_tag != page)
		return false;
	if (found.write_tag != page)
		found.write_tag = no_page(slot);
	make_way(context, slot);
	put_tlb(context, slot, found);
	return true;
}

int tlb_fill(struct cpu *cpu, u64 linear, unsigned access, u8 **host, u64 *gpa)
{
	struct context *context = cpu->context;
	unsigned slot = tlb_hash(linear);
	struct tlb_entry *entry = &context->block->tlb[slot];
	struct tlb_entry filled;
	struct translation translation;
	struct space_hit hit;
	struct ram *ram;

	if (take_back(context, slot, linear & PAGE_MASK, access)) {
		*gpa = (entry->gpa & PAGE_MASK) | (linear & (PAGE_SIZE - 1));
		*host = (u8 *)entry->host + (linear & (PAGE_SIZE - 1));
		return 0;
	}
	if (translate_now(cpu, linear, access, &translation))
		return OUTCOME_FAULT;
	*gpa = translation.gpa;
	*host = NULL;
	if (tlb_apic_access(cpu, translation.gpa))
		return 0;
	hit = space_find(cpu->memory, translation.gpa & PAGE_MASK);
	if (!hit.host || hit.contiguous < PAGE_SIZE)
		return 0;
	*host = hit.host + (linear & (PAGE_SIZE - 1));
	if (cpu_watching(cpu) && cpu_watches_page(cpu, linear))
		return 0;
	cpu->stats.tlb_fills++;
	ram = space_ram(cpu->memory);
	if (translation.span > PAGE_SIZE)
		note_large(context, linear, translation.span);
	filled = (struct tlb_entry){ .read_tag = linear & PAGE_MASK, .write_tag = no_page(slot),
		.host = (u64)hit.host, .gpa = (translation.gpa & PAGE_MASK) | translation.global };
	if (access & ACCESS_WRITE && !hit.read_only)
		dirty_note(ram, hit.ram_offset, 1);
	if (translation.writable && !hit.read_only && dirty_noted(ram, hit.ram_offset) &&
		!ram_is_watched(ram, hit.ram_offset))
		filled.write_tag = filled.read_tag;
	if (entry->read_tag != filled.read_tag)
		make_way(context, slot);
	put_tlb(context, slot, filled);
	*host = hit.host + (linear & (PAGE_SIZE - 1));
	return 0;
}

int tlb_fetch(struct cpu *cpu, u64 linear, u8 **host)
{
	struct exec_entry *exec = &cpu->context->exec[(linear >> PAGE_SHIFT) % EXEC_ENTRIES];
	struct translation translation;
	struct space_hit hit;

	if (exec->linear == (linear & PAGE_MASK)) {
		*host = exec->host + (linear & (PAGE_SIZE - 1));
		return 0;
	}
	if (translate_now(cpu, linear, ACCESS_EXEC, &translation))
		return OUTCOME_FAULT;
	*host = NULL;
	hit = space_find(cpu->memory, translation.gpa & PAGE_MASK);
	if (!hit.host || hit.contiguous < PAGE_SIZE)
		return 0;
	if (translation.span > PAGE_SIZE)
		note_large(cpu->context, linear, translation.span);
	exec->linear = linear & PAGE_MASK;
	exec->host = hit.host;
	exec->global = translation.global;
	*host = hit.host + (linear & (PAGE_SIZE - 1));
	return 0;
}
