/* SPDX-License-Identifier: MIT */
/* The command line's words for a forward of the user-mode network. */
#include "dev/net_user.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

static bool parse_port(u16 *port, const char *text, char end, const char **rest)
{
	char *after;
	unsigned long value;

	if (*text < '0' || *text > '9')
		return false;
	value = strtoul(text, &after, 10);
	if (*after != end || value == 0 || value > 65535)
		return false;
	*port = value;
	*rest = *after ? after + 1 : after;
	return true;
}

const char *net_user_parse_forward(struct net_forward *forward, const char *text)
{
	const char *colon, *rest;
	char host[INET_ADDRSTRLEN];

	*forward = (struct net_forward){.host.s_addr = INADDR_ANY};
	if (strncmp(text, "tcp:", 4))
		return "only tcp can be forwarded; say tcp:ADDR:PORT-:PORT";
	text += 4;
	colon = strchr(text, ':');
	if (!colon)
		return "there is no host port; say tcp:ADDR:PORT-:PORT";
	if (colon - text >= (int)sizeof(host))
		return "the host address is no IPv4 address; say tcp:ADDR:PORT-:PORT";
	memcpy(host, text, colon - text);
	host[colon - text] = 0;
	if (host[0] && inet_pton(AF_INET, host, &forward->host) != 1)
		return "the host address is no IPv4 address; say tcp:ADDR:PORT-:PORT";
	if (!parse_port(&forward->host_port, colon + 1, '-', &rest))
		return "the host port is no number from 1 to 65535; say tcp:ADDR:PORT-:PORT";
	if (*rest != ':')
		return "the guest port is missing; say tcp:ADDR:PORT-:PORT";
	if (!parse_port(&forward->guest_port, rest + 1, 0, &rest))
		return "the guest port is no number from 1 to 65535; say tcp:ADDR:PORT-:PORT";
	return NULL;
}
