#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "lib/base64.h"

/* RFC 4648 10, and all digits. */
static void as_in_the_rfc(void **state)
{
    static const char *const pairs[][2] = {
        { "", "" },
        { "f", "Zg==" },
        { "fo", "Zm8=" },
        { "foo", "Zm9v" },
        { "foob", "Zm9vYg==" },
        { "fooba", "Zm9vYmE=" },
        { "foobar", "Zm9vYmFy" },
    };
    char text[80];

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(pairs); i++) {
        memset(text, 'x', sizeof(text));
        base64_encode(text, pairs[i][0], strlen(pairs[i][0]));
        assert_string_equal(text, pairs[i][1]);
        assert_int_equal(strlen(text), BASE64_LENGTH(strlen(pairs[i][0])));
    }
    base64_encode(
        text,
        "\x00\x10\x83\x10\x51\x87\x20\x92\x8b\x30\xd3\x8f\x41\x14\x93\x51\x55\x97\x61\x96\x9b\x71\xd7\x9f"
        "\x82\x18\xa3\x92\x59\xa7\xa2\x9a\xab\xb2\xdb\xaf\xc3\x1c\xb3\xd3\x5d\xb7\xe3\x9e\xbb\xf3\xdf\xbf",
        48);
    assert_string_equal(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(as_in_the_rfc) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
