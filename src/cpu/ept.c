/* SPDX-License-Identifier: MIT */
/*
 * Extended page tables: guest-physical addresses to those of the machine, by 4-level tables. SDM3
 * 29.3. Unlike AMD's nested tables they have a form of their own, whatever mode the host pages in.
 *
 * A walk gathers the entries first. What is wrong with one of them is a misconfiguration, what they
 * do not allow is a violation, and the first outranks the second. Then A and D are set with
 * compare-exchange, where the EPTP says that there are such flags.
 *
 * Not offered: 5-level EPT, supervisor shadow stacks, sub-page write permissions, guest-paging
 * verification, paging-write. Memory types are checked and mean nothing: RAM is write-back.
 */
#include "base/log.h"
#include "cpu/handlers.h"
#include "cpu/walk.h"

/* Entries, SDM3 tables 29-1 to 29-7 */
#define EPT_R BIT(0)
#define EPT_W BIT(1)
#define EPT_X BIT(2)  /* with mode-based execute control: in supervisor mode */
#define EPT_MEMORY_TYPE(entry) ((entry) >> 3 & 7)
#define EPT_PAGE BIT(7)
#define EPT_A BIT(8)
#define EPT_D BIT(9)
#define EPT_XU BIT(10)
#define EPT_SUPPRESS_VE BIT(63)

#define EPT_RIGHTS (EPT_R | EPT_W | EPT_X | EPT_XU)
#define EPT_WIDTH 48 /* of the guest-physical addresses that 4 levels translate */

/* Memory types that are none: 2, 3 and 7. SDM3 29.3.3.1 */
#define EPT_TYPES_RESERVED (BIT(2) | BIT(3) | BIT(7))

struct ept_walk {
	struct step step[4];
	unsigned steps;
	unsigned shift; /* of the page */
	u64 rights;     /* which all entries give */
	u64 last;       /* the entry that decided */
};

static inline bool ept_present(const struct cpu *cpu, u64 entry)
{
	return entry & (EPT_R | EPT_W | EPT_X | (cpu->ept_mode_based ? EPT_XU : 0));
}

/* SDM3 29.3.3.1; of an entry that is present. shift: of what the entry maps. */
static inline bool ept_misconfigured(const struct cpu *cpu, u64 entry, unsigned shift, bool leaf)
{
	u64 reserved = MASK(51, 12) & ~(BIT(cpu->phys_bits) - 1);

	if ((entry & (EPT_R | EPT_W)) == EPT_W)
		return true;
	if (leaf) {
		if (EPT_TYPES_RESERVED & BIT(EPT_MEMORY_TYPE(entry)))
			return true;
		reserved |= MASK(shift - 1, 0) & ~(u64)MASK(11, 0);
	} else {
		reserved |= shift == 39 ? MASK(7, 3) : MASK(6, 3);
	}
	return entry & reserved;
}

static enum walk_end ept_walk(struct cpu *cpu, u64 gpa, struct ept_walk *walk)
{
	u64 table = cpu->nested_root & MASK(51, 12);

	walk->rights = EPT_RIGHTS;
	walk->steps = 0;
	if (gpa >> EPT_WIDTH) {
		walk->last = EPT_SUPPRESS_VE;
		return WALK_ABSENT;
	}
	for (unsigned shift = 39;; shift -= 9) {
		struct step *step = &walk->step[walk->steps++];
		bool leaf;

		*step = walk_read(cpu, table + ((gpa >> shift & 511) << 3));
		walk->last = step->value;
		if (!ept_present(cpu, walk->last))
			return WALK_ABSENT;
		leaf = shift == 12 || (shift < 39 && (walk->last & EPT_PAGE));
		if (unlikely(ept_misconfigured(cpu, walk->last, shift, leaf)))
			return WALK_RESERVED;
		walk->rights &= walk->last;
		table = walk->last & MASK(51, 12);
		if (leaf) {
			walk->shift = shift;
			return WALK_LEAF;
		}
	}
}

/* A walk that begins where the last one in this region ended; false: make it in full. */
static inline bool ept_by_hint(struct cpu *cpu, u64 gpa, struct ept_walk *walk)
{
	const struct walk_hint *hint = hint_slot(cpu, STAGE_SECOND, gpa);

	if (gpa >> EPT_WIDTH || !hint_entry(cpu, hint, gpa, &walk->step[0]))
		return false;
	walk->last = walk->step[0].value;
	if (!ept_present(cpu, walk->last) || (hint->shift > 12 && !(walk->last & EPT_PAGE)) ||
		ept_misconfigured(cpu, walk->last, hint->shift, true))
		return false;
	walk->steps = 1;
	walk->shift = hint->shift;
	walk->rights = hint->rights & walk->last;
	return true;
}

static inline void ept_leave_hint(struct cpu *cpu, u64 gpa, const struct ept_walk *walk)
{
	void *leaf = walk->step[walk->steps - 1].entry;
	u64 rights = EPT_RIGHTS;

	if (walk->steps < 2 || !leaf)
		return;
	for (unsigned i = 0; i < walk->steps - 1; i++) {
		/* tables in ROM keep no A flag: such walks are made in full */
		if (!walk->step[i].entry)
			return;
		rights &= walk->step[i].value;
	}
	hint_leave(cpu, STAGE_SECOND, gpa, leaf, rights, walk->shift);
}

/* SDM3 29.3.5: A in every entry that was used, D in the last of a write. False: walk again. */
static inline bool ept_set_flags(struct cpu *cpu, struct ept_walk *walk, bool write)
{
	unsigned last = walk->steps - 1;

	for (unsigned i = 0; i < last; i++)
		if (unlikely(!walk_set_bits(cpu, &walk->step[i], EPT_A)))
			return false;
	return walk_set_bits(cpu, &walk->step[last], write ? EPT_A | EPT_D : EPT_A);
}

/* SDM3 table 28-7, bits 0 to 8 */
static u16 exit_qualification(const struct cpu *cpu, const struct fault *fault, u64 rights)
{
	bool write = fault->access & ACCESS_WRITE, fetch = fault->access & ACCESS_EXEC;
	u16 value = write ? EPT_QUAL_WRITE : fetch ? EPT_QUAL_FETCH : EPT_QUAL_READ;

	/* an access to the guest's tables is both where EPT has flags */
	if (write && fault->in_walk && ept_has_flags(cpu))
		value |= EPT_QUAL_READ;
	value |= (rights & (EPT_R | EPT_W | EPT_X)) << 3;
	if (cpu->ept_mode_based && (rights & EPT_XU))
		value |= EPT_QUAL_USER_EXECUTABLE;
	if (fault->linear_valid)
		value |= EPT_QUAL_LINEAR_VALID | (fault->in_walk ? 0 : EPT_QUAL_FINAL);
	return value;
}

static __attribute__((noinline)) int ept_fault(struct cpu *cpu, u64 gpa, unsigned access,
	const struct origin *origin, enum fault_kind kind, const struct ept_walk *walk)
{
	struct fault *fault = &cpu->fault;

	*fault = (struct fault){
		.kind = kind, .gpa = gpa, .access = access, .address = origin->linear,
		.linear_valid = origin->linear_valid, .in_walk = origin->in_walk,
	};
	if (kind == FAULT_EPT_VIOLATION) {
		/* bits 3 to 6 are clear where an entry is not present: its rights are then none */
		u64 rights = ept_present(cpu, walk->last) ? walk->rights : 0;

		fault->qualification = exit_qualification(cpu, fault, rights);
		fault->suppress_ve = walk->last & EPT_SUPPRESS_VE;
	}
	if (trace_on(TRACE_mmu)) {
		cpu_park_fpu(cpu);
		trace_print(TRACE_mmu, "EPT %s at %#llx linear %#llx qualification %#x rip %#llx",
			kind == FAULT_EPT_VIOLATION	     ? "violation" :
			kind == FAULT_EPT_MISCONFIGURATION ? "misconfiguration" :
							       "log full",
			(unsigned long long)gpa, (unsigned long long)origin->linear,
			fault->qualification, (unsigned long long)cpu->rip);
	}
	return OUTCOME_FAULT;
}

/* The right that an access needs, SDM3 29.3.3.2. */
static inline u64 right_for(const struct cpu *cpu, unsigned access, const struct origin *origin)
{
	if (access & ACCESS_WRITE)
		return EPT_W;
	if (!(access & ACCESS_EXEC))
		return EPT_R;
	return cpu->ept_mode_based && origin->user_page ? EPT_XU : EPT_X;
}

int ept_translate(struct cpu *cpu, u64 gpa, unsigned access, const struct origin *origin,
	struct translation *out)
{
	bool write = access & ACCESS_WRITE, flags = ept_has_flags(cpu), hints = hints_usable(cpu);
	u64 right = right_for(cpu, access, origin), leaf, span;
	struct ept_walk walk;
	enum walk_end end;

	do {
		/* what a hint would refuse is looked at in full: a violation drops what is cached
		 * of its address, SDM3 29.4.3.1 */
		if (!likely(hints && ept_by_hint(cpu, gpa, &walk) && (walk.rights & right))) {
			end = ept_walk(cpu, gpa, &walk);
			if (end == WALK_RESERVED)
				return ept_fault(cpu, gpa, access, origin,
					FAULT_EPT_MISCONFIGURATION, &walk);
			if (end == WALK_ABSENT || !(walk.rights & right))
				return ept_fault(cpu, gpa, access, origin,
					FAULT_EPT_VIOLATION, &walk);
		}
		if (!flags)
			break;
		/* SDM3 29.3.6: what has no room in the log is not accessed */
		if (write && cpu->ept_pml && !(walk.last & EPT_D) &&
			!cpu->virt->log_dirty(cpu, gpa & PAGE_MASK))
			return ept_fault(cpu, gpa, access, origin, FAULT_PML_FULL, &walk);
	} while (unlikely(!ept_set_flags(cpu, &walk, write)));
	if (hints)
		ept_leave_hint(cpu, gpa, &walk);
	leaf = walk.step[walk.steps - 1].value;
	span = BIT(walk.shift);
	out->gpa = (leaf & MASK(51, 12) & ~(span - 1)) | (gpa & (span - 1));
	out->span = span;
	out->writable = (walk.rights & EPT_W) && (!flags || (leaf & EPT_D));
	out->global = false;
	return 0;
}
