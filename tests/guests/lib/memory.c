/* SPDX-License-Identifier: MIT */
/* Page frames and 4-level page tables. */
#include "guest.h"

static u64 next_page = 16 << 20;

void *guest_pages(unsigned count)
{
	void *pages = (void *)next_page;

	next_page += count * PAGE;
	memset(pages, 0, count * PAGE);
	return pages;
}

u64 *guest_pte(u64 *root, u64 linear, unsigned level)
{
	u64 *table = root;
	unsigned at;

	for (at = 4; at > level; at--) {
		u64 *entry = &table[linear >> (12 + 9 * (at - 1)) & 511];

		if (!(*entry & PTE_P)) {
			*entry = (u64)guest_pages(1) | PTE_P | PTE_W | PTE_U;
		} else if (at < 4 && (*entry & PTE_PS)) {
			u64 *split = guest_pages(1);
			u64 step = 1ull << (12 + 9 * (at - 2));
			u64 flags = *entry & ~PTE_ADDRESS;
			u64 first = *entry & PTE_ADDRESS & ~(512 * step - 1);

			if (at == 2)
				flags &= ~PTE_PS;
			for (unsigned i = 0; i < 512; i++)
				split[i] = (first + i * step) | flags;
			*entry = (u64)split | PTE_P | PTE_W | PTE_U;
		}
		table = (u64 *)(*entry & PTE_ADDRESS);
	}
	return &table[linear >> (12 + 9 * (level - 1)) & 511];
}

void guest_map(u64 *root, u64 linear, u64 physical, u64 flags)
{
	*guest_pte(root, linear, 1) = physical | flags;
	invlpg(linear);
}
