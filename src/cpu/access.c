/* SPDX-License-Identifier: MIT */
/*
 * Memory as C reads and writes it: by linear address through the current context's TLB, or through
 * a segment. Plain RAM in one page is the short way; page crossings, devices, ROM and pages whose
 * writes are watched are not. A write that crosses pages faults before its first byte.
 */
#include "cpu/handlers.h"
#include "cpu/tlb.h"
#include "mem/dirty.h"

/* What a thread that makes an implicit access has to come back to. */
struct privilege_save {
	struct context *context;
	u64 rflags_system;
	u8 cpl;
};

static inline void context_ready(struct cpu *cpu)
{
	if (unlikely(cpu->context_stale))
		tlb_select(cpu);
}

/* Implicit accesses are the supervisor's, SMAP in force whatever AC says, APM2 5.6.6. */
static inline bool needs_system_context(const struct cpu *cpu, unsigned access)
{
	return (access & ACCESS_SYSTEM) &&
	       (cpu->context->privilege == PRIV_USER ||
		       (cpu->context->privilege == PRIV_SUPERVISOR_AC && (cpu->cr4 & CR4_SMAP)));
}

static void system_context_enter(struct cpu *cpu, struct privilege_save *save)
{
	*save = (struct privilege_save){ cpu->context, cpu->rflags_system, cpu->cpl };
	cpu->cpl = 0;
	cpu->rflags_system &= ~RFLAGS_AC;
	tlb_select(cpu);
}

/* The old context is the last but one used, so it still lives. */
static void system_context_leave(struct cpu *cpu, const struct privilege_save *save)
{
	cpu->cpl = save->cpl;
	cpu->rflags_system = save->rflags_system;
	cpu->context = save->context;
}

/* The address behind `linear` + n: outside 64-bit mode an operand wraps at 4 GiB. */
static inline u64 linear_add(const struct cpu *cpu, u64 linear, u64 n, unsigned access)
{
	bool wide = cpu_long64(cpu) || ((access & ACCESS_SYSTEM) && cpu_lma(cpu));

	return wide ? linear + n : (u32)(linear + n);
}

static inline unsigned left_in_page(u64 linear, u64 len)
{
	u64 left = PAGE_SIZE - (linear & ~PAGE_MASK);

	return len < left ? len : left;
}

/* Devices are accessed by the largest powers of two that the length is made of. */
static unsigned piece(unsigned len)
{
	return len >= 8 ? 8 : len >= 4 ? 4 : len >= 2 ? 2 : 1;
}

static void device_read(struct cpu *cpu, u64 gpa, u8 *to, unsigned len)
{
	while (len) {
		unsigned n = piece(len);
		u64 value = cpu_io_read(cpu, cpu->memory, gpa, n);

		copy_bytes(to, &value, n);
		gpa += n;
		to += n;
		len -= n;
	}
}

static void device_write(struct cpu *cpu, u64 gpa, const u8 *from, unsigned len)
{
	while (len) {
		unsigned n = piece(len);
		u64 value = 0;

		copy_bytes(&value, from, n);
		cpu_io_write(cpu, cpu->memory, gpa, n, value);
		gpa += n;
		from += n;
		len -= n;
	}
}

/* ---- the APIC-access page of a guest under VMX, SDM3 30.4 ---- */

/* Whether an access there is virtualized; if not it is a fault, and ends the guest. */
static int apic_access(struct cpu *cpu, u64 linear, u64 gpa, unsigned len, unsigned access)
{
	if (cpu->virt->apic_virtualized(cpu, gpa & ~PAGE_MASK, len,
		    access & (ACCESS_WRITE | ACCESS_MODIFY)))
		return 0;
	cpu->fault = (struct fault){
		.kind = FAULT_APIC_ACCESS, .gpa = gpa, .access = access & ACCESS_WRITE,
		.address = linear, .linear_valid = true,
	};
	return OUTCOME_FAULT;
}

static int apic_read(struct cpu *cpu, u64 linear, u64 gpa, u8 *to, unsigned len)
{
	if (apic_access(cpu, linear, gpa, len, ACCESS_READ))
		return OUTCOME_FAULT;
	cpu->virt->apic_read(cpu, gpa & ~PAGE_MASK, to, len);
	return 0;
}

static int apic_write(struct cpu *cpu, u64 linear, u64 gpa, const u8 *from, unsigned len)
{
	if (apic_access(cpu, linear, gpa, len, ACCESS_WRITE))
		return OUTCOME_FAULT;
	cpu->virt->apic_write(cpu, gpa & ~PAGE_MASK, from, len);
	return 0;
}

/* ---- by pages ---- */

/* A store to a page without a write tag: a device, ROM, or RAM that someone watches. */
static void watched_write(struct cpu *cpu, u64 gpa, const u8 *from, unsigned len)
{
	struct space_hit hit = space_find(cpu->memory, gpa);

	if (!hit.host) {
		device_write(cpu, gpa, from, len);
		return;
	}
	if (hit.read_only)
		return;
	copy_bytes(hit.host, from, len);
	dirty_note(space_ram(cpu->memory), hit.ram_offset, len);
	if (ram_is_watched(space_ram(cpu->memory), hit.ram_offset))
		cpu->watched_page_written(cpu, hit.ram_offset, len);
}

/* Reads bytes of one page. */
static int read_page(struct cpu *cpu, u64 linear, u8 *to, unsigned len)
{
	u8 *host = tlb_read_hit(cpu, linear, len);
	u64 gpa;

	if (!host) {
		if (tlb_fill(cpu, linear, ACCESS_READ, &host, &gpa))
			return OUTCOME_FAULT;
		if (cpu_watching(cpu))
			cpu_watch_data(cpu, linear, len, false);
		if (!host && tlb_apic_access(cpu, gpa))
			return apic_read(cpu, linear, gpa, to, len);
	}
	if (host)
		copy_bytes(to, host, len);
	else
		device_read(cpu, gpa, to, len);
	return 0;
}

/* Writes bytes of one page. */
static int write_page(struct cpu *cpu, u64 linear, const u8 *from, unsigned len)
{
	u8 *host = tlb_write_hit(cpu, linear, len);
	u64 gpa;

	if (host) {
		copy_bytes(host, from, len);
		return 0;
	}
	if (tlb_fill(cpu, linear, ACCESS_WRITE, &host, &gpa))
		return OUTCOME_FAULT;
	if (cpu_watching(cpu))
		cpu_watch_data(cpu, linear, len, true);
	if (!host && tlb_apic_access(cpu, gpa))
		return apic_write(cpu, linear, gpa, from, len);
	host = tlb_write_hit(cpu, linear, len);
	if (host)
		copy_bytes(host, from, len);
	else
		watched_write(cpu, gpa, from, len);
	return 0;
}

static int probe_page(struct cpu *cpu, u64 linear, unsigned len, unsigned access)
{
	u8 *host = access & ACCESS_WRITE ? tlb_write_hit(cpu, linear, 1) :
					   tlb_read_hit(cpu, linear, 1);
	u64 gpa;

	if (host)
		return 0;
	if (tlb_fill(cpu, linear, access & ACCESS_WRITE, &host, &gpa))
		return OUTCOME_FAULT;
	return !host && tlb_apic_access(cpu, gpa) ? apic_access(cpu, linear, gpa, len, access) : 0;
}

static int probe_pages(struct cpu *cpu, u64 linear, u64 len, unsigned access)
{
	while (len) {
		unsigned n = left_in_page(linear, len);

		if (probe_page(cpu, linear, n, access))
			return OUTCOME_FAULT;
		linear = linear_add(cpu, linear, n, access);
		len -= n;
	}
	return 0;
}

int cpu_probe(struct cpu *cpu, u64 linear, u64 len, unsigned access)
{
	struct privilege_save save;
	int outcome;

	context_ready(cpu);
	if (likely(!needs_system_context(cpu, access)))
		return probe_pages(cpu, linear, len, access);
	system_context_enter(cpu, &save);
	outcome = probe_pages(cpu, linear, len, access);
	system_context_leave(cpu, &save);
	return outcome;
}

static int read_pages(struct cpu *cpu, u64 linear, u8 *to, unsigned len, unsigned access)
{
	while (len) {
		unsigned n = left_in_page(linear, len);

		if (read_page(cpu, linear, to, n))
			return OUTCOME_FAULT;
		linear = linear_add(cpu, linear, n, access);
		to += n;
		len -= n;
	}
	return 0;
}

static int write_pages(struct cpu *cpu, u64 linear, const u8 *from, unsigned len, unsigned access)
{
	if (left_in_page(linear, len) < len && probe_pages(cpu, linear, len, access))
		return OUTCOME_FAULT;
	while (len) {
		unsigned n = left_in_page(linear, len);

		if (write_page(cpu, linear, from, n))
			return OUTCOME_FAULT;
		linear = linear_add(cpu, linear, n, access);
		from += n;
		len -= n;
	}
	return 0;
}

int cpu_read(struct cpu *cpu, u64 linear, void *to, unsigned len, unsigned access)
{
	struct privilege_save save;
	int outcome;
	u8 *host;

	context_ready(cpu);
	if (likely(!needs_system_context(cpu, access))) {
		host = tlb_read_hit(cpu, linear, len);
		if (unlikely(!host))
			return read_pages(cpu, linear, to, len, access);
		if (len == 8)
			__builtin_memcpy(to, host, 8);
		else if (len == 4)
			__builtin_memcpy(to, host, 4);
		else
			copy_bytes(to, host, len);
		return 0;
	}
	system_context_enter(cpu, &save);
	outcome = read_pages(cpu, linear, to, len, access);
	system_context_leave(cpu, &save);
	return outcome;
}

int cpu_write(struct cpu *cpu, u64 linear, const void *from, unsigned len, unsigned access)
{
	struct privilege_save save;
	int outcome;
	u8 *host;

	access |= ACCESS_WRITE;
	context_ready(cpu);
	if (likely(!needs_system_context(cpu, access))) {
		host = tlb_write_hit(cpu, linear, len);
		if (unlikely(!host))
			return write_pages(cpu, linear, from, len, access);
		if (len == 8)
			__builtin_memcpy(host, from, 8);
		else if (len == 4)
			__builtin_memcpy(host, from, 4);
		else
			copy_bytes(host, from, len);
		return 0;
	}
	system_context_enter(cpu, &save);
	outcome = write_pages(cpu, linear, from, len, access);
	system_context_leave(cpu, &save);
	return outcome;
}

int cpu_read_words(struct cpu *cpu, unsigned seg, u64 offset, void *to, unsigned len, unsigned word)
{
	u64 linear;

	if (cpu_linear(cpu, seg, offset, len, false, &linear) ||
	    cpu_check_aligned(cpu, linear, word))
		return OUTCOME_FAULT;
	return cpu_read(cpu, linear, to, len, ACCESS_READ);
}

int cpu_write_words(struct cpu *cpu, unsigned seg, u64 offset, const void *from, unsigned len,
	unsigned word)
{
	u64 linear;

	if (cpu_linear(cpu, seg, offset, len, true, &linear) || cpu_check_aligned(cpu, linear, word))
		return OUTCOME_FAULT;
	return cpu_write(cpu, linear, from, len, ACCESS_WRITE);
}

/* The bytes that a write which may not touch all of them starts from; a device's only if asked. */
static void fill_bounce(struct cpu *cpu, struct access *access, unsigned kind)
{
	u64 linear = access->linear;
	unsigned done = 0;

	while (done < access->len) {
		unsigned n = left_in_page(linear, access->len - done);
		u8 *host = tlb_read_hit(cpu, linear, n);
		u64 gpa;

		/* the page is probed; where only writes are watched a read finds RAM */
		if (!host && tlb_fill(cpu, linear, ACCESS_READ, &host, &gpa))
			zero_bytes(access->host + done, n);
		else if (host)
			copy_bytes(access->host + done, host, n);
		else if ((kind & ACCESS_MODIFY) && tlb_apic_access(cpu, gpa))
			cpu->virt->apic_read(cpu, gpa & ~PAGE_MASK, access->host + done, n);
		else if (kind & ACCESS_MODIFY)
			device_read(cpu, gpa, access->host + done, n);
		else
			zero_bytes(access->host + done, n);
		linear = linear_add(cpu, linear, n, kind);
		done += n;
	}
}

static int access_bounced(struct cpu *cpu, struct access *access, unsigned kind)
{
	access->bounced = true;
	access->host = access->buffer + (access->linear & 63);
	if (!access->write)
		return read_pages(cpu, access->linear, access->host, access->len, kind);
	if (probe_pages(cpu, access->linear, access->len, kind))
		return OUTCOME_FAULT;
	fill_bounce(cpu, access, kind);
	return 0;
}

int cpu_access_begin(struct cpu *cpu, struct access *access, u64 linear, unsigned len,
	unsigned kind)
{
	u8 *host;
	u64 gpa;

	context_ready(cpu);
	access->linear = linear;
	access->len = len;
	access->write = kind & ACCESS_WRITE;
	access->bounced = false;
	access->bytes = ~0ull;
	for (unsigned attempt = 0; attempt < 2; attempt++) {
		access->host = access->write ? tlb_write_hit(cpu, linear, len) :
					       tlb_read_hit(cpu, linear, len);
		if (access->host)
			return 0;
		if (left_in_page(linear, len) < len)
			break;
		if (attempt == 0 && tlb_fill(cpu, linear, kind & ACCESS_WRITE, &host, &gpa))
			return OUTCOME_FAULT;
	}
	return access_bounced(cpu, access, kind);
}

void cpu_access_commit(struct cpu *cpu, struct access *access)
{
	if (!access->write || !access->bounced)
		return;
	if (access->bytes == ~0ull) {
		write_pages(cpu, access->linear, access->host, access->len, ACCESS_WRITE);
		return;
	}
	for (unsigned at = 0, n; at < access->len; at += n) {
		/* bytes of one kind in a row */
		u64 kind = access->bytes >> at & 1;

		for (n = 1; at + n < access->len && (access->bytes >> (at + n) & 1) == kind; n++)
			;
		if (kind)
			write_pages(cpu, linear_add(cpu, access->linear, at, ACCESS_WRITE),
				access->host + at, n, ACCESS_WRITE);
	}
}
