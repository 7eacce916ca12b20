/* SPDX-License-Identifier: MIT */
/* What the host offers to the translator beyond x86-64-v2. */
#ifndef TRANSLATE_HOST_H
#define TRANSLATE_HOST_H

#include <stdbool.h>

bool host_has_fsgsbase(void); /* the kernel says that user space may write gs: */
bool host_has_bmi2(void);

#endif
