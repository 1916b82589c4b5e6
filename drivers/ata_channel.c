#include "drivers/ata_channel.h"
#include "arch/x86_64/paging.h"
#include "kernel/log.h"
#include "lib/errno.h"
#include "lib/string.h"

#define IDLE_US     1000u    /* a disk that has ended its command is idle in less */
#define IDENTIFY_US 1000000u /* a disk answers in less, unless it spins up, which firmware has waited for */
#define POLL_US     10u
#define RESET_US    5u /* SRST is held as long (ATA/ATAPI-7, 9.2) */
#define SELECT_READS                                                                                         \
    4 /* of the alternate status: 400 ns, after which it is the newly selected disk's (7.15.6) */

/* --- Registers */

static uint8_t in(const struct ata_channel *channel, unsigned reg)
{
    return ata_in8((uint16_t)(channel->command + reg));
}

static void out(const struct ata_channel *channel, unsigned reg, uint64_t value)
{
    ata_out8((uint16_t)(channel->command + reg), (uint8_t)value);
}

static uint8_t master_in(const struct ata_channel *channel, unsigned reg)
{
    return ata_in8((uint16_t)(channel->master + reg));
}

static void master_out(const struct ata_channel *channel, unsigned reg, unsigned value)
{
    ata_out8((uint16_t)(channel->master + reg), (uint8_t)value);
}

/* Without touching the interrupt. -EIO: it stays busy, or nobody is there. */
static int wait_idle(const struct ata_channel *channel, unsigned us)
{
    for (;; us -= POLL_US) {
        uint8_t status = ata_in8(channel->control);

        if (status == ATA_STATUS_NONE)
            return -EIO;
        if (!(status & ATA_STATUS_BUSY))
            return 0;
        if (us < POLL_US)
            return -EIO;
        ata_delay_us(POLL_US);
    }
}

static void select(struct ata_channel *channel, unsigned number, unsigned bits)
{
    out(channel, ATA_DEVICE, ATA_DEVICE_OLD | bits | (number ? ATA_DEVICE_SECOND : 0));
    if (channel->selected != number)
        for (unsigned i = 0; i < SELECT_READS; i++)
            (void)ata_in8(channel->control);
    channel->selected = number;
}

/* --- Requests */

/* Fills the table; what the bus master cannot reach goes by the bounce buffer. */
static int describe_data(struct ata_channel *channel, const struct block_request *request)
{
    struct block_segment whole = { channel->bounce, request->sectors * BLOCK_SECTOR };

    channel->bounced = false;
    if (likely(ata_regions(channel->table, ATA_REGIONS_MAX, request->segment, request->segments) > 0))
        return 0;
    channel->bounced = true;
    if (request->op == BLOCK_WRITE)
        storage_bounce(request, channel->bounce, true);
    return ata_regions(channel->table, ATA_REGIONS_MAX, &whole, 1) > 0 ? 0 : -EIO;
}

static void write_taskfile(struct ata_channel *channel, const struct ata_taskfile *file)
{
    if (file->has_48) {
        out(channel, ATA_COUNT, file->count >> 8);
        out(channel, ATA_LBA_LOW, file->lba >> 24);
        out(channel, ATA_LBA_MID, file->lba >> 32);
        out(channel, ATA_LBA_HI, file->lba >> 40);
    }
    out(channel, ATA_COUNT, file->count);
    out(channel, ATA_LBA_LOW, file->lba);
    out(channel, ATA_LBA_MID, file->lba >> 8);
    out(channel, ATA_LBA_HI, file->lba >> 16);
    out(channel, ATA_COMMAND, file->command);
}

/* In the order of "Programming Interface for Bus Master IDE Controller", 3.1. */
static int start(struct ata_channel *channel, const struct ata_disk *disk,
                 const struct block_request *request)
{
    struct ata_taskfile file;
    int error;

    ata_form(&file, &disk->identity, request);
    channel->has_data = file.has_data;
    channel->bounced = false;
    if (file.has_data) {
        error = describe_data(channel, request);
        if (error)
            return error;
        ata_out32((uint16_t)(channel->master + ATA_BM_TABLE), (uint32_t)virt_to_phys(channel->table).raw);
        master_out(channel, ATA_BM_COMMAND, file.writes ? 0 : ATA_BM_TO_MEMORY);
    }
    select(channel, disk->number, file.device);
    error = wait_idle(channel, IDLE_US);
    if (error)
        return error;
    master_out(channel, ATA_BM_STATUS, master_in(channel, ATA_BM_STATUS) | ATA_BM_ERROR | ATA_BM_INTERRUPT);
    write_taskfile(channel, &file);
    if (file.has_data)
        master_out(channel, ATA_BM_COMMAND, (file.writes ? 0 : ATA_BM_TO_MEMORY) | ATA_BM_START);
    return 0;
}

static int submit(struct ata_channel *channel, struct ata_disk *disk, struct block_request *request)
{
    int error;

    if (request->op > BLOCK_FLUSH)
        return -EOPNOTSUPP;
    if (channel->request) {
        channel->refused = true;
        return -EBUSY;
    }
    error = start(channel, disk, request);
    if (error)
        return error;
    channel->tick = channel->watch.tick;
    channel->whose = disk;
    channel->request = request;
    watch_request(&channel->watch);
    return 0;
}

int ata_submit(struct ata_disk *disk, struct block_request *request)
{
    struct ata_channel *channel = disk->channel;
    int error;

    lock_take(&channel->lock);
    error = submit(channel, disk, request);
    lock_release(&channel->lock);
    return error;
}

/* --- Their end */

/* Under the lock, which it gives back: a request that ends may bring the next one. */
static void end(struct ata_channel *channel, int status)
{
    struct block_request *request = channel->request;
    struct ata_disk *disk = channel->whose;
    bool refused = channel->refused;

    if (channel->bounced && request->op == BLOCK_READ && status == 0)
        storage_bounce(request, channel->bounce, false);
    channel->request = NULL;
    channel->refused = false;
    lock_release(&channel->lock);
    storage_end(&disk->disk.block, request, status);
    for (unsigned i = 0; refused && i < ATA_DEVICES; i++)
        if (channel->disk[i])
            block_ready(&channel->disk[i]->disk.block);
}

/* How the request ended, whose interrupt is there: `master` is the bus master's status then. */
static int outcome(struct ata_channel *channel, unsigned master)
{
    uint8_t status = in(channel, ATA_COMMAND);
    bool bad = status & (ATA_STATUS_ERROR | ATA_STATUS_FAULT | ATA_STATUS_BUSY | ATA_STATUS_DRQ);

    if (channel->has_data) {
        master_out(channel, ATA_BM_COMMAND, 0);
        bad |= (master & (ATA_BM_ERROR | ATA_BM_ACTIVE)) != 0; /* active still: the disk gave too little */
    }
    master_out(channel, ATA_BM_STATUS, master | ATA_BM_ERROR | ATA_BM_INTERRUPT);
    return bad ? -EIO : 0;
}

void ata_poll(struct ata_channel *channel)
{
    unsigned master;

    lock_take(&channel->lock);
    master = master_in(channel, ATA_BM_STATUS);
    if (!(master & ATA_BM_INTERRUPT)) {
        lock_release(&channel->lock);
        return; /* not its interrupt */
    }
    if (!channel->request) {
        (void)outcome(channel, master); /* it is acknowledged, and nobody's */
        lock_release(&channel->lock);
        return;
    }
    end(channel, outcome(channel, master));
}

/* The bus master is stopped first: then no more is written to the request's memory. */
static void give_up(struct ata_channel *channel)
{
    master_out(channel, ATA_BM_COMMAND, 0);
    ata_out8(channel->control, ATA_CONTROL_RESET);
    ata_delay_us(RESET_US);
    ata_out8(channel->control, 0);
    channel->selected = 0;
    log_error("%s: a command did not end in time: the channel is reset", channel->whose->disk.block.name);
    end(channel, -EIO);
}

bool ata_look(struct ata_channel *channel)
{
    bool busy;

    ata_poll(channel);
    lock_take(&channel->lock);
    busy = channel->request != NULL;
    if (busy && watch_overdue(&channel->watch, channel->tick)) {
        give_up(channel);
        return true; /* it is looked at once more */
    }
    lock_release(&channel->lock);
    return busy;
}

/* --- Finding disks */

static int read_identity(struct ata_channel *channel, uint8_t to[ATA_IDENTIFY])
{
    uint8_t status;

    if (wait_idle(channel, IDENTIFY_US) != 0)
        return -EIO;
    status = in(channel, ATA_COMMAND);
    if (in(channel, ATA_LBA_MID) == ATA_ATAPI_MID && in(channel, ATA_LBA_HI) == ATA_ATAPI_HI)
        return -ENODEV;
    if ((status & (ATA_STATUS_ERROR | ATA_STATUS_FAULT)) || !(status & ATA_STATUS_DRQ))
        return -ENODEV;
    for (unsigned i = 0; i < ATA_IDENTIFY; i += 2) {
        uint16_t word = ata_in16((uint16_t)(channel->command + ATA_DATA));

        to[i] = (uint8_t)word;
        to[i + 1] = (uint8_t)(word >> 8);
    }
    return 0;
}

int ata_identify(struct ata_channel *channel, unsigned number, uint8_t to[ATA_IDENTIFY])
{
    int error = -ENODEV;
    uint8_t status;

    ata_out8(channel->control, ATA_CONTROL_NIEN);
    channel->selected = ATA_DEVICES; /* none, so that the choice is waited for */
    select(channel, number, 0);
    status = ata_in8(channel->control);
    if (status != ATA_STATUS_NONE && status != 0 && wait_idle(channel, IDENTIFY_US) == 0) {
        for (unsigned reg = ATA_COUNT; reg <= ATA_LBA_HI; reg++)
            out(channel, reg, 0);
        out(channel, ATA_COMMAND, ATA_IDENTIFY_DISK);
        (void)ata_in8(channel->control);
        error = read_identity(channel, to);
    }
    (void)in(channel, ATA_COMMAND); /* its interrupt is over */
    ata_out8(channel->control, 0);
    return error;
}
