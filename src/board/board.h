/* SPDX-License-Identifier: MIT */
/*
 * The PC: which chips there are, where they stand and how they are wired (pc.c), what firmware
 * would have told the guest about it (acpi.c), and the image it boots (boot.h). Machine lock held
 * for everything but board_new() and board_free().
 */
#ifndef BOARD_BOARD_H
#define BOARD_BOARD_H

#include "base/loop.h"
#include "board/boot.h"
#include "dev/acpi_pm.h"
#include "dev/debug_exit.h"
#include "dev/disk_raw.h"
#include "dev/hpet.h"
#include "dev/i8254.h"
#include "dev/i8259.h"
#include "dev/ioapic.h"
#include "dev/lapic.h"
#include "dev/mc146818.h"
#include "dev/net_user.h"
#include "dev/ns16550.h"
#include "dev/pci.h"
#include "dev/reset_ports.h"

struct cpu;
struct virtio_console;

#define BOARD_DISKS_MAX 16
#define BOARD_FORWARDS_MAX 32

/* What the user asked for. Disks are open; the board owns them once board_new() was called. */
struct board_config {
	u64 memory; /* bytes */
	unsigned cpus;
	const struct boot_source *source;
	struct disk disks[BOARD_DISKS_MAX];
	const char *disk_paths[BOARD_DISKS_MAX]; /* for messages */
	unsigned disk_count;
	unsigned level;  /* nestboxes around this one */
	bool net;
	struct net_forward forwards[BOARD_FORWARDS_MAX];
	unsigned forward_count;
	bool rng;
	bool console; /* a virtio console */
	bool debug_exit;
	u16 debug_exit_port;
};

/*
 * Who plays the 8259 pair, the IO-APIC, the local APICs and the 8254: the board's own chips
 * (interrupts.c), or those that an engine brings.
 */
struct board_interrupts {
	void (*pic)(void *arg, unsigned pin, bool level);
	void (*ioapic)(void *arg, unsigned pin, bool level);
	void (*message)(void *arg, u64 address, u32 data); /* MSI */
	/* The 8254's interrupt leads nowhere: the HPET drives IRQ 0. NULL: pc.c sees to it. */
	void (*cut_timer)(void *arg, bool cut);
	/* Power-on state, then as firmware leaves them. 0 or -errno. */
	int (*reset)(void *arg);
	void *arg;
};

/* What the board asks of the machine around it. Called with the machine lock held. */
struct board_host {
	struct ram *ram;
	struct space *memory, *ports;
	struct loop *loop;
	struct cpu *const *cpus;
	unsigned (*current_cpu)(void *arg); /* index of the vCPU whose thread is calling */
	void (*power_off)(void *arg);
	void (*reset)(void *arg);
	void (*debug_exit)(void *arg, u32 value);
	void *arg;
	/* The engine's; pic NULL: the board makes its own chips. */
	struct board_interrupts interrupts;
};

struct board {
	const struct board_config *config;
	struct board_host host;
	struct board_interrupts interrupts;
	struct i8259 pic;         /* these five are not plugged where an engine plays them */
	struct i8254 pit;
	struct ioapic ioapic;
	struct apic_bus apic_bus;
	struct lapic *lapics;     /* one a vCPU */
	struct mc146818 rtc;
	struct acpi_pm pm;
	struct hpet hpet;
	struct ns16550 com1;
	struct reset_ports reset_ports;
	struct debug_exit debug_exit;
	struct pci_bus *pci;
	struct virtio_console *console; /* NULL: there is none */
	bool pci_wires[4];
	bool replaced;            /* the HPET drives IRQ 0 and 8 */
	bool replaced_levels[2];  /* what the 8254 and the RTC would */
	struct {
		const struct device_class *class;
		void *device;
	} plugged[16];
	unsigned plugged_count;
	struct memory_map map;
	struct boot boot;
};

/*
 * Makes the board and plugs everything. 0 or -errno; when it is the user's to mend, problem is one
 * line that says so, else empty. Main thread, before any vCPU runs.
 */
int board_new(struct board **board, const struct board_config *config,
	const struct board_host *host, char problem[320]);
void board_free(struct board *board);
/*
 * Power-on state of all chips, ACPI tables and the kernel in memory, the first vCPU (just reset)
 * at its entry. 0, or -1 with board->boot.problem: a file changed since it was checked.
 */
int board_reset(struct board *board);

/* ---- layout, for the parts of board/ and for checks before a machine is made ---- */
#define BOARD_LOW_END 0xc0000000ull /* RAM ends here, the PCI hole begins; the rest from 4 GiB */
#define BOARD_HIGH_START (4 * GIB)
#define BOARD_EBDA 0x9fc00ull       /* 1 KiB that a BIOS keeps */
#define BOARD_FIRMWARE 0xe0000ull   /* ACPI's tables, as a BIOS area */
#define BOARD_FIRMWARE_LEN 0x20000ull
#define BOARD_RSDP 0xf0000ull
#define BOARD_APICS 0xfec00000ull   /* from here to 4 GiB: IO-APIC, local APICs, messages */

static inline u64 board_low_memory(u64 memory)
{
	return MIN(memory, BOARD_LOW_END);
}

/* The memory map that kernels are told. */
void board_memory_map(struct memory_map *map, u64 memory);

/* ---- for pc.c ---- */
/* Puts a chip's ranges at a base and remembers it for reset and the end. */
int board_plug(struct board *board, const struct device_class *class, void *device, u64 base);
/* Makes and plugs the interrupt controllers and the 8254, or takes the engine's: interrupts.c */
int board_plug_interrupts(struct board *board, struct line timer_irq);
void board_stop_interrupts(struct board *board);

#define BOARD_IOAPIC 0xfec00000u
#define BOARD_LAPIC 0xfee00000u
#define BOARD_HPET 0xfed00000u

/* ---- ACPI: acpi.c ---- */
struct acpi_layout {
	unsigned cpus;
	u32 ioapic, lapic, hpet; /* addresses */
	u16 pm, reset;        /* ports */
	u8 reset_value, sci;  /* SCI: ISA IRQ */
};
/* Writes all tables into the firmware area, `area` its host address. */
void acpi_put_tables(u8 area[BOARD_FIRMWARE_LEN], const struct acpi_layout *layout);

/* ---- firmware.c: chips are just reset ---- */
/* The board's own interrupt controllers and 8254. */
void firmware_leave_interrupts(struct board *board);
void firmware_leave(struct board *board, const struct acpi_layout *layout);

#endif
