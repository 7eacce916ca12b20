/* SPDX-License-Identifier: MIT */
/*
 * A memory file in large pages. Where /sys/kernel/mm/transparent_hugepage/shmem_enabled is "never", as
 * it is from the start, memfd_create(2) gives none whatever is asked of them; a tmpfs of one's own does
 * with its option "huge", tmpfs(5). It is mounted nowhere, so only its one file is seen of it. Who may
 * not make one does it in a user namespace, in a child process that leaves nothing but the file.
 * Wherever any of this fails, it is a memfd.
 */
#include "base/huge_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHMEM_ENABLED "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

static bool memfds_have_none(void)
{
	char text[128];
	int fd = open(SHMEM_ENABLED, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (length < 0)
		return false;
	text[length] = 0;
	return strstr(text, "[never]");
}

/* A file in a new tmpfs, which goes with it; -1: errno. */
static int tmpfs_file(const char *name, u64 size)
{
	int tmpfs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC), mount = -1, file = -1;
	char limit[24];

	if (tmpfs < 0)
		return -1;
	snprintf(limit, sizeof(limit), "%llu",
		(unsigned long long)((size + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1)));
	if (!syscall(SYS_fsconfig, tmpfs, FSCONFIG_SET_STRING, "huge", "always", 0) &&
		!syscall(SYS_fsconfig, tmpfs, FSCONFIG_SET_STRING, "size", limit, 0) &&
		!syscall(SYS_fsconfig, tmpfs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		mount = (int)syscall(SYS_fsmount, tmpfs, FSMOUNT_CLOEXEC, 0);
	if (mount >= 0)
		file = openat(mount, name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (mount >= 0)
		close(mount);
	close(tmpfs);
	return file;
}

/* user_namespaces(7): who makes one may map himself. */
static bool enter_user_namespace(void)
{
	char users[32], groups[32];

	snprintf(users, sizeof(users), "0 %u 1", geteuid());
	snprintf(groups, sizeof(groups), "0 %u 1", getegid());
	return !unshare(CLONE_NEWUSER | CLONE_NEWNS) && write_file("/proc/self/setgroups", "deny") &&
	       write_file("/proc/self/uid_map", users) && write_file("/proc/self/gid_map", groups);
}

/* Puts such a file in the place of the memfd. */
static bool replace(int memfd, const char *name, u64 size)
{
	int file = tmpfs_file(name, size);
	bool ok = file >= 0 && dup3(file, memfd, O_CLOEXEC) == memfd;

	if (file >= 0)
		close(file);
	return ok;
}

/* The same by a child that shares our file descriptors. */
static void replace_by_child(int memfd, const char *name, u64 size)
{
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);

	if (!pid)
		_exit(enter_user_namespace() && replace(memfd, name, size) ? 0 : 1);
	if (pid > 0)
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
}

int huge_file(const char *name, u64 size)
{
	int fd = memfd_create(name, MFD_CLOEXEC), error;

	if (fd < 0)
		return -errno;
	if (memfds_have_none() && !replace(fd, name, size))
		replace_by_child(fd, name, size);
	if (!ftruncate(fd, (off_t)size))
		return fd;
	error = -errno;
	close(fd);
	return error;
}
