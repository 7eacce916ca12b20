/* SPDX-License-Identifier: MIT */
/* What `nestbox run` was told, and the checks that come before anything is created. */
#ifndef CMD_OPTIONS_H
#define CMD_OPTIONS_H

#include "base/types.h"
#include "board/board.h"
#include "machine/machine.h"

#define MODULES_MAX 64
#define PROBLEM_LEN MACHINE_PROBLEM_LEN

struct run_options {
	struct machine_config machine;
	struct board_config board;
	struct boot_source source;
	struct boot_module modules[MODULES_MAX];
	char *module_text[MODULES_MAX]; /* copies of what was cut at its comma, to be freed */
	char *disk_text[BOARD_DISKS_MAX];
	bool disk_read_only[BOARD_DISKS_MAX];
	bool stats, help;
	bool escape_given;
	char problem[PROBLEM_LEN]; /* one line: the option, what is wrong, what to do */
};

/* Parses what follows `run`; strings of argv are kept by reference. 0, or -1 with problem set.
 * run_options_free() is due in both cases. */
int run_options_parse(struct run_options *options, int argc, char **argv);
/* Opens and checks all files and sizes against each other, without creating anything. 0 or -1. */
int run_options_check(struct run_options *options);
void run_options_free(struct run_options *options);
/* One line an option, as `--help` prints them. */
void run_options_print_help(void);

/* "512M", "4G", a plain number of bytes. False: it is not a size. */
bool parse_size(const char *text, u64 *size);
/* The candidate that is most like a word, or NULL where none is near. names ends with NULL. */
const char *nearest_name(const char *word, const char *const *names);

#endif
