/*
 * A disk that is a file in memory: a boot module. Read-only, and then any number of VMs share it; or private
 * to one VM, which may write: its writes go to memory that is set aside when the disk is made, so that a
 * write never lacks any, and the file itself stays as it was. A piece of the file is copied there when it is
 * first written to. Requests are completed before block_submit() returns. Compiles on the host.
 */
#pragma once

#include "io/block.h"

#define RAMDISK_PIECE (64 * KiB)

/* A part of a private copy. */
struct ramdisk_piece {
    uint8_t *data;
    bool copied; /* `data` has what the guest sees; set once, behind the copying */
};

struct ramdisk {
    struct block_device device; /* named and added by the caller */
    const uint8_t *file;
    uint64_t size;               /* of the file in bytes; what is missing to a whole sector reads as zeroes */
    struct ramdisk_piece *piece; /* NULL: read-only */
    uint64_t pieces;
    unsigned owner;      /* of their frames */
    struct lock copying; /* held while a piece is copied; nothing is taken under it */
};

/* `file` stays as long as the disk. -EINVAL if it is empty. Boot CPU, as all here. */
int ramdisk_create_shared(struct ramdisk *disk, const void *file, uint64_t size) __must_check;

/* The same with a private copy in frames of `owner`. -ENOMEM (then nothing is kept), also for a file above
 * 16 GiB. */
int ramdisk_create_private(struct ramdisk *disk, const void *file, uint64_t size,
                           unsigned owner) __must_check;

/* Gives the memory back. No user is left, and none of their requests runs. */
void ramdisk_destroy(struct ramdisk *disk);
