#include "kernel/heap.h"
#include "kernel/frames.h"
#include "kernel/lock.h"
#include "kernel/panic.h"
#include "arch/x86_64/paging.h"
#include "lib/string.h"

/* Sizes up to SMALL_MAX are objects in slabs of one frame; larger ones are blocks of frames of their own. */
#define SMALL_SHIFT 4
#define SMALL_MAX   1024
#define CLASSES     7 /* 16, 32, ... 1024 */
#define LARGE_MAX   (4 * MiB)

#define SLAB_MAGIC 0x42414c53u /* "SLAB" */

/* At the start of its frame; the objects follow. Large blocks are page-aligned and objects never are: so the
 * two are told apart. */
struct slab {
    uint32_t magic;
    uint16_t class;
    uint16_t used;     /* objects */
    struct slab *next; /* in the list of slabs with room; not in it when full */
    struct slab *prev;
    uint64_t taken[4]; /* one bit per object */
} __aligned(64);

#define SLAB_ROOM (PAGE_SIZE - sizeof(struct slab))

static_assert(sizeof(struct slab) == 64, "objects are aligned to 16 bytes");
static_assert(SLAB_ROOM >> SMALL_SHIFT <= 256, "taken[] has a bit for each of the smallest objects");
static_assert(SMALL_MAX == 1 << (SMALL_SHIFT + CLASSES - 1), "the last class");

/* Protects the slabs and the counter. Rank: before the frames' lock. */
static struct lock lock;
static struct slab *with_room[CLASSES];
static uint64_t used;

static size_t class_size(unsigned class)
{
    return (size_t)1 << (SMALL_SHIFT + class);
}

static unsigned class_objects(unsigned class)
{
    return (unsigned)(SLAB_ROOM >> (SMALL_SHIFT + class));
}

static unsigned class_of(size_t size)
{
    unsigned class = 0;

    while (class_size(class) < size)
        class ++;
    return class;
}

static void list_add(struct slab *slab)
{
    struct slab **head = &with_room[slab->class];

    slab->prev = NULL;
    slab->next = *head;
    if (*head)
        (*head)->prev = slab;
    *head = slab;
}

static void list_remove(struct slab *slab)
{
    if (slab->prev)
        slab->prev->next = slab->next;
    else
        with_room[slab->class] = slab->next;
    if (slab->next)
        slab->next->prev = slab->prev;
}

static struct slab *slab_create(unsigned class)
{
    hpa_t frame = frames_alloc(FRAME_ORDER_4K, FRAME_HEAP);
    struct slab *slab;

    if (!frame.raw)
        return NULL;
    slab = phys_to_virt(frame);
    *slab = (struct slab){ .magic = SLAB_MAGIC, .class = (uint16_t) class };
    list_add(slab);
    return slab;
}

static void *small_alloc(size_t size)
{
    unsigned class = class_of(size), word = 0, index;
    struct slab *slab = with_room[class] ? with_room[class] : slab_create(class);

    if (!slab)
        return NULL;
    while (!~slab->taken[word])
        word++;
    index = word * 64 + (unsigned)__builtin_ctzll(~slab->taken[word]);
    slab->taken[word] |= BIT(index % 64);
    if (++slab->used == class_objects(class))
        list_remove(slab);
    used += class_size(class);
    return (uint8_t *)slab + sizeof(*slab) + index * class_size(class);
}

static void small_free(void *at)
{
    uintptr_t offset = ((uintptr_t)at & PAGE_MASK) - sizeof(struct slab);
    struct slab *slab = (void *)((uintptr_t)at & ~PAGE_MASK);
    uintptr_t index;

    if (frames_owner(virt_to_phys(slab)) != FRAME_HEAP || slab->magic != SLAB_MAGIC)
        panic("heap: freeing %p, which is not from the heap", at);
    index = offset >> (SMALL_SHIFT + slab->class);
    if (offset % class_size(slab->class) || index >= class_objects(slab->class) ||
        !(slab->taken[index / 64] & BIT(index % 64)))
        panic("heap: freeing %p, which is no live object (freed twice?)", at);

    slab->taken[index / 64] &= ~BIT(index % 64);
    used -= class_size(slab->class);
    if (slab->used-- == class_objects(slab->class))
        list_add(slab);
    if (!slab->used) {
        list_remove(slab);
        slab->magic = 0;
        frames_free(virt_to_phys(slab), FRAME_ORDER_4K, FRAME_HEAP);
    }
}

static void *large_alloc(size_t size)
{
    unsigned order = FRAME_ORDER_4K;
    hpa_t block;

    while (PAGE_SIZE << order < size)
        order++;
    block = frames_alloc(order, FRAME_HEAP);
    if (!block.raw)
        return NULL;
    used += PAGE_SIZE << order;
    return phys_to_virt(block);
}

static void large_free(void *at)
{
    hpa_t block = virt_to_phys(at);
    unsigned order = frames_order(block);

    if (frames_owner(block) != FRAME_HEAP)
        panic("heap: freeing %p, which is not from the heap (freed twice?)", at);
    used -= PAGE_SIZE << order;
    frames_free(block, order, FRAME_HEAP);
}

void *heap_alloc(size_t size)
{
    void *at;

    if (!size || size > LARGE_MAX)
        return NULL;
    lock_take(&lock);
    at = size <= SMALL_MAX ? small_alloc(size) : large_alloc(size);
    lock_release(&lock);
    return at ? memset(at, 0, size) : NULL;
}

void heap_free(void *at)
{
    if (!at)
        return;
    lock_take(&lock);
    if (is_aligned((uintptr_t)at, PAGE_SIZE))
        large_free(at);
    else
        small_free(at);
    lock_release(&lock);
}

uint64_t heap_used(void)
{
    return __atomic_load_n(&used, __ATOMIC_RELAXED);
}
