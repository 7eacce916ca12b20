/* SPDX-License-Identifier: MIT */
/*
 * Memory slots: the guest's RAM as KVM knows it follows the machine's space, api.rst 4.35
 * KVM_SET_USER_MEMORY_REGION. What has no slot exits as MMIO, RAM as well: so the bytes of a page
 * that is RAM in part, and pieces beyond the last slot, are slow but right.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "kvm/kvm_internal.h"
#include "mem/dirty.h"

static int set_slot(struct kvm_vm *vm, unsigned slot, const struct space_piece *piece, u64 size)
{
	struct kvm_userspace_memory_region region = { .slot = slot,
		.guest_phys_addr = piece->base, .memory_size = size,
		.userspace_addr = (u64)space_ram(vm->config.memory)->host + piece->ram_offset,
		.flags = (piece->read_only ? KVM_MEM_READONLY : 0) |
			(vm->dirty_on ? KVM_MEM_LOG_DIRTY_PAGES : 0) };

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

/* ---- the dirty log, api.rst 4.8 KVM_GET_DIRTY_LOG ---- */

/* What the kernel has noted of a slot goes into the machine's notebook; the kernel starts anew. */
static void note_slot(struct kvm_vm *vm, unsigned slot)
{
	const struct space_piece *piece = &vm->slots[slot];
	struct ram *ram = space_ram(vm->config.memory);
	u64 words = (piece->size / PAGE_SIZE + 63) / 64;
	u64 *bitmap = calloc(words, sizeof(*bitmap));
	struct kvm_dirty_log log = { .slot = slot, .dirty_bitmap = bitmap };

	/* Where it cannot be had, all of it counts as written */
	if (!bitmap || kvm_call(vm->fd, KVM_GET_DIRTY_LOG, &log))
		dirty_note(ram, piece->ram_offset, piece->size);
	for (u64 i = 0; bitmap && i < words; i++)
		for (u64 left = bitmap[i]; left; left &= left - 1)
			dirty_note(ram, piece->ram_offset +
				(i * 64 + __builtin_ctzll(left)) * PAGE_SIZE, PAGE_SIZE);
	free(bitmap);
}

/* The same slots with another flag. */
static int set_log(struct kvm_vm *vm, bool on)
{
	int error = 0;

	vm->dirty_on = on;
	for (unsigned slot = 0; slot < KVM_SLOTS; slot++)
		if (vm->slots[slot].size && !error)
			error = set_slot(vm, slot, &vm->slots[slot], vm->slots[slot].size);
	return error;
}

static void dirty_stop(void *opaque)
{
	struct kvm_vm *vm = opaque;
	struct machine *machine = vm->config.cpus[0]->machine;

	machine_lock(machine);
	set_log(vm, false);
	machine_unlock(machine);
}

static int dirty_start(void *opaque)
{
	struct kvm_vm *vm = opaque;
	struct machine *machine = vm->config.cpus[0]->machine;
	int error;

	machine_lock(machine);
	error = set_log(vm, true);
	machine_unlock(machine);
	if (error)
		dirty_stop(vm);
	return error;
}

static int dirty_fetch(void *opaque, u64 *bitmap)
{
	struct kvm_vm *vm = opaque;
	struct machine *machine = vm->config.cpus[0]->machine;

	machine_lock(machine);
	for (unsigned slot = 0; slot < KVM_SLOTS; slot++)
		if (vm->slots[slot].size)
			note_slot(vm, slot);
	dirty_take(space_ram(vm->config.memory), bitmap);
	machine_unlock(machine);
	return 0;
}

const struct dirty_ops kvm_dirty = { dirty_start, dirty_fetch, dirty_stop };

/* ---- following the space ---- */

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
		if (vm->dirty_on)
			note_slot(vm, slot);
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
