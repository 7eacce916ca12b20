/* SPDX-License-Identifier: MIT */
/*
 * The engine over Linux' /dev/kvm: the host's CPU runs the guest, the host's kernel plays the
 * interrupt controllers and the 8254 (Documentation/virt/kvm/api.rst). One kvm_vm a machine. What
 * the guest's registers are at its start comes from struct cpu; afterwards they are the kernel's.
 */
#ifndef KVM_KVM_H
#define KVM_KVM_H

#include "cpu/cpu.h"
#include "kvm/host.h"

struct dirty_ops;
struct kvm_vm;
struct loop;

struct kvm_config {
	struct space *memory, *ports;
	struct loop *loop; /* where doorbells ring */
	struct cpu *const *cpus; /* made, but for phys_bits, which becomes what KVM gives */
	unsigned cpu_count;
};

/* Makes the VM. 0, or -errno with problem set. Before the board is made. */
int kvm_vm_new(struct kvm_vm **vm, const struct kvm_config *config, char problem[KVM_PROBLEM_LEN]);
void kvm_vm_free(struct kvm_vm *vm);

/*
 * Power-on: the kernel's chips as firmware leaves them, the vCPUs as their struct cpu says when
 * they next run. No vCPU is running; machine lock held. 0 or -errno.
 */
int kvm_vm_reset(void *vm);

/* The pins of the kernel's 8259 pair and of its IO-APIC, and messages (MSI). Any thread. */
void kvm_set_pic_pin(void *vm, unsigned pin, bool level);
void kvm_set_ioapic_pin(void *vm, unsigned pin, bool level);
void kvm_send_message(void *vm, u64 address, u32 data);
/* The kernel's 8254 drives no interrupt, or drives it again. */
void kvm_cut_timer(void *vm, bool cut);

/*
 * Runs a vCPU on this thread until machine_is_leaving(). 0, or -errno when KVM cannot go on, which
 * has been said then.
 */
int kvm_run(struct kvm_vm *vm, struct cpu *cpu);
/* Makes it look at machine_is_leaving() soon. Any thread. */
void kvm_kick(struct kvm_vm *vm, const struct cpu *cpu);

/* mem/dirty.h; arg is the kvm_vm. */
extern const struct dirty_ops kvm_dirty;

/* Name of an exit in cpu->stats.exits[1], or NULL. */
const char *kvm_stat_name(unsigned reason);

#endif
