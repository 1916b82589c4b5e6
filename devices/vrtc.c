/* The real-time clock. Sections of the MC146818A data sheet are cited by title. */
#include "devices/vrtc.h"
#include "lib/calendar.h"
#include "lib/errno.h"
#include "lib/string.h"

/* "Address Map" */
#define SECONDS       0x00
#define SECONDS_ALARM 0x01
#define MINUTES       0x02
#define MINUTES_ALARM 0x03
#define HOURS         0x04
#define HOURS_ALARM   0x05
#define WEEKDAY       0x06
#define DAY           0x07
#define MONTH         0x08
#define YEAR          0x09
#define REG_A         0x0a
#define REG_B         0x0b
#define REG_C         0x0c
#define REG_D         0x0d

/* "Register A" */
#define A_UIP      0x80u
#define A_DV_RESET 0x60u /* divider select 110 and 111: held in reset */
#define A_DV_32KHZ 0x20u
#define A_RS       0x0fu /* rate of the periodic interrupt */
#define A_RS_1024  0x06u

/* "Register B"; the enables are at the places of register C's flags. */
#define B_SET 0x80u /* stops updates, so that the time can be written */
#define B_UIE 0x10u
#define B_DM  0x04u /* binary, not BCD */
#define B_24H 0x02u

/* "Register C" */
#define C_IRQF  0x80u
#define C_PF    0x40u /* periodic */
#define C_AF    0x20u /* alarm */
#define C_UF    0x10u /* update ended */
#define C_FLAGS (C_PF | C_AF | C_UF)

#define D_VRT 0x80u /* "Register D": the battery is good */

#define HOUR_PM     0x80u /* in 12-hour mode */
#define ALARM_ANY   0xc0u /* "Alarm": from this value on a byte matches always */
#define FIELD_ANY   0xff
#define FIELD_NEVER 0xfe
#define INDEX_MASK  0x7fu
#define DIVIDER_HZ  32768
#define UPDATE_NS   2228000u  /* "Update Cycle": UIP rises 244 us before, and the update takes 1984 us */
#define RELEASE_NS  500000000 /* "Divider Control": the first update comes half a second after the release */
#define TIME_MAX    (INT64_MAX / 2)

/* CMOS bytes by convention of PC firmware: low byte first where there are two. */
#define CMOS_EQUIPMENT     0x14
#define EQUIPMENT_FPU      0x02u
#define CMOS_BASE_KB       0x15
#define CMOS_EXTENDED_KB   0x17 /* above 1 MiB, and again at 0x30 */
#define CMOS_EXTENDED_KB_2 0x30
#define CMOS_ABOVE_16M     0x34 /* in units of 64 KiB */
#define CMOS_ABOVE_4G      0x5b /* in units of 64 KiB, three bytes */
#define CMOS_SUM_FIRST     0x10
#define CMOS_SUM_LAST      0x2d
#define CMOS_SUM           0x2e /* high byte first */

static uint64_t now_ns(const struct vrtc *rtc)
{
    return vclock_ns(rtc->event.clock);
}

static bool divider_runs(const struct vrtc_state *s)
{
    return (s->cmos[REG_A] & A_DV_RESET) != A_DV_RESET;
}

/* Whether the time of day advances. */
static bool running(const struct vrtc_state *s)
{
    return !(s->cmos[REG_B] & B_SET) && divider_runs(s);
}

static uint64_t elapsed_ns(const struct vrtc_state *s, uint64_t ns)
{
    int64_t elapsed = (int64_t)ns - s->base_ns;

    return elapsed > 0 ? (uint64_t)elapsed : 0;
}

static uint64_t seconds_at(const struct vrtc_state *s, uint64_t ns)
{
    return s->base_seconds + elapsed_ns(s, ns) / NS_PER_S;
}

/* --- the bytes' format: "Time, Calendar, and Alarm Locations" ----------------------------------------------
 */

static uint8_t encode(const struct vrtc_state *s, unsigned value)
{
    return (uint8_t)(s->cmos[REG_B] & B_DM ? value : value / 10 << 4 | value % 10);
}

static uint8_t decode(const struct vrtc_state *s, uint8_t byte)
{
    return (uint8_t)(s->cmos[REG_B] & B_DM ? byte : (byte >> 4) * 10 + (byte & 15));
}

static uint8_t encode_hour(const struct vrtc_state *s, unsigned hour)
{
    if (s->cmos[REG_B] & B_24H)
        return encode(s, hour);
    return (uint8_t)(encode(s, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0));
}

static uint8_t decode_hour(const struct vrtc_state *s, uint8_t byte)
{
    if (s->cmos[REG_B] & B_24H)
        return decode(s, byte);
    return (uint8_t)(decode(s, byte & (uint8_t)~HOUR_PM) % 12 + (byte & HOUR_PM ? 12 : 0));
}

static bool is_time(unsigned index)
{
    return index == VRTC_CENTURY || (index <= YEAR && (index > HOURS_ALARM || index % 2 == 0));
}

static void put_time(struct vrtc_state *s, uint64_t seconds)
{
    struct calendar date = calendar_from_seconds(seconds);

    s->cmos[SECONDS] = encode(s, date.second);
    s->cmos[MINUTES] = encode(s, date.minute);
    s->cmos[HOURS] = encode_hour(s, date.hour);
    s->cmos[WEEKDAY] = encode(s, date.weekday + 1u);
    s->cmos[DAY] = encode(s, date.day);
    s->cmos[MONTH] = encode(s, date.month);
    s->cmos[YEAR] = encode(s, date.year % 100);
    s->cmos[VRTC_CENTURY] = encode(s, date.year / 100);
}

static uint64_t get_time(const struct vrtc_state *s)
{
    struct calendar date = {
        .year = decode(s, s->cmos[VRTC_CENTURY]) * 100u + decode(s, s->cmos[YEAR]),
        .month = decode(s, s->cmos[MONTH]),
        .day = decode(s, s->cmos[DAY]),
        .hour = decode_hour(s, s->cmos[HOURS]),
        .minute = decode(s, s->cmos[MINUTES]),
        .second = decode(s, s->cmos[SECONDS]),
    };

    return calendar_to_seconds(&date);
}

/* The time of day becomes what the bytes say; where in the second the clock is stays. */
static void adopt_time(struct vrtc_state *s, uint64_t now)
{
    s->base_ns = (int64_t)now - (int64_t)(elapsed_ns(s, now) % NS_PER_S);
    s->base_seconds = get_time(s);
}

/* --- interrupts -------------------------------------------------------------------------------------------
 */

/* What an alarm byte asks for: a value below `limit`, FIELD_ANY, or FIELD_NEVER. */
static uint8_t alarm_field(const struct vrtc_state *s, unsigned index, unsigned limit)
{
    uint8_t byte = s->cmos[index];
    uint8_t value = index == HOURS_ALARM ? decode_hour(s, byte) : decode(s, byte);
    uint8_t again = index == HOURS_ALARM ? encode_hour(s, value) : encode(s, value);

    if (byte >= ALARM_ANY)
        return FIELD_ANY;
    return value < limit && again == byte ? value : FIELD_NEVER;
}

/* "Alarm": the first second after `seconds` that matches; UINT64_MAX when the bytes match no time. */
static uint64_t next_alarm(const struct vrtc_state *s, uint64_t seconds)
{
    uint8_t hour = alarm_field(s, HOURS_ALARM, 24);
    uint8_t minute = alarm_field(s, MINUTES_ALARM, 60);
    uint8_t second = alarm_field(s, SECONDS_ALARM, 60);
    uint64_t at = seconds + 1;

    if (hour == FIELD_NEVER || minute == FIELD_NEVER || second == FIELD_NEVER)
        return UINT64_MAX;
    for (;;) {
        if (hour != FIELD_ANY && at / 3600 % 24 != hour)
            at += 3600 - at % 3600;
        else if (minute != FIELD_ANY && at / 60 % 60 != minute)
            at += 60 - at % 60;
        else if (second != FIELD_ANY && at % 60 != second)
            at++;
        else
            return at;
    }
}

/* "Periodic Interrupt Selection", 32 kHz column: ticks of the divider chain, 0 for none. */
static uint32_t period_ticks(const struct vrtc_state *s)
{
    unsigned rate = s->cmos[REG_A] & A_RS;

    if (rate == 0 || !divider_runs(s))
        return 0;
    return 1u << (rate <= 2 ? rate + 6 : rate - 1);
}

static uint64_t periods_at(const struct vrtc_state *s, uint64_t ns)
{
    return vclock_ticks(elapsed_ns(s, ns), DIVIDER_HZ) / period_ticks(s);
}

/* Sets the flags for what happened since the last look. */
static void catch_up(struct vrtc_state *s, uint64_t now)
{
    uint64_t then = seconds_at(s, s->seen_ns), seconds = seconds_at(s, now);

    if (running(s) && seconds > then) {
        s->cmos[REG_C] |= C_UF;
        if (next_alarm(s, then) <= seconds)
            s->cmos[REG_C] |= C_AF;
    }
    if (period_ticks(s) && periods_at(s, now) > periods_at(s, s->seen_ns))
        s->cmos[REG_C] |= C_PF;
    s->seen_ns = now;
}

/* When the next of the enabled interrupts is due, in guest ns; UINT64_MAX: never. */
static uint64_t next_event(const struct vrtc_state *s)
{
    uint64_t seconds = seconds_at(s, s->seen_ns), alarm, next = UINT64_MAX;
    uint8_t enabled = s->cmos[REG_B];

    if (running(s) && (enabled & C_UF))
        next = (seconds + 1 - s->base_seconds) * NS_PER_S;
    if (running(s) && (enabled & C_AF)) {
        alarm = next_alarm(s, seconds);
        if (alarm != UINT64_MAX)
            next = min_u64(next, (alarm - s->base_seconds) * NS_PER_S);
    }
    if (period_ticks(s) && (enabled & C_PF))
        next = min_u64(next,
                       vclock_ns_of_ticks((periods_at(s, s->seen_ns) + 1) * period_ticks(s), DIVIDER_HZ));
    return next == UINT64_MAX ? next : next + (uint64_t)s->base_ns;
}

/* After any change: the line; and the timer, unless the line is high anyway until register C is read. */
static void update(struct vrtc *rtc)
{
    bool level = rtc->s.cmos[REG_C] & rtc->s.cmos[REG_B] & C_FLAGS;

    irq_line_set(&rtc->irq, level);
    vtimer_arm(&rtc->event, level ? UINT64_MAX : next_event(&rtc->s));
}

static void event_fired(void *device)
{
    struct vrtc *rtc = device;

    catch_up(&rtc->s, now_ns(rtc));
    update(rtc);
}

/* --- registers --------------------------------------------------------------------------------------------
 */

static uint8_t read_a(const struct vrtc_state *s, uint64_t now)
{
    bool updating = running(s) && elapsed_ns(s, now) % NS_PER_S >= NS_PER_S - UPDATE_NS;

    return (uint8_t)(s->cmos[REG_A] | (updating ? A_UIP : 0));
}

/* Reading it acknowledges all interrupts. */
static uint8_t read_c(struct vrtc *rtc, uint64_t now)
{
    struct vrtc_state *s = &rtc->s;
    uint8_t flags;

    catch_up(s, now);
    flags = s->cmos[REG_C];
    if (flags & s->cmos[REG_B])
        flags |= C_IRQF;
    s->cmos[REG_C] = 0;
    update(rtc);
    return flags;
}

/* A and B hold what decides whether the clock runs: when it stops, its bytes take the time, and give it back
 * later. */
static void write_control(struct vrtc *rtc, unsigned index, uint8_t value, uint64_t now)
{
    struct vrtc_state *s = &rtc->s;
    struct vrtc_state next = *s;

    next.cmos[index] = value;
    if (running(s) && !running(&next))
        put_time(s, seconds_at(s, now));
    if (!divider_runs(s) && divider_runs(&next))
        s->base_ns = (int64_t)now - RELEASE_NS;
    if (!running(s) && running(&next)) {
        s->cmos[index] = value;
        adopt_time(s, now);
    }
    s->cmos[index] = value;
}

static void write_register(struct vrtc *rtc, unsigned index, uint8_t value)
{
    struct vrtc_state *s = &rtc->s;
    uint64_t now = now_ns(rtc);

    catch_up(s, now);
    if (index == REG_A) {
        write_control(rtc, REG_A, value & (uint8_t)~A_UIP, now);
    } else if (index == REG_B) {
        /* "Register B": SET also turns the update-ended interrupt off. */
        write_control(rtc, REG_B, value & B_SET ? value & (uint8_t)~B_UIE : value, now);
    } else if (index != REG_C && index != REG_D) {
        if (is_time(index) && running(s)) {
            put_time(s, seconds_at(s, now));
            s->cmos[index] = value;
            adopt_time(s, now);
        }
        s->cmos[index] = value;
    }
    update(rtc);
}

uint64_t vrtc_read(void *device, uint32_t offset, unsigned size)
{
    struct vrtc *rtc = device;
    struct vrtc_state *s = &rtc->s;
    unsigned index = s->index & INDEX_MASK;

    (void)size;
    if (offset == 0)
        return 0xff; /* the index is for writing only */
    if (index == REG_A)
        return read_a(s, now_ns(rtc));
    if (index == REG_C)
        return read_c(rtc, now_ns(rtc));
    if (is_time(index) && running(s))
        put_time(s, seconds_at(s, now_ns(rtc)));
    return s->cmos[index];
}

void vrtc_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    struct vrtc *rtc = device;

    (void)size;
    if (offset == 0)
        rtc->s.index = (uint8_t)value;
    else
        write_register(rtc, rtc->s.index & INDEX_MASK, (uint8_t)value);
}

int vrtc_attach(struct vrtc *rtc, struct iobus *ports)
{
    const struct io_region region = { VRTC_PORT, VRTC_SIZE, IO_8, vrtc_read, vrtc_write, rtc, "RTC" };

    return iobus_add(ports, &region);
}

/* --- life -------------------------------------------------------------------------------------------------
 */

static void put_number(struct vrtc_state *s, unsigned index, unsigned bytes, uint64_t value)
{
    value = min_u64(value, BIT(8 * bytes) - 1);
    for (unsigned i = 0; i < bytes; i++)
        s->cmos[index + i] = (uint8_t)(value >> (8 * i));
}

static void put_memory_sizes(struct vrtc_state *s, uint64_t low, uint64_t high)
{
    unsigned sum = 0;

    s->cmos[CMOS_EQUIPMENT] = EQUIPMENT_FPU;
    put_number(s, CMOS_BASE_KB, 2, 640);
    put_number(s, CMOS_EXTENDED_KB, 2, (low - MiB) / KiB);
    put_number(s, CMOS_EXTENDED_KB_2, 2, (low - MiB) / KiB);
    put_number(s, CMOS_ABOVE_16M, 2, (low - min_u64(low, 16 * MiB)) / (64 * KiB));
    put_number(s, CMOS_ABOVE_4G, 3, high / (64 * KiB));
    for (unsigned i = CMOS_SUM_FIRST; i <= CMOS_SUM_LAST; i++)
        sum += s->cmos[i];
    s->cmos[CMOS_SUM] = (uint8_t)(sum >> 8);
    s->cmos[CMOS_SUM + 1] = (uint8_t)sum;
}

void vrtc_init(struct vrtc *rtc, const struct vclock *clock, struct timer_queue *queue, struct irq_line irq,
               uint64_t epoch_seconds, uint64_t low_memory, uint64_t high_memory)
{
    memset(rtc, 0, sizeof(*rtc));
    rtc->irq = irq;
    vtimer_init(&rtc->event, clock, queue, event_fired, rtc);
    rtc->s.base_seconds = CALENDAR_UNIX_EPOCH + epoch_seconds;
    rtc->s.cmos[REG_A] = A_DV_32KHZ | A_RS_1024;
    rtc->s.cmos[REG_B] = B_24H;
    rtc->s.cmos[REG_D] = D_VRT;
    put_memory_sizes(&rtc->s, low_memory, high_memory);
    vrtc_reset(rtc);
}

/* "RESET": clears the interrupt enables, the flags and the square wave. */
void vrtc_reset(struct vrtc *rtc)
{
    rtc->s.seen_ns = now_ns(rtc);
    rtc->s.index = 0;
    rtc->s.cmos[REG_B] &= B_SET | B_DM | B_24H;
    rtc->s.cmos[REG_C] = 0;
    update(rtc);
}

void vrtc_save(const struct vrtc *rtc, struct vrtc_state *out)
{
    *out = rtc->s;
}

int vrtc_check(const struct vrtc_state *s)
{
    if (s->base_ns < -(int64_t)NS_PER_S || s->base_ns > TIME_MAX || s->seen_ns > TIME_MAX)
        return -EINVAL;
    if (s->base_seconds >> 40) /* the bytes hold no year above 25755 */
        return -EINVAL;
    if ((s->cmos[REG_A] & A_UIP) || (s->cmos[REG_C] & ~C_FLAGS) || s->cmos[REG_D] != D_VRT)
        return -EINVAL;
    return 0;
}

void vrtc_load(struct vrtc *rtc, const struct vrtc_state *state)
{
    rtc->s = *state;
    update(rtc);
}
