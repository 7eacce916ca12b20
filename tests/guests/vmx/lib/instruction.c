/* SPDX-License-Identifier: MIT */
/* The VMX instructions as functions, with what becomes of them: SDM3 31.2. */
#include "vmx.h"

unsigned vm_status(unsigned vector, u64 flags)
{
	u64 error = 0;

	if (vector != NO_TRAP)
		return VM_EXCEPTION(vector);
	switch (flags & (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)) {
	case 0:
		return VM_SUCCEED;
	case FLAG_CF:
		return VM_FAIL_INVALID;
	case FLAG_ZF:
		__asm__ volatile("vmread %1, %0" : "=r"(error) : "r"((u64)FIELD_instruction_error));
		return VM_FAIL_VALID((unsigned)error);
	default:
		return VM_BAD_FLAGS;
	}
}

unsigned vmxon(u64 pa)
{
	return vm_try("vmxon %[pa]", [pa] "m"(pa));
}

unsigned vmxoff(void)
{
	return vm_try("vmxoff", );
}

unsigned vmclear(u64 pa)
{
	return vm_try("vmclear %[pa]", [pa] "m"(pa));
}

unsigned vmptrld(u64 pa)
{
	return vm_try("vmptrld %[pa]", [pa] "m"(pa));
}

unsigned vmptrst(u64 *to)
{
	return vm_try("vmptrst (%[to])", [to] "r"(to));
}

unsigned vmread(u64 field, u64 *to)
{
	return vm_try("vmread %[field], (%[to])", [field] "r"(field), [to] "r"(to));
}

unsigned vmwrite(u64 field, u64 value)
{
	return vm_try("vmwrite %[value], %[field]", [field] "r"(field), [value] "r"(value));
}

unsigned invept(u64 type, u64 eptp)
{
	struct invept_descriptor descriptor = { .eptp = eptp };

	return vm_try("invept %[d], %[type]", [d] "m"(descriptor), [type] "r"(type));
}

unsigned invvpid(u64 type, u64 vpid, u64 linear)
{
	struct invvpid_descriptor descriptor = { .vpid = vpid, .linear = linear };

	return vm_try("invvpid %[d], %[type]", [d] "m"(descriptor), [type] "r"(type));
}
