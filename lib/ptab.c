#include "lib/ptab.h"
#include "lib/errno.h"

#define ENTRIES    512u
#define LEVEL_BITS 9

enum change_kind { CHANGE_MAP, CHANGE_UNMAP, CHANGE_PROTECT };

/* What one operation does to every address of its range. */
struct change {
    enum change_kind kind;
    uint64_t offset; /* map: target - address, modulo 2^64 */
    uint32_t flags;  /* map, protect */
};

static unsigned level_shift(unsigned level)
{
    return PAGE_SHIFT + LEVEL_BITS * level;
}

/* Bytes that one entry at `level` translates. */
static uint64_t level_span(unsigned level)
{
    return UINT64_C(1) << level_shift(level);
}

static uint64_t *table_pointer(const struct ptab *tab, hpa_t table)
{
    return tab->memory->pointer(tab->memory->context, table);
}

static uint64_t *entry_pointer(const struct ptab *tab, hpa_t table, unsigned level, uint64_t address)
{
    return table_pointer(tab, table) + ((address >> level_shift(level)) & (ENTRIES - 1));
}

/* The one way into a table that hardware may be walking: whole entries, and never before what they refer to.
 */
static void entry_store(const struct ptab *tab, uint64_t *entry, uint64_t value)
{
    if (tab->memory->store)
        tab->memory->store(tab->memory->context, entry, value);
    else
        __atomic_store_n(entry, value, __ATOMIC_RELEASE);
}

static bool is_table(const struct ptab *tab, uint64_t entry, unsigned level)
{
    return tab->format->is_present(entry) && !tab->format->is_leaf(entry, level);
}

static hpa_t entry_table(const struct ptab *tab, uint64_t entry)
{
    return hpa(entry & tab->format->address_mask);
}

/* In a large leaf, low address bits may have other meanings (PAT). */
static uint64_t leaf_target(const struct ptab *tab, uint64_t entry, unsigned level)
{
    return align_down(entry & tab->format->address_mask, level_span(level));
}

static hpa_t table_alloc(struct ptab *tab)
{
    hpa_t table = tab->memory->alloc(tab->memory->context);

    if (table.raw)
        tab->tables++;
    return table;
}

static void table_free(struct ptab *tab, hpa_t table)
{
    tab->tables--;
    tab->memory->free(tab->memory->context, table);
}

/* Frees a table whose entries translate at `level`, and all below it. */
static void tree_free(struct ptab *tab, hpa_t table, unsigned level)
{
    uint64_t *entries = table_pointer(tab, table);

    for (unsigned i = 0; level && i < ENTRIES; i++)
        if (is_table(tab, entries[i], level))
            tree_free(tab, entry_table(tab, entries[i]), level - 1);
    table_free(tab, table);
}

static bool table_is_empty(const struct ptab *tab, hpa_t table)
{
    const uint64_t *entries = table_pointer(tab, table);

    for (unsigned i = 0; i < ENTRIES; i++)
        if (tab->format->is_present(entries[i]))
            return false;
    return true;
}

/* Puts a table in the place of a leaf or of nothing; it is filled first, so that no translation changes. */
static int entry_split(struct ptab *tab, uint64_t *entry, unsigned level)
{
    const struct ptab_format *format = tab->format;
    hpa_t table = table_alloc(tab);

    if (!table.raw)
        return -ENOMEM;

    if (format->is_present(*entry)) {
        uint64_t *lower = table_pointer(tab, table);
        uint64_t bits = format->leaf(level - 1, format->flags(*entry, level));
        uint64_t target = leaf_target(tab, *entry, level);

        for (unsigned i = 0; i < ENTRIES; i++)
            entry_store(tab, &lower[i], bits | (target + i * level_span(level - 1)));
    }
    entry_store(tab, entry, format->table() | table.raw);
    return 0;
}

/* Nothing to do: a hole that stays one, or a page that is already as wanted, as far as the format can
 * express what is wanted. */
static bool is_done(const struct ptab *tab, const struct change *change, uint64_t entry, unsigned level,
                    uint64_t address)
{
    const struct ptab_format *format = tab->format;

    if (!format->is_present(entry))
        return change->kind != CHANGE_MAP;
    if (change->kind == CHANGE_UNMAP || is_table(tab, entry, level) ||
        format->flags(entry, level) != format->flags(format->leaf(level, change->flags), level))
        return false;
    return change->kind == CHANGE_PROTECT ||
           leaf_target(tab, entry, level) == align_down(address, level_span(level)) + change->offset;
}

/* Can one store to the entry change all that it translates? */
static bool is_whole(const struct ptab *tab, const struct change *change, uint64_t entry, unsigned level,
                     uint64_t address)
{
    switch (change->kind) {
    case CHANGE_MAP:
        return level <= tab->format->large_level && is_aligned(address + change->offset, level_span(level));
    case CHANGE_PROTECT:
        return !is_table(tab, entry, level);
    default:
        return true;
    }
}

static void entry_replace(struct ptab *tab, const struct change *change, uint64_t *entry, unsigned level,
                          uint64_t address)
{
    uint64_t old = *entry, value = 0;

    if (change->kind == CHANGE_MAP)
        value = tab->format->leaf(level, change->flags) | (address + change->offset);
    else if (change->kind == CHANGE_PROTECT)
        value = tab->format->leaf(level, change->flags) | leaf_target(tab, old, level);
    entry_store(tab, entry, value);
    if (is_table(tab, old, level))
        tree_free(tab, entry_table(tab, old), level - 1);
}

static int table_change(struct ptab *tab, const struct change *change, hpa_t table, unsigned level,
                        uint64_t address, uint64_t end);

/* Changes a part of what the entry translates, in a lower table. */
static int entry_descend(struct ptab *tab, const struct change *change, uint64_t *entry, unsigned level,
                         uint64_t address, uint64_t end)
{
    int error = 0;
    hpa_t lower;

    if (!is_table(tab, *entry, level))
        error = entry_split(tab, entry, level);
    if (error)
        return error;

    lower = entry_table(tab, *entry);
    error = table_change(tab, change, lower, level - 1, address, end);
    if ((error || change->kind == CHANGE_UNMAP) && table_is_empty(tab, lower)) {
        entry_store(tab, entry, 0);
        table_free(tab, lower);
    }
    return error;
}

/* Changes [address, end), which lies inside what `table` translates. Recursion ends at level 0, where every
 * entry is whole. */
static int table_change(struct ptab *tab, const struct change *change, hpa_t table, unsigned level,
                        uint64_t address, uint64_t end)
{
    while (address < end) {
        uint64_t *entry = entry_pointer(tab, table, level, address);
        uint64_t next = min_u64(end, align_down(address, level_span(level)) + level_span(level));
        bool covered = next - address == level_span(level);
        int error;

        if (is_done(tab, change, *entry, level, address)) {
            address = next;
            continue;
        }
        if (covered && is_whole(tab, change, *entry, level, address)) {
            entry_replace(tab, change, entry, level, address);
        } else {
            error = entry_descend(tab, change, entry, level, address, next);
            if (error)
                return error;
        }
        address = next;
    }
    return 0;
}

/* Takes the sign extension off a canonical address; false if the address has bits that no level translates.
 */
static bool strip_address(const struct ptab *tab, uint64_t *address)
{
    unsigned bits = level_shift(tab->format->levels);
    uint64_t sign_extension = ~UINT64_C(0) << (bits - 1);

    if ((*address & sign_extension) == sign_extension)
        *address &= BIT(bits) - 1;
    return *address >> bits == 0;
}

static int change_range(struct ptab *tab, const struct change *change, uint64_t address, uint64_t size)
{
    if (!is_aligned(address | size, PAGE_SIZE) || !strip_address(tab, &address) ||
        size > level_span(tab->format->levels) - address)
        return -EINVAL;
    return table_change(tab, change, tab->root, tab->format->levels - 1, address, address + size);
}

int ptab_init(struct ptab *tab, const struct ptab_format *format, const struct ptab_memory *memory)
{
    *tab = (struct ptab){ .format = format, .memory = memory };
    tab->root = table_alloc(tab);
    return tab->root.raw ? 0 : -ENOMEM;
}

void ptab_destroy(struct ptab *tab)
{
    tree_free(tab, tab->root, tab->format->levels - 1);
    tab->root = hpa(0);
}

int ptab_map(struct ptab *tab, uint64_t address, hpa_t target, uint64_t size, uint32_t flags)
{
    struct change change = { .kind = CHANGE_MAP, .flags = flags };
    uint64_t limit = tab->format->address_mask | PAGE_MASK;

    if (!is_aligned(target.raw, PAGE_SIZE) || target.raw > limit || size > limit - target.raw + 1 ||
        !strip_address(tab, &address))
        return -EINVAL;
    change.offset = target.raw - address;
    return change_range(tab, &change, address, size);
}

int ptab_unmap(struct ptab *tab, uint64_t address, uint64_t size)
{
    return change_range(tab, &(struct change){ .kind = CHANGE_UNMAP }, address, size);
}

int ptab_protect(struct ptab *tab, uint64_t address, uint64_t size, uint32_t flags)
{
    return change_range(tab, &(struct change){ .kind = CHANGE_PROTECT, .flags = flags }, address, size);
}

bool ptab_lookup(const struct ptab *tab, uint64_t address, struct ptab_mapping *out)
{
    uint64_t translated = address;
    hpa_t table = tab->root;

    if (!strip_address(tab, &translated))
        return false;
    for (unsigned level = tab->format->levels - 1;; level--) {
        uint64_t entry = *entry_pointer(tab, table, level, translated);

        if (!tab->format->is_present(entry))
            return false;
        if (tab->format->is_leaf(entry, level)) {
            *out = (struct ptab_mapping){ .address = align_down(address, level_span(level)),
                                          .target = hpa(leaf_target(tab, entry, level)),
                                          .size = level_span(level),
                                          .flags = tab->format->flags(entry, level) };
            return true;
        }
        table = entry_table(tab, entry);
    }
}
