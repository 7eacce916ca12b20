/* SPDX-License-Identifier: MIT */
/*
 * What a host has for KVM and what it lacks. Three steps, apart so that each can be tested: reading
 * (files, CPUID), trying (the device), and concluding, which looks at nothing but the struct. Any
 * thread.
 */
#ifndef KVM_HOST_H
#define KVM_HOST_H

#include "cpu/cpu.h"
#include "cpu/nesting.h"

#define KVM_PROBLEM_LEN 256
#define KVM_REPAIR_LEN 400
#define KVM_PARAMETERS_MAX 16

/* Features of a CPU that matter to one engine or the other; the table is in host.c. */
enum host_feature {
	HOST_SVM, HOST_NPT, HOST_NRIPS, HOST_VMCB_CLEAN, HOST_DECODE_ASSISTS, HOST_V_VMLOAD, HOST_VGIF,
	HOST_AVIC, HOST_VMX, HOST_EPT, HOST_V2, HOST_AVX, HOST_AVX2, HOST_AVX512, HOST_BMI2,
	HOST_FSGSBASE, HOST_1G_PAGES, HOST_X2APIC, HOST_INVARIANT_TSC, HOST_FEATURES
};

enum host_switch { SWITCH_UNKNOWN, SWITCH_OFF, SWITCH_ON };

struct kvm_parameter {
	const char *module, *name;
	char value[16];
};

struct kvm_host {
	/* the CPU */
	char vendor[13], model[49];
	unsigned family, model_number, stepping;
	bool amd;               /* by vendor: it would have AMD-V and not VT-x */
	u64 features;           /* BIT(HOST_*) */
	bool kernel_sees_unit;  /* svm or vmx in /proc/cpuinfo, from which Linux takes what is off */
	enum host_switch firmware; /* of AMD-V or VT-x, by its lock MSR; root alone can look */

	/* what is around */
	char hypervisor[40];    /* "": none */
	struct nesting nesting;
	char container[32];     /* "": none */
	char user[33];

	/* the kernel's part */
	bool has_kvm, has_vendor; /* modules kvm, and kvm_amd or kvm_intel: loaded or built in */
	bool built_in;            /* kvm_amd or kvm_intel */
	char other_module[24];    /* another that offers /dev/kvm, such as kvm_pvm; "": none */
	struct kvm_parameter parameters[KVM_PARAMETERS_MAX];
	unsigned parameter_count;

	/* the device */
	bool device_exists;
	u32 device_mode;          /* permission bits */
	u32 device_uid, device_gid;
	char device_group[33];    /* "": it has no name */
	bool user_in_group;       /* by /etc/group, which holds from the next log-in on */

	/* the trial */
	int open_error;           /* errno, 0: it opens */
	char lacking[64];         /* what of KVM this kernel's does not have; "": nothing */
	char trial[KVM_PROBLEM_LEN]; /* why no vCPU ran; "": one did, or none was tried */
	bool gives_svm, gives_vmx;   /* to guests */
	unsigned max_cpus;
};

/* Reads below a root directory, "" for the host itself. The trial's fields stay zero. */
void kvm_host_read(struct kvm_host *host, const char *root, const struct cpuid_source *cpuid);
/* Opens /dev/kvm and lets a vCPU run a few instructions. Milliseconds; leaves nothing behind. */
void kvm_host_try(struct kvm_host *host);
/* Both, of this host. */
void kvm_try(struct kvm_host *host);

enum kvm_lack {
	KVM_WORKS,
	KVM_NO_HARDWARE, /* it answers, but the CPU shows neither VT-x nor AMD-V */
	KVM_REFUSES,
};

/* Whether KVM can run a guest; if not, why, and what would mend it ("": nothing that is known). */
enum kvm_lack kvm_conclude(const struct kvm_host *host, char why[KVM_PROBLEM_LEN],
	char repair[KVM_REPAIR_LEN]);
/* Whether KVM, where it works, can give guests a virtualization unit. */
bool kvm_conclude_nesting(const struct kvm_host *host, enum nested_vendor vendor,
	char why[KVM_PROBLEM_LEN], char repair[KVM_REPAIR_LEN]);
/* Whether nested paging is there; without it guests run, slowly. */
bool kvm_conclude_paging(const struct kvm_host *host, char why[KVM_PROBLEM_LEN],
	char repair[KVM_REPAIR_LEN]);

const char *host_feature_name(enum host_feature feature);
/* NESTED_OFF: of no virtualization unit */
enum nested_vendor host_feature_vendor(enum host_feature feature);
const char *kvm_vendor_module(const struct kvm_host *host);

#endif
