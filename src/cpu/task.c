/* SPDX-License-Identifier: MIT */
/*
 * Hardware tasks, legacy mode only: APM2 12.2 (TSS), 12.4 (switches) and SDM3 7.3, whose order of
 * checks this follows. What is wrong with the new task's segments is its own fault: it is raised
 * in the new task's context, after the switch.
 *
 * Not modelled: nothing of the I/O map, which is read when I/O asks.
 */
#include "cpu/descriptor.h"

/* Where things stand in the two kinds of TSS. */
struct tss_layout {
	u8 size; /* of a register */
	u8 ip, flags, gpr, segs, ldt;
	u8 seg_count, seg_step;
	u8 len;
};

static const struct tss_layout tss16 = {
	.size = 2, .ip = 0x0e, .flags = 0x10, .gpr = 0x12, .segs = 0x22, .ldt = 0x2a,
	.seg_count = 4, .seg_step = 2, .len = 0x2c,
};

static const struct tss_layout tss32 = {
	.size = 4, .ip = 0x20, .flags = 0x24, .gpr = 0x28, .segs = 0x48, .ldt = 0x60,
	.seg_count = 6, .seg_step = 4, .len = 0x68,
};

#define TSS_CR3 0x1c
#define TSS_TRAP 0x64
#define DR7_LOCAL 0x155ull /* L0..L3 and LE, cleared by every switch: APM2 13.1.1.4 */

static const struct tss_layout *layout_of(u16 attr)
{
	return attr_system_type(attr) & 8 ? &tss32 : &tss16;
}

static u32 field(const u8 *image, unsigned at, unsigned size)
{
	u32 value = 0;

	copy_bytes(&value, image + at, size);
	return value;
}

/* The new task's TSS, found good so far. */
struct task {
	struct descriptor desc;
	struct segment tr;
	const struct tss_layout *layout;
	u8 image[0x68];
};

static int find_task(struct cpu *cpu, u16 sel, enum task_source source, u32 ext, struct task *task)
{
	u8 vector = source == TASK_IRET ? VEC_TS : VEC_GP;
	u32 error = SELECTOR_ERROR(sel) | ext;
	unsigned type;

	if (SELECTOR_NULL(sel) || (sel & SELECTOR_TI))
		return cpu_fault_code(cpu, vector, error);
	if (descriptor_read(cpu, sel, vector, ext, &task->desc))
		return OUTCOME_FAULT;
	segment_from_descriptor(&task->tr, sel, &task->desc);
	type = attr_system_type(task->tr.attr);
	if (source == TASK_IRET ? type != SYS_TSS16_BUSY && type != SYS_TSS32_BUSY :
				  type != SYS_TSS16 && type != SYS_TSS32)
		return cpu_fault_code(cpu, vector, error);
	if (!(task->tr.attr & SEG_P))
		return cpu_fault_code(cpu, VEC_NP, error);
	task->layout = layout_of(task->tr.attr);
	if (task->tr.limit < task->layout->len - 1u)
		return cpu_fault_code(cpu, VEC_TS, error);
	return 0;
}

/* The registers of the task that is left, into its TSS. */
static int save_task(struct cpu *cpu, u64 next_rip, u64 rflags)
{
	const struct tss_layout *layout = layout_of(cpu->seg[TR].attr);
	unsigned len = layout->segs + layout->seg_count * layout->seg_step - layout->ip;
	u8 image[0x60 - 0x20];

	/* the upper halves of selectors' fields are written as zero */
	zero_bytes(image, sizeof(image));
	copy_bytes(image, &next_rip, layout->size);
	copy_bytes(image + layout->flags - layout->ip, &rflags, layout->size);
	for (unsigned i = 0; i < 8; i++)
		copy_bytes(image + layout->gpr - layout->ip + i * layout->size, &cpu->gpr[i],
			layout->size);
	for (unsigned i = 0; i < layout->seg_count; i++)
		copy_bytes(image + layout->segs - layout->ip + i * layout->seg_step,
			&cpu->seg[i].sel, 2);
	return cpu_write(cpu, (u32)(cpu->seg[TR].base + layout->ip), image, len,
		ACCESS_WRITE | ACCESS_SYSTEM);
}

/* Flips the busy bit of the task that TR names. */
static int release_task(struct cpu *cpu)
{
	struct descriptor desc;

	if (descriptor_read(cpu, cpu->seg[TR].sel, VEC_TS, 0, &desc))
		return OUTCOME_FAULT;
	return descriptor_set_busy(cpu, &desc, false);
}

static int load_ldt(struct cpu *cpu, u16 sel)
{
	u32 error = SELECTOR_ERROR(sel);
	struct descriptor desc;
	u16 attr;

	cpu->seg[LDTR] = (struct segment){ .sel = sel };
	if (SELECTOR_NULL(sel))
		return 0;
	if (sel & SELECTOR_TI)
		return cpu_fault_code(cpu, VEC_TS, error);
	if (descriptor_read(cpu, sel, VEC_TS, 0, &desc))
		return OUTCOME_FAULT;
	attr = descriptor_attr(&desc);
	if (attr_system_type(attr) != SYS_LDT || !(attr & SEG_P))
		return cpu_fault_code(cpu, VEC_TS, error);
	segment_from_descriptor(&cpu->seg[LDTR], sel, &desc);
	return 0;
}

static int load_task_code(struct cpu *cpu, u16 sel)
{
	u32 error = SELECTOR_ERROR(sel);
	struct descriptor desc;
	unsigned dpl;
	u16 attr;

	if (SELECTOR_NULL(sel))
		return cpu_fault_code(cpu, VEC_TS, error);
	if (descriptor_read(cpu, sel, VEC_TS, 0, &desc))
		return OUTCOME_FAULT;
	attr = descriptor_attr(&desc);
	dpl = attr_dpl(attr);
	if (!attr_is_code(attr) || (attr_is_conforming(attr) ? dpl > SELECTOR_RPL(sel) :
							       dpl != SELECTOR_RPL(sel)))
		return cpu_fault_code(cpu, VEC_TS, error);
	if (!(attr & SEG_P))
		return cpu_fault_code(cpu, VEC_NP, error);
	if (descriptor_set_accessed(cpu, &desc))
		return OUTCOME_FAULT;
	segment_from_descriptor(&cpu->seg[CS], sel, &desc);
	return 0;
}

static int load_task_stack(struct cpu *cpu, u16 sel)
{
	struct descriptor desc;

	if (SELECTOR_NULL(sel))
		return cpu_fault_code(cpu, VEC_TS, 0);
	if (stack_segment_check(cpu, sel, cpu->cpl, VEC_TS, 0, &desc) ||
	    descriptor_set_accessed(cpu, &desc))
		return OUTCOME_FAULT;
	segment_from_descriptor(&cpu->seg[SS], sel, &desc);
	return 0;
}

static int load_task_data(struct cpu *cpu, unsigned seg, u16 sel)
{
	if (SELECTOR_NULL(sel) || !cpu_load_segment(cpu, seg, sel))
		return 0;
	/* what MOV calls #GP is #TS here */
	if (cpu->fault.vector == VEC_GP)
		cpu->fault.vector = VEC_TS;
	return OUTCOME_FAULT;
}

static int load_task_segments(struct cpu *cpu, const u16 *sel)
{
	static const u8 data[] = { ES, DS, FS, GS };

	if (cpu_v86(cpu)) {
		cpu->cpl = 3;
		for (unsigned i = 0; i <= GS; i++)
			segment_load_v86(cpu, i, sel[i]);
		return 0;
	}
	/* until they are loaded they are not there, but name what was asked for */
	cpu->cpl = SELECTOR_RPL(sel[CS]);
	for (unsigned i = 0; i <= GS; i++)
		cpu->seg[i] = (struct segment){ .sel = sel[i] };
	if (load_task_code(cpu, sel[CS]) || load_task_stack(cpu, sel[SS]))
		return OUTCOME_FAULT;
	for (unsigned i = 0; i < ARRAY_SIZE(data); i++)
		if (load_task_data(cpu, data[i], sel[data[i]]))
			return OUTCOME_FAULT;
	return 0;
}

/* Everything but segments: cannot fail, except for what CR3 says. */
static int load_task_registers(struct cpu *cpu, const struct task *task, bool nested)
{
	const struct tss_layout *layout = task->layout;
	u64 rflags = field(task->image, layout->flags, layout->size);

	if (layout == &tss32 && (cpu->cr0 & CR0_PG) &&
	    cpu_write_cr3(cpu, field(task->image, TSS_CR3, 4)))
		return OUTCOME_FAULT;
	cpu->rip = field(task->image, layout->ip, layout->size);
	cpu_set_rflags(cpu, rflags | (nested ? RFLAGS_NT : 0));
	for (unsigned i = 0; i < 8; i++)
		gpr_write(cpu, i, layout->size,
			field(task->image, layout->gpr + i * layout->size, layout->size));
	cpu->cr0 |= CR0_TS;
	cpu->dr7 &= ~DR7_LOCAL;
	return 0;
}

/* The new task runs; what may still fail, fails there. */
static int start_task(struct cpu *cpu, const struct task *task, const struct event *event)
{
	const struct tss_layout *layout = task->layout;
	u64 rsp;
	u16 sel[6] = { 0 };

	for (unsigned i = 0; i < layout->seg_count; i++)
		sel[i] = field(task->image, layout->segs + i * layout->seg_step, 2);
	if (load_ldt(cpu, field(task->image, layout->ldt, 2)) || load_task_segments(cpu, sel)) {
		cpu_mode_update(cpu);
		return OUTCOME_FAULT;
	}
	cpu_mode_update(cpu);
	if (layout == &tss32 && (task->image[TSS_TRAP] & 1))
		cpu->pending_db |= DR6_BT;
	if (event && event->has_error) {
		rsp = cpu->gpr[RSP];
		if (stack_push(cpu, &rsp, event->error, layout->size))
			return OUTCOME_FAULT;
		cpu->gpr[RSP] = rsp;
	}
	if (code_target_check(cpu, &cpu->seg[CS], cpu->rip))
		return OUTCOME_FAULT;
	if (cpu->rflags_system & RFLAGS_IF)
		cpu_events_unmasked(cpu);
	return OUTCOME_JUMP;
}

static u64 intercept_info(enum task_source source, const struct event *event)
{
	u64 info = 0;

	if (source == TASK_IRET)
		info |= VIRT_TASK_IRET;
	if (source == TASK_JMP)
		info |= VIRT_TASK_JMP;
	if (source == TASK_EVENT)
		info |= VIRT_TASK_EVENT;
	if (event && event->has_error)
		info |= VIRT_TASK_HAS_ERROR | event->error;
	return info;
}

int task_switch(struct cpu *cpu, const struct insn *insn, u16 sel, enum task_source source,
	u64 next_rip, const struct event *event)
{
	bool nested = source == TASK_CALL || source == TASK_EVENT;
	u32 ext = event && event->type != EVENT_SOFT && !event->by_insn ? ERROR_EXT : 0;
	u64 rflags = cpu_rflags(cpu);
	u16 link = cpu->seg[TR].sel;
	struct task task;

	if (find_task(cpu, sel, source, ext, &task))
		return OUTCOME_FAULT;
	if (cpu_intercepted(cpu, insn, VIRT_TASK_SWITCH, sel, intercept_info(source, event)))
		return OUTCOME_JUMP;
	if (source == TASK_IRET)
		rflags &= ~RFLAGS_NT;
	/* a page fault must come before anything is changed: SDM3 7.3 */
	if (cpu_read(cpu, (u32)task.tr.base, task.image, task.layout->len,
		    ACCESS_READ | ACCESS_SYSTEM) ||
	    (nested && cpu_probe(cpu, (u32)task.tr.base, 2, ACCESS_WRITE | ACCESS_SYSTEM)) ||
	    save_task(cpu, next_rip, rflags))
		return OUTCOME_FAULT;
	if (!nested && release_task(cpu))
		return OUTCOME_FAULT;
	if (nested && cpu_write(cpu, (u32)task.tr.base, &link, 2, ACCESS_WRITE | ACCESS_SYSTEM))
		return OUTCOME_FAULT;
	if (source != TASK_IRET && descriptor_set_busy(cpu, &task.desc, true))
		return OUTCOME_FAULT;
	task.tr.attr |= 2;
	cpu->seg[TR] = task.tr;
	if (load_task_registers(cpu, &task, nested))
		return OUTCOME_FAULT;
	return start_task(cpu, &task, event);
}
