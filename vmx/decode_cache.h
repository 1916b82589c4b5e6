/*
 * Decoded instructions, kept by their bytes. A guest reaches a device from a few places in its driver, again
 * and again; comparing fifteen bytes costs a tenth of decoding them. As decode() is a pure function of the
 * bytes and the code size, an entry is never stale and nothing has to be invalidated. Compiles on the host.
 */
#pragma once

#include "vmx/decode.h"

#define DECODE_CACHE_SIZE 8 /* a power of two */

struct decode_cache {
    struct decode_cached {
        uint64_t head, tail; /* bytes 0 to 7, and 7 to 14 */
        uint32_t code;       /* enum code_size + 1; 0: empty */
        struct insn insn;
    } entry[DECODE_CACHE_SIZE];
};

/*
 * As decode(); *out is valid until the next call. A zeroed cache is empty. Owned by one vCPU, called by the
 * CPU that runs it.
 */
int decode_cached(struct decode_cache *cache, const uint8_t *bytes, size_t size, enum code_size code,
                  const struct insn **out) __must_check;
