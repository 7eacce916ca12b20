/* SPDX-License-Identifier: MIT */
/*
 * Paging: linear to guest-physical addresses by 32-bit, PAE and 4-level tables, and the second
 * stage of nested paging under every guest-physical access of the first. APM2 chapter 5 and 15.25,
 * SDM3 chapter 4.
 *
 * A walk gathers the entries first, then checks, then sets A and D with compare-exchange and starts
 * anew where another CPU was faster. In long mode a context remembers which table a walk ended in
 * (struct walk_hint), so that most walks read one entry; invalidations drop it with the TLB.
 *
 * Not modelled: 5-level paging, protection keys, memory types (RAM is write-back). Bit 8 of a PDPE
 * or PDE that names a table is ignored. Tables outside RAM read as all ones.
 */
#include "base/log.h"
#include "cpu/handlers.h"
#include "cpu/tlb.h"

/* Entries, APM2 5.3 */
#define PTE_P BIT(0)
#define PTE_W BIT(1)
#define PTE_U BIT(2)
#define PTE_A BIT(5)
#define PTE_D BIT(6)
#define PTE_PS BIT(7)
#define PTE_G BIT(8)
#define PTE_NX BIT(63)

enum form { FORM_LEGACY, FORM_PAE, FORM_LONG };

/* One stage's tables and the modes that give their entries a meaning. */
struct paging {
	enum form form;
	u64 root;
	u64 reserved;       /* in every entry: above the physical width, NX where it is off */
	u64 top_reserved;   /* FORM_LONG: in PML4 entries besides */
	bool pse;           /* FORM_LEGACY: 4 MiB pages */
	bool pdptes_loaded; /* FORM_PAE: the first level is cpu->pdpte */
	bool second;        /* this is the second stage */
};

struct step {
	void *entry; /* in RAM; NULL: nothing to set bits in */
	u64 value;
};

struct walk {
	struct step step[4];
	unsigned steps;
	u64 page, span;
	bool user, write, nx, global;
};

enum walk_end {
	WALK_LEAF,
	WALK_ABSENT,
	WALK_RESERVED,
	WALK_FAULT, /* of the second stage, recorded */
};

static int second_stage(struct cpu *cpu, u64 gpa, unsigned access, bool in_walk, u64 linear,
	bool linear_valid, struct translation *out);

/* The bytes of RAM at an address that is not in its window; moves the window there. */
static __attribute__((noinline)) u8 *ram_find(struct cpu *cpu, u64 gpa, bool *read_only)
{
	struct ram_window *window = &cpu->ram_window[gpa >> 32 != 0];
	u64 base = gpa & PAGE_MASK;
	struct space_hit hit = space_find(cpu->memory, base);

	if (!hit.host || hit.contiguous < PAGE_SIZE)
		return NULL;
	if (hit.read_only)
		*read_only = true;
	else
		*window = (struct ram_window){ base, hit.contiguous & PAGE_MASK, hit.host };
	return hit.host + (gpa - base);
}

static inline u8 *ram_at(struct cpu *cpu, u64 gpa, bool *read_only)
{
	const struct ram_window *window = &cpu->ram_window[gpa >> 32 != 0];
	u64 offset = gpa - window->gpa;

	return likely(offset < window->size) ? window->host + offset :
					       ram_find(cpu, gpa, read_only);
}

/* Reads the entry at a physical address of the paging's own stage. */
static inline bool read_entry(struct cpu *cpu, const struct paging *paging, u64 address, u64 linear,
	struct step *step)
{
	bool read_only = false;
	u8 *host;

	if (unlikely(cpu->nested_paging) && !paging->second) {
		struct translation real;

		/* APM2 15.25.6: tables are read as by a user write, so that A and D may be set */
		if (second_stage(cpu, address, ACCESS_WRITE, true, linear, true, &real))
			return false;
		address = real.gpa;
	}
	host = ram_at(cpu, address, &read_only);
	step->entry = read_only ? NULL : host;
	if (paging->form == FORM_LEGACY)
		step->value = host ? __atomic_load_n((u32 *)host, __ATOMIC_RELAXED) : 0xffffffff;
	else
		step->value = host ? __atomic_load_n((u64 *)host, __ATOMIC_RELAXED) : ~0ull;
	return true;
}

/* APM2 5.2: 4-byte entries, ten bits of the address a level. */
static enum walk_end walk_legacy(struct cpu *cpu, const struct paging *paging, u64 address,
	struct walk *walk)
{
	u64 table = paging->root & 0xfffff000, entry;

	walk->nx = false;
	if (!read_entry(cpu, paging, table + (address >> 22 << 2), address, &walk->step[0]))
		return WALK_FAULT;
	walk->steps = 1;
	entry = walk->step[0].value;
	if (!(entry & PTE_P))
		return WALK_ABSENT;
	walk->user = entry & PTE_U;
	walk->write = entry & PTE_W;
	if ((entry & PTE_PS) && paging->pse) {
		/* PSE-36: address bits 39:32 stand in 20:13, bit 21 is reserved, SDM3 table 4-4 */
		u64 high = (entry >> 13 & 0xff) << 32;

		if ((entry & BIT(21)) || (high & paging->reserved))
			return WALK_RESERVED;
		walk->page = high | (entry & 0xffc00000);
		walk->span = 4 * MIB;
		walk->global = entry & PTE_G;
		return WALK_LEAF;
	}
	table = entry & 0xfffff000;
	if (!read_entry(cpu, paging, table + ((address >> 12 & 1023) << 2), address,
		    &walk->step[1]))
		return WALK_FAULT;
	walk->steps = 2;
	entry = walk->step[1].value;
	if (!(entry & PTE_P))
		return WALK_ABSENT;
	walk->user &= !!(entry & PTE_U);
	walk->write &= !!(entry & PTE_W);
	walk->page = entry & 0xfffff000;
	walk->span = PAGE_SIZE;
	walk->global = entry & PTE_G;
	return WALK_LEAF;
}

/* The four pointers of PAE paging outside long mode, APM2 5.2.3. */
#define PDPTE_RESERVED(cpu) (MASK(2, 1) | MASK(8, 5) | MASK(63, (cpu)->phys_bits))

static enum walk_end walk_pdpte(struct cpu *cpu, const struct paging *paging, u64 address,
	u64 *table)
{
	unsigned index = address >> 30 & 3;
	struct step step;

	if (paging->pdptes_loaded)
		step.value = cpu->pdpte[index];
	else if (!read_entry(cpu, paging, (paging->root & 0xffffffe0) + index * 8, address, &step))
		return WALK_FAULT;
	if (!(step.value & PTE_P))
		return WALK_ABSENT;
	/* under nested paging they are met unchecked here, APM2 15.25.10 */
	if (step.value & PDPTE_RESERVED(cpu))
		return WALK_RESERVED;
	*table = step.value & MASK(51, 12);
	return WALK_LEAF;
}

/* APM2 5.2.3, 5.3: 8-byte entries, nine bits of the address a level. */
static enum walk_end walk_wide(struct cpu *cpu, const struct paging *paging, u64 address,
	struct walk *walk)
{
	u64 table = paging->root & MASK(51, 12), entry, all = PTE_U | PTE_W, nx = 0;
	unsigned level = 4, shift = 39;

	walk->steps = 0;
	if (paging->form == FORM_PAE) {
		enum walk_end end = walk_pdpte(cpu, paging, address, &table);

		if (end != WALK_LEAF)
			return end;
		level = 2;
		shift = 21;
	}
	for (;; level--, shift -= 9) {
		struct step *step = &walk->step[walk->steps];

		if (unlikely(!read_entry(cpu, paging, table + ((address >> shift & 511) << 3),
			    address, step)))
			return WALK_FAULT;
		walk->steps++;
		entry = step->value;
		if (!(entry & PTE_P))
			return WALK_ABSENT;
		if (unlikely(entry & (level == 4 ? paging->reserved | paging->top_reserved :
						   paging->reserved)))
			return WALK_RESERVED;
		all &= entry;
		nx |= entry;
		table = entry & MASK(51, 12);
		if (level == 1)
			break;
		if (entry & PTE_PS) {
			/* bit 7 of a PML4E, and below the page bit 12 (PAT), APM2 5.3.3 - 5.3.5 */
			if (level == 4 || (entry & MASK(shift - 1, 13)))
				return WALK_RESERVED;
			table &= ~(BIT(shift) - 1);
			break;
		}
	}
	walk->page = table;
	walk->span = BIT(shift);
	walk->user = all & PTE_U;
	walk->write = all & PTE_W;
	walk->nx = nx & PTE_NX;
	walk->global = entry & PTE_G;
	return WALK_LEAF;
}

static inline enum walk_end walk_tables(struct cpu *cpu, const struct paging *paging, u64 address,
	struct walk *walk)
{
	return paging->form == FORM_LEGACY ? walk_legacy(cpu, paging, address, walk) :
					     walk_wide(cpu, paging, address, walk);
}

/* False: an entry changed meanwhile, walk again. */
static bool set_entry_bits(const struct paging *paging, struct step *step, u64 bits)
{
	u64 old = step->value;

	if ((old & bits) == bits || !step->entry)
		return true;
	step->value |= bits;
	if (paging->form == FORM_LEGACY) {
		u32 expected = old;

		return __atomic_compare_exchange_n((u32 *)step->entry, &expected, (u32)(old | bits),
			false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	}
	return __atomic_compare_exchange_n((u64 *)step->entry, &old, old | bits, false,
		__ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/* APM2 5.4.2: A in every entry that was used, D in the last of a write. */
static inline bool set_accessed(const struct paging *paging, struct walk *walk, bool write)
{
	unsigned last = walk->steps - 1;

	for (unsigned i = 0; i < last; i++)
		if (unlikely(!set_entry_bits(paging, &walk->step[i], PTE_A)))
			return false;
	return set_entry_bits(paging, &walk->step[last], write ? PTE_A | PTE_D : PTE_A);
}

static inline bool leaf_dirty(const struct walk *walk)
{
	const struct step *leaf = &walk->step[walk->steps - 1];

	return leaf->value & PTE_D;
}

/* ---- hints ---- */

/* The context is the one that the walk is for. */
static inline bool hints_usable(const struct cpu *cpu)
{
	return cpu->context && !cpu->context_stale;
}

static inline struct walk_hint *hint_slot(struct cpu *cpu, bool second, u64 address)
{
	return &cpu->context->hints[second][address >> 21 & (WALK_HINTS - 1)];
}

static inline u64 hint_region(const struct cpu *cpu, u64 address)
{
	return (address >> 21 & MASK(26, 0)) | (u64)cpu->context->hint_generation << 32;
}

/* A walk that begins where the last one in this region ended; false: it has to be made in full. */
static inline bool walk_by_hint(struct cpu *cpu, const struct paging *paging, u64 address,
	struct walk *walk)
{
	const struct walk_hint *hint = hint_slot(cpu, paging->second, address);
	u64 *at, entry, all;

	if (paging->form != FORM_LONG || hint->region != hint_region(cpu, address))
		return false;
	at = hint->table + (address >> hint->shift & 511);
	entry = __atomic_load_n(at, __ATOMIC_RELAXED);
	if (!(entry & PTE_P) || (entry & paging->reserved))
		return false;
	if (hint->shift > 12 && (!(entry & PTE_PS) || (entry & MASK(hint->shift - 1, 13))))
		return false;
	walk->step[0] = (struct step){ at, entry };
	walk->steps = 1;
	all = hint->rights & entry;
	walk->user = all & PTE_U;
	walk->write = all & PTE_W;
	walk->nx = (hint->rights ^ PTE_NX) & PTE_NX || (entry & PTE_NX);
	walk->global = entry & PTE_G;
	walk->span = BIT(hint->shift);
	walk->page = entry & MASK(51, 12) & ~(walk->span - 1);
	return true;
}

/* After a walk whose A bits are set. */
static inline void leave_hint(struct cpu *cpu, const struct paging *paging, u64 address,
	const struct walk *walk)
{
	const struct step *leaf = &walk->step[walk->steps - 1];
	u64 rights = PTE_U | PTE_W | PTE_NX;

	if (paging->form != FORM_LONG || walk->steps < 2 || !leaf->entry)
		return;
	for (unsigned i = 0; i < walk->steps - 1; i++) {
		/* tables in ROM keep no A bit: such walks are made in full */
		if (!walk->step[i].entry)
			return;
		rights &= walk->step[i].value ^ PTE_NX;
	}
	*hint_slot(cpu, paging->second, address) = (struct walk_hint){
		.region = hint_region(cpu, address),
		.table = (u64 *)((u64)leaf->entry & PAGE_MASK),
		.rights = rights,
		.shift = 12 + 9 * (4 - walk->steps),
	};
}

static inline void paging_form(struct cpu *cpu, struct paging *paging, u64 cr4, u64 efer)
{
	paging->reserved = MASK(51, 12) & ~(BIT(cpu->phys_bits) - 1);
	if (efer & EFER_LMA) {
		paging->form = FORM_LONG;
		/* AMD reserves bit 8 of a PML4E, APM2 5.3.3; Intel ignores it */
		paging->top_reserved = cpu_is_intel(cpu) ? 0 : PTE_G;
	} else if (cr4 & CR4_PAE) {
		paging->form = FORM_PAE;
		paging->reserved |= MASK(62, 52);
	} else {
		paging->form = FORM_LEGACY;
		paging->pse = cr4 & CR4_PSE;
	}
	if (!(efer & EFER_NXE))
		paging->reserved |= PTE_NX;
}

/* APM2 15.25: the nested tables in the host's paging mode; every access is a user's. */
static int second_stage(struct cpu *cpu, u64 gpa, unsigned access, bool in_walk, u64 linear,
	bool linear_valid, struct translation *out)
{
	struct paging paging = { .root = cpu->nested_root, .second = true };
	bool write = access & ACCESS_WRITE, fetch = access & ACCESS_EXEC, hints = hints_usable(cpu);
	struct walk walk;
	enum walk_end end;
	u32 error = PF_U;

	paging_form(cpu, &paging, cpu->nested_cr4, cpu->nested_efer);
	do {
		/* tables of 32-bit hosts reach no further than 4 GiB */
		if (likely(hints && walk_by_hint(cpu, &paging, gpa, &walk)))
			end = WALK_LEAF;
		else if (paging.form != FORM_LONG && gpa >> 32)
			end = WALK_ABSENT;
		else
			end = walk_tables(cpu, &paging, gpa, &walk);
		if (end != WALK_LEAF) {
			error |= end == WALK_RESERVED ? PF_P | PF_RSVD : 0;
			goto fault;
		}
		if (!walk.user || (write && !walk.write) || (fetch && walk.nx)) {
			error |= PF_P;
			goto fault;
		}
	} while (unlikely(!set_accessed(&paging, &walk, write)));
	if (hints)
		leave_hint(cpu, &paging, gpa, &walk);
	out->gpa = walk.page + (gpa & (walk.span - 1));
	out->span = walk.span;
	out->writable = walk.write && leaf_dirty(&walk);
	out->global = false;
	return 0;
fault:
	if (write)
		error |= PF_W;
	if (fetch && ((cpu->nested_efer & EFER_NXE) || (cpu->nested_cr4 & CR4_SMEP)))
		error |= PF_I;
	cpu->fault = (struct fault){
		.kind = FAULT_NESTED, .error = error, .address = linear, .gpa = gpa,
		.in_walk = in_walk, .linear_valid = linear_valid,
	};
	return OUTCOME_FAULT;
}

int mmu_translate_guest_physical(struct cpu *cpu, u64 gpa, unsigned access, bool in_walk,
	u64 linear, struct translation *out)
{
	if (!cpu->nested_paging) {
		*out = (struct translation){ .gpa = gpa, .span = PAGE_SIZE, .writable = true };
		return 0;
	}
	return second_stage(cpu, gpa, access, in_walk, linear, false, out);
}

static __attribute__((noinline)) int page_fault(struct cpu *cpu, u64 linear, unsigned access,
	bool user, u32 error)
{
	if (access & ACCESS_WRITE)
		error |= PF_W;
	if (user)
		error |= PF_U;
	/* SDM3 4.7: the I/D bit exists where fetches are told from reads */
	if ((access & ACCESS_EXEC) && ((cpu->cr4 & CR4_SMEP) ||
		    ((cpu->efer & EFER_NXE) && (cpu->cr4 & CR4_PAE))))
		error |= PF_I;
	if (trace_on(TRACE_mmu)) {
		cpu_park_fpu(cpu);
		trace_print(TRACE_mmu, "page fault at %#llx error %#x rip %#llx cr3 %#llx",
			(unsigned long long)linear, error, (unsigned long long)cpu->rip,
			(unsigned long long)cpu->cr3);
	}
	return cpu_fault_page(cpu, linear, error);
}

/* APM2 5.6 and table 5-3; SMAP's condition comes from the caller. */
static inline bool permitted(const struct cpu *cpu, const struct walk *walk, unsigned access,
	bool user, bool smap)
{
	if (access & ACCESS_EXEC)
		return !walk->nx && (user ? walk->user : !(walk->user && (cpu->cr4 & CR4_SMEP)));
	if (user ? !walk->user : smap && walk->user)
		return false;
	return !(access & ACCESS_WRITE) || walk->write || (!user && !(cpu->cr0 & CR0_WP));
}

int mmu_translate(struct cpu *cpu, u64 linear, unsigned access, bool user, bool smap,
	struct translation *out)
{
	struct paging paging = { .root = cpu->cr3 };
	bool write = access & ACCESS_WRITE, hints = hints_usable(cpu);
	struct translation real;
	struct walk walk;
	enum walk_end end;

	if (!(cpu->cr0 & CR0_PG)) {
		linear = (u32)linear;
		*out = (struct translation){ .gpa = linear, .span = PAGE_SIZE, .writable = true };
		if (!cpu->nested_paging)
			return 0;
		if (second_stage(cpu, linear, access, false, linear, true, &real))
			return OUTCOME_FAULT;
		out->gpa = real.gpa;
		out->writable = real.writable;
		return 0;
	}
	paging_form(cpu, &paging, cpu->cr4, cpu->efer);
	if (paging.form != FORM_LONG)
		linear = (u32)linear;
	else if (unlikely(!is_canonical(linear)))
		return cpu_fault_code(cpu, VEC_GP, 0);
	paging.pdptes_loaded = !cpu->nested_paging;
	do {
		if (likely(hints && walk_by_hint(cpu, &paging, linear, &walk)))
			end = WALK_LEAF;
		else
			end = walk_tables(cpu, &paging, linear, &walk);
		if (unlikely(end != WALK_LEAF)) {
			if (end == WALK_FAULT)
				return OUTCOME_FAULT;
			return page_fault(cpu, linear, access, user,
				end == WALK_RESERVED ? PF_P | PF_RSVD : 0);
		}
		if (unlikely(!permitted(cpu, &walk, access, user, smap)))
			return page_fault(cpu, linear, access, user, PF_P);
	} while (unlikely(!set_accessed(&paging, &walk, write)));

	if (hints)
		leave_hint(cpu, &paging, linear, &walk);
	out->gpa = walk.page + (linear & (walk.span - 1));
	out->span = walk.span;
	out->writable = permitted(cpu, &walk, ACCESS_WRITE, user, smap) && leaf_dirty(&walk);
	out->global = walk.global && (cpu->cr4 & CR4_PGE);
	if (unlikely(cpu->nested_paging)) {
		if (second_stage(cpu, out->gpa, access, false, linear, true, &real))
			return OUTCOME_FAULT;
		out->gpa = real.gpa;
		out->writable &= real.writable;
	}
	return 0;
}

/* APM2 5.2.3; under nested paging they are read when a walk needs them, APM2 15.25.10. */
int mmu_load_pdptes(struct cpu *cpu, u64 cr3)
{
	struct paging paging = { .form = FORM_PAE };
	u64 loaded[4];

	if (cpu->nested_paging)
		return 0;
	for (unsigned i = 0; i < 4; i++) {
		struct step step;

		read_entry(cpu, &paging, (cr3 & 0xffffffe0) + i * 8, 0, &step);
		if ((step.value & PTE_P) && (step.value & PDPTE_RESERVED(cpu)))
			return cpu_fault_code(cpu, VEC_GP, 0);
		loaded[i] = step.value;
	}
	for (unsigned i = 0; i < 4; i++)
		cpu->pdpte[i] = loaded[i];
	return 0;
}
