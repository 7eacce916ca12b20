/* SPDX-License-Identifier: MIT */
/*
 * `nestbox host`: what is read from a host that is a directory and a made-up CPUID, what is concluded
 * from a struct, and what is printed.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmd/host.h"
#include "cmd/json.h"

/* ---- a host in a directory ---- */

static char root[] = "/tmp/nestbox-host.XXXXXX";

static int make_root(void **state)
{
	strcpy(root + strlen(root) - 6, "XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int drop_root(void **state)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

static void put(const char *path, const char *text)
{
	char full[300];
	FILE *file;

	snprintf(full, sizeof(full), "%s%s", root, path);
	for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')); at++) {
		*at = 0;
		mkdir(full, 0777);
		*at = '/';
	}
	file = fopen(full, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

struct fake_leaf {
	u32 leaf, out[4];
};

/* A list that ends with an empty row. */
static void read_fake(void *arg, u32 leaf, u32 subleaf, u32 out[4])
{
	memset(out, 0, 4 * sizeof(u32));
	for (const struct fake_leaf *row = arg; row->leaf || row->out[0]; row++)
		if (row->leaf == leaf)
			memcpy(out, row->out, sizeof(row->out));
}

#define AMD_WORDS 0x68747541, 0x444d4163, 0x69746e65     /* EBX, ECX, EDX */
#define INTEL_WORDS 0x756e6547, 0x6c65746e, 0x49656e69
#define V2 (BIT(0) | BIT(9) | BIT(13) | BIT(19) | BIT(20) | BIT(23))

static void amd_host(void **state)
{
	struct fake_leaf leaves[] = {
		{ 0, { 7, AMD_WORDS } },
		{ 1, { 0x00a20f12, 0, V2, 0 } },
		{ 7, { 0, BIT(5) | BIT(8), 0, 0 } },
		{ 0x80000000, { 0x8000000a } },
		{ 0x80000001, { 0, 0, BIT(0) | BIT(2), 0 } },
		{ 0x80000002, { 0x20202020, 0x20656854, 0x00555043 } }, /* "    The CPU" */
		{ 0x8000000a, { 1, 8, 0, BIT(0) | BIT(3) } },
		{ 0 },
	};
	struct cpuid_source cpuid = { read_fake, leaves };
	struct kvm_host h;
	char line[100];

	put("/proc/cpuinfo", "processor : 0\nflags\t\t: fpu svm npt\nbugs : x\n\nprocessor : 1\n");
	put("/sys/module/kvm/initstate", "live\n");
	put("/sys/module/kvm_amd/initstate", "live\n");
	put("/sys/module/kvm_amd/parameters/nested", "0\n");
	put("/sys/module/kvm_amd/parameters/npt", "Y\n");
	put("/dev/kvm", "");
	snprintf(line, sizeof(line), "me:x:%u:100::/:/bin/sh\n", getuid());
	put("/etc/passwd", line);
	snprintf(line, sizeof(line), "a:x:99999:you\nkvm:x:%u:you,me\nb::\n", getgid());
	put("/etc/group", line);
	kvm_host_read(&h, root, &cpuid);
	assert_string_equal(h.vendor, "AuthenticAMD");
	assert_string_equal(h.model, "    The CPU");
	assert_true(h.amd);
	assert_int_equal(h.family, 0x19);
	assert_int_equal(h.model_number, 0x21);
	assert_int_equal(h.stepping, 2);
	assert_int_equal(h.features, BIT(HOST_SVM) | BIT(HOST_NPT) | BIT(HOST_NRIPS) | BIT(HOST_V2) |
		BIT(HOST_AVX2) | BIT(HOST_BMI2));
	assert_true(h.kernel_sees_unit);
	assert_int_equal(h.firmware, SWITCH_UNKNOWN);
	assert_string_equal(h.hypervisor, "");
	assert_string_equal(h.container, "");
	assert_string_equal(h.user, "me");
	assert_true(h.has_kvm && h.has_vendor && !h.built_in);
	assert_string_equal(h.other_module, "");
	assert_int_equal(h.parameter_count, 2);
	assert_string_equal(h.parameters[0].name, "nested");
	assert_string_equal(h.parameters[0].value, "0");
	assert_true(h.device_exists);
	assert_string_equal(h.device_group, "kvm");
	assert_true(h.user_in_group);
	/* LAHF is part of x86-64-v2 as well */
	leaves[4].out[2] = BIT(2);
	kvm_host_read(&h, root, &cpuid);
	assert_false(h.features & BIT(HOST_V2));
}

static void intel_host(void **state)
{
	struct fake_leaf leaves[] = {
		{ 0, { 7, INTEL_WORDS } },
		{ 1, { 0x000906ea, 0, V2 | BIT(5) | BIT(31), 0 } },
		{ 0x40000000, { 0x40000005, 0x7263694d, 0x666f736f, 0x76482074 } }, /* Microsoft Hv */
		{ 0x80000000, { 0x80000001 } },
		/* beyond the last extended leaf: not to be looked at */
		{ 0x8000000a, { 1, 8, 0, UINT32_MAX } },
		{ 0 }, { 0 },
	};
	struct cpuid_source cpuid = { read_fake, leaves };
	struct kvm_host h;
	char msr[0x3a + 8] = { 0 };
	FILE *file;

	put("/proc/cpuinfo", "flags : fpu svmx vmxx\nvmx flags : vnmi ept_5level ept\n");
	put("/sys/module/kvm_intel/parameters/ept", "Y\n");
	put("/sys/module/kvm_pvm/initstate", "live\n");
	put("/.dockerenv", "");
	put("/run/systemd/container", "lxc\n");
	put("/dev/cpu/0/msr", "");
	kvm_host_read(&h, root, &cpuid);
	assert_false(h.amd);
	assert_int_equal(h.family, 6);
	assert_int_equal(h.model_number, 0x9e);
	assert_int_equal(h.features, BIT(HOST_VMX) | BIT(HOST_EPT));
	assert_false(h.kernel_sees_unit); /* the word is vmx, not a part of another */
	assert_string_equal(h.hypervisor, "Hyper-V");
	assert_string_equal(h.container, "lxc");
	assert_false(h.has_kvm);
	assert_true(h.has_vendor && h.built_in);
	assert_string_equal(h.other_module, "kvm_pvm");
	assert_false(h.device_exists);
	assert_int_equal(h.firmware, SWITCH_UNKNOWN);

	/* a hypervisor that also shows Hyper-V's leaves is itself */
	leaves[5] = (struct fake_leaf){ 0x40000100, { 0x40000101, 0x4b4d564b, 0x564b4d56, 0x4d } };
	msr[0x3a] = 1; /* locked, without VMX */
	file = fopen(strcat(strcpy((char[300]){ 0 }, root), "/dev/cpu/0/msr"), "w");
	assert_non_null(file);
	fwrite(msr, sizeof(msr), 1, file);
	fclose(file);
	kvm_host_read(&h, root, &cpuid);
	assert_string_equal(h.hypervisor, "KVM");
	assert_int_equal(h.firmware, SWITCH_OFF);
	leaves[2].out[1] = 0;
	leaves[5].out[1] = 0;
	kvm_host_read(&h, root, &cpuid);
	assert_string_equal(h.hypervisor, "an unknown hypervisor");
}

/* Nothing is there at all. */
static void empty_host(void **state)
{
	struct fake_leaf leaves[] = { { 0 } };
	struct cpuid_source cpuid = { read_fake, leaves };
	struct kvm_host h;

	kvm_host_read(&h, root, &cpuid);
	assert_int_equal(h.features, 0);
	assert_false(h.device_exists || h.has_kvm || h.has_vendor || h.parameter_count);
	put("/proc/1/cgroup", "0::/kubepods/pod1\n");
	put("/sys/hypervisor/type", "xen\n");
	kvm_host_read(&h, root, &cpuid);
	assert_string_equal(h.container, "kubepods");
	assert_string_equal(h.hypervisor, "Xen");
}

/* ---- conclusions ---- */

static struct kvm_host good_amd(void)
{
	struct kvm_host h = { .vendor = "AuthenticAMD", .amd = true,
		.features = BIT(HOST_SVM) | BIT(HOST_NPT) | BIT(HOST_V2), .kernel_sees_unit = true,
		.user = "me", .has_kvm = true, .has_vendor = true, .device_exists = true,
		.device_mode = 0660, .device_gid = 107, .device_group = "kvm", .gives_svm = true,
		.max_cpus = 1024, .parameter_count = 2,
		.parameters = { { "kvm_amd", "nested", "1" }, { "kvm_amd", "npt", "Y" } } };

	return h;
}

/* What is concluded, and words that its repair and its reason must have. */
static void concluded(const struct kvm_host *h, enum kvm_lack want, const char *reason,
	const char *command)
{
	char why[KVM_PROBLEM_LEN], repair[KVM_REPAIR_LEN];

	assert_int_equal(kvm_conclude(h, why, repair), want);
	if (!strstr(why, reason) || !strstr(repair, command))
		fail_msg("\"%s\" in \"%s\", \"%s\" in \"%s\"", reason, why, command, repair);
}

static void absent(void **state)
{
	struct kvm_host h = good_amd();

	concluded(&h, KVM_WORKS, "", "");
	h.device_exists = h.has_vendor = false;
	h.open_error = ENOENT;
	concluded(&h, KVM_REFUSES, "No such file", "as root: modprobe kvm_amd");
	strcpy(h.container, "podman");
	concluded(&h, KVM_REFUSES, "No such file", "outside of the container (podman), as root: "
		"modprobe kvm_amd");
	h.has_vendor = true;
	concluded(&h, KVM_REFUSES, "No such file", "--device /dev/kvm");
	h.container[0] = 0;
	concluded(&h, KVM_REFUSES, "No such file", "mknod -m 660 /dev/kvm c 10 232");
	h.has_vendor = h.kernel_sees_unit = false;
	concluded(&h, KVM_REFUSES, "AMD-V is switched off by the BIOS", "\"SVM Mode\"");
	h.firmware = SWITCH_ON; /* the MSR knows better */
	concluded(&h, KVM_REFUSES, "No such file", "modprobe");
	h.kernel_sees_unit = true;
	h.firmware = SWITCH_OFF;
	h.amd = false;
	h.features = BIT(HOST_VMX);
	concluded(&h, KVM_REFUSES, "VT-x is switched off", "\"Intel Virtualization Technology\"");
	h.open_error = EIO;
	concluded(&h, KVM_REFUSES, "Input/output error", "");
}

static void forbidden(void **state)
{
	struct kvm_host h = good_amd();

	h.open_error = EACCES;
	concluded(&h, KVM_REFUSES, "its group is kvm, its mode 0660",
		"as root: usermod -aG kvm me, then log in");
	h.user[0] = 0;
	concluded(&h, KVM_REFUSES, "denied", "usermod -aG kvm USER");
	strcpy(h.user, "me");
	h.user_in_group = true;
	concluded(&h, KVM_REFUSES, "denied", "newgrp kvm");
	h.device_mode = 0600;
	concluded(&h, KVM_REFUSES, "mode 0600", "chmod g+rw /dev/kvm");
	h.device_mode = 0660;
	h.device_gid = 0; /* nobody is put into root's group */
	strcpy(h.device_group, "root");
	concluded(&h, KVM_REFUSES, "denied", "chgrp kvm /dev/kvm");
	h.device_gid = 107;
	h.open_error = EPERM;
	concluded(&h, KVM_REFUSES, "not permitted", "DeviceAllow=/dev/kvm rw");
	strcpy(h.container, "docker");
	concluded(&h, KVM_REFUSES, "not permitted", "--group-add 107");
	h.open_error = EACCES;
	h.device_mode = 0600;
	concluded(&h, KVM_REFUSES, "denied", "outside of the container (docker), as root: chmod 666");
}

static void no_unit(void **state)
{
	static const struct {
		const char *hypervisor, *command;
	} below[] = {
		{ "", "\"SVM Mode\"" }, { "KVM", "modprobe -r kvm_amd && modprobe kvm_amd nested=1; and" },
		{ "VirtualBox", "VBoxManage modifyvm NAME --nested-hw-virt on" },
		{ "VMware", "vhv.enable = \"TRUE\"" }, { "Xen", "nestedhvm = 1" },
		{ "Hyper-V", "-ExposeVirtualizationExtensions $true" }, { "QEMU", "-cpu max" },
		{ "nestbox", "nestbox run --nested-hw-virt amd" }, { "bhyve", "ask who runs" },
		{ "an unknown hypervisor", "ask who runs" },
	};
	struct kvm_host h = good_amd();
	char why[KVM_PROBLEM_LEN], repair[KVM_REPAIR_LEN];

	h.features = BIT(HOST_V2);
	h.gives_svm = false;
	for (size_t i = 0; i < ARRAY_SIZE(below); i++) {
		strcpy(h.hypervisor, below[i].hypervisor);
		h.open_error = ENOENT;
		concluded(&h, KVM_REFUSES, "neither VT-x nor AMD-V", below[i].command);
		concluded(&h, KVM_REFUSES, below[i].hypervisor, "");
		h.open_error = 0;
		concluded(&h, KVM_NO_HARDWARE, "ordinary guests may hang", below[i].command);
		assert_false(kvm_conclude_nesting(&h, NESTED_AMD, why, repair));
		assert_non_null(strstr(why, "neither VT-x nor AMD-V"));
		assert_non_null(strstr(repair, below[i].command));
	}
	strcpy(h.other_module, "kvm_pvm");
	concluded(&h, KVM_NO_HARDWARE, "there by kvm_pvm", "");
	/* nestbox below: both engines make the unit of the CPU's vendor, and --cpu may want that one */
	h.amd = false;
	strcpy(h.hypervisor, "nestbox");
	h.nesting = (struct nesting){ 1, NESTING_SOFT };
	concluded(&h, KVM_NO_HARDWARE, "", "--nested-hw-virt intel");
	h.nesting.engine = NESTING_KVM;
	concluded(&h, KVM_NO_HARDWARE, "", "--nested-hw-virt intel");
}

static void trials(void **state)
{
	struct kvm_host h = good_amd();

	strcpy(h.lacking, "KVM_CAP_IRQCHIP");
	concluded(&h, KVM_REFUSES, "has no KVM_CAP_IRQCHIP", "Linux 4.7");
	h.lacking[0] = 0;
	strcpy(h.trial, "a guest on it hangs");
	concluded(&h, KVM_REFUSES, "a guest on it hangs", "dmesg");
	snprintf(h.trial, sizeof(h.trial), "no VM can be made: %s", strerror(EBUSY));
	concluded(&h, KVM_REFUSES, "no VM can be made", "stop the other hypervisor");
}

static void nesting(void **state)
{
	struct kvm_host h = good_amd();
	char why[KVM_PROBLEM_LEN], repair[KVM_REPAIR_LEN];

	assert_true(kvm_conclude_nesting(&h, NESTED_OFF, why, repair));
	assert_true(kvm_conclude_nesting(&h, NESTED_AMD, why, repair));
	assert_false(kvm_conclude_nesting(&h, NESTED_INTEL, why, repair));
	assert_non_null(strstr(why, "AMD-V only"));
	assert_non_null(strstr(repair, "--nested-hw-virt amd"));
	h.gives_svm = false;
	strcpy(h.parameters[0].value, "0");
	assert_false(kvm_conclude_nesting(&h, NESTED_AMD, why, repair));
	assert_non_null(strstr(why, "kvm_amd's parameter nested is off"));
	assert_non_null(strstr(repair, "modprobe -r kvm_amd && modprobe kvm_amd nested=1"));
	assert_non_null(strstr(repair, "echo options kvm_amd nested=1 >/etc/modprobe.d/"));
	h.built_in = true;
	assert_false(kvm_conclude_nesting(&h, NESTED_AMD, why, repair));
	assert_non_null(strstr(repair, "boot this kernel with kvm_amd.nested=1"));
	assert_true(kvm_conclude_paging(&h, why, repair));
	strcpy(h.parameters[1].value, "N");
	assert_false(kvm_conclude_paging(&h, why, repair));
	assert_non_null(strstr(repair, "kvm_amd.npt=1"));
	h.features &= ~BIT(HOST_NPT);
	assert_false(kvm_conclude_paging(&h, why, repair));
	assert_non_null(strstr(why, "the CPU shows no nested paging"));
	/* the other vendor's names */
	h = (struct kvm_host){ .features = BIT(HOST_VMX) | BIT(HOST_EPT), .parameter_count = 2,
		.parameters = { { "kvm_intel", "nested", "N" }, { "kvm_amd", "npt", "0" } } };
	assert_false(kvm_conclude_nesting(&h, NESTED_INTEL, why, repair));
	assert_non_null(strstr(repair, "modprobe kvm_intel nested=1"));
	assert_true(kvm_conclude_paging(&h, why, repair));
	h.gives_vmx = true;
	assert_true(kvm_conclude_nesting(&h, NESTED_INTEL, why, repair));
	assert_false(kvm_conclude_nesting(&h, NESTED_AMD, why, repair));
}

/* ---- every no has its reason; all that is printed is well formed ---- */

/* Reads one JSON value; returns what is behind it. */
static const char *skip_value(const char *at)
{
	char end;

	at += strspn(at, " \n");
	if (*at == '"') {
		for (at++; *at != '"'; at++) {
			assert_true((u8)*at >= 0x20);
			if (*at == '\\')
				assert_non_null(strchr("\"\\u", *++at));
		}
		return at + 1;
	}
	if (*at != '{' && *at != '[') {
		size_t len = strspn(at, "0123456789abcdefghijklmnopqrstuvwxyz");

		assert_true(len > 0);
		assert_true(strspn(at, "0123456789") == len || !strncmp(at, "true", len) ||
			!strncmp(at, "false", len) || !strncmp(at, "null", len));
		return at + len;
	}
	end = *at == '{' ? '}' : ']';
	at += 1 + strspn(at + 1, " \n");
	while (*at != end) {
		if (end == '}') {
			assert_int_equal(*at, '"');
			at = skip_value(at);
			assert_int_equal(*at++, ':');
		}
		at = skip_value(at);
		at += strspn(at, " \n");
		assert_true(*at == ',' || *at == end);
		if (*at == ',') {
			at += 1 + strspn(at + 1, " \n");
			assert_int_not_equal(*at, end);
		}
	}
	return at + 1;
}

static void look_at(const struct kvm_host *h)
{
	struct host_report report = { .host = *h, .kernel = "6.1 \"quoted\\\"" };
	char *text = NULL, *json = NULL;
	size_t size;
	FILE *out;

	engine_offers(report.offers, h);
	for (unsigned i = 0; i < ENGINE_OFFERS; i++) {
		const struct engine_offer *offer = &report.offers[i];

		assert_int_equal(offer->works, !offer->why[0]);
		assert_int_equal(offer->works, offer->cpus > 0);
		assert_null(strchr(offer->why, '\n'));
		for (unsigned j = 0; j < ARRAY_SIZE(offer->nested); j++)
			assert_int_equal(offer->nested[j].given, !offer->nested[j].why[0]);
		assert_int_equal(!offer->slow[0], !offer->slow_repair[0]);
	}
	out = open_memstream(&text, &size);
	host_print_text(&report, out);
	fclose(out);
	assert_null(strstr(text, "no: \n"));
	assert_non_null(strstr(text, host_report_auto(&report) ? "takes the engine" : "nothing here"));
	out = open_memstream(&json, &size);
	host_print_json(&report, out);
	fclose(out);
	assert_string_equal(skip_value(json), "\n");
	free(text);
	free(json);
}

static void every_no(void **state)
{
	static const int errors[] = { 0, ENOENT, EACCES, EPERM, ENXIO, EBUSY };
	static const char *const hypervisors[] = { "", "KVM", "nestbox", "\"odd\"\1\xff" };

	for (unsigned n = 0; n < 6 * 4 * 256; n++) {
		struct kvm_host h = good_amd();
		unsigned bits = n / 24;

		h.open_error = errors[n % 6];
		strcpy(h.hypervisor, hypervisors[n / 6 % 4]);
		h.amd = bits & 1;
		h.features = (bits & 2 ? BIT(HOST_V2) : 0) | (!(bits & 4) ? 0 : h.amd ?
			BIT(HOST_SVM) | BIT(HOST_NPT) : BIT(HOST_VMX) | BIT(HOST_EPT));
		h.gives_svm = h.amd && bits & 8;
		h.gives_vmx = !h.amd && bits & 8;
		h.device_exists = bits & 16;
		strcpy(h.trial, bits & 32 ? "a guest on it hangs" : "");
		strcpy(h.container, bits & 64 ? "docker" : "");
		strcpy(h.parameters[0].value, bits & 128 ? "1" : "0");
		look_at(&h);
	}
}

/* What auto takes; not what is better in theory. */
static void automatic(void **state)
{
	struct host_report report = { .offers = { { "soft" }, { "kvm" } } };

	assert_null(host_report_auto(&report));
	report.offers[0].works = true;
	assert_string_equal(host_report_auto(&report), "soft");
	report.offers[1].works = true;
	assert_string_equal(host_report_auto(&report), "kvm");
	report.offers[0].works = false;
	assert_string_equal(host_report_auto(&report), "kvm");
}

static void json_strings(void **state)
{
	static const struct {
		const char *value, *text;
	} rows[] = {
		{ "", "\"\"" }, { NULL, "null" }, { "a\"b\\c", "\"a\\\"b\\\\c\"" },
		{ "\1\n\t\x1f\x7f", "\"\\u0001\\u000a\\u0009\\u001f\x7f\"" },
		{ "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", "\"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80\"" },
		/* alone, cut off, too long, a surrogate, beyond Unicode */
		{ "\x80z", "\"\\ufffdz\"" }, { "\xe2\x82", "\"\\ufffd\\ufffd\"" },
		{ "\xc0\x80", "\"\\ufffd\\ufffd\"" }, { "\xe0\x80\x80", "\"\\ufffd\\ufffd\\ufffd\"" },
		{ "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"" },
		{ "\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" }, { "\xff", "\"\\ufffd\"" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char *text = NULL;
		size_t size;
		struct json json = { .out = open_memstream(&text, &size) };

		json_string(&json, NULL, rows[i].value);
		fclose(json.out);
		assert_string_equal(text, rows[i].text);
		free(text);
	}
}

static void json_shapes(void **state)
{
	char *text = NULL;
	size_t size;
	struct json json = { .out = open_memstream(&text, &size) };

	json_open(&json, NULL, '{');
	json_open(&json, "empty", '[');
	json_close(&json, ']');
	json_number(&json, "most", UINT64_MAX);
	json_open(&json, "list", '[');
	json_bool(&json, NULL, true);
	json_text(&json, NULL, "");
	json_close(&json, ']');
	json_close(&json, '}');
	fclose(json.out);
	assert_string_equal(text, "{\n  \"empty\": [],\n  \"most\": 18446744073709551615,\n  \"list\": [\n"
		"    true,\n    null\n  ]\n}\n");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(amd_host, make_root, drop_root),
		cmocka_unit_test_setup_teardown(intel_host, make_root, drop_root),
		cmocka_unit_test_setup_teardown(empty_host, make_root, drop_root),
		cmocka_unit_test(absent), cmocka_unit_test(forbidden), cmocka_unit_test(no_unit),
		cmocka_unit_test(trials), cmocka_unit_test(nesting), cmocka_unit_test(every_no),
		cmocka_unit_test(automatic), cmocka_unit_test(json_strings),
		cmocka_unit_test(json_shapes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
