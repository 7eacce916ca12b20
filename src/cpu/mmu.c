/* SPDX-License-Identifier: MIT */
/*
 * Paging: linear to guest-physical addresses by 32-bit, PAE and 4-level tables, and under every
 * guest-physical access of theirs the second stage: AMD's nested tables here, Intel's in ept.c. APM2
 * chapter 5 and 15.25, SDM3 chapter 4.
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
#include "cpu/trail.h"
#include "cpu/walk.h"

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
	enum stage stage;
};

struct walk {
	struct step step[4];
	unsigned steps;
	u64 page, span;
	bool user, write, nx, global;
	/* Bit n: EPT has no flags, and lets step n's entry be read but not written. It is at gpa[n]. */
	u8 read_only;
	u64 gpa[4];
};

static int nested_tables(struct cpu *cpu, u64 gpa, unsigned access, const struct origin *origin,
	struct translation *out);

__attribute__((noinline)) u8 *walk_find_ram(struct cpu *cpu, u64 gpa, bool *read_only)
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

static inline bool on_apic_access_page(const struct cpu *cpu, u64 address)
{
	return unlikely((address & PAGE_MASK) == cpu->apic_access_page);
}

/* SDM3 30.4.6.1 of tables, 30.4.1 of code */
static int apic_access_fault(struct cpu *cpu, u64 address, unsigned access,
	const struct origin *origin)
{
	cpu->fault = (struct fault){
		.kind = FAULT_APIC_ACCESS, .gpa = address, .access = access,
		.address = origin->linear, .linear_valid = origin->linear_valid,
		.in_walk = origin->in_walk,
	};
	return OUTCOME_FAULT;
}

/* A guest's own table entry under EPT: its address becomes that of the machine. */
static bool entry_through_ept(struct cpu *cpu, const struct origin *origin, u64 *address,
	struct walk *walk)
{
	/* SDM3 29.3.5: where EPT has flags these are writes, else reads until A or D must be set */
	bool flags = ept_has_flags(cpu);
	unsigned access = flags ? ACCESS_WRITE : ACCESS_READ;
	struct translation real;

	if (ept_translate(cpu, *address, access, origin, &real))
		return false;
	if (on_apic_access_page(cpu, real.gpa)) {
		apic_access_fault(cpu, real.gpa, access, origin);
		return false;
	}
	if (!flags && !real.writable) {
		walk->read_only |= BIT(walk->steps);
		walk->gpa[walk->steps] = *address;
	}
	*address = real.gpa;
	return true;
}

/* Reads the next entry, at a physical address of the paging's own stage. */
static inline bool read_entry(struct cpu *cpu, const struct paging *paging, u64 address, u64 linear,
	struct walk *walk, struct step *step)
{
	bool read_only = false;
	u8 *host;

	if (unlikely(cpu->nested_paging) && paging->stage == STAGE_FIRST) {
		struct origin origin = { .linear = linear, .linear_valid = true, .in_walk = true };
		struct translation real;

		if (cpu->ept) {
			if (!entry_through_ept(cpu, &origin, &address, walk))
				return false;
		} else {
			/* APM2 15.25.6: read as by a user write, so that A and D may be set */
			if (nested_tables(cpu, address, ACCESS_WRITE, &origin, &real))
				return false;
			address = real.gpa;
		}
	}
	if (paging->form != FORM_LEGACY) {
		*step = walk_read(cpu, address);
		return true;
	}
	host = walk_ram(cpu, address, &read_only);
	step->entry = read_only ? NULL : host;
	step->value = host ? __atomic_load_n((u32 *)host, __ATOMIC_RELAXED) : 0xffffffff;
	return true;
}

/* APM2 5.2: 4-byte entries, ten bits of the address a level. */
static enum walk_end walk_legacy(struct cpu *cpu, const struct paging *paging, u64 address,
	struct walk *walk)
{
	u64 table = paging->root & 0xfffff000, entry;

	walk->nx = false;
	walk->steps = walk->read_only = 0;
	if (!read_entry(cpu, paging, table + (address >> 22 << 2), address, walk, &walk->step[0]))
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
	if (!read_entry(cpu, paging, table + ((address >> 12 & 1023) << 2), address, walk,
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
	struct walk *walk, u64 *table)
{
	unsigned index = address >> 30 & 3;
	struct step step;

	if (paging->pdptes_loaded)
		step.value = cpu->pdpte[index];
	else if (!read_entry(cpu, paging, (paging->root & 0xffffffe0) + index * 8, address, walk,
			 &step))
		return WALK_FAULT;
	if (!(step.value & PTE_P))
		return WALK_ABSENT;
	/* under AMD's nested paging they are met unchecked here, APM2 15.25.10 */
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

	walk->steps = walk->read_only = 0;
	if (paging->form == FORM_PAE) {
		enum walk_end end = walk_pdpte(cpu, paging, address, walk, &table);

		if (end != WALK_LEAF)
			return end;
		level = 2;
		shift = 21;
	}
	for (;; level--, shift -= 9) {
		struct step *step = &walk->step[walk->steps];

		if (unlikely(!read_entry(cpu, paging, table + ((address >> shift & 511) << 3),
			    address, walk, step)))
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
static bool set_entry_bits(struct cpu *cpu, const struct paging *paging, struct step *step,
	u64 bits)
{
	u32 old = step->value;
	bool set;

	if (likely(paging->form != FORM_LEGACY))
		return walk_set_bits(cpu, step, bits);
	if ((old & bits) == bits || !step->entry)
		return true;
	step->value |= bits;
	set = __atomic_compare_exchange_n((u32 *)step->entry, &old, (u32)(old | bits), false,
		__ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	walk_note(cpu, step);
	/* in the upper half of an entry of 64 bits, as a trail may have it, these are of the address */
	trail_page_written(cpu, ((u8 *)step->entry - space_ram(cpu->memory)->host) >> PAGE_SHIFT);
	return set;
}

/* APM2 5.4.2: A in every entry that was used, D in the last of a write. */
static inline bool set_accessed(struct cpu *cpu, const struct paging *paging, struct walk *walk,
	bool write)
{
	unsigned last = walk->steps - 1;

	for (unsigned i = 0; i < last; i++)
		if (unlikely(!set_entry_bits(cpu, paging, &walk->step[i], PTE_A)))
			return false;
	return set_entry_bits(cpu, paging, &walk->step[last], write ? PTE_A | PTE_D : PTE_A);
}

/*
 * What set_accessed() is about to write must be writable through EPT, SDM3 29.3.3.2. Where EPT has
 * flags it was asked for as the entry was read.
 */
static bool entries_writable(struct cpu *cpu, const struct walk *walk, bool write, u64 linear)
{
	struct origin origin = { .linear = linear, .linear_valid = true, .in_walk = true };

	for (unsigned i = 0; i < walk->steps; i++) {
		bool last = i == walk->steps - 1;
		u64 bits = last && write ? PTE_A | PTE_D : PTE_A;
		struct translation real;

		if (walk->read_only & BIT(i) && (walk->step[i].value & bits) != bits &&
			ept_translate(cpu, walk->gpa[i], ACCESS_WRITE, &origin, &real))
			return false;
	}
	return true;
}

static inline bool leaf_dirty(const struct walk *walk)
{
	const struct step *leaf = &walk->step[walk->steps - 1];

	return leaf->value & PTE_D;
}

/* ---- hints ---- */

/* A walk that begins where the last one in this region ended; false: it has to be made in full. */
static inline bool walk_by_hint(struct cpu *cpu, const struct paging *paging, u64 address,
	struct walk *walk)
{
	const struct walk_hint *hint = hint_slot(cpu, paging->stage, address);
	u64 entry, all;

	if (paging->form != FORM_LONG || !hint_entry(cpu, hint, address, &walk->step[0]))
		return false;
	entry = walk->step[0].value;
	if (!(entry & PTE_P) || (entry & paging->reserved))
		return false;
	if (hint->shift > 12 && (!(entry & PTE_PS) || (entry & MASK(hint->shift - 1, 13))))
		return false;
	walk->steps = 1;
	walk->read_only = 0;
	all = hint->rights & entry;
	walk->user = all & PTE_U;
	walk->write = all & PTE_W;
	walk->nx = (hint->rights ^ PTE_NX) & PTE_NX || (entry & PTE_NX);
	walk->global = entry & PTE_G;
	walk->span = BIT(hint->shift);
	walk->page = entry & MASK(51, 12) & ~(walk->span - 1);
	return true;
}

/* After a walk whose A and D bits are set, for the current context. */
static inline void leave_trail(struct cpu *cpu, const struct paging *paging, const struct walk *walk)
{
	if (likely(!cpu->context->trail.complete))
		return;
	for (unsigned i = 0; i < walk->steps; i++)
		trail_add(cpu, paging->form == FORM_LONG ? walk->step[i].entry : NULL,
			walk->step[i].value);
}

/* After a walk whose A bits are set. */
static inline void leave_hint(struct cpu *cpu, const struct paging *paging, u64 address,
	const struct walk *walk)
{
	const struct step *leaf = &walk->step[walk->steps - 1];
	u64 rights = PTE_U | PTE_W | PTE_NX;

	/* the leaf's table must be one that A and D can be set in without asking anew */
	if (paging->form != FORM_LONG || walk->steps < 2 || !leaf->entry || walk->read_only)
		return;
	for (unsigned i = 0; i < walk->steps - 1; i++) {
		/* tables in ROM keep no A bit: such walks are made in full */
		if (!walk->step[i].entry)
			return;
		rights &= walk->step[i].value ^ PTE_NX;
	}
	hint_leave(cpu, paging->stage, address, leaf->entry, rights, 12 + 9 * (4 - walk->steps));
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

static inline bool nested_permit(const struct walk *walk, unsigned access)
{
	return walk->user && (!(access & ACCESS_WRITE) || walk->write) &&
	       !((access & ACCESS_EXEC) && walk->nx);
}

static __attribute__((noinline)) int nested_fault(struct cpu *cpu, u64 gpa, unsigned access,
	const struct origin *origin, u32 error)
{
	error |= PF_U;
	if (access & ACCESS_WRITE)
		error |= PF_W;
	if ((access & ACCESS_EXEC) &&
		((cpu->nested_efer & EFER_NXE) || (cpu->nested_cr4 & CR4_SMEP)))
		error |= PF_I;
	cpu->fault = (struct fault){
		.kind = FAULT_NESTED, .error = error, .address = origin->linear, .gpa = gpa,
		.in_walk = origin->in_walk, .linear_valid = origin->linear_valid,
		.access = access,
	};
	return OUTCOME_FAULT;
}

/* APM2 15.25: the nested tables in the host's paging mode; every access is a user's. */
static int nested_tables(struct cpu *cpu, u64 gpa, unsigned access, const struct origin *origin,
	struct translation *out)
{
	struct paging paging = { .root = cpu->nested_root, .stage = STAGE_SECOND };
	bool write = access & ACCESS_WRITE, hints = hints_usable(cpu);
	struct walk walk;
	enum walk_end end;

	paging_form(cpu, &paging, cpu->nested_cr4, cpu->nested_efer);
	do {
		/* what a hint would refuse is looked at in full: upper entries may give more now */
		if (likely(hints && walk_by_hint(cpu, &paging, gpa, &walk) &&
			    nested_permit(&walk, access)))
			continue;
		/* tables of 32-bit hosts reach no further than 4 GiB */
		if (paging.form != FORM_LONG && gpa >> 32)
			end = WALK_ABSENT;
		else
			end = walk_tables(cpu, &paging, gpa, &walk);
		if (end != WALK_LEAF)
			return nested_fault(cpu, gpa, access, origin,
				end == WALK_RESERVED ? PF_P | PF_RSVD : 0);
		if (!nested_permit(&walk, access))
			return nested_fault(cpu, gpa, access, origin, PF_P);
	} while (unlikely(!set_accessed(cpu, &paging, &walk, write)));
	if (hints) {
		leave_hint(cpu, &paging, gpa, &walk);
		leave_trail(cpu, &paging, &walk);
	}
	out->gpa = walk.page + (gpa & (walk.span - 1));
	out->span = walk.span;
	out->writable = walk.write && leaf_dirty(&walk);
	out->global = false;
	return 0;
}

static inline int second_stage(struct cpu *cpu, u64 gpa, unsigned access,
	const struct origin *origin, struct translation *out)
{
	return cpu->ept ? ept_translate(cpu, gpa, access, origin, out) :
			  nested_tables(cpu, gpa, access, origin, out);
}

int mmu_translate_guest_physical(struct cpu *cpu, u64 gpa, unsigned access, bool in_walk,
	u64 linear, struct translation *out)
{
	struct origin origin = { .linear = linear, .in_walk = in_walk };

	if (!cpu->nested_paging) {
		*out = (struct translation){ .gpa = gpa, .span = PAGE_SIZE, .writable = true };
		return 0;
	}
	return second_stage(cpu, gpa, access, &origin, out);
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

/* From what the first stage says to the machine's own space. user_page: see struct origin. */
static inline int finish(struct cpu *cpu, u64 linear, unsigned access, bool user_page,
	struct translation *out)
{
	struct origin origin = { .linear = linear, .linear_valid = true, .user_page = user_page };
	struct translation real;

	if (unlikely(cpu->nested_paging)) {
		if (second_stage(cpu, out->gpa, access, &origin, &real))
			return OUTCOME_FAULT;
		out->gpa = real.gpa;
		out->writable &= real.writable;
	}
	/* data is the concern of whoever knows how many bytes there are */
	if ((access & ACCESS_EXEC) && on_apic_access_page(cpu, out->gpa))
		return apic_access_fault(cpu, out->gpa, access, &origin);
	return 0;
}

int mmu_translate(struct cpu *cpu, u64 linear, unsigned access, bool user, bool smap,
	struct translation *out)
{
	struct paging paging = { .root = cpu->cr3, .stage = STAGE_FIRST };
	bool write = access & ACCESS_WRITE, hints = hints_usable(cpu);
	struct walk walk;
	enum walk_end end;

	if (!(cpu->cr0 & CR0_PG)) {
		linear = (u32)linear;
		*out = (struct translation){ .gpa = linear, .span = PAGE_SIZE, .writable = true };
		return finish(cpu, linear, access, true, out);
	}
	paging_form(cpu, &paging, cpu->cr4, cpu->efer);
	if (paging.form != FORM_LONG)
		linear = (u32)linear;
	else if (unlikely(!is_canonical(linear)))
		return cpu_fault_code(cpu, VEC_GP, 0);
	paging.pdptes_loaded = !cpu->nested_paging || cpu->ept;
	do {
		/* what a hint would refuse is looked at in full: upper entries may give more now */
		if (likely(hints && walk_by_hint(cpu, &paging, linear, &walk) &&
			    permitted(cpu, &walk, access, user, smap)))
			continue;
		end = walk_tables(cpu, &paging, linear, &walk);
		if (unlikely(end != WALK_LEAF)) {
			if (end == WALK_FAULT)
				return OUTCOME_FAULT;
			return page_fault(cpu, linear, access, user,
				end == WALK_RESERVED ? PF_P | PF_RSVD : 0);
		}
		if (unlikely(!permitted(cpu, &walk, access, user, smap)))
			return page_fault(cpu, linear, access, user, PF_P);
		if (unlikely(walk.read_only) && !entries_writable(cpu, &walk, write, linear))
			return OUTCOME_FAULT;
	} while (unlikely(!set_accessed(cpu, &paging, &walk, write)));

	if (hints) {
		leave_hint(cpu, &paging, linear, &walk);
		leave_trail(cpu, &paging, &walk);
	}
	out->gpa = walk.page + (linear & (walk.span - 1));
	out->span = walk.span;
	out->writable = permitted(cpu, &walk, ACCESS_WRITE, user, smap) && leaf_dirty(&walk);
	out->global = walk.global && (cpu->cr4 & CR4_PGE);
	return finish(cpu, linear, access, walk.user, out);
}

bool mmu_pdptes_valid(const struct cpu *cpu, const u64 pdpte[4])
{
	for (unsigned i = 0; i < 4; i++)
		if ((pdpte[i] & PTE_P) && (pdpte[i] & PDPTE_RESERVED(cpu)))
			return false;
	return true;
}

/* SDM3 4.4.1; under AMD's nested paging they are read when a walk needs them, APM2 15.25.10. */
int mmu_load_pdptes(struct cpu *cpu, u64 cr3)
{
	struct translation real = { .gpa = cr3 & 0xffffffe0 };
	/* SDM3 29.3.5: of a table, but a read even where EPT has flags */
	struct origin origin = { .in_walk = true };
	u64 loaded[4];

	if (cpu->nested_paging && !cpu->ept)
		return 0;
	if (cpu->nested_paging) {
		if (ept_translate(cpu, real.gpa, ACCESS_READ, &origin, &real))
			return OUTCOME_FAULT;
		if (on_apic_access_page(cpu, real.gpa))
			return apic_access_fault(cpu, real.gpa, ACCESS_READ, &origin);
	}
	for (unsigned i = 0; i < 4; i++)
		loaded[i] = walk_read(cpu, real.gpa + i * 8).value;
	if (!mmu_pdptes_valid(cpu, loaded))
		return cpu_fault_code(cpu, VEC_GP, 0);
	for (unsigned i = 0; i < 4; i++)
		cpu->pdpte[i] = loaded[i];
	return 0;
}
