#include "lib/esb.h"

#define CF8    0xcf8
#define CFC    0xcfc
#define RELOAD 0x0c

static uint32_t address(unsigned device, unsigned offset)
{
    return 0x80000000u | device << 11 | offset;
}

unsigned esb_find(void)
{
    static unsigned found;

    for (unsigned device = 0; device < 32 && found == 0; device++) {
        outl(CF8, address(device, 0));
        if (inl(CFC) == 0x25ab8086)
            found = device;
    }
    if (found == 0) {
        fail("there is a watchdog", "nothing on bus 0 is 8086:25ab");
        finish();
    }
    return found;
}

uint32_t esb_config(unsigned offset)
{
    outl(CF8, address(esb_find(), offset));
    return inl(CFC);
}

void esb_set_config(unsigned offset, uint32_t value)
{
    outl(CF8, address(esb_find(), offset));
    outl(CFC, value);
}

uint32_t esb_base(void)
{
    return esb_config(0x10) & ~0xfu;
}

static void reload(uint16_t value)
{
    *(volatile uint16_t *)(uintptr_t)(esb_base() + RELOAD) = value;
}

static void unlock(void)
{
    reload(0x80);
    reload(0x86);
}

void esb_preload(uint32_t first, uint32_t second)
{
    unlock();
    mmio_write32(esb_base(), first);
    unlock();
    mmio_write32(esb_base() + 4, second);
}

void esb_feed(void)
{
    unlock();
    reload(0x100);
}

void esb_arm(uint32_t first, uint32_t second)
{
    esb_set_config(0x60, 3);
    esb_preload(first, second);
    esb_set_config(0x68, 2);
}

bool esb_timed_out(void)
{
    return *(volatile uint16_t *)(uintptr_t)(esb_base() + RELOAD) & 0x200;
}
