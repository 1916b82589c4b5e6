/*
 * An Intel 8254 interval timer at 0x40 to 0x43 (data sheet 231164, September 1993; its sections are cited by
 * title) and the PC's port 0x61, which has channel 2's gate and output. Channel 0's output is IRQ 0, channel
 * 1's was the memory refresh, channel 2's the speaker, here a stopwatch without sound.
 *
 * Counters are worked out from the clock when they are looked at. A timer runs only for the next rising edge
 * of channel 0's output, and if the guest programs edges that lie closer than VPIT_MIN_PERIOD_NS, only one in
 * each such period becomes an interrupt; the counter still runs at its own speed. Edges keep to the clock:
 * one that is delivered late does not delay the next.
 */
#pragma once

#include "lib/types.h"
#include "vmx/iobus.h"
#include "vmx/irqline.h"
#include "vmx/vclock.h"

#define VPIT_PORT          0x40
#define VPIT_SIZE          4
#define VPIT_SPEAKER_PORT  0x61
#define VPIT_IRQ           0
#define VPIT_HZ            1193182
#define VPIT_CHANNELS      3
#define VPIT_MIN_PERIOD_NS 100000

/* Times are in ticks of VPIT_HZ since guest time 0 (vclock_ticks()). */
struct vpit_channel_state {
    int64_t start;      /* the tick at which `count` was loaded; may lie one tick ahead, or before time 0 */
    int64_t switch_at;  /* modes 2 and 3: when `next` takes over from `count`; INT64_MAX: nothing waits */
    int64_t held;       /* modes 0 and 4 while the gate is low: ticks counted so far */
    uint32_t count;     /* 1 to 65536: the count in use; 0: none since the control word */
    uint32_t next;      /* 1 to 65536: the count last written; 0: none since the control word */
    uint16_t latched;   /* counter latch */
    uint8_t status;     /* status latch */
    uint8_t mode;       /* 0 to 5 */
    uint8_t access;     /* 1: low byte, 2: high byte, 3: low then high */
    uint8_t bcd;        /* 1: four decimal digits */
    uint8_t gate;       /* input level */
    uint8_t running;    /* 1: `count` was loaded (modes 1 and 5: triggered) */
    uint8_t write_low;  /* access 3: the low byte, when write_high */
    uint8_t write_high; /* access 3: the next byte written is the high one */
    uint8_t read_high;  /* access 3: the next byte read is the high one */
    uint8_t latch;      /* the count latch is full */
    uint8_t status_latch;
    uint8_t reserved[3]; /* 0 */
};

struct vpit_state {
    struct vpit_channel_state channel[VPIT_CHANNELS];
    uint64_t edge_ns;      /* when IRQ 0 rises next; UINT64_MAX: it does not */
    uint64_t last_edge_ns; /* when it rose last */
    uint8_t irq;           /* its level */
    uint8_t speaker;       /* the writable bits of port 0x61 */
    uint8_t reserved[6];   /* 0 */
};

static_assert(sizeof(struct vpit_state) == 168, "no hidden padding");

struct vpit {
    struct vpit_state s;
    struct irq_line irq;
    struct vtimer edge;
};

/* All calls belong on the CPU that owns the VM's devices. */
void vpit_init(struct vpit *pit, const struct vclock *clock, struct timer_queue *queue, struct irq_line irq);
void vpit_reset(struct vpit *pit);
void vpit_save(const struct vpit *pit, struct vpit_state *out);
int vpit_check(const struct vpit_state *state) __must_check;
void vpit_load(struct vpit *pit, const struct vpit_state *state);

/* Handlers of ports 0x40 to 0x43, and of port 0x61; byte accesses. */
uint64_t vpit_read(void *pit, uint32_t offset, unsigned size);
void vpit_write(void *pit, uint32_t offset, unsigned size, uint64_t value);
uint64_t vpit_speaker_read(void *pit, uint32_t offset, unsigned size);
void vpit_speaker_write(void *pit, uint32_t offset, unsigned size, uint64_t value);

/* Registers the ports; errors are those of iobus_add(). */
int vpit_attach(struct vpit *pit, struct iobus *ports) __must_check;
