/* SPDX-License-Identifier: MIT */
/*
 * What follows from what a host says of KVM: whether it works, why not, and what would mend it.
 * Looks at nothing but the struct.
 */
#include "kvm/host.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void say(char *text, size_t size, const char *format, ...) PRINTF(3, 4);
static void say(char *text, size_t size, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(text, size, format, args);
	va_end(args);
}

#define WHY(...) say(why, KVM_PROBLEM_LEN, __VA_ARGS__)
#define REPAIR(...) say(repair, KVM_REPAIR_LEN, __VA_ARGS__)

static bool shows_unit(const struct kvm_host *h)
{
	return h->features & (BIT(HOST_SVM) | BIT(HOST_VMX));
}

static const char *unit_name(const struct kvm_host *h)
{
	return h->amd ? "AMD-V" : "VT-x";
}

/* How firmware set-ups call the switch. */
static const char *firmware_switch(const struct kvm_host *h)
{
	return h->amd ? "\"SVM Mode\" (or \"AMD-V\", \"Virtualization\")" :
		"\"Intel Virtualization Technology\" (or \"VT-x\", \"VMX\")";
}

static const char *other_name(const struct kvm_host *h)
{
	return h->other_module[0] ? h->other_module : "this kernel";
}

/* ---- no virtualization unit ---- */

/* Fills in MODULE and VENDOR. */
static void expand(const struct kvm_host *h, const char *how, char repair[KVM_REPAIR_LEN])
{
	const char *const words[][2] = { { "MODULE", kvm_vendor_module(h) },
		{ "VENDOR", h->amd ? "amd" : "intel" } };
	size_t len = 0;

	while (*how && len < KVM_REPAIR_LEN - 1) {
		const char *put = NULL;

		for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
			if (!strncmp(how, words[i][0], strlen(words[i][0]))) {
				put = words[i][1];
				how += strlen(words[i][0]);
			}
		}
		if (put) {
			say(repair + len, KVM_REPAIR_LEN - len, "%s", put);
			len += strlen(repair + len);
		} else {
			repair[len++] = *how++;
		}
	}
	repair[len] = 0;
}

/* Each hypervisor's own switch for nested virtualization. */
static void repair_below(const struct kvm_host *h, char repair[KVM_REPAIR_LEN])
{
	static const struct {
		const char *name, *how;
	} known[] = {
		{ "nestbox", "start this machine with: nestbox run --nested-hw-virt VENDOR" },
		{ "KVM", "on the machine that runs this one, as root: modprobe -r MODULE && modprobe "
			"MODULE nested=1; and give this one that CPU (QEMU: -cpu host; libvirt: <cpu "
			"mode='host-passthrough'/>)" },
		{ "QEMU", "start QEMU with: -cpu max" },
		{ "VMware", "with this machine off, put into its .vmx: vhv.enable = \"TRUE\"" },
		{ "VirtualBox", "with this machine off, on its host: VBoxManage modifyvm NAME "
			"--nested-hw-virt on" },
		{ "Hyper-V", "with this machine off, in its host's PowerShell: Set-VMProcessor -VMName "
			"NAME -ExposeVirtualizationExtensions $true" },
		{ "Xen", "in this domain's configuration: nestedhvm = 1" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (!strcmp(h->hypervisor, known[i].name)) {
			expand(h, known[i].how, repair);
			return;
		}
	}
	REPAIR("ask who runs this machine for nested virtualization");
}

static void explain_no_unit(const struct kvm_host *h, char why[KVM_PROBLEM_LEN],
	char repair[KVM_REPAIR_LEN])
{
	if (h->hypervisor[0]) {
		WHY("the CPU shows neither VT-x nor AMD-V, since this is a virtual machine (%s) whose "
			"hypervisor gives none", h->hypervisor);
		repair_below(h, repair);
	} else {
		WHY("the CPU shows neither VT-x nor AMD-V");
		REPAIR("switch %s on in the BIOS set-up; if there is no such switch, this CPU has none",
			firmware_switch(h));
	}
}

/* ---- the device ---- */

static bool is_off_by_firmware(const struct kvm_host *h)
{
	return h->firmware == SWITCH_OFF || (h->firmware == SWITCH_UNKNOWN && !h->kernel_sees_unit);
}

static void explain_absent(const struct kvm_host *h, char why[KVM_PROBLEM_LEN],
	char repair[KVM_REPAIR_LEN])
{
	WHY("/dev/kvm: %s", strerror(h->open_error));
	if (is_off_by_firmware(h)) {
		WHY("/dev/kvm: %s, and %s is switched off by the BIOS", strerror(h->open_error),
			unit_name(h));
		REPAIR("switch %s on in the BIOS set-up", firmware_switch(h));
	} else if (h->container[0] && h->has_vendor) {
		REPAIR("start the container (%s) with /dev/kvm, such as docker run --device /dev/kvm",
			h->container);
	} else if (h->container[0]) {
		REPAIR("outside of the container (%s), as root: modprobe %s; then start it with "
			"/dev/kvm, such as docker run --device /dev/kvm", h->container,
			kvm_vendor_module(h));
	} else if (h->has_vendor && h->has_kvm && !h->device_exists) {
		REPAIR("as root: mknod -m 660 /dev/kvm c 10 232 && chgrp kvm /dev/kvm");
	} else {
		REPAIR("as root: modprobe %s", kvm_vendor_module(h));
	}
}

static void explain_forbidden(const struct kvm_host *h, char why[KVM_PROBLEM_LEN],
	char repair[KVM_REPAIR_LEN])
{
	const char *user = h->user[0] ? h->user : "USER";
	const char *group = h->device_group[0] ? h->device_group : "kvm";
	bool by_group = (h->device_mode & 0060) == 0060 && h->device_gid;

	WHY("/dev/kvm: %s (its group is %s, its mode %04o)", strerror(h->open_error),
		h->device_group[0] ? h->device_group : "one without a name", h->device_mode);
	if (h->container[0] && (by_group || h->open_error == EPERM))
		REPAIR("start the container (%s) with the device and its group, such as docker run "
			"--device /dev/kvm --group-add %u", h->container, h->device_gid);
	else if (h->container[0])
		REPAIR("outside of the container (%s), as root: chmod 666 /dev/kvm; then start it with "
			"docker run --device /dev/kvm or the like", h->container);
	else if (h->open_error == EPERM)
		REPAIR("allow this service the device, such as DeviceAllow=/dev/kvm rw in its "
			"systemd unit");
	else if (by_group && h->user_in_group)
		REPAIR("log in again, or: newgrp %s (%s was put into that group after this session "
			"began)", group, user);
	else if (by_group && h->device_group[0])
		REPAIR("as root: usermod -aG %s %s, then log in again", group, user);
	else
		REPAIR("as root: chgrp kvm /dev/kvm && chmod g+rw /dev/kvm && usermod -aG kvm %s, then "
			"log in again", user);
}

static void explain_unopened(const struct kvm_host *h, char why[KVM_PROBLEM_LEN],
	char repair[KVM_REPAIR_LEN])
{
	int error = h->open_error;

	if (!shows_unit(h)) {
		char reason[KVM_PROBLEM_LEN];

		explain_no_unit(h, reason, repair);
		WHY("/dev/kvm: %s, and %.190s", strerror(error), reason);
	} else if (error == ENOENT || error == ENODEV || error == ENXIO) {
		explain_absent(h, why, repair);
	} else if (error == EACCES || error == EPERM) {
		explain_forbidden(h, why, repair);
	} else {
		WHY("/dev/kvm: %s", strerror(error));
	}
}

enum kvm_lack kvm_conclude(const struct kvm_host *h, char why[KVM_PROBLEM_LEN],
	char repair[KVM_REPAIR_LEN])
{
	char reason[KVM_PROBLEM_LEN];

	why[0] = repair[0] = 0;
	if (h->open_error) {
		explain_unopened(h, why, repair);
	} else if (h->lacking[0]) {
		WHY("/dev/kvm: %s has no %s", other_name(h), h->lacking);
		REPAIR("boot Linux 4.7 or newer");
	} else if (!shows_unit(h)) {
		explain_no_unit(h, reason, repair);
		WHY("/dev/kvm is there%s%s, but %.160s; ordinary guests may hang on it",
			h->other_module[0] ? " by " : "", h->other_module, reason);
		return KVM_NO_HARDWARE;
	} else if (h->trial[0]) {
		WHY("/dev/kvm: %.200s", h->trial);
		if (strstr(h->trial, strerror(EBUSY)))
			REPAIR("stop the other hypervisor (such as VirtualBox or VMware) that uses the "
				"CPU's %s", unit_name(h));
		else
			REPAIR("see what the kernel says, as root: dmesg | grep -i kvm");
	} else {
		return KVM_WORKS;
	}
	return KVM_REFUSES;
}

/* ---- what guests get ---- */

static const char *parameter(const struct kvm_host *h, const char *name)
{
	for (unsigned i = 0; i < h->parameter_count; i++)
		if (!strcmp(h->parameters[i].module, kvm_vendor_module(h)) &&
		    !strcmp(h->parameters[i].name, name))
			return h->parameters[i].value;
	return NULL;
}

static bool is_off(const char *value)
{
	return value && (!strcmp(value, "0") || !strcmp(value, "N"));
}

static void repair_parameter(const struct kvm_host *h, const char *name, char repair[KVM_REPAIR_LEN])
{
	const char *module = kvm_vendor_module(h);

	if (h->built_in)
		REPAIR("boot this kernel with %s.%s=1 on its command line", module, name);
	else
		REPAIR("%sas root: modprobe -r %s && modprobe %s %s=1; to keep it: echo options %s %s=1 "
			">/etc/modprobe.d/%s-%s.conf", h->container[0] ? "outside of the container, " : "",
			module, module, name, module, name, module, name);
}

bool kvm_conclude_nesting(const struct kvm_host *h, enum nested_vendor vendor,
	char why[KVM_PROBLEM_LEN], char repair[KVM_REPAIR_LEN])
{
	bool amd = vendor == NESTED_AMD;
	const char *value = parameter(h, "nested");

	why[0] = repair[0] = 0;
	if (vendor == NESTED_OFF)
		return true;
	if (amd != h->amd) {
		WHY("KVM gives guests %s only, since that is this CPU's", unit_name(h));
		REPAIR("give --nested-hw-virt %s, or --engine soft", amd ? "intel" : "amd");
		return false;
	}
	if (amd ? h->gives_svm : h->gives_vmx)
		return true;
	if (!shows_unit(h)) {
		explain_no_unit(h, why, repair);
		return false;
	}
	if (is_off(value))
		WHY("KVM on this host gives guests no %s: %s's parameter nested is off", unit_name(h),
			kvm_vendor_module(h));
	else
		WHY("KVM on this host gives guests no %s", unit_name(h));
	repair_parameter(h, "nested", repair);
	return false;
}

bool kvm_conclude_paging(const struct kvm_host *h, char why[KVM_PROBLEM_LEN],
	char repair[KVM_REPAIR_LEN])
{
	const char *name = h->amd ? "npt" : "ept";
	bool cpu_has = h->features & (h->amd ? BIT(HOST_NPT) : BIT(HOST_EPT));

	why[0] = repair[0] = 0;
	if (!shows_unit(h) || (cpu_has && !is_off(parameter(h, name))))
		return true;
	if (!cpu_has) {
		WHY("the CPU shows no nested paging (%s), so KVM's guests are slow", name);
		if (h->hypervisor[0])
			repair_below(h, repair);
		return false;
	}
	WHY("KVM's guests are slow: nested paging is off (%s's parameter %s)", kvm_vendor_module(h),
		name);
	repair_parameter(h, name, repair);
	return false;
}
