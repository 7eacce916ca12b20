/* SPDX-License-Identifier: MIT */
/*
 * A device is one const struct device_class and its handlers. It knows offsets and line numbers,
 * never addresses: board/pc.c says where it is plugged. All handlers run with the machine lock.
 */
#ifndef DEV_DEVICE_H
#define DEV_DEVICE_H

#include "base/types.h"
#include "mem/line.h"
#include "mem/space.h"

enum { PORT, MMIO };

/* A field of a device's state: what snapshot, dump and fuzzer walk. */
struct field {
	const char *name;
	u32 offset, size, count;
};
#define FIELD(type, member) \
	{ #member, offsetof(type, member), sizeof(((type *)0)->member), 1 }
#define FIELD_ARRAY(type, member) \
	{ #member, offsetof(type, member), sizeof(((type *)0)->member[0]), \
		ARRAY_SIZE(((type *)0)->member) }

struct device_range {
	unsigned where;  /* PORT or MMIO */
	u32 base;        /* offset from the plug's base (chips with ports apart from another) */
	u32 len;         /* bytes; 0 ends the list */
	struct io_ops ops;
};

struct device_class {
	const char *name;
	size_t size;
	struct device_range ranges[6];
	const struct field *state; /* ends with a NULL name */
	void (*reset)(void *device);
	void (*stop)(void *device); /* the machine goes away: release host resources; may be NULL */
};

#endif
