/* SPDX-License-Identifier: MIT */
/*
 * Who plays the interrupt controllers and the 8254. Where the engine brings none, these chips are
 * dev/'s, wired to the vCPUs' pins.
 */
#include "board/board.h"

#include <errno.h>
#include <stdlib.h>

#include "cpu/cpu.h"

#define PIC_PORT 0x20
#define PIT_PORT 0x40

static void own_pic(void *arg, unsigned pin, bool level)
{
	struct board *b = arg;

	i8259_set_irq(&b->pic, pin, level);
}

static void own_ioapic(void *arg, unsigned pin, bool level)
{
	struct board *b = arg;

	ioapic_set_irq(&b->ioapic, pin, level);
}

static void own_message(void *arg, u64 address, u32 data)
{
	struct board *b = arg;

	apic_message(&b->apic_bus, address, data);
}

/* The chips that are plugged have been reset with all others. */
static int own_reset(void *arg)
{
	struct board *b = arg;

	for (unsigned i = 0; i < b->apic_bus.count; i++)
		lapic_class.reset(&b->lapics[i]);
	firmware_leave_interrupts(b);
	return 0;
}

static int plug_apics(struct board *b)
{
	int error = 0;

	b->apic_bus = (struct apic_bus){ .eoi = ioapic_eoi, .eoi_listener = &b->ioapic,
		.current = b->host.current_cpu, .current_arg = b->host.arg,
		.memory = b->host.memory };
	b->ioapic = (struct ioapic){ .bus = &b->apic_bus };
	b->lapics = calloc(b->config->cpus, sizeof(*b->lapics));
	if (!b->lapics)
		return -ENOMEM;
	error = board_plug(b, &lapic_window_class, &b->apic_bus, BOARD_LAPIC);
	for (unsigned i = 0; !error && i < b->config->cpus; i++) {
		struct cpu *cpu = b->host.cpus[i];

		b->lapics[i] = (struct lapic){ .bus = &b->apic_bus, .loop = b->host.loop, .id = i,
			.bsp = i == 0, .cpu = { cpu_pin_set, cpu, 0 },
			.tsc_to_ns = cpu_tsc_to_ns, .tsc_arg = cpu,
			.extint_acknowledge = i8259_acknowledge,
			.extint_pending = i8259_pending_vector, .pic = &b->pic,
			.phys_bits = cpu->phys_bits };
		cpu->intc_ops = &lapic_ops;
		cpu->intc = &b->lapics[i];
		error = lapic_join(&b->lapics[i]);
	}
	return error ? error : board_plug(b, &ioapic_class, &b->ioapic, BOARD_IOAPIC);
}

int board_plug_interrupts(struct board *b, struct line timer_irq)
{
	int error;

	b->interrupts = b->host.interrupts;
	if (b->interrupts.pic)
		return 0;
	b->interrupts = (struct board_interrupts){ .pic = own_pic, .ioapic = own_ioapic,
		.message = own_message, .reset = own_reset, .arg = b };
	error = plug_apics(b);
	b->pic = (struct i8259){ .intr = { lapic_set_lint, &b->lapics[0], 0 } };
	b->pit = (struct i8254){ .loop = b->host.loop, .irq = timer_irq };
	error = error ? error : board_plug(b, &i8259_class, &b->pic, PIC_PORT);
	return error ? error : board_plug(b, &i8254_class, &b->pit, PIT_PORT);
}

void board_stop_interrupts(struct board *b)
{
	for (unsigned i = 0; b->lapics && i < b->apic_bus.count; i++)
		if (lapic_class.stop)
			lapic_class.stop(&b->lapics[i]);
	free(b->lapics);
}
