#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "shell/json.h"

static void expect(const char *text, const char *wanted)
{
    char out[256];
    unsigned used = 0;

    while (*text) {
        char to[JSON_ESCAPE_MAX];
        unsigned length;
        const char *next = json_escape(text, to, &length);

        assert_true(next > text && length >= 1 && length <= JSON_ESCAPE_MAX);
        memcpy(out + used, to, length);
        used += length;
        text = next;
    }
    out[used] = '\0';
    assert_string_equal(out, wanted);
}

static void plain_text_stays(void **state)
{
    (void)state;
    expect("", "");
    expect("console=ttyS0 a/b 'c' ~", "console=ttyS0 a/b 'c' ~");
    expect("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xa7", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\xa7");
}

static void what_json_reserves_is_escaped(void **state)
{
    (void)state;
    expect("say \"no\"", "say \\\"no\\\"");
    expect("a\\b", "a\\\\b");
    expect("a\tb\r\n\x1b[K\x01\x7f", "a\\u0009b\\u000d\\u000a\\u001b[K\\u0001\\u007f");
}

static void broken_utf8_is_replaced(void **state)
{
    (void)state;
    expect("a\xff"
           "b",
           "a\xef\xbf\xbd"
           "b");
    expect("cut \xe2\x82", "cut \xef\xbf\xbd\xef\xbf\xbd");
    expect("\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text_stays),
        cmocka_unit_test(what_json_reserves_is_escaped),
        cmocka_unit_test(broken_utf8_is_replaced),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
