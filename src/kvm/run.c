/* SPDX-License-Identifier: MIT */
/*
 * The loop of a vCPU: KVM_RUN until the guest touches a device of ours or somebody kicks,
 * api.rst 5. Halting, timers and interrupts happen in the kernel.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "base/log.h"
#include "kvm/kvm_internal.h"

const char *kvm_stat_name(unsigned reason)
{
	static const char *const names[] = {
		[KVM_EXIT_IO] = "I/O port",
		[KVM_EXIT_MMIO] = "MMIO",
		[KVM_EXIT_INTR] = "kick",
		[KVM_EXIT_SHUTDOWN] = "shutdown",
		[KVM_EXIT_FAIL_ENTRY] = "VM entry failed",
		[KVM_EXIT_INTERNAL_ERROR] = "KVM failed",
	};

	return reason < ARRAY_SIZE(names) ? names[reason] : NULL;
}

/* ---- exits ---- */

static void do_mmio(struct kvm_vm *vm, struct cpu *cpu, struct kvm_run *run)
{
	u64 address = run->mmio.phys_addr, value = 0;
	unsigned size = MIN(run->mmio.len, 8);

	machine_lock(cpu->machine);
	if (run->mmio.is_write) {
		memcpy(&value, run->mmio.data, size);
		space_write(vm->config.memory, address, size, value);
	} else {
		value = space_read(vm->config.memory, address, size);
		memcpy(run->mmio.data, &value, size);
	}
	machine_unlock(cpu->machine);
}

/* One access, or as many as KVM took together of a string instruction. */
static void do_port(struct kvm_vm *vm, struct cpu *cpu, struct kvm_run *run)
{
	u8 *data = (u8 *)run + run->io.data_offset;
	unsigned size = run->io.size, count = run->io.count;
	u16 port = run->io.port;
	bool out = run->io.direction == KVM_EXIT_IO_OUT;

	machine_lock(cpu->machine);
	for (unsigned i = 0; i < count; i++, data += size) {
		u64 value = 0;

		if (out) {
			memcpy(&value, data, size);
			space_write(vm->config.ports, port, size, value);
		} else {
			value = space_read(vm->config.ports, port, size);
			memcpy(data, &value, size);
		}
	}
	machine_unlock(cpu->machine);
}

static int say_failure(const struct kvm_vcpu *vcpu, const char *what, u64 code)
{
	struct kvm_regs regs = { 0 };
	struct kvm_sregs sregs = { 0 };

	kvm_call(vcpu->fd, KVM_GET_REGS, &regs);
	kvm_call(vcpu->fd, KVM_GET_SREGS, &sregs);
	message("%s (%#llx) at CS %#x base %#llx RIP %#llx, CR0 %#llx CR3 %#llx CR4 %#llx EFER %#llx",
		what, (unsigned long long)code, sregs.cs.selector, (unsigned long long)sregs.cs.base,
		(unsigned long long)regs.rip, (unsigned long long)sregs.cr0,
		(unsigned long long)sregs.cr3, (unsigned long long)sregs.cr4,
		(unsigned long long)sregs.efer);
	return -EIO;
}

static int do_exit(struct kvm_vm *vm, struct cpu *cpu, struct kvm_vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	cpu->stats.exits[1][MIN(run->exit_reason, STAT_EXIT_REASONS - 1)]++;
	switch (run->exit_reason) {
	case KVM_EXIT_MMIO:
		do_mmio(vm, cpu, run);
		return 0;
	case KVM_EXIT_IO:
		do_port(vm, cpu, run);
		return 0;
	case KVM_EXIT_INTR:
		return 0;
	case KVM_EXIT_SHUTDOWN:
		machine_cpu_shutdown(cpu);
		return 0;
	case KVM_EXIT_FAIL_ENTRY:
		return say_failure(vcpu, "the CPU refused to enter the guest",
			run->fail_entry.hardware_entry_failure_reason);
	case KVM_EXIT_INTERNAL_ERROR:
		return say_failure(vcpu, run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION ?
			"KVM cannot emulate the guest's instruction" : "KVM failed",
			run->internal.suberror);
	case KVM_EXIT_UNKNOWN:
		return say_failure(vcpu, "the CPU left the guest for a reason unknown to KVM",
			run->hw.hardware_exit_reason);
	default:
		return say_failure(vcpu, "KVM left the guest for an unknown reason",
			run->exit_reason);
	}
}

/* ---- the loop ---- */

/* All signals are blocked; a kick stays pending until it is taken here. */
static void take_kick(void)
{
	struct timespec now = { 0 };
	sigset_t kick;

	sigemptyset(&kick);
	sigaddset(&kick, KVM_KICK);
	while (sigtimedwait(&kick, NULL, &now) > 0)
		;
}

static int loop(struct kvm_vm *vm, struct cpu *cpu, struct kvm_vcpu *vcpu)
{
	while (!machine_is_leaving(cpu->machine)) {
		int error = 0;

		if (ioctl(vcpu->fd, KVM_RUN, NULL) < 0) {
			if (errno == EINTR)
				take_kick();
			else if (errno != EAGAIN)
				return say_failure(vcpu, strerror(errno), errno);
			continue;
		}
		error = do_exit(vm, cpu, vcpu);
		if (error)
			return error;
	}
	return 0;
}

int kvm_run(struct kvm_vm *vm, struct cpu *cpu)
{
	struct kvm_vcpu *vcpu = &vm->vcpus[cpu->id];
	sigset_t all;
	int error = 0;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	vcpu->thread = pthread_self();
	__atomic_store_n(&vcpu->running, true, __ATOMIC_SEQ_CST);
	__atomic_store_n(&vm->used, true, __ATOMIC_RELAXED);
	if (!vcpu->loaded) {
		error = kvm_state_load(vm, cpu);
		vcpu->loaded = true;
	}
	error = error ? error : loop(vm, cpu, vcpu);
	__atomic_store_n(&vcpu->running, false, __ATOMIC_SEQ_CST);
	return error;
}

void kvm_kick(struct kvm_vm *vm, const struct cpu *cpu)
{
	struct kvm_vcpu *vcpu = &vm->vcpus[cpu->id];

	/* Threads are joined only after the last kick, so this one is still there */
	if (__atomic_load_n(&vcpu->running, __ATOMIC_SEQ_CST))
		pthread_kill(vcpu->thread, KVM_KICK);
}
