/* SPDX-License-Identifier: MIT */
/* Raw disks and the virtio block device, on a file in the temporary directory. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "dev/virtio_blk.h"
#include "virtio_rig.h"

#define DISK_SIZE (1 * MIB)
#define F_RO BIT(5)
#define F_FLUSH BIT(9)
#define F_DISCARD BIT(13)
#define F_WRITE_ZEROES BIT(14)
#define ALL (RIG_VERSION_1 | F_FLUSH | F_DISCARD | F_WRITE_ZEROES)

enum { T_IN, T_OUT, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK, S_IOERR, S_UNSUPP };

struct state {
	struct rig rig;
	char path[64];
	int fd; /* for looking at the file from outside */
	u64 header, data, status;
};

static void make_file(struct state *s)
{
	snprintf(s->path, sizeof(s->path), "%s/nestbox-disk-XXXXXX",
		access("/tmp", W_OK) ? "." : "/tmp");
	s->fd = mkstemp(s->path);
	assert_true(s->fd >= 0);
	assert_int_equal(ftruncate(s->fd, DISK_SIZE), 0);
}

static int setup_disk(void **opaque, bool read_only)
{
	struct state *s = calloc(1, sizeof(*s));
	struct virtio_blk_options options = {.serial = "serial number of 25 chars"};
	const char *why;

	make_file(s);
	rig_start(&s->rig);
	options.loop = s->rig.loop;
	assert_int_equal(disk_open(&options.disk, s->path, read_only, &why), 0);
	assert_int_equal(virtio_blk_plug(s->rig.bus, 4, &options), 0);
	pci_bus_reset(s->rig.bus);
	rig_probe(&s->rig, 4);
	s->header = rig_alloc(&s->rig, 16);
	s->data = rig_alloc(&s->rig, 256 * KIB);
	s->status = rig_alloc(&s->rig, 1);
	*opaque = s;
	return 0;
}

static int setup(void **opaque)
{
	return setup_disk(opaque, false);
}

static int setup_read_only(void **opaque)
{
	return setup_disk(opaque, true);
}

static int teardown(void **opaque)
{
	struct state *s = *opaque;

	rig_stop(&s->rig);
	close(s->fd);
	unlink(s->path);
	free(s);
	return 0;
}

static void put_header(struct state *s, u32 type, u64 sector)
{
	rig_write(&s->rig, s->header, 8, type);
	rig_write(&s->rig, s->header + 8, 8, sector);
	rig_write(&s->rig, s->status, 1, 0xff);
}

/* Header, `count` pieces of data of `len` bytes each, status. Returns the status. */
static u8 request(struct state *s, u32 type, u64 sector, unsigned count, u32 len)
{
	struct rig *rig = &s->rig;
	u64 desc = rig->queues[0].desc;
	bool in = type == T_IN || type == T_GET_ID;
	u32 id, used;
	unsigned i = 1;

	put_header(s, type, sector);
	rig_desc(rig, desc, 0, s->header, 16, RIG_NEXT, 1);
	for (; i <= count; i++)
		rig_desc(rig, desc, i, s->data + (i - 1) * len, len,
			RIG_NEXT | (in ? RIG_WRITE : 0), i + 1);
	rig_desc(rig, desc, i, s->status, 1, RIG_WRITE, 0);
	rig_post(rig, 0, 0);
	rig_kick(rig, 0);
	assert_true(rig_wait_used(rig, 0, &id, &used));
	assert_int_equal(id, 0);
	assert_true(used >= 1 && used <= 1 + (in ? count * len : 0));
	return rig_read(rig, s->status, 1);
}

static void pattern(struct state *s, u32 len, u8 seed)
{
	u8 *host = rig_host(&s->rig, s->data);

	for (u32 i = 0; i < len; i++)
		host[i] = i * 7 + (i >> 8) + seed;
}

static void open_disks(void **opaque)
{
	struct state s = {0};
	struct disk one, two;
	const char *why = NULL;

	make_file(&s);
	assert_int_equal(disk_open(&one, s.path, false, &why), 0);
	assert_true(one.size == DISK_SIZE);
	assert_int_equal(disk_open(&two, s.path, false, &why), -EAGAIN);
	assert_string_equal(why, "is in use by another VM");
	assert_int_equal(disk_open(&two, s.path, true, &why), -EAGAIN);
	disk_close(&one);
	/* readers share */
	assert_int_equal(disk_open(&one, s.path, true, &why), 0);
	assert_int_equal(disk_open(&two, s.path, true, &why), 0);
	disk_close(&two);
	assert_int_equal(disk_open(&two, s.path, false, &why), -EAGAIN);
	disk_close(&one);
	assert_int_equal(ftruncate(s.fd, 513), 0);
	assert_int_equal(disk_open(&one, s.path, false, &why), -EINVAL);
	assert_non_null(strstr(why, "512"));
	assert_int_equal(ftruncate(s.fd, 0), 0);
	assert_int_equal(disk_open(&one, s.path, false, &why), -EINVAL);
	assert_non_null(strstr(why, "empty"));
	unlink(s.path);
	assert_int_equal(disk_open(&one, s.path, false, &why), -ENOENT);
	assert_int_equal(disk_open(&one, "/", false, &why), -EISDIR);
	assert_int_equal(disk_open(&one, "/dev/null", false, &why), -EINVAL);
	assert_int_equal(mkfifo(s.path, 0600), 0);
	assert_int_equal(disk_open(&one, s.path, true, &why), -EINVAL);
	unlink(s.path);
	close(s.fd);
}

static void configuration(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;

	assert_true((rig_features(rig) & ALL) == ALL);
	assert_false(rig_features(rig) & F_RO);
	assert_true(rig_read(rig, rig->device, 8) == DISK_SIZE / 512);
	assert_int_equal(rig_read(rig, rig->device + 12, 4), 126);
	assert_int_equal(rig_read(rig, rig->device + 20, 4), 512);
	assert_int_equal(rig_read(rig, rig->device + 40, 4), 16);
}

static void read_and_write(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;
	u8 file[8192];

	rig_drive(rig, ALL, 1);
	pattern(s, 8192, 1);
	assert_int_equal(request(s, T_OUT, 10, 2, 4096), S_OK);
	assert_int_equal(request(s, T_FLUSH, 0, 0, 0), S_OK);
	assert_int_equal(pread(s->fd, file, 8192, 5120), 8192);
	assert_memory_equal(file, rig_host(rig, s->data), 8192);
	memset(rig_host(rig, s->data), 0, 8192);
	assert_int_equal(request(s, T_IN, 10, 8, 1024), S_OK);
	assert_memory_equal(file, rig_host(rig, s->data), 8192);
	/* the last sector, and past it */
	assert_int_equal(request(s, T_IN, DISK_SIZE / 512 - 1, 1, 512), S_OK);
	assert_int_equal(request(s, T_OUT, DISK_SIZE / 512 - 1, 1, 1024), S_IOERR);
	assert_int_equal(request(s, T_IN, DISK_SIZE / 512, 1, 512), S_IOERR);
	assert_int_equal(request(s, T_IN, ~0ull, 1, 512), S_IOERR);
	assert_int_equal(request(s, T_IN, BIT(55), 1, 512), S_IOERR);
	/* not whole sectors */
	assert_int_equal(request(s, T_OUT, 0, 1, 511), S_IOERR);
	/* nothing at all */
	assert_int_equal(request(s, T_IN, 0, 0, 0), S_OK);
	assert_int_equal(request(s, 77, 0, 0, 0), S_UNSUPP);
	assert_int_equal(rig_read_status(rig), 0xf);
}

static void layout_is_free(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;
	u64 desc;
	u32 id, len;

	/* the header in two pieces, data and status in one: 2.7.4.2 */
	rig_drive(rig, ALL, 1);
	assert_int_equal(pwrite(s->fd, "sector nine", 11, 9 * 512), 11);
	desc = rig->queues[0].desc;
	put_header(s, T_IN, 9);
	rig_desc(rig, desc, 3, s->header, 5, RIG_NEXT, 1);
	rig_desc(rig, desc, 1, s->header + 5, 11, RIG_NEXT, 7);
	rig_desc(rig, desc, 7, s->data, 513, RIG_WRITE, 0);
	rig_host(rig, s->data)[512] = 0xff;
	rig_post(rig, 0, 3);
	rig_kick(rig, 0);
	assert_true(rig_wait_used(rig, 0, &id, &len));
	assert_int_equal(len, 513);
	assert_int_equal(rig_host(rig, s->data)[512], S_OK);
	assert_memory_equal(rig_host(rig, s->data), "sector nine", 11);
}

static void identity(void **opaque)
{
	struct state *s = *opaque;

	rig_drive(&s->rig, ALL, 1);
	assert_int_equal(request(s, T_GET_ID, 0, 1, 20), S_OK);
	assert_memory_equal(rig_host(&s->rig, s->data), "serial number of 25 ", 20);
	assert_int_equal(request(s, T_GET_ID, 0, 1, 6), S_OK);
}

static u8 ranges(struct state *s, u32 type, unsigned count, u64 sector, u32 sectors, u32 flags)
{
	for (unsigned i = 0; i < count; i++) {
		rig_write(&s->rig, s->data + i * 16, 8, sector + i * 16);
		rig_write(&s->rig, s->data + i * 16 + 8, 4, sectors);
		rig_write(&s->rig, s->data + i * 16 + 12, 4, flags);
	}
	return request(s, type, 0, 1, count * 16);
}

static void discard_and_zero(void **opaque)
{
	struct state *s = *opaque;
	static const u8 none[16 * 512];
	u8 file[sizeof(none)];
	struct stat st;

	rig_drive(&s->rig, ALL, 1);
	pattern(s, 256 * KIB, 3);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pwrite(s->fd, rig_host(&s->rig, s->data), 256 * KIB,
			i * 256 * KIB), 256 * KIB);
	for (unsigned flags = 0; flags < 2; flags++) {
		u64 at = 64 + flags * 256;

		assert_int_equal(ranges(s, T_WRITE_ZEROES, 2, at, 8, flags), S_OK);
		assert_int_equal(pread(s->fd, file, sizeof(file), at * 512), sizeof(file));
		assert_memory_equal(file, none, 8 * 512);
		assert_memory_not_equal(file + 8 * 512, none, 8 * 512);
		assert_int_equal(pread(s->fd, file, 512, (at + 16) * 512), 512);
		assert_memory_equal(file, none, 512);
	}
	assert_int_equal(ranges(s, T_DISCARD, 16, 512, 16, 0), S_OK);
	fstat(s->fd, &st);
	assert_true(st.st_size == DISK_SIZE);
	/* 5.2.6.2: unmap in a discard, unknown flags, too many, none, out of the disk */
	assert_int_equal(ranges(s, T_DISCARD, 1, 0, 8, 1), S_UNSUPP);
	assert_int_equal(ranges(s, T_WRITE_ZEROES, 1, 0, 8, 2), S_UNSUPP);
	assert_int_equal(ranges(s, T_DISCARD, 17, 0, 8, 0), S_UNSUPP);
	assert_int_equal(request(s, T_DISCARD, 0, 0, 0), S_UNSUPP);
	assert_int_equal(ranges(s, T_DISCARD, 1, DISK_SIZE / 512, 1, 0), S_IOERR);
	assert_int_equal(ranges(s, T_WRITE_ZEROES, 1, 0, ~0u, 0), S_IOERR);
}

static void read_only(void **opaque)
{
	struct state *s = *opaque;

	assert_true(rig_features(&s->rig) & F_RO);
	assert_false(rig_features(&s->rig) & (F_DISCARD | F_WRITE_ZEROES));
	rig_drive(&s->rig, RIG_VERSION_1 | F_RO, 1);
	assert_int_equal(request(s, T_IN, 0, 1, 512), S_OK);
	assert_int_equal(request(s, T_OUT, 0, 1, 512), S_IOERR);
	assert_int_equal(ranges(s, T_WRITE_ZEROES, 1, 0, 8, 0), S_IOERR);
}

/* What goes wrong on the host is the guest's I/O error, and the disk works on. */
static void host_errors(void **opaque)
{
	struct state *s = *opaque;
	struct rlimit old, small = {512 * KIB, RLIM_INFINITY};

	rig_drive(&s->rig, ALL, 1);
	getrlimit(RLIMIT_FSIZE, &old);
	small.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_FSIZE, &small);
	assert_int_equal(request(s, T_OUT, 1536, 1, 4096), S_IOERR);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(request(s, T_OUT, 1536, 1, 4096), S_OK);
	/* somebody cuts the file */
	assert_int_equal(ftruncate(s->fd, 4096), 0);
	assert_int_equal(request(s, T_IN, 100, 1, 512), S_IOERR);
	assert_int_equal(request(s, T_IN, 0, 1, 512), S_OK);
}

/* More requests than the pool holds, 32 of them in flight with resets in between. */
static void many(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;
	u64 desc, table, heap = rig->heap;

	for (unsigned round = 0; round < 20; round++) {
		rig->heap = heap;
		assert_true(rig_negotiate(rig, ALL | RIG_INDIRECT | RIG_EVENT_IDX));
		rig_queue(rig, 0, 128);
		memset(rig_host(rig, rig->queues[0].driver), 0, 4096);
		memset(rig_host(rig, rig->queues[0].device), 0, 4096);
		rig_status(rig, 0xf);
		desc = rig->queues[0].desc;
		table = rig_alloc(rig, 128 * 48);
		put_header(s, T_OUT, 0);
		for (unsigned i = 0; i < 128; i++) {
			rig_desc(rig, table + i * 48, 0, s->header, 16, RIG_NEXT, 1);
			rig_desc(rig, table + i * 48, 1, s->data + i * 1024, 1024, RIG_NEXT, 2);
			rig_desc(rig, table + i * 48, 2, s->status, 1, RIG_WRITE, 0);
			rig_desc(rig, desc, i, table + i * 48, 48, RIG_TABLE, 0);
			rig_post(rig, 0, i);
		}
		rig_kick(rig, 0);
		if (round & 1)
			continue; /* reset while they run */
		for (unsigned i = 0; i < 128; i++) {
			u32 id, len;

			assert_true(rig_wait_used(rig, 0, &id, &len));
			assert_int_equal(id, i);
			assert_int_equal(len, 1);
		}
		assert_int_equal(rig_read(rig, s->status, 1), S_OK);
	}
}

/* Where the host's file is not in its page cache the worker reads it, and the end comes later. */
static bool needs_reset(void *opaque)
{
	return rig_read_status(opaque) & 64;
}

static void broken_rules(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;
	u64 heap = rig->heap;

	for (unsigned rule = 0; rule < 3; rule++) {
		u64 desc;

		rig->heap = heap;
		rig_drive(rig, ALL, 1);
		desc = rig->queues[0].desc;
		memset(rig_host(rig, rig->queues[0].driver), 0, 4096);
		put_header(s, T_IN, 0);
		rig_desc(rig, desc, 0, s->header, 16, RIG_NEXT, 1);
		rig_desc(rig, desc, 1, s->data, 512, RIG_WRITE | RIG_NEXT, 2);
		rig_desc(rig, desc, 2, s->status, 1, RIG_WRITE, 0);
		if (rule == 0) /* no place for the status */
			rig_desc(rig, desc, 0, s->header, 16, 0, 0);
		if (rule == 1) /* data that is not in RAM */
			rig_desc(rig, desc, 1, 0xd0000000, 512, RIG_WRITE | RIG_NEXT, 2);
		if (rule == 2) /* nor the status */
			rig_desc(rig, desc, 2, 0xd0000000, 1, RIG_WRITE, 0);
		rig_post(rig, 0, 0);
		rig_kick(rig, 0);
		assert_true(rig_run(rig, needs_reset, rig));
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(open_disks),
		TEST(configuration),
		TEST(read_and_write),
		TEST(layout_is_free),
		TEST(identity),
		TEST(discard_and_zero),
		cmocka_unit_test_setup_teardown(read_only, setup_read_only, teardown),
		TEST(host_errors),
		TEST(many),
		TEST(broken_rules),
	};

	return cmocka_run_group_tests_name("virtio-blk", tests, NULL, NULL);
}
