/*
 * Chunks of a VM's RAM that are away: the machine has their memory for something else, and the VM has a hole
 * in its nested table and NULL in vm->mem. Touched again, by the guest or for it by a device, a chunk comes
 * back with other memory, zeroed, if the machine has some.
 *
 * To take one away needs an order, which is guests/machine_balloon.c's: all vCPUs off the CPUs (sched_stop);
 * reclaim_detach(); reclaim_forget(); sched_barrier(), behind which no CPU has an address in it by way of
 * gmem_ptr(); then, if no disk has one either, reclaim_free().
 */
#pragma once

#include "vmx/vm.h"

/* The chunk at `at` is no longer the guest's. Returns its host address, for reclaim_free(); NULL: it is away
 * already, a vCPU's CPU-side structures lie in it, or there is no memory for the tables. Boot CPU. */
uint8_t *reclaim_detach(struct vm *vm, gpa_t at) __must_check;

/* The vCPUs forget what they know of addresses, and so do the CPUs' TLBs before one is entered again. */
void reclaim_forget(struct vm *vm);

/* The machine has it back. */
void reclaim_free(struct vm *vm, uint8_t *host);

/* Brings a chunk back, zeroed; NULL: there is no memory. Any CPU; it may be back already. */
uint8_t *reclaim_fill(struct vm *vm, unsigned slot, uint64_t chunk) __must_check;

/* The same for struct gmem's fill: without memory the VM ends. */
uint8_t *reclaim_on_demand(const struct gmem *mem, unsigned slot, uint64_t chunk);
