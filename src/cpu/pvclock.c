/* SPDX-License-Identifier: MIT */
/*
 * KVM's paravirtual clock, by Linux' Documentation/virt/kvm/x86/msr.rst: an L1 guest names a piece
 * of its memory, where it finds how nanoseconds follow from its TSC. The TSC never changes its
 * pace, so this is written once, and again only when the guest writes its TSC. It spares the guest
 * the calibration of its clocks at boot.
 *
 * Wanted by nobody in hypervisors further in: their MSR bitmaps catch it.
 */
#include <time.h>

#include "cpu/handlers.h"

#define ENABLE BIT(0)
#define FLAG_TSC_STABLE 1
#define NS_PER_S 1000000000ull

struct pv_time {
	u32 version; /* odd while it changes */
	u32 pad0;
	u64 tsc;     /* at that TSC */
	u64 ns;      /* it was so late, since the machine started */
	u32 multiplier; /* ns = (ticks << shift) * multiplier >> 32 */
	i8 shift;
	u8 flags;
	u8 pad1[2];
};

struct pv_wall {
	u32 version;
	u32 seconds, nanoseconds; /* of the day on which ns was 0, since 1970 */
};

_Static_assert(sizeof(struct pv_time) == 32 && sizeof(struct pv_wall) == 12, "as KVM has them");

static u64 l1_tsc(const struct cpu *cpu)
{
	return __builtin_ia32_rdtsc() + cpu->tsc_l1_offset;
}

static u64 ticks_to_ns(const struct cpu *cpu, u64 ticks)
{
	return (u128)ticks * 1000000 / cpuid_tsc_khz(cpu->cpuid);
}

/* A multiplier of 32 bits with its highest bit set, for the best precision. */
static void set_scale(const struct cpu *cpu, struct pv_time *time)
{
	u64 khz = cpuid_tsc_khz(cpu->cpuid), scale = (1000000ull << 32) / khz;

	while (scale >> 32) {
		scale >>= 1;
		time->shift++;
	}
	while (!(scale >> 31)) {
		time->shift--;
		scale = ((u128)1000000 << (32 - time->shift)) / khz;
	}
	time->multiplier = scale;
}

static void write_time(struct cpu *cpu)
{
	u64 address = cpu->pv_clock & ~ENABLE;
	struct pv_time time = { .flags = FLAG_TSC_STABLE };

	cpu_park_fpu(cpu);
	time.tsc = l1_tsc(cpu);
	time.ns = ticks_to_ns(cpu, time.tsc);
	set_scale(cpu, &time);
	/* memory that is not there: the guest's own fault, and no concern of ours */
	time.version = ++cpu->pv_clock_version;
	dma_write(cpu->memory, address, &time, sizeof(time));
	time.version = ++cpu->pv_clock_version;
	dma_write(cpu->memory, address, &time.version, sizeof(time.version));
}

static void write_wall(struct cpu *cpu)
{
	struct pv_wall wall = { .version = 2 };
	struct timespec now;
	u64 start;

	cpu_park_fpu(cpu);
	clock_gettime(CLOCK_REALTIME, &now);
	start = (u64)now.tv_sec * NS_PER_S + now.tv_nsec - ticks_to_ns(cpu, l1_tsc(cpu));
	wall.seconds = start / NS_PER_S;
	wall.nanoseconds = start % NS_PER_S;
	dma_write(cpu->memory, cpu->pv_wall_clock, &wall, sizeof(wall));
}

int pvclock_write(struct cpu *cpu, u32 msr, u64 value)
{
	if (msr == MSR_KVM_WALL_CLOCK) {
		cpu->pv_wall_clock = value;
		write_wall(cpu);
		return 0;
	}
	if (value & 2) /* 4-byte alignment */
		return -1;
	cpu->pv_clock = value;
	if (value & ENABLE)
		write_time(cpu);
	return 0;
}

int pvclock_read(struct cpu *cpu, u32 msr, u64 *value)
{
	*value = msr == MSR_KVM_WALL_CLOCK ? cpu->pv_wall_clock : cpu->pv_clock;
	return 0;
}

void pvclock_tsc_changed(struct cpu *cpu)
{
	if (cpu->pv_clock & ENABLE)
		write_time(cpu);
}
