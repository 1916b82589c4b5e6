#include "drivers/pci.h"
#include "arch/x86_64/cpu.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc
#define CONFIG_ENABLE  BIT(31)

static void choose(struct pci_address at, unsigned offset)
{
    out32(CONFIG_ADDRESS, (uint32_t)(CONFIG_ENABLE | (uint32_t)at.bus << 16 | (uint32_t)at.slot << 11 |
                                     (uint32_t)at.function << 8 | offset));
}

uint32_t pci_read(struct pci_address at, unsigned offset)
{
    choose(at, offset);
    return in32(CONFIG_DATA);
}

void pci_write(struct pci_address at, unsigned offset, uint32_t value)
{
    choose(at, offset);
    out32(CONFIG_DATA, value);
}
