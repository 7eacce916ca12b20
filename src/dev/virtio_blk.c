/* SPDX-License-Identifier: MIT */
/*
 * The virtio block device. Virtual I/O Device 1.2, 5.2.
 *
 * Requests are parsed on the thread that notices them, with their buffers mapped, so that data
 * moves between file and guest RAM without a copy. Reads that the host has cached are served at
 * once; all else goes to a worker thread, whose completions come back through the machine's
 * loop. The worker touches only the request it works on, its list, and the guest's buffers.
 *
 * Not modelled: several queues, topology, write-cache switching, zones, secure erase, lifetime.
 */
#include "dev/virtio_blk.h"
#include "base/loop.h"
#include "dev/virtio.h"
#include "dev/virtio_blk_io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BLK_F_SIZE_MAX BIT(1)
#define BLK_F_SEG_MAX BIT(2)
#define BLK_F_RO BIT(5)
#define BLK_F_BLK_SIZE BIT(6)
#define BLK_F_FLUSH BIT(9)
#define BLK_F_DISCARD BIT(13)
#define BLK_F_WRITE_ZEROES BIT(14)

/* Request types, 5.2.6. */
#define BLK_T_IN 0
#define BLK_T_OUT 1
#define BLK_T_FLUSH 4
#define BLK_T_GET_ID 8
#define BLK_T_DISCARD 11
#define BLK_T_WRITE_ZEROES 13

#define BLK_ID_LEN 20
#define BLK_QUEUE_SIZE 128
#define BLK_REQUESTS 64
/* 64 MiB: a host without hole punching writes that many zeroes in reasonable time. */
#define BLK_MAX_SECTORS (64 * MIB / DISK_SECTOR)
/* What one request may move: a reset waits for one that runs. */
#define BLK_TRANSFER_MAX (128 * MIB)
/* Cached reads up to this size are copied by the vCPU's thread itself. */
#define BLK_INLINE_MAX (256 * KIB)
#define WRITE_ZEROES_UNMAP 1

/* Device configuration, 5.2.4. */
struct blk_config {
	u64 capacity;
	u32 size_max;
	u32 seg_max;
	u16 cylinders;
	u8 heads;
	u8 sectors;
	u32 blk_size;
	u8 topology[8];
	u8 writeback;
	u8 unused0;
	u16 num_queues;
	u32 max_discard_sectors;
	u32 max_discard_seg;
	u32 discard_sector_alignment;
	u32 max_write_zeroes_sectors;
	u32 max_write_zeroes_seg;
	u8 write_zeroes_may_unmap;
	u8 unused1[3];
};
_Static_assert(sizeof(struct blk_config) == 64, "5.2.4, padded");

struct blk_header {
	u32 type;
	u32 reserved;
	u64 sector;
};

struct blk_segment {
	u64 sector;
	u32 sectors;
	u32 flags;
};

struct blk {
	struct virtio virtio;
	struct disk disk;
	struct loop *loop;
	struct blk_worker worker;
	char serial[BLK_ID_LEN];
	struct blk_request *unused; /* the pool */
	struct blk_request requests[BLK_REQUESTS];
	struct virtio_chain chain;  /* the one that is being parsed */
};

static struct blk *to_blk(struct virtio *virtio)
{
	return container_of(virtio, struct blk, virtio);
}

/* ---- parsing ---- */

/* Maps `len` bytes of the chain's readable or writable part, from byte `skip` on. A status; what
 * is not RAM breaks the device. */
static int map_buffers(struct blk *blk, struct blk_request *request, bool writable, u64 skip,
	u64 len)
{
	const struct virtio_chain *chain = &blk->chain;
	const struct virtio_segment *segment = chain->segments + (writable ? chain->out_count : 0);

	for (; len; segment++) {
		u64 address = segment->address + skip, left = segment->len;

		if (skip >= left) {
			skip -= left;
			continue;
		}
		left = MIN(left - skip, len);
		len -= left;
		skip = 0;
		while (left) {
			u64 got = 0;
			void *host = dma_map(blk->virtio.memory, address, left, writable, &got);

			if (!host || !got) {
				virtio_break(&blk->virtio, "a buffer is not in RAM");
				return BLK_S_IOERR;
			}
			if (request->count == BLK_SEGMENTS)
				return BLK_S_IOERR;
			request->buffers[request->count] = (struct iovec){host, got};
			request->addresses[request->count++] = address;
			address += got;
			left -= got;
		}
	}
	return BLK_S_OK;
}

static bool in_disk(const struct blk *blk, u64 sector, u64 sectors)
{
	u64 capacity = blk->disk.size / DISK_SECTOR;

	return sector <= capacity && sectors <= capacity - sector;
}

static int parse_transfer(struct blk *blk, struct blk_request *request, u64 sector)
{
	bool read = request->kind == BLK_READ;
	u64 len = read ? blk->chain.in_len - 1 : blk->chain.out_len - sizeof(struct blk_header);

	if (len % DISK_SECTOR || len > BLK_TRANSFER_MAX ||
		!in_disk(blk, sector, len / DISK_SECTOR) || (!read && blk->disk.read_only))
		return BLK_S_IOERR;
	request->offset = sector * DISK_SECTOR;
	request->len = len;
	return map_buffers(blk, request, read, read ? 0 : sizeof(struct blk_header), len);
}

static int parse_ranges(struct blk *blk, struct blk_request *request)
{
	u64 len = blk->chain.out_len - sizeof(struct blk_header);
	struct blk_segment segments[BLK_RANGES];
	bool zeroes = request->kind == BLK_ZERO;

	if (blk->disk.read_only)
		return BLK_S_IOERR;
	if (len == 0 || len % sizeof(segments[0]) || len > sizeof(segments))
		return BLK_S_UNSUPP;
	if (!virtio_gather(&blk->virtio, &blk->chain, sizeof(struct blk_header), segments, len))
		return BLK_S_IOERR;
	for (unsigned i = 0; i < len / sizeof(segments[0]); i++) {
		const struct blk_segment *segment = &segments[i];

		/* 5.2.6.2: flags that are not known, or "unmap" in a discard. */
		if (segment->flags & ~(zeroes ? WRITE_ZEROES_UNMAP : 0))
			return BLK_S_UNSUPP;
		if (segment->sectors > BLK_MAX_SECTORS ||
			!in_disk(blk, segment->sector, segment->sectors))
			return BLK_S_IOERR;
		request->ranges[request->count++] = (struct blk_range){
			.offset = segment->sector * DISK_SECTOR,
			.len = (u64)segment->sectors * DISK_SECTOR,
			.unmap = segment->flags & WRITE_ZEROES_UNMAP,
		};
	}
	return BLK_S_OK;
}

static int get_id(struct blk *blk)
{
	u64 len = MIN(blk->chain.in_len - 1, BLK_ID_LEN);

	return virtio_scatter(&blk->virtio, &blk->chain, 0, blk->serial, len) ? BLK_S_OK
									     : BLK_S_IOERR;
}

/* A status, with kind BLK_NONE where nothing is left to do, or BLK_S_OK and work in *request. */
static int parse(struct blk *blk, struct blk_request *request)
{
	struct blk_header header;

	request->kind = BLK_NONE;
	if (!virtio_gather(&blk->virtio, &blk->chain, 0, &header, sizeof(header)))
		return BLK_S_IOERR;
	switch (header.type) {
	case BLK_T_IN:
		request->kind = BLK_READ;
		return parse_transfer(blk, request, header.sector);
	case BLK_T_OUT:
		request->kind = BLK_WRITE;
		return parse_transfer(blk, request, header.sector);
	case BLK_T_FLUSH:
		request->kind = BLK_FLUSH;
		return BLK_S_OK;
	case BLK_T_GET_ID:
		return get_id(blk);
	case BLK_T_DISCARD:
		request->kind = BLK_DISCARD;
		return parse_ranges(blk, request);
	case BLK_T_WRITE_ZEROES:
		request->kind = BLK_ZERO;
		return parse_ranges(blk, request);
	}
	return BLK_S_UNSUPP;
}

/* The status is the last byte that the device may write, 5.2.6. */
static u64 status_address(const struct virtio_chain *chain)
{
	unsigned last = chain->out_count + chain->in_count - 1;

	while (chain->segments[last].len == 0)
		last--;
	return chain->segments[last].address + chain->segments[last].len - 1;
}

/* ---- life of a request ---- */

/* The worker wrote while the guest ran: code that was translated from these pages in the
 * meantime, and the dirty log, must hear of it when it is done. */
static void note_written(struct blk *blk, const struct blk_request *request)
{
	if (request->kind != BLK_READ)
		return;
	for (unsigned i = 0; i < request->count; i++)
		dma_map_written(blk->virtio.memory, request->addresses[i],
			request->buffers[i].iov_len);
}

static void complete(struct blk *blk, struct blk_request *request)
{
	u8 status = request->status;

	note_written(blk, request);
	if (dma_write(blk->virtio.memory, request->status_address, &status, 1))
		virtio_break(&blk->virtio, "a status byte is not in RAM");
	virtq_push(&blk->virtio.queues[0], request->head,
		request->kind == BLK_READ ? request->len + 1 : 1);
	request->next = blk->unused;
	blk->unused = request;
}

static void start(struct blk *blk, struct blk_request *request)
{
	const struct virtio_chain *chain = &blk->chain;

	request->head = chain->head;
	request->count = 0;
	request->len = 0;
	/* Without FLUSH the driver takes every write for durable, 5.2.6.2. */
	request->sync = !virtio_has(&blk->virtio, BLK_F_FLUSH);
	request->status_address = status_address(chain);
	request->status = parse(blk, request);
	if (request->status != BLK_S_OK || request->kind == BLK_NONE ||
		(request->kind == BLK_READ && request->len <= BLK_INLINE_MAX &&
			blk_read_cached(&blk->worker, request)))
		complete(blk, request);
	else
		blk_worker_add(&blk->worker, request);
}

/* Takes what the pool has room for; what is left waits for the next completion. */
static void serve(struct blk *blk)
{
	struct virtio *virtio = &blk->virtio;
	struct virtq *queue = &virtio->queues[0];
	unsigned budget = VIRTQ_BUDGET(queue);

	virtq_ignore(queue);
	do {
		while (blk->unused && budget && virtq_pop(queue, &blk->chain)) {
			struct blk_request *request = blk->unused;

			if (blk->chain.in_len == 0) {
				virtio_break(virtio, "a request has no place for its status");
				return;
			}
			budget--;
			blk->unused = request->next;
			start(blk, request);
		}
	} while (blk->unused && virtq_listen(queue) && budget);
	virtq_publish(queue);
}

static void blk_notify(struct virtio *virtio, unsigned queue)
{
	serve(to_blk(virtio));
}

static void worker_done(void *opaque, int fd, unsigned events)
{
	struct blk *blk = opaque;
	struct blk_request *request = blk_worker_take(&blk->worker);

	while (request) {
		struct blk_request *next = request->next;

		complete(blk, request);
		request = next;
	}
	serve(blk);
}

/* ---- life of the device ---- */

static void fill_pool(struct blk *blk)
{
	blk->unused = NULL;
	for (unsigned i = 0; i < BLK_REQUESTS; i++) {
		blk->requests[i].next = blk->unused;
		blk->unused = &blk->requests[i];
	}
}

static void blk_reset(struct virtio *virtio)
{
	struct blk *blk = to_blk(virtio);

	blk_worker_cancel(&blk->worker);
	for (unsigned i = 0; i < BLK_REQUESTS; i++) {
		note_written(blk, &blk->requests[i]);
		blk->requests[i].kind = BLK_NONE;
	}
	fill_pool(blk);
}

static void blk_free(struct virtio *virtio)
{
	struct blk *blk = to_blk(virtio);

	blk_worker_stop(&blk->worker);
	loop_watch(blk->loop, blk->worker.event_fd, 0, NULL, NULL);
	close(blk->worker.event_fd);
	disk_close(&blk->disk);
	free(blk);
}

static const struct virtio_class blk_class = {
	.name = "virtio-blk",
	.id = 2,
	.class_code = 0x010000,
	.queues = 1,
	.queue_size = BLK_QUEUE_SIZE,
	.features = BLK_F_SIZE_MAX | BLK_F_SEG_MAX | BLK_F_RO | BLK_F_BLK_SIZE | BLK_F_FLUSH |
		BLK_F_DISCARD | BLK_F_WRITE_ZEROES,
	.config_len = 60,
	.notify = blk_notify,
	.reset = blk_reset,
	.free = blk_free,
};

static void set_config(struct blk *blk)
{
	struct blk_config config = {
		.capacity = blk->disk.size / DISK_SECTOR,
		.size_max = BLK_TRANSFER_MAX / BLK_SEGMENTS,
		.seg_max = BLK_SEGMENTS - 2,
		.blk_size = DISK_SECTOR,
		.num_queues = 1,
		.max_discard_sectors = BLK_MAX_SECTORS,
		.max_discard_seg = BLK_RANGES,
		.discard_sector_alignment = 4096 / DISK_SECTOR,
		.max_write_zeroes_sectors = BLK_MAX_SECTORS,
		.max_write_zeroes_seg = BLK_RANGES,
		.write_zeroes_may_unmap = 1,
	};

	virtio_set_config(&blk->virtio, 0, &config, sizeof(config));
}

static int start_worker(struct blk *blk)
{
	int error;

	error = blk_worker_start(&blk->worker, &blk->disk);
	if (error)
		return error;
	error = loop_watch(blk->loop, blk->worker.event_fd, LOOP_READ, worker_done, blk);
	if (error) {
		blk_worker_stop(&blk->worker);
		close(blk->worker.event_fd);
	}
	return error;
}

int virtio_blk_plug(struct pci_bus *bus, unsigned slot, const struct virtio_blk_options *options)
{
	u64 features = options->disk.read_only ? ~(BLK_F_DISCARD | BLK_F_WRITE_ZEROES) : ~BLK_F_RO;
	struct blk *blk = calloc(1, sizeof(*blk));
	int error = -ENOMEM;

	if (!blk)
		goto no_memory;
	blk->disk = options->disk;
	blk->loop = options->loop;
	if (options->serial)
		memcpy(blk->serial, options->serial, strnlen(options->serial, BLK_ID_LEN));
	fill_pool(blk);
	error = start_worker(blk);
	if (error)
		goto no_worker;
	error = virtio_plug(&blk->virtio, &blk_class, features, bus, slot);
	if (error)
		goto no_slot;
	set_config(blk);
	return 0;

no_slot:
	blk_free(&blk->virtio);
	return error;
no_worker:
	free(blk);
no_memory:
	close(options->disk.fd);
	return error;
}
