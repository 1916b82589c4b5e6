/* What disks say, made readable, and what they cannot reach, copied. Compiles on the host. */
#include "drivers/storage.h"
#include "lib/string.h"

/* Volume descriptors begin at byte 32768 (ECMA-119, 8.4): sector 64. tools/mkiso names its volumes. */
#define ISO_MAGIC  "\1CD001\1"
#define ISO_VOLUME 40
#define OUR_VOLUME "PLINTH" /* padded with blanks to 32 bytes */

void storage_text(char to[BLOCK_SERIAL_MAX], const void *from, unsigned size, bool swapped)
{
    const char *bytes = from;
    unsigned length = 0;

    for (unsigned i = 0; i < size && length < BLOCK_SERIAL_MAX - 1; i++) {
        char c = bytes[swapped ? i ^ 1 : i];

        if (c == '\0')
            break;
        if (c == ' ' && length == 0)
            continue;
        to[length++] = c > ' ' && c < 0x7f ? c : c == ' ' ? ' ' : '?';
    }
    while (length && to[length - 1] == ' ')
        length--;
    to[length] = '\0';
}

void storage_bounce(const struct block_request *request, uint8_t *buffer, bool to_buffer)
{
    for (unsigned i = 0; i < request->segments; i++) {
        const struct block_segment *segment = &request->segment[i];

        if (to_buffer)
            memcpy(buffer, segment->data, segment->bytes);
        else
            memcpy(segment->data, buffer, segment->bytes);
        buffer += segment->bytes;
    }
}

bool storage_is_boot_medium(const uint8_t sector[BLOCK_SECTOR])
{
    static const char volume[] = OUR_VOLUME "                          ";

    static_assert(sizeof(volume) == 32 + 1, "a volume identifier");
    return memcmp(sector, ISO_MAGIC, sizeof(ISO_MAGIC) - 1) == 0 &&
           memcmp(sector + ISO_VOLUME, volume, sizeof(volume) - 1) == 0;
}
