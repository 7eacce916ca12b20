/* SPDX-License-Identifier: MIT */
/*
 * The host CPU's side: a child process that lives in its signal handler. Each return from the
 * handler starts a sequence with exactly the wanted registers, since the kernel loads them from the
 * frame that the handler wrote; the sequence's INT3 or fault brings it back with all registers
 * saved. So a sequence may do with every register, RSP included, what it likes.
 *
 * Compatibility mode is reached by the frame's CS: the kernel's 32-bit user segment, or 16-bit
 * segments of an LDT. This is Linux's signal frame, arch/x86/include/uapi/asm/sigcontext.h.
 */
#include "compare.h"
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define USER_CS 0x33
#define USER_CS32 0x23
#define USER_DS 0x2b
#define LDT_CODE16 0
#define LDT_DATA16 1
#define LDT_SELECTOR(n) ((n) << 3 | 7)

struct native {
	struct batch *batch;
	int fd;
	pid_t child;
	int go[2], done[2];
};

/* The child's own; it has nobody else to hang it off than a signal handler's globals. */
static struct native *self;
static int current = -1;
static int ticked = -1;

static const u8 rw_pages[RW_PAGES] = { 0, 1, 4, 6, 7 };

static void add_ldt(unsigned entry, u32 base, bool code)
{
	struct user_desc desc = { .entry_number = entry, .base_addr = base, .limit = 0xffff,
		.contents = code ? MODIFY_LDT_CONTENTS_CODE : MODIFY_LDT_CONTENTS_DATA };

	syscall(SYS_modify_ldt, 1, &desc, sizeof(desc));
}

static void die(const char *what)
{
	perror(what);
	_exit(3);
}

static void map_child(struct native *native)
{
	for (unsigned mode = 0; mode < MODE_TOTAL; mode++) {
		const struct layout *layout = &layouts[mode];

		for (unsigned writable = 0; writable <= (mode != MODE16); writable++)
			if (mmap((void *)(layout->code + writable * CODE_WRITABLE), CODE_SIZE,
				    PROT_READ | PROT_EXEC | (writable ? PROT_WRITE : 0),
				    MAP_SHARED | MAP_POPULATE | MAP_FIXED_NOREPLACE, native->fd,
				    offsetof(struct batch, code)) == MAP_FAILED)
				die("mapping of the code area");
		for (unsigned i = 0; i < DATA_PAGES; i++) {
			if (data_page_kind[i] == '-')
				continue;
			if (mmap((void *)(layout->data + i * PAGE_SIZE), PAGE_SIZE,
				    data_page_kind[i] == 'w' ? PROT_READ | PROT_WRITE : PROT_READ,
				    MAP_SHARED | MAP_POPULATE | MAP_FIXED_NOREPLACE, native->fd,
				    (off_t)(offsetof(struct batch, data) + i * PAGE_SIZE)) ==
				MAP_FAILED)
				die("mapping of the data area");
		}
	}
	if (syscall(SYS_arch_prctl, ARCH_SET_GS, GS_BASE))
		die("GS base");
	add_ldt(LDT_CODE16, (u32)layouts[MODE16].code, true);
	add_ldt(LDT_DATA16, SEGMENT_BASE16, false);
}

static const u8 greg_of[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI,
	REG_RDI, REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };

static void capture(struct batch *batch, const ucontext_t *uc, int sig)
{
	struct result *result = &batch->native[current];
	const greg_t *gregs = uc->uc_mcontext.gregs;
	const u8 *fp = (const u8 *)uc->uc_mcontext.fpregs;
	u32 size;
	unsigned i;

	for (i = 0; i < 16; i++)
		result->state.gpr[i] = (u64)gregs[greg_of[i]];
	result->state.rip = (u64)gregs[REG_RIP];
	result->state.rflags = (u64)gregs[REG_EFL];
	result->state.vector = sig == SIGPROF ? VECTOR_TIMEOUT : (u32)gregs[REG_TRAPNO];
	result->state.error = (u32)gregs[REG_ERR];
	result->state.cr2 = (u64)gregs[REG_CR2];
	memcpy(&size, fp + 464 + 16, 4); /* struct _fpx_sw_bytes.xstate_size */
	memset(result->state.xsave, 0, XSAVE_SIZE);
	memcpy(result->state.xsave, fp, MIN(size, (u32)XSAVE_SIZE));
	for (i = 0; i < RW_PAGES; i++)
		memcpy(result->pages[i], batch->data + rw_pages[i] * PAGE_SIZE, PAGE_SIZE);
}

static void put_segments(unsigned selector)
{
	__asm__ volatile("movl %0, %%ds; movl %0, %%es" : : "r"(selector));
}

static void prepare(struct batch *batch, ucontext_t *uc, const struct options *options)
{
	const struct sequence *seq = &batch->sequences[current];
	greg_t *gregs = uc->uc_mcontext.gregs;
	u8 *fp = (u8 *)uc->uc_mcontext.fpregs;
	u64 ours = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512, bv, in_bv;
	u64 cs, ss;
	unsigned i;

	/* as main.c does on the engine's side: what does not end the engine does not even begin */
	if (current && (batch->sequences[current - 1].stores_code ||
			       batch->native[current - 1].state.vector == VECTOR_TIMEOUT ||
			       batch->native[current - 1].state.vector == VEC_AC))
		memcpy(batch->code, batch->pristine, CODE_SIZE);
	for (i = 0; i < RW_PAGES; i++)
		memcpy(batch->data + rw_pages[i] * PAGE_SIZE,
			batch->pool + seq->pool_offset + i * PAGE_SIZE, PAGE_SIZE);
	for (i = 0; i < 16; i++)
		gregs[greg_of[i]] = (greg_t)seq->in.gpr[i];
	gregs[REG_RIP] = (greg_t)seq->in.rip;
	gregs[REG_EFL] = (greg_t)seq->in.rflags;
	cs = seq->mode == MODE64 ? USER_CS : seq->mode == MODE32 ? USER_CS32 :
								  LDT_SELECTOR(LDT_CODE16);
	ss = seq->mode == MODE16 ? LDT_SELECTOR(LDT_DATA16) : USER_DS;
	gregs[REG_CSGSFS] = (greg_t)(cs | ss << 48);
	put_segments((unsigned)ss);

	memcpy(fp, seq->in.xsave, 28); /* MXCSR_MASK stays */
	memcpy(fp + 32, seq->in.xsave + 32, 384);
	memcpy(&bv, fp + 512, 8);
	memcpy(&in_bv, seq->in.xsave + 512, 8);
	bv = (bv & ~ours) | in_bv;
	memcpy(fp + 512, &bv, 8);
	for (i = 2; i < 8; i++)
		if (in_bv >> i & 1)
			memcpy(fp + options->xsave_offset[i], seq->in.xsave + options->xsave_offset[i],
				xsave_sizes[i]);
}

static struct options child_options;

static void on_signal(int sig, siginfo_t *info, void *context)
{
	struct batch *batch = self->batch;
	ucontext_t *uc = context;
	char byte = 0;

	/* DF, TF and RF the kernel has cleared; AC, NT and ID may be the sequence's */
	__asm__ volatile("pushq $0x202; popfq" : : : "cc", "memory");
	if (sig == SIGPROF && (current < 0 || ticked != current)) {
		u64 flags = (u64)uc->uc_mcontext.gregs[REG_EFL] & (RFLAGS_NT | RFLAGS_ID);

		/* the frame gives back all flags but these two: Linux leaves them as rt_sigreturn's
		 * caller has them, arch/x86/kernel/signal.c FIX_EFLAGS */
		__asm__ volatile("pushq %0; popfq" : : "r"(flags | 0x202) : "cc", "memory");
		ticked = current;
		return;
	}
	if (current >= 0) {
		capture(batch, uc, sig);
		__atomic_store_n(&batch->done, (unsigned)current + 1, __ATOMIC_RELEASE);
		current++;
	}
	if (current < 0 || current >= (int)batch->count) {
		if (current >= 0 && write(self->done[1], &byte, 1) != 1)
			_exit(0);
		if (read(self->go[0], &byte, 1) != 1)
			_exit(0);
		current = (int)batch->done;
		ticked = -1;
	}
	prepare(batch, uc, &child_options);
}

static _Noreturn void child(struct native *native)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGPROF };
	struct sigaction action = { .sa_sigaction = on_signal,
		.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART };
	struct itimerval tick = { { 0, 30000 }, { 0, 30000 } };
	size_t stack_size = 1 << 18;
	stack_t stack = { .ss_size = stack_size };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	host_ask(&child_options);
	map_child(native);
	stack.ss_sp = mmap(NULL, stack_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (stack.ss_sp == MAP_FAILED || sigaltstack(&stack, NULL))
		die("alternate stack");
	sigfillset(&action.sa_mask);
	self = native;
	current = -1;
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &action, NULL);
	setitimer(ITIMER_PROF, &tick, NULL);
	__asm__ volatile("int3");
	_exit(3);
}

static void spawn(struct native *native)
{
	if (pipe(native->go) || pipe(native->done))
		die("pipe");
	native->child = fork();
	if (native->child < 0)
		die("fork");
	if (!native->child) {
		close(native->go[1]);
		close(native->done[0]);
		child(native);
	}
	close(native->go[0]);
	close(native->done[1]);
}

static void reap(struct native *native)
{
	close(native->go[1]);
	close(native->done[0]);
	kill(native->child, SIGKILL);
	waitpid(native->child, NULL, 0);
}

struct native *native_start(struct batch *batch, int fd)
{
	struct native *native = calloc(1, sizeof(*native));

	if (!native)
		die("calloc");
	native->batch = batch;
	native->fd = fd;
	/* the read-only page is never set up again */
	memcpy(batch->data + 2 * PAGE_SIZE, batch->pool + 0x1000, PAGE_SIZE);
	spawn(native);
	return native;
}

void native_run(struct native *native)
{
	struct batch *batch = native->batch;
	char byte = 0;

	batch->done = 0;
	memcpy(batch->code, batch->pristine, CODE_SIZE);
	while (batch->done < batch->count) {
		struct pollfd pollfd = { .fd = native->done[0], .events = POLLIN };

		if (write(native->go[1], &byte, 1) == 1 && poll(&pollfd, 1, 20000) == 1 &&
			read(native->done[0], &byte, 1) == 1)
			continue;
		/* a wild store hit something that the child needs */
		reap(native);
		memcpy(batch->code, batch->pristine, CODE_SIZE);
		if (batch->done < batch->count)
			batch->native[batch->done++].state.vector = VECTOR_TIMEOUT;
		spawn(native);
	}
}

void native_stop(struct native *native)
{
	reap(native);
	free(native);
}
