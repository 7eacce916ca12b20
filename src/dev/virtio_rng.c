/* SPDX-License-Identifier: MIT */
/*
 * The virtio entropy device. Virtual I/O Device 1.2, 5.4. The host's getrandom(2) never blocks
 * once the host has booted, so requests are served where they are noticed.
 */
#include "dev/virtio_rng.h"
#include "dev/virtio.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#define RNG_QUEUE_SIZE 8
/* What one request gets at most: the driver is told how much it got and may ask again. */
#define RNG_MAX 4096

struct rng {
	struct virtio virtio;
	struct virtio_chain chain;
};

static void serve(struct rng *rng)
{
	struct virtq *queue = &rng->virtio.queues[0];
	u8 bytes[RNG_MAX];
	u64 len = MIN(rng->chain.in_len, RNG_MAX);
	ssize_t got = getrandom(bytes, len, GRND_NONBLOCK);

	if (got < 0)
		got = 0;
	if (virtio_scatter(&rng->virtio, &rng->chain, 0, bytes, got))
		virtq_push(queue, rng->chain.head, got);
}

static void rng_notify(struct virtio *virtio, unsigned index)
{
	struct rng *rng = container_of(virtio, struct rng, virtio);
	struct virtq *queue = &virtio->queues[index];
	unsigned budget = VIRTQ_BUDGET(queue);

	do {
		while (budget && virtq_pop(queue, &rng->chain)) {
			budget--;
			serve(rng);
		}
	} while (virtq_listen(queue) && budget);
	virtq_publish(queue);
}

static void rng_free(struct virtio *virtio)
{
	free(container_of(virtio, struct rng, virtio));
}

static const struct virtio_class rng_class = {
	.name = "virtio-rng",
	.id = 4,
	.class_code = 0x00ff00,
	.queues = 1,
	.queue_size = RNG_QUEUE_SIZE,
	.notify = rng_notify,
	.free = rng_free,
};

int virtio_rng_plug(struct pci_bus *bus, unsigned slot)
{
	struct rng *rng = calloc(1, sizeof(*rng));
	int error;

	if (!rng)
		return -ENOMEM;
	error = virtio_plug(&rng->virtio, &rng_class, 0, bus, slot);
	if (error)
		free(rng);
	return error;
}
