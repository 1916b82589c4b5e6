/* The entropy device with a ring of anything, rewritten as it reads: no byte goes where it was not asked for.
 */
#include "devices/vrng.h"
#include "tests/fuzz/virtio_guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct vrng vrng;

static bool entropy(uint8_t seed[CHACHA20_KEY])
{
    static uint8_t count;

    memset(seed, ++count, CHACHA20_KEY);
    return count % 4;
}

/* A byte of choices, the ring's start, and what the thread writes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct guest_material material = { .queues = 1 };
    static struct vrng_state before, after;
    pthread_t thread;

    if (size < 1 + 0x140)
        return 0;
    guest_init();
    vrng_init(&vrng, &mem, &apics, entropy);
    assert(vrng_attach(&vrng, &pci) == 0 && vpci_attach(&pci, &board.ports, &board.mmio) == 0);
    guest_start(&vrng.virtio, data[0] & 1 ? VIRTIO_F_PACKED : 0, 1);
    memcpy(gmem_ptr(&mem, gpa(GUEST_RING), 0x140), data + 1, 0x140);
    material.data = data + 1 + 0x140;
    material.size = size - 1 - 0x140;
    if (pthread_create(&thread, NULL, guest_thread, &material))
        return 0;
    for (unsigned i = 0; i < 4; i++)
        guest_kick(&vrng.virtio, 0);
    pthread_join(thread, NULL);
    guest_kick(&vrng.virtio, 0);
    assert(vvirtio_is_idle(&vrng.virtio));
    vrng_save(&vrng, &before);
    assert(vrng_check(&vrng, &before) == 0);
    vrng_load(&vrng, &before);
    vrng_save(&vrng, &after);
    assert(memcmp(&before, &after, sizeof(before)) == 0);
    return 0;
}
