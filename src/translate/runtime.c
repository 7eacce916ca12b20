/* SPDX-License-Identifier: MIT */
/*
 * What translated code calls, and the way from any RIP to code that runs. All of it runs while
 * the guest's vector registers may be in the host's: built without them, libc only after
 * cpu_park_fpu(). How boundaries and events go together is told at the top of cpu/event.c.
 */
#include "cpu/tlb.h"
#include "cpu/trail.h"
#include "translate/runtime.h"

#define MXCSR_MM BIT(17)

_Static_assert(CPU_OFFSET(gpr) == (u32)(CPU_GPR), "entry.h");
_Static_assert(CPU_OFFSET(scratch) == (u32)(CPU_SCRATCH), "entry.h");
_Static_assert(CPU_OFFSET(aflags) == (u32)(CPU_AFLAGS), "entry.h");
_Static_assert(CPU_OFFSET(host_rsp) == (u32)(CPU_HOST_RSP), "entry.h");
_Static_assert(CPU_OFFSET(self) == (u32)(CPU_SELF), "entry.h");
_Static_assert(CPU_OFFSET(stray_rsp) == (u32)(CPU_STRAY_RSP), "entry.h");
_Static_assert(CPU_OFFSET(stray_rip) == (u32)(CPU_STRAY_RIP), "entry.h");
_Static_assert(CPU_OFFSET(exit_request) == (u32)(CPU_EXIT_REQUEST), "entry.h");
_Static_assert(JUMP_WAYS == 4 && CONTEXT_OFFSET(jump) == CONTEXT_JUMP, "entry.h");
_Static_assert(CPU_DISTANCE == CPU_BASE, "entry.h");
_Static_assert(TLB_BITS == CONTEXT_TLB_BITS && sizeof(struct tlb_entry) == 1 << ENTRY_SIZE_LOG, "entry.h");
_Static_assert(CONTEXT_OFFSET(tlb) == 0 && offsetof(struct tlb_entry, host) == ENTRY_HOST, "entry.h");
_Static_assert(offsetof(struct site, way) == SITE_WAY && offsetof(struct site, last) == SITE_LAST &&
	offsetof(struct site, tag) == SITE_TAG, "entry.h");
_Static_assert((JUMP_SLOTS - JUMP_WAYS) * sizeof(struct jump_entry) == CONTEXT_JUMP_MASK, "entry.h");

static u64 code_at(const struct engine *engine, u32 offset)
{
	return (u64)engine->cache.rx + offset;
}

static void enter_context(struct cpu *cpu)
{
	if (cpu->context_stale)
		tlb_select(cpu);
	if (cpu->gs_context != cpu->context)
		set_gs(cpu->engine, cpu->context);
	if (unlikely(cpu->fpu_parked))
		cpu_unpark_fpu(cpu);
}

static u64 code_base(const struct cpu *cpu)
{
	return cpu->mode & MODE_CODE64 ? 0 : cpu->seg[CS].base;
}

static u64 linear_rip(const struct cpu *cpu)
{
	return cpu->mode & MODE_CODE64 ? cpu->rip : (u32)(cpu->seg[CS].base + cpu->rip);
}

static u64 rip_of(const struct cpu *cpu, u64 linear)
{
	return cpu->mode & MODE_CODE64 ? linear : (u32)(linear - code_base(cpu));
}

/* How far a segment can be accessed without asking; see struct cpu. APM2 4.12, 4.8. */
static void refresh_segment_ends(struct cpu *cpu)
{
	for (unsigned i = ES; i <= GS; i++) {
		const struct segment *seg = &cpu->seg[i];
		u64 end = (u64)seg->limit + 1;
		bool present = (seg->attr & (SEG_P | SEG_S)) == (SEG_P | SEG_S);
		bool code = seg->attr & SEG_CODE;
		bool plain_data = !code && !(seg->attr & SEG_EXPAND_DOWN);

		cpu->seg_read_end[i] =
			present && (plain_data || (code && seg->attr & SEG_READABLE)) ? end : 0;
		cpu->seg_write_end[i] =
			present && plain_data && (seg->attr & SEG_WRITABLE) ? end : 0;
	}
}

void engine_drop_ram_page(struct engine *engine, u64 page)
{
	struct ram *ram = space_ram(engine->cpu->memory);
	struct code_cache *cache = &engine->cache;

	for (u32 id = cache->page_ids[page]; id; id = cache->code_pages[id].next)
		tlb_forget_code_id(engine->cpu, cache->code_pages[id].linear, id);
	cache->page_ids[page] = 0;
	cache_drop_page(&engine->cache, page, RUNTIME(RT_FAR));
	engine->dropped++;
	__atomic_fetch_and(&ram->page_flags[page], (u8)~RAM_HAS_CODE, __ATOMIC_SEQ_CST);
}

/* The vCPU itself stored to a page that is watched. */
static void own_watched_written(struct cpu *cpu, u64 ram_offset, unsigned len)
{
	const struct ram *ram = space_ram(cpu->memory);
	u64 last = (ram_offset + (len ? len - 1 : 0)) >> PAGE_SHIFT;

	for (u64 page = ram_offset >> PAGE_SHIFT; page <= last; page++) {
		trail_page_written(cpu, page);
		if (ram->page_flags[page] & RAM_HAS_CODE)
			engine_drop_ram_page(cpu->engine, page);
	}
}

void engine_attach(struct engine *engine)
{
	struct cpu *cpu = engine->cpu;

	cpu->watched_page_written = own_watched_written;
	cpu->runtime[RT_FAR] = (u64)engine_far;
	cpu->runtime[RT_CHAIN] = (u64)engine_chain;
	cpu->runtime[RT_ACCESS] = (u64)engine_access;
	cpu->runtime[RT_SECOND] = (u64)engine_second;
	cpu->runtime[RT_EXEC] = (u64)engine_exec;
	cpu->runtime[RT_COMMIT] = (u64)engine_commit;
	cpu->runtime[RT_LINK] = (u64)engine_link;
	cpu->runtime[RT_BRANCH] = (u64)engine_branch;
	cpu->runtime[RT_MISS] = (u64)engine_miss;
	cpu->runtime[RT_BRANCH_MISS] = (u64)engine_branch_miss;
	cpu->runtime[RT_JUMP] = (u64)engine_jump;
	cpu->runtime[RT_JUMP_FLAGS] = (u64)engine_jump_flags;
}

/* Code pages that others changed: their translations go. */
static void drain_drops(struct engine *engine)
{
	while (__atomic_exchange_n(&engine->drop_lock, 1, __ATOMIC_ACQUIRE))
		__builtin_ia32_pause();
	if (engine->drop_all) {
		struct ram *ram = space_ram(engine->cpu->memory);

		for (u32 i = 0; i < engine->cache.block_count; i++) {
			struct block *block = cache_block(&engine->cache, engine->cache.blocks[i]);

			__atomic_fetch_and(&ram->page_flags[block->page], (u8)~RAM_HAS_CODE,
				__ATOMIC_SEQ_CST);
		}
		cache_reset(&engine->cache);
		engine->generation++;
		tlb_flush_jumps(engine->cpu);
	} else {
		for (u32 i = 0; i < engine->drop_count; i++)
			engine_drop_ram_page(engine, engine->drops[i]);
	}
	engine->drop_all = false;
	engine->drop_count = 0;
	__atomic_store_n(&engine->drop_lock, 0, __ATOMIC_RELEASE);
}

/* The block for a key; translates. NULL: a fault was recorded. */
static struct block *block_for(struct cpu *cpu, u8 *host, u64 linear, u32 mode)
{
	struct engine *engine = cpu->engine;
	struct ram *ram = space_ram(cpu->memory);
	u64 at = host - ram->host;
	u32 page = at >> PAGE_SHIFT;
	u16 offset = at & (PAGE_SIZE - 1);
	struct block *block = cache_find(&engine->cache, page, offset, mode,
		mode_is_fixed(mode) ? linear & PAGE_MASK : 0);
	bool fault;

	/* One that crosses belongs to this second page only as long as it is mapped behind. */
	if (block && block->page2 != NO_PAGE) {
		u8 *second;
		u64 next;

		if (next_code_page(cpu, linear, &next) || tlb_fetch(cpu, next, &second))
			return NULL;
		if (!second || (u64)(second - ram->host) >> PAGE_SHIFT != block->page2) {
			engine_drop_ram_page(engine, page);
			block = NULL;
		}
	}
	if (block)
		return block;
	cpu_park_fpu(cpu);
	block = translate(engine->translator, cpu, page, offset, mode, linear, &fault);
	if (block || fault)
		return block;
	cache_reset(&engine->cache);
	tlb_flush_jumps(cpu);
	engine->generation++;
	return translate(engine->translator, cpu, page, offset, mode, linear, &fault);
}

/*
 * Looks at events where it must. False: the loop has to act (the VM leaves, the CPU sleeps).
 * *variant: what the next block must be.
 */
static bool boundary(struct cpu *cpu, u32 *variant)
{
	struct engine *engine = cpu->engine;

	if (cpu_must_poll(cpu)) {
		if (machine_is_leaving(cpu->machine))
			return false;
		cpu_poll_events(cpu);
		if (cpu_must_step(cpu))
			*variant |= VARIANT_ONE;
	}
	/* After the poll: it took the exit request that came with these */
	if (unlikely(engine->drop_count || engine->drop_all))
		drain_drops(engine);
	engine_forget_now(engine);
	return cpu->activity == CPU_RUNNING;
}

static struct recent_variant *recent_slot(struct engine *engine, u64 linear)
{
	return &engine->recent[crc_hash(linear) & (RECENT_VARIANTS - 1)];
}

static u64 find_recent(struct cpu *cpu, u64 linear, u32 mode)
{
	const struct recent_variant *recent = recent_slot(cpu->engine, linear);

	return recent->linear == linear && recent->mode == mode && recent->context == cpu->context &&
			       recent->drops == cpu->context->drops &&
			       recent->generation == cpu->engine->generation &&
			       recent->dropped == cpu->engine->dropped ?
		recent->code : 0;
}

static void note_recent(struct cpu *cpu, u64 linear, u32 mode, u64 code)
{
	*recent_slot(cpu->engine, linear) = (struct recent_variant){ .linear = linear, .mode = mode,
		.code = code, .context = cpu->context,
		.drops = cpu->context->drops,
		.generation = cpu->engine->generation, .dropped = cpu->engine->dropped };
}

/* Whether a block's far entry is alive and of this mode. It begins with CMP gs:[mode], imm32, or what is in the
 * context's jump cache is of that mode anyway. */
static bool entry_is_for(u64 code, u32 mode)
{
	const u8 *entry = (const u8 *)code;
	u32 its_mode;

	if (mode_is_fixed(mode))
		return !cache_entry_is_killed(entry);
	copy_bytes(&its_mode, entry + 8, sizeof(its_mode));
	return entry[1] == 0x81 && its_mode == mode;
}

u64 engine_dispatch(struct cpu *cpu, u32 variant)
{
	struct engine *engine = cpu->engine;
	struct block *block;
	u64 linear, code;
	u8 *host;

	for (;;) {
		if (engine->single) {
			/* a variant: the same instruction begins again */
			if (engine->single_done && !variant)
				return 0;
			engine->single_done = true;
			variant |= VARIANT_ONE;
		} else if (!variant && !boundary(cpu, &variant)) {
			return 0;
		}
		if (!(cpu->mode & MODE_CODE64)) {
			refresh_segment_ends(cpu);
			if (cpu->rip > cpu->seg[CS].limit) {
				cpu_fault_code(cpu, VEC_GP, 0);
				goto fault;
			}
		}
		if (cpu->context_stale)
			tlb_select(cpu);
		/* what the host would not check goes through rt_access() */
		if (unlikely(cpu->mode & MODE_ALIGN))
			variant |= VARIANT_SLOW;
		linear = linear_rip(cpu);
		if (variant) {
			code = find_recent(cpu, linear, cpu->mode | variant);
			if (code) {
				cpu->vpage = linear & PAGE_MASK;
				enter_context(cpu);
				return code;
			}
		} else {
			code = tlb_jump(cpu, linear);
			if (code && entry_is_for(code, cpu->mode)) {
				cpu->scratch[0] = linear;
				enter_context(cpu);
				return code;
			}
		}
		if (cpu->mode & MODE_CODE64 && !is_canonical(linear)) {
			cpu_fault_code(cpu, VEC_GP, 0);
			goto fault;
		}
		if (tlb_fetch(cpu, linear, &host))
			goto fault;
		if (!host) {
			/* Nothing that could be fetched: as a bus that answers with all ones. */
			cpu_fault(cpu, VEC_UD);
			goto fault;
		}
		block = block_for(cpu, host, linear, cpu->mode | variant);
		if (!block)
			goto fault;
		enter_context(cpu);
		cpu->stats.jump_misses++;
		if (variant || cpu->mode & MODE_STEP) {
			cpu->vpage = linear & PAGE_MASK;
			code = code_at(engine, block->flags_entry);
			if (variant && block->page2 == NO_PAGE)
				note_recent(cpu, linear, cpu->mode | variant, code);
			return code;
		}
		tlb_add_jump(cpu, linear, code_at(engine, block->far_entry));
		cpu->scratch[0] = linear;
		return code_at(engine, block->far_entry);
fault:
		cpu_deliver_fault(cpu);
		variant = 0;
	}
}

/* The linear page that a running block is in. */
static u64 page_of(const struct cpu *cpu, const struct block *block)
{
	return mode_is_fixed(block->mode) ? block->vpage : cpu->vpage;
}

u64 rt_far(struct cpu *cpu, u64 target)
{
	cpu->rip = rip_of(cpu, target);
	return engine_dispatch(cpu, 0);
}

u64 rt_chain(struct cpu *cpu, struct site *site)
{
	struct engine *engine = cpu->engine;
	struct block *from = cache_block(&engine->cache, site->block), *to;
	u64 linear = page_of(cpu, from) + site->offset;
	u64 generation = engine->generation;
	u8 *host = space_ram(cpu->memory)->host + ((u64)from->page << PAGE_SHIFT) + site->offset;

	cpu->rip = rip_of(cpu, linear);
	if (!from->valid || cpu->exit_request)
		return engine_dispatch(cpu, 0);
	to = block_for(cpu, host, linear, from->mode & 0xffff);
	if (!to) {
		cpu_deliver_fault(cpu);
		return engine_dispatch(cpu, 0);
	}
	if (to->page2 == NO_PAGE && engine->generation == generation) {
		i32 distance = (site->flags_in_host ? to->near_entry : to->flags_entry) -
			       (site->patch + 4);

		copy_bytes(engine->cache.rw + site->patch, &distance, 4);
	}
	enter_context(cpu);
	return code_at(engine, to->flags_entry);
}

/*
 * A store to code that was run costs the CPU hundreds of cycles, whatever it stores; a link that was
 * only forgotten, since its TLB was flushed, needs none.
 */
static void patch(struct engine *engine, u32 offset, u32 value)
{
	u8 *code = engine->cache.rw + offset;
	u32 old;

	copy_bytes(&old, code, sizeof(old));
	if (old != value)
		copy_bytes(code, &value, sizeof(value));
}

u64 rt_link(struct cpu *cpu, struct site *site)
{
	struct engine *engine = cpu->engine;
	struct ram *ram = space_ram(cpu->memory);
	struct block *from = cache_block(&engine->cache, site->block), *to;
	u64 generation = engine->generation, linear = site->target;
	u32 id;
	u8 *host;

	cpu->rip = linear;
	if (!from->valid || cpu->exit_request || cpu->context_stale || !is_canonical(linear) ||
		tlb_fetch(cpu, linear, &host) || !host)
		return engine_dispatch(cpu, 0);
	to = block_for(cpu, host, linear, from->mode & 0xffff);
	if (!to || to->page2 != NO_PAGE || engine->generation != generation)
		return engine_dispatch(cpu, 0);
	id = cache_code_id(&engine->cache, (u64)(host - ram->host) >> PAGE_SHIFT,
		linear & PAGE_MASK);
	if (id) {
		i32 distance = to->flags_entry - (site->patch + 4);

		tlb_set_code_id(cpu, linear, id);
		patch(engine, site->patch, (u32)distance);
		patch(engine, site->patch_id, id);
	}
	enter_context(cpu);
	return code_at(engine, to->flags_entry);
}

static u64 deliver(struct cpu *cpu)
{
	cpu_deliver_fault(cpu);
	return engine_dispatch(cpu, 0);
}

/* MXCSR.MM: AMD's misaligned mode, APM1 4.3.2; nowhere else may the bit be set. */
static bool misaligned_mode(const struct cpu *cpu)
{
	u32 mxcsr;

	if (cpu->fpu_parked)
		copy_bytes(&mxcsr, cpu->fpu_area + 24, 4);
	else
		__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
	return mxcsr & MXCSR_MM;
}

/* FSW.ES: an unmasked x87 exception waits for the next x87 instruction. */
static bool x87_pending(const struct cpu *cpu)
{
	u16 fsw;

	if (cpu->fpu_parked)
		copy_bytes(&fsw, cpu->fpu_area + 2, 2);
	else
		__asm__ volatile("fnstsw %0" : "=m"(fsw));
	return fsw & 0x80;
}

/*
 * What an operand's address must be a multiple of under MODE_ALIGN: APM2 table 8-7. Intel's vector
 * operands of more than eight bytes are not checked, as SDM3 6.15 lets them, interrupt 17.
 */
static unsigned natural_alignment(const struct cpu *cpu, unsigned size)
{
	if (size & (size - 1)) /* x87's 80 bits; all others have a handler in C */
		return 8;
	if (size > 8 && cpu_is_intel(cpu))
		return 1;
	return MIN(size, 16u);
}

/* A linear address from the operand's offset, with the checks the inline code left to C. */
static int site_linear(struct cpu *cpu, const struct site *site, u64 address, u64 *linear)
{
	*linear = site->is_offset ? (u32)(cpu->seg[site->seg].base + address) : address;
	/* before limits and the page are looked at, APM2 table 8-8 leaves that to the CPU */
	if (site->align && *linear & (site->align - 1u) &&
		!(site->align_waived && misaligned_mode(cpu)))
		return cpu_fault_code(cpu, VEC_GP, 0);
	if (site->is_offset)
		return cpu_linear(cpu, site->seg, address, site->size, site->write, linear);
	/* canonical; of a flat segment: within 4 GiB */
	if (cpu->mode & MODE_CODE64 ? !is_canonical(address) || !is_canonical(address + site->size - 1)
				    : address + site->size - 1 > 0xffffffff)
		return cpu_fault_code(cpu, site->seg == SS ? VEC_SS : VEC_GP, 0);
	return 0;
}

/* What the inline check of the whole operand did not pass: only its elements count. */
static u64 access_masked(struct cpu *cpu, struct site *site, struct block *block, u64 address)
{
	struct engine *engine = cpu->engine;
	const struct insn *insn = (const struct insn *)(site + 1);

	if (!(block->mode & VARIANT_SLOW))
		return engine_dispatch(cpu, VARIANT_SLOW);
	if (cpu_access_begin_masked(cpu, &engine->access, insn, address, site->is_offset, site->align,
		    site->write ? ACCESS_WRITE : ACCESS_READ))
		return deliver(cpu);
	cpu->scratch[0] = (u64)engine->access.host;
	enter_context(cpu);
	return code_at(engine, site->resume);
}

u64 rt_access(struct cpu *cpu, struct site *site, u64 address)
{
	struct engine *engine = cpu->engine;
	struct block *block = cache_block(&engine->cache, site->block);
	unsigned kind = site->write ? ACCESS_WRITE : ACCESS_READ;
	u64 linear, gpa;
	u8 *host;

	cpu->stats.slow_accesses++;
	address += site->delta;
	cpu->rip = rip_of(cpu, page_of(cpu, block) + site->offset);
	if (site->waits && x87_pending(cpu)) {
		cpu_fault(cpu, VEC_MF);
		return deliver(cpu);
	}
	if (site->masked)
		return access_masked(cpu, site, block, address);
	if (site_linear(cpu, site, address, &linear) ||
	    (!site->any_alignment &&
		    cpu_check_aligned(cpu, linear, natural_alignment(cpu, site->size))))
		return deliver(cpu);
	if (cpu_watching(cpu)) {
		if (site->read)
			cpu_watch_data(cpu, linear, site->size, false);
		if (site->write)
			cpu_watch_data(cpu, linear, site->size, true);
	}
	if (block->mode & VARIANT_SLOW) {
		if (site->write && site->read)
			kind |= ACCESS_MODIFY;
		if (cpu_access_begin(cpu, &engine->access, linear, site->size, kind))
			return deliver(cpu);
		cpu->scratch[0] = (u64)engine->access.host;
		enter_context(cpu);
		return code_at(engine, site->resume);
	}
	if ((linear & (PAGE_SIZE - 1)) + site->size > PAGE_SIZE)
		return engine_dispatch(cpu, VARIANT_SLOW);
	/* the others of its group: all in the page, and writable where one writes? The first can be told without a
	 * walk, and kernels have structures that lie across a page's end. */
	if (site->group_size && ((linear - site->delta) & (PAGE_SIZE - 1)) + site->group_size > PAGE_SIZE)
		return engine_dispatch(cpu, VARIANT_UNGROUPED);
	if (tlb_fill(cpu, linear, kind, &host, &gpa))
		return deliver(cpu);
	if (!host || (site->write && !tlb_write_hit(cpu, linear, site->size)))
		return engine_dispatch(cpu, VARIANT_SLOW);
	if (site->group_write && !tlb_write_hit(cpu, linear - site->delta, site->group_size))
		return engine_dispatch(cpu, VARIANT_UNGROUPED);
	cpu->scratch[0] = (u64)host - site->delta;
	return code_at(engine, site->resume);
}

u64 rt_commit(struct cpu *cpu, struct site *site)
{
	struct engine *engine = cpu->engine;

	cpu_access_commit(cpu, &engine->access);
	enter_context(cpu);
	return code_at(engine, site->resume);
}

/* An indirect branch whose target the jump cache does not know; it may be none. APM3 RET, JMP. */
u64 rt_branch(struct cpu *cpu, struct site *site, u64 target)
{
	struct block *block = cache_block(&cpu->engine->cache, site->block);

	if (is_canonical(target))
		return rt_far(cpu, target);
	cpu->rip = page_of(cpu, block) + site->offset;
	cpu->gpr[RSP] -= site->patch;
	cpu_fault_code(cpu, VEC_GP, 0);
	return deliver(cpu);
}

/*
 * Whether the block may go on is told without a look at it: kernels come here hundreds of times in a timer
 * tick, each time to a place that the host's caches have forgotten.
 */
u64 rt_exec(struct cpu *cpu, struct site *site)
{
	struct engine *engine = cpu->engine;
	const struct insn *insn = (const struct insn *)(site + 1);
	u64 dropped = engine->dropped;
	u32 mode = cpu->mode;

	cpu->rip = site->fixed ? site->target : rip_of(cpu, cpu->vpage + site->offset);
	switch (cpu_exec(cpu, insn)) {
	case OUTCOME_NEXT:
		if (!site->ends_block && cpu->mode == mode && engine->dropped == dropped) {
			enter_context(cpu);
			return code_at(engine, site->resume);
		}
		cpu->rip += insn->len;
		/* 16-bit code ends at CS's limit, not at 64 KiB: its branches alone cut EIP short */
		if (insn->code_size != 8)
			cpu->rip = (u32)cpu->rip;
		break;
	case OUTCOME_FAULT:
		cpu_deliver_fault(cpu);
		break;
	}
	return engine_dispatch(cpu, 0);
}

u64 rt_native_fault(struct cpu *cpu)
{
	return deliver(cpu);
}

static void account_awake(struct cpu *cpu)
{
	cpu_account(cpu, cpu->in_guest ? LEVEL_GUEST : LEVEL_HOST);
}

/* A CPU that does not execute: sleeps until something happens. */
static void rest(struct cpu *cpu)
{
	cpu_park_fpu(cpu);
	if (cpu->activity == CPU_SHUTDOWN && !cpu_has_wakeup(cpu)) {
		machine_cpu_shutdown(cpu);
		return;
	}
	if (!cpu_has_wakeup(cpu)) {
		account_awake(cpu);
		machine_wait(cpu);
		cpu_account(cpu, LEVEL_ASLEEP);
	}
	cpu_poll_events(cpu);
}

void engine_loop(struct engine *engine)
{
	struct cpu *cpu = engine->cpu;

	cpu->stats.level_since = __builtin_ia32_rdtsc();
	while (!machine_is_leaving(cpu->machine)) {
		u64 code;

		if (cpu->activity != CPU_RUNNING) {
			rest(cpu);
			engine_forget_now(engine);
			continue;
		}
		code = engine_dispatch(cpu, 0);
		if (code)
			engine_enter(cpu, code);
	}
	account_awake(cpu);
	cpu_park_fpu(cpu);
}

void engine_one(struct engine *engine)
{
	struct cpu *cpu = engine->cpu;
	u64 code;

	engine->single = true;
	engine->single_done = false;
	code = engine_dispatch(cpu, 0);
	if (code)
		engine_enter(cpu, code);
	engine->single = false;
	cpu_park_fpu(cpu);
}
