/* The driver of virtio network cards. The test is the device: it takes buffers and gives them back, or
 * others. */
#include "tests/unit/virtio_device_rig.h"
#include "drivers/virtio_net.h"
#include "tests/unit/net_rig.h"

#define RX            (&device.queue[0])
#define TX            (&device.queue[1])
#define OFFERS        (VIRTIO_F_VERSION_1 | VIRTIO_NET_F_MAC | VIRTIO_NET_F_STATUS | VIRTIO_NET_F_MRG_RXBUF)
#define HEAD          12u
#define FRAMES_VECTOR 0
#define CONFIG_VECTOR 1
#define SECOND        HOST_TSC_HZ

static const uint8_t widths[] = { 1, 1, 1, 1, 1, 1, 2, 2, 2, 0 };
static struct virtio_net_config *said = (void *)device.config;
static struct network *net;
static struct rig_port *vm;
static struct nic *nic;
static uint8_t text[9014];

/* A device that has not been found yet. */
static void make(uint64_t offers)
{
    device_make(0x1041, offers, widths);
    *said = (struct virtio_net_config){ .mac = { 0x52, 0x54, 0, 1, 2, 3 }, .status = 1, .mtu = 9000 };
}

static struct virtio_net *card(void)
{
    return container_of(nic, struct virtio_net, nic);
}

/* Finds it, and connects it to a network. */
static void find(unsigned mtu)
{
    static unsigned networks;
    struct network_config config = { .mtu = mtu };
    struct net_port_config own = rig_config(1);

    rig_memory();
    host_tsc = 0;
    host_timers = (struct timer_queue){ .next = TIMER_NEVER };
    snprintf(config.name, sizeof(config.name), "net%u", networks++);
    snprintf(config.uplink, sizeof(config.uplink), "pci:%02x:%02x.0", device.at.bus, device.at.slot);
    net = net_make(&config);
    assert_non_null(net);
    vm = rig_add(net, &own, 0);
    virtio_net_init();
    nic = nic_find(config.uplink);
    for (unsigned i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t)(i * 7 + i / 256);
    host_log_quiet = true;
}

static int setup(void **state)
{
    (void)state;
    make(OFFERS);
    find(1500);
    return nic && card()->state == VIRTIO_NET_WORKS ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    free(vm);
    vm = NULL;
    return 0;
}

static void seconds(unsigned count)
{
    host_advance(&host_timers, count * SECOND);
}

/* --- Finding it */

static void what_it_says_is_known(void **state)
{
    static const struct {
        uint64_t offers;
        unsigned rx, tx, mtu;
    } rows[] = {
        { OFFERS, 256, 256, 65535 },
        { OFFERS | VIRTIO_NET_F_MTU, 256, 256, 9000 },
        { OFFERS & ~VIRTIO_NET_F_MRG_RXBUF, 256, 256, 2048 - 12 - 18 },
        { OFFERS, 16, 1024, 8192 - 12 - 18 },
        { OFFERS | VIRTIO_NET_F_MTU, 1024, 16, 8192 - 12 - 18 },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        make(rows[i].offers);
        device.queue[0].max = device.queue[0].size = (uint16_t)rows[i].rx;
        device.queue[1].max = device.queue[1].size = (uint16_t)rows[i].tx;
        find(1500);
        assert_non_null(nic);
        assert_int_equal(nic->mtu, rows[i].mtu);
        assert_memory_equal(nic->mac, said->mac, 6);
        assert_true(nic->link && card()->state == VIRTIO_NET_WORKS);
        assert_int_equal(RX->size, rows[i].rx < 256 ? rows[i].rx : 256);
        assert_int_equal(device_avail(RX)->index, RX->size);
        assert_true(device_bell(0));
        assert_true(RX->vector == FRAMES_VECTOR && TX->vector == VIRTIO_NO_VECTOR &&
                    device.config_vector == CONFIG_VECTOR);
        assert_int_equal(device_avail(TX)->flags, VIRTQ_NO_INTERRUPT);
        assert_true(device.pci[1] & PCI_COMMAND_MASTER);
        teardown(state);
    }
}

static void one_that_cannot_is_not_used(void **state)
{
    for (unsigned i = 0; i < 6; i++) {
        make(OFFERS & ~(i == 0 ? VIRTIO_F_VERSION_1 : i == 1 ? VIRTIO_NET_F_MAC : 0));
        if (i == 2)
            memset(said->mac, 0, 6);
        else if (i == 3)
            said->mac[0] |= 1;
        else if (i == 4)
            device.queues = 1;
        else if (i == 5)
            device.queue[0].max = 2;
        find(1500);
        assert_null(nic);
        assert_non_null(strstr(host_log_last, "is not used"));
        teardown(state);
    }
    for (unsigned i = 0; i < 2; i++) { /* seen when it is to begin */
        make(OFFERS);
        device.no_interrupt = i == 0;
        device.refuses_vectors = i == 1;
        find(1500);
        assert_non_null(nic);
        assert_true(card()->state == VIRTIO_NET_STOPPED && !nic->port->open);
        assert_int_equal(device.status, 0);
        assert_false(device.pci[1] & PCI_COMMAND_MASTER);
        teardown(state);
    }
}

/* --- Receiving */

/* A frame of so many bytes for the VM, in as many buffers as it takes, with a header of one's own choice. */
static unsigned arrive(size_t bytes, unsigned fill, const struct virtio_net_hdr *header)
{
    unsigned count = (unsigned)(HEAD + bytes + VIRTIO_NET_BUFFER - 1) / VIRTIO_NET_BUFFER;
    struct virtio_net_hdr plain = { .num_buffers = (uint16_t)count };
    static uint8_t frame[HEAD + sizeof(text)];

    memset(frame, (int)fill, sizeof(frame));
    memcpy(frame, header ? header : &plain, HEAD);
    memcpy(frame + HEAD, "\2\0\0\0\0\1\2\0\0\0\0\x99\x88\xb5", 14);
    for (size_t at = 0, part; at < HEAD + bytes; at += part) {
        unsigned id = device_take(RX);
        const struct virtq_desc *desc = &device_desc(RX)[id];

        assert_true(desc->length == VIRTIO_NET_BUFFER && desc->flags == VIRTQ_DESC_WRITE);
        part = HEAD + bytes - at < VIRTIO_NET_BUFFER ? HEAD + bytes - at : VIRTIO_NET_BUFFER;
        memcpy(phys_to_virt(hpa(desc->address)), frame + at, part);
        device_give(RX, id, (uint32_t)part);
    }
    return count;
}

static void received_frames_reach_the_network(void **state)
{
    (void)state;
    assert_true(device_bell(0));
    for (unsigned i = 0; i < 1400; i++) {
        arrive(60 + i, i, NULL);
        assert_true(device_interrupt(FRAMES_VECTOR));
        assert_int_equal(vm->received, i + 1);
        assert_int_equal(vm->frame[i % RIG_KEEP].bytes, 60 + i);
        assert_int_equal(vm->frame[i % RIG_KEEP].data[59 + i], i & 0xff);
        assert_true(device_bell(0));
        assert_int_equal((uint16_t)(device_avail(RX)->index - RX->taken), 256);
        assert_int_equal(device_avail(RX)->flags, 0);
    }
    assert_int_equal(nic->port->counts.sent, 1400);
    assert_true(device_interrupt(FRAMES_VECTOR)); /* for nothing */
    assert_false(device_bell(0));
    device_used(RX)->flags = VIRTQ_NO_NOTIFY;
    arrive(60, 1, NULL);
    assert_true(device_interrupt(FRAMES_VECTOR));
    assert_false(device_bell(0));
    assert_int_equal(vm->received, 1401);
}

static void long_frames_take_several_buffers(void **state)
{
    static const unsigned bytes[] = { 2036, 2037, 4084, 4085, 9014 };

    (void)state;
    make(OFFERS);
    find(9000);
    for (unsigned i = 0; i < 100 * ARRAY_SIZE(bytes); i++) {
        unsigned size = bytes[i % ARRAY_SIZE(bytes)];

        assert_int_equal(arrive(size, i, NULL), size <= 2036 ? 1 : size <= 4084 ? 2 : size == 4085 ? 3 : 5);
        device_interrupt(FRAMES_VECTOR);
        assert_int_equal(vm->received, i + 1);
        assert_int_equal(vm->frame[i % RIG_KEEP].bytes, size);
        assert_int_equal(vm->frame[i % RIG_KEEP].data[14], i & 0xff);
        assert_int_equal(vm->frame[i % RIG_KEEP].data[size - 1], i & 0xff);
    }
    assert_null(card()->wrong);
}

static void a_batch_is_bounded(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 150; i++)
        arrive(60, 1, NULL);
    assert_true(device_interrupt(FRAMES_VECTOR));
    assert_int_equal(vm->received, 64);
    assert_int_equal(device_avail(RX)->flags, VIRTQ_NO_INTERRUPT); /* none is needed until it is done */
    assert_non_null(device_work);
    assert_true(device_work->step(device_work));
    assert_int_equal(vm->received, 128);
    assert_false(device_work->step(device_work));
    assert_int_equal(vm->received, 150);
    assert_int_equal(device_avail(RX)->flags, 0);
}

static void frames_with_work_left_are_dropped(void **state)
{
    (void)state;
    arrive(100, 1,
           &(struct virtio_net_hdr){ .flags = 1, .csum_start = 34, .csum_offset = 6, .num_buffers = 1 });
    arrive(100, 1, &(struct virtio_net_hdr){ .gso_type = 1, .gso_size = 50, .num_buffers = 1 });
    arrive(100, 1,
           &(struct virtio_net_hdr){ .flags = 2, .num_buffers = 1 }); /* this says only that it is right */
    device_interrupt(FRAMES_VECTOR);
    assert_int_equal(vm->received, 1);
    assert_int_equal(vm->frame[0].offload.flags, 0);
    assert_int_equal(card()->rx_bad, 2);
    assert_null(card()->wrong);
}

/* The VM sends one. */
static void send(size_t bytes, unsigned fill)
{
    memset(text, (int)fill, sizeof(text));
    memcpy(text, "\2\0\0\0\0\x99\2\0\0\0\0\1\x88\xb5", 14);
    assert_int_equal(rig_send_facts(vm, text, bytes, 1000, NULL), 0);
}

/* After so much nothing is believed any more; it is reset and begins anew. */
static void check_reset(unsigned received)
{
    uint64_t sent_before = nic->port->counts.received;

    assert_non_null(card()->wrong);
    assert_int_equal(vm->received, received);
    arrive(60, 1, NULL);
    device_interrupt(FRAMES_VECTOR);
    assert_int_equal(vm->received, received);
    send(60, 1);
    assert_int_equal(nic->port->counts.received, sent_before);
    seconds(1);
    assert_int_equal(device.status, 0);
    assert_int_equal(card()->state, VIRTIO_NET_RESETTING);
    assert_false(nic->link);
    device_interrupt(FRAMES_VECTOR); /* a late one */
    device_interrupt(CONFIG_VECTOR);
    assert_false(nic->link);
    seconds(1);
    assert_true(device.status == 0xf && nic->link && card()->state == VIRTIO_NET_WORKS);
    assert_int_equal(RX->vector, FRAMES_VECTOR);
    assert_int_equal(device.config_vector, CONFIG_VECTOR);
    device_bell(0);
    for (unsigned i = 0; i < 300; i++) {
        arrive(60, 1, NULL);
        device_interrupt(FRAMES_VECTOR);
    }
    assert_int_equal(vm->received, received + 300);
}

static void lies_about_buffers(void **state)
{
    static const struct {
        uint32_t id, bytes; /* of the first buffer, instead of its own */
        unsigned buffers;   /* as the header says */
    } rows[] = {
        { 256, 72, 1 },       { 0xffffffff, 72, 1 }, { 0x10000, 72, 1 }, { 0, 2049, 1 },
        { 0, 0xffffffff, 1 }, { 0, 11, 1 },          { 0, 0, 1 },        { 0, 72, 0 },
        { 0, 72, 65 },        { 0, 72, 0xffff },     { 0, 72, 2 }, /* and there is no second one */
    };

    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct virtio_net_hdr header = { .num_buffers = (uint16_t)rows[i].buffers };

        setup(state);
        device_take(RX);
        memcpy(phys_to_virt(hpa(device_desc(RX)[0].address)), &header, HEAD);
        device_give(RX, rows[i].id, rows[i].bytes);
        for (unsigned k = 1; k < rows[i].buffers && k <= NET_SEGMENTS && rows[i].buffers > 2; k++)
            device_give(RX, device_take(RX), 1); /* they are there, but no frame has so many */
        device_interrupt(FRAMES_VECTOR);
        check_reset(0);
        teardown(state);
    }
    setup(state); /* a frame of two buffers, which are the same one */
    memcpy(phys_to_virt(hpa(device_desc(RX)[0].address)), &(struct virtio_net_hdr){ .num_buffers = 2 }, HEAD);
    device_give(RX, 0, 2048);
    device_give(RX, 0, 2048);
    RX->taken++;
    device_interrupt(FRAMES_VECTOR);
    check_reset(0);
}

static void an_index_that_runs_away(void **state)
{
    (void)state;
    device_used(RX)->index = 0x8000; /* all entries are 0, with no bytes */
    device_interrupt(FRAMES_VECTOR);
    check_reset(0);
    device_used(TX)->index = 0x8000;
    send(60, 1);
    check_reset(300);
}

/* --- Sending */

/* What was sent: the first descriptor of its chain; the header is looked at, the rest goes to `to`. */
static unsigned sent(uint8_t *to, size_t *bytes)
{
    static const uint8_t none[HEAD];
    unsigned first = device_take(TX), id = first, parts = 0;
    uint8_t all[HEAD + sizeof(text) + VIRTIO_NET_BUFFER];
    size_t size = 0;

    for (;; id = device_desc(TX)[id].next) {
        const struct virtq_desc *desc = &device_desc(TX)[id];

        assert_true(id < TX->size && parts++ < 6 && desc->length && desc->length <= VIRTIO_NET_BUFFER);
        assert_int_equal(desc->flags & ~VIRTQ_DESC_NEXT, 0);
        memcpy(all + size, phys_to_virt(hpa(desc->address)), desc->length);
        size += desc->length;
        if (!(desc->flags & VIRTQ_DESC_NEXT))
            break;
    }
    assert_memory_equal(all, none, HEAD);
    *bytes = size - HEAD;
    memcpy(to, all + HEAD, *bytes);
    return first;
}

static void frames_are_sent(void **state)
{
    static uint8_t got[sizeof(text) + VIRTIO_NET_BUFFER];
    size_t bytes;

    (void)state;
    for (unsigned i = 0; i < 1400; i++) {
        unsigned id;

        send(100 + i, i);
        assert_true(device_bell(1));
        id = sent(got, &bytes);
        assert_int_equal(bytes, 100 + i);
        assert_memory_equal(got, text, bytes);
        device_give(TX, id, 0);
    }
    assert_int_equal(nic->port->counts.received, 1400);
    send(20, 7);
    device_give(TX, sent(got, &bytes), 0);
    assert_int_equal(bytes, 60);
    assert_memory_equal(got, text, 20);
    for (unsigned i = 20; i < 60; i++)
        assert_int_equal(got[i], 0);
}

static void long_frames_are_sent(void **state)
{
    static const unsigned sizes[] = { 2036, 2037, 4084, 4085, 9014 };
    static uint8_t got[sizeof(text) + VIRTIO_NET_BUFFER];
    unsigned id[2];
    size_t bytes;

    (void)state;
    make(OFFERS);
    find(9000);
    for (unsigned i = 0; i < 200 * ARRAY_SIZE(sizes); i++) {
        unsigned size = sizes[i % ARRAY_SIZE(sizes)];

        send(size, i);
        id[i & 1] = sent(got, &bytes);
        assert_int_equal(bytes, size);
        assert_memory_equal(got, text, bytes);
        if (i & 1) { /* they come back in another order */
            device_give(TX, id[1], 0);
            device_give(TX, id[0], 0);
        }
    }
    virtio_net_reclaim(card());
    assert_int_equal(card()->tx_free_count, 256);
    for (unsigned i = 0; i < 52; i++)
        send(9014, i);
    assert_int_equal(card()->tx_free_count, 1); /* 51 times 5 */
    assert_int_equal(nic->port->counts.drop[NET_DROP_ROOM], 1);
    assert_null(card()->wrong);
}

static void a_full_ring_or_a_missing_cable_takes_nothing(void **state)
{
    const uint64_t *dropped = &nic->port->counts.drop[NET_DROP_ROOM];
    static uint8_t got[sizeof(text)];
    size_t bytes;

    (void)state;
    for (unsigned i = 0; i < 266; i++)
        send(100, 1);
    assert_int_equal(*dropped, 10);
    device_give(TX, sent(got, &bytes), 0);
    device_give(TX, sent(got, &bytes), 0);
    for (unsigned i = 0; i < 3; i++)
        send(100, 2);
    assert_int_equal(*dropped, 11);
    said->status = 0;
    device.generation++;
    assert_true(device_interrupt(CONFIG_VECTOR));
    assert_false(nic->link);
    while (TX->taken != device_avail(TX)->index)
        device_give(TX, sent(got, &bytes), 0);
    send(100, 3);
    assert_int_equal(*dropped, 12);
    said->status = 1;
    device_interrupt(CONFIG_VECTOR);
    assert_true(nic->link);
    send(100, 3);
    assert_int_equal(*dropped, 12);
}

static void lies_about_what_was_sent(void **state)
{
    static const uint32_t ids[] = { 0, 255, 256, 0xffffffff, 0x10000 };

    for (unsigned i = 0; i < 2 * ARRAY_SIZE(ids); i++) {
        static uint8_t got[sizeof(text)];
        size_t bytes;

        setup(state);
        send(100, 1);
        if (i >= ARRAY_SIZE(ids)) {
            unsigned id = sent(got, &bytes);

            device_give(TX, id, 0);
            device_give(TX, id, 0); /* it is sent only once */
        } else {
            device_give(TX, ids[i] == 0 ? 1 : ids[i], 0);
        }
        send(100, 1);
        check_reset(0);
        if (i + 1 < 2 * ARRAY_SIZE(ids))
            teardown(state);
    }
}

/* --- Its life */

static void one_that_fails_begins_again_a_few_times(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        device.status |= VIRTIO_NEEDS_RESET;
        seconds(1);
        assert_true(device.status == 0 && !nic->link);
        seconds(1);
        assert_true(device.status == 0xf && nic->link);
    }
    seconds(70); /* it does well, and two times are forgotten */
    assert_int_equal(card()->trouble, 2);
    for (unsigned i = 0; i < 2; i++) {
        device.status |= VIRTIO_NEEDS_RESET;
        seconds(2);
        assert_true(device.status == 0xf && nic->link);
    }
    device.status |= VIRTIO_NEEDS_RESET;
    seconds(1);
    assert_non_null(strstr(host_log_last, "link down"));
    assert_true(card()->state == VIRTIO_NET_GIVEN_UP && !nic->link && device.status == 0);
    assert_false(device.pci[1] & PCI_COMMAND_MASTER);
    seconds(100);
    assert_int_equal(device.status, 0);
    send(100, 1);
    assert_int_equal(nic->port->counts.received, 0);
}

static void one_that_is_gone_or_stays_away(void **state)
{
    (void)state;
    device.is_gone = true;
    seconds(1);
    assert_true(card()->state == VIRTIO_NET_GIVEN_UP && !nic->link);
    teardown(state);
    setup(state);
    device.status = 0; /* somebody has reset it */
    seconds(1);
    assert_int_equal(card()->state, VIRTIO_NET_RESETTING);
    seconds(1);
    assert_int_equal(card()->state, VIRTIO_NET_WORKS);
    device.status |= VIRTIO_NEEDS_RESET;
    seconds(1);
    device.reset_takes = 3;
    seconds(3);
    assert_int_equal(card()->state, VIRTIO_NET_RESETTING);
    seconds(1);
    assert_int_equal(card()->state, VIRTIO_NET_WORKS);
    device.status |= VIRTIO_NEEDS_RESET;
    device.reset_takes = 1000;
    seconds(7);
    assert_int_equal(card()->state, VIRTIO_NET_GIVEN_UP);
    assert_false(device.pci[1] & PCI_COMMAND_MASTER);
    teardown(state);
    setup(state);
    device.status |= VIRTIO_NEEDS_RESET;
    device.queue[0].max = 16; /* another device than before */
    seconds(2);
    assert_int_equal(card()->state, VIRTIO_NET_GIVEN_UP);
}

static void one_that_sends_nothing_is_reset(void **state)
{
    static uint8_t got[sizeof(text)];
    size_t bytes;

    (void)state;
    send(100, 1);
    send(100, 1);
    seconds(29);
    device_give(TX, sent(got, &bytes), 0); /* slow, but it does */
    seconds(30);
    assert_int_equal(card()->state, VIRTIO_NET_WORKS);
    seconds(1);
    assert_int_equal(card()->state, VIRTIO_NET_RESETTING);
    seconds(2);
    assert_int_equal(card()->state, VIRTIO_NET_WORKS);
    seconds(100); /* idle is not stuck */
    assert_int_equal(card()->state, VIRTIO_NET_WORKS);
    send(100, 1);
    sent(got, &bytes);
    assert_int_equal(card()->tx_free_count, 255);
}

static void lost_interrupts_are_made_up_for(void **state)
{
    (void)state;
    arrive(60, 1, NULL);
    seconds(1);
    assert_int_equal(vm->received, 1);
}

static void one_vector_or_a_line_will_do(void **state)
{
    make(OFFERS);
    device.vectors = 1;
    find(1500);
    assert_true(RX->vector == 0 && device.config_vector == VIRTIO_NO_VECTOR);
    arrive(60, 1, NULL);
    device_interrupt(FRAMES_VECTOR);
    assert_int_equal(vm->received, 1);
    said->status = 0;
    seconds(1);
    assert_false(nic->link);
    teardown(state);
    make(OFFERS & ~VIRTIO_NET_F_STATUS);
    device.vectors = 0;
    said->status = 0; /* means nothing then */
    find(1500);
    assert_true(nic->link);
    arrive(60, 1, NULL);
    device.line.handler(device.line.context); /* another device's */
    assert_int_equal(vm->received, 0);
    device.isr = VIRTIO_ISR_QUEUE | VIRTIO_ISR_CONFIG;
    device.line.handler(device.line.context);
    assert_int_equal(vm->received, 1);
    assert_true(nic->link);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define OWN(name)  cmocka_unit_test_teardown(name, teardown) /* it makes its own device */
    const struct CMUnitTest tests[] = {
        OWN(what_it_says_is_known),
        OWN(one_that_cannot_is_not_used),
        TEST(received_frames_reach_the_network),
        OWN(long_frames_take_several_buffers),
        TEST(a_batch_is_bounded),
        TEST(frames_with_work_left_are_dropped),
        OWN(lies_about_buffers),
        TEST(an_index_that_runs_away),
        TEST(frames_are_sent),
        OWN(long_frames_are_sent),
        TEST(a_full_ring_or_a_missing_cable_takes_nothing),
        OWN(lies_about_what_was_sent),
        TEST(one_that_fails_begins_again_a_few_times),
        TEST(one_that_is_gone_or_stays_away),
        TEST(one_that_sends_nothing_is_reset),
        TEST(lost_interrupts_are_made_up_for),
        OWN(one_vector_or_a_line_will_do),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
