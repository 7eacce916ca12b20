/* SPDX-License-Identifier: MIT */
/*
 * VMRUN of random VMCBs: a sound one of which fields, bits, bytes or whole areas are changed. It must
 * end with VMEXIT_INVALID exactly where a rule of the manual is broken, which a model of these rules
 * says (APM2 15.5.1, 15.20, 15.25.3, 15.25.4), else with an exit that an intercept asked for; and
 * whatever the guest does then must leave the host as it was.
 *
 * Words of the command line: seed=N, count=N, first=N. Entry n is a function of seed and n alone, so
 * seed=S first=N count=1 repeats what failed.
 *
 * A guest that may be in any state is kept in a box: nested paging shows it 64 KiB and nothing else,
 * and what would reach around that is intercepted: ports, MSRs, VMLOAD and VMSAVE, CLGI, and physical
 * interrupts, by which a timer ends guests that loop.
 */
#include "svm.h"

#define BOX_PAGES 16
#define BOX_SIZE (BOX_PAGES * PAGE)
#define BOX_PML4 0x1000
#define BOX_IDT 0x4000
#define BOX_GDT 0x5000
#define BOX_CODE 0x8000
#define BOX_HANDLER 0x9000
#define BOX_STACK 0xfff0
#define TIMER_VECTOR 0x45
#define TIMER_TICKS 100000 /* of the local APIC's clock */

static u8 *box, *box_as_new;
static union vmcb *sound, *before;
static u64 *nested_root;
static u64 seed, cr4_valid, efer_valid;
static unsigned phys_bits;
static struct {
	u64 runs, invalid, by_timer, faults;
} counts;

/* ---- chance ---- */

static u64 state;

/* xorshift64*, Vigna 2014 */
static u64 chance(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1dull;
}

static void begin_entry(u64 n)
{
	state = (seed + 1) * 0x9e3779b97f4a7c15ull ^ (n + 1) * 0xbf58476d1ce4e5b9ull;
	if (!state)
		state = 1;
	for (unsigned i = 0; i < 4; i++)
		chance();
}

/* Numbers that checks are about: few bits, all bits, a bit more or less than a power of two. */
static u64 odd_number(void)
{
	u64 bit = BIT(chance() % 64);

	switch (chance() % 8) {
	case 0:
		return 0;
	case 1:
		return ~0ull;
	case 2:
		return bit;
	case 3:
		return bit - 1;
	case 4:
		return ~bit;
	case 5:
		return BIT(phys_bits) - (chance() % 4) * PAGE;
	case 6:
		return chance() % BOX_SIZE;
	default:
		return chance();
	}
}

/* ---- the model ---- */

static bool pat_is_sound(u64 pat)
{
	for (; pat; pat >>= 8)
		if ((pat & 0xff) > 7 || (pat & 0xff) == 2 || (pat & 0xff) == 3)
			return false;
	return true;
}

static bool event_is_sound(u64 event)
{
	const u32 exceptions = 0x7e0ff | 1u << 8 | 1u << 19; /* 0-7, 13-18 */
	unsigned type = event >> 8 & 7, vector = event & 0xff;

	if (!(event & EVENT_INFO_VALID) || type == 0 || type == 2 || type == 4)
		return true;
	if (type != 3 || vector == 2 || vector > 31)
		return false;
	/* 10, 11, 12: TS, NP, SS; 15 is no exception; 30: SX */
	return (((exceptions & ~(1u << 15)) | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 30) >> vector) & 1;
}

static bool map_is_sound(u64 base, u64 size)
{
	base &= ~0xfffull;
	return base < BIT(phys_bits) && base + size - 1 < BIT(phys_bits);
}

/* APM2 15.5.1, in its order; NULL: may run. */
static const char *broken_rule(const union vmcb *v)
{
	bool paged = v->cr0 & CR0_PG, long_mode = paged && (v->efer & EFER_LME);

	if (!(v->efer & EFER_SVME))
		return "EFER.SVME";
	if ((v->cr0 & BIT(29)) && !(v->cr0 & BIT(30)))
		return "CR0.NW";
	if (v->cr0 >> 32)
		return "CR0";
	if (v->cr3 >> phys_bits)
		return "CR3";
	if (v->cr4 & ~cr4_valid)
		return "CR4";
	if (v->dr6 >> 32)
		return "DR6";
	if (v->dr7 >> 32)
		return "DR7";
	if (v->efer & ~efer_valid)
		return "EFER";
	if (long_mode && !(v->cr4 & CR4_PAE))
		return "long mode without PAE";
	if (long_mode && !(v->cr0 & CR0_PE))
		return "long mode without PE";
	if (long_mode && (v->cr4 & CR4_PAE) && (v->cs_attrib & 0x600) == 0x600)
		return "CS.L and CS.D";
	if (!(v->intercept_misc2 & 1))
		return "no VMRUN intercept";
	if (!map_is_sound(v->iopm_base_pa, 0x2001 + 1))
		return "IOPM";
	if (!map_is_sound(v->msrpm_base_pa, 0x2000 + 1))
		return "MSRPM";
	if (!v->guest_asid)
		return "ASID";
	if (!event_is_sound(v->event_inj))
		return "EVENTINJ";
	if ((v->nested_control & NESTED_NP_ENABLE) && v->n_cr3 >> phys_bits)
		return "nCR3";
	if ((v->nested_control & NESTED_NP_ENABLE) && !pat_is_sound(v->g_pat))
		return "G_PAT";
	return NULL;
}

static void learn_valid_bits(void)
{
	u32 id[4];

	cpuid(0x80000008, 0, id);
	phys_bits = id[0] & 0xff;
	cr4_valid = CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | BIT(6) | CR4_PGE | CR4_PCE | CR4_OSFXSR |
		    CR4_OSXMMEXCPT;
	cr4_valid |= cpu_has(1, 3, 1) ? CR4_VME | CR4_PVI : 0;
	cr4_valid |= cpu_has(1, 2, 17) ? CR4_PCIDE : 0;
	cr4_valid |= cpu_has(1, 2, 26) ? CR4_OSXSAVE : 0;
	cpuid(7, 0, id);
	cr4_valid |= id[1] & BIT(0) ? CR4_FSGSBASE : 0;
	cr4_valid |= id[1] & BIT(7) ? CR4_SMEP : 0;
	cr4_valid |= id[1] & BIT(20) ? CR4_SMAP : 0;
	cr4_valid |= id[2] & BIT(2) ? CR4_UMIP : 0;
	efer_valid = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_SVME;
	efer_valid |= cpu_has(0x80000021, 0, 8) ? BIT(21) : 0;
}

/* ---- the box ---- */

static void put64(u32 at, u64 value)
{
	memcpy(box_as_new + at, &value, 8);
}

static void make_box(void)
{
	u64 *pdpt = guest_pages(1), *pd = guest_pages(1), *pt = guest_pages(1);

	box = guest_pages(BOX_PAGES);
	box_as_new = guest_pages(BOX_PAGES);
	nested_root = guest_pages(1);
	nested_root[0] = (u64)pdpt | PTE_P | PTE_W | PTE_U;
	pdpt[0] = (u64)pd | PTE_P | PTE_W | PTE_U;
	pd[0] = (u64)pt | PTE_P | PTE_W | PTE_U;
	for (unsigned i = 0; i < BOX_PAGES; i++)
		pt[i] = (u64)(box + i * PAGE) | PTE_P | PTE_W | PTE_U;
	/* the guest's own tables: its 64 KiB to themselves */
	put64(BOX_PML4, (BOX_PML4 + PAGE) | PTE_P | PTE_W | PTE_U);
	put64(BOX_PML4 + PAGE, (BOX_PML4 + 2 * PAGE) | PTE_P | PTE_W | PTE_U);
	put64(BOX_PML4 + 2 * PAGE, 0x6000 | PTE_P | PTE_W | PTE_U);
	for (unsigned i = 0; i < BOX_PAGES; i++)
		put64(0x6000 + 8 * i, i * PAGE | PTE_P | PTE_W | PTE_U);
	memcpy(box_as_new + BOX_GDT, guest_gdt, 512);
	/* every gate leads out */
	memcpy(box_as_new + BOX_HANDLER, "\x0f\x01\xd9", 3);
	for (unsigned i = 0; i < 256; i++) {
		put64(BOX_IDT + 16 * i, (u64)BOX_HANDLER | SEL_CODE64 << 16 | 0x8eull << 40);
		put64(BOX_IDT + 16 * i + 8, 0);
	}
}

/* Instructions that an intercept, a mode or a page may stop, then VMMCALL. */
static const u8 snippets[][8] = {
	{ 0x0f, 0xa2 }, { 0x0f, 0x31 }, { 0x0f, 0x32 }, { 0x0f, 0x30 }, { 0xf4 }, { 0xcd, 0x41 }, { 0xcc },
	{ 0xec }, { 0xee }, { 0x0f, 0x20, 0xc0 }, { 0x0f, 0x22, 0xc0 }, { 0x0f, 0x20, 0xe0 },
	{ 0x0f, 0x22, 0xe0 }, { 0x0f, 0x22, 0xd8 }, { 0x0f, 0x23, 0xf8 }, { 0x0f, 0x21, 0xf8 },
	{ 0x0f, 0x01, 0xd8 }, { 0x0f, 0x01, 0xda }, { 0x0f, 0x01, 0xdb }, { 0x0f, 0x01, 0xdc },
	{ 0x0f, 0x01, 0xdd }, { 0x0f, 0x01, 0xdf }, { 0xfb, 0x90 }, { 0xfa }, { 0x9c, 0x58 }, { 0xeb, 0xfe },
	{ 0x0f, 0x0b }, { 0x48, 0xcf }, { 0x0f, 0x05 }, { 0x0f, 0x07 }, { 0x0f, 0x09 }, { 0x0f, 0x06 },
	{ 0xf3, 0x90 }, { 0x0f, 0x01, 0xf9 }, { 0x44, 0x0f, 0x20, 0xc0 }, { 0x44, 0x0f, 0x22, 0xc0 },
	{ 0x0f, 0x00, 0xd8 }, { 0x0f, 0x00, 0xd0 }, { 0x0f, 0x01, 0xf8 }, { 0x8e, 0xd0 }, { 0xf1 },
};

static void fill_box(void)
{
	u8 *code = box + BOX_CODE;

	memcpy(box, box_as_new, BOX_SIZE);
	if (chance() & 1) {
		for (unsigned i = 0; i < 256; i += 8) {
			u64 bytes = chance();

			memcpy(code + i, &bytes, 8);
		}
		return;
	}
	for (unsigned n = chance() % 6; n; n--) {
		const u8 *snippet = snippets[chance() % ARRAY_SIZE(snippets)];
		unsigned len = 8;

		while (len && !snippet[len - 1])
			len--;
		memcpy(code, snippet, len);
		code += len;
	}
	memcpy(code, "\x0f\x01\xd9", 3);
}

/* ---- VMCBs ---- */

static void make_sound(void)
{
	svm_fresh();
	vmcb->cr3 = BOX_PML4;
	vmcb->gdtr_base = BOX_GDT;
	vmcb->idtr_base = BOX_IDT;
	vmcb->rip = BOX_CODE;
	vmcb->rsp = BOX_STACK;
	vmcb->nested_control = NESTED_NP_ENABLE;
	vmcb->n_cr3 = (u64)nested_root;
	memset(svm_iopm, 0xff, 3 * PAGE);
	memset(svm_msrpm, 0xff, 2 * PAGE);
	memcpy(sound, vmcb, PAGE);
}

/* Fields that checks look at or that change what runs, by offset and size. */
static const struct {
	u16 offset;
	u8 size;
} fields[] = {
#define VMCB_FIELD(offset, type, name, class) { offset, sizeof(type) },
#define VMCB_ARRAY(offset, type, name, count, class)
#include "x86/vmcb.def"
};

static void change(void)
{
	unsigned at = chance() % ARRAY_SIZE(fields), offset = fields[at].offset, size = fields[at].size;
	u64 value = odd_number();

	switch (chance() % 8) {
	case 0: /* any byte of the areas */
		vmcb->bytes[chance() % 0x6a0] = value;
		break;
	case 1: /* an event */
		vmcb->event_inj = EVENT_INFO_VALID | (value & 0xffffffff00000fffull);
		break;
	case 2:
		memcpy(vmcb->bytes + offset, &value, size);
		break;
	default: /* a bit */
		offset += chance() % size;
		vmcb->bytes[offset] ^= 1 << chance() % 8;
		break;
	}
}

static void fill(unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i += 8) {
		u64 value = odd_number();

		memcpy(vmcb->bytes + i, &value, 8);
	}
}

/* What keeps the guest in its box, whatever else is in the VMCB. */
static void keep_in_box(void)
{
	static const u8 always[] = { SVM_EXIT_IOIO, SVM_EXIT_MSR, SVM_EXIT_HLT, SVM_EXIT_SHUTDOWN,
		SVM_EXIT_INTR, SVM_EXIT_INIT, SVM_EXIT_VMLOAD, SVM_EXIT_VMSAVE, SVM_EXIT_CLGI,
		SVM_EXIT_XSETBV };

	for (unsigned i = 0; i < ARRAY_SIZE(always); i++)
		svm_intercept(always[i], true);
	vmcb->vintr |= VINTR_MASKING;
	/* what is not sound about these fails the entry, what is would open the box */
	if (vmcb->iopm_base_pa >> phys_bits == 0 && map_is_sound(vmcb->iopm_base_pa, 0x2002))
		vmcb->iopm_base_pa = (u64)svm_iopm | (vmcb->iopm_base_pa & 0xfff);
	if (vmcb->msrpm_base_pa >> phys_bits == 0 && map_is_sound(vmcb->msrpm_base_pa, 0x2001))
		vmcb->msrpm_base_pa = (u64)svm_msrpm | (vmcb->msrpm_base_pa & 0xfff);
	if (vmcb->n_cr3 >> phys_bits == 0)
		vmcb->n_cr3 = (u64)nested_root;
	if (!broken_rule(vmcb))
		vmcb->nested_control |= NESTED_NP_ENABLE;
}

static void make_vmcb(void)
{
	memcpy(vmcb, sound, PAGE);
	switch (chance() % 16) {
	case 0:
		fill(0, 0x400);
		break;
	case 1:
		fill(0x400, 0x6a0);
		break;
	case 2:
		fill(0, 0x6a0);
		break;
	default:
		for (unsigned n = chance() % 8; n; n--)
			change();
		break;
	}
	if (chance() & 1)
		for (unsigned i = 0; i < 24; i++)
			vmcb->bytes[i] |= chance() & chance();
	/* most of what is wholly random breaks several rules; some of it shall run */
	if (chance() & 1) {
		vmcb->efer = (vmcb->efer & efer_valid) | EFER_SVME;
		vmcb->cr4 &= cr4_valid;
		vmcb->cr0 = (u32)vmcb->cr0 & ~(u32)BIT(29);
		vmcb->dr6 = (u32)vmcb->dr6;
		vmcb->dr7 = (u32)vmcb->dr7;
		vmcb->intercept_misc2 |= 1;
	}
	keep_in_box();
	vmcb->clean = 0;
}

/* ---- entries ---- */

static void on_timer(struct frame *frame)
{
	apic_eoi();
}

struct host_state {
	u64 cr0, cr3, cr4, efer, pat, rflags;
	u16 selectors[4];
	struct table gdt, idt;
};

static void look_at_host(struct host_state *host)
{
	memset(host, 0, sizeof(*host));
	host->cr0 = read_cr0();
	host->cr3 = read_cr3();
	host->cr4 = read_cr4();
	host->efer = rdmsr(MSR_EFER);
	host->pat = rdmsr(MSR_PAT);
	host->rflags = read_rflags() & ~0x8d5ull;
	__asm__ volatile("mov %%cs, %0" : "=r"(host->selectors[0]));
	__asm__ volatile("mov %%ss, %0" : "=r"(host->selectors[1]));
	__asm__ volatile("mov %%ds, %0" : "=r"(host->selectors[2]));
	__asm__ volatile("mov %%es, %0" : "=r"(host->selectors[3]));
	__asm__ volatile("sgdt %0" : "=m"(host->gdt));
	__asm__ volatile("sidt %0" : "=m"(host->idt));
}

/* The exit is one that this VMCB asked for. */
static bool exit_is_sound(u64 code)
{
	if (code == SVM_EXIT_NPF)
		return before->nested_control & NESTED_NP_ENABLE;
	if (code >= SVM_INTERCEPT_BITS)
		return false;
	return ((u32 *)before->bytes)[code / 32] >> code % 32 & 1;
}

static bool enter(u64 n, const struct host_state *host, void *host_vmcb, bool again)
{
	struct host_state now;
	const char *broken;
	u64 code;
	bool good = true;

	memcpy(before, vmcb, PAGE);
	broken = broken_rule(before);
	svm_host_if = true;
	/* what an earlier timer has left must not end this guest */
	sti();
	__asm__ volatile("nop");
	cli();
	apic_write(0x380, TIMER_TICKS);
	__asm__ volatile("vmsave %%rax" : : "a"(host_vmcb) : "memory");
	code = svm_run();
	__asm__ volatile("vmload %%rax" : : "a"(host_vmcb) : "memory");
	apic_write(0x380, 0);
	look_at_host(&now);

	counts.runs++;
	if (broken) {
		counts.invalid++;
		good &= check_equal(code, SVM_EXIT_INVALID, "%llu: %s", (unsigned long long)n, broken);
		good &= check(!memcmp(vmcb->bytes + 0x400, before->bytes + 0x400, 0xc00),
			"%llu: %s: the state stays", (unsigned long long)n, broken);
	} else {
		counts.by_timer += code == SVM_EXIT_INTR;
		counts.faults += code == SVM_EXIT_NPF || code == SVM_EXIT_SHUTDOWN;
		good &= check(exit_is_sound(code), "%llu: exit 0x%llx that nobody asked for",
			(unsigned long long)n, (unsigned long long)code);
	}
	good &= check(!memcmp(vmcb->bytes, before->bytes, 0x60), "%llu: the controls stay",
		(unsigned long long)n);
	good &= check(!(vmcb->event_inj & EVENT_INFO_VALID), "%llu: EVENTINJ.V is clear",
		(unsigned long long)n);
	good &= check(!memcmp(host, &now, sizeof(now)), "%llu: the host is as it was",
		(unsigned long long)n);
	good &= check_equal(read_dr7(), 0x400, "%llu: DR7", (unsigned long long)n);
	if (!broken && good && !again && chance() % 4 == 0) {
		/* as a hypervisor goes on that changed nothing, APM2 15.15 */
		vmcb->clean = ~0u;
		return enter(n, host, host_vmcb, true);
	}
	return good;
}

static bool entry(u64 n, const struct host_state *host, void *host_vmcb)
{
	begin_entry(n);
	fill_box();
	make_vmcb();
	for (unsigned i = 0; i < sizeof(svm_regs) / 8; i++)
		((u64 *)&svm_regs)[i] = odd_number();
	return enter(n, host, host_vmcb, false);
}

void guest_main(void)
{
	u64 first = guest_option_number("first", 0), count = guest_option_number("count", 50000);
	struct host_state host;
	void *host_vmcb;

	seed = guest_option_number("seed", 1);
	guest_print("seed=%llu first=%llu count=%llu\n", (unsigned long long)seed,
		(unsigned long long)first, (unsigned long long)count);
	if (!svm_setup() || !svm_has(SVM_NPT))
		return;
	learn_valid_bits();
	sound = guest_pages(1);
	before = guest_pages(1);
	host_vmcb = guest_pages(1);
	make_box();
	make_sound();
	apic_enable();
	guest_set_handler(TIMER_VECTOR, on_timer);
	apic_write(0x3e0, 0xb); /* divide by 1 */
	apic_write(0x320, TIMER_VECTOR);
	write_dr7(0x400);
	look_at_host(&host);
	for (u64 n = first; n < first + count; n++) {
		if (!entry(n, &host, host_vmcb)) {
			guest_print("to repeat it: seed=%llu first=%llu count=1\n",
				(unsigned long long)seed, (unsigned long long)n);
			break;
		}
		if ((n - first) % 100000 == 99999)
			guest_print("%llu entries\n", (unsigned long long)(n - first + 1));
	}
	guest_print("%llu entries, %llu invalid, %llu ended by the timer, %llu by faults\n",
		(unsigned long long)counts.runs, (unsigned long long)counts.invalid,
		(unsigned long long)counts.by_timer, (unsigned long long)counts.faults);
	check(counts.invalid < counts.runs, "some may run");
}
