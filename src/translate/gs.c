/* SPDX-License-Identifier: MIT */
/*
 * How gs: is pointed at another context. Linux lets processes write it themselves where it says so
 * (HWCAP2_FSGSBASE, since 5.9), and keeps it over a change of threads. Where it does not say so it may
 * work nevertheless: a kernel that runs without VT-x or AMD-V under a hypervisor (PVM) is not told that
 * the CPU's CR4.FSGSBASE is set. Asking such a kernel costs twenty thousand cycles, so gs: is written
 * there too, though it is lost when the kernel puts another thread on the CPU: what it then gives back
 * is what it was last asked for. That is a context's size of addresses where nothing is mapped. The
 * next access by gs: faults, and the handler points it where it belongs. No access by gs: does anything
 * before it faults, so the instruction runs anew.
 */
#include <asm/prctl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "translate/gs.h"
#include "translate/host.h"

#define WRGSBASE_LENGTH 5

static enum gs_way way;
static u8 *nowhere; /* what a lost gs: reaches */
static size_t nowhere_size;
static bool refused;

static void on_refusal(int number, siginfo_t *info, void *context)
{
	refused = true;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += WRGSBASE_LENGTH;
}

static bool cpu_writes_gs(u64 base)
{
	struct sigaction action = { .sa_sigaction = on_refusal, .sa_flags = SA_SIGINFO }, old;

	refused = false;
	if (sigaction(SIGILL, &action, &old) < 0)
		return false;
	__asm__ volatile("wrgsbase %0" : : "r"(base) : "memory");
	sigaction(SIGILL, &old, NULL);
	return !*(volatile bool *)&refused;
}

/* Whether a written gs: is, after this thread slept, what was written or what was asked for. */
static bool keeps_or_gives_back(u64 written, u64 asked)
{
	struct timespec moment = { .tv_nsec = 1000000 };
	u64 found;

	if (syscall(SYS_arch_prctl, ARCH_SET_GS, asked) || !cpu_writes_gs(written))
		return false;
	nanosleep(&moment, NULL);
	__asm__ volatile("rdgsbase %0" : "=r"(found));
	return found == written || found == asked;
}

static void find_way(void)
{
	void *area;

	if (host_has_fsgsbase()) {
		way = GS_WRITTEN;
		return;
	}
	way = GS_ASKED;
	nowhere_size = GS_REACH_BELOW + GS_REACH_ABOVE;
	area = mmap(NULL, nowhere_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		return;
	nowhere = area;
	if (keeps_or_gives_back((u64)nowhere, (u64)nowhere + GS_REACH_BELOW))
		way = GS_LOST_AT_TIMES;
	syscall(SYS_arch_prctl, ARCH_SET_GS, 0);
}

enum gs_way gs_find_way(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, find_way);
	return way;
}

void gs_thread(void)
{
	if (way == GS_LOST_AT_TIMES)
		syscall(SYS_arch_prctl, ARCH_SET_GS, nowhere + GS_REACH_BELOW);
}

bool gs_is_lost(const void *address)
{
	return way == GS_LOST_AT_TIMES && (size_t)((const u8 *)address - nowhere) < nowhere_size;
}
