/*
 * What the config says of networks and the cards in them: single values. Each returns NULL, or what is wrong
 * with the text, to follow the key in a sentence; nothing was written then. Compiles on the host.
 */
#pragma once

#include "kernel/config.h"

/* "52:54:00:12:34:56" */
const char *config_read_mac(const char *text, uint8_t mac[6]);

/* "100Mbit", into bits a second. */
const char *config_read_bitrate(const char *text, uint64_t *rate);

/* "pci:00:03.0": bus, slot and function, as `pci` in the shell has them. */
const char *config_read_uplink(const char *text);

/*
 * The address of a VM's card that has none in the config: 02 and the 40 bits that FNV-1a (64 bit) makes of
 * "NAME/N", its upper 24 bits added to the lower by exclusive or. It so stays the same wherever and whenever
 * the VM is started. `nic` counts from 0.
 */
void config_derive_mac(const char *vm, unsigned nic, uint8_t mac[6]);
