/*
 * PCI bus 0 behind configuration mechanism #1 (PCI Local Bus 3.0, section 3.2.2.3.2): a host bridge at
 * 00:00.0, and whatever functions are added. A function that is absent reads as all ones.
 */
#pragma once

#include "lib/types.h"
#include "devices/vreset.h"
#include "vmx/iobus.h"

#define VPCI_PORT          0xcf8
#define VPCI_SIZE          8
#define VPCI_SLOTS         32 /* device numbers of bus 0; each has function 0 only */
#define VPCI_CONFIG_DWORDS 64

/*
 * A PCI function as the bus sees it. Its owner fills in config[] (the header of PCI 3.0, section 6.1, little
 * endian) and writable[], and saves config[] with its own state. A guest's write changes the bits that are 1
 * in writable[], then written() is called, if there is one, with the index of the dword.
 */
struct vpci_function {
    uint32_t config[VPCI_CONFIG_DWORDS];
    uint32_t writable[VPCI_CONFIG_DWORDS];
    uint32_t (*read)(void *device, unsigned dword); /* instead of config[dword]; NULL: plain config[] */
    void (*written)(void *device, unsigned dword);
    void *device;
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
};

/* All calls belong on the CPU that owns the VM's devices. */
void vpci_init(struct vpci *pci, struct vreset *reset);
void vpci_reset(struct vpci *pci);
void vpci_save(const struct vpci *pci, struct vpci_state *out);
int vpci_check(const struct vpci_state *state) __must_check;
void vpci_load(struct vpci *pci, const struct vpci_state *state);

/* Puts a function at device number `slot` (below 32) of bus 0. -EINVAL, or -EEXIST if the slot is taken. */
int vpci_add(struct vpci *pci, unsigned slot, struct vpci_function *function) __must_check;

/* Handlers of CONFIG_ADDRESS and CONFIG_DATA, for aligned accesses of 8, 16 and 32 bits. */
uint64_t vpci_read(void *pci, uint32_t offset, unsigned size);
void vpci_write(void *pci, uint32_t offset, unsigned size, uint64_t value);

/* Registers the ports; errors are those of iobus_add(). */
int vpci_attach(struct vpci *pci, struct iobus *ports) __must_check;
