/* SPDX-License-Identifier: MIT */
/* What --stats prints. */
#ifndef CMD_STATS_H
#define CMD_STATS_H

struct machine;

/* On standard error, after the VM has ended. */
void stats_print(const struct machine *machine);

#endif
