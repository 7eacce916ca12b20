/* SPDX-License-Identifier: MIT */
/* The PCI bus: configuration mechanism, BARs, pins, MSI and MSI-X. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "virtio_rig.h"

struct gadget {
	struct pci_device pci;
	u64 last_offset, last_value;
	unsigned last_size, resets;
};

static u64 gadget_read(void *opaque, u64 offset, unsigned size)
{
	return 0x1122334455667788ull + offset;
}

static void gadget_write(void *opaque, u64 offset, unsigned size, u64 value)
{
	struct gadget *gadget = opaque;

	gadget->last_offset = offset;
	gadget->last_size = size;
	gadget->last_value = value;
}

static const struct io_ops gadget_ops = {.read = gadget_read, .write = gadget_write};

static const struct io_ops gadget_ops32 = {
	.read = gadget_read,
	.write = gadget_write,
	.sizes = 1 | 2 | 4,
};

static void gadget_reset(struct pci_device *pci)
{
	container_of(pci, struct gadget, pci)->resets++;
}

static const struct pci_device_class gadget_class = {
	.name = "gadget",
	.vendor = 0x1234,
	.device = 0x5678,
	.subsystem_vendor = 0x9abc,
	.subsystem = 0xdef0,
	.revision = 7,
	.class_code = 0x0c0330,
	.intx = true,
	.reset = gadget_reset,
};

struct state {
	struct rig rig;
	struct gadget gadget, neighbour;
};

static int setup(void **opaque)
{
	struct state *s = calloc(1, sizeof(*s));
	struct pci_device *pci = &s->gadget.pci;

	rig_start(&s->rig);
	assert_int_equal(pci_plug(s->rig.bus, pci, &gadget_class, 3), 0);
	pci_add_bar(pci, 0, 0x40, PCI_BAR_IO, &gadget_ops, &s->gadget);
	pci_add_bar(pci, 1, 0x1000, 0, &gadget_ops32, &s->gadget);
	pci_add_bar(pci, 2, 0x10000, PCI_BAR_64 | PCI_BAR_PREFETCH, &gadget_ops, &s->gadget);
	pci_add_msi(pci, 4, true);
	pci_add_msix(pci, 3, 4);
	assert_int_equal(pci_plug(s->rig.bus, &s->neighbour.pci, &gadget_class, 7), 0);
	pci_bus_reset(s->rig.bus);
	*opaque = s;
	return 0;
}

static int teardown(void **opaque)
{
	struct state *s = *opaque;

	rig_stop(&s->rig);
	free(s);
	return 0;
}

static u32 get(struct state *s, unsigned offset, unsigned size)
{
	return rig_config_read(&s->rig, 3, offset, size);
}

static void set(struct state *s, unsigned offset, unsigned size, u32 value)
{
	rig_config_write(&s->rig, 3, offset, size, value);
}

static void mechanism(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;

	/* the host bridge */
	assert_int_equal(rig_config_read(rig, 0, 0, 4), 0x12378086);
	assert_int_equal(rig_config_read(rig, 0, PCI_CLASS, 2), 0x0600);
	/* nobody there */
	assert_int_equal(rig_config_read(rig, 1, 0, 4), 0xffffffff);
	assert_int_equal(rig_config_read(rig, 1, 0, 2), 0xffff);
	assert_int_equal(pci_config_read(rig->bus, 3 << 3 | 1, 0, 4), 0xffffffff);
	assert_int_equal(pci_config_read(rig->bus, 1 << 8 | 3 << 3, 0, 4), 0xffffffff);
	/* bytes and words */
	assert_int_equal(get(s, 0, 4), 0x56781234);
	assert_int_equal(get(s, 2, 2), 0x5678);
	assert_int_equal(get(s, 3, 1), 0x56);
	assert_int_equal(get(s, 8, 4), 0x0c033007);
	assert_int_equal(get(s, PCI_SUBSYSTEM_VENDOR_ID, 4), 0xdef09abc);
	/* read-only, and writable by the byte */
	set(s, 0, 4, 0);
	assert_int_equal(get(s, 0, 4), 0x56781234);
	set(s, PCI_INTERRUPT_LINE, 1, 0xaa);
	assert_int_equal(get(s, PCI_INTERRUPT_LINE, 2), 0x01aa);
	/* the address register: whole doublewords only, CF9h is another's */
	space_write(rig->ports, 0xcf8, 4, 0xffffffff);
	assert_int_equal(space_read(rig->ports, 0xcf8, 4), 0x80fffffc);
	space_write(rig->ports, 0xcf9, 1, 6);
	assert_int_equal(rig->reset_writes, 1);
	assert_int_equal(space_read(rig->ports, 0xcf9, 1), 0x5a);
	space_write(rig->ports, 0xcf8, 1, 0);
	space_write(rig->ports, 0xcfa, 2, 0);
	assert_int_equal(space_read(rig->ports, 0xcf8, 4), 0x80fffffc);
	/* without the enable bit the data ports are nobody's */
	space_write(rig->ports, 0xcf8, 4, 3 << 11);
	assert_int_equal(space_read(rig->ports, 0xcfc, 4), 0xffffffff);
	/* no misaligned access within the device's space */
	assert_int_equal(pci_config_read(rig->bus, 3 << 3, 3, 2), 0xffff);
	assert_int_equal(pci_config_read(rig->bus, 3 << 3, 256, 4), 0xffffffff);
}

static void slots(void **opaque)
{
	struct state *s = *opaque;
	struct gadget other = {0};

	assert_int_equal(pci_plug(s->rig.bus, &other.pci, &gadget_class, 3), -EBUSY);
	assert_int_equal(pci_plug(s->rig.bus, &other.pci, &gadget_class, 0), -EINVAL);
	assert_int_equal(pci_plug(s->rig.bus, &other.pci, &gadget_class, 32), -EINVAL);
}

static void firmware(void **opaque)
{
	struct state *s = *opaque;

	/* placed apart, aligned, inside of the windows, decoding on */
	assert_int_equal(get(s, PCI_COMMAND, 2), PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	assert_int_equal(get(s, 0x10, 4), 0xc001);
	assert_int_equal(get(s, 0x14, 4), 0xc0000000);
	assert_int_equal(get(s, 0x18, 4), 0xc001000c);
	assert_int_equal(get(s, 0x1c, 4), 0);
	assert_int_equal(get(s, 0x20, 4), 0xc0020000);
	/* slot 3 is on wire 3 */
	assert_int_equal(get(s, PCI_INTERRUPT_LINE, 2), 0x010d);
	assert_int_equal(space_read(s->rig.memory, 0xc0000010, 4), 0x55667798);
	assert_int_equal(space_read(s->rig.ports, 0xc004, 2), 0x778c);
}

static void bar_sizing_and_moving(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;

	/* sizing, with decoding off as 6.2.5.1 wants it */
	set(s, PCI_COMMAND, 2, 0);
	assert_int_equal(space_read(rig->memory, 0xc0000010, 4), 0xffffffff);
	for (unsigned bar = 0; bar < 6; bar++)
		set(s, 0x10 + bar * 4, 4, 0xffffffff);
	assert_int_equal(get(s, 0x10, 4), 0xffffffc1);
	assert_int_equal(get(s, 0x14, 4), 0xfffff000);
	assert_int_equal(get(s, 0x18, 4), 0xffff000c);
	assert_int_equal(get(s, 0x1c, 4), 0xffffffff);
	assert_int_equal(get(s, 0x20, 4), 0xfffff000);
	assert_int_equal(get(s, 0x24, 4), 0);
	/* elsewhere, the 64-bit one above 4 GiB */
	set(s, 0x10, 4, 0xd000);
	set(s, 0x14, 4, 0xd0000000);
	set(s, 0x18, 4, 0x40000000);
	set(s, 0x1c, 4, 1);
	set(s, PCI_COMMAND, 2, 3);
	assert_int_equal(space_read(rig->ports, 0xd000, 1), 0x88);
	assert_int_equal(space_read(rig->ports, 0xc000, 1), 0xff);
	assert_int_equal(space_read(rig->memory, 0xd0000000, 4), 0x55667788);
	assert_int_equal(space_read(rig->memory, 0xc0000000, 4), 0xffffffff);
	assert_int_equal(space_read(rig->memory, 0x140000000, 8), 0x1122334455667788);
	/* moved while it decodes */
	set(s, 0x14, 4, 0xd0001000);
	assert_int_equal(space_read(rig->memory, 0xd0000000, 4), 0xffffffff);
	space_write(rig->memory, 0xd0001008, 4, 0xabcd);
	assert_int_equal(s->gadget.last_offset, 8);
	assert_int_equal(s->gadget.last_value, 0xabcd);
	/* a quadword arrives whole or as halves */
	space_write(rig->memory, 0xd0001010, 8, 0x0000000100000002);
	assert_int_equal(s->gadget.last_size, 4);
	assert_int_equal(s->gadget.last_offset, 0x14);
	assert_int_equal(s->gadget.last_value, 1);
}

static void bars_stay_in_windows(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;

	rig_write(rig, 0x1000, 4, 0x12345678);
	set(s, 0x14, 4, 0x1000);      /* over RAM */
	assert_int_equal(rig_read(rig, 0x1000, 4), 0x12345678);
	set(s, 0x14, 4, 0xfee00000);  /* over the APICs */
	assert_int_equal(rig_read(rig, 0xfee00000, 4), 0xffffffff);
	set(s, 0x10, 4, 0x0cc0);      /* over the board's ports */
	assert_int_equal(get(s, 0, 4), 0x56781234);
	/* two BARs at one place, one goes away: the other answers */
	set(s, 0x14, 4, 0xd0000000);
	set(s, 0x18, 4, 0xd0000000);
	set(s, 0x18, 4, 0xe0000000);
	assert_int_equal(rig_read(rig, 0xd0000000, 1), 0x88);
}

static void many_moves(void **opaque)
{
	struct state *s = *opaque;

	for (unsigned i = 0; i < 100000; i++)
		set(s, 0x14, 4, 0xd0000000 + (i % 1000 << 12));
	assert_int_equal(rig_read(&s->rig, 0xd0000000 + (99999 % 1000 << 12), 1), 0x88);
}

static void pins(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;

	pci_set_intx(&s->gadget.pci, true);
	assert_true(rig->wires[3]);
	assert_true(get(s, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	/* slot 7 shares the wire: level, or-ed */
	pci_set_intx(&s->neighbour.pci, true);
	pci_set_intx(&s->gadget.pci, false);
	assert_true(rig->wires[3]);
	pci_set_intx(&s->neighbour.pci, false);
	assert_false(rig->wires[3]);
	/* Interrupt Disable gates the pin, not the status */
	pci_set_intx(&s->gadget.pci, true);
	set(s, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	assert_false(rig->wires[3]);
	assert_true(get(s, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	set(s, PCI_COMMAND, 2, 0);
	assert_true(rig->wires[3]);
	/* messages gate it too */
	set(s, s->gadget.pci.msi + 2, 2, 1);
	assert_false(rig->wires[3]);
	set(s, s->gadget.pci.msi + 2, 2, 0);
	assert_true(rig->wires[3]);
	pci_bus_reset(rig->bus);
	assert_false(rig->wires[3]);
	assert_false(get(s, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	assert_int_equal(s->gadget.resets, 2);
}

static void msi(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;
	struct pci_device *pci = &s->gadget.pci;
	unsigned cap = pci->msi;

	assert_int_equal(get(s, cap, 1), PCI_CAPABILITY_MSI);
	assert_int_equal(get(s, cap + 2, 2), 0x0184); /* 4 vectors, 64 bits, maskable */
	set(s, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	set(s, cap + 4, 4, 0xfee01003);
	set(s, cap + 8, 4, 1);
	set(s, cap + 12, 2, 0x4148);
	pci_msi_notify(pci, 0); /* not enabled */
	assert_int_equal(rig->messages, 0);
	set(s, cap + 2, 2, 1);
	pci_msi_notify(pci, 0);
	assert_int_equal(rig->message_count[8], 1);
	assert_int_equal(rig->message_address, 0x1fee01000);
	/* one vector granted: others fold into it; four: they tell themselves apart */
	pci_msi_notify(pci, 3);
	assert_int_equal(rig->message_count[8], 2);
	set(s, cap + 2, 2, 1 | 2 << 4);
	pci_msi_notify(pci, 3);
	assert_int_equal(rig->message_count[11], 1);
	/* more than offered is as much as offered */
	set(s, cap + 2, 2, 1 | 5 << 4);
	pci_msi_notify(pci, 2);
	assert_int_equal(rig->message_count[10], 1);
	/* masked: pending, sent once when unmasked */
	set(s, cap + 16, 4, 0xffffffff);
	assert_int_equal(get(s, cap + 16, 4), 0xf);
	pci_msi_notify(pci, 1);
	pci_msi_notify(pci, 1);
	assert_int_equal(rig->message_count[9], 0);
	assert_int_equal(get(s, cap + 20, 4), 2);
	set(s, cap + 16, 4, 0xd);
	assert_int_equal(rig->message_count[9], 1);
	assert_int_equal(get(s, cap + 20, 4), 0);
	/* no Bus Master, no message */
	set(s, PCI_COMMAND, 2, 0);
	pci_msi_notify(pci, 1);
	assert_int_equal(rig->message_count[9], 1);
}

static void msix(void **opaque)
{
	struct state *s = *opaque;
	struct rig *rig = &s->rig;
	struct pci_device *pci = &s->gadget.pci;
	unsigned cap = pci->msix;
	u64 table = 0xc0020000, pba = table + 0x800;

	assert_int_equal(get(s, cap, 1), PCI_CAPABILITY_MSIX);
	assert_int_equal(get(s, cap + 2, 2), 2); /* three */
	assert_int_equal(get(s, cap + 4, 4), 4);
	assert_int_equal(get(s, cap + 8, 4), 0x804);
	set(s, PCI_COMMAND, 2, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
	assert_int_equal(rig_read(rig, table + 12, 4), 1); /* masked after reset */
	for (unsigned i = 0; i < 3; i++) {
		rig_write(rig, table + i * 16, 4, 0xfee02003);
		rig_write(rig, table + i * 16 + 4, 4, 2);
		rig_write(rig, table + i * 16 + 8, 4, i + 1);
		rig_write(rig, table + i * 16 + 12, 4, 0);
	}
	assert_int_equal(rig_read(rig, table + 16, 8), 0x2fee02000);
	assert_int_equal(rig_read(rig, table + 0x30, 4), 0); /* past the third */
	pci_msix_notify(pci, 1);
	assert_int_equal(rig->messages, 0);
	set(s, cap + 2, 2, 0x8000);
	pci_msix_notify(pci, 1);
	assert_int_equal(rig->message_count[2], 1);
	assert_int_equal(rig->message_address, 0x2fee02000);
	pci_msix_notify(pci, 3);
	pci_msix_notify(pci, 1000);
	assert_int_equal(rig->messages, 1);
	/* one vector's mask */
	rig_write(rig, table + 16 + 12, 4, 1);
	pci_msix_notify(pci, 1);
	pci_msix_notify(pci, 1);
	assert_int_equal(rig_read(rig, pba, 8), 2);
	rig_write(rig, pba, 8, 0);
	assert_int_equal(rig_read(rig, pba, 4), 2); /* read-only */
	rig_write(rig, table + 16 + 12, 4, 0);
	assert_int_equal(rig->message_count[2], 2);
	assert_int_equal(rig_read(rig, pba, 4), 0);
	/* the function's mask */
	set(s, cap + 2, 2, 0xc000);
	pci_msix_notify(pci, 0);
	pci_msix_notify(pci, 2);
	assert_int_equal(rig->messages, 2);
	assert_int_equal(rig_read(rig, pba, 4), 5);
	set(s, cap + 2, 2, 0x8000);
	assert_int_equal(rig->messages, 4);
	assert_int_equal(rig_read(rig, pba, 4), 0);
}

/* After a reset all of the state that is declared is what it was at first. */
static void reset_brings_it_back(void **opaque)
{
	struct state *s = *opaque;
	struct pci_device before = s->gadget.pci;

	for (unsigned i = 0; i < 256; i++)
		set(s, i, 1, 0xff);
	for (unsigned i = 0; i < 0x1000; i += 4)
		rig_write(&s->rig, 0xc0020000 + i, 4, 0xffffffff);
	pci_set_intx(&s->gadget.pci, true);
	pci_bus_reset(s->rig.bus);
	for (const struct field *f = pci_device_state; f->name; f++)
		assert_memory_equal((u8 *)&before + f->offset, (u8 *)&s->gadget.pci + f->offset,
			f->size * f->count);
	assert_int_equal(space_read(s->rig.memory, 0xc0000010, 4), 0x55667798);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(mechanism),
		TEST(slots),
		TEST(firmware),
		TEST(bar_sizing_and_moving),
		TEST(bars_stay_in_windows),
		TEST(many_moves),
		TEST(pins),
		TEST(msi),
		TEST(msix),
		TEST(reset_brings_it_back),
	};

	return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
