/* SPDX-License-Identifier: MIT */
/*
 * What virtio devices share (Virtual I/O Device 1.2): feature negotiation, life cycle, split
 * rings, and the PCI transport without its legacy half. Machine lock held throughout.
 */
#ifndef DEV_VIRTIO_H
#define DEV_VIRTIO_H

#include "base/types.h"
#include "dev/pci.h"
#include "mem/space.h"

#define VIRTIO_QUEUES_MAX 2
#define VIRTIO_QUEUE_SIZE_MAX 256
#define VIRTIO_CHAIN_MAX 256 /* descriptors that one request may have */
#define VIRTIO_CONFIG_MAX 64

/* Device status, 2.1. */
#define VIRTIO_STATUS_ACKNOWLEDGE 1
#define VIRTIO_STATUS_DRIVER 2
#define VIRTIO_STATUS_DRIVER_OK 4
#define VIRTIO_STATUS_FEATURES_OK 8
#define VIRTIO_STATUS_NEEDS_RESET 64
#define VIRTIO_STATUS_FAILED 128

/* Features of every device, 6. */
#define VIRTIO_F_INDIRECT_DESC BIT(28)
#define VIRTIO_F_EVENT_IDX BIT(29)
#define VIRTIO_F_VERSION_1 BIT(32)

#define VIRTIO_NO_VECTOR 0xffff

struct virtio;

/* A split virtqueue, 2.7. */
struct virtq {
	struct virtio *virtio;
	u16 size;
	bool enabled;
	u16 vector;
	u64 desc_address, driver_address, device_address; /* guest-physical */
	const u8 *desc, *avail; /* the same in our memory, for reading */
	u16 seen;       /* the driver's index at the last look */
	u16 next_avail; /* the next available entry that was not popped */
	u16 next_used;  /* the next used entry to fill */
	u16 published;  /* used index that the driver sees */
	u16 signalled;  /* used index at the last look whether to interrupt */
};

struct virtio_segment {
	u64 address; /* guest-physical, not yet known to be RAM */
	u32 len;
};

/* A request: a copy of its descriptors. Those the device reads come first. */
struct virtio_chain {
	u16 head;
	unsigned out_count, in_count;
	u64 out_len, in_len; /* bytes that the device may read, and write */
	struct virtio_segment segments[VIRTIO_CHAIN_MAX];
};

struct virtio_class {
	const char *name;
	u16 id;          /* 5 */
	u32 class_code;
	unsigned queues;
	u16 queue_size;  /* a power of two */
	u64 features;    /* the device's own; the common ones are added */
	unsigned config_len;
	void (*notify)(struct virtio *virtio, unsigned queue);
	/* Forget all requests; nothing touches guest memory after. May be NULL. */
	void (*reset)(struct virtio *virtio);
	/* DRIVER_OK was set. May be NULL. */
	void (*ready)(struct virtio *virtio);
	/* Stop threads, close, free the struct that holds *virtio. */
	void (*free)(struct virtio *virtio);
};

struct virtio {
	struct pci_device pci;
	struct pci_device_class pci_class;
	const struct virtio_class *class;
	struct space *memory;
	u64 offered;  /* features */
	u64 accepted;
	u32 device_feature_select, driver_feature_select;
	u16 config_vector;
	u16 queue_select;
	u8 status;
	u8 isr;
	u8 generation;
	u8 config[VIRTIO_CONFIG_MAX];
	struct virtq queues[VIRTIO_QUEUES_MAX];
	struct doorbell doorbells[VIRTIO_QUEUES_MAX]; /* the queues' notification registers */
	u8 cfg_access; /* offset of the capability of 4.1.4.9 */
};

extern const struct field virtio_state[];

/* ---- for devices: virtio.c ---- */

/* Plugs a device whose struct holds a zeroed *virtio. `features` are those of the class that this
 * one offers. -errno. */
int virtio_plug(struct virtio *virtio, const struct virtio_class *class, u64 features,
	struct pci_bus *bus, unsigned slot);
/* Changes device-specific configuration; tells a running driver. */
void virtio_set_config(struct virtio *virtio, unsigned offset, const void *bytes, unsigned len);
/* Requests may be taken: the driver is ready, nothing broke, and the device may master the bus. */
bool virtio_live(const struct virtio *virtio);
/* The driver broke a rule that leaves the rings in doubt: the device stops until reset, 2.1.2. */
void virtio_break(struct virtio *virtio, const char *why);

static inline bool virtio_has(const struct virtio *virtio, u64 feature)
{
	return virtio->accepted & feature;
}

/* ---- for the transport: virtio.c ---- */
void virtio_write_status(struct virtio *virtio, u8 status);
void virtio_reset(struct virtio *virtio);
void virtio_interrupt(struct virtio *virtio, u16 vector, u8 isr);

/* ---- virtio_pci.c ---- */
int virtio_pci_plug(struct virtio *virtio, struct pci_bus *bus, unsigned slot);

/* ---- virtio_queue.c ---- */

/*
 * How many requests one look may serve. Nothing is given back before virtq_publish(), so a driver
 * that keeps the rules cannot have more of them; one that adds for ever holds nobody up.
 */
#define VIRTQ_BUDGET(queue) ((queue)->size)

void virtq_reset(struct virtq *queue);
/* The driver wrote 1 to queue_enable. A ring outside of RAM breaks the device. */
void virtq_enable(struct virtq *queue);
/* Takes the next request. False: there is none, or the device is not live (any more). */
bool virtq_pop(struct virtq *queue, struct virtio_chain *chain);
/* Undoes the last `count` pops and as many pushes, none of them published yet. */
void virtq_rewind(struct virtq *queue, unsigned count);
/* Gives a request back with the bytes written to it; seen by the driver after virtq_publish(). */
void virtq_push(struct virtq *queue, u16 head, u32 written);
/* Shows the driver what was pushed, and interrupts it if it asked for that. */
void virtq_publish(struct virtq *queue);
/* Asks the driver for no notifications until virtq_listen(). */
void virtq_ignore(struct virtq *queue);
/* Asks to be told of requests beyond those seen; true: there are some already, look again. */
bool virtq_listen(struct virtq *queue);
/* Copies from and to a chain, `offset` bytes into its readable or writable part. False: it is
 * shorter, or not RAM, which breaks the device. */
bool virtio_gather(struct virtio *virtio, const struct virtio_chain *chain, u64 offset, void *to,
	u64 len);
bool virtio_scatter(struct virtio *virtio, const struct virtio_chain *chain, u64 offset,
	const void *from, u64 len);

#endif
