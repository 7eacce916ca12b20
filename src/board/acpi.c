/* SPDX-License-Identifier: MIT */
/*
 * The tables of ACPI 6.4, chapter 5.2, that a PC's firmware leaves for its operating system: RSDP,
 * XSDT, FADT, FACS, MADT, HPET and the DSDT that iasl compiled from dsdt.asl. There is no SMI, so ACPI
 * mode is on from the start; no MCFG: configuration space has no window in memory.
 */
#include "board/board.h"

#include <string.h>

#include "dsdt.hex"

/* 5.2.6 */
struct acpi_header {
	char signature[4];
	u32 length;
	u8 revision, checksum;
	char oem_id[6], oem_table_id[8];
	u32 oem_revision;
	char creator_id[4];
	u32 creator_revision;
} __attribute__((packed));

/* 5.2.5.3 */
struct acpi_rsdp {
	char signature[8];
	u8 checksum;
	char oem_id[6];
	u8 revision;
	u32 rsdt_address, length;
	u64 xsdt_address;
	u8 extended_checksum, reserved[3];
} __attribute__((packed));

/* 5.2.3.2 */
struct acpi_address {
	u8 space, bit_width, bit_offset, access_size;
	u64 address;
} __attribute__((packed));

/* 5.2.10 */
struct acpi_facs {
	char signature[4];
	u32 length, hardware_signature, waking_vector, global_lock, flags;
	u64 x_waking_vector;
	u8 version, reserved[31];
} __attribute__((packed));

/* 5.2.9 */
struct acpi_fadt {
	struct acpi_header header;
	u32 facs, dsdt;
	u8 reserved0, preferred_profile;
	u16 sci_interrupt;
	u32 smi_command;
	u8 acpi_enable, acpi_disable, s4bios_request, pstate_control;
	u32 pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer, gpe0, gpe1;
	u8 pm1_event_len, pm1_control_len, pm2_control_len, pm_timer_len, gpe0_len, gpe1_len,
		gpe1_base, cst_control;
	u16 c2_latency, c3_latency, flush_size, flush_stride;
	u8 duty_offset, duty_width, day_alarm, month_alarm, century;
	u16 boot_flags;
	u8 reserved1;
	u32 flags;
	struct acpi_address reset_register;
	u8 reset_value;
	u16 arm_boot_flags;
	u8 minor_version;
	u64 x_facs, x_dsdt;
	struct acpi_address x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control,
		x_pm2_control, x_pm_timer, x_gpe0, x_gpe1, sleep_control, sleep_status;
	u64 hypervisor_vendor;
} __attribute__((packed));

/* IA-PC HPET 1.0a, 3.2.4 */
struct acpi_hpet {
	struct acpi_header header;
	u32 block_id;
	struct acpi_address address;
	u8 number;
	u16 min_tick; /* of a periodic timer that loses nothing */
	u8 protection;
} __attribute__((packed));

_Static_assert(sizeof(struct acpi_header) == 36, "ACPI 6.4 table 5.4");
_Static_assert(sizeof(struct acpi_rsdp) == 36, "ACPI 6.4 table 5.3");
_Static_assert(sizeof(struct acpi_facs) == 64, "ACPI 6.4 table 5.12");
_Static_assert(sizeof(struct acpi_hpet) == 56, "IA-PC HPET 1.0a, table 3");
_Static_assert(sizeof(struct acpi_fadt) == 276, "ACPI 6.4 table 5.9");

/* FADT flags, table 5.10, and boot architecture flags, table 5.11 */
#define FADT_WBINVD BIT(0)
#define FADT_PROC_C1 BIT(2)
#define FADT_SLP_BUTTON BIT(5) /* no fixed sleep button */
#define FADT_TMR_VAL_EXT BIT(8)
#define FADT_RESET_REG BIT(10)
#define FADT_APIC_PHYSICAL BIT(19)
#define BOOT_LEGACY_DEVICES BIT(0)
#define BOOT_VGA_ABSENT BIT(2)
#define BOOT_ASPM_OFF BIT(4)

/* Where tables are put, one behind another. */
struct area {
	u8 *host;
	u32 used;
};

static u8 checksum(const void *bytes, size_t len)
{
	u8 sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += ((const u8 *)bytes)[i];
	return -sum;
}

/* Takes len bytes on a 64-byte boundary (FACS wants that); returns their guest address. */
static u32 put(struct area *area, const void *bytes, size_t len)
{
	u32 at = (area->used + 63) & ~63u;

	memcpy(area->host + at, bytes, len);
	area->used = at + len;
	return BOARD_FIRMWARE + at;
}

static struct acpi_header header(const char *signature, u32 length, u8 revision)
{
	struct acpi_header h = { .length = length, .revision = revision, .oem_id = "NESTBX",
		.oem_table_id = "NESTBXPC", .oem_revision = 1, .creator_id = "NSTB",
		.creator_revision = 1 };

	memcpy(h.signature, signature, sizeof(h.signature));
	return h;
}

static u32 put_table(struct area *area, void *table)
{
	struct acpi_header *h = table;

	h->checksum = 0;
	h->checksum = checksum(table, h->length);
	return put(area, table, h->length);
}

static struct acpi_address port(u16 address, u8 bytes)
{
	/* Access sizes 1, 2, 3 are byte, word and double word */
	return (struct acpi_address){ .space = 1, .bit_width = bytes * 8,
		.access_size = bytes == 4 ? 3 : bytes, .address = address };
}

static u32 put_fadt(struct area *area, const struct acpi_layout *layout, u32 facs, u32 dsdt)
{
	u16 pm = layout->pm;
	struct acpi_fadt fadt = {
		.header = header("FACP", sizeof(fadt), 6),
		.facs = facs, .x_facs = facs, .dsdt = dsdt, .x_dsdt = dsdt,
		.preferred_profile = 4, /* enterprise server: nobody sleeps it */
		.sci_interrupt = layout->sci,
		.pm1a_event = pm + ACPI_PM1A_EVT, .pm1_event_len = 4,
		.pm1a_control = pm + ACPI_PM1A_CNT, .pm1_control_len = 2,
		.pm_timer = pm + ACPI_PM_TMR, .pm_timer_len = 4,
		.gpe0 = pm + ACPI_GPE0, .gpe0_len = 4,
		.x_pm1a_event = port(pm + ACPI_PM1A_EVT, 4),
		.x_pm1a_control = port(pm + ACPI_PM1A_CNT, 2),
		.x_pm_timer = port(pm + ACPI_PM_TMR, 4),
		.x_gpe0 = port(pm + ACPI_GPE0, 4),
		.c2_latency = 0xffff, .c3_latency = 0xffff, /* no C2, no C3 */
		.century = MC146818_CENTURY,
		.boot_flags = BOOT_LEGACY_DEVICES | BOOT_VGA_ABSENT | BOOT_ASPM_OFF,
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_TMR_VAL_EXT |
			FADT_RESET_REG | FADT_APIC_PHYSICAL,
		.reset_register = port(layout->reset, 1),
		.reset_value = layout->reset_value,
		.minor_version = 4,
	};

	fadt.x_gpe0.access_size = 1;
	fadt.x_pm1a_event.access_size = 2;
	/* physical destination mode is not forced upon small machines */
	if (layout->cpus <= 8)
		fadt.flags &= ~FADT_APIC_PHYSICAL;
	return put_table(area, &fadt);
}

/* 5.2.12 */
static u32 put_madt(struct area *area, const struct acpi_layout *layout)
{
	/* Table header, two words, then for each CPU at most 16 bytes, and 64 for the rest. */
	u8 table[sizeof(struct acpi_header) + 8 + 256 * 16 + 64] = { 0 };
	struct acpi_header *h = (struct acpi_header *)table;
	u8 *at = table + sizeof(*h);
	u32 words[2] = { layout->lapic, 1 /* PCAT_COMPAT: 8259s too */ };

	memcpy(at, words, sizeof(words));
	at += sizeof(words);
	for (u32 id = 0; id < layout->cpus; id++) {
		if (id < 255) { /* 5.2.12.2: processor, APIC ID, enabled */
			u8 entry[8] = { 0, sizeof(entry), id, id, 1 };

			memcpy(at, entry, sizeof(entry));
			at += sizeof(entry);
		} else { /* 5.2.12.12: by x2APIC ID */
			u32 entry[4] = { 9 | sizeof(entry) << 8, id, 1, id };

			memcpy(at, entry, sizeof(entry));
			at += sizeof(entry);
		}
	}
	{ /* 5.2.12.3; its ID comes after those of the CPUs that have 4 bits */
		u8 entry[12] = { 1, sizeof(entry), 0 };

		memcpy(entry + 4, &layout->ioapic, 4);
		memcpy(at, entry, sizeof(entry));
		at += sizeof(entry);
	}
	{ /* 5.2.12.5: ISA IRQ 0 is pin 2; the SCI is level-triggered, active high */
		u8 timer[10] = { 2, sizeof(timer), 0, 0, 2 };
		u8 sci[10] = { 2, sizeof(sci), 0, layout->sci, layout->sci, 0, 0, 0, 0xd };

		memcpy(at, timer, sizeof(timer));
		at += sizeof(timer);
		memcpy(at, sci, sizeof(sci));
		at += sizeof(sci);
	}
	{ /* 5.2.12.7: NMI is LINT1 of all CPUs */
		u8 entry[6] = { 4, sizeof(entry), 0xff, 0, 0, 1 };

		memcpy(at, entry, sizeof(entry));
		at += sizeof(entry);
	}
	*h = header("APIC", at - table, 4);
	return put_table(area, table);
}

static u32 put_hpet(struct area *area, const struct acpi_layout *layout)
{
	struct acpi_hpet hpet = { .header = header("HPET", sizeof(hpet), 1), .block_id = HPET_ID,
		.address = { .bit_width = 64, .address = layout->hpet }, .min_tick = HPET_MIN_TICK };

	return put_table(area, &hpet);
}

void acpi_put_tables(u8 host[BOARD_FIRMWARE_LEN], const struct acpi_layout *layout)
{
	struct area area = { host, 0 };
	struct acpi_facs facs = { .signature = "FACS", .length = sizeof(facs), .version = 2 };
	struct {
		struct acpi_header header;
		u64 tables[3];
	} __attribute__((packed)) xsdt = { .header = header("XSDT", sizeof(xsdt), 1) };
	struct {
		struct acpi_header header;
		u32 tables[3];
	} __attribute__((packed)) rsdt = { .header = header("RSDT", sizeof(rsdt), 1) };
	struct acpi_rsdp rsdp = { .signature = "RSD PTR ", .oem_id = "NESTBX", .revision = 2,
		.length = sizeof(rsdp) };
	u32 dsdt, fadt, madt, hpet;

	memset(host, 0, BOARD_FIRMWARE_LEN);
	dsdt = put(&area, dsdt_aml_code, sizeof(dsdt_aml_code));
	fadt = put_fadt(&area, layout, put(&area, &facs, sizeof(facs)), dsdt);
	madt = put_madt(&area, layout);
	hpet = put_hpet(&area, layout);
	rsdt.tables[0] = xsdt.tables[0] = fadt;
	rsdt.tables[1] = xsdt.tables[1] = madt;
	rsdt.tables[2] = xsdt.tables[2] = hpet;
	rsdp.rsdt_address = put_table(&area, &rsdt);
	rsdp.xsdt_address = put_table(&area, &xsdt);
	/* The first sum covers what ACPI 1.0 knew, the second all */
	rsdp.checksum = checksum(&rsdp, 20);
	rsdp.extended_checksum = checksum(&rsdp, sizeof(rsdp));
	memcpy(host + (BOARD_RSDP - BOARD_FIRMWARE), &rsdp, sizeof(rsdp));
}
