/* The virtual I/O APIC: window, edges, levels, end of interrupt, saved states. Real local APICs receive. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include "tests/unit/host/host.h"
#include "devices/vioapic.h"
#include "devices/vlapic.h"
#include "lib/errno.h"

static struct vlapic_bus bus;
static struct vlapic lapic[2];
static struct vioapic ioapic;
static struct timer_queue queue;
static struct vclock vclock;
static unsigned nmis;

static void ignore(void *vcpu)
{
    (void)vcpu;
}

static void on_nmi(void *vcpu)
{
    (void)vcpu;
    nmis++;
}

static void on_startup(void *vcpu, uint8_t vector)
{
    (void)vcpu;
    (void)vector;
}

static const struct vlapic_up up = { ignore, on_startup, on_nmi, ignore, on_startup, NULL, ignore };

static int setup(void **unused)
{
    (void)unused;
    timer_queue_init(&queue);
    vclock_init(&vclock, HOST_TSC_HZ);
    memset(&bus, 0, sizeof(bus));
    nmis = 0;
    vioapic_init(&ioapic, &bus);
    bus.eoi = vioapic_eoi;
    bus.ioapic = &ioapic;
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        vlapic_init(&lapic[cpu], &bus, cpu, &up, NULL, &vclock, &queue);
        vlapic_write(&lapic[cpu], APIC_SVR, 4, 0x1ff);
    }
    return 0;
}

static uint32_t get(uint32_t index)
{
    vioapic_write(&ioapic, IOAPIC_IOREGSEL, 4, index);
    return (uint32_t)vioapic_read(&ioapic, IOAPIC_IOWIN, 4);
}

static void put(uint32_t index, uint32_t value)
{
    vioapic_write(&ioapic, IOAPIC_IOREGSEL, 4, index);
    vioapic_write(&ioapic, IOAPIC_IOWIN, 4, value);
}

static void route(unsigned pin, unsigned cpu, uint32_t low)
{
    put(IOAPIC_REDTBL(pin) + 1, cpu << 24);
    put(IOAPIC_REDTBL(pin), low);
}

/* In either mode. */
static void eoi(unsigned cpu)
{
    if (vlapic_msr_write(&lapic[cpu], MSR_X2APIC(APIC_EOI), 0))
        vlapic_write(&lapic[cpu], APIC_EOI, 4, 0);
}

static int take(unsigned cpu)
{
    int vector = vlapic_pending(&lapic[cpu]);

    assert_int_equal(vlapic_take(&lapic[cpu]), vector);
    return vector;
}

static void window(void **unused)
{
    (void)unused;
    assert_int_equal(get(IOAPIC_VER), 0x170011);
    put(IOAPIC_ID, UINT32_MAX);
    assert_int_equal(get(IOAPIC_ID), 0x0f000000);
    assert_int_equal(get(IOAPIC_ARB), 0x0f000000);
    put(IOAPIC_VER, 0);
    assert_int_equal(get(IOAPIC_VER), 0x170011);
    for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++)
        assert_int_equal(get(IOAPIC_REDTBL(pin)), IOAPIC_RTE_MASKED);
    put(IOAPIC_REDTBL(23), UINT32_MAX);
    put(IOAPIC_REDTBL(23) + 1, UINT32_MAX);
    assert_int_equal(get(IOAPIC_REDTBL(23)), 0x1afff); /* no delivery status, no remote IRR */
    assert_int_equal(get(IOAPIC_REDTBL(23) + 1), 0xff000000);
    put(IOAPIC_REDTBL(24), 0);
    assert_int_equal(get(IOAPIC_REDTBL(24)), 0);
    assert_int_equal(get(0xff), 0);
    vioapic_write(&ioapic, IOAPIC_IOREGSEL, 1, 0x101);
    assert_int_equal(vioapic_read(&ioapic, IOAPIC_IOREGSEL, 4), 1);
    assert_int_equal(vioapic_read(&ioapic, IOAPIC_IOWIN, 1), 0);
    assert_int_equal(vioapic_read(&ioapic, IOAPIC_EOIR, 4), 0);
}

static void edge(void **unused)
{
    (void)unused;
    route(4, 1, 0x44);
    vioapic_set(&ioapic, 4, true);
    assert_int_equal(get(IOAPIC_REDTBL(4)), 0x44);
    assert_int_equal(take(1), 0x44);
    assert_int_equal(take(0), -1);
    eoi(1);
    vioapic_set(&ioapic, 4, true); /* no new edge */
    assert_int_equal(take(1), -1);
    vioapic_set(&ioapic, 4, false);
    vioapic_set(&ioapic, 4, true);
    assert_int_equal(take(1), 0x44);
    eoi(1);
    vioapic_set(&ioapic, 24, true); /* there is no such pin */
    assert_int_equal(take(1), -1);
}

static void masked_edge_is_lost(void **unused)
{
    (void)unused;
    route(4, 0, IOAPIC_RTE_MASKED | 0x44);
    vioapic_set(&ioapic, 4, true);
    put(IOAPIC_REDTBL(4), 0x44);
    assert_int_equal(take(0), -1);
    vioapic_set(&ioapic, 4, false);
    vioapic_set(&ioapic, 4, true);
    assert_int_equal(take(0), 0x44);
}

static void level(void **unused)
{
    (void)unused;
    route(10, 0, IOAPIC_RTE_LEVEL | IOAPIC_RTE_ACTIVE_LOW | 0x5a);
    vioapic_set(&ioapic, 10, true);
    assert_int_equal(get(IOAPIC_REDTBL(10)),
                     IOAPIC_RTE_LEVEL | IOAPIC_RTE_ACTIVE_LOW | IOAPIC_RTE_REMOTE_IRR | 0x5a);
    assert_int_equal(take(0), 0x5a);
    vioapic_set(&ioapic, 10, false);
    vioapic_set(&ioapic, 10, true); /* not sent again before it is ended */
    assert_int_equal(take(0), -1);
    eoi(0);
    assert_int_equal(take(0), 0x5a);
    vioapic_set(&ioapic, 10, false);
    vioapic_set(&ioapic, 10, true);
    vioapic_set(&ioapic, 10, false);
    eoi(0);
    assert_int_equal(take(0), -1);
    assert_int_equal(get(IOAPIC_REDTBL(10)), IOAPIC_RTE_LEVEL | IOAPIC_RTE_ACTIVE_LOW | 0x5a);
}

static void masked_level_waits(void **unused)
{
    (void)unused;
    route(10, 0, IOAPIC_RTE_MASKED | IOAPIC_RTE_LEVEL | 0x5a);
    vioapic_set(&ioapic, 10, true);
    assert_int_equal(take(0), -1);
    put(IOAPIC_REDTBL(10), IOAPIC_RTE_LEVEL | 0x5a);
    assert_int_equal(take(0), 0x5a);
    put(IOAPIC_REDTBL(10), IOAPIC_RTE_MASKED | IOAPIC_RTE_LEVEL | 0x5a);
    eoi(0); /* ends it although the pin is masked now */
    assert_int_equal(take(0), -1);
    assert_int_equal(get(IOAPIC_REDTBL(10)) & IOAPIC_RTE_REMOTE_IRR, 0);
}

static void becoming_edge_clears_remote_irr(void **unused)
{
    (void)unused;
    route(10, 0, IOAPIC_RTE_LEVEL | 0x5a);
    vioapic_set(&ioapic, 10, true);
    put(IOAPIC_REDTBL(10), IOAPIC_RTE_MASKED | 0x5a);
    put(IOAPIC_REDTBL(10), IOAPIC_RTE_MASKED | IOAPIC_RTE_LEVEL | 0x5a);
    assert_int_equal(get(IOAPIC_REDTBL(10)) & IOAPIC_RTE_REMOTE_IRR, 0);
}

static void shared_vector_ends_both_pins(void **unused)
{
    (void)unused;
    route(10, 0, IOAPIC_RTE_LEVEL | 0x5a);
    route(11, 0, IOAPIC_RTE_LEVEL | 0x5a);
    route(12, 0, IOAPIC_RTE_LEVEL | 0x5b);
    vioapic_set(&ioapic, 10, true);
    vioapic_set(&ioapic, 11, true);
    vioapic_set(&ioapic, 12, true);
    vioapic_set(&ioapic, 12, false);
    vioapic_eoi(&ioapic, 0x5a);
    vioapic_set(&ioapic, 10, false);
    vioapic_set(&ioapic, 11, false);
    vioapic_eoi(&ioapic, 0x5a);
    assert_int_equal(get(IOAPIC_REDTBL(10)) & IOAPIC_RTE_REMOTE_IRR, 0);
    assert_int_equal(get(IOAPIC_REDTBL(11)) & IOAPIC_RTE_REMOTE_IRR, 0);
    assert_int_not_equal(get(IOAPIC_REDTBL(12)) & IOAPIC_RTE_REMOTE_IRR, 0);
}

static void not_taken_is_tried_again(void **unused)
{
    (void)unused;
    vlapic_write(&lapic[0], APIC_SVR, 4, 0xff);
    route(10, 0, IOAPIC_RTE_LEVEL | 0x5a);
    vioapic_set(&ioapic, 10, true);
    assert_int_equal(get(IOAPIC_REDTBL(10)) & IOAPIC_RTE_REMOTE_IRR, 0);
    vlapic_write(&lapic[0], APIC_SVR, 4, 0x1ff);
    put(IOAPIC_REDTBL(10), IOAPIC_RTE_LEVEL | 0x5a);
    assert_int_equal(take(0), 0x5a);
}

static void destinations_and_modes(void **unused)
{
    (void)unused;
    route(3, 0xff, 0x33);
    vioapic_set(&ioapic, 3, true);
    assert_int_equal(take(0), 0x33);
    assert_int_equal(take(1), 0x33);
    eoi(0);
    eoi(1);
    vlapic_write(&lapic[1], APIC_LDR, 4, 0x02000000);
    route(5, 2, IOAPIC_RTE_LOGICAL | APIC_MODE_LOWEST << IOAPIC_RTE_MODE_SHIFT | 0x35);
    vioapic_set(&ioapic, 5, true);
    assert_int_equal(take(0), -1);
    assert_int_equal(take(1), 0x35);
    route(6, 1, APIC_MODE_NMI << IOAPIC_RTE_MODE_SHIFT | IOAPIC_RTE_LEVEL);
    vioapic_set(&ioapic, 6, true);
    assert_int_equal(nmis, 1);
    put(IOAPIC_REDTBL(6),
        APIC_MODE_NMI << IOAPIC_RTE_MODE_SHIFT | IOAPIC_RTE_LEVEL); /* an edge, whatever it says */
    assert_int_equal(nmis, 1);
}

static void save_check_load(void **unused)
{
    (void)unused;
    struct vioapic_state state, bad;

    put(IOAPIC_ID, 0x02000000);
    route(10, 0, IOAPIC_RTE_LEVEL | 0x5a);
    vioapic_set(&ioapic, 10, true);
    vioapic_save(&ioapic, &state);
    assert_int_equal(vioapic_check(&state), 0);
    take(0);
    vioapic_reset(&ioapic);
    assert_int_equal(get(IOAPIC_ID), 0);
    vioapic_load(&ioapic, &state);
    eoi(0);
    assert_int_equal(take(0), 0x5a);

    bad = state;
    bad.pins = 1u << 24;
    assert_int_equal(vioapic_check(&bad), -EINVAL);
    bad = state;
    bad.select = 0x100;
    assert_int_equal(vioapic_check(&bad), -EINVAL);
    bad = state;
    bad.id = 0x10000000;
    assert_int_equal(vioapic_check(&bad), -EINVAL);
    bad = state;
    bad.redirection[23] = BIT(17);
    assert_int_equal(vioapic_check(&bad), -EINVAL);
    bad = state;
    bad.redirection[0] = IOAPIC_RTE_REMOTE_IRR; /* of an edge */
    assert_int_equal(vioapic_check(&bad), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(window, setup),
        cmocka_unit_test_setup(edge, setup),
        cmocka_unit_test_setup(masked_edge_is_lost, setup),
        cmocka_unit_test_setup(level, setup),
        cmocka_unit_test_setup(masked_level_waits, setup),
        cmocka_unit_test_setup(becoming_edge_clears_remote_irr, setup),
        cmocka_unit_test_setup(shared_vector_ends_both_pins, setup),
        cmocka_unit_test_setup(not_taken_is_tried_again, setup),
        cmocka_unit_test_setup(destinations_and_modes, setup),
        cmocka_unit_test_setup(save_check_load, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
