/*
 * A ring in the hands of a guest that writes anything into it, at any time: the input is first the memory
 * around the ring and then what the device does, while another thread goes on writing descriptors. The device
 * reads and writes whatever a chain names, so that a segment outside of the guest's memory is found.
 */
#include <assert.h>
#include <pthread.h>
#include <string.h>
#include "devices/vring.h"
#include "tests/unit/host/host.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define AREA 4096u /* bytes from RING on that the input and the thread write */
#define RING 0x1000u
#define MAX  8
#define HELD 16

static struct gmem mem;
static const uint8_t *material; /* what the thread writes */
static size_t material_size;
static volatile unsigned sum;

static uint16_t word(size_t i)
{
    return (uint16_t)(material[i] | material[i + 1] << 8);
}

/* Waits for nothing: the two run into each other as they like. */
static void *rewrite(void *unused)
{
    uint16_t *area = (uint16_t *)(void *)gmem_ptr(&mem, gpa(RING), AREA);

    (void)unused;
    for (unsigned round = 0; round < 4; round++)
        for (size_t i = 0; i + 3 < material_size; i += 4)
            __atomic_store_n(&area[word(i) % (AREA / 2)], word(i + 2), __ATOMIC_RELAXED);
    return NULL;
}

/* All of a short segment, both ends of a long one. */
static void touch(const struct vring_segment *segment, bool write)
{
    assert(segment->bytes > 0);
    if (write) {
        segment->data[0] = 1;
        segment->data[segment->bytes - 1] = 2;
    } else {
        sum += segment->data[0] + segment->data[segment->bytes - 1];
    }
}

static void use(const struct vring_chain *chain, const struct vring_segment *segment)
{
    uint64_t bytes[2] = { 0, 0 };

    assert(chain->readable + chain->writable <= MAX && chain->descriptors > 0);
    for (unsigned i = 0; i < chain->readable + chain->writable; i++) {
        bool write = i >= chain->readable;

        touch(&segment[i], write);
        bytes[write] += segment[i].bytes;
    }
    assert(bytes[0] == chain->readable_bytes && bytes[1] == chain->writable_bytes);
    assert(bytes[0] + bytes[1] <= UINT32_MAX);
}

static void live(struct vring *ring, const uint8_t *data, size_t size)
{
    struct vring_segment segment[MAX];
    struct vring_chain held[HELD];
    unsigned count = 0;

    for (size_t i = 0; i < size; i++) {
        if (data[i] % 4 == 0 && count > 0) {
            unsigned which = data[i] / 4 % count;

            vring_push(ring, &held[which], data[i]);
            held[which] = held[--count];
        } else if (data[i] % 4 == 1) {
            sum += vring_should_notify(ring);
        } else if (data[i] % 8 == 2) {
            sum += vring_enable_notify(ring);
        } else if (data[i] % 8 == 6) {
            vring_disable_notify(ring);
        } else if (count < HELD && vring_pop(ring, &held[count], segment, MAX) == 1) {
            use(&held[count++], segment);
        }
        assert(vring_check(&ring->config, &ring->s) == 0);
    }
}

/* Input: a byte of choices, the size, 256 bytes for the ring's start, then half for the device, half for the
 * thread. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vring_config config = { RING, RING + 0x400, RING + 0x600, 0, false, false, false };
    struct vring ring;
    pthread_t thread;
    bool threaded;

    if (size < 2 + 256)
        return 0;
    if (!mem.count)
        host_gmem_init(&mem, 2 * GMEM_CHUNK);
    config.packed = data[0] & 1;
    config.event_idx = data[0] & 2;
    config.indirect = data[0] & 4;
    threaded = data[0] & 8;
    config.size = config.packed ? data[1] % 16 : (uint16_t)(1u << data[1] % 5);
    if (data[0] & 16)
        config.desc = 0x1ff000; /* up to the chunk's end */
    if (vring_init(&ring, &mem, &config))
        return 0;
    memset(gmem_ptr(&mem, gpa(RING), AREA), 0, AREA);
    memcpy(gmem_ptr(&mem, gpa(config.desc), 128), data + 2, 128);
    memcpy(gmem_ptr(&mem, gpa(config.driver), 128), data + 130, 128);
    data += 258;
    size -= 258;
    material = data + size / 2;
    material_size = size - size / 2;
    if (threaded && pthread_create(&thread, NULL, rewrite, NULL))
        return 0;
    live(&ring, data, size / 2);
    if (threaded)
        pthread_join(thread, NULL);
    return 0;
}
