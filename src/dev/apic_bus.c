/* SPDX-License-Identifier: MIT */
/*
 * What joins local APICs: interprocessor interrupts (SDM3 11.6), destinations (11.6.2, 11.12.10)
 * and message-signalled interrupts (11.11).
 */
#include "base/log.h"
#include "dev/lapic.h"
#include "dev/lapic_internal.h"

struct message {
	u32 destination;
	bool wide;     /* all 32 bits of it, as x2APIC's ICR has; else eight */
	bool logical;
	bool level;
	u8 mode;
	u8 vector;
};

static bool is_broadcast(const struct message *message)
{
	return message->destination == (message->wide ? UINT32_MAX : 0xff);
}

static bool matches_logical(const struct lapic *lapic, u32 destination)
{
	u32 mine = lapic->ldr >> 24;

	if (lapic_x2apic(lapic))
		return destination >> 16 == lapic->id >> 4 &&
			(destination & 1u << (lapic->id & 15));
	if (destination > 0xff)
		return false;
	/* DFR: 1111b is the flat model, 0000b clusters of four. */
	if (lapic->dfr >> 28 == 0xf)
		return destination & mine;
	return destination >> 4 == mine >> 4 && (destination & mine & 0xf);
}

static bool matches(const struct lapic *lapic, const struct message *message)
{
	if (!(lapic->base & APIC_BASE_ENABLE))
		return false;
	if (is_broadcast(message))
		return true;
	if (message->logical)
		return matches_logical(lapic, message->destination);
	return message->destination == (lapic_x2apic(lapic) ? lapic->id : lapic->xapic_id >> 24);
}

static void deliver(struct lapic *lapic, const struct message *message)
{
	switch (message->mode) {
	case MODE_FIXED:
	case MODE_LOWEST:
		/* SDM3 11.4.7.2: what software has disabled takes the others only. */
		if (lapic->svr & SVR_ENABLE)
			lapic_accept(lapic, message->vector, message->level);
		break;
	case MODE_SMI:
		lapic_cpu_pin(lapic, CPU_PIN_SMI, true);
		break;
	case MODE_NMI:
		lapic_cpu_pin(lapic, CPU_PIN_NMI, true);
		break;
	case MODE_INIT:
		lapic_cpu_pin(lapic, CPU_PIN_INIT, true);
		break;
	case MODE_SIPI:
		lapic_cpu_pin(lapic, CPU_PIN_SIPI | message->vector << 8, true);
		break;
	case MODE_EXTINT:
		lapic->extint = true;
		lapic_update(lapic);
		break;
	}
}

/* The one with the lowest priority of all that match, each in turn among equals. */
static void deliver_lowest(struct apic_bus *bus, const struct message *message)
{
	struct lapic *best = NULL;
	unsigned best_index = 0;

	for (unsigned i = 0; i < bus->count; i++) {
		unsigned index = (bus->turn + 1 + i) % bus->count;
		struct lapic *lapic = bus->lapic[index];

		if (!matches(lapic, message) || !(lapic->svr & SVR_ENABLE))
			continue;
		if (!best || lapic_ppr(lapic) < lapic_ppr(best)) {
			best = lapic;
			best_index = index;
		}
	}
	if (!best)
		return;
	bus->turn = best_index;
	deliver(best, message);
}

static void broadcast(struct apic_bus *bus, const struct message *message)
{
	if (message->mode == MODE_LOWEST) {
		deliver_lowest(bus, message);
		return;
	}
	for (unsigned i = 0; i < bus->count; i++) {
		if (matches(bus->lapic[i], message))
			deliver(bus->lapic[i], message);
	}
}

void lapic_send(struct lapic *lapic)
{
	struct apic_bus *bus = lapic->bus;
	bool wide = lapic_x2apic(lapic);
	struct message message = {
		.destination = lapic->icr >> (wide ? 32 : 56),
		.wide = wide,
		.logical = lapic->icr & ICR_LOGICAL,
		.level = (lapic->icr & ICR_LEVEL) && (lapic->icr & ICR_ASSERT),
		.mode = lapic->icr >> 8 & 7,
		.vector = lapic->icr,
	};

	/* INIT level de-assert: nothing since the Pentium 4, SDM3 11.6.1. */
	if (message.mode == MODE_INIT && (lapic->icr & ICR_LEVEL) && !(lapic->icr & ICR_ASSERT))
		return;
	if (message.mode <= MODE_LOWEST && message.vector < 16) {
		lapic_error(lapic, ESR_SEND_ILLEGAL_VECTOR);
		return;
	}
	/* ExtINT is not for ICR: reserved there. */
	if (message.mode == MODE_EXTINT)
		return;
	if (trace_on(TRACE_irq))
		trace_print(TRACE_irq, "lapic %u: IPI %#llx", lapic->id,
			(unsigned long long)lapic->icr);
	switch (lapic->icr >> 18 & 3) {
	case 0:
		broadcast(bus, &message);
		break;
	case 1:
		/* self: SDM3 table 11-3 has fixed ones only; guests written on KVM send these too */
		if (message.mode == MODE_FIXED || message.mode == MODE_NMI ||
		    message.mode == MODE_SMI)
			deliver(lapic, &message);
		break;
	default: /* all, including (2) or without self */
		for (unsigned i = 0; i < bus->count; i++) {
			struct lapic *target = bus->lapic[i];

			if (target == lapic && (lapic->icr >> 18 & 3) == 3)
				continue;
			if (target->base & APIC_BASE_ENABLE)
				deliver(target, &message);
		}
		break;
	}
}

void apic_message(struct apic_bus *bus, u64 address, u32 data)
{
	bool redirect = address & BIT(3);
	struct message message = {
		.destination = address >> 12 & 0xff,
		.logical = address & BIT(2),
		.level = data & BIT(15),
		.mode = data >> 8 & 7,
		.vector = data,
	};

	if (address >> 20 != LAPIC_BASE >> 20)
		return;
	/* SDM3 11.11.2: level-triggered, the line went away. */
	if (message.level && !(data & BIT(14)))
		return;
	/* SDM3 11.11.1: the redirection hint asks for one of a logical group. */
	if (redirect && message.logical && message.mode == MODE_FIXED)
		message.mode = MODE_LOWEST;
	broadcast(bus, &message);
}

void apic_bus_move_window(struct apic_bus *bus, u64 base)
{
	if (!bus->memory || bus->window == base)
		return;
	space_remove_io(bus->memory, bus->window, bus);
	bus->window = base;
	if (space_add_io(bus->memory, base, 0x1000, lapic_window_ops(), bus) < 0)
		bug("no place for the local APIC's window");
}
