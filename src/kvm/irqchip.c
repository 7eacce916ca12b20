/* SPDX-License-Identifier: MIT */
/*
 * The kernel's interrupt controllers and its 8254. The board drives pins of the 8259 pair and of
 * the IO-APIC apart, so each pin has a number of its own among KVM's interrupts (GSIs); number 0 is
 * the kernel's 8254, which is wired as on a PC: pin 0 of the one, pin 2 of the other.
 */
#include <string.h>

#include "kvm/kvm_internal.h"

#define PIC_PINS 16
#define IOAPIC_PINS 24
#define GSI_PIC 32
#define GSI_IOAPIC 64

/* Registers of the local APIC and their values: MP specification 1.4, 3.6.2.1, virtual wire mode */
#define LAPIC_SVR 0x0f0
#define LAPIC_LINT0 0x350
#define LAPIC_LINT1 0x360

union routes {
	struct kvm_irq_routing head;
	u8 room[sizeof(struct kvm_irq_routing) +
		(PIC_PINS + IOAPIC_PINS) * sizeof(struct kvm_irq_routing_entry)];
};

static void add(union routes *routes, u32 gsi, u32 chip, u32 pin)
{
	routes->head.entries[routes->head.nr++] = (struct kvm_irq_routing_entry){ .gsi = gsi,
		.type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = { .irqchip = chip, .pin = pin } };
}

static int set_routes(struct kvm_vm *vm)
{
	union routes routes = { .room = { 0 } };

	add(&routes, 0, KVM_IRQCHIP_PIC_MASTER, 0);
	add(&routes, 0, KVM_IRQCHIP_IOAPIC, 2);
	for (unsigned pin = 1; pin < PIC_PINS; pin++)
		add(&routes, GSI_PIC + pin, pin < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
			pin & 7);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		if (pin != 2)
			add(&routes, GSI_IOAPIC + pin, KVM_IRQCHIP_IOAPIC, pin);
	return kvm_call(vm->fd, KVM_SET_GSI_ROUTING, &routes);
}

int kvm_irqchip_new(struct kvm_vm *vm)
{
	/* Port 61h too */
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	int error = kvm_call(vm->fd, KVM_CREATE_IRQCHIP, NULL);

	error = error ? error : kvm_call(vm->fd, KVM_CREATE_PIT2, &pit);
	return error ? error : set_routes(vm);
}

static void put_register(struct kvm_lapic_state *lapic, unsigned offset, u32 value)
{
	memcpy(&lapic->regs[offset], &value, sizeof(value));
}

/* What a BIOS leaves: the first local APIC on, the 8259 behind its LINT0, ticks of 54.9 ms. */
int kvm_irqchip_firmware(struct kvm_vm *vm)
{
	struct kvm_lapic_state lapic;
	struct kvm_pit_state2 pit;
	int error = kvm_call(vm->vcpus[0].fd, KVM_GET_LAPIC, &lapic);

	if (error)
		return error;
	put_register(&lapic, LAPIC_SVR, 0x1ff);
	put_register(&lapic, LAPIC_LINT0, 0x700);
	put_register(&lapic, LAPIC_LINT1, 0x400);
	error = kvm_call(vm->vcpus[0].fd, KVM_SET_LAPIC, &lapic);
	error = error ? error : kvm_call(vm->fd, KVM_GET_PIT2, &pit);
	if (error)
		return error;
	pit.channels[0].mode = 3;
	pit.channels[0].rw_mode = 3;
	pit.channels[0].count = 0; /* 65536 */
	return kvm_call(vm->fd, KVM_SET_PIT2, &pit);
}

static void set_gsi(struct kvm_vm *vm, u32 gsi, bool level)
{
	struct kvm_irq_level line = { .irq = gsi, .level = level };

	kvm_call(vm->fd, KVM_IRQ_LINE, &line);
}

void kvm_set_pic_pin(void *vm, unsigned pin, bool level)
{
	if (pin && pin < PIC_PINS)
		set_gsi(vm, GSI_PIC + pin, level);
}

void kvm_set_ioapic_pin(void *vm, unsigned pin, bool level)
{
	/* ISA IRQ 0: on both controllers, where the kernel's 8254 does not drive it */
	if (pin == 2)
		set_gsi(vm, 0, level);
	else if (pin < IOAPIC_PINS)
		set_gsi(vm, GSI_IOAPIC + pin, level);
}

void kvm_cut_timer(void *opaque, bool cut)
{
	struct kvm_vm *vm = opaque;
	struct kvm_pit_state2 pit;

	if (kvm_call(vm->fd, KVM_GET_PIT2, &pit))
		return;
	pit.flags = cut ? pit.flags | KVM_PIT_FLAGS_HPET_LEGACY : pit.flags & ~KVM_PIT_FLAGS_HPET_LEGACY;
	kvm_call(vm->fd, KVM_SET_PIT2, &pit);
}

void kvm_send_message(void *opaque, u64 address, u32 data)
{
	struct kvm_vm *vm = opaque;
	struct kvm_msi msi = { .address_lo = address, .address_hi = address >> 32, .data = data };

	kvm_call(vm->fd, KVM_SIGNAL_MSI, &msi);
}
