/* SPDX-License-Identifier: MIT */
/* See virt_rig.h. */
#include "virt_rig.h"

#include <sanitizer/lsan_interface.h>
#include <string.h>

/* One form of each instruction that C executes and that a guest may exit by. */
static const struct insn insns[] = {
	{ .op = OP_MOV_FROM_CR, .reg = 0, .rm = RBX },
	{ .op = OP_MOV_FROM_CR, .reg = 3, .rm = RBX },
	{ .op = OP_MOV_FROM_CR, .reg = 8, .rm = RBX }, { .op = OP_MOV_TO_CR, .reg = 0, .rm = RBX },
	{ .op = OP_MOV_TO_CR, .reg = 2, .rm = RBX }, { .op = OP_MOV_TO_CR, .reg = 3, .rm = RBX },
	{ .op = OP_MOV_TO_CR, .reg = 4, .rm = RBX }, { .op = OP_MOV_TO_CR, .reg = 8, .rm = RBX },
	{ .op = OP_CLTS }, { .op = OP_LMSW, .rm = RBX, .opsize = 2 },
	{ .op = OP_SMSW, .rm = RBX, .opsize = 4 }, { .op = OP_MOV_FROM_DR, .reg = 7, .rm = RBX },
	{ .op = OP_MOV_TO_DR, .reg = 7, .rm = RBX }, { .op = OP_MOV_TO_DR, .reg = 6, .rm = RBX },
	{ .op = OP_SLDT, .rm = RBX, .opsize = 4 }, { .op = OP_STR, .rm = RBX, .opsize = 4 },
	{ .op = OP_LLDT, .rm = RBX, .opsize = 2 }, { .op = OP_LTR, .rm = RBX, .opsize = 2 },
	{ .op = OP_SGDT, MEMORY }, { .op = OP_LIDT, MEMORY }, { .op = OP_RDTSC },
	{ .op = OP_RDTSCP }, { .op = OP_RDPMC }, { .op = OP_CPUID },
	{ .op = OP_PUSHF, .opsize = 8 }, { .op = OP_POPF, .opsize = 8 },
	{ .op = OP_IRET, .opsize = 8 }, { .op = OP_INT, .imm = 0x40 }, { .op = OP_INT3 },
	{ .op = OP_INT1 }, { .op = OP_INVD }, { .op = OP_WBINVD }, { .op = OP_PAUSE },
	{ .op = OP_HLT }, { .op = OP_INVLPG, MEMORY }, { .op = OP_INVPCID, .reg = RCX, MEMORY },
	{ .op = OP_IN, .opcode = 0xec, .opsize = 1 },
	{ .op = OP_OUT, .opcode = 0xee, .opsize = 4 }, { .op = OP_RDMSR }, { .op = OP_WRMSR },
	{ .op = OP_RDRAND, .rm = RBX }, { .op = OP_XSETBV }, { .op = OP_STI }, { .op = OP_CLI },
	{ .op = OP_UD }, { .op = OP_NM }, { .op = OP_GP }, { .op = OP_SYSCALL },
	{ .op = OP_SYSRET, .opsize = 8 }, { .op = OP_MONITOR }, { .op = OP_MWAIT },
	{ .op = OP_MOV_TO_SEG, .reg = SS, .rm = RBX, .opsize = 2 },
};

const struct insn *virt_rig_choose(struct fuzz_input *input, const struct insn *own,
	unsigned count)
{
	unsigned i = fuzz_take(input, 1) % (ARRAY_SIZE(insns) + count);

	return i < ARRAY_SIZE(insns) ? &insns[i] : &own[i - ARRAY_SIZE(insns)];
}

int virt_rig_run(struct rig *rig, struct insn insn)
{
	insn.len = 3;
	insn.addrsize = 8;
	insn.code_size = 8;
	if (!insn.opsize)
		insn.opsize = 4;
	return rig_exec(rig, insn);
}

void virt_rig_step(struct rig *rig, struct insn insn)
{
	struct cpu *cpu = rig->cpu;

	if (cpu->step_after || cpu->event.valid || cpu->pending_db || (cpu->mode & MODE_STEP) ||
		(cpu->intr_shadow && cpu->shadow_mov_ss))
		rig_boundary(rig);
	if (cpu->in_guest && cpu->activity == CPU_RUNNING)
		virt_rig_run(rig, insn);
}

void virt_rig_set_register(struct rig *rig, struct fuzz_input *input)
{
	unsigned reg = fuzz_take(input, 1) & 15;

	rig->cpu->gpr[reg] = fuzz_take(input, 8);
}

void virt_rig_set_pin(struct rig *rig, struct fuzz_input *input)
{
	cpu_pin_set(rig->cpu, fuzz_take(input, 1) & 3, true);
}

void virt_rig_set_memory(struct rig *rig, struct fuzz_input *input)
{
	u64 at = fuzz_take(input, 3) % (rig->machine.ram.size - 8);

	rig_put(rig, at, fuzz_take(input, 8), 8);
}

/* ---- an interrupt controller that has one vector and a TPR that nobody reads ---- */

static int acknowledge(void *opaque)
{
	cpu_pin_set(((struct rig *)opaque)->cpu, CPU_PIN_INTR, false);
	return VIRT_RIG_VECTOR;
}

static int pending_vector(void *opaque)
{
	return VIRT_RIG_VECTOR;
}

static void eoi(void *opaque)
{
}

static u64 read_cr8(void *opaque)
{
	return 0;
}

static void write_cr8(void *opaque, u64 value)
{
}

static int read_msr(void *opaque, u32 msr, u64 *value)
{
	*value = 0;
	return 0;
}

static int write_msr(void *opaque, u32 msr, u64 value)
{
	return 0;
}

static void init(void *opaque)
{
}

static const struct intc_ops intc = {
	.acknowledge = acknowledge, .pending_vector = pending_vector, .eoi = eoi,
	.read_cr8 = read_cr8, .write_cr8 = write_cr8, .read_msr = read_msr, .write_msr = write_msr,
	.init = init,
};

/* Made once: asking the real CPU for its CPUID takes milliseconds on a virtual host. */
struct rig *virt_rig_new(enum nested_vendor nested, int (*unit_new)(struct cpu *cpu))
{
	struct rig *rig;
	struct cpu *cpu;

	/* the leak checker does not look into a vCPU's mapping */
	__lsan_disable();
	require(!rig_setup((void **)&rig));
	cpu = rig->cpu;
	cpuid_table_free(cpu->cpuid);
	require(!cpuid_table_new(&cpu->cpuid, nested, NULL, 1));
	require(!unit_new(cpu));
	cpu->phys_bits = cpuid_phys_bits(cpu->cpuid);
	cpu->intc_ops = &intc;
	__lsan_enable();
	return rig;
}

void virt_rig_power_on(struct rig *rig)
{
	struct cpu *cpu = rig->cpu;

	memset(rig->machine.ram.host, 0, rig->machine.ram.size);
	cpu->pins = 0;
	cpu->stats = (struct cpu_stats){ 0 };
	cpu_reset(cpu);
	rig_long(rig);
}
