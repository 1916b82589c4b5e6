/*
 * Ports that only debugging uses: 0xf4, by which a test guest ends itself with a code (QEMU's isa-debug-exit,
 * with its conventional address); 0xe9, the debug console of Bochs, absent here; 0x80, the power-on self test
 * code, which operating systems also write to as a short delay.
 */
#pragma once

#include "lib/types.h"
#include "vmx/iobus.h"

#define VDEBUG_EXIT_PORT    0xf4
#define VDEBUG_EXIT_SIZE    4
#define VDEBUG_CONSOLE_PORT 0xe9
#define VDEBUG_POST_PORT    0x80

struct vdebug_state {
    uint8_t post; /* the last code written to 0x80; reads back */
};

struct vdebug {
    struct vdebug_state s;
    void (*exit)(void *vm, uint32_t code);
    void *vm;
};

/*
 * exit() gets the value that the guest wrote (zero-extended from the width it used), inside its port access;
 * NULL: the guest may not, and port 0xf4 stays empty. All calls belong on the CPU that owns the VM's devices.
 */
void vdebug_init(struct vdebug *debug, void (*exit)(void *vm, uint32_t code), void *vm);
void vdebug_reset(struct vdebug *debug);
void vdebug_save(const struct vdebug *debug, struct vdebug_state *out);
int vdebug_check(const struct vdebug_state *state) __must_check;
void vdebug_load(struct vdebug *debug, const struct vdebug_state *state);

/* Registers the ports; errors are those of iobus_add(). */
int vdebug_attach(struct vdebug *debug, struct iobus *ports) __must_check;
