/* SPDX-License-Identifier: MIT */
/* A virtio network card, and what it asks of whatever its cable leads to. */
#ifndef DEV_VIRTIO_NET_H
#define DEV_VIRTIO_NET_H

#include "base/types.h"

struct pci_bus;

#define NET_FRAME_MAX 1514u /* Ethernet header and MTU 1500, no FCS */

/* The far end of the cable. All calls with the machine lock held. */
struct net_backend {
	/* A frame from the guest, NET_FRAME_MAX bytes at most. */
	void (*send)(struct net_backend *backend, const u8 *frame, unsigned len);
	/* No more frames for now. */
	void (*sent)(struct net_backend *backend);
	void (*free)(struct net_backend *backend);
	/* Set by the card: takes a frame for the guest. It may come from inside of send(). */
	void (*deliver)(void *card, const u8 *frame, unsigned len);
	void *card;
	/* Frames it delivers were made in this process: their checksums need no check. */
	bool checksums_good;
};

struct virtio_net_options {
	struct net_backend *backend; /* freed with the card, or when this call fails */
	u8 mac[6];
};

int virtio_net_plug(struct pci_bus *bus, unsigned slot, const struct virtio_net_options *options);

#endif
