/* SPDX-License-Identifier: MIT */
/*
 * Message signaled interrupts: the MSI and MSI-X capabilities.
 * PCI Local Bus Specification 3.0, 6.8.
 *
 * Not modelled: MSI with 32-bit addresses only (ours always takes 64 bits).
 */
#include "dev/pci.h"

#include <string.h>

/* MSI capability, 6.8.1: offsets and bits of Message Control. */
#define MSI_CONTROL 2
#define MSI_ADDRESS 4
#define MSI_ADDRESS_HIGH 8
#define MSI_DATA 12
#define MSI_MASK 16
#define MSI_PENDING 20
#define MSI_ENABLE 0x0001
#define MSI_64BIT 0x0080
#define MSI_MASKABLE 0x0100

/* MSI-X capability, 6.8.2. */
#define MSIX_CONTROL 2
#define MSIX_TABLE 4
#define MSIX_PBA 8
#define MSIX_FUNCTION_MASK 0x4000
#define MSIX_ENABLE 0x8000
#define MSIX_ENTRY_MASKED 1u
#define MSIX_BAR_SIZE 4096
#define MSIX_PBA_OFFSET 2048

static u32 cap_get(const struct pci_device *device, unsigned offset, unsigned size)
{
	u32 value = 0;

	memcpy(&value, device->config + offset, size);
	return value;
}

static void cap_set(struct pci_device *device, unsigned offset, unsigned size, u32 value)
{
	memcpy(device->config + offset, &value, size);
}

static void cap_writable(struct pci_device *device, unsigned offset, unsigned size, u32 mask)
{
	memcpy(device->writable + offset, &mask, size);
}

/* ---- MSI ---- */

static unsigned log2_of(unsigned power_of_two)
{
	return __builtin_ctz(power_of_two);
}

void pci_add_msi(struct pci_device *device, unsigned vectors, bool maskable)
{
	unsigned cap = pci_add_capability(device, PCI_CAPABILITY_MSI, maskable ? 24 : 14);

	device->msi = cap;
	device->msi_maskable = maskable;
	cap_set(device, cap + MSI_CONTROL, 2,
		MSI_64BIT | (maskable ? MSI_MASKABLE : 0) | log2_of(vectors) << 1);
	cap_writable(device, cap + MSI_CONTROL, 2, MSI_ENABLE | 0x70);
	cap_writable(device, cap + MSI_ADDRESS, 4, 0xfffffffc);
	cap_writable(device, cap + MSI_ADDRESS_HIGH, 4, 0xffffffff);
	cap_writable(device, cap + MSI_DATA, 2, 0xffff);
	if (maskable)
		cap_writable(device, cap + MSI_MASK, 4, MASK(vectors - 1, 0));
}

bool pci_msi_enabled(const struct pci_device *device)
{
	return device->msi && (device->config[device->msi + MSI_CONTROL] & MSI_ENABLE);
}

/* How many of its vectors the guest let the device use: the smaller of wish and grant. */
static unsigned msi_granted(const struct pci_device *device)
{
	u32 control = cap_get(device, device->msi + MSI_CONTROL, 2);

	return 1u << MIN(control >> 4 & 7, control >> 1 & 7);
}

static void msi_send(struct pci_device *device, unsigned vector)
{
	unsigned cap = device->msi;
	u64 address = cap_get(device, cap + MSI_ADDRESS, 4) |
		(u64)cap_get(device, cap + MSI_ADDRESS_HIGH, 4) << 32;
	u32 data = cap_get(device, cap + MSI_DATA, 2);

	/* The low bits tell the vectors apart, 6.8.1.6. */
	data = (data & ~(msi_granted(device) - 1)) | vector;
	pci_send_message(device, address, data);
}

void pci_msi_notify(struct pci_device *device, unsigned vector)
{
	u32 pending;

	if (!pci_msi_enabled(device))
		return;
	vector &= msi_granted(device) - 1;
	if (device->msi_maskable &&
		(cap_get(device, device->msi + MSI_MASK, 4) & BIT(vector))) {
		pending = cap_get(device, device->msi + MSI_PENDING, 4);
		cap_set(device, device->msi + MSI_PENDING, 4, pending | BIT(vector));
		return;
	}
	msi_send(device, vector);
}

/* What was pending and is masked no more goes out, 6.8.1.7. */
static void msi_send_pending(struct pci_device *device)
{
	u32 pending, ready;

	if (!device->msi_maskable || !pci_msi_enabled(device))
		return;
	pending = cap_get(device, device->msi + MSI_PENDING, 4);
	ready = pending & ~cap_get(device, device->msi + MSI_MASK, 4);
	cap_set(device, device->msi + MSI_PENDING, 4, pending & ~ready);
	for (; ready; ready &= ready - 1)
		msi_send(device, __builtin_ctz(ready) & (msi_granted(device) - 1));
}

/* ---- MSI-X ---- */

static u32 msix_control(const struct pci_device *device)
{
	return cap_get(device, device->msix + MSIX_CONTROL, 2);
}

bool pci_msix_enabled(const struct pci_device *device)
{
	return device->msix && (msix_control(device) & MSIX_ENABLE);
}

static bool msix_masked(const struct pci_device *device, unsigned vector)
{
	return (msix_control(device) & MSIX_FUNCTION_MASK) ||
		(device->msix_table[vector].control & MSIX_ENTRY_MASKED);
}

void pci_msix_notify(struct pci_device *device, unsigned vector)
{
	const struct msix_entry *entry;

	if (!pci_msix_enabled(device) || vector >= device->msix_vectors)
		return;
	if (msix_masked(device, vector)) {
		device->msix_pending[vector / 64] |= BIT(vector % 64);
		return;
	}
	entry = &device->msix_table[vector];
	pci_send_message(device, (u64)entry->address_high << 32 | (entry->address_low & ~3u),
		entry->data);
}

/* 6.8.2.9: a vector's pending message goes out when neither mask stands in its way. */
static void msix_send_pending(struct pci_device *device, unsigned vector)
{
	u64 *word = &device->msix_pending[vector / 64];

	if (!(*word & BIT(vector % 64)) || !pci_msix_enabled(device) ||
		msix_masked(device, vector))
		return;
	*word &= ~BIT(vector % 64);
	pci_msix_notify(device, vector);
}

static u32 msix_bar_dword(const struct pci_device *device, u64 offset)
{
	u32 value = 0;

	if (offset < device->msix_vectors * sizeof(struct msix_entry))
		memcpy(&value, (const u8 *)device->msix_table + offset, 4);
	else if (offset >= MSIX_PBA_OFFSET &&
		offset < MSIX_PBA_OFFSET + sizeof(device->msix_pending))
		memcpy(&value, (const u8 *)device->msix_pending + (offset - MSIX_PBA_OFFSET), 4);
	return value;
}

/* 6.8.2: software uses aligned doublewords and quadwords; parts of a doubleword are read as they
 * are and not written. */
static u64 msix_bar_read(void *opaque, u64 offset, unsigned size)
{
	unsigned shift = (offset & 3) * 8;

	return msix_bar_dword(opaque, offset & ~3ull) >> shift & MASK(size * 8 - 1, 0);
}

static void msix_bar_write(void *opaque, u64 offset, unsigned size, u64 value)
{
	struct pci_device *device = opaque;
	unsigned vector = offset / sizeof(struct msix_entry);
	struct msix_entry *entry;

	if (size != 4 || (offset & 3) || vector >= device->msix_vectors)
		return;
	entry = &device->msix_table[vector];
	switch (offset % sizeof(*entry)) {
	case 0:
		entry->address_low = value & ~3u;
		break;
	case 4:
		entry->address_high = value;
		break;
	case 8:
		entry->data = value;
		break;
	case 12:
		entry->control = value & MSIX_ENTRY_MASKED;
		msix_send_pending(device, vector);
		break;
	}
}

static const struct io_ops msix_bar_ops = {
	.read = msix_bar_read,
	.write = msix_bar_write,
	.sizes = 1 | 2 | 4,
};

void pci_add_msix(struct pci_device *device, unsigned vectors, unsigned bar)
{
	unsigned cap = pci_add_capability(device, PCI_CAPABILITY_MSIX, 12);

	device->msix = cap;
	device->msix_vectors = vectors;
	cap_set(device, cap + MSIX_CONTROL, 2, vectors - 1);
	cap_writable(device, cap + MSIX_CONTROL, 2, MSIX_FUNCTION_MASK | MSIX_ENABLE);
	cap_set(device, cap + MSIX_TABLE, 4, bar);
	cap_set(device, cap + MSIX_PBA, 4, MSIX_PBA_OFFSET | bar);
	pci_add_bar(device, bar, MSIX_BAR_SIZE, 0, &msix_bar_ops, device);
	pci_msi_reset(device);
}

/* ---- both ---- */

void pci_msi_reset(struct pci_device *device)
{
	/* 6.8.2.9: every vector is masked after reset. The guest's bits in the capabilities are
	 * cleared with the rest of configuration space. */
	for (unsigned i = 0; i < PCI_MSIX_MAX; i++)
		device->msix_table[i] = (struct msix_entry){.control = MSIX_ENTRY_MASKED};
	memset(device->msix_pending, 0, sizeof(device->msix_pending));
	if (device->msi && device->msi_maskable)
		cap_set(device, device->msi + MSI_PENDING, 4, 0);
}

void pci_msi_config_written(struct pci_device *device, unsigned offset, unsigned size)
{
	unsigned end = offset + size;

	if (device->msi && end > device->msi && offset < device->msi + 24u) {
		msi_send_pending(device);
		pci_update_intx(device);
	}
	if (device->msix && end > device->msix && offset < device->msix + 4u) {
		for (unsigned i = 0; i < device->msix_vectors; i++)
			msix_send_pending(device, i);
		pci_update_intx(device);
	}
}
