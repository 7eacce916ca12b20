/* SPDX-License-Identifier: MIT */
/*
 * The PCI bus: configuration mechanism 1, a host bridge with the identity of Intel's 82441FX,
 * base address registers and interrupt pins.
 * PCI Local Bus Specification 3.0; 82441FX data sheet (290549) for the identity.
 *
 * Not modelled: bridges, functions above 0, expansion ROMs, parity and system errors, the
 * 82441FX's own DRAM and shadowing registers (the board's RAM needs no set-up).
 */
#include "dev/pci.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PCI_SLOTS 32

struct pci_bus {
	struct pci_bus_options options;
	u32 address; /* CONFIG_ADDRESS, 3.2.2.3.2 */
	struct pci_device *devices[PCI_SLOTS];
	unsigned wire_drivers[4]; /* devices that assert each wire */
	struct pci_device bridge;
};

static const struct pci_device_class host_bridge = {
	.name = "host bridge",
	.vendor = 0x8086,
	.device = 0x1237,
	.subsystem_vendor = 0x1af4,
	.subsystem = 0x1100,
	.revision = 2,
	.class_code = 0x060000,
};

const struct field pci_device_state[] = {
	FIELD_ARRAY(struct pci_device, config),
	FIELD(struct pci_device, intx_level),
	FIELD(struct pci_device, intx_driven),
	FIELD_ARRAY(struct pci_device, msix_table),
	FIELD_ARRAY(struct pci_device, msix_pending),
	{0},
};

static u32 get_config(const struct pci_device *device, unsigned offset, unsigned size)
{
	u32 value = 0;

	memcpy(&value, device->config + offset, size);
	return value;
}

static void set_config(struct pci_device *device, unsigned offset, unsigned size, u32 value)
{
	memcpy(device->config + offset, &value, size);
}

static void set_writable(struct pci_device *device, unsigned offset, unsigned size, u32 mask)
{
	memcpy(device->writable + offset, &mask, size);
}

/* ---- base address registers ---- */

static bool takes_no_quadword(const struct pci_bar *bar)
{
	return bar->ops->sizes && !(bar->ops->sizes & 8);
}

/* What the space calls: a BAR stands for its device, so that two of one device stay apart even
 * when the guest lays them over each other. */
static u64 bar_read(void *opaque, u64 offset, unsigned size)
{
	struct pci_bar *bar = opaque;

	if (size == 8 && takes_no_quadword(bar)) {
		u64 low = bar_read(bar, offset, 4);
		return low | bar_read(bar, offset + 4, 4) << 32;
	}
	return bar->ops->read(bar->device, offset, size);
}

static void bar_write(void *opaque, u64 offset, unsigned size, u64 value)
{
	struct pci_bar *bar = opaque;

	if (size == 8 && takes_no_quadword(bar)) {
		bar_write(bar, offset, 4, (u32)value);
		bar_write(bar, offset + 4, 4, value >> 32);
		return;
	}
	bar->ops->write(bar->device, offset, size, value);
}

static const struct io_ops bar_ops = {.read = bar_read, .write = bar_write};

static bool in_window(const struct pci_window *window, u64 base, u64 size)
{
	return base >= window->base && size <= window->size &&
		base - window->base <= window->size - size;
}

static u64 bar_address(const struct pci_device *device, unsigned index)
{
	unsigned offset = PCI_BAR0 + index * 4, flags = device->bars[index].flags;
	u64 low = get_config(device, offset, 4);

	if (flags & PCI_BAR_IO)
		return low & ~3ull;
	if (flags & PCI_BAR_64)
		low |= (u64)get_config(device, offset + 4, 4) << 32;
	return low & ~15ull;
}

/* Where the space has no room for one more, its writes come one by one. */
static void place_doorbells(struct space *space, struct pci_bar *bar)
{
	for (unsigned i = 0; i < bar->doorbell_count; i++) {
		struct doorbell doorbell = bar->doorbells[i];

		doorbell.address += bar->mapped;
		space_add_doorbell(space, bar, &doorbell);
	}
}

/* Makes the address space agree with the registers. */
static void update_bar(struct pci_device *device, unsigned index)
{
	struct pci_bus *bus = device->bus;
	struct pci_bar *bar = &device->bars[index];
	bool port = bar->flags & PCI_BAR_IO;
	struct space *space = port ? bus->options.ports : bus->options.memory;
	u32 command = get_config(device, PCI_COMMAND, 2);
	u64 base = bar_address(device, index);
	bool active;

	if (port)
		active = (command & PCI_COMMAND_IO) &&
			in_window(&bus->options.io, base, bar->size);
	else
		active = (command & PCI_COMMAND_MEMORY) &&
			(in_window(&bus->options.memory32, base, bar->size) ||
				in_window(&bus->options.memory64, base, bar->size));
	if (active == bar->active && (!active || base == bar->mapped))
		return;
	if (bar->active)
		space_remove_io(space, bar->mapped, bar);
	/* Where the host has no memory for the range, the BAR stays silent. */
	bar->active = active && space_add_io(space, base, bar->size, &bar_ops, bar) == 0;
	bar->mapped = base;
	if (bar->active)
		place_doorbells(space, bar);
	if (trace_on(TRACE_pci))
		trace_print(TRACE_pci, "%02x.0 BAR%u %s %s 0x%llx size 0x%llx", device->devfn >> 3,
			index, bar->active ? "answers at" : "is silent at",
			port ? "port" : "address", (unsigned long long)base,
			(unsigned long long)bar->size);
}

static void update_bars(struct pci_device *device)
{
	for (unsigned i = 0; i < PCI_BARS; i++)
		if (device->bars[i].size)
			update_bar(device, i);
}

void pci_add_bar(struct pci_device *device, unsigned index, u64 size, unsigned flags,
	const struct io_ops *ops, void *context)
{
	unsigned offset = PCI_BAR0 + index * 4;
	u64 mask = ~(size - 1);

	device->bars[index] =
		(struct pci_bar){.size = size, .flags = flags, .ops = ops, .device = context};
	/* The type bits of 6.2.5.1 are read-only; the address bits below size too, which is how
	 * the guest learns the size. */
	if (flags & PCI_BAR_IO) {
		set_config(device, offset, 4, 1);
		set_writable(device, offset, 4, mask & 0xfffffffc);
		return;
	}
	set_config(device, offset, 4,
		(flags & PCI_BAR_64 ? 4 : 0) | (flags & PCI_BAR_PREFETCH ? 8 : 0));
	set_writable(device, offset, 4, mask & 0xfffffff0);
	if (flags & PCI_BAR_64)
		set_writable(device, offset + 4, 4, mask >> 32);
}

void pci_add_doorbells(struct pci_device *device, unsigned index, const struct doorbell *doorbells,
	unsigned count)
{
	device->bars[index].doorbells = doorbells;
	device->bars[index].doorbell_count = count;
}

/* ---- interrupt pins ---- */

static unsigned intx_wire(const struct pci_bus *bus, const struct pci_device *device)
{
	unsigned slot = device->devfn >> 3;
	unsigned wire = bus->options.swizzle ? bus->options.swizzle(slot, 0) : slot;

	return wire % 4;
}

/* The pin falls silent while messages are used (6.8.1.3) or the guest says so (6.2.2). */
void pci_update_intx(struct pci_device *device)
{
	struct pci_bus *bus = device->bus;
	bool level = device->intx_level && !pci_msi_enabled(device) && !pci_msix_enabled(device);
	unsigned wire = intx_wire(bus, device);

	if (device->intx_level)
		device->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
	else
		device->config[PCI_STATUS] &= ~PCI_STATUS_INTERRUPT;
	if (get_config(device, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE)
		level = false;
	if (level == device->intx_driven)
		return;
	device->intx_driven = level;
	if (level) {
		if (bus->wire_drivers[wire]++ == 0)
			line_set(&bus->options.wires[wire], true);
	} else {
		if (--bus->wire_drivers[wire] == 0)
			line_set(&bus->options.wires[wire], false);
	}
}

void pci_set_intx(struct pci_device *device, bool level)
{
	device->intx_level = level;
	pci_update_intx(device);
}

/* A message is a memory write of the device: it needs Bus Master (6.2.2). */
void pci_send_message(struct pci_device *device, u64 address, u32 data)
{
	const struct pci_bus_options *options = &device->bus->options;

	if ((device->config[PCI_COMMAND] & PCI_COMMAND_MASTER) && options->msi_send)
		options->msi_send(options->msi_ctx, address, data);
}

/* ---- configuration space ---- */

static struct pci_device *find_device(const struct pci_bus *bus, unsigned bdf)
{
	if (bdf > 0xff || (bdf & 7))
		return NULL;
	return bus->devices[bdf >> 3];
}

static bool bad_access(unsigned offset, unsigned size)
{
	return (size != 1 && size != 2 && size != 4) || offset > 255 || (offset & 3) + size > 4;
}

u32 pci_config_read(struct pci_bus *bus, unsigned bdf, unsigned offset, unsigned size)
{
	struct pci_device *device = find_device(bus, bdf);
	u32 value;

	/* Master abort: all ones, 6.1. */
	if (!device || bad_access(offset, size))
		return size >= 4 ? ~0u : (u32)MASK(size * 8 - 1, 0);
	if (device->class->read && device->class->read(device, offset, size, &value))
		return value;
	return get_config(device, offset, size);
}

static bool overlaps(unsigned offset, unsigned size, unsigned start, unsigned end)
{
	return offset < end && offset + size > start;
}

void pci_config_write(struct pci_bus *bus, unsigned bdf, unsigned offset, unsigned size, u32 value)
{
	struct pci_device *device = find_device(bus, bdf);

	if (!device || bad_access(offset, size))
		return;
	if (trace_on(TRACE_pci))
		trace_print(TRACE_pci, "%02x.0 config[%02x] size %u = %x", device->devfn >> 3,
			offset, size, value);
	if (device->class->write && device->class->write(device, offset, size, value))
		return;
	for (unsigned i = 0; i < size; i++) {
		u8 mask = device->writable[offset + i];
		u8 *byte = &device->config[offset + i];
		*byte = (*byte & ~mask) | (value >> (i * 8) & mask);
	}
	if (overlaps(offset, size, PCI_COMMAND, PCI_COMMAND + 2)) {
		update_bars(device);
		pci_update_intx(device);
	}
	if (overlaps(offset, size, PCI_BAR0, PCI_BAR0 + PCI_BARS * 4))
		update_bars(device);
	pci_msi_config_written(device, offset, size);
}

/*
 * CONFIG_ADDRESS answers to whole doublewords only; bytes and words there are other devices'
 * (3.2.2.3.2), of which CF9h, the reset control, is the one that exists.
 */
static u64 config_port_read(void *opaque, u64 offset, unsigned size)
{
	struct pci_bus *bus = opaque;
	u64 ones = MASK(size * 8 - 1, 0);

	if (offset == 0 && size == 4)
		return bus->address;
	if (offset == 1 && size == 1 && bus->options.cf9)
		return bus->options.cf9->read(bus->options.cf9_device, 0, 1);
	if (offset < 4 || !(bus->address & BIT(31)))
		return ones;
	return pci_config_read(bus, bus->address >> 8 & 0xffff,
		(bus->address & 0xfc) + (offset - 4), size);
}

static void config_port_write(void *opaque, u64 offset, unsigned size, u64 value)
{
	struct pci_bus *bus = opaque;

	if (offset == 0 && size == 4)
		bus->address = value & 0x80fffffc;
	else if (offset == 1 && size == 1 && bus->options.cf9)
		bus->options.cf9->write(bus->options.cf9_device, 0, 1, value);
	else if (offset >= 4 && (bus->address & BIT(31)))
		pci_config_write(bus, bus->address >> 8 & 0xffff,
			(bus->address & 0xfc) + (offset - 4), size, value);
}

const struct io_ops pci_config_ops = {
	.read = config_port_read,
	.write = config_port_write,
	.sizes = 1 | 2 | 4,
};

unsigned pci_add_capability(struct pci_device *device, u8 id, unsigned len)
{
	unsigned offset = device->capability_end;
	u8 *link = &device->config[PCI_CAPABILITY_POINTER];

	while (*link)
		link = &device->config[*link + 1];
	if (offset + len > sizeof(device->config))
		bug("%s: capabilities do not fit", device->class->name);
	*link = offset;
	device->config[offset] = id;
	device->config[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
	device->capability_end = (offset + len + 3) & ~3u;
	return offset;
}

/* ---- life ---- */

static void init_device(struct pci_bus *bus, struct pci_device *device,
	const struct pci_device_class *class, unsigned slot)
{
	device->bus = bus;
	device->class = class;
	device->devfn = slot << 3;
	device->capability_end = 0x40;
	set_config(device, PCI_VENDOR_ID, 2, class->vendor);
	set_config(device, PCI_DEVICE_ID, 2, class->device);
	set_config(device, PCI_REVISION, 4, class->revision | class->class_code << 8);
	set_config(device, PCI_SUBSYSTEM_VENDOR_ID, 2, class->subsystem_vendor);
	set_config(device, PCI_SUBSYSTEM_ID, 2, class->subsystem);
	/* Parity Error Response and SERR# Enable can be set and change nothing. */
	set_writable(device, PCI_COMMAND, 2,
		PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | 0x0140 |
			PCI_COMMAND_INTX_DISABLE);
	set_writable(device, PCI_CACHE_LINE_SIZE, 1, 0xff);
	set_writable(device, PCI_LATENCY_TIMER, 1, 0xff);
	if (class->intx) {
		set_config(device, PCI_INTERRUPT_PIN, 1, 1);
		set_writable(device, PCI_INTERRUPT_LINE, 1, 0xff);
	}
	bus->devices[slot] = device;
}

struct pci_bus *pci_bus_new(const struct pci_bus_options *options)
{
	struct pci_bus *bus = calloc(1, sizeof(*bus));

	if (!bus)
		return NULL;
	bus->options = *options;
	init_device(bus, &bus->bridge, &host_bridge, 0);
	return bus;
}

struct space *pci_bus_memory(struct pci_bus *bus)
{
	return bus->options.memory;
}

int pci_plug(struct pci_bus *bus, struct pci_device *device, const struct pci_device_class *class,
	unsigned slot)
{
	if (slot == 0 || slot >= PCI_SLOTS)
		return -EINVAL;
	if (bus->devices[slot])
		return -EBUSY;
	init_device(bus, device, class, slot);
	return 0;
}

void pci_bus_free(struct pci_bus *bus)
{
	if (!bus)
		return;
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		struct pci_device *device = bus->devices[slot];
		if (!device)
			continue;
		device->config[PCI_COMMAND] = 0;
		update_bars(device);
		if (device->class->free)
			device->class->free(device);
	}
	free(bus);
}

/* The next free piece of a window, aligned to its size. ~0: there is none. */
static u64 take(struct pci_window *window, u64 size)
{
	u64 base = (window->base + size - 1) & ~(size - 1);
	u64 skipped = base - window->base;

	if (skipped > window->size || size > window->size - skipped)
		return ~0ull;
	window->base = base + size;
	window->size -= skipped + size;
	return base;
}

static void place_bars(struct pci_device *device, struct pci_window *io,
	struct pci_window *memory32, struct pci_window *memory64)
{
	for (unsigned i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &device->bars[i];
		unsigned offset = PCI_BAR0 + i * 4;
		u64 base;

		if (!bar->size)
			continue;
		base = take(bar->flags & PCI_BAR_IO ? io : memory32, bar->size);
		if (base == ~0ull && (bar->flags & PCI_BAR_64))
			base = take(memory64, bar->size);
		if (base == ~0ull)
			continue;
		set_config(device, offset, 4, (u32)base | get_config(device, offset, 4));
		if (bar->flags & PCI_BAR_64)
			set_config(device, offset + 4, 4, base >> 32);
		device->config[PCI_COMMAND] |=
			bar->flags & PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
	}
	update_bars(device);
}

static void reset_device(struct pci_device *device)
{
	/* 6.2.2, 6.2.5: what the guest may write is zero after RST#. */
	for (unsigned i = 0; i < sizeof(device->config); i++)
		device->config[i] &= ~device->writable[i];
	pci_msi_reset(device);
	update_bars(device);
	if (device->class->reset)
		device->class->reset(device);
	pci_set_intx(device, false);
}

void pci_bus_reset(struct pci_bus *bus)
{
	struct pci_window io = bus->options.io;
	struct pci_window memory32 = bus->options.memory32, memory64 = bus->options.memory64;

	bus->address = 0;
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
		if (bus->devices[slot])
			reset_device(bus->devices[slot]);
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		struct pci_device *device = bus->devices[slot];
		if (!device)
			continue;
		place_bars(device, &io, &memory32, &memory64);
		if (device->class->intx)
			device->config[PCI_INTERRUPT_LINE] =
				bus->options.wire_irq[intx_wire(bus, device)];
	}
}
