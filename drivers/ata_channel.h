/*
 * A channel of an IDE controller: one request at a time for its one or two disks. Reaches the ports by
 * functions, so that it compiles on the host, where a test is the controller and the disks.
 */
#pragma once

#include "drivers/ata_command.h"
#include "drivers/storage.h"

#define ATA_DEVICES     2
#define ATA_REGIONS_MAX 512u /* of a table, which has a page */
#define ATA_MAX_SECTORS 256u /* of a request: what 28-bit commands can */
#define ATA_BOUNCE      (ATA_MAX_SECTORS * BLOCK_SECTOR)

struct ata_channel;

struct ata_disk {
    struct disk disk;
    struct ata_channel *channel;
    unsigned number; /* 0 or 1 on its cable */
    struct ata_identity identity;
};

struct ata_channel {
    struct lock lock; /* guards all of it; under it only the watch's timer queue's is taken */
    uint16_t command, control, master;  /* ports */
    struct ata_disk *disk[ATA_DEVICES]; /* NULL: there is none */
    struct ata_region *table;           /* ATA_REGIONS_MAX; it and the next are below 4 GiB */
    uint8_t *bounce;                    /* ATA_BOUNCE bytes, for data above; 64 KiB aligned */
    unsigned selected;                  /* the disk that the last command was for */
    struct block_request *request;      /* that is under way; NULL: none */
    struct ata_disk *whose;             /* its */
    bool has_data, bounced, refused;
    uint32_t tick;
    struct watch watch;
};

/* As block_ops.submit. Any CPU. */
int ata_submit(struct ata_disk *disk, struct block_request *request) __must_check;

/* Ends the request if it is over. The interrupt handler; any CPU, no lock held. */
void ata_poll(struct ata_channel *channel);

/* For the watch: polls, gives up what takes too long. True: a request is under way. */
bool ata_look(struct ata_channel *channel);

/*
 * Asks disk `number` of the cable what it is, without interrupts. -ENODEV: there is none, or it is no disk;
 * -EIO.
 */
int ata_identify(struct ata_channel *channel, unsigned number, uint8_t to[ATA_IDENTIFY]) __must_check;

/* The ports; ata.c. */
uint8_t ata_in8(uint16_t port);
uint16_t ata_in16(uint16_t port);
void ata_out8(uint16_t port, uint8_t value);
void ata_out32(uint16_t port, uint32_t value);
void ata_delay_us(unsigned us);
