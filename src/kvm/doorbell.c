/* SPDX-License-Identifier: MIT */
/*
 * Doorbells as the kernel rings them: a write of the guest to one becomes an eventfd's count while
 * the vCPU runs on, and the machine's loop calls the device, api.rst 4.59 KVM_IOEVENTFD. They follow
 * the machine's space, as memory slots do.
 *
 * A doorbell that the kernel does not take costs an exit at each write, and no more.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/loop.h"
#include "kvm/kvm_internal.h"

static bool same(const struct doorbell *a, const struct doorbell *b)
{
	return a->address == b->address && a->ring == b->ring && a->arg == b->arg;
}

/* Length 0: any; the kernel then need not look at the instruction. */
static int tell_kernel(struct kvm_vm *vm, const struct kvm_doorbell *bell, u32 flags)
{
	struct kvm_ioeventfd event = { .addr = bell->doorbell.address, .fd = bell->fd,
		.flags = flags };

	return kvm_call(vm->fd, KVM_IOEVENTFD, &event);
}

static bool was_rung(const struct kvm_doorbell *bell)
{
	u64 times;

	return read(bell->fd, &times, sizeof(times)) == sizeof(times);
}

static void rung(void *opaque, int fd, unsigned events)
{
	const struct kvm_doorbell *bell = opaque;

	if (was_rung(bell))
		bell->doorbell.ring(bell->doorbell.arg);
}

static void forget(struct kvm_vm *vm, struct kvm_doorbell *bell)
{
	loop_watch(vm->config.loop, bell->fd, 0, NULL, NULL);
	close(bell->fd);
	bell->fd = -1;
}

static void take(struct kvm_vm *vm, const struct doorbell *doorbell)
{
	struct kvm_doorbell *bell = vm->doorbells;

	while (bell->fd >= 0)
		if (++bell == vm->doorbells + KVM_DOORBELLS)
			return;
	bell->doorbell = *doorbell;
	bell->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (bell->fd < 0)
		return;
	if (loop_watch(vm->config.loop, bell->fd, LOOP_READ, rung, bell) || tell_kernel(vm, bell, 0))
		forget(vm, bell);
}

static bool is_in(const struct doorbell *doorbell, const struct doorbell *list, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (same(doorbell, &list[i]))
			return true;
	return false;
}

static bool is_taken(const struct kvm_vm *vm, const struct doorbell *doorbell)
{
	for (unsigned i = 0; i < KVM_DOORBELLS; i++)
		if (vm->doorbells[i].fd >= 0 && same(doorbell, &vm->doorbells[i].doorbell))
			return true;
	return false;
}

void kvm_doorbells_update(struct kvm_vm *vm)
{
	struct doorbell list[KVM_DOORBELLS];
	unsigned count;

	if (!vm->has_doorbells)
		return;
	count = space_doorbells(vm->config.memory, list, KVM_DOORBELLS);
	for (unsigned i = 0; i < KVM_DOORBELLS; i++) {
		struct kvm_doorbell *bell = &vm->doorbells[i];
		struct doorbell doorbell = bell->doorbell;
		bool late;

		if (bell->fd < 0 || is_in(&doorbell, list, count))
			continue;
		tell_kernel(vm, bell, KVM_IOEVENTFD_FLAG_DEASSIGN);
		/* A write that came before the change still counts */
		late = was_rung(bell);
		forget(vm, bell);
		if (late)
			doorbell.ring(doorbell.arg);
	}
	for (unsigned i = 0; i < count; i++)
		if (!is_taken(vm, &list[i]))
			take(vm, &list[i]);
}

void kvm_doorbells_drop(struct kvm_vm *vm)
{
	for (unsigned i = 0; i < KVM_DOORBELLS; i++)
		if (vm->doorbells[i].fd >= 0)
			forget(vm, &vm->doorbells[i]);
}
