// SPDX-License-Identifier: MIT
/*
 * APIC virtualization, SDM3 chapter 30: the virtual-APIC page, accesses to it through CR8, the
 * APIC-access page and the x2APIC MSRs, virtual interrupts and posted ones.
 *
 * What a write brings about beyond the page (APIC-write emulation, trap-like exits) waits in
 * vmx->apic_exits for the end of the instruction. IPI virtualization and user interrupts (30.1.6,
 * 30.2.3) are not offered.
 */
#include "virt/vmx.h"

/* Offsets in the virtual-APIC page, 30.1.1. */
enum {
	VTPR = 0x080,
	VPPR = 0x0a0,
	VEOI = 0x0b0,
	VISR = 0x100,
	VIRR = 0x200,
	VICR_LO = 0x300,
	VICR_HI = 0x310,
	SELF_IPI = 0x3f0,
};

/* vmx->apic_exits */
enum {
	WRITE_TO_EMULATE = BIT(0), /* of apic_write_len bytes at apic_write_offset, 30.4.3.2 */
	EXIT_TPR_THRESHOLD = BIT(1),
	EXIT_EOI = BIT(2),         /* of eoi_vector */
	EXIT_APIC_WRITE = BIT(3),  /* at apic_write_offset */
};

/* ---- the page; where there is no RAM it reads as ones and forgets what is written ---- */

static u32 load(const struct vmx *vmx, u32 offset)
{
	if (!vmx->virtual_apic)
		return ~0u;
	return __atomic_load_n((const u32 *)(vmx->virtual_apic + offset), __ATOMIC_RELAXED);
}

static void written(struct cpu *cpu, const u8 *host, unsigned len)
{
	vmx_page_written(cpu, host - space_ram(cpu->memory)->host, len);
}

static void store(struct cpu *cpu, u32 offset, u32 value)
{
	u8 *page = vmx_of(cpu)->virtual_apic;

	if (!page)
		return;
	__atomic_store_n((u32 *)(page + offset), value, __ATOMIC_RELAXED);
	written(cpu, page + offset, sizeof(value));
}

/* Where a vector's bit is in VISR or VIRR. */
static u32 word_of(u32 base, u8 vector)
{
	return base + (vector >> 5) * 0x10;
}

static void set_vector(struct cpu *cpu, u32 base, u8 vector)
{
	u32 word = word_of(base, vector);

	store(cpu, word, load(vmx_of(cpu), word) | BIT(vector & 31));
}

static void clear_vector(struct cpu *cpu, u32 base, u8 vector)
{
	u32 word = word_of(base, vector);

	store(cpu, word, load(vmx_of(cpu), word) & ~(u32)BIT(vector & 31));
}

/* The highest vector whose bit is set; 0: none is. */
static u8 highest_vector(const struct vmx *vmx, u32 base)
{
	for (unsigned i = 8; i-- > 0;) {
		u32 bits = load(vmx, base + i * 0x10);

		if (bits)
			return i * 32 + 31 - __builtin_clz(bits);
	}
	return 0;
}

/* ---- what is virtualized, 30.1.2 to 30.1.5, and virtual interrupts, 30.2 ---- */

static bool delivers_interrupts(const struct vmx *vmx)
{
	return vmx->secondary & SEC_VIRTUAL_INTERRUPTS;
}

static u8 priority_class(u32 value)
{
	return value >> 4 & 0xf;
}

/* 30.2.1 */
static void evaluate(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);

	vmx->virtual_interrupt = !(vmx->vmcs.cpu_controls & PROC_INTERRUPT_WINDOW) &&
				 priority_class(vmx->rvi) > priority_class(load(vmx, VPPR));
	vmx_events_changed(cpu);
}

/* 30.1.3 */
static void virtualize_ppr(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);
	u32 tpr = load(vmx, VTPR);

	store(cpu, VPPR,
		priority_class(tpr) >= priority_class(vmx->svi) ? tpr & 0xff : vmx->svi & 0xf0);
}

static bool below_threshold(const struct vmx *vmx)
{
	return priority_class(load(vmx, VTPR)) < (vmx->vmcs.tpr_threshold & 0xf);
}

/* 30.1.2 */
static void virtualize_tpr(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);

	if (delivers_interrupts(vmx)) {
		virtualize_ppr(cpu);
		evaluate(cpu);
	} else if (below_threshold(vmx)) {
		vmx->apic_exits |= EXIT_TPR_THRESHOLD;
		vmx_events_changed(cpu);
	}
}

static bool eoi_exits(const struct vmcs *vmcs, u8 vector)
{
	const u64 bitmap[] = { vmcs->eoi_exit_bitmap0, vmcs->eoi_exit_bitmap1,
		vmcs->eoi_exit_bitmap2, vmcs->eoi_exit_bitmap3 };

	return bitmap[vector / 64] & BIT(vector % 64);
}

/* 30.1.4 */
static void virtualize_eoi(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);
	u8 vector = vmx->svi;

	clear_vector(cpu, VISR, vector);
	vmx->svi = highest_vector(vmx, VISR);
	virtualize_ppr(cpu);
	if (eoi_exits(&vmx->vmcs, vector)) {
		vmx->eoi_vector = vector;
		vmx->apic_exits |= EXIT_EOI;
		vmx_events_changed(cpu);
	} else {
		evaluate(cpu);
	}
}

/* 30.1.5 */
static void virtualize_self_ipi(struct cpu *cpu, u8 vector)
{
	struct vmx *vmx = vmx_of(cpu);

	set_vector(cpu, VIRR, vector);
	vmx->rvi = MAX(vmx->rvi, vector);
	evaluate(cpu);
}

bool vmx_apic_interrupt_ready(const struct cpu *cpu)
{
	return vmx_of(cpu)->virtual_interrupt;
}

u8 vmx_apic_deliver(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);
	u8 vector = vmx->rvi;

	set_vector(cpu, VISR, vector);
	vmx->svi = vector;
	store(cpu, VPPR, vector & 0xf0);
	clear_vector(cpu, VIRR, vector);
	vmx->rvi = highest_vector(vmx, VIRR);
	vmx->virtual_interrupt = false;
	vmx_events_changed(cpu);
	return vector;
}

/* ---- entry and exit ---- */

void vmx_apic_enter(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);
	u64 activity = vmx->vmcs.guest_activity;

	vmx->apic_exits = 0;
	vmx->virtual_interrupt = false;
	if (!(vmx->vmcs.cpu_controls & PROC_TPR_SHADOW))
		return;
	if (delivers_interrupts(vmx)) {
		/* SDM3 27.3.2.5 */
		vmx->rvi = vmx->vmcs.guest_interrupt_status;
		vmx->svi = vmx->vmcs.guest_interrupt_status >> 8;
		virtualize_ppr(cpu);
		evaluate(cpu);
	} else if ((vmx->secondary & SEC_APIC_ACCESSES) && activity != ACTIVITY_SHUTDOWN &&
		   activity != ACTIVITY_WAIT_SIPI && below_threshold(vmx)) {
		/* SDM3 27.7.7 */
		vmx->apic_exits = EXIT_TPR_THRESHOLD;
		vmx_events_changed(cpu);
	}
}

void vmx_apic_leave(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);

	if (delivers_interrupts(vmx))
		vmx->vmcs.guest_interrupt_status = vmx->rvi | vmx->svi << 8;
	/* 30.4.3.2: an operation that ends in an exit is not emulated further */
	vmx->apic_exits = 0;
	vmx->virtual_interrupt = false;
}

/* ---- CR8, 30.3 ---- */

u64 vmx_apic_read_cr8(struct cpu *cpu)
{
	return priority_class(load(vmx_of(cpu), VTPR));
}

void vmx_apic_write_cr8(struct cpu *cpu, u64 value)
{
	store(cpu, VTPR, (value & 0xf) << 4);
	virtualize_tpr(cpu);
}

/* ---- the APIC-access page, 30.4 ---- */

/* Registers by the sixteenth of the page that they begin. */
#define REGISTERS_WRITTEN \
	(BIT(0x02) | BIT(0x08) | BIT(0x0b) | MASK(0x0f, 0x0d) | BIT(0x28) | MASK(0x38, 0x30) | \
		BIT(0x3e))
#define REGISTERS_READ (REGISTERS_WRITTEN | BIT(0x03) | MASK(0x28, 0x10))

/* 30.4.2 and 30.4.3.1 from where they say "if none of the above". */
static bool is_virtual_register(const struct vmx *vmx, u32 offset, u64 registers)
{
	if (offset == VTPR)
		return true;
	if (delivers_interrupts(vmx) && (offset == VEOI || offset == VICR_LO))
		return true;
	return (vmx->secondary & SEC_APIC_REGISTERS) && offset < 0x400 &&
	       (registers & BIT(offset >> 4));
}

bool vmx_apic_virtualized(struct cpu *cpu, u32 offset, unsigned len, unsigned access)
{
	const struct vmx *vmx = vmx_of(cpu);
	bool writes = access & ACCESS_WRITE;
	bool reads = !writes || (access & ACCESS_MODIFY);

	if (!(vmx->vmcs.cpu_controls & PROC_TPR_SHADOW) || (access & ACCESS_EXEC))
		return false;
	/* this bars what is larger than 32 bits as well */
	if ((offset & 0xf) + len > 4)
		return false;
	/* the operation has already written */
	if ((vmx->apic_exits & WRITE_TO_EMULATE) &&
		(reads || offset != vmx->apic_write_offset || len != vmx->apic_write_len))
		return false;
	return (!reads || is_virtual_register(vmx, offset, REGISTERS_READ)) &&
	       (!writes || is_virtual_register(vmx, offset, REGISTERS_WRITTEN));
}

void vmx_apic_read(struct cpu *cpu, u32 offset, void *to, unsigned len)
{
	u32 value = load(vmx_of(cpu), offset & ~3u) >> (offset & 3) * 8;

	copy_bytes(to, &value, len);
}

void vmx_apic_write(struct cpu *cpu, u32 offset, const void *from, unsigned len)
{
	struct vmx *vmx = vmx_of(cpu);
	u32 value = load(vmx, offset & ~3u);

	copy_bytes((u8 *)&value + (offset & 3), from, len);
	store(cpu, offset & ~3u, value);
	vmx->apic_write_offset = offset;
	vmx->apic_write_len = len;
	vmx->apic_exits |= WRITE_TO_EMULATE;
	vmx_events_changed(cpu);
}

/* Exit qualification of APIC-access exits, SDM3 table 28-6. */
u64 vmx_apic_access_qualification(const struct cpu *cpu, u64 gpa, unsigned access, bool in_walk)
{
	enum { READ, WRITE, FETCH, LINEAR_EVENT, PHYSICAL_EVENT = 10, PHYSICAL_INSTRUCTION = 15 };
	unsigned type;

	if (in_walk)
		return (u64)(cpu->event.valid ? PHYSICAL_EVENT : PHYSICAL_INSTRUCTION) << 12;
	if (cpu->event.valid)
		type = LINEAR_EVENT;
	else if (access & ACCESS_EXEC)
		type = FETCH;
	else
		type = access & ACCESS_WRITE ? WRITE : READ;
	return (gpa & ~PAGE_MASK) | (u64)type << 12;
}

static void exit_for_write(struct cpu *cpu, u32 offset)
{
	struct vmx *vmx = vmx_of(cpu);

	vmx->apic_write_offset = offset;
	vmx->apic_exits |= EXIT_APIC_WRITE;
	vmx_events_changed(cpu);
}

/* 30.4.3.2: whether ICR asks for a fixed edge-triggered interrupt to self that may be sent. */
static bool is_self_ipi(u32 icr)
{
	const u32 reserved = MASK(31, 20) | MASK(17, 16) | BIT(13) | BIT(12);
	const u32 shorthand = MASK(19, 18), self = BIT(18), level = BIT(15), mode = MASK(10, 8);

	return !(icr & (reserved | level | mode)) && (icr & shorthand) == self && (icr & 0xf0);
}

/* 30.4.3.2 */
static void emulate_write(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);
	u32 offset = vmx->apic_write_offset;

	vmx->apic_exits &= ~WRITE_TO_EMULATE;
	if (offset == VTPR) {
		store(cpu, VTPR, load(vmx, VTPR) & 0xff);
		virtualize_tpr(cpu);
	} else if (offset == VEOI && delivers_interrupts(vmx)) {
		store(cpu, VEOI, 0);
		virtualize_eoi(cpu);
	} else if (offset == VICR_LO && delivers_interrupts(vmx)) {
		u32 icr = load(vmx, VICR_LO);

		if (is_self_ipi(icr))
			virtualize_self_ipi(cpu, icr);
		else
			exit_for_write(cpu, offset);
	} else if ((offset & ~3u) == VICR_HI) {
		store(cpu, VICR_HI, load(vmx, VICR_HI) & 0xff000000);
	} else {
		exit_for_write(cpu, offset);
	}
}

bool vmx_apic_poll_traps(struct cpu *cpu)
{
	struct vmx *vmx = vmx_of(cpu);

	if (likely(!vmx->apic_exits))
		return false;
	if (vmx->apic_exits & WRITE_TO_EMULATE)
		emulate_write(cpu);
	/* an operation makes one of these at most */
	if (vmx->apic_exits & EXIT_TPR_THRESHOLD)
		vmx_exit_plain(cpu, VMX_EXIT_TPR_BELOW_THRESHOLD, 0);
	else if (vmx->apic_exits & EXIT_EOI)
		vmx_exit_plain(cpu, VMX_EXIT_VIRTUALIZED_EOI, vmx->eoi_vector);
	else if (vmx->apic_exits & EXIT_APIC_WRITE)
		vmx_exit_plain(cpu, VMX_EXIT_APIC_WRITE, vmx->apic_write_offset);
	else
		return false;
	return true;
}

/* ---- MSRs 800h to 8FFh, 30.5 ---- */

#define MSR_X2APIC_TPR 0x808
#define MSR_X2APIC_EOI 0x80b
#define MSR_X2APIC_SELF_IPI 0x83f

static u32 page_offset(u32 msr)
{
	return (msr & 0xff) << 4;
}

int vmx_apic_read_msr(struct cpu *cpu, u32 msr, u64 *value)
{
	const struct vmx *vmx = vmx_of(cpu);
	u32 offset = page_offset(msr);

	if (msr != MSR_X2APIC_TPR && !(vmx->secondary & SEC_APIC_REGISTERS))
		return 1;
	*value = load(vmx, offset) | (u64)load(vmx, offset + 4) << 32;
	return 0;
}

int vmx_apic_write_msr(struct cpu *cpu, u32 msr, u64 value)
{
	u64 valid = msr == MSR_X2APIC_EOI ? 0 : MASK(7, 0);
	u32 offset = page_offset(msr);
	bool interrupts = msr == MSR_X2APIC_EOI || msr == MSR_X2APIC_SELF_IPI;

	if (msr != MSR_X2APIC_TPR && !(interrupts && delivers_interrupts(vmx_of(cpu))))
		return 1;
	if (value & ~valid)
		return -1;
	store(cpu, offset, value);
	store(cpu, offset + 4, value >> 32);
	if (msr == MSR_X2APIC_TPR)
		virtualize_tpr(cpu);
	else if (msr == MSR_X2APIC_EOI)
		virtualize_eoi(cpu);
	else if (value & 0xf0)
		virtualize_self_ipi(cpu, value);
	else
		exit_for_write(cpu, SELF_IPI);
	return 0;
}

/* ---- posted interrupts, 30.6 ---- */

#define OUTSTANDING_NOTIFICATION BIT(0) /* of the descriptor's word 4 */

/* The interrupt is done with as far as the real local APIC goes. */
static void end_of_interrupt(struct cpu *cpu)
{
	cpu_park_fpu(cpu);
	machine_lock(cpu->machine);
	cpu->intc_ops->eoi(cpu->intc);
	machine_unlock(cpu->machine);
}

/* Another CPU may post at any time: each word is taken and emptied at once. */
static u64 take_requests(struct cpu *cpu, u64 *words, unsigned word)
{
	u64 requests;

	if (!words)
		return ~0ull;
	requests = __atomic_exchange_n(&words[word], 0, __ATOMIC_SEQ_CST);
	written(cpu, (u8 *)&words[word], sizeof(u64));
	return requests;
}

bool vmx_apic_posted(struct cpu *cpu, u8 vector)
{
	struct vmx *vmx = vmx_of(cpu);
	u64 *descriptor = (u64 *)vmx->posted;

	if (!(vmx->vmcs.pin_controls & PIN_POSTED_INTERRUPTS) ||
		vector != (u8)vmx->vmcs.posted_interrupt_vector)
		return false;
	if (descriptor) {
		__atomic_fetch_and(&descriptor[4], ~OUTSTANDING_NOTIFICATION, __ATOMIC_SEQ_CST);
		written(cpu, (u8 *)&descriptor[4], sizeof(u64));
	}
	end_of_interrupt(cpu);
	for (unsigned i = 0; i < 4; i++) {
		u64 requests = take_requests(cpu, descriptor, i);
		u32 low = word_of(VIRR, i * 64), high = word_of(VIRR, i * 64 + 32);

		if (!requests)
			continue;
		store(cpu, low, load(vmx, low) | (u32)requests);
		store(cpu, high, load(vmx, high) | (u32)(requests >> 32));
		vmx->rvi = MAX(vmx->rvi, i * 64 + 63 - __builtin_clzll(requests));
	}
	evaluate(cpu);
	return true;
}
