/* SPDX-License-Identifier: MIT */
/*
 * The PC: which chip stands where, and which pin leads to which line. With interrupts.c this
 * is the only file that knows addresses and IRQ numbers; dsdt.asl and acpi.c repeat them for the
 * guest.
 *
 * Interrupts: an ISA IRQ n goes to pin n of the 8259 pair and of the IO-APIC, but for IRQ 0, which
 * is pin 2 of the latter. IRQ 0 and 8 are the HPET's while it replaces 8254 and RTC; its timers can also
 * have pins 20..23 of the IO-APIC. The four wires of the PCI bus are pins 16..19 of the IO-APIC and, for
 * guests without, IRQ 10, 11, 10, 11 of the 8259.
 */
#include "board/board.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dev/virtio_blk.h"
#include "dev/virtio_console.h"
#include "dev/virtio_net.h"
#include "dev/virtio_rng.h"
#include "mem/dirty.h"

#define PM_PORT 0x600
#define CF9_PORT 0xcf9
#define CF9_RESET 0x0e /* full reset, and do it */
#define SCI_IRQ 9

/* Slots of the PCI bus: disks come first so that they keep their names. */
enum { SLOT_DISK = 1, SLOT_NET = SLOT_DISK + BOARD_DISKS_MAX, SLOT_RNG, SLOT_CONSOLE };

static void isa_irq(void *arg, unsigned irq, bool level)
{
	struct board *b = arg;

	b->interrupts.pic(b->interrupts.arg, irq, level);
	b->interrupts.ioapic(b->interrupts.arg, irq ? irq : 2, level);
}

/* Of the 8254 and the RTC: the HPET can take their place. */
static void timer_irq(void *arg, unsigned irq, bool level)
{
	struct board *b = arg;

	b->replaced_levels[irq != 0] = level;
	if (!b->replaced)
		isa_irq(b, irq, level);
}

static void replace_timers(void *arg, bool on)
{
	struct board *b = arg;

	b->replaced = on;
	if (b->interrupts.cut_timer)
		b->interrupts.cut_timer(b->interrupts.arg, on);
	isa_irq(b, 0, !on && b->replaced_levels[0]);
	isa_irq(b, 8, !on && b->replaced_levels[1]);
}

static void ioapic_pin(void *arg, unsigned pin, bool level)
{
	struct board *b = arg;

	b->interrupts.ioapic(b->interrupts.arg, pin, level);
}

static void pci_irq(void *arg, unsigned wire, bool level)
{
	struct board *b = arg;
	unsigned other = wire ^ 2; /* shares the 8259's pin */

	b->pci_wires[wire] = level;
	b->interrupts.ioapic(b->interrupts.arg, 16 + wire, level);
	b->interrupts.pic(b->interrupts.arg, 10 + (wire & 1), level || b->pci_wires[other]);
}

#define ISA(irq) ((struct line){ isa_irq, b, irq })
#define TIMER_ISA(irq) ((struct line){ timer_irq, b, irq })
#define WIRE(n) ((struct line){ pci_irq, b, n })

static void sleep_state(void *arg, unsigned type)
{
	struct board *b = arg;

	if (type == ACPI_SLP_TYP_S5)
		b->host.power_off(b->host.arg);
}

static void send_message(void *arg, u64 address, u32 data)
{
	struct board *b = arg;

	b->interrupts.message(b->interrupts.arg, address, data);
}

int board_plug(struct board *b, const struct device_class *class, void *device, u64 base)
{
	for (unsigned i = 0; i < ARRAY_SIZE(class->ranges) && class->ranges[i].len; i++) {
		const struct device_range *range = &class->ranges[i];
		struct space *space = range->where == PORT ? b->host.ports : b->host.memory;
		int error = space_add_io(space, base + range->base, range->len, &range->ops, device);

		if (error)
			return error;
	}
	if (b->plugged_count == ARRAY_SIZE(b->plugged))
		return -ENOSPC;
	b->plugged[b->plugged_count].class = class;
	b->plugged[b->plugged_count++].device = device;
	return 0;
}

static int plug_memory(struct board *b)
{
	struct ram *ram = b->host.ram;
	struct space *memory = b->host.memory;
	u64 low = board_low_memory(ram->size);
	int error = space_add_ram(memory, 0, 0xa0000, ram, 0);

	if (!error)
		error = space_add_ram(memory, 0xc0000, low - 0xc0000, ram, 0xc0000);
	if (!error && ram->size > low)
		error = space_add_ram(memory, BOARD_HIGH_START, ram->size - low, ram, low);
	return error;
}

static int plug_chips(struct board *b)
{
	struct loop *loop = b->host.loop;
	int error;

	b->rtc = (struct mc146818){ .loop = loop, .irq = TIMER_ISA(8) };
	b->hpet = (struct hpet){ .loop = loop, .legacy = { ISA(0), ISA(8) }, .replace = replace_timers,
		.arg = b };
	for (unsigned i = 0; i < HPET_ROUTES; i++)
		b->hpet.route[i] = (struct line){ ioapic_pin, b, HPET_ROUTE_FIRST + i };
	b->com1 = (struct ns16550){ .irq = ISA(4) };
	b->pm = (struct acpi_pm){ .loop = loop, .sci = ISA(SCI_IRQ), .sleep = sleep_state,
		.sleep_arg = b };
	b->reset_ports = (struct reset_ports){ .request = b->host.reset, .arg = b->host.arg,
		.keyboard_irq = ISA(1) };
	b->debug_exit = (struct debug_exit){ .exit = b->host.debug_exit, .arg = b->host.arg };

	error = board_plug(b, &mc146818_class, &b->rtc, 0x70);
	error = error ? error : board_plug(b, &ns16550_class, &b->com1, 0x3f8);
	error = error ? error : board_plug(b, &hpet_class, &b->hpet, BOARD_HPET);
	error = error ? error : board_plug(b, &acpi_pm_class, &b->pm, PM_PORT);
	error = error ? error : space_add_io(b->host.ports, 0xcf8, 8, &pci_config_ops, b->pci);
	error = error ? error : board_plug(b, &reset_ports_class, &b->reset_ports, 0x60);
	if (!error && b->config->debug_exit)
		error = board_plug(b, &debug_exit_class, &b->debug_exit, b->config->debug_exit_port);
	return error;
}

static int plug_pci(struct board *b)
{
	struct pci_bus_options options = {
		.memory = b->host.memory, .ports = b->host.ports,
		.io = { 0xc000, 0x4000 },
		.memory32 = { BOARD_LOW_END, BOARD_IOAPIC - BOARD_LOW_END },
		.wires = { WIRE(0), WIRE(1), WIRE(2), WIRE(3) },
		.wire_irq = { 10, 11, 10, 11 },
		.msi_send = send_message, .msi_ctx = b,
	};

	b->pci = pci_bus_new(&options);
	return b->pci ? 0 : -ENOMEM;
}

static int plug_net(struct board *b, char problem[320])
{
	const struct board_config *config = b->config;
	struct virtio_net_options net = { .mac = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 } };
	unsigned failed = config->forward_count;
	int error = net_user_new(&net.backend, b->host.loop, config->level,
		config->forwards, config->forward_count, &failed);

	if (error && failed < config->forward_count)
		snprintf(problem, 320, "--net hostfwd: cannot listen at port %u: %s; give another "
			"port", config->forwards[failed].host_port, strerror(-error));
	return error ? error : virtio_net_plug(b->pci, SLOT_NET, &net);
}

/* The devices that options add. */
static int plug_options(struct board *b, char problem[320])
{
	const struct board_config *config = b->config;
	int error = 0;

	for (unsigned i = 0; i < config->disk_count; i++) {
		char serial[24];
		struct virtio_blk_options blk = { .loop = b->host.loop, .disk = config->disks[i],
			.serial = serial };

		snprintf(serial, sizeof(serial), "nestbox%u", i);
		if (!error)
			error = virtio_blk_plug(b->pci, SLOT_DISK + i, &blk);
		else
			disk_close(&blk.disk);
	}
	if (!error && config->net)
		error = plug_net(b, problem);
	if (!error && config->rng)
		error = virtio_rng_plug(b->pci, SLOT_RNG);
	if (!error && config->console)
		error = virtio_console_plug(&b->console, b->pci, SLOT_CONSOLE);
	return error;
}

int board_new(struct board **board, const struct board_config *config,
	const struct board_host *host, char problem[320])
{
	struct board *b = calloc(1, sizeof(*b));
	int error;

	problem[0] = 0;
	*board = b;
	if (!b) {
		for (unsigned i = 0; i < config->disk_count; i++) {
			struct disk disk = config->disks[i];

			disk_close(&disk);
		}
		return -ENOMEM;
	}
	b->config = config;
	b->host = *host;
	error = plug_memory(b);
	error = error ? error : plug_pci(b);
	error = error ? error : board_plug_interrupts(b, TIMER_ISA(0));
	error = error ? error : plug_chips(b);
	error = error ? error : plug_options(b, problem);
	board_memory_map(&b->map, config->memory);
	return error;
}

void board_free(struct board *b)
{
	if (!b)
		return;
	if (b->pci)
		pci_bus_free(b->pci);
	for (unsigned i = b->plugged_count; i-- > 0;)
		if (b->plugged[i].class->stop)
			b->plugged[i].class->stop(b->plugged[i].device);
	board_stop_interrupts(b);
	free(b);
}

int board_reset(struct board *b)
{
	int error;

	memset(b->pci_wires, 0, sizeof(b->pci_wires));
	for (unsigned i = 0; i < b->plugged_count; i++)
		if (b->plugged[i].class->reset)
			b->plugged[i].class->reset(b->plugged[i].device);
	pci_bus_reset(b->pci);
	error = b->interrupts.reset(b->interrupts.arg);
	if (error) {
		snprintf(b->boot.problem, sizeof(b->boot.problem), "the interrupt controllers "
			"cannot be reset: %s", strerror(-error));
		return -1;
	}
	firmware_leave(b, &(struct acpi_layout){ .cpus = b->config->cpus, .ioapic = BOARD_IOAPIC,
		.lapic = BOARD_LAPIC, .hpet = BOARD_HPET, .pm = PM_PORT, .reset = CF9_PORT, .reset_value = CF9_RESET,
		.sci = SCI_IRQ });

	b->boot = (struct boot){ .source = b->config->source, .map = &b->map,
		.low = b->host.ram->host, .low_size = board_low_memory(b->host.ram->size),
		.rsdp = BOARD_RSDP };
	if (boot_load(&b->boot))
		return -1;
	/* ACPI's tables and the kernel */
	dirty_note(b->host.ram, 0, b->host.ram->size);
	boot_enter(&b->boot, b->host.cpus[0]);
	return 0;
}
