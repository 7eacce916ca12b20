// SPDX-License-Identifier: MIT
/*
 * "Is this event intercepted?": SDM3 26.1 and 26.2, with the exit qualifications of 28.2.1. The
 * controls are those of the copy that the entry checked; bitmaps are read where they lie, as
 * processors do, and where they are not RAM everything they speak of exits.
 *
 * XSAVES and XRSTORS never exit, since IA32_XSS has no bit that could be set.
 */
#include "cpu/handlers.h"
#include "virt/vmx.h"
#include "virt/vmx_caps.h"

/* Exceptions that push an error code, SDM3 table 6-1. */
#define HAS_ERROR_CODE \
	(BIT(VEC_DF) | BIT(VEC_TS) | BIT(VEC_NP) | BIT(VEC_SS) | BIT(VEC_GP) | BIT(VEC_PF) | \
		BIT(VEC_AC) | BIT(VEC_CP))

/* Type of access of a CR_ACCESS qualification, table 28-3. */
enum { CR_MOV_TO, CR_MOV_FROM, CR_CLTS, CR_LMSW };
#define CR_QUALIFICATION(number, type, reg) ((u64)(number) | (u64)(type) << 4 | (u64)(reg) << 8)
#define CR_LMSW_MEMORY BIT(6)

#define DR_FROM BIT(4)
#define IO_IN BIT(3)
#define IO_STRING BIT(4)
#define IO_REP BIT(5)
#define IO_IMMEDIATE BIT(6)

/* Source of a task switch, table 28-2. */
enum { TASK_SWITCH_CALL, TASK_SWITCH_IRET, TASK_SWITCH_JMP, TASK_SWITCH_GATE };

static bool bit_of(const u8 *page, u32 bit)
{
	return !page || (__atomic_load_n(&page[bit >> 3], __ATOMIC_RELAXED) >> (bit & 7) & 1);
}

u64 vmx_displacement(const struct cpu *cpu, const struct insn *insn)
{
	if (!insn->is_mem)
		return 0;
	return insn->rip_relative ? cpu->rip + insn->len + insn->disp : (u64)insn->disp;
}

/* ---- the instruction-information field, 28.2.5 ---- */

/* Scaling, address size, segment, index and base: the same in every form. */
static u32 memory_info(const struct insn *insn)
{
	u32 info = (insn->addrsize == 8 ? 2 : insn->addrsize == 4 ? 1 : 0) << 7 |
		   (u32)insn->seg << 15;

	if (insn->index == INSN_NO_REG)
		info |= BIT(22);
	else
		info |= (u32)insn->index << 18 | (u32)__builtin_ctz(insn->scale | 8);
	if (insn->base == INSN_NO_REG)
		info |= BIT(27);
	else
		info |= (u32)insn->base << 23;
	return info;
}

static u32 operand_info(const struct insn *insn)
{
	return insn->is_mem ? memory_info(insn) : BIT(10) | (u32)insn->rm << 3;
}

u32 vmx_instruction_info(const struct insn *insn)
{
	static const u8 identity[OP_COUNT] = {
		[OP_SIDT] = 1, [OP_LGDT] = 2, [OP_LIDT] = 3, [OP_STR] = 1, [OP_LLDT] = 2, [OP_LTR] = 3,
	};
	u32 info;

	/* INS's segment is always ES */
	if (insn->op == OP_INS || insn->op == OP_OUTS)
		return memory_info(insn) & (MASK(9, 7) | (insn->op == OP_OUTS ? MASK(17, 15) : 0));
	info = operand_info(insn);
	switch (insn->op) {
	case OP_VMREAD:
	case OP_VMWRITE:
	case OP_INVEPT:
	case OP_INVVPID:
	case OP_INVPCID:
		return info | (u32)insn->reg << 28;
	case OP_SGDT:
	case OP_SIDT:
	case OP_LGDT:
	case OP_LIDT:
		/* table 28-10: 32 bits stands for 64-bit mode too */
		return info | (insn->opsize == 2 && insn->code_size != 8 ? 0 : BIT(11)) |
		       (u32)identity[insn->op] << 28;
	case OP_SLDT:
	case OP_STR:
	case OP_LLDT:
	case OP_LTR:
		return info | (u32)identity[insn->op] << 28;
	case OP_RDRAND:
	case OP_RDSEED:
		return (u32)insn->rm << 3 | (u32)__builtin_ctz(insn->opsize >> 1) << 11;
	default:
		return info;
	}
}

/* ---- exits ---- */

static bool leave(struct cpu *cpu, const struct insn *insn, u32 reason)
{
	vmx_exit_insn(cpu, insn, reason, 0, 0);
	return true;
}

static bool leave_if(struct cpu *cpu, const struct insn *insn, u64 control, u32 reason)
{
	return control && leave(cpu, insn, reason);
}

static bool cr_exit(struct cpu *cpu, const struct insn *insn, u64 qualification)
{
	vmx_exit_insn(cpu, insn, VMX_EXIT_CR_ACCESS, qualification, 0);
	return true;
}

static bool cr_read(struct cpu *cpu, const struct insn *insn, unsigned number, unsigned reg)
{
	u64 controls = vmx_of(cpu)->vmcs.cpu_controls;

	if (!(number == 3 && controls & PROC_CR3_STORE) && !(number == 8 && controls & PROC_CR8_STORE))
		return false;
	return cr_exit(cpu, insn, CR_QUALIFICATION(number, CR_MOV_FROM, reg));
}

/* 26.1.3: the bits that LMSW would change and the hypervisor owns; PE only upwards. */
static bool lmsw(struct cpu *cpu, const struct insn *insn, u16 source)
{
	u64 owned = cpu->cr0_mask & MASK(3, 0), differ = (source ^ cpu->cr0_shadow) & owned;
	struct vmx_exit exit = {
		.reason = VMX_EXIT_CR_ACCESS, .instruction_length = insn->len,
		.qualification = CR_QUALIFICATION(0, CR_LMSW, 0) | (u64)source << 16,
	};

	if (!(differ & ~CR0_PE) && !(differ & CR0_PE & source))
		return false;
	if (insn->is_mem) {
		exit.qualification |= CR_LMSW_MEMORY;
		exit.guest_linear = cpu_effective_address(cpu, insn);
		if (!cpu_long64(cpu) || insn->seg >= FS)
			exit.guest_linear += cpu->seg[insn->seg].base;
	}
	vmx_exit(cpu, &exit);
	return true;
}

static bool is_cr3_target(const struct vmcs *v, u64 value)
{
	const u64 target[] = { v->cr3_target0, v->cr3_target1, v->cr3_target2, v->cr3_target3 };

	for (unsigned i = 0; i < MIN(v->cr3_target_count, ARRAY_SIZE(target)); i++)
		if (target[i] == value)
			return true;
	return false;
}

static bool cr_write(struct cpu *cpu, const struct insn *insn, unsigned number, u64 value)
{
	const struct vmcs *v = &vmx_of(cpu)->vmcs;
	bool exits = false;

	switch (number) {
	case 0:
		if (insn->op == OP_LMSW)
			return lmsw(cpu, insn, value);
		if (insn->op == OP_CLTS)
			return (cpu->cr0_mask & cpu->cr0_shadow & CR0_TS) &&
			       cr_exit(cpu, insn, CR_QUALIFICATION(0, CR_CLTS, 0));
		exits = (value ^ cpu->cr0_shadow) & cpu->cr0_mask;
		break;
	case 3:
		exits = (v->cpu_controls & PROC_CR3_LOAD) && !is_cr3_target(v, value);
		break;
	case 4:
		exits = (value ^ cpu->cr4_shadow) & cpu->cr4_mask;
		break;
	case 8:
		exits = v->cpu_controls & PROC_CR8_LOAD;
		break;
	}
	return exits && cr_exit(cpu, insn, CR_QUALIFICATION(number, CR_MOV_TO, insn->rm));
}

static bool descriptor_table(struct cpu *cpu, const struct insn *insn, u32 reason)
{
	if (!(vmx_of(cpu)->secondary & SEC_DESCRIPTOR_TABLES))
		return false;
	vmx_exit_insn(cpu, insn, reason, vmx_displacement(cpu, insn), vmx_instruction_info(insn));
	return true;
}

static bool random_number(struct cpu *cpu, const struct insn *insn, u32 control, u32 reason)
{
	if (!(vmx_of(cpu)->secondary & control))
		return false;
	vmx_exit_insn(cpu, insn, reason, 0, vmx_instruction_info(insn));
	return true;
}

/* 26.1.3: with bitmaps each byte that is accessed has its bit, and a wrap of ports exits. */
static bool io_intercepted(const struct vmx *vmx, u16 port, unsigned size)
{
	if (!(vmx->vmcs.cpu_controls & PROC_IO_BITMAPS))
		return vmx->vmcs.cpu_controls & PROC_UNCONDITIONAL_IO;
	if (port + size > 0x10000)
		return true;
	for (unsigned i = 0; i < size; i++)
		if (bit_of(vmx->io_bitmap[(port + i) >> 15], (port + i) & 0x7fff))
			return true;
	return false;
}

static bool io(struct cpu *cpu, const struct insn *insn, u16 port, u64 details)
{
	unsigned size = VIRT_IO_SIZE(details);
	bool in = details & VIRT_IO_IN, string = details & VIRT_IO_STRING;
	struct vmx_exit exit = {
		.reason = VMX_EXIT_IO, .instruction_length = insn->len,
		.qualification = (size - 1) | (u64)port << 16,
	};

	if (!io_intercepted(vmx_of(cpu), port, size))
		return false;
	if (in)
		exit.qualification |= IO_IN;
	if (!string && !(insn->opcode & 8))
		exit.qualification |= IO_IMMEDIATE;
	if (details & VIRT_IO_REP)
		exit.qualification |= IO_REP;
	if (string) {
		unsigned seg = in ? ES : VIRT_IO_SEG(details);

		exit.qualification |= IO_STRING;
		exit.instruction_info = vmx_instruction_info(insn);
		exit.guest_linear = gpr_read(cpu, in ? RDI : RSI, VIRT_IO_ADDRSIZE(details));
		if (!cpu_long64(cpu) || seg >= FS)
			exit.guest_linear += cpu->seg[seg].base;
	}
	vmx_exit(cpu, &exit);
	return true;
}

/* 25.6.9: reads of low and high MSRs, then writes of low and high ones, a KiB each. */
static bool msr_intercepted(const struct vmx *vmx, u32 msr, bool write)
{
	u32 base = write ? 0x800 * 8 : 0;

	if (!(vmx->vmcs.cpu_controls & PROC_MSR_BITMAPS))
		return true;
	if (msr >= 0xc0000000 && msr <= 0xc0001fff)
		base += 0x400 * 8;
	else if (msr > 0x1fff)
		return true;
	return bit_of(vmx->msr_bitmap, base + (msr & 0x1fff));
}

/* 26.1.3: in user mode PAUSE-loop exiting does nothing. */
static bool pause(struct cpu *cpu, const struct insn *insn)
{
	struct vmx *vmx = vmx_of(cpu);
	u64 now, gap;

	if (vmx->vmcs.cpu_controls & PROC_PAUSE)
		return leave(cpu, insn, VMX_EXIT_PAUSE);
	if (!(vmx->secondary & SEC_PAUSE_LOOP) || cpu->cpl)
		return false;
	now = __builtin_ia32_rdtsc();
	gap = now - vmx->ple_last;
	vmx->ple_last = now;
	if (gap > vmx->vmcs.ple_gap) {
		vmx->ple_first = now;
		return false;
	}
	return now - vmx->ple_first > vmx->vmcs.ple_window && leave(cpu, insn, VMX_EXIT_PAUSE);
}

/* An instruction that switched (NULL: an event through a task gate), 26.4.2. */
static bool task_switch_exit(struct cpu *cpu, const struct insn *insn, u16 selector, u64 details)
{
	u64 source = details & VIRT_TASK_EVENT ? TASK_SWITCH_GATE :
		     details & VIRT_TASK_IRET  ? TASK_SWITCH_IRET :
		     details & VIRT_TASK_JMP   ? TASK_SWITCH_JMP :
						 TASK_SWITCH_CALL;

	vmx_exit(cpu, &(struct vmx_exit){
		.reason = VMX_EXIT_TASK_SWITCH, .qualification = selector | source << 30,
		.instruction_length = insn ? insn->len : 0,
	});
	return true;
}

/* ---- exceptions and interrupts ---- */

static bool exception_intercepted(const struct vmcs *v, u8 vector, u32 error)
{
	bool bit = v->exception_bitmap >> vector & 1;

	/* 26.2: with #PF the bit says what a match of the error code means */
	if (vector == VEC_PF)
		return bit == ((error & v->pf_error_mask) == v->pf_error_match);
	return bit;
}

static unsigned exception_type(const struct insn *insn)
{
	switch (insn ? insn->op : OP_COUNT) {
	case OP_INT3:
	case OP_INTO:
		return INTR_SOFTWARE_EXCEPTION;
	case OP_INT1:
		return INTR_PRIVILEGED_EXCEPTION;
	default:
		return INTR_HARDWARE_EXCEPTION;
	}
}

static bool exception(struct cpu *cpu, const struct insn *insn, u8 vector, u32 error)
{
	unsigned type = exception_type(insn);
	struct vmx_exit exit = {
		.reason = VMX_EXIT_EXCEPTION,
		.interruption_info = INTR_INFO_VALID | type << 8 | vector,
		.error_code = error,
		.instruction_length = insn ? insn->len : 0,
		/* of #DB even an instruction breakpoint leaves RF to the handler, SDM3 18.3.1.1 */
		.fault = type == INTR_HARDWARE_EXCEPTION && vector != VEC_DB,
	};

	if (!exception_intercepted(&vmx_of(cpu)->vmcs, vector, error))
		return false;
	/* in real mode there are no error codes, 28.2.2 */
	if ((HAS_ERROR_CODE >> vector & 1) && (cpu->cr0 & CR0_PE))
		exit.interruption_info |= INTR_INFO_ERROR;
	else
		exit.error_code = 0;
	if (vector == VEC_PF)
		exit.qualification = cpu->fault.address;
	else if (vector == VEC_DB && type == INTR_HARDWARE_EXCEPTION)
		exit.qualification = cpu->fault.dr6;
	/* 28.2.2: an IRET that had unblocked NMIs and faulted */
	if (cpu->iret_unblocked && vector != VEC_DF && !cpu->event.valid)
		exit.interruption_info |= INTR_INFO_NMI_UNBLOCKED;
	/* 28.2.4: a double fault that exits itself was not met while another event was delivered */
	if (vector == VEC_DF)
		cpu->event.valid = false;
	vmx_exit(cpu, &exit);
	return true;
}

/* True also where the interrupt was a notification, or has gone as it was acknowledged. */
static bool external_interrupt(struct cpu *cpu)
{
	const struct vmcs *v = &vmx_of(cpu)->vmcs;
	struct vmx_exit exit = { .reason = VMX_EXIT_EXTERNAL_INTERRUPT, .boundary = true };
	int vector;

	if (!(v->pin_controls & PIN_EXTERNAL_INTERRUPT))
		return false;
	if (v->exit_controls & EXIT_ACKNOWLEDGE) {
		vector = cpu_acknowledge(cpu);
		if (vector < 0)
			return true;
		if ((v->pin_controls & PIN_POSTED_INTERRUPTS) && vmx_apic_posted(cpu, vector))
			return true;
		exit.interruption_info = INTR_INFO_VALID | INTR_EXTERNAL << 8 | vector;
	}
	vmx_exit(cpu, &exit);
	return true;
}

static bool nmi(struct cpu *cpu)
{
	if (!(vmx_of(cpu)->vmcs.pin_controls & PIN_NMI))
		return false;
	cpu_take_pin(cpu, CPU_PIN_NMI);
	vmx_exit(cpu, &(struct vmx_exit){
		.reason = VMX_EXIT_EXCEPTION, .boundary = true,
		.interruption_info = INTR_INFO_VALID | INTR_NMI << 8 | VEC_NMI,
	});
	return true;
}

static bool init(struct cpu *cpu)
{
	cpu_take_pin(cpu, CPU_PIN_INIT);
	vmx_exit_plain(cpu, VMX_EXIT_INIT, 0);
	return true;
}

bool vmx_intercept(struct cpu *cpu, const struct insn *insn, enum virt_event event, u64 a, u64 b)
{
	const struct vmx *vmx = vmx_of(cpu);
	u64 proc = vmx->vmcs.cpu_controls;

	switch (event) {
	case VIRT_CR_READ:
		return cr_read(cpu, insn, a, b);
	case VIRT_CR_WRITE:
		return cr_write(cpu, insn, a, b);
	case VIRT_DR_READ:
	case VIRT_DR_WRITE:
		if (!(proc & PROC_MOV_DR))
			return false;
		vmx_exit_insn(cpu, insn, VMX_EXIT_MOV_DR,
			a | (event == VIRT_DR_READ ? DR_FROM : 0) | b << 8, 0);
		return true;
	case VIRT_IDTR_READ:
	case VIRT_GDTR_READ:
	case VIRT_IDTR_WRITE:
	case VIRT_GDTR_WRITE:
		return descriptor_table(cpu, insn, VMX_EXIT_GDTR_IDTR);
	case VIRT_LDTR_READ:
	case VIRT_TR_READ:
	case VIRT_LDTR_WRITE:
	case VIRT_TR_WRITE:
		return descriptor_table(cpu, insn, VMX_EXIT_LDTR_TR);
	case VIRT_RDTSC:
		return leave_if(cpu, insn, proc & PROC_RDTSC, VMX_EXIT_RDTSC);
	case VIRT_RDTSCP:
		return leave_if(cpu, insn, proc & PROC_RDTSC, VMX_EXIT_RDTSCP);
	case VIRT_RDPMC:
		return leave_if(cpu, insn, proc & PROC_RDPMC, VMX_EXIT_RDPMC);
	case VIRT_RDRAND:
		return random_number(cpu, insn, SEC_RDRAND, VMX_EXIT_RDRAND);
	case VIRT_RDSEED:
		return random_number(cpu, insn, SEC_RDSEED, VMX_EXIT_RDSEED);
	case VIRT_CPUID:
		return leave(cpu, insn, VMX_EXIT_CPUID);
	case VIRT_INVD:
		return leave(cpu, insn, VMX_EXIT_INVD);
	case VIRT_WBINVD:
		return leave_if(cpu, insn, vmx->secondary & SEC_WBINVD, VMX_EXIT_WBINVD);
	case VIRT_XSETBV:
		return leave(cpu, insn, VMX_EXIT_XSETBV);
	case VIRT_PAUSE:
		return pause(cpu, insn);
	case VIRT_HLT:
		return leave_if(cpu, insn, proc & PROC_HLT, VMX_EXIT_HLT);
	case VIRT_MONITOR:
		return leave_if(cpu, insn, proc & PROC_MONITOR, VMX_EXIT_MONITOR);
	case VIRT_MWAIT:
		return leave_if(cpu, insn, proc & PROC_MWAIT, VMX_EXIT_MWAIT);
	case VIRT_INVLPG:
		if (!(proc & PROC_INVLPG))
			return false;
		vmx_exit_insn(cpu, insn, VMX_EXIT_INVLPG, a, 0);
		return true;
	case VIRT_INVPCID:
		if (!(proc & PROC_INVLPG))
			return false;
		vmx_exit_insn(cpu, insn, VMX_EXIT_INVPCID, vmx_displacement(cpu, insn),
			vmx_instruction_info(insn));
		return true;
	case VIRT_IO:
		return io(cpu, insn, a, b);
	case VIRT_MSR_READ:
		return msr_intercepted(vmx, a, false) && leave(cpu, insn, VMX_EXIT_RDMSR);
	case VIRT_MSR_WRITE:
		return msr_intercepted(vmx, a, true) && leave(cpu, insn, VMX_EXIT_WRMSR);
	case VIRT_TASK_SWITCH:
		return task_switch_exit(cpu, insn, a, b);
	case VIRT_SHUTDOWN:
		vmx_exit_plain(cpu, VMX_EXIT_TRIPLE_FAULT, 0);
		return true;
	case VIRT_EXCEPTION:
		return a < 32 && exception(cpu, insn, a, b);
	case VIRT_INTR:
		return external_interrupt(cpu);
	case VIRT_NMI:
		return nmi(cpu);
	case VIRT_INIT:
		return init(cpu);
	case VIRT_SIPI:
		vmx_exit_plain(cpu, VMX_EXIT_SIPI, a);
		return true;
	default:
		return false; /* what AMD alone intercepts */
	}
}
