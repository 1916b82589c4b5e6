/* Segments, task state and the interrupt descriptor table. Source: AMD APM vol. 2, 4.7, 8.2 and 12.2.5. */
#pragma once

#include "lib/types.h"

#define SELECTOR_CODE 0x08
#define SELECTOR_DATA 0x10
#define SELECTOR_TSS  0x18

/*
 * A GDT without a task state and the IDT: from here on an
 * exception is a crash report. Boot CPU, first of all.
 */
void desc_init_boot(void);

/*
 * This CPU's own GDT and TSS, with the interrupt stacks of its per-CPU
 * block. -ENOMEM. Each CPU once, on its main stack.
 */
int desc_init_cpu(void) __must_check;
