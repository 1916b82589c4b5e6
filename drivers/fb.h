/* The screen as a place that shows the log: VGA text memory or a linear framebuffer. */
#pragma once

#include "boot/bootinfo.h"

/* Makes the screen a sink of the log, if there is one that can be used. Needs paging. Boot CPU, once. */
void fb_init(const struct boot_framebuffer *framebuffer);
