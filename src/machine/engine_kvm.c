/* SPDX-License-Identifier: MIT */
/* The KVM engine as a machine sees it. */
#include <stdio.h>

#include "board/board.h"
#include "kvm/kvm.h"
#include "machine/engines.h"

static int open_vm(struct machine *machine, const struct machine_config *config,
	char problem[MACHINE_PROBLEM_LEN])
{
	struct kvm_config kvm = { .memory = machine->memory, .ports = machine->ports,
		.loop = machine->loop, .cpus = machine->cpus, .cpu_count = machine->cpu_count };

	int error = kvm_vm_new(&machine->kvm, &kvm, problem);

	machine->ram.dirty_ops = &kvm_dirty;
	machine->ram.dirty_arg = machine->kvm;
	return error;
}

static int start_vm(struct machine *machine, const struct machine_config *config)
{
	return 0;
}

static void close_vm(struct machine *machine)
{
	if (machine->kvm)
		kvm_vm_free(machine->kvm);
}

static struct board_interrupts kvm_interrupts(struct machine *machine)
{
	return (struct board_interrupts){ .pic = kvm_set_pic_pin, .ioapic = kvm_set_ioapic_pin,
		.message = kvm_send_message, .cut_timer = kvm_cut_timer, .reset = kvm_vm_reset,
		.arg = machine->kvm };
}

static void run_vcpu(struct cpu *cpu)
{
	if (kvm_run(cpu->machine->kvm, cpu))
		machine_end(cpu->machine, END_FAILED);
}

static void kick_vcpu(struct cpu *cpu)
{
	if (cpu->machine->kvm)
		kvm_kick(cpu->machine->kvm, cpu);
}

_Static_assert(KVM_PROBLEM_LEN <= MACHINE_PROBLEM_LEN, "a problem of KVM's fits");

const struct engine_ops kvm_engine = {
	.name = "kvm",
	.open = open_vm,
	.start = start_vm,
	.close = close_vm,
	.interrupts = kvm_interrupts,
	.run = run_vcpu,
	.kick = kick_vcpu,
};
