#include "io/partition_table.h"
#include "lib/crc32.h"
#include "lib/format.h"
#include "lib/string.h"
#include "lib/utf8.h"

/* The header (UEFI 2.10, table 5.5) and an entry (table 5.6), by the offsets of their fields. */
enum {
    HEADER_REVISION = 8,
    HEADER_BYTES = 12,
    HEADER_CRC = 16,
    HEADER_MY_BLOCK = 24,
    HEADER_OTHER_BLOCK = 32,
    HEADER_FIRST_USABLE = 40,
    HEADER_LAST_USABLE = 48,
    HEADER_ENTRIES_BLOCK = 72,
    HEADER_ENTRIES = 80,
    HEADER_ENTRY_BYTES = 84,
    HEADER_ENTRIES_CRC = 88,
    HEADER_LEAST = 92,
    ENTRY_TYPE = 0,
    ENTRY_UUID = 16,
    ENTRY_FIRST = 32,
    ENTRY_LAST = 40,
    ENTRY_NAME = 56,
    ENTRY_NAME_UNITS = 36,
    ENTRY_LEAST = 128,
};

/* The MBR (table 5.1) and one of its records (table 5.2). */
enum {
    MBR_SIGNATURE = 440,
    MBR_RECORDS = 446,
    MBR_RECORD_BYTES = 16,
    MBR_MARK = 510,
    RECORD_STATUS = 0,
    RECORD_TYPE = 4,
    RECORD_FIRST = 8,
    RECORD_BLOCKS = 12,
    TYPE_EXTENDED = 0x05,
    TYPE_EXTENDED_LBA = 0x0f,
    TYPE_EXTENDED_LINUX = 0x85,
    TYPE_PROTECTIVE = 0xee,
};

static uint16_t load16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static uint32_t load32(const uint8_t *at)
{
    return load16(at) | (uint32_t)load16(at + 2) << 16;
}

static uint64_t load64(const uint8_t *at)
{
    return load32(at) | (uint64_t)load32(at + 4) << 32;
}

/* --- GPT */

static bool crc_is_right(const uint8_t *block, uint32_t bytes)
{
    static const uint8_t zeroes[4]; /* what the CRC's own field counts as */
    uint32_t crc = crc32(0, block, HEADER_CRC);

    crc = crc32(crc, zeroes, sizeof(zeroes));
    crc = crc32(crc, block + HEADER_CRC + 4, bytes - HEADER_CRC - 4);
    return crc == load32(block + HEADER_CRC);
}

static uint64_t entries_blocks(const struct gpt_header *h, uint32_t bytes)
{
    return (gpt_entries_bytes(h) + bytes - 1) / bytes;
}

/* The places that it names are on the disk. */
static bool places_are_there(const struct gpt_header *h, uint64_t count, uint64_t blocks)
{
    return h->first_usable <= h->last_usable && h->last_usable < blocks && h->entries_block < blocks &&
           count <= blocks - h->entries_block;
}

/* No partition may have a part of the table in it, which a guest would then write. */
static bool is_apart(const struct gpt_header *h, uint64_t first, uint64_t count)
{
    return first > h->last_usable || first + count <= h->first_usable;
}

const char *gpt_read_header(struct gpt_header *header, const uint8_t *block, uint32_t bytes,
                            uint64_t my_block, uint64_t blocks)
{
    uint32_t header_bytes = load32(block + HEADER_BYTES);

    if (memcmp(block, "EFI PART", 8) != 0)
        return "has no signature";
    if (header_bytes < HEADER_LEAST || header_bytes > bytes)
        return "has a wrong size";
    if (!crc_is_right(block, header_bytes))
        return "has a wrong checksum";
    if (load32(block + HEADER_REVISION) >> 16 != 1)
        return "has a revision that is not 1.x";
    *header = (struct gpt_header){ .my_block = load64(block + HEADER_MY_BLOCK),
                                   .other_block = load64(block + HEADER_OTHER_BLOCK),
                                   .first_usable = load64(block + HEADER_FIRST_USABLE),
                                   .last_usable = load64(block + HEADER_LAST_USABLE),
                                   .entries_block = load64(block + HEADER_ENTRIES_BLOCK),
                                   .entries = load32(block + HEADER_ENTRIES),
                                   .entry_bytes = load32(block + HEADER_ENTRY_BYTES),
                                   .entries_crc = load32(block + HEADER_ENTRIES_CRC) };
    if (header->my_block != my_block)
        return "is not where it says";
    if (header->entry_bytes < ENTRY_LEAST || header->entry_bytes > 4096 ||
        (header->entry_bytes & (header->entry_bytes - 1)))
        return "has a wrong size of entries";
    if (header->entries == 0 || header->entries > GPT_ENTRIES_BYTES / header->entry_bytes)
        return "has too many entries, or none";
    if (!places_are_there(header, entries_blocks(header, bytes), blocks))
        return "names blocks that the disk has not";
    if (header->first_usable < 2 || !is_apart(header, my_block, 1) ||
        !is_apart(header, header->entries_block, entries_blocks(header, bytes)))
        return "lets partitions have blocks of its own";
    return NULL;
}

/* The first three fields are little-endian numbers, the rest are bytes (UEFI appendix A). */
static void guid_text(const uint8_t *guid, char to[PARTITION_UUID_MAX])
{
    format_text(to, PARTITION_UUID_MAX, "%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", load32(guid),
                load16(guid + 4), load16(guid + 6), guid[8], guid[9], guid[10], guid[11], guid[12], guid[13],
                guid[14], guid[15]);
}

static bool is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

/* A surrogate without its other half, or a control character, becomes a question mark. */
static void label_text(const uint8_t *name, char to[PARTITION_LABEL_MAX])
{
    for (unsigned i = 0; i < ENTRY_NAME_UNITS; i++) {
        uint32_t code = load16(name + 2 * i);
        uint32_t low = i + 1 < ENTRY_NAME_UNITS ? load16(name + 2 * (i + 1)) : 0;

        if (code == 0)
            break;
        if (code >= 0xd800 && code < 0xdc00 && low >= 0xdc00 && low < 0xe000) {
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
            i++;
        } else if ((code >= 0xd800 && code < 0xe000) || is_control(code)) {
            code = '?';
        }
        to += utf8_encode(code, to);
    }
    *to = '\0';
}
static_assert(PARTITION_LABEL_MAX > 3 * ENTRY_NAME_UNITS, "no unit takes more than three bytes of UTF-8");

enum partition_found gpt_read_entry(const struct gpt_header *header, const uint8_t *entries, unsigned index,
                                    struct partition_entry *to)
{
    const uint8_t *entry = entries + (size_t)index * header->entry_bytes;
    uint64_t first = load64(entry + ENTRY_FIRST), last = load64(entry + ENTRY_LAST);
    static const uint8_t unused[16];

    if (memcmp(entry + ENTRY_TYPE, unused, sizeof(unused)) == 0)
        return PARTITION_NONE;
    if (first > last || first < header->first_usable || last > header->last_usable)
        return PARTITION_WRONG;
    *to = (struct partition_entry){ .first = first, .blocks = last - first + 1 };
    guid_text(entry + ENTRY_UUID, to->uuid);
    label_text(entry + ENTRY_NAME, to->label);
    return PARTITION_FOUND;
}

/* --- MBR */

static const uint8_t *record(const uint8_t *block, unsigned index)
{
    return block + MBR_RECORDS + index * MBR_RECORD_BYTES;
}

bool mbr_is_there(const uint8_t block[MBR_BYTES])
{
    if (load16(block + MBR_MARK) != 0xaa55)
        return false;
    for (unsigned i = 0; i < MBR_ENTRIES; i++)
        if (record(block, i)[RECORD_STATUS] & 0x7f) /* 0x80 is active, 0 is not; there is nothing else */
            return false;
    return true;
}

bool mbr_is_protective(const uint8_t block[MBR_BYTES])
{
    for (unsigned i = 0; i < MBR_ENTRIES; i++)
        if (record(block, i)[RECORD_TYPE] == TYPE_PROTECTIVE)
            return true;
    return false;
}

enum partition_found mbr_read_entry(const uint8_t block[MBR_BYTES], unsigned index, uint64_t base,
                                    uint64_t blocks, struct partition_entry *to)
{
    const uint8_t *at = record(block, index);
    uint8_t type = at[RECORD_TYPE];
    uint64_t first = base + load32(at + RECORD_FIRST), count = load32(at + RECORD_BLOCKS);

    if (type == 0 || count == 0)
        return PARTITION_NONE;
    if (first == base || first >= blocks || count > blocks - first)
        return PARTITION_WRONG;
    *to = (struct partition_entry){ .first = first, .blocks = count };
    if (type == TYPE_EXTENDED || type == TYPE_EXTENDED_LBA || type == TYPE_EXTENDED_LINUX)
        return PARTITION_EXTENDED;
    return PARTITION_FOUND;
}

void mbr_uuid(const uint8_t block[MBR_BYTES], unsigned number, char to[PARTITION_UUID_MAX])
{
    format_text(to, PARTITION_UUID_MAX, "%08x-%02x", load32(block + MBR_SIGNATURE), number);
}
