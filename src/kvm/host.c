/* SPDX-License-Identifier: MIT */
/* Reads what the host says of itself: CPUID, and files of /proc, /sys, /dev and /etc. */
#include "kvm/host.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EAX, EBX, ECX, EDX };

#define EXTENDED 0x80000000u
#define HYPERVISOR 0x40000000u
#define MSR_FEATURE_CONTROL 0x3a /* SDM4 table 2-2 */
#define MSR_VM_CR 0xc0010114     /* APM2 15.30.1 */

/* ---- CPUID: SDM2, APM3 appendix E ---- */

static const struct {
	const char *name;
	u32 leaf;
	u8 reg, bit;
	enum nested_vendor of; /* a part of that vendor's virtualization unit */
} features[HOST_FEATURES] = {
	[HOST_SVM] = { "svm", EXTENDED + 1, ECX, 2, NESTED_AMD },
	[HOST_NPT] = { "npt", EXTENDED + 0xa, EDX, 0, NESTED_AMD },
	[HOST_NRIPS] = { "nrip_save", EXTENDED + 0xa, EDX, 3, NESTED_AMD },
	[HOST_VMCB_CLEAN] = { "vmcb_clean", EXTENDED + 0xa, EDX, 5, NESTED_AMD },
	[HOST_DECODE_ASSISTS] = { "decode_assists", EXTENDED + 0xa, EDX, 7, NESTED_AMD },
	[HOST_V_VMLOAD] = { "virtual_vmload", EXTENDED + 0xa, EDX, 15, NESTED_AMD },
	[HOST_VGIF] = { "vgif", EXTENDED + 0xa, EDX, 16, NESTED_AMD },
	[HOST_AVIC] = { "avic", EXTENDED + 0xa, EDX, 13, NESTED_AMD },
	[HOST_VMX] = { "vmx", 1, ECX, 5, NESTED_INTEL },
	[HOST_EPT] = { "ept", .of = NESTED_INTEL }, /* an MSR says it: by /proc/cpuinfo */
	[HOST_V2] = { "x86_64_v2" }, /* of several bits */
	[HOST_AVX] = { "avx", 1, ECX, 28 },
	[HOST_AVX2] = { "avx2", 7, EBX, 5 },
	[HOST_AVX512] = { "avx512", 7, EBX, 16 },
	[HOST_BMI2] = { "bmi2", 7, EBX, 8 },
	[HOST_FSGSBASE] = { "fsgsbase", 7, EBX, 0 },
	[HOST_1G_PAGES] = { "pages_1g", EXTENDED + 1, EDX, 26 },
	[HOST_X2APIC] = { "x2apic", 1, ECX, 21 },
	[HOST_INVARIANT_TSC] = { "invariant_tsc", EXTENDED + 7, EDX, 8 },
};

const char *host_feature_name(enum host_feature feature)
{
	return features[feature].name;
}

enum nested_vendor host_feature_vendor(enum host_feature feature)
{
	return features[feature].of;
}

const char *kvm_vendor_module(const struct kvm_host *host)
{
	return host->amd ? "kvm_amd" : "kvm_intel";
}

/* Zero beyond the last leaf. */
static void leaf(const struct cpuid_source *cpuid, u32 number, u32 out[4])
{
	cpuid->read(cpuid->arg, number & EXTENDED, 0, out);
	if (out[EAX] >= number)
		cpuid->read(cpuid->arg, number, 0, out);
	else
		memset(out, 0, 4 * sizeof(u32));
}

static void read_cpu(struct kvm_host *h, const struct cpuid_source *cpuid)
{
	/* SSE3 SSSE3 CMPXCHG16B SSE4.1 SSE4.2 POPCNT, and LAHF */
	const u32 v2 = BIT(0) | BIT(9) | BIT(13) | BIT(19) | BIT(20) | BIT(23);
	u32 out[4], signature;

	cpuid->read(cpuid->arg, 0, 0, out);
	memcpy(h->vendor, &out[EBX], 4);
	memcpy(h->vendor + 4, &out[EDX], 4);
	memcpy(h->vendor + 8, &out[ECX], 4);
	h->amd = !strcmp(h->vendor, "AuthenticAMD") || !strcmp(h->vendor, "HygonGenuine");

	leaf(cpuid, 1, out);
	signature = out[EAX];
	h->stepping = signature & 0xf;
	h->model_number = signature >> 4 & 0xf;
	h->family = signature >> 8 & 0xf;
	/* SDM2, leaf 1: extended family and model */
	if (h->family == 0xf || h->family == 6)
		h->model_number |= signature >> 12 & 0xf0;
	if (h->family == 0xf)
		h->family += signature >> 20 & 0xff;
	if ((out[ECX] & v2) == v2) {
		leaf(cpuid, EXTENDED + 1, out);
		h->features |= out[ECX] & 1 ? BIT(HOST_V2) : 0;
	}
	for (unsigned i = 0; i < HOST_FEATURES; i++) {
		if (!features[i].leaf)
			continue;
		leaf(cpuid, features[i].leaf, out);
		if (out[features[i].reg] >> features[i].bit & 1)
			h->features |= BIT(i);
	}
	for (unsigned i = 0; i < 3; i++) {
		leaf(cpuid, EXTENDED + 2 + i, out);
		memcpy(h->model + 16 * i, out, 16);
	}
}

/* Signatures of leaf 40000000h, as their makers give them. */
static const struct {
	const char *signature, *name;
} hypervisors[] = {
	{ "KVMKVMKVM", "KVM" }, { "Linux KVM Hv", "KVM" }, { "TCGTCGTCGTCG", "QEMU" },
	{ "VMwareVMware", "VMware" }, { "VBoxVBoxVBox", "VirtualBox" },
	{ "Microsoft Hv", "Hyper-V" }, { "XenVMMXenVMM", "Xen" },
	{ "bhyve bhyve ", "bhyve" }, { "ACRNACRNACRN", "ACRN" },
	{ "prl hyperv  ", "Parallels" }, { " lrpepyh  vr", "Parallels" },
	{ "OpenBSDVMM58", "OpenBSD vmm" }, { "___ NVMM ___", "NetBSD NVMM" },
	{ "Jailhouse", "Jailhouse" }, { "QNXQVMBSQG", "QNX" }, { "VirtualApple", "Rosetta" },
};

/*
 * Several ranges may be there: a hypervisor that also shows Hyper-V's leaves for Windows is
 * itself, so Hyper-V is what has no other.
 */
static void read_hypervisor(struct kvm_host *h, const struct cpuid_source *cpuid)
{
	u32 out[4];

	h->nesting = nesting_find(cpuid);
	leaf(cpuid, 1, out);
	if (!(out[ECX] & BIT(31)))
		return;
	strcpy(h->hypervisor, "an unknown hypervisor");
	if (h->nesting.level) {
		strcpy(h->hypervisor, "nestbox");
		return;
	}
	for (u32 base = HYPERVISOR; base < HYPERVISOR + 0x10000; base += 0x100) {
		char signature[13] = "";

		cpuid->read(cpuid->arg, base, 0, out);
		memcpy(signature, &out[EBX], 12);
		for (size_t i = 0; i < ARRAY_SIZE(hypervisors); i++) {
			if (strcmp(signature, hypervisors[i].signature))
				continue;
			strcpy(h->hypervisor, hypervisors[i].name);
			if (strcmp(h->hypervisor, "Hyper-V"))
				return;
		}
	}
}

/* ---- files ---- */

static FILE *open_below(const char *root, const char *path)
{
	char full[PATH_MAX];

	snprintf(full, sizeof(full), "%s%s", root, path);
	return fopen(full, "re");
}

static bool is_below(const char *root, const char *path)
{
	char full[PATH_MAX];

	snprintf(full, sizeof(full), "%s%s", root, path);
	return !access(full, F_OK);
}

/* The first line without its end; false: there is none. */
static bool read_line(const char *root, const char *path, char *line, size_t size)
{
	FILE *file = open_below(root, path);
	bool good = file && fgets(line, size, file);

	if (file)
		fclose(file);
	if (good)
		line[strcspn(line, "\n")] = 0;
	return good;
}

static bool has_word(const char *line, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = line; (at = strstr(at, word)); at += len)
		if ((at == line || strchr(" \t:", at[-1])) && strchr(" \n", at[len]))
			return true;
	return false;
}

/* The first CPU's lines; there the kernel leaves out what the firmware has switched off. */
static void read_cpuinfo(struct kvm_host *h, const char *root)
{
	FILE *file = open_below(root, "/proc/cpuinfo");
	char *line = NULL;
	size_t size = 0;

	if (!file)
		return;
	while (getline(&line, &size, file) > 0 && line[0] != '\n') {
		bool flags = !strncmp(line, "flags", 5), vmx_flags = !strncmp(line, "vmx flags", 9);

		if (flags)
			h->kernel_sees_unit = has_word(line, h->amd ? "svm" : "vmx");
		if ((flags || vmx_flags) && has_word(line, "ept"))
			h->features |= BIT(HOST_EPT);
	}
	free(line);
	fclose(file);
}

static void read_firmware_switch(struct kvm_host *h, const char *root)
{
	char path[PATH_MAX];
	u64 value;
	int fd;

	snprintf(path, sizeof(path), "%s/dev/cpu/0/msr", root);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (pread(fd, &value, sizeof(value), h->amd ? MSR_VM_CR : MSR_FEATURE_CONTROL) ==
	    sizeof(value)) {
		/* SVMDIS; or locked without VMXON outside of SMX */
		bool off = h->amd ? value & BIT(4) : (value & BIT(0)) && !(value & BIT(2));

		h->firmware = off ? SWITCH_OFF : SWITCH_ON;
	}
	close(fd);
}

/* Where a process is in a container its repairs are outside of it. */
static void read_container(struct kvm_host *h, const char *root)
{
	static const char *const words[] = { "kubepods", "docker", "lxc", "containerd" };
	char line[512];
	FILE *file;

	if (read_line(root, "/run/systemd/container", line, sizeof(line)) && line[0])
		snprintf(h->container, sizeof(h->container), "%.31s", line);
	else if (is_below(root, "/run/.containerenv"))
		strcpy(h->container, "podman");
	else if (is_below(root, "/.dockerenv"))
		strcpy(h->container, "docker");
	file = open_below(root, "/proc/1/cgroup");
	while (file && !h->container[0] && fgets(line, sizeof(line), file))
		for (size_t i = 0; i < ARRAY_SIZE(words) && !h->container[0]; i++)
			if (strstr(line, words[i]))
				strcpy(h->container, words[i]);
	if (file)
		fclose(file);
}

static void read_parameters(struct kvm_host *h, const char *root)
{
	static const struct {
		const char *module, *name;
	} known[] = {
		{ "kvm", "tdp_mmu" }, { "kvm", "ignore_msrs" },
		{ "kvm_amd", "nested" }, { "kvm_amd", "npt" }, { "kvm_amd", "vls" },
		{ "kvm_amd", "vgif" }, { "kvm_amd", "avic" },
		{ "kvm_intel", "nested" }, { "kvm_intel", "ept" }, { "kvm_intel", "vpid" },
		{ "kvm_intel", "unrestricted_guest" }, { "kvm_intel", "enable_shadow_vmcs" },
		{ "kvm_intel", "enable_apicv" },
	};
	_Static_assert(ARRAY_SIZE(known) <= KVM_PARAMETERS_MAX, "each has its place");
	char path[128];

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		struct kvm_parameter *p = &h->parameters[h->parameter_count];

		snprintf(path, sizeof(path), "/sys/module/%s/parameters/%s", known[i].module,
			known[i].name);
		if (!read_line(root, path, p->value, sizeof(p->value)))
			continue;
		p->module = known[i].module;
		p->name = known[i].name;
		h->parameter_count++;
	}
}

static void read_modules(struct kvm_host *h, const char *root)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *directory;

	h->has_kvm = is_below(root, "/sys/module/kvm");
	snprintf(path, sizeof(path), "/sys/module/%s", kvm_vendor_module(h));
	h->has_vendor = is_below(root, path);
	/* Only what modprobe loaded can be taken out */
	snprintf(path, sizeof(path), "/sys/module/%s/initstate", kvm_vendor_module(h));
	h->built_in = h->has_vendor && !is_below(root, path);
	read_parameters(h, root);

	snprintf(path, sizeof(path), "%s/sys/module", root);
	directory = opendir(path);
	while (directory && (entry = readdir(directory)))
		if (!strncmp(entry->d_name, "kvm_", 4) && strcmp(entry->d_name, "kvm_amd") &&
		    strcmp(entry->d_name, "kvm_intel"))
			snprintf(h->other_module, sizeof(h->other_module), "%.23s", entry->d_name);
	if (directory)
		closedir(directory);
}

/* A line of /etc/group: name:password:number:members. */
static void use_group_line(struct kvm_host *h, char *line)
{
	char *rest = line, *name = strsep(&rest, ":"), *number, *members, *member;

	strsep(&rest, ":");
	number = strsep(&rest, ":");
	members = rest;
	if (!number || !members || strtoul(number, NULL, 10) != h->device_gid)
		return;
	snprintf(h->device_group, sizeof(h->device_group), "%.32s", name);
	members[strcspn(members, "\n")] = 0;
	while ((member = strsep(&members, ",")))
		if (h->user[0] && !strcmp(member, h->user))
			h->user_in_group = true;
}

static void read_user(struct kvm_host *h, const char *root)
{
	FILE *file = open_below(root, "/etc/passwd");
	unsigned long uid = getuid();
	char line[512];

	while (file && !h->user[0] && fgets(line, sizeof(line), file)) {
		char *rest = line, *name = strsep(&rest, ":"), *number;

		strsep(&rest, ":");
		number = strsep(&rest, ":");
		if (number && strtoul(number, NULL, 10) == uid)
			snprintf(h->user, sizeof(h->user), "%.32s", name);
	}
	if (file)
		fclose(file);
}

static void read_device(struct kvm_host *h, const char *root)
{
	char path[PATH_MAX], line[2048];
	struct stat st;
	FILE *file;

	snprintf(path, sizeof(path), "%s/dev/kvm", root);
	if (stat(path, &st))
		return;
	h->device_exists = true;
	h->device_mode = st.st_mode & 07777;
	h->device_uid = st.st_uid;
	h->device_gid = st.st_gid;
	file = open_below(root, "/etc/group");
	while (file && fgets(line, sizeof(line), file))
		use_group_line(h, line);
	if (file)
		fclose(file);
}

void kvm_host_read(struct kvm_host *h, const char *root, const struct cpuid_source *cpuid)
{
	memset(h, 0, sizeof(*h));
	read_cpu(h, cpuid);
	read_hypervisor(h, cpuid);
	/* Xen's first domain is told nothing by CPUID */
	if (!h->hypervisor[0] && is_below(root, "/sys/hypervisor/type"))
		strcpy(h->hypervisor, "Xen");
	read_cpuinfo(h, root);
	read_firmware_switch(h, root);
	read_container(h, root);
	read_user(h, root);
	read_modules(h, root);
	read_device(h, root);
}
