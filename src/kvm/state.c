/* SPDX-License-Identifier: MIT */
/*
 * From struct cpu into the kernel's vCPU, which has just been made: what a boot loader and firmware
 * set. All other state is power-on state there as here.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "kvm/kvm_internal.h"

#define FIXED_MTRRS 11
#define VARIABLE_MTRRS 8

union msrs {
	struct kvm_msrs head;
	u8 room[sizeof(struct kvm_msrs) + (3 + FIXED_MTRRS + 2 * VARIABLE_MTRRS) *
		sizeof(struct kvm_msr_entry)];
};

static struct kvm_segment segment(const struct segment *from)
{
	return (struct kvm_segment){ .base = from->base,
		/* KVM wants bytes here, whatever G says */
		.limit = from->limit, .selector = from->sel, .type = from->attr & SEG_TYPE,
		.present = !!(from->attr & SEG_P), .dpl = (from->attr & SEG_DPL) >> SEG_DPL_SHIFT,
		.db = !!(from->attr & SEG_DB), .s = !!(from->attr & SEG_S),
		.l = !!(from->attr & SEG_L), .g = !!(from->attr & SEG_G),
		.avl = !!(from->attr & SEG_AVL), .unusable = !(from->attr & SEG_P) };
}

static struct kvm_dtable table(const struct table_register *from)
{
	return (struct kvm_dtable){ .base = from->base, .limit = from->limit };
}

static int load_system(int fd, const struct cpu *cpu)
{
	struct kvm_sregs s;
	/* APIC_BASE stays the kernel's */
	int error = kvm_call(fd, KVM_GET_SREGS, &s);

	if (error)
		return error;
	s.cs = segment(&cpu->seg[CS]);
	s.ds = segment(&cpu->seg[DS]);
	s.es = segment(&cpu->seg[ES]);
	s.fs = segment(&cpu->seg[FS]);
	s.gs = segment(&cpu->seg[GS]);
	s.ss = segment(&cpu->seg[SS]);
	s.tr = segment(&cpu->seg[TR]);
	s.ldt = segment(&cpu->seg[LDTR]);
	s.gdt = table(&cpu->gdtr);
	s.idt = table(&cpu->idtr);
	s.cr0 = cpu->cr0;
	s.cr2 = cpu->cr2;
	s.cr3 = cpu->cr3;
	s.cr4 = cpu->cr4;
	s.cr8 = cpu->cr8_shadow;
	s.efer = cpu->efer;
	memset(s.interrupt_bitmap, 0, sizeof(s.interrupt_bitmap));
	return kvm_call(fd, KVM_SET_SREGS, &s);
}

static int load_general(int fd, const struct cpu *cpu)
{
	const u64 *r = cpu->gpr;
	struct kvm_regs regs = { .rax = r[RAX], .rbx = r[RBX], .rcx = r[RCX], .rdx = r[RDX],
		.rsi = r[RSI], .rdi = r[RDI], .rsp = r[RSP], .rbp = r[RBP], .r8 = r[R8],
		.r9 = r[R9], .r10 = r[R10], .r11 = r[R11], .r12 = r[R12], .r13 = r[R13],
		.r14 = r[R14], .r15 = r[R15], .rip = cpu->rip, .rflags = cpu_rflags(cpu) };

	return kvm_call(fd, KVM_SET_REGS, &regs);
}

static void put(union msrs *msrs, u32 msr, u64 value)
{
	msrs->head.entries[msrs->head.nmsrs++] = (struct kvm_msr_entry){ .index = msr, .data = value };
}

static int load_msrs(int fd, const struct cpu *cpu)
{
	static const u16 fixed[FIXED_MTRRS] = { MSR_MTRR_FIX64K_00000, MSR_MTRR_FIX16K_80000,
		MSR_MTRR_FIX16K_A0000, MSR_MTRR_FIX4K_C0000, MSR_MTRR_FIX4K_C0000 + 1,
		MSR_MTRR_FIX4K_C0000 + 2, MSR_MTRR_FIX4K_C0000 + 3, MSR_MTRR_FIX4K_C0000 + 4,
		MSR_MTRR_FIX4K_C0000 + 5, MSR_MTRR_FIX4K_C0000 + 6, MSR_MTRR_FIX4K_C0000 + 7 };
	union msrs msrs = { .room = { 0 } };
	int done;

	put(&msrs, MSR_PAT, cpu->pat);
	put(&msrs, MSR_MISC_ENABLE, cpu->misc_enable);
	for (unsigned i = 0; i < FIXED_MTRRS; i++)
		put(&msrs, fixed[i], cpu->mtrr_fixed[i]);
	for (unsigned i = 0; i < VARIABLE_MTRRS; i++) {
		put(&msrs, MSR_MTRR_PHYSBASE0 + 2 * i, cpu->mtrr_base[i]);
		put(&msrs, MSR_MTRR_PHYSBASE0 + 2 * i + 1, cpu->mtrr_mask[i]);
	}
	put(&msrs, MSR_MTRR_DEF_TYPE, cpu->mtrr_def_type);
	/* How many it took, or the error */
	done = kvm_call(fd, KVM_SET_MSRS, &msrs);
	if (done < 0)
		return done;
	if (done == (int)msrs.head.nmsrs)
		return 0;
	message("KVM does not take %#llx for MSR %#x", (unsigned long long)msrs.head.entries[done].data,
		msrs.head.entries[done].index);
	return -EINVAL;
}

static int load_xcrs(int fd, const struct cpu *cpu)
{
	struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs = { { .xcr = 0, .value = cpu->xcr0 } } };

	return cpu_has(cpu, 1, 2, 26) ? kvm_call(fd, KVM_SET_XCRS, &xcrs) : 0;
}

int kvm_state_load(struct kvm_vm *vm, const struct cpu *cpu)
{
	int fd = vm->vcpus[cpu->id].fd;
	const char *what = "its MSRs";
	int error = load_msrs(fd, cpu);

	/* All others wait for a start-up IPI as the kernel made them */
	if (!error && cpu->id == 0) {
		what = "its system registers";
		error = load_system(fd, cpu);
		if (!error) {
			what = "its registers";
			error = load_general(fd, cpu);
		}
	}
	if (!error) {
		what = "XCR0";
		error = load_xcrs(fd, cpu);
	}
	if (error)
		message("KVM does not take vCPU %u's state: %s: %s", cpu->id, what, strerror(-error));
	return error;
}
