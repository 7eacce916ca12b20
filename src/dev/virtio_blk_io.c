/* SPDX-License-Identifier: MIT */
/*
 * The virtio block device's worker: serves requests on the host's file, one after the other.
 * What goes wrong on the host, a full disk included, is the guest's I/O error.
 */
#include "dev/virtio_blk_io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static const u8 zeroes[64 * KIB];

/* ---- one request ---- */

/* Moves all of it, whatever pieces the host does it in. The buffers are used up. */
static int transfer(int fd, struct blk_request *request)
{
	struct iovec pieces[BLK_SEGMENTS], *piece = pieces;
	unsigned count = request->count;
	u64 offset = request->offset, left = request->len;

	memcpy(pieces, request->buffers, count * sizeof(*pieces));
	while (left) {
		ssize_t moved = request->kind == BLK_READ ? preadv(fd, piece, count, offset)
							  : pwritev(fd, piece, count, offset);

		if (moved < 0 && errno == EINTR)
			continue;
		/* 0: the file was cut under us. */
		if (moved <= 0)
			return moved ? -errno : -EIO;
		offset += moved;
		left -= moved;
		while (count && (size_t)moved >= piece->iov_len) {
			moved -= piece->iov_len;
			piece++;
			count--;
		}
		if (moved) {
			piece->iov_base = (u8 *)piece->iov_base + moved;
			piece->iov_len -= moved;
		}
	}
	return 0;
}

static int write_zeroes(int fd, u64 offset, u64 len)
{
	while (len) {
		ssize_t moved = pwrite(fd, zeroes, MIN(len, sizeof(zeroes)), offset);

		if (moved < 0 && errno == EINTR)
			continue;
		if (moved <= 0)
			return moved ? -errno : -EIO;
		offset += moved;
		len -= moved;
	}
	return 0;
}

static bool not_supported(int error)
{
	return error == EOPNOTSUPP || error == ENOSYS || error == ENODEV || error == EINVAL;
}

static int change_allocation(int fd, int mode, const struct blk_range *range)
{
	int result;

	do
		result = fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, range->offset, range->len);
	while (result && errno == EINTR);
	return result ? -errno : 0;
}

/* A hint: a host that cannot take it loses nothing. */
static int discard(int fd, const struct blk_range *range)
{
	int error = change_allocation(fd, FALLOC_FL_PUNCH_HOLE, range);

	return error && not_supported(-error) ? 0 : error;
}

static int zero(int fd, const struct blk_range *range)
{
	int error = change_allocation(fd,
		range->unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE, range);

	return error && not_supported(-error) ? write_zeroes(fd, range->offset, range->len) : error;
}

static int serve_ranges(int fd, const struct blk_request *request)
{
	int error = 0;

	for (unsigned i = 0; i < request->count && !error; i++) {
		if (request->ranges[i].len == 0)
			continue;
		error = request->kind == BLK_ZERO ? zero(fd, &request->ranges[i])
						  : discard(fd, &request->ranges[i]);
	}
	return error;
}

static void serve(int fd, struct blk_request *request)
{
	int error = 0;

	switch (request->kind) {
	case BLK_NONE:
		break;
	case BLK_READ:
	case BLK_WRITE:
		error = transfer(fd, request);
		break;
	case BLK_FLUSH:
		error = fdatasync(fd) ? -errno : 0;
		break;
	case BLK_DISCARD:
	case BLK_ZERO:
		error = serve_ranges(fd, request);
		break;
	}
	if (!error && request->sync && request->kind != BLK_READ)
		error = fdatasync(fd) ? -errno : 0;
	request->status = error ? BLK_S_IOERR : BLK_S_OK;
}

bool blk_read_cached(struct blk_worker *worker, struct blk_request *request)
{
	ssize_t got;

	if (worker->no_cached_reads)
		return false;
	got = preadv2(worker->disk->fd, request->buffers, request->count, request->offset,
		RWF_NOWAIT);
	if (got < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		worker->no_cached_reads = true;
	return got >= 0 && (u64)got == request->len;
}

/* ---- the thread ---- */

static struct blk_request *next_request(struct blk_worker *worker)
{
	struct blk_request *request = worker->first;

	if (request) {
		worker->first = request->next;
		if (!worker->first)
			worker->last = &worker->first;
	}
	return request;
}

static void *work(void *opaque)
{
	struct blk_worker *worker = opaque;

	pthread_mutex_lock(&worker->lock);
	while (!worker->stop) {
		struct blk_request *request = next_request(worker);

		if (!request) {
			pthread_cond_wait(&worker->work, &worker->lock);
			continue;
		}
		worker->busy = true;
		pthread_mutex_unlock(&worker->lock);
		serve(worker->disk->fd, request);
		pthread_mutex_lock(&worker->lock);
		worker->busy = false;
		/* It can only fail when the counter is full: then the loop is awake already. */
		if (!worker->done)
			eventfd_write(worker->event_fd, 1);
		request->next = worker->done;
		worker->done = request;
		pthread_cond_signal(&worker->idle);
	}
	pthread_mutex_unlock(&worker->lock);
	return NULL;
}

int blk_worker_start(struct blk_worker *worker, const struct disk *disk)
{
	sigset_t all, old;
	int error;

	*worker = (struct blk_worker){.disk = disk};
	worker->last = &worker->first;
	worker->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (worker->event_fd < 0)
		return -errno;
	pthread_mutex_init(&worker->lock, NULL);
	pthread_cond_init(&worker->work, NULL);
	pthread_cond_init(&worker->idle, NULL);
	/* Signals are for the threads that know what to do with them. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(&worker->thread, NULL, work, worker);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error)
		close(worker->event_fd);
	return -error;
}

void blk_worker_add(struct blk_worker *worker, struct blk_request *request)
{
	pthread_mutex_lock(&worker->lock);
	request->next = NULL;
	*worker->last = request;
	worker->last = &request->next;
	pthread_cond_signal(&worker->work);
	pthread_mutex_unlock(&worker->lock);
}

struct blk_request *blk_worker_take(struct blk_worker *worker)
{
	struct blk_request *request, *reversed = NULL;
	eventfd_t count;

	eventfd_read(worker->event_fd, &count);
	pthread_mutex_lock(&worker->lock);
	request = worker->done;
	worker->done = NULL;
	pthread_mutex_unlock(&worker->lock);
	while (request) {
		struct blk_request *next = request->next;

		request->next = reversed;
		reversed = request;
		request = next;
	}
	return reversed;
}

void blk_worker_cancel(struct blk_worker *worker)
{
	pthread_mutex_lock(&worker->lock);
	worker->first = NULL;
	worker->last = &worker->first;
	while (worker->busy)
		pthread_cond_wait(&worker->idle, &worker->lock);
	worker->done = NULL;
	pthread_mutex_unlock(&worker->lock);
}

void blk_worker_stop(struct blk_worker *worker)
{
	pthread_mutex_lock(&worker->lock);
	worker->first = NULL;
	worker->stop = true;
	pthread_cond_signal(&worker->work);
	pthread_mutex_unlock(&worker->lock);
	pthread_join(worker->thread, NULL);
	pthread_mutex_destroy(&worker->lock);
	pthread_cond_destroy(&worker->work);
	pthread_cond_destroy(&worker->idle);
}
