/* SPDX-License-Identifier: MIT */
/* A virtio entropy device over getrandom(2). */
#ifndef DEV_VIRTIO_RNG_H
#define DEV_VIRTIO_RNG_H

#include "base/types.h"

struct pci_bus;

/* -errno: the slot is taken, or no memory. */
int virtio_rng_plug(struct pci_bus *bus, unsigned slot);

#endif
