/* SPDX-License-Identifier: MIT */
/*
 * VMLAUNCH and VMRESUME with whatever a hypervisor may leave in a VMCS, in the memory of its region
 * and in the pages that it names, and what the guest does then: instructions that may exit, events,
 * entries again. Beyond what the sanitizers see: an entry either fails with a check that is named,
 * or runs a guest that the checks allow; an exit brings the host back as its area says, leaves
 * nothing of the guest's world on, and saves a state that may be entered again.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/loop.h"
#include "virt/vmx.h"
#include "virt/vmx_caps.h"
#include "virt_rig.h"

#define POINTER 0x3f000 /* where the operand of VMXON and VMPTRLD is */
#define VMXON 0x40000
#define REGION 0x41000  /* two of them */
#define REGIONS 2
#define SHADOW 0x43000
#define BITMAPS 0x44000 /* I/O, MSR, VMREAD, VMWRITE: five pages */
#define VIRTUAL_APIC 0x49000
#define POSTED 0x4a000
#define EPT 0x4b000     /* PML4, PDPT, PD */
#define EPTP (EPT | EPTP_ACCESSED_DIRTY | 3 << 3 | 6)
#define EPTP_LIST 0x4e000
#define MSR_AREA 0x4f000
#define PML 0x50000
#define VE_INFORMATION 0x51000
#define APIC_ACCESS 0x52000
#define NAMED_END 0x53000

/* One form of each instruction that is Intel's own. */
static const struct insn insns[] = {
	{ .op = OP_VMCALL }, { .op = OP_VMFUNC }, { .op = OP_VMXOFF },
	{ .op = OP_VMREAD, .reg = RCX, .rm = RBX }, { .op = OP_VMWRITE, .reg = RCX, .rm = RBX },
	{ .op = OP_VMREAD, .reg = RCX, MEMORY }, { .op = OP_VMWRITE, .reg = RCX, MEMORY },
	{ .op = OP_VMPTRLD, MEMORY }, { .op = OP_VMPTRST, MEMORY }, { .op = OP_VMCLEAR, MEMORY },
	{ .op = OP_VMXON, MEMORY }, { .op = OP_VMLAUNCH }, { .op = OP_VMRESUME },
	{ .op = OP_INVEPT, .reg = RCX, MEMORY }, { .op = OP_INVVPID, .reg = RCX, MEMORY },
};

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

/* ---- the hypervisor ---- */

/* Field, in the order of vmcs.def. */
static const u32 encodings[] = {
#define VMCS_FIELD(encoding, name) encoding,
#include "x86/vmcs.def"
};
enum field {
#define VMCS_FIELD(encoding, name) F_##name = encoding,
#include "x86/vmcs.def"
};

static void run_on(struct rig *rig, unsigned op, u64 pa)
{
	rig_put(rig, POINTER, pa, 8);
	rig->cpu->gpr[RBX] = POINTER;
	virt_rig_run(rig, (struct insn){ .op = op, MEMORY });
}

static void vmwrite(struct rig *rig, u64 encoding, u64 value)
{
	rig->cpu->gpr[RCX] = encoding;
	rig->cpu->gpr[RBX] = value;
	virt_rig_run(rig, (struct insn){ .op = OP_VMWRITE, .reg = RCX, .rm = RBX });
}

static void write_controls(struct rig *rig)
{
	vmwrite(rig, F_pin_controls, VMX_PIN_ALLOWED0);
	vmwrite(rig, F_cpu_controls, VMX_PROC_ALLOWED0 | PROC_MSR_BITMAPS | PROC_SECONDARY);
	vmwrite(rig, F_secondary_controls, SEC_EPT | SEC_VPID | SEC_UNRESTRICTED);
	vmwrite(rig, F_exit_controls, VMX_EXIT_ALLOWED0 | EXIT_HOST_64 | EXIT_SAVE_EFER |
		EXIT_SAVE_DEBUG);
	vmwrite(rig, F_entry_controls, VMX_ENTRY_ALLOWED0 | ENTRY_IA32E);
	vmwrite(rig, F_link_pointer, VMCS_NONE);
	vmwrite(rig, F_vpid, 1);
	vmwrite(rig, F_eptp, EPTP);
	vmwrite(rig, F_vm_function_controls, VM_FUNCTION_EPTP_SWITCHING);
	vmwrite(rig, F_io_bitmap_a, BITMAPS);
	vmwrite(rig, F_io_bitmap_b, BITMAPS + 0x1000);
	vmwrite(rig, F_msr_bitmap, BITMAPS + 0x2000);
	vmwrite(rig, F_vmread_bitmap, BITMAPS + 0x3000);
	vmwrite(rig, F_vmwrite_bitmap, BITMAPS + 0x4000);
	vmwrite(rig, F_virtual_apic_address, VIRTUAL_APIC);
	vmwrite(rig, F_apic_access_address, APIC_ACCESS);
	vmwrite(rig, F_posted_interrupt_descriptor, POSTED);
	vmwrite(rig, F_pml_address, PML);
	vmwrite(rig, F_pml_index, 511);
	vmwrite(rig, F_eptp_list_address, EPTP_LIST);
	vmwrite(rig, F_ve_information_address, VE_INFORMATION);
	vmwrite(rig, F_entry_msr_load_address, MSR_AREA);
	vmwrite(rig, F_exit_msr_load_address, MSR_AREA);
	vmwrite(rig, F_exit_msr_store_address, MSR_AREA);
	vmwrite(rig, F_tsc_multiplier, BIT(48));
}

/* Host and guest alike are what the rig is: flat 64-bit mode. */
static void write_state(struct rig *rig)
{
	const struct cpu *cpu = rig->cpu;

	for (unsigned seg = 0; seg < 6; seg++) {
		vmwrite(rig, F_guest_es_selector + 2 * seg, seg == CS ? SEL_CODE0 : SEL_DATA0);
		vmwrite(rig, F_guest_es_limit + 2 * seg, 0xffffffff);
		vmwrite(rig, F_guest_es_rights + 2 * seg, seg == CS ? 0xa09b : 0xc093);
		vmwrite(rig, F_host_es_selector + 2 * seg, seg == CS ? SEL_CODE0 : SEL_DATA0);
	}
	vmwrite(rig, F_guest_ldtr_rights, RIGHTS_UNUSABLE);
	vmwrite(rig, F_guest_tr_selector, SEL_TSS);
	vmwrite(rig, F_guest_tr_limit, 0x67);
	vmwrite(rig, F_guest_tr_base, RIG_TSS);
	vmwrite(rig, F_guest_tr_rights, 0x8b);
	vmwrite(rig, F_guest_gdtr_base, cpu->gdtr.base);
	vmwrite(rig, F_guest_gdtr_limit, cpu->gdtr.limit);
	vmwrite(rig, F_guest_idtr_base, cpu->idtr.base);
	vmwrite(rig, F_guest_idtr_limit, cpu->idtr.limit);
	vmwrite(rig, F_guest_cr0, cpu->cr0);
	vmwrite(rig, F_guest_cr3, cpu->cr3);
	vmwrite(rig, F_guest_cr4, cpu->cr4);
	vmwrite(rig, F_guest_efer, cpu->efer);
	vmwrite(rig, F_guest_pat, cpu->pat);
	vmwrite(rig, F_guest_dr7, DR7_FIXED1);
	vmwrite(rig, F_guest_rflags, RFLAGS_RESERVED1);
	vmwrite(rig, F_guest_rip, 0x7000);
	vmwrite(rig, F_guest_rsp, RIG_STACK0);
	vmwrite(rig, F_host_cr0, cpu->cr0);
	vmwrite(rig, F_host_cr3, cpu->cr3);
	vmwrite(rig, F_host_cr4, cpu->cr4);
	vmwrite(rig, F_host_efer, cpu->efer);
	vmwrite(rig, F_host_pat, cpu->pat);
	vmwrite(rig, F_host_tr_selector, SEL_TSS);
	vmwrite(rig, F_host_tr_base, RIG_TSS);
	vmwrite(rig, F_host_gdtr_base, cpu->gdtr.base);
	vmwrite(rig, F_host_idtr_base, cpu->idtr.base);
	vmwrite(rig, F_host_rip, 0x6000);
	vmwrite(rig, F_host_rsp, RIG_STACK0 - 0x800);
}

static void put_memory(struct rig *rig)
{
	rig_put(rig, VMXON, VMCS_REVISION, 4);
	for (unsigned i = 0; i < REGIONS; i++)
		rig_put(rig, REGION + i * PAGE_SIZE, VMCS_REVISION, 4);
	rig_put(rig, SHADOW, VMCS_REVISION | VMCS_SHADOW, 4);
	rig_put(rig, EPT, (EPT + 0x1000) | 7, 8);
	rig_put(rig, EPT + 0x1000, (EPT + 0x2000) | 7, 8);
	rig_put(rig, EPT + 0x2000, 7 | 6 << 3 | BIT(7), 8);
	rig_put(rig, EPTP_LIST, EPTP, 8);
}

static void power_on(struct rig *rig)
{
	struct cpu *cpu = rig->cpu;

	virt_rig_power_on(rig);
	cpu->cr4 |= CR4_VMXE;
	cpu_set_rflags(cpu, RFLAGS_RESERVED1);
	require(!cpu_write_msr(cpu, MSR_FEATURE_CONTROL, FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX));
	put_memory(rig);
	run_on(rig, OP_VMXON, VMXON);
	run_on(rig, OP_VMPTRLD, REGION);
	require(vmx_of(cpu)->current_pa == REGION);
	write_controls(rig);
	write_state(rig);
}

/* ---- what must hold ---- */

static void check_no_guest(const struct cpu *cpu)
{
	require(!cpu->in_guest && !cpu->nested_paging && !cpu->ept && !cpu->ept_pml);
	require(!cpu->nested_asid && !cpu->virtual_tpr && !cpu->virtual_x2apic && !cpu->guest_lacks);
	require(!cpu->cr0_mask && !cpu->cr4_mask && !cpu->intr_apart && !cpu->nmi_apart);
	require(cpu->apic_access_page == NO_APIC_ACCESS_PAGE && !cpu->virt_pending);
	require(cpu->tsc_offset == cpu->tsc_l1_offset && cpu->tsc_ratio == TSC_RATIO_ONE);
}

/* The host as its area has it, SDM3 28.5. */
static void check_host(const struct cpu *cpu)
{
	const struct vmcs *v = &vmx_of(cpu)->vmcs;

	check_no_guest(cpu);
	require(cpu->rip == v->host_rip && cpu->gpr[RSP] == v->host_rsp && cpu->cr3 == v->host_cr3);
	require(cpu->cr4 == v->host_cr4 && !cpu->cpl && !cpu->event.valid && !cpu->pending_db);
	require(!((cpu->cr0 ^ v->host_cr0) & (CR0_PE | CR0_NE | CR0_PG | CR0_WP | CR0_TS)));
	require((cpu->efer & EFER_LMA) && (cpu->efer & EFER_LME) && cpu_long64(cpu));
	require(cpu_rflags(cpu) == RFLAGS_RESERVED1 && cpu->dr7 == DR7_FIXED1);
	require(cpu->seg[CS].sel == (u16)v->host_cs_selector);
	require(cpu->seg[SS].sel == (u16)v->host_ss_selector);
	require(cpu->seg[TR].sel == (u16)v->host_tr_selector && cpu->seg[TR].base == v->host_tr_base);
	require(cpu->gdtr.base == v->host_gdtr_base && cpu->gdtr.limit == 0xffff);
	require(cpu->idtr.base == v->host_idtr_base && cpu->idtr.limit == 0xffff);
	require(cpu->activity == CPU_RUNNING);
}

/* What no check may have let through. */
static void check_guest(const struct cpu *cpu)
{
	const struct vmx *vmx = vmx_of(cpu);
	bool unrestricted = vmx->secondary & SEC_UNRESTRICTED;

	require(!vmx->failure.text && vmx->vmcs.launched);
	require((cpu->cr0 & CR0_NE) && !(cpu->cr0 >> 32));
	require(unrestricted || (cpu->cr0 & (CR0_PE | CR0_PG)) == (CR0_PE | CR0_PG));
	require(!(cpu->cr0 & CR0_PG) || (cpu->cr0 & CR0_PE));
	require((cpu->cr4 & CR4_VMXE) && !(cpu->cr4 & ~cpu_cr4_valid(cpu)));
	require(!!(cpu->efer & EFER_LMA) == ((cpu->efer & EFER_LME) && (cpu->cr0 & CR0_PG)));
	require(cpu->cpl <= 3 && !(cpu_rflags(cpu) & ~(MASK(21, 0))));
	require(!(cpu->efer & EFER_LMA) || !cpu_v86(cpu));
}

/*
 * What an exit saved may be entered again, unless a control keeps from saving what another one
 * loads, or memory has changed.
 */
static void check_saved(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);
	const struct vmcs *v = &vmx->vmcs;
	u64 qualification;

	if ((v->entry_controls & ENTRY_LOAD_EFER) && !(v->exit_controls & EXIT_SAVE_EFER))
		return;
	if (!(v->exit_controls & EXIT_SAVE_DEBUG))
		return;
	if (vmx_check_guest(cpu, &qualification) || qualification == 2 || qualification == 4)
		return;
	fprintf(stderr, "an exit of reason %llx saved what cannot be entered: %s (%s), %s %llx\n",
		(unsigned long long)v->exit_reason, vmx->failure.text, vmx->failure.section,
		vmx->failure.field[0].name, (unsigned long long)vmx->failure.field[0].value);
	abort();
}

/* ---- what happens ---- */

/* Controls of all sorts that are offered. */
static void choose_controls(struct rig *rig, struct fuzz_input *input)
{
	static const struct {
		u64 field, zero, one;
	} set[] = {
		{ F_pin_controls, VMX_PIN_ALLOWED0, VMX_PIN_ALLOWED1 },
		{ F_cpu_controls, VMX_PROC_ALLOWED0 | PROC_SECONDARY, VMX_PROC_ALLOWED1 },
		{ F_secondary_controls, SEC_EPT, VMX_SEC_ALLOWED1 },
		{ F_exit_controls, VMX_EXIT_ALLOWED0 | EXIT_HOST_64, VMX_EXIT_ALLOWED1 },
		{ F_entry_controls, VMX_ENTRY_ALLOWED0, VMX_ENTRY_ALLOWED1 },
	};
	unsigned which = fuzz_take(input, 1) % ARRAY_SIZE(set);

	vmwrite(rig, set[which].field, set[which].zero | (fuzz_take(input, 4) & set[which].one));
}

/* One of the combinations of APIC virtualization that hypervisors use. */
static void choose_apic(struct rig *rig, struct fuzz_input *input)
{
	static const u64 secondary[] = {
		0, SEC_APIC_ACCESSES, SEC_APIC_ACCESSES | SEC_APIC_REGISTERS,
		SEC_APIC_ACCESSES | SEC_APIC_REGISTERS | SEC_VIRTUAL_INTERRUPTS, SEC_X2APIC,
		SEC_X2APIC | SEC_APIC_REGISTERS | SEC_VIRTUAL_INTERRUPTS,
	};

	u64 chosen = secondary[fuzz_take(input, 1) % ARRAY_SIZE(secondary)];
	bool posted = (chosen & SEC_VIRTUAL_INTERRUPTS) && (fuzz_take(input, 1) & 1);

	vmwrite(rig, F_pin_controls, VMX_PIN_ALLOWED0 | PIN_EXTERNAL_INTERRUPT |
		(posted ? PIN_POSTED_INTERRUPTS : 0));
	vmwrite(rig, F_cpu_controls, VMX_PROC_ALLOWED0 | PROC_SECONDARY | PROC_TPR_SHADOW |
		PROC_MSR_BITMAPS);
	vmwrite(rig, F_secondary_controls, SEC_EPT | chosen);
	vmwrite(rig, F_exit_controls, VMX_EXIT_ALLOWED0 | EXIT_HOST_64 | EXIT_ACKNOWLEDGE |
		EXIT_SAVE_EFER | EXIT_SAVE_DEBUG);
	vmwrite(rig, F_posted_interrupt_vector, VIRT_RIG_VECTOR);
	vmwrite(rig, F_guest_interrupt_status, fuzz_take(input, 2));
	vmwrite(rig, F_guest_rflags, RFLAGS_RESERVED1 | RFLAGS_IF);
}

/* INVEPT or INVVPID of any type, with operands that may be. */
static void invalidate(struct rig *rig, struct fuzz_input *input)
{
	u64 how = fuzz_take(input, 1);

	rig_put(rig, POINTER + 8, how & 8 ? fuzz_take(input, 8) : 0, 8);
	rig->cpu->gpr[RCX] = how >> 4;
	run_on(rig, how & 1 ? OP_INVEPT : OP_INVVPID, how & 1 ? EPTP : how >> 1 & 3);
}

/* A field becomes something: near what it was, or anything. */
static void mutate(struct rig *rig, struct fuzz_input *input)
{
	u64 encoding = encodings[fuzz_take(input, 1) % ARRAY_SIZE(encodings)], old;
	unsigned how = fuzz_take(input, 1);

	rig->cpu->gpr[RCX] = encoding;
	virt_rig_run(rig, (struct insn){ .op = OP_VMREAD, .reg = RCX, .rm = RBX });
	old = rig->cpu->gpr[RBX];
	switch (how & 3) {
	case 0:
		vmwrite(rig, encoding, old ^ BIT(how >> 2));
		break;
	case 1:
		vmwrite(rig, encoding, fuzz_take(input, 2));
		break;
	case 2:
		vmwrite(rig, encoding, POINTER + ((fuzz_take(input, 1) << 12) & (NAMED_END - POINTER)));
		break;
	default:
		vmwrite(rig, encoding, fuzz_take(input, 8));
		break;
	}
}

/* The hypervisor's turn; its registers are its own, its VMX instructions any. */
static void prepare(struct rig *rig, struct fuzz_input *input)
{
	for (unsigned n = fuzz_take(input, 1) & 15; n; n--) {
		u64 at;

		switch (fuzz_take(input, 1) & 15) {
		case 0: /* the region, as memory: counts once it is loaded */
			at = REGION + 8 + fuzz_take(input, 2) % (REGIONS * PAGE_SIZE - 16);
			rig_put(rig, at, fuzz_take(input, 8), 8);
			break;
		case 1: /* a page that a field names */
			at = SHADOW + fuzz_take(input, 2) % (NAMED_END - SHADOW - 8);
			rig_put(rig, at, fuzz_take(input, 8), 8);
			break;
		case 2:
			run_on(rig, fuzz_take(input, 1) & 1 ? OP_VMPTRLD : OP_VMCLEAR,
				REGION + (fuzz_take(input, 1) % (REGIONS + 1)) * PAGE_SIZE);
			break;
		case 3:
			write_controls(rig);
			write_state(rig);
			break;
		case 4:
		case 5:
			choose_controls(rig, input);
			break;
		case 6:
			choose_apic(rig, input);
			break;
		case 8:
			invalidate(rig, input);
			break;
		case 7: /* an event, with an error code where it has one */
			at = INTR_INFO_VALID | (fuzz_take(input, 2) & 0x71f);
			vmwrite(rig, F_entry_interruption_info,
				INTR_INFO_TYPE(at) == INTR_HARDWARE_EXCEPTION &&
				(at & 0x1f) >= VEC_TS && (at & 0x1f) <= VEC_PF ?
					at | INTR_INFO_ERROR : at);
			break;
		default:
			mutate(rig, input);
			break;
		}
	}
}

static void enter(struct rig *rig)
{
	struct cpu *cpu = rig->cpu;
	struct vmx *vmx = vmx_of(cpu);
	u64 rip = cpu->rip, cr3 = cpu->cr3, failed = cpu->stats.exits[1][VMX_EXIT_INVALID_GUEST_STATE];
	u32 abort_word = vmx->vmcs.abort; /* software's to write, of no effect: SDM3 25.2 */
	unsigned op = vmx->vmcs.launched ? OP_VMRESUME : OP_VMLAUNCH;

	vmx->failure.text = NULL;
	if (virt_rig_run(rig, (struct insn){ .op = op }) == OUTCOME_NEXT) {
		/* VMfail: the host goes on */
		require(cpu->rip == rip + 3 && cpu->cr3 == cr3);
		require(cpu_rflags(cpu) & (RFLAGS_CF | RFLAGS_ZF));
		check_no_guest(cpu);
	} else if (cpu->in_guest) {
		require(vmx->vmcs.abort == abort_word);
		check_guest(cpu);
	} else if (cpu->activity == CPU_RUNNING) {
		require(vmx->vmcs.exit_reason & EXIT_REASON_ENTRY_FAILURE);
		require(vmx->failure.text && vmx->failure.section && vmx->failure.field[0].name);
		require(cpu->stats.exits[1][VMX_EXIT_INVALID_GUEST_STATE] == failed + 1 ||
			(u16)vmx->vmcs.exit_reason == VMX_EXIT_MSR_LOADING);
		check_host(cpu);
	}
}

/* A plain load or store, as translated code's slow path makes it. */
static void access_memory(struct cpu *cpu, u64 linear, unsigned how)
{
	u32 value = how;
	unsigned size = how & 1 ? 4 : 1;

	if (how & 2 ? cpu_write(cpu, linear, &value, size, ACCESS_WRITE) :
		      cpu_read(cpu, linear, &value, size, ACCESS_READ))
		cpu_deliver_fault(cpu);
}

/* One thing the guest or the world around it does. */
static void step(struct rig *rig, struct fuzz_input *input)
{
	static const u32 known[] = { 0x808, 0x80b, 0x83f, 0x830, MSR_EFER, MSR_PAT, POINTER, EPT,
		VIRTUAL_APIC, F_guest_rip, F_cpu_controls };
	struct cpu *cpu = rig->cpu;
	u64 at, how;

	switch (fuzz_take(input, 1) & 15) {
	case 0:
		at = SHADOW + fuzz_take(input, 2) % (NAMED_END - SHADOW - 8);
		rig_put(rig, at, fuzz_take(input, 8), 8);
		break;
	case 1:
		virt_rig_set_memory(rig, input);
		break;
	case 2:
		virt_rig_set_register(rig, input);
		break;
	case 3:
		virt_rig_set_pin(rig, input);
		break;
	case 4:
		rig_boundary(rig);
		break;
	case 5:
		at = fuzz_take(input, 1);
		cpu->gpr[at & 1 ? RCX : RBX] = known[at % ARRAY_SIZE(known)];
		break;
	case 6:
	case 7:
		at = APIC_ACCESS + (fuzz_take(input, 1) << 4);
		how = fuzz_take(input, 1);
		if (cpu->activity == CPU_RUNNING)
			access_memory(cpu, at, how);
		break;
	default:
		virt_rig_step(rig, *virt_rig_choose(input, insns, ARRAY_SIZE(insns)));
		break;
	}
}

/* Still a host that can be relied on: not reset, shut down or left with tables of its own making. */
static bool host_lives(const struct cpu *cpu)
{
	return vmx_of(cpu)->on && cpu->activity == CPU_RUNNING && cpu_long64(cpu) &&
	       cpu->cr3 == RIG_TABLES && !cpu->cpl;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct fuzz_input input = { data, size };
	static struct rig *rig;
	struct cpu *cpu;

	if (!rig) {
		rig = virt_rig_new(NESTED_INTEL, vmx_new);
		/* for the preemption timer's wake-ups, which nobody runs */
		rig->machine.loop = loop_new(NULL, NULL, NULL);
		require(rig->machine.loop);
	}
	power_on(rig);
	cpu = rig->cpu;
	while (input.left && host_lives(cpu)) {
		prepare(rig, &input);
		if (!host_lives(cpu))
			break;
		enter(rig);
		if (!cpu->in_guest)
			continue;
		while (cpu->in_guest && input.left)
			step(rig, &input);
		/* INIT, a reset or an abort took the host as well */
		if (cpu->in_guest || !vmx_of(cpu)->on || cpu->activity != CPU_RUNNING)
			break;
		/* an NMI that waited behind an INIT's exit is the host's, which has taken it already */
		if (cpu->nmi_blocked && cpu->rip != vmx_of(cpu)->vmcs.host_rip)
			break;
		check_host(cpu);
		check_saved(cpu);
	}
	return 0;
}
