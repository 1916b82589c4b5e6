/* virtio's balloon with rings of anything, rewritten as it reads: its counts are those of its maps, no
 * doorbell goes on for ever, and nothing that is no RAM is given to anybody. */
#include "devices/vballoon.h"
#include "tests/fuzz/virtio_guest.h"

#define START  0x180 /* bytes of input for each queue's beginning */
#define QUEUES 4
#define RAM    (2 * GMEM_CHUNK)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct vballoon vb;
static uint64_t pages[VBALLOON_PAGE_WORDS(RAM)], kept[VBALLOON_PAGE_WORDS(RAM)];
static uint64_t chunks[VBALLOON_CHUNK_WORDS(RAM)];
static unsigned told;

static void tell(void *context)
{
    (void)context;
    told++;
}

static uint64_t count(const uint64_t *map, size_t words)
{
    uint64_t bits = 0;

    for (size_t i = 0; i < words; i++)
        bits += (uint64_t)__builtin_popcountll(map[i]);
    return bits;
}

static void look(void)
{
    assert(vb.inflated == count(pages, VBALLOON_PAGE_WORDS(RAM)));
    assert(vb.wanted == count(chunks, VBALLOON_CHUNK_WORDS(RAM)));
    assert(vvirtio_is_idle(&vb.virtio));
    for (uint64_t at = 0xa0; at < 0xc0; at++)
        assert(!(pages[at / 64] & BIT(at % 64)));
}

static void round_trip(void)
{
    static struct vballoon_state before, after;

    vballoon_save(&vb, &before, kept);
    assert(vballoon_check(&vb, &before, kept) == 0);
    vballoon_load(&vb, &before, kept);
    vballoon_save(&vb, &after, kept);
    assert(vballoon_check(&vb, &after, kept) == 0);
    assert(memcmp(before.done, after.done, sizeof(before.done)) == 0 && before.actual == after.actual);
}

static void give(void)
{
    gpa_t at;

    for (unsigned i = 0; vballoon_take(&vb, &at); i++)
        assert(i < RAM / GMEM_CHUNK && at.raw < RAM && at.raw % GMEM_CHUNK == 0);
    vballoon_taken(&vb);
}

static void do_one(uint8_t what)
{
    switch (what % 8) {
    case 0:
    case 1:
    case 2:
    case 3:
        guest_kick(&vb.virtio, what % 8);
        break;
    case 4:
        advance(&board, VBALLOON_PAUSE_NS);
        break;
    case 5:
        give();
        break;
    case 6:
        if (what & 8)
            vballoon_ask_stats(&vb);
        else
            vvirtio_write(&vb.virtio, 0x2000 + what / 16 % 8 * 4, 4, what);
        break;
    default:
        round_trip();
        break;
    }
    look();
}

/* A byte of choices, the rings' starts, 16 bytes of what is done, and what the thread writes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct vballoon_owner owner = { tell, NULL };
    struct guest_material material = { .queues = QUEUES };
    pthread_t thread;

    if (size < 1 + QUEUES * START + 16)
        return 0;
    guest_init();
    vballoon_init(&vb, &mem, &apics, &board.clock, &board.queue, pages, chunks, &owner);
    assert(vballoon_attach(&vb, &pci) == 0 && vpci_attach(&pci, &board.ports, &board.mmio) == 0);
    guest_start(&vb.virtio,
                (data[0] & 1 ? 0 : VIRTIO_F_PACKED) | (data[0] & 2 ? VIRTIO_BALLOON_F_STATS_VQ : 0), QUEUES);
    for (unsigned n = 0; n < QUEUES; n++)
        memcpy(gmem_ptr(&mem, gpa(GUEST_RING + n * GUEST_AREA), START), data + 1 + n * START, START);
    data += 1 + QUEUES * START;
    material.data = data + 16;
    material.size = size - 1 - QUEUES * START - 16;
    if (pthread_create(&thread, NULL, guest_thread, &material))
        return 0;
    for (unsigned i = 0; i < 16; i++)
        do_one(data[i]);
    pthread_join(thread, NULL);
    for (unsigned i = 0; i < 16; i++)
        do_one(data[i]);
    vballoon_reset(&vb);
    look();
    assert(vb.inflated == 0 && vb.wanted == 0 && !vtimer_armed(&vb.again));
    return 0;
}
