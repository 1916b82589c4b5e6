/*
 * The Intel 6300ESB's watchdog, and by it what PCI 3.0, 6.2.5.1 says of base address registers. It is armed
 * and fed for longer than it waits; whoever sees this guest end, has seen it kept quiet.
 */
#include "lib/esb.h"

#define HOLE          0xc0000000u
#define LAPIC_VERSION (0xfee00000u + 0x30)

static void test_header(void)
{
    check_equal("it is where the hub has it", esb_find(), 0x1d);
    check_equal("class 08.80", esb_config(0x08) >> 16, 0x0880);
    check_equal("the BAR is memory of 32 bits", esb_config(0x10) & 0xf, 0);
    check("the firmware gave it a place", esb_base() >= HOLE && esb_base() < 0xfec00000);
    check_equal("and turned it on", esb_config(0x04) & 2, 2);
}

static void test_bar(void)
{
    uint32_t base = esb_base(), preload = mmio_read32(base);

    esb_set_config(0x10, 0xffffffff);
    check_equal("its size is 16 bytes", esb_config(0x10), 0xfffffff0);
    qemu_differs();
    check_equal("while it says so it is nowhere", mmio_read32(base), 0xffffffff);
    esb_set_config(0x10, 0xd1234560);
    check_equal("moved, it is there", mmio_read32(0xd1234560), preload);
    qemu_differs();
    check_equal("and no longer here", mmio_read32(base), 0xffffffff);
    esb_set_config(0x04, 0);
    qemu_differs();
    check_equal("turned off, it is not there", mmio_read32(0xd1234560), 0xffffffff);
    esb_set_config(0x04, 2);
    check_equal("turned on, it is", mmio_read32(0xd1234560), preload);
}

/* Where others are, it takes nothing from them. */
static void test_hostile_places(void)
{
    static volatile uint32_t word[8] __attribute__((aligned(16)));
    uint32_t base = esb_base(), version = mmio_read32(LAPIC_VERSION);

    word[0] = 0x1234;
    esb_set_config(0x10, (uint32_t)(uintptr_t)word);
    check_equal("RAM stays RAM", word[0], 0x1234);
    mmio_write32((uintptr_t)word, 0x4321);
    check_equal("and can be written", word[0], 0x4321);
    esb_set_config(0x10, LAPIC_VERSION & ~0xfu);
    check_equal("the local APIC stays", mmio_read32(LAPIC_VERSION), version);
    esb_set_config(0x10, 0);
    esb_set_config(0x10, base);
    check("back, it is there", mmio_read32(base) != 0xffffffff);
}

static void test_registers(void)
{
    check_equal("not enabled at first", esb_config(0x68) & 7, 0);
    mmio_write32(esb_base(), 0x777);
    check("a preload value is locked", mmio_read32(esb_base()) != 0x777);
    esb_preload(0x12345, 0x54321);
    qemu_differs();
    check_equal("unlocked it is not: 1", mmio_read32(esb_base()), 0x12345);
    qemu_differs();
    check_equal("unlocked it is not: 2", mmio_read32(esb_base() + 4), 0x54321);
}

static void test_stages(void)
{
    esb_arm(1000, 2500);
    check_equal("armed", esb_config(0x68) & 7, 2);
    check_equal("first stage", mmio_read32(esb_base() + 8), 0);
    for (unsigned i = 0; i < 3; i++) {
        delay_us(1200000);
        esb_feed();
    }
    qemu_differs();
    check_equal("the first stage was over", mmio_read32(esb_base() + 8), 1);
    mmio_write32(esb_base() + 8, 1);
    check_equal("that is cleared by writing 1", mmio_read32(esb_base() + 8), 0);
    esb_set_config(0x68, 0);
    check_equal("disarmed", esb_config(0x68) & 7, 0);
}

void guest_main(void)
{
    test_header();
    test_bar();
    test_hostile_places();
    test_registers();
    test_stages();
}
