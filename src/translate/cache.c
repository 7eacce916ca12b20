/* SPDX-License-Identifier: MIT */
/*
 * The code cache: memory, the index by key, the lists by page. One vCPU's thread owns it. Built
 * without vector registers: the runtime looks blocks up while the guest's FPU state is live.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/huge_file.h"
#include "translate/block.h"

static u32 key_hash(u32 page, u16 offset, u32 mode)
{
	u64 key = ((u64)page << 12 | offset) ^ (u64)mode << 44;

	return (key * 0x9e3779b97f4a7c15ull) >> 40 & (HASH_SIZE - 1);
}

static void *reserve(u64 size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}


/*
 * Maps the memory file at a multiple of 2 MiB and asks for huge pages: translated code is spread
 * over more 4 KiB pages than the host has TLB entries. NULL: errno.
 */
static u8 *map_view(int fd, u64 size, int protection)
{
	u8 *area = mmap(NULL, size + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		-1, 0);
	u8 *start, *view;

	if (area == MAP_FAILED)
		return NULL;
	start = huge_page_from(area);
	view = mmap(start, size, protection, MAP_SHARED | MAP_FIXED, fd, 0);
	if (start > area)
		munmap(area, start - area);
	munmap(start + size, area + HUGE_PAGE - start);
	if (view == MAP_FAILED)
		return NULL;
	madvise(view, size, MADV_HUGEPAGE); /* without them it works too */
	return view;
}

int cache_new(struct code_cache *cache, u64 size, u64 ram_pages)
{
	int fd = huge_file("nestbox-code", size), error;

	if (fd < 0)
		return fd;
	cache->size = size;
	cache->page_count = ram_pages;
	cache->rw = map_view(fd, size, PROT_READ | PROT_WRITE);
	cache->rx = map_view(fd, size, PROT_READ | PROT_EXEC);
	if (!cache->rw || !cache->rx)
		goto fail;
	cache->hash = reserve(HASH_SIZE * sizeof(u32));
	cache->pages = reserve(ram_pages * sizeof(u32));
	cache->blocks = reserve(MAX_BLOCKS * sizeof(u32));
	cache->page_ids = reserve(ram_pages * sizeof(u32));
	cache->code_pages = reserve(MAX_CODE_PAGES * sizeof(struct code_page));
	if (!cache->hash || !cache->pages || !cache->blocks || !cache->page_ids || !cache->code_pages)
		goto fail;
	close(fd);
	cache_reset(cache);
	return 0;
fail:
	error = -errno;
	close(fd);
	return error;
}

void cache_free(struct code_cache *cache)
{
	munmap(cache->rw, cache->size);
	munmap(cache->rx, cache->size);
	munmap(cache->hash, HASH_SIZE * sizeof(u32));
	munmap(cache->pages, cache->page_count * sizeof(u32));
	munmap(cache->blocks, MAX_BLOCKS * sizeof(u32));
	munmap(cache->page_ids, cache->page_count * sizeof(u32));
	munmap(cache->code_pages, MAX_CODE_PAGES * sizeof(struct code_page));
}

void cache_reset(struct code_cache *cache)
{
	/* By the blocks, not by RAM: a large guest has many more pages than code pages. */
	for (u32 i = 0; i < cache->block_count; i++) {
		struct block *block = cache_block(cache, cache->blocks[i]);

		cache->pages[block->page] = 0;
		cache->page_ids[block->page] = 0;
		if (block->page2 != NO_PAGE)
			cache->pages[block->page2] = 0;
	}
	if (cache->block_count)
		zero_bytes(cache->hash, HASH_SIZE * sizeof(u32));
	cache->block_count = 0;
	cache->code_page_count = 1;
	cache->used = 0;
	cache->code = cache->aside = (struct code_area){ 0 };
}

/* What an area takes at a time: a huge page. The smallest cache is two. */
#define AREA_STEP HUGE_PAGE

static bool area_room(struct code_cache *cache, struct code_area *area, u64 room)
{
	if (area->at + room <= area->end)
		return true;
	if (cache->used + AREA_STEP > cache->size)
		return false;
	area->at = cache->used;
	cache->used += AREA_STEP;
	area->end = cache->used;
	/* offset 0 means none */
	if (!area->at)
		area->at = 64;
	return true;
}

bool cache_make_room(struct code_cache *cache, u64 room)
{
	return area_room(cache, &cache->code, room) && area_room(cache, &cache->aside, room);
}

struct block *cache_find(const struct code_cache *cache, u32 page, u16 offset, u32 mode, u64 vpage)
{
	u32 at = cache->hash[key_hash(page, offset, mode)];

	while (at) {
		struct block *block = cache_block(cache, at);

		if (block->page == page && block->offset == offset && block->mode == mode &&
			block->vpage == vpage)
			return block;
		at = block->hash_next;
	}
	return NULL;
}

void cache_insert(struct code_cache *cache, struct block *block)
{
	u32 at = (u8 *)block - cache->rw;
	u32 *head = &cache->hash[key_hash(block->page, block->offset, block->mode)];

	block->hash_next = *head;
	*head = at;
	block->page_next = cache->pages[block->page];
	cache->pages[block->page] = at;
	if (block->page2 != NO_PAGE) {
		block->page2_next = cache->pages[block->page2];
		cache->pages[block->page2] = at;
	}
	cache->blocks[cache->block_count++] = at;
}

struct block *cache_find_pc(const struct code_cache *cache, u64 pc)
{
	u64 offset = pc - (u64)cache->rx;
	u32 low = 0, high = cache->block_count;

	if (!high)
		return NULL;
	while (high - low > 1) {
		u32 middle = low + (high - low) / 2;

		if (cache_block(cache, cache->blocks[middle])->far_entry <= offset)
			low = middle;
		else
			high = middle;
	}
	struct block *block = cache_block(cache, cache->blocks[low]);

	return offset >= block->far_entry && offset < block->code_end ? block : NULL;
}

u32 cache_code_id(struct code_cache *cache, u32 page, u64 linear)
{
	u32 id;

	for (id = cache->page_ids[page]; id; id = cache->code_pages[id].next)
		if (cache->code_pages[id].linear == linear)
			return id;
	if (cache->code_page_count == MAX_CODE_PAGES)
		return 0;
	id = cache->code_page_count++;
	cache->code_pages[id] = (struct code_page){ .linear = linear, .next = cache->page_ids[page] };
	cache->page_ids[page] = id;
	return id;
}

static void unhash(struct code_cache *cache, struct block *block)
{
	u32 at = (u8 *)block - cache->rw;
	u32 *link = &cache->hash[key_hash(block->page, block->offset, block->mode)];

	while (*link && *link != at)
		link = &cache_block(cache, *link)->hash_next;
	if (*link)
		*link = block->hash_next;
}

/* JMP rel32 behind a prefix that no live entry begins with, since jumps are never copied. */
static const u8 killed[] = { 0x3e, 0xe9 };

bool cache_entry_is_killed(const u8 *entry)
{
	return entry[0] == killed[0] && entry[1] == killed[1];
}

/* Jump caches may still name the far entry: it becomes the way to engine_far(), R11 the target. */
static void kill_entry(struct code_cache *cache, const struct block *block, u32 miss_slot)
{
	u8 *entry = cache->rw + block->far_entry;

	if (mode_is_fixed(block->mode)) {
		i32 distance = (i32)(block->far_out - (block->far_entry + KILLED_ENTRY));

		copy_bytes(entry, killed, sizeof(killed));
		copy_bytes(entry + sizeof(killed), &distance, 4);
		return;
	}
	/* the CMP that stood there is longer than JMP gs:[miss_slot] */
	*entry++ = 0x65;
	*entry++ = 0xff;
	*entry++ = 0x24;
	*entry++ = 0x25;
	copy_bytes(entry, &miss_slot, 4);
}

void cache_drop_page(struct code_cache *cache, u32 page, u32 miss_slot)
{
	u32 at = cache->pages[page];

	while (at) {
		struct block *block = cache_block(cache, at);
		/* A block that crosses stays in its other page's list, which skips it: not valid. */
		u32 next = block->page == page ? block->page_next : block->page2_next;

		if (block->valid) {
			unhash(cache, block);
			block->valid = false;
			kill_entry(cache, block, miss_slot);
		}
		at = next;
	}
	cache->pages[page] = 0;
}
