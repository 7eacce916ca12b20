/* SPDX-License-Identifier: MIT */
/* The preemption timer, SDM3 26.5.1: virt/vmx_event.c alone, and who is asked to wake it when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "virt/vmx.h"
#include "virt/vmx_caps.h"

#define LONG_TIME 0xf0000000u /* counts: half a minute and more */

/* What the file under test asks of the rest of the unit, the CPU and the machine. */
static struct {
	unsigned wakes, exits;
	struct cpu *cpu;
	struct vmx *vmx;
} rig;

void vmx_exit_plain(struct cpu *cpu, u32 reason, u64 qualification)
{
	assert_int_equal(reason, VMX_EXIT_PREEMPTION_TIMER);
	rig.exits++;
}

void machine_wake_at(struct cpu *cpu, u64 ns)
{
	rig.wakes++;
}

/* In this test a nanosecond is a tick of L1's. */
u64 cpu_tsc_to_ns(void *cpu, u64 tsc)
{
	return tsc;
}

void cpu_park_fpu(struct cpu *cpu)
{
}

void cpu_deliver_event(struct cpu *cpu, const struct event *event)
{
	fail();
}

u8 vmx_apic_deliver(struct cpu *cpu)
{
	return 0;
}

bool vmx_apic_interrupt_ready(const struct cpu *cpu)
{
	return false;
}

bool vmx_apic_poll_traps(struct cpu *cpu)
{
	return false;
}

static int setup(void **state)
{
	memset(&rig, 0, sizeof(rig));
	rig.cpu = calloc(1, sizeof(*rig.cpu));
	rig.vmx = calloc(1, sizeof(*rig.vmx));
	if (!rig.cpu || !rig.vmx)
		return -1;
	rig.cpu->virt_state = rig.vmx;
	rig.cpu->in_guest = true;
	rig.vmx->vmcs.pin_controls = PIN_PREEMPTION_TIMER;
	return 0;
}

static int teardown(void **state)
{
	free(rig.vmx);
	free(rig.cpu);
	return 0;
}

static void start(u32 counts)
{
	rig.vmx->vmcs.preemption_timer = counts;
	vmx_timer_start(rig.cpu);
}

static bool poll(void)
{
	return vmx_poll(rig.cpu, VIRT_BEFORE_NMI);
}

static void without_the_control(void **state)
{
	rig.vmx->vmcs.pin_controls = 0;
	start(0);
	assert_false(poll());
	assert_int_equal(rig.wakes, 0);
}

static void zero_has_expired(void **state)
{
	start(0);
	assert_int_equal(rig.wakes, 0);
	assert_int_equal(vmx_timer_left(rig.cpu), 0);
	assert_true(vmx_wakes(rig.cpu));
	assert_true(poll());
	assert_int_equal(rig.exits, 1);
}

static void counts_down(void **state)
{
	start(LONG_TIME);
	assert_in_range(vmx_timer_left(rig.cpu), LONG_TIME / 2, LONG_TIME);
	assert_false(vmx_wakes(rig.cpu));
	assert_false(poll());
	start(1);
	while (!vmx_wakes(rig.cpu))
		;
	assert_true(poll());
}

/* A later deadline is left to the wake-up that is on its way, an earlier one is not. */
static void one_wake_up_for_many(void **state)
{
	start(LONG_TIME / 2);
	assert_int_equal(rig.wakes, 1);
	start(LONG_TIME);
	assert_false(poll());
	assert_int_equal(rig.wakes, 1);
	start(LONG_TIME / 4);
	assert_int_equal(rig.wakes, 2);
}

/* The machine's clock runs a little faster than the TSC: what came too early is asked for again. */
static void woken_too_early(void **state)
{
	start(LONG_TIME);
	assert_int_equal(rig.wakes, 1);
	rig.cpu->wake_at = 0; /* as cpu_poll_events() has it when CPU_PIN_TIMER came */
	assert_false(poll());
	assert_int_equal(rig.wakes, 2);
	assert_false(poll());
	assert_int_equal(rig.wakes, 2);
}

/* The timer is no affair of writes to the TSC. */
static void tsc_written(void **state)
{
	start(LONG_TIME);
	rig.cpu->tsc_l1_offset += 1ull << 50;
	assert_in_range(vmx_timer_left(rig.cpu), LONG_TIME / 2, LONG_TIME);
	assert_false(poll());
	start(LONG_TIME);
	rig.cpu->tsc_l1_offset -= 1ull << 51;
	assert_in_range(vmx_timer_left(rig.cpu), LONG_TIME / 2, LONG_TIME);
	start(1);
	while (!vmx_wakes(rig.cpu))
		;
	assert_true(poll());
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(without_the_control),
		TEST(zero_has_expired),
		TEST(counts_down),
		TEST(one_wake_up_for_many),
		TEST(woken_too_early),
		TEST(tsc_written),
	};

	return cmocka_run_group_tests_name("vmx_event", tests, NULL, NULL);
}
