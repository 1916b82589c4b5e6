#include "arch/x86_64/percpu.h"
#include "arch/x86_64/tsc.h"
#include "drivers/storage.h"

/*
 * The timer belongs to whom turned `active` on. A request that begins while it is turned off is seen by
 * look(), or sees it off: both take the queue's lock.
 */
static void fire(struct timer *timer)
{
    struct watch *watch = container_of(timer, struct watch, timer);

    __atomic_add_fetch(&watch->tick, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&watch->active, false, __ATOMIC_SEQ_CST);
    if (watch->look(watch))
        watch_begin(watch);
}

void watch_init(struct watch *watch, bool (*look)(struct watch *watch))
{
    *watch = (struct watch){ .look = look };
    timer_init(&watch->timer, &this_cpu()->timers, fire);
}

void watch_begin(struct watch *watch)
{
    if (!__atomic_exchange_n(&watch->active, true, __ATOMIC_SEQ_CST))
        timer_arm(&watch->timer, tsc_now() + tsc_hz());
}
