/* SPDX-License-Identifier: MIT */
/* The command `nestbox`: one verb, one file. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cmd/host.h"
#include "cmd/options.h"
#include "cmd/run.h"
#include "cpu/nesting.h"

static const struct {
	const char *name, *help;
	int (*run)(int argc, char **argv);
} verbs[] = {
	{ "run", "runs a virtual machine; see nestbox run --help", cmd_run },
	{ "host", "tells what this host can run, and what it lacks", cmd_host },
};

static int print_help(FILE *to)
{
	fprintf(to, "Usage: nestbox VERB [options]\n\nVirtual machines inside virtual machines.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		fprintf(to, "  %-12s%s\n", verbs[i].name, verbs[i].help);
	fprintf(to, "  --version   prints the version\n  --help      prints this\n");
	return 0;
}

int main(int argc, char **argv)
{
	const char *names[ARRAY_SIZE(verbs) + 3] = { "--help", "--version" };
	const char *near;

	message_set_level(nesting_here().level);
	if (argc < 2) {
		print_help(stderr);
		return 2;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return print_help(stdout);
	if (!strcmp(argv[1], "--version")) {
		printf("nestbox %s\n", NESTBOX_VERSION);
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(argv[1], verbs[i].name))
			return verbs[i].run(argc - 2, argv + 2);

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		names[2 + i] = verbs[i].name;
	near = nearest_name(argv[1], names);
	if (near)
		message("%.60s: is no verb; did you mean %s?", argv[1], near);
	else
		message("%.60s: is no verb; see nestbox --help", argv[1]);
	return 2;
}
