/* SPDX-License-Identifier: MIT */
/*
 * A bus with guest RAM and a small virtio driver, for tests of PCI and virtio devices. The driver
 * finds everything through configuration space, as a guest's does.
 */
#ifndef TESTS_VIRTIO_RIG_H
#define TESTS_VIRTIO_RIG_H

#include "base/loop.h"
#include "dev/pci.h"

#define RIG_RAM (4 * MIB)
#define RIG_VERSION_1 BIT(32)
#define RIG_EVENT_IDX BIT(29)
#define RIG_INDIRECT BIT(28)
#define RIG_NEXT 1
#define RIG_WRITE 2
#define RIG_TABLE 4 /* flag: the descriptor is indirect */

struct rig_queue {
	u16 size, index, avail, used_seen;
	u64 desc, driver, device;
};

struct rig {
	struct space *memory, *ports;
	struct ram ram;
	struct pci_bus *bus;
	struct loop *loop;
	bool wires[4];
	unsigned messages, message_count[16]; /* all, and by the low bits of data */
	u64 message_address;
	unsigned reset_writes; /* to CF9h */
	unsigned slot;
	u64 common, isr, device, notify; /* addresses of the device's structures */
	u32 notify_multiplier;
	unsigned msix, pci_access;       /* offsets of capabilities */
	u64 heap;                        /* free RAM starts here */
	struct rig_queue queues[2];
};

void rig_start(struct rig *rig);
void rig_stop(struct rig *rig);
u32 rig_config_read(struct rig *rig, unsigned slot, unsigned offset, unsigned size);
void rig_config_write(struct rig *rig, unsigned slot, unsigned offset, unsigned size, u32 value);
/* Resets the bus, finds the device's structures, lets it master the bus. */
void rig_probe(struct rig *rig, unsigned slot);
u64 rig_alloc(struct rig *rig, u64 len); /* guest address, page-aligned */
/* Negotiates; true: the device took it. */
bool rig_negotiate(struct rig *rig, u64 features);
u64 rig_features(struct rig *rig);
void rig_queue(struct rig *rig, unsigned index, u16 size);
void rig_status(struct rig *rig, u8 status);
u8 rig_read_status(struct rig *rig);
void rig_enable_msix(struct rig *rig); /* vector n sends data n; queue n has n, config 3 */
/* All of it: features, queues of 16, DRIVER_OK. */
void rig_drive(struct rig *rig, u64 features, unsigned queues);

void rig_desc(struct rig *rig, u64 table, unsigned index, u64 address, u32 len, u16 flags,
	u16 next);
void rig_post(struct rig *rig, unsigned queue, u16 head);
void rig_kick(struct rig *rig, unsigned queue);
/* The next used entry, if there is one. */
bool rig_used(struct rig *rig, unsigned queue, u32 *id, u32 *len);
u64 rig_read(struct rig *rig, u64 address, unsigned size);
void rig_write(struct rig *rig, u64 address, unsigned size, u64 value);
u8 *rig_host(struct rig *rig, u64 address);
/* Runs the loop until done() or five seconds have passed; whether it was done(). */
bool rig_run(struct rig *rig, bool (*done)(void *arg), void *arg);
/* Runs the loop until the queue has something used. */
bool rig_wait_used(struct rig *rig, unsigned queue, u32 *id, u32 *len);

#endif
