/* SPDX-License-Identifier: MIT */
/*
 * Two cascaded 8259A programmable interrupt controllers (Intel 231468-003) and the edge/level
 * control registers of the PIIX (82371SB, 4D0h and 4D1h).
 *
 * Not modelled: MCS-80 mode (ICW4.uPM clear counts as set), buffered mode, and slaves other than
 * the one at IR2, whatever ICW3 says.
 */
#include "base/log.h"
#include "dev/i8259.h"

#define ICW1_IC4 0x01
#define ICW1_SNGL 0x02
#define ICW1_LTIM 0x08
#define ICW1_INIT 0x10
#define ICW4_AEOI 0x02
#define ICW4_SFNM 0x10
#define OCW2_LEVEL 0x07
#define OCW3_SELECT 0x08
#define OCW3_RIS 0x01
#define OCW3_RR 0x02
#define OCW3_POLL 0x04
#define OCW3_SMM 0x20
#define OCW3_ESMM 0x40

#define CASCADE 2
#define MASTER 0
#define SLAVE 1

/* The pins that the ELCR can make level-triggered: not IRQ 0, 1, 2, 8, 13. */
static const u8 elcr_writable[2] = { 0xf8, 0xde };

/* How many pins stand above the highest-priority bit of `bits`: 0 is first, 8: no bit is set. */
static unsigned priority_of(const struct i8259_chip *chip, u8 bits)
{
	unsigned order = 0;

	if (!bits)
		return 8;
	while (!(bits & 1u << ((chip->lowest + 1 + order) & 7)))
		order++;
	return order;
}

static unsigned pin_at(const struct i8259_chip *chip, unsigned order)
{
	return (chip->lowest + 1 + order) & 7;
}

static bool level_triggered(const struct i8259_chip *chip, unsigned pin)
{
	return (chip->icw1 & ICW1_LTIM) || (chip->elcr >> pin & 1);
}

/* The pin whose request gets through to INT; -1: none. */
static int requesting_pin(const struct i8259 *pic, unsigned which)
{
	const struct i8259_chip *chip = &pic->chip[which];
	u8 in_service = chip->isr;
	unsigned order = priority_of(chip, chip->irr & (u8)~chip->imr);

	if (order == 8 || chip->init_step)
		return -1;
	/* Special mask mode: a level in service that is masked holds nothing back. */
	if (chip->special_mask)
		in_service &= (u8)~chip->imr;
	/* Special fully nested mode: the slave in service lets its higher requests through. */
	if (which == MASTER && (chip->icw4 & ICW4_SFNM) && pin_at(chip, order) == CASCADE)
		in_service &= (u8)~(1u << CASCADE);
	return order < priority_of(chip, in_service) ? (int)pin_at(chip, order) : -1;
}

static void update(struct i8259 *pic)
{
	struct i8259_chip *master = &pic->chip[MASTER];
	bool slave = requesting_pin(pic, SLAVE) >= 0;
	bool intr;

	/* The slave's INT is a level at IR2 that lasts until its INTA. */
	if (slave)
		master->irr |= 1u << CASCADE;
	else
		master->irr &= (u8)~(1u << CASCADE);
	intr = requesting_pin(pic, MASTER) >= 0;
	if (intr != pic->intr_level) {
		pic->intr_level = intr;
		line_set(&pic->intr, intr);
	}
}

void i8259_set_irq(void *device, unsigned irq, bool level)
{
	struct i8259 *pic = device;
	struct i8259_chip *chip = &pic->chip[irq >> 3 & 1];
	u8 bit = 1u << (irq & 7);

	if (irq == CASCADE || irq > 15)
		return;
	if (level) {
		if (level_triggered(chip, irq & 7) || !(chip->lines & bit))
			chip->irr |= bit;
		chip->lines |= bit;
	} else {
		/* The request must last until INTA, edge or level; else it becomes IR7's. */
		chip->irr &= (u8)~bit;
		chip->lines &= (u8)~bit;
	}
	update(pic);
}

/* The first INTA pulse at one chip. */
static void take(struct i8259_chip *chip, unsigned pin)
{
	u8 bit = 1u << pin;

	if (!(level_triggered(chip, pin) && (chip->lines & bit)))
		chip->irr &= (u8)~bit;
	if (!(chip->icw4 & ICW4_AEOI))
		chip->isr |= bit;
	else if (chip->rotate_auto_eoi)
		chip->lowest = pin;
}

int i8259_acknowledge(void *device)
{
	struct i8259 *pic = device;
	int pin = requesting_pin(pic, MASTER);
	int vector;

	if (pin < 0) {
		vector = pic->chip[MASTER].base + 7;
	} else {
		take(&pic->chip[MASTER], pin);
		vector = pic->chip[MASTER].base + pin;
	}
	if (pin == CASCADE) {
		int slave_pin = requesting_pin(pic, SLAVE);

		if (slave_pin >= 0)
			take(&pic->chip[SLAVE], slave_pin);
		vector = pic->chip[SLAVE].base + (slave_pin >= 0 ? slave_pin : 7);
	}
	if (trace_on(TRACE_irq))
		trace_print(TRACE_irq, "8259: vector %#x", vector);
	update(pic);
	return vector;
}

int i8259_pending_vector(void *device)
{
	struct i8259 *pic = device;
	int pin = requesting_pin(pic, MASTER);
	int slave_pin;

	if (pin < 0)
		return -1;
	if (pin != CASCADE)
		return pic->chip[MASTER].base + pin;
	slave_pin = requesting_pin(pic, SLAVE);
	return pic->chip[SLAVE].base + (slave_pin >= 0 ? slave_pin : 7);
}

/* ---- programming ---- */

static void write_icw1(struct i8259_chip *chip, u8 value)
{
	chip->icw1 = value;
	chip->icw3 = 0;
	/* Without ICW4 all its functions are off. */
	chip->icw4 = 0;
	chip->imr = 0;
	chip->isr = 0;
	/* The edge sense circuit is reset: a line must fall and rise to ask again. */
	chip->irr = 0;
	for (unsigned pin = 0; pin < 8; pin++) {
		if (level_triggered(chip, pin))
			chip->irr |= chip->lines & 1u << pin;
	}
	chip->lowest = 7;
	chip->read_isr = chip->poll = chip->special_mask = chip->rotate_auto_eoi = false;
	chip->init_step = 2;
}

static void write_ocw2(struct i8259_chip *chip, u8 value)
{
	unsigned pin = value & OCW2_LEVEL;
	u8 served = chip->isr;
	unsigned order;

	switch (value >> 5) {
	case 0: /* rotate in automatic EOI mode: clear */
		chip->rotate_auto_eoi = false;
		break;
	case 4: /* and set */
		chip->rotate_auto_eoi = true;
		break;
	case 1: /* non-specific EOI */
	case 5: /* and rotate */
		/* In special mask mode it does not touch a level that is masked. */
		if (chip->special_mask)
			served &= (u8)~chip->imr;
		order = priority_of(chip, served);
		if (order == 8)
			break;
		pin = pin_at(chip, order);
		chip->isr &= (u8)~(1u << pin);
		if (value >> 5 == 5)
			chip->lowest = pin;
		break;
	case 3: /* specific EOI */
		chip->isr &= (u8)~(1u << pin);
		break;
	case 7: /* and rotate */
		chip->isr &= (u8)~(1u << pin);
		chip->lowest = pin;
		break;
	case 6: /* set priority */
		chip->lowest = pin;
		break;
	}
}

static void write_ocw3(struct i8259_chip *chip, u8 value)
{
	chip->poll = value & OCW3_POLL;
	if (value & OCW3_RR)
		chip->read_isr = value & OCW3_RIS;
	if (value & OCW3_ESMM)
		chip->special_mask = value & OCW3_SMM;
}

/* ICW2 to ICW4, and else OCW1. */
static void write_data(struct i8259_chip *chip, u8 value)
{
	switch (chip->init_step) {
	case 2:
		chip->base = value & 0xf8;
		chip->init_step = !(chip->icw1 & ICW1_SNGL) ? 3 :
			(chip->icw1 & ICW1_IC4)             ? 4 :
							      0;
		break;
	case 3:
		chip->icw3 = value;
		chip->init_step = chip->icw1 & ICW1_IC4 ? 4 : 0;
		break;
	case 4:
		chip->icw4 = value;
		chip->init_step = 0;
		break;
	default:
		chip->imr = value;
		break;
	}
}

static void chip_write(struct i8259 *pic, unsigned which, u64 offset, u8 value)
{
	struct i8259_chip *chip = &pic->chip[which];

	if (offset)
		write_data(chip, value);
	else if (value & ICW1_INIT)
		write_icw1(chip, value);
	else if (value & OCW3_SELECT)
		write_ocw3(chip, value);
	else
		write_ocw2(chip, value);
	update(pic);
}

/* A poll is an INTA without a vector: bit 7 says whether there was a request, 2:0 which. */
static u8 poll(struct i8259 *pic, unsigned which)
{
	int pin = requesting_pin(pic, which);

	pic->chip[which].poll = false;
	if (pin < 0)
		return 0x07;
	take(&pic->chip[which], pin);
	update(pic);
	return 0x80 | pin;
}

static u8 chip_read(struct i8259 *pic, unsigned which, u64 offset)
{
	struct i8259_chip *chip = &pic->chip[which];

	if (chip->poll)
		return poll(pic, which);
	if (offset)
		return chip->imr;
	return chip->read_isr ? chip->isr : chip->irr;
}

static u64 master_read(void *device, u64 offset, unsigned size)
{
	return chip_read(device, MASTER, offset);
}

static void master_write(void *device, u64 offset, unsigned size, u64 value)
{
	chip_write(device, MASTER, offset, value);
}

static u64 slave_read(void *device, u64 offset, unsigned size)
{
	return chip_read(device, SLAVE, offset);
}

static void slave_write(void *device, u64 offset, unsigned size, u64 value)
{
	chip_write(device, SLAVE, offset, value);
}

static u64 elcr_read(void *device, u64 offset, unsigned size)
{
	struct i8259 *pic = device;

	return pic->chip[offset].elcr;
}

static void elcr_write(void *device, u64 offset, unsigned size, u64 value)
{
	struct i8259 *pic = device;
	struct i8259_chip *chip = &pic->chip[offset];

	chip->elcr = value & elcr_writable[offset];
	chip->irr |= chip->lines & chip->elcr;
	update(pic);
}

static void reset(void *device)
{
	struct i8259 *pic = device;

	for (unsigned i = 0; i < 2; i++) {
		u8 lines = pic->chip[i].lines;

		pic->chip[i] = (struct i8259_chip){ .lines = lines, .lowest = 7, .imr = 0xff };
	}
	update(pic);
}

static const struct field state[] = {
	FIELD_ARRAY(struct i8259, chip),
	FIELD(struct i8259, intr_level),
	{ 0 },
};

const struct device_class i8259_class = {
	.name = "i8259",
	.size = sizeof(struct i8259),
	.ranges = {
		{ PORT, 0x00, 2, { master_read, master_write, .sizes = 1 } },
		{ PORT, 0x80, 2, { slave_read, slave_write, .sizes = 1 } },
		{ PORT, 0x4b0, 2, { elcr_read, elcr_write, .sizes = 1 } },
	},
	.state = state,
	.reset = reset,
};
