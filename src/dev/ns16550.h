/* SPDX-License-Identifier: MIT */
/*
 * The NS16550A serial port. Plug at 3F8h (IRQ 4): it takes 8 ports. Bits take no time: the baud
 * rate is kept, not obeyed.
 *
 * Neither direction loses a byte: output() may take fewer than it is given and then calls
 * ns16550_output_ready() when it can take more; ns16550_input() takes what fits and room() says
 * when more does.
 */
#ifndef DEV_NS16550_H
#define DEV_NS16550_H

#include "dev/device.h"

#define NS16550_FIFO 16

struct ns16550 {
	/* wiring */
	struct line irq;
	/* Takes up to len bytes the guest sent and says how many it took. NULL: all vanish. */
	unsigned (*output)(void *arg, const u8 *bytes, unsigned len);
	/* The guest has read: ns16550_input() takes bytes again. May call it. NULL: no input. */
	void (*room)(void *arg);
	void *arg;
	/* state */
	u8 ier, fcr, lcr, mcr, lsr, msr, scratch;
	u16 divisor;
	u8 rx[NS16550_FIFO], tx[NS16550_FIFO];
	u8 rx_head, rx_len, tx_len;
	bool thr_empty_irq; /* THR became empty and IIR was not read since */
	bool listening;     /* RTS, or the guest looks at LSR without ever having set MCR */
	bool mcr_written;
	bool refused;       /* input was turned away: room() is owed */
	bool irq_level;
};

extern const struct device_class ns16550_class;

/* Feeds received bytes; the number taken, maybe 0. */
unsigned ns16550_input(struct ns16550 *uart, const u8 *bytes, unsigned len);
/* output() can take bytes again. */
void ns16550_output_ready(struct ns16550 *uart);

#endif
