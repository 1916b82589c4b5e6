/* String instructions, with and without a REP prefix. Source: AMD APM vol. 3, 1.2.6 and chapter 3. */
#pragma once

#include "vmx/emulate_address.h"

/* STOS MOVS LODS CMPS SCAS. As emulate(), but rip stays; EMU_AGAIN when iterations are left. */
int emu_string(const struct emu_step *s) __must_check;

#define EMU_AGAIN 1 /* no error: the instruction is to be run again from its start */
