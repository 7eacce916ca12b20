/* SPDX-License-Identifier: MIT */
/* What the guest is told of its CPU and of the time: CPUID, MSRs and the paravirtual clock. */
#include <cpuid.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "cpu/cpu.h"
#include "cpu/nesting.h"
#include "cpu/handlers.h"
#include "cpu/xsave.h"

enum { EAX, EBX, ECX, EDX };

struct rig {
	struct cpu cpu;
	struct ram ram;
};

/* A model says who the CPU is, and a table of either vendor can be made on any host. */
static void test_models(void **state)
{
	struct rig *rig = *state;
	u32 out[4];

	assert_null(cpu_model_find("z80"));
	for (unsigned i = 0; i < 2; i++) {
		const struct cpu_model *model = cpu_model_find(i ? "icelake" : "zen3");

		assert_non_null(model);
		assert_non_null(strstr(cpu_model_names, model->name));
		assert_int_equal(cpuid_table_new(&rig->cpu.cpuid, NESTED_OFF, model, 1), 0);
		assert_int_equal(cpu_is_intel(&rig->cpu), i);
		cpu_cpuid(&rig->cpu, 1, 0, out);
		assert_int_equal(out[0], model->signature);
		cpu_cpuid(&rig->cpu, 0x80000002, 0, out);
		assert_memory_equal(out, model->brand, sizeof(out));
		cpuid_table_free(rig->cpu.cpuid);
	}
	rig->cpu.cpuid = NULL;
}

static void make_table(struct rig *rig, enum nested_vendor nested, unsigned cpus)
{
	cpuid_table_free(rig->cpu.cpuid);
	rig->cpu.cpuid = NULL;
	assert_int_equal(cpuid_table_new(&rig->cpu.cpuid, nested, NULL, cpus), 0);
}

static void vendor_of(struct rig *rig, char name[13])
{
	u32 out[4];

	cpu_cpuid(&rig->cpu, 0, 0, out);
	memcpy(name, &out[EBX], 4);
	memcpy(name + 4, &out[EDX], 4);
	memcpy(name + 8, &out[ECX], 4);
	name[12] = 0;
}

static void test_vendor(void **state)
{
	struct rig *rig = *state;
	char name[13], host[13] = "";
	u32 out[4];

	make_table(rig, NESTED_AMD, 1);
	vendor_of(rig, name);
	assert_string_equal(name, "AuthenticAMD");
	cpu_cpuid(&rig->cpu, 0x8000000a, 0, out);
	assert_int_equal(out[EAX], 1);
	assert_true(out[EBX] > 1);
	assert_true(cpu_has(&rig->cpu, 0x80000001, ECX, 2));
	make_table(rig, NESTED_INTEL, 1);
	vendor_of(rig, name);
	assert_string_equal(name, "GenuineIntel");
	assert_true(cpu_has(&rig->cpu, 1, ECX, 5));
	make_table(rig, NESTED_OFF, 1);
	vendor_of(rig, name);
	__cpuid(0, out[EAX], out[EBX], out[ECX], out[EDX]);
	memcpy(host, &out[EBX], 4);
	assert_int_equal(strcmp(name, "AuthenticAMD") == 0,
		!memcmp(host, "Auth", 4) || !memcmp(host, "Hygo", 4));
	assert_false(cpu_has(&rig->cpu, 1, ECX, 5));
	assert_false(cpu_has(&rig->cpu, 0x80000001, ECX, 2));
}

/* What the host lacks and only its execution units could do is not offered; nor what none has. */
static void test_features(void **state)
{
	struct rig *rig = *state;
	const u32 emulated1 = BIT(17) | BIT(21) | BIT(24) | BIT(31) | BIT(27) | BIT(5);
	const u32 emulated7 = BIT(0) | BIT(1) | BIT(7) | BIT(9) | BIT(10) | BIT(13) | BIT(20);
	/* HLE RTM MPX SGX PKU; and of EDX: AMX */
	const u32 never7 = BIT(2) | BIT(4) | BIT(11) | BIT(14);
	const u32 never7d = BIT(22) | BIT(24) | BIT(25) | BIT(20);
	u32 host[4], out[4], last7;
	bool avx512f;

	for (enum nested_vendor nested = NESTED_OFF; nested <= NESTED_INTEL; nested++) {
		make_table(rig, nested, 1);
		__cpuid(1, host[EAX], host[EBX], host[ECX], host[EDX]);
		cpu_cpuid(&rig->cpu, 1, 0, out);
		assert_int_equal(out[ECX] & ~host[ECX] & ~emulated1, 0);
		/* x86-64-v2 */
		assert_int_equal(out[ECX] & (BIT(0) | BIT(9) | BIT(13) | BIT(19) | BIT(20) | BIT(23)),
			BIT(0) | BIT(9) | BIT(13) | BIT(19) | BIT(20) | BIT(23));
		assert_false(out[ECX] & BIT(3)); /* MONITOR */
		__cpuid_count(7, 0, host[EAX], host[EBX], host[ECX], host[EDX]);
		cpu_cpuid(&rig->cpu, 7, 0, out);
		assert_int_equal(out[EBX] & ~host[EBX] & ~emulated7, 0);
		assert_int_equal(out[EBX] & never7, 0);
		assert_int_equal(out[EDX] & never7d, 0);
		last7 = out[EAX];
		avx512f = out[EBX] & BIT(16);
		/* FP16 */
		assert_false(out[EDX] & BIT(23) && !(host[EDX] & BIT(23) && avx512f));
		if (host[EAX])
			__cpuid_count(7, 1, host[EAX], host[EBX], host[ECX], host[EDX]);
		cpu_cpuid(&rig->cpu, 7, 1, out);
		/* AVX_VNNI and AVX512_BF16 */
		assert_int_equal(out[EAX] & ~(host[EAX] & (BIT(4) | (avx512f ? BIT(5) : 0))), 0);
		assert_int_equal(out[EBX] | out[ECX] | out[EDX], 0);
		assert_int_equal(last7, out[EAX] ? 1 : 0);
	}
}

/* CR4.OSXSAVE, XCR0 and the CPU's number show. */
static void test_state_dependent(void **state)
{
	struct rig *rig = *state;
	const struct xsave_layout *layout;
	u32 out[4];

	make_table(rig, NESTED_AMD, 4);
	rig->cpu.id = 3;
	rig->cpu.xcr0 = XCR0_X87;
	rig->cpu.cr4 = 0;
	cpu_cpuid(&rig->cpu, 1, 0, out);
	assert_int_equal(out[EBX] >> 24, 3);
	assert_int_equal(out[EBX] >> 16 & 0xff, 4);
	assert_false(out[ECX] & BIT(27));
	rig->cpu.cr4 = CR4_OSXSAVE;
	cpu_cpuid(&rig->cpu, 1, 0, out);
	assert_true(out[ECX] & BIT(27));
	cpu_cpuid(&rig->cpu, 0xb, 1, out);
	assert_int_equal(out[EBX], 4);
	assert_int_equal(out[EDX], 3);
	layout = cpuid_xsave(rig->cpu.cpuid);
	if (!layout->mask)
		return;
	cpu_cpuid(&rig->cpu, 0xd, 0, out);
	assert_int_equal(out[EAX], layout->mask);
	assert_int_equal(out[EBX], 576);
	if (layout->mask & XCR0_AVX) {
		rig->cpu.xcr0 |= XCR0_SSE | XCR0_AVX;
		cpu_cpuid(&rig->cpu, 0xd, 0, out);
		assert_int_equal(out[EBX], layout->offset[2] + layout->size[2]);
		assert_true(out[ECX] >= out[EBX]);
	}
}

/* Leaves that are not there: zero from AMD, the last basic one from Intel. */
static void test_beyond_the_last(void **state)
{
	struct rig *rig = *state;
	u32 out[4], last[4], max[4];

	make_table(rig, NESTED_AMD, 1);
	cpu_cpuid(&rig->cpu, 0x7fff0000, 0, out);
	assert_int_equal(out[EAX] | out[EBX] | out[ECX] | out[EDX], 0);
	make_table(rig, NESTED_INTEL, 1);
	cpu_cpuid(&rig->cpu, 0, 0, max);
	cpu_cpuid(&rig->cpu, max[EAX], 0, last);
	cpu_cpuid(&rig->cpu, 0x7fff0000, 0, out);
	assert_memory_equal(out, last, sizeof(out));
}

/* The host's TSC against its clock; any one reading may have been interrupted, all of them not. */
static void test_tsc_frequency(void **state)
{
	struct rig *rig = *state;
	u64 got;
	bool near = false;

	make_table(rig, NESTED_INTEL, 1);
	got = cpuid_tsc_khz(rig->cpu.cpuid);
	for (unsigned attempt = 0; attempt < 50 && !near; attempt++) {
		struct timespec pause = { .tv_nsec = 20000000 }, from, to;
		u64 ticks, ns, khz;

		clock_gettime(CLOCK_MONOTONIC, &from);
		ticks = __builtin_ia32_rdtsc();
		nanosleep(&pause, NULL);
		clock_gettime(CLOCK_MONOTONIC, &to);
		ticks = __builtin_ia32_rdtsc() - ticks;
		ns = (to.tv_sec - from.tv_sec) * 1000000000ull + to.tv_nsec - from.tv_nsec;
		khz = ticks * 1000000 / ns;
		near = got > khz - khz / 100 && got < khz + khz / 100;
	}
	assert_true(near);
}

/* The guest's arithmetic over what it reads gives the nanoseconds of the TSC. */
static void test_paravirtual_clock(void **state)
{
	struct rig *rig = *state;
	struct {
		u32 version, pad;
		u64 tsc, ns;
		u32 multiplier;
		i8 shift;
		u8 flags;
	} *clock = (void *)(rig->ram.host + 0x100);
	struct timespec now;
	u64 delta, ns, want;
	u32 *wall = (u32 *)(rig->ram.host + 0x200);

	make_table(rig, NESTED_AMD, 1);
	assert_true(cpu_has(&rig->cpu, 0x40000001, EAX, 3));
	assert_int_equal(cpu_write_msr(&rig->cpu, MSR_KVM_SYSTEM_TIME, 0x100 | 2), OUTCOME_FAULT);
	assert_int_equal(cpu_write_msr(&rig->cpu, MSR_KVM_SYSTEM_TIME, 0x100 | 1), 0);
	assert_int_equal(clock->version & 1, 0);
	assert_true(clock->version);
	assert_int_equal(clock->flags, 1);
	delta = 3600ull * cpuid_tsc_khz(rig->cpu.cpuid) * 1000; /* an hour */
	ns = clock->shift < 0 ? delta >> -clock->shift : delta << clock->shift;
	ns = (u128)ns * clock->multiplier >> 32;
	want = 3600ull * 1000000000;
	assert_in_range(ns, want - want / 100000000, want + want / 100000000);
	/* the wall clock of nanosecond 0, and those since then */
	assert_int_equal(cpu_write_msr(&rig->cpu, MSR_KVM_WALL_CLOCK, 0x200), 0);
	clock_gettime(CLOCK_REALTIME, &now);
	ns = (__builtin_ia32_rdtsc() + rig->cpu.tsc_l1_offset) / cpuid_tsc_khz(rig->cpu.cpuid) / 1000;
	assert_in_range(wall[1] + ns, now.tv_sec - 2, now.tv_sec + 2);
	/* nowhere: the guest's fault alone */
	assert_int_equal(cpu_write_msr(&rig->cpu, MSR_KVM_SYSTEM_TIME, 0xfffffffffff1ull), 0);
}

static void check_msr(struct rig *rig, u32 msr, u64 value, bool good)
{
	u64 read;

	assert_int_equal(cpu_write_msr(&rig->cpu, msr, value), good ? 0 : OUTCOME_FAULT);
	if (!good) {
		assert_int_equal(rig->cpu.fault.vector, VEC_GP);
		return;
	}
	assert_int_equal(cpu_read_msr(&rig->cpu, msr, &read), 0);
	assert_int_equal(read, value);
}

static void test_msr_values(void **state)
{
	struct rig *rig = *state;
	u64 value;

	make_table(rig, NESTED_AMD, 1);
	check_msr(rig, MSR_PAT, 0x0007040600070406ull, true);
	check_msr(rig, MSR_PAT, 2, false);
	check_msr(rig, MSR_MTRR_DEF_TYPE, 0xc06, true);
	check_msr(rig, MSR_MTRR_DEF_TYPE, 0xc07, false);
	check_msr(rig, MSR_MTRR_DEF_TYPE, 0x1c06, false);
	check_msr(rig, MSR_MTRR_PHYSBASE0 + 3, MASK(rig->cpu.phys_bits - 1, 30) | BIT(11), true);
	check_msr(rig, MSR_MTRR_PHYSBASE0 + 3, BIT(rig->cpu.phys_bits), false);
	check_msr(rig, MSR_MTRR_PHYSBASE0 + 16, 0, false);
	check_msr(rig, MSR_LSTAR, 0xffff800000000000ull, true);
	check_msr(rig, MSR_LSTAR, 0x800000000000ull, false);
	check_msr(rig, MSR_TSC_AUX, 0xffffffff, true);
	check_msr(rig, MSR_TSC_AUX, BIT(32), false);
	check_msr(rig, MSR_KERNEL_GS_BASE, 0x7fffffffffffull, true);
	check_msr(rig, MSR_XSS, 1, false);
	assert_int_equal(cpu_write_msr(&rig->cpu, MSR_MTRRCAP, 0), OUTCOME_FAULT);
	assert_int_equal(cpu_read_msr(&rig->cpu, 0x12345, &value), OUTCOME_FAULT);
	/* TSC_ADJUST follows the TSC, and the other way round */
	assert_int_equal(cpu_read_msr(&rig->cpu, MSR_TSC, &value), 0);
	assert_int_equal(cpu_write_msr(&rig->cpu, MSR_TSC, value + BIT(40)), 0);
	assert_in_range(rig->cpu.tsc_adjust, BIT(40) - BIT(36), BIT(40));
	assert_int_equal(cpu_write_msr(&rig->cpu, MSR_TSC_ADJUST, 0), 0);
	assert_in_range(cpu_tsc(&rig->cpu), value, value + BIT(36));
}

static int set_up(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	if (!rig || ram_new(&rig->ram, 16 * PAGE_SIZE))
		return -1;
	rig->cpu.memory = space_new("memory");
	if (!rig->cpu.memory || space_add_ram(rig->cpu.memory, 0, 16 * PAGE_SIZE, &rig->ram, 0))
		return -1;
	rig->cpu.phys_bits = 46;
	rig->cpu.tsc_ratio = TSC_RATIO_ONE;
	rig->cpu.fpu_parked = true;
	*state = rig;
	return 0;
}

static void read_guest(void *arg, u32 leaf, u32 subleaf, u32 out[4])
{
	cpu_cpuid(arg, leaf, subleaf, out);
}

/* A nestbox in the guest finds that it is one level deeper than this process. */
static void test_nesting(void **state)
{
	struct rig *rig = *state;
	struct cpuid_source source = { .read = read_guest, .arg = &rig->cpu };

	for (enum nested_vendor nested = NESTED_OFF; nested <= NESTED_INTEL; nested++) {
		struct nesting found;
		u32 out[4];

		make_table(rig, nested, 1);
		found = nesting_find(&source);
		assert_int_equal(found.level, nesting_here().level + 1);
		assert_int_equal(found.engine, NESTING_SOFT);
		/* KVM's leaves are still what a guest looks at first */
		cpu_cpuid(&rig->cpu, 0x40000000, 0, out);
		assert_memory_equal(&out[EBX], "KVMKVMKVM\0\0\0", 12);
		assert_int_equal(out[EAX], 0x40000010);
	}
}

/* A CPU of the test's own: leaf 1, and the two leaves of nestbox. */
static void read_fake(void *arg, u32 leaf, u32 subleaf, u32 out[4])
{
	const u32 *words = arg;

	memset(out, 0, 4 * sizeof(u32));
	if (leaf == 1) {
		out[ECX] = words[0];
	} else if (leaf == NESTING_LEAF) {
		memcpy(out, words + 1, 4 * sizeof(u32));
	} else if (leaf == NESTING_LEVEL) {
		out[EBX] = words[5];
		out[ECX] = words[6];
	} else {
		fail();
	}
}

static void test_nesting_of_others(void **state)
{
	u32 words[] = { BIT(31), NESTING_LEVEL, NESTING_WORD0, NESTING_WORD1, NESTING_WORD2, 3,
		NESTING_KVM };
	struct cpuid_source source = { .read = read_fake, .arg = words };

	assert_memory_equal(&words[2], "nestbox VMM", 12);
	assert_int_equal(nesting_find(&source).level, 3);
	assert_int_equal(nesting_find(&source).engine, NESTING_KVM);
	/* numbers that no nestbox gives */
	words[5] = 0;
	assert_int_equal(nesting_find(&source).level, 1);
	words[5] = UINT32_MAX;
	assert_int_equal(nesting_find(&source).level, NESTING_LEVEL_MAX);
	words[6] = 9;
	assert_int_equal(nesting_find(&source).engine, NESTING_SOFT);
	/* each word of the name counts, and so does the last leaf */
	for (unsigned i = 1; i <= 4; i++) {
		words[i] -= 1;
		assert_int_equal(nesting_find(&source).level, 0);
		assert_int_equal(nesting_find(&source).engine, NESTING_NONE);
		words[i] += 1;
	}
	assert_int_equal(nesting_find(&source).level, NESTING_LEVEL_MAX);
	/* no hypervisor: what stands in those leaves is another's */
	words[0] = MASK(30, 0);
	assert_int_equal(nesting_find(&source).level, 0);
}

static int tear_down(void **state)
{
	struct rig *rig = *state;

	cpuid_table_free(rig->cpu.cpuid);
	space_free(rig->cpu.memory);
	ram_free(&rig->ram);
	free(rig);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_vendor, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_models, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_features, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_state_dependent, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_beyond_the_last, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_tsc_frequency, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_paravirtual_clock, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_msr_values, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_nesting, set_up, tear_down),
		cmocka_unit_test(test_nesting_of_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
