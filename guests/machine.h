/*
 * A whole virtual PC: the VM of the engine, its devices and how they are wired. Made once from a config
 * entry; powered on as often as wanted, each time from wiped memory and the image that the boot loader
 * brought.
 */
#pragma once

#include "lib/types.h"
#include "devices/vballoon.h"
#include "devices/vblk.h"
#include "devices/vcon.h"
#include "devices/vdebug.h"
#include "devices/vioapic.h"
#include "devices/vlapic.h"
#include "devices/vnet.h"
#include "devices/vpci.h"
#include "devices/vpic.h"
#include "devices/vpit.h"
#include "devices/vpm.h"
#include "devices/vreset.h"
#include "devices/vrng.h"
#include "devices/vrtc.h"
#include "devices/vuart.h"
#include "devices/vwatchdog.h"
#include "guests/boot.h"
#include "io/console.h"
#include "io/disks.h"
#include "kernel/config.h"
#include "vmx/vcpu.h"
#include "vmx/vm.h"

/* Why the guest stopped running, as its devices or the engine told. */
enum machine_stop {
    MACHINE_RUNS,
    MACHINE_POWERED_OFF,
    MACHINE_RESET,  /* wants to start again */
    MACHINE_EXITED, /* by the debug-exit port */
    MACHINE_DIED,
};

/* The guest's side of one of its disks. */
struct machine_disk {
    struct machine *machine;
    struct vblk vblk;
    struct vblk_queue *queues;
};

/* The local APICs belong to the CPUs that run the vCPUs, other devices to the holder of vm.devices; the rest
 * to the boot CPU. Wired by machine_create(). */
struct machine {
    struct vm vm; /* first: the engine's callbacks get it */
    const struct config_vm *config;
    struct console console;
    struct vlapic_bus apics;
    struct vlapic lapic[VM_MAX_VCPUS];
    struct vioapic ioapic;
    struct vpic pic;
    struct vpit pit;
    struct vrtc rtc;
    struct vuart uart;
    struct vpm pm;
    struct vreset reset;
    struct vpci pci;
    struct vwatchdog watchdog;       /* on the bus if the config says so */
    struct vrng rng;                 /* if the config says so and the CPU has entropy */
    struct vcon hvc;                 /* if the config says so */
    struct machine_balloon *balloon; /* if the config says so; else NULL */
    struct vdebug debug;
    struct vm_disk disk[CONFIG_MAX_DISKS]; /* as the config has them; open from machine_create() on */
    struct machine_disk disks[CONFIG_MAX_DISKS];
    struct vnet nics[CONFIG_MAX_NICS];        /* a card without a port: it could not be made */
    enum machine_stop stop;                   /* changed from MACHINE_RUNS by any CPU, once */
    uint32_t exit_code;                       /* MACHINE_EXITED */
    char reason[200];                         /* MACHINE_DIED */
    uint64_t wiped;                           /* bytes of RAM that machine_wipe() has done */
    void (*stopped)(struct machine *machine); /* the guest stopped: called once a run, from inside an exit */
};

/* The machine's files among the boot modules. */
struct machine_images {
    struct image kernel, initrd;
    struct image module[CONFIG_MAX_MODULES];
};

/* Allocates and wires. Errors: -ENOMEM, -ENODEV (no AMD-V or VT-x), -EPERM (it cannot have one of its disks);
 * the log says what was short. `index` is unique.
 * `share` is what it may have of the CPUs; -ENOSPC: that was refused. */
int machine_create(const struct config_vm *config, const struct config_share *share, unsigned index,
                   void (*stopped)(struct machine *), struct machine **out) __must_check;
void machine_destroy(struct machine *machine);

/* Takes the vCPUs off the CPU and prepares for machine_wipe() from the start. */
void machine_halt(struct machine *machine);

/* vm_pause() and vm_resume(), for devices too that are not to notice. */
void machine_pause(struct machine *machine);
void machine_resume(struct machine *machine);

/* Wipes the next piece of RAM (2 MiB), or nothing while a disk still writes to it; true: there is more. What
 * the balloon had given away is to be had back first: if it is not, this ends early, and machine_power_on()
 * says why. */
bool machine_wipe(struct machine *machine);

/*
 * Resets every device, places ACPI tables and image in the wiped RAM and starts the first vCPU. -ENOEXEC with
 * the reason in *error if the image cannot be started.
 */
int machine_power_on(struct machine *machine, const struct machine_images *images,
                     struct load_error *error) __must_check;

/* Types a character into its console; false: there is no room. Presses its power button. */
bool machine_type(struct machine *machine, char c);
void machine_power_button(struct machine *machine);

/* Guest UTC in seconds since 1970 when it is powered on. Set once by the manager. */
void machine_set_clock(uint64_t (*utc_seconds)(void));
