/* SPDX-License-Identifier: MIT */
/*
 * The VMCB as a type, made from the rows of vmcb.def, and the bits inside its fields; APM2
 * appendix B and the sections named.
 */
#ifndef X86_VMCB_H
#define X86_VMCB_H

#include "base/types.h"

/* Every field stands behind a gap as wide as its offset, all of them over one another. */
union vmcb {
#define VMCB_FIELD(offset, type, name, class) \
	struct __attribute__((packed)) { \
		u8 name##_gap[offset]; \
		type name; \
	};
#define VMCB_ARRAY(offset, type, name, count, class) \
	struct __attribute__((packed)) { \
		u8 name##_gap[offset]; \
		type name[count]; \
	};
#include "x86/vmcb.def"
	u8 bytes[PAGE_SIZE];
};

_Static_assert(sizeof(union vmcb) == PAGE_SIZE, "a VMCB is one page");
#define VMCB_FIELD(offset, type, name, class) \
	_Static_assert(offsetof(union vmcb, name) == (offset), #name " is at its offset"); \
	_Static_assert((offset) % sizeof(type) == 0, #name " is aligned");
#define VMCB_ARRAY(offset, type, name, count, class) \
	_Static_assert(offsetof(union vmcb, name) == (offset), #name " is at its offset"); \
	_Static_assert((offset) % sizeof(type) == 0, #name " is aligned");
#include "x86/vmcb.def"

#define VMCB_CONTROL_SIZE 0x400u
#define VMCB_SAVE_OFFSET 0x400u

/* The clean field: a set bit says that memory still holds what the CPU knows; APM2 15.15.3. */
#define VMCB_CLEAN_I BIT(0)
#define VMCB_CLEAN_IOPM BIT(1)
#define VMCB_CLEAN_ASID BIT(2)
#define VMCB_CLEAN_TPR BIT(3)
#define VMCB_CLEAN_NP BIT(4)
#define VMCB_CLEAN_CRX BIT(5)
#define VMCB_CLEAN_DRX BIT(6)
#define VMCB_CLEAN_DT BIT(7)
#define VMCB_CLEAN_SEG BIT(8)
#define VMCB_CLEAN_CR2 BIT(9)
#define VMCB_CLEAN_LBR BIT(10)
#define VMCB_CLEAN_AVIC BIT(11)
#define VMCB_CLEAN_CET BIT(12)

/* tlb_control, APM2 15.16.2 */
#define TLB_CONTROL_NOTHING 0
#define TLB_CONTROL_ALL 1          /* every ASID, the host's too */
#define TLB_CONTROL_GUEST 3        /* this guest's */
#define TLB_CONTROL_GUEST_LOCAL 7  /* this guest's but for global pages */

/* vintr, APM2 15.21 and 15.33.2 */
#define VINTR_TPR MASK(7, 0)
#define VINTR_TPR_VALUE MASK(3, 0)
#define VINTR_IRQ BIT(8)
#define VINTR_GIF BIT(9)
#define VINTR_PRIO(v) (((v) >> 16) & 15)
#define VINTR_IGN_TPR BIT(20)
#define VINTR_MASKING BIT(24)
#define VINTR_GIF_ENABLE BIT(25)
#define VINTR_VECTOR(v) ((u8)((v) >> 32))

#define INTERRUPT_STATE_SHADOW BIT(0)

/* nested_control, APM2 15.25.3 */
#define NESTED_NP_ENABLE BIT(0)

/* virt_ext, APM2 15.23 and 15.33.1 */
#define VIRT_EXT_LBR BIT(0)
#define VIRT_EXT_VMLOAD_VMSAVE BIT(1)

/* event_inj and exit_int_info, APM2 15.20 and 15.7.2; the types are enum event_type's */
#define EVENT_INFO_VECTOR MASK(7, 0)
#define EVENT_INFO_TYPE(v) (((v) >> 8) & 7)
#define EVENT_INFO_EV BIT(11)
#define EVENT_INFO_VALID BIT(31)

/* exit_info1 of IOIO, APM2 15.10.2 */
#define IOIO_IN BIT(0)
#define IOIO_STRING BIT(2)
#define IOIO_REP BIT(3)

/* exit_info1 of moves to and from control registers with decode assists, APM2 15.8.1 */
#define CR_INFO_MOV BIT(63)

/* exit_info2 of a task switch, APM2 15.14.1 */
#define TASK_INFO_IRET BIT(36)
#define TASK_INFO_JMP BIT(38)
#define TASK_INFO_HAS_ERROR BIT(44)
#define TASK_INFO_RF BIT(48)

/* exit_info1 of a nested page fault beside the PF_* bits, APM2 15.25.6 */
#define NPF_FINAL BIT(32)  /* the guest's final address */
#define NPF_WALK BIT(33)   /* a guest page table's */

/* VM_CR, APM2 15.30.1 */
#define VM_CR_DPD BIT(0)
#define VM_CR_R_INIT BIT(1)
#define VM_CR_DIS_A20M BIT(2)
#define VM_CR_LOCK BIT(3)
#define VM_CR_SVMDIS BIT(4)

#endif
