/* SPDX-License-Identifier: MIT */
/*
 * Fills memory and looks whether all of it is still there: fill MEBIBYTES. Each page begins and
 * ends with its own number, so that two pages in one place are seen.
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define WORDS 512 /* in a page */

int main(int argc, char **argv)
{
	uint64_t pages = argc > 1 ? strtoull(argv[1], NULL, 10) << 8 : 0, wrong = 0;
	uint64_t *memory = mmap(NULL, pages << 12, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (!pages || memory == MAP_FAILED) {
		perror("fill");
		return 1;
	}
	for (uint64_t i = 0; i < pages; i++) {
		memory[i * WORDS] = i;
		memory[i * WORDS + WORDS - 1] = ~i;
	}
	for (uint64_t i = 0; i < pages; i++)
		wrong += memory[i * WORDS] != i || memory[i * WORDS + WORDS - 1] != ~i;
	printf("fill: %llu pages, %llu wrong\n", (unsigned long long)pages,
		(unsigned long long)wrong);
	return wrong != 0;
}
