/* SPDX-License-Identifier: MIT */
/*
 * Memory slots: the guest's RAM as KVM knows it follows the machine's space, api.rst 4.35
 * KVM_SET_USER_MEMORY_REGION. What has no slot exits as MMIO, RAM as well: so the bytes of a page
 * that is RAM in part, and pieces beyond the last slot, are slow but right.
 */
#include <string.h>

#include "base/log.h"
#include "kvm/kvm_internal.h"

static int set_slot(struct kvm_vm *vm, unsigned slot, const struct space_piece *piece, u64 size)
{
	struct kvm_userspace_memory_region region = { .slot = slot,
		.guest_phys_addr = piece->base, .memory_size = size,
		.userspace_addr = (u64)space_ram(vm->config.memory)->host + piece->ram_offset,
		.flags = piece->read_only ? KVM_MEM_READONLY : 0 };

	return kvm_call(vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
}

/* Only whole pages; false: there is none. */
static bool whole_pages(struct space_piece *piece)
{
	u64 cut = -piece->base & ~PAGE_MASK;

	if (piece->size < cut + PAGE_SIZE || ((piece->ram_offset + cut) & ~PAGE_MASK))
		return false;
	piece->base += cut;
	piece->ram_offset += cut;
	piece->size = (piece->size - cut) & PAGE_MASK;
	return true;
}

static bool same(const struct space_piece *a, const struct space_piece *b)
{
	return a->base == b->base && a->size == b->size && a->ram_offset == b->ram_offset &&
	       a->read_only == b->read_only;
}

static bool is_in(const struct space_piece *piece, const struct space_piece *list, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (same(piece, &list[i]))
			return true;
	return false;
}

/* Old slots go before new ones come: two may not overlap. */
void kvm_memory_update(struct kvm_vm *vm)
{
	struct space_piece pieces[KVM_SLOTS];
	unsigned found = space_pieces(vm->config.memory, pieces, KVM_SLOTS), count = 0;

	for (unsigned i = 0; i < found; i++)
		if (whole_pages(&pieces[i]))
			pieces[count++] = pieces[i];
	for (unsigned slot = 0; slot < KVM_SLOTS; slot++) {
		struct space_piece *old = &vm->slots[slot];

		if (!old->size || is_in(old, pieces, count))
			continue;
		set_slot(vm, slot, old, 0);
		old->size = 0;
	}
	for (unsigned i = 0, slot = 0; i < count; i++) {
		int error;

		if (is_in(&pieces[i], vm->slots, KVM_SLOTS))
			continue;
		while (vm->slots[slot].size)
			slot++;
		error = set_slot(vm, slot, &pieces[i], pieces[i].size);
		if (error)
			message("KVM does not take %llu KiB of memory at %#llx: %s",
				(unsigned long long)pieces[i].size / 1024,
				(unsigned long long)pieces[i].base, strerror(-error));
		else
			vm->slots[slot] = pieces[i];
	}
}
