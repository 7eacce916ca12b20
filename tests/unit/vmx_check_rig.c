/* SPDX-License-Identifier: MIT */
/* See vmx_check_rig.h. */
#include "vmx_check_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cpu_rig.h"

/* ---- sound VMCSs ---- */

static const struct set common[] = {
	SET(link_pointer, VMCS_NONE),
	SET(pin_controls, PIN),
	SET(cpu_controls, PROC),
	SET(exit_controls, EXIT),
	SET(entry_controls, ENTRY),
	SET(virtual_apic_address, VIRTUAL_APIC),
	SET(eptp, EPTP),
	SET(vpid, 1),
	SET(tsc_multiplier, BIT(48)),
	SET(host_cr0, CR0_PE | CR0_NE | CR0_PG),
	SET(host_cr4, CR4_VMXE | CR4_PAE),
	SET(host_cs_selector, 8),
	SET(host_tr_selector, 0x28),
	SET(host_efer, EFER_LMA | EFER_LME),
	SET(host_pat, 0x0007040600070406),
	SET(guest_cr0, CR0_PE | CR0_NE | CR0_PG),
	SET(guest_cr3, PDPTES),
	SET(guest_cr4, CR4_VMXE),
	SET(guest_pat, 0x0007040600070406),
	SET(guest_rflags, RFLAGS_RESERVED1),
	SET(guest_gdtr_limit, 0xffff),
	SET(guest_idtr_limit, 0xffff),
	SET(guest_tr_selector, 0x28),
	SET(guest_tr_limit, 0x67),
	SET(guest_tr_rights, 0x8b),
	SET(guest_ldtr_rights, RIGHTS_UNUSABLE),
	NOTHING,
};

#define SEGMENT(name, selector, limit, rights) \
	SET(guest_##name##_selector, selector), SET(guest_##name##_limit, limit), \
		SET(guest_##name##_rights, rights)
#define FLAT_SEGMENTS(code_rights) \
	SEGMENT(cs, 0x08, 0xffffffff, code_rights), SEGMENT(ss, 0x10, 0xffffffff, 0xc093), \
		SEGMENT(ds, 0x10, 0xffffffff, 0xc093), SEGMENT(es, 0x10, 0xffffffff, 0xc093), \
		SEGMENT(fs, 0x10, 0xffffffff, 0xc093), SEGMENT(gs, 0x10, 0xffffffff, 0xc093)
#define REAL_SEGMENT(name, selector, rights) \
	SEGMENT(name, selector, 0xffff, rights), SET(guest_##name##_base, (selector) << 4)

static const struct set long_guest[] = {
	SET(entry_controls, ENTRY | ENTRY_IA32E),
	SET(guest_cr4, CR4_VMXE | CR4_PAE),
	SET(guest_efer, EFER_LMA | EFER_LME),
	FLAT_SEGMENTS(0xa09b),
	NOTHING,
};

static const struct set legacy_guest[] = { FLAT_SEGMENTS(0xc09b), NOTHING };

static const struct set legacy_host[] = {
	SET(exit_controls, EXIT & ~EXIT_HOST_64),
	SET(host_ss_selector, 0x10),
	SET(host_efer, 0),
	FLAT_SEGMENTS(0xc09b),
	NOTHING,
};

static const struct set pae_guest[] = {
	SET(guest_cr4, CR4_VMXE | CR4_PAE),
	FLAT_SEGMENTS(0xc09b),
	NOTHING,
};

static const struct set v86_guest[] = {
	SET(guest_rflags, RFLAGS_RESERVED1 | RFLAGS_VM),
	REAL_SEGMENT(es, 0x1003, 0xf3),
	REAL_SEGMENT(cs, 0xf000, 0xf3),
	REAL_SEGMENT(ss, 0x2001, 0xf3),
	REAL_SEGMENT(ds, 0x3000, 0xf3),
	REAL_SEGMENT(fs, 0xffff, 0xf3),
	REAL_SEGMENT(gs, 0, 0xf3),
	NOTHING,
};

static const struct set real_guest[] = {
	SECONDARY(SEC_EPT | SEC_UNRESTRICTED),
	SET(guest_cr0, CR0_NE),
	REAL_SEGMENT(es, 0, 0x93),
	REAL_SEGMENT(cs, 0xf000, 0x9b),
	REAL_SEGMENT(ss, 0, 0x93),
	REAL_SEGMENT(ds, 0, 0x93),
	REAL_SEGMENT(fs, 0, 0x93),
	REAL_SEGMENT(gs, 0, 0x93),
	SET(guest_cs_base, 0xffff0000), /* as after a reset */
	NOTHING,
};

static const struct set *const guests[GUEST_KINDS] = {
	[LONG_GUEST] = long_guest,
	[LEGACY_GUEST] = legacy_guest,
	[LEGACY_HOST] = legacy_host,
	[PAE_GUEST] = pae_guest,
	[V86_GUEST] = v86_guest,
	[REAL_GUEST] = real_guest,
};

static const struct {
	const char *name;
	size_t field;
} rows[] = {
#define VMCS_FIELD(encoding, name) { #name, offsetof(struct vmcs, name) },
#include "x86/vmcs.def"
};

static u64 *field(struct vmcs *v, size_t offset)
{
	return (u64 *)((u8 *)v + offset);
}

static const char *name_of(size_t offset)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (rows[i].field == offset)
			return rows[i].name;
	return "?";
}

static void apply(struct vmcs *v, const struct set *list)
{
	for (; list->field; list++)
		*field(v, list->field) = list->value;
}

struct vmcs *vmx_rig_vmcs(void **state, enum guest_kind guest)
{
	struct rig *rig = *state;
	struct vmcs *v = &vmx_of(rig->cpu)->vmcs;

	memset(v, 0, sizeof(*v));
	apply(v, common);
	apply(v, guests[guest]);
	rig->cpu->efer = guest == LEGACY_HOST ? 0 : EFER_LMA | EFER_LME;
	return v;
}

/* ---- one check ---- */

/* Fields of the VMCS that a failure shows are shown as they are. */
static void check_shown(struct vmx *vmx)
{
	assert_non_null(vmx->failure.field[0].name);
	for (unsigned i = 0; i < FAILURE_FIELDS && vmx->failure.field[i].name; i++)
		for (size_t row = 0; row < ARRAY_SIZE(rows); row++)
			if (!strcmp(rows[row].name, vmx->failure.field[i].name))
				assert_int_equal(vmx->failure.field[i].value,
					*field(&vmx->vmcs, rows[row].field));
}

/* All of them, with what the entry would end with: an error, or 0 and a qualification. */
static const char *run_checks(struct rig *rig, int *error, u64 *qualification)
{
	struct vmx *vmx = vmx_of(rig->cpu);
	bool good = false;

	*qualification = 0;
	*error = vmx_check_controls(rig->cpu);
	if (!*error)
		*error = vmx_check_host(rig->cpu);
	if (!*error)
		good = vmx_check_guest(rig->cpu, qualification);
	assert_int_equal(good, !vmx->failure.text);
	if (!good)
		check_shown(vmx);
	return vmx->failure.text;
}

const char *vmx_rig_check(void **state)
{
	u64 qualification;
	int error;

	return run_checks(*state, &error, &qualification);
}

static void fail_row(const struct rule *rule, const struct set *change, const char *what,
	const char *other)
{
	fail_msg("%s, \"%s\", %s %llx: %s%s%s", rule->section, rule->text ? rule->text : "sound",
		change->field ? name_of(change->field) : "unchanged",
		(unsigned long long)change->value, what, other ? ": " : "", other ? other : "");
}

static void expect(void **state, const struct rule *rule, const struct set *change, bool passes)
{
	struct rig *rig = *state;
	struct vmcs *v = vmx_rig_vmcs(state, rule->guest);
	const char *text, *section;
	u64 qualification;
	int error, due;

	apply(v, rule->with);
	if (change->field)
		*field(v, change->field) = change->value;
	text = run_checks(rig, &error, &qualification);
	section = vmx_of(rig->cpu)->failure.section;
	if (passes && text)
		fail_row(rule, change, "fails", text);
	if (passes)
		return;
	if (!text)
		fail_row(rule, change, "passes", NULL);
	if (strcmp(text, rule->text))
		fail_row(rule, change, "is found to be", text);
	if (strncmp(section, "SDM3 ", 5) || strcmp(section + 5, rule->section))
		fail_row(rule, change, "has section", section);
	due = !strncmp(rule->section, "27.2.1.", 7) ? VMX_ERROR_CONTROLS :
		!strncmp(rule->section, "27.2.", 5) ? VMX_ERROR_HOST_STATE : 0;
	if (error != due)
		fail_row(rule, change, "has another error", NULL);
	if (qualification != rule->qualification)
		fail_row(rule, change, "has another qualification", NULL);
}

void vmx_rig_run(void **state, const struct rule *rules, size_t count)
{
	for (const struct rule *rule = rules; rule < rules + count; rule++) {
		static const struct set nothing;

		expect(state, rule, &nothing, true);
		for (const struct set *set = rule->good; set->field; set++)
			expect(state, rule, set, true);
		for (const struct set *set = rule->bad; set->field; set++)
			expect(state, rule, set, false);
		assert_true(!rule->text == !rule->bad[0].field);
	}
}

/* ---- the world around ---- */

static void put_pdptes(struct rig *rig, u64 at, u64 last)
{
	rig_put(rig, at, 0x6001, 8);
	rig_put(rig, at + 8, 0x7019, 8);
	rig_put(rig, at + 16, 0, 8);
	rig_put(rig, at + 24, last, 8);
}

int vmx_rig_setup(void **state)
{
	struct rig *rig;
	struct vmx *vmx = calloc(1, sizeof(*vmx));

	if (!vmx || rig_setup(state))
		return -1;
	rig = *state;
	cpuid_table_free(rig->cpu->cpuid);
	if (cpuid_table_new(&rig->cpu->cpuid, NESTED_INTEL, NULL, 1))
		return -1;
	rig->cpu->phys_bits = PHYS_BITS;
	rig->cpu->virt_state = vmx;
	vmx->current_pa = CURRENT;
	rig_put(rig, CURRENT, VMCS_REVISION, 4);
	rig_put(rig, PLAIN_REGION, VMCS_REVISION, 4);
	rig_put(rig, SHADOW_REGION, VMCS_REVISION | VMCS_SHADOW, 4);
	rig_put(rig, STRANGE_REGION, VMCS_REVISION + 1, 4);
	rig_put(rig, VIRTUAL_APIC + 0x80, 0xffffff5f, 4);
	put_pdptes(rig, PDPTES, TOP_PAGE | 0xe19);
	put_pdptes(rig, PDPTES_BIT1, 3);
	put_pdptes(rig, PDPTES_BIT8, BIT(8) | 1);
	put_pdptes(rig, PDPTES_WIDE, BEYOND | 1);
	put_pdptes(rig, PDPTES_ABSENT, ~1ull);
	return 0;
}

int vmx_rig_teardown(void **state)
{
	struct rig *rig = *state;

	free(rig->cpu->virt_state);
	rig->cpu->virt_state = NULL;
	return rig_teardown(state);
}
