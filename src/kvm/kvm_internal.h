/* SPDX-License-Identifier: MIT */
/* What the files of kvm/ share; for nobody else. */
#ifndef KVM_INTERNAL_H
#define KVM_INTERNAL_H

#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>

#include "kvm/kvm.h"

#define KVM_DEVICE "/dev/kvm"
#define KVM_API 12 /* the only version there will be */
#define KVM_KICK SIGUSR1 /* makes a vCPU's thread leave KVM_RUN; blocked outside */
#define KVM_SLOTS 64
#define KVM_DOORBELLS 64
/* Pages that VT-x without "unrestricted guest" needs, in the hole below 4 GiB, api.rst 4.35,
 * 4.41 */
#define KVM_IDENTITY_MAP 0xfffbc000ull
#define KVM_TSS 0xfffbd000ull

struct kvm_vcpu {
	int fd;
	struct kvm_run *run;
	bool loaded;       /* the kernel has the state of struct cpu */
	bool running;      /* thread is the one in kvm_run() */
	pthread_t thread;
};

struct kvm_doorbell {
	struct doorbell doorbell;
	int fd; /* an eventfd that the kernel signals; -1: none */
};

struct kvm_vm {
	struct kvm_config config;
	int device, fd;
	size_t run_size;
	bool used;         /* a vCPU ran since the VM was made */
	struct kvm_cpuid2 *cpuid; /* for all vCPUs, without what differs between them */
	struct kvm_vcpu vcpus[256];
	struct space_piece slots[KVM_SLOTS]; /* size 0: free */
	bool dirty_on;     /* the kernel notes writes to the slots */
	bool has_doorbells;
	struct kvm_doorbell doorbells[KVM_DOORBELLS];
};

/* ioctl() that is begun again when a signal came. -errno. */
int kvm_call(int fd, unsigned long request, void *arg);
/* What a vCPU lets through while it runs: kicks. */
int kvm_set_signal_mask(int fd);

/* One page of memory, three instructions, one exit: whether a vCPU really runs. */
bool kvm_runs_code(int device, char why[KVM_PROBLEM_LEN]);

/* memory.c: the slots follow the space */
void kvm_memory_update(struct kvm_vm *vm);

/* doorbell.c: these too. Machine lock held, or no vCPU runs. */
void kvm_doorbells_update(struct kvm_vm *vm);
/* Before the VM's descriptor goes; what was rung and not heard is forgotten. */
void kvm_doorbells_drop(struct kvm_vm *vm);

/* irqchip.c: 0 or -errno */
int kvm_irqchip_new(struct kvm_vm *vm);
int kvm_irqchip_firmware(struct kvm_vm *vm);

/* cpuid.c: what KVM can give; NULL: -errno in errno. Freed by free(). */
struct kvm_cpuid2 *kvm_supported_cpuid(int device);
/* Of what KVM supports, what the guest is offered. */
int kvm_cpuid_new(struct kvm_vm *vm);
int kvm_cpuid_set(struct kvm_vm *vm, const struct cpu *cpu);

/* state.c: from struct cpu into the kernel. 0 or -errno, said. */
int kvm_state_load(struct kvm_vm *vm, const struct cpu *cpu);

#endif
