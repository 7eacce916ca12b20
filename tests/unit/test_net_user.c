/* SPDX-License-Identifier: MIT */
/* The user-mode network: what its words mean, DHCP, and forwards. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "dev/net_user.h"
#include "dev/virtio_net.h"
#include "virtio_rig.h"

struct state {
	struct rig rig;
	struct net_backend *backend;
	u8 frame[NET_FRAME_MAX];
	unsigned frames;
	u8 wanted_protocol; /* of IPv4; 0: ARP */
};

static void forwards(void **opaque)
{
	static const char *const bad[] = {"", "tcp", "tcp:", "udp::1-:2", "tcp:22-:22", "tcp::0-:22",
		"tcp::65536-:22", "tcp::22", "tcp::22-22", "tcp::22-:", "tcp::22-:0", "tcp::22-:22x",
		"tcp::-1-:22", "tcp:localhost:22-:22", "tcp:1.2.3:22-:22", "tcp::+22-:22",
		"tcp:1.2.3.4.5.6.7.8.9:22-:22", "tcp:: 22-:22"};
	struct net_forward forward;

	assert_null(net_user_parse_forward(&forward, "tcp:127.0.0.1:2222-:22"));
	assert_int_equal(ntohl(forward.host.s_addr), 0x7f000001);
	assert_int_equal(forward.host_port, 2222);
	assert_int_equal(forward.guest_port, 22);
	assert_null(net_user_parse_forward(&forward, "tcp::65535-:1"));
	assert_int_equal(forward.host.s_addr, INADDR_ANY);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_non_null(net_user_parse_forward(&forward, bad[i]));
}

static void received(void *opaque, const u8 *frame, unsigned len)
{
	struct state *s = opaque;
	bool arp = frame[12] == 8 && frame[13] == 6;

	if (s->wanted_protocol ? arp || frame[23] != s->wanted_protocol : !arp)
		return;
	memcpy(s->frame, frame, len);
	s->frames++;
}

static bool has_frame(void *opaque)
{
	return ((struct state *)opaque)->frames;
}

static void send_frame(struct state *s, const u8 *frame, unsigned len)
{
	s->backend->send(s->backend, frame, len);
	s->backend->sent(s->backend);
}

/* A socket that listens at a port of this host that was free. */
static int listening(u16 *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 1), 0);
	getsockname(fd, (struct sockaddr *)&a, &len);
	*port = ntohs(a.sin_port);
	return fd;
}

static void start_at(struct state *s, unsigned level, const struct net_forward *list, unsigned count)
{
	unsigned failed;

	rig_start(&s->rig);
	assert_int_equal(net_user_new(&s->backend, s->rig.loop, level, list, count, &failed),
		0);
	s->backend->deliver = received;
	s->backend->card = s;
}

static void start(struct state *s, const struct net_forward *list, unsigned count)
{
	start_at(s, 0, list, count);
}

static void stop(struct state *s)
{
	s->backend->free(s->backend);
	rig_stop(&s->rig);
}

static const u8 guest_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

static u16 sum16(const u8 *bytes, unsigned len)
{
	u32 sum = 0;

	for (unsigned i = 0; i < len; i++)
		sum += i & 1 ? bytes[i] : bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static void dhcp_at(unsigned level, const char *address)
{
	struct state s = {.wanted_protocol = 17};
	static const u8 ip[] = {0x45, 0, 1, 0x10, 0, 1, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255,
		255, 255, 0, 68, 0, 67, 0, 252, 0, 0};
	static const u8 options[] = {99, 130, 83, 99, 53, 1, 1, 255};
	u8 frame[14 + 272] = {0};
	u16 sum;

	start_at(&s, level, NULL, 0);
	memset(frame, 0xff, 6);
	memcpy(frame + 6, guest_mac, 6);
	frame[12] = 8;
	memcpy(frame + 14, ip, sizeof(ip));
	sum = sum16(frame + 14, 20);
	frame[24] = sum >> 8;
	frame[25] = sum;
	frame[42] = 1;                        /* BOOTREQUEST, Ethernet */
	frame[43] = 1;
	frame[44] = 6;
	memcpy(frame + 46, "xid!", 4);
	memcpy(frame + 42 + 28, guest_mac, 6);
	memcpy(frame + 42 + 236, options, sizeof(options));
	send_frame(&s, frame, sizeof(frame));
	assert_true(rig_run(&s.rig, has_frame, &s));
	assert_int_equal(s.frame[42], 2);     /* BOOTREPLY */
	assert_memory_equal(s.frame + 46, "xid!", 4);
	assert_memory_equal(s.frame + 42 + 16, address, 4);
	stop(&s);
}

static void dhcp(void **opaque)
{
	dhcp_at(0, "\x0a\x00\x02\x0f");
}

/* Another network inside another nestbox, however many there are. */
static void dhcp_inside(void **opaque)
{
	dhcp_at(1, "\x0a\x00\x03\x0f");
	dhcp_at(2, "\x0a\x00\x04\x0f");
	dhcp_at(249, "\x0a\x00\xfb\x0f");
	dhcp_at(250, "\x0a\x00\x02\x0f");
}

/* Who connects to the forward makes the network ask for the guest. */
static void forward_reaches_the_guest(void **opaque)
{
	struct state s = {0};
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct net_forward forward = {.host = a.sin_addr, .guest_port = 22};
	int fd = listening(&forward.host_port);
	u8 reply[42];

	close(fd);
	start(&s, &forward, 1);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	a.sin_port = htons(forward.host_port);
	assert_true(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 || errno == EINPROGRESS);
	assert_true(rig_run(&s.rig, has_frame, &s));
	assert_memory_equal(s.frame + 38, "\x0a\x00\x02\x0f", 4); /* ARP: who has 10.0.2.15 */
	/* here it is; then comes a SYN to port 22 */
	memcpy(reply, s.frame, 42);
	memcpy(reply, s.frame + 6, 6);
	memcpy(reply + 6, guest_mac, 6);
	reply[21] = 2;
	memcpy(reply + 22, guest_mac, 6);
	memcpy(reply + 28, s.frame + 38, 4);
	memcpy(reply + 32, s.frame + 22, 10);
	s.frames = 0;
	s.wanted_protocol = 6;
	send_frame(&s, reply, 42);
	assert_true(rig_run(&s.rig, has_frame, &s));
	assert_int_equal(s.frame[36] << 8 | s.frame[37], 22);
	assert_int_equal(s.frame[47] & 0x12, 2); /* SYN without ACK */
	close(fd);
	stop(&s);
}

static void port_in_use(void **opaque)
{
	struct state s = {0};
	struct in_addr local = {htonl(INADDR_LOOPBACK)};
	struct net_forward list[2] = {{.host = local, .guest_port = 22},
		{.host = local, .guest_port = 23}};
	int fd = listening(&list[0].host_port), busy = listening(&list[1].host_port);
	unsigned failed;

	close(fd);
	rig_start(&s.rig);
	assert_int_equal(net_user_new(&s.backend, s.rig.loop, 0, list, 2, &failed), -EADDRINUSE);
	assert_int_equal(failed, 1);
	close(busy);
	assert_int_equal(net_user_new(&s.backend, s.rig.loop, 0, list, 2, &failed), 0);
	stop(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forwards),
		cmocka_unit_test(dhcp), cmocka_unit_test(dhcp_inside),
		cmocka_unit_test(forward_reaches_the_guest),
		cmocka_unit_test(port_in_use),
	};

	return cmocka_run_group_tests_name("net-user", tests, NULL, NULL);
}
