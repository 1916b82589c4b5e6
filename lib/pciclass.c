#include "lib/pciclass.h"

#define ANY 0x100 /* the line for all other sub-classes of a base class: behind those */

static const struct {
    uint8_t base;
    uint16_t sub;
    const char *name;
} classes[] = {
    { 0x00, 0x01, "VGA-compatible device" },
    { 0x00, ANY, "device without a class" },
    { 0x01, 0x00, "SCSI controller" },
    { 0x01, 0x01, "IDE controller" },
    { 0x01, 0x02, "floppy disk controller" },
    { 0x01, 0x04, "RAID controller" },
    { 0x01, 0x05, "ATA controller" },
    { 0x01, 0x06, "SATA controller" },
    { 0x01, 0x07, "SAS controller" },
    { 0x01, 0x08, "NVMe controller" },
    { 0x01, ANY, "mass storage controller" },
    { 0x02, 0x00, "Ethernet controller" },
    { 0x02, ANY, "network controller" },
    { 0x03, 0x00, "VGA controller" },
    { 0x03, 0x02, "3D controller" },
    { 0x03, ANY, "display controller" },
    { 0x04, 0x00, "video device" },
    { 0x04, 0x01, "audio device" },
    { 0x04, 0x03, "HD audio device" },
    { 0x04, ANY, "multimedia device" },
    { 0x05, 0x00, "RAM controller" },
    { 0x05, 0x01, "flash memory controller" },
    { 0x05, ANY, "memory controller" },
    { 0x06, 0x00, "host bridge" },
    { 0x06, 0x01, "ISA bridge" },
    { 0x06, 0x02, "EISA bridge" },
    { 0x06, 0x04, "PCI-to-PCI bridge" },
    { 0x06, 0x07, "CardBus bridge" },
    { 0x06, ANY, "bridge" },
    { 0x07, 0x00, "serial port" },
    { 0x07, 0x01, "parallel port" },
    { 0x07, 0x03, "modem" },
    { 0x07, ANY, "communication controller" },
    { 0x08, 0x00, "interrupt controller" },
    { 0x08, 0x01, "DMA controller" },
    { 0x08, 0x02, "timer" },
    { 0x08, 0x03, "real-time clock" },
    { 0x08, 0x05, "SD host controller" },
    { 0x08, 0x06, "IOMMU" },
    { 0x08, ANY, "system device" },
    { 0x09, 0x00, "keyboard controller" },
    { 0x09, 0x02, "mouse controller" },
    { 0x09, ANY, "input device" },
    { 0x0a, ANY, "docking station" },
    { 0x0b, ANY, "processor" },
    { 0x0c, 0x00, "FireWire controller" },
    { 0x0c, 0x03, "USB controller" },
    { 0x0c, 0x05, "SMBus controller" },
    { 0x0c, ANY, "serial bus controller" },
    { 0x0d, ANY, "wireless controller" },
    { 0x0e, ANY, "intelligent I/O controller" },
    { 0x0f, ANY, "satellite communication controller" },
    { 0x10, ANY, "encryption controller" },
    { 0x11, ANY, "signal processing controller" },
    { 0x12, ANY, "processing accelerator" },
    { 0x13, ANY, "instrumentation" },
    { 0x40, ANY, "coprocessor" },
};

const char *pci_class_name(uint8_t base, uint8_t sub)
{
    for (size_t i = 0; i < ARRAY_SIZE(classes); i++)
        if (classes[i].base == base && (classes[i].sub == sub || classes[i].sub == ANY))
            return classes[i].name;
    return "unknown class";
}
