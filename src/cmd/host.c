/* SPDX-License-Identifier: MIT */
/* `nestbox host`: reads and tries the host, and prints what follows from it. */
#include "cmd/host.h"

#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/options.h"

#define EXIT_NO_ENGINE 1
#define EXIT_USAGE 2

static int print_help(void)
{
	printf("Usage: nestbox host [options]\n\n"
		"Tells what this host can run and what it lacks, and how to mend that.\n\n"
		"  --json      prints it as JSON; docs/host.md describes the shape\n"
		"  --help      prints this\n\n"
		"Exit status: 0 an engine works here, 1 none works, 2 wrong command line.\n");
	return 0;
}

static int refuse_word(const char *word)
{
	static const char *const names[] = { "--json", "--help", NULL };
	const char *near = nearest_name(word, names);

	if (near)
		message("%.60s: is no option; did you mean %s?", word, near);
	else
		message("%.60s: is no option; see nestbox host --help", word);
	return EXIT_USAGE;
}

int cmd_host(int argc, char **argv)
{
	struct host_report *report;
	struct utsname name;
	bool json = false;
	int status;

	for (int i = 0; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return print_help();
		if (strcmp(argv[i], "--json"))
			return refuse_word(argv[i]);
		json = true;
	}
	report = calloc(1, sizeof(*report));
	if (!report) {
		message("out of memory");
		return EXIT_NO_ENGINE;
	}
	if (!uname(&name))
		snprintf(report->kernel, sizeof(report->kernel), "%s", name.release);
	report->uid = getuid();
	kvm_try(&report->host);
	engine_offers(report->offers, &report->host);
	if (json)
		host_print_json(report, stdout);
	else
		host_print_text(report, stdout);
	status = host_report_auto(report) ? 0 : EXIT_NO_ENGINE;
	free(report);
	return status;
}
