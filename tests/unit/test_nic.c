#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "io/nic.h"
#include "lib/errno.h"
#include "tests/unit/net_rig.h"

static unsigned started;
static int start_error;

static int start(struct nic *nic)
{
    assert_non_null(nic->port);
    started++;
    return start_error;
}

static unsigned transmitted;

static bool transmit(struct net_port *port, const struct net_frame *frame)
{
    struct nic *nic = port->owner;

    assert_ptr_equal(nic->port, port);
    transmitted += frame->bytes;
    return true;
}

static struct nic *make_nic(const char *name)
{
    struct nic *nic = calloc(1, sizeof(*nic));

    strcpy(nic->name, name);
    strcpy(nic->model, "test");
    memcpy(nic->mac, "\x52\x54\x00\x01\x02", 5);
    nic->mac[5] = (uint8_t)name[7];
    nic->mtu = 1500;
    nic->transmit = transmit;
    nic->start = start;
    return nic;
}

static struct network *make_network(const char *name, const char *uplink, unsigned mtu)
{
    struct network_config config = { .mtu = mtu };

    rig_memory();
    strcpy(config.name, name);
    strcpy(config.uplink, uplink);
    return net_make(&config);
}

/* Cards and networks find each other, whichever is there first. */
static void cards_become_uplinks(void **state)
{
    static const uint8_t frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 };
    struct nic *first = make_nic("pci:00:03.0"), *second = make_nic("pci:00:14.0"),
               *other = make_nic("pci:00:25.0");
    struct network *one = make_network("one", "pci:00:03.0", 1500), *two;
    struct net_port_config config = rig_config(1);
    struct rig_port *vm = rig_add(one, &config, 0);

    (void)state;
    nic_add(other);
    assert_int_equal(started, 0);
    nic_add(first);
    assert_int_equal(started, 1);
    nic_add(second);
    assert_int_equal(started, 1);
    assert_null(second->port);
    two = make_network("two", "pci:00:14.0", 576);
    nic_connect();
    assert_int_equal(started, 2);
    assert_ptr_equal(first->port->network, one);
    assert_ptr_equal(second->port->network, two);
    assert_null(other->port);
    assert_int_equal(rig_send(vm, frame, sizeof(frame)), 0);
    assert_int_equal(transmitted, 60);
    assert_ptr_equal(nic_find("pci:00:14.0"), second);
    assert_null(nic_find("pci:00:14.1"));
    assert_ptr_equal(nic_get(1), first);
    assert_null(nic_get(3));
    free(vm);
}

static void one_that_cannot_is_not_used(void **state)
{
    struct nic *small = make_nic("pci:00:31.0"), *broken = make_nic("pci:00:42.0");

    (void)state;
    host_log_quiet = true;
    started = 0;
    make_network("jumbo", "pci:00:31.0", 9000);
    nic_add(small);
    assert_int_equal(started, 0);
    assert_null(small->port);
    assert_non_null(strstr(host_log_last, "set the network's mtu"));
    make_network("broken", "pci:00:42.0", 1500);
    start_error = -EIO;
    nic_add(broken);
    assert_int_equal(started, 1);
    assert_false(broken->port->open);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cards_become_uplinks),
        cmocka_unit_test(one_that_cannot_is_not_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
