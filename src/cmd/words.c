/* SPDX-License-Identifier: MIT */
/* Words on the command line: sizes, and the name that was probably meant. */
#include "cmd/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool parse_size(const char *text, u64 *size)
{
	static const char units[] = "KMGT";
	char *end;
	unsigned long long value;
	const char *unit;
	unsigned shift = 0;

	if (!isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno)
		return false;
	if (*end) {
		unit = strchr(units, toupper((unsigned char)*end));
		if (!unit || end[1])
			return false;
		shift = 10 * (unit - units + 1);
	}
	if (shift && value >> (64 - shift))
		return false;
	*size = (u64)value << shift;
	return true;
}

#define WORD_MAX 32

/* How many letters must be put in, left out, changed or swapped with their neighbour. */
static unsigned distance(const char *a, const char *b)
{
	unsigned rows[3][WORD_MAX + 1];
	size_t la = strlen(a), lb = strlen(b);

	if (la > WORD_MAX || lb > WORD_MAX)
		return WORD_MAX;
	for (unsigned j = 0; j <= lb; j++)
		rows[0][j] = j;
	for (unsigned i = 1; i <= la; i++) {
		unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];

		row[0] = i;
		for (unsigned j = 1; j <= lb; j++) {
			unsigned best = above[j - 1] + (a[i - 1] != b[j - 1]);

			best = MIN(best, above[j] + 1);
			best = MIN(best, row[j - 1] + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = MIN(best, above2[j - 2] + 1);
			row[j] = best;
		}
	}
	return rows[la % 3][lb];
}

const char *nearest_name(const char *word, const char *const *names)
{
	const char *best = NULL;
	unsigned best_distance = WORD_MAX;

	for (; *names; names++) {
		unsigned d = distance(word, *names);

		/* The beginning of a name is as near as a slip of one letter */
		if (strlen(word) >= 3 && !strncmp(word, *names, strlen(word)))
			d = MIN(d, 1);
		if (d < best_distance) {
			best_distance = d;
			best = *names;
		}
	}
	return best && best_distance <= 1 + strlen(best) / 3 ? best : NULL;
}
