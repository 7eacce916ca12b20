/* SPDX-License-Identifier: MIT */
/*
 * Virtio over PCI: the registers and capabilities of Virtual I/O Device 1.2, 4.1.
 *
 * BAR 0 holds the four structures, a page each; BAR 2 MSI-X. A vector for each queue and one for
 * configuration changes.
 *
 * Not modelled: the legacy interface, queue reset, notification data.
 */
#include "dev/virtio.h"

#include <stddef.h>
#include <string.h>

#define VIRTIO_BAR 0
#define VIRTIO_BAR_SIZE 0x4000
#define MSIX_BAR 2

/* What lies where in the BAR. */
enum { AREA_COMMON, AREA_ISR, AREA_DEVICE, AREA_NOTIFY };
#define AREA_SIZE 0x1000
#define NOTIFY_MULTIPLIER 4

/* Common configuration, 4.1.4.3. */
struct common {
	u32 device_feature_select;
	u32 device_feature;
	u32 driver_feature_select;
	u32 driver_feature;
	u16 config_vector;
	u16 num_queues;
	u8 device_status;
	u8 config_generation;
	u16 queue_select;
	u16 queue_size;
	u16 queue_vector;
	u16 queue_enable;
	u16 queue_notify_off;
	u64 queue_desc;
	u64 queue_driver;
	u64 queue_device;
};

/* The capability, 4.1.4. */
enum { CFG_COMMON = 1, CFG_NOTIFY, CFG_ISR, CFG_DEVICE, CFG_PCI };
#define CAP_LEN 2
#define CAP_TYPE 3
#define CAP_BAR 4
#define CAP_OFFSET 8
#define CAP_LENGTH 12
#define CAP_EXTRA 16 /* the multiplier, or the data window */

static struct virtq *selected_queue(struct virtio *virtio)
{
	return virtio->queue_select < virtio->class->queues
		? &virtio->queues[virtio->queue_select]
		: NULL;
}

static u32 feature_word(u64 features, u32 select)
{
	return select < 2 ? (u32)(features >> (select * 32)) : 0;
}

static u64 common_read(struct virtio *virtio, u64 offset, unsigned size)
{
	const struct virtq *queue = selected_queue(virtio);
	struct common common = {
		.device_feature_select = virtio->device_feature_select,
		.device_feature = feature_word(virtio->offered, virtio->device_feature_select),
		.driver_feature_select = virtio->driver_feature_select,
		.driver_feature = feature_word(virtio->accepted, virtio->driver_feature_select),
		.config_vector = virtio->config_vector,
		.num_queues = virtio->class->queues,
		.device_status = virtio->status,
		.config_generation = virtio->generation,
		.queue_select = virtio->queue_select,
	};
	u64 value = 0;

	/* A queue that does not exist has size 0, 4.1.4.3.1. */
	if (queue) {
		common.queue_size = queue->size;
		common.queue_vector = queue->vector;
		common.queue_enable = queue->enabled;
		common.queue_notify_off = virtio->queue_select;
		common.queue_desc = queue->desc_address;
		common.queue_driver = queue->driver_address;
		common.queue_device = queue->device_address;
	}
	if (offset + size <= sizeof(common))
		memcpy(&value, (const u8 *)&common + offset, size);
	return value;
}

static void write_driver_feature(struct virtio *virtio, u32 value)
{
	unsigned shift = virtio->driver_feature_select * 32;

	/* 3.1.1: settled once FEATURES_OK is set. */
	if (virtio->driver_feature_select > 1 || (virtio->status & VIRTIO_STATUS_FEATURES_OK))
		return;
	virtio->accepted &= ~((u64)0xffffffff << shift);
	virtio->accepted |= (u64)value << shift;
}

static u16 valid_vector(const struct virtio *virtio, u16 vector)
{
	return vector < virtio->pci.msix_vectors ? vector : VIRTIO_NO_VECTOR;
}

static void set_half(u64 *address, bool high, u32 value)
{
	if (high)
		*address = (u32)*address | (u64)value << 32;
	else
		*address = (*address & ~0xffffffffull) | value;
}

/* Registers of the selected queue; what describes its rings is settled once it is enabled. */
static void queue_write(struct virtio *virtio, u64 offset, unsigned size, u32 value)
{
	struct virtq *queue = selected_queue(virtio);

	if (!queue)
		return;
	if (size == 2 && offset == offsetof(struct common, queue_vector)) {
		queue->vector = valid_vector(virtio, value);
		return;
	}
	if (queue->enabled)
		return;
	switch (offset | (u64)size << 32) {
	case offsetof(struct common, queue_size) | 2ull << 32:
		/* 2.7: a power of two, and not more than was offered. */
		if (value && !(value & (value - 1)) && value <= virtio->class->queue_size)
			queue->size = value;
		break;
	case offsetof(struct common, queue_enable) | 2ull << 32:
		if (value == 1)
			virtq_enable(queue);
		break;
	case offsetof(struct common, queue_desc) | 4ull << 32:
	case (offsetof(struct common, queue_desc) + 4) | 4ull << 32:
		set_half(&queue->desc_address, offset & 4, value);
		break;
	case offsetof(struct common, queue_driver) | 4ull << 32:
	case (offsetof(struct common, queue_driver) + 4) | 4ull << 32:
		set_half(&queue->driver_address, offset & 4, value);
		break;
	case offsetof(struct common, queue_device) | 4ull << 32:
	case (offsetof(struct common, queue_device) + 4) | 4ull << 32:
		set_half(&queue->device_address, offset & 4, value);
		break;
	}
}

/* 4.1.3.1: fields are written in their natural width, those of 64 bits by halves too. */
static void common_write(struct virtio *virtio, u64 offset, unsigned size, u32 value)
{
	switch (offset | (u64)size << 32) {
	case offsetof(struct common, device_feature_select) | 4ull << 32:
		virtio->device_feature_select = value;
		break;
	case offsetof(struct common, driver_feature_select) | 4ull << 32:
		virtio->driver_feature_select = value;
		break;
	case offsetof(struct common, driver_feature) | 4ull << 32:
		write_driver_feature(virtio, value);
		break;
	case offsetof(struct common, config_vector) | 2ull << 32:
		virtio->config_vector = valid_vector(virtio, value);
		break;
	case offsetof(struct common, device_status) | 1ull << 32:
		virtio_write_status(virtio, value);
		break;
	case offsetof(struct common, queue_select) | 2ull << 32:
		virtio->queue_select = value;
		break;
	default:
		queue_write(virtio, offset, size, value);
	}
}

/* Reading clears it and takes the pin down, 4.1.4.5. */
static u8 read_isr(struct virtio *virtio)
{
	u8 isr = virtio->isr;

	virtio->isr = 0;
	pci_set_intx(&virtio->pci, false);
	return isr;
}

static u64 device_config_read(const struct virtio *virtio, u64 offset, unsigned size)
{
	u64 value = 0;

	if (offset + size <= sizeof(virtio->config))
		memcpy(&value, virtio->config + offset, size);
	return value;
}

static u64 bar_read(void *opaque, u64 offset, unsigned size)
{
	struct virtio *virtio = opaque;

	switch (offset / AREA_SIZE) {
	case AREA_COMMON:
		return common_read(virtio, offset, size);
	case AREA_ISR:
		return offset % AREA_SIZE == 0 ? read_isr(virtio) : 0;
	case AREA_DEVICE:
		return device_config_read(virtio, offset % AREA_SIZE, size);
	}
	return 0;
}

/* The driver says that a queue has something new; from a vCPU or, late, from its doorbell. */
static void notify(void *opaque)
{
	struct virtq *queue = opaque;
	struct virtio *virtio = queue->virtio;

	if (queue->enabled && virtio_live(virtio))
		virtio->class->notify(virtio, queue - virtio->queues);
}

static void bar_write(void *opaque, u64 offset, unsigned size, u64 value)
{
	struct virtio *virtio = opaque;
	u64 queue;

	switch (offset / AREA_SIZE) {
	case AREA_COMMON:
		common_write(virtio, offset, size, value);
		break;
	case AREA_NOTIFY:
		queue = offset % AREA_SIZE / NOTIFY_MULTIPLIER;
		if (queue < virtio->class->queues)
			notify(&virtio->queues[queue]);
		break;
	}
}

static const struct io_ops virtio_bar_ops = {
	.read = bar_read,
	.write = bar_write,
	.sizes = 1 | 2 | 4,
};

/* ---- the window in configuration space, 4.1.4.9 ---- */

static u32 cap_u32(const struct virtio *virtio, unsigned offset)
{
	u32 value;

	memcpy(&value, virtio->pci.config + virtio->cfg_access + offset, 4);
	return value;
}

/* Whether this access is one to the window, and where it leads. */
static bool window_target(const struct virtio *virtio, unsigned offset, u32 *where, u32 *len)
{
	if (offset != virtio->cfg_access + CAP_EXTRA)
		return false;
	*where = cap_u32(virtio, CAP_OFFSET);
	*len = cap_u32(virtio, CAP_LENGTH);
	return virtio->pci.config[virtio->cfg_access + CAP_BAR] == VIRTIO_BAR &&
		(*len == 1 || *len == 2 || *len == 4) && *where % *len == 0 &&
		*where <= VIRTIO_BAR_SIZE - *len;
}

static bool config_read(struct pci_device *pci, unsigned offset, unsigned size, u32 *value)
{
	struct virtio *virtio = container_of(pci, struct virtio, pci);
	u32 where, len;

	if (!window_target(virtio, offset, &where, &len))
		return false;
	*value = bar_read(virtio, where, len) & MASK(size * 8 - 1, 0);
	return true;
}

static bool config_write(struct pci_device *pci, unsigned offset, unsigned size, u32 value)
{
	struct virtio *virtio = container_of(pci, struct virtio, pci);
	u32 where, len;

	if (!window_target(virtio, offset, &where, &len))
		return false;
	bar_write(virtio, where, len, value & MASK(len * 8 - 1, 0));
	return true;
}

/* ---- plugging ---- */

static unsigned add_cap(struct virtio *virtio, u8 type, unsigned len, u32 offset, u32 area_len)
{
	unsigned cap = pci_add_capability(&virtio->pci, PCI_CAPABILITY_VENDOR, len);
	u8 *config = virtio->pci.config + cap;

	config[CAP_LEN] = len;
	config[CAP_TYPE] = type;
	config[CAP_BAR] = VIRTIO_BAR;
	memcpy(config + CAP_OFFSET, &offset, 4);
	memcpy(config + CAP_LENGTH, &area_len, 4);
	return cap;
}

static void add_caps(struct virtio *virtio)
{
	struct pci_device *pci = &virtio->pci;
	u32 multiplier = NOTIFY_MULTIPLIER;
	unsigned cap;

	add_cap(virtio, CFG_COMMON, 16, AREA_COMMON * AREA_SIZE, sizeof(struct common));
	add_cap(virtio, CFG_ISR, 16, AREA_ISR * AREA_SIZE, 1);
	if (virtio->class->config_len)
		add_cap(virtio, CFG_DEVICE, 16, AREA_DEVICE * AREA_SIZE,
			virtio->class->config_len);
	cap = add_cap(virtio, CFG_NOTIFY, 20, AREA_NOTIFY * AREA_SIZE,
		virtio->class->queues * NOTIFY_MULTIPLIER);
	memcpy(pci->config + cap + CAP_EXTRA, &multiplier, 4);
	cap = add_cap(virtio, CFG_PCI, 20, 0, 0);
	virtio->cfg_access = cap;
	pci->writable[cap + CAP_BAR] = 0xff;
	memset(pci->writable + cap + CAP_OFFSET, 0xff, 8);
}

static void add_doorbells(struct virtio *virtio)
{
	for (unsigned i = 0; i < virtio->class->queues; i++)
		virtio->doorbells[i] = (struct doorbell){
			.address = AREA_NOTIFY * AREA_SIZE + i * NOTIFY_MULTIPLIER,
			.ring = notify,
			.arg = &virtio->queues[i],
		};
	pci_add_doorbells(&virtio->pci, VIRTIO_BAR, virtio->doorbells, virtio->class->queues);
}

static void reset(struct pci_device *pci)
{
	virtio_reset(container_of(pci, struct virtio, pci));
}

static void release(struct pci_device *pci)
{
	struct virtio *virtio = container_of(pci, struct virtio, pci);

	virtio->class->free(virtio);
}

int virtio_pci_plug(struct virtio *virtio, struct pci_bus *bus, unsigned slot)
{
	int error;

	virtio->pci_class = (struct pci_device_class){
		.name = virtio->class->name,
		.vendor = 0x1af4,
		.device = 0x1040 + virtio->class->id, /* 4.1.2 */
		.subsystem_vendor = 0x1af4,
		.subsystem = 0x1100,
		.revision = 1,
		.class_code = virtio->class->class_code,
		.intx = true,
		.reset = reset,
		.free = release,
		.read = config_read,
		.write = config_write,
	};
	error = pci_plug(bus, &virtio->pci, &virtio->pci_class, slot);
	if (error)
		return error;
	virtio->memory = pci_bus_memory(bus);
	add_caps(virtio);
	pci_add_bar(&virtio->pci, VIRTIO_BAR, VIRTIO_BAR_SIZE, PCI_BAR_64, &virtio_bar_ops,
		virtio);
	add_doorbells(virtio);
	pci_add_msix(&virtio->pci, virtio->class->queues + 1, MSIX_BAR);
	return 0;
}
