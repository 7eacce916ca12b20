/* SPDX-License-Identifier: MIT */
/*
 * Split virtqueues, as the device sees them. Virtual I/O Device 1.2, 2.7.
 *
 * The rings are the guest's, and another vCPU may write them at any time: every index and every
 * descriptor is read once and the copy is checked. A driver that breaks a rule stops the device,
 * never us: a chain is followed for VIRTIO_CHAIN_MAX descriptors at most.
 *
 * Not modelled: packed rings, in-order use, reset of a single queue.
 */
#include "dev/virtio.h"
#include "base/log.h"

#include <string.h>

#define DESC_NEXT 1
#define DESC_WRITE 2
#define DESC_INDIRECT 4
#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY 1

struct desc {
	u64 address;
	u32 len;
	u16 flags;
	u16 next;
};

/* Sizes of the parts, 2.7. */
static u64 desc_size(const struct virtq *queue)
{
	return 16ull * queue->size;
}

static u64 avail_size(const struct virtq *queue)
{
	return 6 + 2ull * queue->size;
}

static u64 used_size(const struct virtq *queue)
{
	return 6 + 8ull * queue->size;
}

static void *map_whole(const struct virtio *virtio, u64 address, u64 len, bool write)
{
	u64 got = 0;
	void *host = dma_map(virtio->memory, address, len, write, &got);

	return host && got >= len ? host : NULL;
}

static u16 read16(const u8 *host)
{
	return __atomic_load_n((const u16 *)host, __ATOMIC_ACQUIRE);
}

static u16 avail_flags(const struct virtq *queue)
{
	return read16(queue->avail);
}

static u16 avail_index(const struct virtq *queue)
{
	return read16(queue->avail + 2);
}

static u16 used_event(const struct virtq *queue)
{
	return read16(queue->avail + 4 + 2 * queue->size);
}

/* A 16-bit field of the used ring. Mapped at each write, so that the engine hears of it. */
static void write_used16(struct virtq *queue, u64 offset, u16 value)
{
	u64 address = queue->device_address + offset;
	u16 *host = map_whole(queue->virtio, address, 2, true);

	if (!host)
		return;
	__atomic_store_n(host, value, __ATOMIC_RELEASE);
	dma_map_written(queue->virtio->memory, address, 2);
}

void virtq_reset(struct virtq *queue)
{
	struct virtio *virtio = queue->virtio;

	*queue = (struct virtq){
		.virtio = virtio,
		.size = virtio->class->queue_size,
		.vector = VIRTIO_NO_VECTOR,
	};
}

void virtq_enable(struct virtq *queue)
{
	struct virtio *virtio = queue->virtio;

	/* Alignment: 2.7. */
	if ((queue->desc_address & 15) || (queue->driver_address & 1) ||
		(queue->device_address & 3)) {
		virtio_break(virtio, "a ring is not aligned");
		return;
	}
	queue->desc = map_whole(virtio, queue->desc_address, desc_size(queue), false);
	queue->avail = map_whole(virtio, queue->driver_address, avail_size(queue), false);
	if (!queue->desc || !queue->avail ||
		!map_whole(virtio, queue->device_address, used_size(queue), true)) {
		virtio_break(virtio, "a ring is not in RAM");
		return;
	}
	queue->enabled = true;
}

/* One descriptor, read once: the compiler cannot know that the copy is still what memory says. */
static struct desc read_desc(const u8 *table, unsigned index)
{
	struct desc desc;

	memcpy(&desc, table + index * sizeof(desc), sizeof(desc));
	__asm__ volatile("" : "+m"(desc));
	return desc;
}

/* Adds a segment to the chain; the driver must put what the device reads first, 2.7.4.2. */
static const char *add_segment(struct virtio_chain *chain, const struct desc *desc)
{
	unsigned count = chain->out_count + chain->in_count;

	if (count == VIRTIO_CHAIN_MAX)
		return "a chain is too long or a loop";
	chain->segments[count] = (struct virtio_segment){desc->address, desc->len};
	if (desc->flags & DESC_WRITE) {
		chain->in_count++;
		chain->in_len += desc->len;
	} else {
		if (chain->in_count)
			return "a readable descriptor follows a writable one";
		chain->out_count++;
		chain->out_len += desc->len;
	}
	return NULL;
}

/* Follows a chain from its head. NULL, or the rule that the driver broke. */
static const char *read_chain(const struct virtq *queue, struct virtio_chain *chain)
{
	const struct virtio *virtio = queue->virtio;
	const u8 *table = queue->desc;
	u32 index = chain->head, count = queue->size;
	bool indirect = false;

	for (;;) {
		struct desc desc;
		const char *wrong;

		if (index >= count)
			return "a descriptor's index is outside of its table";
		desc = read_desc(table, index);
		if (desc.flags & DESC_INDIRECT) {
			/* 2.7.5.3.1 */
			if (!virtio_has(virtio, VIRTIO_F_INDIRECT_DESC))
				return "an indirect descriptor without that feature";
			if (indirect || (desc.flags & DESC_NEXT))
				return "an indirect descriptor inside of or before another";
			if (desc.len == 0 || desc.len % sizeof(desc))
				return "an indirect table of odd length";
			table = map_whole(virtio, desc.address, desc.len, false);
			if (!table)
				return "an indirect table is not in RAM";
			indirect = true;
			index = 0;
			count = desc.len / sizeof(desc);
			continue;
		}
		wrong = add_segment(chain, &desc);
		if (wrong)
			return wrong;
		if (!(desc.flags & DESC_NEXT))
			return NULL;
		index = desc.next;
	}
}

bool virtq_pop(struct virtq *queue, struct virtio_chain *chain)
{
	u16 waiting;
	const char *wrong;

	if (!queue->enabled || !virtio_live(queue->virtio))
		return false;
	queue->seen = avail_index(queue);
	waiting = queue->seen - queue->next_avail;
	if (waiting == 0)
		return false;
	if (waiting > queue->size) {
		virtio_break(queue->virtio, "more available entries than the ring has");
		return false;
	}
	chain->head = read16(queue->avail + 4 + 2 * (queue->next_avail & (queue->size - 1)));
	chain->out_count = chain->in_count = 0;
	chain->out_len = chain->in_len = 0;
	wrong = read_chain(queue, chain);
	if (wrong) {
		virtio_break(queue->virtio, wrong);
		return false;
	}
	queue->next_avail++;
	return true;
}

void virtq_rewind(struct virtq *queue, unsigned count)
{
	queue->next_avail -= count;
	queue->next_used -= count;
}

void virtq_push(struct virtq *queue, u16 head, u32 written)
{
	u32 entry[2] = {head, written};
	u64 slot = queue->next_used & (queue->size - 1);

	if (!queue->enabled || !virtio_live(queue->virtio))
		return;
	dma_write(queue->virtio->memory, queue->device_address + 4 + slot * sizeof(entry), entry,
		sizeof(entry));
	queue->next_used++;
}

/* Whether an index that went from `from` to `to` passed `event`, 2.7.10. */
static bool passed(u16 event, u16 from, u16 to)
{
	return (u16)(to - event - 1) < (u16)(to - from);
}

void virtq_publish(struct virtq *queue)
{
	struct virtio *virtio = queue->virtio;
	u16 from = queue->signalled;

	if (!queue->enabled || !virtio_live(virtio) || queue->next_used == queue->published)
		return;
	write_used16(queue, 2, queue->next_used);
	queue->published = queue->next_used;
	/* The driver sets its event, then looks at the index again; we go the other way round. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	queue->signalled = queue->published;
	if (virtio_has(virtio, VIRTIO_F_EVENT_IDX)
			? !passed(used_event(queue), from, queue->published)
			: (avail_flags(queue) & AVAIL_NO_INTERRUPT))
		return;
	virtio_interrupt(virtio, queue->vector, 1);
}

void virtq_ignore(struct virtq *queue)
{
	/* With event indices an event that lies behind says the same without a write. */
	if (queue->enabled && !virtio_has(queue->virtio, VIRTIO_F_EVENT_IDX))
		write_used16(queue, 0, USED_NO_NOTIFY);
}

bool virtq_listen(struct virtq *queue)
{
	if (!queue->enabled || !virtio_live(queue->virtio))
		return false;
	if (virtio_has(queue->virtio, VIRTIO_F_EVENT_IDX))
		write_used16(queue, 4 + 8ull * queue->size, queue->seen);
	else
		write_used16(queue, 0, 0);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return avail_index(queue) != queue->seen;
}

/* ---- data ---- */

/* One of the two copies; exactly one of `to` and `from` is given. */
static bool copy_chain(struct virtio *virtio, const struct virtio_segment *segment,
	unsigned count, u64 offset, u8 *to, const u8 *from, u64 len)
{
	for (; len && count; segment++, count--) {
		u64 part, address;
		int error;

		if (offset >= segment->len) {
			offset -= segment->len;
			continue;
		}
		part = MIN(len, segment->len - offset);
		address = segment->address + offset;
		/* An address that wraps is in no RAM. */
		if (address < segment->address)
			error = -1;
		else if (to)
			error = dma_read(virtio->memory, address, to, part);
		else
			error = dma_write(virtio->memory, address, from, part);
		if (error) {
			virtio_break(virtio, "a buffer is not in RAM");
			return false;
		}
		if (to)
			to += part;
		else
			from += part;
		len -= part;
		offset = 0;
	}
	return len == 0;
}

bool virtio_gather(struct virtio *virtio, const struct virtio_chain *chain, u64 offset, void *to,
	u64 len)
{
	return copy_chain(virtio, chain->segments, chain->out_count, offset, to, NULL, len);
}

bool virtio_scatter(struct virtio *virtio, const struct virtio_chain *chain, u64 offset,
	const void *from, u64 len)
{
	return copy_chain(virtio, chain->segments + chain->out_count, chain->in_count, offset,
		NULL, from, len);
}
