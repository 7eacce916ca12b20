/* SPDX-License-Identifier: MIT */
/* A bus with guest RAM for fuzzers. */
#ifndef FUZZ_PCI_RIG_H
#define FUZZ_PCI_RIG_H

#include "dev/pci.h"
#include "fuzz_input.h"

#define RIG_RAM (1 * MIB)

struct fuzz_rig {
	struct space *memory, *ports;
	struct ram ram;
	struct pci_bus *bus;
	int wires[4];
};

void fuzz_rig_start(struct fuzz_rig *rig);
void fuzz_config_write(struct fuzz_rig *rig, unsigned slot, unsigned offset, unsigned size,
	u32 value);
/* An access of 1, 2, 4 or 8 bytes by the input's choice. */
void fuzz_access(struct space *space, u64 address, struct fuzz_input *input);

#endif
