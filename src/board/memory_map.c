/* SPDX-License-Identifier: MIT */
/*
 * The memory map that a PC's firmware tells (e820, INT 15h; ACPI 6.4 15). Addresses that are not
 * named belong to nobody: the guest may put PCI's windows there.
 */
#include "board/board.h"

void board_memory_map(struct memory_map *map, u64 memory)
{
	u64 low = board_low_memory(memory);
	struct memory_map m = { .ranges = {
		{ 0, BOARD_EBDA, MAP_RAM },
		{ BOARD_EBDA, KIB, MAP_RESERVED },
		{ BOARD_FIRMWARE, BOARD_FIRMWARE_LEN, MAP_RESERVED },
		{ MIB, low - MIB, MAP_RAM },
		{ BOARD_APICS, BOARD_HIGH_START - BOARD_APICS, MAP_RESERVED },
		{ BOARD_HIGH_START, memory - low, MAP_RAM },
	}, .count = memory > low ? 6 : 5 };

	*map = m;
}
