/* A network on several CPUs at a time: threads that send, close and open, and capture. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <pthread.h>
#include <unistd.h>
#include <cmocka.h>
#include "io/pcap.h"
#include "tests/unit/net_rig.h"

#define THREADS 2
#define FRAMES  20000

static struct network *net;
static struct net_port *port[THREADS + 1]; /* the last one is an uplink */
static uint64_t taken[THREADS + 1];
static bool inside[THREADS + 1], open_now[THREADS + 1], stop;
static unsigned overlaps, late;

static bool receive(struct net_port *to, const struct net_frame *frame)
{
    unsigned index = to->index;
    struct net_cursor cursor = { 0 };
    uint8_t copy[64];

    if (__atomic_exchange_n(&inside[index], true, __ATOMIC_ACQUIRE))
        __atomic_fetch_add(&overlaps, 1, __ATOMIC_RELAXED);
    if (!open_now[index])
        __atomic_fetch_add(&late, 1, __ATOMIC_RELAXED);
    net_copy(frame, &cursor, copy, sizeof(copy));
    for (volatile unsigned i = 0; i < 100; i++)
        ;
    taken[index]++;
    if (copy[14] != copy[63]) /* of one frame */
        __atomic_fetch_add(&overlaps, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&inside[index], false, __ATOMIC_RELEASE);
    return true;
}

/* To the others in turn, to all, and to an address that is behind the uplink. */
static void *sender(void *context)
{
    unsigned self = (unsigned)(uintptr_t)context;
    uint8_t data[64];

    for (unsigned i = 0; i < FRAMES; i++) {
        unsigned to = i % (THREADS + 2);
        struct net_frame frame;

        memset(data, (int)i, sizeof(data));
        memcpy(data, (uint8_t[]){ 2, 0, 0, 0, 0, (uint8_t)(to + 1), 2, 0, 0, 0, 0, (uint8_t)(self + 1) }, 12);
        if (to == THREADS + 1)
            memset(data, 0xff, 6);
        if (self == THREADS)
            data[10] = (uint8_t)(i % 200 + 1);
        memcpy(data + 12, "\x88\xb5", 2);
        net_frame_init(&frame);
        if (!net_frame_add(&frame, data, 20) || !net_frame_add(&frame, data + 20, 44) ||
            net_send(port[self], &frame))
            abort();
    }
    return NULL;
}

/* A guest that comes and goes: behind net_close() nothing arrives. */
static void *opener(void *context)
{
    (void)context;
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
        net_close(port[0]);
        open_now[0] = false;
        usleep(10);
        open_now[0] = true;
        net_open(port[0], receive, NULL, 0);
        usleep(100);
    }
    return NULL;
}

static void *capturer(void *context)
{
    static uint8_t to[10000];

    (void)context;
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
        if (pcap_start(net, NULL, 500, 100, 0))
            abort();
        while (!pcap_done() && !__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
            if (!pcap_take(to, sizeof(to)))
                usleep(100);
        pcap_stop();
    }
    return NULL;
}

static void nothing_is_lost_or_counted_twice(void **state)
{
    pthread_t thread[THREADS + 3];
    uint64_t expected, dropped = 0;

    (void)state;
    net = rig_network(1500, 0);
    for (unsigned i = 0; i <= THREADS; i++) {
        struct net_port_config config = rig_config(i + 1);

        config.uplink = config.many_macs = i == THREADS;
        assert_int_equal(net_add_port(net, &config, &port[i]), 0);
        open_now[i] = true;
        net_open(port[i], receive, NULL, 0);
    }
    pthread_create(&thread[THREADS + 1], NULL, opener, NULL);
    pthread_create(&thread[THREADS + 2], NULL, capturer, NULL);
    for (uintptr_t i = 0; i <= THREADS; i++)
        pthread_create(&thread[i], NULL, sender, (void *)i);
    for (unsigned i = 0; i <= THREADS; i++)
        pthread_join(thread[i], NULL);
    __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
    pthread_join(thread[THREADS + 1], NULL);
    pthread_join(thread[THREADS + 2], NULL);
    assert_int_equal(overlaps, 0);
    assert_int_equal(late, 0);
    for (unsigned i = 0; i <= THREADS; i++) {
        const struct net_counts *counts = &port[i]->counts;

        assert_int_equal(counts->received, taken[i]);
        if (i < THREADS)
            assert_int_equal(counts->sent, FRAMES);
        dropped += counts->drop[NET_DROP_ROOM];
        /* from each of the others: those for it, and those for all */
        expected = 0;
        for (unsigned k = 0; k < FRAMES; k++)
            expected += k % (THREADS + 2) == i || k % (THREADS + 2) == THREADS + 1;
        assert_int_equal(taken[i] + counts->drop[NET_DROP_ROOM], expected * THREADS);
    }
    assert_int_equal(dropped, port[0]->counts.drop[NET_DROP_ROOM]);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(nothing_is_lost_or_counted_twice) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
