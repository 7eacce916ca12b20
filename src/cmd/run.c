/* SPDX-License-Identifier: MIT */
/* `nestbox run`: options, checks, one VM, and how its end becomes the exit status. */
#include "cmd/run.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/options.h"
#include "cmd/stats.h"
#include "machine/escape.h"

#define EXIT_OTHER 1
#define EXIT_USAGE 2
#define EXIT_TRIPLE_FAULT 3

static int status_of(const struct machine *machine, enum machine_end end)
{
	switch (end) {
	case END_POWEROFF:
		return 0;
	case END_DEBUG_EXIT:
		return machine->debug_exit_value;
	case END_TRIPLE_FAULT:
		return EXIT_TRIPLE_FAULT;
	default:
		return EXIT_OTHER;
	}
}

/* On one terminal with other nestboxes the user must know which key is whose. */
static void tell_escape(const struct run_options *options)
{
	unsigned level = options->board.level;
	char key[ESCAPE_NAME_LEN];

	if (!level || options->escape_given || !isatty(STDIN_FILENO) ||
	    (strcmp(options->machine.serial, "stdio") && strcmp(options->machine.console, "stdio")))
		return;
	escape_name(options->machine.escape, key);
	message("inside another nestbox; the escape key of this one is %s: %s X quits, %s H helps", key,
		key, key);
}

/* From checked options to the end of the VM. */
static int run(struct run_options *options)
{
	struct machine *machine;
	int status;

	if (machine_new(&machine, &options->machine, options->problem)) {
		message("%s", options->problem);
		/* A line that names an option is about the command line */
		return options->problem[0] == '-' ? EXIT_USAGE : EXIT_OTHER;
	}
	tell_escape(options);
	status = status_of(machine, machine_run(machine));
	if (options->stats)
		stats_print(machine);
	machine_free(machine);
	return status;
}

int cmd_run(int argc, char **argv)
{
	struct run_options *options = malloc(sizeof(*options));
	int status = EXIT_USAGE;

	if (!options) {
		message("out of memory");
		return EXIT_OTHER;
	}
	/* A file at its limit (ulimit -f) is an I/O error like others */
	signal(SIGXFSZ, SIG_IGN);
	if (run_options_parse(options, argc, argv)) {
		message("%s", options->problem);
	} else if (options->help) {
		run_options_print_help();
		status = 0;
	} else if (run_options_check(options)) {
		message("%s", options->problem);
	} else {
		status = run(options);
	}
	run_options_free(options);
	free(options);
	return status;
}
