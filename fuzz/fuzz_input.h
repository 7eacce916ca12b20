/* SPDX-License-Identifier: MIT */
/* What every fuzzer needs: the reader of its input, and a way to say what must hold. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include "base/types.h"

/* The input; what is missing at its end is zero. */
struct fuzz_input {
	const u8 *bytes;
	size_t left;
};

/* The next 1 to 8 bytes, little-endian. */
u64 fuzz_take(struct fuzz_input *input, unsigned size);
/* Ends the fuzzer where `holds` is false. */
void fuzz_require(bool holds, const char *what);

#endif
