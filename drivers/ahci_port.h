/*
 * A port of an AHCI host bus adapter with a disk: up to 32 commands are in its list, which the disk does one
 * after the other (no native command queueing). Reaches registers by a pointer and time by a function, so
 * that it compiles on the host, where a test is the HBA.
 */
#pragma once

#include "drivers/ata_command.h"
#include "drivers/storage.h"
#include "hw/ahci.h"

/* Memory of a port, all in one block: the command list, the received FISes, a table for each slot. */
#define AHCI_LIST_AT     0u
#define AHCI_FIS_AT      0x400u
#define AHCI_TABLES_AT   0x800u
#define AHCI_TABLE_BYTES (AHCI_TABLE_REGIONS + BLOCK_MAX_SEGMENTS * (uint32_t)sizeof(struct ahci_region))
#define AHCI_PORT_BYTES  (AHCI_TABLES_AT + AHCI_SLOTS * AHCI_TABLE_BYTES)
#define AHCI_TRIM_AT     0x200u /* in a table, instead of regions that a TRIM does not have */
#define AHCI_MAX_SECTORS 1024u  /* of a request; 256 for disks with 28-bit addresses */

static_assert(AHCI_TABLE_BYTES % 128 == 0, "4.2.2: a table is aligned to 128 bytes");

enum ahci_state { AHCI_WORKS, AHCI_FAILED, AHCI_LOST };

struct ahci_port {
    struct disk disk;
    struct lock lock; /* guards all of it; under it only the watch's timer queue's is taken */
    volatile uint8_t *registers;
    uint8_t *memory; /* AHCI_PORT_BYTES */
    struct ata_identity identity;
    uint32_t slots, busy; /* bit n: slot n is there; has a request */
    uint32_t pending;     /* bit n: its request is not issued yet */
    bool one_by_one;      /* an error is being traced: one request is issued at a time */
    bool refused;
    enum ahci_state state;
    struct {
        struct block_request *request;
        uint32_t tick;
        uint32_t sectors; /* of a DISCARD that is done in parts: so many are still to come */
    } slot[AHCI_SLOTS];
    struct watch watch;
};

/* As block_ops.submit. Any CPU. */
int ahci_submit(struct ahci_port *port, struct block_request *request) __must_check;

/* Ends what is over. For the interrupt handler; any CPU, no lock held. */
void ahci_poll(struct ahci_port *port);

/* For the watch: polls, gives up what takes too long. True: a request is under way. */
bool ahci_look(struct ahci_port *port);

/*
 * Points the HBA to the port's memory and receives FISes; starts the command list when the disk is ready.
 * Before there are requests. -EIO.
 */
void ahci_port_prepare(struct ahci_port *port);
int ahci_port_start(struct ahci_port *port) __must_check;

/* Asks the disk what it is, by polling, before there are requests; `to` is even. -EIO. */
int ahci_identify(struct ahci_port *port, uint8_t to[ATA_IDENTIFY]) __must_check;

/* Busy-waits; ahci.c. */
void ahci_delay_us(unsigned us);
