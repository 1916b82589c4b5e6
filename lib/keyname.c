#include "lib/keyname.h"
#include "lib/format.h"
#include "lib/string.h"

static const struct {
    char letter;
    const char *why;
} refused[] = {
    { 'C', "interrupts what runs, in the shell and in guests" },
    { 'H', "is what many terminals send for Backspace" },
    { 'I', "is what the Tab key sends" },
    { 'J', "is a line feed, which ends a line of pasted text" },
    { 'M', "is what the Enter key sends" },
    { 'Q', "is flow control (XON): terminals keep it for themselves" },
    { 'S', "is flow control (XOFF): terminals keep it for themselves" },
    { '[', "is Escape, with which cursor and function keys begin" },
    { ']', "leaves a console by itself" },
};

const char *key_prefix(const char *name, char *key)
{
    char letter;

    for (unsigned i = 0; i < 5; i++)
        if ((name[i] | (i < 4 ? 0x20 : 0)) != "ctrl-"[i])
            return "is no control key; write for example \"ctrl-a\"";
    letter = name[5];
    if (letter >= 'a' && letter <= 'z')
        letter = (char)(letter - 'a' + 'A');
    for (unsigned i = 0; i < ARRAY_SIZE(refused); i++)
        if (letter == refused[i].letter && name[6] == '\0')
            return refused[i].why;
    if (letter < 'A' || letter > '_' || name[6] != '\0')
        return "is no control key; write for example \"ctrl-a\"";
    *key = (char)(letter & 0x1f);
    return NULL;
}

void key_name(char key, char name[KEY_NAME_MAX])
{
    format_text(name, KEY_NAME_MAX, "Ctrl-%c", (key & 0x1f) | 0x40);
}
