/*
 * The ACPI power management block: ACPI 6.4, section 4.8.3 (register bits in vpm.c). Tables that describe it:
 * - FADT: PM1a_EVT_BLK, PM1a_CNT_BLK and PM_TMR_BLK as below, no PM1b, no GPE blocks, SCI_INT = VPM_SCI;
 *   SMI_CMD = 0 (section 4.8.1: the machine is always in ACPI mode, and SCI_EN always reads 1);
 *   flags TMR_VAL_EXT, SLP_BUTTON (none in the fixed hardware), FIX_RTC (no RTC wake status); not PWR_BUTTON;
 * - DSDT: _S5 holds VPM_S5 as SLP_TYPa; no other sleep state.
 */
#pragma once

#include "lib/types.h"
#include "vmx/iobus.h"
#include "vmx/irqline.h"
#include "vmx/vclock.h"

#define VPM_PORT     0x600 /* the whole block */
#define VPM_SIZE     12
#define VPM_PM1A_EVT 0x600 /* PM1_STS, then PM1_EN */
#define VPM_EVT_LEN  4
#define VPM_PM1A_CNT 0x604
#define VPM_CNT_LEN  2
#define VPM_PM_TMR   0x608
#define VPM_TMR_LEN  4
#define VPM_TMR_HZ   3579545
#define VPM_SCI      9 /* level-triggered; high means active here */
#define VPM_S5       5

struct vpm_state {
    uint64_t seen_ticks; /* PM timer ticks since guest time 0 up to which TMR_STS is worked out */
    uint16_t pm1_sts, pm1_en, pm1_cnt;
    uint16_t reserved; /* 0 */
};

static_assert(sizeof(struct vpm_state) == 16, "no hidden padding");

struct vpm {
    struct vpm_state s;
    struct irq_line sci;
    struct vtimer overflow; /* armed only while its interrupt is enabled */
    void (*power_off)(void *vm);
    void *vm;
};

/* power_off() is called inside the guest's port access. All calls belong on the CPU that owns the VM's
 * devices. */
void vpm_init(struct vpm *pm, const struct vclock *clock, struct timer_queue *queue, struct irq_line sci,
              void (*power_off)(void *vm), void *vm);
void vpm_reset(struct vpm *pm);
void vpm_save(const struct vpm *pm, struct vpm_state *out);
int vpm_check(const struct vpm_state *state) __must_check;
void vpm_load(struct vpm *pm, const struct vpm_state *state);

/* Somebody presses the power button: asks the guest to shut down. */
void vpm_power_button(struct vpm *pm);

/* Handlers of the block, for aligned accesses of 8, 16 and 32 bits. */
uint64_t vpm_read(void *pm, uint32_t offset, unsigned size);
void vpm_write(void *pm, uint32_t offset, unsigned size, uint64_t value);

/* Registers the block; errors are those of iobus_add(). */
int vpm_attach(struct vpm *pm, struct iobus *ports) __must_check;
