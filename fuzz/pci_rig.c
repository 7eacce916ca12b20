/* SPDX-License-Identifier: MIT */
/* What the fuzzers of PCI and virtio share. */
#include "pci_rig.h"

/* Shared wires are switched, never driven twice the same way. */
static void wire(void *opaque, unsigned pin, bool level)
{
	struct fuzz_rig *rig = opaque;

	fuzz_require(rig->wires[pin] != level, "a wire changes when it is switched");
	rig->wires[pin] = level;
}

static void message(void *opaque, u64 address, u32 data)
{
}

void fuzz_rig_start(struct fuzz_rig *rig)
{
	struct pci_bus_options options = {
		.io = {0xc000, 0x4000},
		.memory32 = {0xc0000000, 0x3ec00000},
		.memory64 = {0x100000000, 0x100000000},
		.wires = {{wire, rig, 0}, {wire, rig, 1}, {wire, rig, 2}, {wire, rig, 3}},
		.msi_send = message,
	};

	rig->memory = options.memory = space_new("memory");
	rig->ports = options.ports = space_new("ports");
	fuzz_require(ram_new(&rig->ram, RIG_RAM) == 0, "there is RAM");
	space_add_ram(rig->memory, 0, RIG_RAM, &rig->ram, 0);
	rig->bus = pci_bus_new(&options);
	fuzz_require(rig->bus, "there is a bus");
	space_add_io(rig->ports, 0xcf8, 8, &pci_config_ops, rig->bus);
}

void fuzz_config_write(struct fuzz_rig *rig, unsigned slot, unsigned offset, unsigned size,
	u32 value)
{
	space_write(rig->ports, 0xcf8, 4, BIT(31) | slot << 11 | (offset & 0xfc));
	space_write(rig->ports, 0xcfc + (offset & 3), size, value);
}

void fuzz_access(struct space *space, u64 address, struct fuzz_input *input)
{
	unsigned how = fuzz_take(input, 1), size = 1u << (how & 3);

	if (how & 4)
		space_write(space, address, size, fuzz_take(input, size));
	else
		space_read(space, address, size);
}
