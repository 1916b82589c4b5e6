/* The cache of decoded instructions: direct-mapped. */
#include "vmx/decode_cache.h"

int decode_cached(struct decode_cache *cache, const uint8_t *bytes, size_t size, enum code_size code,
                  const struct insn **out)
{
    struct decode_cached *entry = &cache->entry[0];
    uint64_t head, tail;
    int status;

    if (likely(size >= INSN_MAX)) {
        __builtin_memcpy(&head, bytes, sizeof(head));
        __builtin_memcpy(&tail, bytes + INSN_MAX - sizeof(tail), sizeof(tail));
        /* Fibonacci hashing of the bytes in which an opcode, its registers and its displacement are. */
        entry = &cache->entry[(head * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (DECODE_CACHE_SIZE - 1)];
        *out = &entry->insn;
        if (likely(entry->head == head && entry->tail == tail && entry->code == code + 1u))
            return 0;
    }
    entry->code = 0;
    *out = &entry->insn;
    status = decode(bytes, size, code, &entry->insn);
    if (status != 0 || size < INSN_MAX)
        return status;
    entry->head = head;
    entry->tail = tail;
    entry->code = code + 1u;
    return 0;
}
