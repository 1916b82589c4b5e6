/* The virtual 8259A pair. Section names are those of the 8259A data sheet. */
#include "devices/vpic.h"
#include "lib/errno.h"

#define MASTER      0
#define SLAVE       1
#define CASCADE     2 /* the master's input that the slave drives */
#define CASCADE_BIT (1u << CASCADE)

#define ICW1         0x10 /* of a write to the even port: this is ICW1 */
#define ICW1_IC4     0x01
#define ICW1_SNGL    0x02
#define ICW4_AEOI    0x02
#define ICW4_SFNM    0x10
#define OCW3         0x08 /* of a write to the even port that is not ICW1: this is OCW3 */
#define OCW3_READ    0x02
#define OCW3_READ_IS 0x01
#define OCW3_POLL    0x04
#define OCW3_ESMM    0x40
#define OCW3_SMM     0x20

/* Inputs that are always edge-triggered: timer, keyboard, cascade; RTC, coprocessor (PIIX4, 4.2.5). */
static const uint8_t elcr_bits[2] = { 0xf8, 0xde };

/* --- One chip --- */

static unsigned requests(const struct vpic_chip_state *chip)
{
    return chip->latched | ((unsigned)chip->lines & chip->elcr);
}

/* The input of highest priority in a set: the first after the one with the lowest; -1 if it is empty. */
static int first(const struct vpic_chip_state *chip, unsigned set)
{
    for (unsigned i = 1; i <= 8; i++) {
        unsigned input = (chip->lowest + i) & 7;

        if (set & 1u << input)
            return (int)input;
    }
    return -1;
}

/* The distance from the top of the priority order: 0 to 7, 8 for no input. */
static unsigned rank(const struct vpic_chip_state *chip, int input)
{
    return input < 0 ? 8 : ((unsigned)input - chip->lowest - 1) & 7;
}

/* --- The pair --- */

static bool asks(const struct vpic *pic, unsigned which);

static unsigned irr(const struct vpic *pic, unsigned which)
{
    const struct vpic_chip_state *chip = &pic->state.chip[which];

    if (which == SLAVE)
        return requests(chip);
    return (requests(chip) & ~CASCADE_BIT) | (asks(pic, SLAVE) ? CASCADE_BIT : 0);
}

/* The input that the chip would have acknowledged now, -1 if there is none. */
static int highest(const struct vpic *pic, unsigned which)
{
    const struct vpic_chip_state *chip = &pic->state.chip[which];
    unsigned in_service = chip->isr;
    int input = first(chip, irr(pic, which) & ~(unsigned)chip->imr);

    if (chip->flags & VPIC_SPECIAL_MASK)
        in_service &= ~(unsigned)chip->imr; /* a masked input does not hold back the others */
    if ((chip->flags & VPIC_FULLY_NESTED) && which == MASTER)
        in_service &= ~CASCADE_BIT; /* the slave may interrupt its own service */
    return rank(chip, input) < rank(chip, first(chip, in_service)) ? input : -1;
}

static bool asks(const struct vpic *pic, unsigned which)
{
    return !pic->state.chip[which].expected && highest(pic, which) >= 0;
}

static void drive(struct vpic *pic, bool level)
{
    pic->pending = level;
    irq_line_set(&pic->intr, level);
}

static void update(struct vpic *pic)
{
    bool level = asks(pic, MASTER);

    if (level != pic->pending)
        drive(pic, level);
}

void vpic_set(void *device, unsigned irq, bool level)
{
    struct vpic *pic = device;
    struct vpic_chip_state *chip;
    uint8_t bit;

    if (irq > 15 || irq == CASCADE)
        return;
    chip = &pic->state.chip[irq / 8];
    bit = (uint8_t)(1u << irq % 8);
    if (!(chip->lines & bit) == !level)
        return;
    chip->lines ^= bit;
    if (level && !(chip->elcr & bit))
        chip->latched |= bit;
    if (!(chip->imr & bit)) /* a guest that uses the I/O APIC has them all masked */
        update(pic);
}

/* The INTA cycle of one chip: 0 to 7. A request that went away makes it input 7, which is not in service. */
static unsigned acknowledge(struct vpic *pic, unsigned which)
{
    struct vpic_chip_state *chip = &pic->state.chip[which];
    int input = highest(pic, which);
    uint8_t bit;

    if (input < 0)
        return 7;
    bit = (uint8_t)(1u << input);
    chip->latched &= (uint8_t)~bit;
    if (!(chip->flags & VPIC_AUTO_EOI))
        chip->isr |= bit;
    else if (chip->flags & VPIC_ROTATE_AEOI)
        chip->lowest = (uint8_t)input;
    return (unsigned)input;
}

int vpic_acknowledge(struct vpic *pic)
{
    const struct vpic_chip_state *chip = pic->state.chip;
    bool cascaded = highest(pic, MASTER) == CASCADE;
    unsigned vector = chip[MASTER].base + acknowledge(pic, MASTER);

    if (cascaded)
        vector = chip[SLAVE].base + acknowledge(pic, SLAVE);
    /* INTR falls with the INTA cycle; a further request is a new edge for who waits for one. */
    drive(pic, false);
    update(pic);
    return (int)vector;
}

/* --- Commands --- */

/* Initialization Command Word 1: a new sequence begins; an edge must come again to be seen. */
static void write_icw1(struct vpic_chip_state *chip, uint8_t value)
{
    uint8_t lines = chip->lines, elcr = chip->elcr;

    *chip = (struct vpic_chip_state){ .lines = lines, .elcr = elcr, .lowest = 7, .expected = 2 };
    chip->flags = (uint8_t)((value & ICW1_IC4 ? VPIC_NEEDS_ICW4 : 0) | (value & ICW1_SNGL ? VPIC_SINGLE : 0));
}

/* Initialization Command Words 2 to 4. ICW3 says how the chips are wired, which is known. */
static void write_icw(struct vpic_chip_state *chip, uint8_t value)
{
    bool last = !(chip->flags & VPIC_NEEDS_ICW4);

    switch (chip->expected) {
    case 2:
        chip->base = value & 0xf8;
        if (!(chip->flags & VPIC_SINGLE))
            chip->expected = 3;
        else
            chip->expected = last ? 0 : 4;
        break;
    case 3:
        chip->expected = last ? 0 : 4;
        break;
    default:
        if (value & ICW4_AEOI)
            chip->flags |= VPIC_AUTO_EOI;
        if (value & ICW4_SFNM)
            chip->flags |= VPIC_FULLY_NESTED;
        chip->expected = 0;
        break;
    }
}

/* The input that a non-specific EOI ends. In special mask mode masked ones are passed over. */
static int ended(const struct vpic_chip_state *chip)
{
    unsigned in_service = chip->isr;

    if (chip->flags & VPIC_SPECIAL_MASK)
        in_service &= ~(unsigned)chip->imr;
    return first(chip, in_service);
}

/* Operation Command Word 2: R, SL and EOI in bits 7 to 5. */
static void write_ocw2(struct vpic_chip_state *chip, uint8_t value)
{
    uint8_t level = value & 7;
    int input = value & 0x40 ? level : ended(chip);

    switch (value >> 5) {
    case 0: /* rotate in automatic EOI mode: clear */
        chip->flags &= (uint8_t)~VPIC_ROTATE_AEOI;
        break;
    case 4: /* rotate in automatic EOI mode: set */
        chip->flags |= VPIC_ROTATE_AEOI;
        break;
    case 6: /* set priority */
        chip->lowest = level;
        break;
    case 1: /* non-specific EOI */
    case 3: /* specific EOI */
    case 5: /* rotate on non-specific EOI */
    case 7: /* rotate on specific EOI */
        if (input < 0)
            break;
        chip->isr &= (uint8_t) ~(1u << input);
        if (value & 0x80)
            chip->lowest = (uint8_t)input;
        break;
    default: /* 2: no operation */
        break;
    }
}

static void write_ocw3(struct vpic_chip_state *chip, uint8_t value)
{
    if (value & OCW3_ESMM)
        chip->flags = (uint8_t)((chip->flags & ~VPIC_SPECIAL_MASK) |
                                (value & OCW3_SMM ? VPIC_SPECIAL_MASK : 0));
    if (value & OCW3_POLL)
        chip->flags |= VPIC_POLL;
    else if (value & OCW3_READ) /* a poll command overrides the choice of register */
        chip->flags = (uint8_t)((chip->flags & ~VPIC_READ_ISR) | (value & OCW3_READ_IS ? VPIC_READ_ISR : 0));
}

static void chip_write(struct vpic *pic, unsigned which, uint32_t offset, uint8_t value)
{
    struct vpic_chip_state *chip = &pic->state.chip[which];

    if (offset == 0 && (value & ICW1))
        write_icw1(chip, value);
    else if (offset == 0 && (value & OCW3))
        write_ocw3(chip, value);
    else if (offset == 0)
        write_ocw2(chip, value);
    else if (chip->expected)
        write_icw(chip, value);
    else
        chip->imr = value; /* Operation Command Word 1 */
    update(pic);
}

static uint8_t chip_read(struct vpic *pic, unsigned which, uint32_t offset)
{
    struct vpic_chip_state *chip = &pic->state.chip[which];

    if (chip->flags & VPIC_POLL) { /* Poll Command: the read is the acknowledge */
        bool pending = asks(pic, which);
        uint8_t value = pending ? (uint8_t)(0x80 | acknowledge(pic, which)) : 0;

        chip->flags &= (uint8_t)~VPIC_POLL;
        update(pic);
        return value;
    }
    if (offset == 1)
        return chip->imr;
    return chip->flags & VPIC_READ_ISR ? chip->isr : (uint8_t)irr(pic, which);
}

uint64_t vpic_master_read(void *pic, uint32_t offset, unsigned size)
{
    (void)size;
    return chip_read(pic, MASTER, offset);
}

void vpic_master_write(void *pic, uint32_t offset, unsigned size, uint64_t value)
{
    (void)size;
    chip_write(pic, MASTER, offset, (uint8_t)value);
}

uint64_t vpic_slave_read(void *pic, uint32_t offset, unsigned size)
{
    (void)size;
    return chip_read(pic, SLAVE, offset);
}

void vpic_slave_write(void *pic, uint32_t offset, unsigned size, uint64_t value)
{
    (void)size;
    chip_write(pic, SLAVE, offset, (uint8_t)value);
}

uint64_t vpic_elcr_read(void *device, uint32_t offset, unsigned size)
{
    const struct vpic *pic = device;

    (void)size;
    return pic->state.chip[offset & 1].elcr;
}

void vpic_elcr_write(void *device, uint32_t offset, unsigned size, uint64_t value)
{
    struct vpic *pic = device;
    struct vpic_chip_state *chip = &pic->state.chip[offset & 1];

    (void)size;
    chip->elcr = (uint8_t)value & elcr_bits[offset & 1];
    chip->latched &= (uint8_t)~chip->elcr;
    update(pic);
}

/* --- Whole states --- */

void vpic_init(struct vpic *pic, const struct irq_line *intr)
{
    *pic = (struct vpic){ .intr = *intr };
    vpic_reset(pic);
}

void vpic_reset(struct vpic *pic)
{
    pic->state = (struct vpic_state){ .chip = { { .lowest = 7 }, { .lowest = 7 } } };
    drive(pic, false);
}

void vpic_save(const struct vpic *pic, struct vpic_state *out)
{
    *out = pic->state;
}

int vpic_check(const struct vpic_state *state)
{
    for (unsigned which = 0; which < 2; which++) {
        const struct vpic_chip_state *chip = &state->chip[which];

        if (chip->lowest > 7 || (chip->base & 7) || (chip->elcr & ~elcr_bits[which]) ||
            (chip->latched & chip->elcr))
            return -EINVAL;
        if (chip->expected == 1 || chip->expected > 4)
            return -EINVAL;
    }
    if ((state->chip[MASTER].lines | state->chip[MASTER].latched) & CASCADE_BIT)
        return -EINVAL;
    return 0;
}

void vpic_load(struct vpic *pic, const struct vpic_state *state)
{
    pic->state = *state;
    drive(pic, asks(pic, MASTER));
}
