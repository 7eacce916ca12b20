/* SPDX-License-Identifier: MIT */
/*
 * The user-mode network: libslirp, tied to the machine's loop.
 *
 * libslirp wants to be asked before every sleep which descriptors it waits for. They are kept in
 * an epoll set of our own, which the loop watches as one descriptor; after anything that may have
 * changed them, watch() brings the set up to date.
 *
 * Not modelled: IPv6, TFTP, SMB, guest forwards. All calls with the machine lock held.
 */
#include "dev/net_user.h"
#include "base/log.h"
#include "base/loop.h"
#include "dev/virtio_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libslirp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define FDS_MAX 1024  /* sockets at one time; the guest cannot make us wait for more */
#define FD_LIMIT 4096 /* descriptors above it are not waited for */
#define LEVELS 250    /* networks from 10.0.2.0 on */
#define NS_PER_MS 1000000ull

struct net_user {
	struct net_backend backend;
	struct loop *loop;
	Slirp *slirp;
	int epoll_fd;
	struct loop_timer timeout; /* libslirp's own clocks */
	struct pollfd fds[FDS_MAX];
	unsigned fd_count;
	u32 events[FD_LIMIT]; /* what the epoll set has for each descriptor */
	u32 wanted[FD_LIMIT]; /* what it shall have */
};

static struct net_user *to_user(struct net_backend *backend)
{
	return container_of(backend, struct net_user, backend);
}

/* ---- descriptors ---- */

static void set_events(struct net_user *user, int fd, u32 events)
{
	struct epoll_event event = {.events = events, .data.fd = fd};

	if (user->events[fd] == events)
		return;
	if (!events)
		epoll_ctl(user->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	else if (epoll_ctl(user->epoll_fd, EPOLL_CTL_MOD, fd, &event) && errno == ENOENT)
		epoll_ctl(user->epoll_fd, EPOLL_CTL_ADD, fd, &event);
	user->events[fd] = events;
}

static int add_poll(int fd, int events, void *opaque)
{
	struct net_user *user = opaque;
	short poll_events = 0;

	if (fd >= FD_LIMIT || user->fd_count == FDS_MAX)
		return -1;
	if (events & SLIRP_POLL_IN)
		poll_events |= POLLIN;
	if (events & SLIRP_POLL_OUT)
		poll_events |= POLLOUT;
	if (events & SLIRP_POLL_PRI)
		poll_events |= POLLPRI;
	user->fds[user->fd_count] = (struct pollfd){.fd = fd, .events = poll_events};
	return user->fd_count++;
}

static int get_revents(int index, void *opaque)
{
	struct net_user *user = opaque;
	short revents = index >= 0 ? user->fds[index].revents : 0;

	return (revents & POLLIN ? SLIRP_POLL_IN : 0) | (revents & POLLOUT ? SLIRP_POLL_OUT : 0) |
		(revents & POLLPRI ? SLIRP_POLL_PRI : 0) |
		(revents & POLLERR ? SLIRP_POLL_ERR : 0) | (revents & POLLHUP ? SLIRP_POLL_HUP : 0);
}

/* EPOLLIN and its kin have the values of POLLIN and its kin, epoll_ctl(2). */
static void watch(struct net_user *user)
{
	u32 timeout = UINT32_MAX;
	struct pollfd before[FDS_MAX];
	unsigned before_count = user->fd_count;

	memcpy(before, user->fds, before_count * sizeof(before[0]));
	user->fd_count = 0;
	slirp_pollfds_fill(user->slirp, &timeout, add_poll, user);
	for (unsigned i = 0; i < before_count; i++)
		user->wanted[before[i].fd] = 0;
	for (unsigned i = 0; i < user->fd_count; i++)
		user->wanted[user->fds[i].fd] = (u32)user->fds[i].events;
	for (unsigned i = 0; i < before_count; i++)
		set_events(user, before[i].fd, user->wanted[before[i].fd]);
	for (unsigned i = 0; i < user->fd_count; i++)
		set_events(user, user->fds[i].fd, user->wanted[user->fds[i].fd]);
	loop_timer_set(user->loop, &user->timeout,
		timeout == UINT32_MAX ? 0 : clock_ns() + timeout * NS_PER_MS);
}

static void look(struct net_user *user)
{
	int result = poll(user->fds, user->fd_count, 0);

	slirp_pollfds_poll(user->slirp, result < 0, get_revents, user);
	watch(user);
}

static void fds_ready(void *opaque, int fd, unsigned events)
{
	look(opaque);
}

static void timed_out(void *opaque)
{
	look(opaque);
}

/* ---- what libslirp calls ---- */

static ssize_t cb_send_packet(const void *bytes, size_t len, void *opaque)
{
	struct net_user *user = opaque;

	if (user->backend.deliver && len <= NET_FRAME_MAX)
		user->backend.deliver(user->backend.card, bytes, len);
	return len;
}

static void cb_guest_error(const char *text, void *opaque)
{
	if (trace_on(TRACE_virtio))
		trace_print(TRACE_virtio, "network: %s", text);
}

static int64_t cb_clock(void *opaque)
{
	return clock_ns();
}

static void cb_register_fd(int fd, void *opaque)
{
}

/* It is about to be closed, and its number may come back as another socket. */
static void cb_unregister_fd(int fd, void *opaque)
{
	struct net_user *user = opaque;

	if (fd >= 0 && fd < FD_LIMIT)
		set_events(user, fd, 0);
}

static void cb_notify(void *opaque)
{
}

/* Timers are for IPv6 alone. */
static const SlirpCb slirp_callbacks = {
	.send_packet = cb_send_packet,
	.guest_error = cb_guest_error,
	.clock_get_ns = cb_clock,
	.register_poll_fd = cb_register_fd,
	.unregister_poll_fd = cb_unregister_fd,
	.notify = cb_notify,
};

/* ---- the backend ---- */

bool net_user_is_built(void)
{
	return true;
}

static void user_send(struct net_backend *backend, const u8 *frame, unsigned len)
{
	slirp_input(to_user(backend)->slirp, frame, len);
}

static void user_sent(struct net_backend *backend)
{
	watch(to_user(backend));
}

static void user_free(struct net_backend *backend)
{
	struct net_user *user = to_user(backend);

	backend->deliver = NULL;
	if (user->slirp)
		slirp_cleanup(user->slirp);
	loop_timer_set(user->loop, &user->timeout, 0);
	if (user->epoll_fd >= 0) {
		loop_watch(user->loop, user->epoll_fd, 0, NULL, NULL);
		close(user->epoll_fd);
	}
	free(user);
}

static struct in_addr address(u32 host_order)
{
	return (struct in_addr){htonl(host_order)};
}

static int start(struct net_user *user, unsigned level, const struct net_forward *forwards,
	unsigned count, unsigned *failed)
{
	u32 network = 0x0a000200 + (level % LEVELS << 8);
	/* The numbers that users know from elsewhere. */
	SlirpConfig config = {
		.version = 1,
		.in_enabled = true,
		.vnetwork = address(network),
		.vnetmask = address(0xffffff00),
		.vhost = address(network + 2),
		.vnameserver = address(network + 3),
		.vdhcp_start = address(network + 15),
	};
	int error;

	user->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (user->epoll_fd < 0)
		return -errno;
	user->slirp = slirp_new(&config, &slirp_callbacks, user);
	if (!user->slirp)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++) {
		errno = 0;
		if (slirp_add_hostfwd(user->slirp, 0, forwards[i].host, forwards[i].host_port,
			    config.vdhcp_start, forwards[i].guest_port)) {
			*failed = i;
			return errno ? -errno : -EADDRINUSE;
		}
	}
	error = loop_watch(user->loop, user->epoll_fd, LOOP_READ, fds_ready, user);
	if (!error)
		watch(user);
	return error;
}

int net_user_new(struct net_backend **backend, struct loop *loop, unsigned level,
	const struct net_forward *forwards, unsigned count, unsigned *failed)
{
	struct net_user *user = calloc(1, sizeof(*user));
	int error;

	*failed = count;
	if (!user)
		return -ENOMEM;
	user->loop = loop;
	user->epoll_fd = -1;
	user->timeout.fire = timed_out;
	user->timeout.arg = user;
	user->backend = (struct net_backend){
		.send = user_send,
		.sent = user_sent,
		.free = user_free,
		.checksums_good = true,
	};
	error = start(user, level, forwards, count, failed);
	if (error) {
		user_free(&user->backend);
		return error;
	}
	*backend = &user->backend;
	return 0;
}
