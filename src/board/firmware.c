/* SPDX-License-Identifier: MIT */
/*
 * What a PC's firmware leaves behind for an operating system that asks it nothing: ACPI's tables,
 * the BIOS data area, and the state of chips, MTRRs and FPU. There is no firmware to be called.
 */
#include "board/board.h"

#include <string.h>

#include "cpu/cpu.h"

/* What a BIOS leaves in the local APIC, MP specification 1.4, 3.6.2.1: virtual wire mode. */
static void set_virtual_wire(struct board *b)
{
	space_write(b->host.memory, LAPIC_BASE + 0x0f0, 4, 0x1ff); /* SVR: enabled */
	space_write(b->host.memory, LAPIC_BASE + 0x350, 4, 0x700); /* LINT0: ExtINT */
	space_write(b->host.memory, LAPIC_BASE + 0x360, 4, 0x400); /* LINT1: NMI */
}

/*
 * What a BIOS leaves in the MTRRs, APM2 7.7: everything is cached but video memory and the PCI
 * hole with the APICs.
 */
static void set_mtrrs(struct cpu *cpu)
{
	u64 write_back = 0x0606060606060606ull;

	for (unsigned i = 0; i < ARRAY_SIZE(cpu->mtrr_fixed); i++)
		cpu->mtrr_fixed[i] = i == 2 ? 0 : write_back; /* A0000h-BFFFFh: uncached */
	cpu->mtrr_base[0] = BOARD_LOW_END;
	cpu->mtrr_mask[0] = (BIT(cpu->phys_bits) - GIB) | BIT(11);
	cpu->mtrr_def_type = BIT(11) | BIT(10) | 6;
}

/*
 * The BIOS data area as far as kernels read it without asking for an interrupt: Xen takes the
 * place of its trampoline from here. IBM PC/AT technical reference, section 5.
 */
static void put_bios_data(u8 *low)
{
	static const u16 com1 = 0x3f8, ebda_segment = BOARD_EBDA >> 4, base_kib = BOARD_EBDA / KIB;

	memset(low + 0x400, 0, 0x100);
	memcpy(low + 0x400, &com1, 2);
	memcpy(low + 0x40e, &ebda_segment, 2);
	memcpy(low + 0x413, &base_kib, 2);
	memset(low + BOARD_EBDA, 0, KIB);
	low[BOARD_EBDA] = 1; /* its size in KiB */
}

/* A BIOS counts ticks of 54.9 ms by channel 0 of the 8254: mode 3, count 65536. */
static void start_timer(struct board *b)
{
	space_write(b->host.ports, 0x43, 1, 0x36);
	space_write(b->host.ports, 0x40, 1, 0);
	space_write(b->host.ports, 0x40, 1, 0);
}

void firmware_leave_interrupts(struct board *b)
{
	set_virtual_wire(b);
	start_timer(b);
}

void firmware_leave(struct board *b, const struct acpi_layout *layout)
{
	for (unsigned i = 0; i < b->config->cpus; i++) {
		set_mtrrs(b->host.cpus[i]);
		cpu_fpu_init(b->host.cpus[i]);
	}
	put_bios_data(b->host.ram->host);
	acpi_put_tables(b->host.ram->host + BOARD_FIRMWARE, layout);
}
