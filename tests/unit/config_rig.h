/* Parses configs and compares what is said of them. After cmocka.h. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "kernel/config.h"
#include "lib/errno.h"

static struct config config;

/* The errors of the last parse, a line each: LINE:COLUMN TEXT. */
static inline const char *errors(void)
{
    static char text[CONFIG_MAX_ERRORS * 224];
    size_t length = 0;

    text[0] = '\0';
    for (unsigned i = 0; i < config.error_count && i < CONFIG_MAX_ERRORS; i++)
        length += (size_t)snprintf(text + length, sizeof(text) - length, "%u:%u %s\n", config.error[i].line,
                                   config.error[i].column, config.error[i].text);
    return text;
}

/* From memory of just its size, so that a read beyond the end is seen. */
static inline int parse_text(const char *text)
{
    size_t size = strlen(text);
    char *copy = calloc(1, size);
    int result;

    memcpy(copy, text, size);
    result = config_parse(&config, copy, size);
    free(copy);
    return result;
}

static inline void expect_errors(const char *text, const char *expected)
{
    int result = parse_text(text);

    assert_string_equal(errors(), expected);
    assert_int_equal(result, expected[0] ? -EINVAL : 0);
}

/* A line in an otherwise good [vm.a], as its line 4. */
static inline void expect_in_vm(const char *line, const char *error)
{
    char text[4096];

    snprintf(text, sizeof(text), "[vm.a]\nmemory = '2M'\nkernel = 'k'\n%s\n", line);
    expect_errors(text, error);
    assert_int_equal(config.vm[0].broken, error[0] != '\0');
}

/* A line in an otherwise good [vm.a], as its line 4, and text behind it. The first error, or "". */
static inline const char *parse2(const char *line, const char *more)
{
    static char error[256];
    char text[8192];
    int result;

    snprintf(text, sizeof(text), "[vm.a]\nmemory = '2M'\nkernel = 'k'\n%s\n%s\n", line, more);
    result = parse_text(text);
    assert_int_equal(result, config.error_count ? -EINVAL : 0);
    if (!config.error_count)
        return "";
    assert_int_equal(config.error_count, 1);
    snprintf(error, sizeof(error), "%u:%u %s", config.error[0].line, config.error[0].column,
             config.error[0].text);
    return error;
}

static inline const char *parse(const char *line)
{
    const char *error = parse2(line, "");

    assert_int_equal(config.vm[0].broken, config.error_count != 0);
    return error;
}

struct vm_row {
    const char *line, *error;
};

static inline void expect_rows(const struct vm_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        expect_in_vm(rows[i].line, rows[i].error);
}
