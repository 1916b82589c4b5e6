/* Names of control keys: "ctrl-a". */
#pragma once

#include "lib/types.h"

#define KEY_CTRL_A       0x01
#define KEY_CTRL_BRACKET 0x1d
#define KEY_NAME_MAX     8 /* with its NUL */

/*
 * The key that can begin Plinth's own key sequences on a serial line: "ctrl-a" to "ctrl-z", "ctrl-\",
 * "ctrl-^" and "ctrl-_", in large letters or small. Returns NULL and sets *key to the character that the key
 * sends, or says why not, to follow the name in a sentence: "is Enter". Any context may call it.
 */
const char *key_prefix(const char *name, char *key);

/* The name of a control key (1 to 31) for people: "Ctrl-A". */
void key_name(char key, char name[KEY_NAME_MAX]);
