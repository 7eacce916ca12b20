// SPDX-License-Identifier: MIT
/*
 * The unit's MSRs and its reset: APM2 15.30, TSC ratio 15.30.5.
 *
 * Not modelled: what DIS_A20M, IGNNE and SMM_CTL control; the machine has no A20 gate that SVM
 * could override, no FERR and no SMM. They read as zero.
 */
#include "virt/svm.h"

#define MSR_SVM_KEY 0xc0010118
#define SVM_TSC_RATIO_ONE BIT(32) /* 8.32 fixed point, 15.30.5 */
#define TSC_RATIO_RESERVED MASK(63, 40)
#define VM_CR_WRITABLE (VM_CR_DPD | VM_CR_R_INIT | VM_CR_DIS_A20M | VM_CR_LOCK | VM_CR_SVMDIS)

int svm_read_msr(struct cpu *cpu, u32 msr, u64 *value)
{
	const struct svm *svm = svm_of(cpu);

	switch (msr) {
	case MSR_VM_CR:
		*value = svm->vm_cr;
		return 0;
	case MSR_VM_HSAVE_PA:
		*value = svm->hsave_pa;
		return 0;
	case MSR_TSC_RATIO:
		*value = svm->tsc_ratio;
		return 0;
	case MSR_IGNNE:
	case MSR_SMM_CTL:
	case MSR_SVM_KEY: /* 15.30.6: never read back */
		*value = 0;
		return 0;
	}
	return -1;
}

/* What cpu/ has to know of VM_CR. */
static void note_vm_cr(struct cpu *cpu, const struct svm *svm)
{
	cpu->svm_disabled = svm->vm_cr & VM_CR_SVMDIS;
	cpu->init_redirect = svm->vm_cr & VM_CR_R_INIT;
}

/* APM2 15.30.1 */
static int write_vm_cr(struct cpu *cpu, struct svm *svm, u64 value)
{
	const u64 locked = VM_CR_LOCK | VM_CR_SVMDIS;

	if (value & ~VM_CR_WRITABLE)
		return -1;
	if ((value & VM_CR_SVMDIS) && (cpu->efer & EFER_SVME))
		return -1;
	if (svm->vm_cr & VM_CR_LOCK)
		value = (value & ~locked) | (svm->vm_cr & locked);
	svm->vm_cr = value;
	note_vm_cr(cpu, svm);
	return 0;
}

/* APM2 15.30.6: sets the key while the lock is open, and opens it again with the same key. */
static void write_key(struct svm *svm, u64 value)
{
	if (!(svm->vm_cr & VM_CR_LOCK))
		svm->key = value;
	else if (svm->key && value == svm->key)
		svm->vm_cr &= ~(u64)VM_CR_LOCK;
}

int svm_write_msr(struct cpu *cpu, u32 msr, u64 value)
{
	struct svm *svm = svm_of(cpu);

	switch (msr) {
	case MSR_VM_CR:
		return write_vm_cr(cpu, svm, value);
	case MSR_VM_HSAVE_PA: /* 15.30.4 */
		if ((value & ~PAGE_MASK) || value >> cpu->phys_bits)
			return -1;
		svm->hsave_pa = value;
		return 0;
	case MSR_TSC_RATIO:
		if (value & TSC_RATIO_RESERVED)
			return -1;
		svm->tsc_ratio = value;
		return 0;
	case MSR_SVM_KEY:
		write_key(svm, value);
		return 0;
	case MSR_IGNNE:
	case MSR_SMM_CTL:
		return 0;
	}
	return -1;
}

/* RESET and INIT end the guest without an exit; what INIT keeps: 15.30.1, table 14-1. */
void svm_reset(struct cpu *cpu, bool init)
{
	struct svm *svm = svm_of(cpu);

	if (cpu->in_guest) {
		cpu_account(cpu, LEVEL_GUEST);
		if (svm->guest_has_pat)
			cpu->pat = svm->host.pat;
		if (svm->guest_has_lbr)
			cpu->debugctl = svm->host.debugctl;
		cpu_leave_guest_tsc(cpu);
	}
	svm->cached = false;
	svm->guest_has_pat = svm->guest_has_lbr = false;
	if (!init) {
		svm->vm_cr = svm->hsave_pa = svm->key = 0;
		svm->tsc_ratio = SVM_TSC_RATIO_ONE;
	} else if (!(svm->vm_cr & VM_CR_LOCK)) {
		svm->vm_cr &= ~(u64)VM_CR_SVMDIS;
	}
	note_vm_cr(cpu, svm);
}
