/* An 8254 interval timer and port 0x61. Sections of the Intel 8254 data sheet are cited by title. */
#include "devices/vpit.h"
#include "lib/errno.h"
#include "lib/string.h"

#define CONTROL_OFFSET 3

/* "Control Word Format" */
#define CONTROL_CHANNEL(v) ((v) >> 6)
#define CONTROL_READ_BACK  3 /* as a channel */
#define CONTROL_ACCESS(v)  (((v) >> 4) & 3)
#define CONTROL_LATCH      0 /* as an access: counter latch command */
#define CONTROL_MODE(v)    (((v) >> 1) & 7)
#define CONTROL_BCD        0x01u

#define ACCESS_LOW  1
#define ACCESS_HIGH 2
#define ACCESS_BOTH 3

#define READ_BACK_NO_COUNT  0x20u /* "Read-Back Command Format": these two bits are active low */
#define READ_BACK_NO_STATUS 0x10u
#define READ_BACK_SELECT(n) (2u << (n))

#define STATUS_OUT  0x80u /* "Status Byte" */
#define STATUS_NULL 0x40u /* the count that was written has not been loaded yet */

/* Port 0x61: Intel ICH9 data sheet, NMI_SC. */
#define SPEAKER_GATE    0x01u
#define SPEAKER_DATA    0x02u
#define SPEAKER_KEPT    0x0fu /* gate, data, and the two NMI enables, which do nothing here */
#define SPEAKER_REFRESH 0x10u /* toggles with each memory refresh */
#define SPEAKER_OUT2    0x20u
#define REFRESH_TICKS   18 /* 15.09 us: what channel 1 is programmed to on every PC */

#define NOTHING_WAITS INT64_MAX
#define TICKS_MAX     (INT64_MAX / 4) /* bound on times in a state: sums of them cannot overflow */

static int64_t now_ticks(const struct vpit *pit)
{
    return (int64_t)vclock_ticks(vclock_ns(pit->edge.clock), VPIT_HZ);
}

static bool periodic(const struct vpit_channel_state *ch)
{
    return ch->mode == 2 || ch->mode == 3;
}

/* Modes 1 and 5 start at a rising gate; "Operation Common to All Modes", gate. */
static bool started_by_gate(const struct vpit_channel_state *ch)
{
    return ch->mode == 1 || ch->mode == 5;
}

/* "Mode 3": an odd count is high for one tick longer. */
static int64_t high_ticks(uint32_t count)
{
    return (count + 1) / 2;
}

/* Ticks counted since the count was loaded; negative: it will be at the next tick. */
static int64_t elapsed(const struct vpit_channel_state *ch, int64_t now)
{
    if (!ch->gate && !started_by_gate(ch))
        return ch->held;
    return now - ch->start;
}

/* Whether a count waits for the end of mode 3's high half, and so takes over in the low one. */
static bool switches_low(const struct vpit_channel_state *ch)
{
    return ch->mode == 3 && ch->switch_at != NOTHING_WAITS && (ch->switch_at - ch->start) % ch->count != 0;
}

/* Lets a count that waits for the end of the period (mode 3: of the half period) take over. */
static void settle(struct vpit_channel_state *ch, int64_t now)
{
    bool low_half;

    if (now < ch->switch_at)
        return;
    low_half = switches_low(ch);
    ch->count = ch->next;
    ch->start = low_half ? ch->switch_at - high_ticks(ch->count) : ch->switch_at;
    ch->switch_at = NOTHING_WAITS;
}

/* "Mode Definitions" */
static bool output(const struct vpit_channel_state *ch, int64_t now)
{
    int64_t ticks = elapsed(ch, now);

    if (!ch->running)
        return ch->mode != 0;
    switch (ch->mode) {
    case 0:
        return ticks >= ch->count;
    case 1:
        return ticks < 0 || ticks >= ch->count;
    case 2:
        return !ch->gate || ticks < 0 || ticks % ch->count != ch->count - 1;
    case 3:
        return !ch->gate || ticks < 0 || ticks % ch->count < high_ticks(ch->count);
    default:
        return ticks != ch->count;
    }
}

/* "Mode 3": counts down by two, twice per period; an odd count is loaded less one, and its high half reaches
 * 0. */
static int64_t square_wave_counter(uint32_t count, int64_t ticks)
{
    int64_t phase = ticks % count;

    if (phase >= high_ticks(count))
        phase -= high_ticks(count);
    return (int64_t)(count & ~1u) - 2 * phase;
}

/* The counting element as it reads: 16 bits, or 4 decimal digits. It goes on counting after it has reached 0.
 */
static uint16_t counter(const struct vpit_channel_state *ch, int64_t now)
{
    int64_t modulus = ch->bcd ? 10000 : 65536;
    int64_t ticks = elapsed(ch, now), value;

    if (ch->count == 0)
        return 0;
    if (!ch->running || ticks < 0)
        ticks = 0;
    if (ch->mode == 3)
        value = square_wave_counter(ch->count, ticks);
    else if (ch->mode == 2)
        value = ch->count - ticks % ch->count;
    else
        value = ch->count - ticks % modulus + modulus;
    value %= modulus;
    if (ch->bcd)
        value = value % 10 | value / 10 % 10 << 4 | value / 100 % 10 << 8 | value / 1000 << 12;
    return (uint16_t)value;
}

static uint8_t status(const struct vpit_channel_state *ch, int64_t now)
{
    bool loaded = ch->running && elapsed(ch, now) >= 0 && ch->switch_at == NOTHING_WAITS &&
                  ch->count == ch->next;
    unsigned value = (unsigned)ch->access << 4 | (unsigned)ch->mode << 1 | ch->bcd;

    return (uint8_t)(value | (output(ch, now) ? STATUS_OUT : 0) | (loaded ? 0 : STATUS_NULL));
}

/* The tick at which channel 0's output rises next; NOTHING_WAITS: it does not. Its gate is always high. */
static int64_t next_rise(const struct vpit *pit, int64_t now)
{
    const struct vpit_channel_state *ch = &pit->s.channel[0];
    int64_t ticks = elapsed(ch, now);

    if (!ch->running)
        return NOTHING_WAITS;
    if (periodic(ch)) {
        if (switches_low(ch))
            return ch->switch_at + ch->next / 2; /* the low half has the new length already */
        return ch->start + (ticks < 0 ? 1 : ticks / ch->count + 1) * ch->count;
    }
    if (ch->mode == 0 && !pit->s.irq)
        return ch->start + ch->count;
    if (ch->mode == 4 && ticks <= ch->count)
        return ch->start + ch->count + 1;
    return NOTHING_WAITS;
}

/* After any change to channel 0. */
static void schedule(struct vpit *pit, int64_t now)
{
    int64_t rise = next_rise(pit, now);

    pit->s.edge_ns = UINT64_MAX;
    if (rise != NOTHING_WAITS)
        pit->s.edge_ns = max_u64(vclock_ns_of_ticks(rise > 0 ? (uint64_t)rise : 0, VPIT_HZ),
                                 pit->s.last_edge_ns + VPIT_MIN_PERIOD_NS);
    vtimer_arm(&pit->edge, pit->s.edge_ns);
}

static void set_irq(struct vpit *pit, bool level)
{
    pit->s.irq = level;
    irq_line_set(&pit->irq, level);
}

/*
 * The falling edge of a periodic mode, or of mode 4's strobe, is not worth a timer of its own: nobody sees
 * it, so it comes with the rising one.
 */
static void edge_fired(void *device)
{
    struct vpit *pit = device;
    uint64_t now_ns = vclock_ns(pit->edge.clock);
    int64_t now = (int64_t)vclock_ticks(now_ns, VPIT_HZ);

    settle(&pit->s.channel[0], now);
    pit->s.last_edge_ns = now_ns;
    set_irq(pit, false);
    set_irq(pit, true);
    schedule(pit, now);
}

/* "Mode Definitions": a whole count was written. It is loaded at the next tick, or when the present cycle
 * ends. */
static void count_written(struct vpit_channel_state *ch, uint16_t value, int64_t now)
{
    uint32_t count = value;
    int64_t half;

    if (ch->bcd)
        count = (value & 15u) + (value >> 4 & 15u) * 10 + (value >> 8 & 15u) * 100 + (value >> 12) * 1000u;
    if (count == 0)
        count = ch->bcd ? 10000 : 65536;
    ch->next = count;
    if (started_by_gate(ch)) {
        if (!ch->running)
            ch->count = count;
        return;
    }
    if (periodic(ch) && ch->running && ch->gate && now >= ch->start) {
        half = (now - ch->start) % ch->count;
        ch->switch_at = now - half +
                        (ch->mode == 3 && half < high_ticks(ch->count) ? high_ticks(ch->count) : ch->count);
        return;
    }
    ch->count = count;
    ch->start = now + 1;
    ch->held = 0;
    ch->running = 1;
}

/* "Write Operations". In mode 0 the first of two bytes already stops the counting and lowers the output. */
static void write_counter(struct vpit *pit, unsigned index, uint8_t value)
{
    struct vpit_channel_state *ch = &pit->s.channel[index];
    int64_t now = now_ticks(pit);
    uint16_t count = value;

    settle(ch, now);
    if (ch->access == ACCESS_BOTH && !ch->write_high) {
        ch->write_low = value;
        ch->write_high = 1;
        if (ch->mode == 0)
            ch->running = 0;
    } else {
        if (ch->access == ACCESS_BOTH)
            count = (uint16_t)(value << 8 | ch->write_low);
        else if (ch->access == ACCESS_HIGH)
            count = (uint16_t)(value << 8);
        ch->write_high = 0;
        count_written(ch, count, now);
    }
    if (index == 0) {
        if (ch->mode == 0)
            set_irq(pit, false);
        schedule(pit, now);
    }
}

/* "Counter Latch Command": one that is not read yet stays. */
static void latch_count(struct vpit_channel_state *ch, int64_t now)
{
    if (ch->latch)
        return;
    ch->latched = counter(ch, now);
    ch->latch = 1;
}

static void read_back(struct vpit *pit, uint8_t value)
{
    int64_t now = now_ticks(pit);

    for (unsigned i = 0; i < VPIT_CHANNELS; i++) {
        struct vpit_channel_state *ch = &pit->s.channel[i];

        if (!(value & READ_BACK_SELECT(i)))
            continue;
        settle(ch, now);
        if (!(value & READ_BACK_NO_COUNT))
            latch_count(ch, now);
        if (!(value & READ_BACK_NO_STATUS) && !ch->status_latch) {
            ch->status = status(ch, now);
            ch->status_latch = 1;
        }
    }
}

/* "Programming the 8254": the counter stops, its output takes the mode's first level, and it waits for a
 * count. */
static void set_mode(struct vpit *pit, unsigned index, uint8_t value)
{
    struct vpit_channel_state *ch = &pit->s.channel[index];
    uint8_t mode = CONTROL_MODE(value);

    *ch = (struct vpit_channel_state){
        .switch_at = NOTHING_WAITS,
        .mode = mode > 5 ? mode - 4 : mode, /* "Control Word Format": 6 and 7 are 2 and 3 */
        .access = CONTROL_ACCESS(value),
        .bcd = value & CONTROL_BCD,
        .gate = ch->gate,
    };
    if (index == 0) {
        set_irq(pit, ch->mode != 0);
        schedule(pit, now_ticks(pit));
    }
}

static void write_control(struct vpit *pit, uint8_t value)
{
    unsigned index = CONTROL_CHANNEL(value);
    int64_t now;

    if (index == CONTROL_READ_BACK) {
        read_back(pit, value);
    } else if (CONTROL_ACCESS(value) == CONTROL_LATCH) {
        now = now_ticks(pit);
        settle(&pit->s.channel[index], now);
        latch_count(&pit->s.channel[index], now);
    } else {
        set_mode(pit, index, value);
    }
}

void vpit_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    (void)size;
    if (offset == CONTROL_OFFSET)
        write_control(device, (uint8_t)value);
    else
        write_counter(device, offset, (uint8_t)value);
}

/* "Read Operations": a latched status comes first, then a latched count, else the counter as it runs. */
uint64_t vpit_read(void *device, uint32_t offset, unsigned size)
{
    struct vpit *pit = device;
    struct vpit_channel_state *ch;
    uint16_t value;
    int64_t now;
    bool high;

    (void)size;
    if (offset == CONTROL_OFFSET)
        return 0xff; /* "Read/Write Logic": no operation */
    ch = &pit->s.channel[offset];
    if (ch->status_latch) {
        ch->status_latch = 0;
        return ch->status;
    }
    if (ch->latch) {
        value = ch->latched;
    } else {
        now = now_ticks(pit);
        settle(ch, now);
        value = counter(ch, now);
    }
    high = ch->access == ACCESS_HIGH || ch->read_high;
    ch->read_high = ch->access == ACCESS_BOTH && !ch->read_high;
    if (!ch->read_high)
        ch->latch = 0;
    return high ? value >> 8 : value & 0xff;
}

/* Keeps within the bounds of a good state what only a forged one can exceed. */
static int64_t held_ticks(int64_t ticks)
{
    return ticks < 0 ? 0 : ticks > TICKS_MAX ? TICKS_MAX : ticks;
}

/* "Gate Pin Operations Summary" */
static void set_gate(struct vpit_channel_state *ch, bool gate, int64_t now)
{
    if (gate == ch->gate)
        return;
    settle(ch, now);
    if (!gate) {
        if (!started_by_gate(ch))
            ch->held = held_ticks(elapsed(ch, now));
        ch->gate = 0;
        return;
    }
    ch->gate = 1;
    if (ch->next == 0)
        return;
    if (ch->mode == 0 || ch->mode == 4) {
        ch->start = now - ch->held;
        return;
    }
    ch->count = ch->next;
    ch->start = now + 1;
    ch->switch_at = NOTHING_WAITS;
    ch->running = 1;
}

uint64_t vpit_speaker_read(void *device, uint32_t offset, unsigned size)
{
    struct vpit *pit = device;
    int64_t now = now_ticks(pit);
    uint8_t value = pit->s.speaker;

    (void)offset, (void)size;
    settle(&pit->s.channel[2], now);
    if (output(&pit->s.channel[2], now))
        value |= SPEAKER_OUT2;
    if (now / REFRESH_TICKS % 2)
        value |= SPEAKER_REFRESH;
    return value;
}

void vpit_speaker_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    struct vpit *pit = device;

    (void)offset, (void)size;
    pit->s.speaker = value & SPEAKER_KEPT;
    set_gate(&pit->s.channel[2], value & SPEAKER_GATE, now_ticks(pit));
}

int vpit_attach(struct vpit *pit, struct iobus *ports)
{
    const struct io_region timer = { VPIT_PORT, VPIT_SIZE, IO_8, vpit_read, vpit_write, pit, "PIT" };
    const struct io_region speaker = { VPIT_SPEAKER_PORT,  1,   IO_8,     vpit_speaker_read,
                                       vpit_speaker_write, pit, "port 61" };
    int error = iobus_add(ports, &timer);

    return error ? error : iobus_add(ports, &speaker);
}

void vpit_init(struct vpit *pit, const struct vclock *clock, struct timer_queue *queue, struct irq_line irq)
{
    memset(pit, 0, sizeof(*pit));
    pit->irq = irq;
    vtimer_init(&pit->edge, clock, queue, edge_fired, pit);
    vpit_reset(pit);
}

/* The chip's state is undefined at power-on; here no channel counts, and the gates are as a PC wires them. */
void vpit_reset(struct vpit *pit)
{
    memset(&pit->s, 0, sizeof(pit->s));
    for (unsigned i = 0; i < VPIT_CHANNELS; i++) {
        pit->s.channel[i].switch_at = NOTHING_WAITS;
        pit->s.channel[i].access = ACCESS_BOTH;
        pit->s.channel[i].gate = i != 2;
    }
    pit->s.edge_ns = UINT64_MAX;
    vtimer_cancel(&pit->edge);
    irq_line_set(&pit->irq, false);
}

void vpit_save(const struct vpit *pit, struct vpit_state *out)
{
    *out = pit->s;
}

static bool channel_ok(const struct vpit_channel_state *ch)
{
    bool waits = ch->switch_at != NOTHING_WAITS;

    if (ch->mode > 5 || ch->access < ACCESS_LOW || ch->access > ACCESS_BOTH || ch->bcd > 1 || ch->gate > 1)
        return false;
    if (ch->running > 1 || ch->write_high > 1 || ch->read_high > 1 || ch->latch > 1 || ch->status_latch > 1)
        return false;
    if ((ch->write_high || ch->read_high) && ch->access != ACCESS_BOTH)
        return false;
    if (ch->count > 65536 || ch->next > 65536 || (ch->count == 0) != (ch->next == 0))
        return false;
    if ((ch->running && ch->count == 0) || (waits && (!periodic(ch) || !ch->running)))
        return false;
    return ch->start >= -TICKS_MAX && ch->start <= TICKS_MAX && ch->held >= 0 && ch->held <= TICKS_MAX &&
           (!waits || (ch->switch_at >= 0 && ch->switch_at <= TICKS_MAX));
}

int vpit_check(const struct vpit_state *state)
{
    if (state->irq > 1 || (state->speaker & ~SPEAKER_KEPT) || state->last_edge_ns > INT64_MAX)
        return -EINVAL;
    for (unsigned i = 0; i < VPIT_CHANNELS; i++)
        if (!channel_ok(&state->channel[i]))
            return -EINVAL;
    if (!state->channel[0].gate || !state->channel[1].gate ||
        state->channel[2].gate != (state->speaker & SPEAKER_GATE))
        return -EINVAL;
    return 0;
}

void vpit_load(struct vpit *pit, const struct vpit_state *state)
{
    pit->s = *state;
    irq_line_set(&pit->irq, state->irq);
    vtimer_arm(&pit->edge, state->edge_ns);
}
