/* SPDX-License-Identifier: MIT */
/* The virtio transport and split rings, through the entropy device and the console. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dev/virtio_console.h"
#include "dev/virtio_rng.h"
#include "virtio_rig.h"

#define NEEDS_RESET 64

struct state {
	struct rig rig;
	struct virtio_console *console;
	char out[8192];
	size_t out_len, out_room;
	unsigned ready;
};

static size_t output(void *opaque, const u8 *bytes, size_t len)
{
	struct state *s = opaque;
	size_t took = MIN(len, s->out_room - s->out_len);

	memcpy(s->out + s->out_len, bytes, took);
	s->out_len += took;
	return took;
}

static void ready(void *opaque)
{
	struct state *s = opaque;

	s->ready++;
}

static int setup(void **opaque)
{
	struct state *s = calloc(1, sizeof(*s));
	struct virtio_console_options options = {output, ready, s};

	rig_start(&s->rig);
	assert_int_equal(virtio_rng_plug(s->rig.bus, 1), 0);
	s->out_room = sizeof(s->out);
	assert_int_equal(virtio_console_plug(&s->console, s->rig.bus, 2), 0);
	virtio_console_connect(s->console, &options);
	assert_true(virtio_rng_plug(s->rig.bus, 1) < 0);
	pci_bus_reset(s->rig.bus);
	*opaque = s;
	return 0;
}

static int teardown(void **opaque)
{
	struct state *s = *opaque;

	rig_stop(&s->rig);
	free(s);
	return 0;
}

static void identity(void **opaque)
{
	struct rig *rig = &((struct state *)*opaque)->rig;

	assert_int_equal(rig_config_read(rig, 1, 0, 4), 0x10441af4);
	assert_int_equal(rig_config_read(rig, 2, 0, 4), 0x10431af4);
	assert_int_equal(rig_config_read(rig, 1, PCI_REVISION, 1), 1);
	rig_probe(rig, 1);
	assert_int_equal(rig_read(rig, rig->common + 18, 2), 1);
	assert_true(rig_features(rig) ==
		(RIG_VERSION_1 | RIG_EVENT_IDX | RIG_INDIRECT));
	rig_write(rig, rig->common, 4, 2);
	assert_int_equal(rig_read(rig, rig->common + 4, 4), 0);
	/* queues that are there and are not */
	rig_write(rig, rig->common + 22, 2, 0);
	assert_int_equal(rig_read(rig, rig->common + 24, 2), 8);
	rig_write(rig, rig->common + 22, 2, 1);
	assert_int_equal(rig_read(rig, rig->common + 24, 2), 0);
	rig_write(rig, rig->common + 28, 2, 1);
	assert_int_equal(rig_read(rig, rig->common + 28, 2), 0);
}

static void negotiation(void **opaque)
{
	struct rig *rig = &((struct state *)*opaque)->rig;

	rig_probe(rig, 1);
	assert_true(rig_negotiate(rig, RIG_VERSION_1));
	/* settled: no later change */
	rig_write(rig, rig->common + 8, 4, 1);
	rig_write(rig, rig->common + 12, 4, 0xff);
	assert_int_equal(rig_read(rig, rig->common + 12, 4), 1);
	/* no legacy driver, nothing that was not offered */
	assert_false(rig_negotiate(rig, 0));
	assert_false(rig_negotiate(rig, RIG_VERSION_1 | BIT(5)));
	assert_false(rig_negotiate(rig, RIG_VERSION_1 | BIT(40)));
	/* DRIVER_OK without FEATURES_OK is not one */
	rig_status(rig, 0xf);
	assert_int_equal(rig_read_status(rig), 3);
	/* bits are set, and cleared by zero only */
	assert_true(rig_negotiate(rig, RIG_VERSION_1));
	rig_status(rig, 1);
	assert_int_equal(rig_read_status(rig), 0xb);
	rig_status(rig, 0);
	assert_int_equal(rig_read_status(rig), 0);
}

static void queue_registers(void **opaque)
{
	struct rig *rig = &((struct state *)*opaque)->rig;
	u64 c;

	rig_probe(rig, 1);
	c = rig->common;
	rig_negotiate(rig, RIG_VERSION_1);
	rig_write(rig, c + 22, 2, 0);
	rig_write(rig, c + 24, 2, 3);
	rig_write(rig, c + 24, 2, 16);
	rig_write(rig, c + 24, 2, 0);
	assert_int_equal(rig_read(rig, c + 24, 2), 8);
	rig_write(rig, c + 24, 2, 4);
	assert_int_equal(rig_read(rig, c + 24, 2), 4);
	/* a vector that is not there */
	rig_write(rig, c + 26, 2, 77);
	assert_int_equal(rig_read(rig, c + 26, 2), 0xffff);
	rig_write(rig, c + 16, 2, 1);
	assert_int_equal(rig_read(rig, c + 16, 2), 1);
	/* rings outside of RAM, or askew */
	rig_write(rig, c + 32, 8, RIG_RAM - 16);
	rig_write(rig, c + 40, 8, 0x1000);
	rig_write(rig, c + 48, 8, 0x2000);
	rig_write(rig, c + 28, 2, 1);
	assert_int_equal(rig_read(rig, c + 28, 2), 0);
	assert_true(rig_read_status(rig) & NEEDS_RESET);
	rig_negotiate(rig, RIG_VERSION_1);
	assert_int_equal(rig_read(rig, c + 24, 2), 8);
	assert_int_equal(rig_read(rig, c + 32, 8), 0);
	rig_write(rig, c + 32, 8, 0x1008);
	rig_write(rig, c + 28, 2, 1);
	assert_true(rig_read_status(rig) & NEEDS_RESET);
	/* settled once it is enabled */
	rig_negotiate(rig, RIG_VERSION_1);
	rig_queue(rig, 0, 8);
	rig_write(rig, c + 32, 8, 0);
	assert_true(rig_read(rig, c + 32, 8) == rig->queues[0].desc);
	rig_write(rig, c + 28, 2, 0);
	assert_int_equal(rig_read(rig, c + 28, 2), 1);
}

static void post_entropy(struct rig *rig, u16 head, u64 buffer, u32 len)
{
	rig_desc(rig, rig->queues[0].desc, head, buffer, len, RIG_WRITE, 0);
	rig_post(rig, 0, head);
}

static void start_rng(struct rig *rig, u64 features)
{
	rig_probe(rig, 1);
	assert_true(rig_negotiate(rig, RIG_VERSION_1 | features));
	rig_queue(rig, 0, 8);
	rig_status(rig, 0xf);
}

static void entropy(void **opaque)
{
	struct rig *rig = &((struct state *)*opaque)->rig;
	static const u8 none[64];
	u64 buffer = rig_alloc(rig, 8192);
	u32 id, len;

	start_rng(rig, 0);
	post_entropy(rig, 5, buffer, 64);
	rig_kick(rig, 0);
	assert_true(rig_used(rig, 0, &id, &len));
	assert_int_equal(id, 5);
	assert_int_equal(len, 64);
	assert_memory_not_equal(rig_host(rig, buffer), none, 64);
	assert_memory_equal(rig_host(rig, buffer + 64), none, 64);
	/* more than it gives at once */
	post_entropy(rig, 1, buffer, 8192);
	rig_kick(rig, 0);
	assert_true(rig_used(rig, 0, &id, &len));
	assert_int_equal(len, 4096);
	/* a chain through an indirect table is refused when it was not agreed on */
	rig_desc(rig, rig->queues[0].desc, 2, buffer, 16, RIG_TABLE, 0);
	rig_post(rig, 0, 2);
	rig_kick(rig, 0);
	assert_true(rig_read_status(rig) & NEEDS_RESET);
}

/* Without MSI-X: level, until ISR is read; every interrupt raises it again. */
static void interrupt_by_pin(void **opaque)
{
	struct rig *rig = &((struct state *)*opaque)->rig;
	u64 buffer = rig_alloc(rig, 4096);

	start_rng(rig, 0);
	assert_false(rig->wires[1]);
	post_entropy(rig, 0, buffer, 8);
	rig_kick(rig, 0);
	assert_true(rig->wires[1]);
	assert_int_equal(rig_read(rig, rig->isr, 1), 1);
	assert_false(rig->wires[1]);
	assert_int_equal(rig_read(rig, rig->isr, 1), 0);
	/* AVAIL_NO_INTERRUPT */
	rig_write(rig, rig->queues[0].driver, 2, 1);
	post_entropy(rig, 0, buffer, 8);
	rig_kick(rig, 0);
	assert_false(rig->wires[1]);
	/* a reset takes it down */
	rig_write(rig, rig->queues[0].driver, 2, 0);
	post_entropy(rig, 0, buffer, 8);
	rig_kick(rig, 0);
	assert_true(rig->wires[1]);
	rig_status(rig, 0);
	assert_false(rig->wires[1]);
	assert_int_equal(rig->messages, 0);
}

static void interrupt_by_message(void **opaque)
{
	struct rig *rig = &((struct state *)*opaque)->rig;
	u64 buffer = rig_alloc(rig, 4096);

	rig_probe(rig, 1);
	assert_true(rig_negotiate(rig, RIG_VERSION_1));
	rig_enable_msix(rig);
	rig_queue(rig, 0, 8);
	rig_status(rig, 0xf);
	post_entropy(rig, 0, buffer, 8);
	rig_kick(rig, 0);
	assert_int_equal(rig->message_count[0], 1);
	assert_false(rig->wires[1]);
	assert_int_equal(rig_read(rig, rig->isr, 1), 0);
	/* a device that breaks says so as a configuration change */
	post_entropy(rig, 0, RIG_RAM, 8);
	rig_kick(rig, 0);
	assert_true(rig_read_status(rig) & NEEDS_RESET);
	assert_int_equal(rig->message_count[1], 1);
	/* and does nothing any more */
	post_entropy(rig, 0, buffer, 8);
	rig_kick(rig, 0);
	assert_int_equal(rig->messages, 2);
}

static void event_index(void **opaque)
{
	struct rig *rig = &((struct state *)*opaque)->rig;
	u64 buffer = rig_alloc(rig, 4096), used_event, avail_event;

	start_rng(rig, RIG_EVENT_IDX);
	used_event = rig->queues[0].driver + 4 + 2 * 8;
	avail_event = rig->queues[0].device + 4 + 8 * 8;
	/* after the third used entry, please */
	rig_write(rig, used_event, 2, 2);
	for (unsigned i = 1; i <= 5; i++) {
		post_entropy(rig, 0, buffer, 8);
		rig_kick(rig, 0);
		assert_int_equal(rig_read(rig, rig->isr, 1), i == 3);
		/* "tell me of the next one" */
		assert_int_equal(rig_read(rig, avail_event, 2), i);
	}
	/* several at once pass the event */
	rig_write(rig, used_event, 2, 6);
	for (unsigned i = 0; i < 4; i++)
		post_entropy(rig, i, buffer, 8);
	rig_kick(rig, 0);
	assert_int_equal(rig_read(rig, rig->isr, 1), 1);
}

/* Indices run over 65535 without a seam. */
static void indices_wrap(void **opaque)
{
	struct rig *rig = &((struct state *)*opaque)->rig;
	u64 buffer = rig_alloc(rig, 4096), used_event;
	unsigned interrupts = 0;
	u32 id, len;

	start_rng(rig, RIG_EVENT_IDX);
	used_event = rig->queues[0].driver + 4 + 2 * 8;
	for (unsigned i = 0; i < 70000; i++) {
		rig_write(rig, used_event, 2, (u16)i);
		post_entropy(rig, i % 8, buffer, 1);
		rig_kick(rig, 0);
		interrupts += rig_read(rig, rig->isr, 1);
		assert_true(rig_used(rig, 0, &id, &len));
		assert_int_equal(id, i % 8);
	}
	assert_int_equal(interrupts, 70000);
}

static void notifies_only_when_ready(void **opaque)
{
	struct rig *rig = &((struct state *)*opaque)->rig;
	u64 buffer = rig_alloc(rig, 4096);
	u32 id, len;

	rig_probe(rig, 1);
	rig_negotiate(rig, RIG_VERSION_1);
	rig_queue(rig, 0, 8);
	post_entropy(rig, 0, buffer, 8);
	rig_kick(rig, 0);
	assert_false(rig_used(rig, 0, &id, &len));
	rig_status(rig, 0xf);
	/* without Bus Master there is no DMA */
	rig_config_write(rig, 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	rig_kick(rig, 0);
	assert_false(rig_used(rig, 0, &id, &len));
	rig_config_write(rig, 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	/* a queue that is not there */
	rig_write(rig, rig->notify + 4 * 7, 2, 7);
	assert_false(rig_used(rig, 0, &id, &len));
	rig_kick(rig, 0);
	assert_true(rig_used(rig, 0, &id, &len));
}

/* An engine that lets the guest run on: it keeps the list of doorbells as the space tells it. */
struct watcher {
	struct space *space;
	struct doorbell list[8];
	unsigned count;
};

static void look_at_doorbells(void *opaque)
{
	struct watcher *watcher = opaque;

	watcher->count = space_doorbells(watcher->space, watcher->list, 8);
}

static const struct doorbell *doorbell_at(const struct watcher *watcher, u64 address)
{
	for (unsigned i = 0; i < watcher->count; i++)
		if (watcher->list[i].address == address)
			return &watcher->list[i];
	return NULL;
}

static void ring(const struct watcher *watcher, u64 address)
{
	const struct doorbell *doorbell = doorbell_at(watcher, address);

	assert_non_null(doorbell);
	doorbell->ring(doorbell->arg);
}

static void doorbells(void **opaque)
{
	struct rig *rig = &((struct state *)*opaque)->rig;
	struct watcher watcher = {rig->memory};
	u64 buffer = rig_alloc(rig, 4096), console, moved = 0xd0000000;
	u32 id, len;

	space_watch(rig->memory, look_at_doorbells, &watcher);
	start_rng(rig, 0);
	/* one a queue, and rung it does what the write does, for all that came */
	look_at_doorbells(&watcher);
	assert_int_equal(watcher.count, 3);
	assert_null(doorbell_at(&watcher, rig->notify + 4));
	post_entropy(rig, 1, buffer, 8);
	post_entropy(rig, 2, buffer, 8);
	assert_false(rig_used(rig, 0, &id, &len));
	ring(&watcher, rig->notify);
	assert_true(rig_used(rig, 0, &id, &len));
	assert_true(rig_used(rig, 0, &id, &len));
	/* rung late, when there is nothing any more, and after a reset */
	ring(&watcher, rig->notify);
	assert_false(rig_used(rig, 0, &id, &len));
	post_entropy(rig, 1, buffer, 8);
	rig_status(rig, 0);
	ring(&watcher, rig->notify);
	assert_false(rig_used(rig, 0, &id, &len));
	/* no decoding, no doorbell; another address; under another device's BAR */
	rig_config_write(rig, 1, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	assert_int_equal(watcher.count, 2);
	rig_config_write(rig, 1, PCI_BAR0, 4, moved);
	rig_config_write(rig, 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_null(doorbell_at(&watcher, rig->notify));
	start_rng(rig, 0);
	assert_int_equal(rig->notify & ~0x3fffull, moved);
	post_entropy(rig, 3, buffer, 8);
	ring(&watcher, rig->notify);
	assert_true(rig_used(rig, 0, &id, &len));
	rig_probe(rig, 2);
	console = rig->notify;
	assert_non_null(doorbell_at(&watcher, console + 4));
	rig_config_write(rig, 2, PCI_BAR0, 4, moved);
	assert_int_equal(watcher.count, 2);
	assert_null(doorbell_at(&watcher, console));
	rig_config_write(rig, 2, PCI_COMMAND, 2, 0);
	assert_int_equal(watcher.count, 1);
	assert_ptr_equal(doorbell_at(&watcher, moved + 0x3000)->arg, watcher.list[0].arg);
	/* RST# puts all back to where firmware places them */
	pci_bus_reset(rig->bus);
	assert_int_equal(watcher.count, 3);
	assert_non_null(doorbell_at(&watcher, console));
	assert_null(doorbell_at(&watcher, moved + 0x3000));
	space_watch(rig->memory, NULL, NULL);
}

static void access_through_configuration_space(void **opaque)
{
	struct rig *rig = &((struct state *)*opaque)->rig;
	unsigned cap;

	rig_probe(rig, 1);
	cap = rig->pci_access;
	rig_config_write(rig, 1, PCI_COMMAND, 2, 0);
	rig_config_write(rig, 1, cap + 4, 1, 0);
	rig_config_write(rig, 1, cap + 8, 4, 20);
	rig_config_write(rig, 1, cap + 12, 4, 1);
	rig_config_write(rig, 1, cap + 16, 1, 3);
	assert_int_equal(rig_config_read(rig, 1, cap + 16, 1), 3);
	rig_config_write(rig, 1, cap + 8, 4, 18);
	rig_config_write(rig, 1, cap + 12, 4, 2);
	assert_int_equal(rig_config_read(rig, 1, cap + 16, 2), 1);
	/* misaligned, outside, of odd length, another BAR */
	rig_config_write(rig, 1, cap + 8, 4, 19);
	assert_int_equal(rig_config_read(rig, 1, cap + 16, 4), 0);
	rig_config_write(rig, 1, cap + 8, 4, 0xfffffffe);
	assert_int_equal(rig_config_read(rig, 1, cap + 16, 4), 0);
	rig_config_write(rig, 1, cap + 8, 4, 18);
	rig_config_write(rig, 1, cap + 12, 4, 3);
	assert_int_equal(rig_config_read(rig, 1, cap + 16, 4), 0);
	rig_config_write(rig, 1, cap + 12, 4, 2);
	rig_config_write(rig, 1, cap + 4, 1, 2);
	assert_int_equal(rig_config_read(rig, 1, cap + 16, 4), 0);
}

/* ---- chains, through the console ---- */

static void start_console(struct rig *rig, u64 features)
{
	rig_probe(rig, 2);
	rig_drive(rig, RIG_VERSION_1 | features, 2);
}

static u64 put_text(struct rig *rig, const char *text)
{
	u64 address = rig_alloc(rig, strlen(text));

	memcpy(rig_host(rig, address), text, strlen(text));
	return address;
}

static void chains(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;
	u64 desc, table, a = put_text(rig, "Hello, "), b = put_text(rig, "world");
	u32 id, len;

	start_console(rig, RIG_INDIRECT);
	desc = rig->queues[1].desc;
	/* direct, out of order, an empty one in between */
	rig_desc(rig, desc, 9, a, 7, RIG_NEXT, 2);
	rig_desc(rig, desc, 2, 0, 0, RIG_NEXT, 15);
	rig_desc(rig, desc, 15, b, 5, 0, 0);
	rig_post(rig, 1, 9);
	rig_kick(rig, 1);
	assert_true(rig_used(rig, 1, &id, &len));
	assert_int_equal(id, 9);
	assert_int_equal(len, 0);
	assert_int_equal(s->out_len, 12);
	assert_memory_equal(s->out, "Hello, world", 12);
	/* a direct one, then a table */
	table = rig_alloc(rig, 4096);
	rig_desc(rig, table, 0, b, 5, RIG_NEXT, 1);
	rig_desc(rig, table, 1, a, 5, 0, 0);
	rig_desc(rig, desc, 0, a, 7, RIG_NEXT, 1);
	rig_desc(rig, desc, 1, table, 32, RIG_TABLE, 0);
	rig_post(rig, 1, 0);
	rig_kick(rig, 1);
	assert_true(rig_used(rig, 1, &id, &len));
	assert_int_equal(s->out_len, 29);
	assert_memory_equal(s->out + 12, "Hello, worldHello", 17);
	/* longer than a table of its own: 256 pieces */
	s->out_len = 0;
	for (unsigned i = 0; i < 256; i++)
		rig_desc(rig, table, i, a, 1, i == 255 ? 0 : RIG_NEXT, i + 1);
	rig_desc(rig, desc, 0, table, 4096, RIG_TABLE, 0);
	rig_post(rig, 1, 0);
	rig_kick(rig, 1);
	assert_true(rig_used(rig, 1, &id, &len));
	assert_int_equal(s->out_len, 256);
}

static void input(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;
	u64 buffer = rig_alloc(rig, 4096), desc;
	u32 id, len;

	assert_int_equal(virtio_console_input(s->console, (const u8 *)"early", 5), 0);
	start_console(rig, 0);
	assert_int_equal(s->ready, 1);
	desc = rig->queues[0].desc;
	rig_desc(rig, desc, 0, buffer, 4, RIG_WRITE, 0);
	rig_desc(rig, desc, 1, buffer + 16, 2, RIG_WRITE, 0);
	rig_post(rig, 0, 0);
	rig_post(rig, 0, 1);
	assert_int_equal(virtio_console_input(s->console, (const u8 *)"abcdefgh", 8), 6);
	assert_true(rig_used(rig, 0, &id, &len));
	assert_int_equal(len, 4);
	assert_true(rig_used(rig, 0, &id, &len));
	assert_int_equal(len, 2);
	assert_memory_equal(rig_host(rig, buffer), "abcd", 4);
	assert_memory_equal(rig_host(rig, buffer + 16), "ef", 2);
	/* room again: it is told, once */
	rig_post(rig, 0, 0);
	rig_kick(rig, 0);
	rig_kick(rig, 0);
	assert_int_equal(s->ready, 2);
	assert_int_equal(virtio_console_input(s->console, (const u8 *)"gh", 2), 2);
	assert_true(rig_used(rig, 0, &id, &len));
	assert_int_equal(len, 2);
}

/* A backend that takes less than there is: the request waits, and those behind it; a reset forgets. */
static void slow_output(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;
	u64 a = put_text(rig, "abcdef"), b = put_text(rig, "ghi"), desc;
	u32 id, len;

	start_console(rig, 0);
	desc = rig->queues[1].desc;
	rig_desc(rig, desc, 0, a, 6, 0, 0);
	rig_desc(rig, desc, 1, b, 3, 0, 0);
	s->out_room = 4;
	rig_post(rig, 1, 0);
	rig_post(rig, 1, 1);
	rig_kick(rig, 1);
	assert_int_equal(s->out_len, 4);
	assert_false(rig_used(rig, 1, &id, &len));
	rig_kick(rig, 1);
	assert_int_equal(s->out_len, 4);
	s->out_room = 8;
	virtio_console_output_ready(s->console);
	assert_true(rig_used(rig, 1, &id, &len));
	assert_int_equal(id, 0);
	assert_false(rig_used(rig, 1, &id, &len));
	s->out_room = 9;
	virtio_console_output_ready(s->console);
	assert_true(rig_used(rig, 1, &id, &len));
	assert_int_equal(id, 1);
	assert_int_equal(s->out_len, 9);
	assert_memory_equal(s->out, "abcdefghi", 9);
	virtio_console_output_ready(s->console);
	assert_int_equal(s->out_len, 9);
	/* forgotten by a reset */
	rig_post(rig, 1, 0);
	rig_kick(rig, 1);
	rig_write(rig, rig->common + 20, 1, 0);
	s->out_room = sizeof(s->out);
	virtio_console_output_ready(s->console);
	assert_int_equal(s->out_len, 9);
}

/* Each of these stops the device until it is reset, and nothing else. */
static void broken_rules(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;
	u64 a = put_text(rig, "x"), table = rig_alloc(rig, 4096), heap;

	rig_probe(rig, 2);
	heap = rig->heap;
	for (unsigned rule = 0; rule < 14; rule++) {
		u64 desc;
		u32 id, len;

		rig->heap = heap;
		rig_drive(rig, RIG_VERSION_1 | RIG_INDIRECT, 2);
		desc = rig->queues[1].desc;
		for (unsigned i = 0; i < 16; i++)
			rig_desc(rig, desc, i, a, 1, 0, 0);
		memset(rig_host(rig, rig->queues[1].device), 0, 4096);
		memset(rig_host(rig, rig->queues[1].driver), 0, 4096);
		switch (rule) {
		case 0: /* a loop */
			rig_desc(rig, desc, 0, a, 1, RIG_NEXT, 0);
			break;
		case 1: /* a loop of nothing */
			rig_desc(rig, desc, 0, a, 0, RIG_NEXT, 1);
			rig_desc(rig, desc, 1, a, 0, RIG_NEXT, 0);
			break;
		case 2: /* next outside of the table */
			rig_desc(rig, desc, 0, a, 1, RIG_NEXT, 16);
			break;
		case 3: /* a table in a table */
			rig_desc(rig, desc, 0, table, 16, RIG_TABLE, 0);
			rig_desc(rig, table, 0, table, 16, RIG_TABLE, 0);
			break;
		case 4: /* a table with a next */
			rig_desc(rig, desc, 0, table, 16, RIG_TABLE | RIG_NEXT, 1);
			break;
		case 5: /* of odd length */
			rig_desc(rig, desc, 0, table, 17, RIG_TABLE, 0);
			break;
		case 6: /* empty */
			rig_desc(rig, desc, 0, table, 0, RIG_TABLE, 0);
			break;
		case 7: /* not in RAM */
			rig_desc(rig, desc, 0, RIG_RAM - 16, 32, RIG_TABLE, 0);
			break;
		case 8: /* next outside of the indirect table */
			rig_desc(rig, desc, 0, table, 32, RIG_TABLE, 0);
			rig_desc(rig, table, 0, a, 1, RIG_NEXT, 2);
			break;
		case 9: /* a buffer outside of RAM */
			rig_desc(rig, desc, 0, RIG_RAM - 1, 2, 0, 0);
			break;
		case 10: /* one that wraps */
			rig_desc(rig, desc, 0, ~0ull - 1, 16, 0, 0);
			break;
		case 11: /* readable after writable */
			rig_desc(rig, desc, 0, a, 1, RIG_WRITE | RIG_NEXT, 1);
			break;
		case 12: /* a loop in a table */
			rig_desc(rig, desc, 0, table, 32, RIG_TABLE, 0);
			rig_desc(rig, table, 0, a, 1, RIG_NEXT, 1);
			rig_desc(rig, table, 1, a, 1, RIG_NEXT, 0);
			break;
		case 13: /* more available than the ring holds */
			rig->queues[1].avail = 40;
			break;
		}
		rig_post(rig, 1, 0);
		rig_kick(rig, 1);
		assert_true(rig_read_status(rig) & NEEDS_RESET);
		assert_int_equal(rig_read(rig, rig->isr, 1), 2);
		assert_false(rig_used(rig, 1, &id, &len));
	}
	/* a head that is no descriptor */
	rig->heap = heap;
	rig_drive(rig, RIG_VERSION_1, 2);
	rig_post(rig, 1, 16);
	rig_kick(rig, 1);
	assert_true(rig_read_status(rig) & NEEDS_RESET);
	/* after a reset it works */
	rig->heap = heap;
	s->out_len = 0;
	rig_drive(rig, RIG_VERSION_1, 2);
	rig_desc(rig, rig->queues[1].desc, 0, a, 1, 0, 0);
	memset(rig_host(rig, rig->queues[1].driver), 0, 4);
	rig_post(rig, 1, 0);
	rig_kick(rig, 1);
	assert_int_equal(s->out_len, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(identity),
		TEST(negotiation),
		TEST(queue_registers),
		TEST(entropy),
		TEST(interrupt_by_pin),
		TEST(interrupt_by_message),
		TEST(event_index),
		TEST(indices_wrap),
		TEST(notifies_only_when_ready),
		TEST(doorbells),
		TEST(access_through_configuration_space),
		TEST(chains),
		TEST(input),
		TEST(slow_output),
		TEST(broken_rules),
	};

	return cmocka_run_group_tests_name("virtio", tests, NULL, NULL);
}
