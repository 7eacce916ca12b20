/* SPDX-License-Identifier: MIT */
/* The checks on the guest-state area, SDM3 27.3.1. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "cpu_rig.h"
#include "vmx_check_rig.h"

#define UNRESTRICTED SECONDARY(SEC_EPT | SEC_UNRESTRICTED)
#define CR0 (CR0_PE | CR0_NE | CR0_PG)
#define CR4 (CR4_VMXE | CR4_PAE)
#define FLAGS RFLAGS_RESERVED1
#define LONG_ENTRY (ENTRY | ENTRY_IA32E)

#define CANONICAL_RULE(section, field, text) \
	{ section, text, LONG_GUEST, { NOTHING }, \
		{ SET(field, NOT_CANONICAL), SET(field, BIT(63)), SET(field, MASK(63, 48)) }, \
		{ SET(field, LAST_LOW), SET(field, FIRST_HIGH) } }

static const struct rule register_rules[] = {
	{ "27.3.1.1", "CR0 has a bit 0 that VMX operation fixes to 1", LONG_GUEST, { NOTHING },
		{ SET(guest_cr0, CR0 & ~CR0_PE), SET(guest_cr0, CR0 & ~CR0_NE),
			SET(guest_cr0, CR0 & ~CR0_PG) },
		/* NW and CD are no affair of VM entries */
		{ SET(guest_cr0, CR0 | CR0_NW), SET(guest_cr0, CR0 | CR0_CD) } },
	{ "27.3.1.1", "CR0 has a bit 0 that VMX operation fixes to 1", REAL_GUEST, { NOTHING },
		{ SET(guest_cr0, 0), SET(guest_cr0, CR0_PE) },
		{ SET(guest_cr0, CR0_NE | CR0_PE), SET(guest_cr0, CR0) } },
	{ "27.3.1.1", "CR0 has a bit 1 that VMX operation fixes to 0", LONG_GUEST, { NOTHING },
		{ SET(guest_cr0, CR0 | BIT(32)), SET(guest_cr0, CR0 | BIT(63)) },
		{ SET(guest_cr0, 0xffffffff) } },
	{ "27.3.1.1", "CR0.PG is 1 and CR0.PE is 0", REAL_GUEST, { NOTHING },
		{ SET(guest_cr0, CR0_NE | CR0_PG) }, { SET(guest_cr0, CR0) } },
	{ "27.3.1.1", "CR4 has a bit 0 that VMX operation fixes to 1", LONG_GUEST, { NOTHING },
		{ SET(guest_cr4, CR4_PAE) } },
	{ "27.3.1.1", "CR4 has a bit 0 that VMX operation fixes to 1", REAL_GUEST, { NOTHING },
		{ SET(guest_cr4, 0) } },
	{ "27.3.1.1", "CR4 has a bit 1 that VMX operation fixes to 0", LONG_GUEST, { NOTHING },
		{ SET(guest_cr4, CR4 | BIT(15)), SET(guest_cr4, CR4 | CR4_LA57),
			SET(guest_cr4, CR4 | BIT(23)), SET(guest_cr4, CR4 | BIT(63)) },
		{ SET(guest_cr4, CR4 | CR4_TSD | CR4_OSFXSR | CR4_PCIDE) } },
	{ "27.3.1.1", "IA32_DEBUGCTL has reserved bits set", LONG_GUEST,
		{ SET(entry_controls, LONG_ENTRY | ENTRY_LOAD_DEBUG) },
		{ SET(guest_debugctl, BIT(6)), SET(guest_debugctl, BIT(63)) },
		{ SET(guest_debugctl, DEBUGCTL_LBR | DEBUGCTL_BTF) } },
	{ "27.3.1.1", "\"IA-32e mode guest\" is 1 and CR0.PG is 0", LONG_GUEST, { UNRESTRICTED },
		{ SET(guest_cr0, CR0_NE | CR0_PE) }, { SET(guest_cr0, CR0) } },
	{ "27.3.1.1", "\"IA-32e mode guest\" is 1 and CR4.PAE is 0", LONG_GUEST, { NOTHING },
		{ SET(guest_cr4, CR4_VMXE) } },
	{ "27.3.1.1", "\"IA-32e mode guest\" is 0 and CR4.PCIDE is 1", LEGACY_GUEST, { NOTHING },
		{ SET(guest_cr4, CR4_VMXE | CR4_PCIDE), SET(guest_cr4, CR4 | CR4_PCIDE) },
		{ SET(guest_cr4, CR4), SET(guest_cr4, CR4_VMXE | CR4_PGE) } },
	{ "27.3.1.1", "CR3 has bits beyond the physical-address width", LONG_GUEST, { NOTHING },
		{ SET(guest_cr3, BEYOND), SET(guest_cr3, BIT(52)), SET(guest_cr3, BIT(63)) },
		{ SET(guest_cr3, BEYOND - 1) } },
	{ "27.3.1.1", "bits 63:32 of DR7 are not 0", LONG_GUEST,
		{ SET(entry_controls, LONG_ENTRY | ENTRY_LOAD_DEBUG) },
		{ SET(guest_dr7, BIT(32)), SET(guest_dr7, BIT(63)) }, { SET(guest_dr7, 0xffffffff) } },
	CANONICAL_RULE("27.3.1.1", guest_sysenter_esp, "IA32_SYSENTER_ESP is not canonical"),
	CANONICAL_RULE("27.3.1.1", guest_sysenter_eip, "IA32_SYSENTER_EIP is not canonical"),
	{ "27.3.1.1", "IA32_PERF_GLOBAL_CTRL has reserved bits set", LONG_GUEST,
		{ SET(entry_controls, LONG_ENTRY | ENTRY_LOAD_PERF_GLOBAL) },
		{ SET(guest_perf_global_ctrl, BIT(31)), SET(guest_perf_global_ctrl, BIT(63)) },
		{ SET(guest_perf_global_ctrl, 0) } },
	{ "27.3.1.1", "IA32_PAT has a reserved memory type", LONG_GUEST,
		{ SET(entry_controls, LONG_ENTRY | ENTRY_LOAD_PAT) },
		{ SET(guest_pat, 2), SET(guest_pat, 0x300), SET(guest_pat, 8ull << 56) },
		{ SET(guest_pat, 0x0706050401000606) } },
	{ "27.3.1.1", "IA32_EFER has reserved bits set", LONG_GUEST,
		{ SET(entry_controls, LONG_ENTRY | ENTRY_LOAD_EFER) },
		{ SET(guest_efer, EFER_LMA | EFER_LME | BIT(9)),
			SET(guest_efer, EFER_LMA | EFER_LME | EFER_SVME),
			SET(guest_efer, EFER_LMA | EFER_LME | BIT(63)) },
		{ SET(guest_efer, EFER_LMA | EFER_LME | EFER_NXE | EFER_SCE) } },
	{ "27.3.1.1", "IA32_EFER.LMA is not the \"IA-32e mode guest\" control", LONG_GUEST,
		{ SET(entry_controls, LONG_ENTRY | ENTRY_LOAD_EFER) },
		{ SET(guest_efer, 0), SET(guest_efer, EFER_LME) } },
	{ "27.3.1.1", "IA32_EFER.LMA is not the \"IA-32e mode guest\" control", LEGACY_GUEST,
		{ SET(entry_controls, ENTRY | ENTRY_LOAD_EFER) },
		{ SET(guest_efer, EFER_LMA), SET(guest_efer, EFER_LMA | EFER_LME) },
		{ SET(guest_efer, EFER_NXE) } },
	{ "27.3.1.1", "IA32_EFER.LMA is not LME and CR0.PG is 1", LONG_GUEST,
		{ SET(entry_controls, LONG_ENTRY | ENTRY_LOAD_EFER) }, { SET(guest_efer, EFER_LMA) } },
	{ "27.3.1.1", "IA32_EFER.LMA is not LME and CR0.PG is 1", REAL_GUEST,
		{ SET(entry_controls, ENTRY | ENTRY_LOAD_EFER), SET(guest_efer, EFER_LME) },
		{ SET(guest_cr0, CR0) }, { SET(guest_cr0, CR0_NE | CR0_PE) } },
	/* what is not loaded is not looked at */
	{ "27.3.1.1", NULL, LONG_GUEST, { NOTHING }, { NOTHING },
		{ SET(guest_debugctl, ~0ull), SET(guest_dr7, ~0ull),
			SET(guest_perf_global_ctrl, ~0ull), SET(guest_pat, ~0ull),
			SET(guest_efer, ~0ull) } },
};

#define HIGH_BASE_RULE(name, what) \
	{ "27.3.1.2", "bits 63:32 of " what "'s base are not 0 and " what " is usable", LONG_GUEST, \
		{ NOTHING }, \
		{ SET(guest_##name##_base, BIT(32)), SET(guest_##name##_base, FIRST_HIGH) }, \
		{ SET(guest_##name##_base, 0xffffffff) } }, \
	{ "27.3.1.2", NULL, LONG_GUEST, { SET(guest_##name##_rights, RIGHTS_UNUSABLE) }, { NOTHING }, \
		{ SET(guest_##name##_base, ~0ull) } }
#define V86_BASE_RULE(name) \
	{ "27.3.1.2", "a segment's base is not its selector times 16 in virtual-8086 mode", \
		V86_GUEST, { NOTHING }, \
		{ SET(guest_##name##_base, 0x12340), SET(guest_##name##_base, 1), \
			SET(guest_##name##_base, BIT(32)), SET(guest_##name##_selector, 0x1234) } }
#define V86_LIMIT_RULE(name) \
	{ "27.3.1.2", "a segment's limit is not FFFFh in virtual-8086 mode", V86_GUEST, { NOTHING }, \
		{ SET(guest_##name##_limit, 0xfffe), SET(guest_##name##_limit, 0x10000), \
			SET(guest_##name##_limit, 0xffffffff) } }
#define V86_RIGHTS_RULE(name) \
	{ "27.3.1.2", "a segment's access rights are not F3h in virtual-8086 mode", V86_GUEST, \
		{ NOTHING }, \
		{ SET(guest_##name##_rights, 0x93), SET(guest_##name##_rights, 0x73), \
			SET(guest_##name##_rights, 0xfb), SET(guest_##name##_rights, 0xe3), \
			SET(guest_##name##_rights, 0x40f3), SET(guest_##name##_rights, 0x100f3), \
			SET(guest_##name##_rights, 0x200f3), SET(guest_##name##_rights, 0x1f3) } }

static const struct rule segment_rules[] = {
	{ "27.3.1.2", "TI of TR's selector is 1", LONG_GUEST, { NOTHING },
		{ SET(guest_tr_selector, 0x2c) }, { SET(guest_tr_selector, 0x2b) } },
	{ "27.3.1.2", "TI of LDTR's selector is 1 and LDTR is usable", LONG_GUEST,
		{ SET(guest_ldtr_rights, 0x82) }, { SET(guest_ldtr_selector, 4) },
		{ SET(guest_ldtr_selector, 0x33) } },
	{ "27.3.1.2", NULL, LONG_GUEST, { SET(guest_ldtr_selector, 4) } },
	{ "27.3.1.2", "RPL of SS's selector is not that of CS's", LONG_GUEST, { NOTHING },
		{ SET(guest_ss_selector, 0x11), SET(guest_ss_selector, 0x13), SET(guest_cs_selector, 0xa) },
		{ SET(guest_ss_selector, 0x14) } },
	{ "27.3.1.2", NULL, LONG_GUEST, { UNRESTRICTED, SET(guest_ss_selector, 0x13) } },
	V86_BASE_RULE(es), V86_BASE_RULE(cs), V86_BASE_RULE(ss), V86_BASE_RULE(ds), V86_BASE_RULE(fs),
	V86_BASE_RULE(gs),
	CANONICAL_RULE("27.3.1.2", guest_tr_base, "TR's base is not canonical"),
	CANONICAL_RULE("27.3.1.2", guest_fs_base, "FS's base is not canonical"),
	CANONICAL_RULE("27.3.1.2", guest_gs_base, "GS's base is not canonical"),
	{ "27.3.1.2", "LDTR's base is not canonical and LDTR is usable", LONG_GUEST,
		{ SET(guest_ldtr_rights, 0x82) },
		{ SET(guest_ldtr_base, NOT_CANONICAL), SET(guest_ldtr_base, BIT(63)) },
		{ SET(guest_ldtr_base, LAST_LOW), SET(guest_ldtr_base, FIRST_HIGH) } },
	{ "27.3.1.2", NULL, LONG_GUEST, { SET(guest_ldtr_base, NOT_CANONICAL) } },
	{ "27.3.1.2", NULL, LONG_GUEST, { SET(guest_fs_rights, RIGHTS_UNUSABLE),
		SET(guest_gs_rights, RIGHTS_UNUSABLE) } },
	/* these two must be canonical even so */
	{ "27.3.1.2", "FS's base is not canonical", LONG_GUEST,
		{ SET(guest_fs_rights, RIGHTS_UNUSABLE) }, { SET(guest_fs_base, NOT_CANONICAL) } },
	{ "27.3.1.2", "bits 63:32 of CS's base are not 0", LONG_GUEST, { NOTHING },
		{ SET(guest_cs_base, BIT(32)), SET(guest_cs_base, FIRST_HIGH) },
		{ SET(guest_cs_base, 0xffffffff) } },
	HIGH_BASE_RULE(ss, "SS"),
	HIGH_BASE_RULE(ds, "DS"),
	HIGH_BASE_RULE(es, "ES"),
	V86_LIMIT_RULE(es), V86_LIMIT_RULE(cs), V86_LIMIT_RULE(ss), V86_LIMIT_RULE(ds),
	V86_LIMIT_RULE(fs), V86_LIMIT_RULE(gs),
	V86_RIGHTS_RULE(es), V86_RIGHTS_RULE(cs), V86_RIGHTS_RULE(ss), V86_RIGHTS_RULE(ds),
	V86_RIGHTS_RULE(fs), V86_RIGHTS_RULE(gs),
};

/* Rules that are the same for some segments. */
#define DATA_RULES(name) \
	{ "27.3.1.2", "a data segment's type is not accessed and the register is usable", LONG_GUEST, \
		{ NOTHING }, \
		{ SET(guest_##name##_rights, 0xc092), SET(guest_##name##_rights, 0xc09a) }, \
		{ SET(guest_##name##_rights, 0xc091), SET(guest_##name##_rights, 0xc095), \
			SET(guest_##name##_rights, 0xc097), SET(guest_##name##_rights, RIGHTS_UNUSABLE) } }, \
	{ "27.3.1.2", \
		"a data segment's type is code that is not readable and the register is usable", \
		LONG_GUEST, { NOTHING }, \
		{ SET(guest_##name##_rights, 0xc099), SET(guest_##name##_rights, 0xc09d) }, \
		{ SET(guest_##name##_rights, 0xc09b), SET(guest_##name##_rights, 0xc09f), \
			SET(guest_##name##_rights, RIGHTS_UNUSABLE | 0xc099) } }, \
	{ "27.3.1.2", \
		"a data segment's DPL is less than its selector's RPL, without \"unrestricted guest\"", \
		LONG_GUEST, \
		{ SET(guest_##name##_selector, 0x12), SET(guest_##name##_rights, 0xc0d3) }, \
		{ SET(guest_##name##_rights, 0xc093), SET(guest_##name##_rights, 0xc0b3), \
			SET(guest_##name##_rights, 0xc0bb) }, \
		{ SET(guest_##name##_rights, 0xc0f3), SET(guest_##name##_rights, 0xc0db), \
			SET(guest_##name##_rights, 0xc09f), \
			SET(guest_##name##_rights, RIGHTS_UNUSABLE | 0xc093) } }, \
	{ "27.3.1.2", NULL, LONG_GUEST, { UNRESTRICTED, SET(guest_##name##_selector, 0x13) } }

#define USABLE_RULES(name, rights) \
	{ "27.3.1.2", "a segment's S is 0 and the register is usable", LONG_GUEST, { NOTHING }, \
		{ SET(guest_##name##_rights, (rights) & ~SEG_S) } }, \
	{ "27.3.1.2", "a segment's P is 0 and the register is usable", LONG_GUEST, { NOTHING }, \
		{ SET(guest_##name##_rights, (rights) & ~SEG_P) } }, \
	{ "27.3.1.2", "reserved bits 11:8 of a segment's access rights are not 0", LONG_GUEST, \
		{ NOTHING }, \
		{ SET(guest_##name##_rights, (rights) | BIT(8)), \
			SET(guest_##name##_rights, (rights) | BIT(11)) }, \
		{ SET(guest_##name##_rights, (rights) | RIGHTS_AVL) } }, \
	{ "27.3.1.2", "reserved bits 31:17 of a segment's access rights are not 0", LONG_GUEST, \
		{ NOTHING }, \
		{ SET(guest_##name##_rights, (rights) | BIT(17)), \
			SET(guest_##name##_rights, (rights) | BIT(31)) } }

#define GRANULARITY_RULES(name, bytes, pages) \
	{ "27.3.1.2", "a segment's G is 1 and bits 11:0 of its limit are not all 1", LONG_GUEST, \
		{ SET(guest_##name##_rights, pages), SET(guest_##name##_limit, 0xffffffff) }, \
		{ SET(guest_##name##_limit, 0xfffffffe), SET(guest_##name##_limit, 0xfffff7ff), \
			SET(guest_##name##_limit, 0) }, \
		{ SET(guest_##name##_limit, 0xfff) } }, \
	{ "27.3.1.2", "a segment's G is 0 and bits 31:20 of its limit are not all 0", LONG_GUEST, \
		{ SET(guest_##name##_rights, bytes), SET(guest_##name##_limit, 0xfffff) }, \
		{ SET(guest_##name##_limit, 0x100000), SET(guest_##name##_limit, 0xffffffff) }, \
		{ SET(guest_##name##_limit, 0), SET(guest_##name##_rights, pages) } }

/* An unusable register is free in all of that. */
#define UNUSABLE_RULE(name) \
	{ "27.3.1.2", NULL, LONG_GUEST, \
		{ SET(guest_##name##_rights, RIGHTS_UNUSABLE), SET(guest_##name##_limit, 0x100000) }, \
		{ NOTHING }, \
		{ SET(guest_##name##_rights, RIGHTS_UNUSABLE | 0xf00), \
			SET(guest_##name##_rights, RIGHTS_UNUSABLE | RIGHTS_G), \
			SET(guest_##name##_rights, RIGHTS_UNUSABLE | MASK(31, 17)) } }

static const struct rule rights_rules[] = {
	{ "27.3.1.2", "CS's type is none of 9, 11, 13 and 15, without \"unrestricted guest\"",
		LONG_GUEST, { NOTHING },
		{ SET(guest_cs_rights, 0xa09a), SET(guest_cs_rights, 0xa098),
			SET(guest_cs_rights, 0xa093), SET(guest_cs_rights, 0xa090),
			SET(guest_cs_rights, 0xa09e) },
		{ SET(guest_cs_rights, 0xa099), SET(guest_cs_rights, 0xa09d),
			SET(guest_cs_rights, 0xa09f), SET(guest_cs_rights, 0xa09b | RIGHTS_UNUSABLE) } },
	{ "27.3.1.2", "CS's type is none of 3, 9, 11, 13 and 15, with \"unrestricted guest\"",
		REAL_GUEST, { NOTHING },
		{ SET(guest_cs_rights, 0x91), SET(guest_cs_rights, 0x92), SET(guest_cs_rights, 0x97),
			SET(guest_cs_rights, 0x9a), SET(guest_cs_rights, 0x9e) },
		{ SET(guest_cs_rights, 0x93), SET(guest_cs_rights, 0x99), SET(guest_cs_rights, 0x9d) } },
	{ "27.3.1.2", "SS's type is neither 3 nor 7 and SS is usable", LONG_GUEST, { NOTHING },
		{ SET(guest_ss_rights, 0xc091), SET(guest_ss_rights, 0xc092),
			SET(guest_ss_rights, 0xc095), SET(guest_ss_rights, 0xc09b) },
		{ SET(guest_ss_rights, 0xc097), SET(guest_ss_rights, RIGHTS_UNUSABLE) } },
	DATA_RULES(ds), DATA_RULES(es), DATA_RULES(fs), DATA_RULES(gs),
	{ "27.3.1.2", "CS's type is 3 and its DPL is not 0", REAL_GUEST, { NOTHING },
		{ SET(guest_cs_rights, 0xb3), SET(guest_cs_rights, 0xf3) },
		{ SET(guest_cs_rights, 0x93) } },
	{ "27.3.1.2", "CS is non-conforming and its DPL is not SS's", LONG_GUEST, { NOTHING },
		{ SET(guest_cs_rights, 0xa0fb), SET(guest_cs_rights, 0xa0b9) } },
	{ "27.3.1.2", "CS is non-conforming and its DPL is not SS's", LONG_GUEST,
		{ SET(guest_cs_selector, 0xb), SET(guest_ss_selector, 0x13),
			SET(guest_cs_rights, 0xa0fb), SET(guest_ss_rights, 0xc0f3) },
		{ SET(guest_cs_rights, 0xa09b), SET(guest_cs_rights, 0xa0db) } },
	{ "27.3.1.2", "CS is conforming and its DPL is greater than SS's", LONG_GUEST, { NOTHING },
		{ SET(guest_cs_rights, 0xa0bd), SET(guest_cs_rights, 0xa0ff) },
		{ SET(guest_cs_rights, 0xa09f) } },
	{ "27.3.1.2", NULL, LONG_GUEST,
		{ SET(guest_cs_selector, 0xb), SET(guest_ss_selector, 0x13),
			SET(guest_cs_rights, 0xa09f), SET(guest_ss_rights, 0xc0f3) } },
	{ "27.3.1.2", "SS's DPL is not its selector's RPL, without \"unrestricted guest\"",
		LONG_GUEST, { SET(guest_cs_rights, 0xa09f) },
		{ SET(guest_ss_rights, 0xc0b3), SET(guest_ss_rights, 0xc0f3),
			SET(guest_ss_rights, RIGHTS_UNUSABLE | 0x60) } },
	{ "27.3.1.2", NULL, LONG_GUEST,
		{ UNRESTRICTED, SET(guest_cs_rights, 0xa09f), SET(guest_ss_rights, 0xc0f3) } },
	{ "27.3.1.2", "CS's type is 3 and SS's DPL is not 0", REAL_GUEST,
		{ SET(guest_cr0, CR0_NE | CR0_PE), SET(guest_cs_rights, 0x93) },
		{ SET(guest_ss_rights, 0xb3), SET(guest_ss_rights, 0xf3) } },
	{ "27.3.1.2", "CR0.PE is 0 and SS's DPL is not 0", REAL_GUEST,
		{ SET(guest_cs_rights, 0x9f) },
		{ SET(guest_ss_rights, 0xb3), SET(guest_ss_rights, 0xf3) } },
	{ "27.3.1.2", NULL, REAL_GUEST,
		{ SET(guest_cr0, CR0_NE | CR0_PE), SET(guest_cs_rights, 0x9f),
			SET(guest_ss_rights, 0xf3) } },
	USABLE_RULES(cs, 0xa09b), USABLE_RULES(ss, 0xc093), USABLE_RULES(ds, 0xc093),
	USABLE_RULES(es, 0xc093), USABLE_RULES(fs, 0xc093), USABLE_RULES(gs, 0xc093),
	{ "27.3.1.2", "CS's L and D/B are both 1 and \"IA-32e mode guest\" is 1", LONG_GUEST,
		{ NOTHING }, { SET(guest_cs_rights, 0xe09b) },
		{ SET(guest_cs_rights, 0xc09b), SET(guest_cs_rights, 0x809b) } },
	{ "27.3.1.2", NULL, LEGACY_GUEST, { SET(guest_cs_rights, 0xe09b) } },
	GRANULARITY_RULES(cs, 0x209b, 0xa09b), GRANULARITY_RULES(ss, 0x4093, 0xc093),
	GRANULARITY_RULES(ds, 0x4093, 0xc093), GRANULARITY_RULES(es, 0x4093, 0xc093),
	GRANULARITY_RULES(fs, 0x4093, 0xc093), GRANULARITY_RULES(gs, 0x4093, 0xc093),
	GRANULARITY_RULES(tr, 0x008b, 0x808b), GRANULARITY_RULES(ldtr, 0x0082, 0x8082),
	UNUSABLE_RULE(ss), UNUSABLE_RULE(ds), UNUSABLE_RULE(es), UNUSABLE_RULE(fs),
	UNUSABLE_RULE(gs), UNUSABLE_RULE(ldtr),
	{ "27.3.1.2", "TR's type is neither 3 nor 11, a busy TSS", LEGACY_GUEST, { NOTHING },
		{ SET(guest_tr_rights, 0x81), SET(guest_tr_rights, 0x89), SET(guest_tr_rights, 0x82) },
		{ SET(guest_tr_rights, 0x83) } },
	{ "27.3.1.2", "TR's type is not 11, a busy 64-bit TSS, and \"IA-32e mode guest\" is 1",
		LONG_GUEST, { NOTHING }, { SET(guest_tr_rights, 0x83), SET(guest_tr_rights, 0x89) } },
	{ "27.3.1.2", "TR's S is 1", LONG_GUEST, { NOTHING }, { SET(guest_tr_rights, 0x9b) } },
	{ "27.3.1.2", "TR's P is 0", LONG_GUEST, { NOTHING }, { SET(guest_tr_rights, 0x0b) } },
	{ "27.3.1.2", "reserved bits 11:8 of TR's access rights are not 0", LONG_GUEST, { NOTHING },
		{ SET(guest_tr_rights, 0x18b), SET(guest_tr_rights, 0x88b) },
		{ SET(guest_tr_rights, 0x8b | RIGHTS_AVL) } },
	{ "27.3.1.2", "TR is unusable", LONG_GUEST, { NOTHING },
		{ SET(guest_tr_rights, 0x8b | RIGHTS_UNUSABLE) } },
	{ "27.3.1.2", "reserved bits 31:17 of TR's access rights are not 0", LONG_GUEST, { NOTHING },
		{ SET(guest_tr_rights, 0x8b | BIT(17)), SET(guest_tr_rights, 0x8b | BIT(31)) } },
	/* TR counts in virtual-8086 mode too */
	{ "27.3.1.2", "TR is unusable", V86_GUEST, { NOTHING },
		{ SET(guest_tr_rights, 0x8b | RIGHTS_UNUSABLE) } },
#define LDT SET(guest_ldtr_rights, 0x82)
	{ "27.3.1.2", "LDTR's type is not 2, an LDT", LONG_GUEST, { LDT },
		{ SET(guest_ldtr_rights, 0x80), SET(guest_ldtr_rights, 0x83),
			SET(guest_ldtr_rights, 0x8b) },
		{ SET(guest_ldtr_rights, RIGHTS_UNUSABLE | 0x8b) } },
	{ "27.3.1.2", "LDTR's S is 1", LONG_GUEST, { LDT }, { SET(guest_ldtr_rights, 0x92) } },
	{ "27.3.1.2", "LDTR's P is 0 and it is usable", LONG_GUEST, { LDT },
		{ SET(guest_ldtr_rights, 0x02) } },
	{ "27.3.1.2", "reserved bits 11:8 of LDTR's access rights are not 0", LONG_GUEST, { LDT },
		{ SET(guest_ldtr_rights, 0x182), SET(guest_ldtr_rights, 0x882) } },
	{ "27.3.1.2", "reserved bits 31:17 of LDTR's access rights are not 0", LONG_GUEST, { LDT },
		{ SET(guest_ldtr_rights, 0x82 | BIT(17)), SET(guest_ldtr_rights, 0x82 | BIT(31)) } },
};

#define RULE_OF_RFLAGS(bit) SET(guest_rflags, FLAGS | BIT(bit))

static const struct rule table_rules[] = {
	CANONICAL_RULE("27.3.1.3", guest_gdtr_base, "GDTR's base is not canonical"),
	CANONICAL_RULE("27.3.1.3", guest_idtr_base, "IDTR's base is not canonical"),
	{ "27.3.1.3", "bits 31:16 of GDTR's limit are not 0", LONG_GUEST, { NOTHING },
		{ SET(guest_gdtr_limit, 0x10000), SET(guest_gdtr_limit, BIT(31)) },
		{ SET(guest_gdtr_limit, 0) } },
	{ "27.3.1.3", "bits 31:16 of IDTR's limit are not 0", LONG_GUEST, { NOTHING },
		{ SET(guest_idtr_limit, 0x10000), SET(guest_idtr_limit, BIT(31)) },
		{ SET(guest_idtr_limit, 0) } },
	{ "27.3.1.4", "bits 63:32 of RIP are not 0 and the guest is not in 64-bit mode", LONG_GUEST,
		{ SET(guest_cs_rights, 0xc09b) }, { SET(guest_rip, BIT(32)), SET(guest_rip, FIRST_HIGH) },
		{ SET(guest_rip, 0xffffffff) } },
	/* L means nothing outside IA-32e mode */
	{ "27.3.1.4", "bits 63:32 of RIP are not 0 and the guest is not in 64-bit mode", LEGACY_GUEST,
		{ SET(guest_cs_rights, 0xa09b) }, { SET(guest_rip, BIT(32)) },
		{ SET(guest_rip, 0xffffffff) } },
	CANONICAL_RULE("27.3.1.4", guest_rip, "RIP is not canonical and the guest is in 64-bit mode"),
	{ "27.3.1.4", "RFLAGS has reserved bits set", LONG_GUEST, { NOTHING },
		{ RULE_OF_RFLAGS(3), RULE_OF_RFLAGS(5), RULE_OF_RFLAGS(15), RULE_OF_RFLAGS(22),
			RULE_OF_RFLAGS(31), RULE_OF_RFLAGS(63) },
		{ SET(guest_rflags, 0x3d7fd7), RULE_OF_RFLAGS(21), RULE_OF_RFLAGS(14) } },
	{ "27.3.1.4", "bit 1 of RFLAGS is 0", LONG_GUEST, { NOTHING },
		{ SET(guest_rflags, 0), SET(guest_rflags, RFLAGS_IF) } },
	/* in IA-32e mode with segments as virtual-8086 mode wants them */
	{ "27.3.1.4", "RFLAGS.VM is 1 and \"IA-32e mode guest\" is 1", V86_GUEST,
		{ SET(guest_cr4, CR4) }, { SET(entry_controls, LONG_ENTRY) } },
	{ "27.3.1.4", "RFLAGS.VM is 1 and CR0.PE is 0", V86_GUEST, { UNRESTRICTED },
		{ SET(guest_cr0, CR0_NE) }, { SET(guest_cr0, CR0_NE | CR0_PE) } },
	{ "27.3.1.4", "an external interrupt is injected and RFLAGS.IF is 0", LONG_GUEST,
		{ NOTHING }, { EVENT(INTR_EXTERNAL, 0x30) },
		{ SET(entry_interruption_info, 0x30), EVENT(INTR_NMI, 2), EVENT(INTR_SOFTWARE, 0x80) } },
};

#define ACTIVITY(state) SET(guest_activity, ACTIVITY_##state)
#define BLOCKED(by) SET(guest_interruptibility, INTERRUPTIBILITY_##by)
#define ENABLED SET(guest_rflags, FLAGS | RFLAGS_IF)

static const struct rule activity_rules[] = {
	{ "27.3.1.5", "the activity state is greater than 3", LONG_GUEST, { NOTHING },
		{ SET(guest_activity, 4), SET(guest_activity, 0xffffffff) },
		{ ACTIVITY(HLT), ACTIVITY(SHUTDOWN), ACTIVITY(WAIT_SIPI) } },
	{ "27.3.1.5", "the activity state is HLT and SS's DPL is not 0", LONG_GUEST,
		{ SET(guest_cs_selector, 0xb), SET(guest_ss_selector, 0x13),
			SET(guest_cs_rights, 0xa0fb), SET(guest_ss_rights, 0xc0f3) },
		{ ACTIVITY(HLT) }, { ACTIVITY(SHUTDOWN), ACTIVITY(WAIT_SIPI) } },
	{ "27.3.1.5", "the activity state is not active and STI or MOV SS blocks", LONG_GUEST,
		{ ENABLED, BLOCKED(STI) }, { ACTIVITY(HLT), ACTIVITY(SHUTDOWN), ACTIVITY(WAIT_SIPI) } },
	{ "27.3.1.5", "the activity state is not active and STI or MOV SS blocks", LONG_GUEST,
		{ BLOCKED(MOV_SS) }, { ACTIVITY(HLT), ACTIVITY(SHUTDOWN), ACTIVITY(WAIT_SIPI) } },
	{ "27.3.1.5", NULL, LONG_GUEST, { BLOCKED(NMI), ACTIVITY(HLT) } },
	{ "27.3.1.5", "an event is injected that HLT blocks", LONG_GUEST, { ENABLED, ACTIVITY(HLT) },
		{ EVENT(INTR_SOFTWARE, 0x80), EVENT(INTR_SOFTWARE_EXCEPTION, 3),
			EVENT(INTR_PRIVILEGED_EXCEPTION, 1), EVENT(INTR_HARDWARE_EXCEPTION, VEC_UD),
			EVENT(INTR_HARDWARE_EXCEPTION, VEC_MF) },
		{ EVENT(INTR_EXTERNAL, 0x30), EVENT(INTR_NMI, 2), EVENT(INTR_OTHER, 0),
			EVENT(INTR_HARDWARE_EXCEPTION, VEC_DB), EVENT(INTR_HARDWARE_EXCEPTION, VEC_MC) } },
	{ "27.3.1.5", "an event is injected that shutdown blocks", LONG_GUEST,
		{ ENABLED, ACTIVITY(SHUTDOWN) },
		{ EVENT(INTR_EXTERNAL, 0x30), EVENT(INTR_OTHER, 0), EVENT(INTR_SOFTWARE, 18),
			EVENT(INTR_HARDWARE_EXCEPTION, VEC_DB) },
		{ EVENT(INTR_NMI, 2), EVENT(INTR_HARDWARE_EXCEPTION, VEC_MC) } },
	{ "27.3.1.5", "an event is injected and the activity state is wait-for-SIPI", LONG_GUEST,
		{ ENABLED, ACTIVITY(WAIT_SIPI) },
		{ EVENT(INTR_EXTERNAL, 0x30), EVENT(INTR_NMI, 2), EVENT(INTR_OTHER, 0),
			EVENT(INTR_HARDWARE_EXCEPTION, VEC_MC) },
		{ SET(entry_interruption_info, 0x202) } },
};

static const struct rule interruptibility_rules[] = {
	{ "27.3.1.5", "reserved bits 31:5 of the interruptibility state are not 0", LONG_GUEST,
		{ NOTHING },
		{ SET(guest_interruptibility, BIT(5)), SET(guest_interruptibility, BIT(31)) },
		{ BLOCKED(NMI) } },
	{ "27.3.1.5", "STI and MOV SS both block", LONG_GUEST, { ENABLED },
		{ SET(guest_interruptibility, 3) }, { BLOCKED(STI), BLOCKED(MOV_SS) } },
	{ "27.3.1.5", "STI blocks and RFLAGS.IF is 0", LONG_GUEST, { NOTHING }, { BLOCKED(STI) },
		{ BLOCKED(MOV_SS) } },
	{ "27.3.1.5", "an external interrupt is injected and STI or MOV SS blocks", LONG_GUEST,
		{ ENABLED, EVENT(INTR_EXTERNAL, 0x30) }, { BLOCKED(STI), BLOCKED(MOV_SS) },
		{ BLOCKED(NMI) } },
	{ "27.3.1.5", "an NMI is injected and MOV SS blocks", LONG_GUEST,
		{ ENABLED, EVENT(INTR_NMI, 2) }, { BLOCKED(MOV_SS) }, { BLOCKED(NMI) } },
	{ "27.3.1.5", "an NMI is injected and STI blocks", LONG_GUEST,
		{ ENABLED, EVENT(INTR_NMI, 2) }, { BLOCKED(STI) }, { NOTHING }, 3 },
	/* others than those two may come under either */
	{ "27.3.1.5", NULL, LONG_GUEST, { ENABLED, EVENT(INTR_HARDWARE_EXCEPTION, VEC_UD) },
		{ NOTHING }, { BLOCKED(STI), BLOCKED(MOV_SS) } },
	{ "27.3.1.5", "blocking by SMI is 1 and the processor is not in SMM", LONG_GUEST,
		{ NOTHING }, { BLOCKED(SMI) } },
	{ "27.3.1.5", "an NMI is injected and virtual NMIs are blocked", LONG_GUEST,
		{ SET(pin_controls, PIN | PIN_NMI | PIN_VIRTUAL_NMIS), EVENT(INTR_NMI, 2) },
		{ BLOCKED(NMI) } },
	{ "27.3.1.5", NULL, LONG_GUEST,
		{ SET(pin_controls, PIN | PIN_NMI | PIN_VIRTUAL_NMIS), BLOCKED(NMI) } },
	{ "27.3.1.5", NULL, LONG_GUEST, { EVENT(INTR_NMI, 2), BLOCKED(NMI) } },
	{ "27.3.1.5", "enclave interruption is 1 and MOV SS blocks", LONG_GUEST, { NOTHING },
		{ SET(guest_interruptibility, INTERRUPTIBILITY_ENCLAVE | INTERRUPTIBILITY_MOV_SS) },
		{ BLOCKED(MOV_SS) } },
	{ "27.3.1.5", "enclave interruption is 1 and the processor has no SGX", LONG_GUEST,
		{ NOTHING }, { BLOCKED(ENCLAVE) } },
};

#define PENDING(bits) SET(guest_pending_debug, bits)
#define STEPPING SET(guest_rflags, FLAGS | RFLAGS_IF | RFLAGS_TF)

static const struct rule pending_rules[] = {
	{ "27.3.1.5", "reserved bits of the pending debug exceptions are not 0", LONG_GUEST,
		{ NOTHING },
		{ PENDING(BIT(4)), PENDING(BIT(11)), PENDING(BIT(13)), PENDING(BIT(15)),
			PENDING(BIT(17)), PENDING(BIT(63)) },
		{ PENDING(PENDING_B), PENDING(PENDING_ENABLED_BREAKPOINT), PENDING(PENDING_BS) } },
	{ "27.3.1.5", "pending BS is 0 with RFLAGS.TF 1 and BTF 0, under blocking or in HLT",
		LONG_GUEST, { STEPPING, BLOCKED(STI), PENDING(PENDING_BS) }, { PENDING(0) },
		{ PENDING(PENDING_BS | PENDING_B) } },
	{ "27.3.1.5", "pending BS is 0 with RFLAGS.TF 1 and BTF 0, under blocking or in HLT",
		LONG_GUEST, { STEPPING, BLOCKED(MOV_SS), PENDING(PENDING_BS) }, { PENDING(1) } },
	{ "27.3.1.5", "pending BS is 0 with RFLAGS.TF 1 and BTF 0, under blocking or in HLT",
		LONG_GUEST, { STEPPING, ACTIVITY(HLT), PENDING(PENDING_BS) }, { PENDING(0) } },
	{ "27.3.1.5", "pending BS is 1 with RFLAGS.TF 0 or BTF 1, under blocking or in HLT",
		LONG_GUEST, { ENABLED, BLOCKED(STI) }, { PENDING(PENDING_BS) }, { PENDING(1) } },
	{ "27.3.1.5", "pending BS is 1 with RFLAGS.TF 0 or BTF 1, under blocking or in HLT",
		LONG_GUEST, { STEPPING, BLOCKED(MOV_SS), SET(guest_debugctl, DEBUGCTL_BTF) },
		{ PENDING(PENDING_BS) }, { PENDING(1) } },
	{ "27.3.1.5", "pending BS is 1 with RFLAGS.TF 0 or BTF 1, under blocking or in HLT",
		LONG_GUEST, { ACTIVITY(HLT) }, { PENDING(PENDING_BS) } },
	{ "27.3.1.5", NULL, LONG_GUEST, { STEPPING }, { NOTHING },
		{ PENDING(0), PENDING(PENDING_BS), ACTIVITY(SHUTDOWN) } },
	{ "27.3.1.5", "pending RTM is 1 and the other bits are not just bit 12", LONG_GUEST,
		{ NOTHING },
		{ PENDING(PENDING_RTM), PENDING(PENDING_RTM | PENDING_ENABLED_BREAKPOINT | 1),
			PENDING(PENDING_RTM | PENDING_ENABLED_BREAKPOINT | PENDING_BS) } },
	{ "27.3.1.5", "pending RTM is 1 and MOV SS blocks", LONG_GUEST,
		{ SET(guest_interruptibility, INTERRUPTIBILITY_MOV_SS) },
		{ PENDING(PENDING_RTM | PENDING_ENABLED_BREAKPOINT) } },
	{ "27.3.1.5", "pending RTM is 1 and the processor has no RTM", LONG_GUEST, { NOTHING },
		{ PENDING(PENDING_RTM | PENDING_ENABLED_BREAKPOINT) },
		{ PENDING(PENDING_ENABLED_BREAKPOINT) } },
};

#define LINK(address) SET(link_pointer, address)

static const struct rule link_rules[] = {
	{ "27.3.1.5", "bits 11:0 of the VMCS link pointer are not 0", LONG_GUEST, { NOTHING },
		{ LINK(PLAIN_REGION | 1), LINK(PLAIN_REGION | 0x800), LINK(~1ull) },
		{ LINK(PLAIN_REGION), LINK(VMCS_NONE) }, 4 },
	{ "27.3.1.5", "the VMCS link pointer is beyond the physical-address width", LONG_GUEST,
		{ NOTHING }, { LINK(BEYOND), LINK(BIT(63)) }, { NOTHING }, 4 },
	{ "27.3.1.5",
		"the VMCS link pointer names a region without this processor's revision identifier",
		LONG_GUEST, { NOTHING }, { LINK(STRANGE_REGION), LINK(NO_MEMORY), LINK(TOP_PAGE), LINK(0) },
		{ LINK(PLAIN_REGION) }, 4 },
	{ "27.3.1.5",
		"the shadow indicator of what the VMCS link pointer names is not \"VMCS shadowing\"",
		LONG_GUEST, { NOTHING }, { LINK(SHADOW_REGION) }, { LINK(PLAIN_REGION) }, 4 },
	{ "27.3.1.5",
		"the shadow indicator of what the VMCS link pointer names is not \"VMCS shadowing\"",
		LONG_GUEST, { SECONDARY(SEC_SHADOWING) }, { LINK(PLAIN_REGION), LINK(CURRENT) },
		{ LINK(SHADOW_REGION), LINK(VMCS_NONE) }, 4 },
	{ "27.3.1.5", "the VMCS link pointer is the current VMCS", LONG_GUEST, { NOTHING },
		{ LINK(CURRENT) }, { LINK(PLAIN_REGION) }, 4 },
};

#define PDPTE_RULE(n) \
	{ "27.3.1.6", "a PDPTE of PAE paging has reserved bits set", PAE_GUEST, \
		{ SECONDARY(SEC_EPT), SET(guest_cr3, PDPTES_BIT1) }, \
		{ SET(guest_pdpte##n, 3), SET(guest_pdpte##n, 5), SET(guest_pdpte##n, BIT(5) | 1), \
			SET(guest_pdpte##n, BIT(8) | 1), SET(guest_pdpte##n, BEYOND | 1), \
			SET(guest_pdpte##n, BIT(63) | 1) }, \
		{ SET(guest_pdpte##n, TOP_PAGE | 0xe19), SET(guest_pdpte##n, ~1ull) }, 2 }

static const struct rule pdpte_rules[] = {
	{ "27.3.1.6", "a PDPTE of PAE paging has reserved bits set", PAE_GUEST, { NOTHING },
		{ SET(guest_cr3, PDPTES_BIT1), SET(guest_cr3, PDPTES_BIT8), SET(guest_cr3, PDPTES_WIDE),
			SET(guest_cr3, NO_MEMORY) },
		{ SET(guest_cr3, PDPTES_ABSENT), SET(guest_cr3, PDPTES | 0x1f),
			SET(guest_cr3, BIT(32) | PDPTES) }, 2 },
	/* EPT: the fields and not what CR3 names; and the other way round */
	PDPTE_RULE(0), PDPTE_RULE(1), PDPTE_RULE(2), PDPTE_RULE(3),
	{ "27.3.1.6", NULL, PAE_GUEST, { SET(guest_pdpte0, 3) } },
	/* other paging has none */
	{ "27.3.1.6", NULL, LONG_GUEST, { SET(guest_cr3, PDPTES_BIT1) } },
	{ "27.3.1.6", NULL, LEGACY_GUEST, { SET(guest_cr3, PDPTES_BIT1) } },
	{ "27.3.1.6", NULL, REAL_GUEST, { SET(guest_cr4, CR4), SET(guest_pdpte0, 3) } },
};

static void registers(void **state)
{
	vmx_rig_run(state, register_rules, ARRAY_SIZE(register_rules));
}

static void segments(void **state)
{
	vmx_rig_run(state, segment_rules, ARRAY_SIZE(segment_rules));
}

static void access_rights(void **state)
{
	vmx_rig_run(state, rights_rules, ARRAY_SIZE(rights_rules));
}

static void tables_and_flags(void **state)
{
	vmx_rig_run(state, table_rules, ARRAY_SIZE(table_rules));
}

static void activity(void **state)
{
	vmx_rig_run(state, activity_rules, ARRAY_SIZE(activity_rules));
}

static void interruptibility(void **state)
{
	vmx_rig_run(state, interruptibility_rules, ARRAY_SIZE(interruptibility_rules));
}

static void pending_debug(void **state)
{
	vmx_rig_run(state, pending_rules, ARRAY_SIZE(pending_rules));
}

static void link_pointer(void **state)
{
	vmx_rig_run(state, link_rules, ARRAY_SIZE(link_rules));
}

static void pdptes(void **state)
{
	vmx_rig_run(state, pdpte_rules, ARRAY_SIZE(pdpte_rules));
}

/* What was found valid is there for the guest, from memory or from the VMCS. */
static void pdptes_are_kept(void **state)
{
	struct rig *rig = *state;
	struct vmx *vmx = vmx_of(rig->cpu);
	struct vmcs *v = vmx_rig_vmcs(state, PAE_GUEST);

	assert_null(vmx_rig_check(state));
	assert_int_equal(vmx->pdpte[0], 0x6001);
	assert_int_equal(vmx->pdpte[1], 0x7019);
	assert_int_equal(vmx->pdpte[2], 0);
	assert_int_equal(vmx->pdpte[3], TOP_PAGE | 0xe19);
	v->cpu_controls |= PROC_SECONDARY;
	v->secondary_controls = SEC_EPT;
	v->guest_pdpte3 = 0x9001;
	assert_null(vmx_rig_check(state));
	assert_int_equal(vmx->pdpte[0], 0);
	assert_int_equal(vmx->pdpte[3], 0x9001);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(registers, vmx_rig_setup, vmx_rig_teardown),
		cmocka_unit_test_setup_teardown(segments, vmx_rig_setup, vmx_rig_teardown),
		cmocka_unit_test_setup_teardown(access_rights, vmx_rig_setup, vmx_rig_teardown),
		cmocka_unit_test_setup_teardown(tables_and_flags, vmx_rig_setup, vmx_rig_teardown),
		cmocka_unit_test_setup_teardown(activity, vmx_rig_setup, vmx_rig_teardown),
		cmocka_unit_test_setup_teardown(interruptibility, vmx_rig_setup, vmx_rig_teardown),
		cmocka_unit_test_setup_teardown(pending_debug, vmx_rig_setup, vmx_rig_teardown),
		cmocka_unit_test_setup_teardown(link_pointer, vmx_rig_setup, vmx_rig_teardown),
		cmocka_unit_test_setup_teardown(pdptes, vmx_rig_setup, vmx_rig_teardown),
		cmocka_unit_test_setup_teardown(pdptes_are_kept, vmx_rig_setup, vmx_rig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
