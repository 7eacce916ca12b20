/* SPDX-License-Identifier: MIT */
/*
 * The National Semiconductor PC16550D serial port.
 *
 * Not modelled: the time a bit takes, so that the receiver's timeout interrupt comes at once;
 * framing and parity errors, which cannot occur; the modem lines, which say that somebody is
 * there and ready.
 *
 * Drivers clear the FIFO when they open a port, so input that came before would be lost. The
 * other side therefore heeds RTS, which drivers raise after that. A program that leaves MCR alone
 * gets its input as soon as it looks at LSR.
 */
#include <string.h>

#include "dev/ns16550.h"

enum { RBR_THR_DLL = 0, IER_DLM, IIR_FCR, LCR, MCR, LSR, MSR, SCR };

#define IER_RX 0x01
#define IER_THRE 0x02
#define IER_LINE 0x04
#define IER_MODEM 0x08
#define IIR_NONE 0x01
#define IIR_MODEM 0x00
#define IIR_THRE 0x02
#define IIR_RX 0x04
#define IIR_LINE 0x06
#define IIR_TIMEOUT 0x0c
#define IIR_FIFO 0xc0
#define FCR_ENABLE 0x01
#define FCR_CLEAR_RX 0x02
#define FCR_CLEAR_TX 0x04
#define FCR_KEPT 0xc9
#define LCR_BREAK 0x40
#define LCR_DLAB 0x80
#define MCR_RTS 0x02
#define MCR_LOOP 0x10
#define LSR_DATA 0x01
#define LSR_OVERRUN 0x02
#define LSR_BREAK 0x10
#define LSR_ERRORS 0x1e
#define LSR_THRE 0x20
#define LSR_TEMT 0x40
#define MSR_DELTAS 0x0f
#define MSR_CTS 0x10
#define MSR_DSR 0x20
#define MSR_RI 0x40
#define MSR_DCD 0x80

static unsigned fifo_size(const struct ns16550 *uart)
{
	return uart->fcr & FCR_ENABLE ? NS16550_FIFO : 1;
}

static unsigned rx_trigger(const struct ns16550 *uart)
{
	static const u8 levels[4] = { 1, 4, 8, 14 };

	return uart->fcr & FCR_ENABLE ? levels[uart->fcr >> 6] : 1;
}

/* The source of the interrupt with the highest priority, PC16550D table IV. */
static u8 interrupt_source(const struct ns16550 *uart)
{
	if ((uart->ier & IER_LINE) && (uart->lsr & LSR_ERRORS))
		return IIR_LINE;
	if ((uart->ier & IER_RX) && uart->rx_len)
		return uart->rx_len >= rx_trigger(uart) ? IIR_RX : IIR_TIMEOUT;
	if ((uart->ier & IER_THRE) && uart->thr_empty_irq)
		return IIR_THRE;
	if ((uart->ier & IER_MODEM) && (uart->msr & MSR_DELTAS))
		return IIR_MODEM;
	return IIR_NONE;
}

static void update_irq(struct ns16550 *uart)
{
	bool level = interrupt_source(uart) != IIR_NONE;

	if (level != uart->irq_level) {
		uart->irq_level = level;
		line_set(&uart->irq, level);
	}
}

/* ---- receiving ---- */

static void rx_put(struct ns16550 *uart, u8 byte)
{
	if (uart->rx_len == fifo_size(uart)) {
		uart->lsr |= LSR_OVERRUN;
		return;
	}
	uart->rx[(uart->rx_head + uart->rx_len++) % NS16550_FIFO] = byte;
	uart->lsr |= LSR_DATA;
}

static bool may_receive(const struct ns16550 *uart)
{
	return uart->listening && !(uart->mcr & MCR_LOOP);
}

unsigned ns16550_input(struct ns16550 *uart, const u8 *bytes, unsigned len)
{
	unsigned taken = 0;

	if (may_receive(uart)) {
		while (taken < len && uart->rx_len < fifo_size(uart))
			rx_put(uart, bytes[taken++]);
	}
	if (taken < len)
		uart->refused = true;
	update_irq(uart);
	return taken;
}

/* Tells the backend that there is room, if it was turned away. */
static void offer_room(struct ns16550 *uart)
{
	if (!uart->refused || !may_receive(uart) || uart->rx_len == fifo_size(uart))
		return;
	uart->refused = false;
	if (uart->room)
		uart->room(uart->arg);
}

static u8 read_rbr(struct ns16550 *uart)
{
	u8 byte = uart->rx[uart->rx_head];

	if (!uart->rx_len)
		return byte;
	uart->rx_head = (uart->rx_head + 1) % NS16550_FIFO;
	if (!--uart->rx_len) {
		uart->lsr &= (u8)~LSR_DATA;
		offer_room(uart);
	}
	return byte;
}

static void clear_rx(struct ns16550 *uart)
{
	uart->rx_head = uart->rx_len = 0;
	uart->lsr &= (u8)~(LSR_DATA | LSR_ERRORS);
}

/* ---- sending ---- */

static void tx_status(struct ns16550 *uart)
{
	if (uart->tx_len) {
		/* In FIFO mode THRE speaks of the whole FIFO. */
		uart->lsr &= (u8)~(LSR_THRE | LSR_TEMT);
		return;
	}
	if (!(uart->lsr & LSR_THRE))
		uart->thr_empty_irq = true;
	uart->lsr |= LSR_THRE | LSR_TEMT;
}

static void flush_tx(struct ns16550 *uart)
{
	unsigned taken = uart->tx_len;

	if (!uart->tx_len)
		return;
	if (uart->output)
		taken = uart->output(uart->arg, uart->tx, uart->tx_len);
	taken = MIN(taken, uart->tx_len);
	memmove(uart->tx, uart->tx + taken, uart->tx_len - taken);
	uart->tx_len -= taken;
	tx_status(uart);
}

void ns16550_output_ready(struct ns16550 *uart)
{
	flush_tx(uart);
	update_irq(uart);
}

static void write_thr(struct ns16550 *uart, u8 byte)
{
	uart->thr_empty_irq = false;
	if (uart->mcr & MCR_LOOP) {
		rx_put(uart, byte);
		uart->thr_empty_irq = true;
		return;
	}
	/* A guest that does not wait for THRE loses what does not fit, as on hardware. */
	if (uart->tx_len < fifo_size(uart))
		uart->tx[uart->tx_len++] = byte;
	uart->lsr &= (u8)~(LSR_THRE | LSR_TEMT);
	flush_tx(uart);
}

/* ---- modem lines ---- */

static u8 modem_lines(const struct ns16550 *uart)
{
	if (!(uart->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	/* Looped: DTR is DSR, RTS is CTS, OUT1 is RI, OUT2 is DCD. */
	return (uart->mcr & 0x01 ? MSR_DSR : 0) | (uart->mcr & 0x02 ? MSR_CTS : 0) |
		(uart->mcr & 0x04 ? MSR_RI : 0) | (uart->mcr & 0x08 ? MSR_DCD : 0);
}

static void update_modem(struct ns16550 *uart)
{
	u8 lines = modem_lines(uart);
	u8 changed = (uart->msr ^ lines) & 0xf0;

	/* RI's delta is its trailing edge. */
	if (lines & MSR_RI)
		changed &= (u8)~MSR_RI;
	uart->msr = lines | (uart->msr & MSR_DELTAS) | changed >> 4;
}

/* ---- registers ---- */

static u8 read_iir(struct ns16550 *uart)
{
	u8 source = interrupt_source(uart);

	if (source == IIR_THRE)
		uart->thr_empty_irq = false;
	return source | (uart->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static u64 uart_read(void *device, u64 offset, unsigned size)
{
	struct ns16550 *uart = device;
	u8 value = 0;

	switch (offset) {
	case RBR_THR_DLL:
		value = uart->lcr & LCR_DLAB ? uart->divisor : read_rbr(uart);
		break;
	case IER_DLM:
		value = uart->lcr & LCR_DLAB ? uart->divisor >> 8 : uart->ier;
		break;
	case IIR_FCR:
		value = read_iir(uart);
		break;
	case LCR:
		value = uart->lcr;
		break;
	case MCR:
		value = uart->mcr;
		break;
	case LSR:
		if (!uart->mcr_written) {
			uart->listening = true;
			offer_room(uart);
		}
		value = uart->lsr;
		uart->lsr &= (u8)~LSR_ERRORS;
		break;
	case MSR:
		value = uart->msr;
		uart->msr &= (u8)~MSR_DELTAS;
		break;
	case SCR:
		value = uart->scratch;
		break;
	}
	update_irq(uart);
	return value;
}

static void write_ier(struct ns16550 *uart, u8 value)
{
	/* Enabling it while THR is empty raises it at once. */
	if ((value & ~uart->ier & IER_THRE) && (uart->lsr & LSR_THRE))
		uart->thr_empty_irq = true;
	uart->ier = value & 0x0f;
}

static void write_fcr(struct ns16550 *uart, u8 value)
{
	bool toggled = (uart->fcr ^ value) & FCR_ENABLE;

	/* The other bits are only taken with FIFOs enabled. */
	uart->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
	if (toggled || (value & FCR_CLEAR_RX))
		clear_rx(uart);
	if (toggled || (value & FCR_CLEAR_TX)) {
		uart->tx_len = 0;
		tx_status(uart);
	}
	offer_room(uart);
}

static void write_lcr(struct ns16550 *uart, u8 value)
{
	/* A break that is sent into the loop is received: a zero byte with an error. */
	if ((uart->mcr & MCR_LOOP) && (value & ~uart->lcr & LCR_BREAK)) {
		rx_put(uart, 0);
		uart->lsr |= LSR_BREAK;
	}
	uart->lcr = value;
}

static void uart_write(void *device, u64 offset, unsigned size, u64 value)
{
	struct ns16550 *uart = device;

	switch (offset) {
	case RBR_THR_DLL:
		if (uart->lcr & LCR_DLAB)
			uart->divisor = (uart->divisor & 0xff00) | value;
		else
			write_thr(uart, value);
		break;
	case IER_DLM:
		if (uart->lcr & LCR_DLAB)
			uart->divisor = (uart->divisor & 0x00ff) | value << 8;
		else
			write_ier(uart, value);
		break;
	case IIR_FCR:
		write_fcr(uart, value);
		break;
	case LCR:
		write_lcr(uart, value);
		break;
	case MCR:
		uart->mcr = value & 0x1f;
		uart->mcr_written = true;
		uart->listening = value & MCR_RTS;
		update_modem(uart);
		offer_room(uart);
		break;
	case SCR:
		uart->scratch = value;
		break;
	}
	update_irq(uart);
}

static void reset(void *device)
{
	struct ns16550 *uart = device;

	uart->ier = uart->fcr = uart->lcr = uart->mcr = uart->scratch = 0;
	uart->lsr = LSR_THRE | LSR_TEMT;
	uart->msr = modem_lines(uart);
	uart->divisor = 12; /* 9600 baud, as firmware leaves it */
	uart->rx_head = uart->rx_len = uart->tx_len = 0;
	uart->thr_empty_irq = uart->listening = uart->mcr_written = false;
	update_irq(uart);
}

static const struct field state[] = {
	FIELD(struct ns16550, ier),
	FIELD(struct ns16550, fcr),
	FIELD(struct ns16550, lcr),
	FIELD(struct ns16550, mcr),
	FIELD(struct ns16550, lsr),
	FIELD(struct ns16550, msr),
	FIELD(struct ns16550, scratch),
	FIELD(struct ns16550, divisor),
	FIELD_ARRAY(struct ns16550, rx),
	FIELD_ARRAY(struct ns16550, tx),
	FIELD(struct ns16550, rx_head),
	FIELD(struct ns16550, rx_len),
	FIELD(struct ns16550, tx_len),
	FIELD(struct ns16550, thr_empty_irq),
	FIELD(struct ns16550, listening),
	FIELD(struct ns16550, mcr_written),
	FIELD(struct ns16550, refused),
	FIELD(struct ns16550, irq_level),
	{ 0 },
};

const struct device_class ns16550_class = {
	.name = "ns16550",
	.size = sizeof(struct ns16550),
	.ranges = { { PORT, 0, 8, { uart_read, uart_write, .sizes = 1 } } },
	.state = state,
	.reset = reset,
};
