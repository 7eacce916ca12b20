/* SPDX-License-Identifier: MIT */
/*
 * The life of one VM. The main thread runs the loop, with the machine lock held while handlers
 * run; each vCPU has a thread that stays in its engine until the VM ends or is reset. For a
 * reset all vCPUs come together here, and the last one to arrive does it.
 */
#include "machine/machine.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/loop.h"
#include "board/board.h"
#include "cpu/tlb.h"
#include "machine/consoles.h"
#include "machine/engines.h"

void machine_lock(struct machine *machine)
{
	pthread_mutex_lock(&machine->lock);
}

void machine_unlock(struct machine *machine)
{
	pthread_mutex_unlock(&machine->lock);
}

void machine_kick(struct cpu *cpu)
{
	cpu->machine->engine->kick(cpu);
}

static void wake_now(void *cpu)
{
	cpu_pin_set(cpu, CPU_PIN_TIMER, true);
}

void machine_wake_at(struct cpu *cpu, u64 ns)
{
	struct machine *machine = cpu->machine;
	struct loop_timer *wake = &machine->wakes[cpu->id];

	machine_lock(machine);
	wake->fire = wake_now;
	wake->arg = cpu;
	loop_timer_set(machine->loop, wake, ns);
	machine_unlock(machine);
}

static void kick_all(struct machine *machine)
{
	for (unsigned i = 0; i < machine->cpu_count; i++)
		machine_kick(machine->cpus[i]);
}

/* ---- how a VM ends or starts anew ---- */

void machine_end(struct machine *machine, enum machine_end how)
{
	enum machine_end none = END_NONE;

	if (!__atomic_compare_exchange_n(&machine->end, &none, how, false, __ATOMIC_SEQ_CST,
		__ATOMIC_SEQ_CST))
		return;
	__atomic_store_n(&machine->leaving, 1, __ATOMIC_SEQ_CST);
	kick_all(machine);
	if (machine->loop)
		loop_stop(machine->loop);
}

void machine_request_reset(struct machine *machine)
{
	if (machine->no_reboot) {
		machine_end(machine, END_RESET);
		return;
	}
	__atomic_store_n(&machine->leaving, 1, __ATOMIC_SEQ_CST);
	kick_all(machine);
}

void machine_cpu_shutdown(struct cpu *cpu)
{
	if (cpu->machine->no_reboot)
		machine_end(cpu->machine, END_TRIPLE_FAULT);
	else
		machine_request_reset(cpu->machine);
}

bool machine_is_leaving(const struct machine *machine)
{
	return __atomic_load_n(&machine->leaving, __ATOMIC_ACQUIRE);
}

static bool has_ended(const struct machine *machine)
{
	return __atomic_load_n(&machine->end, __ATOMIC_SEQ_CST) != END_NONE;
}

/* All vCPUs are parked, the lock is not held: power-on state everywhere. */
static void reset_all(struct machine *machine)
{
	/* Takes the lock itself where the TSC moves the local APIC's timer */
	for (unsigned i = 0; i < machine->cpu_count; i++)
		cpu_reset(machine->cpus[i]);
	machine_lock(machine);
	if (board_reset(machine->board)) {
		message("%s", machine->board->boot.problem);
		machine_end(machine, END_FAILED);
	}
	__atomic_store_n(&machine->leaving, 0, __ATOMIC_SEQ_CST);
	/* An end that came meanwhile had set it too */
	if (has_ended(machine))
		__atomic_store_n(&machine->leaving, 1, __ATOMIC_SEQ_CST);
	machine_unlock(machine);
}

/* A vCPU left its engine. True: it shall go on after a reset; false: the VM has ended. */
static bool meet_for_reset(struct machine *machine)
{
	u64 generation;

	machine_lock(machine);
	generation = machine->generation;
	if (!has_ended(machine) && ++machine->parked == machine->cpu_count) {
		machine_unlock(machine);
		reset_all(machine);
		machine_lock(machine);
		machine->parked = 0;
		machine->generation++;
		pthread_cond_broadcast(&machine->reset_done);
	}
	while (!has_ended(machine) && machine->generation == generation)
		pthread_cond_wait(&machine->reset_done, &machine->lock);
	pthread_cond_broadcast(&machine->reset_done);
	machine_unlock(machine);
	return !has_ended(machine);
}

static void *vcpu_main(void *arg)
{
	struct cpu *cpu = arg;

	do {
		cpu->machine->engine->run(cpu);
	} while (meet_for_reset(cpu->machine));
	return NULL;
}

/* ---- what the board asks ---- */

static unsigned current_cpu(void *arg)
{
	struct machine *machine = arg;

	for (unsigned i = 1; i < machine->thread_count; i++)
		if (pthread_equal(machine->threads[i], pthread_self()))
			return i;
	return 0;
}

static void power_off(void *arg)
{
	machine_end(arg, END_POWEROFF);
}

static void ask_for_reset(void *arg)
{
	machine_request_reset(arg);
}

static void exit_by_debug_port(void *arg, u32 value)
{
	struct machine *machine = arg;

	if (!has_ended(machine))
		machine->debug_exit_value = (int)(value & 0x7f) << 1 | 1;
	machine_end(machine, END_DEBUG_EXIT);
}

/* ---- signals ---- */

static void before_handlers(void *arg)
{
	machine_lock(arg);
}

static void after_handlers(void *arg)
{
	machine_unlock(arg);
}

static void signal_came(void *arg, int fd, unsigned events)
{
	struct machine *machine = arg;
	struct signalfd_siginfo info;

	while (read(fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGTSTP)
			consoles_suspend(machine);
		else
			machine_end(machine, END_STOPPED);
	}
}

/* SIGTERM, SIGINT, SIGHUP and SIGTSTP come through the loop; threads inherit that they block. */
static int watch_signals(struct machine *machine)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTSTP);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL))
		return -EINVAL;
	signal(SIGPIPE, SIG_IGN);
	machine->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (machine->signal_fd < 0)
		return -errno;
	return loop_watch(machine->loop, machine->signal_fd, LOOP_READ, signal_came, machine);
}

/* ---- making ---- */

static int make_cpu(struct machine *machine, unsigned id, const struct machine_config *config)
{
	struct cpu *cpu = NULL;
	int error = tlb_init(&cpu);

	if (error)
		return error;
	machine->cpus[machine->cpu_count++] = cpu;
	cpu->id = id;
	cpu->machine = machine;
	cpu->memory = machine->memory;
	cpu->ports = machine->ports;
	error = cpuid_table_new(&cpu->cpuid, config->nested, config->model, config->board->cpus);
	if (error)
		return error;
	cpu->phys_bits = cpuid_phys_bits(cpu->cpuid);
	return cpu_fpu_new(cpu);
}

static int make_board(struct machine *machine, const struct board_config *config,
	char problem[MACHINE_PROBLEM_LEN])
{
	struct board_host host = { .ram = &machine->ram, .memory = machine->memory,
		.ports = machine->ports, .loop = machine->loop, .cpus = machine->cpus,
		.current_cpu = current_cpu, .power_off = power_off, .reset = ask_for_reset,
		.debug_exit = exit_by_debug_port, .arg = machine,
		.interrupts = machine->engine->interrupts(machine) };
	int error;

	error = board_new(&machine->board, config, &host, problem);
	if (error)
		return error;
	reset_all(machine);
	if (!has_ended(machine))
		return 0;
	memcpy(problem, machine->board->boot.problem, MACHINE_PROBLEM_LEN);
	return -EINVAL;
}

/* Whether the vCPUs leave one of the host's CPUs to the main thread. */
static bool spare_cpu(unsigned vcpus)
{
	cpu_set_t allowed;

	/* more than there is room for: enough */
	return sched_getaffinity(0, sizeof(allowed), &allowed) || (unsigned)CPU_COUNT(&allowed) > vcpus;
}

static int make(struct machine *machine, const struct machine_config *config,
	char problem[MACHINE_PROBLEM_LEN])
{
	char note[MACHINE_PROBLEM_LEN] = "";
	int error;

	machine->no_reboot = config->no_reboot;
	machine->engine = engine_choose(config, note);
	if (!machine->engine) {
		memcpy(problem, note, MACHINE_PROBLEM_LEN);
		return -ENOTSUP;
	}
	machine->loop = loop_new(before_handlers, after_handlers, machine);
	if (!machine->loop)
		return -errno;
	loop_own_cpu(machine->loop, spare_cpu(config->board->cpus));
	machine->memory = space_new("memory");
	machine->ports = space_new("ports");
	if (!machine->memory || !machine->ports)
		return -ENOMEM;
	error = ram_new(&machine->ram, config->board->memory);
	if (error) {
		snprintf(problem, MACHINE_PROBLEM_LEN, "--memory: the host cannot give %llu MiB "
			"(%s); ask for less", (unsigned long long)(config->board->memory / MIB),
			strerror(-error));
		return error;
	}
	for (unsigned i = 0; !error && i < config->board->cpus; i++)
		error = make_cpu(machine, i, config);
	error = error ? error : machine->engine->open(machine, config, problem);
	error = error ? error : make_board(machine, config->board, problem);
	error = error ? error : machine->engine->start(machine, config);
	error = error ? error : watch_signals(machine);
	/* Last: it may create a file, which shall not be where something else is wrong */
	error = error ? error : consoles_open(machine, config, problem);
	/* Not before all is made: what is wrong stands alone */
	if (!error && note[0])
		message("%s", note);
	return error;
}

/* The main thread and a vCPU want it for short and often at the same moment: when a timer goes off and is set anew. */
static void make_lock(struct machine *machine)
{
	pthread_mutexattr_t spins_first;

	pthread_mutexattr_init(&spins_first);
	pthread_mutexattr_settype(&spins_first, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&machine->lock, &spins_first);
	pthread_mutexattr_destroy(&spins_first);
}

int machine_new(struct machine **result, const struct machine_config *config,
	char problem[MACHINE_PROBLEM_LEN])
{
	struct machine *machine = calloc(1, sizeof(*machine));
	int error;

	problem[0] = 0;
	*result = NULL;
	if (!machine)
		return -ENOMEM;
	machine->signal_fd = -1;
	make_lock(machine);
	pthread_cond_init(&machine->reset_done, NULL);
	error = make(machine, config, problem);
	if (error) {
		if (!problem[0])
			snprintf(problem, MACHINE_PROBLEM_LEN, "cannot make the machine: %s",
				strerror(-error));
		machine_free(machine);
		return error;
	}
	*result = machine;
	return 0;
}

enum machine_end machine_run(struct machine *machine)
{
	consoles_start(machine);
	machine->ready_ns = clock_ns();
	for (unsigned i = 0; i < machine->cpu_count; i++) {
		if (pthread_create(&machine->threads[i], NULL, vcpu_main, machine->cpus[i])) {
			message("cannot start a thread for a vCPU: %s", strerror(errno));
			machine_end(machine, END_FAILED);
			break;
		}
		machine->thread_count++;
	}
	loop_run(machine->loop);
	/* Those that wait for a reset's partners must see the end too */
	machine_lock(machine);
	pthread_cond_broadcast(&machine->reset_done);
	machine_unlock(machine);
	for (unsigned i = 0; i < machine->thread_count; i++)
		pthread_join(machine->threads[i], NULL);
	machine->end_ns = clock_ns();
	consoles_stop(machine);
	return machine->end;
}

void machine_free(struct machine *machine)
{
	if (!machine)
		return;
	board_free(machine->board);
	if (machine->engine)
		machine->engine->close(machine);
	for (unsigned i = 0; i < machine->cpu_count; i++) {
		struct cpu *cpu = machine->cpus[i];

		cpu_fpu_free(cpu);
		cpuid_table_free(cpu->cpuid);
		tlb_free(cpu);
	}
	consoles_free(machine);
	if (machine->signal_fd >= 0)
		close(machine->signal_fd);
	if (machine->memory)
		space_free(machine->memory);
	if (machine->ports)
		space_free(machine->ports);
	ram_free(&machine->ram);
	if (machine->loop)
		loop_free(machine->loop);
	pthread_cond_destroy(&machine->reset_done);
	pthread_mutex_destroy(&machine->lock);
	free(machine);
}
