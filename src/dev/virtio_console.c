/* SPDX-License-Identifier: MIT */
/*
 * The virtio console. Virtual I/O Device 1.2, 5.3.
 *
 * Not modelled: several ports, the console's size, emergency writes.
 */
#include "dev/virtio_console.h"
#include "dev/virtio.h"

#include <errno.h>
#include <stdlib.h>

enum { QUEUE_RX, QUEUE_TX };

#define CONSOLE_QUEUE_SIZE 64
#define CONSOLE_PIECE 1024u
#define CONSOLE_MAX (64 * KIB)

struct virtio_console {
	struct virtio virtio;
	struct virtio_console_options options;
	bool input_waits; /* virtio_console_input() took less than there was */
	struct virtio_chain in;
	bool sending;     /* `out` is under way: output() took less of it than there was */
	u64 sent;
	struct virtio_chain out;
};

static struct virtio_console *to_console(struct virtio *virtio)
{
	return container_of(virtio, struct virtio_console, virtio);
}

/* False: output() takes no more for now. */
static bool put_out(struct virtio_console *console)
{
	const struct virtio_chain *chain = &console->out;
	u8 bytes[CONSOLE_PIECE];

	/* So that no notification lasts. */
	if (chain->out_len > CONSOLE_MAX) {
		virtio_break(&console->virtio, "more output at once than a console takes");
		return true;
	}
	while (console->sent < chain->out_len) {
		u64 part = MIN(chain->out_len - console->sent, CONSOLE_PIECE), took;

		if (!virtio_gather(&console->virtio, chain, console->sent, bytes, part))
			return true;
		took = console->options.output(console->options.ctx, bytes, part);
		console->sent += took;
		if (took < part)
			return false;
	}
	return true;
}

static void transmit_all(struct virtio_console *console)
{
	struct virtq *queue = &console->virtio.queues[QUEUE_TX];
	unsigned budget = VIRTQ_BUDGET(queue);

	virtq_ignore(queue);
	do {
		while (console->sending || (budget && virtq_pop(queue, &console->out))) {
			if (!console->sending) {
				budget--;
				console->sending = true;
				console->sent = 0;
			}
			if (!put_out(console)) {
				virtq_publish(queue);
				return;
			}
			console->sending = false;
			virtq_push(queue, console->out.head, 0);
		}
	} while (virtq_listen(queue) && budget);
	virtq_publish(queue);
}

void virtio_console_output_ready(struct virtio_console *console)
{
	if (console->sending)
		transmit_all(console);
}

size_t virtio_console_input(struct virtio_console *console, const u8 *bytes, size_t len)
{
	struct virtio *virtio = &console->virtio;
	struct virtq *queue = &virtio->queues[QUEUE_RX];
	size_t done = 0;

	virtq_ignore(queue);
	do {
		while (done < len && virtq_pop(queue, &console->in)) {
			u64 part = MIN(len - done, console->in.in_len);

			if (part == 0)
				virtio_break(virtio, "an input buffer of no size");
			else if (virtio_scatter(virtio, &console->in, 0, bytes + done, part))
				done += part;
			virtq_push(queue, console->in.head, part);
		}
	} while (done < len && virtq_listen(queue));
	virtq_publish(queue);
	console->input_waits = done < len;
	return done;
}

static void tell_ready(struct virtio_console *console)
{
	if (!console->input_waits)
		return;
	console->input_waits = false;
	if (console->options.ready)
		console->options.ready(console->options.ctx);
}

static void console_notify(struct virtio *virtio, unsigned queue)
{
	if (queue == QUEUE_TX)
		transmit_all(to_console(virtio));
	else
		tell_ready(to_console(virtio));
}

static void console_ready(struct virtio *virtio)
{
	tell_ready(to_console(virtio));
}

/* What input waits is the backend's, and still there when a driver comes again. */
static void console_reset(struct virtio *virtio)
{
	to_console(virtio)->sending = false;
}

static void console_free(struct virtio *virtio)
{
	free(to_console(virtio));
}

static const struct virtio_class console_class = {
	.name = "virtio-console",
	.id = 3,
	.class_code = 0x078000,
	.queues = 2,
	.queue_size = CONSOLE_QUEUE_SIZE,
	.notify = console_notify,
	.reset = console_reset,
	.ready = console_ready,
	.free = console_free,
};

int virtio_console_plug(struct virtio_console **console, struct pci_bus *bus, unsigned slot)
{
	struct virtio_console *made = calloc(1, sizeof(*made));
	int error;

	if (!made)
		return -ENOMEM;
	error = virtio_plug(&made->virtio, &console_class, 0, bus, slot);
	if (error) {
		free(made);
		return error;
	}
	*console = made;
	return 0;
}

void virtio_console_connect(struct virtio_console *console,
	const struct virtio_console_options *options)
{
	console->options = *options;
}
