/* The block layer on two CPUs at once: one submits, the other completes and says that there is room again. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include "io/block.h"
#include "lib/errno.h"
#include "tests/unit/host/host.h"

#define REQUESTS 100000u
#define SLOTS    4u  /* of the driver's queue: often full, so that requests are kept and given on */
#define DEPTH    16u /* of the guest's */

static struct block_device disk;
static struct block_user user;
static struct timer_queue queue;
static struct lock ring_lock;
static struct block_request *ring[SLOTS];
static unsigned head, tail; /* of the ring, ever growing */
static uint64_t last_start; /* of what came to the driver */
static bool in_order = true;

struct guest_request {
    struct block_request request;
    struct block_segment segment;
    uint32_t busy; /* atomic */
    unsigned ended;
};
static struct guest_request requests[DEPTH];
static uint32_t ended; /* atomic */

static int submit(struct block_device *device, struct block_request *request)
{
    int err = -EBUSY;

    (void)device;
    lock_take(&ring_lock);
    if (head - tail < SLOTS) {
        in_order = in_order && request->start > last_start;
        last_start = request->start;
        ring[head++ % SLOTS] = request;
        err = 0;
    }
    lock_release(&ring_lock);
    return err;
}

/* The other CPU: its interrupts. */
static void *complete(void *context)
{
    (void)context;
    while (__atomic_load_n(&ended, __ATOMIC_ACQUIRE) < REQUESTS) {
        struct block_request *request = NULL;

        lock_take(&ring_lock);
        if (head != tail)
            request = ring[tail++ % SLOTS];
        lock_release(&ring_lock);
        if (!request) {
            sched_yield();
            continue;
        }
        block_complete(&disk, request, 0);
        block_ready(&disk);
    }
    return NULL;
}

static void done(struct block_request *request, int status)
{
    struct guest_request *own = container_of(request, struct guest_request, request);

    assert_int_equal(status, 0);
    own->ended++;
    __atomic_store_n(&own->busy, 0, __ATOMIC_RELEASE);
    __atomic_add_fetch(&ended, 1, __ATOMIC_RELEASE);
}

static void nothing_is_lost_and_nothing_overtakes(void **state)
{
    static const struct block_ops ops = { submit };
    static uint8_t data[512];
    unsigned times[DEPTH] = { 0 };
    pthread_t thread;

    (void)state;
    disk = (struct block_device){ .ops = &ops,
                                  .sectors = REQUESTS + 2,
                                  .logical_block = 512,
                                  .max_sectors = 1,
                                  .max_segments = 1,
                                  .segment_align = 2 };
    timer_queue_init(&queue);
    block_add(&disk);
    assert_int_equal(block_open(&user, &disk, "vm", false, NULL, &queue), 0);
    assert_int_equal(pthread_create(&thread, NULL, complete, NULL), 0);
    for (unsigned i = 0; i < REQUESTS; i++) {
        struct guest_request *own = &requests[i % DEPTH];

        while (__atomic_load_n(&own->busy, __ATOMIC_ACQUIRE))
            sched_yield();
        assert_int_equal(own->ended, times[i % DEPTH]++);
        own->busy = 1;
        own->segment = (struct block_segment){ data, 512 };
        own->request = (struct block_request){ .op = BLOCK_WRITE,
                                               .sector = i + 1,
                                               .sectors = 1,
                                               .segment = &own->segment,
                                               .segments = 1,
                                               .done = done };
        block_submit(&user, &own->request);
    }
    pthread_join(thread, NULL);
    assert_true(in_order);
    assert_int_equal(ended, REQUESTS);
    assert_true(block_user_idle(&user));
    assert_null(disk.waiting.first);
    assert_int_equal(user.counts.requests[BLOCK_WRITE], REQUESTS);
    block_close(&user);
    block_remove(&disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_and_nothing_overtakes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
