/* SPDX-License-Identifier: MIT */
/* The options of `nestbox run`: one table that parses, helps, and knows the names. */
#include "cmd/options.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cpu/nesting.h"
#include "machine/escape.h"

#define CODE_CACHE_MIN (4 * MIB)
#define CODE_CACHE_MAX (1 * GIB)
#define MEMORY_DEFAULT (512 * MIB)
#define CODE_CACHE_DEFAULT (128 * MIB)

static int fail(struct run_options *o, const char *format, ...) PRINTF(2, 3);
static int fail(struct run_options *o, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(o->problem, sizeof(o->problem), format, args);
	va_end(args);
	return -1;
}

static int set_kernel(struct run_options *o, const char *value)
{
	o->source.kernel.path = value;
	return 0;
}

static int set_initrd(struct run_options *o, const char *value)
{
	o->source.initrd.path = value;
	return 0;
}

static int set_append(struct run_options *o, const char *value)
{
	o->source.append = value;
	return 0;
}

static int set_module(struct run_options *o, const char *value)
{
	unsigned n = o->source.module_count;
	char *comma;

	if (n == MODULES_MAX)
		return fail(o, "--module %.100s: is one too many; at most %u can be given", value,
			MODULES_MAX);
	o->module_text[n] = strdup(value);
	if (!o->module_text[n])
		return fail(o, "--module: out of memory");
	comma = strchr(o->module_text[n], ',');
	if (comma)
		*comma = 0;
	o->modules[n] = (struct boot_module){
		.file = { .option = "--module", .path = o->module_text[n], .fd = -1 },
		.args = comma ? comma + 1 : "" };
	o->source.module_count++;
	return 0;
}

static int set_memory(struct run_options *o, const char *value)
{
	u64 size;

	if (!parse_size(value, &size))
		return fail(o, "--memory %.100s: is no size; give a number and K, M, G or T, such as "
			"512M", value);
	if (size < 2 * MIB || size & ~PAGE_MASK)
		return fail(o, "--memory %.100s: is too little or no whole number of pages; give a "
			"size such as 512M", value);
	if (size > BIT(46))
		return fail(o, "--memory %.100s: is more than any host has; give less", value);
	o->board.memory = size;
	return 0;
}

static int set_cpus(struct run_options *o, const char *value)
{
	char *end;
	unsigned long n = strtoul(value, &end, 10);

	if (value[0] < '0' || value[0] > '9' || *end || n == 0)
		return fail(o, "--cpus %.100s: is no number of CPUs; give 1", value);
	if (n > MACHINE_CPUS_MAX)
		return fail(o, "--cpus %.100s: is too many; give at most %d", value,
			MACHINE_CPUS_MAX);
	o->board.cpus = n;
	return 0;
}

static int set_nested(struct run_options *o, const char *value)
{
	if (!strcmp(value, "off"))
		o->machine.nested = NESTED_OFF;
	else if (!strcmp(value, "amd"))
		o->machine.nested = NESTED_AMD;
	else if (!strcmp(value, "intel"))
		o->machine.nested = NESTED_INTEL;
	else
		return fail(o, "--nested-hw-virt %.100s: is not known; give off, amd or intel", value);
	return 0;
}

static int set_cpu(struct run_options *o, const char *value)
{
	o->machine.model = cpu_model_find(value);
	if (!o->machine.model && strcmp(value, "host"))
		return fail(o, "--cpu %.40s: is not known; give one of %s", value, cpu_model_names);
	return 0;
}

static int set_engine(struct run_options *o, const char *value)
{
	if (!strcmp(value, "auto"))
		o->machine.engine = ENGINE_AUTO;
	else if (!strcmp(value, "soft"))
		o->machine.engine = ENGINE_SOFT;
	else if (!strcmp(value, "kvm"))
		o->machine.engine = ENGINE_KVM;
	else
		return fail(o, "--engine %.100s: is not known; give auto, soft or kvm", value);
	return 0;
}

static int set_disk(struct run_options *o, const char *value)
{
	unsigned n = o->board.disk_count;
	char *comma;

	if (n == BOARD_DISKS_MAX)
		return fail(o, "--disk %.100s: is one too many; at most %u can be given", value,
			BOARD_DISKS_MAX);
	o->disk_text[n] = strdup(value);
	if (!o->disk_text[n])
		return fail(o, "--disk: out of memory");
	/* Only a known word ends the name, so that other commas can be part of it */
	comma = strrchr(o->disk_text[n], ',');
	o->disk_read_only[n] = comma && !strcmp(comma, ",readonly");
	if (o->disk_read_only[n])
		*comma = 0;
	o->board.disks[n].fd = -1;
	o->board.disk_paths[n] = o->disk_text[n];
	o->board.disk_count++;
	return 0;
}

static int add_forward(struct run_options *o, const char *text)
{
	const char *wrong;

	if (o->board.forward_count == BOARD_FORWARDS_MAX)
		return fail(o, "--net: %.100s is one forward too many; at most %u can be given", text,
			BOARD_FORWARDS_MAX);
	wrong = net_user_parse_forward(&o->board.forwards[o->board.forward_count], text);
	if (wrong)
		return fail(o, "--net hostfwd=%.100s: %s", text, wrong);
	o->board.forward_count++;
	return 0;
}

static int set_net(struct run_options *o, const char *value)
{
	char text[512];
	char *rest = NULL, *word;

	if (strlen(value) >= sizeof(text))
		return fail(o, "--net: the text is too long; give fewer forwards");
	strcpy(text, value);
	word = strtok_r(text, ",", &rest);
	if (!word || strcmp(word, "user"))
		return fail(o, "--net %.100s: is not known; give user, or "
			"user,hostfwd=tcp:ADDR:PORT-:PORT", value);
	if (!net_user_is_built())
		return fail(o, "--net %.100s: this build of nestbox has no network; leave --net "
			"out, or take one that is not minimal", value);
	o->board.net = true;
	while ((word = strtok_r(NULL, ",", &rest))) {
		if (strncmp(word, "hostfwd=", 8))
			return fail(o, "--net user: %.100s is not known; give "
				"hostfwd=tcp:ADDR:PORT-:PORT", word);
		if (add_forward(o, word + 8))
			return -1;
	}
	return 0;
}

static int set_rng(struct run_options *o, const char *value)
{
	if (strcmp(value, "on") && strcmp(value, "off"))
		return fail(o, "--rng %.100s: is not known; give on or off", value);
	o->board.rng = !strcmp(value, "on");
	return 0;
}

static bool is_console(const char *value)
{
	return !strcmp(value, "stdio") || !strcmp(value, "off") ||
	       ((!strncmp(value, "file:", 5) || !strncmp(value, "unix:", 5)) && value[5]);
}

static int set_serial(struct run_options *o, const char *value)
{
	o->machine.serial = value;
	if (!is_console(value))
		return fail(o, "--serial %.100s: is not known; give stdio, file:PATH, unix:PATH or off",
			value);
	return 0;
}

static int set_escape(struct run_options *o, const char *value)
{
	if (!escape_parse(value, &o->machine.escape))
		return fail(o, "--escape %.100s: is no key for that; give one such as Ctrl-B or Ctrl-], "
			"or none", value);
	o->escape_given = true;
	return 0;
}

static int set_console(struct run_options *o, const char *value)
{
	o->machine.console = value;
	o->board.console = strcmp(value, "off");
	if (!is_console(value))
		return fail(o, "--console %.100s: is not known; give stdio, file:PATH, unix:PATH or "
			"off", value);
	return 0;
}

static int set_debug_exit(struct run_options *o, const char *value)
{
	char *end;
	unsigned long port = 0xf4;

	if (value) {
		port = strtoul(value, &end, 0);
		if (value[0] < '0' || value[0] > '9' || *end || port > 0xfffc)
			return fail(o, "--debug-exit=%.100s: is no I/O port; give one such as 0xf4",
				value);
	}
	o->board.debug_exit = true;
	o->board.debug_exit_port = port;
	return 0;
}

static int set_trace(struct run_options *o, const char *value)
{
	static const char names[] =
#define TRACE_POINT(name, comment) " " #name
#include "base/trace.def"
#undef TRACE_POINT
		;
	const char *unknown = trace_enable(value);

	if (unknown)
		return fail(o, "--trace %.*s: is not known; give some of:%s",
			(int)MIN(strcspn(unknown, ","), 40), unknown, names);
	return 0;
}

static int set_code_cache(struct run_options *o, const char *value)
{
	u64 size;

	if (!parse_size(value, &size) || size < CODE_CACHE_MIN || size > CODE_CACHE_MAX ||
	    size & ~PAGE_MASK)
		return fail(o, "--code-cache %.100s: is no size from 4M to 1G; give one such as 128M",
			value);
	o->machine.code_cache = size;
	return 0;
}

static int set_no_reboot(struct run_options *o, const char *value)
{
	o->machine.no_reboot = true;
	return 0;
}

static int set_stats(struct run_options *o, const char *value)
{
	o->stats = true;
	return 0;
}

static int set_help(struct run_options *o, const char *value)
{
	o->help = true;
	return 0;
}

/* value: what follows the name in the help; in brackets: may be missing; NULL: there is none. */
static const struct option {
	const char *name, *value, *help;
	int (*set)(struct run_options *o, const char *value);
} table[] = {
	{ "--kernel", "FILE", "kernel: a Linux bzImage, or ELF by multiboot 1 or PVH", set_kernel },
	{ "--initrd", "FILE", "initial RAM disk of a Linux or PVH kernel", set_initrd },
	{ "--append", "TEXT", "command line of the kernel", set_append },
	{ "--module", "FILE[,ARGS]", "module of a multiboot or PVH kernel; repeatable", set_module },
	{ "--memory", "SIZE", "guest memory, such as 512M (the default) or 4G", set_memory },
	{ "--cpus", "N", "number of CPUs; with the soft engine only 1", set_cpus },
	{ "--nested-hw-virt", "off|amd|intel", "virtualization unit of the guest's CPU; off by default",
		set_nested },
	{ "--cpu", "MODEL", "which CPU the guest's says it is, such as zen3 or icelake; host by default",
		set_cpu },
	{ "--engine", "auto|soft|kvm", "what runs the guest: /dev/kvm, or nestbox alone; auto takes kvm "
		"where it works", set_engine },
	{ "--disk", "FILE[,readonly]", "raw disk image as virtio-blk; repeatable", set_disk },
	{ "--net", "user[,hostfwd=tcp:ADDR:PORT-:PORT]", "virtio-net to a network of its own behind "
		"NAT; hostfwd is repeatable", set_net },
	{ "--rng", "on|off", "virtio entropy source; off by default", set_rng },
	{ "--serial", "stdio|file:PATH|unix:PATH|off", "where the serial port leads; stdio by default, "
		"off with --console stdio", set_serial },
	{ "--console", "stdio|file:PATH|unix:PATH|off", "virtio console (hvc0) and where it leads; off by "
		"default", set_console },
	{ "--escape", "KEY", "key that begins commands on the terminal, such as Ctrl-B, or none",
		set_escape },
	{ "--debug-exit", "[PORT]", "a write of V to this port (0xf4) ends the VM with status 2V+1",
		set_debug_exit },
	{ "--trace", "LIST", "print trace points, such as svm,mmu", set_trace },
	{ "--no-reboot", NULL, "end the VM where the guest resets it", set_no_reboot },
	{ "--stats", NULL, "print counts and times at the end", set_stats },
	{ "--code-cache", "SIZE", "memory for translated code, 128M by default", set_code_cache },
	{ "--help", NULL, "print this", set_help },
};

void run_options_print_help(void)
{
	unsigned level = nesting_here().level;
	char key[ESCAPE_NAME_LEN];

	printf("Usage: nestbox run --kernel FILE [options]\n\nRuns a virtual machine.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const struct option *option = &table[i];
		const char *value = option->value ? option->value : "";
		int used = printf("  %s%s%s%s", option->name,
			value[0] && value[0] != '[' ? " " : "", value[0] == '[' ? "[=" : "",
			value[0] == '[' ? value + 1 : value);

		if (used > 34)
			printf("\n%*s%s\n", 36, "", option->help);
		else
			printf("%*s%s\n", 36 - used, "", option->help);
	}
	if (!net_user_is_built())
		printf("\nThis build has no network: --net is refused.\n");
	escape_name(escape_default(level), key);
	printf("\nWith a console on the terminal: %s X quits, %s H helps, %s %c sends %s%s.\n"
		"Exit status: 0 guest powered off, 1 other ends, 2 wrong command line, 3 "
		"triple fault with --no-reboot,\n2V+1 by --debug-exit.\n", key, key, key,
		escape_letter(escape_default(level)), key,
		level ? " (this is inside another nestbox)" : "");
}

static int unknown(struct run_options *o, const char *word)
{
	const char *names[ARRAY_SIZE(table) + 1] = { 0 };
	char name[40];
	const char *near;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		names[i] = table[i].name;
	snprintf(name, sizeof(name), "%.*s", (int)MIN(strcspn(word, "="), sizeof(name) - 1), word);
	near = nearest_name(name, names);
	if (near)
		return fail(o, "%.60s: is no option; did you mean %s?", word, near);
	return fail(o, "%.60s: is no option; see nestbox run --help", word);
}

static const struct option *find_option(const char *word, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (strlen(table[i].name) == len && !strncmp(table[i].name, word, len))
			return &table[i];
	return NULL;
}

/* A model is its vendor's, and so is a virtualization unit. */
static int check_vendor(struct run_options *o)
{
	const struct cpu_model *model = o->machine.model;

	if (!model || o->machine.nested == NESTED_OFF || o->machine.nested == model->vendor)
		return 0;
	return fail(o, "--cpu %s: is no CPU with --nested-hw-virt %s; give another model, or leave --cpu "
		"out", model->name, o->machine.nested == NESTED_AMD ? "amd" : "intel");
}

/* The terminal has room for one. */
static int choose_serial(struct run_options *o)
{
	const char *console = o->machine.console;

	if (!o->machine.serial)
		o->machine.serial = strcmp(console, "stdio") ? "stdio" : "off";
	if (strcmp(console, "off") && !strcmp(console, o->machine.serial))
		return fail(o, "--console %.100s: --serial leads there too; give one of them another "
			"place", console);
	return 0;
}

int run_options_parse(struct run_options *o, int argc, char **argv)
{
	memset(o, 0, sizeof(*o));
	o->source = (struct boot_source){ .kernel = { .option = "--kernel", .fd = -1 },
		.initrd = { .option = "--initrd", .fd = -1 }, .append = "", .modules = o->modules };
	o->board = (struct board_config){ .memory = MEMORY_DEFAULT, .cpus = 1,
		.source = &o->source, .level = nesting_here().level };
	o->machine = (struct machine_config){ .board = &o->board,
		.console = "off", .escape = escape_default(o->board.level),
		.code_cache = CODE_CACHE_DEFAULT };

	for (int i = 0; i < argc; i++) {
		const char *word = argv[i];
		size_t len = strcspn(word, "=");
		const char *value = word[len] ? word + len + 1 : NULL;
		const struct option *option = find_option(word, len);

		if (!option)
			return unknown(o, word);
		if (!option->value && value)
			return fail(o, "%s: takes no value; leave out =%.60s", option->name, value);
		/* A value that may be missing comes only with `=` */
		if (option->value && option->value[0] != '[' && !value) {
			if (++i == argc)
				return fail(o, "%s: its value is missing; give %s", option->name,
					option->value);
			value = argv[i];
		}
		if (option->set(o, value))
			return -1;
	}
	return check_vendor(o) ? -1 : choose_serial(o);
}

void run_options_free(struct run_options *o)
{
	for (unsigned i = 0; i < ARRAY_SIZE(o->module_text); i++)
		free(o->module_text[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(o->disk_text); i++)
		free(o->disk_text[i]);
}
