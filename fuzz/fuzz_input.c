/* SPDX-License-Identifier: MIT */
/* See fuzz_input.h. */
#include "fuzz_input.h"

#include <stdio.h>
#include <stdlib.h>

void fuzz_require(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "does not hold: %s\n", what);
	abort();
}

u64 fuzz_take(struct fuzz_input *input, unsigned size)
{
	u64 value = 0;

	for (unsigned i = 0; i < size && input->left; i++, input->left--)
		value |= (u64)*input->bytes++ << (i * 8);
	return value;
}
