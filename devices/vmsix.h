/*
 * MSI-X of a PCI function: capability, table and pending bits (PCI Local Bus 3.0, section 6.8.2), and the
 * messages as the local APICs take them (Intel SDM vol. 3, 11.11).
 */
#pragma once

#include "devices/vlapic_bus.h"
#include "devices/vpci.h"
#include "kernel/lock.h"
#include "lib/types.h"

#define VMSIX_MAX        32 /* vectors of a function */
#define VMSIX_ENTRY      16 /* bytes of the table for each */
#define VMSIX_CAP_DWORDS 3

struct vmsix_state {
    uint32_t table[VMSIX_MAX][VMSIX_ENTRY / 4]; /* address, its upper half, data, control */
    uint32_t pending;                           /* a bit for each vector that waits to be unmasked */
};

struct vmsix {
    struct lock
        lock; /* for what follows, and while a message is sent. Rank: behind vm.devices and a queue's */
    struct vmsix_state s;
    bool enabled, masked; /* as the capability says */
    unsigned count;
    struct vlapic_bus *bus;
};

/* `count` vectors, 1 to VMSIX_MAX, sent by way of `bus`. */
void vmsix_init(struct vmsix *msix, struct vlapic_bus *bus, unsigned count);
/* All vectors masked, none pending, disabled: config[] is the function's owner's to clear. */
void vmsix_reset(struct vmsix *msix);

/*
 * Writes the capability into config[dword] and the two behind it, with its place in the list: `next` is the
 * byte offset of the next one. Table and pending bits are at these offsets of BAR `bar`.
 */
void vmsix_capability(const struct vmsix *msix, struct vpci_function *function, unsigned dword, unsigned next,
                      unsigned bar, uint32_t table, uint32_t pending);
/* The guest has written the capability's first dword, or a load has. */
void vmsix_control(struct vmsix *msix, uint32_t dword);

/* The parts of the BAR, for aligned accesses of 8, 16 and 32 bits; only 32-bit writes count. */
uint64_t vmsix_read_table(struct vmsix *msix, uint32_t offset, unsigned size);
void vmsix_write_table(struct vmsix *msix, uint32_t offset, unsigned size, uint64_t value);
uint64_t vmsix_read_pending(struct vmsix *msix, uint32_t offset, unsigned size);

/* Sends the vector's message, or keeps it pending while it is masked. Any CPU, with or without vm.devices;
 * vectors that there are not, and all while MSI-X is disabled, do nothing. */
void vmsix_raise(struct vmsix *msix, unsigned vector);

static inline bool vmsix_enabled(const struct vmsix *msix)
{
    return __atomic_load_n(&msix->enabled, __ATOMIC_RELAXED);
}

void vmsix_save(struct vmsix *msix, struct vmsix_state *out);
int vmsix_check(const struct vmsix *msix, const struct vmsix_state *state) __must_check;
void vmsix_load(struct vmsix *msix, const struct vmsix_state *state);
