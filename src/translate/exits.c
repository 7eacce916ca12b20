/* SPDX-License-Identifier: MIT */
/*
 * Ways out of a block, and all that stands out of line: behind it or aside.
 *
 * Within the page a jump is chained: it first leads to rt_chain(), which translates the target
 * and patches the jump. A chained jump backward looks for events, so that no loop can hold them
 * off. To other pages a jump is linked, or goes through the context's jump cache, which is as good as
 * the TLB: it is flushed with it. Events are looked for there too.
 */
#include "translate/translate.h"

#define JUMP_OFFSET CONTEXT_OFFSET(jump)
#define CODE_IDS_OFFSET CONTEXT_OFFSET(code_ids)

void emit_page_address(struct translator *t, unsigned reg, i64 offset)
{
	struct emitter *e = &t->e;

	if (reg == R11)
		release_r11(t);
	if (t->fixed) {
		mov_imm64(e, reg, t->vpage + offset);
		return;
	}
	load_gs(e, reg, CPU_OFFSET(vpage));
	while (offset) {
		i64 step = MAX(MIN(offset, (i64)INT32_MAX), (i64)INT32_MIN);

		lea(e, t->code64, reg, reg, step);
		offset -= step;
	}
}

static void add_miss(struct translator *t, u8 *jump)
{
	if (t->miss_count == ARRAY_SIZE(t->misses))
		t->e.overflow = true;
	else
		t->misses[t->miss_count++] = jump;
}

void emit_taken(struct translator *t)
{
	if (t->mode & MODE_STEP)
		mov_gs_imm32(&t->e, CPU_OFFSET(branched), 1);
}

void emit_far(struct translator *t)
{
	struct emitter *e = &t->e;

	flags_save(t);
	if (t->mode & (VARIANT_ONE | VARIANT_SLOW | MODE_STEP)) {
		jmp_gs(e, RUNTIME(RT_FAR));
		return;
	}
	cmp_gs_imm8(e, CPU_OFFSET(exit_request), 0);
	add_miss(t, jcc_rel32(e, CC_NE));
	/* jump_hash() of cpu/tlb_inline.h, as an offset */
	put_rr(e, false, 0x31, R10, R10);
	put8(e, 0xf2); /* crc32 r10, r11 */
	put8(e, 0x4d);
	put8(e, 0x0f);
	put8(e, 0x38);
	put8(e, 0xf1);
	put8(e, 0xd3);
	and_imm32(e, R10, CONTEXT_JUMP_MASK);
	put_gs_r10(e, 0x3b, R11, JUMP_OFFSET + offsetof(struct jump_entry, target));
	add_miss(t, jcc_rel32(e, CC_NE));
	put8(e, 0x65); /* jmp gs:[r10 + code] */
	put8(e, 0x41);
	put8(e, 0xff);
	put8(e, 0xa2);
	put32(e, JUMP_OFFSET + offsetof(struct jump_entry, code));
}

/* To C with the target of an indirect branch in R11, by RT_BRANCH or RT_BRANCH_MISS. */
static void emit_branch_out(struct translator *t, unsigned runtime)
{
	struct site *site = emit_site(t, t->count - 1, NULL);

	site->patch = t->branch_undo;
	jmp_gs(&t->e, RUNTIME(runtime));
}

/*
 * Supervisor code looks into the jump cache by a piece of code that all of it shares: it is run too rarely to
 * have a hundred bytes of its own in the host's caches for each RET.
 */
void emit_branch(struct translator *t, u32 undo)
{
	bool in_host = t->flags_in_host;

	t->branch = t->code64;
	t->branch_undo = undo;
	if (t->branch && t->mode & (VARIANT_ONE | VARIANT_SLOW | MODE_STEP)) {
		flags_save(t);
		emit_branch_out(t, RT_BRANCH);
	} else if (t->fixed) {
		t->flags_in_host = false;
		emit_branch_out(t, in_host ? RT_JUMP_FLAGS : RT_JUMP);
	} else {
		emit_far(t);
	}
}

void emit_branch_check(struct translator *t, u32 target)
{
	struct emitter *e = &t->e;

	if (!t->code64)
		return;
	flags_save(t);
	load_gs(e, R10, target);
	shift_imm(e, true, 7, R10, 47);
	lea(e, true, R10, R10, 1);
	cmp_imm32(e, R10, 1);
	t->not_canonical = jcc_rel32(e, CC_A);
	t->not_canonical_target = target;
}

static bool in_page(i64 target)
{
	return target >= 0 && target < (i64)PAGE_SIZE;
}

/* Whether the instruction there reaches into the next page, or may. */
static bool may_cross(const struct translator *t, i64 target)
{
	struct guest_insn g;

	if (target + (i64)sizeof(g.insn.bytes) <= (i64)PAGE_SIZE)
		return false;
	return target < t->page_from || target >= t->page_to ||
	       decode_guest(t->cpu, t->mode & 0xffff, t->page_bytes + (target - t->page_from),
		       t->page_to - target, &g) < 0 ||
	       target + g.insn.len > (i64)PAGE_SIZE;
}

/*
 * A jump there can be chained. A block that crosses cannot be entered so: what is behind its page
 * may have changed.
 */
static bool is_near(const struct translator *t, i64 target)
{
	return in_page(target) && !(t->mode & (VARIANT_ONE | VARIANT_SLOW | MODE_STEP)) &&
	       t->block->page2 == NO_PAGE && !may_cross(t, target);
}

static struct pending_exit *new_exit(struct translator *t, u8 *jump, i64 target)
{
	struct pending_exit *out = &t->exits[t->exit_count];

	if (t->exit_count == MAX_EXITS) {
		t->e.overflow = true;
		out = &t->exits[0];
	} else {
		t->exit_count++;
	}
	*out = (struct pending_exit){
		.jump = jump, .target = target, .flags_in_host = t->flags_in_host };
	return out;
}

/* How many instructions are looked at: loops that compute with vectors touch flags late. */
#define FLAGS_AHEAD 10

/* The target's first instructions overwrite all flags before anyone could read them. */
static bool flags_dead_at(struct translator *t, i64 target)
{
	u32 unknown = RFLAGS_ARITH;
	struct guest_insn g;

	for (unsigned n = 0; n < FLAGS_AHEAD; n++) {
		if (target < t->page_from || target >= t->page_to)
			return false;
		if (decode_guest(t->cpu, t->mode & 0xffff, t->page_bytes + (target - t->page_from),
			    t->page_to - target, &g) < 0)
			return false;
		if (g.flags_read & unknown || g.ends_block || g.kind == KIND_EXEC)
			return false;
		unknown &= ~g.flags_written;
		if (!unknown)
			return true;
		target += g.insn.len;
	}
	return false;
}

/* A chained jump backward: leaves when an event waits. */
static void emit_poll(struct translator *t, i64 target)
{
	struct emitter *e = &t->e;
	struct pending_exit *leave;

	if (!t->flags_in_host || flags_dead_at(t, target)) {
		cmp_gs_imm8(e, CPU_OFFSET(exit_request), 0);
		leave = new_exit(t, jcc_rel32(e, CC_NE), target);
	} else {
		u8 *skip;

		/* no flag may change: JRCXZ */
		store_gs(e, RCX, SCRATCH(3));
		load_gs32(e, RCX, CPU_OFFSET(exit_request));
		put8(e, 0xe3);
		put8(e, 0);
		skip = e->at;
		load_gs(e, RCX, SCRATCH(3));
		leave = new_exit(t, jmp_rel32(e), target);
		if (!e->overflow)
			skip[-1] = e->at - skip;
		load_gs(e, RCX, SCRATCH(3));
	}
	leave->leave = true;
}

static void emit_chain(struct translator *t, u8 *jump, i64 target)
{
	struct emitter *e = &t->e;
	struct site *site;
	bool in_host = t->flags_in_host;

	flags_save(t);
	site = emit_site(t, 0, NULL);
	jmp_gs(e, RUNTIME(RT_CHAIN));
	site->offset = target;
	site->patch = cache_offset(t, jump);
	site->flags_in_host = in_host;
}

/*
 * To another page, or to what is not near, at a known distance. A fixed block knows the target: the
 * jump is linked by rt_link() and holds as long as the page there has the number it was linked with.
 * Only jumps backward look for events, as within a page: whatever runs forever makes them, or indirect
 * ones.
 */
static void emit_far_to(struct translator *t, i64 target)
{
	struct emitter *e = &t->e;
	u64 linear = t->vpage + target;
	struct pending_exit *link;
	u32 id_at, jump;

	flags_save(t);
	if (!t->fixed || t->block->page2 != NO_PAGE || in_page(target) ||
		t->mode & (VARIANT_ONE | VARIANT_SLOW | MODE_STEP)) {
		emit_page_address(t, R11, target);
		emit_far(t);
		return;
	}
	if (target < 0) {
		cmp_gs_imm8(e, CPU_OFFSET(exit_request), 0);
		new_exit(t, jcc_rel32(e, CC_NE), target)->leave = true;
	}
	cmp_gs_imm32(e, CODE_IDS_OFFSET + code_id_slot(linear) * sizeof(u32), ~0u);
	id_at = cache_offset(t, e->at - 4);
	jump = cache_offset(t, jcc_rel32(e, CC_E));
	link = new_exit(t, jmp_rel32(e), target);
	link->link_id = id_at;
	link->link_jump = jump;
}

void emit_exit(struct translator *t, i64 target)
{
	struct emitter *e = &t->e;

	if (!is_near(t, target)) {
		emit_far_to(t, target);
		return;
	}
	if (t->count && target <= t->insns[t->count - 1].offset)
		emit_poll(t, target);
	new_exit(t, jmp_rel32(e), target);
}

void emit_side_exit(struct translator *t, u8 *jump, i64 target, i64 from)
{
	struct pending_exit *out = new_exit(t, jump, target);

	out->poll = is_near(t, target) && target <= from;
	out->taken = true;
}

bool emit_jump_back(struct translator *t, unsigned condition, i64 target, i64 from)
{
	struct emitter *e = &t->e;
	bool own = target == t->insns[0].offset;
	u8 *skip, *back;

	if (target > from || !is_near(t, target) || (own ? t->live_in[0] : !flags_dead_at(t, target)))
		return false;
	skip = jcc_rel8(e, condition ^ 1);
	cmp_gs_imm8(e, CPU_OFFSET(exit_request), 0);
	back = jcc_rel32(e, CC_E);
	if (!own)
		new_exit(t, back, target);
	else if (!e->overflow)
		patch_rel32(back, t->cache->rw + t->block->near_entry);
	new_exit(t, jmp_rel32(e), target)->leave = true;
	patch_rel8(e, skip);
	return true;
}

static void place_exit(struct translator *t, struct pending_exit out)
{
	struct emitter *e = &t->e;

	if (!e->overflow)
		patch_rel32(out.jump, e->at);
	t->flags_in_host = out.flags_in_host;
	if (out.taken)
		emit_taken(t);
	if (out.link_jump) {
		struct site *site = emit_site(t, 0, NULL);

		site->target = t->vpage + out.target;
		site->patch = out.link_jump;
		site->patch_id = out.link_id;
		jmp_gs(e, RUNTIME(RT_LINK));
	} else if (out.leave) {
		flags_save(t);
		emit_page_address(t, R11, out.target);
		jmp_gs(e, RUNTIME(RT_FAR));
	} else if (!is_near(t, out.target)) {
		emit_far_to(t, out.target);
	} else if (out.poll) {
		emit_poll(t, out.target);
		t->flags_in_host = out.flags_in_host;
		new_exit(t, jmp_rel32(e), out.target);
	} else {
		emit_chain(t, out.jump, out.target);
	}
}

static void place_access(struct translator *t, struct pending_access *access)
{
	struct emitter *e = &t->e;
	struct site *site;

	if (!e->overflow)
		patch_rel32(access->jump, e->at);
	if (access->has_tag)
		put_gs_r10(e, 0x03, R11, CONTEXT_OFFSET(tlb) +
			(access->write ? offsetof(struct tlb_entry, write_tag)
				       : offsetof(struct tlb_entry, read_tag)));
	else if (access->has_constant)
		mov_imm64(e, R11, access->constant);
	site = emit_site(t, 0, NULL);
	*site = access->site;
	jmp_gs(e, RUNTIME(access->has_tag || access->has_constant ? RT_SECOND : RT_ACCESS));
}

void leave_to_c(struct translator *t, unsigned i, u8 *jump, u8 *other)
{
	t->execs[t->exec_count++] = (struct pending_exec){ .jumps = { jump, other }, .insn = i,
		.resume = cache_offset(t, t->e.at) };
}

static void place_exec(struct translator *t, const struct pending_exec *exec)
{
	struct emitter *e = &t->e;
	struct site *site;

	for (unsigned n = 0; n < ARRAY_SIZE(exec->jumps); n++)
		if (exec->jumps[n] && !e->overflow)
			patch_rel32(exec->jumps[n], e->at);
	site = emit_site(t, exec->insn, &t->insns[exec->insn].insn);
	site->resume = exec->resume;
	jmp_gs(e, RUNTIME(RT_EXEC));
}

static void emit_misses(struct translator *t)
{
	struct emitter *e = &t->e;

	if (t->miss_count) {
		for (unsigned i = 0; i < t->miss_count && !e->overflow; i++)
			patch_rel32(t->misses[i], e->at);
		if (t->branch)
			emit_branch_out(t, RT_BRANCH_MISS);
		else
			jmp_gs(e, RUNTIME(RT_MISS));
	}
	if (t->not_canonical) {
		if (!e->overflow)
			patch_rel32(t->not_canonical, e->at);
		load_gs(e, R11, t->not_canonical_target);
		emit_branch_out(t, RT_BRANCH);
	}
	if (t->wrong_mode) {
		if (!e->overflow)
			patch_rel32(t->wrong_mode, e->at);
		jmp_gs(e, RUNTIME(RT_FAR));
	}
	if (t->fixed) {
		/* of which nobody has put the target into R11 */
		t->block->far_out = cache_offset(t, e->at);
		emit_page_address(t, R11, t->block->offset);
		jmp_gs(e, RUNTIME(RT_FAR));
	}
}

/* From number `first` on. */
static void emit_sites(struct translator *t, unsigned first)
{
	struct emitter *e = &t->e;

	for (unsigned i = first; i < t->site_count; i++) {
		struct pending_site *pending = &t->sites[i];

		align8(e);
		if (e->overflow || e->at + sizeof(struct site) + sizeof(struct insn) > e->end) {
			e->overflow = true;
			return;
		}
		patch_rel32(pending->lea, e->at);
		pending->site.way = (i32)(pending->site.resume - cache_offset(t, e->at));
		put_bytes(e, &pending->site, sizeof(struct site));
		if (pending->insn)
			put_bytes(e, pending->insn, sizeof(struct insn));
	}
}

/* Code that is run though it is out of line: what a branch that is taken goes through each time. */
static bool is_often_run(const struct translator *t, const struct pending_exit *out)
{
	return !out->leave && !out->link_jump && (out->poll || !is_near(t, out->target));
}

void emit_pending(struct translator *t)
{
	unsigned sites;
	bool overflow;

	/* Exits may add exits, to be placed aside: the leaving side of a poll, the jump behind it. */
	for (unsigned i = 0, count = t->exit_count; i < count; i++) {
		if (is_often_run(t, &t->exits[i])) {
			t->exits[i].placed = true;
			place_exit(t, t->exits[i]);
		}
	}
	while (cache_offset(t, t->e.at) - t->block->far_entry < KILLED_ENTRY && !t->e.overflow)
		put8(&t->e, 0xcc);
	t->block->code_end = cache_offset(t, t->e.at);
	overflow = t->e.overflow;
	t->e = t->aside;
	t->e.overflow |= overflow;
	/* with the block's head, the part that is looked at each time */
	emit_sites(t, 0);
	sites = t->site_count;
	t->aside_begin = cache_offset(t, t->e.at);
	for (unsigned i = 0; i < t->access_count; i++)
		place_access(t, &t->accesses[i]);
	for (unsigned i = 0; i < t->exec_count; i++)
		place_exec(t, &t->execs[i]);
	for (unsigned i = 0; i < t->exit_count; i++)
		if (!t->exits[i].placed)
			place_exit(t, t->exits[i]);
	emit_misses(t);
	t->aside_end = cache_offset(t, t->e.at);
	emit_sites(t, sites);
	align8(&t->e);
}
