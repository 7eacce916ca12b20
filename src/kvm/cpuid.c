/* SPDX-License-Identifier: MIT */
/*
 * The guest's CPUID on KVM: the table that the soft engine's guests get, without what KVM cannot
 * give, and with KVM's own leaves in place of ours. The feature words are named one by one; what is
 * no set of features (topology, caches, names) stays as the table has it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/nesting.h"
#include "kvm/kvm_internal.h"

enum { EAX, EBX, ECX, EDX };

#define EXTENDED 0x80000000u
#define HYPERVISOR 0x40000000u
#define ENTRIES 256
#define TSC_DEADLINE BIT(24)
#define OSXSAVE BIT(27)
#define HYPERVISOR_PRESENT BIT(31)

/* Registers that are sets of features: both must have the bit. */
static const struct {
	u32 leaf, subleaf;
	u8 registers; /* mask by EAX .. EDX */
} features[] = {
	{ 1, 0, 1 << ECX | 1 << EDX },
	{ 6, 0, 1 << EAX },
	{ 7, 0, 1 << EBX | 1 << ECX | 1 << EDX },
	{ 7, 1, 1 << EAX },
	{ 0xd, 0, 1 << EAX | 1 << EDX },
	{ 0xd, 1, 1 << EAX },
	{ EXTENDED + 1, 0, 1 << ECX | 1 << EDX },
	{ EXTENDED + 7, 0, 1 << EDX },
	{ EXTENDED + 8, 0, 1 << EBX },
	{ EXTENDED + 0xa, 0, 1 << EDX },
	{ EXTENDED + 0x21, 0, 1 << EAX },
};

struct kvm_cpuid2 *kvm_supported_cpuid(int device)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + ENTRIES * sizeof(cpuid->entries[0]));
	int error;

	if (!cpuid) {
		errno = ENOMEM;
		return NULL;
	}
	cpuid->nent = ENTRIES;
	error = kvm_call(device, KVM_GET_SUPPORTED_CPUID, cpuid);
	if (error) {
		free(cpuid);
		errno = -error;
		return NULL;
	}
	return cpuid;
}

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *cpuid, u32 leaf, u32 subleaf)
{
	for (u32 i = 0; i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		if (entry->function == leaf && (entry->index == subleaf ||
		    !(entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
			return entry;
	}
	return NULL;
}

static u32 *entry_register(struct kvm_cpuid_entry2 *entry, unsigned which)
{
	u32 *const registers[] = { &entry->eax, &entry->ebx, &entry->ecx, &entry->edx };

	return registers[which];
}

/* What KVM can emulate in leaf 1 without saying so among the supported, api.rst 4.46. */
static u32 unsaid(struct kvm_vm *vm)
{
	u32 bits = HYPERVISOR_PRESENT;

	if (kvm_call(vm->device, KVM_CHECK_EXTENSION, (void *)KVM_CAP_TSC_DEADLINE_TIMER) > 0)
		bits |= TSC_DEADLINE;
	return bits;
}

static void restrict_features(struct kvm_vm *vm, const struct kvm_cpuid2 *supported,
	struct kvm_cpuid_entry2 *entry)
{
	const struct kvm_cpuid_entry2 *given = find(supported, entry->function, entry->index);
	struct kvm_cpuid_entry2 none = { 0 }, limit = given ? *given : none;

	if (entry->function == 1)
		limit.ecx |= unsaid(vm);
	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		if (features[i].leaf != entry->function || features[i].subleaf != entry->index)
			continue;
		for (unsigned which = EAX; which <= EDX; which++)
			if (features[i].registers & 1 << which)
				*entry_register(entry, which) &= *entry_register(&limit, which);
	}
	/* KVM sets it as the guest's CR4 says */
	if (entry->function == 1)
		entry->ecx &= ~OSXSAVE;
	if (entry->function == EXTENDED + 8)
		entry->eax = (entry->eax & ~0xffu) | MIN(entry->eax & 0xff, limit.eax & 0xff);
	if (entry->function == 0xd && entry->index == 0)
		entry->ecx = MIN(entry->ecx, limit.ecx);
	if (entry->function == EXTENDED + 0xa)
		entry->ebx = MIN(entry->ebx, limit.ebx);
}

/* Leaves that look at ECX. */
static bool has_subleaves(u32 leaf)
{
	return leaf == 4 || leaf == 7 || leaf == 0xb || leaf == 0xd || leaf == EXTENDED + 0x1d;
}

static void copy_leaf(struct kvm_vm *vm, const struct kvm_cpuid2 *supported, u32 leaf)
{
	struct cpu *cpu = vm->config.cpus[0];
	unsigned last = has_subleaves(leaf) ? leaf == 0xd ? 63 : 7 : 0;

	for (unsigned subleaf = 0; subleaf <= last; subleaf++) {
		u32 out[4];
		struct kvm_cpuid_entry2 *entry = &vm->cpuid->entries[vm->cpuid->nent];

		cpu_cpuid(cpu, leaf, subleaf, out);
		/* Nothing there is what KVM answers as well, but for the first */
		if (subleaf && !(out[EAX] | out[EBX] | (out[ECX] & ~0xffu)))
			continue;
		if (vm->cpuid->nent == ENTRIES)
			return;
		*entry = (struct kvm_cpuid_entry2){ .function = leaf, .index = subleaf,
			.flags = has_subleaves(leaf) ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
			.eax = out[EAX], .ebx = out[EBX], .ecx = out[ECX], .edx = out[EDX] };
		restrict_features(vm, supported, entry);
		vm->cpuid->nent++;
	}
}

/* Components of XSAVE that KVM does not have are no longer named either. */
static void drop_components(struct kvm_cpuid2 *cpuid)
{
	const struct kvm_cpuid_entry2 *entry = find(cpuid, 0xd, 0);
	u64 mask = entry ? (u64)entry->edx << 32 | entry->eax : 0;
	u32 kept = 0;

	for (u32 i = 0; i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if (e->function != 0xd || e->index < 2 || mask & BIT(e->index))
			cpuid->entries[kept++] = *e;
	}
	cpuid->nent = kept;
}

static void copy_hypervisor(struct kvm_cpuid2 *cpuid, const struct kvm_cpuid2 *supported)
{
	for (u32 i = 0; i < supported->nent; i++) {
		const struct kvm_cpuid_entry2 *entry = &supported->entries[i];

		if (entry->function >> 8 == HYPERVISOR >> 8 && cpuid->nent < ENTRIES)
			cpuid->entries[cpuid->nent++] = *entry;
	}
}

/* Our own, as the soft engine's guests have them but for the engine. */
static void copy_nesting(struct kvm_vm *vm)
{
	for (u32 leaf = NESTING_LEAF; leaf <= NESTING_LEVEL && vm->cpuid->nent < ENTRIES; leaf++) {
		u32 out[4];

		cpu_cpuid(vm->config.cpus[0], leaf, 0, out);
		vm->cpuid->entries[vm->cpuid->nent++] = (struct kvm_cpuid_entry2){
			.function = leaf, .eax = out[EAX], .ebx = out[EBX],
			.ecx = leaf == NESTING_LEVEL ? NESTING_KVM : out[ECX], .edx = out[EDX] };
	}
}

int kvm_cpuid_new(struct kvm_vm *vm)
{
	struct kvm_cpuid2 *supported = kvm_supported_cpuid(vm->device);
	const struct kvm_cpuid_entry2 *width;
	u32 last[4];

	if (!supported)
		return -errno;
	vm->cpuid = calloc(1, sizeof(*vm->cpuid) + ENTRIES * sizeof(vm->cpuid->entries[0]));
	if (!vm->cpuid) {
		free(supported);
		return -ENOMEM;
	}
	cpu_cpuid(vm->config.cpus[0], 0, 0, last);
	for (u32 leaf = 0; leaf <= last[EAX]; leaf++)
		copy_leaf(vm, supported, leaf);
	cpu_cpuid(vm->config.cpus[0], EXTENDED, 0, last);
	for (u32 leaf = EXTENDED; leaf <= last[EAX]; leaf++)
		copy_leaf(vm, supported, leaf);
	drop_components(vm->cpuid);
	copy_hypervisor(vm->cpuid, supported);
	copy_nesting(vm);
	free(supported);

	width = find(vm->cpuid, EXTENDED + 8, 0);
	for (unsigned i = 0; width && i < vm->config.cpu_count; i++)
		vm->config.cpus[i]->phys_bits = width->eax;
	return 0;
}

int kvm_cpuid_set(struct kvm_vm *vm, const struct cpu *cpu)
{
	struct kvm_cpuid2 *cpuid = vm->cpuid;

	/* What says which vCPU it is */
	for (u32 i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		if (entry->function == 1)
			entry->ebx = (entry->ebx & 0xffffff) | cpu->id << 24;
		else if (entry->function == 0xb)
			entry->edx = cpu->id;
		else if (entry->function == EXTENDED + 0x1e)
			entry->eax = entry->ebx = cpu->id;
	}
	return kvm_call(vm->vcpus[cpu->id].fd, KVM_SET_CPUID2, cpuid);
}
