/* SPDX-License-Identifier: MIT */
/* A raw disk image or block device, held with an advisory lock while it is open. */
#ifndef DEV_DISK_RAW_H
#define DEV_DISK_RAW_H

#include "base/types.h"

#define DISK_SECTOR 512u

struct disk {
	int fd;
	u64 size; /* bytes, a multiple of DISK_SECTOR */
	bool read_only;
	bool block_device;
};

/*
 * Opens and locks. -errno on failure, and *why is a sentence for the user without the file's name,
 * such as "is in use by another VM" (-EAGAIN). The lock is shared for read_only, else exclusive.
 */
int disk_open(struct disk *disk, const char *path, bool read_only, const char **why);
void disk_close(struct disk *disk);

#endif
