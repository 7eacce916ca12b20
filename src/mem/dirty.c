/* SPDX-License-Identifier: MIT */
/* The dirty log's notebook. Devices write into it, and vCPUs as their engine sees to it. */
#include <errno.h>

#include "mem/dirty.h"

static void forget_all(struct ram *ram)
{
	for (u64 i = 0; i < dirty_words(ram); i++)
		__atomic_store_n(&ram->dirty[i], 0, __ATOMIC_RELAXED);
}

int dirty_log_start(struct ram *ram)
{
	int error;

	if (dirty_log_on(ram))
		return -EALREADY;
	forget_all(ram);
	__atomic_store_n(&ram->dirty_on, true, __ATOMIC_SEQ_CST);
	error = ram->dirty_ops ? ram->dirty_ops->start(ram->dirty_arg) : 0;
	if (error)
		__atomic_store_n(&ram->dirty_on, false, __ATOMIC_SEQ_CST);
	return error;
}

void dirty_take(struct ram *ram, u64 *bitmap)
{
	for (u64 i = 0; i < dirty_words(ram); i++)
		bitmap[i] = __atomic_load_n(&ram->dirty[i], __ATOMIC_RELAXED) ?
				    __atomic_exchange_n(&ram->dirty[i], 0, __ATOMIC_SEQ_CST) : 0;
}

int dirty_log_fetch(struct ram *ram, u64 *bitmap)
{
	if (!dirty_log_on(ram))
		return -EINVAL;
	if (ram->dirty_ops)
		return ram->dirty_ops->fetch(ram->dirty_arg, bitmap);
	dirty_take(ram, bitmap);
	return 0;
}

void dirty_log_stop(struct ram *ram)
{
	if (!dirty_log_on(ram))
		return;
	if (ram->dirty_ops)
		ram->dirty_ops->stop(ram->dirty_arg);
	__atomic_store_n(&ram->dirty_on, false, __ATOMIC_SEQ_CST);
}
