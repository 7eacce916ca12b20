/* SPDX-License-Identifier: MIT */
/*
 * What VMX offers here: the values of the capability MSRs, SDM3 appendix A, and the bits that the
 * checks of a VM entry take from them.
 *
 * Of each set of controls ALLOWED0 are the bits that must be one (a "reserved to 1" bit) and
 * ALLOWED1 those that may be. DEFAULT1 is the class that software without knowledge of the TRUE
 * MSRs must set; the TRUE ones let go of what means something when it is zero.
 *
 * Not offered: SMM's dual-monitor treatment, SGX, PT, PCONFIG, ENCLV, HLAT, sub-page permissions,
 * CET, PKS, bus-lock detection, notifications, tertiary controls, 5-level EPT.
 */
#ifndef VIRT_VMX_CAPS_H
#define VIRT_VMX_CAPS_H

#include "x86/regs.h"
#include "x86/vmcs.h"

/* A.3.1 */
#define VMX_PIN_DEFAULT1 (BIT(1) | BIT(2) | BIT(4))
#define VMX_PIN_ALLOWED0 VMX_PIN_DEFAULT1
#define VMX_PIN_ALLOWED1 \
	(VMX_PIN_DEFAULT1 | PIN_EXTERNAL_INTERRUPT | PIN_NMI | PIN_VIRTUAL_NMIS | \
		PIN_PREEMPTION_TIMER | PIN_POSTED_INTERRUPTS)

/* A.3.2 */
#define VMX_PROC_DEFAULT1 (BIT(1) | MASK(6, 4) | BIT(8) | MASK(16, 13) | BIT(26))
#define VMX_PROC_ALLOWED0 (VMX_PROC_DEFAULT1 & ~(PROC_CR3_LOAD | PROC_CR3_STORE))
#define VMX_PROC_ALLOWED1 \
	(VMX_PROC_DEFAULT1 | PROC_INTERRUPT_WINDOW | PROC_TSC_OFFSETTING | PROC_HLT | PROC_INVLPG | \
		PROC_MWAIT | PROC_RDPMC | PROC_RDTSC | PROC_CR8_LOAD | PROC_CR8_STORE | \
		PROC_TPR_SHADOW | PROC_NMI_WINDOW | PROC_MOV_DR | PROC_UNCONDITIONAL_IO | \
		PROC_IO_BITMAPS | PROC_MONITOR_TRAP | PROC_MSR_BITMAPS | PROC_MONITOR | PROC_PAUSE | \
		PROC_SECONDARY)

/* A.3.3: each may be zero */
#define VMX_SEC_ALLOWED1 \
	(SEC_APIC_ACCESSES | SEC_EPT | SEC_DESCRIPTOR_TABLES | SEC_RDTSCP | SEC_X2APIC | SEC_VPID | \
		SEC_WBINVD | SEC_UNRESTRICTED | SEC_APIC_REGISTERS | SEC_VIRTUAL_INTERRUPTS | \
		SEC_PAUSE_LOOP | SEC_RDRAND | SEC_INVPCID | SEC_VM_FUNCTIONS | SEC_SHADOWING | \
		SEC_RDSEED | SEC_PML | SEC_EPT_VE | SEC_XSAVES | SEC_MODE_BASED_EXECUTE | \
		SEC_TSC_SCALING)

/* A.4 */
#define VMX_EXIT_DEFAULT1 (MASK(8, 0) | BIT(10) | BIT(11) | BIT(13) | BIT(14) | BIT(16) | BIT(17))
#define VMX_EXIT_ALLOWED0 (VMX_EXIT_DEFAULT1 & ~EXIT_SAVE_DEBUG)
#define VMX_EXIT_ALLOWED1 \
	(VMX_EXIT_DEFAULT1 | EXIT_HOST_64 | EXIT_LOAD_PERF_GLOBAL | EXIT_ACKNOWLEDGE | \
		EXIT_SAVE_PAT | EXIT_LOAD_PAT | EXIT_SAVE_EFER | EXIT_LOAD_EFER | \
		EXIT_SAVE_PREEMPTION_TIMER)

/* A.5 */
#define VMX_ENTRY_DEFAULT1 (MASK(8, 0) | BIT(12))
#define VMX_ENTRY_ALLOWED0 (VMX_ENTRY_DEFAULT1 & ~ENTRY_LOAD_DEBUG)
#define VMX_ENTRY_ALLOWED1 \
	(VMX_ENTRY_DEFAULT1 | ENTRY_IA32E | ENTRY_LOAD_PERF_GLOBAL | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER)

/* A.11 */
#define VMX_FUNCTIONS VM_FUNCTION_EPTP_SWITCHING

#define VMX_CR3_TARGETS 4u
#define VMX_MSR_LIST_MAX 512u      /* entries of an MSR area, A.6 */
#define VMX_TIMER_RATE 5           /* the preemption timer counts when this bit of the TSC changes */

/* ---- the MSRs' values ---- */

#define VMX_CONTROLS(allowed0, allowed1) ((u64)(allowed1) << 32 | (u64)(allowed0))

/* A.1: a region's size, write-back memory, INS's and OUTS's information, the TRUE MSRs */
#define VMX_BASIC (VMCS_REVISION | PAGE_SIZE << 32 | 6ull << 50 | BIT(54) | BIT(55))

#define VMX_PIN_CTLS VMX_CONTROLS(VMX_PIN_DEFAULT1, VMX_PIN_ALLOWED1)
#define VMX_PROC_CTLS VMX_CONTROLS(VMX_PROC_DEFAULT1, VMX_PROC_ALLOWED1)
#define VMX_PROC_CTLS2 VMX_CONTROLS(0, VMX_SEC_ALLOWED1)
#define VMX_EXIT_CTLS VMX_CONTROLS(VMX_EXIT_DEFAULT1, VMX_EXIT_ALLOWED1)
#define VMX_ENTRY_CTLS VMX_CONTROLS(VMX_ENTRY_DEFAULT1, VMX_ENTRY_ALLOWED1)
#define VMX_TRUE_PIN_CTLS VMX_CONTROLS(VMX_PIN_ALLOWED0, VMX_PIN_ALLOWED1)
#define VMX_TRUE_PROC_CTLS VMX_CONTROLS(VMX_PROC_ALLOWED0, VMX_PROC_ALLOWED1)
#define VMX_TRUE_EXIT_CTLS VMX_CONTROLS(VMX_EXIT_ALLOWED0, VMX_EXIT_ALLOWED1)
#define VMX_TRUE_ENTRY_CTLS VMX_CONTROLS(VMX_ENTRY_ALLOWED0, VMX_ENTRY_ALLOWED1)

/*
 * A.6. Exits store EFER.LMA into "IA-32e mode guest"; HLT, shutdown and wait-for-SIPI may be
 * entered; VMWRITE reaches every field that there is; events of no instruction length may be
 * injected.
 */
#define VMX_MISC \
	(VMX_TIMER_RATE | BIT(5) | MASK(8, 6) | (u64)VMX_CR3_TARGETS << 16 | \
		(u64)(VMX_MSR_LIST_MAX / 512 - 1) << 25 | BIT(29) | BIT(30))

/* A.7. PE and PG may be zero in an unrestricted guest all the same. */
#define VMX_CR0_FIXED0 (CR0_PE | CR0_NE | CR0_PG)
#define VMX_CR0_FIXED1 MASK(31, 0)
/* A.8. CR4_FIXED1 is cpu_cr4_valid(). */
#define VMX_CR4_FIXED0 CR4_VMXE

/* A.9 */
#define VMX_VMCS_ENUM ((u64)VMCS_INDEX_MAX << 1)

/* A.10 */
#define EPT_CAP_EXECUTE_ONLY BIT(0)
#define EPT_CAP_WALK_4 BIT(6)
#define EPT_CAP_UC BIT(8)
#define EPT_CAP_WB BIT(14)
#define EPT_CAP_2M BIT(16)
#define EPT_CAP_1G BIT(17)
#define EPT_CAP_INVEPT BIT(20)
#define EPT_CAP_ACCESSED_DIRTY BIT(21)
#define EPT_CAP_INVEPT_SINGLE BIT(25)
#define EPT_CAP_INVEPT_ALL BIT(26)
#define VPID_CAP_INVVPID BIT(32)
#define VPID_CAP_ADDRESS BIT(40)
#define VPID_CAP_SINGLE BIT(41)
#define VPID_CAP_ALL BIT(42)
#define VPID_CAP_SINGLE_LOCAL BIT(43)
#define VMX_EPT_VPID_CAP \
	(EPT_CAP_EXECUTE_ONLY | EPT_CAP_WALK_4 | EPT_CAP_UC | EPT_CAP_WB | EPT_CAP_2M | EPT_CAP_1G | \
		EPT_CAP_INVEPT | EPT_CAP_ACCESSED_DIRTY | EPT_CAP_INVEPT_SINGLE | EPT_CAP_INVEPT_ALL | \
		VPID_CAP_INVVPID | VPID_CAP_ADDRESS | VPID_CAP_SINGLE | VPID_CAP_ALL | \
		VPID_CAP_SINGLE_LOCAL)

#endif
