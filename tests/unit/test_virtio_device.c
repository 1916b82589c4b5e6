/* What drivers of virtio devices share: from the capabilities to a queue. */
#include "tests/unit/virtio_device_rig.h"
#include "tests/unit/net_rig.h"

#define OFFERS (VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT | VIRTIO_F_PACKED | BIT(5))

static const uint8_t widths[] = { 1, 1, 2, 4, 8, 0 };
static struct virtio_device virtio;
static _Alignas(4096) uint8_t memory[8192];

static int setup(void **state)
{
    (void)state;
    rig_memory();
    device_make(0x1041, OFFERS, widths);
    for (unsigned i = 0; i < sizeof(device.config); i++)
        device.config[i] = (uint8_t)(i + 1);
    return 0;
}

static const char *map(void)
{
    struct pci_device pci = { .at = device.at };

    return virtio_device_map(&virtio, &pci);
}

static void registers_are_found(void **state)
{
    (void)state;
    assert_null(map());
    assert_ptr_equal(virtio.common, device_bar);
    assert_ptr_equal(virtio.notify, device_bar + DEVICE_NOTIFY);
    assert_ptr_equal(virtio.isr, device_bar + DEVICE_ISR);
    assert_ptr_equal(virtio.config, device_bar + DEVICE_CONFIG);
    assert_int_equal(virtio.notify_step, DEVICE_STEP);
    assert_int_equal(virtio.notify_size, 0x1000);
    assert_int_equal(virtio.config_size, 0x40);
}

static void registers_that_cannot_be(void **state)
{
    static const struct {
        unsigned at; /* a word of configuration space */
        uint32_t value;
    } rows[] = {
        { 0x04, 0 },                    /* no capabilities */
        { 0x34, 0 },                    /* none */
        { 0x90, 0x01000009 | 5 << 24 }, /* none of that type */
        { 0x94, 5 },                    /* another BAR, which is not there */
        { 0x94, 255 },                  /* no BAR at all */
        { 0x98, 0x4000 },               /* beyond its end */
        { 0x98, 0xfffffff0 },           /* ... */
        { 0x98, 2 },                    /* not aligned */
        { 0x9c, 0x37 },                 /* too short */
        { 0x5c, 0x3001 },               /* a bell at an odd address */
        { 0x60, 1 },                    /* no room for one */
        { 0x70, DEVICE_CONFIG + 1 },    /* configuration that is not aligned */
        { 0x74, 4 },                    /* less than any device has */
        { 0x88, 0 },                    /* no ISR */
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        setup(NULL);
        device.pci[rows[i].at / 4] = rows[i].value;
        assert_non_null(map());
    }
    setup(NULL);
    device.pci[0x40 / 4] = 0x05005409 | 20 << 16; /* round and round */
    device.pci[0x90 / 4] = 0x09 | 0x40 << 8 | 9u << 24;
    assert_non_null(map());
    setup(NULL);
    device.pci[0x7c / 4] = 0x09 | 0xf4 << 8 | VIRTIO_PCI_ISR << 24;
    device.pci[0xf4 / 4] = 0x09 | VIRTIO_PCI_COMMON << 24; /* its last word would be behind the end */
    assert_non_null(map());
}

static void features_are_agreed_on(void **state)
{
    static const uint8_t statuses[] = { 0, 1, 3, 0xb };

    (void)state;
    assert_null(map());
    device.status = 7; /* firmware had used it */
    device.reset_takes = 50;
    assert_null(virtio_device_begin(&virtio, VIRTIO_F_VERSION_1 | BIT(5) | BIT(6), VIRTIO_F_VERSION_1));
    assert_true(virtio.features == (VIRTIO_F_VERSION_1 | BIT(5)));
    assert_true(device.accepts == virtio.features);
    assert_int_equal(device.status_count, ARRAY_SIZE(statuses));
    assert_memory_equal(device.statuses, statuses, sizeof(statuses));
    assert_int_equal(device.reset_takes, 0);
    virtio_device_go(&virtio);
    assert_int_equal(device.status, 0xf);
    assert_true(device.pci[1] & PCI_COMMAND_MASTER);
    virtio_device_stop(&virtio);
    assert_int_equal(virtio_device_status(&virtio), 0);
    assert_false(device.pci[1] & PCI_COMMAND_MASTER);
}

static void features_that_are_not(void **state)
{
    (void)state;
    assert_null(map());
    assert_non_null(virtio_device_begin(&virtio, VIRTIO_F_VERSION_1 | BIT(6), BIT(6)));
    assert_true(device.status & VIRTIO_FAILED);
    assert_int_equal(device.accepts, 0);
    device.refuses_features = true;
    assert_non_null(virtio_device_begin(&virtio, VIRTIO_F_VERSION_1, VIRTIO_F_VERSION_1));
    assert_true(device.status & VIRTIO_FAILED);
    setup(NULL);
    device.reset_takes = 101;
    assert_non_null(virtio_device_begin(&virtio, VIRTIO_F_VERSION_1, VIRTIO_F_VERSION_1));
    setup(NULL);
    device.is_gone = true;
    assert_non_null(virtio_device_begin(&virtio, VIRTIO_F_VERSION_1, VIRTIO_F_VERSION_1));
}

static void configuration_is_read_by_fields(void **state)
{
    uint8_t said[16];

    (void)state;
    assert_null(map());
    memset(said, 0xcc, sizeof(said));
    virtio_device_config(&virtio, said, widths, 5);
    assert_memory_equal(said, device.config, 16);
    virtio.config_size = 12; /* it has no more; the last field has only one half */
    virtio_device_config(&virtio, said, widths, 5);
    assert_memory_equal(said, device.config, 12);
    assert_memory_equal(said + 12, "\0\0\0", 4);
    device.config_changes = 5;
    virtio_device_config(&virtio, said, widths, 1);
    assert_true(device.config_changes == 0 && said[0] == 1);
    device.config_changes = 255; /* for ever */
    virtio_device_config(&virtio, said, widths, 1);
    assert_true(device.config_changes > 100);
}

static int make_queue(unsigned n, unsigned size, unsigned vector)
{
    static struct virtio_ring ring;
    int error;

    virtio_ring_place(&ring, memory, size);
    error = virtio_device_queue(&virtio, &ring, n, vector);
    if (!error) {
        assert_ptr_equal(ring.bell, device_bar + DEVICE_NOTIFY + n * DEVICE_STEP);
        virtio_ring_put(&ring, 5);
        virtio_ring_tell(&ring);
        assert_true(device_bell(n));
    }
    return error;
}

static void queues_are_made(void **state)
{
    const struct device_queue *queue = &device.queue[2];

    (void)state;
    assert_null(map());
    assert_int_equal(make_queue(2, 64, 3), 0);
    assert_true(queue->enable == 1 && queue->size == 64 && queue->vector == 3);
    assert_ptr_equal(device_desc(queue), memory);
    assert_ptr_equal(device_avail(queue), memory + 1024);
    assert_ptr_equal(device_used(queue), memory + 1280);
    assert_true(device_avail(queue)->index == 1 && device_avail(queue)->ring[0] == 5);
    assert_int_equal(make_queue(0, 256, VIRTIO_NO_VECTOR), 0);
    assert_int_equal(device.queue[0].size, 256);
    assert_true(virtio_device_config_vector(&virtio, 2) && device.config_vector == 2);
}

static void queues_that_cannot_be(void **state)
{
    (void)state;
    assert_null(map());
    assert_int_equal(make_queue(3, 64, 0), -ENODEV); /* there is none */
    device.queue[1].size = 32;
    assert_int_equal(make_queue(1, 64, 0), -ENODEV);
    device.queue[1].size = 96;
    assert_int_equal(virtio_device_queue_size(&virtio, 1), 0);
    assert_int_equal(make_queue(1, 64, 0), -ENODEV);
    device.queue[1].size = 256;
    device.refuses_vectors = true;
    assert_int_equal(make_queue(1, 64, 0), -ENODEV);
    device.refuses_vectors = false;
    device.queue[1].notify_off = 0x1000 / DEVICE_STEP;
    assert_int_equal(make_queue(1, 64, 0), -ENODEV);
    virtio.notify_step = UINT32_MAX; /* far away, and at an odd address */
    device.queue[1].notify_off = 0xffff;
    assert_int_equal(make_queue(1, 64, 0), -ENODEV);
    virtio.notify_step = 1;
    device.queue[1].notify_off = 1;
    assert_int_equal(make_queue(1, 64, 0), -ENODEV);
    assert_int_equal(device.queue[1].enable, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
    const struct CMUnitTest tests[] = {
        TEST(registers_are_found),   TEST(registers_that_cannot_be),        TEST(features_are_agreed_on),
        TEST(features_that_are_not), TEST(configuration_is_read_by_fields), TEST(queues_are_made),
        TEST(queues_that_cannot_be),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
