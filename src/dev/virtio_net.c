/* SPDX-License-Identifier: MIT */
/*
 * The virtio network card. Virtual I/O Device 1.2, 5.1.
 *
 * Frames are copied between the rings and the backend. Checksums that the driver leaves open are
 * filled in here; to the driver frames of a backend in this process are called valid.
 *
 * Not modelled: segmentation offload, several queue pairs, the control queue (the card takes
 * every frame it is given), a link that goes down.
 */
#include "dev/virtio_net.h"
#include "dev/virtio.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NET_F_CSUM BIT(0)
#define NET_F_GUEST_CSUM BIT(1)
#define NET_F_MAC BIT(5)
#define NET_F_MRG_RXBUF BIT(15)
#define NET_F_STATUS BIT(16)

#define NET_HDR_NEEDS_CSUM 1
#define NET_HDR_DATA_VALID 2
#define NET_STATUS_LINK_UP 1

enum { QUEUE_RX, QUEUE_TX };

#define NET_QUEUE_SIZE 256
#define NET_BACKLOG 128 /* frames that wait for the driver's buffers */

/* Before every frame, 5.1.6. */
struct net_header {
	u8 flags;
	u8 gso_type;
	u16 hdr_len;
	u16 gso_size;
	u16 csum_start;
	u16 csum_offset;
	u16 num_buffers;
};

struct net_config {
	u8 mac[6];
	u16 status;
	u16 max_virtqueue_pairs;
	u16 mtu;
};

struct net_frame {
	unsigned len;
	u8 bytes[NET_FRAME_MAX];
};

struct net {
	struct virtio virtio;
	struct net_backend *backend;
	unsigned backlog_first, backlog_count;
	struct virtio_chain chain, first; /* being worked on; the first buffer of a frame */
	struct net_frame frame;           /* on its way out */
	struct net_frame backlog[NET_BACKLOG];
};

static struct net *to_net(struct virtio *virtio)
{
	return container_of(virtio, struct net, virtio);
}

/* ---- from the guest ---- */

/*
 * Completes the checksum that the driver began (5.1.6.2): the ones' complement sum from csum_start
 * on, which holds the pseudo header's sum at csum_offset already. False: it lies outside.
 */
static bool fill_checksum(struct net_frame *frame, const struct net_header *header)
{
	unsigned start = header->csum_start, at = start + header->csum_offset;
	u32 sum = 0;

	if (at + 2 > frame->len)
		return false;
	for (unsigned i = start; i < frame->len; i++)
		sum += (i - start) & 1 ? frame->bytes[i] : frame->bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	sum = ~sum & 0xffff;
	/* UDP takes 0 for "none" (RFC 768); both mean the same number. */
	if (sum == 0)
		sum = 0xffff;
	frame->bytes[at] = sum >> 8;
	frame->bytes[at + 1] = sum;
	return true;
}

static void transmit(struct net *net)
{
	struct net_frame *frame = &net->frame;
	const struct virtio_chain *chain = &net->chain;
	struct net_header header;
	u64 len = chain->out_len - sizeof(header);

	/* What is no frame is dropped, as a switch would. */
	if (chain->out_len < sizeof(header) || len > NET_FRAME_MAX)
		return;
	if (!virtio_gather(&net->virtio, chain, 0, &header, sizeof(header)) ||
		!virtio_gather(&net->virtio, chain, sizeof(header), frame->bytes, len))
		return;
	frame->len = len;
	if (header.gso_type)
		return;
	if ((header.flags & NET_HDR_NEEDS_CSUM) &&
		(!virtio_has(&net->virtio, NET_F_CSUM) || !fill_checksum(frame, &header)))
		return;
	net->backend->send(net->backend, frame->bytes, frame->len);
}

static void transmit_all(struct net *net)
{
	struct virtq *queue = &net->virtio.queues[QUEUE_TX];
	unsigned budget = VIRTQ_BUDGET(queue);

	virtq_ignore(queue);
	do {
		while (budget && virtq_pop(queue, &net->chain)) {
			budget--;
			transmit(net);
			virtq_push(queue, net->chain.head, 0);
		}
	} while (virtq_listen(queue) && budget);
	virtq_publish(queue);
	net->backend->sent(net->backend);
}

/* ---- to the guest ---- */

/*
 * Lays a frame into the driver's buffers, several where it agreed to that (5.1.6.4). False: there
 * are not enough yet, nothing was used.
 */
static bool receive(struct net *net, const u8 *bytes, unsigned len)
{
	struct virtio *virtio = &net->virtio;
	struct virtq *queue = &virtio->queues[QUEUE_RX];
	struct net_header header = {.num_buffers = 0};
	bool merge = virtio_has(virtio, NET_F_MRG_RXBUF);
	u8 whole[sizeof(header) + NET_FRAME_MAX];
	unsigned done = 0, total = sizeof(header) + len;
	u16 buffers = 0;

	if (net->backend->checksums_good && virtio_has(virtio, NET_F_GUEST_CSUM))
		header.flags = NET_HDR_DATA_VALID;
	memcpy(whole, &header, sizeof(header));
	memcpy(whole + sizeof(header), bytes, len);
	while (done < total) {
		struct virtio_chain *chain = buffers ? &net->chain : &net->first;
		u64 part;

		if (!virtq_pop(queue, chain)) {
			virtq_rewind(queue, buffers);
			return !virtio_live(virtio);
		}
		/* 5.1.6.3.1: what a buffer must hold. */
		if (chain->in_len < (merge ? (buffers ? 1 : sizeof(header)) : total)) {
			virtio_break(virtio, "a receive buffer is too small");
			return true;
		}
		part = MIN(chain->in_len, total - done);
		if (!virtio_scatter(virtio, chain, 0, whole + done, part))
			return true;
		virtq_push(queue, chain->head, part);
		done += part;
		buffers++;
	}
	if (!virtio_scatter(virtio, &net->first, offsetof(struct net_header, num_buffers), &buffers,
			sizeof(buffers)))
		return true;
	virtq_publish(queue);
	return true;
}

static void receive_backlog(struct net *net)
{
	struct virtq *queue = &net->virtio.queues[QUEUE_RX];

	virtq_ignore(queue);
	while (net->backlog_count) {
		const struct net_frame *frame = &net->backlog[net->backlog_first];

		if (!receive(net, frame->bytes, frame->len)) {
			/* Wait for buffers; no other time is the driver asked to tell of them. */
			if (virtq_listen(queue))
				continue;
			return;
		}
		net->backlog_first = (net->backlog_first + 1) % NET_BACKLOG;
		net->backlog_count--;
	}
}

static void deliver(void *opaque, const u8 *bytes, unsigned len)
{
	struct net *net = opaque;
	struct net_frame *frame;

	/* A full backlog loses frames, as a real card would. */
	if (!virtio_live(&net->virtio) || !net->virtio.queues[QUEUE_RX].enabled ||
		len > NET_FRAME_MAX || net->backlog_count == NET_BACKLOG)
		return;
	if (net->backlog_count == 0 && receive(net, bytes, len))
		return;
	frame = &net->backlog[(net->backlog_first + net->backlog_count) % NET_BACKLOG];
	memcpy(frame->bytes, bytes, len);
	frame->len = len;
	if (net->backlog_count++ == 0)
		receive_backlog(net);
}

/* ---- life ---- */

static void net_notify(struct virtio *virtio, unsigned queue)
{
	if (queue == QUEUE_TX)
		transmit_all(to_net(virtio));
	else
		receive_backlog(to_net(virtio));
}

static void net_ready(struct virtio *virtio)
{
	virtq_ignore(&virtio->queues[QUEUE_RX]);
}

static void net_reset(struct virtio *virtio)
{
	struct net *net = to_net(virtio);

	net->backlog_first = net->backlog_count = 0;
}

static void net_free(struct virtio *virtio)
{
	struct net *net = to_net(virtio);

	net->backend->free(net->backend);
	free(net);
}

static const struct virtio_class net_class = {
	.name = "virtio-net",
	.id = 1,
	.class_code = 0x020000,
	.queues = 2,
	.queue_size = NET_QUEUE_SIZE,
	.features = NET_F_CSUM | NET_F_GUEST_CSUM | NET_F_MAC | NET_F_MRG_RXBUF | NET_F_STATUS,
	.config_len = sizeof(struct net_config),
	.notify = net_notify,
	.reset = net_reset,
	.ready = net_ready,
	.free = net_free,
};

int virtio_net_plug(struct pci_bus *bus, unsigned slot, const struct virtio_net_options *options)
{
	struct net_config config = {.status = NET_STATUS_LINK_UP, .max_virtqueue_pairs = 1,
		.mtu = 1500};
	struct net *net = calloc(1, sizeof(*net));
	int error;

	if (!net) {
		options->backend->free(options->backend);
		return -ENOMEM;
	}
	net->backend = options->backend;
	error = virtio_plug(&net->virtio, &net_class, ~0ull, bus, slot);
	if (error) {
		net_free(&net->virtio);
		return error;
	}
	memcpy(config.mac, options->mac, sizeof(config.mac));
	virtio_set_config(&net->virtio, 0, &config, sizeof(config));
	net->backend->deliver = deliver;
	net->backend->card = net;
	return 0;
}
