/* SPDX-License-Identifier: MIT */
/* In place of the user-mode network, where nestbox is built without libslirp (-Dminimal=true). */
#include "dev/net_user.h"

#include <errno.h>

bool net_user_is_built(void)
{
	return false;
}

int net_user_new(struct net_backend **backend, struct loop *loop, unsigned level,
	const struct net_forward *forwards, unsigned count, unsigned *failed)
{
	*failed = count;
	return -ENOTSUP;
}
