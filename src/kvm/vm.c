/* SPDX-License-Identifier: MIT */
/*
 * A VM of KVM's, with its chips and vCPUs. For a reset it is thrown away and made anew: the kernel
 * then gives power-on state everywhere, also of what this version does not know.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm/kvm_internal.h"

int kvm_call(int fd, unsigned long request, void *arg)
{
	int result;

	do {
		result = ioctl(fd, request, arg);
	} while (result < 0 && errno == EINTR);
	return result < 0 ? -errno : result;
}

/* In KVM_RUN nothing but a kick is let through, api.rst 4.20. */
int kvm_set_signal_mask(int fd)
{
	union {
		struct kvm_signal_mask head;
		u8 room[sizeof(struct kvm_signal_mask) + sizeof(u64)];
	} mask = { .head.len = sizeof(u64) };
	u64 set = ~BIT(KVM_KICK - 1);

	memcpy(mask.head.sigset, &set, sizeof(set));
	return kvm_call(fd, KVM_SET_SIGNAL_MASK, &mask);
}

static int make_vcpu(struct kvm_vm *vm, const struct cpu *cpu)
{
	struct kvm_vcpu *vcpu = &vm->vcpus[cpu->id];
	void *run;
	int error;

	vcpu->fd = kvm_call(vm->fd, KVM_CREATE_VCPU, (void *)(u64)cpu->id);
	if (vcpu->fd < 0)
		return vcpu->fd;
	run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (run == MAP_FAILED)
		return -errno;
	vcpu->run = run;
	vcpu->loaded = false;
	error = kvm_cpuid_set(vm, cpu);
	return error ? error : kvm_set_signal_mask(vcpu->fd);
}

static void space_changed(void *opaque)
{
	struct kvm_vm *vm = opaque;

	kvm_memory_update(vm);
	kvm_doorbells_update(vm);
}

static int make_vm(struct kvm_vm *vm)
{
	u64 identity_map = KVM_IDENTITY_MAP;
	int error;

	vm->fd = kvm_call(vm->device, KVM_CREATE_VM, NULL);
	if (vm->fd < 0)
		return vm->fd;
	error = kvm_call(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
	error = error ? error : kvm_call(vm->fd, KVM_SET_TSS_ADDR, (void *)KVM_TSS);
	/* vCPUs made after it get their local APICs */
	error = error ? error : kvm_irqchip_new(vm);
	for (unsigned i = 0; !error && i < vm->config.cpu_count; i++)
		error = make_vcpu(vm, vm->config.cpus[i]);
	vm->used = false;
	if (!error)
		space_changed(vm);
	return error;
}

static void drop_vm(struct kvm_vm *vm)
{
	kvm_doorbells_drop(vm);
	for (unsigned i = 0; i < vm->config.cpu_count; i++) {
		struct kvm_vcpu *vcpu = &vm->vcpus[i];

		if (vcpu->run)
			munmap(vcpu->run, vm->run_size);
		if (vcpu->fd >= 0)
			close(vcpu->fd);
		vcpu->run = NULL;
		vcpu->fd = -1;
	}
	if (vm->fd >= 0)
		close(vm->fd);
	vm->fd = -1;
	memset(vm->slots, 0, sizeof(vm->slots));
}

int kvm_vm_reset(void *opaque)
{
	struct kvm_vm *vm = opaque;

	if (vm->used) {
		int error;

		drop_vm(vm);
		error = make_vm(vm);
		if (error)
			return error;
	}
	for (unsigned i = 0; i < vm->config.cpu_count; i++)
		vm->vcpus[i].loaded = false;
	return kvm_irqchip_firmware(vm);
}

/* ---- life ---- */

static int fail(char problem[KVM_PROBLEM_LEN], int error, const char *format, ...) PRINTF(3, 4);
static int fail(char problem[KVM_PROBLEM_LEN], int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(problem, KVM_PROBLEM_LEN, format, args);
	va_end(args);
	return error;
}

static int new_vm(struct kvm_vm *vm, char problem[KVM_PROBLEM_LEN])
{
	int error, size, most;

	vm->device = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);
	if (vm->device < 0)
		return fail(problem, -errno, "%s: %s", KVM_DEVICE, strerror(errno));
	size = kvm_call(vm->device, KVM_GET_VCPU_MMAP_SIZE, NULL);
	if (size < (int)sizeof(struct kvm_run))
		return fail(problem, -ENOTSUP, "%s: no vCPU can be made", KVM_DEVICE);
	vm->run_size = size;
	/* Linux 4.4 */
	vm->has_doorbells = kvm_call(vm->device, KVM_CHECK_EXTENSION,
		(void *)KVM_CAP_IOEVENTFD_ANY_LENGTH) > 0;
	most = kvm_call(vm->device, KVM_CHECK_EXTENSION, (void *)KVM_CAP_MAX_VCPUS);
	if (vm->config.cpu_count > MAX(most, 1))
		return fail(problem, -EINVAL, "--cpus: KVM here gives a guest at most %d", most);
	error = kvm_cpuid_new(vm);
	if (error)
		return fail(problem, error, "%s: what its CPU can do is not to be had: %s",
			KVM_DEVICE, strerror(-error));
	error = make_vm(vm);
	if (error)
		return fail(problem, error, "%s: no VM can be made: %s", KVM_DEVICE,
			strerror(-error));
	return 0;
}

int kvm_vm_new(struct kvm_vm **result, const struct kvm_config *config,
	char problem[KVM_PROBLEM_LEN])
{
	struct kvm_vm *vm = calloc(1, sizeof(*vm));
	int error;

	if (!vm)
		return fail(problem, -ENOMEM, "out of memory");
	vm->config = *config;
	vm->device = vm->fd = -1;
	for (unsigned i = 0; i < ARRAY_SIZE(vm->vcpus); i++)
		vm->vcpus[i].fd = -1;
	for (unsigned i = 0; i < KVM_DOORBELLS; i++)
		vm->doorbells[i].fd = -1;
	error = new_vm(vm, problem);
	if (error) {
		kvm_vm_free(vm);
		return error;
	}
	space_watch(config->memory, space_changed, vm);
	*result = vm;
	return 0;
}

void kvm_vm_free(struct kvm_vm *vm)
{
	space_watch(vm->config.memory, NULL, NULL);
	drop_vm(vm);
	if (vm->device >= 0)
		close(vm->device);
	free(vm->cpuid);
	free(vm);
}
