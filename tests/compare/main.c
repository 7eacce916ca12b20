/* SPDX-License-Identifier: MIT */
/*
 * Runs the comparison: workers over parts of the range of seeds, each with a native child; what
 * differs is made as short as it stays different, and printed with the command that repeats it.
 */
#include "compare.h"
#include "cpu/cpu.h"
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_JOBS 64
#define MAX_FOUND 256
#define STUCK_SECONDS 15   /* a worker without progress */
#define EVALUATE_SECONDS 1 /* one sequence on its own */

struct worker {
	pid_t pid;
	u64 next, end; /* indices */
	u64 at;        /* the index the engine is at */
	u64 moved;     /* when `at` last changed, seconds */
	bool ready;    /* both sides have started */
};

/* Shared by all processes. */
struct control {
	struct worker workers[MAX_JOBS];
	u64 compared, timeouts, instructions;
	u64 vectors[32];
	u64 by_class[CLASS_COUNT], bad_by_class[CLASS_COUNT];
	unsigned found;
	u32 ends[2]; /* of the last evaluation: vectors */
	u64 found_at[MAX_FOUND], batch_at[MAX_FOUND];
	char found_text[MAX_FOUND][1024]; /* how it differed there, after others */
	struct sequence candidate;
	char text[16384];
};

static struct options options = { .classes = BIT(CLASS_COUNT) - 1, .modes = 7, .max_insns = 16 };
static u64 seed;
static u64 first, count = 100000;
static unsigned jobs, max_errors = 5;
static bool native_only, no_shrink;
static char restrictions[256]; /* the options that change what a seed makes */
static struct control *control;

static void *shared(size_t size, int *fd)
{
	void *memory;

	*fd = memfd_create("compare", MFD_CLOEXEC);
	if (*fd < 0 || ftruncate(*fd, (off_t)size))
		exit(3);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (memory == MAP_FAILED)
		exit(3);
	return memory;
}

static u64 seed_of(u64 index)
{
	struct rng rng = { seed ^ index * 0xd1342543de82ef95 };

	return rng_next(&rng);
}

static u64 now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec;
}

static struct batch *new_batch(int *fd)
{
	struct batch *batch = shared((sizeof(struct batch) + PAGE_SIZE - 1) & PAGE_MASK, fd);

	pool_init(batch->pool);
	return batch;
}

/*
 * At CPL 0 no access is checked for alignment. An RSP that the host cannot go back to ends a sequence
 * wherever it was interrupted, one without an end too.
 */
static bool not_comparable(const struct state *native)
{
	return native->vector == VECTOR_TIMEOUT ||
	       (native->vector == VEC_AC && options.way == WAY_SUPERVISOR) ||
	       (!options.keeps_rsp && !is_canonical(native->gpr[RSP]));
}

static void count_result(const struct sequence *seq, const struct state *native)
{
	__atomic_fetch_add(&control->compared, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&control->by_class[seq->class], 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&control->instructions, seq->count, __ATOMIC_RELAXED);
	if (native->vector == VECTOR_TIMEOUT)
		__atomic_fetch_add(&control->timeouts, 1, __ATOMIC_RELAXED);
	else if (native->vector < 32)
		__atomic_fetch_add(&control->vectors[native->vector], 1, __ATOMIC_RELAXED);
}

static void note(u64 index, const struct sequence *seq, u64 batch, const char *text)
{
	unsigned n = __atomic_fetch_add(&control->found, 1, __ATOMIC_RELAXED);

	__atomic_fetch_add(&control->bad_by_class[seq->class], 1, __ATOMIC_RELAXED);
	if (n >= MAX_FOUND)
		return;
	control->found_at[n] = index;
	control->batch_at[n] = batch;
	snprintf(control->found_text[n], sizeof(control->found_text[n]), "%s", text);
}

static _Noreturn void work(struct worker *worker)
{
	int fd, gone = prctl(PR_SET_PDEATHSIG, SIGKILL);
	struct batch *batch = new_batch(&fd);
	struct native *native = native_start(batch, fd);
	struct soft *soft = native_only ? NULL : soft_start(batch, options.way);
	static struct result result;
	static char text[16384];

	worker->ready = !gone;
	while (worker->next < worker->end) {
		u32 code_at = (u32)(worker->next * 7 % 61);
		unsigned i;

		batch->count = (unsigned)MIN((u64)BATCH, worker->end - worker->next);
		/* nothing of earlier batches: wild jumps must find the same whatever ran before */
		memset(batch->pristine, 0xcc, CODE_SIZE);
		for (i = 0; i < batch->count; i++) {
			struct sequence *seq = &batch->sequences[i];

			worker->at = worker->next + i;
			sequence_generate(seq, &options, seed_of(worker->at));
			sequence_layout(seq, code_at);
			sequence_emit(seq, batch->pristine + code_at);
			code_at += seq->code_len;
		}
		if (soft)
			soft_load(soft, batch);
		native_run(native);
		for (i = 0; i < batch->count; i++) {
			const struct sequence *seq = &batch->sequences[i];
			const struct result *expected = &batch->native[i];

			worker->at = worker->next + i;
			worker->moved = now();
			count_result(seq, &expected->state);
			if (!soft)
				continue;
			if (not_comparable(&expected->state)) {
				soft_load(soft, batch);
				continue;
			}
			soft_run(soft, seq, batch->pool, &result);
			if (results_differ(seq, expected, &result, &options, batch->code, text,
				    sizeof(text)))
				note(worker->at, seq, worker->next, text);
			/* what it stored wildly is no other's code */
			if (seq->stores_code)
				soft_load(soft, batch);
		}
		worker->next += batch->count;
	}
	native_stop(native);
	_exit(0);
}

static void start(struct worker *worker)
{
	pid_t pid;

	worker->moved = now();
	worker->at = worker->next;
	worker->ready = false;
	pid = fork();
	if (pid < 0)
		exit(3);
	if (!pid)
		work(worker);
	worker->pid = pid;
}

/* A worker died or hangs in the engine: that is a finding, and the rest goes on in a new one. */
static void recover(struct worker *worker, const char *why)
{
	static struct sequence seq;

	if (!worker->ready) {
		fprintf(stderr, "a worker %s before its first sequence\n", why);
		exit(3);
	}
	fprintf(stderr, "sequence %llu: the engine %s\n", (unsigned long long)worker->at, why);
	sequence_generate(&seq, &options, seed_of(worker->at));
	note(worker->at, &seq, worker->next, "");
	worker->next = worker->at + 1;
	if (control->found <= max_errors + 50 && worker->next < worker->end)
		start(worker);
	else
		worker->pid = 0;
}

static void run_workers(void)
{
	unsigned running;

	for (unsigned i = 0; i < jobs; i++) {
		control->workers[i].next = first + count * i / jobs;
		control->workers[i].end = first + count * (i + 1) / jobs;
		if (control->workers[i].next < control->workers[i].end)
			start(&control->workers[i]);
	}
	do {
		running = 0;
		for (unsigned i = 0; i < jobs; i++) {
			struct worker *worker = &control->workers[i];
			int status;

			if (!worker->pid)
				continue;
			running++;
			if (waitpid(worker->pid, &status, WNOHANG) == worker->pid) {
				worker->pid = 0;
				if (WIFEXITED(status) && WEXITSTATUS(status) == 3)
					exit(3);
				if (WIFSIGNALED(status) || WEXITSTATUS(status))
					recover(worker, "died");
			} else if (now() - worker->moved > STUCK_SECONDS) {
				kill(worker->pid, SIGKILL);
				waitpid(worker->pid, NULL, 0);
				recover(worker, "hangs");
			}
		}
		usleep(20000);
	} while (running);
}

enum verdict { SAME, DIFFERENT, CRASHED };

/* One sequence, in a process of its own. */
static enum verdict evaluate(const struct sequence *seq)
{
	pid_t pid;
	int status, waits = 0;

	control->candidate = *seq;
	sequence_layout(&control->candidate, control->candidate.code_at);
	pid = fork();
	if (!pid) {
		int fd;
		struct batch *batch = new_batch(&fd);
		struct native *native = native_start(batch, fd);
		struct soft *soft = soft_start(batch, options.way);
		static struct result result;
		bool bad;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!freopen("/dev/null", "w", stderr))
			_exit(3);
		batch->count = 1;
		memset(batch->pristine, 0xcc, CODE_SIZE);
		batch->sequences[0] = control->candidate;
		sequence_emit(&batch->sequences[0], batch->pristine + control->candidate.code_at);
		soft_load(soft, batch);
		native_run(native);
		strcpy(control->text, "  the engine died or hung\n");
		control->ends[0] = batch->native[0].state.vector;
		control->ends[1] = VECTOR_TIMEOUT;
		if (not_comparable(&batch->native[0].state))
			_exit(0);
		soft_run(soft, &batch->sequences[0], batch->pool, &result);
		bad = results_differ(&batch->sequences[0], &batch->native[0], &result, &options,
			batch->code, control->text, sizeof(control->text));
		control->ends[0] = batch->native[0].state.vector;
		control->ends[1] = result.state.vector;
		native_stop(native);
		_exit(bad);
	}
	if (pid < 0)
		return SAME;
	/* the engine blocks signals while it runs: an alarm would not end it */
	while (waitpid(pid, &status, WNOHANG) != pid) {
		usleep(waits < 200 ? 1000 : 20000);
		if (++waits == 200 + 50 * EVALUATE_SECONDS)
			kill(pid, SIGKILL);
	}
	if (!WIFEXITED(status))
		return CRASHED;
	return WEXITSTATUS(status) ? DIFFERENT : SAME;
}

/* Without instruction i. False: it cannot go. */
static bool drop(struct sequence *seq, unsigned i)
{
	if (seq->count <= 1 || seq->insn[i].keep)
		return false;
	memmove(&seq->insn[i], &seq->insn[i + 1], (seq->count - i - 1) * sizeof(seq->insn[0]));
	seq->count--;
	for (unsigned j = 0; j < seq->count; j++)
		if (seq->insn[j].target != NO_TARGET && seq->insn[j].target > i)
			seq->insn[j].target--;
	return true;
}

/*
 * Findings of one cause look alike: the last instruction left after shrinking, and how both sides
 * ended. Only the first of a kind is printed in full.
 */
struct kind {
	u16 mnemonic;
	u8 mode;
	u32 native, soft;
	unsigned count;
	u64 index;
};
static struct kind kinds[MAX_FOUND];
static unsigned kind_count;

static struct kind *kind_of(const struct sequence *seq, u64 index)
{
	struct kind kind = { .mode = (u8)seq->mode, .native = control->ends[0],
		.soft = control->ends[1], .index = index };
	ZydisDecodedInstruction insn;
	const struct gen_insn *last = &seq->insn[seq->count - 1];
	unsigned i;

	if (ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoders[seq->mode], NULL, last->bytes,
		    last->len, &insn)))
		kind.mnemonic = (u16)insn.mnemonic;
	for (i = 0; i < kind_count; i++)
		if (kinds[i].mnemonic == kind.mnemonic && kinds[i].native == kind.native &&
			kinds[i].soft == kind.soft && kinds[i].mode == kind.mode)
			break;
	if (i == kind_count)
		kinds[kind_count++] = kind;
	kinds[i].count++;
	return &kinds[i];
}

static void print_kinds(void)
{
	for (unsigned i = 0; i < kind_count; i++)
		printf("%4u x %-12s in %u-bit code, vectors %u and %u, such as %llu\n", kinds[i].count,
			ZydisMnemonicGetString((ZydisMnemonic)kinds[i].mnemonic),
			64u >> kinds[i].mode, kinds[i].native, kinds[i].soft,
			(unsigned long long)kinds[i].index);
}

/* A sequence at the place that it had in its batch. */
static void regenerate(struct sequence *seq, u64 index, u64 batch)
{
	u32 code_at = (u32)(batch * 7 % 61);

	for (u64 i = batch; i < index; i++) {
		sequence_generate(seq, &options, seed_of(i));
		sequence_layout(seq, code_at);
		code_at += seq->code_len;
	}
	sequence_generate(seq, &options, seed_of(index));
	sequence_layout(seq, code_at);
}

static void report(unsigned n)
{
	u64 index = control->found_at[n];
	static struct sequence seq, shorter;
	enum verdict verdict;

	regenerate(&seq, index, control->batch_at[n]);
	verdict = evaluate(&seq);
	if (verdict == SAME) {
		printf("\nsequence %llu differs after others only: repeat with %s--seed 0x%llx "
		       "--first %llu --count %u --jobs 1\n",
			(unsigned long long)index, restrictions, (unsigned long long)seed,
			(unsigned long long)control->batch_at[n], BATCH);
		sequence_print(&seq);
		puts(control->found_text[n]);
		return;
	}
	for (int i = seq.count - 1; i >= 0 && !no_shrink; i--) {
		enum verdict v;

		shorter = seq;
		if (!drop(&shorter, (unsigned)i))
			continue;
		v = evaluate(&shorter);
		if (v != SAME && (v == verdict)) {
			seq = shorter;
			i = MIN(i, seq.count);
		}
	}
	sequence_layout(&seq, seq.code_at);
	evaluate(&seq);
	if (kind_of(&seq, index)->count > 1)
		return;
	printf("\nsequence %llu: repeat with %s--seed 0x%llx --first %llu --count 1\n",
		(unsigned long long)index, restrictions, (unsigned long long)seed,
		(unsigned long long)index);
	sequence_print(&seq);
	fputs(control->text, stdout);
	fflush(stdout);
}

static u32 parse_names(const char *list, const char *const *names, unsigned total, const char *what)
{
	char *copy = strdup(list), *save = NULL;
	u32 mask = 0;

	for (char *word = strtok_r(copy, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
		unsigned i;

		for (i = 0; i < total && strcmp(word, names[i]); i++)
			;
		if (i == total) {
			fprintf(stderr, "no %s \"%s\"; there are:", what, word);
			for (i = 0; i < total; i++)
				fprintf(stderr, " %s", names[i]);
			fprintf(stderr, "\n");
			exit(2);
		}
		mask |= 1u << i;
	}
	free(copy);
	return mask;
}

static void usage(void)
{
	puts("compare [--seed N] [--first N] [--count N] [--class LIST] [--mode 64,32,16]\n"
	     "        [--way user|step|supervisor] [--max-insns N] [--jobs N] [--errors N] [--no-shrink]\n"
	     "        [--native-only] [--list]\n"
	     "\n"
	     "Runs random instruction sequences on the host CPU and in the engine and compares.\n"
	     "Exit status: 0 all the same, 1 something differs, 2 usage, 3 could not run.");
}

static void parse(int argc, char **argv)
{
	enum { SEED = 256, FIRST, COUNT, CLASSES_, MODES, WAY, INSNS, JOBS, ERRORS, SHRINK, NATIVE, LIST, HELP };
	static const char *const mode_names[] = { "64", "32", "16" };
	static const char *const way_names[] = { "user", "step", "supervisor" };
	static const struct option longs[] = { { "seed", 1, NULL, SEED }, { "first", 1, NULL, FIRST },
		{ "count", 1, NULL, COUNT }, { "class", 1, NULL, CLASSES_ }, { "mode", 1, NULL, MODES },
		{ "way", 1, NULL, WAY },
		{ "max-insns", 1, NULL, INSNS }, { "jobs", 1, NULL, JOBS }, { "errors", 1, NULL, ERRORS },
		{ "no-shrink", 0, NULL, SHRINK }, { "native-only", 0, NULL, NATIVE },
		{ "list", 0, NULL, LIST }, { "help", 0, NULL, HELP }, { 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		size_t used = strlen(restrictions);

		if (c == CLASSES_ || c == MODES || c == WAY || c == INSNS)
			snprintf(restrictions + used, sizeof(restrictions) - used, "--%s %s ",
				c == CLASSES_ ? "class" : c == MODES ? "mode" : c == WAY ? "way" : "max-insns",
				optarg);
		switch (c) {
		case SEED:
			seed = strtoull(optarg, NULL, 0);
			break;
		case FIRST:
			first = strtoull(optarg, NULL, 0);
			break;
		case COUNT:
			count = strtoull(optarg, NULL, 0);
			break;
		case CLASSES_:
			options.classes = parse_names(optarg, class_names, CLASS_COUNT, "class");
			break;
		case MODES:
			options.modes = parse_names(optarg, mode_names, 3, "mode");
			break;
		case WAY:
			options.way = (enum way)__builtin_ctz(
				parse_names(optarg, way_names, WAY_TOTAL, "way"));
			break;
		case INSNS:
			options.max_insns = (unsigned)MIN(MAX(atoi(optarg), 1), 30);
			break;
		case JOBS:
			jobs = (unsigned)atoi(optarg);
			break;
		case ERRORS:
			max_errors = (unsigned)atoi(optarg);
			break;
		case SHRINK:
			no_shrink = true;
			break;
		case NATIVE:
			native_only = true;
			break;
		case LIST:
			templates_init(true);
			templates_print_counts();
			exit(0);
		case HELP:
			usage();
			exit(0);
		default:
			usage();
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	int fd;

	seed = (u64)time(NULL) * 1000003 ^ (u64)getpid();
	parse(argc, argv);
	if (!jobs || jobs > MAX_JOBS)
		jobs = (unsigned)MIN(MAX(sysconf(_SC_NPROCESSORS_ONLN), 1), MAX_JOBS);
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	host_ask(&options);
	host_try(&options);
	if (!options.avx512)
		options.classes &= ~(u32)BIT(CLASS_avx512);
	if (!(options.xfeatures & XCR0_AVX))
		options.classes &= ~(u32)(BIT(CLASS_avx) | BIT(CLASS_gather));
	if (options.way == WAY_SUPERVISOR) {
		/* what CPL 0 may do and CPL 3 may not; jumps go wild, into such things */
		options.modes &= (u32)BIT(MODE64);
		options.classes &= ~(u32)(BIT(CLASS_privileged) | BIT(CLASS_branch));
	}
	if (!options.code32)
		options.modes &= (u32)BIT(MODE64);
	if (!options.ldt)
		options.modes &= ~(u32)BIT(MODE16);
	if (!options.classes || !options.modes) {
		printf("nothing that this host has\n");
		return 3;
	}
	templates_init(options.avx512);
	control = shared(sizeof(*control), &fd);
	printf("seed 0x%llx, %llu sequences, %u jobs%s\n", (unsigned long long)seed,
		(unsigned long long)count, jobs,
		options.code32 ? "" : "; of 64-bit code alone: the host's kernel runs no other");
	fflush(stdout);
	run_workers();

	printf("%llu sequences of %llu instructions; ends by vector:",
		(unsigned long long)control->compared, (unsigned long long)control->instructions);
	for (unsigned i = 0; i < 32; i++)
		if (control->vectors[i])
			printf(" %u:%llu", i, (unsigned long long)control->vectors[i]);
	printf(" none:%llu\n", (unsigned long long)control->timeouts);
	for (unsigned i = 0; i < CLASS_COUNT; i++)
		if (control->bad_by_class[i])
			printf("%-11s %8llu of %llu differ\n", class_names[i],
				(unsigned long long)control->bad_by_class[i],
				(unsigned long long)control->by_class[i]);
	for (unsigned i = 0; i < MIN(control->found, MIN(max_errors, (unsigned)MAX_FOUND)); i++)
		report(i);
	print_kinds();
	printf("%u differ\n", control->found);
	return control->found ? 1 : 0;
}
