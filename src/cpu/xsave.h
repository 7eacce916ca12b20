/* SPDX-License-Identifier: MIT */
/* Where each state component lies in an XSAVE image: the host's layout, which is the guest's. */
#ifndef CPU_XSAVE_H
#define CPU_XSAVE_H

#include "base/types.h"

#define XSAVE_COMPONENTS 8
#define XSAVE_LEGACY_SIZE 512
#define XSAVE_HEADER_SIZE 64
#define XSAVE_EXTENDED (XSAVE_LEGACY_SIZE + XSAVE_HEADER_SIZE)

struct cpuid_table;

struct xsave_layout {
	u64 mask;     /* components that the guest may have; 0: no XSAVE */
	bool compact; /* the host knows XSAVEC, and XGETBV of register 1 */
	u16 offset[XSAVE_COMPONENTS], size[XSAVE_COMPONENTS]; /* standard form, from 2 up */
	bool align[XSAVE_COMPONENTS]; /* to 64 bytes in the compacted form */
};

const struct xsave_layout *cpuid_xsave(const struct cpuid_table *table);

/* Where a component lies in an image of the components in `mask`, SDM1 13.4.2 and 13.4.3;
 * one past the highest component gives the image's size. */
static inline unsigned xsave_compact_offset(const struct xsave_layout *layout, u64 mask,
	unsigned component)
{
	unsigned offset = XSAVE_EXTENDED;

	for (unsigned i = 2; i < XSAVE_COMPONENTS; i++) {
		if (!(mask & BIT(i)) || i > component)
			continue;
		if (layout->align[i])
			offset = (offset + 63) & ~63u;
		if (i == component)
			break;
		offset += layout->size[i];
	}
	return offset;
}

static inline unsigned xsave_standard_size(const struct xsave_layout *layout, u64 mask)
{
	unsigned size = XSAVE_EXTENDED;

	for (unsigned i = 2; i < XSAVE_COMPONENTS; i++)
		if (mask & BIT(i))
			size = MAX(size, (unsigned)layout->offset[i] + layout->size[i]);
	return size;
}

#endif
