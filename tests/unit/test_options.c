/* SPDX-License-Identifier: MIT */
/* Sizes, nearest names, and the option table of `nestbox run`: each option, right and wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/options.h"
#include "cpu/nesting.h"
#include "machine/escape.h"

static void sizes(void **state)
{
	static const struct {
		const char *text;
		u64 size;
	} good[] = { { "0", 0 }, { "4096", 4096 }, { "1k", 1024 }, { "512M", 512 * MIB },
		{ "4g", 4 * GIB }, { "2T", 2048 * GIB }, { "16777215T", 16777215 * (BIT(40)) } };
	static const char *const bad[] = { "", "M", "-1", "+1", " 1", "1 M", "1MB", "1.5G", "0x10",
		"16777216T", "18446744073709551616", "1P", "M1" };
	u64 size;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_true(parse_size(good[i].text, &size));
		assert_int_equal(size, good[i].size);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(parse_size(bad[i], &size));
}

static void nearest(void **state)
{
	static const char *const names[] = { "--kernel", "--memory", "--initrd", NULL };

	assert_string_equal(nearest_name("--kernle", names), "--kernel");
	assert_string_equal(nearest_name("--mem", names), "--memory");
	assert_string_equal(nearest_name("-memory", names), "--memory");
	assert_string_equal(nearest_name("--initram", names), "--initrd");
	assert_null(nearest_name("--frobnicate", names));
	assert_null(nearest_name("", names));
	assert_null(nearest_name("--an-option-that-is-longer-than-any-name-there-is", names));
}

static struct run_options *parse(int *result, const char *first, const char *second)
{
	struct run_options *options = malloc(sizeof(*options));
	char *argv[] = { (char *)first, (char *)second };

	*result = run_options_parse(options, second ? 2 : 1, argv);
	return options;
}

static void drop(struct run_options *options)
{
	run_options_free(options);
	free(options);
}

/* The value is taken behind a blank and behind an equals sign alike. */
static void accepted(const char *name, const char *value)
{
	char joined[200];
	struct run_options *options;
	int result;

	options = parse(&result, name, value);
	assert_int_equal(result, 0);
	drop(options);
	strcpy(joined, name);
	strcat(joined, "=");
	strcat(joined, value);
	options = parse(&result, joined, NULL);
	assert_int_equal(result, 0);
	drop(options);
}

/* One line that begins with the option's name. */
static void refused(const char *first, const char *second)
{
	int result;
	struct run_options *options = parse(&result, first, second);

	assert_int_equal(result, -1);
	assert_int_equal(strncmp(options->problem, first, strcspn(first, "=")), 0);
	assert_null(strchr(options->problem, '\n'));
	assert_true(strlen(options->problem) > strlen(first) + 5);
	drop(options);
}

static void values(void **state)
{
	accepted("--kernel", "x");
	accepted("--initrd", "x");
	accepted("--append", "console=ttyS0 a=b");
	accepted("--module", "x");
	accepted("--module", "x,a=b c");
	accepted("--memory", "2M");
	accepted("--memory", "8G");
	accepted("--cpus", "1");
	accepted("--cpus", "64");
	accepted("--nested-hw-virt", "off");
	accepted("--nested-hw-virt", "amd");
	accepted("--nested-hw-virt", "intel");
	accepted("--cpu", "host");
	accepted("--cpu", "zen3");
	accepted("--engine", "auto");
	accepted("--engine", "soft");
	accepted("--engine", "kvm");
	accepted("--disk", "x");
	accepted("--disk", "x,readonly");
	accepted("--net", "user");
	accepted("--net", "user,hostfwd=tcp:127.0.0.1:2222-:22");
	accepted("--net", "user,hostfwd=tcp::2222-:22,hostfwd=tcp::8080-:80");
	accepted("--rng", "on");
	accepted("--rng", "off");
	accepted("--serial", "stdio");
	accepted("--serial", "file:/tmp/x");
	accepted("--serial", "unix:/tmp/x");
	accepted("--escape", "Ctrl-B");
	accepted("--escape", "none");
	accepted("--serial", "off");
	accepted("--console", "stdio");
	accepted("--console", "file:/tmp/x");
	accepted("--console", "unix:/tmp/x");
	accepted("--console", "off");
	accepted("--trace", "svm");
	accepted("--code-cache", "64M");

	refused("--memory", "1M");
	refused("--memory", "lots");
	refused("--memory", "4194305");
	refused("--memory", "99999T");
	refused("--memory", "99999999999T");
	refused("--cpus", "65");
	refused("--cpus", "0");
	refused("--cpus", "one");
	refused("--nested-hw-virt", "yes");
	refused("--engine", "tcg");
	refused("--net", "tap");
	refused("--net", "");
	refused("--net", "user,hostfwd=udp::1-:2");
	refused("--net", "user,hostfwd=tcp::99999-:2");
	refused("--net", "user,mac=1");
	refused("--rng", "maybe");
	refused("--cpu", "z80");
	refused("--cpu", NULL);
	refused("--serial", "file:");
	refused("--serial", "pty");
	refused("--escape", "b");
	refused("--escape", "Ctrl-X");
	refused("--escape", NULL);
	refused("--console", "unix:");
	refused("--console", "on");
	refused("--trace", "svm,nothing");
	refused("--code-cache", "1K");
	refused("--code-cache", "1T");
	refused("--kernel", NULL);
	refused("--no-reboot=1", NULL);
	refused("--debug-exit=", NULL);
	refused("--debug-exit=0x10000", NULL);
	refused("--debug-exit=port", NULL);
}

static void contents(void **state)
{
	char *argv[] = { "--kernel", "k", "--module", "m1,one=1 two", "--module", "m2", "--memory",
		"4G", "--disk", "a,b,readonly", "--disk", "c,d", "--debug-exit=0x501", "--no-reboot",
		"--stats", "--append=x=y", "--escape", "^]" };
	struct run_options *o = malloc(sizeof(*o));

	assert_int_equal(run_options_parse(o, ARRAY_SIZE(argv), argv), 0);
	assert_string_equal(o->source.kernel.path, "k");
	assert_string_equal(o->source.append, "x=y");
	assert_int_equal(o->source.module_count, 2);
	assert_string_equal(o->modules[0].file.path, "m1");
	assert_string_equal(o->modules[0].args, "one=1 two");
	assert_string_equal(o->modules[1].args, "");
	assert_int_equal(o->board.memory, 4 * GIB);
	assert_int_equal(o->board.disk_count, 2);
	assert_string_equal(o->disk_text[0], "a,b");
	assert_true(o->disk_read_only[0]);
	assert_string_equal(o->disk_text[1], "c,d");
	assert_false(o->disk_read_only[1]);
	assert_true(o->board.debug_exit);
	assert_int_equal(o->board.debug_exit_port, 0x501);
	assert_true(o->machine.no_reboot);
	assert_true(o->stats);
	assert_int_equal(o->machine.escape, 0x1d);
	assert_true(o->escape_given);
	drop(o);
}

/* Two consoles in one place are refused, and the terminal goes to the one that was asked for. */
static void consoles(void **state)
{
	static const struct {
		const char *serial, *console;
		bool good;
		const char *serial_is;
	} rows[] = {
		{ NULL, NULL, true, "stdio" },
		{ NULL, "stdio", true, "off" },
		{ NULL, "file:/tmp/x", true, "stdio" },
		{ "stdio", "stdio", false, NULL },
		{ "file:/tmp/x", "file:/tmp/x", false, NULL },
		{ "file:/tmp/x", "stdio", true, "file:/tmp/x" },
		{ "stdio", "unix:/tmp/x", true, "stdio" },
		{ "off", "off", true, "off" },
		{ "stdio", "off", true, "stdio" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct run_options *o = malloc(sizeof(*o));
		char *argv[4];
		int argc = 0;

		if (rows[i].serial) {
			argv[argc++] = "--serial";
			argv[argc++] = (char *)rows[i].serial;
		}
		if (rows[i].console) {
			argv[argc++] = "--console";
			argv[argc++] = (char *)rows[i].console;
		}
		assert_int_equal(run_options_parse(o, argc, argv), rows[i].good ? 0 : -1);
		if (rows[i].good) {
			assert_string_equal(o->machine.serial, rows[i].serial_is);
			assert_int_equal(o->board.console,
				rows[i].console && strcmp(rows[i].console, "off"));
		} else {
			assert_int_equal(strncmp(o->problem, "--console", 9), 0);
		}
		drop(o);
	}
}

static void defaults(void **state)
{
	struct run_options *o = malloc(sizeof(*o));
	char *debug_exit = "--debug-exit";

	assert_int_equal(run_options_parse(o, 0, NULL), 0);
	assert_int_equal(o->board.memory, 512 * MIB);
	assert_int_equal(o->board.cpus, 1);
	assert_int_equal(o->machine.nested, NESTED_OFF);
	assert_int_equal(o->machine.code_cache, 128 * MIB);
	assert_string_equal(o->machine.serial, "stdio");
	assert_int_equal(o->board.level, nesting_here().level);
	assert_int_equal(o->machine.escape, escape_default(nesting_here().level));
	assert_false(o->escape_given);
	assert_false(o->board.net || o->board.rng || o->board.debug_exit);
	/* Without a kernel there is nothing to run */
	assert_int_equal(run_options_check(o), -1);
	assert_non_null(strstr(o->problem, "--kernel"));
	run_options_free(o);
	assert_int_equal(run_options_parse(o, 1, &debug_exit), 0);
	assert_int_equal(o->board.debug_exit_port, 0xf4);
	drop(o);
}

static void unknown(void **state)
{
	int result;
	struct run_options *o = parse(&result, "--kernle=x", NULL);

	assert_int_equal(result, -1);
	assert_non_null(strstr(o->problem, "did you mean --kernel?"));
	drop(o);
	o = parse(&result, "disk.img", NULL);
	assert_int_equal(result, -1);
	assert_non_null(strstr(o->problem, "disk.img"));
	drop(o);
}

/* What cannot be opened is named with its option. */
static void files(void **state)
{
	char *argv[] = { "--kernel", "/nonexistent/kernel" };
	struct run_options *o = malloc(sizeof(*o));

	assert_int_equal(run_options_parse(o, 2, argv), 0);
	assert_int_equal(run_options_check(o), -1);
	assert_non_null(strstr(o->problem, "--kernel /nonexistent/kernel"));
	run_options_free(o);
	argv[1] = "/";
	assert_int_equal(run_options_parse(o, 2, argv), 0);
	assert_int_equal(run_options_check(o), -1);
	assert_non_null(strstr(o->problem, "directory"));
	drop(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes), cmocka_unit_test(nearest), cmocka_unit_test(values),
		cmocka_unit_test(contents), cmocka_unit_test(consoles),
		cmocka_unit_test(defaults), cmocka_unit_test(unknown),
		cmocka_unit_test(files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
