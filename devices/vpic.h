/*
 * The pair of 8259A interrupt controllers of a PC, with the edge/level control registers of the PIIX.
 * Source: Intel 8259A data sheet (231468); Intel 82371AB (PIIX4) data sheet, 4.2.4 and 4.2.5.
 *
 * All vCPUs of the VM and all of its devices reach it: the caller makes sure that only one CPU is in it at a
 * time. A latched edge outlives its pulse, as devices pulse their lines; an asserted level counts while it
 * lasts.
 */
#pragma once

#include "lib/types.h"
#include "vmx/irqline.h"

#define VPIC_MASTER 0x20  /* ports: 2 */
#define VPIC_SLAVE  0xa0  /* ports: 2 */
#define VPIC_ELCR   0x4d0 /* ports: 2 */

struct vpic_chip_state {
    uint8_t lines;   /* levels of the inputs */
    uint8_t latched; /* edges that wait; inputs in level mode have none */
    uint8_t isr;
    uint8_t imr;
    uint8_t elcr;     /* 1: level mode */
    uint8_t base;     /* vector of input 0: multiple of 8 */
    uint8_t lowest;   /* input with the lowest priority: 0 to 7 */
    uint8_t expected; /* the next initialisation word: 2 to 4; 0: initialised */
    uint8_t flags;    /* VPIC_ */
};

#define VPIC_NEEDS_ICW4   0x01
#define VPIC_SINGLE       0x02 /* no ICW3 */
#define VPIC_AUTO_EOI     0x04
#define VPIC_ROTATE_AEOI  0x08
#define VPIC_FULLY_NESTED 0x10 /* special fully nested mode */
#define VPIC_SPECIAL_MASK 0x20
#define VPIC_READ_ISR     0x40 /* the even port reads ISR instead of IRR */
#define VPIC_POLL         0x80 /* the next read is a poll */

struct vpic_state {
    struct vpic_chip_state chip[2]; /* master, slave */
};

struct vpic {
    struct irq_line intr; /* the master's INTR output */
    bool pending;         /* its level */
    struct vpic_state state;
};

void vpic_init(struct vpic *pic, const struct irq_line *intr);

/* Power-on: nothing masked, nothing latched, all inputs in edge mode, INTR low. */
void vpic_reset(struct vpic *pic);

/* Regions at VPIC_MASTER, VPIC_SLAVE and VPIC_ELCR: 8-bit accesses. */
uint64_t vpic_master_read(void *pic, uint32_t offset, unsigned size);
void vpic_master_write(void *pic, uint32_t offset, unsigned size, uint64_t value);
uint64_t vpic_slave_read(void *pic, uint32_t offset, unsigned size);
void vpic_slave_write(void *pic, uint32_t offset, unsigned size, uint64_t value);
uint64_t vpic_elcr_read(void *pic, uint32_t offset, unsigned size);
void vpic_elcr_write(void *pic, uint32_t offset, unsigned size, uint64_t value);

/* irq_line's set(): input 0 to 15; 2 is the cascade and has no line. */
void vpic_set(void *pic, unsigned irq, bool level);

/* INTR is high: the CPU that takes it calls vpic_acknowledge(). */
static inline bool vpic_pending(const struct vpic *pic)
{
    return pic->pending;
}

/*
 * The INTA cycle: the vector of the request with the highest priority, which is now in service. If it went
 * away in the meantime: that of input 7 of the chip, spurious and not in service.
 */
int vpic_acknowledge(struct vpic *pic);

void vpic_save(const struct vpic *pic, struct vpic_state *out);
int vpic_check(const struct vpic_state *state) __must_check;
void vpic_load(struct vpic *pic, const struct vpic_state *state);
