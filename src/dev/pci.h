/* SPDX-License-Identifier: MIT */
/*
 * A conventional PCI bus (PCI Local Bus 3.0) with what devices on it share: configuration space,
 * BARs, interrupt pins, MSI and MSI-X. Everything runs with the machine lock held.
 */
#ifndef DEV_PCI_H
#define DEV_PCI_H

#include "base/types.h"
#include "dev/device.h"
#include "mem/line.h"
#include "mem/space.h"

struct pci_bus;
struct pci_device;

/* Addresses that the host bridge passes to the bus: a BAR answers only inside of one. */
struct pci_window {
	u64 base, size; /* size 0: there is none */
};

struct pci_bus_options {
	struct space *memory, *ports;
	struct pci_window io;       /* ports, such as C000h..FFFFh */
	struct pci_window memory32; /* the hole below 4 GiB, without the APICs */
	struct pci_window memory64; /* above RAM; may be empty */
	struct line wires[4];       /* where the bus's four interrupt wires end; active high */
	u8 wire_irq[4];             /* what firmware says in Interrupt Line about each wire */
	/* The wire (0..3) that pin (0 is INTA#) of a slot is soldered to; NULL: (slot + pin) % 4. */
	unsigned (*swizzle)(unsigned slot, unsigned pin);
	/* A message signaled interrupt: a write of data to address, for the APICs. */
	void (*msi_send)(void *ctx, u64 address, u32 data);
	void *msi_ctx;
	/* Port CF9h lies inside CONFIG_ADDRESS: byte accesses go there (offset 0). May be NULL. */
	const struct io_ops *cf9;
	void *cf9_device;
};

/* Makes the bus with its host bridge at 00:00.0. NULL: no memory. */
struct pci_bus *pci_bus_new(const struct pci_bus_options *options);
/* Unplugs and frees every device, stops their threads. Nothing may run in the guest. */
void pci_bus_free(struct pci_bus *bus);
/* RST#: resets all devices; then places BARs, enables decoding and writes Interrupt Line as
 * firmware does, since boards that boot a kernel directly have none. Call once before the first
 * instruction too. */
void pci_bus_reset(struct pci_bus *bus);

/* Eight ports from CF8h; `device` is the bus. */
extern const struct io_ops pci_config_ops;

/* Configuration accesses, size 1, 2 or 4, aligned. bdf: bus 15:8, device 7:3, function 2:0. */
u32 pci_config_read(struct pci_bus *bus, unsigned bdf, unsigned offset, unsigned size);
void pci_config_write(struct pci_bus *bus, unsigned bdf, unsigned offset, unsigned size, u32 value);

/* ---- for devices ---- */

#define PCI_VENDOR_ID 0x00
#define PCI_DEVICE_ID 0x02
#define PCI_COMMAND 0x04
#define PCI_COMMAND_IO 0x0001
#define PCI_COMMAND_MEMORY 0x0002
#define PCI_COMMAND_MASTER 0x0004
#define PCI_COMMAND_INTX_DISABLE 0x0400
#define PCI_STATUS 0x06
#define PCI_STATUS_INTERRUPT 0x0008
#define PCI_STATUS_CAPABILITIES 0x0010
#define PCI_REVISION 0x08
#define PCI_CLASS_PROG 0x09
#define PCI_CLASS 0x0a
#define PCI_CACHE_LINE_SIZE 0x0c
#define PCI_LATENCY_TIMER 0x0d
#define PCI_HEADER_TYPE 0x0e
#define PCI_BAR0 0x10
#define PCI_SUBSYSTEM_VENDOR_ID 0x2c
#define PCI_SUBSYSTEM_ID 0x2e
#define PCI_CAPABILITY_POINTER 0x34
#define PCI_INTERRUPT_LINE 0x3c
#define PCI_INTERRUPT_PIN 0x3d
#define PCI_CAPABILITY_MSI 0x05
#define PCI_CAPABILITY_VENDOR 0x09
#define PCI_CAPABILITY_MSIX 0x11

enum { PCI_BAR_IO = 1, PCI_BAR_64 = 2, PCI_BAR_PREFETCH = 4 };

#define PCI_BARS 6
#define PCI_MSIX_MAX 128

struct pci_bar {
	u64 size; /* a power of two; 0: none, or the upper half of the one before */
	unsigned flags;
	const struct io_ops *ops;
	void *device;
	const struct doorbell *doorbells; /* their addresses count from the BAR's start */
	unsigned doorbell_count;
	u64 mapped; /* where it answers now */
	bool active;
};

struct msix_entry {
	u32 address_low, address_high, data, control;
};

struct pci_device_class {
	const char *name;
	u16 vendor, device, subsystem_vendor, subsystem;
	u8 revision;
	u32 class_code; /* base class 23:16, sub-class 15:8, interface 7:0 */
	bool intx;      /* has INTA# */
	void (*reset)(struct pci_device *device); /* may be NULL */
	void (*free)(struct pci_device *device);  /* may be NULL: nothing to free */
	/* Accesses that the device answers itself, inside one of its capabilities; 0: not mine. */
	bool (*read)(struct pci_device *device, unsigned offset, unsigned size, u32 *value);
	bool (*write)(struct pci_device *device, unsigned offset, unsigned size, u32 value);
};

/* Embedded in a device's struct, zeroed before pci_plug(). */
struct pci_device {
	struct pci_bus *bus;
	const struct pci_device_class *class;
	u8 devfn;
	u8 config[256];
	u8 writable[256];  /* bits that the guest may change */
	struct pci_bar bars[PCI_BARS];
	u8 capability_end; /* where the next capability goes */
	bool intx_level;   /* what the device wants its pin to be */
	bool intx_driven;  /* what the wire sees of it */
	u8 msi;            /* offsets of the capabilities; 0: none */
	u8 msix;
	bool msi_maskable;
	unsigned msix_vectors;
	struct msix_entry msix_table[PCI_MSIX_MAX];
	u64 msix_pending[PCI_MSIX_MAX / 64];
};

/* Puts a device into a slot (1..31, function 0). -EBUSY: taken; -EINVAL: no such slot. The bus
 * owns it from then on. BARs and capabilities are added after. */
int pci_plug(struct pci_bus *bus, struct pci_device *device, const struct pci_device_class *class,
	unsigned slot);
/* Where the bus's devices do their DMA. */
struct space *pci_bus_memory(struct pci_bus *bus);
void pci_add_bar(struct pci_device *device, unsigned index, u64 size, unsigned flags,
	const struct io_ops *ops, void *context);
/* Doorbells in a BAR, mem/space.h, addresses from its start. They stay the device's and live as long. */
void pci_add_doorbells(struct pci_device *device, unsigned index, const struct doorbell *doorbells,
	unsigned count);
/* Returns the new capability's offset; its len bytes (header included) are zero and read-only. */
unsigned pci_add_capability(struct pci_device *device, u8 id, unsigned len);

/* vectors: a power of two up to 32. */
void pci_add_msi(struct pci_device *device, unsigned vectors, bool maskable);
/* Table and pending bits fill a memory BAR of 4 KiB of their own. */
void pci_add_msix(struct pci_device *device, unsigned vectors, unsigned bar);
bool pci_msi_enabled(const struct pci_device *device);
bool pci_msix_enabled(const struct pci_device *device);
/* Sends a vector's message, or notes it as pending where it is masked. */
void pci_msi_notify(struct pci_device *device, unsigned vector);
void pci_msix_notify(struct pci_device *device, unsigned vector);
/* The device's INTA#: level, shared. Quiet while MSI, MSI-X or Interrupt Disable is on. */
void pci_set_intx(struct pci_device *device, bool level);

/* State that a reset brings back, for snapshot, dump and fuzzer. */
extern const struct field pci_device_state[];

/* ---- between pci.c and pci_msi.c ---- */
void pci_msi_reset(struct pci_device *device);
void pci_msi_config_written(struct pci_device *device, unsigned offset, unsigned size);
void pci_update_intx(struct pci_device *device);
void pci_send_message(struct pci_device *device, u64 address, u32 data);

#endif
