/* ChaCha20. Section numbers are those of RFC 8439. */
#include "lib/chacha20.h"

#define WORDS 16

static uint32_t rotate(uint32_t x, unsigned n)
{
    return x << n | x >> (32 - n);
}

/* 2.1 */
static void quarter_round(uint32_t s[WORDS], unsigned a, unsigned b, unsigned c, unsigned d)
{
    s[a] += s[b];
    s[d] = rotate(s[d] ^ s[a], 16);
    s[c] += s[d];
    s[b] = rotate(s[b] ^ s[c], 12);
    s[a] += s[b];
    s[d] = rotate(s[d] ^ s[a], 8);
    s[c] += s[d];
    s[b] = rotate(s[b] ^ s[c], 7);
}

static uint32_t load_le(const uint8_t *from)
{
    return from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

/* 2.3: "expand 32-byte k", key, counter, nonce; 20 rounds, columns and diagonals in turn; and the sum. */
void chacha20_block(const uint8_t key[CHACHA20_KEY], uint32_t counter, const uint8_t nonce[CHACHA20_NONCE],
                    uint8_t out[CHACHA20_BLOCK])
{
    uint32_t start[WORDS] = { 0x61707865, 0x3320646e, 0x79622d32, 0x6b206574 }, s[WORDS];

    for (unsigned i = 0; i < 8; i++)
        start[4 + i] = load_le(key + 4 * i);
    start[12] = counter;
    for (unsigned i = 0; i < 3; i++)
        start[13 + i] = load_le(nonce + 4 * i);
    memcpy(s, start, sizeof(s));
    for (unsigned round = 0; round < 20; round += 2) {
        for (unsigned i = 0; i < 4; i++)
            quarter_round(s, i, 4 + i, 8 + i, 12 + i);
        for (unsigned i = 0; i < 4; i++)
            quarter_round(s, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
    }
    for (unsigned i = 0; i < CHACHA20_BLOCK; i++)
        out[i] = (uint8_t)((s[i / 4] + start[i / 4]) >> 8 * (i % 4));
}

/* Each key makes one stream: its first half block is the next key, the rest is given out. */
void chacha20_rng_bytes(struct chacha20_rng *rng, uint8_t *to, size_t size)
{
    static const uint8_t nonce[CHACHA20_NONCE];
    uint8_t block[CHACHA20_BLOCK], next[CHACHA20_KEY];
    uint32_t counter = 0;
    size_t from = CHACHA20_KEY;

    chacha20_block(rng->key, counter, nonce, block);
    memcpy(next, block, sizeof(next));
    while (size) {
        size_t piece = min_u64(size, CHACHA20_BLOCK - from);

        memcpy(to, block + from, piece);
        to += piece;
        size -= piece;
        from = 0;
        if (size)
            chacha20_block(rng->key, ++counter, nonce, block);
    }
    memcpy(rng->key, next, sizeof(next));
    chacha20_wipe(block, sizeof(block));
    chacha20_wipe(next, sizeof(next));
}

void chacha20_rng_seed(struct chacha20_rng *rng, const uint8_t seed[CHACHA20_KEY])
{
    for (unsigned i = 0; i < CHACHA20_KEY; i++)
        rng->key[i] ^= seed[i];
    chacha20_rng_bytes(rng, NULL, 0); /* what comes now is no plain sum of keys */
}
