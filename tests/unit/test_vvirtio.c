/* Virtio over PCI: a device of two queues that keeps each buffer until the test gives it back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/virtio_rig.h"

#define FEATURES (VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX | VIRTIO_F_PACKED | VIRTIO_F_RING_RESET | BIT(5))
#define DATA     0x180000u

static struct vvirtio v;
static struct vring_chain held[2][8];
static unsigned held_count[2], notified, resets;
static uint32_t device_config[2], written_offset, written_size, written_value;

static void on_notified(void *device, unsigned queue)
{
    struct vring_segment segment[4];
    struct vring_chain chain;

    assert_ptr_equal(device, &held);
    notified++;
    lock_take(&v.queue[queue].lock);
    while (held_count[queue] < 8 && vvirtio_pop(&v, &v.queue[queue], &chain, segment, 4) == 1)
        held[queue][held_count[queue]++] = chain;
    lock_release(&v.queue[queue].lock);
}

static uint32_t on_read(void *device, unsigned index)
{
    (void)device;
    return device_config[index];
}

static void on_write(void *device, uint32_t offset, unsigned size, uint32_t value)
{
    (void)device;
    written_offset = offset;
    written_size = size;
    written_value = value;
}

static void on_reset(void *device)
{
    (void)device;
    resets++;
}

/* As a disk's interrupt does. */
static void give_back(unsigned queue)
{
    lock_take(&v.queue[queue].lock);
    vvirtio_push(&v.queue[queue], &held[queue][--held_count[queue]], 1);
    lock_release(&v.queue[queue].lock);
    vvirtio_interrupt(&v, &v.queue[queue]);
}

static int setup(void **state)
{
    static const struct vvirtio_ops ops = {
        .notified = on_notified, .config_read = on_read, .config_write = on_write, .reset = on_reset
    };
    static const struct vvirtio_kind kind = { .id = VIRTIO_ID_BLOCK,
                                              .class_code = 0x010000,
                                              .queues = 2,
                                              .queue_size = 64,
                                              .features = FEATURES,
                                              .config_size = 8,
                                              .ops = &ops };

    (void)state;
    rig_init();
    held_count[0] = held_count[1] = notified = 0;
    vvirtio_init(&v, &kind, &mem, &apics, &held);
    resets = 0;
    rig_attach(&v);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    host_gmem_free(&mem);
    return 0;
}

static void add(unsigned n)
{
    virtq_add(&q[n], &(struct virtq_buffer){ DATA, 16, true }, 1);
    kick(n);
}

static bool used(unsigned n)
{
    uint16_t id;
    uint32_t bytes;

    return virtq_get(&q[n], &id, &bytes);
}

/* As a driver looks for them: each kind once, inside the BAR. */
static void its_capabilities(void **state)
{
    unsigned at = config_get(0x34) & 0xff, vendor[6] = { 0 }, msix = 0;

    (void)state;
    assert_int_equal(config_get(0), 0x10421af4);
    assert_int_equal(config_get(8), 0x01000001);
    assert_int_equal(config_get(0x2c) & 0xffff, 0x1af4);
    assert_true(config_get(4) & 0x00100000);
    for (unsigned i = 0; at; i++) {
        uint32_t head = config_get(at), offset = config_get(at + 8), length = config_get(at + 12);

        assert_true(i < 8 && at % 4 == 0 && at >= 0x40);
        if ((head & 0xff) == 0x11) {
            assert_int_equal(head >> 16, 2); /* three vectors */
            assert_int_equal(config_get(at + 4), 0x4000);
            msix++;
        } else {
            assert_int_equal(head & 0xff, 9);
            assert_in_range(head >> 24, 1, 5);
            vendor[head >> 24]++;
            assert_true(head >> 24 == 5 || (length > 0 && offset + length <= 0x8000));
            assert_int_equal(head >> 16 & 0xff, head >> 24 == 2 || head >> 24 == 5 ? 20 : 16);
            if (head >> 24 == 2)
                assert_int_equal(config_get(at + 16), 4);
        }
        at = head >> 8 & 0xff;
    }
    assert_int_equal(msix, 1);
    for (unsigned i = 1; i < 6; i++)
        assert_int_equal(vendor[i], 1);
}

static void features_are_negotiated(void **state)
{
    (void)state;
    assert_true(rig_offered() == (FEATURES | VIRTIO_F_VERSION_1));
    put(VIRTIO_COMMON_DEVICE_FEATURE_SELECT, 4, 2);
    assert_int_equal(get(VIRTIO_COMMON_DEVICE_FEATURE, 4), 0);
    assert_int_equal(rig_negotiate(FEATURES), 3);                    /* not a modern driver */
    assert_int_equal(rig_negotiate(VIRTIO_F_VERSION_1 | BIT(6)), 3); /* not offered */
    put(VIRTIO_COMMON_STATUS, 1, 7);
    assert_int_equal(status(), 3); /* nor goes it on so */
    assert_int_equal(rig_negotiate(VIRTIO_F_VERSION_1 | BIT(5)), 0xb);
    assert_true(vvirtio_has(&v, BIT(5)));
    put(VIRTIO_COMMON_DRIVER_FEATURE_SELECT, 4, 0);
    put(VIRTIO_COMMON_DRIVER_FEATURE, 4, 0); /* too late */
    assert_int_equal(get(VIRTIO_COMMON_DRIVER_FEATURE, 4), BIT(5));
    put(VIRTIO_COMMON_STATUS, 1, 0x80);
    assert_int_equal(status(), 0x8b); /* bits are only added */
    put(VIRTIO_COMMON_STATUS, 1, 0);
    assert_int_equal(status(), 0);
    assert_int_equal(get(VIRTIO_COMMON_DRIVER_FEATURE, 4), 0);
}

static void queues_are_set_up(void **state)
{
    (void)state;
    assert_int_equal(get(VIRTIO_COMMON_NUM_QUEUES, 2), 2);
    put(VIRTIO_COMMON_QUEUE_SELECT, 2, 2);
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_SIZE, 2), 0);
    put(VIRTIO_COMMON_QUEUE_ENABLE, 2, 1);
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_ENABLE, 2), 0);
    put(VIRTIO_COMMON_QUEUE_SELECT, 2, 1);
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_SIZE, 2), 64);
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_NOTIFY_OFF, 2), 1);
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_VECTOR, 2), 0xffff);
    put(VIRTIO_COMMON_QUEUE_SIZE, 2, 65);
    put(VIRTIO_COMMON_QUEUE_SIZE, 2, 0);
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_SIZE, 2), 64);
    put(VIRTIO_COMMON_QUEUE_VECTOR, 2, 3);
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_VECTOR, 2), 0xffff); /* there are three */
    put(VIRTIO_COMMON_QUEUE_VECTOR, 2, 2);
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_VECTOR, 2), 2);
    put64(VIRTIO_COMMON_QUEUE_DESC, UINT64_C(0x123456789abcdef0));
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_DESC + 4, 4), 0x12345678);
    put(VIRTIO_COMMON_QUEUE_ENABLE, 2, 1); /* before FEATURES_OK */
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_ENABLE, 2), 0);
    rig_start(0, 2, 8);
    put64(VIRTIO_COMMON_QUEUE_DESC, 0);
    put(VIRTIO_COMMON_QUEUE_SIZE, 2, 4);
    put(VIRTIO_COMMON_QUEUE_ENABLE, 2, 0);
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_DESC, 4), q[1].desc); /* enabled is enabled */
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_SIZE, 2), 8);
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_ENABLE, 2), 1);
}

static void buffers_go_through_with(uint64_t features)
{
    rig_start(features, 2, 8);
    for (unsigned i = 0; i < 20; i++) {
        add(i % 2);
        assert_int_equal(held_count[i % 2], 1);
        assert_false(used(i % 2));
        give_back(i % 2);
        assert_true(used(i % 2));
        assert_true(came(1 + i % 2));
        assert_false(came(2 - i % 2));
        if ((features & VIRTIO_F_EVENT_IDX) && !(features & VIRTIO_F_PACKED))
            ((uint16_t *)virtq_at(&q[i % 2], q[i % 2].driver))[2 + 8] = q[i % 2].used;
    }
    assert_int_equal(get(0x1000, 1), 0); /* MSI-X is on */
}

static void buffers_go_through(void **state)
{
    (void)state;
    buffers_go_through_with(0);
    buffers_go_through_with(VIRTIO_F_INDIRECT);
    buffers_go_through_with(VIRTIO_F_PACKED);
    buffers_go_through_with(VIRTIO_F_PACKED | VIRTIO_F_INDIRECT | VIRTIO_F_EVENT_IDX);
    buffers_go_through_with(VIRTIO_F_EVENT_IDX);
}

static void nothing_before_driver_ok(void **state)
{
    (void)state;
    rig_negotiate(VIRTIO_F_VERSION_1);
    rig_queue(0, 8, 0);
    add(0);
    assert_int_equal(notified, 0);
    rig_driver_ok();
    kick(1); /* not enabled */
    kick(2); /* not there */
    kick(1023);
    assert_int_equal(notified, 0);
    kick(0);
    assert_int_equal(held_count[0], 1);
}

/* 2.4 and 4.1.4.3.1: it reads as reset when all is back; until then the driver's memory is the device's. */
static void a_reset_waits_for_what_is_in_flight(void **state)
{
    (void)state;
    rig_start(0, 2, 8);
    add(0);
    add(0);
    add(1);
    assert_false(vvirtio_is_idle(&v));
    put(VIRTIO_COMMON_STATUS, 1, 0);
    assert_int_not_equal(status(), 0);
    add(0);
    assert_int_equal(held_count[0], 2); /* no new ones */
    put(VIRTIO_COMMON_STATUS, 1, 1);    /* too early */
    give_back(0);
    give_back(0);
    assert_int_not_equal(status(), 0);
    assert_int_equal(resets, 1); /* that of rig_start() */
    give_back(1);
    assert_false(used(0));
    assert_false(used(1));
    assert_false(came(1));
    assert_int_equal(status(), 0);
    assert_int_equal(resets, 2);
    assert_true(vvirtio_is_idle(&v));
    put(VIRTIO_COMMON_QUEUE_SELECT, 2, 1);
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_ENABLE, 2), 0);
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_SIZE, 2), 64);
    rig_start(0, 2, 8);
    add(0);
    give_back(0);
    assert_true(used(0));
}

static void one_queue_is_reset(void **state)
{
    (void)state;
    rig_start(VIRTIO_F_RING_RESET, 2, 8);
    add(0);
    add(1);
    put(VIRTIO_COMMON_QUEUE_SELECT, 2, 0);
    put(VIRTIO_COMMON_QUEUE_RESET, 2, 1);
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_RESET, 2), 1);
    give_back(0);
    assert_false(used(0));
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_RESET, 2), 0);
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_ENABLE, 2), 0);
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_SIZE, 2), 64);
    assert_int_equal(status(), 0xf);
    give_back(1); /* the other one lives */
    assert_true(used(1));
    rig_queue(0, 16, 0);
    add(0);
    give_back(0);
    assert_true(used(0));
    rig_start(0, 2, 8); /* without the feature it is no register */
    put(VIRTIO_COMMON_QUEUE_RESET, 2, 1);
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_RESET, 2), 0);
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_ENABLE, 2), 1);
}

static void nonsense_needs_a_reset(void **state)
{
    (void)state;
    rig_start(0, 2, 8);
    ((uint16_t *)virtq_at(&q[0], q[0].driver))[1] = 100;
    kick(0);
    assert_int_equal(status(), 0x4f);
    assert_true(came(0));
    assert_int_equal(get(0x1000, 1), VIRTIO_ISR_CONFIG);
    kick(0);
    assert_false(came(0)); /* said once */
    rig_start(0, 2, 8);
    add(0);
    assert_int_equal(held_count[0], 1);
    give_back(0);
    rig_negotiate(VIRTIO_F_VERSION_1);
    put(VIRTIO_COMMON_QUEUE_SELECT, 2, 0);
    put64(VIRTIO_COMMON_QUEUE_DESC, MEMORY);
    put(VIRTIO_COMMON_QUEUE_ENABLE, 2, 1); /* not in RAM */
    assert_int_equal(get(VIRTIO_COMMON_QUEUE_ENABLE, 2), 0);
    assert_int_equal(status(), 0x4b);
}

static void the_isr_without_msix(void **state)
{
    (void)state;
    rig_start(0, 1, 8);
    config_put(0x40, 0);
    add(0);
    give_back(0);
    assert_false(came(1));
    assert_true(config_get(4) & 0x00080000);
    assert_int_equal(get(0x1000, 1), VIRTIO_ISR_QUEUE);
    assert_int_equal(get(0x1000, 1), 0);
    assert_false(config_get(4) & 0x00080000);
    vvirtio_config_changed(&v);
    assert_int_equal(get(0x1000, 1), VIRTIO_ISR_CONFIG);
}

static bool pin;       /* its level */
static unsigned asked; /* how often vpci_update_pins() was asked for */

static void set_pin(void *context, unsigned number, bool level)
{
    (void)context;
    if (number == vpci_irq(SLOT))
        pin = level;
}

static void ask_pins(void *context)
{
    (void)context;
    asked++;
}

/* Raised by the device soon, let go of by the guest at once: by the ISR, the command register, MSI-X, or a
 * reset.
 */
static void the_pin_without_msix(void **state)
{
    const struct irq_line line[VPCI_LINES] = { { set_pin, NULL, 10 }, { set_pin, NULL, 11 } };

    (void)state;
    asked = 0;
    vpci_connect(&pci, line, ask_pins, NULL);
    assert_int_equal(config_get(0x3c) & 0xffff, 0x100 | vpci_irq(SLOT));
    rig_start(0, 1, 8);
    config_put(0x40, 0);
    vvirtio_config_changed(&v);
    assert_int_equal(asked, 1);
    assert_false(pin);
    vpci_update_pins(&pci);
    assert_true(pin);
    vvirtio_config_changed(&v);
    assert_int_equal(asked, 1); /* it is up already */
    config_put(4, config_get(4) | 0x400);
    assert_false(pin);
    config_put(4, config_get(4) & ~0x400u);
    assert_true(pin);
    config_put(0x40, 0x80000000);
    assert_false(pin);
    config_put(0x40, 0);
    assert_true(pin);
    get(0x1000, 1);
    assert_false(pin);
    add(0);
    give_back(0);
    assert_int_equal(asked, 2);
    vpci_update_pins(&pci);
    assert_true(pin);
    put(VIRTIO_COMMON_STATUS, 1, 0);
    assert_false(pin);
    config_put(0x40, 0x80000000);
    rig_start(0, 1, 8);
    vvirtio_config_changed(&v);
    assert_int_equal(asked, 2); /* a message */
}

static void its_configuration(void **state)
{
    uint8_t before;

    (void)state;
    device_config[0] = 0x44332211;
    device_config[1] = 0x88776655;
    assert_int_equal(get(0x2000, 4), 0x44332211);
    assert_int_equal(get(0x2002, 2), 0x4433);
    assert_int_equal(get(0x2007, 1), 0x88);
    assert_int_equal(get(0x2008, 4), 0);
    put(0x2004, 1, 0x7f);
    assert_int_equal(written_offset, 4);
    assert_int_equal(written_size, 1);
    assert_int_equal(written_value, 0x7f);
    before = (uint8_t)get(VIRTIO_COMMON_GENERATION, 1);
    vvirtio_config_changed(&v);
    assert_int_equal((uint8_t)get(VIRTIO_COMMON_GENERATION, 1), before + 1);
    assert_false(came(0)); /* nobody drives it */
    rig_start(0, 1, 8);
    vvirtio_config_changed(&v);
    assert_true(came(0));
}

/* 4.1.4.9 */
static void a_window_in_configuration_space(void **state)
{
    (void)state;
    config_put(0x98, 0);
    config_put(0x9c, VIRTIO_COMMON_STATUS);
    config_put(0xa0, 1);
    config_put(0xa4, 0x03);
    assert_int_equal(status(), 3);
    assert_int_equal(config_get(0xa4), 3);
    config_put(0x9c, VIRTIO_COMMON_NUM_QUEUES);
    config_put(0xa0, 2);
    assert_int_equal(config_get(0xa4), 2);
    config_put(0xa0, 3); /* no width */
    assert_int_equal(config_get(0xa4), 0);
    config_put(0xa0, 4);
    config_put(0x9c, 0x8000); /* outside */
    assert_int_equal(config_get(0xa4), 0);
    config_put(0xa4, 1);
    config_put(0x9c, 2); /* not aligned */
    assert_int_equal(config_get(0xa4), 0);
    config_put(0x98, 1); /* another BAR */
    config_put(0x9c, 0);
    assert_int_equal(config_get(0xa4), 0);
}

static void the_machine_is_reset(void **state)
{
    (void)state;
    rig_start(0, 2, 8);
    add(0);
    vvirtio_reset(&v);
    vpci_reset(&pci);
    assert_false(vvirtio_is_idle(&v));
    give_back(0);
    assert_true(vvirtio_is_idle(&v));
    assert_false(came(1));
    assert_int_equal(status(), 0);
    assert_int_equal(config_get(0x40) >> 31, 0);
    assert_int_equal(get(0x400c, 4), 1);
    rig_start(0, 2, 8);
}

static void its_state_goes_elsewhere(void **state)
{
    struct vvirtio_state saved;

    (void)state;
    for (unsigned packed = 0; packed < 2; packed++) {
        rig_start(packed ? VIRTIO_F_PACKED : 0, 2, 8);
        for (unsigned i = 0; i < 5; i++) {
            add(0);
            give_back(0);
            assert_true(used(0));
        }
        came(1);
        virtq_add(&q[0], &(struct virtq_buffer){ DATA, 16, true }, 1);
        vvirtio_save(&v, &saved);
        assert_int_equal(vvirtio_check(&v, &saved), 0);
        vvirtio_reset(&v);
        vpci_reset(&pci);
        assert_int_equal(status(), 0);
        vvirtio_load(&v, &saved);
        assert_int_equal(status(), 0xf);
        kick(0);
        assert_int_equal(held_count[0], 1);
        give_back(0);
        assert_true(used(0));
        assert_true(came(1));
    }
}

static void impossible_state_is_refused(void **state)
{
    struct vvirtio_state good, bad;

    (void)state;
    rig_start(BIT(5), 1, 8);
    vvirtio_save(&v, &good);
    assert_int_equal(vvirtio_check(&v, &good), 0);
#define REFUSED(change)                                                                                      \
    bad = good;                                                                                              \
    change;                                                                                                  \
    assert_int_equal(vvirtio_check(&v, &bad), -EINVAL)
    REFUSED(bad.config[0] ^= 1);
    REFUSED(bad.msix.pending = 8);
    REFUSED(bad.status = 0x1f);
    REFUSED(bad.status = 0x07);
    REFUSED(bad.driver_features |= BIT(6));
    REFUSED(bad.driver_features = BIT(5));
    REFUSED(bad.config_vector = 3);
    REFUSED(bad.isr = 4);
    REFUSED(bad.resetting = 1);
    REFUSED(bad.queue[0].vector = 3);
    REFUSED(bad.queue[0].size = 65);
    REFUSED(bad.queue[0].size = 0);
    REFUSED(bad.queue[0].size = 7);
    REFUSED(bad.queue[0].desc = MEMORY);
    REFUSED(bad.queue[0].resetting = 1);
    REFUSED(bad.queue[0].enabled = 2);
    REFUSED(bad.queue[0].ring.in_flight = 1);
    REFUSED(bad.queue[0].ring.avail_wrap = 1);
    REFUSED((bad.status = 3, bad.queue[0].enabled = 1));
#undef REFUSED
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(its_capabilities, setup, teardown),
        cmocka_unit_test_setup_teardown(features_are_negotiated, setup, teardown),
        cmocka_unit_test_setup_teardown(queues_are_set_up, setup, teardown),
        cmocka_unit_test_setup_teardown(buffers_go_through, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_before_driver_ok, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reset_waits_for_what_is_in_flight, setup, teardown),
        cmocka_unit_test_setup_teardown(one_queue_is_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(nonsense_needs_a_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(the_isr_without_msix, setup, teardown),
        cmocka_unit_test_setup_teardown(the_pin_without_msix, setup, teardown),
        cmocka_unit_test_setup_teardown(its_configuration, setup, teardown),
        cmocka_unit_test_setup_teardown(a_window_in_configuration_space, setup, teardown),
        cmocka_unit_test_setup_teardown(the_machine_is_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(its_state_goes_elsewhere, setup, teardown),
        cmocka_unit_test_setup_teardown(impossible_state_is_refused, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
