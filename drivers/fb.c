#include "drivers/fb.h"
void fb_init(const struct boot_framebuffer *framebuffer)
{
    (void)framebuffer;
}
