// SPDX-License-Identifier: MIT
/*
 * The unit's MSRs (SDM3 appendix A and 24.7) and the MSR areas that entries and exits load and
 * store (27.4, 28.4, 28.6).
 */
#include "virt/vmx.h"
#include "virt/vmx_caps.h"

bool vmx_capability(const struct cpu *cpu, u32 msr, u64 *value)
{
	static const u64 values[] = {
		[MSR_VMX_BASIC - MSR_VMX_BASIC] = VMX_BASIC,
		[MSR_VMX_PIN_CTLS - MSR_VMX_BASIC] = VMX_PIN_CTLS,
		[MSR_VMX_PROC_CTLS - MSR_VMX_BASIC] = VMX_PROC_CTLS,
		[MSR_VMX_EXIT_CTLS - MSR_VMX_BASIC] = VMX_EXIT_CTLS,
		[MSR_VMX_ENTRY_CTLS - MSR_VMX_BASIC] = VMX_ENTRY_CTLS,
		[MSR_VMX_MISC - MSR_VMX_BASIC] = VMX_MISC,
		[MSR_VMX_CR0_FIXED0 - MSR_VMX_BASIC] = VMX_CR0_FIXED0,
		[MSR_VMX_CR0_FIXED1 - MSR_VMX_BASIC] = VMX_CR0_FIXED1,
		[MSR_VMX_CR4_FIXED0 - MSR_VMX_BASIC] = VMX_CR4_FIXED0,
		[MSR_VMX_CR4_FIXED1 - MSR_VMX_BASIC] = 0,
		[MSR_VMX_VMCS_ENUM - MSR_VMX_BASIC] = VMX_VMCS_ENUM,
		[MSR_VMX_PROC_CTLS2 - MSR_VMX_BASIC] = VMX_PROC_CTLS2,
		[MSR_VMX_EPT_VPID_CAP - MSR_VMX_BASIC] = VMX_EPT_VPID_CAP,
		[MSR_VMX_TRUE_PIN_CTLS - MSR_VMX_BASIC] = VMX_TRUE_PIN_CTLS,
		[MSR_VMX_TRUE_PROC_CTLS - MSR_VMX_BASIC] = VMX_TRUE_PROC_CTLS,
		[MSR_VMX_TRUE_EXIT_CTLS - MSR_VMX_BASIC] = VMX_TRUE_EXIT_CTLS,
		[MSR_VMX_TRUE_ENTRY_CTLS - MSR_VMX_BASIC] = VMX_TRUE_ENTRY_CTLS,
		[MSR_VMX_VMFUNC - MSR_VMX_BASIC] = VMX_FUNCTIONS,
	};
	u32 index = msr - MSR_VMX_BASIC;

	if (index >= ARRAY_SIZE(values))
		return false;
	*value = msr == MSR_VMX_CR4_FIXED1 ? cpu_cr4_valid(cpu) : values[index];
	return true;
}

int vmx_read_msr(struct cpu *cpu, u32 msr, u64 *value)
{
	switch (msr) {
	case MSR_FEATURE_CONTROL:
		*value = vmx_of(cpu)->feature_control;
		return 0;
	case MSR_X2APIC_FIRST ... MSR_X2APIC_LAST:
		return vmx_apic_read_msr(cpu, msr, value);
	}
	return vmx_capability(cpu, msr, value) ? 0 : -1;
}

int vmx_write_msr(struct cpu *cpu, u32 msr, u64 value)
{
	struct vmx *vmx = vmx_of(cpu);

	switch (msr) {
	case MSR_FEATURE_CONTROL: /* there is no SMX to allow VMX in */
		if ((vmx->feature_control & FEATURE_CONTROL_LOCK) ||
		    (value & ~(FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX)))
			return -1;
		vmx->feature_control = value;
		return 0;
	case MSR_X2APIC_FIRST ... MSR_X2APIC_LAST:
		return vmx_apic_write_msr(cpu, msr, value);
	}
	return -1;
}

/* The entry in RAM, whose 16 bytes never cross a page; NULL: not RAM. */
static struct vmx_msr_entry *area_entry(struct cpu *cpu, u64 address, u32 index, u64 *ram_offset)
{
	u64 at = address + index * sizeof(struct vmx_msr_entry);
	u8 *page = vmx_page(cpu, at, ram_offset);

	return page ? (struct vmx_msr_entry *)(page + (at & ~PAGE_MASK)) : NULL;
}

/* What may not be in any area, SDM3 27.4: the local APIC's MSRs, and those of microcode and SMM. */
static bool never_in_area(u32 msr)
{
	return msr >> 8 == MSR_X2APIC_FIRST >> 8 || msr == MSR_BIOS_UPDT_TRIG ||
	       msr == MSR_BIOS_SIGN_ID || msr == MSR_SMBASE;
}

u32 vmx_load_msrs(struct cpu *cpu, u64 address, u32 count)
{
	if (count > VMX_MSR_LIST_MAX)
		return VMX_MSR_LIST_MAX + 1;
	for (u32 i = 0; i < count; i++) {
		u64 offset;
		const struct vmx_msr_entry *memory = area_entry(cpu, address, i, &offset);
		struct vmx_msr_entry entry;

		if (!memory)
			return i + 1;
		copy_bytes(&entry, memory, sizeof(entry));
		if (entry.reserved || never_in_area(entry.index) || entry.index == MSR_FS_BASE ||
		    entry.index == MSR_GS_BASE || cpu_write_msr(cpu, entry.index, entry.value))
			return i + 1;
	}
	return 0;
}

u32 vmx_store_msrs(struct cpu *cpu, u64 address, u32 count)
{
	if (count > VMX_MSR_LIST_MAX)
		return VMX_MSR_LIST_MAX + 1;
	for (u32 i = 0; i < count; i++) {
		u64 offset, value;
		struct vmx_msr_entry *entry = area_entry(cpu, address, i, &offset);
		u32 index, reserved;

		if (!entry)
			return i + 1;
		index = __atomic_load_n(&entry->index, __ATOMIC_RELAXED);
		reserved = __atomic_load_n(&entry->reserved, __ATOMIC_RELAXED);
		if (reserved || never_in_area(index) || cpu_read_msr(cpu, index, &value))
			return i + 1;
		entry->value = value;
		vmx_page_written(cpu, offset, PAGE_SIZE);
	}
	return 0;
}
