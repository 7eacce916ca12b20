/* SPDX-License-Identifier: MIT */
/*
 * What this host can be asked. A kernel that runs without VT-x or AMD-V under a hypervisor (PVM) is not
 * wholly transparent to its processes: it may have no 32-bit code, lose RFLAGS.NT on the way back from a
 * fault, or be unable to go back to an RSP that is no canonical address. What is asked of it then has no
 * answer. Each is found out by a child process, which the attempt may kill.
 */
#include "compare.h"
#include <asm/ldt.h>
#include <cpuid.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

void host_ask(struct options *options)
{
	unsigned a, b, c, d, lo, hi;
	struct user_desc desc = { .entry_number = 2, .limit = 0xffff };

	options->ldt = syscall(SYS_modify_ldt, 1, &desc, sizeof(desc)) == 0;
	options->xfeatures = XCR0_X87 | XCR0_SSE;
	__cpuid(0, a, b, c, d);
	options->amd = b == signature_AMD_ebx;
	__cpuid(1, a, b, c, d);
	if (c & bit_OSXSAVE) {
		__asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
		options->xfeatures = lo & (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512);
	}
	if ((options->xfeatures & XCR0_AVX512) != XCR0_AVX512)
		options->xfeatures &= ~XCR0_AVX512;
	options->avx512 = options->xfeatures & XCR0_AVX512;
	for (unsigned i = 2; i < 8; i++) {
		__cpuid_count(0xd, i, a, b, c, d);
		options->xsave_offset[i] = b;
	}
}

/* Succeeds unless the function ends its process, which it may do by INT3 if it is well. */
static bool survives(void (*attempt)(void))
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		return false;
	if (!pid) {
		struct rlimit none = { 0, 0 };

		setrlimit(RLIMIT_CORE, &none);
		attempt();
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid)
		return false;
	return WIFSIGNALED(status) ? WTERMSIG(status) == SIGTRAP : !WEXITSTATUS(status);
}

static void *fresh_page(u64 at)
{
	void *page = mmap((void *)at, PAGE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (page == MAP_FAILED)
		_exit(1);
	return page;
}

static void run_code32(void)
{
	u8 *code = fresh_page(layouts[MODE32].code);

	*code = 0xcc;
	__asm__ volatile("pushq %1; pushq %0; lretq" : : "r"((u64)code), "i"(0x23));
}

static void fault_with_nt(void)
{
	u64 flags;

	__asm__ volatile("pushfq; orq %2, (%%rsp); popfq; movb $1, (%1)\n\t"
			 "pushfq; popq %0; pushq $0x202; popfq"
			 : "=&r"(flags)
			 : "r"(fresh_page(0)), "i"(RFLAGS_NT)
			 : "cc", "memory");
	if (!(flags & RFLAGS_NT))
		_exit(1);
}

static void fault_with_stray_rsp(void)
{
	__asm__ volatile("movq %%rsp, %%r12; movq %0, %%rsp; movb $1, (%1); movq %%r12, %%rsp"
			 : : "r"(0x080000000040fff0ull), "r"(fresh_page(0))
			 : "r12", "memory");
}

void host_try(struct options *options)
{
	options->code32 = survives(run_code32);
	options->keeps_nt = survives(fault_with_nt);
	options->keeps_rsp = survives(fault_with_stray_rsp);
}
