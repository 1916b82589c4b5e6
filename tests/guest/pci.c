/* PCI configuration mechanism 1, the enhanced one, and what is on the bus. Source: PCI Local
 * Bus 3.0, 3.2.2.3.2 and 6.1. */
#include "lib/guest.h"

#define CF8 0xcf8
#define CFC 0xcfc

#define ECAM UINT64_C(0xfeb00000) /* as Plinth's MCFG says; a PC's firmware puts it elsewhere */

static uint32_t address(unsigned bus, unsigned device, unsigned function, unsigned offset)
{
    return 0x80000000u | bus << 16 | device << 11 | function << 8 | (offset & 0xfc);
}

static uint32_t config_read(unsigned bus, unsigned device, unsigned function, unsigned offset)
{
    outl(CF8, address(bus, device, function, offset));
    return inl(CFC);
}

static void test_address(void)
{
    outl(CF8, 0x80000000);
    check_equal("CF8 reads back", inl(CF8), 0x80000000);
    outl(CF8, 0x80000004);
    outw(CF8, 0x1234);
    check_equal("a 16-bit write does not change CF8", inl(CF8), 0x80000004);
    outl(CF8, 0);
    check_equal("without the enable bit: all ones", inl(CFC), 0xffffffff);
}

static void test_host_bridge(void)
{
    uint32_t id = config_read(0, 0, 0, 0);

    check("there is a device at 0:0.0", id != 0xffffffff && id != 0);
    check_equal("it is a host bridge", config_read(0, 0, 0, 8) >> 16, 0x0600);
    outl(CF8, address(0, 0, 0, 0));
    check_equal("16-bit read: vendor", inw(CFC), id & 0xffff);
    check_equal("16-bit read: device", inw(CFC + 2), id >> 16);
    check_equal("8-bit read: byte 3", inb(CFC + 3), id >> 24);
    outl(CFC, 0x12345678);
    check_equal("vendor and device are read-only", inl(CFC), id);
    check_equal("header type 0", (config_read(0, 0, 0, 0x0c) >> 16) & 0x7f, 0);
}

static void test_absent(void)
{
    check_equal("no device at 0:1e.7", config_read(0, 0x1e, 7, 0), 0xffffffff);
    check_equal("no bus 0xfe", config_read(0xfe, 0, 0, 0), 0xffffffff);
    outl(CF8, address(0xfe, 0, 0, 0));
    outl(CFC, 0);
    check_equal("a write there changes nothing", inl(CFC), 0xffffffff);
}

static void scan(void)
{
    unsigned found = 0;

    for (unsigned device = 0; device < 32; device++) {
        uint32_t id = config_read(0, device, 0, 0);

        if (id == 0xffffffff)
            continue;
        found++;
        print("NOTE: 0:%02x.0 is %04x:%04x, class %04x\n", device, id & 0xffff, id >> 16,
              config_read(0, device, 0, 8) >> 16);
    }
    check("a scan of the bus ends", found >= 1);
}

static volatile uint32_t *ecam(unsigned device, unsigned function, unsigned offset)
{
    return (volatile uint32_t *)(ECAM +
                                 (device << 15 | function << 12 | offset)); /* PCI Express 3.0, 7.2.2 */
}

static void test_memory(void)
{
    unsigned wrong = 0;

    for (unsigned device = 0; device < 32; device++)
        for (unsigned offset = 0; offset < 0x100; offset += 4)
            wrong += *ecam(device, 0, offset) != config_read(0, device, 0, offset);
    qemu_differs();
    check_equal("ECAM shows what the ports show", wrong, 0);
    qemu_differs();
    check_equal("16-bit read", *(volatile uint16_t *)((uint64_t)ecam(0, 0, 0) + 2),
                config_read(0, 0, 0, 0) >> 16);
    qemu_differs();
    check_equal("no extended space", *ecam(0, 0, 0x100), 0xffffffff);
    qemu_differs();
    check_equal("no function 1", *ecam(0, 1, 0), 0xffffffff);
    *ecam(0, 0, 0) = 0x12345678;
    qemu_differs();
    check_equal("vendor and device are read-only", *ecam(0, 0, 0), config_read(0, 0, 0, 0));
}

void guest_main(void)
{
    test_address();
    test_host_bridge();
    test_absent();
    scan();
    test_memory();
}
