/*
 * The PC's real-time clock and CMOS memory, ports 0x70 and 0x71: Motorola MC146818A data sheet (its sections
 * are cited by title), with 128 bytes as in Intel's chipsets. The time of day is that of the guest's clock
 * plus a base; nothing ticks, and a timer runs only towards the next interrupt that the guest has enabled and
 * that would change the line.
 *
 * The day of the week always follows from the date; what a guest writes there is not kept.
 */
#pragma once

#include "lib/types.h"
#include "vmx/iobus.h"
#include "vmx/irqline.h"
#include "vmx/vclock.h"

#define VRTC_PORT    0x70
#define VRTC_SIZE    2
#define VRTC_IRQ     8
#define VRTC_CENTURY 0x32 /* the FADT's CENTURY */
#define VRTC_BYTES   128

struct vrtc_state {
    int64_t base_ns; /* guest time at which the time of day was base_seconds exactly; may lie before 0 */
    uint64_t base_seconds;    /* since 0000-01-01 00:00:00, proleptic Gregorian */
    uint64_t seen_ns;         /* guest time up to which the flags of register C are worked out */
    uint8_t index;            /* port 0x70: bit 7 is the NMI mask, without effect */
    uint8_t reserved[7];      /* 0 */
    uint8_t cmos[VRTC_BYTES]; /* the time's bytes are valid only while the guest has stopped the clock */
};

static_assert(sizeof(struct vrtc_state) == 160, "no hidden padding");

struct vrtc {
    struct vrtc_state s;
    struct irq_line irq;
    struct vtimer event;
};

/*
 * epoch_seconds: Unix time (UTC) at guest time 0. low_memory, high_memory: bytes of RAM below and above 4
 * GiB, for the size bytes that firmware reads; low_memory is at least 1 MiB. All calls belong on the CPU that
 * owns the VM's devices.
 */
void vrtc_init(struct vrtc *rtc, const struct vclock *clock, struct timer_queue *queue, struct irq_line irq,
               uint64_t epoch_seconds, uint64_t low_memory, uint64_t high_memory);

/* The RESET pin: interrupts are off, while the time and the memory, which have a battery, stay. */
void vrtc_reset(struct vrtc *rtc);
void vrtc_save(const struct vrtc *rtc, struct vrtc_state *out);
int vrtc_check(const struct vrtc_state *state) __must_check;
void vrtc_load(struct vrtc *rtc, const struct vrtc_state *state);

/* Handlers of both ports, for byte accesses. */
uint64_t vrtc_read(void *rtc, uint32_t offset, unsigned size);
void vrtc_write(void *rtc, uint32_t offset, unsigned size, uint64_t value);

/* Registers the ports; errors are those of iobus_add(). */
int vrtc_attach(struct vrtc *rtc, struct iobus *ports) __must_check;
