#include "io/ramdisk.h"
#include "arch/x86_64/paging.h"
#include "kernel/frames.h"
#include "kernel/heap.h"
#include "lib/errno.h"
#include "lib/string.h"

#define PIECE_ORDER 4 /* 64 KiB of frames */
static_assert(PAGE_SIZE << PIECE_ORDER == RAMDISK_PIECE, "a piece is one block of frames");

/* A request keeps the CPU until all of it is copied: 512 KiB take some 100 us. */
#define MAX_SECTORS 1024

/* --- Bytes */

/* From the file, with zeroes behind its end. */
static void read_file(const struct ramdisk *disk, uint64_t at, uint8_t *to, uint64_t bytes)
{
    uint64_t there = at < disk->size ? min_u64(bytes, disk->size - at) : 0;

    memcpy(to, disk->file + (there ? at : 0), there);
    memset(to + there, 0, bytes - there);
}

static bool is_copied(const struct ramdisk_piece *piece)
{
    return __atomic_load_n(&piece->copied, __ATOMIC_ACQUIRE);
}

static void copy_piece(struct ramdisk *disk, uint64_t index)
{
    struct ramdisk_piece *piece = &disk->piece[index];

    lock_take(&disk->copying);
    if (!piece->copied) { /* another CPU may just have done it */
        read_file(disk, index * RAMDISK_PIECE, piece->data, RAMDISK_PIECE);
        __atomic_store_n(&piece->copied, true, __ATOMIC_RELEASE);
    }
    lock_release(&disk->copying);
}

/* `bytes` lie within one piece. */
static void read_bytes(struct ramdisk *disk, uint64_t at, uint8_t *to, uint64_t bytes)
{
    const struct ramdisk_piece *piece = disk->piece ? &disk->piece[at / RAMDISK_PIECE] : NULL;

    if (piece && is_copied(piece))
        memcpy(to, piece->data + at % RAMDISK_PIECE, bytes);
    else
        read_file(disk, at, to, bytes);
}

static void write_bytes(struct ramdisk *disk, uint64_t at, const uint8_t *from, uint64_t bytes)
{
    struct ramdisk_piece *piece = &disk->piece[at / RAMDISK_PIECE];

    if (!is_copied(piece))
        copy_piece(disk, at / RAMDISK_PIECE);
    memcpy(piece->data + at % RAMDISK_PIECE, from, bytes);
}

/* --- The driver */

static int submit(struct block_device *device, struct block_request *request)
{
    struct ramdisk *disk = device->driver;
    uint64_t at = request->start * BLOCK_SECTOR;

    for (unsigned i = 0; i < request->segments; i++) {
        uint8_t *data = request->segment[i].data;
        uint64_t left = request->segment[i].bytes;

        while (left) {
            uint64_t bytes = min_u64(left, RAMDISK_PIECE - at % RAMDISK_PIECE);

            if (request->op == BLOCK_READ)
                read_bytes(disk, at, data, bytes);
            else
                write_bytes(disk, at, data, bytes);
            at += bytes;
            data += bytes;
            left -= bytes;
        }
    }
    block_complete(device, request, 0);
    return 0;
}

static const struct block_ops ops = { .submit = submit };

/* --- Making one */

int ramdisk_create_shared(struct ramdisk *disk, const void *file, uint64_t size)
{
    if (size == 0)
        return -EINVAL;
    *disk = (struct ramdisk){ .file = file, .size = size };
    disk->device = (struct block_device){ .ops = &ops,
                                          .driver = disk,
                                          .sectors = align_up(size, BLOCK_SECTOR) / BLOCK_SECTOR,
                                          .physical_block = BLOCK_SECTOR,
                                          .logical_block = BLOCK_SECTOR,
                                          .max_sectors = MAX_SECTORS,
                                          .max_segments = BLOCK_MAX_SEGMENTS,
                                          .segment_align = 2,
                                          .readonly = true };
    return 0;
}

int ramdisk_create_private(struct ramdisk *disk, const void *file, uint64_t size, unsigned owner)
{
    uint64_t pieces = align_up(size, RAMDISK_PIECE) / RAMDISK_PIECE;
    int err = ramdisk_create_shared(disk, file, size);

    if (err)
        return err;
    disk->piece = heap_alloc(pieces * sizeof(*disk->piece));
    if (!disk->piece)
        return -ENOMEM;
    disk->owner = owner;
    disk->device.readonly = false;
    while (disk->pieces < pieces) {
        hpa_t block = frames_alloc(PIECE_ORDER, owner);

        if (!block.raw) {
            ramdisk_destroy(disk);
            return -ENOMEM;
        }
        disk->piece[disk->pieces++].data = phys_to_virt(block);
    }
    return 0;
}

void ramdisk_destroy(struct ramdisk *disk)
{
    while (disk->pieces)
        frames_free(virt_to_phys(disk->piece[--disk->pieces].data), PIECE_ORDER, disk->owner);
    heap_free(disk->piece);
    disk->piece = NULL;
}
