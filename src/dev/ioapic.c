/* SPDX-License-Identifier: MIT */
/*
 * The I/O APIC (Intel 290566-001, 82093AA) with version 20h's EOI register at 40h. Interrupts
 * leave as messages on the APIC bus, as those of PCI MSI do.
 *
 * Not modelled: the arbitration ID beyond its being the ID; the delivery status, since a message
 * never waits.
 */
#include "base/log.h"
#include "dev/ioapic.h"
#include "dev/lapic.h"

#define IOREGSEL 0x00
#define IOWIN 0x10
#define IOEOI 0x40

#define REG_ID 0x00
#define REG_VERSION 0x01
#define REG_ARBITRATION 0x02
#define REG_REDIRECTION 0x10
#define VERSION 0x20

#define REDIR_VECTOR MASK(7, 0)
#define REDIR_DELIVERY MASK(10, 8)
#define REDIR_LOGICAL BIT(11)
#define REDIR_STATUS BIT(12)
#define REDIR_ACTIVE_LOW BIT(13)
#define REDIR_REMOTE_IRR BIT(14)
#define REDIR_LEVEL BIT(15)
#define REDIR_MASKED BIT(16)
#define REDIR_DESTINATION MASK(63, 56)
#define REDIR_WRITABLE \
	((MASK(16, 0) & ~(REDIR_STATUS | REDIR_REMOTE_IRR)) | REDIR_DESTINATION)

/* Sends the pin's message if there is a request and nothing holds it back. */
static void serve(struct ioapic *ioapic, unsigned pin)
{
	u64 redirection = ioapic->redirection[pin];
	u64 address;
	u32 data;

	if (!(ioapic->irr & 1u << pin) || (redirection & REDIR_MASKED))
		return;
	if (redirection & REDIR_LEVEL) {
		if (redirection & REDIR_REMOTE_IRR)
			return;
		ioapic->redirection[pin] |= REDIR_REMOTE_IRR;
	} else {
		ioapic->irr &= ~(1u << pin);
	}
	address = LAPIC_BASE | redirection >> 56 << 12 | (redirection & REDIR_LOGICAL ? 4 : 0);
	data = (redirection & (REDIR_VECTOR | REDIR_DELIVERY | REDIR_LEVEL)) | BIT(14);
	if (trace_on(TRACE_irq))
		trace_print(TRACE_irq, "ioapic: pin %u: %#llx", pin,
			(unsigned long long)redirection);
	apic_message(ioapic->bus, address, data);
}

/*
 * The pin's polarity is not looked at: boards drive an asserted line as true, and the guest's
 * tables say which polarity that is.
 */
void ioapic_set_irq(void *device, unsigned pin, bool level)
{
	struct ioapic *ioapic = device;
	u32 bit = 1u << (pin & 31);
	bool is_level;

	if (pin >= IOAPIC_PINS)
		return;
	is_level = ioapic->redirection[pin] & REDIR_LEVEL;
	if (!level) {
		ioapic->lines &= ~bit;
		if (is_level)
			ioapic->irr &= ~bit;
		return;
	}
	/* An edge at a masked pin is lost, 82093AA 3.2.4. */
	if (is_level)
		ioapic->irr |= bit;
	else if (!(ioapic->lines & bit) && !(ioapic->redirection[pin] & REDIR_MASKED))
		ioapic->irr |= bit;
	ioapic->lines |= bit;
	serve(ioapic, pin);
}

void ioapic_eoi(void *device, u8 vector)
{
	struct ioapic *ioapic = device;

	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		u64 *redirection = &ioapic->redirection[pin];

		if ((*redirection & REDIR_VECTOR) != vector || !(*redirection & REDIR_REMOTE_IRR))
			continue;
		*redirection &= ~REDIR_REMOTE_IRR;
		serve(ioapic, pin);
	}
}

static void write_redirection(struct ioapic *ioapic, unsigned pin, bool high, u32 value)
{
	u64 *redirection = &ioapic->redirection[pin];
	u64 old = *redirection;
	u64 writable = REDIR_WRITABLE & (high ? MASK(63, 32) : MASK(31, 0));
	u32 bit = 1u << pin;

	*redirection = (old & ~writable) | ((high ? (u64)value << 32 : value) & writable);
	/* Becoming edge-triggered drops a level's request and its wait for an EOI. Linux before
	 * directed EOI uses this to end a level interrupt. */
	if (!(*redirection & REDIR_LEVEL))
		*redirection &= ~REDIR_REMOTE_IRR;
	if ((old ^ *redirection) & REDIR_LEVEL) {
		ioapic->irr &= ~bit;
		if (*redirection & REDIR_LEVEL)
			ioapic->irr |= ioapic->lines & bit;
	}
	serve(ioapic, pin);
}

static u32 read_register(const struct ioapic *ioapic)
{
	unsigned pin = (ioapic->select - REG_REDIRECTION) / 2;

	switch (ioapic->select) {
	case REG_ID:
	case REG_ARBITRATION:
		return (u32)ioapic->id << 24;
	case REG_VERSION:
		return VERSION | (IOAPIC_PINS - 1) << 16;
	}
	if (ioapic->select < REG_REDIRECTION || pin >= IOAPIC_PINS)
		return 0;
	return ioapic->redirection[pin] >> (ioapic->select & 1 ? 32 : 0);
}

static void write_register(struct ioapic *ioapic, u32 value)
{
	unsigned pin = (ioapic->select - REG_REDIRECTION) / 2;

	if (ioapic->select == REG_ID)
		ioapic->id = value >> 24 & 15;
	else if (ioapic->select >= REG_REDIRECTION && pin < IOAPIC_PINS)
		write_redirection(ioapic, pin, ioapic->select & 1, value);
}

static u64 mmio_read(void *device, u64 offset, unsigned size)
{
	struct ioapic *ioapic = device;

	switch (offset) {
	case IOREGSEL:
		return ioapic->select;
	case IOWIN:
		return read_register(ioapic);
	}
	return 0;
}

static void mmio_write(void *device, u64 offset, unsigned size, u64 value)
{
	struct ioapic *ioapic = device;

	switch (offset) {
	case IOREGSEL:
		ioapic->select = value;
		break;
	case IOWIN:
		write_register(ioapic, value);
		break;
	case IOEOI:
		ioapic_eoi(ioapic, value);
		break;
	}
}

static void reset(void *device)
{
	struct ioapic *ioapic = device;

	ioapic->id = ioapic->first_id;
	ioapic->select = 0;
	ioapic->irr = 0;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		ioapic->redirection[pin] = REDIR_MASKED;
}

static const struct field state[] = {
	FIELD(struct ioapic, id),
	FIELD(struct ioapic, select),
	FIELD_ARRAY(struct ioapic, redirection),
	FIELD(struct ioapic, lines),
	FIELD(struct ioapic, irr),
	{ 0 },
};

const struct device_class ioapic_class = {
	.name = "ioapic",
	.size = sizeof(struct ioapic),
	.ranges = { { MMIO, 0, 0x1000, { mmio_read, mmio_write, .sizes = 4 } } },
	.state = state,
	.reset = reset,
};
