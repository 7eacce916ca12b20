/* SPDX-License-Identifier: MIT */
/*
 * The PCI bus under a guest that writes what it likes to configuration space, BARs and MSI-X
 * tables, while devices interrupt. Holds: a BAR never covers RAM, wires are switched in pairs,
 * and a reset brings back all declared state.
 */
#include "pci_rig.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

struct gadget {
	struct pci_device pci;
	struct pci_device after_reset;
};

static u64 gadget_read(void *opaque, u64 offset, unsigned size)
{
	return ~0ull;
}

static void gadget_write(void *opaque, u64 offset, unsigned size, u64 value)
{
}

static const struct io_ops gadget_ops = {.read = gadget_read, .write = gadget_write};

static const struct pci_device_class gadget_class = {
	.name = "gadget", .vendor = 0x1234, .device = 0x5678, .class_code = 0xff0000, .intx = true,
};

static void add_gadget(struct fuzz_rig *rig, struct gadget *gadget, unsigned slot)
{
	struct pci_device *pci = &gadget->pci;

	fuzz_require(pci_plug(rig->bus, pci, &gadget_class, slot) == 0, "the slot is free");
	pci_add_bar(pci, 0, 0x20, PCI_BAR_IO, &gadget_ops, gadget);
	pci_add_bar(pci, 1, 0x1000, 0, &gadget_ops, gadget);
	pci_add_bar(pci, 2, 0x100000, PCI_BAR_64 | PCI_BAR_PREFETCH, &gadget_ops, gadget);
	pci_add_msi(pci, 8, slot & 1);
	pci_add_msix(pci, 5, 4);
}

static void check_reset(const struct gadget *gadget)
{
	for (const struct field *f = pci_device_state; f->name; f++)
		fuzz_require(!memcmp((const u8 *)&gadget->pci + f->offset,
				     (const u8 *)&gadget->after_reset + f->offset,
				     f->size * f->count),
			f->name);
}

static void step(struct fuzz_rig *rig, struct gadget *gadgets, struct fuzz_input *input)
{
	unsigned what = fuzz_take(input, 1);
	struct gadget *gadget = &gadgets[what >> 4 & 1];
	u64 place;

	switch (what & 7) {
	case 0:
		space_write(rig->ports, 0xcf8, 4, fuzz_take(input, 4));
		break;
	case 1:
		fuzz_access(rig->ports, 0xcf8 + fuzz_take(input, 1) % 8, input);
		break;
	case 2:
		place = fuzz_take(input, 1);
		fuzz_config_write(rig, gadget->pci.devfn >> 3, place, 4, fuzz_take(input, 4));
		break;
	case 3:
		place = gadget->pci.bars[fuzz_take(input, 1) % PCI_BARS].mapped;
		fuzz_access(rig->memory, place + fuzz_take(input, 2), input);
		break;
	case 4:
		pci_set_intx(&gadget->pci, what & 8);
		break;
	case 5:
		pci_msi_notify(&gadget->pci, fuzz_take(input, 1));
		break;
	case 6:
		pci_msix_notify(&gadget->pci, fuzz_take(input, 1));
		break;
	case 7:
		fuzz_access(rig->memory, fuzz_take(input, 5), input);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static struct fuzz_rig rig;
	static struct gadget gadgets[2];
	struct fuzz_input input = {bytes, len};

	if (!rig.bus) {
		fuzz_rig_start(&rig);
		add_gadget(&rig, &gadgets[0], 1);
		add_gadget(&rig, &gadgets[1], 5); /* on the same wire */
		pci_bus_reset(rig.bus);
		gadgets[0].after_reset = gadgets[0].pci;
		gadgets[1].after_reset = gadgets[1].pci;
	}
	while (input.left)
		step(&rig, gadgets, &input);
	for (u64 page = 0; page < RIG_RAM; page += PAGE_SIZE)
		fuzz_require(space_find(rig.memory, page).host, "RAM is where it was");
	pci_bus_reset(rig.bus);
	check_reset(&gadgets[0]);
	check_reset(&gadgets[1]);
	fuzz_require(!rig.wires[0] && !rig.wires[1] && !rig.wires[2] && !rig.wires[3],
		"no wire is up after a reset");
	return 0;
}
