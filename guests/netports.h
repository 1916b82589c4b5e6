/*
 * The networks that the config names, and the ports of the VMs' cards in them. They are made once, at start,
 * whether the VMs run or not; a VM's network devices open their ports when they are ready (io/net.h). Boot
 * CPU only.
 */
#pragma once

#include "io/net.h"
#include "kernel/config.h"

/* Makes all of them, and connects uplinks; says in the log what cannot be. `config` may be NULL. */
void netports_init(const struct config *config);

/* The port of the VM's card number `nic` < vm->nic_count, called "NAME/NIC". NULL: it could not be made,
 * which the log has said. */
struct net_port *netports_get(const struct config_vm *vm, unsigned nic);
