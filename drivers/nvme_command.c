#include "drivers/nvme_command.h"
#include "arch/x86_64/paging.h"
#include "drivers/storage.h"
#include "lib/errno.h"
#include "lib/string.h"

#define SHIFT_MIN 9
#define SHIFT_MAX 12

/* The first page may begin anywhere; each further piece either goes on where the last one ended, or both are
 * at the border of a page (4.3). */
int nvme_prps(struct nvme_command *command, const struct block_segment *segment, unsigned segments,
              uint64_t *list, hpa_t list_at)
{
    uint64_t end = 0;
    unsigned count = 0;

    command->prp1 = virt_to_phys(segment[0].data).raw;
    for (unsigned i = 0; i < segments; i++) {
        uint64_t at = virt_to_phys(segment[i].data).raw;
        uint64_t page = align_up(at, PAGE_SIZE);

        if (i == 0)
            page = align_down(at, PAGE_SIZE) + PAGE_SIZE; /* PRP 1 has the first */
        else if (at != end && ((at | end) & PAGE_MASK))
            return -EINVAL;
        end = at + segment[i].bytes;
        for (; page < end; page += PAGE_SIZE) {
            if (count == NVME_LIST_ENTRIES)
                return -EINVAL;
            list[count++] = page;
        }
    }
    command->prp2 = count == 0 ? 0 : count == 1 ? list[0] : list_at.raw;
    return 0;
}

int nvme_error(uint32_t code)
{
    switch (code) {
    case 0:
        return 0;
    case NVME_CODE_CAPACITY:
        return -ENOSPC;
    case NVME_CODE_PROTECTED:
    case NVME_CODE_READ_ONLY:
        return -EROFS;
    default:
        return -EIO;
    }
}

static uint64_t little(const uint8_t *from, unsigned bytes)
{
    uint64_t value = 0;

    memcpy(&value, from, bytes);
    return value;
}

void nvme_parse_controller(struct nvme_identity *to, const uint8_t from[NVME_IDENTIFY_BYTES],
                           unsigned page_min)
{
    unsigned shift = from[NVME_CTRL_MDTS] ? from[NVME_CTRL_MDTS] + page_min : 31;
    uint64_t commands = little(from + NVME_CTRL_ONCS, 2);

    storage_text(to->serial, from + NVME_CTRL_SERIAL, NVME_CTRL_SERIAL_SIZE, false);
    storage_text(to->model, from + NVME_CTRL_MODEL, NVME_CTRL_MODEL_SIZE, false);
    to->max_bytes = (uint32_t)min_u64(PAGE_SIZE << (shift < 31 ? shift : 31), NVME_MAX_BYTES);
    to->has_cache = from[NVME_CTRL_VWC] & 1;
    to->has_dataset = commands & NVME_ONCS_DATASET;
    to->has_zeroes = commands & NVME_ONCS_ZEROES;
}

const char *nvme_parse_namespace(struct nvme_shape *to, const uint8_t from[NVME_IDENTIFY_BYTES])
{
    unsigned number = from[NVME_NS_FORMAT] & 0xf;
    uint32_t format = (uint32_t)little(from + NVME_NS_FORMATS + 4 * number, 4);

    to->blocks = little(from + NVME_NS_SIZE, 8);
    to->shift = NVME_FORMAT_SHIFT(format);
    to->readonly = from[NVME_NS_ATTRIBUTE] & 1;
    if (NVME_FORMAT_METADATA(format))
        return "its blocks have metadata";
    if (to->shift < SHIFT_MIN || to->shift > SHIFT_MAX)
        return "its block size is not supported";
    if (to->blocks == 0 || to->blocks > UINT64_MAX >> SHIFT_MAX)
        return "its size makes no sense";
    return NULL;
}
