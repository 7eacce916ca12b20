/* SPDX-License-Identifier: MIT */
/* See paging_model.h. */
#include <string.h>

#include "paging_model.h"

/* Where a guest-physical access comes from. */
struct from {
	unsigned access;
	bool in_walk, linear_valid, user_page;
};

struct used_entry {
	u64 address; /* real */
	u64 value;
	u64 gpa;
	bool unwritable; /* EPT forbids to write there */
};

/* What tables say of an address. */
struct mapping {
	bool present, reserved, failed;
	bool u, w, nx, g;
	u64 page, span;
	struct used_entry used[4];
	unsigned count;
};

static void second(struct model *m, u64 gpa, struct from from, struct result *r);

u64 model_read(const struct model *m, u64 address, unsigned size)
{
	u64 value = 0;

	if (address >= PAGES * PAGE_SIZE)
		return size == 4 ? 0xffffffff : ~0ull;
	memcpy(&value, m->ram + address, size);
	return value;
}

bool model_clear(u64 value, unsigned hi, unsigned lo)
{
	for (unsigned i = lo; i <= hi; i++)
		if (value >> i & 1)
			return false;
	return true;
}

/* The real address of a first stage's entry; false: *r says why there is none. */
static bool reach_entry(struct model *m, u64 gpa, struct used_entry *used, struct result *r)
{
	bool reads = m->next.form == EPT && !m->next.flags;
	struct from from = { reads ? ACCESS_READ : ACCESS_WRITE, .in_walk = true,
		.linear_valid = true };

	*used = (struct used_entry){ .address = gpa, .gpa = gpa };
	if (m->next.form == NONE)
		return true;
	second(m, gpa, from, r);
	if (r->end != OK)
		return false;
	used->address = r->gpa;
	used->unwritable = reads && !r->writable;
	if (m->next.form == EPT && r->gpa / PAGE_SIZE == m->apic_page / PAGE_SIZE) {
		*r = (struct result){ .end = APIC_ACCESS, .fault_gpa = r->gpa, .in_walk = true };
		return false;
	}
	return true;
}

static void look_up(struct model *m, const struct stage *s, u64 address, struct mapping *map,
	struct result *r)
{
	unsigned level = s->form == LONG ? 4 : s->form == PAE ? 3 : 2;
	unsigned bits = s->form == LEGACY ? 10 : 9, size = s->form == LEGACY ? 4 : 8;
	u64 table = s->form == LONG ? s->root / 4096 % BIT(40) * 4096 :
		    s->form == PAE  ? s->root / 32 % BIT(27) * 32 :
				      s->root / 4096 % BIT(20) * 4096;
	bool in_registers = m->next.form == NONE || m->next.form == EPT;

	memset(map, 0, sizeof(*map));
	map->u = map->w = true;
	for (;; level--) {
		unsigned shift = 12 + bits * (level - 1);
		u64 index = address >> shift & (s->form == PAE && level == 3 ? 3 : BIT(bits) - 1);
		u64 where = table + index * size, entry;
		bool top_of_pae = s->form == PAE && level == 3, large;
		struct used_entry used = { .address = where };

		if (top_of_pae && !s->second && in_registers) {
			entry = m->pdpte[index];
		} else {
			if (!s->second && !reach_entry(m, where, &used, r)) {
				map->failed = true;
				return;
			}
			entry = model_read(m, used.address, size);
		}
		if (!(entry & 1))
			return;
		map->present = true;
		if (top_of_pae) {
			if (!model_clear(entry, 2, 1) || !model_clear(entry, 8, 5) ||
				!model_clear(entry, 63, PHYS_BITS)) {
				map->reserved = true;
				return;
			}
			table = entry & MASK(PHYS_BITS - 1, 12);
			map->present = false;
			continue;
		}
		large = (entry & BIT(7)) && level > 1 && (s->form != LEGACY || s->pse);
		used.value = entry;
		map->used[map->count++] = used;
		if (s->form != LEGACY) {
			if (!model_clear(entry, 51, PHYS_BITS) || (!s->nxe && entry >> 63) ||
				(s->form == PAE && !model_clear(entry, 62, 52)) ||
				(large && level == 4) ||
				/* the rig's CPU is AMD's */
				(level == 4 && !model_clear(entry, 8, 8)) ||
				(large && !model_clear(entry, shift - 1, 13)))
				map->reserved = true;
		} else if (large && !model_clear(entry, 21, 21)) {
			map->reserved = true;
		}
		if (map->reserved)
			return;
		map->u &= entry >> 2 & 1;
		map->w &= entry >> 1 & 1;
		map->nx |= s->form != LEGACY && entry >> 63;
		if (level == 1 || large) {
			map->g = entry >> 8 & 1;
			map->span = BIT(shift);
			if (s->form == LEGACY && large)
				map->page = (entry >> 13 & 0xff) << 32 | (entry >> 22 & 0x3ff) << 22;
			else
				map->page = (entry & MASK(s->form == LEGACY ? 31 : 51, 12)) >>
					    shift << shift;
			return;
		}
		table = entry & MASK(s->form == LEGACY ? 31 : 51, 12);
		map->present = false;
	}
}

/* The bits that entry i of a mapping is to have. */
static u64 flags_due(const struct mapping *map, unsigned i, bool dirty)
{
	return BIT(5) | (dirty && i == map->count - 1 ? BIT(6) : 0);
}

static void store(const struct model *m, u64 address, u64 value, unsigned size)
{
	if (address < PAGES * PAGE_SIZE)
		memcpy(m->ram + address, &value, size);
}

static void mark(struct model *m, const struct stage *s, struct mapping *map, bool dirty)
{
	for (unsigned i = 0; i < map->count; i++) {
		struct used_entry *used = &map->used[i];

		if (!s->second && used->address / PAGE_SIZE >= SECOND_TABLES &&
		    (~used->value & flags_due(map, i, dirty)))
			m->second_changed = true;
		used->value |= flags_due(map, i, dirty);
		store(m, used->address, used->value, s->form == LEGACY ? 4 : 8);
	}
}

static bool is_dirty(const struct mapping *map)
{
	return map->used[map->count - 1].value >> 6 & 1;
}

/* APM2 15.25 */
static void nested(struct model *m, u64 gpa, struct from from, struct result *r)
{
	const struct stage *s = &m->next;
	bool write = from.access == ACCESS_WRITE, fetch = from.access == ACCESS_EXEC;
	struct mapping map;

	look_up(m, s, gpa, &map, r);
	if (s->form != LONG && gpa > 0xffffffff)
		memset(&map, 0, sizeof(map));
	if (map.present && !map.reserved && map.u && (map.w || !write) && !(map.nx && fetch)) {
		mark(m, s, &map, write);
		r->gpa = map.page + gpa % map.span;
		r->span = map.span;
		r->writable = map.w && is_dirty(&map);
		return;
	}
	r->end = NESTED_FAULT;
	r->fault_gpa = gpa;
	r->in_walk = from.in_walk;
	r->error = 4 | (map.present ? 1 : 0) | (write ? 2 : 0) | (map.reserved ? 8 : 0) |
		(fetch && s->nxe ? 16 : 0);
}

/* Which bits of an EPT entry must be 0 at a level, SDM3 tables 29-1 to 29-7. */
static bool ept_reserved(u64 entry, unsigned level, bool leaf)
{
	unsigned type = entry >> 3 & 7;

	if (!model_clear(entry, 51, PHYS_BITS))
		return true;
	if (leaf)
		return type == 2 || type == 3 || type == 7 ||
		       (level == 2 && !model_clear(entry, 20, 12)) ||
		       (level == 3 && !model_clear(entry, 29, 12));
	return !model_clear(entry, level == 4 ? 7 : 6, 3);
}

/* SDM3 29.3 */
static void extended(struct model *m, u64 gpa, struct from from, struct result *r)
{
	const struct stage *s = &m->next;
	bool write = from.access == ACCESS_WRITE, fetch = from.access == ACCESS_EXEC;
	u64 table = s->root & MASK(51, 12), where[4], entry, value;
	unsigned level, count = 0, rights = 0x407; /* bits 10 and 2:0 */
	bool leaf, allowed;

	for (level = 4;; level--) {
		unsigned type;

		where[count] = table + (gpa >> (12 + 9 * (level - 1)) & 511) * 8;
		entry = model_read(m, where[count++], 8);
		type = entry & 7;
		if (!type && !(s->mode_based && entry >> 10 & 1)) {
			rights = 0;
			break;
		}
		leaf = level == 1 || (level < 4 && entry >> 7 & 1);
		if (type == 2 || type == 6 || ept_reserved(entry, level, leaf)) {
			r->end = MISCONFIGURATION;
			r->fault_gpa = gpa;
			return;
		}
		rights &= entry;
		if (leaf)
			break;
		table = entry & MASK(51, 12);
	}
	if (write)
		allowed = rights >> 1 & 1;
	else if (!fetch)
		allowed = rights & 1;
	else
		allowed = rights >> (s->mode_based && from.user_page ? 10 : 2) & 1;
	if (!allowed) {
		bool both = write && from.in_walk && s->flags;

		r->end = VIOLATION;
		r->fault_gpa = gpa;
		r->in_walk = from.in_walk;
		r->suppress_ve = entry >> 63;
		r->qualification = (write ? 2 : fetch ? 4 : 1) | (both ? 1 : 0) |
				   (rights & 7) << 3 |
				   (s->mode_based && rights >> 10 & 1 ? 64 : 0) |
				   (from.linear_valid ? 128 : 0) |
				   (from.linear_valid && !from.in_walk ? 256 : 0);
		return;
	}
	if (s->flags && write && m->pml && !(entry >> 9 & 1)) {
		if (!m->log_room) {
			r->end = LOG_FULL;
			return;
		}
		m->log_room--;
		m->log[m->logged++] = gpa / 4096 * 4096;
	}
	if (s->flags) {
		for (unsigned i = 0; i < count; i++) {
			value = model_read(m, where[i], 8) | BIT(8);
			if (write && i == count - 1)
				value |= BIT(9);
			store(m, where[i], value, 8);
			entry = value;
		}
	}
	r->span = BIT(12 + 9 * (level - 1));
	r->gpa = (entry & MASK(51, 12)) / r->span * r->span + gpa % r->span;
	r->writable = (rights >> 1 & 1) && (!s->flags || entry >> 9 & 1);
}

static void second(struct model *m, u64 gpa, struct from from, struct result *r)
{
	memset(r, 0, sizeof(*r));
	if (m->next.form == EPT)
		extended(m, gpa, from, r);
	else
		nested(m, gpa, from, r);
}

static bool allowed(const struct model *m, const struct mapping *map, bool write, bool fetch,
	bool user, bool smap)
{
	if (user && !map->u)
		return false;
	if (fetch && map->nx)
		return false;
	if (!user && map->u && (fetch ? m->smep : smap))
		return false;
	if (write && !map->w && (user || m->wp))
		return false;
	return true;
}

/* Setting A and D in tables that EPT does not let be written; true: *r is the violation. */
static bool update_fails(struct model *m, const struct mapping *map, bool write, struct result *r)
{
	struct from from = { ACCESS_WRITE, .in_walk = true, .linear_valid = true };

	for (unsigned i = 0; i < map->count; i++) {
		u64 due = flags_due(map, i, write);

		if (map->used[i].unwritable && (map->used[i].value & due) != due) {
			second(m, map->used[i].gpa, from, r);
			return true;
		}
	}
	return false;
}

void model_translate(struct model *m, u64 linear, unsigned access, bool user, bool smap,
	struct result *r)
{
	const struct stage *s = &m->first;
	bool write = access == ACCESS_WRITE, fetch = access == ACCESS_EXEC;
	struct from from = { access, .linear_valid = true, .user_page = true };
	struct mapping map;
	struct result real;

	memset(r, 0, sizeof(*r));
	r->span = 4096;
	if (s->form == NONE) {
		r->gpa = (u32)linear;
		r->writable = true;
	} else {
		look_up(m, s, s->form == LONG ? linear : (u32)linear, &map, r);
		if (map.failed)
			return;
		memset(r, 0, sizeof(*r));
		if (!map.present || map.reserved || !allowed(m, &map, write, fetch, user, smap)) {
			r->end = PAGE_FAULT;
			r->error = (map.present ? 1 : 0) | (write ? 2 : 0) | (user ? 4 : 0) |
				(map.reserved ? 8 : 0) |
				(fetch && (m->smep || (s->nxe && s->form != LEGACY)) ? 16 : 0);
			return;
		}
		if (update_fails(m, &map, write, r))
			return;
		mark(m, s, &map, write);
		r->gpa = map.page + linear % map.span;
		r->span = map.span;
		r->writable = is_dirty(&map) && allowed(m, &map, true, false, user, smap);
		r->global = map.g && m->pge;
		from.user_page = map.u;
	}
	if (m->next.form != NONE) {
		second(m, r->gpa, from, &real);
		if (real.end != OK) {
			*r = real;
			return;
		}
		r->gpa = real.gpa;
		r->writable &= real.writable;
	}
	if (fetch && r->gpa / PAGE_SIZE == m->apic_page / PAGE_SIZE)
		*r = (struct result){ .end = APIC_ACCESS, .fault_gpa = r->gpa };
}

void model_load_pdptes(struct model *m, struct result *r)
{
	struct from from = { ACCESS_READ, .in_walk = true };
	u64 at = m->first.root;

	memset(r, 0, sizeof(*r));
	if (m->next.form == EPT) {
		second(m, at, from, r);
		if (r->end != OK)
			return;
		at = r->gpa;
		if (at / PAGE_SIZE == m->apic_page / PAGE_SIZE) {
			*r = (struct result){ .end = APIC_ACCESS, .fault_gpa = at, .in_walk = true };
			return;
		}
	}
	for (unsigned i = 0; i < 4; i++) {
		u64 entry = model_read(m, at + i * 8, 8);

		m->pdpte[i] = entry;
		if ((entry & 1) && !(model_clear(entry, 2, 1) && model_clear(entry, 8, 5) &&
					   model_clear(entry, 63, PHYS_BITS)))
			r->end = PAGE_FAULT;
	}
}
