/* The built-in font of the screen log: 5 by 8 dots, drawn in font.c. */
#pragma once

#include "lib/types.h"

#define FONT_WIDTH  5
#define FONT_HEIGHT 8

/*
 * Row `row` of the glyph of `c`: bit n is the dot in column n from the
 * left. A character without a glyph is a full block.
 */
uint8_t font_row(char c, unsigned row);
