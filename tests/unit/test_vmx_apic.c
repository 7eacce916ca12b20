/* SPDX-License-Identifier: MIT */
/* APIC virtualization: virt/vmx_apic.c alone, over a page of RAM; SDM3 chapter 30. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "virt/vmx.h"

#define RAM_SIZE (64 * KIB)
#define APIC_PAGE 0x3000
#define DESCRIPTOR 0x5040
#define NO_EXIT 0xffff

/* What the file under test asks of the rest of the unit and of the CPU. */
static struct {
	u32 reason;
	u64 qualification;
	unsigned looks, eois;
	u64 written; /* the last RAM offset */
	struct cpu *cpu;
	struct vmx *vmx;
	struct ram ram;
} rig;

void vmx_events_changed(struct cpu *cpu)
{
	rig.looks++;
}

void vmx_exit_plain(struct cpu *cpu, u32 reason, u64 qualification)
{
	rig.reason = reason;
	rig.qualification = qualification;
	vmx_apic_leave(cpu);
}

void vmx_page_written(struct cpu *cpu, u64 ram_offset, unsigned len)
{
	assert_true(ram_offset + len <= RAM_SIZE);
	rig.written = ram_offset;
}

void cpu_park_fpu(struct cpu *cpu)
{
}

void machine_lock(struct machine *machine)
{
}

void machine_unlock(struct machine *machine)
{
}

static void eoi(void *intc)
{
	rig.eois++;
}

static const struct intc_ops intc = { .eoi = eoi };

static int setup(void **state)
{
	memset(&rig, 0, sizeof(rig));
	rig.cpu = calloc(1, sizeof(*rig.cpu));
	rig.vmx = calloc(1, sizeof(*rig.vmx));
	if (!rig.cpu || !rig.vmx || ram_new(&rig.ram, RAM_SIZE))
		return -1;
	rig.cpu->memory = space_new("memory");
	rig.cpu->virt_state = rig.vmx;
	rig.cpu->intc_ops = &intc;
	if (space_add_ram(rig.cpu->memory, 0, RAM_SIZE, &rig.ram, 0))
		return -1;
	rig.vmx->virtual_apic = rig.ram.host + APIC_PAGE;
	rig.vmx->vmcs.cpu_controls = PROC_TPR_SHADOW | PROC_SECONDARY;
	rig.reason = NO_EXIT;
	return 0;
}

static int teardown(void **state)
{
	space_free(rig.cpu->memory);
	ram_free(&rig.ram);
	free(rig.vmx);
	free(rig.cpu);
	return 0;
}

static u32 *reg(u32 offset)
{
	return (u32 *)(rig.ram.host + APIC_PAGE + offset);
}

/* The bit of a vector in VISR (100h) or VIRR (200h). */
static bool has_vector(u32 base, u8 vector)
{
	return *reg(base + vector / 32 * 16) >> vector % 32 & 1;
}

static void put_vector(u32 base, u8 vector)
{
	*reg(base + vector / 32 * 16) |= (u32)BIT(vector % 32);
}

static void enter(u32 secondary)
{
	rig.vmx->secondary = secondary;
	rig.reason = NO_EXIT;
	vmx_apic_enter(rig.cpu);
}

/* A store by the guest, all of it: the reason of the exit that follows it, or NO_EXIT. */
static u32 put(u32 offset, u32 value, unsigned len)
{
	bool exits;

	assert_true(vmx_apic_virtualized(rig.cpu, offset, len, ACCESS_WRITE));
	vmx_apic_write(rig.cpu, offset, &value, len);
	rig.reason = NO_EXIT;
	exits = vmx_apic_poll_traps(rig.cpu);
	assert_int_equal(exits, rig.reason != NO_EXIT);
	return rig.reason;
}

/* The offsets of a page where aligned accesses of 4 bytes are virtualized, compared with a list. */
static void assert_offsets(unsigned access, const u16 *offsets, unsigned count)
{
	for (u32 offset = 0; offset < PAGE_SIZE; offset += 4) {
		bool want = false;

		for (unsigned i = 0; i < count; i++)
			want |= offsets[i] == offset;
		if (vmx_apic_virtualized(rig.cpu, offset, 4, access) != want)
			fail_msg("offset %03x, access %u", offset, access);
	}
}

static void which_accesses(void **state)
{
	static const u16 tpr[] = { 0x080 }, interrupts[] = { 0x080, 0x0b0, 0x300 };
	static const u16 written[] = { 0x020, 0x080, 0x0b0, 0x0d0, 0x0e0, 0x0f0, 0x280, 0x300,
		0x310,
		0x320, 0x330, 0x340, 0x350, 0x360, 0x370, 0x380, 0x3e0 };
	static const u16 read[] = { 0x020, 0x030, 0x080, 0x0b0, 0x0d0, 0x0e0, 0x0f0, 0x100, 0x110,
		0x120, 0x130, 0x140, 0x150, 0x160, 0x170, 0x180, 0x190, 0x1a0, 0x1b0, 0x1c0, 0x1d0,
		0x1e0, 0x1f0, 0x200, 0x210, 0x220, 0x230, 0x240, 0x250, 0x260, 0x270, 0x280, 0x300,
		0x310, 0x320, 0x330, 0x340, 0x350, 0x360, 0x370, 0x380, 0x3e0 };

	enter(SEC_APIC_ACCESSES);
	assert_offsets(ACCESS_READ, tpr, ARRAY_SIZE(tpr));
	assert_offsets(ACCESS_WRITE, tpr, ARRAY_SIZE(tpr));
	enter(SEC_APIC_ACCESSES | SEC_VIRTUAL_INTERRUPTS);
	assert_offsets(ACCESS_READ, interrupts, ARRAY_SIZE(interrupts));
	assert_offsets(ACCESS_WRITE, interrupts, ARRAY_SIZE(interrupts));
	enter(SEC_APIC_ACCESSES | SEC_APIC_REGISTERS);
	assert_offsets(ACCESS_READ, read, ARRAY_SIZE(read));
	assert_offsets(ACCESS_WRITE, written, ARRAY_SIZE(written));
	assert_offsets(ACCESS_WRITE | ACCESS_MODIFY, written, ARRAY_SIZE(written));
	assert_offsets(ACCESS_EXEC, NULL, 0);
	rig.vmx->vmcs.cpu_controls &= ~PROC_TPR_SHADOW;
	assert_offsets(ACCESS_READ, NULL, 0);
	assert_offsets(ACCESS_WRITE, NULL, 0);
}

static void access_sizes(void **state)
{
	enter(SEC_APIC_ACCESSES | SEC_APIC_REGISTERS);
	assert_true(vmx_apic_virtualized(rig.cpu, 0x80, 1, ACCESS_READ));
	assert_true(vmx_apic_virtualized(rig.cpu, 0x83, 1, ACCESS_READ));
	assert_true(vmx_apic_virtualized(rig.cpu, 0x82, 2, ACCESS_WRITE));
	assert_false(vmx_apic_virtualized(rig.cpu, 0x83, 2, ACCESS_WRITE));
	assert_false(vmx_apic_virtualized(rig.cpu, 0x80, 8, ACCESS_READ));
	assert_false(vmx_apic_virtualized(rig.cpu, 0x7f, 1, ACCESS_READ));
	/* without APIC-register virtualization the offset is meant exactly */
	enter(SEC_APIC_ACCESSES);
	assert_true(vmx_apic_virtualized(rig.cpu, 0x80, 2, ACCESS_READ));
	assert_false(vmx_apic_virtualized(rig.cpu, 0x81, 1, ACCESS_READ));
}

static void one_write_an_operation(void **state)
{
	u32 value = 0x50;

	enter(SEC_APIC_ACCESSES | SEC_APIC_REGISTERS);
	vmx_apic_write(rig.cpu, 0x80, &value, 4);
	assert_false(vmx_apic_virtualized(rig.cpu, 0x80, 4, ACCESS_READ));
	assert_false(vmx_apic_virtualized(rig.cpu, 0x80, 2, ACCESS_WRITE));
	assert_false(vmx_apic_virtualized(rig.cpu, 0xd0, 4, ACCESS_WRITE));
	assert_true(vmx_apic_virtualized(rig.cpu, 0x80, 4, ACCESS_WRITE));
	assert_false(vmx_apic_poll_traps(rig.cpu));
	assert_true(vmx_apic_virtualized(rig.cpu, 0x80, 4, ACCESS_READ));
	/* an exit before the emulation takes it away */
	rig.vmx->vmcs.tpr_threshold = 9;
	vmx_apic_write(rig.cpu, 0x80, &value, 4);
	vmx_apic_leave(rig.cpu);
	assert_false(vmx_apic_poll_traps(rig.cpu));
}

static void reads_and_writes(void **state)
{
	u32 value = 0;

	enter(SEC_APIC_ACCESSES | SEC_APIC_REGISTERS);
	*reg(0xd0) = 0x12345678;
	vmx_apic_read(rig.cpu, 0xd0, &value, 4);
	assert_int_equal(value, 0x12345678);
	value = 0;
	vmx_apic_read(rig.cpu, 0xd2, &value, 1);
	assert_int_equal(value, 0x34);
	assert_int_equal(put(0xd1, 0xabcd, 2), VMX_EXIT_APIC_WRITE);
	assert_int_equal(rig.qualification, 0xd1);
	assert_int_equal(*reg(0xd0), 0x12abcd78);
	assert_int_equal(rig.written, APIC_PAGE + 0xd0);
}

static void write_emulation(void **state)
{
	enter(SEC_APIC_ACCESSES | SEC_APIC_REGISTERS);
	assert_int_equal(put(0x80, 0x11223344, 4), NO_EXIT);
	assert_int_equal(*reg(0x80), 0x44);
	assert_int_equal(put(0x81, 0x55, 1), VMX_EXIT_APIC_WRITE);
	assert_int_equal(rig.qualification, 0x81);
	assert_int_equal(put(0x310, 0x11223344, 4), NO_EXIT);
	assert_int_equal(*reg(0x310), 0x11000000);
	*reg(0x310) = 0x00ffffff;
	assert_int_equal(put(0x313, 0x77, 1), NO_EXIT);
	assert_int_equal(*reg(0x310), 0x77000000);
	assert_int_equal(put(0xb0, 7, 4), VMX_EXIT_APIC_WRITE);
	assert_int_equal(rig.qualification, 0xb0);
	assert_int_equal(*reg(0xb0), 7);
	assert_int_equal(put(0x300, 0x40041, 4), VMX_EXIT_APIC_WRITE);
	assert_int_equal(rig.qualification, 0x300);
	assert_false(has_vector(0x200, 0x41));
}

static void threshold(void **state)
{
	enter(0);
	rig.vmx->vmcs.tpr_threshold = 5;
	vmx_apic_write_cr8(rig.cpu, 5);
	assert_int_equal(*reg(0x80), 0x50);
	assert_int_equal(vmx_apic_read_cr8(rig.cpu), 5);
	assert_false(vmx_apic_poll_traps(rig.cpu));
	rig.looks = 0;
	vmx_apic_write_cr8(rig.cpu, 4);
	assert_true(rig.looks);
	assert_true(vmx_apic_poll_traps(rig.cpu));
	assert_int_equal(rig.reason, VMX_EXIT_TPR_BELOW_THRESHOLD);
	assert_int_equal(*reg(0x80), 0x40);
	assert_false(vmx_apic_poll_traps(rig.cpu));

	/* the page and the MSR do the same */
	enter(SEC_APIC_ACCESSES);
	vmx_apic_leave(rig.cpu);
	assert_int_equal(put(0x80, 0x4f, 1), VMX_EXIT_TPR_BELOW_THRESHOLD);
	assert_int_equal(put(0x80, 0x50, 1), NO_EXIT);
	enter(SEC_X2APIC);
	assert_int_equal(vmx_apic_write_msr(rig.cpu, 0x808, 0x40), 0);
	assert_true(vmx_apic_poll_traps(rig.cpu));
	assert_int_equal(rig.reason, VMX_EXIT_TPR_BELOW_THRESHOLD);
}

/* SDM3 27.7.7: at once after an entry, but only with both controls. */
static void threshold_at_entry(void **state)
{
	struct vmcs *vmcs = &rig.vmx->vmcs;

	vmcs->tpr_threshold = 3;
	*reg(0x80) = 0x2f;
	enter(SEC_APIC_ACCESSES);
	assert_true(vmx_apic_poll_traps(rig.cpu));
	assert_int_equal(rig.reason, VMX_EXIT_TPR_BELOW_THRESHOLD);
	*reg(0x80) = 0x30;
	enter(SEC_APIC_ACCESSES);
	assert_false(vmx_apic_poll_traps(rig.cpu));
	*reg(0x80) = 0x2f;
	enter(0);
	assert_false(vmx_apic_poll_traps(rig.cpu));
	enter(SEC_APIC_ACCESSES | SEC_VIRTUAL_INTERRUPTS);
	assert_false(vmx_apic_poll_traps(rig.cpu));
	vmcs->guest_activity = ACTIVITY_HLT;
	enter(SEC_APIC_ACCESSES);
	assert_true(vmx_apic_poll_traps(rig.cpu));
	vmcs->guest_activity = ACTIVITY_SHUTDOWN;
	enter(SEC_APIC_ACCESSES);
	assert_false(vmx_apic_poll_traps(rig.cpu));
}

static void priorities(void **state)
{
	enter(SEC_VIRTUAL_INTERRUPTS);
	rig.vmx->svi = 0x45;
	vmx_apic_write_cr8(rig.cpu, 3);
	assert_int_equal(*reg(0xa0), 0x40);
	*reg(0xa0) = 0xffffffff;
	assert_int_equal(vmx_apic_write_msr(rig.cpu, 0x808, 0x4c), 0);
	assert_int_equal(*reg(0xa0), 0x4c);

	/* an entry computes it and looks for interrupts */
	*reg(0x80) = 0x31;
	rig.vmx->vmcs.guest_interrupt_status = 0x2241;
	enter(SEC_VIRTUAL_INTERRUPTS);
	assert_int_equal(*reg(0xa0), 0x31);
	assert_int_equal(rig.vmx->rvi, 0x41);
	assert_int_equal(rig.vmx->svi, 0x22);
	assert_true(vmx_apic_interrupt_ready(rig.cpu));
	*reg(0x80) = 0x41;
	enter(SEC_VIRTUAL_INTERRUPTS);
	assert_false(vmx_apic_interrupt_ready(rig.cpu));
	*reg(0x80) = 0;
	rig.vmx->vmcs.guest_interrupt_status = 0x4041;
	enter(SEC_VIRTUAL_INTERRUPTS);
	assert_false(vmx_apic_interrupt_ready(rig.cpu));
	rig.vmx->vmcs.guest_interrupt_status = 0x41;
	rig.vmx->vmcs.cpu_controls |= PROC_INTERRUPT_WINDOW;
	enter(SEC_VIRTUAL_INTERRUPTS);
	assert_false(vmx_apic_interrupt_ready(rig.cpu));
	rig.vmx->vmcs.cpu_controls &= ~PROC_INTERRUPT_WINDOW;
	enter(0);
	assert_false(vmx_apic_interrupt_ready(rig.cpu));
}

static void delivery(void **state)
{
	put_vector(0x200, 0x31);
	put_vector(0x200, 0xff);
	put_vector(0x200, 0x80);
	rig.vmx->vmcs.guest_interrupt_status = 0xff;
	enter(SEC_VIRTUAL_INTERRUPTS);
	assert_true(vmx_apic_interrupt_ready(rig.cpu));
	assert_int_equal(vmx_apic_deliver(rig.cpu), 0xff);
	assert_false(has_vector(0x200, 0xff));
	assert_true(has_vector(0x100, 0xff));
	assert_int_equal(*reg(0xa0), 0xf0);
	assert_int_equal(rig.vmx->svi, 0xff);
	assert_int_equal(rig.vmx->rvi, 0x80);
	assert_false(vmx_apic_interrupt_ready(rig.cpu));
	vmx_apic_leave(rig.cpu);
	assert_int_equal(rig.vmx->vmcs.guest_interrupt_status, 0xff80);
	/* the last one leaves none */
	*reg(0x100 + 0x70) = 0;
	rig.vmx->vmcs.guest_interrupt_status = 0x0080;
	*reg(0x200 + 0x10) = 0;
	enter(SEC_VIRTUAL_INTERRUPTS);
	assert_int_equal(vmx_apic_deliver(rig.cpu), 0x80);
	assert_int_equal(rig.vmx->rvi, 0);
}

static void end_of_interrupt(void **state)
{
	put_vector(0x100, 0x35);
	put_vector(0x100, 0x62);
	rig.vmx->vmcs.guest_interrupt_status = 0x6241;
	enter(SEC_APIC_ACCESSES | SEC_VIRTUAL_INTERRUPTS);
	assert_false(vmx_apic_interrupt_ready(rig.cpu));
	assert_int_equal(put(0xb0, 0x99, 4), NO_EXIT);
	assert_int_equal(*reg(0xb0), 0);
	assert_false(has_vector(0x100, 0x62));
	assert_int_equal(rig.vmx->svi, 0x35);
	assert_int_equal(*reg(0xa0), 0x30);
	assert_true(vmx_apic_interrupt_ready(rig.cpu));

	/* the bitmap: an exit, and nothing is looked for */
	for (unsigned word = 0; word < 4; word++) {
		u8 vector = word * 64 + 17;

		memset(reg(0x100), 0, 0x100);
		put_vector(0x100, vector);
		rig.vmx->vmcs.guest_interrupt_status = vector << 8;
		memset(&rig.vmx->vmcs.eoi_exit_bitmap0, 0, 32);
		(&rig.vmx->vmcs.eoi_exit_bitmap0)[word] = BIT(17);
		enter(SEC_X2APIC | SEC_VIRTUAL_INTERRUPTS);
		rig.vmx->rvi = 0xf1;
		assert_int_equal(vmx_apic_write_msr(rig.cpu, 0x80b, 0), 0);
		assert_false(vmx_apic_interrupt_ready(rig.cpu));
		assert_true(vmx_apic_poll_traps(rig.cpu));
		assert_int_equal(rig.reason, VMX_EXIT_VIRTUALIZED_EOI);
		assert_int_equal(rig.qualification, vector);
		assert_int_equal(rig.vmx->vmcs.guest_interrupt_status, 0xf1);
	}
}

static void self_ipi(void **state)
{
	static const u32 refused[] = { 0x40041 | BIT(31), 0x40041 | BIT(20), 0x40041 | BIT(17),
		0x40041 | BIT(16), 0x40041 | BIT(13), 0x40041 | BIT(12), 0x40041 | BIT(15),
		0x40041 | BIT(8), 0x40041 | BIT(10), 0x00041, 0x80041, 0xc0041, 0x4000f };

	enter(SEC_APIC_ACCESSES | SEC_VIRTUAL_INTERRUPTS);
	for (unsigned i = 0; i < ARRAY_SIZE(refused); i++) {
		assert_int_equal(put(0x300, refused[i], 4), VMX_EXIT_APIC_WRITE);
		assert_int_equal(rig.qualification, 0x300);
		assert_int_equal(rig.vmx->rvi, 0);
	}
	/* destination mode (bit 11) and assertion (bit 14) do not matter */
	assert_int_equal(put(0x300, 0x40041 | BIT(11) | BIT(14), 4), NO_EXIT);
	assert_true(has_vector(0x200, 0x41));
	assert_int_equal(rig.vmx->rvi, 0x41);
	assert_true(vmx_apic_interrupt_ready(rig.cpu));
	/* a lower one does not take its place */
	assert_int_equal(put(0x300, 0x40031, 4), NO_EXIT);
	assert_true(has_vector(0x200, 0x31));
	assert_int_equal(rig.vmx->rvi, 0x41);

	enter(SEC_X2APIC | SEC_VIRTUAL_INTERRUPTS);
	assert_int_equal(vmx_apic_write_msr(rig.cpu, 0x83f, 0x71), 0);
	assert_false(vmx_apic_poll_traps(rig.cpu));
	assert_true(has_vector(0x200, 0x71));
	assert_int_equal(*reg(0x3f0), 0x71);
	assert_int_equal(vmx_apic_write_msr(rig.cpu, 0x83f, 0x0f), 0);
	assert_true(vmx_apic_poll_traps(rig.cpu));
	assert_int_equal(rig.reason, VMX_EXIT_APIC_WRITE);
	assert_int_equal(rig.qualification, 0x3f0);
}

static void msrs(void **state)
{
	u64 value;

	*reg(0x80) = 0x123;
	*reg(0x84) = 0x456;
	*reg(0xff0) = 7;
	enter(SEC_X2APIC);
	assert_int_equal(vmx_apic_read_msr(rig.cpu, 0x808, &value), 0);
	assert_int_equal(value, 0x456ull << 32 | 0x123);
	assert_int_equal(vmx_apic_read_msr(rig.cpu, 0x802, &value), 1);
	assert_int_equal(vmx_apic_write_msr(rig.cpu, 0x80b, 0), 1);
	assert_int_equal(vmx_apic_write_msr(rig.cpu, 0x83f, 0x41), 1);
	enter(SEC_X2APIC | SEC_APIC_REGISTERS);
	assert_int_equal(vmx_apic_read_msr(rig.cpu, 0x8ff, &value), 0);
	assert_int_equal(value, 7);
	assert_int_equal(vmx_apic_write_msr(rig.cpu, 0x8ff, 0), 1);
	/* reserved bits */
	enter(SEC_X2APIC | SEC_VIRTUAL_INTERRUPTS);
	assert_int_equal(vmx_apic_write_msr(rig.cpu, 0x808, 0x100), -1);
	assert_int_equal(vmx_apic_write_msr(rig.cpu, 0x808, BIT(32)), -1);
	assert_int_equal(vmx_apic_write_msr(rig.cpu, 0x80b, 1), -1);
	assert_int_equal(vmx_apic_write_msr(rig.cpu, 0x83f, 0x141), -1);
	assert_int_equal(*reg(0x80), 0x123);
	assert_int_equal(vmx_apic_write_msr(rig.cpu, 0x808, 0xff), 0);
	assert_int_equal(*reg(0x80), 0xff);
	assert_int_equal(*reg(0x84), 0);
}

static void posted(void **state)
{
	u64 *descriptor = (u64 *)(rig.ram.host + DESCRIPTOR);

	rig.vmx->posted = (u8 *)descriptor;
	rig.vmx->vmcs.posted_interrupt_vector = 0xf2;
	put_vector(0x200, 0x22);
	rig.vmx->vmcs.guest_interrupt_status = 0x22;
	descriptor[0] = BIT(0x23);
	descriptor[2] = BIT(5);
	descriptor[4] = ~0ull;
	descriptor[7] = 0x77;
	enter(SEC_VIRTUAL_INTERRUPTS);
	assert_false(vmx_apic_posted(rig.cpu, 0xf2));
	rig.vmx->vmcs.pin_controls = PIN_POSTED_INTERRUPTS;
	assert_false(vmx_apic_posted(rig.cpu, 0xf1));
	assert_int_equal(rig.eois, 0);
	assert_true(vmx_apic_posted(rig.cpu, 0xf2));
	assert_int_equal(rig.eois, 1);
	assert_true(has_vector(0x200, 0x22));
	assert_true(has_vector(0x200, 0x23));
	assert_true(has_vector(0x200, 0x85));
	assert_int_equal(rig.vmx->rvi, 0x85);
	assert_true(vmx_apic_interrupt_ready(rig.cpu));
	assert_int_equal(descriptor[0] | descriptor[1] | descriptor[2] | descriptor[3], 0);
	assert_int_equal(descriptor[4], ~BIT(0));
	assert_int_equal(descriptor[7], 0x77);
	/* nothing posted: RVI stays */
	assert_true(vmx_apic_posted(rig.cpu, 0xf2));
	assert_int_equal(rig.vmx->rvi, 0x85);
	/* lower ones do too */
	descriptor[0] = BIT(0x30);
	assert_true(vmx_apic_posted(rig.cpu, 0xf2));
	assert_int_equal(rig.vmx->rvi, 0x85);
	assert_true(has_vector(0x200, 0x30));
}

static void access_exits(void **state)
{
	struct cpu *cpu = rig.cpu;

	assert_int_equal(vmx_apic_access_qualification(cpu, 0xfee00320, ACCESS_READ, false),
		0x0320);
	assert_int_equal(vmx_apic_access_qualification(cpu, 0xfee00320, ACCESS_WRITE, false),
		0x1320);
	assert_int_equal(vmx_apic_access_qualification(cpu, 0xfee00320, ACCESS_EXEC, false),
		0x2320);
	assert_int_equal(vmx_apic_access_qualification(cpu, 0xfee00320, ACCESS_READ, true), 0xf000);
	cpu->event.valid = true;
	assert_int_equal(vmx_apic_access_qualification(cpu, 0xfee00320, ACCESS_WRITE, false),
		0x3320);
	assert_int_equal(vmx_apic_access_qualification(cpu, 0xfee00320, ACCESS_READ, true), 0xa000);
}

/* Pages that are not RAM read as ones and forget what is written. */
static void nowhere(void **state)
{
	u32 value = 0x20;
	u64 msr;

	rig.vmx->virtual_apic = NULL;
	rig.vmx->vmcs.pin_controls = PIN_POSTED_INTERRUPTS;
	rig.vmx->vmcs.tpr_threshold = 15;
	enter(SEC_APIC_ACCESSES | SEC_APIC_REGISTERS | SEC_VIRTUAL_INTERRUPTS);
	vmx_apic_write(rig.cpu, 0x80, &value, 4);
	assert_false(vmx_apic_poll_traps(rig.cpu));
	vmx_apic_read(rig.cpu, 0x80, &value, 4);
	assert_int_equal(value, 0xffffffff);
	assert_int_equal(vmx_apic_read_cr8(rig.cpu), 15);
	assert_int_equal(vmx_apic_read_msr(rig.cpu, 0x808, &msr), 0);
	assert_int_equal(msr, ~0ull);
	assert_true(vmx_apic_posted(rig.cpu, 0));
	assert_int_equal(rig.vmx->rvi, 0xff);
	assert_false(vmx_apic_interrupt_ready(rig.cpu));
	vmx_apic_write_cr8(rig.cpu, 0);
	assert_int_equal(vmx_apic_write_msr(rig.cpu, 0x80b, 0), 0);
	assert_int_equal(rig.vmx->svi, 0xff);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(which_accesses),
		TEST(access_sizes),
		TEST(one_write_an_operation),
		TEST(reads_and_writes),
		TEST(write_emulation),
		TEST(threshold),
		TEST(threshold_at_entry),
		TEST(priorities),
		TEST(delivery),
		TEST(end_of_interrupt),
		TEST(self_ipi),
		TEST(msrs),
		TEST(posted),
		TEST(access_exits),
		TEST(nowhere),
	};

	return cmocka_run_group_tests_name("vmx_apic", tests, NULL, NULL);
}
