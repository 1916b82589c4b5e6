/*
 * PCI bus 0 behind configuration mechanism #1 (PCI Local Bus 3.0, section 3.2.2.3.2) and the enhanced one of
 * PCI Express (ECAM: PCI Express Base 3.0, 7.2.2; at GUEST_ECAM_BASE): a host bridge at
 * 00:00.0, and whatever functions are added. A function that is absent reads as all ones.
 */
#pragma once

#include "lib/types.h"
#include "devices/vreset.h"
#include "vmx/iobus.h"
#include "vmx/irqline.h"

#define VPCI_PORT          0xcf8
#define VPCI_SIZE          8
#define VPCI_SLOTS         32 /* device numbers of bus 0; each has function 0 only */
#define VPCI_CONFIG_DWORDS 64
#define VPCI_BARS          6
#define VPCI_IO_BASE       0x1000u /* port BARs are decoded from here to the last port: below is the board */
#define VPCI_IO_END        0x10000u
#define VPCI_LINES         2 /* the interrupt pins of all functions are wired to as many lines */

/* The ISA interrupt of a function's pin: lines 0 and 1 go there, as guests/dsdt.asl says. */
static inline unsigned vpci_irq(unsigned slot)
{
    return 10 + slot % VPCI_LINES;
}

enum vpci_space { VPCI_NONE, VPCI_MEM32, VPCI_MEM64, VPCI_IO };

/*
 * A base address register (6.2.5.1) and what is behind it. The owner fills in all but region.base and
 * `mapped`. The size is a power of two: memory 16 bytes and more, ports 4 to 256. A VPCI_MEM64 takes the next
 * BAR's place as well, which stays VPCI_NONE.
 */
struct vpci_bar {
    enum vpci_space space;
    bool prefetchable;
    bool mapped; /* the region is on its bus, at region.base */
    struct io_region region;
};

/*
 * A PCI function as the bus sees it. Its owner fills in config[] (the header of PCI 3.0, section 6.1, little
 * endian), writable[] and bar[], and saves config[] with its own state. A guest's write changes the bits that
 * are 1 in writable[], then written() is called, if there is one, with the index of the dword; it may change
 * the owner's own dwords again, but none of the header.
 */
struct vpci_function {
    uint32_t config[VPCI_CONFIG_DWORDS];
    uint32_t writable[VPCI_CONFIG_DWORDS];
    struct vpci_bar bar[VPCI_BARS];
    uint32_t (*read)(void *device, unsigned dword); /* instead of config[dword]; NULL: plain config[] */
    void (*written)(void *device, unsigned dword);
    bool (*asserts_pin)(void *device); /* whether it drives INTA now, see vpci_update_pins(); NULL: no pin */
    void *device;
    struct vpci *bus; /* set by vpci_add() */
};

/* The host bridge has nothing that a guest can change, so its config[] is not part of it. */
struct vpci_state {
    uint32_t address; /* CONFIG_ADDRESS */
};

struct vpci {
    struct vpci_state s;
    struct vpci_function bridge;            /* in slot 0 */
    struct vpci_function *slot[VPCI_SLOTS]; /* by device number, NULL: absent */
    struct vreset *reset;                   /* gets the byte port 0xcf9, which lies inside CONFIG_ADDRESS */
    struct iobus *ports, *mmio;             /* where BARs appear; NULL before vpci_attach() */
    struct irq_line line[VPCI_LINES];
    void (*later)(void *context); /* asks for vpci_update_pins(), soon; any CPU, any lock of a device held */
    void *context;
};

/*
 * All calls belong on the CPU that owns the VM's devices, and a configuration write may change both buses: no
 * other CPU may use them meanwhile.
 */
void vpci_init(struct vpci *pci, struct vreset *reset);
/* As the firmware of a PC leaves it: every BAR has a place, and its function decodes it. */
void vpci_reset(struct vpci *pci);

/* Wires the pins: without it they lead nowhere. */
void vpci_connect(struct vpci *pci, const struct irq_line line[VPCI_LINES], void (*later)(void *context),
                  void *context);
/*
 * A line is level-triggered and shared: high while any function of it asserts its pin. It is worked out anew
 * whenever a function may have let go of its pin, and after writes of configuration space.
 */
void vpci_update_pins(struct vpci *pci);
/* A function has begun to assert its pin. Any CPU, with or without vm.devices and a device's locks. */
void vpci_pin_rose(struct vpci *pci);

void vpci_save(const struct vpci *pci, struct vpci_state *out);
int vpci_check(const struct vpci_state *state) __must_check;
void vpci_load(struct vpci *pci, const struct vpci_state *state);

/*
 * Puts a function at device number `slot` (below 32) of bus 0, and makes the BARs' dwords and the command
 * register's enable bits from bar[]. -EINVAL for a slot or a BAR that cannot be, -EEXIST if the slot is
 * taken.
 */
int vpci_add(struct vpci *pci, unsigned slot, struct vpci_function *function) __must_check;

/*
 * A function's config[] as its owner saves it. -EINVAL if bits differ that no guest can change. Loading it
 * moves the BARs to where it says; the function has been added. When all are loaded, vpci_update_pins().
 */
int vpci_check_config(const struct vpci_function *function,
                      const uint32_t config[VPCI_CONFIG_DWORDS]) __must_check;
void vpci_load_config(struct vpci_function *function, const uint32_t config[VPCI_CONFIG_DWORDS]);

/* Handlers of CONFIG_ADDRESS and CONFIG_DATA, for aligned accesses of 8, 16 and 32 bits. */
uint64_t vpci_read(void *pci, uint32_t offset, unsigned size);
void vpci_write(void *pci, uint32_t offset, unsigned size, uint64_t value);

/* Handlers of the enhanced configuration space, the same. */
uint64_t vpci_ecam_read(void *pci, uint32_t offset, unsigned size);
void vpci_ecam_write(void *pci, uint32_t offset, unsigned size, uint64_t value);

/*
 * Registers the ports, the enhanced space, and the BARs of what was added. When all fixed devices are on the
 * buses, for these go before BARs; errors are those of iobus_add().
 */
int vpci_attach(struct vpci *pci, struct iobus *ports, struct iobus *mmio) __must_check;
