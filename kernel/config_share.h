/*
 * What the config, or the shell's `set`, says of a VM's hold on the CPUs: reading it, checking it, writing it
 * out, and what follows from it for each vCPU. Compiles on the host.
 */
#pragma once

#include "kernel/config.h"
#include "kernel/share.h"

#define CONFIG_PIN_TEXT     160 /* bytes that config_pin_text() needs at most, ... */
#define CONFIG_RESERVE_TEXT 32  /* ... and config_reserve_text() */
#define CONFIG_FAULT_TEXT   128

/*
 * "0,2-3" into a mask; "2ms/10ms" (or us) into microseconds. NULL, or what is wrong with it, to follow the
 * key in a sentence; then nothing was written.
 */
const char *config_read_pin(const char *text, uint64_t *pin);
const char *config_read_reserve(const char *text, struct config_share *to);

/*
 * One of weight, cap, pin and reserve, as the config would have it or "all" and "none" for what was not
 * given. NULL, or what is wrong with the value, to follow the key in a sentence; "" if there is no such key.
 * Nothing was written then. Whether the values agree is for config_share_fault().
 */
const char *config_set_share(struct config_share *share, const char *key, const char *value);

/* The keys of config_set_share(), the index-th of them from 0; NULL: no more. */
const char *config_share_key(unsigned index);

/* The other way; "all" and "none" for what was not given. Return `to`, which has the sizes above. */
const char *config_pin_text(uint64_t pin, char *to);
const char *config_reserve_text(const struct share_params *params, char *to);

/*
 * False if the values agree with each other in a VM of `cpus` vCPUs; else why not, in `fault`
 * (CONFIG_FAULT_TEXT bytes), a sentence that begins with "cap", the key that is at fault.
 */
bool config_share_fault(const struct config_share *share, unsigned cpus, char *fault);

/* Each vCPU's part. The cap is rounded down, so that all together stay below that of the VM. */
struct share_params config_share_of_vcpu(const struct config_share *share, unsigned cpus);
