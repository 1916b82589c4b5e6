/* For "did you mean": is a word a typing error of another one? */
#pragma once

#include "lib/types.h"

/*
 * True if at most two insertions, deletions, substitutions or swaps of neighbours turn `word` into `meant`
 * (one, if `meant` has fewer than five letters). Any context may call it.
 */
bool spelt_like(const char *word, const char *meant);
