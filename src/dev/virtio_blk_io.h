/* SPDX-License-Identifier: MIT */
/* The virtio block device's requests as the host sees them, and the thread that serves them. */
#ifndef DEV_VIRTIO_BLK_IO_H
#define DEV_VIRTIO_BLK_IO_H

#include "dev/disk_raw.h"

#include <pthread.h>
#include <sys/uio.h>

#define BLK_SEGMENTS 128 /* pieces of memory that a request may name */
#define BLK_RANGES 16    /* pieces of disk that a discard may name */

enum { BLK_S_OK, BLK_S_IOERR, BLK_S_UNSUPP };

enum blk_kind { BLK_NONE, BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_ZERO };

struct blk_range {
	u64 offset, len;
	bool unmap;
};

struct blk_request {
	struct blk_request *next;
	enum blk_kind kind;
	u16 head;
	u8 status;
	bool sync;          /* a write is durable when it is done */
	u64 status_address; /* guest-physical */
	u64 offset, len;    /* bytes of the disk */
	unsigned count;     /* of buffers, or of ranges */
	struct iovec buffers[BLK_SEGMENTS];
	u64 addresses[BLK_SEGMENTS]; /* guest-physical, of the buffers */
	struct blk_range ranges[BLK_RANGES];
};

struct blk_worker {
	const struct disk *disk;
	int event_fd;         /* readable: blk_worker_take() has something */
	bool no_cached_reads; /* the host cannot tell what is cached */
	pthread_t thread;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t work, idle;
	struct blk_request *first, **last; /* waiting, in order */
	struct blk_request *done;
	bool busy, stop;
};

/* -errno. The caller closes event_fd, after blk_worker_stop(). */
int blk_worker_start(struct blk_worker *worker, const struct disk *disk);
/* Drops what waits, waits for what runs, ends the thread. */
void blk_worker_stop(struct blk_worker *worker);
void blk_worker_add(struct blk_worker *worker, struct blk_request *request);
/* Those that are done, linked by next, in order. */
struct blk_request *blk_worker_take(struct blk_worker *worker);
/* Drops what waits and what is done, waits for what runs: no request is in use after. */
void blk_worker_cancel(struct blk_worker *worker);
/* Serves a read if that takes no waiting for the disk. */
bool blk_read_cached(struct blk_worker *worker, struct blk_request *request);

#endif
