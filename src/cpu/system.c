/* SPDX-License-Identifier: MIT */
/*
 * Time-stamp counter, CPUID and the cache instructions: APM3 chapter 4, SDM3 18.17.
 *
 * Not modelled: performance counters (RDPMC reads zero where it names one), MONITOR and MWAIT (CPUID does
 * not offer them), RDPRU, system management mode (RSM).
 */
#include <time.h>

#include "cpu/handlers.h"

#define K7_COUNTERS 4

u64 cpu_tsc(const struct cpu *cpu)
{
	u64 tsc = __builtin_ia32_rdtsc();

	if (unlikely(cpu->tsc_ratio != TSC_RATIO_ONE))
		tsc = (u128)tsc * cpu->tsc_ratio >> 48;
	return tsc + cpu->tsc_offset;
}

/* APM2 15.30.5, SDM3 26.3: the host's TSC and tsc_l1_offset are both scaled, offset is not. */
void cpu_enter_guest_tsc(struct cpu *cpu, u64 ratio, u64 offset)
{
	u64 l1 = cpu->tsc_l1_offset;

	if (unlikely(ratio != TSC_RATIO_ONE))
		l1 = (u64)(((__int128)(i64)l1 * (i64)ratio) >> 48);
	cpu->tsc_offset = l1 + offset;
	cpu->tsc_ratio = ratio;
}

void cpu_leave_guest_tsc(struct cpu *cpu)
{
	cpu->tsc_offset = cpu->tsc_l1_offset;
	cpu->tsc_ratio = TSC_RATIO_ONE;
}

void cpu_set_tsc(struct cpu *cpu, u64 value)
{
	u64 deadline, old = cpu->tsc_l1_offset;

	cpu->tsc_l1_offset = value - __builtin_ia32_rdtsc();
	if (!cpu->in_guest)
		cpu->tsc_offset = cpu->tsc_l1_offset;
	else /* the guest's is a multiple of L1's, APM2 15.30.5 */
		cpu->tsc_offset += (__int128)(i64)(cpu->tsc_l1_offset - old) *
			(i64)cpu->tsc_ratio >> 48;
	pvclock_tsc_changed(cpu);
	if (!cpu->intc_ops)
		return;
	cpu_park_fpu(cpu);
	machine_lock(cpu->machine);
	/* a deadline is a TSC value: written again it is armed for its new time */
	if (!cpu->intc_ops->read_msr(cpu->intc, MSR_TSC_DEADLINE, &deadline) && deadline)
		cpu->intc_ops->write_msr(cpu->intc, MSR_TSC_DEADLINE, deadline);
	machine_unlock(cpu->machine);
}

u64 cpu_tsc_to_ns(void *arg, u64 tsc)
{
	const struct cpu *cpu = arg;
	u64 now = __builtin_ia32_rdtsc() + cpu->tsc_l1_offset, khz = cpuid_tsc_khz(cpu->cpuid), ns;
	struct timespec time;
	u128 ahead;

	clock_gettime(CLOCK_MONOTONIC, &time);
	ns = (u64)time.tv_sec * 1000000000 + time.tv_nsec;
	if (tsc <= now)
		return ns;
	ahead = ((u128)(tsc - now) * 1000000 + khz - 1) / khz;
	return ahead > UINT64_MAX - ns ? UINT64_MAX : ns + (u64)ahead;
}

/* APM3 RDTSC: CR4.TSD keeps it from all but the supervisor; in real mode CPL is 0. */
static bool tsc_forbidden(const struct cpu *cpu)
{
	return (cpu->cr4 & CR4_TSD) && cpu->cpl;
}

static void give_tsc(struct cpu *cpu)
{
	u64 tsc = cpu_tsc(cpu);

	cpu->gpr[RAX] = (u32)tsc;
	cpu->gpr[RDX] = tsc >> 32;
}

int exec_RDTSC(struct cpu *cpu, const struct insn *insn)
{
	if (tsc_forbidden(cpu))
		return cpu_fault_gp0(cpu);
	if (cpu_intercepted(cpu, insn, VIRT_RDTSC, 0, 0))
		return OUTCOME_JUMP;
	give_tsc(cpu);
	return OUTCOME_NEXT;
}

int exec_RDTSCP(struct cpu *cpu, const struct insn *insn)
{
	if (unlikely(cpu->guest_lacks & LACKS_RDTSCP))
		return cpu_fault(cpu, VEC_UD);
	if (tsc_forbidden(cpu))
		return cpu_fault_gp0(cpu);
	if (cpu_intercepted(cpu, insn, VIRT_RDTSCP, 0, 0))
		return OUTCOME_JUMP;
	give_tsc(cpu);
	cpu->gpr[RCX] = (u32)cpu->tsc_aux;
	return OUTCOME_NEXT;
}

int exec_RDPID(struct cpu *cpu, const struct insn *insn)
{
	if (unlikely(cpu->guest_lacks & LACKS_RDTSCP))
		return cpu_fault(cpu, VEC_UD);
	cpu->gpr[insn->rm] = (u32)cpu->tsc_aux;
	return OUTCOME_NEXT;
}

int exec_RDPMC(struct cpu *cpu, const struct insn *insn)
{
	if (cpu->cpl && !(cpu->cr4 & CR4_PCE))
		return cpu_fault_gp0(cpu);
	if (cpu_intercepted(cpu, insn, VIRT_RDPMC, 0, 0))
		return OUTCOME_JUMP;
	/* AMD's four are always there, see msr.c; they stand still */
	if (cpu_is_intel(cpu) || (u32)cpu->gpr[RCX] >= K7_COUNTERS)
		return cpu_fault_gp0(cpu);
	cpu->gpr[RAX] = cpu->gpr[RDX] = 0;
	return OUTCOME_NEXT;
}

int exec_RDPRU(struct cpu *cpu, const struct insn *insn)
{
	return cpu_fault(cpu, VEC_UD);
}

int exec_CPUID(struct cpu *cpu, const struct insn *insn)
{
	u32 out[4];

	if (cpu_intercepted(cpu, insn, VIRT_CPUID, 0, 0))
		return OUTCOME_JUMP;
	cpu_cpuid(cpu, cpu->gpr[RAX], cpu->gpr[RCX], out);
	cpu->gpr[RAX] = out[0];
	cpu->gpr[RBX] = out[1];
	cpu->gpr[RCX] = out[2];
	cpu->gpr[RDX] = out[3];
	return OUTCOME_NEXT;
}

/* Caches are the host's, and coherent: there is nothing to write back. */
int exec_WBINVD(struct cpu *cpu, const struct insn *insn)
{
	if (cpu->cpl)
		return cpu_fault_gp0(cpu);
	return cpu_intercepted(cpu, insn, VIRT_WBINVD, 0, 0) ? OUTCOME_JUMP : OUTCOME_NEXT;
}

int exec_INVD(struct cpu *cpu, const struct insn *insn)
{
	if (cpu->cpl)
		return cpu_fault_gp0(cpu);
	return cpu_intercepted(cpu, insn, VIRT_INVD, 0, 0) ? OUTCOME_JUMP : OUTCOME_NEXT;
}

/* SDM2 RDRAND, RDSEED, where an intercept was possible: the host's own, with CF alone in the flags. */
static int give_random(struct cpu *cpu, const struct insn *insn, bool seed)
{
	u64 value;
	bool valid;

	if (seed)
		__asm__ volatile("rdseed %0" : "=r"(value), "=@ccc"(valid));
	else
		__asm__ volatile("rdrand %0" : "=r"(value), "=@ccc"(valid));
	gpr_write(cpu, insn->rm, insn->opsize, valid ? value : 0);
	cpu->aflags = aflags_from_rflags(valid ? RFLAGS_CF : 0);
	return OUTCOME_NEXT;
}

int exec_RDRAND(struct cpu *cpu, const struct insn *insn)
{
	if (cpu_intercepted(cpu, insn, VIRT_RDRAND, 0, 0))
		return OUTCOME_JUMP;
	return give_random(cpu, insn, false);
}

int exec_RDSEED(struct cpu *cpu, const struct insn *insn)
{
	if (cpu_intercepted(cpu, insn, VIRT_RDSEED, 0, 0))
		return OUTCOME_JUMP;
	return give_random(cpu, insn, true);
}

/* Comes here only inside a guest: whether it exits is for the filter to say, APM2 15.14.4. */
int exec_PAUSE(struct cpu *cpu, const struct insn *insn)
{
	if (cpu_intercepted(cpu, insn, VIRT_PAUSE, 0, 0))
		return OUTCOME_JUMP;
	return OUTCOME_NEXT;
}

int exec_MONITOR(struct cpu *cpu, const struct insn *insn)
{
	return cpu_fault(cpu, VEC_UD);
}

int exec_MWAIT(struct cpu *cpu, const struct insn *insn)
{
	return cpu_fault(cpu, VEC_UD);
}

/* Outside system management mode RSM does not exist, but a hypervisor may want to know first:
 * APM2 15.13.3 */
int exec_RSM(struct cpu *cpu, const struct insn *insn)
{
	if (cpu_intercepted(cpu, insn, VIRT_RSM, 0, 0))
		return OUTCOME_JUMP;
	return cpu_fault(cpu, VEC_UD);
}
