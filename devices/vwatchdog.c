/* The Intel 6300ESB's watchdog timer. Section numbers are those of its data sheet, 300641. */
#include "devices/vwatchdog.h"
#include "lib/errno.h"
#include "lib/string.h"

#define HEADER_ID    0x25ab8086u
#define HEADER_CLASS 0x08800000u /* class 08.80.00: a system peripheral of no other kind */

/* Configuration space beyond the header, as dwords. */
#define CONFIG            (0x60 / 4)
#define CONFIG_OUTPUT_OFF 0x20u /* the last stage's end drives no pin */
#define CONFIG_FAST       0x04u /* counts PCI clocks / 2^5, about 1 us each; else / 2^15, about 1 ms */
#define CONFIG_INT_TYPE   0x03u /* 3: no interrupt after the first stage */
#define LOCK              (0x68 / 4)
#define LOCK_FREE_RUNNING 0x04u /* one stage, over and over */
#define LOCK_ENABLE       0x02u
#define LOCK_LOCK         0x01u /* the register stays as it is until a reset */

#define FAST_SHIFT 5
#define SLOW_SHIFT 15

/* BAR 0 as dwords. */
#define PRELOAD_1 0
#define PRELOAD_2 1
#define STATUS    2 /* bit 0, cleared by writing 1 */
#define RELOAD    3

#define PRELOAD_MAX    0xfffffu
#define COUNTER_MAX    ((uint64_t)PRELOAD_MAX << SLOW_SHIFT)
#define RELOAD_FEED    0x0100u
#define RELOAD_TIMEOUT 0x0200u /* cleared by writing 1 */
#define UNLOCK_1       0x80u
#define UNLOCK_2       0x86u

#define NEVER UINT64_MAX

/* Guest time as the counter sees it: it stands in a pause. */
static uint64_t now_ns(const struct vwatchdog *watchdog)
{
    return min_u64(vclock_ns(watchdog->timer.clock), watchdog->s.paused_ns);
}

static uint32_t config(const struct vwatchdog *watchdog)
{
    return watchdog->function.config[CONFIG];
}

static void update(struct vwatchdog *watchdog)
{
    const struct vwatchdog_state *s = &watchdog->s;

    if (s->stage != 0 && s->paused_ns == NEVER)
        vtimer_arm(&watchdog->timer, s->deadline_ns);
    else
        vtimer_cancel(&watchdog->timer);
}

/* Loads the counter for a stage. A preload of 0 is nowhere explained: it is one count here. */
static void begin_stage(struct vwatchdog *watchdog, uint8_t stage)
{
    struct vwatchdog_state *s = &watchdog->s;
    uint64_t count = s->preload[stage - 1] ? s->preload[stage - 1] : 1;
    unsigned shift = config(watchdog) & CONFIG_FAST ? FAST_SHIFT : SLOW_SHIFT;

    s->stage = stage;
    s->deadline_ns = now_ns(watchdog) + vclock_ns_of_ticks(count << shift, VWATCHDOG_HZ);
    if (stage == 1)
        s->fed_ns = now_ns(watchdog);
    update(watchdog);
}

/*
 * 16.2: the first stage's end begins the second. Free running has no second one, and there the counter would
 * begin anew; but then the pin has been driven already, so nothing more can come of it.
 */
static void stage_over(void *device)
{
    struct vwatchdog *watchdog = device;
    struct vwatchdog_state *s = &watchdog->s;

    if (s->stage == 1 && !(s->lock & LOCK_FREE_RUNNING)) {
        s->status = 1;
        begin_stage(watchdog, 2);
        return;
    }
    s->stage = 0;
    s->timed_out = 1;
    if (!(config(watchdog) & CONFIG_OUTPUT_OFF))
        watchdog->expired(watchdog->vm, (now_ns(watchdog) - s->fed_ns) / 1000000);
}

/* A configuration register was written. */
static void config_written(void *device, unsigned dword)
{
    struct vwatchdog *watchdog = device;
    struct vwatchdog_state *s = &watchdog->s;
    uint32_t *lock = &watchdog->function.config[LOCK], before = s->lock;

    if (dword != LOCK)
        return;
    if (before & LOCK_LOCK)
        *lock = before;
    s->lock = *lock;
    if ((s->lock & LOCK_ENABLE) && !(before & LOCK_ENABLE)) {
        begin_stage(watchdog, 1);
    } else if (!(s->lock & LOCK_ENABLE)) {
        s->stage = 0;
        update(watchdog);
    }
}

uint64_t vwatchdog_read(void *device, uint32_t offset, unsigned size)
{
    const struct vwatchdog *watchdog = device;
    const struct vwatchdog_state *s = &watchdog->s;
    uint32_t value = s->timed_out ? RELOAD_TIMEOUT : 0;

    if (offset / 4 == PRELOAD_1 || offset / 4 == PRELOAD_2)
        value = s->preload[offset / 4];
    else if (offset / 4 == STATUS)
        value = s->status;
    return (value >> (8 * (offset % 4))) & (UINT32_MAX >> (32 - 8 * size));
}

/* 16.2: 80 and 86 unlock the next write, to a preload value or to this register. */
static void write_reload(struct vwatchdog *watchdog, uint32_t value)
{
    struct vwatchdog_state *s = &watchdog->s;
    bool unlocked = s->unlock == 2;

    if (value == UNLOCK_1 || (value == UNLOCK_2 && s->unlock == 1)) {
        s->unlock = value == UNLOCK_1 ? 1 : 2;
        return;
    }
    s->unlock = 0;
    if (!unlocked)
        return;
    if (value & RELOAD_TIMEOUT)
        s->timed_out = 0;
    if ((value & RELOAD_FEED) && (s->lock & LOCK_ENABLE))
        begin_stage(watchdog, 1);
}

/* It counts from the next time that its stage begins. */
static void write_preload(struct vwatchdog *watchdog, unsigned index, uint32_t mask, uint32_t value)
{
    struct vwatchdog_state *s = &watchdog->s;

    if (s->unlock == 2)
        s->preload[index] = ((s->preload[index] & ~mask) | (value & mask)) & PRELOAD_MAX;
    s->unlock = 0;
}

void vwatchdog_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    struct vwatchdog *watchdog = device;
    unsigned shift = 8 * (offset % 4);
    uint32_t mask = (UINT32_MAX >> (32 - 8 * size)) << shift;
    uint32_t shifted = (uint32_t)(value << shift);

    switch (offset / 4) {
    case PRELOAD_1:
    case PRELOAD_2:
        write_preload(watchdog, offset / 4, mask, shifted);
        break;
    case STATUS:
        watchdog->s.status &= (uint8_t)~shifted;
        break;
    default:
        write_reload(watchdog, shifted & mask);
        break;
    }
}

/* --- life -------------------------------------------------------------------------------------------------
 */

int vwatchdog_attach(struct vwatchdog *watchdog, struct vpci *pci)
{
    return vpci_add(pci, VWATCHDOG_SLOT, &watchdog->function);
}

void vwatchdog_init(struct vwatchdog *watchdog, const struct vclock *clock, struct timer_queue *queue,
                    void (*expired)(void *vm, uint64_t ms), void *vm)
{
    struct vpci_function *function = &watchdog->function;

    memset(watchdog, 0, sizeof(*watchdog));
    watchdog->expired = expired;
    watchdog->vm = vm;
    vtimer_init(&watchdog->timer, clock, queue, stage_over, watchdog);
    function->config[0] = HEADER_ID;
    function->config[2] = HEADER_CLASS;
    function->writable[CONFIG] = CONFIG_OUTPUT_OFF | CONFIG_FAST | CONFIG_INT_TYPE;
    function->writable[LOCK] = LOCK_FREE_RUNNING | LOCK_ENABLE | LOCK_LOCK;
    function->written = config_written;
    function->device = watchdog;
    function->bar[0] = (struct vpci_bar){ .space = VPCI_MEM32,
                                          .region = { .size = VWATCHDOG_SIZE,
                                                      .widths = IO_8 | IO_16 | IO_32,
                                                      .read = vwatchdog_read,
                                                      .write = vwatchdog_write,
                                                      .device = watchdog,
                                                      .name = "watchdog" } };
    vwatchdog_reset(watchdog);
}

void vwatchdog_reset(struct vwatchdog *watchdog)
{
    watchdog->s = (struct vwatchdog_state){ .paused_ns = NEVER,
                                            .preload = { PRELOAD_MAX, PRELOAD_MAX },
                                            .timed_out = watchdog->s.timed_out };
    watchdog->function.config[CONFIG] = 0;
    watchdog->function.config[LOCK] = 0;
    update(watchdog);
}

void vwatchdog_pause(struct vwatchdog *watchdog)
{
    if (watchdog->s.paused_ns == NEVER)
        watchdog->s.paused_ns = now_ns(watchdog);
    update(watchdog);
}

/* The pause is as if it had not been. */
void vwatchdog_resume(struct vwatchdog *watchdog)
{
    struct vwatchdog_state *s = &watchdog->s;
    uint64_t pause;

    if (s->paused_ns == NEVER)
        return;
    pause = vclock_ns(watchdog->timer.clock) - s->paused_ns;
    s->deadline_ns += pause;
    s->fed_ns += pause;
    s->paused_ns = NEVER;
    update(watchdog);
}

void vwatchdog_save(const struct vwatchdog *watchdog, struct vwatchdog_state *out)
{
    *out = watchdog->s;
    memcpy(out->config, watchdog->function.config, sizeof(out->config));
}

int vwatchdog_check(const struct vwatchdog *watchdog, const struct vwatchdog_state *s)
{
    uint64_t now = vclock_ns(watchdog->timer.clock), last = min_u64(now, s->paused_ns);

    if (vpci_check_config(&watchdog->function, s->config) || s->lock != s->config[LOCK])
        return -EINVAL;
    if (s->stage > 2 || s->unlock > 2 || s->status > 1 || s->timed_out > 1 || s->preload[0] > PRELOAD_MAX ||
        s->preload[1] > PRELOAD_MAX)
        return -EINVAL;
    if (s->stage != 0 && !(s->lock & LOCK_ENABLE))
        return -EINVAL;
    if (s->paused_ns != NEVER && s->paused_ns > now)
        return -EINVAL;
    if (s->fed_ns > last || s->deadline_ns > last + vclock_ns_of_ticks(COUNTER_MAX, VWATCHDOG_HZ))
        return -EINVAL;
    return 0;
}

void vwatchdog_load(struct vwatchdog *watchdog, const struct vwatchdog_state *state)
{
    watchdog->s = *state;
    memset(watchdog->s.config, 0, sizeof(watchdog->s.config));
    vpci_load_config(&watchdog->function, state->config);
    update(watchdog);
}
