// SPDX-License-Identifier: MIT
/*
 * VMCS regions in memory, the copy of the current one, and its fields by their encodings: SDM3
 * 25.2, 25.11, VMREAD and VMWRITE in 31.3, VMCS shadowing in 25.10.
 */
#include "cpu/handlers.h"
#include "virt/vmx.h"

/* Where a field lies in struct vmcs, by its width, type and index; 0: there is no such field. */
#define INDEXES 32
#define SLOT(encoding) \
	((VMCS_WIDTH(encoding) * 4 + VMCS_TYPE(encoding)) * INDEXES + VMCS_INDEX(encoding))

static const u16 field_offset[4 * 4 * INDEXES] = {
#define VMCS_FIELD(encoding, name) [SLOT(encoding)] = offsetof(struct vmcs, name),
#include "x86/vmcs.def"
};

_Static_assert(VMCS_INDEX_MAX < INDEXES, "every index has a slot");

bool vmx_eptp_valid(const struct cpu *cpu, u64 eptp)
{
	u64 type = eptp & EPTP_MEMORY_TYPE;

	return (type == EPT_UC || type == EPT_WB) && EPTP_WALK_LENGTH(eptp) == 3 &&
	       !(eptp & MASK(11, 7)) && !(eptp >> cpu->phys_bits);
}

/* Bits of an encoding that must be zero, SDM3 table 25-21. */
#define ENCODING_RESERVED (MASK(63, 15) | BIT(12))

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
	if (unlikely(space_ram(cpu->memory)->page_flags[ram_offset >> PAGE_SHIFT] & RAM_HAS_CODE))
		cpu->code_page_written(cpu, ram_offset, len);
}

void vmx_load_region(struct cpu *cpu, u64 pa, struct vmcs *memory, u64 ram_offset)
{
	struct vmx *vmx = vmx_of(cpu);

	vmx->current_pa = pa;
	vmx->memory = memory;
	vmx->memory_offset = ram_offset;
	copy_bytes(&vmx->vmcs, memory, sizeof(vmx->vmcs));
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

	if ((encoding & ENCODING_RESERVED) || VMCS_INDEX(encoding) >= INDEXES ||
	    (VMCS_HIGH(encoding) && VMCS_WIDTH(encoding) != VMCS_64))
		return NULL;
	offset = field_offset[SLOT(encoding)];
	return offset ? (u64 *)((u8 *)vmcs + offset) : NULL;
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
	__atomic_store_n(place, field_merge(*place, value, encoding), __ATOMIC_RELAXED);
	if (cpu->in_guest)
		vmx_page_written(cpu, vmx_of(cpu)->shadow_offset, sizeof(*vmcs));
	return vmx_succeed(cpu);
}
