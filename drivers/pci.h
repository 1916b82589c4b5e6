/*
 * The PCI functions of the machine: configuration space by mechanism #1 (PCI Local Bus Specification 3.0,
 * 3.2.2.3.2; segment 0, the first 256 bytes of each function), and what a driver needs of a function: its
 * BARs, bus mastering, interrupts. Boot CPU only, since the two ports belong together.
 *
 * Firmware has placed the BARs and routed the INTx lines; nothing is moved here. A function whose BAR lies
 * nowhere cannot be used.
 */
#pragma once

#include "hw/pci.h"
#include "kernel/irq.h"
#include "lib/types.h"

struct pci_address {
    uint8_t bus, slot, function;
};

/* The word at `offset`, a multiple of 4 below 256. All ones where no function answers. */
uint32_t pci_read(struct pci_address at, unsigned offset);
void pci_write(struct pci_address at, unsigned offset, uint32_t value);

/* --- Finding devices; pci_scan.c, which compiles on the host --- */

/* What a driver gets to know of a function. */
struct pci_device {
    struct pci_address at;
    uint16_t vendor, device;
    uint16_t class; /* base class 15:8, sub-class 7:0 */
    uint8_t interface, revision;
    uint8_t msi, msix;            /* where these capabilities are; 0: it has none */
    volatile uint8_t *msix_table; /* once pci_msix() has been called; pci_irq.c */
};

/*
 * A driver is for one class, or for one device of a vendor. probe() is called for each such function that no
 * driver before it in the table took; `*device` is gone when it returns, so what it needs it copies. 0: the
 * driver has taken it; anything else: it has said in the log why not.
 */
struct pci_driver {
    const char *name;
    bool by_class;
    uint16_t class;    /* by_class: base class 15:8, sub-class 7:0 */
    uint8_t interface; /* by_class: what the interface must be in the bits of the mask */
    uint8_t interface_mask;
    uint16_t vendor, device; /* else */
    int (*probe)(struct pci_device *device);
};

/* Offers every function of the machine to the drivers, bus by bus. At most once per driver. */
void pci_probe(const struct pci_driver *const *driver, unsigned drivers);

/* Reads what struct pci_device tells. False: there is no function, or it is a bridge. */
bool pci_identify(struct pci_device *device, struct pci_address at);

/*
 * The first capability with this id behind that at `after` in the function's list (0: of all); 0: there is
 * none. A list that is longer than the space has room for, or leaves it, ends there; but whoever goes on from
 * `after` again and again has to count.
 */
unsigned pci_capability(const struct pci_device *device, unsigned id, unsigned after);

struct pci_bar {
    uint64_t base, size; /* size 0: there is no such BAR, or it has no place */
    bool io, prefetchable;
};

/* A BAR, whose size it is asked for: until this returns the function decodes no address. */
struct pci_bar pci_bar(const struct pci_device *device, unsigned n);

/* Sets and clears bits of the command register. */
void pci_command(const struct pci_device *device, uint32_t set, uint32_t clear);

/* --- Using them; pci_irq.c --- */

/*
 * Has the function decode its memory and maps at least `size` bytes of the BAR, uncached, for ever. NULL,
 * with the reason in the log: it is no memory BAR, is smaller, has no place, or tables run out.
 */
volatile void *pci_map(const struct pci_device *device, unsigned bar, uint64_t size) __must_check;

/*
 * Interrupt `entry` of the function goes to `handler` on the CPU with this APIC id, by MSI-X. Masked or not
 * it is the driver's: nothing comes before its device is told to. -ENODEV: it has no MSI-X or not so many, or
 * the CPU's id does not fit into a message; -ENOSPC: no vector is free; -ENOMEM.
 */
int pci_msix(struct pci_device *device, unsigned entry, uint32_t apic_id, irq_handler *handler,
             void *context) __must_check;

/* How many entries its MSI-X table has; 0: none. */
unsigned pci_msix_entries(const struct pci_device *device);

/*
 * One interrupt for all that the function has to say, to the boot CPU, by MSI-X, MSI or INTx, whatever it
 * has. INTx comes by the line that the firmware noted in the interrupt line register, which is an ISA
 * interrupt: ACPI's _PRT, which could tell of others, is not read. A line is shared: handlers are called
 * though it was not their device. Errors as pci_msix().
 */
int pci_interrupt(struct pci_device *device, irq_handler *handler, void *context) __must_check;
