#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include "lib/errno.h"
#include "tests/unit/net_rig.h"

#define SECOND HOST_TSC_HZ

static struct network *net;
static struct rig_port *a, *b, *c, *up;
static uint8_t text[9000];

static void set_mac(uint8_t *to, unsigned number)
{
    memcpy(to, (uint8_t[]){ 2, 0, 0, 0, 0, (uint8_t)number }, 6);
}

/* A frame of type 0x88b5 (for experiments) with `payload` bytes behind its header. */
static size_t make(unsigned from, unsigned to, size_t payload)
{
    set_mac(text, to);
    set_mac(text + 6, from);
    text[12] = 0x88;
    text[13] = 0xb5;
    for (size_t i = 0; i < payload; i++)
        text[14 + i] = (uint8_t)(i * 7);
    return 14 + payload;
}

/* The same with a tag. */
static size_t make_tagged(unsigned from, unsigned to, unsigned type, unsigned tci, size_t payload)
{
    size_t bytes = make(from, to, payload);

    memmove(text + 16, text + 12, bytes - 12);
    text[12] = (uint8_t)(type >> 8);
    text[13] = (uint8_t)type;
    text[14] = (uint8_t)(tci >> 8);
    text[15] = (uint8_t)tci;
    return bytes + 4;
}

static void send(struct rig_port *from, size_t bytes)
{
    assert_int_equal(rig_send(from, text, bytes), 0);
}

static uint64_t drops(struct rig_port *rig, enum net_drop drop)
{
    return rig->port->counts.drop[drop];
}

static struct rig_frame *last(struct rig_port *rig)
{
    assert_true(rig->received > 0);
    return &rig->frame[(rig->received - 1) % RIG_KEEP];
}

static struct rig_port *add_vlan(unsigned number, int vlan, unsigned first, unsigned second)
{
    struct net_port_config config = rig_config(number);

    config.vlan = vlan;
    if (first)
        config.trunk[config.trunk_count++] = (uint16_t)first;
    if (second)
        config.trunk[config.trunk_count++] = (uint16_t)second;
    return rig_add(net, &config, 0);
}

static int setup(void **state)
{
    struct net_port_config config = {
        .name = "pci:00:03.0", .uplink = true, .many_macs = true, .trunk_all = true
    };

    (void)state;
    host_tsc = 1000 * SECOND;
    net = rig_network(1500, 0);
    for (unsigned i = 1; i <= 3; i++) {
        struct net_port_config vm = rig_config(i);
        *(i == 1 ? &a : i == 2 ? &b : &c) = rig_add(net, &vm, 0);
    }
    up = rig_add(net, &config, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(a);
    free(b);
    free(c);
    free(up);
    return 0;
}

static void a_frame_goes_to_its_address_only(void **state)
{
    (void)state;
    send(a, make(1, 2, 100));
    assert_int_equal(b->received, 1);
    assert_int_equal(last(b)->bytes, 114);
    assert_memory_equal(last(b)->data, text, 114);
    assert_int_equal(c->received + up->received + a->received, 0);
    assert_int_equal(a->port->counts.sent, 1);
    assert_int_equal(a->port->counts.sent_bytes, 114);
    assert_int_equal(b->port->counts.received, 1);
    assert_int_equal(b->port->counts.received_bytes, 114);
}

static void pieces_of_any_size_arrive_whole(void **state)
{
    (void)state;
    size_t bytes = make(1, 2, 40);

    for (size_t piece = 1; piece <= bytes; piece++) {
        assert_int_equal(rig_send_facts(a, text, bytes, piece, NULL), 0);
        assert_int_equal(b->received, piece);
        assert_memory_equal(last(b)->data, text, bytes);
    }
}

static void broadcasts_go_to_all_but_the_sender(void **state)
{
    (void)state;
    size_t bytes = make(1, 2, 50);

    memset(text, 0xff, 6);
    send(a, bytes);
    text[0] = 1; /* a group's address */
    send(a, bytes);
    assert_int_equal(a->received, 0);
    assert_int_equal(b->received, 2);
    assert_int_equal(c->received, 2);
    assert_int_equal(up->received, 2);
}

static void unknown_addresses_are_behind_uplinks(void **state)
{
    (void)state;
    send(a, make(1, 77, 50));
    assert_int_equal(up->received, 1);
    assert_int_equal(b->received + c->received, 0);
    send(up, make(77, 78, 50)); /* not for us */
    assert_int_equal(drops(up, NET_DROP_NOWHERE), 1);
    assert_int_equal(a->received + b->received + c->received + up->received, 1);
}

static void addresses_behind_uplinks_are_learned_and_forgotten(void **state)
{
    struct net_port_config config = { .name = "pci:00:04.0", .uplink = true, .many_macs = true };
    struct rig_port *other = rig_add(net, &config, 0);

    (void)state;
    send(a, make(1, 77, 50));
    assert_int_equal(up->received, 1);
    assert_int_equal(other->received, 1);
    send(up, make(77, 1, 50));
    assert_int_equal(a->received, 1);
    send(a, make(1, 77, 50)); /* known: to the one only */
    assert_int_equal(up->received, 2);
    assert_int_equal(other->received, 1);
    send(other, make(77, 1, 50)); /* it moved */
    send(a, make(1, 77, 50));
    assert_int_equal(up->received, 2);
    assert_int_equal(other->received, 2);
    host_tsc += 301 * SECOND;
    send(a, make(1, 77, 50));
    assert_int_equal(up->received, 3);
    assert_int_equal(other->received, 3);
    send(up, make(99, 77, 50)); /* from one side to the other, as a switch does */
    assert_int_equal(other->received, 4);
    free(other);
}

/* More addresses than the table has: it forgets, but sends nothing wrong. */
static void a_flood_of_addresses_does_no_harm(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 5000; i++) {
        make(9, 1, 50);
        text[8] = (uint8_t)(i >> 8);
        text[9] = (uint8_t)i;
        text[6] = 2;
        send(up, 64);
    }
    assert_int_equal(a->received, 5000);
    send(a, make(1, 2, 50));
    assert_int_equal(b->received, 1);
    host_tsc++;
    send(up, make(77, 1, 50));
    send(a, make(1, 77, 50));
    assert_int_equal(up->received, 1);
}

static void forged_addresses_are_dropped(void **state)
{
    (void)state;
    send(a, make(3, 2, 50));
    send(a, make(77, 2, 50));
    assert_int_equal(drops(a, NET_DROP_MAC), 2);
    make(1, 2, 50);
    text[6] |= 1;
    send(a, 64);
    assert_int_equal(drops(a, NET_DROP_MAC), 3);
    send(up, make(1, 2, 50)); /* one of ours, from outside */
    make(77, 2, 50);
    memset(text + 6, 0xff, 6);
    send(up, 64);
    memset(text + 6, 0, 6);
    send(up, 64);
    assert_int_equal(drops(up, NET_DROP_MAC), 3);
    assert_int_equal(a->received + b->received + c->received + up->received, 0);
    assert_int_equal(a->port->counts.sent, 0);
}

static void lengths_are_checked(void **state)
{
    static uint8_t large[NET_FRAME_MAX + 1];

    (void)state;
    make(1, 2, 0);
    for (size_t bytes = 0; bytes < 14; bytes++)
        send(a, bytes);
    assert_int_equal(drops(a, NET_DROP_SHORT), 14);
    send(a, make(1, 2, 0));
    send(a, make(1, 2, 1500));
    assert_int_equal(b->received, 2);
    send(a, make(1, 2, 1501));
    memcpy(large, text, 14);
    assert_int_equal(rig_send_facts(a, large, sizeof(large), 60000, NULL), 0);
    assert_int_equal(rig_send(a, large, sizeof(large) - 1), 0);
    assert_int_equal(drops(a, NET_DROP_LONG), 3);
    assert_int_equal(b->received, 2);
}

static void jumbo_frames_pass_where_the_mtu_allows(void **state)
{
    struct network *jumbo = rig_network(8000, 0);
    struct net_port_config config = rig_config(1);
    struct rig_port *one = rig_add(jumbo, &config, 0), *two;

    (void)state;
    config = rig_config(2);
    two = rig_add(jumbo, &config, 0);
    send(one, make(1, 2, 8000));
    assert_int_equal(two->received, 1);
    assert_memory_equal(last(two)->data, text, 8014);
    free(one);
    free(two);
}

static void networks_are_apart(void **state)
{
    struct network *other = rig_network(1500, 0);
    struct net_port_config config = rig_config(4);
    struct rig_port *far = rig_add(other, &config, 0);

    (void)state;
    send(a, make(1, 4, 50));
    make(1, 0, 50);
    memset(text, 0xff, 6);
    send(a, 64);
    assert_int_equal(far->received, 0);
    assert_ptr_equal(net_find_port("vm4/0"), far->port);
    free(far);
}

static void vlans_are_apart(void **state)
{
    struct rig_port *ten = add_vlan(10, 10, 0, 0), *ten2 = add_vlan(11, 10, 0, 0),
                    *twenty = add_vlan(20, 20, 0, 0);

    (void)state;
    send(ten, make(10, 11, 50));
    assert_int_equal(ten2->received, 1);
    assert_memory_equal(last(ten2)->data, text, 64);
    send(ten, make(10, 20, 50));
    send(ten, make(10, 1, 50));
    assert_int_equal(twenty->received + a->received, 0);
    make(10, 0, 50);
    memset(text, 0xff, 6);
    send(ten, 64);
    assert_int_equal(ten2->received, 2);
    assert_int_equal(twenty->received + a->received + b->received + c->received, 0);
    assert_int_equal(up->received, 3); /* with their tag */
    assert_int_equal(last(up)->bytes, 68);
    assert_memory_equal(last(up)->data + 12, "\x81\x00\x00\x0a\x88\xb5", 6);
    assert_memory_equal(last(up)->data + 18, text + 14, 50);
    free(ten);
    free(ten2);
    free(twenty);
}

static void trunks_have_tags(void **state)
{
    struct rig_port *ten = add_vlan(10, 10, 0, 0), *trunk = add_vlan(30, -1, 10, 20);

    (void)state;
    send(ten, make(10, 30, 50));
    assert_int_equal(trunk->received, 1);
    assert_int_equal(last(trunk)->bytes, 68);
    assert_memory_equal(last(trunk)->data + 12, "\x81\x00\x00\x0a\x88\xb5", 6);
    send(trunk, make_tagged(30, 10, 0x8100, 0xa00a, 50));
    assert_int_equal(ten->received, 1);
    make(30, 10, 50);
    assert_int_equal(last(ten)->bytes, 64);
    assert_memory_equal(last(ten)->data, text, 64);
    send(trunk, make_tagged(30, 77, 0x8100, 0xa014, 50)); /* to the uplink, with its priority */
    assert_memory_equal(last(up)->data, text, 68);
    send(up, make_tagged(77, 30, 0x8100, 20, 50));
    assert_int_equal(trunk->received, 2);
    assert_memory_equal(last(trunk)->data, text, 68);
    free(ten);
    free(trunk);
}

static void wrong_tags_are_dropped(void **state)
{
    struct rig_port *ten = add_vlan(10, 10, 0, 0), *trunk = add_vlan(30, -1, 10, 20),
                    *both = add_vlan(31, 10, 20, 0);

    (void)state;
    send(ten, make_tagged(10, 30, 0x8100, 10, 50)); /* even its own */
    send(ten, make_tagged(10, 30, 0x8100, 0, 50));
    send(ten, make_tagged(10, 30, 0x88a8, 10, 50));
    send(ten, make_tagged(10, 30, 0x9100, 10, 50));
    assert_int_equal(drops(ten, NET_DROP_VLAN), 4);
    send(trunk, make(30, 10, 50));                    /* without one */
    send(trunk, make_tagged(30, 10, 0x8100, 30, 50)); /* not its VLAN */
    send(trunk, make_tagged(30, 10, 0x8100, 0, 50));  /* none */
    send(trunk, make_tagged(30, 10, 0x8100, 4095, 50));
    send(trunk, make_tagged(30, 10, 0x88a8, 10, 50));
    send(trunk, make_tagged(30, 10, 0x8100, 10, 0) - 3); /* cut within the tag */
    assert_int_equal(drops(trunk, NET_DROP_VLAN), 6);
    make_tagged(30, 10, 0x8100, 10, 50);
    memcpy(text + 16, "\x81\x00\x00\x14", 4); /* a tag within the tag */
    send(trunk, 68);
    assert_int_equal(drops(trunk, NET_DROP_VLAN), 7);
    send(up, make_tagged(77, 10, 0x8100, 4095, 50));
    assert_int_equal(drops(up, NET_DROP_VLAN), 1);
    assert_int_equal(ten->received + trunk->received + both->received, 0);
    send(both, make_tagged(31, 10, 0x8100, 0xe000, 50)); /* a priority only */
    assert_int_equal(ten->received, 1);
    send(both, make(31, 30, 50));
    assert_int_equal(trunk->received, 1);
    free(ten);
    free(trunk);
    free(both);
}

static void storms_are_cut_down(void **state)
{
    struct network *calm = rig_network(1500, 100);
    struct net_port_config config = rig_config(1);
    struct rig_port *one = rig_add(calm, &config, 0), *two;

    (void)state;
    config = rig_config(2);
    two = rig_add(calm, &config, 0);
    make(1, 2, 50);
    memset(text, 0xff, 6);
    for (unsigned i = 0; i < 1000; i++)
        send(one, 64);
    assert_in_range(two->received, 100, 102);
    assert_int_equal(drops(one, NET_DROP_STORM), 1000 - two->received);
    for (unsigned i = 0; i < 1000; i++) /* what is for one goes on */
        send(one, make(1, 2, 50));
    assert_in_range(two->received, 1100, 1102);
    two->received = 0;
    memset(text, 0xff, 6);
    for (unsigned i = 0; i < 10000; i++) {
        host_tsc += SECOND / 1000;
        send(one, 64);
    }
    assert_in_range(two->received, 990, 1010); /* of 10 s */
    free(one);
    free(two);
}

static void rates_hold_the_sender_back(void **state)
{
    struct net_port_config config = rig_config(5);
    struct rig_port *slow;
    uint64_t sent = 0, end = host_tsc + 2 * SECOND;
    int result = 0;

    (void)state;
    config.rate = 8000000; /* 1 MB a second */
    slow = rig_add(net, &config, 0);
    while (host_tsc < end) {
        make(5, 1, 986);
        result = rig_send(slow, text, 1000);
        if (result == 0) {
            sent++;
            continue;
        }
        assert_int_equal(result, -EAGAIN);
        assert_true(net_ready_at(slow->port) > host_tsc);
        host_tsc = net_ready_at(slow->port);
    }
    assert_in_range(sent, 2000, 2010);
    assert_int_equal(a->received, sent);
    assert_in_range(slow->port->counts.held, 1900, 2100);
    free(slow);
}

static void what_nobody_takes_is_counted(void **state)
{
    (void)state;
    b->full = true;
    send(a, make(1, 2, 50));
    assert_int_equal(drops(b, NET_DROP_ROOM), 1);
    b->full = false;
    net_close(b->port);
    send(a, make(1, 2, 50));
    assert_int_equal(drops(b, NET_DROP_ROOM), 2);
    assert_int_equal(b->received, 0);
    assert_int_equal(b->port->counts.received, 0);
    send(a, make(1, 1, 50)); /* to itself */
    assert_int_equal(drops(a, NET_DROP_NOWHERE), 1);
    assert_int_equal(a->received, 0);
    net_open(b->port, rig_receive, b, 0);
    send(a, make(1, 2, 50));
    assert_int_equal(b->received, 1);
}

static void names_and_addresses_are_unique(void **state)
{
    struct net_port_config config = rig_config(1);
    struct net_port *port;

    (void)state;
    assert_int_equal(net_add_port(net, &config, &port), -EEXIST);
    config.mac[5] = 100;
    assert_int_equal(net_add_port(net, &config, &port), -EEXIST);
    config = rig_config(1);
    strcpy(config.name, "other/0");
    assert_int_equal(net_add_port(net, &config, &port), -EEXIST);
    config.mac[5] = 100;
    assert_int_equal(net_add_port(net, &config, &port), 0);
    for (unsigned i = 0; i < NET_MAX_PORTS; i++) {
        snprintf(config.name, sizeof(config.name), "many%u/0", i);
        config.mac[4] = (uint8_t)(1 + i / 256);
        config.mac[5] = (uint8_t)i;
        if (net_add_port(net, &config, &port) == -ENOSPC)
            return;
    }
    fail();
}

/* Facts */

static int send_facts(struct rig_port *from, size_t bytes, struct net_offload facts)
{
    return rig_send_facts(from, text, bytes, 100, &facts);
}

static void offloads_pass_uncut_to_who_takes_them(void **state)
{
    struct net_offload tcp = { .flags = NET_NEEDS_CSUM,
                               .gso_type = NET_GSO_TCP4,
                               .header_bytes = 54,
                               .gso_size = 1000,
                               .csum_start = 34,
                               .csum_offset = 16 },
                       moved;
    struct rig_port *trunk = add_vlan(30, 0, 20, 0), *twenty = add_vlan(20, 20, 0, 0);
    size_t bytes = make(1, 2, 5000);

    (void)state;
    net_open(b->port, rig_receive, b, NET_TAKES_CSUM | NET_TAKES_TCP4);
    net_open(trunk->port, rig_receive, trunk, NET_TAKES_CSUM | NET_TAKES_TCP4);
    assert_int_equal(send_facts(a, bytes, tcp), 0);
    assert_int_equal(b->received, 1);
    assert_memory_equal(&last(b)->offload, &tcp, sizeof(tcp));
    assert_int_equal(last(b)->bytes, bytes);
    make(20, 30, 5000);
    assert_int_equal(send_facts(twenty, bytes, tcp), 0); /* a tag moves them */
    moved = tcp;
    moved.csum_start = 38;
    moved.header_bytes = 58;
    assert_memory_equal(&last(trunk)->offload, &moved, sizeof(moved));
    net_open(twenty->port, rig_receive, twenty, NET_TAKES_CSUM | NET_TAKES_TCP4);
    bytes = make_tagged(30, 20, 0x8100, 20, 5000);
    assert_int_equal(send_facts(trunk, bytes, moved), 0);
    assert_memory_equal(&last(twenty)->offload, &tcp, sizeof(tcp));
    assert_int_equal(last(twenty)->bytes, bytes - 4);
    free(trunk);
    free(twenty);
}

static void impossible_facts_are_dropped(void **state)
{
    static const struct net_offload wrong[] = {
        { .gso_type = NET_GSO_TCP4, .gso_size = 1000, .csum_start = 34, .csum_offset = 16 },
        { .flags = 1, .gso_type = NET_GSO_TCP4, .csum_start = 34, .csum_offset = 16 },
        { .flags = 1, .gso_type = 2, .gso_size = 1000, .csum_start = 34, .csum_offset = 16 },
        { .flags = 1, .gso_type = 6, .gso_size = 1000, .csum_start = 34, .csum_offset = 16 },
        { .flags = 1, .gso_type = 0x7f, .gso_size = 1000, .csum_start = 34, .csum_offset = 16 },
        { .flags = 1,
          .gso_type = NET_GSO_UDP_L4 | NET_GSO_ECN,
          .gso_size = 1000,
          .csum_start = 34,
          .csum_offset = 6 },
        { .flags = 1, .gso_type = NET_GSO_ECN, .csum_start = 34, .csum_offset = 6 },
        { .flags = 1, .gso_type = NET_GSO_TCP4, .gso_size = 1481, .csum_start = 34, .csum_offset = 16 },
        { .flags = 1,
          .gso_type = NET_GSO_TCP4,
          .gso_size = 1000,
          .csum_start = 34,
          .csum_offset = 16,
          .header_bytes = 600 },
        { .flags = 1, .csum_start = 13, .csum_offset = 16 },
        { .flags = 1, .csum_start = 34, .csum_offset = 65535 },
        { .flags = 1, .csum_start = 250, .csum_offset = 5 },
        { .flags = 1, .csum_start = 65535, .csum_offset = 65535 },
    };

    (void)state;
    net_open(b->port, rig_receive, b, ~0u);
    for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
        assert_int_equal(send_facts(a, make(1, 2, 400), wrong[i]), 0);
        assert_int_equal(drops(a, NET_DROP_OFFLOAD), i + 1);
    }
    assert_int_equal(send_facts(a, make(1, 2, 36),
                                (struct net_offload){ .flags = 1, .csum_start = 34, .csum_offset = 15 }),
                     0);
    assert_int_equal(drops(a, NET_DROP_OFFLOAD), ARRAY_SIZE(wrong) + 1);
    assert_int_equal(b->received, 0);
}

static void only_uplinks_have_checked(void **state)
{
    struct net_offload valid = { .flags = NET_DATA_VALID | 0x80, .header_bytes = 9 };

    (void)state;
    assert_int_equal(send_facts(a, make(1, 2, 50), valid), 0);
    assert_int_equal(last(b)->offload.flags, 0);
    assert_int_equal(send_facts(up, make(77, 2, 50), valid), 0);
    assert_int_equal(last(b)->offload.flags, NET_DATA_VALID);
    assert_int_equal(last(b)->offload.header_bytes, 0);
}

/* One broadcast, to receivers that differ. */
static void each_gets_what_it_takes(void **state)
{
    struct net_offload sum = { .flags = NET_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6 };

    (void)state;
    net_open(b->port, rig_receive, b, NET_TAKES_CSUM);
    make(1, 0, 60);
    memset(text, 0xff, 6);
    assert_int_equal(send_facts(a, 74, sum), 0);
    assert_int_equal(b->received, 1);
    assert_memory_equal(last(b)->data, text, 74);
    assert_int_equal(last(b)->offload.flags, NET_NEEDS_CSUM);
    assert_int_equal(c->received, 1);
    assert_memory_not_equal(last(c)->data, text, 74);
    assert_int_equal(last(c)->offload.flags, 0);
    assert_int_equal(up->received, 1);
    assert_memory_equal(last(up)->data, last(c)->data, 74);
}

static unsigned tapped, tapped_to;

static void tap(void *context, const struct net_port *from, const struct net_port *to,
                const struct net_frame *frame)
{
    assert_ptr_equal(context, &tapped);
    assert_ptr_equal(from, a->port);
    assert_int_equal(frame->bytes, 64);
    *(to ? &tapped_to : &tapped) += 1;
}

static void taps_see_all_that_passes(void **state)
{
    (void)state;
    tapped = tapped_to = 0;
    net_set_tap(net, tap, &tapped);
    send(a, make(1, 2, 50));
    send(a, make(9, 2, 50));
    make(1, 2, 50);
    memset(text, 0xff, 6);
    send(a, 64);
    net_set_tap(net, NULL, NULL);
    send(a, make(1, 2, 50));
    assert_int_equal(tapped, 2);
    assert_int_equal(tapped_to, 4);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_frame_goes_to_its_address_only),
        TEST(pieces_of_any_size_arrive_whole),
        TEST(broadcasts_go_to_all_but_the_sender),
        TEST(unknown_addresses_are_behind_uplinks),
        TEST(addresses_behind_uplinks_are_learned_and_forgotten),
        TEST(a_flood_of_addresses_does_no_harm),
        TEST(forged_addresses_are_dropped),
        TEST(lengths_are_checked),
        TEST(jumbo_frames_pass_where_the_mtu_allows),
        TEST(networks_are_apart),
        TEST(vlans_are_apart),
        TEST(trunks_have_tags),
        TEST(wrong_tags_are_dropped),
        TEST(storms_are_cut_down),
        TEST(rates_hold_the_sender_back),
        TEST(what_nobody_takes_is_counted),
        TEST(names_and_addresses_are_unique),
        TEST(offloads_pass_uncut_to_who_takes_them),
        TEST(impossible_facts_are_dropped),
        TEST(only_uplinks_have_checked),
        TEST(each_gets_what_it_takes),
        TEST(taps_see_all_that_passes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
