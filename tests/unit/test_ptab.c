/*
 * The page-table walker, over each format. While an operation runs, after every single store and before every
 * table is freed, each of a set of probe addresses must translate to its old or to its new mapping, as a
 * walker of the test's own reads the tables.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include "lib/ptab.h"

#define MAX_TABLES 128
#define TABLE_BASE UINT64_C(0x7000000000) /* tables' physical addresses: far from the targets */
#define MAX_PROBES 256

struct translation {
    bool mapped;
    uint64_t target;
    uint32_t flags;
};

struct probe {
    uint64_t address;
    struct translation old, new;
};

static uint64_t table[MAX_TABLES][512] __attribute__((aligned(4096)));
static bool in_use[MAX_TABLES];
static unsigned live, stores;
static int allocations_left; /* -1: no limit */
static struct ptab *current;
static struct probe probe[MAX_PROBES];
static unsigned probes;

static uint64_t *table_at(uint64_t at)
{
    uint64_t index = (at - TABLE_BASE) / PAGE_SIZE;

    assert_true(at >= TABLE_BASE && index < MAX_TABLES && at % PAGE_SIZE == 0);
    assert_true(in_use[index]); /* nobody reads a freed table */
    return table[index];
}

/* AMD APM vol. 2, 5.3, read anew: what the CPU would do. */
static struct translation walk_x86(uint64_t root, uint64_t address)
{
    for (int shift = 39;; shift -= 9) {
        uint64_t entry = table_at(root)[address >> shift & 511], target = entry & 0xffffffffff000,
                 size = 1ull << shift;
        bool large = shift > 12 && (entry & 0x80);

        if (!(entry & 1))
            return (struct translation){ 0 };
        if (shift == 12 || large) {
            uint64_t pat = (entry >> 3 & 3) | (entry >> (large ? 12 : 7) & 1) << 2;
            static const uint32_t type[8] = { PTAB_WB, PTAB_WT, ~0u, PTAB_UC, PTAB_WC, ~0u, ~0u, ~0u };
            /* The index has PWT as bit 0 and PCD as bit 1. */
            struct translation t = { .mapped = true, .flags = type[pat] | PTAB_READ };

            assert_true((entry & 0x60) == 0x60); /* accessed and dirty are preset */
            assert_true(!large || (target & (size - 1) & ~0x1000ull) == 0);
            t.target = (target & ~(size - 1)) | (address & (size - 1));
            t.flags |= (entry & 2 ? PTAB_WRITE : 0) | (entry & 4 ? PTAB_USER : 0) |
                       (entry & 0x100 ? PTAB_GLOBAL : 0) | (entry >> 63 ? 0 : PTAB_EXEC);
            return t;
        }
        assert_true((entry & 0x27) == 0x27 && !(entry >> 63)); /* an upper level takes no right away */
        root = target;
    }
}

/* The same for Intel SDM vol. 3, 29.3.2 and 29.3.3.1. */
static struct translation walk_ept(uint64_t root, uint64_t address)
{
    for (int shift = 39;; shift -= 9) {
        uint64_t entry = table_at(root)[address >> shift & 511], target = entry & 0xffffffffff000,
                 size = 1ull << shift;

        if (!(entry & 7))
            return (struct translation){ 0 };
        assert_true(entry & 1); /* write alone is a misconfiguration, execute alone one on some CPUs */
        assert_int_equal(entry & ~UINT64_C(0xfffffffffffff), 0); /* neither suppress #VE nor others */
        if (shift == 12 || (entry & 0x80)) {
            static const uint32_t type[8] = { PTAB_UC, PTAB_WC, ~0u, ~0u, PTAB_WT, ~0u, PTAB_WB, ~0u };
            struct translation t = { .mapped = true, .flags = type[entry >> 3 & 7] | PTAB_READ };

            assert_true(shift < 39);                      /* no 512G pages */
            assert_int_equal(entry >> 7 & 1, shift > 12); /* ignored in a 4K leaf, and not set */
            assert_int_equal(entry & 0xf40, 0x300);       /* PAT counts; accessed, dirty */
            assert_int_equal(target & (size - 1), 0);     /* reserved */
            t.target = target | (address & (size - 1));
            t.flags |= (entry & 2 ? PTAB_WRITE : 0) | (entry & 4 ? PTAB_EXEC : 0);
            return t;
        }
        assert_int_equal(entry & 0xfff, 0x107); /* takes no right away; bits 6:3 are reserved */
        root = target;
    }
}

/* What the tests run over. */
struct kind_of_table {
    const struct ptab_format *format;
    struct translation (*walk)(uint64_t root, uint64_t address);
    uint32_t dropped; /* PTAB_ flags without a meaning there */
};

static struct kind_of_table x86 = { &ptab_x86, walk_x86, 0 };
static struct kind_of_table ept = { &ptab_ept, walk_ept, PTAB_USER | PTAB_GLOBAL };
static const struct kind_of_table *table_kind;

/* What of the PTAB_ flags can be had: every page can be read. */
static uint32_t possible(uint32_t flags)
{
    return (flags | PTAB_READ) & ~table_kind->dropped;
}

static struct translation walk(uint64_t root, uint64_t address)
{
    return table_kind->walk(root, address);
}

static bool same(struct translation a, struct translation b)
{
    return a.mapped == b.mapped && a.target == b.target && a.flags == b.flags;
}

static void check_probes(void)
{
    for (unsigned i = 0; current && i < probes; i++) {
        struct translation now = walk(current->root.raw, probe[i].address);

        if (!same(now, probe[i].old) && !same(now, probe[i].new))
            fail_msg("0x%lx: neither old nor new (mapped %d, target 0x%lx, flags %x)", probe[i].address,
                     now.mapped, now.target, now.flags);
    }
}

static hpa_t memory_alloc(void *context)
{
    (void)context;
    if (allocations_left == 0)
        return hpa(0);
    if (allocations_left > 0)
        allocations_left--;
    for (unsigned i = 0; i < MAX_TABLES; i++)
        if (!in_use[i]) {
            in_use[i] = true;
            live++;
            memset(table[i], 0, sizeof(table[i]));
            return hpa(TABLE_BASE + i * PAGE_SIZE);
        }
    fail_msg("the test has too few tables");
    return hpa(0);
}

static void memory_free(void *context, hpa_t at)
{
    (void)context;
    memset(table_at(at.raw), 0x5b,
           PAGE_SIZE); /* if it were still reachable, probes would translate to this */
    in_use[(at.raw - TABLE_BASE) / PAGE_SIZE] = false;
    live--;
    check_probes();
}

static uint64_t *memory_pointer(void *context, hpa_t at)
{
    (void)context;
    return table_at(at.raw);
}

static void memory_store(void *context, uint64_t *entry, uint64_t value)
{
    (void)context;
    *entry = value;
    stores++;
    check_probes();
}

static const struct ptab_memory memory = { memory_alloc, memory_free, memory_pointer, memory_store, NULL };

static void start(struct ptab *tab, void **state)
{
    table_kind = *state;
    memset(in_use, 0, sizeof(in_use));
    live = 0;
    probes = 0;
    allocations_left = -1;
    current = NULL;
    assert_int_equal(ptab_init(tab, table_kind->format, &memory), 0);
    assert_int_equal(live, 1);
    current = tab;
}

static void finish(struct ptab *tab)
{
    current = NULL;
    ptab_destroy(tab);
    assert_int_equal(live, 0);
    assert_int_equal(tab->tables, 0);
}

static void add_probe(uint64_t address)
{
    assert_true(probes < MAX_PROBES);
    probe[probes++] = (struct probe){ .address = address & 0xffffffffffff };
}

/* Tables that hold nothing are given back, also when memory ran out halfway. */
static void check_no_empty_table(uint64_t root)
{
    static const uint64_t empty[512];

    for (unsigned i = 0; i < MAX_TABLES; i++)
        if (in_use[i] && TABLE_BASE + i * PAGE_SIZE != root)
            assert_memory_not_equal(table[i], empty, PAGE_SIZE);
}

enum kind { MAP, UNMAP, PROTECT };

/* Runs an operation, with what every probe must become. After a failure each probe may be old or new. */
static int run(struct ptab *tab, enum kind kind, uint64_t address, uint64_t target, uint64_t size,
               uint32_t flags)
{
    int error;

    for (unsigned i = 0; i < probes; i++) {
        struct probe *p = &probe[i];

        p->new = p->old;
        if (p->address - address >= size)
            continue;
        if (kind == MAP)
            p->new = (struct translation){ true, target + (p->address - address), possible(flags) };
        else if (kind == UNMAP)
            p->new = (struct translation){ 0 };
        else if (p->old.mapped)
            p->new.flags = possible(flags);
    }
    error = kind == MAP     ? ptab_map(tab, address, hpa(target), size, flags)
            : kind == UNMAP ? ptab_unmap(tab, address, size)
                            : ptab_protect(tab, address, size, flags);
    check_probes();
    assert_int_equal(tab->tables, live);
    check_no_empty_table(tab->root.raw);
    for (unsigned i = 0; i < probes; i++) {
        struct translation now = walk(tab->root.raw, probe[i].address);
        struct ptab_mapping found;
        bool mapped = ptab_lookup(tab, probe[i].address, &found);

        if (!error)
            assert_true(same(now, probe[i].new));
        assert_int_equal(mapped, now.mapped);
        if (mapped) {
            assert_int_equal(found.target.raw + (probe[i].address - found.address), now.target);
            assert_int_equal(found.flags, now.flags);
            assert_true(probe[i].address - found.address < found.size);
        }
        probe[i].old = now;
    }
    return error;
}

#define RW (PTAB_READ | PTAB_WRITE)

static uint64_t page_size(const struct ptab *tab, uint64_t address)
{
    struct ptab_mapping found;

    return ptab_lookup(tab, address, &found) ? found.size : 0;
}

static void test_sizes(void **state)
{
    struct ptab tab;

    start(&tab, state);
    add_probe(0);
    add_probe(PAGE_1G + 5);
    add_probe(2 * PAGE_1G + PAGE_2M);
    add_probe(2 * PAGE_1G + PAGE_2M + 4096);
    /* 1 GiB page, then 2 MiB page, then one 4 KiB page */
    assert_int_equal(run(&tab, MAP, PAGE_1G, 3 * PAGE_1G, PAGE_1G + PAGE_2M + PAGE_SIZE, RW), 0);
    assert_int_equal(page_size(&tab, PAGE_1G), PAGE_1G);
    assert_int_equal(page_size(&tab, 2 * PAGE_1G), PAGE_2M);
    assert_int_equal(page_size(&tab, 2 * PAGE_1G + PAGE_2M), PAGE_SIZE);
    assert_int_equal(page_size(&tab, 2 * PAGE_1G + PAGE_2M + PAGE_SIZE), 0);
    assert_int_equal(live, 4);
    /* The target's alignment counts too. */
    assert_int_equal(run(&tab, MAP, 4 * PAGE_1G, PAGE_2M, PAGE_2M, RW), 0);
    assert_int_equal(page_size(&tab, 4 * PAGE_1G), PAGE_2M);
    assert_int_equal(run(&tab, MAP, 4 * PAGE_1G, PAGE_SIZE, PAGE_2M, RW), 0);
    assert_int_equal(page_size(&tab, 4 * PAGE_1G), PAGE_SIZE);
    finish(&tab);
}

/* A 1G page becomes 2M and 4K pages under one protected page, and one page again when it is mapped anew. */
static void test_split_and_merge(void **state)
{
    uint64_t base = 5 * PAGE_1G, hole = base + 7 * PAGE_2M + 3 * PAGE_SIZE;
    struct ptab tab;

    start(&tab, state);
    for (unsigned i = 0; i < 12; i++) {
        add_probe(base + i * PAGE_2M);
        add_probe(base + 7 * PAGE_2M + i * PAGE_SIZE + i);
    }
    assert_int_equal(run(&tab, MAP, base, 0, PAGE_1G, RW | PTAB_WC), 0);
    assert_int_equal(live, 2);
    assert_int_equal(run(&tab, PROTECT, hole, 0, PAGE_SIZE, PTAB_READ | PTAB_EXEC | PTAB_UC), 0);
    assert_int_equal(live, 4);
    assert_int_equal(page_size(&tab, base), PAGE_2M);
    assert_int_equal(page_size(&tab, hole), PAGE_SIZE);
    assert_int_equal(run(&tab, MAP, base, 0, PAGE_1G, RW), 0);
    assert_int_equal(page_size(&tab, hole), PAGE_1G);
    assert_int_equal(live, 2);
    /* What is already as wanted needs neither a store nor a table. */
    stores = 0;
    assert_int_equal(run(&tab, MAP, hole, hole - base, PAGE_SIZE, RW), 0);
    assert_int_equal(run(&tab, PROTECT, hole, 0, PAGE_SIZE, RW), 0);
    /* ... also if more was asked for than can be had. */
    assert_int_equal(run(&tab, MAP, hole, hole - base, PAGE_SIZE, RW | table_kind->dropped), 0);
    assert_int_equal(run(&tab, PROTECT, hole, 0, PAGE_SIZE, RW | table_kind->dropped), 0);
    assert_int_equal(run(&tab, PROTECT, hole, 0, PAGE_SIZE, PTAB_WRITE), 0); /* all can be read */
    assert_int_equal(stores, 0);
    assert_int_equal(run(&tab, UNMAP, hole, 0, PAGE_SIZE, 0), 0);
    assert_int_equal(live, 4);
    assert_int_equal(run(&tab, UNMAP, base, 0, PAGE_1G, 0), 0);
    assert_int_equal(live, 1);
    finish(&tab);
}

static void test_every_type_and_right(void **state)
{
    static const uint64_t size[] = { PAGE_SIZE, PAGE_2M, PAGE_1G };
    struct ptab tab;

    start(&tab, state);
    add_probe(PAGE_1G + 123);
    for (unsigned s = 0; s < ARRAY_SIZE(size); s++)
        for (uint32_t type = 0; type <= PTAB_TYPE_MASK; type += PTAB_WT)
            for (uint32_t rights = 0; rights < 32; rights++)
                assert_int_equal(run(&tab, MAP, PAGE_1G, 8 * PAGE_1G, size[s], type | rights), 0);
    finish(&tab);
}

/* Intel SDM vol. 3, tables of 29.3.2, bit by bit. */
static void test_ept_entries(void **state)
{
    static const struct {
        unsigned level;
        uint32_t flags;
        uint64_t entry;
    } leaf[] = {
        { 0, PTAB_READ | PTAB_WB, 0x331 },
        { 0, RW | PTAB_WB, 0x333 },
        { 0, RW | PTAB_EXEC | PTAB_WB, 0x337 },
        { 0, PTAB_READ | PTAB_EXEC | PTAB_WB, 0x335 },
        { 0, RW | PTAB_UC, 0x303 },
        { 0, RW | PTAB_WC, 0x30b },
        { 0, RW | PTAB_WT, 0x323 },
        { 1, RW | PTAB_EXEC | PTAB_WB, 0x3b7 },
        { 2, RW | PTAB_EXEC | PTAB_WB, 0x3b7 },
        { 2, PTAB_READ | PTAB_UC, 0x381 },
        { 0, PTAB_WRITE, 0x333 }, /* never a write without a read */
        { 0, PTAB_EXEC, 0x335 },
        { 0, 0, 0x331 },
        { 1, RW | PTAB_USER | PTAB_GLOBAL, 0x3b3 },
    };

    (void)state;
    for (unsigned i = 0; i < ARRAY_SIZE(leaf); i++) {
        uint32_t kept = (leaf[i].flags & ~(PTAB_USER | PTAB_GLOBAL)) | PTAB_READ;

        assert_int_equal(ptab_ept.leaf(leaf[i].level, leaf[i].flags), leaf[i].entry);
        assert_int_equal(ptab_ept.flags(leaf[i].entry | 0x7fc0000000, leaf[i].level), kept);
        assert_true(ptab_ept.is_leaf(leaf[i].entry, leaf[i].level));
    }
    assert_int_equal(ptab_ept.table(), 0x107);
    assert_false(ptab_ept.is_leaf(ptab_ept.table(), 1));
    for (uint64_t right = 1; right < 8; right++)
        assert_true(ptab_ept.is_present(right));
    assert_false(ptab_ept.is_present(~UINT64_C(7)));
}

static void test_bad_arguments(void **state)
{
    struct ptab_mapping found;
    struct ptab tab;

    start(&tab, state);
    assert_int_equal(ptab_map(&tab, 1, hpa(0), PAGE_SIZE, RW), -EINVAL);
    assert_int_equal(ptab_map(&tab, 0, hpa(8), PAGE_SIZE, RW), -EINVAL);
    assert_int_equal(ptab_map(&tab, 0, hpa(0), 100, RW), -EINVAL);
    assert_int_equal(ptab_map(&tab, BIT(48), hpa(0), PAGE_SIZE, RW), -EINVAL);
    assert_int_equal(ptab_map(&tab, BIT(48) - PAGE_SIZE, hpa(0), 2 * PAGE_SIZE, RW), -EINVAL);
    assert_int_equal(ptab_map(&tab, 0, hpa(BIT(52)), PAGE_SIZE, RW), -EINVAL);
    assert_int_equal(ptab_map(&tab, 0, hpa(BIT(52) - PAGE_SIZE), 2 * PAGE_SIZE, RW), -EINVAL);
    assert_int_equal(ptab_map(&tab, 0, hpa(0), ~PAGE_MASK, RW), -EINVAL);
    assert_int_equal(ptab_unmap(&tab, 0x123, PAGE_SIZE), -EINVAL);
    assert_int_equal(ptab_protect(&tab, UINT64_C(0xff00000000000000), PAGE_SIZE, RW), -EINVAL);
    assert_int_equal(ptab_map(&tab, 0, hpa(0), 0, RW), 0);
    assert_int_equal(live, 1);
    /* Canonical addresses of the upper half, up to the very last page. */
    assert_int_equal(ptab_map(&tab, ~PAGE_MASK, hpa(BIT(52) - PAGE_SIZE), PAGE_SIZE, RW), 0);
    assert_true(ptab_lookup(&tab, UINT64_MAX, &found));
    assert_int_equal(found.address, ~PAGE_MASK);
    assert_int_equal(found.target.raw, BIT(52) - PAGE_SIZE);
    assert_false(ptab_lookup(&tab, BIT(50), &found));
    finish(&tab);
}

static void test_large_level(void **state)
{
    struct ptab_format only_2m;
    struct ptab tab;

    start(&tab, state);
    only_2m = *table_kind->format;
    only_2m.large_level = 1;
    tab.format = &only_2m;
    assert_int_equal(ptab_map(&tab, 0, hpa(0), PAGE_1G, RW), 0);
    assert_int_equal(page_size(&tab, 0), PAGE_2M);
    finish(&tab);
}

/* Every operation is tried with 0, 1, 2, ... allocations until it succeeds; the tables stay sane in between.
 */
static void test_out_of_memory(void **state)
{
    uint64_t base = 511 * PAGE_1G - PAGE_SIZE; /* 4K, 1G and 4K again, which is below another top entry */
    struct ptab tab;
    int error = -ENOMEM;

    start(&tab, state);
    for (unsigned i = 0; i < 4; i++)
        add_probe(base + i * PAGE_SIZE);
    add_probe(base + PAGE_1G + PAGE_SIZE);
    add_probe(base + PAGE_1G + 2 * PAGE_SIZE);
    for (int n = 0; n <= 6; n++) {
        allocations_left = n;
        error = run(&tab, MAP, base, PAGE_1G - PAGE_SIZE, PAGE_1G + 2 * PAGE_SIZE, RW);
        assert_int_equal(error, n < 6 ? -ENOMEM : 0);
        allocations_left = 0; /* removing whatever whole tables hold needs no memory */
        assert_int_equal(run(&tab, UNMAP, 0, 0, BIT(48), 0), 0);
        assert_int_equal(live, 1);
    }

    allocations_left = -1;
    assert_int_equal(run(&tab, MAP, 0, 0, 1024 * PAGE_1G, RW), 0);
    assert_int_equal(live, 3);
    for (int kind = PROTECT; kind >= UNMAP; kind--) {
        unsigned failures = 0;

        do {
            allocations_left = 1; /* what failed goes on where it stopped, one table at a time */
            error = run(&tab, (enum kind)kind, base, 0, PAGE_1G + 2 * PAGE_SIZE, PTAB_READ);
            assert_true(error == 0 || error == -ENOMEM);
            failures += error != 0;
        } while (error && failures < 10);
        assert_int_equal(error, 0);
        assert_int_equal(failures, kind == PROTECT ? 3 : 0);
    }
    allocations_left = -1;
    finish(&tab);
}

static uint64_t seed;

static uint64_t random_below(uint64_t limit)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % limit;
}

/* An address or size near a boundary of each level, inside 3 GiB around a 512 GiB boundary. */
static uint64_t random_offset(void)
{
    uint64_t at = random_below(3) * PAGE_1G;

    if (random_below(3))
        at += random_below(3) * PAGE_2M + random_below(2) * (PAGE_1G - 4 * PAGE_2M);
    if (random_below(3) == 0)
        at += random_below(2) * (PAGE_2M - 3 * PAGE_SIZE) + random_below(3) * PAGE_SIZE;
    return at;
}

static void test_random(void **state)
{
    const uint64_t base = 510 * PAGE_1G;

    for (uint64_t round = 1; round <= 12; round++) {
        struct ptab tab;

        seed = round;
        start(&tab, state);
        for (unsigned i = 0; i < 100; i++)
            add_probe(base + random_offset() + random_below(PAGE_SIZE));
        for (unsigned i = 0; i < 150; i++) {
            uint64_t from = random_offset(), to = random_offset();
            uint64_t address = base + min_u64(from, to), size = max_u64(from, to) - min_u64(from, to);
            uint64_t target = 8 * PAGE_1G + (address - base) + (random_below(2) ? 0 : random_offset());
            uint32_t flags = (uint32_t)(random_below(4) * PTAB_WT | random_below(32));
            enum kind kind = (enum kind)random_below(3);

            /* Misaligned targets would need a table per 2 MiB. */
            if (size > 16 * PAGE_2M && kind == MAP)
                target = 8 * PAGE_1G + (address - base);
            allocations_left = random_below(4) ? 100 - (int)live : (int)random_below(4);
            if (allocations_left < 0)
                allocations_left = 0;
            run(&tab, kind, address, target, size, flags);
        }
        allocations_left = 0;
        assert_int_equal(run(&tab, UNMAP, 0, 0, BIT(48), 0), 0);
        assert_int_equal(live, 1);
        finish(&tab);
    }
}

#define OVER(test, kind) ((struct CMUnitTest){ #test " over " #kind, test, NULL, NULL, &(kind) })

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER(test_sizes, x86),
        OVER(test_sizes, ept),
        OVER(test_split_and_merge, x86),
        OVER(test_split_and_merge, ept),
        OVER(test_every_type_and_right, x86),
        OVER(test_every_type_and_right, ept),
        OVER(test_bad_arguments, x86),
        OVER(test_bad_arguments, ept),
        OVER(test_large_level, x86),
        OVER(test_large_level, ept),
        OVER(test_out_of_memory, x86),
        OVER(test_out_of_memory, ept),
        OVER(test_random, x86),
        OVER(test_random, ept),
        cmocka_unit_test(test_ept_entries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
