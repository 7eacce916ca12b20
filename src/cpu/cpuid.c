/* SPDX-License-Identifier: MIT */
/*
 * The guest's CPUID: made once from what the host has and what is emulated, then only looked up.
 * APM3 appendix E, SDM2 CPUID.
 *
 * What needs the host's own execution units is offered where the host has it; x86-64-v2 must be
 * there. What C emulates (paging, APIC, system instructions) is offered always. Not offered: TSX,
 * SGX, AMX, performance counters, CET, protection keys, MPX, MONITOR, 5-level paging. CPUs are
 * cores of one package, a thread each.
 */
#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "cpu/handlers.h"
#include "cpu/nesting.h"
#include "cpu/xsave.h"

enum { EAX, EBX, ECX, EDX };

#define F1_EDX_APIC BIT(9)
#define EXTENDED 0x80000000u
#define HYPERVISOR 0x40000000u
#define PHYS_BITS 46
#define VIRT_BITS 48
#define ZEN5_FAMILY 0x1a
#define ZEN_SIGNATURE 0x00a10f11     /* family 19h model 11h */
#define XEON_SIGNATURE 0x000606a6    /* family 6 model 6ah */
#define LAPIC_TIMER_KHZ 1000000      /* the local APIC timer's clock, see dev/lapic.h */
#define SVM_ASIDS 0x8000

struct cpuid_row {
	u32 leaf, subleaf;
	u32 reg[4];
};

/* Rows of a leaf stand together; groups give the leaf's first row. */
#define MAX_ROWS 96
#define GROUP_LEAVES 48
#define NO_ROW 0xff

struct cpuid_group {
	u32 base, last;
	u8 first[GROUP_LEAVES], count[GROUP_LEAVES];
};

struct cpuid_table {
	bool intel;
	bool host_intel, host_zen5; /* and later */
	const struct cpu_model *model; /* NULL: none in particular */
	u32 tsc_khz;
	unsigned rows;
	struct cpuid_row row[MAX_ROWS];
	struct cpuid_group group[4]; /* basic, hypervisor, extended, nestbox's own */
	struct xsave_layout xsave;
	u64 cr4_valid, efer_valid; /* which bits there are */
};

/* ---- look-up: runs with the guest's FPU state live ---- */

static const struct cpuid_row *find_row(const struct cpuid_table *table, u32 leaf, u32 subleaf)
{
	for (unsigned i = 0; i < ARRAY_SIZE(table->group); i++) {
		const struct cpuid_group *group = &table->group[i];
		u32 index = leaf - group->base;
		const struct cpuid_row *row;

		if (index >= GROUP_LEAVES || group->first[index] == NO_ROW)
			continue;
		row = &table->row[group->first[index]];
		if (group->count[index] == 1) /* a leaf that ignores ECX */
			return row;
		for (unsigned n = 0; n < group->count[index]; n++)
			if (row[n].subleaf == subleaf)
				return &row[n];
		return NULL;
	}
	return NULL;
}

void cpu_cpuid(struct cpu *cpu, u32 leaf, u32 subleaf, u32 out[4])
{
	const struct cpuid_table *table = cpu->cpuid;
	const struct xsave_layout *xsave = &table->xsave;
	const struct cpuid_row *row;

	/* SDM2: Intel answers a leaf beyond its last with the last basic one */
	if (table->intel && leaf > table->group[0].last &&
	    (leaf < HYPERVISOR || leaf > table->group[1].last) &&
	    (leaf < NESTING_LEAF || leaf > table->group[3].last) &&
	    (leaf < EXTENDED || leaf > table->group[2].last))
		leaf = table->group[0].last;
	row = find_row(table, leaf, subleaf);
	for (unsigned i = 0; i < 4; i++)
		out[i] = row ? row->reg[i] : 0;
	/* what depends on the CPU and its state */
	switch (leaf) {
	case 1:
		out[EBX] |= cpu->id << 24;
		if (cpu->cr4 & CR4_OSXSAVE)
			out[ECX] |= BIT(27);
		if (cpu->apic_disabled)
			out[EDX] &= ~F1_EDX_APIC;
		break;
	case 0xb:
		out[ECX] |= subleaf & 0xff;
		out[EDX] = cpu->id;
		break;
	case 0xd:
		if (subleaf == 0 && row)
			out[EBX] = xsave_standard_size(xsave, cpu->xcr0);
		else if (subleaf == 1 && row && (out[EAX] & 0xa))
			out[EBX] = xsave_compact_offset(xsave, cpu->xcr0 | cpu->xss,
				XSAVE_COMPONENTS);
		break;
	case 0x80000001:
		/* AMD's copy of leaf 1's */
		if (cpu->apic_disabled)
			out[EDX] &= ~F1_EDX_APIC;
		break;
	case 0x8000001e:
		if (row) {
			out[EAX] = cpu->id;
			out[EBX] = cpu->id;
		}
		break;
	}
}

bool cpu_has_in(const struct cpu *cpu, u32 leaf, u32 subleaf, unsigned reg, unsigned bit)
{
	const struct cpuid_row *row = find_row(cpu->cpuid, leaf, subleaf);

	return row && (row->reg[reg] >> bit & 1);
}

bool cpu_has(const struct cpu *cpu, u32 leaf, unsigned reg, unsigned bit)
{
	return cpu_has_in(cpu, leaf, 0, reg, bit);
}

u64 cpu_cr4_valid(const struct cpu *cpu)
{
	return cpu->cpuid->cr4_valid;
}

u64 cpu_efer_valid(const struct cpu *cpu)
{
	/* APM2 15.30.1 */
	return cpu->cpuid->efer_valid & ~(cpu->svm_disabled ? EFER_SVME : 0);
}

bool cpu_is_intel(const struct cpu *cpu)
{
	return cpu->cpuid->intel;
}

bool cpu_host_is_intel(const struct cpu *cpu)
{
	return cpu->cpuid->host_intel;
}

bool cpu_host_is_zen5(const struct cpu *cpu)
{
	return cpu->cpuid->host_zen5;
}

u8 cpuid_phys_bits(const struct cpuid_table *table)
{
	return PHYS_BITS;
}

u32 cpuid_tsc_khz(const struct cpuid_table *table)
{
	return table->tsc_khz;
}

const struct xsave_layout *cpuid_xsave(const struct cpuid_table *table)
{
	return &table->xsave;
}

/* ---- making the table ---- */

/* What the host says; leaves beyond its last are zero. */
static struct cpuid_row host_leaf(u32 leaf, u32 subleaf)
{
	struct cpuid_row row = { leaf, subleaf, { 0 } };

	if (leaf <= __get_cpuid_max(leaf & EXTENDED, NULL))
		__cpuid_count(leaf, subleaf, row.reg[EAX], row.reg[EBX], row.reg[ECX],
			row.reg[EDX]);
	return row;
}

static void add(struct cpuid_table *table, u32 leaf, u32 subleaf, u32 eax, u32 ebx, u32 ecx,
	u32 edx)
{
	struct cpuid_group *group = &table->group[leaf >= EXTENDED ? 2 : leaf >= NESTING_LEAF ? 3 :
		leaf >= HYPERVISOR ? 1 : 0];
	unsigned index = leaf - group->base;

	if (group->first[index] == NO_ROW)
		group->first[index] = table->rows;
	group->count[index]++;
	group->last = MAX(group->last, leaf);
	table->row[table->rows++] = (struct cpuid_row){ leaf, subleaf, { eax, ebx, ecx, edx } };
}

/* Features of leaf 1. Named here is all that a guest may get. */
#define F1_EDX_ALWAYS (MASK(6, 0) | MASK(9, 7) | MASK(17, 11) | BIT(19) | MASK(26, 23))
#define F1_ECX_V2 (BIT(0) | BIT(9) | BIT(13) | BIT(19) | BIT(20) | BIT(23))
#define F1_ECX_EMULATED (BIT(17) | BIT(21) | BIT(24) | BIT(31))
/* PCLMULQDQ MOVBE AES RDRAND */
#define F1_ECX_HOST (BIT(1) | BIT(22) | BIT(25) | BIT(30))
#define F1_ECX_XSAVE BIT(26)
/* FMA AVX F16C */
#define F1_ECX_AVX (BIT(12) | BIT(28) | BIT(29))
#define F1_ECX_VMX BIT(5)

/* Leaf 7. FSGSBASE TSC_ADJUST SMEP ERMS INVPCID, FCS and FDS gone, SMAP; UMIP RDPID */
#define F7_EBX_EMULATED (BIT(0) | BIT(1) | BIT(7) | BIT(9) | BIT(10) | BIT(13) | BIT(20))
#define F7_ECX_EMULATED (BIT(2) | BIT(22))
/* BMI1 BMI2 RDSEED ADX SHA; AVX2; F DQ IFMA CD BW VL */
#define F7_EBX_HOST (BIT(3) | BIT(8) | BIT(18) | BIT(19) | BIT(29))
#define F7_EBX_AVX BIT(5)
#define F7_EBX_AVX512 (BIT(16) | BIT(17) | BIT(21) | BIT(28) | BIT(30) | BIT(31))
/* GFNI; VAES VPCLMULQDQ; VBMI VBMI2 VNNI BITALG VPOPCNTDQ */
#define F7_ECX_HOST BIT(8)
#define F7_ECX_AVX (BIT(9) | BIT(10))
#define F7_ECX_AVX512 (BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14))
#define F7_EDX_FSRM BIT(4)
#define F7_EDX_AVX512 (BIT(8) | BIT(23)) /* VP2INTERSECT FP16 */
/* Leaf 7, subleaf 1: AVX_VNNI; AVX512_BF16 */
#define F7_1_EAX_AVX BIT(4)
#define F7_1_EAX_AVX512 BIT(5)
/* Intel's SPEC_CTRL and ARCH_CAPABILITIES, by which a kernel sees that it need do nothing */
#define F7_EDX_INTEL (BIT(26) | BIT(29))

/* Leaf 80000001h. LAHF; LZCNT SSE4A MISALIGNSSE; 3DNOWPREFETCH; TOPOEXT, CMP_LEGACY */
#define FX_ECX_V2 BIT(0)
#define FX_ECX_HOST (BIT(5) | BIT(8))
#define FX_ECX_AMD_HOST (BIT(6) | BIT(7))
#define FX_ECX_AMD BIT(22)
#define FX_ECX_CMP_LEGACY BIT(1)
#define FX_ECX_SVM BIT(2)
/* SYSCALL NX 1G RDTSCP LM; AMD repeats much of leaf 1, and has MMXEXT */
#define FX_EDX_EMULATED (BIT(11) | BIT(20) | BIT(26) | BIT(27) | BIT(29))
#define FX_EDX_AMD (MASK(9, 0) | MASK(17, 12) | BIT(22) | BIT(23) | BIT(24))

static bool host_is_intel(void)
{
	struct cpuid_row row = host_leaf(0, 0);

	/* "AuthenticAMD", "HygonGenuine"; all others behave like Intel's */
	return row.reg[EBX] != 0x68747541 && row.reg[EBX] != 0x6f677948;
}

/* APM3 CPUID, function 1 */
static unsigned host_family(void)
{
	u32 eax = host_leaf(1, 0).reg[EAX];
	unsigned base = eax >> 8 & 0xf;

	return base == 0xf ? base + (eax >> 20 & 0xff) : base;
}

/* XCR0 of the host, 0 where the kernel does not use XSAVE. */
static u64 host_xcr0(void)
{
	u32 low, high;

	if (!(host_leaf(1, 0).reg[ECX] & BIT(27)))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (u64)high << 32 | low;
}

static void make_xsave(struct cpuid_table *table)
{
	struct xsave_layout *xsave = &table->xsave;
	u64 host = host_xcr0();

	if (!host)
		return;
	xsave->mask = XCR0_X87 | XCR0_SSE | (host & XCR0_AVX);
	if ((host & XCR0_AVX) && (host & XCR0_AVX512) == XCR0_AVX512)
		xsave->mask |= XCR0_AVX512;
	/* XSAVEC, and XGETBV of register 1 with it */
	xsave->compact = (host_leaf(0xd, 1).reg[EAX] & 6) == 6;
	for (unsigned i = 2; i < XSAVE_COMPONENTS; i++) {
		struct cpuid_row row = host_leaf(0xd, i);

		if (!(xsave->mask & BIT(i)))
			continue;
		xsave->size[i] = row.reg[EAX];
		xsave->offset[i] = row.reg[EBX];
		xsave->align[i] = row.reg[ECX] & 2;
	}
}

static void add_xsave(struct cpuid_table *table)
{
	const struct xsave_layout *xsave = &table->xsave;

	if (!xsave->mask)
		return;
	add(table, 0xd, 0, xsave->mask, 0, xsave_standard_size(xsave, xsave->mask), 0);
	/* XSAVEOPT always (XSAVE is one); XSAVEC, XGETBV 1 and XSAVES by XSAVEC */
	add(table, 0xd, 1, xsave->compact ? 0xf : 1, 0, 0, 0);
	for (unsigned i = 2; i < XSAVE_COMPONENTS; i++)
		if (xsave->mask & BIT(i))
			add(table, 0xd, i, xsave->size[i], xsave->offset[i],
				xsave->align[i] ? 2 : 0, 0);
}

static const struct cpu_model models[] = {
#define CPU_MODEL(name, vendor, signature, brand) { name, NESTED_##vendor, signature, brand },
#include "x86/cpu_models.def"
};

const char cpu_model_names[] = "host"
#define CPU_MODEL(name, vendor, signature, brand) ", " name
#include "x86/cpu_models.def"
	;

/* libc's is not for this folder: see tools/check_libc.sh */
static bool same_name(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

const struct cpu_model *cpu_model_find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(models); i++)
		if (same_name(models[i].name, name))
			return &models[i];
	return NULL;
}

enum nested_vendor cpuid_host_vendor(void)
{
	return host_is_intel() ? NESTED_INTEL : NESTED_AMD;
}

static u32 signature(const struct cpuid_table *table)
{
	if (table->model)
		return table->model->signature;
	if (table->intel == host_is_intel())
		return host_leaf(1, 0).reg[EAX];
	return table->intel ? XEON_SIGNATURE : ZEN_SIGNATURE;
}

static void add_vendor(struct cpuid_table *table, u32 leaf, u32 last)
{
	const char *name = table->intel ? "GenuineIntel" : "AuthenticAMD";
	u32 word[3];

	copy_bytes(word, name, sizeof(word));
	add(table, leaf, 0, last, word[0], word[2], word[1]);
}

static bool add_features(struct cpuid_table *table, enum nested_vendor nested, unsigned cpus)
{
	struct cpuid_row host = host_leaf(1, 0), host7 = host_leaf(7, 0), host71 = { 0 };
	bool avx = table->xsave.mask & XCR0_AVX, avx512 = table->xsave.mask & XCR0_AVX512;
	u32 ecx = F1_ECX_V2 | F1_ECX_EMULATED | (host.reg[ECX] & F1_ECX_HOST);
	u32 edx = F1_EDX_ALWAYS | (cpus > 1 ? BIT(28) : 0), ebx7, ecx7, edx7, eax71 = 0;

	if ((host.reg[ECX] & F1_ECX_V2) != F1_ECX_V2)
		return false;
	if (table->xsave.mask)
		ecx |= F1_ECX_XSAVE;
	if (avx)
		ecx |= host.reg[ECX] & F1_ECX_AVX;
	if (nested == NESTED_INTEL)
		ecx |= F1_ECX_VMX;
	add(table, 1, 0, signature(table), 8 << 8 | cpus << 16, ecx, edx);

	ebx7 = F7_EBX_EMULATED | (host7.reg[EBX] & F7_EBX_HOST);
	ecx7 = F7_ECX_EMULATED | (host7.reg[ECX] & F7_ECX_HOST);
	edx7 = host7.reg[EDX] & F7_EDX_FSRM;
	if (host7.reg[EAX])
		host71 = host_leaf(7, 1);
	if (avx) {
		eax71 |= host71.reg[EAX] & F7_1_EAX_AVX;
		ebx7 |= host7.reg[EBX] & F7_EBX_AVX;
		ecx7 |= host7.reg[ECX] & F7_ECX_AVX;
	}
	if (avx512) {
		eax71 |= host71.reg[EAX] & F7_1_EAX_AVX512;
		edx7 |= host7.reg[EDX] & F7_EDX_AVX512;
		ebx7 |= host7.reg[EBX] & F7_EBX_AVX512;
		ecx7 |= host7.reg[ECX] & F7_ECX_AVX512;
	}
	if (table->intel)
		edx7 |= F7_EDX_INTEL;
	add(table, 7, 0, eax71 ? 1 : 0, ebx7, ecx7, edx7);
	add(table, 7, 1, eax71, 0, 0, 0); /* so that others than 0 read as zero */
	return true;
}

/* Caches are what they are on no machine in particular: 32K, 32K, 512K, 16M. SDM2 leaf 4 and
 * APM3 leaf 8000001Dh share their form. */
static void add_caches(struct cpuid_table *table, u32 leaf, unsigned cpus)
{
	static const struct {
		u32 type, level, ways, sets;
		bool shared;
	} cache[] = {
		{ 1, 1, 8, 64, false },
		{ 2, 1, 8, 64, false },
		{ 3, 2, 8, 1024, false },
		{ 3, 3, 16, 16384, true },
	};
	u32 cores = leaf == 4 ? (cpus - 1) << 26 : 0;

	for (unsigned i = 0; i < ARRAY_SIZE(cache); i++)
		add(table, leaf, i,
			cache[i].type | cache[i].level << 5 | BIT(8) |
				(cache[i].shared ? (cpus - 1) << 14 : 0) | cores,
			(cache[i].ways - 1) << 22 | 63, cache[i].sets - 1, 0);
	add(table, leaf, ARRAY_SIZE(cache), 0, 0, 0, 0);
}

static unsigned bits_for(unsigned count)
{
	unsigned bits = 0;

	while (1u << bits < count)
		bits++;
	return bits;
}

static void add_topology(struct cpuid_table *table, unsigned cpus)
{
	add(table, 0xb, 0, 0, 1, 1 << 8, 0);
	add(table, 0xb, 1, bits_for(cpus), cpus, 2 << 8, 0);
	/* beyond the last level only ECX and EDX say something */
	add(table, 0xb, 2, 0, 0, 0, 0);
}

static void add_basic(struct cpuid_table *table, unsigned cpus)
{
	if (table->intel) {
		add(table, 2, 0, 0x00feff01, 0, 0, 0); /* see leaf 4 */
		add_caches(table, 4, cpus);
	}
	add(table, 6, 0, BIT(2), 0, 0, 0); /* the APIC timer never stops */
	add_topology(table, cpus);
	add_xsave(table);
	if (table->intel) {
		/* the crystal that feeds the local APIC's timer, SDM3 18.17.4 */
		add(table, 0x15, 0, LAPIC_TIMER_KHZ, table->tsc_khz, LAPIC_TIMER_KHZ * 1000, 0);
		add(table, 0x16, 0, table->tsc_khz / 1000, table->tsc_khz / 1000, 100, 0);
	}
	table->row[0].reg[EAX] = table->group[0].last;
}

/*
 * KVM's leaves, by which guests find the clock of pvclock.c, skip the delays after port accesses
 * and dare to use the x2APIC; and 40000010h, as VMware defined it: the frequencies of the TSC and
 * of the APIC timer in kHz.
 */
static void add_hypervisor(struct cpuid_table *table)
{
	u32 word[3];

	copy_bytes(word, "KVMKVMKVM\0\0", sizeof(word));
	add(table, HYPERVISOR, 0, HYPERVISOR + 0x10, word[0], word[1], word[2]);
	/* NOP_IO_DELAY, CLOCKSOURCE2, CLOCKSOURCE_STABLE */
	add(table, HYPERVISOR + 1, 0, BIT(1) | BIT(3) | BIT(24), 0, 0, 0);
	add(table, HYPERVISOR + 0x10, 0, table->tsc_khz, LAPIC_TIMER_KHZ, 0, 0);
}

/* By which a nestbox in the guest finds out how deep it is. */
static void add_nesting(struct cpuid_table *table)
{
	u32 level = MIN(nesting_here().level + 1, (u32)NESTING_LEVEL_MAX);

	add(table, NESTING_LEAF, 0, NESTING_LEVEL, NESTING_WORD0, NESTING_WORD1, NESTING_WORD2);
	add(table, NESTING_LEVEL, 0, 1, level, NESTING_SOFT, 0);
}

static void add_brand(struct cpuid_table *table)
{
	char brand[48] = "nestbox virtual CPU";
	u32 word[12];

	if (table->model)
		snprintf(brand, sizeof(brand), "%s", table->model->brand);
	copy_bytes(word, brand, sizeof(word));
	for (unsigned i = 0; i < 3; i++)
		add(table, EXTENDED + 2 + i, 0, word[i * 4], word[i * 4 + 1], word[i * 4 + 2],
			word[i * 4 + 3]);
}

/* APM3 E.4: leaves that only AMD has. */
static void add_extended_amd(struct cpuid_table *table, enum nested_vendor nested, unsigned cpus)
{
	add(table, EXTENDED + 5, 0, 0xff40ff40, 0xff40ff40, 32 << 24 | 8 << 16 | 1 << 8 | 64,
		32 << 24 | 8 << 16 | 1 << 8 | 64);
	add(table, EXTENDED + 6, 0, 0x48004200, 0x68004200, 512 << 16 | 6 << 12 | 1 << 8 | 64,
		32 << 18 | 8 << 12 | 1 << 8 | 64);
	if (nested == NESTED_AMD)
		/* NP LBRV SVML NRIPS TscRateMsr VmcbClean FlushByAsid DecodeAssists PauseFilter
		 * PauseFilterThreshold V_VMSAVE_VMLOAD VGIF */
		add(table, EXTENDED + 0xa, 0, 1, SVM_ASIDS, 0,
			MASK(7, 0) | BIT(10) | BIT(12) | BIT(15) | BIT(16));
	add_caches(table, EXTENDED + 0x1d, cpus);
	add(table, EXTENDED + 0x1e, 0, 0, 0, 0, 0);
	/* LFENCE serializes, null selectors clear the base, automatic IBRS, SRSO_NO; TSA_SQ_NO,
	 * TSA_L1_NO */
	add(table, EXTENDED + 0x21, 0, BIT(2) | BIT(6) | BIT(8) | BIT(29), 0, MASK(2, 1), 0);
}

static void add_extended(struct cpuid_table *table, enum nested_vendor nested, unsigned cpus)
{
	struct cpuid_row host = host_leaf(EXTENDED + 1, 0);
	u32 ecx = FX_ECX_V2 | (host.reg[ECX] & FX_ECX_HOST), edx = FX_EDX_EMULATED;
	u32 ebx8 = 0, ecx8 = 0;

	if (!table->intel) {
		ecx |= FX_ECX_AMD | (cpus > 1 ? FX_ECX_CMP_LEGACY : 0);
		if (!host_is_intel())
			ecx |= host.reg[ECX] & FX_ECX_AMD_HOST;
		/* leaf 1 stands in row 1 */
		edx |= (table->row[1].reg[EDX] & FX_EDX_AMD) | BIT(22);
		/* error pointers are always saved, SSB_NO, BTC_NO */
		ebx8 = BIT(2) | BIT(26) | BIT(29);
		ecx8 = bits_for(cpus) << 12 | (cpus - 1);
	}
	if (nested == NESTED_AMD)
		ecx |= FX_ECX_SVM;
	add_vendor(table, EXTENDED, 0);
	if (table->intel)
		zero_bytes(&table->row[table->rows - 1].reg[EBX], 3 * sizeof(u32));
	add(table, EXTENDED + 1, 0, table->intel ? 0 : signature(table), 0, ecx, edx);
	add_brand(table);
	if (table->intel)
		add(table, EXTENDED + 6, 0, 0, 0, 512 << 16 | 6 << 12 | 64, 0);
	add(table, EXTENDED + 7, 0, 0, 0, 0, host_leaf(EXTENDED + 7, 0).reg[EDX] & BIT(8));
	add(table, EXTENDED + 8, 0, VIRT_BITS << 8 | PHYS_BITS, ebx8, ecx8, 0);
	if (!table->intel)
		add_extended_amd(table, nested, cpus);
	table->row[table->group[2].first[0]].reg[EAX] = table->group[2].last;
}

/* The bits of control registers that come with features; others every CPU of ours has. */
static void find_valid_bits(struct cpuid_table *table)
{
	static const struct {
		u32 leaf;
		u8 reg, bit;
		u64 cr4, efer;
	} feature[] = {
		{ 1, EDX, 1, CR4_VME | CR4_PVI, 0 },
		{ 1, ECX, 5, CR4_VMXE, 0 },
		{ 1, ECX, 17, CR4_PCIDE, 0 },
		{ 1, ECX, 26, CR4_OSXSAVE, 0 },
		{ 7, EBX, 0, CR4_FSGSBASE, 0 },
		{ 7, EBX, 7, CR4_SMEP, 0 },
		{ 7, EBX, 20, CR4_SMAP, 0 },
		{ 7, ECX, 2, CR4_UMIP, 0 },
		{ EXTENDED + 1, ECX, 2, 0, EFER_SVME },
		{ EXTENDED + 0x21, EAX, 8, 0, EFER_AIBRSE }, /* nothing to do, APM2 3.1.7 */
	};

	table->cr4_valid = CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE |
			   CR4_OSFXSR | CR4_OSXMMEXCPT;
	table->efer_valid = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	for (unsigned i = 0; i < ARRAY_SIZE(feature); i++) {
		const struct cpuid_row *row = find_row(table, feature[i].leaf, 0);

		if (row && (row->reg[feature[i].reg] >> feature[i].bit & 1)) {
			table->cr4_valid |= feature[i].cr4;
			table->efer_valid |= feature[i].efer;
		}
	}
}

/* A pair of the host's TSC and its clock, read close together. */
static u64 sample(u64 *tsc)
{
	u64 best = UINT64_MAX, ns = 0;

	for (unsigned i = 0; i < 16; i++) {
		struct timespec time;
		u64 before = __builtin_ia32_rdtsc(), after;

		clock_gettime(CLOCK_MONOTONIC, &time);
		after = __builtin_ia32_rdtsc();
		if (after - before < best) {
			best = after - before;
			*tsc = before + best / 2;
			ns = (u64)time.tv_sec * 1000000000 + time.tv_nsec;
		}
	}
	return ns;
}

static u32 measure_tsc_khz(void)
{
	struct timespec pause = { .tv_nsec = 20000000 };
	u64 tsc[2], ns[2];

	ns[0] = sample(&tsc[0]);
	nanosleep(&pause, NULL);
	ns[1] = sample(&tsc[1]);
	return ((u128)(tsc[1] - tsc[0]) * 1000000 + (ns[1] - ns[0]) / 2) / (ns[1] - ns[0]);
}

int cpuid_table_new(struct cpuid_table **out, enum nested_vendor nested,
	const struct cpu_model *model, unsigned cpus)
{
	enum nested_vendor vendor = model ? model->vendor : nested ? nested : cpuid_host_vendor();
	struct cpuid_table *table = calloc(1, sizeof(*table));

	if (!table)
		return -ENOMEM;
	table->intel = vendor == NESTED_INTEL;
	table->host_intel = host_is_intel();
	table->host_zen5 = !table->host_intel && host_family() >= ZEN5_FAMILY;
	table->model = model;
	table->tsc_khz = measure_tsc_khz();
	for (unsigned i = 0; i < ARRAY_SIZE(table->group); i++) {
		static const u32 base[] = { 0, HYPERVISOR, EXTENDED, NESTING_LEAF };

		table->group[i].base = table->group[i].last = base[i];
		for (unsigned j = 0; j < GROUP_LEAVES; j++)
			table->group[i].first[j] = NO_ROW;
	}
	make_xsave(table);
	add_vendor(table, 0, 0);
	if (!add_features(table, nested, cpus)) {
		free(table);
		return -ENOTSUP;
	}
	add_basic(table, cpus);
	add_hypervisor(table);
	add_nesting(table);
	add_extended(table, nested, cpus);
	find_valid_bits(table);
	*out = table;
	return 0;
}

void cpuid_table_free(struct cpuid_table *table)
{
	free(table);
}
