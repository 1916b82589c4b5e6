/* The ACPI power management block. Section numbers are those of ACPI 6.4. */
#include "devices/vpm.h"
#include "lib/errno.h"
#include "lib/string.h"

/* PM1 status and enable, 4.8.3.1: each status bit that has an enable bit has it in the same place. */
#define TMR    0x0001u /* the timer's bit 31 changed */
#define GBL    0x0020u /* release of the global lock by the firmware: never happens here */
#define PWRBTN 0x0100u
#define RTC    0x0400u /* the RTC's alarm ended a sleep: never happens here */

#define STS_ALL (TMR | PWRBTN)
#define EN_ALL  (TMR | GBL | PWRBTN | RTC)

/* PM1 control, 4.8.3.2. */
#define CNT_SCI_EN        0x0001u
#define CNT_BM_RLD        0x0002u
#define CNT_SLP_TYP       0x1c00u
#define CNT_SLP_TYP_SHIFT 10
#define CNT_SLP_EN        0x2000u /* reads as 0, as does GBL_RLS */

#define OVERFLOW_TICKS BIT(31) /* between two changes of bit 31 */

/* The block as dwords. */
#define DWORD_EVT 0
#define DWORD_CNT 1
#define DWORD_TMR 2

static uint64_t timer_ticks(const struct vpm *pm)
{
    return vclock_ticks(vclock_ns(pm->overflow.clock), VPM_TMR_HZ);
}

/* 4.8.3.3: sets TMR_STS if bit 31 has changed since the last look. */
static void catch_up(struct vpm *pm)
{
    uint64_t ticks = timer_ticks(pm);

    if (ticks / OVERFLOW_TICKS != pm->s.seen_ticks / OVERFLOW_TICKS)
        pm->s.pm1_sts |= TMR;
    pm->s.seen_ticks = ticks;
}

/* After any change: the line, and the timer if an interrupt will come of it. */
static void update(struct vpm *pm)
{
    struct vpm_state *s = &pm->s;

    irq_line_set(&pm->sci, s->pm1_sts & s->pm1_en);
    if ((s->pm1_en & TMR) && !(s->pm1_sts & TMR))
        vtimer_arm(&pm->overflow,
                   vclock_ns_of_ticks((s->seen_ticks / OVERFLOW_TICKS + 1) * OVERFLOW_TICKS, VPM_TMR_HZ));
    else
        vtimer_cancel(&pm->overflow);
}

static void overflow_fired(void *device)
{
    struct vpm *pm = device;

    catch_up(pm);
    update(pm);
}

void vpm_power_button(struct vpm *pm)
{
    pm->s.pm1_sts |= PWRBTN;
    update(pm);
}

static uint32_t read_event(struct vpm *pm)
{
    catch_up(pm);
    update(pm);
    return (uint32_t)pm->s.pm1_en << 16 | pm->s.pm1_sts;
}

static __attribute__((noinline)) uint64_t read_other(struct vpm *pm, uint32_t offset, unsigned size)
{
    uint32_t value = pm->s.pm1_cnt;

    if (offset / 4 == DWORD_EVT)
        value = read_event(pm);
    else if (offset / 4 == DWORD_TMR)
        value = (uint32_t)timer_ticks(pm);
    return (value >> (8 * (offset % 4))) & (UINT32_MAX >> (32 - 8 * size));
}

/* The timer may be the guest's clock, and is then read thousands of times a second. */
uint64_t vpm_read(void *device, uint32_t offset, unsigned size)
{
    if (likely(offset == VPM_PM_TMR - VPM_PORT && size == VPM_TMR_LEN))
        return (uint32_t)timer_ticks(device);
    return read_other(device, offset, size);
}

/* 4.8.3.1.1: a status bit is cleared by writing 1. */
static void write_event(struct vpm *pm, uint32_t mask, uint32_t value)
{
    struct vpm_state *s = &pm->s;
    uint32_t enable = (mask & value) >> 16, kept = s->pm1_en & ~(mask >> 16);

    catch_up(pm);
    s->pm1_sts &= (uint16_t) ~(mask & value);
    s->pm1_en = (uint16_t)((enable | kept) & EN_ALL);
    update(pm);
}

static void write_control(struct vpm *pm, uint32_t mask, uint32_t value)
{
    struct vpm_state *s = &pm->s;
    uint32_t next = (s->pm1_cnt & ~mask) | (value & mask);

    s->pm1_cnt = (uint16_t)((next & (CNT_BM_RLD | CNT_SLP_TYP)) | CNT_SCI_EN);
    if ((value & mask & CNT_SLP_EN) && (next & CNT_SLP_TYP) >> CNT_SLP_TYP_SHIFT == VPM_S5)
        pm->power_off(pm->vm);
}

void vpm_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    struct vpm *pm = device;
    unsigned shift = 8 * (offset % 4);
    uint32_t mask = (UINT32_MAX >> (32 - 8 * size)) << shift;
    uint32_t shifted = (uint32_t)(value << shift);

    switch (offset / 4) {
    case DWORD_EVT:
        write_event(pm, mask, shifted);
        break;
    case DWORD_CNT:
        write_control(pm, mask, shifted);
        break;
    default: /* the timer is for reading only */
        break;
    }
}

int vpm_attach(struct vpm *pm, struct iobus *ports)
{
    const struct io_region region = { VPM_PORT, VPM_SIZE, IO_8 | IO_16 | IO_32, vpm_read, vpm_write,
                                      pm,       "ACPI PM" };

    return iobus_add(ports, &region);
}

void vpm_init(struct vpm *pm, const struct vclock *clock, struct timer_queue *queue, struct irq_line sci,
              void (*power_off)(void *vm), void *vm)
{
    memset(pm, 0, sizeof(*pm));
    pm->sci = sci;
    pm->power_off = power_off;
    pm->vm = vm;
    vtimer_init(&pm->overflow, clock, queue, overflow_fired, pm);
    vpm_reset(pm);
}

void vpm_reset(struct vpm *pm)
{
    pm->s = (struct vpm_state){ .seen_ticks = timer_ticks(pm), .pm1_cnt = CNT_SCI_EN };
    update(pm);
}

void vpm_save(const struct vpm *pm, struct vpm_state *out)
{
    *out = pm->s;
}

int vpm_check(const struct vpm_state *s)
{
    if ((s->pm1_sts & ~STS_ALL) || (s->pm1_en & ~EN_ALL) ||
        (s->pm1_cnt & ~(CNT_BM_RLD | CNT_SLP_TYP)) != CNT_SCI_EN)
        return -EINVAL;
    return 0;
}

void vpm_load(struct vpm *pm, const struct vpm_state *state)
{
    pm->s = *state;
    update(pm);
}
