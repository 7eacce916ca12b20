/* SPDX-License-Identifier: MIT */
/* Address spaces, RAM and DMA. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "mem/space.h"

struct seen {
	unsigned reads, writes;
	u64 offset, value;
	unsigned size;
	u8 bytes[64];
};

static u64 seen_read(void *device, u64 offset, unsigned size)
{
	struct seen *seen = device;
	u64 value = 0;

	seen->reads++;
	seen->offset = offset;
	seen->size = size;
	assert_int_equal(offset % size, 0);
	memcpy(&value, seen->bytes + offset, size);
	return value;
}

static void seen_write(void *device, u64 offset, unsigned size, u64 value)
{
	struct seen *seen = device;

	seen->writes++;
	seen->offset = offset;
	seen->size = size;
	seen->value = value;
	assert_int_equal(offset % size, 0);
	memcpy(seen->bytes + offset, &value, size);
}

static const struct io_ops any_ops = { seen_read, seen_write, .sizes = 0 };
static const struct io_ops byte_ops = { seen_read, seen_write, .sizes = 1 };
static const struct io_ops long_ops = { seen_read, seen_write, .sizes = 4 };
static const struct io_ops word_ops = { seen_read, seen_write, .sizes = 1 | 2 };

static void fill(struct seen *seen)
{
	*seen = (struct seen){ 0 };
	for (unsigned i = 0; i < sizeof(seen->bytes); i++)
		seen->bytes[i] = i + 0x10;
}

static void test_nothing(void **state)
{
	struct space *space = space_new("test");

	assert_int_equal(space_read(space, 0x123, 1), 0xff);
	assert_int_equal(space_read(space, 0x123, 2), 0xffff);
	assert_true(space_read(space, 0xfffffffffffffffcull, 8) == UINT64_MAX);
	space_write(space, 0x123, 4, 1);
	assert_null(space_find(space, 0).ops);
	assert_int_equal(space_add_io(space, 0, 0, &any_ops, NULL), -EINVAL);
	assert_int_equal(space_add_io(space, UINT64_MAX, 2, &any_ops, NULL), -EINVAL);
	space_free(space);
}

static void test_split(void **state)
{
	struct space *space = space_new("test");
	struct seen seen;

	assert_int_equal(space_add_io(space, 0x100, 16, &byte_ops, &seen), 0);
	fill(&seen);
	assert_int_equal(space_read(space, 0x102, 4), 0x15141312);
	assert_int_equal(seen.reads, 4);
	space_write(space, 0x101, 2, 0xbeef);
	assert_int_equal(seen.writes, 2);
	assert_int_equal(seen.bytes[1], 0xef);
	assert_int_equal(seen.bytes[2], 0xbe);
	/* Over the end of the range: nothing answers there. */
	assert_int_equal(space_read(space, 0x10e, 4), 0xffff1f1e);

	space_remove_io(space, 0x100, &seen);
	assert_int_equal(space_add_io(space, 0x100, 16, &word_ops, &seen), 0);
	fill(&seen);
	/* Misaligned: a byte, a word, a byte. */
	assert_int_equal(space_read(space, 0x101, 4), 0x14131211);
	assert_int_equal(seen.reads, 3);

	space_remove_io(space, 0x100, &seen);
	assert_int_equal(space_add_io(space, 0x100, 16, &any_ops, &seen), 0);
	fill(&seen);
	assert_true(space_read(space, 0x100, 8) == 0x1716151413121110ull);
	assert_int_equal(seen.reads, 1);
	assert_int_equal(seen.size, 8);
	space_free(space);
}

static void test_widen(void **state)
{
	struct space *space = space_new("test");
	struct seen seen;

	assert_int_equal(space_add_io(space, 0x1000, 32, &long_ops, &seen), 0);
	fill(&seen);
	assert_int_equal(space_read(space, 0x1005, 1), 0x15);
	assert_int_equal(seen.offset, 4);
	assert_int_equal(seen.size, 4);
	/* Across two registers */
	fill(&seen);
	assert_int_equal(space_read(space, 0x1003, 2), 0x1413);
	assert_int_equal(seen.reads, 2);
	/* An aligned narrow write comes zero-extended, one inside a register not at all. */
	space_write(space, 0x1008, 1, 0x7f);
	assert_int_equal(seen.value, 0x7f);
	assert_int_equal(seen.size, 4);
	seen.writes = 0;
	space_write(space, 0x1009, 1, 0x55);
	assert_int_equal(seen.writes, 0);
	space_write(space, 0x1010, 8, 0x1122334455667788ull);
	assert_int_equal(seen.writes, 2);
	assert_true(space_read(space, 0x1010, 8) == 0x1122334455667788ull);
	space_free(space);
}

static void test_overlap(void **state)
{
	struct space *space = space_new("test");
	struct seen config, reset, top;

	fill(&config);
	fill(&reset);
	fill(&top);
	assert_int_equal(space_add_io(space, 0xcf8, 8, &any_ops, &config), 0);
	assert_int_equal(space_add_io(space, 0xcf9, 1, &byte_ops, &reset), 0);
	/* The byte is the later device's, the doubleword around it the earlier one's. */
	space_write(space, 0xcf9, 1, 6);
	assert_int_equal(reset.writes, 1);
	space_write(space, 0xcf8, 4, 0x80000000);
	assert_int_equal(config.writes, 1);
	assert_int_equal(config.size, 4);
	assert_int_equal(space_read(space, 0xcfc, 4), 0x17161514);
	assert_int_equal(reset.reads, 0);

	/* What is hidden comes back. */
	assert_int_equal(space_add_io(space, 0xcf0, 0x20, &any_ops, &top), 0);
	assert_ptr_equal(space_find(space, 0xcf9).device, &top);
	space_remove_io(space, 0xcf0, &top);
	assert_ptr_equal(space_find(space, 0xcf8).device, &config);
	assert_ptr_equal(space_find(space, 0xcf9).device, &reset);
	assert_ptr_equal(space_find(space, 0xcfa).device, &config);
	assert_null(space_find(space, 0xcf7).ops);
	space_remove_io(space, 0xcf9, &reset);
	assert_ptr_equal(space_find(space, 0xcf9).device, &config);
	/* Not there: nothing happens. */
	space_remove_io(space, 0xcf9, &reset);
	assert_ptr_equal(space_find(space, 0xcf8).device, &config);
	space_free(space);
}

static void test_full(void **state)
{
	struct space *space = space_new("test");
	struct seen seen;
	u64 n = 0;

	while (space_add_io(space, n * 16, 8, &any_ops, &seen) == 0)
		n++;
	assert_true(n >= 256);
	assert_int_equal(space_add_io(space, n * 16, 8, &any_ops, &seen), -ENOMEM);
	for (u64 i = 0; i < n; i++) {
		assert_int_equal(space_find(space, i * 16 + 7).offset, 7);
		assert_null(space_find(space, i * 16 + 8).ops);
	}
	for (u64 i = 0; i < n; i++)
		space_remove_io(space, i * 16, &seen);
	assert_null(space_find(space, 0).ops);
	space_free(space);
}

static u64 written[16];
static unsigned written_count;

static void note_written(void *engine, u64 page)
{
	assert_ptr_equal(engine, &written_count);
	if (written_count < 16)
		written[written_count++] = page;
}

static void test_ram(void **state)
{
	struct space *space = space_new("test");
	struct ram ram;
	struct seen seen;
	u8 buffer[8];
	u64 got;

	assert_int_equal(ram_new(&ram, 0), -EINVAL);
	assert_int_equal(ram_new(&ram, 4097), -EINVAL);
	assert_int_equal(ram_new(&ram, 1ull << 56), -ENOMEM);
	assert_int_equal(ram_new(&ram, 16 * PAGE_SIZE), 0);
	ram.watched_written = note_written;
	ram.engine = &written_count;
	fill(&seen);
	/* Eight pages from 0, eight from 1 GiB: as around the PCI hole. A device lies on page 2. */
	assert_int_equal(space_add_ram(space, 0, 8 * PAGE_SIZE, &ram, 0), 0);
	assert_int_equal(space_add_ram(space, GIB, 8 * PAGE_SIZE, &ram, 8 * PAGE_SIZE), 0);
	assert_int_equal(space_add_ram(space, 2 * GIB, PAGE_SIZE, &ram, 16 * PAGE_SIZE), -EINVAL);
	assert_int_equal(space_add_rom(space, 3 * GIB, PAGE_SIZE, &ram, PAGE_SIZE), 0);
	assert_int_equal(space_add_io(space, 2 * PAGE_SIZE, PAGE_SIZE, &any_ops, &seen), 0);
	assert_ptr_equal(space_ram(space), &ram);

	space_write(space, GIB + 1, 8, 0x0102030405060708ull);
	assert_int_equal(ram.host[8 * PAGE_SIZE + 1], 8);
	assert_true(space_read(space, GIB + 1, 8) == 0x0102030405060708ull);
	assert_int_equal(space_find(space, GIB + 1).ram_offset, 8 * PAGE_SIZE + 1);
	assert_int_equal(space_find(space, 1).contiguous, 2 * PAGE_SIZE - 1);

	/* An access that runs from RAM into the device */
	ram.host[2 * PAGE_SIZE - 1] = 0x99;
	assert_int_equal(space_read(space, 2 * PAGE_SIZE - 1, 2), 0x1099);

	/* ROM */
	ram.host[PAGE_SIZE] = 0x42;
	space_write(space, 3 * GIB, 1, 0x43);
	assert_int_equal(space_read(space, 3 * GIB, 1), 0x42);
	assert_int_equal(dma_write(space, 3 * GIB, "x", 1), -EFAULT);
	assert_int_equal(dma_read(space, 3 * GIB, buffer, 1), 0);
	assert_int_equal(buffer[0], 0x42);

	/* DMA is all or nothing. */
	memset(ram.host, 0, 2 * PAGE_SIZE);
	assert_int_equal(dma_write(space, 2 * PAGE_SIZE - 4, "abcdefgh", 8), -EFAULT);
	assert_int_equal(ram.host[2 * PAGE_SIZE - 4], 0);
	assert_int_equal(dma_read(space, UINT64_MAX - 1, buffer, 8), -EFAULT);
	assert_int_equal(dma_write(space, 3 * PAGE_SIZE, "abcdefgh", 8), 0);
	assert_memory_equal(ram.host + 3 * PAGE_SIZE, "abcdefgh", 8);
	assert_int_equal(dma_write(space, 5 * GIB, NULL, 0), 0);

	/* Pages that are watched are told, the others not. */
	ram.page_flags[4] = RAM_HAS_CODE;
	written_count = 0;
	assert_int_equal(dma_write(space, 3 * PAGE_SIZE, "x", 1), 0);
	assert_int_equal(written_count, 0);
	assert_int_equal(dma_write(space, 4 * PAGE_SIZE - 1, "xy", 2), 0);
	assert_true(written_count > 0);
	assert_int_equal(written[0], 4);
	written_count = 0;
	assert_non_null(dma_map(space, 3 * PAGE_SIZE, 2 * PAGE_SIZE, false, &got));
	assert_int_equal(got, 2 * PAGE_SIZE);
	assert_int_equal(written_count, 0);
	assert_non_null(dma_map(space, 3 * PAGE_SIZE, 100 * PAGE_SIZE, true, &got));
	assert_int_equal(got, 5 * PAGE_SIZE);
	assert_int_equal(written_count, 1);
	dma_map_written(space, 4 * PAGE_SIZE, 1);
	assert_int_equal(written_count, 2);
	space_write(space, 4 * PAGE_SIZE - 4, 8, 0);
	assert_int_equal(written_count, 3);
	assert_null(dma_map(space, 2 * PAGE_SIZE, 1, false, &got));
	assert_null(dma_map(space, 3 * GIB, 1, true, &got));
	ram_free(&ram);
	space_free(space);
}

/* A reader on another thread always finds what is never touched, whatever else moves. */
static void *reader(void *arg)
{
	struct space *space = arg;

	for (unsigned i = 0; i < 200000; i++) {
		struct space_hit hit = space_find(space, 0x5004);

		if (hit.device != space || hit.offset != 4)
			return (void *)1;
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct space *space = space_new("test");
	struct seen seen;
	pthread_t thread;
	void *result;

	assert_int_equal(space_add_io(space, 0x5000, 16, &any_ops, space), 0);
	assert_int_equal(pthread_create(&thread, NULL, reader, space), 0);
	for (unsigned i = 0; i < 20000; i++) {
		u64 base = 0x1000 + i % 4 * 0x1800;

		assert_int_equal(space_add_io(space, base, 16, &any_ops, &seen), 0);
		space_remove_io(space, base, &seen);
	}
	pthread_join(thread, &result);
	assert_null(result);
	space_free(space);
}

static void count_change(void *arg)
{
	unsigned *changes = arg;

	++*changes;
}

/* What an engine copies: RAM in pieces, as far as nothing hides it. */
static void test_pieces(void **state)
{
	static const struct io_ops no_ops;
	struct space *space = space_new("test");
	struct space_piece pieces[4];
	unsigned changes = 0;
	struct ram ram;

	assert_int_equal(ram_new(&ram, 16 * PAGE_SIZE), 0);
	space_watch(space, count_change, &changes);
	assert_int_equal(space_pieces(space, pieces, 4), 0);
	assert_int_equal(space_add_ram(space, 0, 8 * PAGE_SIZE, &ram, 0), 0);
	assert_int_equal(space_add_rom(space, BIT(32), 8 * PAGE_SIZE, &ram, 8 * PAGE_SIZE), 0);
	assert_int_equal(space_add_io(space, 2 * PAGE_SIZE, PAGE_SIZE, &no_ops, space), 0);
	assert_int_equal(changes, 3);
	assert_int_equal(space_pieces(space, pieces, 4), 3);
	assert_int_equal(pieces[0].base, 0);
	assert_int_equal(pieces[0].size, 2 * PAGE_SIZE);
	assert_int_equal(pieces[1].base, 3 * PAGE_SIZE);
	assert_int_equal(pieces[1].size, 5 * PAGE_SIZE);
	assert_int_equal(pieces[1].ram_offset, 3 * PAGE_SIZE);
	assert_false(pieces[1].read_only);
	assert_true(pieces[2].base == BIT(32));
	assert_int_equal(pieces[2].ram_offset, 8 * PAGE_SIZE);
	assert_true(pieces[2].read_only);
	assert_int_equal(space_pieces(space, pieces, 1), 1);
	space_remove_io(space, 2 * PAGE_SIZE, space);
	assert_int_equal(changes, 4);
	assert_int_equal(space_pieces(space, pieces, 4), 2);
	assert_int_equal(pieces[0].size, 8 * PAGE_SIZE);
	space_free(space);
	ram_free(&ram);
}

static void no_ring(void *arg)
{
}

static void test_doorbells(void **state)
{
	struct space *space = space_new("test");
	struct doorbell doorbell = { 0x1010, no_ring, state }, list[80];
	unsigned changes = 0;
	struct seen low, high;

	space_watch(space, count_change, &changes);
	assert_int_equal(space_add_doorbell(space, &low, &doorbell), -ENOENT);
	assert_int_equal(space_add_io(space, 0x1000, 0x20, &any_ops, &low), 0);
	assert_int_equal(space_add_doorbell(space, &high, &doorbell), -ENOENT);
	assert_int_equal(changes, 1);
	assert_int_equal(space_doorbells(space, list, 80), 0);
	assert_int_equal(space_add_doorbell(space, &low, &doorbell), 0);
	assert_int_equal(changes, 2);
	assert_int_equal(space_doorbells(space, list, 80), 1);
	assert_true(list[0].address == 0x1010 && list[0].ring == no_ring && list[0].arg == state);
	assert_int_equal(space_doorbells(space, list, 0), 0);
	/* Hidden, and there again; gone with its own range only */
	assert_int_equal(space_add_io(space, 0x1010, 0x10, &any_ops, &high), 0);
	assert_int_equal(space_doorbells(space, list, 80), 0);
	space_remove_io(space, 0x1010, &high);
	assert_int_equal(space_doorbells(space, list, 80), 1);
	space_remove_io(space, 0x1000, &low);
	assert_int_equal(space_add_io(space, 0x1000, 0x20, &any_ops, &low), 0);
	assert_int_equal(space_doorbells(space, list, 80), 0);
	/* A guest cannot make them grow */
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(space_add_doorbell(space, &low, &doorbell), 0);
	assert_int_equal(space_add_doorbell(space, &low, &doorbell), -ENOMEM);
	assert_int_equal(space_doorbells(space, list, 80), 64);
	space_free(space);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing), cmocka_unit_test(test_split),
		cmocka_unit_test(test_widen), cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_full), cmocka_unit_test(test_ram),
		cmocka_unit_test(test_threads), cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_doorbells),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
