/* SPDX-License-Identifier: MIT */
/*
 * The VMCS as a type, made from the rows of vmcs.def, and the bits inside its fields; SDM3 chapter
 * 25 and appendices A to C.
 *
 * What lies behind the first two words of a VMCS region is the processor's own business (SDM3
 * 25.2). Here it is one 64-bit word a field, whatever its width.
 */
#ifndef X86_VMCS_H
#define X86_VMCS_H

#include "base/types.h"

struct vmcs {
	u32 revision;      /* VMCS_REVISION; bit 31: a shadow VMCS */
	u32 abort;         /* VMX-abort indicator */
	u32 launched;      /* launch state: clear (0) or launched */
	u32 reserved;
#define VMCS_FIELD(encoding, name) u64 name;
#include "x86/vmcs.def"
};

_Static_assert(sizeof(struct vmcs) <= PAGE_SIZE, "a VMCS region is one page");

#define VMCS_REVISION 0x4e42u
#define VMCS_SHADOW BIT(31)
#define VMCS_NONE ~0ull            /* the value of a VMCS pointer that names none */

/* The parts of an encoding, SDM3 25.11.2. */
#define VMCS_HIGH(encoding) ((encoding) & 1)           /* the upper half of a 64-bit field */
#define VMCS_INDEX(encoding) ((encoding) >> 1 & 0x1ff)
#define VMCS_TYPE(encoding) ((encoding) >> 10 & 3)
#define VMCS_WIDTH(encoding) ((encoding) >> 13 & 3)
enum { VMCS_CONTROL, VMCS_READ_ONLY, VMCS_GUEST, VMCS_HOST };
enum { VMCS_16, VMCS_64, VMCS_32, VMCS_NATURAL };
#define VMCS_INDEX_MAX 25          /* the highest index of a row: IA32_VMX_VMCS_ENUM */

/* Pin-based controls, SDM3 25.6.1 */
#define PIN_EXTERNAL_INTERRUPT BIT(0)
#define PIN_NMI BIT(3)
#define PIN_VIRTUAL_NMIS BIT(5)
#define PIN_PREEMPTION_TIMER BIT(6)
#define PIN_POSTED_INTERRUPTS BIT(7)

/* Primary processor-based controls, 25.6.2 */
#define PROC_INTERRUPT_WINDOW BIT(2)
#define PROC_TSC_OFFSETTING BIT(3)
#define PROC_HLT BIT(7)
#define PROC_INVLPG BIT(9)
#define PROC_MWAIT BIT(10)
#define PROC_RDPMC BIT(11)
#define PROC_RDTSC BIT(12)
#define PROC_CR3_LOAD BIT(15)
#define PROC_CR3_STORE BIT(16)
#define PROC_CR8_LOAD BIT(19)
#define PROC_CR8_STORE BIT(20)
#define PROC_TPR_SHADOW BIT(21)
#define PROC_NMI_WINDOW BIT(22)
#define PROC_MOV_DR BIT(23)
#define PROC_UNCONDITIONAL_IO BIT(24)
#define PROC_IO_BITMAPS BIT(25)
#define PROC_MONITOR_TRAP BIT(27)
#define PROC_MSR_BITMAPS BIT(28)
#define PROC_MONITOR BIT(29)
#define PROC_PAUSE BIT(30)
#define PROC_SECONDARY BIT(31)

/* Secondary processor-based controls, 25.6.2 */
#define SEC_APIC_ACCESSES BIT(0)
#define SEC_EPT BIT(1)
#define SEC_DESCRIPTOR_TABLES BIT(2)
#define SEC_RDTSCP BIT(3)
#define SEC_X2APIC BIT(4)
#define SEC_VPID BIT(5)
#define SEC_WBINVD BIT(6)
#define SEC_UNRESTRICTED BIT(7)
#define SEC_APIC_REGISTERS BIT(8)
#define SEC_VIRTUAL_INTERRUPTS BIT(9)
#define SEC_PAUSE_LOOP BIT(10)
#define SEC_RDRAND BIT(11)
#define SEC_INVPCID BIT(12)
#define SEC_VM_FUNCTIONS BIT(13)
#define SEC_SHADOWING BIT(14)
#define SEC_RDSEED BIT(16)
#define SEC_PML BIT(17)
#define SEC_EPT_VE BIT(18)
#define SEC_XSAVES BIT(20)
#define SEC_MODE_BASED_EXECUTE BIT(22)
#define SEC_TSC_SCALING BIT(25)

/* VM-exit controls, 25.7.1 */
#define EXIT_SAVE_DEBUG BIT(2)
#define EXIT_HOST_64 BIT(9)
#define EXIT_LOAD_PERF_GLOBAL BIT(12)
#define EXIT_ACKNOWLEDGE BIT(15)
#define EXIT_SAVE_PAT BIT(18)
#define EXIT_LOAD_PAT BIT(19)
#define EXIT_SAVE_EFER BIT(20)
#define EXIT_LOAD_EFER BIT(21)
#define EXIT_SAVE_PREEMPTION_TIMER BIT(22)

/* VM-entry controls, 25.8.1 */
#define ENTRY_LOAD_DEBUG BIT(2)
#define ENTRY_IA32E BIT(9)
#define ENTRY_TO_SMM BIT(10)
#define ENTRY_DEACTIVATE_DUAL_MONITOR BIT(11)
#define ENTRY_LOAD_PERF_GLOBAL BIT(13)
#define ENTRY_LOAD_PAT BIT(14)
#define ENTRY_LOAD_EFER BIT(15)

/* VM-function controls, 25.6.14 */
#define VM_FUNCTION_EPTP_SWITCHING BIT(0)

/* Segment rights, 25.4.1: SEG_TYPE, SEG_S, SEG_DPL and SEG_P where regs.h has them */
#define RIGHTS_AVL BIT(12)
#define RIGHTS_L BIT(13)
#define RIGHTS_DB BIT(14)
#define RIGHTS_G BIT(15)
#define RIGHTS_UNUSABLE BIT(16)
#define RIGHTS_RESERVED (MASK(11, 8) | MASK(31, 17))

/* Interruptibility state, 25.4.2 */
#define INTERRUPTIBILITY_STI BIT(0)
#define INTERRUPTIBILITY_MOV_SS BIT(1)
#define INTERRUPTIBILITY_SMI BIT(2)
#define INTERRUPTIBILITY_NMI BIT(3)
#define INTERRUPTIBILITY_ENCLAVE BIT(4)

/* Activity state, 25.4.2 */
enum { ACTIVITY_ACTIVE, ACTIVITY_HLT, ACTIVITY_SHUTDOWN, ACTIVITY_WAIT_SIPI };

/* Pending debug exceptions, 25.4.2 */
#define PENDING_B MASK(3, 0)
#define PENDING_ENABLED_BREAKPOINT BIT(12)
#define PENDING_BS BIT(14)
#define PENDING_RTM BIT(16)

/* Interruption information, 25.8.3, 25.9.2 and 25.9.3 */
#define INTR_INFO_VECTOR MASK(7, 0)
#define INTR_INFO_TYPE(info) ((info) >> 8 & 7)
#define INTR_INFO_ERROR BIT(11)
#define INTR_INFO_NMI_UNBLOCKED BIT(12) /* exits alone */
#define INTR_INFO_VALID BIT(31)
enum {
	INTR_EXTERNAL = 0,
	INTR_NMI = 2,
	INTR_HARDWARE_EXCEPTION = 3,
	INTR_SOFTWARE = 4,               /* INT n */
	INTR_PRIVILEGED_EXCEPTION = 5,   /* INT1 */
	INTR_SOFTWARE_EXCEPTION = 6,     /* INT3, INTO */
	INTR_OTHER = 7,                  /* entries alone: a pending MTF exit */
};

/* Exit reason, 25.9.1 */
#define EXIT_REASON_ENTRY_FAILURE BIT(31)

/* EPTP, 25.6.11 */
#define EPTP_MEMORY_TYPE MASK(2, 0)
#define EPT_TYPE_UC 0
#define EPT_TYPE_WB 6
#define EPTP_WALK_LENGTH(eptp) ((eptp) >> 3 & 7)
#define EPTP_ACCESSED_DIRTY BIT(6)

/* VM-instruction errors, SDM3 31.4 */
enum vmx_error {
	VMX_ERROR_VMCALL_IN_ROOT = 1,
	VMX_ERROR_VMCLEAR_ADDRESS = 2,
	VMX_ERROR_VMCLEAR_VMXON = 3,
	VMX_ERROR_VMLAUNCH_NOT_CLEAR = 4,
	VMX_ERROR_VMRESUME_NOT_LAUNCHED = 5,
	VMX_ERROR_VMRESUME_AFTER_VMXOFF = 6,
	VMX_ERROR_CONTROLS = 7,
	VMX_ERROR_HOST_STATE = 8,
	VMX_ERROR_VMPTRLD_ADDRESS = 9,
	VMX_ERROR_VMPTRLD_VMXON = 10,
	VMX_ERROR_VMPTRLD_REVISION = 11,
	VMX_ERROR_FIELD = 12,
	VMX_ERROR_READ_ONLY_FIELD = 13,
	VMX_ERROR_VMXON_IN_ROOT = 15,
	VMX_ERROR_MOV_SS = 26,
	VMX_ERROR_INVALIDATION_OPERAND = 28,
};

/* VMX-abort indicators, SDM3 28.7 */
enum vmx_abort {
	VMX_ABORT_SAVE_MSR = 1,
	VMX_ABORT_HOST_PDPTE = 2,
	VMX_ABORT_CORRUPT = 3,
	VMX_ABORT_LOAD_MSR = 4,
};

/* IA32_FEATURE_CONTROL, SDM3 24.7 */
#define FEATURE_CONTROL_LOCK BIT(0)
#define FEATURE_CONTROL_VMX_IN_SMX BIT(1)
#define FEATURE_CONTROL_VMX BIT(2)

/* Capability MSRs, appendix A */
#define MSR_VMX_BASIC 0x480
#define MSR_VMX_PIN_CTLS 0x481
#define MSR_VMX_PROC_CTLS 0x482
#define MSR_VMX_EXIT_CTLS 0x483
#define MSR_VMX_ENTRY_CTLS 0x484
#define MSR_VMX_MISC 0x485
#define MSR_VMX_CR0_FIXED0 0x486
#define MSR_VMX_CR0_FIXED1 0x487
#define MSR_VMX_CR4_FIXED0 0x488
#define MSR_VMX_CR4_FIXED1 0x489
#define MSR_VMX_VMCS_ENUM 0x48a
#define MSR_VMX_PROC_CTLS2 0x48b
#define MSR_VMX_EPT_VPID_CAP 0x48c
#define MSR_VMX_TRUE_PIN_CTLS 0x48d
#define MSR_VMX_TRUE_PROC_CTLS 0x48e
#define MSR_VMX_TRUE_EXIT_CTLS 0x48f
#define MSR_VMX_TRUE_ENTRY_CTLS 0x490
#define MSR_VMX_VMFUNC 0x491

/* An entry of the MSR-load and MSR-store areas, 25.7.2 */
struct vmx_msr_entry {
	u32 index, reserved;
	u64 value;
};

#endif
