/*
 * The virtual I/O APIC under a hostile guest, delivering into real local APICs. Two machines get the same;
 * the second one's I/O APIC is now and then replaced by what the first saves. They must never differ.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/host/host.h"
#include "devices/vioapic.h"
#include "devices/vlapic.h"

#define CPUS 2

#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            abort();                                                                                         \
    } while (0)

struct machine {
    struct vioapic ioapic;
    struct vlapic_bus bus;
    struct vlapic lapic[CPUS];
    struct timer_queue queue;
    struct vclock clock;
    unsigned events;
};

static struct machine first, second;

static void on_interrupt(void *machine)
{
    (void)machine;
}

static void on_event(void *machine)
{
    ((struct machine *)machine)->events++;
}

static void on_startup(void *machine, uint8_t vector)
{
    ((struct machine *)machine)->events += vector;
}

static const struct vlapic_up up = { on_interrupt, on_startup, on_event,    on_event,
                                     on_startup,   NULL,       on_interrupt };

static void start(struct machine *machine)
{
    memset(machine, 0, sizeof(*machine));
    timer_queue_init(&machine->queue);
    vclock_init(&machine->clock, HOST_TSC_HZ);
    vioapic_init(&machine->ioapic, &machine->bus);
    machine->bus.eoi = vioapic_eoi;
    machine->bus.ioapic = &machine->ioapic;
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        vlapic_init(&machine->lapic[cpu], &machine->bus, cpu, &up, machine, &machine->clock, &machine->queue);
        vlapic_write(&machine->lapic[cpu], APIC_SVR, 4, 0x1ff);
        vlapic_write(&machine->lapic[cpu], APIC_LDR, 4, 1u << (APIC_ID_SHIFT + cpu));
    }
}

/* One operation of the guest or its devices; its visible result. */
static uint64_t act(struct machine *machine, uint8_t op, uint8_t a, uint32_t b)
{
    struct vlapic *lapic = &machine->lapic[a % CPUS];

    switch (op % 6) {
    case 0:
        return vioapic_read(&machine->ioapic, a, 1u << (b & 3));
    case 1:
        vioapic_write(&machine->ioapic, a, 4, b);
        return 0;
    case 2: /* one register, as a guest does it */
        vioapic_write(&machine->ioapic, IOAPIC_IOREGSEL, 4, a);
        vioapic_write(&machine->ioapic, IOAPIC_IOWIN, 4, b);
        return vioapic_read(&machine->ioapic, IOAPIC_IOWIN, 4);
    case 3:
        vioapic_set(&machine->ioapic, a, b & 1);
        return 0;
    case 4:
        return (uint64_t)vlapic_take(lapic);
    default:
        vlapic_write(lapic, b & 1 ? APIC_SVR : APIC_EOI, 4, b);
        return 0;
    }
}

static void move(uint8_t at, uint8_t change)
{
    struct vioapic_state state;

    vioapic_save(&first.ioapic, &state);
    REQUIRE(vioapic_check(&state) == 0);
    ((uint8_t *)&state)[at % sizeof(state)] ^= change;
    if (vioapic_check(&state))
        return;
    if (change)
        vioapic_load(&first.ioapic, &state);
    vioapic_reset(&second.ioapic);
    vioapic_load(&second.ioapic, &state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    host_log_quiet = true;
    host_tsc = 1;
    start(&first);
    start(&second);
    for (; size >= 6; data += 6, size -= 6) {
        uint32_t value = (uint32_t)data[2] << 24 | (uint32_t)data[3] << 16 | (uint32_t)data[4] << 8 | data[5];

        if (data[0] % 8 < 6)
            REQUIRE(act(&first, data[0] % 8, data[1], value) == act(&second, data[0] % 8, data[1], value));
        else
            move(data[1], data[0] % 8 == 6 ? 0 : data[5]);
        REQUIRE(first.events == second.events);
        for (unsigned cpu = 0; cpu < CPUS; cpu++)
            REQUIRE(vlapic_pending(&first.lapic[cpu]) == vlapic_pending(&second.lapic[cpu]));
    }
    return 0;
}
