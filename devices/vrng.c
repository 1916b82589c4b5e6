/* virtio's entropy device. Section numbers are those of OASIS virtio 1.2. */
#include "devices/vrng.h"
#include "lib/string.h"

#define QUEUE    0
#define SEGMENTS 8        /* pieces of one buffer */
#define CLASS    0x00ff00 /* none of PCI's classes fits */

/* False: it has never got any entropy. Without some more the generator goes on with what it has. */
static bool seed(struct vrng *vrng)
{
    uint8_t fresh[CHACHA20_KEY];

    if (vrng->seeded && vrng->since_seed < VRNG_SEED_EVERY)
        return true;
    if (vrng->entropy(fresh)) {
        chacha20_rng_seed(&vrng->rng, fresh);
        vrng->seeded = true;
        vrng->since_seed = 0;
        chacha20_wipe(fresh, sizeof(fresh));
    }
    return vrng->seeded;
}

/* 5.4.6.2: at least one byte, unless there is no room or no entropy, which an empty buffer tells. */
static uint32_t fill(struct vrng *vrng, const struct vring_chain *chain, const struct vring_segment *segment)
{
    uint32_t done = 0;

    if (!seed(vrng))
        return 0;
    for (unsigned i = chain->readable; i < chain->readable + chain->writable && done < VRNG_MAX; i++) {
        uint32_t piece = (uint32_t)min_u64(segment[i].bytes, VRNG_MAX - done);

        chacha20_rng_bytes(&vrng->rng, segment[i].data, piece);
        done += piece;
    }
    vrng->since_seed += done;
    return done;
}

/* As many buffers as a ring holds, see vrng.h. */
static void notified(void *device, unsigned index)
{
    struct vrng *vrng = device;
    struct vvirtio_queue *queue = &vrng->virtio.queue[index];
    struct vring_segment segment[SEGMENTS];
    struct vring_chain chain;

    lock_take(&queue->lock);
    for (unsigned i = 0; i < VRNG_QUEUE_SIZE; i++) {
        if (vvirtio_pop(&vrng->virtio, queue, &chain, segment, SEGMENTS) != 1)
            break;
        vvirtio_push(queue, &chain, fill(vrng, &chain, segment));
    }
    lock_release(&queue->lock);
    vvirtio_interrupt(&vrng->virtio, queue);
}

void vrng_init(struct vrng *vrng, const struct gmem *mem, struct vlapic_bus *bus,
               bool (*entropy)(uint8_t seed[CHACHA20_KEY]))
{
    static const struct vvirtio_ops ops = { .notified = notified };
    static const struct vvirtio_kind kind = {
        .id = VIRTIO_ID_ENTROPY,
        .class_code = CLASS,
        .queues = 1,
        .queue_size = VRNG_QUEUE_SIZE,
        .features = VIRTIO_F_INDIRECT | VIRTIO_F_PACKED | VIRTIO_F_RING_RESET,
        .ops = &ops,
    };

    memset(vrng, 0, sizeof(*vrng));
    vrng->entropy = entropy;
    vvirtio_init(&vrng->virtio, &kind, mem, bus, vrng);
}

/* The generator is no part of what a guest can reset. */
void vrng_reset(struct vrng *vrng)
{
    vvirtio_reset(&vrng->virtio);
}

int vrng_attach(struct vrng *vrng, struct vpci *pci)
{
    return vpci_add(pci, VRNG_SLOT, &vrng->virtio.function);
}

void vrng_save(struct vrng *vrng, struct vrng_state *out)
{
    vvirtio_save(&vrng->virtio, &out->virtio);
}

int vrng_check(const struct vrng *vrng, const struct vrng_state *state)
{
    return vvirtio_check(&vrng->virtio, &state->virtio);
}

void vrng_load(struct vrng *vrng, const struct vrng_state *state)
{
    vvirtio_load(&vrng->virtio, &state->virtio);
    vrng->since_seed = VRNG_SEED_EVERY;
}
