/* SPDX-License-Identifier: MIT */
/*
 * The dirty log: its notebook, and whole machines whose guest writes while it is read. The machine
 * runs on the soft engine; `test_dirty kvm` is the same on KVM, where that is to be had.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/loop.h"
#include "board/board.h"
#include "cpu_rig.h"
#include "machine/machine.h"
#include "mem/dirty.h"

#define MEMORY (16 * MIB)
#define PAGES (MEMORY / PAGE_SIZE)
#define WORDS (PAGES / 64)

/*
 * The guest, a multiboot kernel at 1 MiB. COMMAND: the address of a word that it shall change, then
 * it writes 0 there; RUN: while it is not 0, words of 64 pages from SCATTER on are changed without end.
 */
#define COMMAND 0x200000ull
#define RUN 0x201000ull
#define SCATTER 0x400000ull

extern const u8 guest_start[], guest_end[];
__asm__(".pushsection .rodata\n"
	".code32\n"
	".balign 4\n"
	"guest_start:\n"
	".long 0x1badb002, 0x10000, -(0x1badb002 + 0x10000)\n"
	".long 0x100000, 0x100000, 0, 0, 0x100020\n"
	"0: movl 0x200000, %ebx\n"
	"testl %ebx, %ebx\n"
	"jz 1f\n"
	"incl (%ebx)\n"
	"movl $0, 0x200000\n"
	"1: cmpl $0, 0x201000\n"
	"je 0b\n"
	"imull $1664525, %eax, %eax\n"
	"addl $1013904223, %eax\n"
	"movl %eax, %ebx\n"
	"shrl $8, %ebx\n"
	"andl $0x3f0ffc, %ebx\n" /* page in bits 21:16 */
	"movl %ebx, %ecx\n"
	"shrl $4, %ecx\n"
	"andl $0x3f000, %ecx\n"
	"andl $0xffc, %ebx\n"
	"incl 0x400000(%ebx, %ecx)\n"
	"jmp 1b\n"
	".code64\n"
	"guest_end:\n"
	".popsection\n");

static enum engine_choice engine = ENGINE_SOFT;

struct watcher {
	struct machine *machine;
	u64 bitmap[WORDS];
	const char *failed; /* the first thing that was not as it should be */
	int line;
};

/* On the watcher's thread, where cmocka's assertions do not work. */
#define CHECK(condition) \
	do { \
		if (!(condition)) { \
			w->failed = #condition; \
			w->line = __LINE__; \
			return; \
		} \
	} while (0)

static bool is_dirty(const struct watcher *w, u64 address)
{
	u64 page = address / PAGE_SIZE;

	return w->bitmap[page / 64] & BIT(page % 64);
}

static unsigned dirty_count(const struct watcher *w)
{
	unsigned count = 0;

	for (unsigned i = 0; i < WORDS; i++)
		count += __builtin_popcountll(w->bitmap[i]);
	return count;
}

static void put(struct watcher *w, u64 address, u32 value)
{
	dma_write(w->machine->memory, address, &value, sizeof(value));
}

static u32 get(struct watcher *w, u64 address)
{
	return __atomic_load_n((u32 *)(w->machine->ram.host + address), __ATOMIC_SEQ_CST);
}

/* True: the guest has done it. */
static bool command(struct watcher *w, u32 address)
{
	u64 give_up = clock_ns() + 60000000000ull;

	put(w, COMMAND, address);
	while (get(w, COMMAND) && clock_ns() < give_up)
		usleep(100);
	return !get(w, COMMAND);
}

static bool fetch(struct watcher *w)
{
	return !dirty_log_fetch(&w->machine->ram, w->bitmap);
}

static void watch_single_writes(struct watcher *w)
{
	struct ram *ram = &w->machine->ram;

	CHECK(dirty_log_fetch(ram, w->bitmap) == -EINVAL);
	/* A page whose stores need no look-up any more is seen again nevertheless */
	CHECK(command(w, 0x300000) && command(w, 0x300000));
	CHECK(dirty_log_start(ram) == 0);
	CHECK(dirty_log_start(ram) == -EALREADY);
	CHECK(fetch(w) && dirty_count(w) == 0);
	for (unsigned i = 0; i < 3; i++) {
		CHECK(command(w, 0x300000) && fetch(w));
		CHECK(is_dirty(w, 0x300000) && is_dirty(w, COMMAND) && dirty_count(w) == 2);
		CHECK(fetch(w) && dirty_count(w) == 0);
	}
	/* A device's */
	put(w, 0x500ffc, 1);
	CHECK(fetch(w) && is_dirty(w, 0x500000) && dirty_count(w) == 1);
	put(w, 0x500ffc, 2);
	CHECK(fetch(w) && is_dirty(w, 0x500000) && dirty_count(w) == 1);
	/* Off, nothing is noted */
	CHECK(command(w, 0x301000));
	dirty_log_stop(ram);
	CHECK(command(w, 0x302000));
	CHECK(dirty_log_start(ram) == 0 && fetch(w) && dirty_count(w) == 0);
	CHECK(command(w, 0x301000) && fetch(w) && is_dirty(w, 0x301000) && dirty_count(w) == 2);
}

static void copy_dirty(struct watcher *w, u8 *copy)
{
	for (u64 page = 0; page < PAGES; page++)
		if (is_dirty(w, page * PAGE_SIZE))
			memcpy(copy + page * PAGE_SIZE, w->machine->ram.host + page * PAGE_SIZE,
				PAGE_SIZE);
}

/* What a migration does: in the end the copy is the RAM, which changed all the while. */
static void copy_while_it_runs(struct watcher *w)
{
	u8 *copy = malloc(MEMORY);
	unsigned least = PAGES;

	CHECK(copy);
	put(w, RUN, 1);
	memcpy(copy, w->machine->ram.host, MEMORY);
	for (unsigned round = 0; round < 100; round++) {
		usleep(1000);
		CHECK(fetch(w));
		least = MIN(least, dirty_count(w));
		copy_dirty(w, copy);
	}
	put(w, RUN, 0);
	CHECK(command(w, 0x300000) && fetch(w));
	copy_dirty(w, copy);
	CHECK(memcmp(copy, w->machine->ram.host, MEMORY) == 0);
	/* And it was not by copying everything each time */
	CHECK(least <= 70);
	free(copy);
}

static void reset_is_noted(struct watcher *w)
{
	CHECK(fetch(w));
	put(w, COMMAND, 0);
	machine_request_reset(w->machine);
	for (unsigned left = 60000; left && !is_dirty(w, MEMORY - 1); left--) {
		usleep(1000);
		CHECK(fetch(w));
	}
	CHECK(dirty_count(w) == PAGES);
	/* The log is on as before */
	CHECK(command(w, 0x300000) && fetch(w));
	/* KVM counts pages of the guest's that it meets for the first time: code and RUN */
	CHECK(is_dirty(w, 0x300000) && dirty_count(w) <= 4);
	dirty_log_stop(&w->machine->ram);
}

static void *watch(void *opaque)
{
	struct watcher *w = opaque;

	watch_single_writes(w);
	if (!w->failed)
		copy_while_it_runs(w);
	if (!w->failed)
		reset_is_noted(w);
	machine_end(w->machine, END_POWEROFF);
	return NULL;
}

static void test_machine(void **state)
{
	struct boot_source source = { .append = "", .kernel = { .option = "--kernel", .path = "guest",
		.fd = memfd_create("guest", 0), .size = guest_end - guest_start } };
	struct board_config board = { .memory = MEMORY, .cpus = 1, .source = &source };
	struct machine_config config = { .board = &board, .engine = engine,
		.serial = "file:/dev/null", .code_cache = 8 * MIB };
	struct watcher watcher = { NULL };
	char problem[MACHINE_PROBLEM_LEN];
	pthread_t thread;

	assert_int_equal(write(source.kernel.fd, guest_start, source.kernel.size), source.kernel.size);
	if (machine_new(&watcher.machine, &config, problem))
		fail_msg("%s", problem);
	assert_int_equal(pthread_create(&thread, NULL, watch, &watcher), 0);
	machine_run(watcher.machine);
	pthread_join(thread, NULL);
	if (watcher.failed)
		fail_msg("line %d: %s; %u pages dirty", watcher.line, watcher.failed,
			dirty_count(&watcher));
	assert_int_equal(watcher.machine->end, END_POWEROFF);
	machine_free(watcher.machine);
	close(source.kernel.fd);
}

/* Accessed and dirty bits are writes to the page tables. */
static void test_page_walk(void **state)
{
	struct rig *rig = *state;
	struct ram *ram = &rig->machine.ram;
	u64 bitmap[4], value = 0;

	assert_true(dirty_words(ram) == 4);
	rig_long(rig);
	assert_int_equal(dirty_log_start(ram), 0);
	assert_int_equal(cpu_read(rig->cpu, 0x20000, &value, 8, ACCESS_READ), 0);
	assert_int_equal(dirty_log_fetch(ram, bitmap), 0);
	/* Three levels of tables, and not the page that was read */
	assert_true(bitmap[0] == 7ull << (RIG_TABLES >> PAGE_SHIFT));
	assert_true(!bitmap[1] && !bitmap[2] && !bitmap[3]);
	tlb_flush_all(rig->cpu);
	assert_int_equal(cpu_write(rig->cpu, 0x20000, &value, 8, ACCESS_WRITE), 0);
	assert_int_equal(dirty_log_fetch(ram, bitmap), 0);
	assert_true(bitmap[0] == (BIT(0x20) | BIT((RIG_TABLES + 0x2000) >> PAGE_SHIFT)));
	/* Nothing to set: nothing is written */
	tlb_flush_all(rig->cpu);
	assert_int_equal(cpu_write(rig->cpu, 0x20000, &value, 8, ACCESS_WRITE), 0);
	assert_int_equal(dirty_log_fetch(ram, bitmap), 0);
	assert_true(bitmap[0] == BIT(0x20));
	dirty_log_stop(ram);
}

/* Stores by C, to a page that has translated code too, and across two pages. */
static void test_stores(void **state)
{
	struct rig *rig = *state;
	struct ram *ram = &rig->machine.ram;
	struct space *space = rig->machine.memory;
	u64 bitmap[4], value = 0, got;

	rig_long(rig);
	assert_int_equal(cpu_write(rig->cpu, 0x41000, &value, 8, ACCESS_WRITE), 0);
	tlb_flush_all(rig->cpu);
	assert_int_equal(dirty_log_start(ram), 0);
	assert_int_equal(cpu_write(rig->cpu, 0x41ffc, &value, 8, ACCESS_WRITE), 0);
	space_write(space, 0x43ffc, 8, 0);
	assert_int_equal(dma_write(space, 0x45ffc, &value, 8), 0);
	assert_int_equal(dirty_log_fetch(ram, bitmap), 0);
	assert_true(bitmap[1] == MASK(6, 1));
	/* One that was read before, so that it is in the TLB */
	assert_int_equal(cpu_read(rig->cpu, 0x48000, &value, 8, ACCESS_READ), 0);
	assert_int_equal(dirty_log_fetch(ram, bitmap), 0);
	assert_false(bitmap[1]);
	assert_int_equal(cpu_write(rig->cpu, 0x48000, &value, 8, ACCESS_WRITE), 0);
	assert_int_equal(dirty_log_fetch(ram, bitmap), 0);
	assert_true(bitmap[1] == BIT(8));
	/* One that a device has mapped counts when it is mapped and when it has written */
	assert_non_null(dma_map(space, 0x50000, 16, true, &got));
	assert_int_equal(dirty_log_fetch(ram, bitmap), 0);
	assert_true(bitmap[1] == BIT(16));
	dma_map_written(space, 0x50000, 16);
	assert_non_null(dma_map(space, 0x60000, 16, false, &got));
	assert_int_equal(dma_read(space, 0x61000, &value, 8), 0);
	assert_int_equal(dirty_log_fetch(ram, bitmap), 0);
	assert_true(bitmap[1] == BIT(16));
	dirty_log_stop(ram);
	assert_int_equal(dirty_log_fetch(ram, bitmap), -EINVAL);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_page_walk, rig_setup, rig_teardown),
		cmocka_unit_test_setup_teardown(test_stores, rig_setup, rig_teardown),
		cmocka_unit_test(test_machine),
	};

	if (argc > 1 && !strcmp(argv[1], "kvm"))
		engine = ENGINE_KVM;
	return cmocka_run_group_tests_name("dirty", tests, NULL, NULL);
}
