/* The Intel 6300ESB's watchdog, data sheet 300641, chapter 16. */
#pragma once

#include "lib/guest.h"

/* Its device number on bus 0; fails and ends the guest if it is not there. */
unsigned esb_find(void);
uint32_t esb_config(unsigned offset);
void esb_set_config(unsigned offset, uint32_t value);
uint32_t esb_base(void);
/* Each of the two after the unlocking sequence. */
void esb_preload(uint32_t first, uint32_t second);
void esb_feed(void);
/* Milliseconds of the two stages, about. */
void esb_arm(uint32_t first, uint32_t second);
/* The last stage was over, before the last reset. */
bool esb_timed_out(void);
