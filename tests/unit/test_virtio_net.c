/* SPDX-License-Identifier: MIT */
/* The virtio network card, with a cable that ends in this file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dev/virtio_net.h"
#include "virtio_rig.h"

#define F_CSUM BIT(0)
#define F_GUEST_CSUM BIT(1)
#define F_MRG_RXBUF BIT(15)
#define HEADER 12

struct state {
	struct rig rig;
	struct net_backend backend;
	u8 sent[2048];
	unsigned sent_len, sent_count, bursts, freed;
	u64 buffer;
};

static void backend_send(struct net_backend *backend, const u8 *frame, unsigned len)
{
	struct state *s = container_of(backend, struct state, backend);

	memcpy(s->sent, frame, len);
	s->sent_len = len;
	s->sent_count++;
}

static void backend_sent(struct net_backend *backend)
{
	container_of(backend, struct state, backend)->bursts++;
}

static void backend_free(struct net_backend *backend)
{
	container_of(backend, struct state, backend)->freed++;
}

static int setup(void **opaque)
{
	struct state *s = calloc(1, sizeof(*s));
	struct virtio_net_options options = {&s->backend, {2, 0, 0, 0xab, 0xcd, 0xef}};

	s->backend = (struct net_backend){.send = backend_send, .sent = backend_sent,
		.free = backend_free, .checksums_good = true};
	rig_start(&s->rig);
	assert_int_equal(virtio_net_plug(s->rig.bus, 5, &options), 0);
	pci_bus_reset(s->rig.bus);
	rig_probe(&s->rig, 5);
	s->buffer = rig_alloc(&s->rig, 64 * KIB);
	*opaque = s;
	return 0;
}

static int teardown(void **opaque)
{
	struct state *s = *opaque;

	rig_stop(&s->rig);
	assert_int_equal(s->freed, 1);
	free(s);
	return 0;
}

static void deliver(struct state *s, u8 fill, unsigned len)
{
	u8 frame[NET_FRAME_MAX];

	for (unsigned i = 0; i < len; i++)
		frame[i] = fill + i;
	s->backend.deliver(s->backend.card, frame, len);
}

static void post_receive(struct state *s, u16 head, u64 offset, u32 len)
{
	rig_desc(&s->rig, s->rig.queues[0].desc, head, s->buffer + offset, len, RIG_WRITE, 0);
	rig_post(&s->rig, 0, head);
}

static void transmit(struct state *s, u32 len)
{
	struct rig *rig = &s->rig;
	u32 id, used;

	rig_desc(rig, rig->queues[1].desc, 0, s->buffer, HEADER, RIG_NEXT, 1);
	rig_desc(rig, rig->queues[1].desc, 1, s->buffer + HEADER, len, 0, 0);
	rig_post(rig, 1, 0);
	rig_kick(rig, 1);
	assert_true(rig_used(rig, 1, &id, &used));
	assert_int_equal(used, 0);
}

static void configuration(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;
	static const u8 mac[6] = {2, 0, 0, 0xab, 0xcd, 0xef};

	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(rig_read(rig, rig->device + i, 1), mac[i]);
	assert_int_equal(rig_read(rig, rig->device + 6, 2), 1);
}

static void sends(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;

	rig_drive(rig, RIG_VERSION_1, 2);
	for (unsigned i = 0; i < NET_FRAME_MAX; i++)
		rig_host(rig, s->buffer)[HEADER + i] = i;
	transmit(s, 60);
	assert_int_equal(s->sent_len, 60);
	assert_int_equal(s->bursts, 1);
	assert_memory_equal(s->sent, rig_host(rig, s->buffer + HEADER), 60);
	transmit(s, NET_FRAME_MAX);
	assert_int_equal(s->sent_len, NET_FRAME_MAX);
	/* too long, or of kinds that were not agreed on: dropped */
	transmit(s, NET_FRAME_MAX + 1);
	transmit(s, 60000);
	rig_host(rig, s->buffer)[1] = 1;
	transmit(s, 60);
	rig_host(rig, s->buffer)[1] = 0;
	rig_host(rig, s->buffer)[0] = 1;
	transmit(s, 60);
	assert_int_equal(s->sent_count, 2);
	assert_int_equal(rig_read_status(rig), 0xf);
}

/* RFC 1071's example in a datagram, and the field that would come out as 0. */
static void fills_checksums(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;
	u8 *header, *frame;
	static const u8 data[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};

	rig_drive(rig, RIG_VERSION_1 | F_CSUM, 2);
	header = rig_host(rig, s->buffer);
	frame = header + HEADER;
	memset(frame, 0, 64);
	memcpy(frame + 34, data, 8);
	header[0] = 1;   /* NEEDS_CSUM */
	header[6] = 34;  /* csum_start */
	header[8] = 8;   /* csum_offset */
	transmit(s, 60);
	/* 0001 + f203 + f4f5 + f6f7 = ddf2 */
	assert_int_equal(s->sent[42], 0x22);
	assert_int_equal(s->sent[43], 0x0d);
	/* an odd number of bytes, carries */
	memset(frame + 34, 0xff, 27);
	frame[42] = frame[43] = 0;
	transmit(s, 61);
	assert_int_equal(s->sent[42] << 8 | s->sent[43], 0x00ff);
	/* ones only: 0, which is sent as ffff */
	memset(frame + 34, 0xff, 26);
	frame[42] = frame[43] = 0;
	transmit(s, 60);
	assert_int_equal(s->sent[42] << 8 | s->sent[43], 0xffff);
	assert_int_equal(s->sent_count, 3);
	/* outside of the frame */
	header[6] = 60;
	header[8] = 0;
	transmit(s, 61);
	header[6] = header[7] = header[8] = header[9] = 0xff;
	transmit(s, 60);
	assert_int_equal(s->sent_count, 3);
}

static void receives(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;
	u8 *host = rig_host(rig, s->buffer);
	u32 id, len;

	deliver(s, 0, 60); /* nobody listens yet */
	rig_drive(rig, RIG_VERSION_1 | F_GUEST_CSUM, 2);
	post_receive(s, 3, 0, 2000);
	deliver(s, 9, 60);
	assert_true(rig_used(rig, 0, &id, &len));
	assert_int_equal(id, 3);
	assert_int_equal(len, 72);
	assert_int_equal(host[0], 2);  /* DATA_VALID */
	assert_int_equal(host[10], 1); /* num_buffers */
	assert_int_equal(host[HEADER], 9);
	assert_int_equal(host[HEADER + 59], 68);
	/* too small a buffer without merging is the driver's fault */
	post_receive(s, 3, 0, 100);
	deliver(s, 9, 200);
	assert_true(rig_read_status(rig) & 64);
}

static void merges_buffers(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;
	u8 *host = rig_host(rig, s->buffer);
	u32 id, len, total = 0;

	rig_drive(rig, RIG_VERSION_1 | F_MRG_RXBUF | RIG_EVENT_IDX, 2);
	for (unsigned i = 0; i < 3; i++)
		post_receive(s, i, i * 4096, 200);
	/* 612 bytes are needed: nothing is used before there is room for all */
	deliver(s, 1, 600);
	assert_false(rig_used(rig, 0, &id, &len));
	deliver(s, 7, 20);
	post_receive(s, 3, 3 * 4096, 200);
	rig_kick(rig, 0);
	for (unsigned i = 0; i < 4; i++) {
		assert_true(rig_used(rig, 0, &id, &len));
		assert_int_equal(id, i);
		assert_int_equal(len, i == 3 ? 12 : 200);
		total += len;
	}
	assert_int_equal(total, 612);
	assert_int_equal(host[0], 0);
	assert_int_equal(host[10], 4);
	for (unsigned i = 0; i < 600; i++)
		assert_int_equal(host[(i + HEADER) / 200 * 4096 + (i + HEADER) % 200],
			(u8)(i + 1));
	/* then the frame that waited behind it */
	assert_false(rig_used(rig, 0, &id, &len));
	post_receive(s, 4, 0, 200);
	rig_kick(rig, 0);
	assert_true(rig_used(rig, 0, &id, &len));
	assert_int_equal(len, 32);
	assert_int_equal(host[HEADER], 7);
}

/* Frames wait in order for buffers; too many are lost, not kept. */
static void backlog(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;
	unsigned got = 0;
	u32 id, len;

	rig_drive(rig, RIG_VERSION_1, 2);
	for (unsigned i = 0; i < 1000; i++)
		deliver(s, i, 64);
	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < 16; i++)
			post_receive(s, i, i * 4096, 2048);
		rig_kick(rig, 0);
		while (rig_used(rig, 0, &id, &len)) {
			assert_int_equal(rig_host(rig, s->buffer)[id * 4096 + HEADER], (u8)got);
			got++;
		}
		if (got < (round + 1) * 16)
			break;
	}
	assert_int_equal(got, 128);
	/* a reset forgets what waits */
	rig_status(rig, 0);
	rig_drive(rig, RIG_VERSION_1, 2);
	deliver(s, 0, 64);
	rig_status(rig, 0);
	rig_drive(rig, RIG_VERSION_1, 2);
	post_receive(s, 0, 0, 2048);
	rig_kick(rig, 0);
	assert_false(rig_used(rig, 0, &id, &len));
}

/* Buffers that hold nothing stop the device. */
static void empty_buffers(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;

	rig_drive(rig, RIG_VERSION_1 | F_MRG_RXBUF, 2);
	post_receive(s, 0, 0, 12);
	post_receive(s, 1, 0, 0);
	deliver(s, 0, 64);
	assert_true(rig_read_status(rig) & 64);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(configuration),
		TEST(sends),
		TEST(fills_checksums),
		TEST(receives),
		TEST(merges_buffers),
		TEST(backlog),
		TEST(empty_buffers),
	};

	return cmocka_run_group_tests_name("virtio-net", tests, NULL, NULL);
}
