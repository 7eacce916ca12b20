/* SPDX-License-Identifier: MIT */
/* What the host offers; apart from x86/regs.h, some of whose names <sys/auxv.h> has too. */
#include <sys/auxv.h>

#include "translate/host.h"

/* The kernel's asm/hwcap2.h */
#ifndef HWCAP2_FSGSBASE
#define HWCAP2_FSGSBASE (1 << 1)
#endif

bool host_has_fsgsbase(void)
{
	return getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE;
}

bool host_has_bmi2(void)
{
	return __builtin_cpu_supports("bmi2");
}
