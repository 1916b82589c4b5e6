#include "drivers/ahci_port.h"
#include "arch/x86_64/paging.h"
#include "kernel/log.h"
#include "lib/errno.h"
#include "lib/string.h"

#define POLL_US     10u
#define STOP_US     500000u /* in which the command list stops (10.3.2) */
#define READY_US    100000u /* in which a disk is ready again after a COMRESET, or it is given up */
#define SETTLE_US   10000u
#define IDENTIFY_US 5000000u
#define RESET_US    1000u   /* COMRESET is held as long (10.4.2) */
#define TRIM_BLOCKS 0xffffu /* of one range of a TRIM */
#define TRIM_RANGES (ATA_SECTOR / 8)

static uint32_t in(const struct ahci_port *port, unsigned reg)
{
    return *(const volatile uint32_t *)(port->registers + reg);
}

static void out(struct ahci_port *port, unsigned reg, uint64_t value)
{
    *(volatile uint32_t *)(port->registers + reg) = (uint32_t)value;
}

/* Until the bits are all clear. */
static int wait_clear(const struct ahci_port *port, unsigned reg, uint64_t bits, unsigned us)
{
    for (; in(port, reg) & bits; us -= POLL_US) {
        if (us < POLL_US)
            return -EIO;
        ahci_delay_us(POLL_US);
    }
    return 0;
}

/* --- Commands */

static uint8_t *table_of(const struct ahci_port *port, unsigned slot)
{
    return port->memory + AHCI_TABLES_AT + slot * AHCI_TABLE_BYTES;
}

static void write_fis(uint8_t *fis, const struct ata_taskfile *file, unsigned feature)
{
    memset(fis, 0, FIS_BYTES);
    fis[FIS_TYPE] = FIS_TYPE_H2D;
    fis[FIS_FLAGS] = FIS_FLAG_COMMAND;
    fis[FIS_COMMAND] = file->command;
    fis[FIS_FEATURE] = (uint8_t)feature;
    fis[FIS_DEVICE] = file->device;
    for (unsigned i = 0; i < 3; i++) {
        fis[FIS_LBA + i] = (uint8_t)(file->lba >> 8 * i);
        if (file->has_48)
            fis[FIS_LBA_UP + i] = (uint8_t)(file->lba >> (24 + 8 * i));
    }
    fis[FIS_COUNT] = (uint8_t)file->count;
    if (file->has_48)
        fis[FIS_COUNT_UP] = (uint8_t)(file->count >> 8);
}

static void fill(struct ahci_port *port, unsigned slot, const struct ata_taskfile *file, unsigned feature,
                 const struct block_segment *segment, unsigned segments)
{
    struct ahci_header *header = (struct ahci_header *)(void *)(port->memory + AHCI_LIST_AT) + slot;
    uint8_t *table = table_of(port, slot);
    struct ahci_region *region = (struct ahci_region *)(void *)(table + AHCI_TABLE_REGIONS);

    write_fis(table, file, feature);
    for (unsigned i = 0; i < segments; i++)
        region[i] = (struct ahci_region){ .at = virt_to_phys(segment[i].data).raw,
                                          .bytes = segment[i].bytes - 1 };
    header->what = AHCI_HEADER_FIS(FIS_BYTES / 4) | AHCI_HEADER_REGIONS(segments) |
                   (file->writes ? (uint32_t)AHCI_HEADER_WRITE : 0);
    header->bytes = 0;
    header->table = virt_to_phys(table).raw;
}

/* The next part of a DISCARD: as many ranges as a sector has room for. */
static void fill_trim(struct ahci_port *port, unsigned slot, const struct block_request *request)
{
    static const struct ata_taskfile trim = {
        .command = ATA_DATASET, .device = ATA_DEVICE_LBA, .has_48 = true, .writes = true, .count = 1
    };
    uint8_t *list = table_of(port, slot) + AHCI_TRIM_AT;
    struct block_segment segment = { list, ATA_SECTOR };
    unsigned shift = port->identity.shift;
    uint64_t block = (request->start + request->sectors - port->slot[slot].sectors) >> shift;
    uint64_t blocks = port->slot[slot].sectors >> shift;

    memset(list, 0, ATA_SECTOR); /* a range of no blocks is none */
    for (unsigned i = 0; i < TRIM_RANGES && blocks; i++) {
        uint64_t count = min_u64(blocks, TRIM_BLOCKS), range = block | count << 48;

        memcpy(list + 8 * i, &range, 8);
        block += count;
        blocks -= count;
    }
    port->slot[slot].sectors = (uint32_t)(blocks << shift);
    fill(port, slot, &trim, ATA_DATASET_TRIM, &segment, 1);
}

static void issue(struct ahci_port *port, unsigned slot)
{
    port->pending &= ~(uint32_t)BIT(slot);
    __asm__ volatile("" : : : "memory");
    out(port, AHCI_PxCI, BIT(slot));
}

/* While an error is traced: the next one, if none is under way. */
static void go_on(struct ahci_port *port)
{
    if (port->busy & ~port->pending)
        return;
    port->one_by_one = port->pending != 0;
    if (port->pending)
        issue(port, (unsigned)__builtin_ctz(port->pending));
}

static int submit(struct ahci_port *port, struct block_request *request)
{
    uint32_t free = port->slots & ~port->busy;
    struct ata_taskfile file;
    unsigned slot;

    if (unlikely(port->state != AHCI_WORKS))
        return port->state == AHCI_LOST ? -ENODEV : -EIO;
    if (unlikely(request->op == BLOCK_WRITE_ZEROES || request->op >= BLOCK_OPS))
        return -EOPNOTSUPP;
    if (!free) {
        port->refused = true;
        return -EBUSY;
    }
    slot = (unsigned)__builtin_ctz(free);
    port->slot[slot].request = request;
    port->slot[slot].tick = port->watch.tick;
    port->slot[slot].sectors = 0;
    port->busy |= (uint32_t)BIT(slot);
    if (unlikely(request->op == BLOCK_DISCARD)) {
        port->slot[slot].sectors = request->sectors;
        fill_trim(port, slot, request);
    } else {
        ata_form(&file, &port->identity, request);
        fill(port, slot, &file, 0, request->segment, request->segments);
    }
    watch_request(&port->watch);
    if (likely(!port->one_by_one))
        issue(port, slot);
    else
        port->pending |= (uint32_t)BIT(slot);
    return 0;
}

int ahci_submit(struct ahci_port *port, struct block_request *request)
{
    int error;

    lock_take(&port->lock);
    error = submit(port, request);
    lock_release(&port->lock);
    return error;
}

/* --- Their end */

static void free_slot(struct ahci_port *port, unsigned slot, int status, struct storage_ended *ended)
{
    struct block_request *request = port->slot[slot].request;

    port->slot[slot].request = NULL;
    port->busy &= ~(uint32_t)BIT(slot);
    port->pending &= ~(uint32_t)BIT(slot);
    storage_note_end(ended, request, status);
}

static void end_all(struct ahci_port *port, int status, struct storage_ended *ended)
{
    while (port->busy)
        free_slot(port, (unsigned)__builtin_ctz(port->busy), status, ended);
}

/* Gives the lock back: a request that ends may bring the next one. */
static void tell(struct ahci_port *port, struct storage_ended *ended)
{
    struct block_device *block = &port->disk.block;
    bool ready = port->refused && port->busy != port->slots;

    port->refused &= !ready;
    lock_release(&port->lock);
    storage_tell(block, ended);
    if (ready)
        block_ready(block);
}

/* --- Start, stop and recovery (10.3, 10.4.2, 6.2.2) */

static int stop(struct ahci_port *port)
{
    out(port, AHCI_PxCMD, in(port, AHCI_PxCMD) & ~AHCI_CMD_START);
    return wait_clear(port, AHCI_PxCMD, AHCI_CMD_RUNS, STOP_US);
}

void ahci_port_prepare(struct ahci_port *port)
{
    uint64_t list = virt_to_phys(port->memory + AHCI_LIST_AT).raw;
    uint64_t fis = virt_to_phys(port->memory + AHCI_FIS_AT).raw;

    out(port, AHCI_PxIE, 0);
    out(port, AHCI_PxCLB, list);
    out(port, AHCI_PxCLBU, list >> 32);
    out(port, AHCI_PxFB, fis);
    out(port, AHCI_PxFBU, fis >> 32);
    out(port, AHCI_PxSERR, AHCI_GONE);
    out(port, AHCI_PxCMD, in(port, AHCI_PxCMD) | AHCI_CMD_SPIN_UP | AHCI_CMD_POWER | AHCI_CMD_FIS);
}

int ahci_port_start(struct ahci_port *port)
{
    if (wait_clear(port, AHCI_PxTFD, ATA_STATUS_BUSY | ATA_STATUS_DRQ, READY_US) != 0)
        return -EIO;
    out(port, AHCI_PxSERR, AHCI_GONE);
    out(port, AHCI_PxIS, AHCI_GONE);
    out(port, AHCI_PxCMD, in(port, AHCI_PxCMD) | AHCI_CMD_START);
    return 0;
}

/* The list is stopped, so that nobody writes to memory of requests any more, and started again. */
static int restart(struct ahci_port *port, bool reset)
{
    int error = stop(port);

    if (error || reset || (in(port, AHCI_PxTFD) & (ATA_STATUS_BUSY | ATA_STATUS_DRQ))) {
        uint32_t control = in(port, AHCI_PxSCTL) & ~AHCI_DETECT(AHCI_GONE);

        out(port, AHCI_PxSCTL, control | AHCI_SCTL_RESET);
        ahci_delay_us(RESET_US);
        out(port, AHCI_PxSCTL, control);
        error = wait_clear(port, AHCI_PxCMD, AHCI_CMD_RUNS, STOP_US);
    }
    return error ? error : ahci_port_start(port);
}

/* Commands that the HBA has ended; the rest of a DISCARD goes on in its slot. */
static void collect(struct ahci_port *port, struct storage_ended *ended)
{
    uint32_t over = port->busy & ~port->pending & ~in(port, AHCI_PxCI);

    while (over) {
        unsigned slot = (unsigned)__builtin_ctz(over);

        over &= over - 1;
        if (likely(!port->slot[slot].sectors)) {
            free_slot(port, slot, 0, ended);
            continue;
        }
        fill_trim(port, slot, port->slot[slot].request);
        port->slot[slot].tick = port->watch.tick;
        issue(port, slot);
    }
}

/*
 * An error stops the list. Which command is to blame is known if only one was issued; else all are issued
 * again, one by one, for not every HBA tells (PxCMD.CCS), and some have that command's bit in PxCI clear. An
 * HBA that goes on meanwhile, as emulated ones do, is let finish what it does.
 */
static void recover(struct ahci_port *port, struct storage_ended *ended)
{
    uint32_t issued = port->busy & ~port->pending;

    (void)wait_clear(port, AHCI_PxTFD, ATA_STATUS_BUSY | ATA_STATUS_DRQ, SETTLE_US);
    if (issued && (issued & (issued - 1)) == 0) {
        free_slot(port, (unsigned)__builtin_ctz(issued), -EIO, ended);
    } else {
        port->pending = port->busy;
        port->one_by_one = true;
    }
    if (restart(port, false) == 0) {
        go_on(port);
        return;
    }
    port->state = AHCI_FAILED;
    log_error("%s: the disk does not come back after an error: its requests fail", port->disk.block.name);
    end_all(port, -EIO, ended);
}

/* True: there is no disk any more. */
static bool is_lost(struct ahci_port *port, uint32_t why, struct storage_ended *ended)
{
    uint32_t link = in(port, AHCI_PxSSTS);

    if (why != AHCI_GONE && AHCI_DETECT(link) == AHCI_DETECT_THERE) {
        out(port, AHCI_PxSERR, AHCI_GONE);
        return false;
    }
    if (port->state == AHCI_LOST)
        return true;
    port->state = AHCI_LOST;
    port->disk.block.health = BLOCK_GONE;
    log_error("%s: is gone", port->disk.block.name);
    if (why != AHCI_GONE) { /* else the HBA itself went, and there is nothing to be stopped */
        (void)stop(port);
        out(port, AHCI_PxIE, 0);
    }
    end_all(port, -ENODEV, ended);
    return true;
}

static void poll(struct ahci_port *port, struct storage_ended *ended)
{
    uint32_t why = in(port, AHCI_PxIS);

    out(port, AHCI_PxIS, why);
    if (unlikely(why & (AHCI_INT_PHY | AHCI_INT_CHANGE)) && is_lost(port, why, ended))
        return;
    if (unlikely(why & AHCI_INT_ERRORS) && port->state == AHCI_WORKS) {
        recover(port, ended);
        return;
    }
    collect(port, ended);
    if (unlikely(port->one_by_one))
        go_on(port);
}

void ahci_poll(struct ahci_port *port)
{
    STORAGE_ENDED(ended);

    lock_take(&port->lock);
    poll(port, &ended);
    tell(port, &ended);
}

bool ahci_look(struct ahci_port *port)
{
    STORAGE_ENDED(ended);
    bool overdue = false, busy;

    lock_take(&port->lock);
    poll(port, &ended);
    for (unsigned i = 0; i < AHCI_SLOTS; i++)
        overdue |= (port->busy & BIT(i)) && watch_overdue(&port->watch, port->slot[i].tick);
    if (overdue) {
        log_error("%s: a command did not end in time: the disk is reset", port->disk.block.name);
        if (restart(port, true) != 0)
            port->state = AHCI_FAILED;
        end_all(port, -EIO, &ended);
        port->one_by_one = false;
    }
    busy = port->busy != 0;
    tell(port, &ended);
    return busy;
}

/* --- Finding out what it is */

int ahci_identify(struct ahci_port *port, uint8_t to[ATA_IDENTIFY])
{
    static const struct ata_taskfile file = { .command = ATA_IDENTIFY_DISK };
    struct block_segment segment = { to, ATA_IDENTIFY };

    fill(port, 0, &file, 0, &segment, 1);
    issue(port, 0);
    if (wait_clear(port, AHCI_PxCI, BIT(0), IDENTIFY_US) != 0 || (in(port, AHCI_PxIS) & AHCI_INT_ERRORS)) {
        (void)stop(port);
        return -EIO;
    }
    out(port, AHCI_PxIS, AHCI_GONE);
    return 0;
}
