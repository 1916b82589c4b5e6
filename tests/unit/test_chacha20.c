/* ChaCha20 by RFC 8439's own examples, and the generator by what it promises. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "lib/chacha20.h"

static void counting_key(uint8_t key[CHACHA20_KEY])
{
    for (unsigned i = 0; i < CHACHA20_KEY; i++)
        key[i] = (uint8_t)i;
}

/* 2.3.2 */
static void the_block_function(void **state)
{
    static const uint8_t nonce[] = { 0, 0, 0, 9, 0, 0, 0, 0x4a, 0, 0, 0, 0 };
    static const uint8_t expected[] = {
        0x10, 0xf1, 0xe7, 0xe4, 0xd1, 0x3b, 0x59, 0x15, 0x50, 0x0f, 0xdd, 0x1f, 0xa3, 0x20, 0x71, 0xc4,
        0xc7, 0xd1, 0xf4, 0xc7, 0x33, 0xc0, 0x68, 0x03, 0x04, 0x22, 0xaa, 0x9a, 0xc3, 0xd4, 0x6c, 0x4e,
        0xd2, 0x82, 0x64, 0x46, 0x07, 0x9f, 0xaa, 0x09, 0x14, 0xc2, 0xd7, 0x05, 0xd9, 0x8b, 0x02, 0xa2,
        0xb5, 0x12, 0x9c, 0xd1, 0xde, 0x16, 0x4e, 0xb9, 0xcb, 0xd0, 0x83, 0xe8, 0xa2, 0x50, 0x3c, 0x4e,
    };
    uint8_t key[CHACHA20_KEY], out[CHACHA20_BLOCK];

    (void)state;
    counting_key(key);
    chacha20_block(key, 1, nonce, out);
    assert_memory_equal(out, expected, sizeof(out));
}

/* Appendix A.1, test vectors 1, 2 and 4: their first 16 bytes. */
static void more_blocks(void **state)
{
    static const uint8_t first[] = { 0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90,
                                     0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86, 0xbd, 0x28 };
    static const uint8_t second[] = { 0x9f, 0x07, 0xe7, 0xbe, 0x55, 0x51, 0x38, 0x7a,
                                      0x98, 0xba, 0x97, 0x7c, 0x73, 0x2d, 0x08, 0x0d };
    static const uint8_t fourth[] = { 0x72, 0xd5, 0x4d, 0xfb, 0xf1, 0x2e, 0xc4, 0x4b,
                                      0x36, 0x26, 0x92, 0xdf, 0x94, 0x13, 0x7f, 0x32 };
    uint8_t key[CHACHA20_KEY] = { 0 }, nonce[CHACHA20_NONCE] = { 0 }, out[CHACHA20_BLOCK];

    (void)state;
    chacha20_block(key, 0, nonce, out);
    assert_memory_equal(out, first, sizeof(first));
    chacha20_block(key, 1, nonce, out);
    assert_memory_equal(out, second, sizeof(second));
    key[1] = 0xff;
    chacha20_block(key, 2, nonce, out);
    assert_memory_equal(out, fourth, sizeof(fourth));
}

static void seeded(struct chacha20_rng *rng, uint8_t first)
{
    uint8_t seed[CHACHA20_KEY] = { first };

    memset(rng, 0, sizeof(*rng));
    chacha20_rng_seed(rng, seed);
}

/* The same seed is the same stream, in whatever pieces up to the first replacement of the key. */
static void the_seed_decides(void **state)
{
    struct chacha20_rng a, b;
    uint8_t x[300], y[300];

    (void)state;
    seeded(&a, 1);
    seeded(&b, 1);
    chacha20_rng_bytes(&a, x, 300);
    chacha20_rng_bytes(&b, y, 300);
    assert_memory_equal(x, y, 300);
    seeded(&b, 1);
    chacha20_rng_bytes(&b, y, 33);
    assert_memory_equal(x, y, 33);
    seeded(&b, 2);
    chacha20_rng_bytes(&b, y, 300);
    assert_memory_not_equal(x, y, 300);
}

/* The key goes on, also by another seed, and none of it is ever given out. */
static void the_key_is_replaced(void **state)
{
    struct chacha20_rng rng;
    uint8_t before[CHACHA20_KEY], seed[CHACHA20_KEY] = { 0 }, x[96], y[96];

    (void)state;
    seeded(&rng, 1);
    memcpy(before, rng.key, sizeof(before));
    chacha20_rng_bytes(&rng, x, sizeof(x));
    assert_memory_not_equal(rng.key, before, sizeof(before));
    memcpy(before, rng.key, sizeof(before));
    chacha20_rng_bytes(&rng, y, sizeof(y));
    assert_memory_not_equal(x, y, sizeof(x));
    for (unsigned i = 0; i + CHACHA20_KEY <= sizeof(x); i++) {
        assert_memory_not_equal(x + i, before, sizeof(before));
        assert_memory_not_equal(y + i, rng.key, sizeof(rng.key));
    }
    memcpy(before, rng.key, sizeof(before));
    chacha20_rng_seed(&rng, seed);
    assert_memory_not_equal(rng.key, before, sizeof(before));
}

/* No byte beside, none left out. */
static void any_size(void **state)
{
    struct chacha20_rng rng;
    uint8_t x[200], seen[200] = { 0 };

    (void)state;
    seeded(&rng, 3);
    for (size_t size = 0; size < 190; size++) {
        for (unsigned round = 0; round < 8; round++) {
            memset(x, 0, sizeof(x));
            chacha20_rng_bytes(&rng, x, size);
            for (size_t i = 0; i < sizeof(x); i++) {
                seen[i] |= x[i];
                if (i >= size)
                    assert_int_equal(x[i], 0);
            }
        }
    }
    for (size_t i = 0; i < 189; i++)
        assert_int_not_equal(seen[i], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_block_function), cmocka_unit_test(more_blocks),
        cmocka_unit_test(the_seed_decides),   cmocka_unit_test(the_key_is_replaced),
        cmocka_unit_test(any_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
