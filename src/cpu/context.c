/* SPDX-License-Identifier: MIT */
/*
 * The pool of contexts and what their translations are tagged with: selection, replacement, and
 * flushes by tag. See tlb.h; what is in one context is tlb.c's. All of it is the vCPU thread's own.
 *
 * A flush of a whole context that is not the current one only marks it: it is emptied when it is
 * selected again, which between two worlds without VPIDs may be never.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/huge_file.h"
#include "cpu/context.h"
#include "cpu/trail.h"

_Static_assert(sizeof(struct context_block) % PAGE_SIZE == 0, "blocks lie side by side");

#define CPU_SIZE ((sizeof(struct cpu) + PAGE_SIZE - 1) & PAGE_MASK)
#define AREA_SIZE (CPU_DISTANCE + CONTEXTS_SIZE + HUGE_PAGE) /* the last to align the blocks */
#define TRAILS_SIZE (CONTEXTS * TRAIL_ENTRIES * sizeof(struct trail_entry))

_Static_assert(CPU_SIZE <= sizeof(struct context_block), "the vCPU outgrew its place");

/* Zeroes that cost nothing until they are touched; NULL: there are none. */
static void *reserve(u64 size, int access)
{
	void *memory = mmap(NULL, size, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static void release(struct context_pool *pool)
{
	if (pool->area)
		munmap(pool->area, AREA_SIZE);
	if (pool->trails)
		munmap(pool->trails, TRAILS_SIZE);
	free(pool);
}

/*
 * The blocks, and the vCPU's pages below each. What a timer tick touches of TLBs and jump caches is spread
 * over hundreds of small pages, whose translations are in no cache of the host by then.
 */
static int map_contexts(struct context_pool *pool, int fd)
{
	struct context_block *blocks;

	pool->area = reserve(AREA_SIZE, PROT_NONE);
	pool->trails = reserve(TRAILS_SIZE, PROT_READ | PROT_WRITE);
	if (!pool->area || !pool->trails)
		return -ENOMEM;
	blocks = huge_page_from(pool->area + CPU_DISTANCE);
	if (mprotect(blocks, CONTEXTS_SIZE, PROT_READ | PROT_WRITE) < 0)
		return -errno;
	madvise(blocks, CONTEXTS_SIZE, MADV_HUGEPAGE); /* without them it works too */
	for (unsigned i = 0; i < CONTEXTS; i++) {
		pool->contexts[i].block = &blocks[i];
		pool->contexts[i].trail.entries = pool->trails + i * TRAIL_ENTRIES;
		if (mmap((u8 *)&blocks[i] - CPU_DISTANCE, CPU_SIZE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
			return -errno;
	}
	return 0;
}

int tlb_init(struct cpu **result)
{
	struct context_pool *pool = calloc(1, sizeof(*pool));
	int fd = memfd_create("nestbox-cpu", MFD_CLOEXEC), error;
	struct cpu *cpu;

	if (!pool || fd < 0 || ftruncate(fd, CPU_SIZE) < 0)
		goto fail;
	cpu = mmap(NULL, CPU_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (cpu == MAP_FAILED)
		goto fail;
	error = map_contexts(pool, fd);
	close(fd);
	if (error) {
		munmap(cpu, CPU_SIZE);
		release(pool);
		return error;
	}
	cpu->self = (u64)cpu;
	cpu->contexts = pool;
	cpu->context_stale = true;
	*result = cpu;
	return 0;
fail:
	error = errno ? -errno : -ENOMEM;
	free(pool);
	if (fd >= 0)
		close(fd);
	return error;
}

void tlb_free(struct cpu *cpu)
{
	struct context_pool *pool = pool_of(cpu);

	munmap(cpu, CPU_SIZE);
	release(pool);
}

/* ---- selection ---- */

void tlb_world_changed(struct cpu *cpu)
{
	u64 tag = 0;

	if (cpu->nested_paging && cpu->ept) {
		tag = TAG_EPT | (cpu->nested_root & (TAG_ROOT | TAG_ACCESSED_DIRTY));
		if (cpu->ept_mode_based)
			tag |= TAG_MODE_BASED;
	} else if (cpu->nested_paging) {
		tag = TAG_NESTED | (cpu->nested_root & TAG_ROOT);
	}
	if (cpu->apic_access_page != NO_APIC_ACCESS_PAGE)
		tag |= TAG_APIC_ACCESS;
	cpu->nested_tag = tag;
	cpu->context_stale = true;
}

static unsigned index_of(u64 key, u64 tag)
{
	return crc_hash(key ^ crc_hash(tag)) & (CONTEXT_INDEX - 1);
}

/* The number of the context with these tags; CONTEXTS: there is none. */
static unsigned find(struct context_pool *pool, u64 key, u64 tag)
{
	u8 *hint = &pool->index[index_of(key, tag)];

	if (likely(pool->tags[*hint].key == key && pool->tags[*hint].tag == tag))
		return *hint;
	for (unsigned i = 0; i < pool->count; i++) {
		if (pool->tags[i].key == key && pool->tags[i].tag == tag) {
			*hint = i;
			return i;
		}
	}
	return CONTEXTS;
}

/*
 * One that nobody has asked for during so many selections (a second of a busy guest, or more) was most
 * likely a VM's or a process' that has gone. It is taken before memory that was never touched: what the
 * pool has of the host grows with the worlds that live, not with those that were started.
 */
#define ABANDONED (1u << 15)

/* An abandoned one, else one that was never used, else the one that was used longest ago. */
static unsigned replaceable(const struct context_pool *pool)
{
	unsigned oldest = CONTEXTS, unused = CONTEXTS;

	for (unsigned i = 0; i < CONTEXTS; i++) {
		if (!pool->tags[i].key)
			unused = MIN(unused, i);
		else if (oldest == CONTEXTS || pool->tags[i].used < pool->tags[oldest].used)
			oldest = i;
	}
	if (unused == CONTEXTS ||
	    (oldest != CONTEXTS && pool->clock - pool->tags[oldest].used > ABANDONED))
		return oldest;
	return unused;
}

/* The supervisor's context that was used last in this world, to learn global pages from. */
static const struct context *global_source(const struct context_pool *pool, u64 key, u64 tag)
{
	unsigned best = CONTEXTS;

	if (key_privilege(key) == PRIV_USER || !(key & KEY_PAGING))
		return NULL;
	for (unsigned i = 0; i < pool->count; i++)
		if (context_filled(pool, i) && !pool->contexts[i].flush_asked &&
			!((pool->tags[i].key ^ key) & ~(u64)KEY_PCID) &&
			pool->tags[i].tag == tag &&
			(best == CONTEXTS || pool->tags[i].used > pool->tags[best].used))
			best = i;
	return best == CONTEXTS ? NULL : &pool->contexts[best];
}

/* STAC and CLAC go from one to the other without a look at anything, as long as neither is to be emptied. */
static void link_by_ac(struct context *one, struct context *other)
{
	one->block->ac_block = other->block;
	one->block->ac_context = other;
	other->block->ac_block = one->block;
	other->block->ac_context = one;
}

static void unlink_by_ac(struct context *context)
{
	struct context *other = context->block->ac_context;

	if (!other)
		return;
	context->block->ac_block = other->block->ac_block = NULL;
	context->block->ac_context = other->block->ac_context = NULL;
}

static bool differ_by_ac(const struct context *one, const struct context *other)
{
	return (one->key ^ other->key) == (key_of_privilege(PRIV_SUPERVISOR) ^
					    key_of_privilege(PRIV_SUPERVISOR_AC)) &&
	       one->privilege != PRIV_USER && other->privilege != PRIV_USER && one->tag == other->tag;
}

static __attribute__((noinline)) unsigned make(struct cpu *cpu, u64 key, u64 tag)
{
	struct context_pool *pool = pool_of(cpu);
	unsigned i = replaceable(pool);
	struct context *context = &pool->contexts[i];
	const struct context *source;

	/* A new one's memory is zero, which is no empty slot. */
	if (!pool->tags[i].key)
		context_fresh(context);
	unlink_by_ac(context);
	pool->tags[i] = (struct context_tags){ 0 };
	context->tag = tag;
	context_clear(cpu, context);
	context->flush_due = context->flush_asked = false;
	source = global_source(pool, key, tag);
	if (source) {
		context_copy_global(context, source);
		trail_lose(&context->trail);
	}
	pool->tags[i] = (struct context_tags){ .key = key, .tag = tag };
	pool->count = MAX(pool->count, i + 1);
	pool->index[index_of(key, tag)] = i;
	context->key = key;
	context->privilege = key_privilege(key);
	return i;
}

/* What was asked for while the context was not the current one. */
static void flush_now(struct cpu *cpu, struct context *context)
{
	if (!context->flush_due && trail_holds(cpu, &context->trail)) {
		cpu->stats.flushes_held++;
	} else {
		context_clear(cpu, context);
	}
	context->flush_due = context->flush_asked = false;
}

void tlb_select(struct cpu *cpu)
{
	struct context_pool *pool = pool_of(cpu);
	u64 key = tlb_key(cpu, tlb_privilege(cpu));
	unsigned i = find(pool, key, cpu->nested_tag);
	struct context *context, *before = cpu->context;

	if (unlikely(i == CONTEXTS))
		i = make(cpu, key, cpu->nested_tag);
	context = &pool->contexts[i];
	if (unlikely(context->flush_due || context->flush_asked))
		flush_now(cpu, context);
	pool->tags[i].used = ++pool->clock;
	if (before && unlikely(before->block->ac_context != context) && differ_by_ac(before, context))
		link_by_ac(before, context);
	if (context->block->ac_context)
		pool->tags[context->block->ac_context - pool->contexts].used = pool->clock;
	cpu->context = context;
	cpu->context_stale = false;
}

/* ---- flushes by tag ---- */

/* Of contexts that are filled, those whose key is `key` in the bits of `mask`. */
#define FOR_CONTEXTS(pool, i, mask, want) \
	for (unsigned i = 0; i < (pool)->count; i++) \
		if (((pool)->tags[i].key & (mask)) == (want) && context_filled(pool, i))

static void flush(struct cpu *cpu, unsigned i)
{
	struct context *context = &pool_of(cpu)->contexts[i];

	if (context == cpu->context) {
		context_clear(cpu, context);
	} else {
		context->flush_due = true;
		unlink_by_ac(context);
	}
}

void tlb_flush_all(struct cpu *cpu)
{
	struct context_pool *pool = pool_of(cpu);

	FOR_CONTEXTS(pool, i, 0, 0)
		flush(cpu, i);
	/* what stands where may have changed */
	zero_bytes(cpu->ram_window, sizeof(cpu->ram_window));
}

void tlb_flush_asid(struct cpu *cpu, u32 asid)
{
	struct context_pool *pool = pool_of(cpu);

	FOR_CONTEXTS(pool, i, KEY_ASID, key_asid(asid)) {
		if (&pool->contexts[i] == cpu->context) {
			context_clear(cpu, cpu->context);
		} else {
			pool->contexts[i].flush_asked = true;
			unlink_by_ac(&pool->contexts[i]);
		}
	}
}

void tlb_flush_asid_local(struct cpu *cpu, u32 asid)
{
	struct context_pool *pool = pool_of(cpu);

	FOR_CONTEXTS(pool, i, KEY_ASID, key_asid(asid))
		context_keep_global(cpu, &pool->contexts[i]);
}

void tlb_flush_every_vpid(struct cpu *cpu)
{
	struct context_pool *pool = pool_of(cpu);

	FOR_CONTEXTS(pool, i, 0, 0)
		if (pool->tags[i].key & KEY_ASID)
			flush(cpu, i);
}

void tlb_flush_pcid(struct cpu *cpu, u32 asid, u32 pcid)
{
	struct context_pool *pool = pool_of(cpu);

	FOR_CONTEXTS(pool, i, KEY_ASID | KEY_PCID, key_asid(asid) | pcid)
		context_keep_global(cpu, &pool->contexts[i]);
}

void tlb_flush_page(struct cpu *cpu, u32 asid, u32 pcid, u64 linear, bool every_pcid)
{
	struct context_pool *pool = pool_of(cpu);
	u64 mask = KEY_ASID | (every_pcid ? 0 : KEY_PCID);

	FOR_CONTEXTS(pool, i, mask, key_asid(asid) | (every_pcid ? 0 : pcid))
		context_drop_page(cpu, &pool->contexts[i], linear & PAGE_MASK);
}

void tlb_flush_ept(struct cpu *cpu, u64 eptp)
{
	struct context_pool *pool = pool_of(cpu);

	FOR_CONTEXTS(pool, i, 0, 0)
		if ((pool->tags[i].tag & TAG_EPT) && !((pool->tags[i].tag ^ eptp) & TAG_ROOT))
			flush(cpu, i);
}

void tlb_flush_every_ept(struct cpu *cpu)
{
	struct context_pool *pool = pool_of(cpu);

	FOR_CONTEXTS(pool, i, 0, 0)
		if (pool->tags[i].tag & TAG_EPT)
			flush(cpu, i);
}

void tlb_drop_faulted(struct cpu *cpu, u64 linear)
{
	struct context_pool *pool = pool_of(cpu);
	u64 mask = ~(KEY_PRIVILEGE | KEY_MODE), key = cpu->context->key & mask;

	FOR_CONTEXTS(pool, i, mask, key)
		if (pool->tags[i].tag == cpu->context->tag)
			context_drop_piece(&pool->contexts[i], linear & PAGE_MASK);
}

/* ---- what concerns every context ---- */

void tlb_protect_ram_page(struct cpu *cpu, u64 host)
{
	struct context_pool *pool = pool_of(cpu);

	FOR_CONTEXTS(pool, i, 0, 0)
		context_protect(&pool->contexts[i], host);
}

void tlb_protect_watched(struct cpu *cpu)
{
	struct context_pool *pool = pool_of(cpu);

	FOR_CONTEXTS(pool, i, 0, 0)
		context_protect_watched(&pool->contexts[i], space_ram(cpu->memory));
}

void tlb_flush_jumps(struct cpu *cpu)
{
	struct context_pool *pool = pool_of(cpu);

	FOR_CONTEXTS(pool, i, 0, 0)
		context_clear_jumps(&pool->contexts[i]);
}

void tlb_forget_code_id(struct cpu *cpu, u64 linear, u32 id)
{
	struct context_pool *pool = pool_of(cpu);

	FOR_CONTEXTS(pool, i, 0, 0) {
		u32 *slot = &pool->contexts[i].block->code_ids[code_id_slot(linear)];

		if (*slot == id)
			*slot = 0;
	}
}
