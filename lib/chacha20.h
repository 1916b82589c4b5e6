/*
 * ChaCha20 (RFC 8439, section 2.3), and a generator of random bytes made of it: a key that is replaced by
 * part of its own output at each use, so that who learns it knows nothing of what was given out before.
 */
#pragma once

#include "lib/string.h"
#include "lib/types.h"

#define CHACHA20_KEY   32 /* bytes */
#define CHACHA20_NONCE 12
#define CHACHA20_BLOCK 64

/* The block function: 64 bytes for a key, a counter and a nonce. */
void chacha20_block(const uint8_t key[CHACHA20_KEY], uint32_t counter, const uint8_t nonce[CHACHA20_NONCE],
                    uint8_t out[CHACHA20_BLOCK]);

/* All zeroes is a generator that was never seeded: its bytes are no secret. */
struct chacha20_rng {
    uint8_t key[CHACHA20_KEY];
};

/* Adds entropy to what the generator has; it loses none by it, whatever the seed is. */
void chacha20_rng_seed(struct chacha20_rng *rng, const uint8_t seed[CHACHA20_KEY]);
/* Forgets a secret, for good: a plain memset() of what is not read again would be left out. */
static inline void chacha20_wipe(void *secret, size_t size)
{
    memset(secret, 0, size);
    __asm__ volatile("" : : "r"(secret) : "memory");
}

/* size <= 2^32 * 64 - 32, far beyond what anyone should ask for at once. */
void chacha20_rng_bytes(struct chacha20_rng *rng, uint8_t *to, size_t size);
