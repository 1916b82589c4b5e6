/* Which keys can be the prefix. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "lib/keyname.h"

static void letters_are_keys_but_for_a_few(void **state)
{
    (void)state;
    for (char letter = 'a'; letter <= 'z'; letter++) {
        char small[8], large[8], name[KEY_NAME_MAX], key = 0, same = 0;
        const char *fault;

        snprintf(small, sizeof(small), "ctrl-%c", letter);
        snprintf(large, sizeof(large), "Ctrl-%c", letter - 32);
        fault = key_prefix(small, &key);
        assert_ptr_equal(key_prefix(large, &same), fault);
        assert_int_equal(fault != NULL, strchr("chijmqs", letter) != NULL);
        assert_int_equal(key, fault ? 0 : letter - 'a' + 1);
        assert_int_equal(same, key);
        if (fault)
            continue;
        key_name(key, name);
        assert_string_equal(name, large);
    }
}

static void some_signs_are_keys(void **state)
{
    char key, name[KEY_NAME_MAX];

    (void)state;
    assert_null(key_prefix("ctrl-\\", &key));
    assert_int_equal(key, 0x1c);
    assert_null(key_prefix("ctrl-^", &key));
    assert_int_equal(key, 0x1e);
    assert_null(key_prefix("ctrl-_", &key));
    assert_int_equal(key, 0x1f);
    key_name(key, name);
    assert_string_equal(name, "Ctrl-_");
    assert_string_equal(key_prefix("ctrl-[", &key), "is Escape, with which cursor and function keys begin");
    assert_string_equal(key_prefix("ctrl-]", &key), "leaves a console by itself");
    assert_int_equal(key, 0x1f);
}

static void all_else_is_refused(void **state)
{
    static const char *const names[] = { "",       "c",       "ctrl",    "ctrl-",         "ctrl-aa",
                                         "ctrl a", "ctrl-1",  "ctrl-@",  "ctrl-?",        "ctrl-{",
                                         "alt-a",  "ctrl\ra", "ctrl-cc", "ctrl-\303\244", "^a" };
    char key = 'k';

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        assert_string_equal(key_prefix(names[i], &key), "is no control key; write for example \"ctrl-a\"");
    assert_int_equal(key, 'k');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_are_keys_but_for_a_few),
        cmocka_unit_test(some_signs_are_keys),
        cmocka_unit_test(all_else_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
