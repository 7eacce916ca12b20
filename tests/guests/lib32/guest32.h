/* SPDX-License-Identifier: MIT */
/*
 * The framework of guests in 32-bit protected mode, for what long mode does not have: paging of 32
 * and PAE form, task switches, 16-bit gates, virtual-8086 and real mode. As lib/guest.h otherwise.
 */
#ifndef GUEST32_H
#define GUEST32_H

#include "../lib/report.h"

struct frame {
	u32 es, ds;
	u32 edi, esi, ebp, esp_at_pushal, ebx, edx, ecx, eax;
	u32 vector, error;
	u32 eip, cs, eflags;
	u32 esp, ss;             /* of an outer ring only */
	u32 v86_es, v86_ds, v86_fs, v86_gs; /* from virtual-8086 mode only */
};
typedef void (*trap_handler)(struct frame *frame);
void guest_set_handler(unsigned vector, trap_handler handler);

struct tss32 {
	u32 link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi,
		edi, es, cs, ss, ds, fs, gs, ldt;
	u16 trap, io_map;
	u8 io[8192 + 1];
} __attribute__((packed));
struct table {
	u16 limit;
	u32 base;
} __attribute__((packed));
extern u64 guest_idt[256], guest_gdt[64];
extern struct table guest_idtr, guest_gdtr;
extern struct tss32 guest_tss;
extern u8 guest_trap_entries[];
extern u32 guest_user_eflags;

/* Descriptors: attr is bytes 5 and the upper nibble of 6 as the manual draws them, 0xc9b for flat code. */
u64 guest_descriptor(u32 base, u32 limit, u32 attr);
u64 guest_gate(u16 selector, u32 offset, u8 attr, u8 count);

struct trap {
	unsigned vector;
	u32 error, eip, cr2, dr6, eflags, cs;
};
#define NO_TRAP 256
extern struct trap guest_last;
extern u32 guest_fixup;
/* As in lib/guest.h. */
#define guest_try(text, ...) \
	({ \
		guest_last.vector = NO_TRAP; \
		__asm__ volatile("" : : : "memory"); \
		__asm__ volatile("movl $771f, guest_fixup\n\t" text \
				 "\n771:\tmovl $0, guest_fixup" __VA_ARGS__); \
		__asm__ volatile("" : : : "memory"); \
		guest_last.vector; \
	})

u32 guest_user(u32 (*fn)(u32), u32 arg);
/* Zeroed pages from 16 MiB up. */
void *guest_pages(unsigned count);

#define SEL_CODE 0x08
#define SEL_DATA 0x10
#define SEL_CODE16 0x18
#define SEL_DATA16 0x20
#define SEL_USER_CODE 0x2b
#define SEL_USER_DATA 0x33
#define SEL_TSS 0x38
#define SEL_FREE 0x40

static inline u64 rdmsr(u32 msr)
{
	u64 value;
	__asm__ volatile("rdmsr" : "=A"(value) : "c"(msr));
	return value;
}
static inline void wrmsr(u32 msr, u64 value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "A"(value) : "memory");
}
static inline void cpuid(u32 leaf, u32 subleaf, u32 out[4])
{
	__asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
			 : "a"(leaf), "c"(subleaf));
}
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
	static inline u32 read_##name(void) \
	{ \
		u32 value; \
		__asm__ volatile("mov %%" #name ", %0" : "=r"(value) : : "memory"); \
		return value; \
	} \
	static inline void write_##name(u32 value) \
	{ \
		__asm__ volatile("mov %0, %%" #name : : "r"(value) : "memory"); \
	}
GUEST_REG(cr0)
GUEST_REG(cr2)
GUEST_REG(cr3)
GUEST_REG(cr4)
GUEST_REG(dr6)
static inline void invlpg(u32 linear)
{
	__asm__ volatile("invlpg (%0)" : : "r"(linear) : "memory");
}

#define FLAG_TF BIT(8)
#define FLAG_IF BIT(9)
#define FLAG_NT BIT(14)
#define FLAG_VM BIT(17)
#define CR0_PE BIT(0)
#define CR0_TS BIT(3)
#define CR0_WP BIT(16)
#define CR0_PG BIT(31)
#define CR4_VME BIT(0)
#define CR4_PSE BIT(4)
#define CR4_PAE BIT(5)
#define CR4_PGE BIT(7)

enum { VEC_DE, VEC_DB, VEC_NMI, VEC_BP, VEC_OF, VEC_BR, VEC_UD, VEC_NM, VEC_DF, VEC_TS = 10, VEC_NP,
	VEC_SS, VEC_GP, VEC_PF };

#endif
