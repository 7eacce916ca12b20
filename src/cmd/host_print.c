/* SPDX-License-Identifier: MIT */
/* What `nestbox host` prints, for people and as JSON. Looks at nothing but the report. */
#include "cmd/host.h"

#include <string.h>

#include "cmd/json.h"

#define FORMAT 1 /* of the JSON; changes when a name or a meaning does */

static const char *const vendor_words[] = { "amd", "intel" };
static const char *const vendor_units[] = { "AMD-V", "VT-x" };

const char *host_report_auto(const struct host_report *report)
{
	const char *name = NULL;

	/* kvm, the second, before soft */
	for (unsigned i = 0; i < ENGINE_OFFERS; i++)
		if (report->offers[i].works)
			name = report->offers[i].name;
	return name;
}

static const char *nesting_engine(const struct kvm_host *host)
{
	return host->nesting.engine == NESTING_KVM ? "kvm" :
		host->nesting.engine == NESTING_SOFT ? "soft" : NULL;
}

/* ---- text ---- */

static void head(FILE *out, const char *name)
{
	fprintf(out, "%-12s", name);
}

static void no(FILE *out, const char *why, const char *repair)
{
	fprintf(out, "no: %s\n", why);
	if (repair[0])
		fprintf(out, "%*sto mend it: %s\n", 12, "", repair);
}

/* The other vendor's could not be there. */
static void print_features(const struct kvm_host *h, bool there, FILE *out)
{
	head(out, there ? "  has" : "  has not");
	for (unsigned i = 0; i < HOST_FEATURES; i++) {
		enum nested_vendor of = host_feature_vendor(i);
		bool has = h->features & BIT(i);

		if (has == there && (has || of != (h->amd ? NESTED_INTEL : NESTED_AMD)))
			fprintf(out, "%s ", host_feature_name(i));
	}
	fprintf(out, "\n");
}

static void print_cpu(const struct kvm_host *h, FILE *out)
{
	const char *model = h->model + strspn(h->model, " ");

	head(out, "CPU");
	fprintf(out, "%s (%s), family %u, model %u, stepping %u\n", model[0] ? model : "without a name",
		h->vendor, h->family, h->model_number, h->stepping);
	print_features(h, true, out);
	print_features(h, false, out);
}

static void print_around(const struct host_report *report, FILE *out)
{
	const struct kvm_host *h = &report->host;

	head(out, "Machine");
	if (h->nesting.level)
		fprintf(out, "a virtual machine of nestbox, level %u, engine %s\n", h->nesting.level,
			nesting_engine(h));
	else if (h->hypervisor[0])
		fprintf(out, "a virtual machine of %s\n", h->hypervisor);
	else
		fprintf(out, "no virtual machine, as far as CPUID tells\n");
	if (h->container[0]) {
		head(out, "Container");
		fprintf(out, "yes, %s\n", h->container);
	}
	head(out, "Linux");
	fprintf(out, "%s, user %s (%lu)\n", report->kernel, h->user[0] ? h->user : "without a name",
		report->uid);
}

static void print_kvm(const struct kvm_host *h, FILE *out)
{
	head(out, "/dev/kvm");
	if (!h->device_exists)
		fprintf(out, "is not there\n");
	else
		fprintf(out, "mode %04o, group %s (%u), %s%s\n", h->device_mode,
			h->device_group[0] ? h->device_group : "without a name", h->device_gid,
			h->open_error ? "does not open: " : "opens",
			h->open_error ? strerror(h->open_error) : "");
	head(out, "Modules");
	if (!h->has_kvm && !h->has_vendor && !h->other_module[0])
		fprintf(out, "none of KVM");
	if (h->has_kvm)
		fprintf(out, "kvm ");
	if (h->has_vendor)
		fprintf(out, "%s%s ", kvm_vendor_module(h), h->built_in ? " (built in)" : "");
	fprintf(out, "%s\n", h->other_module);
	if (!h->parameter_count)
		return;
	head(out, "Parameters");
	for (unsigned i = 0; i < h->parameter_count; i++)
		fprintf(out, "%s.%s=%s ", h->parameters[i].module, h->parameters[i].name,
			h->parameters[i].value);
	fprintf(out, "\n");
}

static void print_engine(const struct engine_offer *offer, FILE *out)
{
	char name[24];

	snprintf(name, sizeof(name), "Engine %s", offer->name);
	fprintf(out, "\n");
	head(out, name);
	if (!offer->works) {
		no(out, offer->why, offer->repair);
		return;
	}
	fprintf(out, "works: up to %u CPU%s", offer->cpus, offer->cpus == 1 ? "" : "s");
	if (offer->memory != UINT64_MAX)
		fprintf(out, ", up to %llu MiB of memory now",
			(unsigned long long)(offer->memory / MIB));
	fprintf(out, "\n");
	if (offer->slow[0]) {
		head(out, "  speed");
		no(out, offer->slow, offer->slow_repair);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(offer->nested); i++) {
		head(out, i ? "  VT-x" : "  AMD-V");
		if (offer->nested[i].given)
			fprintf(out, "yes: --nested-hw-virt %s; as many levels as memory allows\n",
				vendor_words[i]);
		else
			no(out, offer->nested[i].why, offer->nested[i].repair);
	}
}

void host_print_text(const struct host_report *report, FILE *out)
{
	const char *name = host_report_auto(report);

	print_cpu(&report->host, out);
	print_around(report, out);
	print_kvm(&report->host, out);
	for (unsigned i = 0; i < ENGINE_OFFERS; i++)
		print_engine(&report->offers[i], out);
	fprintf(out, "\n");
	if (name)
		fprintf(out, "nestbox run takes the engine %s here, unless told otherwise.\n", name);
	else
		fprintf(out, "nestbox can run nothing here.\n");
}

/* ---- JSON ---- */

static void json_cpu(struct json *json, const struct kvm_host *h)
{
	json_open(json, "cpu", '{');
	json_string(json, "vendor", h->vendor);
	json_text(json, "name", h->model + strspn(h->model, " "));
	json_number(json, "family", h->family);
	json_number(json, "model", h->model_number);
	json_number(json, "stepping", h->stepping);
	json_open(json, "features", '{');
	for (unsigned i = 0; i < HOST_FEATURES; i++)
		json_bool(json, host_feature_name(i), h->features & BIT(i));
	json_close(json, '}');
	json_close(json, '}');
}

static void json_kvm(struct json *json, const struct kvm_host *h)
{
	json_open(json, "kvm", '{');
	json_open(json, "device", '{');
	json_bool(json, "exists", h->device_exists);
	json_bool(json, "opens", h->device_exists && !h->open_error);
	json_text(json, "error", h->open_error ? strerror(h->open_error) : "");
	if (h->device_exists) {
		char mode[8];

		snprintf(mode, sizeof(mode), "%04o", h->device_mode);
		json_string(json, "mode", mode);
		json_number(json, "uid", h->device_uid);
		json_number(json, "gid", h->device_gid);
		json_text(json, "group", h->device_group);
	}
	json_close(json, '}');
	json_open(json, "modules", '[');
	if (h->has_kvm)
		json_string(json, NULL, "kvm");
	if (h->has_vendor)
		json_string(json, NULL, kvm_vendor_module(h));
	if (h->other_module[0])
		json_string(json, NULL, h->other_module);
	json_close(json, ']');
	json_open(json, "parameters", '{');
	for (unsigned i = 0; i < h->parameter_count; i++) {
		char name[64];

		snprintf(name, sizeof(name), "%s.%s", h->parameters[i].module,
			h->parameters[i].name);
		json_string(json, name, h->parameters[i].value);
	}
	json_close(json, '}');
	json_close(json, '}');
}

static void json_engine(struct json *json, const struct engine_offer *offer)
{
	json_open(json, NULL, '{');
	json_string(json, "name", offer->name);
	json_bool(json, "works", offer->works);
	json_text(json, "why", offer->why);
	json_text(json, "repair", offer->repair);
	json_text(json, "slow", offer->slow);
	json_text(json, "slow_repair", offer->slow_repair);
	json_number(json, "cpus", offer->cpus);
	if (offer->memory == UINT64_MAX)
		json_null(json, "memory");
	else
		json_number(json, "memory", offer->memory);
	json_open(json, "nested", '{');
	for (unsigned i = 0; i < ARRAY_SIZE(offer->nested); i++) {
		const struct nested_offer *nested = &offer->nested[i];

		json_open(json, vendor_words[i], '{');
		json_string(json, "unit", vendor_units[i]);
		json_bool(json, "given", nested->given);
		json_text(json, "why", nested->why);
		json_text(json, "repair", nested->repair);
		json_close(json, '}');
	}
	json_close(json, '}');
	json_close(json, '}');
}

void host_print_json(const struct host_report *report, FILE *out)
{
	const struct kvm_host *h = &report->host;
	struct json json = { .out = out };

	json_open(&json, NULL, '{');
	json_number(&json, "format", FORMAT);
	json_cpu(&json, h);
	json_text(&json, "hypervisor", h->hypervisor);
	json_number(&json, "level", h->nesting.level);
	json_string(&json, "outer_engine", nesting_engine(h));
	json_text(&json, "container", h->container);
	json_string(&json, "linux", report->kernel);
	json_text(&json, "user", h->user);
	json_number(&json, "uid", report->uid);
	json_kvm(&json, h);
	json_open(&json, "engines", '[');
	for (unsigned i = 0; i < ENGINE_OFFERS; i++)
		json_engine(&json, &report->offers[i]);
	json_close(&json, ']');
	json_string(&json, "auto", host_report_auto(report));
	json_close(&json, '}');
}
