#include "guests/linux_dmesg.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"

#define NOTE_START "OSRELEASE="                 /* the first line of the text, at the start of a page */
#define MAX_TRIES  16                           /* pages that begin like one */
#define KERNEL_MAP UINT64_C(0xffffffff80000000) /* __START_KERNEL_map: the kernel's image, at phys_base */

#define MAX_OFFSET     65536 /* of a member, and size of a structure */
#define MAX_COUNT_BITS 24
#define MAX_SIZE_BITS  30
#define MAX_LINES      1024

/* A descriptor's state is in the two highest bits of state_var, its id in the others. */
#define STATE_SHIFT     62
#define STATE_COMMITTED 1
#define STATE_FINALIZED 2
#define ID_MASK         (BIT(STATE_SHIFT) - 1)

/* A position with bit 0 set stands for no text at all. */
#define LPOS_DATALESS 1

/* Paging as the kernel has it. */
#define CR0_WP_PG_PE    UINT64_C(0x80010001)
#define CR4_PAE_ONLY    UINT64_C(0x20)
#define EFER_NXE_LMA    UINT64_C(0xd00)
#define NUMBER_BASE_TEN 10
#define NUMBER_BASE_HEX 16

/* Lines of the text, KEY=NUMBER. */
static const struct {
    const char *key;
    uint16_t at; /* in struct dmesg_layout */
    uint8_t base;
    bool small; /* an offset or a size */
} keys[] = {
#define KEY(key, member, base, small)                                                                        \
    {                                                                                                        \
        key, offsetof(struct dmesg_layout, member), base, small                                              \
    }
    KEY("SYMBOL(prb)", prb, NUMBER_BASE_HEX, false),
    KEY("SYMBOL(swapper_pg_dir)", tables, NUMBER_BASE_HEX, false),
    KEY("NUMBER(phys_base)", phys_base, NUMBER_BASE_TEN, false),
    KEY("KERNELOFFSET", kernel_offset, NUMBER_BASE_HEX, false),
    KEY("OFFSET(printk_ringbuffer.desc_ring)", desc_ring, NUMBER_BASE_TEN, true),
    KEY("OFFSET(printk_ringbuffer.text_data_ring)", data_ring, NUMBER_BASE_TEN, true),
    KEY("OFFSET(prb_desc_ring.count_bits)", count_bits, NUMBER_BASE_TEN, true),
    KEY("OFFSET(prb_desc_ring.descs)", descs, NUMBER_BASE_TEN, true),
    KEY("OFFSET(prb_desc_ring.infos)", infos, NUMBER_BASE_TEN, true),
    KEY("OFFSET(prb_desc_ring.head_id)", head_id, NUMBER_BASE_TEN, true),
    KEY("OFFSET(prb_desc_ring.tail_id)", tail_id, NUMBER_BASE_TEN, true),
    KEY("SIZE(prb_desc)", desc_size, NUMBER_BASE_TEN, true),
    KEY("OFFSET(prb_desc.state_var)", state_var, NUMBER_BASE_TEN, true),
    KEY("OFFSET(prb_desc.text_blk_lpos)", text_lpos, NUMBER_BASE_TEN, true),
    KEY("OFFSET(prb_data_blk_lpos.begin)", begin, NUMBER_BASE_TEN, true),
    KEY("OFFSET(prb_data_blk_lpos.next)", next, NUMBER_BASE_TEN, true),
    KEY("SIZE(printk_info)", info_size, NUMBER_BASE_TEN, true),
    KEY("OFFSET(printk_info.ts_nsec)", ts_nsec, NUMBER_BASE_TEN, true),
    KEY("OFFSET(printk_info.text_len)", text_len, NUMBER_BASE_TEN, true),
    KEY("OFFSET(prb_data_ring.size_bits)", size_bits, NUMBER_BASE_TEN, true),
    KEY("OFFSET(prb_data_ring.data)", data, NUMBER_BASE_TEN, true),
#undef KEY
};

/* --- The text
 * ---------------------------------------------------------------------------------------- */

/* What follows "KEY=" at the start of a line; NULL: there is no such line. */
static const char *find_value(const char *note, const char *key)
{
    size_t length = strlen(key);

    while (note) {
        if (strncmp(note, key, length) == 0 && note[length] == '=')
            return note + length + 1;
        note = strchr(note, '\n');
        if (note)
            note++;
    }
    return NULL;
}

/* A number up to the end of its line; a minus gives its two's complement. */
static int parse_number(const char *text, unsigned base, uint64_t *out)
{
    bool negative = *text == '-';
    uint64_t value = 0;

    text += negative;
    if (*text == '\n' || !*text)
        return -EINVAL;
    for (; *text && *text != '\n'; text++) {
        unsigned digit = *text >= '0' && *text <= '9'   ? (unsigned)(*text - '0')
                         : *text >= 'a' && *text <= 'f' ? (unsigned)(*text - 'a') + 10
                                                        : 99;

        if (digit >= base || value > (UINT64_MAX - digit) / base)
            return -EINVAL;
        value = value * base + digit;
    }
    *out = negative ? -value : value;
    return 0;
}

static int parse_note(struct linux_dmesg *dmesg)
{
    const char *release = dmesg->note + strlen(NOTE_START);
    size_t length = 0;

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const char *text = find_value(dmesg->note, keys[i].key);
        uint64_t value;

        if (!text || parse_number(text, keys[i].base, &value) || (keys[i].small && value > MAX_OFFSET))
            return -EINVAL;
        memcpy((uint8_t *)&dmesg->layout + keys[i].at, &value, sizeof(value));
    }
    while (length < sizeof(dmesg->release) - 1 && release[length] > ' ' && release[length] <= '~')
        length++;
    memcpy(dmesg->release, release, length);
    dmesg->release[length] = '\0';
    return 0;
}

/* --- The guest's memory
 * ---------------------------------------------------------------------------------------- */

/* `size` bytes at a linear address of the kernel. */
static int read_linear(const struct linux_dmesg *dmesg, uint64_t at, void *to, size_t size)
{
    uint8_t *out = to;

    while (size) {
        size_t part = min_u64(size, PAGE_SIZE - (at & PAGE_MASK));
        uint32_t error;
        gpa_t target;

        if (gva_translate(dmesg->mem, &dmesg->mode, gva(at), 0, &target, &error) ||
            gmem_read(dmesg->mem, target, out, part))
            return -EFAULT;
        at += part;
        out += part;
        size -= part;
    }
    return 0;
}

static int read_word(const struct linux_dmesg *dmesg, uint64_t at, uint64_t *out)
{
    return read_linear(dmesg, at, out, sizeof(*out));
}

static int read_bits(const struct linux_dmesg *dmesg, uint64_t at, unsigned max, unsigned *out)
{
    uint32_t bits;

    if (read_linear(dmesg, at, &bits, sizeof(bits)) || bits == 0 || bits > max)
        return -EFAULT;
    *out = bits;
    return 0;
}

/* From the text to the rings. */
static int open_rings(struct linux_dmesg *dmesg)
{
    const struct dmesg_layout *l = &dmesg->layout;
    uint64_t prb, desc_ring, data_ring;

    dmesg->mode = (struct gva_mode){ .cr0 = CR0_WP_PG_PE,
                                     .cr3 = (l->tables - KERNEL_MAP + l->phys_base) & ~PAGE_MASK,
                                     .cr4 = CR4_PAE_ONLY,
                                     .efer = EFER_NXE_LMA };
    if (read_word(dmesg, l->prb, &prb))
        return -EFAULT;
    desc_ring = prb + l->desc_ring;
    data_ring = prb + l->data_ring;
    if (read_bits(dmesg, desc_ring + l->count_bits, MAX_COUNT_BITS, &dmesg->count_bits) ||
        read_word(dmesg, desc_ring + l->descs, &dmesg->descs) ||
        read_word(dmesg, desc_ring + l->infos, &dmesg->infos) ||
        read_bits(dmesg, data_ring + l->size_bits, MAX_SIZE_BITS, &dmesg->size_bits) ||
        read_word(dmesg, data_ring + l->data, &dmesg->data))
        return -EFAULT;
    return 0;
}

void linux_dmesg_init(struct linux_dmesg *dmesg, const struct gmem *mem)
{
    memset(dmesg, 0, sizeof(*dmesg));
    dmesg->mem = mem;
}

/* The page begins as the text does: is it the one? */
static bool try_page(struct linux_dmesg *dmesg, const uint8_t *page)
{
    dmesg->tries++;
    memcpy(dmesg->note, page, PAGE_SIZE);
    dmesg->note[PAGE_SIZE] = '\0';
    return parse_note(dmesg) == 0 && open_rings(dmesg) == 0;
}

bool linux_dmesg_search(struct linux_dmesg *dmesg)
{
    const struct gmem_slot *slot = &dmesg->mem->slot[dmesg->slot];

    if (dmesg->found || dmesg->slot >= dmesg->mem->count || dmesg->tries >= MAX_TRIES)
        return false;
    for (uint64_t end = dmesg->at + GMEM_CHUNK; dmesg->at < end;) {
        const uint8_t *page = gmem_peek(dmesg->mem, gpa(slot->base.raw + dmesg->at), PAGE_SIZE);

        dmesg->at += PAGE_SIZE;
        if (!page || memcmp(page, NOTE_START, strlen(NOTE_START)) != 0)
            continue;
        dmesg->found = try_page(dmesg, page);
        break; /* it takes as long as the rest of a step */
    }
    if (dmesg->at >= slot->size) {
        dmesg->slot++;
        dmesg->at = 0;
    }
    return !dmesg->found;
}

/* --- The records
 * ---------------------------------------------------------------------------------------- */

void linux_dmesg_tail(struct linux_dmesg *dmesg, unsigned lines)
{
    const struct dmesg_layout *l = &dmesg->layout;
    uint64_t prb, head, tail;

    dmesg->left = 0;
    if (!dmesg->found || read_word(dmesg, l->prb, &prb) ||
        read_word(dmesg, prb + l->desc_ring + l->head_id, &head) ||
        read_word(dmesg, prb + l->desc_ring + l->tail_id, &tail))
        return;
    dmesg->left = min_u64(((head - tail) & ID_MASK) + 1, BIT(dmesg->count_bits));
    dmesg->left = min_u64(dmesg->left, min_u64(lines, MAX_LINES));
    dmesg->id = (head - dmesg->left + 1) & ID_MASK;
}

/*
 * Where the text of a block between two positions lies in the data ring, behind the id that it begins with,
 * and its length with the id. A block that does not fit before the ring's end is at its start instead.
 */
static bool find_block(const struct linux_dmesg *dmesg, uint64_t begin, uint64_t next, uint64_t *at,
                       uint64_t *size)
{
    unsigned bits = dmesg->size_bits;
    uint64_t mask = BIT(bits) - 1;

    if ((begin | next) & LPOS_DATALESS)
        return false;
    if (begin >> bits == (next - 1) >> bits && begin < next) {
        *at = begin & mask;
        *size = next - begin;
    } else if ((begin >> bits) + 1 == (next - 1) >> bits) {
        *at = 0;
        *size = next & mask;
    } else {
        return false;
    }
    return *size > sizeof(uint64_t) && *at + *size <= BIT(bits);
}

/* The text of record `id`: its length, 0 for a record that is not there or has none. */
static size_t read_record(const struct linux_dmesg *dmesg, uint64_t id, uint64_t *ns, char *to, size_t size)
{
    const struct dmesg_layout *l = &dmesg->layout;
    uint64_t index = id & (BIT(dmesg->count_bits) - 1);
    uint64_t desc = dmesg->descs + index * l->desc_size, info = dmesg->infos + index * l->info_size;
    uint64_t state, begin, next, at, block, owner;
    uint16_t length;

    if (read_word(dmesg, desc + l->state_var, &state) ||
        read_word(dmesg, desc + l->text_lpos + l->begin, &begin) ||
        read_word(dmesg, desc + l->text_lpos + l->next, &next) || read_word(dmesg, info + l->ts_nsec, ns) ||
        read_linear(dmesg, info + l->text_len, &length, sizeof(length)))
        return 0;
    if ((state & ID_MASK) != id ||
        (state >> STATE_SHIFT != STATE_COMMITTED && state >> STATE_SHIFT != STATE_FINALIZED))
        return 0;
    if (!find_block(dmesg, begin, next, &at, &block) || read_word(dmesg, dmesg->data + at, &owner) ||
        owner != id)
        return 0;
    size = min_u64(min_u64(size, length), block - sizeof(owner));
    return read_linear(dmesg, dmesg->data + at + sizeof(owner), to, size) ? 0 : size;
}

size_t linux_dmesg_next(struct linux_dmesg *dmesg, char to[DMESG_LINE_MAX])
{
    char text[DMESG_LINE_MAX];

    for (; dmesg->left; dmesg->left--, dmesg->id = (dmesg->id + 1) & ID_MASK) {
        uint64_t ns;
        size_t size = read_record(dmesg, dmesg->id, &ns, text, sizeof(text) - 1);
        int length;

        if (!size)
            continue;
        for (size_t i = 0; i < size; i++)
            if (text[i] < ' ' || text[i] > '~')
                text[i] = text[i] == '\n' ? '|' : '?';
        text[size] = '\0';
        dmesg->left--;
        dmesg->id = (dmesg->id + 1) & ID_MASK;
        length = format_text(to, DMESG_LINE_MAX, "[%5llu.%06llu] %s", (unsigned long long)(ns / 1000000000),
                             (unsigned long long)(ns / 1000 % 1000000), text);
        return min_u64((uint64_t)length, DMESG_LINE_MAX - 1);
    }
    return 0;
}
