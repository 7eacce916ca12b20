/* SPDX-License-Identifier: MIT */
/*
 * The life of a virtio device: status, features, interrupts, configuration.
 * Virtual I/O Device 1.2, chapters 2 and 3.
 *
 * Not modelled: legacy and transitional devices, packed rings, administration queues.
 */
#include "dev/virtio.h"
#include "base/log.h"

#include <string.h>

#define FEATURES_COMMON (VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1)
#define ISR_CONFIG 2

const struct field virtio_state[] = {
	FIELD(struct virtio, accepted),
	FIELD(struct virtio, device_feature_select),
	FIELD(struct virtio, driver_feature_select),
	FIELD(struct virtio, config_vector),
	FIELD(struct virtio, queue_select),
	FIELD(struct virtio, status),
	FIELD(struct virtio, isr),
	FIELD_ARRAY(struct virtio, config),
	FIELD(struct virtio, queues[0].size),
	FIELD(struct virtio, queues[0].enabled),
	FIELD(struct virtio, queues[0].vector),
	FIELD(struct virtio, queues[0].desc_address),
	FIELD(struct virtio, queues[0].driver_address),
	FIELD(struct virtio, queues[0].device_address),
	FIELD(struct virtio, queues[0].seen),
	FIELD(struct virtio, queues[0].next_avail),
	FIELD(struct virtio, queues[0].next_used),
	FIELD(struct virtio, queues[0].published),
	FIELD(struct virtio, queues[0].signalled),
	FIELD(struct virtio, queues[1].size),
	FIELD(struct virtio, queues[1].enabled),
	FIELD(struct virtio, queues[1].vector),
	FIELD(struct virtio, queues[1].desc_address),
	FIELD(struct virtio, queues[1].driver_address),
	FIELD(struct virtio, queues[1].device_address),
	FIELD(struct virtio, queues[1].seen),
	FIELD(struct virtio, queues[1].next_avail),
	FIELD(struct virtio, queues[1].next_used),
	FIELD(struct virtio, queues[1].published),
	FIELD(struct virtio, queues[1].signalled),
	{0},
};

int virtio_plug(struct virtio *virtio, const struct virtio_class *class, u64 features,
	struct pci_bus *bus, unsigned slot)
{
	virtio->class = class;
	virtio->offered = (class->features & features) | FEATURES_COMMON;
	virtio->config_vector = VIRTIO_NO_VECTOR;
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		virtio->queues[i].virtio = virtio;
		virtq_reset(&virtio->queues[i]);
	}
	return virtio_pci_plug(virtio, bus, slot);
}

bool virtio_live(const struct virtio *virtio)
{
	return (virtio->status & (VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_NEEDS_RESET)) ==
		VIRTIO_STATUS_DRIVER_OK && (virtio->pci.config[PCI_COMMAND] & PCI_COMMAND_MASTER);
}

/* By message where the driver assigned a vector, else by pin and ISR, 4.1.5.3. */
void virtio_interrupt(struct virtio *virtio, u16 vector, u8 isr)
{
	if (pci_msix_enabled(&virtio->pci)) {
		if (vector != VIRTIO_NO_VECTOR)
			pci_msix_notify(&virtio->pci, vector);
		return;
	}
	virtio->isr |= isr;
	pci_set_intx(&virtio->pci, true);
}

static void config_interrupt(struct virtio *virtio)
{
	if (virtio->status & VIRTIO_STATUS_DRIVER_OK)
		virtio_interrupt(virtio, virtio->config_vector, ISR_CONFIG);
}

void virtio_set_config(struct virtio *virtio, unsigned offset, const void *bytes, unsigned len)
{
	memcpy(virtio->config + offset, bytes, len);
	virtio->generation++;
	config_interrupt(virtio);
}

void virtio_break(struct virtio *virtio, const char *why)
{
	if (virtio->status & VIRTIO_STATUS_NEEDS_RESET)
		return;
	if (trace_on(TRACE_virtio))
		trace_print(TRACE_virtio, "%s needs a reset: %s", virtio->class->name, why);
	virtio->status |= VIRTIO_STATUS_NEEDS_RESET;
	config_interrupt(virtio);
}

void virtio_reset(struct virtio *virtio)
{
	if (virtio->class->reset)
		virtio->class->reset(virtio);
	virtio->status = 0;
	virtio->accepted = 0;
	virtio->device_feature_select = virtio->driver_feature_select = 0;
	virtio->queue_select = 0;
	virtio->config_vector = VIRTIO_NO_VECTOR;
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		virtq_reset(&virtio->queues[i]);
	virtio->isr = 0;
	pci_set_intx(&virtio->pci, false);
}

/* 3.1.1: FEATURES_OK stays clear where the driver's choice cannot be served, and DRIVER_OK means
 * nothing without it. */
void virtio_write_status(struct virtio *virtio, u8 status)
{
	u8 old = virtio->status;

	if (status == 0) {
		virtio_reset(virtio);
		return;
	}
	status &= VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK |
		VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_FAILED;
	if (!(old & VIRTIO_STATUS_FEATURES_OK) &&
		((virtio->accepted & ~virtio->offered) || !virtio_has(virtio, VIRTIO_F_VERSION_1)))
		status &= ~VIRTIO_STATUS_FEATURES_OK;
	/* 2.1.1: the driver does not clear bits but by reset. */
	status |= old;
	if (!(status & VIRTIO_STATUS_FEATURES_OK))
		status &= ~VIRTIO_STATUS_DRIVER_OK;
	virtio->status = status;
	if (trace_on(TRACE_virtio))
		trace_print(TRACE_virtio, "%s status %02x features %llx", virtio->class->name,
			status, (unsigned long long)virtio->accepted);
	if ((status & ~old & VIRTIO_STATUS_DRIVER_OK) && virtio->class->ready)
		virtio->class->ready(virtio);
}
