/* SPDX-License-Identifier: MIT */
/* The consoles of a machine: where its serial port and its virtio console lead. Main thread. */
#ifndef MACHINE_CONSOLES_H
#define MACHINE_CONSOLES_H

#include "machine/machine.h"

/* Opens and wires those that are not "off"; it may create files. 0, or -errno and problem. */
int consoles_open(struct machine *machine, const struct machine_config *config,
	char problem[MACHINE_PROBLEM_LEN]);
void consoles_free(struct machine *machine);
/* Without the lock. */
void consoles_start(struct machine *machine);
void consoles_stop(struct machine *machine);
/* SIGTSTP: gives the terminal back, stops the process, and goes on when it is continued. */
void consoles_suspend(struct machine *machine);

#endif
