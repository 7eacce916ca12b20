/* SPDX-License-Identifier: MIT */
/*
 * What the exits of a guest cost, seen from within it, at whatever level it runs: each is done many
 * times, the median in ticks of the time-stamp counter printed as "LEVEL: cycles NAME N". What this
 * level cannot do is left out. The level's name is a word of the command line.
 */
#include "samples.h"

#define MSR_TSC_DEADLINE 0x6e0
#define APIC_SPURIOUS 0xf0
#define APIC_EOI 0xb0
#define APIC_TIMER 0x320
#define TIMER_DEADLINE 0x40000
#define TIMER_VECTOR 0x40
#define IOAPIC 0xfec00000ull
#define NOBODY 0xfed80000ull /* neither memory nor a device */
#define FRESH 0x2000000ull   /* RAM that nobody has touched, to its end */
#define FRESH_END 0x8000000ull
#define LARGE_PAGE 0x200000ull
#define ROUNDS 201
#define BATCH 10 /* between two looks at the counter, whose steps are coarse on some CPUs */
#define WARM_UP 200
#define WAITS 301

static struct samples samples;
static u64 overhead;
static volatile u64 interrupt_tsc;

static inline volatile u32 *apic(u32 reg)
{
	return (volatile u32 *)(0xfee00000ull + reg);
}

static const char *level(void)
{
	static const char *const names[] = { "L1", "L2", "L3", "L4" };

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (guest_option(names[i]))
			return names[i];
	return "L?";
}

static void report(const char *name, u64 cycles)
{
	guest_print("%s: cycles %s %llu\n", level(), name, (unsigned long long)cycles);
}

#define MEASURE(name, statement) \
	do { \
		samples.count = 0; \
		for (unsigned n = 0; n < WARM_UP; n++) \
			statement; \
		for (unsigned round = 0; round < ROUNDS; round++) { \
			u64 begin = rdtsc(), ticks; \
			for (unsigned n = 0; n < BATCH; n++) \
				statement; \
			ticks = rdtsc() - begin; \
			samples_add(&samples, (ticks > overhead ? ticks - overhead : 0) / BATCH); \
		} \
		report(name, samples_median(&samples)); \
	} while (0)

/* Linux' hypervisors answer a call that they do not know with an error, without further ado. */
static inline void hypercall(bool amd)
{
	u64 number = ~0ull;

	if (amd)
		__asm__ volatile("vmmcall" : "+a"(number) : : "rbx", "rcx", "rdx", "memory");
	else
		__asm__ volatile("vmcall" : "+a"(number) : : "rbx", "rcx", "rdx", "memory");
}

static void hypercalls(void)
{
	u32 id[4];
	bool amd;

	cpuid(0, 0, id);
	amd = id[2] == 0x444d4163; /* "cAMD" */
	if (amd ? guest_try("vmmcall", : : "a"(~0ull) : "rbx", "rcx", "rdx", "memory") != NO_TRAP :
		  guest_try("vmcall", : : "a"(~0ull) : "rbx", "rcx", "rdx", "memory") != NO_TRAP)
		return;
	MEASURE("hypercall", hypercall(amd));
}

static void on_timer(struct frame *frame)
{
	interrupt_tsc = rdtsc();
	*apic(APIC_EOI) = 0;
}

/* How long after its time the interrupt is there, while the CPU is busy or asleep. */
static void timer(const char *name, bool halt, u64 ahead)
{
	samples.count = 0;
	for (unsigned i = 0; i < WAITS; i++) {
		u64 deadline;

		interrupt_tsc = 0;
		deadline = rdtsc() + ahead;
		wrmsr(MSR_TSC_DEADLINE, deadline);
		if (halt)
			__asm__ volatile("sti; hlt; cli" : : : "memory");
		sti();
		while (!interrupt_tsc)
			__asm__ volatile("" : : : "memory");
		cli();
		samples_add(&samples, interrupt_tsc - deadline);
	}
	report(name, samples_median(&samples));
}

static void timers(void)
{
	u32 id[4];
	u64 ahead;

	if (!cpu_has(1, 2, 24))
		return;
	*apic(APIC_SPURIOUS) = 0x1ff;
	guest_set_handler(TIMER_VECTOR, on_timer);
	*apic(APIC_TIMER) = TIMER_DEADLINE | TIMER_VECTOR;
	MEASURE("msr", wrmsr(MSR_TSC_DEADLINE, 0));
	cpuid(0x15, 0, id);
	/* far enough that arming is over before it is due, also deep down */
	ahead = 8000000;
	timer("timer", false, ahead);
	timer("hlt", true, ahead);
	*apic(APIC_TIMER) = 0x10000;
}

/* Hosts may give large pages: each is touched once. */
static void first_touches(void)
{
	samples.count = 0;
	for (u64 at = FRESH; at < FRESH_END; at += LARGE_PAGE) {
		u64 begin = rdtsc();

		*(volatile u64 *)at = 1;
		samples_add(&samples, rdtsc() - begin);
	}
	report("npf", samples_median(&samples));
}

void guest_main(void)
{
	u32 id[4];

	samples.count = 0;
	for (unsigned i = 0; i < SAMPLES_MAX; i++) {
		u64 begin = rdtsc();

		samples_add(&samples, rdtsc() - begin);
	}
	overhead = samples_median(&samples);
	check(overhead > 0 && overhead < 1000000, "the counter counts");
	report("rdtsc", overhead);
	hypercalls();
	MEASURE("cpuid", cpuid(0, 0, id));
	MEASURE("port", inb(0x21));
	MEASURE("port-vmm", inb(0x3fd));
	MEASURE("mmio", (void)*(volatile u32 *)IOAPIC);
	MEASURE("mmio-vmm", (void)*(volatile u32 *)NOBODY);
	first_touches();
	timers();
}
