// SPDX-License-Identifier: MIT
/*
 * VMCS regions in memory, the copy of the current one, and its fields by their encodings: SDM3
 * 25.2, 25.11, VMREAD and VMWRITE in 31.3, VMCS shadowing in 25.10.
 */
#include "cpu/handlers.h"
#include "mem/dirty.h"
#include "virt/vmx.h"

#define ENCODINGS 0x8000

/*
 * Fields on which nothing rests that an entry does not look at anew while `checked` of struct vmx
 * holds: guest state but for the VMCS link pointer, by which the shadow VMCS was found; exit
 * information; and of the controls and the host's state, in the order below, the TSC offset, the
 * EOI-exit bitmaps, the exception bitmap and page-fault matches, what is injected and the TPR
 * threshold, PLE's gap and window, masks, shadows and CR3 targets, host RSP.
 */
#define BETWEEN(encoding, first, last) ((encoding) >= (first) && (encoding) <= (last))
#define NEVER_CHECKED(encoding) \
	((VMCS_TYPE(encoding) == VMCS_GUEST && (encoding) != 0x2800) || \
		VMCS_TYPE(encoding) == VMCS_READ_ONLY || (encoding) == 0x2010 || \
		BETWEEN(encoding, 0x201c, 0x2022) || BETWEEN(encoding, 0x4004, 0x4008) || \
		BETWEEN(encoding, 0x4016, 0x401c) || BETWEEN(encoding, 0x4020, 0x4022) || \
		BETWEEN(encoding, 0x6000, 0x600e) || (encoding) == 0x6c14)

/* Where a field lies in struct vmcs, by its encoding; 0: there is no such field. */
static const u16 field_offset[ENCODINGS] = {
#define VMCS_FIELD(encoding, name) [encoding] = offsetof(struct vmcs, name),
#include "x86/vmcs.def"
};

/*
 * For translated VMWRITEs: of 32-bit fields bit 0 tells; 16-bit ones are left to C, and so are the
 * controls and the host state whose checks are not repeated at each entry.
 */
#define WRITE_OFFSET(encoding, name) \
	(offsetof(struct vmcs, name) | (VMCS_WIDTH(encoding) == VMCS_32))
static const u16 write_offset[ENCODINGS] = {
#define VMCS_FIELD(encoding, name) \
	[encoding] = VMCS_WIDTH(encoding) == VMCS_16 || !NEVER_CHECKED(encoding) ? 0 : \
		WRITE_OFFSET(encoding, name),
#include "x86/vmcs.def"
};

static const u16 no_offset[ENCODINGS];

bool vmx_eptp_valid(const struct cpu *cpu, u64 eptp)
{
	u64 type = eptp & EPTP_MEMORY_TYPE;

	return (type == EPT_TYPE_UC || type == EPT_TYPE_WB) && EPTP_WALK_LENGTH(eptp) == 3 &&
	       !(eptp & MASK(11, 7)) && !(eptp >> cpu->phys_bits);
}

u8 *vmx_page(struct cpu *cpu, u64 pa, u64 *ram_offset)
{
	struct space_hit hit = space_find(cpu->memory, pa & PAGE_MASK);

	if (!hit.host || hit.read_only || hit.contiguous < PAGE_SIZE)
		return NULL;
	*ram_offset = hit.ram_offset;
	return hit.host;
}

void vmx_page_written(struct cpu *cpu, u64 ram_offset, unsigned len)
{
	dirty_note(space_ram(cpu->memory), ram_offset, len);
	if (unlikely(ram_is_watched(space_ram(cpu->memory), ram_offset)))
		cpu->watched_page_written(cpu, ram_offset, len);
}

static u64 field_value(u64 value, u64 encoding)
{
	if (VMCS_HIGH(encoding))
		return value >> 32;
	/* a shadow VMCS in memory holds whatever was put there */
	switch (VMCS_WIDTH(encoding)) {
	case VMCS_16:
		return (u16)value;
	case VMCS_32:
		return (u32)value;
	default:
		return value;
	}
}

void vmx_load_region(struct cpu *cpu, u64 pa, struct vmcs *memory, u64 ram_offset)
{
	struct vmx *vmx = vmx_of(cpu);

	vmx->current_pa = pa;
	vmx->memory = memory;
	vmx->memory_offset = ram_offset;
	vmx->checked = false;
	copy_bytes(&vmx->vmcs, memory, sizeof(vmx->vmcs));
	/* whatever the region holds, a field has no bits beyond its width */
#define VMCS_FIELD(encoding, name) vmx->vmcs.name = field_value(vmx->vmcs.name, encoding);
#include "x86/vmcs.def"
	cpu->vmcs_fields = &vmx->vmcs;
	cpu->vmread_offsets = field_offset;
	cpu->vmwrite_offsets = write_offset;
}

void vmx_forget_region(struct cpu *cpu)
{
	vmx_of(cpu)->current_pa = VMCS_NONE;
	cpu->vmread_offsets = cpu->vmwrite_offsets = no_offset;
}

void vmx_store_region(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);

	if (vmx->current_pa == VMCS_NONE)
		return;
	copy_bytes(vmx->memory, &vmx->vmcs, sizeof(vmx->vmcs));
	vmx_page_written(cpu, vmx->memory_offset, sizeof(vmx->vmcs));
}

/* The field of an encoding; NULL: it is not supported. */
static u64 *field(struct vmcs *vmcs, u64 encoding)
{
	u16 offset;

	if (encoding >= ENCODINGS || (VMCS_HIGH(encoding) && VMCS_WIDTH(encoding) != VMCS_64))
		return NULL;
	offset = field_offset[encoding & ~1ull];
	return offset ? (u64 *)((u8 *)vmcs + offset) : NULL;
}

static u64 field_merge(u64 old, u64 value, u64 encoding)
{
	if (VMCS_HIGH(encoding))
		return (u32)old | value << 32;
	return field_value(value, encoding);
}

/* The VMCS that VMREAD and VMWRITE reach: a guest's is the shadow, SDM3 25.10. NULL: none. */
static struct vmcs *reached(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);

	if (cpu->in_guest)
		return vmx->shadow;
	return vmx->current_pa == VMCS_NONE ? NULL : &vmx->vmcs;
}

void vmx_shadow_write(struct cpu *cpu, u64 *field, u64 value)
{
	struct vmx *vmx = vmx_of(cpu);

	__atomic_store_n(field, value, __ATOMIC_RELAXED);
	vmx_page_written(cpu, vmx->shadow_offset, sizeof(*vmx->shadow));
}

int vmx_vmread(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = cpu_long64(cpu) ? 8 : 4;
	u64 encoding = gpr_read(cpu, insn->reg, size);
	struct vmcs *vmcs = reached(cpu);
	u64 *place;

	if (!vmcs)
		return vmx_fail_invalid(cpu);
	place = field(vmcs, encoding);
	if (!place)
		return vmx_fail(cpu, VMX_ERROR_FIELD);
	if (operand_write_rm(cpu, insn, size,
		    field_value(__atomic_load_n(place, __ATOMIC_RELAXED), encoding)))
		return OUTCOME_FAULT;
	return vmx_succeed(cpu);
}

int vmx_vmwrite(struct cpu *cpu, const struct insn *insn)
{
	unsigned size = cpu_long64(cpu) ? 8 : 4;
	u64 encoding = gpr_read(cpu, insn->reg, size), value;
	struct vmcs *vmcs = reached(cpu);
	u64 *place;

	if (!vmcs)
		return vmx_fail_invalid(cpu);
	if (operand_read_rm(cpu, insn, size, &value))
		return OUTCOME_FAULT;
	/* read-only fields may be written too, as IA32_VMX_MISC says */
	place = field(vmcs, encoding);
	if (!place)
		return vmx_fail(cpu, VMX_ERROR_FIELD);
	value = field_merge(__atomic_load_n(place, __ATOMIC_RELAXED), value, encoding);
	if (cpu->in_guest) {
		vmx_shadow_write(cpu, place, value);
	} else {
		if (value != *place && !NEVER_CHECKED(encoding & ~1ull))
			vmx_of(cpu)->checked = false;
		*place = value;
	}
	return vmx_succeed(cpu);
}
