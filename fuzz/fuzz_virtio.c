/* SPDX-License-Identifier: MIT */
/*
 * The virtio devices under a driver that writes what it likes to registers, rings and
 * descriptors. The input chooses a device, sets it up as a driver would so that the rings are
 * reached at all, and then does anything. Holds: nothing crashes or hangs, no byte beyond RAM is
 * touched, and a reset brings the registers back.
 */
#include "base/loop.h"
#include "dev/virtio_blk.h"
#include "dev/virtio_console.h"
#include "dev/virtio_net.h"
#include "dev/virtio_rng.h"
#include "pci_rig.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

#define DEVICES 4
#define QUEUES 2
#define BAR(device) (0xc0000000ull + (device) * 0x10000ull)
#define COMMON 0x0000
#define NOTIFY 0x3000
/* In RAM: rings of 8 of queue q at q * RINGS, then tables and buffers. */
#define RINGS 0x1000
#define DRIVER_RING 0x400
#define DEVICE_RING 0x800
#define TABLES 0x2000
#define REQUEST 0x8000
#define DISK_SIZE (64 * KIB)

struct fuzz {
	struct fuzz_rig rig;
	struct loop *loop;
	struct net_backend net;
	struct virtio_console *console;
	unsigned device;
	u16 avail[QUEUES];
};

static void net_send(struct net_backend *backend, const u8 *frame, unsigned len)
{
	u8 copy[NET_FRAME_MAX];

	/* The whole of it can be read, and a peer may answer at once. */
	memcpy(copy, frame, len);
	if (len && copy[0] == 0xa5)
		backend->deliver(backend->card, copy, len);
}

static void net_sent(struct net_backend *backend)
{
}

static void net_free(struct net_backend *backend)
{
}

/* Takes all of an even number of bytes and half of an odd one. */
static size_t console_output(void *opaque, const u8 *bytes, size_t len)
{
	u8 copy[64];

	memcpy(copy, bytes, MIN(len, sizeof(copy)));
	return len & 1 ? len / 2 : len;
}

static void start(struct fuzz *fuzz)
{
	struct virtio_net_options net = {.backend = &fuzz->net};
	struct virtio_console_options console = {.output = console_output};
	struct virtio_blk_options blk = {.serial = "fuzz"};

	fuzz_rig_start(&fuzz->rig);
	fuzz->loop = blk.loop = loop_new(NULL, NULL, NULL);
	fuzz->net = (struct net_backend){.send = net_send, .sent = net_sent, .free = net_free,
		.checksums_good = true};
	blk.disk = (struct disk){.fd = memfd_create("disk", MFD_CLOEXEC), .size = DISK_SIZE};
	fuzz_require(blk.disk.fd >= 0 && ftruncate(blk.disk.fd, DISK_SIZE) == 0, "there is a disk");
	fuzz_require(!virtio_blk_plug(fuzz->rig.bus, 1, &blk), "blk");
	fuzz_require(!virtio_net_plug(fuzz->rig.bus, 2, &net), "net");
	fuzz_require(!virtio_console_plug(&fuzz->console, fuzz->rig.bus, 3), "console");
	virtio_console_connect(fuzz->console, &console);
	fuzz_require(!virtio_rng_plug(fuzz->rig.bus, 4), "rng");
}

static void write_bar(struct fuzz *fuzz, unsigned offset, unsigned size, u64 value)
{
	space_write(fuzz->rig.memory, BAR(fuzz->device) + offset, size, value);
}

static u64 read_bar(struct fuzz *fuzz, unsigned offset, unsigned size)
{
	return space_read(fuzz->rig.memory, BAR(fuzz->device) + offset, size);
}

/* As a driver does it, with the features that the input wants. */
static void set_up(struct fuzz *fuzz, u32 features)
{
	unsigned queues = read_bar(fuzz, COMMON + 18, 2);

	memset(fuzz->avail, 0, sizeof(fuzz->avail));
	memset(fuzz->rig.ram.host, 0, QUEUES * RINGS);
	write_bar(fuzz, COMMON + 20, 1, 0);
	write_bar(fuzz, COMMON + 20, 1, 3);
	write_bar(fuzz, COMMON, 4, 0);
	write_bar(fuzz, COMMON + 8, 4, 0);
	write_bar(fuzz, COMMON + 12, 4, features & read_bar(fuzz, COMMON + 4, 4));
	write_bar(fuzz, COMMON + 8, 4, 1);
	write_bar(fuzz, COMMON + 12, 4, 1);
	write_bar(fuzz, COMMON + 20, 1, 0xb);
	for (unsigned i = 0; i < queues; i++) {
		write_bar(fuzz, COMMON + 22, 2, i);
		write_bar(fuzz, COMMON + 24, 2, 8);
		write_bar(fuzz, COMMON + 32, 8, i * RINGS);
		write_bar(fuzz, COMMON + 40, 8, i * RINGS + DRIVER_RING);
		write_bar(fuzz, COMMON + 48, 8, i * RINGS + DEVICE_RING);
		write_bar(fuzz, COMMON + 28, 2, 1);
	}
	write_bar(fuzz, COMMON + 20, 1, 0xf);
}

static void put(struct fuzz *fuzz, u64 address, const void *bytes, u64 len)
{
	memcpy(fuzz->rig.ram.host + address, bytes, len);
}

/* A descriptor whose fields are near to what could be right. */
static void put_desc(struct fuzz *fuzz, struct fuzz_input *input)
{
	u64 where = fuzz_take(input, 1), address = fuzz_take(input, 2);
	u32 len = fuzz_take(input, 2);
	u16 flags = fuzz_take(input, 1) & 7, next = fuzz_take(input, 1) & 15;

	where = where & 0x80 ? TABLES + (where & 0x7f) * 16
			     : (where >> 3 & 1) * RINGS + (where & 7) * 16;
	if (len & 0x8000)
		address += RIG_RAM - 0x8000; /* at the end of RAM, and beyond */
	len &= 0x1fff;
	put(fuzz, where, &address, 8);
	put(fuzz, where + 8, &len, 4);
	put(fuzz, where + 12, &flags, 2);
	put(fuzz, where + 14, &next, 2);
}

static void post(struct fuzz *fuzz, unsigned queue, u16 head)
{
	u64 ring = queue * RINGS + DRIVER_RING;

	put(fuzz, ring + 4 + 2 * (fuzz->avail[queue]++ % 8), &head, 2);
	put(fuzz, ring + 2, &fuzz->avail[queue], 2);
	write_bar(fuzz, NOTIFY + queue * 4, 2, queue);
}

/*
 * A request as a driver makes it: 16 bytes of header, data, a byte of status. What the input says
 * about its type, place and lengths is near to what could be right.
 */
static void post_request(struct fuzz *fuzz, struct fuzz_input *input)
{
	unsigned how = fuzz_take(input, 1), queue = how & 1;
	bool write = how & 2; /* the device writes the data */
	u64 header[2] = {how >> 3, fuzz_take(input, 1)};
	struct {
		u64 address;
		u32 len;
		u16 flags, next;
	} table[3] = {
		{REQUEST, 16, 1, 1},
		{REQUEST + 0x100, fuzz_take(input, 1) * 128, write ? 3 : 1, 2},
		{REQUEST + 0x10, how & 4 ? 1 : fuzz_take(input, 1), 2, 0},
	};

	/* A frame's header is that of a request without its first part. */
	if (fuzz->device == 1)
		header[0] = fuzz_take(input, 1) & 1;
	put(fuzz, REQUEST, header, 16);
	put(fuzz, queue * RINGS, table, sizeof(table));
	post(fuzz, queue, 0);
}

static void stop_loop(void *opaque)
{
	loop_stop(opaque);
}

/* One turn: what the disk has done is given back. */
static void turn_loop(struct fuzz *fuzz)
{
	struct loop_timer timer = {.fire = stop_loop, .arg = fuzz->loop};

	loop_timer_set(fuzz->loop, &timer, 1);
	loop_run(fuzz->loop);
}

static void step(struct fuzz *fuzz, struct fuzz_input *input)
{
	unsigned what = fuzz_take(input, 1);
	u8 bytes[NET_FRAME_MAX];
	u64 place, value;

	switch (what % 10) {
	case 0:
		put_desc(fuzz, input);
		break;
	case 1:
		post(fuzz, what >> 4 & 1, fuzz_take(input, 1) & 15);
		break;
	case 2: /* anything in the rings, the indices and events too */
		place = fuzz_take(input, 2) % (QUEUES * RINGS - 2);
		value = fuzz_take(input, 2);
		put(fuzz, place, &value, 2);
		break;
	case 3: /* a request's header or data */
		place = fuzz_take(input, 2);
		value = fuzz_take(input, 8);
		put(fuzz, place, &value, 8);
		break;
	case 4:
		fuzz_access(fuzz->rig.memory, BAR(fuzz->device) + (fuzz_take(input, 2) & 0x3fff),
			input);
		break;
	case 5:
		place = fuzz_take(input, 1);
		fuzz_config_write(&fuzz->rig, 1 + fuzz->device, place, 4, fuzz_take(input, 4));
		break;
	case 6: /* from outside */
		value = fuzz_take(input, 2) % (sizeof(bytes) + 1);
		memset(bytes, what, sizeof(bytes));
		if (fuzz->device == 1)
			fuzz->net.deliver(fuzz->net.card, bytes, value);
		if (fuzz->device == 2) {
			virtio_console_input(fuzz->console, bytes, value);
			virtio_console_output_ready(fuzz->console);
		}
		break;
	case 7:
		turn_loop(fuzz);
		break;
	case 8:
		set_up(fuzz, fuzz_take(input, 4));
		break;
	case 9:
		post_request(fuzz, input);
		break;
	}
}

/* The common configuration after a reset says what it said at first. */
static void check_reset(struct fuzz *fuzz)
{
	static u8 first[DEVICES][64];
	static bool known[DEVICES];
	u8 now[64];

	for (unsigned i = 0; i < 56; i++)
		now[i] = i == 21 ? 0 : read_bar(fuzz, COMMON + i, 1); /* but the generation */
	if (!known[fuzz->device])
		memcpy(first[fuzz->device], now, 56);
	known[fuzz->device] = true;
	fuzz_require(!memcmp(first[fuzz->device], now, 56), "registers after a reset");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static struct fuzz fuzz;
	struct fuzz_input input = {bytes, len};

	if (!fuzz.loop)
		start(&fuzz);
	pci_bus_reset(fuzz.rig.bus);
	fuzz.device = fuzz_take(&input, 1) % DEVICES;
	/* BAR 0 where BAR() says, BAR 2 out of the way. */
	fuzz_config_write(&fuzz.rig, 1 + fuzz.device, PCI_BAR0, 4, BAR(fuzz.device));
	fuzz_config_write(&fuzz.rig, 1 + fuzz.device, PCI_BAR0 + 8, 4, 0xd0000000);
	fuzz_config_write(&fuzz.rig, 1 + fuzz.device, PCI_COMMAND, 2,
		PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	check_reset(&fuzz);
	set_up(&fuzz, fuzz_take(&input, 4));
	while (input.left)
		step(&fuzz, &input);
	turn_loop(&fuzz);
	return 0;
}
