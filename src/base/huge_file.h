/* SPDX-License-Identifier: MIT */
/* Memory that can be mapped at several addresses, in large pages where the host gives them. */
#ifndef BASE_HUGE_FILE_H
#define BASE_HUGE_FILE_H

#include "base/types.h"

#define HUGE_PAGE (2 * MIB)

/* The first multiple of HUGE_PAGE from there on. */
static inline void *huge_page_from(void *at)
{
	return (void *)(((u64)at + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
}

/*
 * A file of `size` zero bytes that exists as long as it is open or mapped; close-on-exec. Map it at a
 * multiple of 2 MiB and advise MADV_HUGEPAGE. name: a file name, seen in /proc/PID/maps. -errno.
 */
int huge_file(const char *name, u64 size);

#endif
