/*
 * The watchdog timer of the Intel 6300ESB I/O controller hub (data sheet 300641, chapter 16), a PCI function
 * that the drivers of many systems know: Linux's i6300esb, FreeBSD's i6300esbwd, OpenBSD's ichwdt. Two stages
 * of a down-counter; when the second is over, what the chip does by its pin WDT_TOUT# is the VM's end here.
 *
 * What the chip has and this has not: the interrupt between the stages, which goes to an I/O APIC of its own
 * or to the firmware. Its status bit is there.
 */
#pragma once

#include "lib/types.h"
#include "devices/vpci.h"
#include "vmx/vclock.h"

#define VWATCHDOG_SLOT 29        /* as in the hub; there it is function 4 */
#define VWATCHDOG_SIZE 16        /* bytes of BAR 0 */
#define VWATCHDOG_HZ   33000000u /* the PCI clock */

struct vwatchdog_state {
    uint32_t config[VPCI_CONFIG_DWORDS];
    uint64_t deadline_ns; /* when the present stage is over */
    uint64_t fed_ns;      /* when the first stage was begun last */
    uint64_t paused_ns;   /* when the VM was paused; UINT64_MAX: it is not */
    uint32_t preload[2];  /* 20 bits each */
    uint32_t lock;        /* the lock register as the timer has taken it */
    uint8_t stage;        /* 1 or 2; 0: the counter stands */
    uint8_t unlock;       /* how much of the unlocking sequence was written: 0, 1, 2 */
    uint8_t status;       /* the first stage was once over */
    uint8_t timed_out;    /* the last stage was, maybe before a reset */
};

struct vwatchdog {
    struct vwatchdog_state s; /* s.config only in what is saved: it lives in function.config */
    struct vpci_function function;
    struct vtimer timer;
    void (*expired)(void *vm, uint64_t ms);
    void *vm;
};

/*
 * `expired` is called, maybe from a timer, when the guest has let the last stage pass: `ms` after it fed the
 * watchdog last. The counter stands then. All calls belong on the CPU that owns the VM's devices and `queue`.
 */
void vwatchdog_init(struct vwatchdog *watchdog, const struct vclock *clock, struct timer_queue *queue,
                    void (*expired)(void *vm, uint64_t ms), void *vm);

/* Disarms it. Its BAR is vpci_reset()'s. That it timed out is kept, as in the hub: the next driver asks. */
void vwatchdog_reset(struct vwatchdog *watchdog);

/* The counter stands while the VM is paused; both may be called again and again. */
void vwatchdog_pause(struct vwatchdog *watchdog);
void vwatchdog_resume(struct vwatchdog *watchdog);

void vwatchdog_save(const struct vwatchdog *watchdog, struct vwatchdog_state *out);
int vwatchdog_check(const struct vwatchdog *watchdog, const struct vwatchdog_state *state) __must_check;
void vwatchdog_load(struct vwatchdog *watchdog, const struct vwatchdog_state *state);

/* Handlers of BAR 0, for aligned accesses of 8, 16 and 32 bits. */
uint64_t vwatchdog_read(void *watchdog, uint32_t offset, unsigned size);
void vwatchdog_write(void *watchdog, uint32_t offset, unsigned size, uint64_t value);

/* Puts it on the bus, before vpci_attach(); errors are those of vpci_add(). */
int vwatchdog_attach(struct vwatchdog *watchdog, struct vpci *pci) __must_check;
