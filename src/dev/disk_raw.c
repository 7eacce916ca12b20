/* SPDX-License-Identifier: MIT */
/*
 * Raw disk images: opening, locking, size.
 *
 * The lock is one of open file descriptions (fcntl(2), F_OFD_SETLK) on the whole file: two disks
 * of one process exclude each other too, and other VMMs that lock parts of the file are noticed.
 */
#include "dev/disk_raw.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

static int lock_file(int fd, bool shared)
{
	struct flock lock = {.l_type = shared ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	/* File systems without locks cannot tell; what they hold is the user's to keep apart. */
	return errno == EAGAIN || errno == EACCES ? -EAGAIN : 0;
}

static int find_size(struct disk *disk)
{
	struct stat st;

	if (fstat(disk->fd, &st))
		return -errno;
	if (S_ISREG(st.st_mode)) {
		disk->size = st.st_size;
		return 0;
	}
	if (!S_ISBLK(st.st_mode))
		return -EINVAL;
	disk->block_device = true;
	return ioctl(disk->fd, BLKGETSIZE64, &disk->size) ? -errno : 0;
}

static int check(struct disk *disk, const char **why)
{
	int error = find_size(disk);

	if (error) {
		*why = error == -EINVAL ? "is neither a file nor a block device" : strerror(-error);
		return error;
	}
	if (disk->size == 0) {
		*why = "is empty";
		return -EINVAL;
	}
	if (disk->size % DISK_SECTOR) {
		*why = "is no raw disk image: its size is no multiple of 512 bytes";
		return -EINVAL;
	}
	if (lock_file(disk->fd, disk->read_only)) {
		*why = "is in use by another VM";
		return -EAGAIN;
	}
	return 0;
}

int disk_open(struct disk *disk, const char *path, bool read_only, const char **why)
{
	int error;

	/* O_NONBLOCK: a FIFO is refused rather than waited for. */
	*disk = (struct disk){.read_only = read_only};
	disk->fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	if (disk->fd < 0) {
		error = -errno;
		*why = error == -EISDIR ? "is a directory" : strerror(-error);
		return error;
	}
	error = check(disk, why);
	if (error) {
		disk_close(disk);
		return error;
	}
	fcntl(disk->fd, F_SETFL, 0);
	return 0;
}

void disk_close(struct disk *disk)
{
	if (disk->fd >= 0)
		close(disk->fd);
	disk->fd = -1;
}
