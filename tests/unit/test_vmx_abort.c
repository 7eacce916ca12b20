/* SPDX-License-Identifier: MIT */
/* VMX aborts, SDM3 28.7: an exit that cannot be finished shuts the CPU down for good. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "cpu_rig.h"
#include "virt/vmx.h"
#include "virt/vmx_caps.h"

#define REGION 0x40000

static int setup(void **state)
{
	struct rig *rig;
	struct cpu *cpu;

	if (rig_setup(state))
		return -1;
	rig = *state;
	cpu = rig->cpu;
	cpuid_table_free(cpu->cpuid);
	if (cpuid_table_new(&cpu->cpuid, NESTED_INTEL, NULL, 1) || vmx_new(cpu))
		return -1;
	rig_long(rig);
	rig_put(rig, REGION, VMCS_REVISION, 4);
	vmx_of(cpu)->on = true;
	vmx_load_region(cpu, REGION, (struct vmcs *)(rig->machine.ram.host + REGION), REGION);
	vmx_of(cpu)->vmcs.exit_controls = EXIT_HOST_64;
	return 0;
}

static int teardown(void **state)
{
	vmx_free(((struct rig *)*state)->cpu);
	return rig_teardown(state);
}

/* A guest leaves while an event is on its way, which must not be delivered to anyone. */
static void leave(struct rig *rig)
{
	struct cpu *cpu = rig->cpu;

	cpu->in_guest = true;
	cpu->event = (struct event){ .valid = true, .type = EVENT_INTR, .vector = 0x40 };
	vmx_exit(cpu, &(struct vmx_exit){ .reason = VMX_EXIT_EPT_VIOLATION });
}

static void assert_aborted(struct rig *rig, enum vmx_abort why)
{
	struct cpu *cpu = rig->cpu;
	u64 rip = cpu->rip;

	assert_int_equal(rig_get(rig, REGION + offsetof(struct vmcs, abort), 4), why);
	assert_int_equal(cpu->activity, CPU_SHUTDOWN);
	assert_false(cpu->in_guest);
	/* nothing wakes it but a reset */
	cpu_pin_set(cpu, CPU_PIN_INIT, true);
	cpu_pin_set(cpu, CPU_PIN_NMI, true);
	rig_interrupt(rig, 0x50);
	assert_false(cpu_has_wakeup(cpu));
	rig_boundary(rig);
	assert_int_equal(cpu->activity, CPU_SHUTDOWN);
	assert_int_equal(cpu->rip, rip);
	cpu_reset(cpu);
	assert_int_equal(cpu->activity, CPU_RUNNING);
	assert_false(vmx_of(cpu)->on);
}

static void no_abort(void **state)
{
	struct rig *rig = *state;

	vmx_of(rig->cpu)->vmcs.host_rip = 0x1234;
	leave(rig);
	assert_int_equal(rig->cpu->activity, CPU_RUNNING);
	assert_int_equal(rig->cpu->rip, 0x1234);
	assert_false(rig->cpu->event.valid);
}

static void msrs_not_stored(void **state)
{
	struct rig *rig = *state;

	vmx_of(rig->cpu)->vmcs.exit_msr_store_count = VMX_MSR_LIST_MAX + 1;
	leave(rig);
	assert_aborted(rig, VMX_ABORT_SAVE_MSR);
}

static void msrs_not_loaded(void **state)
{
	struct rig *rig = *state;

	vmx_of(rig->cpu)->vmcs.exit_msr_load_count = VMX_MSR_LIST_MAX + 1;
	leave(rig);
	assert_aborted(rig, VMX_ABORT_LOAD_MSR);
}

static void host_pdptes(void **state)
{
	struct rig *rig = *state;

	rig_put(rig, 0x20000, 0x20003, 8); /* bit 1 is reserved */
	vmx_of(rig->cpu)->vmcs.exit_controls = 0;
	vmx_of(rig->cpu)->vmcs.host_cr0 = CR0_PE | CR0_PG;
	vmx_of(rig->cpu)->vmcs.host_cr3 = 0x20000;
	vmx_of(rig->cpu)->vmcs.host_cr4 = CR4_PAE;
	leave(rig);
	assert_aborted(rig, VMX_ABORT_HOST_PDPTE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(no_abort),
		TEST(msrs_not_stored),
		TEST(msrs_not_loaded),
		TEST(host_pdptes),
	};

	return cmocka_run_group_tests_name("vmx_abort", tests, NULL, NULL);
}
