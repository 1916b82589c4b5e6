/*
 * virtio's entropy device (OASIS virtio 1.2, section 5.4): fills the driver's buffers with random bytes. They
 * come from a ChaCha20 generator of the device's own, which is seeded anew from the machine's entropy as it
 * gives them out.
 *
 * The event index is not offered: a notification is then sent for all that is made available, so that what a
 * notification finds is bounded by the ring, and the CPU is not held longer than that.
 */
#pragma once

#include "devices/vvirtio.h"
#include "lib/chacha20.h"

#define VRNG_SLOT       30
#define VRNG_QUEUE_SIZE 64
#define VRNG_MAX        1024u /* bytes that one buffer gets at most; the driver asks again */
#define VRNG_SEED_EVERY 4096u /* bytes */

struct vrng_state {
    struct vvirtio_state virtio; /* no key: a copy of the VM must not know this one's future */
};

struct vrng {
    struct vvirtio virtio;
    struct chacha20_rng rng;
    bool seeded;
    uint32_t since_seed; /* bytes given out */
    bool (*entropy)(uint8_t seed[CHACHA20_KEY]);
};

/*
 * `entropy` gives 32 bytes of the machine's, or false if it has none now; until it has given some the driver
 * gets nothing. All calls belong to the holder of vm.devices.
 */
void vrng_init(struct vrng *vrng, const struct gmem *mem, struct vlapic_bus *bus,
               bool (*entropy)(uint8_t seed[CHACHA20_KEY]));
void vrng_reset(struct vrng *vrng);

void vrng_save(struct vrng *vrng, struct vrng_state *out);
int vrng_check(const struct vrng *vrng, const struct vrng_state *state) __must_check;
/* The generator is seeded anew. */
void vrng_load(struct vrng *vrng, const struct vrng_state *state);

/* Puts it on the bus, before vpci_attach(); errors are those of vpci_add(). */
int vrng_attach(struct vrng *vrng, struct vpci *pci) __must_check;
