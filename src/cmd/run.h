/* SPDX-License-Identifier: MIT */
/* `nestbox run`: one VM from its options to its exit status. */
#ifndef CMD_RUN_H
#define CMD_RUN_H

/* argv: what follows the verb. Returns the exit status. */
int cmd_run(int argc, char **argv);

#endif
