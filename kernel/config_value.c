/* Single values of a config: checked, and stored in their fields. */
#include "kernel/config_read.h"
#include "kernel/config_disk.h"
#include "kernel/config_share.h"
#include "lib/keyname.h"
#include "lib/string.h"

/* False, with the field left empty, if the string is refused. */
bool config_take_text(struct reader *r, const struct key *key, char *to, const struct toml_event *event)
{
    size_t length = toml_string(event, to, key->limit);

    if (length >= key->limit) {
        add_error(r, event->place, "%s is %u bytes long; at most %u fit", key->name, (unsigned)length,
                  (unsigned)key->limit - 1);
        goto refuse;
    }
    if (length == 0 && key->kind != KIND_WORDS) {
        add_error(r, event->place, "%s is empty; write %s, or leave the key out", key->name, key->example);
        goto refuse;
    }
    for (const char *c = to; *c; c++) {
        if ((uint8_t)*c >= 0x20 && *c != 0x7f)
            continue;
        add_error(r, event->place, "%s holds a control character; only printable ones can be passed on",
                  key->name);
        goto refuse;
    }
    return true;
refuse:
    to[0] = '\0';
    return false;
}

static bool is_path_character(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c != '\0' && strchr("._+-=,@~/", c));
}

const char *config_path_fault(const char *path)
{
    const char *part = path;

    if (path[0] == '/')
        return "must be a path below this file's folder, without '/' at its start";
    for (const char *c = path;; c++) {
        if (*c != '/' && *c != '\0') {
            if (!is_path_character(*c))
                return "must be a path of letters, digits and . _ + - = , @ ~ /";
            continue;
        }
        size_t length = (size_t)(c - part);
        if (length == 0 || (length <= 2 && memcmp(part, "..", length) == 0))
            return "must be a plain path below this file's folder: no part of it empty, '.' or '..'";
        if (*c == '\0')
            return NULL;
        part = c + 1;
    }
}

void value_text(struct reader *r, const struct key *key, void *field, const struct toml_event *event)
{
    (void)config_take_text(r, key, field, event);
}

void value_flag(struct reader *r, const struct key *key, void *field, const struct toml_event *event)
{
    (void)r;
    (void)key;
    *(bool *)field = event->boolean;
}

void value_path(struct reader *r, const struct key *key, void *field, const struct toml_event *event)
{
    char *to = field;
    const char *fault;

    if (!config_take_text(r, key, to, event))
        return;
    fault = config_path_fault(to);
    if (fault) {
        add_error(r, event->place, "%s %s", key->name, fault);
        to[0] = '\0';
    }
}

void value_memory(struct reader *r, const struct key *key, void *field, const struct toml_event *event)
{
    uint64_t *to = field;
    static const struct {
        char letter;
        uint64_t bytes;
    } units[] = { { 'K', KiB }, { 'M', MiB }, { 'G', GiB } };
    char text[24];
    size_t length = toml_string(event, text, sizeof(text)), digits = 0;
    uint64_t number = 0, unit = 0;

    while (text[digits] >= '0' && text[digits] <= '9')
        number = min_u64(number * 10 + (uint64_t)(text[digits++] - '0'), CONFIG_MAX_MEMORY);
    for (unsigned i = 0; i < ARRAY_SIZE(units); i++)
        if (text[digits] == units[i].letter)
            unit = units[i].bytes;
    if (digits == 0 || unit == 0 || length != digits + 1)
        add_error(r, event->place, "%s must be a whole number with K, M or G behind it, such as %s",
                  key->name, key->example);
    else if (number > CONFIG_MAX_MEMORY / unit)
        add_error(r, event->place, "%s is too large; a VM takes at most %uG", key->name,
                  (unsigned)(CONFIG_MAX_MEMORY / GiB));
    else if (number == 0 || !is_aligned(number * unit, PAGE_2M))
        add_error(r, event->place, "%s must be a multiple of 2M, and at least 2M", key->name);
    else
        *to = number * unit;
}

void value_count(struct reader *r, const struct key *key, void *field, const struct toml_event *event)
{
    unsigned *to = field;
    unsigned least = key->kind == KIND_COUNT ? 1 : 0;

    if (event->integer < least || (uint64_t)event->integer > key->limit)
        add_error(r, event->place, "%s must be %u to %u", key->name, least, (unsigned)key->limit);
    else
        *to = (unsigned)event->integer;
}

/* Two or three choices. */
void value_choice(struct reader *r, const struct key *key, void *field, const struct toml_event *event)
{
    unsigned *to = field;
    const char *const *names = key->choices;
    char text[16];

    toml_string(event, text, sizeof(text));
    for (unsigned i = 0; i < key->limit; i++) {
        if (strcmp(text, names[i]) != 0)
            continue;
        *to = i;
        return;
    }
    if (key->limit == 2)
        add_error(r, event->place, "%s must be \"%s\" or \"%s\"", key->name, names[0], names[1]);
    else
        add_error(r, event->place, "%s must be \"%s\", \"%s\" or \"%s\"", key->name, names[0], names[1],
                  names[2]);
}

void value_prefix(struct reader *r, const struct key *key, void *field, const struct toml_event *event)
{
    char text[16];
    const char *fault;

    toml_string(event, text, sizeof(text));
    fault = key_prefix(text, field);
    if (fault)
        add_error(r, event->place, "%s cannot be '%s': it %s", key->name, text, fault);
}

void value_cpus(struct reader *r, const struct key *key, void *field, const struct toml_event *event)
{
    char text[192];
    const char *fault;

    if (toml_string(event, text, sizeof(text)) >= sizeof(text))
        text[0] = '\0'; /* what is that long is not understood */
    fault = key->kind == KIND_PIN ? config_read_pin(text, field) : config_read_reserve(text, field);
    if (fault)
        add_error(r, event->place, "%s %s", key->name, fault);
}

void value_source(struct reader *r, const struct key *key, void *field, const struct toml_event *event)
{
    char *to = field;
    enum config_disk_kind kind;
    const char *fault, *name;

    if (!config_take_text(r, key, to, event))
        return;
    fault = config_read_source(to, &kind, &name);
    if (!fault)
        return;
    add_error(r, event->place, "%s %s", key->name, fault);
    to[0] = '\0';
}

void value_rate(struct reader *r, const struct key *key, void *field, const struct toml_event *event)
{
    uint64_t *to = field;
    char text[24];
    const char *fault;

    if (toml_string(event, text, sizeof(text)) >= sizeof(text))
        text[0] = '\0'; /* what is that long is not understood */
    fault = config_read_rate(text, to);
    if (fault)
        add_error(r, event->place, "%s %s", key->name, fault);
}
