/* SPDX-License-Identifier: MIT */
/* What the host offers to the translator beyond x86-64-v2. */
#ifndef TRANSLATE_HOST_H
#define TRANSLATE_HOST_H

#include <stdbool.h>

bool host_has_fsgsbase(void); /* the kernel lets user space write gs: */
bool host_has_bmi2(void);

#endif
