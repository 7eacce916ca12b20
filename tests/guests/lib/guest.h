/* SPDX-License-Identifier: MIT */
/*
 * A bare-metal guest starts in guest_main() in 64-bit mode at CPL 0, interrupts off, both 8259
 * masked, 4 GiB mapped to themselves (2 MiB pages, open to CPL 3). It calls check() for every
 * claim and returns; the VM then ends through the debug-exit port with GUEST_PASS or GUEST_FAIL,
 * which the VMM turns into exit status 2 * value + 1.
 */
#ifndef GUEST_H
#define GUEST_H

#include "report.h"

/* ---- exceptions and interrupts: trap.c, trap.S ---- */
struct frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	u64 vector, error;
	u64 rip, cs, rflags, rsp, ss;
};

/* A handler returns to the frame, which it may change. NULL: back to fix-up, catch, or failure. */
typedef void (*trap_handler)(struct frame *frame);
void guest_set_handler(unsigned vector, trap_handler handler);
void guest_set_gate(unsigned vector, void *entry, u16 selector, u8 type_dpl_p, unsigned ist);
void guest_set_ist(unsigned vector, unsigned ist); /* 1..7: each has a stack; 0: none */

struct idt_gate {
	u16 offset0, selector;
	u8 ist, attr;
	u16 offset1;
	u32 offset2, zero;
} __attribute__((packed));
struct table {
	u16 limit;
	u64 base;
} __attribute__((packed));
extern struct idt_gate guest_idt[256];
extern struct table guest_idtr, guest_gdtr;
extern u64 guest_gdt[64];
extern u8 guest_tss[];
extern u8 guest_trap_entries[]; /* 16 bytes each */

/* The last exception that a fix-up or guest_catch() took. */
struct trap {
	unsigned vector; /* NO_TRAP: none */
	u64 error, rip, cr2, dr6, rflags, cs, rsp, ss;
};
#define NO_TRAP 256
extern struct trap guest_last;
extern u64 guest_fixup;

/* Runs fn; an exception in it ends it. The vector, or NO_TRAP; more in guest_last. */
unsigned guest_catch(void (*fn)(void *), void *arg);

/*
 * Runs one statement of assembly; gives the vector that it raised, or NO_TRAP. What it faults at
 * is in guest_last. Operands follow as in asm: guest_try("mov (%1), %0", : "=r"(x) : "r"(p)).
 * The label 771 is taken; the text must not push.
 */
#define guest_try(text, ...) \
	({ \
		guest_last.vector = NO_TRAP; \
		__asm__ volatile("" : : : "memory"); \
		__asm__ volatile("movq $771f, guest_fixup\n\t" text \
				 "\n771:\tmovq $0, guest_fixup" __VA_ARGS__); \
		__asm__ volatile("" : : : "memory"); \
		guest_last.vector; \
	})

/* Runs fn(arg) at CPL 3, 64-bit. The same fix-ups work there. */
u64 guest_user(u64 (*fn)(u64), u64 arg);
extern u64 guest_user_rflags;
extern u64 tss_rsp0;

#define SEL_CODE64 0x08
#define SEL_DATA 0x10
#define SEL_CODE32 0x18
#define SEL_DATA32 0x20
#define SEL_CODE16 0x28
#define SEL_DATA16 0x30
#define SEL_USER_CODE32 0x3b
#define SEL_USER_DATA 0x43
#define SEL_USER_CODE64 0x4b
#define SEL_TSS 0x50
#define SEL_FREE 0x60 /* and up to 1f8h */

/* ---- memory: memory.c ---- */
extern u64 guest_pml4[512], guest_pdpt[512], guest_pd[2048];
/* Zeroed pages from 16 MiB up; never freed. Address equals physical address. */
void *guest_pages(unsigned count);
#define PTE_P BIT(0)
#define PTE_W BIT(1)
#define PTE_U BIT(2)
#define PTE_PWT BIT(3)
#define PTE_PCD BIT(4)
#define PTE_A BIT(5)
#define PTE_D BIT(6)
#define PTE_PS BIT(7)
#define PTE_G BIT(8)
#define PTE_NX BIT(63)
#define PTE_ADDRESS 0x000ffffffffff000ull
/*
 * The entry that maps a linear address at a level (1: 4K page, 2: 2M, 3: 1G) in a 4-level tree,
 * making P|W|U tables on the way and splitting a larger page that is in it. root: a PML4.
 */
u64 *guest_pte(u64 *root, u64 linear, unsigned level);
/* Maps one 4 KiB page; flags as above. Flushes it. */
void guest_map(u64 *root, u64 linear, u64 physical, u64 flags);

/* ---- the CPU's instructions ---- */
static inline u64 rdmsr(u32 msr)
{
	u32 lo, hi;
	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (u64)hi << 32 | lo;
}
static inline void wrmsr(u32 msr, u64 value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}
static inline u64 rdtsc(void)
{
	u32 lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (u64)hi << 32 | lo;
}
static inline void cpuid(u32 leaf, u32 subleaf, u32 out[4])
{
	__asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
			 : "a"(leaf), "c"(subleaf));
}
/* Register 0..3 is EAX..EDX. */
static inline bool cpu_has(u32 leaf, unsigned reg, unsigned bit)
{
	u32 out[4];
	cpuid(leaf & 0x80000000u, 0, out);
	if (out[0] < leaf)
		return false;
	cpuid(leaf, 0, out);
	return out[reg] >> bit & 1;
}
#define GUEST_REG(name) \
	static inline u64 read_##name(void) \
	{ \
		u64 value; \
		__asm__ volatile("mov %%" #name ", %0" : "=r"(value) : : "memory"); \
		return value; \
	} \
	static inline void write_##name(u64 value) \
	{ \
		__asm__ volatile("mov %0, %%" #name : : "r"(value) : "memory"); \
	}
GUEST_REG(cr0)
GUEST_REG(cr2)
GUEST_REG(cr3)
GUEST_REG(cr4)
GUEST_REG(cr8)
GUEST_REG(dr0)
GUEST_REG(dr1)
GUEST_REG(dr2)
GUEST_REG(dr3)
GUEST_REG(dr6)
GUEST_REG(dr7)
static inline void invlpg(u64 linear)
{
	__asm__ volatile("invlpg (%0)" : : "r"(linear) : "memory");
}
static inline u64 read_rflags(void)
{
	u64 v;
	__asm__ volatile("pushfq; popq %0" : "=r"(v));
	return v;
}
static inline void write_rflags(u64 v)
{
	__asm__ volatile("pushq %0; popfq" : : "r"(v) : "cc", "memory");
}
static inline void lidt(const struct table *t) { __asm__ volatile("lidt %0" : : "m"(*t)); }
static inline void lgdt(const struct table *t) { __asm__ volatile("lgdt %0" : : "m"(*t)); }
static inline void sti(void) { __asm__ volatile("sti" : : : "memory"); }
static inline void cli(void) { __asm__ volatile("cli" : : : "memory"); }

#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_AM BIT(18)
#define CR0_PG BIT(31)
#define CR4_VME BIT(0)
#define CR4_PVI BIT(1)
#define CR4_TSD BIT(2)
#define CR4_DE BIT(3)
#define CR4_PSE BIT(4)
#define CR4_PAE BIT(5)
#define CR4_PGE BIT(7)
#define CR4_PCE BIT(8)
#define CR4_OSFXSR BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP BIT(11)
#define CR4_FSGSBASE BIT(16)
#define CR4_PCIDE BIT(17)
#define CR4_OSXSAVE BIT(18)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)
#define MSR_EFER 0xc0000080
#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)
#define EFER_SVME BIT(12)
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_CSTAR 0xc0000083
#define MSR_SFMASK 0xc0000084
#define MSR_FS_BASE 0xc0000100
#define MSR_GS_BASE 0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102
#define FLAG_CF BIT(0)
#define FLAG_PF BIT(2)
#define FLAG_AF BIT(4)
#define FLAG_ZF BIT(6)
#define FLAG_SF BIT(7)
#define FLAG_TF BIT(8)
#define FLAG_IF BIT(9)
#define FLAG_DF BIT(10)
#define FLAG_OF BIT(11)
#define FLAG_NT BIT(14)
#define FLAG_RF BIT(16)
#define FLAG_VM BIT(17)
#define FLAG_AC BIT(18)

enum { VEC_DE, VEC_DB, VEC_NMI, VEC_BP, VEC_OF, VEC_BR, VEC_UD, VEC_NM, VEC_DF, VEC_TS = 10, VEC_NP,
	VEC_SS, VEC_GP, VEC_PF, VEC_MF = 16, VEC_AC, VEC_MC, VEC_XM };

#endif
