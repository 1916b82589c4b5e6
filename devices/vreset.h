/*
 * The ways in which software resets a PC: the reset control register at 0xcf9 and the fast reset of port 0x92
 * (Intel ICH9 data sheet, registers RST_CNT and PORT92), and the pulse commands of a keyboard controller at
 * 0x64 (IBM PC/AT technical reference, 8042). There is no keyboard controller beside that: its ports read as
 * an empty bus does, which tells a driver that it is absent. The FADT names 0xcf9 as RESET_REG.
 */
#pragma once

#include "lib/types.h"
#include "vmx/iobus.h"

#define VRESET_CF9_PORT   0xcf9
#define VRESET_CF9_FULL   0x06 /* the FADT's RESET_VALUE */
#define VRESET_FAST_PORT  0x92
#define VRESET_KBD_DATA   0x60
#define VRESET_KBD_STATUS 0x64

struct vreset_state {
    uint8_t cf9;
    uint8_t fast;
};

struct vreset {
    struct vreset_state s;
    void (*reset)(void *vm); /* the guest asked for a reset; called inside its port access */
    void *vm;
};

/* All calls below belong on the CPU that owns the VM's devices. reset() may not call into the device. */
void vreset_init(struct vreset *reset, void (*call)(void *vm), void *vm);
void vreset_reset(struct vreset *reset);
void vreset_save(const struct vreset *reset, struct vreset_state *out);
int vreset_check(const struct vreset_state *state) __must_check;
void vreset_load(struct vreset *reset, const struct vreset_state *state);

/* Port 0xcf9, bytes; it lies between the ports of the PCI configuration mechanism, so vpci.c passes it on. */
uint64_t vreset_cf9_read(void *reset, uint32_t offset, unsigned size);
void vreset_cf9_write(void *reset, uint32_t offset, unsigned size, uint64_t value);

/* Registers the other three ports; errors are those of iobus_add(). */
int vreset_attach(struct vreset *reset, struct iobus *ports) __must_check;
