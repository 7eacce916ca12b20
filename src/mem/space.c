/* SPDX-License-Identifier: MIT */
/*
 * Address spaces. Ranges are kept as they were added; from them a sorted array of segments that
 * do not overlap is made whenever one comes or goes, and lookups search that array.
 *
 * A guest may move a BAR while another thread does DMA. Readers take no lock: they copy what they
 * find under a sequence counter and search again if it moved. All is in fixed arrays, so that
 * nothing a reader may still look at is ever freed, and a guest cannot make them grow.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "mem/dirty.h"

#define MAX_RANGES 384
#define MAX_SEGMENTS (2 * MAX_RANGES + 1)
#define MAX_DOORBELLS 64

struct range {
	u64 base, last;
	struct ram *ram; /* NULL: handlers */
	u64 ram_offset;
	bool read_only;
	const struct io_ops *ops;
	void *device;
};

struct segment {
	u64 base, last;
	u32 range;
};

struct owned_doorbell {
	struct doorbell doorbell;
	void *device;
};

struct space {
	const char *name;
	struct ram *ram;
	void (*changed)(void *arg);
	void *changed_arg;
	u32 sequence;  /* odd while the arrays change */
	u32 last_hit;  /* the segment found last: a guess, any value is safe */
	u32 range_count, segment_count;
	struct range ranges[MAX_RANGES]; /* in the order they were added: a later one hides */
	struct segment segments[MAX_SEGMENTS];
	u32 doorbell_count;
	struct owned_doorbell doorbells[MAX_DOORBELLS];
};

struct space *space_new(const char *name)
{
	struct space *space = calloc(1, sizeof(*space));

	if (space)
		space->name = name;
	return space;
}

void space_free(struct space *space)
{
	free(space);
}

struct ram *space_ram(struct space *space)
{
	return space->ram;
}

/* ---- building ---- */

static void change_begin(struct space *space)
{
	__atomic_store_n(&space->sequence, space->sequence + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void tell_watcher(struct space *space)
{
	if (space->changed)
		space->changed(space->changed_arg);
}

static void change_end(struct space *space)
{
	__atomic_store_n(&space->sequence, space->sequence + 1, __ATOMIC_RELEASE);
	tell_watcher(space);
}

/* Replaces segments [at, at + gone) by the n in `with`. */
static void splice(struct space *space, u32 at, u32 gone, const struct segment *with, u32 n)
{
	struct segment *s = space->segments;

	memmove(s + at + n, s + at + gone, (space->segment_count - at - gone) * sizeof(*s));
	memcpy(s + at, with, n * sizeof(*s));
	space->segment_count += n - gone;
}

/* Lays a range over what is there: at most one segment is cut in two, so each range adds at most
 * two to their number. */
static void lay(struct space *space, u32 index)
{
	const struct range *range = &space->ranges[index];
	struct segment with[3];
	struct segment *s = space->segments;
	u32 at = 0, end, n = 0;

	while (at < space->segment_count && s[at].last < range->base)
		at++;
	end = at;
	while (end < space->segment_count && s[end].base <= range->last)
		end++;
	if (end > at && s[at].base < range->base)
		with[n++] = (struct segment){ s[at].base, range->base - 1, s[at].range };
	with[n++] = (struct segment){ range->base, range->last, index };
	if (end > at && s[end - 1].last > range->last)
		with[n++] = (struct segment){ range->last + 1, s[end - 1].last, s[end - 1].range };
	splice(space, at, end - at, with, n);
}

static int add(struct space *space, const struct range *range, u64 size)
{
	if (!size || range->base + size - 1 < range->base)
		return -EINVAL;
	if (space->range_count == MAX_RANGES)
		return -ENOMEM;
	change_begin(space);
	space->ranges[space->range_count] = *range;
	space->ranges[space->range_count].last = range->base + size - 1;
	lay(space, space->range_count++);
	change_end(space);
	return 0;
}

int space_add_ram(struct space *space, u64 base, u64 size, struct ram *ram, u64 ram_offset)
{
	struct range range = { .base = base, .ram = ram, .ram_offset = ram_offset };

	if (ram_offset > ram->size || size > ram->size - ram_offset)
		return -EINVAL;
	if (!space->ram)
		space->ram = ram;
	return add(space, &range, size);
}

int space_add_rom(struct space *space, u64 base, u64 size, struct ram *ram, u64 ram_offset)
{
	struct range range = {
		.base = base, .ram = ram, .ram_offset = ram_offset, .read_only = true,
	};

	if (ram_offset > ram->size || size > ram->size - ram_offset)
		return -EINVAL;
	return add(space, &range, size);
}

int space_add_io(struct space *space, u64 base, u64 size, const struct io_ops *ops, void *device)
{
	struct range range = { .base = base, .ops = ops, .device = device };

	return add(space, &range, size);
}

static void drop_doorbells(struct space *space, const struct range *range)
{
	u32 kept = 0;

	for (u32 i = 0; i < space->doorbell_count; i++) {
		const struct owned_doorbell *owned = &space->doorbells[i];
		u64 address = owned->doorbell.address;

		if (owned->device != range->device || address < range->base || address > range->last)
			space->doorbells[kept++] = *owned;
	}
	space->doorbell_count = kept;
}

void space_remove_io(struct space *space, u64 base, void *device)
{
	u32 i = space->range_count;

	/* The last of equal ones: the one that shows. */
	while (i-- > 0) {
		const struct range *range = &space->ranges[i];

		if (range->ops && range->base == base && range->device == device)
			break;
	}
	if (i == UINT32_MAX)
		return;
	drop_doorbells(space, &space->ranges[i]);
	change_begin(space);
	space->range_count--;
	memmove(&space->ranges[i], &space->ranges[i + 1],
		(space->range_count - i) * sizeof(space->ranges[0]));
	space->segment_count = 0;
	for (i = 0; i < space->range_count; i++)
		lay(space, i);
	change_end(space);
}

/* ---- lookup ---- */

static bool in_segment(const struct segment *segment, u64 address)
{
	return address >= segment->base && address <= segment->last;
}

/* The place of the segment that holds address, or MAX_SEGMENTS. What it reads may be changing:
 * any garbage gives some answer within the array. */
static u32 search(struct space *space, u64 address)
{
	u32 guess = __atomic_load_n(&space->last_hit, __ATOMIC_RELAXED);
	u32 low = 0, high = MIN(space->segment_count, MAX_SEGMENTS);

	if (guess < high && in_segment(&space->segments[guess], address))
		return guess;
	while (low < high) {
		u32 middle = (low + high) / 2;

		if (space->segments[middle].last < address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low >= MIN(space->segment_count, MAX_SEGMENTS) ||
		!in_segment(&space->segments[low], address))
		return MAX_SEGMENTS;
	__atomic_store_n(&space->last_hit, low, __ATOMIC_RELAXED);
	return low;
}

static bool lookup(struct space *space, u64 address, struct segment *segment, struct range *range)
{
	for (;;) {
		u32 before = __atomic_load_n(&space->sequence, __ATOMIC_ACQUIRE);
		u32 place;

		if (before & 1) {
			__builtin_ia32_pause();
			continue;
		}
		place = search(space, address);
		if (place < MAX_SEGMENTS) {
			*segment = space->segments[place];
			*range = space->ranges[MIN(segment->range, MAX_RANGES - 1)];
		}
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(&space->sequence, __ATOMIC_RELAXED) == before)
			return place < MAX_SEGMENTS;
	}
}

struct space_hit space_find(struct space *space, u64 address)
{
	struct space_hit hit = { 0 };
	struct segment segment;
	struct range range;

	if (!lookup(space, address, &segment, &range))
		return hit;
	hit.offset = address - range.base;
	if (range.ram) {
		hit.ram_offset = range.ram_offset + hit.offset;
		hit.host = range.ram->host + hit.ram_offset;
		hit.contiguous = segment.last - address + 1;
		hit.read_only = range.read_only;
	} else {
		hit.ops = range.ops;
		hit.device = range.device;
		hit.contiguous = range.last - address + 1;
	}
	return hit;
}

/* ---- copies of the whole ---- */

unsigned space_pieces(struct space *space, struct space_piece *pieces, unsigned max)
{
	unsigned n = 0;

	for (u32 i = 0; i < space->segment_count && n < max; i++) {
		const struct segment *segment = &space->segments[i];
		const struct range *range = &space->ranges[segment->range];

		if (range->ram)
			pieces[n++] = (struct space_piece){ .base = segment->base,
				.size = segment->last - segment->base + 1,
				.ram_offset = range->ram_offset + segment->base - range->base,
				.read_only = range->read_only };
	}
	return n;
}

static bool shows(struct space *space, const struct owned_doorbell *owned)
{
	struct space_hit hit = space_find(space, owned->doorbell.address);

	return hit.ops && hit.device == owned->device;
}

int space_add_doorbell(struct space *space, void *device, const struct doorbell *doorbell)
{
	struct owned_doorbell owned = { *doorbell, device };

	if (!shows(space, &owned))
		return -ENOENT;
	if (space->doorbell_count == MAX_DOORBELLS)
		return -ENOMEM;
	space->doorbells[space->doorbell_count++] = owned;
	tell_watcher(space);
	return 0;
}

unsigned space_doorbells(struct space *space, struct doorbell *doorbells, unsigned max)
{
	unsigned n = 0;

	for (u32 i = 0; i < space->doorbell_count && n < max; i++)
		if (shows(space, &space->doorbells[i]))
			doorbells[n++] = space->doorbells[i].doorbell;
	return n;
}

void space_watch(struct space *space, void (*changed)(void *arg), void *arg)
{
	space->changed = changed;
	space->changed_arg = arg;
}

/* ---- accesses ---- */

static u64 size_mask(unsigned size)
{
	return size >= 8 ? ~0ull : (1ull << size * 8) - 1;
}

/* Anywhere in RAM; volatile: an aligned one is to be a single access, as other CPUs expect. */
typedef volatile u16 __attribute__((aligned(1), may_alias)) ram_u16;
typedef volatile u32 __attribute__((aligned(1), may_alias)) ram_u32;
typedef volatile u64 __attribute__((aligned(1), may_alias)) ram_u64;

static u64 load(const void *host, unsigned size)
{
	switch (size) {
	case 1:
		return *(const volatile u8 *)host;
	case 2:
		return *(const ram_u16 *)host;
	case 4:
		return *(const ram_u32 *)host;
	default:
		return *(const ram_u64 *)host;
	}
}

static void store(void *host, unsigned size, u64 value)
{
	switch (size) {
	case 1:
		*(volatile u8 *)host = value;
		break;
	case 2:
		*(ram_u16 *)host = value;
		break;
	case 4:
		*(ram_u32 *)host = value;
		break;
	default:
		*(ram_u64 *)host = value;
		break;
	}
}

static bool is_power_of_two_size(unsigned size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

/*
 * How a device that takes the sizes in `sizes` is given the first part of an access of `len` bytes
 * at `offset`: the size and the aligned offset of the access it sees.
 */
static unsigned device_size(unsigned sizes, u64 offset, unsigned len, u64 *at)
{
	unsigned smallest;

	for (unsigned size = 8; size; size /= 2) {
		if ((sizes & size) && size <= len && offset % size == 0) {
			*at = offset;
			return size;
		}
	}
	/* None fits: the smallest that there is, around the bytes wanted. */
	smallest = sizes & -sizes;
	*at = offset & ~(u64)(smallest - 1);
	return smallest;
}

static u64 device_read(const struct space_hit *hit, unsigned size)
{
	unsigned sizes = hit->ops->sizes ? hit->ops->sizes & 15 : 15;
	u64 value = 0;
	unsigned done = 0;

	if (!hit->ops->read)
		return size_mask(size);
	while (done < size) {
		u64 offset = hit->offset + done, at;
		unsigned access = device_size(sizes, offset, size - done, &at);
		unsigned skip = offset - at;
		unsigned got = MIN(access - skip, size - done);
		u64 part = hit->ops->read(hit->device, at, access);

		value |= (part >> skip * 8 & size_mask(got)) << done * 8;
		done += got;
	}
	return value;
}

/*
 * A write narrower than the device takes reaches it zero-extended if it is aligned, as on a bus
 * whose other byte lanes are idle; in the middle of a register it goes nowhere.
 */
static void device_write(const struct space_hit *hit, unsigned size, u64 value)
{
	unsigned sizes = hit->ops->sizes ? hit->ops->sizes & 15 : 15;
	unsigned done = 0;

	if (!hit->ops->write)
		return;
	while (done < size) {
		u64 offset = hit->offset + done, at;
		unsigned access = device_size(sizes, offset, size - done, &at);
		unsigned skip = offset - at;
		unsigned used = MIN(access - skip, size - done);

		if (!skip)
			hit->ops->write(hit->device, at, access,
				value >> done * 8 & size_mask(used));
		done += used;
	}
}

u64 space_read(struct space *space, u64 address, unsigned size)
{
	struct space_hit hit = space_find(space, address);
	u64 value = 0;

	if (likely((hit.host || hit.ops) && hit.contiguous >= size && is_power_of_two_size(size)))
		return hit.host ? load(hit.host, size) : device_read(&hit, size);
	if (!hit.host && !hit.ops) {
		if (trace_on(TRACE_io))
			trace_print(TRACE_io, "%s: read of %u bytes at %#llx", space->name, size,
				(unsigned long long)address);
		if (size == 1)
			return 0xff;
	}
	if (size == 1)
		return hit.host ? load(hit.host, 1) : device_read(&hit, 1);
	/* It crosses a border, or begins where nothing is: byte by byte. */
	for (unsigned i = 0; i < size; i++) {
		u64 byte = 0xff;

		hit = space_find(space, address + i);
		if (hit.host)
			byte = load(hit.host, 1);
		else if (hit.ops)
			byte = device_read(&hit, 1) & 0xff;
		value |= byte << i * 8;
	}
	return value;
}

static void ram_store(struct space *space, const struct space_hit *hit, unsigned size, u64 value)
{
	struct ram *ram = space->ram;
	u64 first, last;

	if (hit->read_only)
		return;
	store(hit->host, size, value);
	dirty_note(ram, hit->ram_offset, size);
	if (!ram->watched_written)
		return;
	first = hit->ram_offset >> PAGE_SHIFT;
	last = (hit->ram_offset + size - 1) >> PAGE_SHIFT;
	for (u64 page = first; page <= last; page++) {
		if (ram_is_watched(ram, page << PAGE_SHIFT))
			ram->watched_written(ram->engine, page);
	}
}

void space_write(struct space *space, u64 address, unsigned size, u64 value)
{
	struct space_hit hit = space_find(space, address);

	if (likely((hit.host || hit.ops) && hit.contiguous >= size && is_power_of_two_size(size))) {
		if (hit.host)
			ram_store(space, &hit, size, value);
		else
			device_write(&hit, size, value);
		return;
	}
	if (!hit.host && !hit.ops && trace_on(TRACE_io))
		trace_print(TRACE_io, "%s: write of %u bytes at %#llx: %#llx", space->name, size,
			(unsigned long long)address, (unsigned long long)value);
	for (unsigned i = 0; i < size; i++) {
		hit = space_find(space, address + i);
		if (hit.host)
			ram_store(space, &hit, 1, value >> i * 8 & 0xff);
		else if (hit.ops)
			device_write(&hit, 1, value >> i * 8 & 0xff);
	}
}
