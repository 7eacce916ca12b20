// SPDX-License-Identifier: MIT
/*
 * What drops or switches translations by name: INVEPT, INVVPID (SDM3 31.3, 29.4.3) and VMFUNC's
 * EPTP switching (26.5.6).
 */
#include "cpu/descriptor.h"
#include "cpu/tlb.h"
#include "virt/vmx.h"

enum { INVEPT_CONTEXT = 1, INVEPT_GLOBAL };
enum { INVVPID_ADDRESS, INVVPID_CONTEXT, INVVPID_ALL, INVVPID_RETAINING_GLOBALS };

#define EPTP_LIST_LENGTH 512

/* The type in a register and the descriptor of 16 bytes in memory. 0 or OUTCOME_FAULT. */
static int read_operands(struct cpu *cpu, const struct insn *insn, u64 *type, u64 descriptor[2])
{
	*type = gpr_read(cpu, insn->reg, cpu_long64(cpu) ? 8 : 4);
	return cpu_read_seg(cpu, insn->seg, cpu_effective_address(cpu, insn), descriptor, 16);
}

int vmx_invept(struct cpu *cpu, const struct insn *insn)
{
	u64 type, descriptor[2];

	if (read_operands(cpu, insn, &type, descriptor))
		return OUTCOME_FAULT;
	switch (type) {
	case INVEPT_CONTEXT:
		if (!vmx_eptp_valid(cpu, descriptor[0]))
			return vmx_fail(cpu, VMX_ERROR_INVALIDATION_OPERAND);
		tlb_flush_ept(cpu, descriptor[0]);
		break;
	case INVEPT_GLOBAL:
		tlb_flush_every_ept(cpu);
		break;
	default:
		return vmx_fail(cpu, VMX_ERROR_INVALIDATION_OPERAND);
	}
	return vmx_succeed(cpu);
}

int vmx_invvpid(struct cpu *cpu, const struct insn *insn)
{
	u64 type, descriptor[2];
	u16 vpid;

	if (read_operands(cpu, insn, &type, descriptor))
		return OUTCOME_FAULT;
	vpid = descriptor[0];
	if (type > INVVPID_RETAINING_GLOBALS || descriptor[0] >> 16 ||
	    (type != INVVPID_ALL && !vpid) ||
	    (type == INVVPID_ADDRESS && !is_canonical(descriptor[1])))
		return vmx_fail(cpu, VMX_ERROR_INVALIDATION_OPERAND);
	if (type == INVVPID_ADDRESS)
		tlb_flush_page(cpu, vpid, 0, descriptor[1], true);
	else if (type == INVVPID_CONTEXT)
		tlb_flush_asid(cpu, vpid);
	else if (type == INVVPID_ALL)
		tlb_flush_every_vpid(cpu);
	else
		tlb_flush_asid_local(cpu, vpid);
	return vmx_succeed(cpu);
}

/* SDM3 26.5.6.3. False: a VM exit is due. */
static bool switch_eptp(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);
	u32 index = cpu->gpr[RCX];
	u64 eptp, offset;
	const u8 *list;

	if (index >= EPTP_LIST_LENGTH)
		return false;
	list = vmx_page(cpu, vmx->vmcs.eptp_list_address, &offset);
	if (!list)
		return false;
	eptp = __atomic_load_n((const u64 *)list + index, __ATOMIC_RELAXED);
	if (!vmx_eptp_valid(cpu, eptp))
		return false;
	vmx->vmcs.eptp = eptp;
	vmx->vmcs.eptp_index = index;
	cpu->nested_root = eptp;
	tlb_world_changed(cpu);
	return true;
}

/* Any CPL; what is not enabled does not exist, SDM3 26.5.6.2. */
int vmx_vmfunc(struct cpu *cpu, const struct insn *insn)
{
	const struct vmx *vmx = vmx_of(cpu);
	u32 function = cpu->gpr[RAX];

	if (!cpu->in_guest || !(vmx->secondary & SEC_VM_FUNCTIONS) || function >= 64)
		return cpu_fault(cpu, VEC_UD);
	if (!(vmx->vmcs.vm_function_controls & BIT(function)) || !switch_eptp(cpu)) {
		vmx_exit_insn(cpu, insn, VMX_EXIT_VMFUNC, 0, 0);
		return OUTCOME_JUMP;
	}
	return cpu_end_block(cpu, insn);
}
