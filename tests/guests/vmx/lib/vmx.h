/* SPDX-License-Identifier: MIT */
/*
 * A guest under test of a hypervisor under test: one VMCS, one guest that shares the test's memory,
 * IDT, GDT and page tables, so that guest_try() and handlers work on both sides. SDM3 chapters 24
 * to 31.
 */
#ifndef VMX_H
#define VMX_H

#include "apic.h"
#include "guest.h"
#include "x86/vmcs.h"
#include "x86/vmx_exits.h"

#define CR4_VMXE BIT(13)
#define MSR_FEATURE_CONTROL 0x3a
#define MSR_PAT 0x277
#define MSR_DEBUGCTL 0x1d9

/* ---- the instructions: instruction.c ---- */

/* What one came to. */
#define VM_SUCCEED 0
#define VM_FAIL_INVALID 0x100u
#define VM_FAIL_VALID(error) (0x200u | (error))
#define VM_EXCEPTION(vector) (0x400u | (vector))
#define VM_BAD_FLAGS 0x800u /* none of what SDM3 31.2 allows */
unsigned vm_status(unsigned vector, u64 flags);

/*
 * Runs one VMX instruction with all arithmetic flags set before; its status. Operands as in
 * guest_try(), without outputs: vm_try("vmclear %[pa]", [pa] "m"(pa)).
 */
#define vm_try(insn, ...) \
	({ \
		u64 flags_ = 0; \
		unsigned vector_ = guest_try("pushq $0x8d7\n\tpopfq\n\t" insn \
					     "\n\tpushfq\n\tpopq %[flags]", \
			: [flags] "+r"(flags_) : __VA_ARGS__ : "cc", "memory"); \
		vm_status(vector_, flags_); \
	})

struct invept_descriptor {
	u64 eptp, zero;
};
struct invvpid_descriptor {
	u64 vpid, linear; /* bits 63:16 of vpid must be zero */
};
unsigned vmxon(u64 pa);
unsigned vmxoff(void);
unsigned vmclear(u64 pa);
unsigned vmptrld(u64 pa);
unsigned vmptrst(u64 *to);
unsigned vmread(u64 field, u64 *to);
unsigned vmwrite(u64 field, u64 value);
unsigned invept(u64 type, u64 eptp);
unsigned invvpid(u64 type, u64 vpid, u64 linear);
enum { INVEPT_SINGLE = 1, INVEPT_ALL };
enum { INVVPID_ADDRESS, INVVPID_SINGLE, INVVPID_ALL, INVVPID_LOCAL };

/* ---- the guest: vmx.c ---- */

enum vmcs_field {
#define VMCS_FIELD(encoding, name) FIELD_##name = (encoding),
#include "x86/vmcs.def"
};
struct vmcs_row {
	u16 encoding;
	const char *name;
};
extern const struct vmcs_row vmcs_rows[]; /* all of vmcs.def */
extern const unsigned vmcs_row_count;
/* Of the current VMCS, in full; a failure is a failed check. */
u64 vmcs_read(u64 field);
void vmcs_write(u64 field, u64 value);
#define get(name) vmcs_read(FIELD_##name)
#define put(name, value) vmcs_write(FIELD_##name, (u64)(value))

/* The guest's general registers but RSP; what an entry starts with and an exit left. */
struct vmx_regs {
	u64 rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
};
extern struct vmx_regs vmx_regs;
extern u8 *vmx_on_region, *vmx_region; /* a page each */
extern u8 *vmx_stack_top;              /* 8 pages below it */
extern u8 *vmx_msr_bitmap, *vmx_io_bitmap; /* 1 page, 2 pages; all clear, not yet in use */

/* False: this CPU has no VMX, and that has been said. Sets CR4.VMXE, makes the regions. */
bool vmx_prepare(void);
/* And FEATURE_CONTROL, VMXON, and vmx_fresh(). */
bool vmx_setup(void);
/*
 * Makes the VMCS new and current: a 64-bit guest in the host's page tables, no control on that may
 * be off but "IA-32e mode guest" and "host address-space size".
 */
void vmx_fresh(void);
/* And at CPL 3. */
void vmx_user(void);
/* The revision identifier that regions start with. */
u32 vmx_revision(void);

/* Control bits on and off, in the field of the current VMCS. */
void vmx_pin(u32 on);
void vmx_proc(u32 on);
void vmx_secondary(u32 on); /* and PROC_SECONDARY */
void vmx_on_exit(u32 on);
void vmx_on_entry(u32 on);
/* Whether they may be set; if not that is a failed check, for all of them are offered. */
bool vmx_offers_secondary(u32 bits, const char *name);

/*
 * VMLAUNCH or VMRESUME, by the launch state. The exit reason, all 32 bits; or ENTRY_FAIL_INVALID,
 * ENTRY_FAIL_VALID(error): the instruction itself failed. IF is 0 afterwards.
 */
#define ENTRY_FAIL_INVALID 0x10000u
#define ENTRY_FAIL_VALID(error) (0x20000u | (error))
u32 vmx_run(void);
/* Runs code from its start. */
u32 vmx_run_at(const void *code);
/* As vmx_run_at(), but an exception in the guest goes to `end`, into vmx_trap. */
u32 vmx_run_fixup(const void *code, const void *end);
extern struct trap vmx_trap; /* of the last run */
extern bool vmx_launched;

/*
 * Maps all memory (4 GiB) to itself for the guest, in 2 MiB pages of write-back memory, and turns
 * EPT on. The PML4.
 */
u64 *vmx_ept(void);
#define EPT_R BIT(0)
#define EPT_W BIT(1)
#define EPT_X BIT(2)
#define EPT_RWX (EPT_R | EPT_W | EPT_X)
#define EPT_WB (6ull << 3)
#define EPT_LARGE BIT(7)
#define EPT_A BIT(8)
#define EPT_D BIT(9)
#define EPT_USER_X BIT(10)
#define EPT_SUPPRESS_VE BIT(63)
/* The entry for a guest-physical address at a level (1: 4K, 2: 2M, 3: 1G), larger pages split. */
u64 *vmx_ept_entry(u64 *pml4, u64 gpa, unsigned level);
u64 vmx_eptp(const u64 *pml4);

/* Guest code: name and name_end are its labels; VMCALL follows. */
#define CODE(name, text) \
	extern u8 name[], name##_end[]; \
	__asm__(".text\n" #name ":\n\t" text "\n" #name "_end:\n\tvmcall\n\tud2\n")

/* The values of exit_interruption_info, idt_vectoring_info and entry_interruption_info. */
#define EVENT(type, vector) ((u32)INTR_INFO_VALID | (type) << 8 | (vector))
#define EVENT_ERROR(type, vector) (EVENT(type, vector) | (u32)INTR_INFO_ERROR)

/* An exit by code[] itself: reason, RIP at its start, length of the instruction. */
bool vmx_check_exit(const void *code, const void *end, u32 got, u32 reason, const char *name);
/* The guest came to its VMCALL at `end`. */
bool vmx_check_plain(const void *end, u32 got, const char *name);
/* And did so by an exception, or with NO_TRAP without one. */
void vmx_check_raises(const void *code, const void *end, unsigned vector, const char *name);
#define PASSES(label) vmx_check_plain(label##_end, vmx_run_at(label), #label)
#define RAISES(label, vector) vmx_check_raises(label, label##_end, vector, #label)

#endif
