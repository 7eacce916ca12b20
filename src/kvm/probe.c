/* SPDX-License-Identifier: MIT */
/*
 * Whether /dev/kvm really works here. That it is there says little: some kernels offer one on CPUs
 * without VT-x and AMD-V, for guests made for it, and others hang on it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kvm/kvm_internal.h"

#define TRY_SECONDS 2
#define TRY_PORT 0x80
#define TRY_VALUE 0x2a

static bool refuse(char why[KVM_PROBLEM_LEN], const char *format, ...) PRINTF(2, 3);
static bool refuse(char why[KVM_PROBLEM_LEN], const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, KVM_PROBLEM_LEN, format, args);
	va_end(args);
	return false;
}

/* ---- one vCPU, two instructions ---- */

struct trial {
	int vm, vcpu;
	struct kvm_run *run;
	size_t run_size;
	u8 *page;
};

static int prepare(struct trial *t, int device)
{
	static const u8 code[] = { 0xb0, TRY_VALUE, 0xe6, TRY_PORT, 0xf4 }; /* mov al; out; hlt */
	u64 identity_map = KVM_IDENTITY_MAP;
	struct kvm_userspace_memory_region region = { .memory_size = PAGE_SIZE,
		.userspace_addr = (u64)t->page };
	struct kvm_regs regs = { .rflags = RFLAGS_RESERVED1 };
	struct kvm_sregs sregs;
	int error;

	memcpy(t->page, code, sizeof(code));
	t->vm = kvm_call(device, KVM_CREATE_VM, NULL);
	if (t->vm < 0)
		return t->vm;
	error = kvm_call(t->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
	error = error ? error : kvm_call(t->vm, KVM_SET_TSS_ADDR, (void *)KVM_TSS);
	error = error ? error : kvm_call(t->vm, KVM_SET_USER_MEMORY_REGION, &region);
	if (error)
		return error;
	t->vcpu = kvm_call(t->vm, KVM_CREATE_VCPU, NULL);
	if (t->vcpu < 0)
		return t->vcpu;
	t->run = mmap(NULL, t->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, t->vcpu, 0);
	if (t->run == MAP_FAILED) {
		t->run = NULL;
		return -errno;
	}
	error = kvm_call(t->vcpu, KVM_GET_SREGS, &sregs);
	if (error)
		return error;
	sregs.cs.base = sregs.cs.selector = 0;
	error = kvm_call(t->vcpu, KVM_SET_SREGS, &sregs);
	return error ? error : kvm_call(t->vcpu, KVM_SET_REGS, &regs);
}

static bool run_limited(struct trial *t, char why[KVM_PROBLEM_LEN])
{
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = KVM_KICK };
	struct itimerspec limit = { .it_value.tv_sec = TRY_SECONDS };
	const u8 *data;
	timer_t timer;
	int result;

	event._sigev_un._tid = syscall(SYS_gettid);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer))
		return refuse(why, "no timer to watch it: %s", strerror(errno));
	timer_settime(timer, 0, &limit, NULL);
	result = ioctl(t->vcpu, KVM_RUN, NULL);
	if (result < 0)
		result = -errno;
	timer_delete(timer);
	if (result == -EINTR)
		return refuse(why, "a guest on it hangs");
	if (result < 0)
		return refuse(why, "no guest can be run: %s", strerror(-result));
	data = (u8 *)t->run + t->run->io.data_offset;
	if (t->run->exit_reason != KVM_EXIT_IO || t->run->io.port != TRY_PORT || *data != TRY_VALUE)
		return refuse(why, "a guest on it goes astray (exit %u)", t->run->exit_reason);
	return true;
}

/* Lets nothing but the timer's signal interrupt the trial. */
static bool run_undisturbed(struct trial *t, char why[KVM_PROBLEM_LEN])
{
	struct timespec now = { 0 };
	sigset_t all, before, kick;
	bool good;

	sigfillset(&all);
	sigemptyset(&kick);
	sigaddset(&kick, KVM_KICK);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	if (kvm_set_signal_mask(t->vcpu))
		good = refuse(why, "its signals cannot be set");
	else
		good = run_limited(t, why);
	while (sigtimedwait(&kick, NULL, &now) > 0)
		;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return good;
}

bool kvm_runs_code(int device, char why[KVM_PROBLEM_LEN])
{
	struct trial t = { .vm = -1, .vcpu = -1 };
	int size = kvm_call(device, KVM_GET_VCPU_MMAP_SIZE, NULL), error;
	bool good;

	if (size < (int)sizeof(struct kvm_run))
		return refuse(why, "no vCPU can be made");
	t.run_size = size;
	t.page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (t.page == MAP_FAILED)
		return refuse(why, "%s", strerror(errno));
	error = prepare(&t, device);
	good = error ? refuse(why, "no VM can be made: %s", strerror(-error)) :
		       run_undisturbed(&t, why);
	if (t.run)
		munmap(t.run, t.run_size);
	if (t.vcpu >= 0)
		close(t.vcpu);
	if (t.vm >= 0)
		close(t.vm);
	munmap(t.page, PAGE_SIZE);
	return good;
}

/* ---- the device ---- */

/* What the engine is made of; all is there since Linux 4.7. Empty: nothing lacks. */
static void find_lacking(int device, char lacking[64])
{
	static const struct {
		int number;
		const char *name;
	} needed[] = {
		{ KVM_CAP_USER_MEMORY, "USER_MEMORY" },
		{ KVM_CAP_IRQCHIP, "IRQCHIP" },
		{ KVM_CAP_PIT2, "PIT2" },
		{ KVM_CAP_PIT_STATE2, "PIT_STATE2" },
		{ KVM_CAP_IRQ_ROUTING, "IRQ_ROUTING" },
		{ KVM_CAP_SIGNAL_MSI, "SIGNAL_MSI" },
		{ KVM_CAP_EXT_CPUID, "EXT_CPUID" },
		{ KVM_CAP_READONLY_MEM, "READONLY_MEM" },
		{ KVM_CAP_SET_TSS_ADDR, "SET_TSS_ADDR" },
		{ KVM_CAP_SET_IDENTITY_MAP_ADDR, "SET_IDENTITY_MAP_ADDR" },
	};

	if (kvm_call(device, KVM_GET_API_VERSION, NULL) != KVM_API) {
		snprintf(lacking, 64, "KVM's API version %d", KVM_API);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(needed) && !lacking[0]; i++)
		if (kvm_call(device, KVM_CHECK_EXTENSION, (void *)(u64)needed[i].number) <= 0)
			snprintf(lacking, 64, "KVM_CAP_%s", needed[i].name);
}

/* Which units KVM gives to guests: VMX in leaf 1, SDM2; SVM in leaf 80000001h, APM3. */
static void find_given(int device, struct kvm_host *host)
{
	struct kvm_cpuid2 *cpuid = kvm_supported_cpuid(device);

	for (u32 i = 0; cpuid && i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		if (entry->function == 1)
			host->gives_vmx = entry->ecx & BIT(5);
		else if (entry->function == 0x80000001)
			host->gives_svm = entry->ecx & BIT(2);
	}
	free(cpuid);
}

void kvm_host_try(struct kvm_host *host)
{
	int device = open(KVM_DEVICE, O_RDWR | O_CLOEXEC), cpus;

	host->open_error = device < 0 ? errno : 0;
	if (device < 0)
		return;
	find_lacking(device, host->lacking);
	cpus = kvm_call(device, KVM_CHECK_EXTENSION, (void *)KVM_CAP_MAX_VCPUS);
	host->max_cpus = MAX(cpus, 1);
	find_given(device, host);
	/* Without hardware it may hang, in the kernel too */
	if (!host->lacking[0] && host->features & (BIT(HOST_SVM) | BIT(HOST_VMX)))
		kvm_runs_code(device, host->trial);
	close(device);
}

void kvm_try(struct kvm_host *host)
{
	struct cpuid_source cpuid = { .read = nesting_read_cpu };

	kvm_host_read(host, "", &cpuid);
	kvm_host_try(host);
}
