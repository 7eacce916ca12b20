/* SPDX-License-Identifier: MIT */
/* The driver half of the tests of PCI and virtio devices. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "virtio_rig.h"

static void wire(void *opaque, unsigned pin, bool level)
{
	struct rig *rig = opaque;

	rig->wires[pin] = level;
}

static void message(void *opaque, u64 address, u32 data)
{
	struct rig *rig = opaque;

	rig->messages++;
	rig->message_count[data & 15]++;
	rig->message_address = address;
}

static void reset_write(void *opaque, u64 offset, unsigned size, u64 value)
{
	struct rig *rig = opaque;

	rig->reset_writes++;
}

static u64 reset_read(void *opaque, u64 offset, unsigned size)
{
	return 0x5a;
}

static const struct io_ops reset_ops = {.read = reset_read, .write = reset_write, .sizes = 1};

void rig_start(struct rig *rig)
{
	struct pci_bus_options options = {
		.io = {0xc000, 0x4000},
		.memory32 = {0xc0000000, 0x3ec00000},
		.memory64 = {0x100000000, 0x100000000},
		.wires = {{wire, rig, 0}, {wire, rig, 1}, {wire, rig, 2}, {wire, rig, 3}},
		.wire_irq = {10, 11, 12, 13},
		.msi_send = message,
		.msi_ctx = rig,
		.cf9 = &reset_ops,
		.cf9_device = rig,
	};

	memset(rig, 0, sizeof(*rig));
	rig->memory = space_new("memory");
	rig->ports = space_new("ports");
	assert_int_equal(ram_new(&rig->ram, RIG_RAM), 0);
	assert_int_equal(space_add_ram(rig->memory, 0, RIG_RAM, &rig->ram, 0), 0);
	rig->loop = loop_new(NULL, NULL, NULL);
	options.memory = rig->memory;
	options.ports = rig->ports;
	rig->bus = pci_bus_new(&options);
	assert_non_null(rig->bus);
	assert_int_equal(space_add_io(rig->ports, 0xcf8, 8, &pci_config_ops, rig->bus), 0);
	rig->heap = 0x10000;
}

void rig_stop(struct rig *rig)
{
	pci_bus_free(rig->bus);
	loop_free(rig->loop);
	space_free(rig->memory);
	space_free(rig->ports);
	ram_free(&rig->ram);
}

u32 rig_config_read(struct rig *rig, unsigned slot, unsigned offset, unsigned size)
{
	space_write(rig->ports, 0xcf8, 4, BIT(31) | slot << 11 | (offset & 0xfc));
	return space_read(rig->ports, 0xcfc + (offset & 3), size);
}

void rig_config_write(struct rig *rig, unsigned slot, unsigned offset, unsigned size, u32 value)
{
	space_write(rig->ports, 0xcf8, 4, BIT(31) | slot << 11 | (offset & 0xfc));
	space_write(rig->ports, 0xcfc + (offset & 3), size, value);
}

static u64 bar_base(struct rig *rig, unsigned bar)
{
	u64 low = rig_config_read(rig, rig->slot, 0x10 + bar * 4, 4);

	if ((low & 6) == 4)
		low |= (u64)rig_config_read(rig, rig->slot, 0x14 + bar * 4, 4) << 32;
	return low & ~15ull;
}

static void found_structure(struct rig *rig, unsigned cap)
{
	u64 address = bar_base(rig, rig_config_read(rig, rig->slot, cap + 4, 1)) +
		rig_config_read(rig, rig->slot, cap + 8, 4);

	switch (rig_config_read(rig, rig->slot, cap + 3, 1)) {
	case 1:
		rig->common = address;
		break;
	case 2:
		rig->notify = address;
		rig->notify_multiplier = rig_config_read(rig, rig->slot, cap + 16, 4);
		break;
	case 3:
		rig->isr = address;
		break;
	case 4:
		rig->device = address;
		break;
	case 5:
		rig->pci_access = cap;
		break;
	}
}

void rig_probe(struct rig *rig, unsigned slot)
{
	unsigned cap, guard = 0;

	rig->slot = slot;
	rig_config_write(rig, slot, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_true(rig_config_read(rig, slot, PCI_STATUS, 2) & PCI_STATUS_CAPABILITIES);
	cap = rig_config_read(rig, slot, PCI_CAPABILITY_POINTER, 1);
	while (cap) {
		u8 id = rig_config_read(rig, slot, cap, 1);

		assert_true(guard++ < 16);
		if (id == PCI_CAPABILITY_VENDOR)
			found_structure(rig, cap);
		if (id == PCI_CAPABILITY_MSIX)
			rig->msix = cap;
		cap = rig_config_read(rig, slot, cap + 1, 1);
	}
	assert_true(rig->common && rig->notify && rig->isr && rig->pci_access && rig->msix);
}

u64 rig_alloc(struct rig *rig, u64 len)
{
	u64 address = rig->heap;

	rig->heap += (len + 4095) & ~4095ull;
	assert_true(rig->heap <= RIG_RAM);
	return address;
}

u64 rig_read(struct rig *rig, u64 address, unsigned size)
{
	return space_read(rig->memory, address, size);
}

void rig_write(struct rig *rig, u64 address, unsigned size, u64 value)
{
	space_write(rig->memory, address, size, value);
}

u8 *rig_host(struct rig *rig, u64 address)
{
	return rig->ram.host + address;
}

void rig_status(struct rig *rig, u8 status)
{
	rig_write(rig, rig->common + 20, 1, status);
}

u8 rig_read_status(struct rig *rig)
{
	return rig_read(rig, rig->common + 20, 1);
}

u64 rig_features(struct rig *rig)
{
	u64 features;

	rig_write(rig, rig->common, 4, 0);
	features = rig_read(rig, rig->common + 4, 4);
	rig_write(rig, rig->common, 4, 1);
	return features | rig_read(rig, rig->common + 4, 4) << 32;
}

bool rig_negotiate(struct rig *rig, u64 features)
{
	rig_status(rig, 0);
	memset(rig->queues, 0, sizeof(rig->queues));
	rig_status(rig, 1);
	rig_status(rig, 3);
	rig_write(rig, rig->common + 8, 4, 0);
	rig_write(rig, rig->common + 12, 4, (u32)features);
	rig_write(rig, rig->common + 8, 4, 1);
	rig_write(rig, rig->common + 12, 4, features >> 32);
	rig_status(rig, 0xb);
	return rig_read_status(rig) & 8;
}

void rig_queue(struct rig *rig, unsigned index, u16 size)
{
	struct rig_queue *queue = &rig->queues[index];
	u64 common = rig->common;

	*queue = (struct rig_queue){.size = size, .index = index};
	queue->desc = rig_alloc(rig, 16 * size);
	queue->driver = rig_alloc(rig, 6 + 2 * size);
	queue->device = rig_alloc(rig, 6 + 8 * size);
	rig_write(rig, common + 22, 2, index);
	assert_true(rig_read(rig, common + 24, 2) >= size);
	rig_write(rig, common + 24, 2, size);
	rig_write(rig, common + 32, 8, queue->desc);
	rig_write(rig, common + 40, 4, (u32)queue->driver);
	rig_write(rig, common + 44, 4, queue->driver >> 32);
	rig_write(rig, common + 48, 8, queue->device);
	rig_write(rig, common + 28, 2, 1);
	assert_int_equal(rig_read(rig, common + 28, 2), 1);
}

void rig_enable_msix(struct rig *rig)
{
	u64 table = bar_base(rig, rig_config_read(rig, rig->slot, rig->msix + 4, 4) & 7);
	unsigned vectors = 1 + (rig_config_read(rig, rig->slot, rig->msix + 2, 2) & 0x7ff);

	for (unsigned i = 0; i < vectors; i++) {
		rig_write(rig, table + i * 16, 8, 0xfee00000);
		rig_write(rig, table + i * 16 + 8, 4, i);
		rig_write(rig, table + i * 16 + 12, 4, 0);
	}
	rig_config_write(rig, rig->slot, rig->msix + 2, 2, 0x8000);
	for (unsigned i = 0; i < vectors - 1; i++) {
		rig_write(rig, rig->common + 22, 2, i);
		rig_write(rig, rig->common + 26, 2, i);
		assert_int_equal(rig_read(rig, rig->common + 26, 2), i);
	}
	rig_write(rig, rig->common + 16, 2, vectors - 1);
}

void rig_drive(struct rig *rig, u64 features, unsigned queues)
{
	assert_true(rig_negotiate(rig, features));
	for (unsigned i = 0; i < queues; i++)
		rig_queue(rig, i, 16);
	rig_status(rig, 0xf);
	assert_int_equal(rig_read_status(rig), 0xf);
}

void rig_desc(struct rig *rig, u64 table, unsigned index, u64 address, u32 len, u16 flags,
	u16 next)
{
	rig_write(rig, table + index * 16, 8, address);
	rig_write(rig, table + index * 16 + 8, 4, len);
	rig_write(rig, table + index * 16 + 12, 2, flags);
	rig_write(rig, table + index * 16 + 14, 2, next);
}

void rig_post(struct rig *rig, unsigned index, u16 head)
{
	struct rig_queue *queue = &rig->queues[index];

	rig_write(rig, queue->driver + 4 + 2 * (queue->avail % queue->size), 2, head);
	rig_write(rig, queue->driver + 2, 2, ++queue->avail);
}

void rig_kick(struct rig *rig, unsigned index)
{
	rig_write(rig, rig->common + 22, 2, index);
	rig_write(rig, rig->notify + rig_read(rig, rig->common + 30, 2) * rig->notify_multiplier,
		2, index);
}

bool rig_used(struct rig *rig, unsigned index, u32 *id, u32 *len)
{
	struct rig_queue *queue = &rig->queues[index];
	u64 entry = queue->device + 4 + 8 * (queue->used_seen % queue->size);

	if ((u16)rig_read(rig, queue->device + 2, 2) == queue->used_seen)
		return false;
	queue->used_seen++;
	*id = rig_read(rig, entry, 4);
	*len = rig_read(rig, entry + 4, 4);
	return true;
}

struct waiting {
	struct rig *rig;
	bool (*done)(void *arg);
	void *arg;
	struct loop_timer timer;
	u64 give_up;
	bool was_done;
};

static void look(void *opaque)
{
	struct waiting *waiting = opaque;

	waiting->was_done = waiting->done(waiting->arg);
	if (waiting->was_done || clock_ns() > waiting->give_up)
		loop_stop(waiting->rig->loop);
	else
		loop_timer_set(waiting->rig->loop, &waiting->timer, clock_ns() + 1000000);
}

bool rig_run(struct rig *rig, bool (*done)(void *arg), void *arg)
{
	struct waiting waiting = {.rig = rig, .done = done, .arg = arg,
		.give_up = clock_ns() + 5000000000ull};

	waiting.timer.fire = look;
	waiting.timer.arg = &waiting;
	loop_timer_set(rig->loop, &waiting.timer, clock_ns());
	loop_run(rig->loop);
	return waiting.was_done;
}

struct used_wait {
	struct rig *rig;
	unsigned queue;
	u32 *id, *len;
};

static bool is_used(void *opaque)
{
	struct used_wait *wait = opaque;

	return rig_used(wait->rig, wait->queue, wait->id, wait->len);
}

bool rig_wait_used(struct rig *rig, unsigned queue, u32 *id, u32 *len)
{
	struct used_wait wait = {rig, queue, id, len};

	return rig_run(rig, is_used, &wait);
}
