/* Function names for crash reports, from the table that tools/symbols puts into the image. */
#pragma once

#include "lib/types.h"

/* The table, sorted by address; symbol_name[i] is the offset of a name in symbol_text. */
extern const uint64_t symbol_count;
extern const uint64_t symbol_address[];
extern const uint32_t symbol_name[];
extern const char symbol_text[];

/* The function that holds `address`, with *offset from its start; NULL where there is no code. */
const char *symbol_find(uint64_t address, uint64_t *offset);
