/*
 * The virtio transport under a driver that does anything, in any order: BAR and configuration accesses, ring
 * memory, a device that keeps buffers and gives them back late, resets, saving and loading of damaged state.
 */
#include "devices/vlapic.h"
#include "devices/vvirtio.h"
#include "tests/fuzz/device.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SLOT   3
#define QUEUES 2
#define HELD   6
#define RING   0x1000u
#define AREA   2048u
#define ALL    (VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX | VIRTIO_F_PACKED | VIRTIO_F_RING_RESET)

static struct board board;
static struct vpci pci;
static struct vreset reset_port;
static struct vlapic_bus apics;
static struct vlapic lapic;
static struct gmem mem;
static struct vvirtio v;
static struct vring_chain held[QUEUES][HELD];
static unsigned count[QUEUES];

static void none(void *vm)
{
    (void)vm;
}

static void none_8(void *vm, uint8_t what)
{
    (void)vm;
    (void)what;
}

static const struct vlapic_up up = { none, none_8, none, none, none_8, NULL, none };

static void notified(void *device, unsigned queue)
{
    struct vring_segment segment[4];
    unsigned *n = &count[queue];

    (void)device;
    lock_take(&v.queue[queue].lock);
    while (*n < HELD && vvirtio_pop(&v, &v.queue[queue], &held[queue][*n], segment, 4) == 1) {
        for (unsigned i = 0; i < held[queue][*n].writable; i++)
            segment[held[queue][*n].readable + i].data[0]++;
        ++*n;
    }
    lock_release(&v.queue[queue].lock);
}

static uint32_t config_read(void *device, unsigned index)
{
    (void)device;
    return index;
}

static void was_reset(void *device)
{
    (void)device;
    for (unsigned i = 0; i < QUEUES; i++)
        assert(count[i] == 0 && v.queue[i].held == 0);
}

static void give_back(unsigned queue)
{
    if (count[queue] == 0)
        return;
    lock_take(&v.queue[queue].lock);
    vvirtio_push(&v.queue[queue], &held[queue][--count[queue]], 1);
    lock_release(&v.queue[queue].lock);
    vvirtio_interrupt(&v, &v.queue[queue]);
}

static void give_all_back(void)
{
    for (unsigned i = 0; i < QUEUES; i++)
        while (count[i])
            give_back(i);
}

static void common(uint32_t offset, unsigned bytes, uint32_t value)
{
    vvirtio_write(&v, offset, bytes, value);
}

/* As a good driver would, so that the fuzzer gets far. */
static void start(uint8_t how)
{
    uint64_t features = VIRTIO_F_VERSION_1 | (how & 1 ? VIRTIO_F_PACKED : 0) |
                        (how & 2 ? VIRTIO_F_EVENT_IDX : 0) | (how & 4 ? VIRTIO_F_INDIRECT : 0) |
                        (how & 8 ? VIRTIO_F_RING_RESET : 0);

    common(VIRTIO_COMMON_STATUS, 1, 0);
    common(VIRTIO_COMMON_DRIVER_FEATURE_SELECT, 4, 0);
    common(VIRTIO_COMMON_DRIVER_FEATURE, 4, (uint32_t)features);
    common(VIRTIO_COMMON_DRIVER_FEATURE_SELECT, 4, 1);
    common(VIRTIO_COMMON_DRIVER_FEATURE, 4, (uint32_t)(features >> 32));
    common(VIRTIO_COMMON_STATUS, 1, 0xb);
    for (unsigned i = 0; i < QUEUES; i++) {
        common(VIRTIO_COMMON_QUEUE_SELECT, 2, i);
        common(VIRTIO_COMMON_QUEUE_SIZE, 2, 4);
        common(VIRTIO_COMMON_QUEUE_DESC, 4, RING + i * 0x400);
        common(VIRTIO_COMMON_QUEUE_DRIVER, 4, RING + i * 0x400 + 0x100);
        common(VIRTIO_COMMON_QUEUE_DEVICE, 4, RING + i * 0x400 + 0x200);
        common(VIRTIO_COMMON_QUEUE_VECTOR, 2, i);
        common(VIRTIO_COMMON_QUEUE_ENABLE, 2, 1);
    }
    common(VIRTIO_COMMON_STATUS, 1, 0xf);
}

static void access_bar(struct fuzz_input *input)
{
    uint8_t how = fuzz_byte(input);
    unsigned bytes = 1u << (how >> 1) % 3;
    uint32_t offset = ((how >> 4) % 8u << 12 | fuzz_byte(input)) & ~(bytes - 1);

    if (how & 1)
        vvirtio_write(&v, offset, bytes, fuzz_bytes(input, bytes));
    else
        assert(vvirtio_read(&v, offset, bytes) >> 8 * bytes == 0);
}

static void access_config(struct fuzz_input *input)
{
    uint8_t at = fuzz_byte(input);

    outl(&board, 0xcf8, 0x80000000u | SLOT << 11 | (at & 0xfc));
    if (at & 1)
        outl(&board, 0xcfc, fuzz_bytes(input, 4));
    else
        inl(&board, 0xcfc);
}

static void write_memory(struct fuzz_input *input)
{
    unsigned at = fuzz_bytes(input, 2) % (AREA - 16), n = fuzz_byte(input) % 17;
    uint8_t *to = gmem_ptr(&mem, gpa(RING), AREA);

    while (n-- > 0)
        to[at++] = fuzz_byte(input);
}

static void round_trip(void)
{
    static struct vvirtio_state before, after;

    give_all_back();
    memset(&before, 0, sizeof(before));
    memset(&after, 0, sizeof(after));
    vvirtio_save(&v, &before);
    assert(vvirtio_check(&v, &before) == 0);
    vvirtio_load(&v, &before);
    vvirtio_save(&v, &after);
    assert(memcmp(&before, &after, sizeof(before)) == 0);
}

static void damaged_load(struct fuzz_input *input)
{
    static struct vvirtio_state state;
    unsigned n = fuzz_byte(input) % 8 + 1;

    give_all_back();
    vvirtio_save(&v, &state);
    while (n-- > 0)
        ((uint8_t *)&state)[fuzz_bytes(input, 2) % sizeof(state)] = fuzz_byte(input);
    if (vvirtio_check(&v, &state) == 0)
        vvirtio_load(&v, &state);
}

static void step(struct fuzz_input *input)
{
    uint8_t what = fuzz_byte(input);

    switch (what % 16) {
    case 0:
        start(fuzz_byte(input));
        break;
    case 1:
        access_config(input);
        break;
    case 2:
    case 3:
    case 4:
        write_memory(input);
        break;
    case 5:
    case 6:
        vvirtio_write(&v, 0x3000 + what / 16 % 4 * 4u, 2, 0);
        break;
    case 7:
    case 8:
        give_back(what / 16 % QUEUES);
        break;
    case 9:
        round_trip();
        break;
    case 10:
        damaged_load(input);
        break;
    case 11:
        vvirtio_config_changed(&v);
        break;
    case 12:
        if (what / 16 == 0) {
            vvirtio_reset(&v);
            vpci_reset(&pci);
        }
        break;
    default:
        access_bar(input);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct vvirtio_ops ops = { .notified = notified,
                                            .config_read = config_read,
                                            .reset = was_reset };
    static const struct vvirtio_kind kind = { .id = VIRTIO_ID_NET,
                                              .class_code = 0x020000,
                                              .queues = QUEUES,
                                              .queue_size = 8,
                                              .features = ALL,
                                              .config_size = 12,
                                              .ops = &ops };
    struct fuzz_input input = { data, size };

    if (!mem.count)
        host_gmem_init(&mem, GMEM_CHUNK);
    memset(gmem_ptr(&mem, gpa(RING), AREA), 0, AREA);
    host_log_quiet = true;
    board_init(&board);
    memset(&apics, 0, sizeof(apics));
    vlapic_init(&lapic, &apics, 0, &up, NULL, &board.clock, &board.queue);
    vreset_init(&reset_port, none, NULL);
    vpci_init(&pci, &reset_port);
    memset(count, 0, sizeof(count));
    vvirtio_init(&v, &kind, &mem, &apics, NULL);
    assert(vpci_add(&pci, SLOT, &v.function) == 0 && vpci_attach(&pci, &board.ports, &board.mmio) == 0);
    while (input.left > 0)
        step(&input);
    give_all_back();
    vvirtio_reset(&v);
    assert(vvirtio_is_idle(&v) && vvirtio_read(&v, VIRTIO_COMMON_STATUS, 1) == 0);
    return 0;
}
