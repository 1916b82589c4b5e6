/* The list of what is wrong with a config. */
#include "kernel/config_check.h"
#include "lib/format.h"

void config_error_v(struct config *config, struct config_vm *vm, struct toml_place place, const char *fmt,
                    va_list args)
{
    if (vm)
        vm->broken = true;
    if (config->error_count++ >= CONFIG_MAX_ERRORS)
        return;
    struct config_error *error = &config->error[config->error_count - 1];
    error->line = place.line;
    error->column = place.column;
    format_text_v(error->text, sizeof(error->text), fmt, args);
    for (char *c = error->text; *c; c++) /* a quoted key may hold escapes that a terminal obeys */
        if ((uint8_t)*c < 0x20 || *c == 0x7f)
            *c = '?';
}

void config_error(struct config *config, struct config_vm *vm, struct toml_place place, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    config_error_v(config, vm, place, fmt, args);
    va_end(args);
}

/* By insertion: there are few, and most are in order. */
void config_sort_errors(struct config *config)
{
    for (unsigned i = 1; i < config->error_count && i < CONFIG_MAX_ERRORS; i++) {
        struct config_error error = config->error[i];
        unsigned to = i;
        for (; to > 0; to--) {
            const struct config_error *before = &config->error[to - 1];
            if (before->line < error.line || (before->line == error.line && before->column <= error.column))
                break;
            config->error[to] = *before;
        }
        config->error[to] = error;
    }
}
