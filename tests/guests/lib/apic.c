/* SPDX-License-Identifier: MIT */
#include "apic.h"

void apic_enable(void)
{
	apic_write(0xf0, 0x1ff);
}

static void send_to_self(u32 command)
{
	apic_write(0x310, apic_read(0x20));
	apic_write(0x300, command);
	while (apic_read(0x300) & BIT(12))
		;
}

void apic_self(unsigned vector)
{
	send_to_self(vector == VEC_NMI ? 0x4400 : 0x44000 | vector);
}

void apic_init_self(void)
{
	send_to_self(0x4500);
}
