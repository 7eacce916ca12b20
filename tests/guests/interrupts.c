/* SPDX-License-Identifier: MIT */
/* 8259, 8254, local APIC and its timer, NMI, the shadows of STI and MOV SS, HLT, priorities. */
#include "guest.h"

#define APIC 0xfee00000ull
#define APIC_TPR 0x80
#define APIC_PPR 0xa0
#define APIC_EOI 0xb0
#define APIC_SVR 0xf0
#define APIC_ISR 0x100
#define APIC_IRR 0x200
#define APIC_ICR 0x300
#define APIC_ICR2 0x310
#define APIC_LVT_TIMER 0x320
#define APIC_LVT_LINT0 0x350
#define APIC_INITIAL 0x380
#define APIC_CURRENT 0x390
#define APIC_DIVIDE 0x3e0
#define MSR_APIC_BASE 0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define MASKED BIT(16)

static bool x2apic;
static volatile unsigned seen[256];
static volatile u64 last_rip;
static volatile unsigned order[8], order_count;

static u32 apic_read(u32 reg)
{
	return x2apic ? (u32)rdmsr(0x800 + reg / 16) : *(volatile u32 *)(APIC + reg);
}

static void apic_write(u32 reg, u32 value)
{
	if (x2apic)
		wrmsr(0x800 + reg / 16, value);
	else
		*(volatile u32 *)(APIC + reg) = value;
}

static void apic_ipi(u32 low)
{
	if (x2apic) {
		wrmsr(0x830, low);
		return;
	}
	apic_write(APIC_ICR2, 0);
	apic_write(APIC_ICR, low);
}

static void count(struct frame *frame)
{
	seen[frame->vector]++;
	last_rip = frame->rip;
	if (order_count < 8)
		order[order_count++] = (unsigned)frame->vector;
}

static void count_eoi(struct frame *frame)
{
	count(frame);
	apic_write(APIC_EOI, 0);
}

static void count_pic(struct frame *frame)
{
	count(frame);
	outb(0x20, 0x20);
}

/* Sleeps until *what reaches want, or some seconds have passed. */
static bool wait_for(volatile unsigned *what, unsigned want)
{
	u64 start = rdtsc();

	while (*what < want && rdtsc() - start < 20000000000ull)
		__asm__ volatile("sti; pause; nop; cli" : : : "memory");
	return *what >= want;
}

static void pic_init(void)
{
	static const u8 words[][2] = { { 0x20, 0x11 }, { 0x21, 0x20 }, { 0x21, 0x04 }, { 0x21, 0x01 },
		{ 0xa0, 0x11 }, { 0xa1, 0x28 }, { 0xa1, 0x02 }, { 0xa1, 0x01 }, { 0x21, 0xff },
		{ 0xa1, 0xff } };

	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		outb(words[i][0], words[i][1]);
}

static void pit_once(u16 ticks)
{
	outb(0x43, 0x30); /* counter 0, both bytes, mode 0: terminal count */
	outb(0x40, (u8)ticks);
	outb(0x40, (u8)(ticks >> 8));
}

static void pic(void)
{
	pic_init();
	apic_write(APIC_LVT_LINT0, 0x700); /* ExtINT */
	guest_set_handler(0x20, count_pic);
	outb(0x21, 0xfe);
	pit_once(2000);
	check(wait_for(&seen[0x20], 1), "8254 through the 8259: IRQ 0 on vector 20h");
	outb(0x21, 0xff);
	pit_once(1000);
	outb(0x20, 0x0a); /* read IRR */
	for (unsigned i = 0; i < 100000000 && !(inb(0x20) & 1); i++)
		__asm__ volatile("sti; nop; cli");
	check(inb(0x20) & 1, "a masked IRQ is requested");
	for (unsigned i = 0; i < 1000; i++)
		__asm__ volatile("sti; nop; cli");
	check_equal(seen[0x20], 1, "but not delivered");
	outb(0x21, 0xfe);
	check(wait_for(&seen[0x20], 2), "and delivered when unmasked");
	/* HLT wakes */
	pit_once(3000);
	__asm__ volatile("sti; hlt; cli" : : : "memory");
	check(seen[0x20] >= 3, "HLT is left by the interrupt");
	outb(0x21, 0xff);
}

static void apic_on(void)
{
	apic_write(APIC_SVR, 0x1ff);
	apic_write(APIC_TPR, 0);
	apic_write(APIC_DIVIDE, 0xb);
	for (unsigned i = 0x40; i < 0xf0; i++)
		guest_set_handler(i, count_eoi);
}

static void timer(void)
{
	u32 before, start;

	seen[0x40] = 0;
	apic_write(APIC_LVT_TIMER, 0x40);
	apic_write(APIC_INITIAL, 100000);
	check(apic_read(APIC_CURRENT) <= 100000, "the counter starts at the initial count");
	check(wait_for(&seen[0x40], 1), "one-shot timer");
	check_equal(apic_read(APIC_CURRENT), 0, "one-shot: the counter stays at 0");
	for (unsigned i = 0; i < 200000; i++)
		__asm__ volatile("sti; nop; cli");
	check_equal(seen[0x40], 1, "one-shot fires once");
	apic_write(APIC_LVT_TIMER, 0x41 | BIT(17));
	apic_write(APIC_INITIAL, 100000);
	check(wait_for(&seen[0x41], 5), "periodic timer fires again and again");
	before = apic_read(APIC_CURRENT);
	start = seen[0x41];
	check(before <= 100000, "periodic: the counter is within the period");
	apic_write(APIC_INITIAL, 0);
	for (unsigned i = 0; i < 100000; i++)
		__asm__ volatile("sti; nop; cli");
	check(seen[0x41] <= start + 1, "initial count 0 stops the timer");
	apic_write(APIC_LVT_TIMER, 0x42 | MASKED);
	apic_write(APIC_INITIAL, 1000);
	for (unsigned i = 0; i < 100000; i++)
		__asm__ volatile("sti; nop; cli");
	check_equal(seen[0x42], 0, "a masked timer is silent");

	if (!cpu_has(1, 2, 24)) {
		guest_skip("TSC deadline");
		return;
	}
	apic_write(APIC_LVT_TIMER, 0x43 | 2 << 17);
	__asm__ volatile("mfence" : : : "memory");
	u64 deadline = rdtsc() + 3000000;
	wrmsr(MSR_TSC_DEADLINE, deadline);
	check(wait_for(&seen[0x43], 1), "TSC deadline");
	check(rdtsc() >= deadline, "not before its time");
	check_equal(rdmsr(MSR_TSC_DEADLINE), 0, "the deadline reads 0 after it fired");
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + 100000000000ull);
	wrmsr(MSR_TSC_DEADLINE, 0);
	wrmsr(MSR_TSC_DEADLINE, 1); /* in the past: at once */
	check(wait_for(&seen[0x43], 2), "a deadline in the past fires at once");
	apic_write(APIC_LVT_TIMER, MASKED);
}

static void ipi(void)
{
	apic_ipi(0x40000 | 0x50); /* self, fixed */
	check(wait_for(&seen[0x50], 1), "IPI to oneself");

	/* priorities: 0x51 and 0x91 pending, the higher first */
	order_count = 0;
	apic_ipi(0x40000 | 0x51);
	apic_ipi(0x40000 | 0x91);
	check(apic_read(APIC_IRR + 0x10 * (0x51 / 32)) >> (0x51 & 31) & 1, "IRR holds 51h");
	check(apic_read(APIC_IRR + 0x10 * (0x91 / 32)) >> (0x91 & 31) & 1, "IRR holds 91h");
	__asm__ volatile("sti; nop; nop; cli" : : : "memory");
	check_equal(order_count, 2, "both are delivered");
	check_equal(order[0], 0x91, "the higher vector first");

	/* TPR */
	apic_write(APIC_TPR, 0x60);
	apic_ipi(0x40000 | 0x52);
	__asm__ volatile("sti; nop; nop; nop; cli" : : : "memory");
	check_equal(seen[0x52], 0, "TPR holds a lower class back");
	check_equal(read_cr8(), 6, "CR8 is the TPR's upper half");
	write_cr8(0);
	__asm__ volatile("sti; nop; nop; nop; cli" : : : "memory");
	check_equal(seen[0x52], 1, "CR8 = 0 lets it through");
	check_equal(apic_read(APIC_TPR), 0, "TPR follows CR8");
	if (!guest_tcg_wrong("reserved bits of CR8"))
		check_equal(guest_try("movq %0, %%cr8", : : "r"(16ull)), VEC_GP, "reserved bits of CR8");
}

/* An interrupt that is pending when STI runs comes after the next instruction: APM2 8.2, STI. */
static void shadows(void)
{
	u64 one, two;
	u16 ss = SEL_DATA;

	apic_ipi(0x40000 | 0x53);
	__asm__ volatile("sti\n1: nop\n2: nop; nop; cli; leaq 1b(%%rip), %0; leaq 2b(%%rip), %1"
			 : "=r"(one), "=r"(two) : : "memory");
	check_equal(seen[0x53], 1, "pending at STI");
	check_equal(last_rip, two, "STI: one instruction runs first");

	apic_ipi(0x40000 | 0x54);
	__asm__ volatile("sti; cli; nop; nop" : : : "memory");
	check_equal(seen[0x54], 0, "STI, CLI: no interrupt between");
	__asm__ volatile("sti; nop; cli" : : : "memory");
	check_equal(seen[0x54], 1, "but later");

	/* MOV SS with IF set: POPF sets IF without a shadow, so raise it by an IPI in the window */
	apic_write(APIC_TPR, 0xf0);
	apic_ipi(0x40000 | 0x55);
	__asm__ volatile("sti; nop; xorl %%eax, %%eax; movq %%rax, %%cr8; nop; cli" : : : "rax", "memory");
	check_equal(seen[0x55], 1, "lowering CR8 lets it in");
	apic_ipi(0x40000 | 0x56);
	__asm__ volatile("pushfq; orl $0x200, (%%rsp)\n\t"
			 "movl %2, %%edx; movl %%edx, %%ss; popfq\n1: nop; cli\n2: leaq 1b(%%rip), %0; leaq 2b(%%rip), %1"
			 : "=r"(one), "=r"(two) : "r"((u32)ss) : "rdx", "memory");
	check_equal(seen[0x56], 1, "POPF that sets IF");
	check_equal(last_rip, one, "has no shadow, and MOV SS's covers only POPF itself");
	__asm__ volatile("cli");
}

static volatile unsigned nmis, nested_nmis;
static volatile bool in_nmi;

static void on_nmi(struct frame *frame)
{
	if (in_nmi)
		nested_nmis++;
	in_nmi = true;
	nmis++;
	if (nmis == 1) {
		apic_ipi(0x400); /* blocked until IRET */
		for (unsigned i = 0; i < 1000; i++)
			__asm__ volatile("nop");
	}
	in_nmi = false;
}

static void nmi(void)
{
	guest_set_handler(VEC_NMI, on_nmi);
	apic_ipi(0x400); /* to APIC 0 by its ID: the shorthand "self" is not for NMI */
	check(wait_for(&nmis, 1), "NMI by IPI, IF clear or not");
	check(wait_for(&nmis, 2), "an NMI in the NMI handler comes after its IRET");
	check_equal(nested_nmis, 0, "and not within");
	guest_set_handler(VEC_NMI, NULL);
}

static void x2apic_mode(void)
{
	u64 base = rdmsr(MSR_APIC_BASE);

	check(base & BIT(11), "the APIC is on");
	check(base & BIT(8), "this is the boot processor");
	check_equal(base & 0xfffff000, APIC, "its page");
	if (!cpu_has(1, 2, 21)) {
		guest_skip("x2APIC");
		return;
	}
	check_equal(guest_try("rdmsr", : : "c"(0x803) : "rax", "rdx"), VEC_GP, "x2APIC MSRs in xAPIC mode");
	wrmsr(MSR_APIC_BASE, base | BIT(10));
	x2apic = true;
	check_equal(apic_read(APIC_SVR) & 0x1ff, 0x1ff, "the state is kept over the change");
	for (unsigned i = 0x40; i < 0x60; i++)
		seen[i] = 0;
	seen[0x91] = 0;
	timer();
	ipi();
	check_equal(guest_try("wrmsr", : : "c"(0x80b), "a"(1), "d"(0)), VEC_GP, "EOI of not 0");
	check_equal(guest_try("rdmsr", : : "c"(0x80b) : "rax", "rdx"), VEC_GP, "EOI is write-only");
	check_equal(guest_try("wrmsr", : : "c"(MSR_APIC_BASE), "a"((u32)(base & ~BIT(10))),
			    "d"((u32)(base >> 32))), VEC_GP, "x2APIC to xAPIC is not allowed");
}

/* Disabled, it is not there, and CPUID says so: SDM3 11.4.3. */
static void disabled(void)
{
	u64 base = rdmsr(MSR_APIC_BASE) & ~(BIT(10) | BIT(11));

	if (guest_tcg_wrong("a disabled APIC"))
		return;
	check(cpu_has(1, 3, 9), "CPUID has the APIC");
	wrmsr(MSR_APIC_BASE, base);
	check(!cpu_has(1, 3, 9), "CPUID has none while it is disabled");
	check_equal(*(volatile u32 *)(APIC + APIC_SVR), 0xffffffff, "nothing is at its address");
	wrmsr(MSR_APIC_BASE, base | BIT(11));
	x2apic = false;
	check(cpu_has(1, 3, 9), "CPUID has it again");
	check_equal(apic_read(APIC_SVR), 0xff, "SVR is as after reset");
}

void guest_main(void)
{
	pic();
	apic_on();
	timer();
	ipi();
	shadows();
	nmi();
	x2apic_mode();
	disabled();
}
