/*
 * The virtual local APIC under a hostile guest: accesses, MSRs, interrupts, pins and time, decoded from the
 * input. Two machines get the same; the second is now and then replaced by what the first saves. The guest
 * of the first may end interrupts by the word of paravirtual EOI, that of the second never. They must never
 * differ.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/host/host.h"
#include "devices/vlapic.h"

#define CPUS 3

#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

struct record {
    unsigned nmis, inits, startups, priority;
};

struct machine {
    struct vlapic_bus bus;
    struct vlapic lapic[CPUS];
    struct record record[CPUS];
    struct timer_queue queue;
    struct vclock clock;
    uint32_t eoi_word[CPUS];
    unsigned eois;
};

static struct machine first, second;

struct input {
    const uint8_t *data;
    size_t size;
};

static uint64_t take(struct input *input, unsigned bytes)
{
    uint64_t value = 0;

    for (; bytes && input->size; bytes--, input->size--)
        value = value << 8 | *input->data++;
    return value;
}

static void on_interrupt(void *vcpu)
{
    (void)vcpu;
}

static void on_nmi(void *vcpu)
{
    ((struct record *)vcpu)->nmis++;
}

static void on_init(void *vcpu)
{
    ((struct record *)vcpu)->inits++;
}

static void on_startup(void *vcpu, uint8_t vector)
{
    ((struct record *)vcpu)->startups += 1u + vector;
}

static void on_priority(void *vcpu, uint8_t cr8)
{
    ((struct record *)vcpu)->priority = cr8;
}

static const struct vlapic_up up = { on_interrupt, on_priority, on_nmi,      on_init,
                                     on_startup,   NULL,        on_interrupt };

static void on_eoi(void *machine, uint8_t vector)
{
    ((struct machine *)machine)->eois += 1u + vector;
}

static void start(struct machine *machine)
{
    memset(machine, 0, sizeof(*machine));
    timer_queue_init(&machine->queue);
    vclock_init(&machine->clock, HOST_TSC_HZ);
    machine->bus.eoi = on_eoi;
    machine->bus.ioapic = machine;
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        vlapic_init(&machine->lapic[cpu], &machine->bus, cpu, &up, &machine->record[cpu], &machine->clock,
                    &machine->queue);
}

static void end_of_interrupt(struct machine *machine, unsigned cpu)
{
    struct vlapic *lapic = &machine->lapic[cpu];

    if (machine->eoi_word[cpu] & 1)
        machine->eoi_word[cpu] &= ~1u;
    else if (vlapic_msr_write(lapic, MSR_X2APIC(APIC_EOI), 0))
        vlapic_write(lapic, APIC_EOI, 4, 0);
}

/* An operation of the guest or its devices; its visible result. */
static uint64_t act(struct machine *machine, uint8_t op, unsigned cpu, uint64_t a, uint64_t b)
{
    struct vlapic *lapic = &machine->lapic[cpu];
    struct apic_message message = { .destination = (uint32_t)a,
                                    .vector = (uint8_t)b,
                                    .mode = b >> 8 & 7,
                                    .logical = b >> 11 & 1,
                                    .level = b >> 12 & 1,
                                    .assert = b >> 13 & 1 };
    uint64_t value = 0;
    int vector;

    switch (op % 13) {
    case 0:
        return vlapic_read(lapic, (uint32_t)(a & 0xff) << 4, 4);
    case 1:
        vlapic_write(lapic, (uint32_t)(a & 0xff) << 4, 4, (uint32_t)b);
        return 0;
    case 2:
        return vlapic_msr_read(lapic, MSR_X2APIC_FIRST + (uint32_t)(a & 0xff), &value) ? UINT64_MAX : value;
    case 3:
        return (uint64_t)vlapic_msr_write(lapic, MSR_X2APIC_FIRST + (uint32_t)(a & 0xff), b);
    case 4:
        return (uint64_t)vlapic_msr_write(lapic, MSR_APIC_BASE,
                                          APIC_BASE_DEFAULT | (a & 0xd) << 8 | (a & 0x10));
    case 5:
        return vlapic_msr_read(lapic, MSR_TSC_DEADLINE, &value) ? UINT64_MAX : value;
    case 6:
        return (uint64_t)vlapic_msr_write(lapic, MSR_TSC_DEADLINE,
                                          a & 1 ? b : vclock_tsc(&machine->clock) + b);
    case 7:
        return vlapic_bus_send(&machine->bus, &message);
    case 8:
        vlapic_lint(lapic, a & 1, b & 1);
        return vlapic_takes_extint(lapic);
    case 9:
        vector = vlapic_pending(lapic);
        if (vector >= 0) {
            REQUIRE(vector >= 16 && (uint32_t)vector >> 4 > lapic->ppr >> 4);
            REQUIRE(vlapic_take(lapic) == vector && lapic->ppr == (uint32_t)(vector & 0xf0));
        }
        return (uint64_t)vector;
    case 10:
        if (machine == &first)
            vlapic_set_eoi_word(lapic, a & 1 ? &machine->eoi_word[cpu] : NULL);
        return 0;
    case 11:
        end_of_interrupt(machine, cpu);
        return 0;
    default:
        vlapic_set_cr8(lapic, a & 0xf);
        return vlapic_cr8(lapic);
    }
}

static void advance(uint64_t ticks)
{
    uint64_t from = host_tsc;

    host_advance(&first.queue, ticks);
    host_tsc = from;
    host_advance(&second.queue, ticks);
}

/* Moves a state of the first machine into the second, changed in one byte if check lets that pass. */
static void move(unsigned cpu, uint64_t at, uint8_t change)
{
    struct vlapic_state state;

    vlapic_save(&first.lapic[cpu], &state);
    REQUIRE(vlapic_check(&state) == 0);
    ((uint8_t *)&state)[at % sizeof(state)] ^= change;
    if (vlapic_check(&state))
        return;
    if (change)
        vlapic_load(&first.lapic[cpu], &state);
    vlapic_reset(&second.lapic[cpu]);
    vlapic_load(&second.lapic[cpu], &state);
}

static void compare(void)
{
    REQUIRE(first.eois == second.eois);
    REQUIRE(memcmp(first.record, second.record, sizeof(first.record)) == 0);
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        REQUIRE(vlapic_pending(&first.lapic[cpu]) == vlapic_pending(&second.lapic[cpu]));
        for (unsigned word = 0; word < 4; word++)
            REQUIRE(!first.lapic[cpu].state.irr[word] || first.lapic[cpu].irr_used[word]);
        REQUIRE(!first.eoi_word[cpu] || first.lapic[cpu].promised_classes);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = { data, size };

    host_log_quiet = true;
    host_tsc = 1;
    start(&first);
    start(&second);
    while (input.size) {
        uint8_t op = (uint8_t)take(&input, 1);
        unsigned cpu = (unsigned)(op >> 4) % CPUS;
        uint64_t a = take(&input, 1), b = take(&input, 1u << (op >> 6));

        switch (op & 0xf) {
        case 0xd:
            move(cpu, a << 8 | b, 0);
            break;
        case 0xe:
            move(cpu, a, (uint8_t)b);
            break;
        case 0xf:
            advance(b & 0xffffff); /* 17 ms */
            break;
        default:
            REQUIRE(act(&first, op & 0xf, cpu, a, b) == act(&second, op & 0xf, cpu, a, b));
            break;
        }
        compare();
    }
    return 0;
}
