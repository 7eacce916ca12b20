/* SPDX-License-Identifier: MIT */
/*
 * Feeds every register of every chip of the board, wired as on the board, with whatever a guest
 * may write, and moves time. Beyond what the sanitizers see, the interrupt pin must always agree
 * with what the local APIC would deliver, and no chip may keep the main thread busy.
 */
#include <stdlib.h>
#include <string.h>

#include "dev/acpi_pm.h"
#include "dev/debug_exit.h"
#include "dev/hpet.h"
#include "dev/i8254.h"
#include "dev/i8259.h"
#include "dev/ioapic.h"
#include "dev/lapic.h"
#include "dev/mc146818.h"
#include "dev/ns16550.h"
#include "dev/reset_ports.h"
#include "fake_loop.h"

#define CPUS 2
#define PM_BASE 0x600
#define IOAPIC_BASE 0xfec00000u
#define HPET_BASE 0xfed00000u

struct rig {
	struct space *ports, *memory;
	struct i8259 pic;
	struct i8254 pit;
	struct mc146818 rtc;
	struct apic_bus bus;
	struct lapic cpu[CPUS];
	struct ioapic ioapic;
	struct acpi_pm pm;
	struct hpet hpet;
	struct ns16550 uart;
	struct reset_ports reset;
	struct debug_exit exit;
	bool intr[CPUS];
	unsigned self, rises;
};

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static void irq(void *arg, unsigned number, bool level)
{
	struct rig *rig = arg;

	rig->rises += level;
	i8259_set_irq(&rig->pic, number, level);
	ioapic_set_irq(&rig->ioapic, number ? number : 2, level);
}

static void cpu_pin(void *arg, unsigned pin, bool level)
{
	if (pin == CPU_PIN_INTR)
		*(bool *)arg = level;
}

static u64 tsc_to_ns(void *arg, u64 tsc)
{
	return tsc / 2;
}

static unsigned current(void *arg)
{
	return ((struct rig *)arg)->self;
}

static unsigned uart_output(void *arg, const u8 *bytes, unsigned len)
{
	/* Now and then the backend is full. */
	return len && bytes[0] & 1 ? len : len / 2;
}

static void uart_room(void *arg)
{
	struct rig *rig = arg;

	ns16550_input(&rig->uart, (const u8 *)"more of it", 10);
}

static void nothing(void *arg)
{
}

static void note_exit(void *arg, u32 value)
{
}

static void note_replace(void *arg, bool on)
{
}

static void routed(void *arg, unsigned pin, bool level)
{
	struct rig *rig = arg;

	rig->rises += level;
	ioapic_set_irq(&rig->ioapic, pin, level);
}

static void note_sleep(void *arg, unsigned type)
{
	if (type > 7)
		abort();
}

static void plug(struct rig *rig, const struct device_class *class, void *device, u64 base)
{
	for (const struct device_range *range = class->ranges; range->len; range++) {
		struct space *space = range->where == PORT ? rig->ports : rig->memory;

		if (space_add_io(space, base + range->base, range->len, &range->ops, device))
			abort();
	}
	if (class->reset)
		class->reset(device);
}

static void build(struct rig *rig)
{
	fake_start(1000000000000, 1700000000000000000);
	rig->ports = space_new("ports");
	rig->memory = space_new("memory");
	rig->bus = (struct apic_bus){ .eoi = ioapic_eoi, .eoi_listener = &rig->ioapic,
		.current = current, .current_arg = rig, .memory = rig->memory };
	rig->pic.intr = (struct line){ lapic_set_lint, &rig->cpu[0], 0 };
	rig->ioapic.bus = &rig->bus;
	plug(rig, &lapic_window_class, &rig->bus, LAPIC_BASE);
	for (unsigned i = 0; i < CPUS; i++) {
		rig->cpu[i] = (struct lapic){ .bus = &rig->bus, .id = i, .bsp = !i,
			.cpu = { cpu_pin, &rig->intr[i], 0 }, .tsc_to_ns = tsc_to_ns,
			.extint_acknowledge = i8259_acknowledge,
			.extint_pending = i8259_pending_vector, .pic = &rig->pic,
			.phys_bits = 40 };
		lapic_join(&rig->cpu[i]);
	}
	rig->pit.irq = (struct line){ irq, rig, 0 };
	rig->rtc.irq = (struct line){ irq, rig, 8 };
	rig->pm.sci = (struct line){ irq, rig, 9 };
	rig->pm.sleep = note_sleep;
	rig->uart = (struct ns16550){ .irq = { irq, rig, 4 }, .output = uart_output,
		.room = uart_room, .arg = rig };
	rig->reset = (struct reset_ports){ .request = nothing, .keyboard_irq = { irq, rig, 1 } };
	rig->exit.exit = note_exit;
	rig->hpet = (struct hpet){ .legacy = { { irq, rig, 0 }, { irq, rig, 8 } }, .replace = note_replace };
	for (unsigned i = 0; i < HPET_ROUTES; i++)
		rig->hpet.route[i] = (struct line){ routed, rig, HPET_ROUTE_FIRST + i };
	plug(rig, &ioapic_class, &rig->ioapic, IOAPIC_BASE);
	plug(rig, &i8259_class, &rig->pic, 0x20);
	plug(rig, &i8254_class, &rig->pit, 0x40);
	plug(rig, &mc146818_class, &rig->rtc, 0x70);
	plug(rig, &acpi_pm_class, &rig->pm, PM_BASE);
	plug(rig, &ns16550_class, &rig->uart, 0x3f8);
	plug(rig, &reset_ports_class, &rig->reset, 0x60);
	plug(rig, &hpet_class, &rig->hpet, HPET_BASE);
	plug(rig, &debug_exit_class, &rig->exit, 0xf4);
}

/* Where a guest finds registers: an index of the input picks one. */
static const u16 port_bases[] = { 0x20, 0xa0, 0x4d0, 0x40, 0x61, 0x70, PM_BASE, PM_BASE + 0x20,
	0x3f8, 0x60, 0x64, 0x92, 0xcf9, 0xf4 };
static const u32 msrs[] = { 0x1b, 0x6e0, 0x802, 0x808, 0x80b, 0x80f, 0x828, 0x830, 0x832, 0x838,
	0x83e, 0x83f };

static void check(const struct rig *rig)
{
	for (unsigned i = 0; i < CPUS; i++) {
		const struct lapic *lapic = &rig->cpu[i];

		if (rig->intr[i] != lapic->intr)
			abort();
		if (lapic_ops.pending_vector((void *)lapic) >= 0 && !lapic->intr)
			abort();
		if (lapic_ops.pending_vector((void *)lapic) > 255)
			abort();
	}
}

static void step(struct rig *rig, const u8 command[12])
{
	unsigned size = 1u << (command[1] & 3);
	unsigned where = command[2];
	u8 low = command[3];
	struct lapic *lapic = &rig->cpu[rig->self];
	u64 value, address;

	memcpy(&value, command + 4, sizeof(value));
	switch (command[0] % 14) {
	case 0:
	case 1:
		address = port_bases[where % ARRAY_SIZE(port_bases)] + (low & 15);
		if (command[0] % 14)
			space_write(rig->ports, address, MIN(size, 4), value);
		else
			space_read(rig->ports, address, MIN(size, 4));
		break;
	case 2:
	case 3:
		address = (where & 1 ? rig->bus.window : IOAPIC_BASE) + low * 16 + (where >> 4);
		if (command[0] % 14 == 3)
			space_write(rig->memory, address, size, value);
		else
			space_read(rig->memory, address, size);
		break;
	case 4: /* the IO-APIC by its index */
		space_write(rig->memory, IOAPIC_BASE, 4, low & 63);
		space_write(rig->memory, IOAPIC_BASE + 0x10, 4, value);
		break;
	case 5:
		lapic_ops.write_msr(lapic, msrs[where % ARRAY_SIZE(msrs)], value);
		break;
	case 6:
		lapic_ops.read_msr(lapic, 0x800 + where, &value);
		lapic_ops.read_cr8(lapic);
		lapic_ops.write_cr8(lapic, low & 15);
		break;
	case 7:
		if (lapic->intr)
			lapic_ops.acknowledge(lapic);
		break;
	case 8:
		irq(rig, low & 31, where & 1);
		break;
	case 9: /* at most 10 ms */
		rig->rises = 0;
		fake_advance(value % 10000000);
		if (rig->rises > 4000)
			abort();
		break;
	case 10:
		ns16550_input(&rig->uart, command + 4, low & 7);
		if (where & 1)
			ns16550_output_ready(&rig->uart);
		if (where & 2)
			acpi_pm_power_button(&rig->pm);
		if (where & 4)
			acpi_pm_gpe(&rig->pm, low);
		break;
	case 11:
		rig->self = low % CPUS;
		if (where == 0xee)
			lapic_ops.init(lapic);
		else
			apic_message(&rig->bus, LAPIC_BASE | (value & 0xffffc), value >> 32);
		break;
	case 12:
	case 13: /* the HPET: its registers and three timers, and what is behind them */
		address = HPET_BASE + (low & 3 ? 0x100 + where % 0x80 : where * 4u);
		if (command[0] % 14 == 13)
			space_write(rig->memory, address, size, value);
		else
			space_read(rig->memory, address, size);
		break;
	}
	check(rig);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct rig *rig = calloc(1, sizeof(*rig));

	build(rig);
	for (size_t at = 0; at + 12 <= size; at += 12)
		step(rig, data + at);
	i8254_class.stop(&rig->pit);
	mc146818_class.stop(&rig->rtc);
	acpi_pm_class.stop(&rig->pm);
	hpet_class.stop(&rig->hpet);
	for (unsigned i = 0; i < CPUS; i++)
		lapic_class.stop(&rig->cpu[i]);
	if (fake_armed())
		abort();
	space_free(rig->ports);
	space_free(rig->memory);
	free(rig);
	return 0;
}
