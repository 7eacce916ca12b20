/* SPDX-License-Identifier: MIT */
/*
 * User-mode network by libslirp: the guest is 10.0.2.15 by DHCP, 10.0.2.2 is the gateway and the
 * host, 10.0.2.3 the name server. Inside other nestboxes the third number is higher by one for each,
 * so that their networks stay reachable. Needs no privilege.
 */
#ifndef DEV_NET_USER_H
#define DEV_NET_USER_H

#include "base/types.h"
#include <netinet/in.h>

struct loop;
struct net_backend;

struct net_forward {
	struct in_addr host;
	u16 host_port, guest_port; /* host byte order */
};

/* False: this build has none, and net_user_new() always answers -ENOTSUP. */
bool net_user_is_built(void);

/* Parses "tcp:ADDR:PORT-:PORT" (ADDR may be empty: any). NULL, or what is wrong with it. */
const char *net_user_parse_forward(struct net_forward *forward, const char *text);

/*
 * Starts the network, with `level` nestboxes around, and listens at the forwards. -errno; *failed is then the forward that could
 * not be had (-EADDRINUSE, -EACCES, ...), or count when it was something else.
 */
int net_user_new(struct net_backend **backend, struct loop *loop, unsigned level,
	const struct net_forward *forwards, unsigned count, unsigned *failed);

#endif
