/* Virtio over PCI. Section numbers are those of OASIS virtio 1.2. */
#include "devices/vvirtio.h"
#include "devices/vvirtio_without.h"
#include "devices/vvirtio_pci.h"
#include "lib/errno.h"
#include "lib/string.h"

#define DRIVER_STATUS                                                                                        \
    (VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_DRIVER_OK | VIRTIO_FEATURES_OK | VIRTIO_FAILED)

static uint8_t status_of(const struct vvirtio *v)
{
    return __atomic_load_n(&v->s.status, __ATOMIC_RELAXED);
}

/* --- Interrupts
 * ---------------------------------------------------------------------------------------------
 */

/* 4.1.4.5.1: the queue's bit is set only without MSI-X, the other one always. The pin follows, see
 * vvirtio_pci.c. */
static void set_isr(struct vvirtio *v, uint8_t bit)
{
    if (__atomic_fetch_or(&v->s.isr, bit, __ATOMIC_SEQ_CST) == 0 && !vmsix_enabled(&v->msix))
        vpci_pin_rose(v->function.bus);
}

static uint8_t take_isr(struct vvirtio *v)
{
    uint8_t isr = __atomic_exchange_n(&v->s.isr, 0, __ATOMIC_SEQ_CST);

    if (isr && v->function.bus)
        vpci_update_pins(v->function.bus);
    return isr;
}

static void interrupt_config(struct vvirtio *v)
{
    if (!(status_of(v) & VIRTIO_DRIVER_OK))
        return;
    set_isr(v, VIRTIO_ISR_CONFIG);
    vmsix_raise(&v->msix, __atomic_load_n(&v->s.config_vector, __ATOMIC_RELAXED));
}

void vvirtio_interrupt(struct vvirtio *v, struct vvirtio_queue *queue)
{
    bool wanted;
    unsigned vector;

    lock_take(&queue->lock);
    wanted = queue->running && vring_should_notify(&queue->ring);
    vector = queue->s.vector;
    lock_release(&queue->lock);
    if (!wanted)
        return;
    if (vmsix_enabled(&v->msix))
        vmsix_raise(&v->msix, vector);
    else
        set_isr(v, VIRTIO_ISR_QUEUE);
}

void vvirtio_needs_reset(struct vvirtio *v)
{
    if (!(__atomic_fetch_or(&v->s.status, VIRTIO_NEEDS_RESET, __ATOMIC_SEQ_CST) & VIRTIO_NEEDS_RESET))
        interrupt_config(v);
}

void vvirtio_config_changed(struct vvirtio *v)
{
    __atomic_fetch_add(&v->s.generation, 1, __ATOMIC_SEQ_CST);
    interrupt_config(v);
}

/* --- Buffers
 * ------------------------------------------------------------------------------------------------
 */

int vvirtio_pop(struct vvirtio *v, struct vvirtio_queue *queue, struct vring_chain *chain,
                struct vring_segment *segment, unsigned max)
{
    int taken;

    if (!queue->running)
        return 0;
    taken = vring_pop(&queue->ring, chain, segment, max);
    if (unlikely(taken < 0)) {
        vvirtio_needs_reset(v);
        return 0;
    }
    queue->held += (unsigned)taken;
    return taken;
}

void vvirtio_push(struct vvirtio_queue *queue, const struct vring_chain *chain, uint32_t written)
{
    queue->held--;
    if (likely(queue->running))
        vring_push(&queue->ring, chain, written);
}

/* --- Queues
 * -------------------------------------------------------------------------------------------------
 */

static struct vring_config ring_config(uint64_t features, const struct vvirtio_queue_state *s)
{
    return (struct vring_config){
        .desc = s->desc,
        .driver = s->driver,
        .device = s->device,
        .size = s->size,
        .packed = features & VIRTIO_F_PACKED,
        .event_idx = features & VIRTIO_F_EVENT_IDX,
        .indirect = features & VIRTIO_F_INDIRECT,
    };
}

/* Whether the device may take buffers follows from the state. The queue's lock is held. */
static void update_running(const struct vvirtio *v, struct vvirtio_queue *queue)
{
    queue->running = queue->s.enabled && !queue->s.resetting && !v->s.resetting &&
                     (status_of(v) & VIRTIO_DRIVER_OK);
}

static void update_all(struct vvirtio *v)
{
    for (unsigned i = 0; i < v->queues; i++) {
        lock_take(&v->queue[i].lock);
        update_running(v, &v->queue[i]);
        lock_release(&v->queue[i].lock);
    }
}

/* As after a reset (4.1.4.3.1). The queue's lock is held. */
static void default_queue(struct vvirtio_queue *queue)
{
    queue->s = (struct vvirtio_queue_state){ .size = queue->max_size, .vector = VIRTIO_NO_VECTOR };
    queue->ring = (struct vring){ .s.broken = 1 };
    queue->running = false;
}

static void enable(struct vvirtio *v, struct vvirtio_queue *queue)
{
    struct vring_config config = ring_config(v->s.driver_features, &queue->s);
    int err;

    if (queue->s.enabled || !(status_of(v) & VIRTIO_FEATURES_OK))
        return;
    lock_take(&queue->lock);
    err = vring_init(&queue->ring, v->mem, &config);
    queue->s.enabled = !err;
    update_running(v, queue);
    lock_release(&queue->lock);
    if (err)
        vvirtio_needs_reset(v);
}

/* 2.6.1: the queue stops at once, and is reset when nothing of it is in flight any more: see settle(). */
static void begin_queue_reset(struct vvirtio *v, struct vvirtio_queue *queue)
{
    if (!vvirtio_has(v, VIRTIO_F_RING_RESET) || !queue->s.enabled)
        return;
    lock_take(&queue->lock);
    queue->s.resetting = 1;
    update_running(v, queue);
    lock_release(&queue->lock);
}

bool vvirtio_is_idle(struct vvirtio *v)
{
    unsigned held = 0;

    for (unsigned i = 0; i < v->queues; i++) {
        lock_take(&v->queue[i].lock);
        held += v->queue[i].held;
        lock_release(&v->queue[i].lock);
    }
    return held == 0;
}

/*
 * Ends resets of which the last buffer has come back. Nobody waits for that end but the driver, who asks: so
 * it is done when he does, and whoever gives back the last buffer needs no lock but the queue's.
 */
static void settle(struct vvirtio *v)
{
    if (v->s.resetting && vvirtio_is_idle(v)) {
        for (unsigned i = 0; i < v->queues; i++) {
            lock_take(&v->queue[i].lock);
            default_queue(&v->queue[i]);
            lock_release(&v->queue[i].lock);
        }
        v->s.driver_features = 0;
        v->s.device_feature_select = v->s.driver_feature_select = 0;
        v->s.queue_select = 0;
        __atomic_store_n(&v->s.config_vector, VIRTIO_NO_VECTOR, __ATOMIC_RELAXED);
        take_isr(v);
        __atomic_store_n(&v->s.status, 0, __ATOMIC_RELAXED);
        v->s.resetting = 0;
        if (v->ops->reset)
            v->ops->reset(v->device);
    }
    for (unsigned i = 0; i < v->queues; i++) {
        struct vvirtio_queue *queue = &v->queue[i];

        lock_take(&queue->lock);
        if (queue->s.resetting && queue->held == 0)
            default_queue(queue);
        lock_release(&queue->lock);
    }
}

static void begin_reset(struct vvirtio *v)
{
    v->s.resetting = 1;
    update_all(v);
    settle(v);
}

/* --- Common configuration, 4.1.4.3
 * --------------------------------------------------------------------------
 */

/* 2.2.1 and 3.1.1: what the driver wants must be among what is offered, and it must be a modern driver. */
static bool features_fit(const struct vvirtio *v)
{
    return !(v->s.driver_features & ~v->features) && (v->s.driver_features & VIRTIO_F_VERSION_1);
}

/* 2.1.1: bits are only added; FEATURES_OK and DRIVER_OK in their order. 0 is a reset. */
static void write_status(struct vvirtio *v, uint8_t value)
{
    uint8_t now = status_of(v), add = value & DRIVER_STATUS & (uint8_t)~now;

    if (value == 0) {
        begin_reset(v);
        return;
    }
    if (v->s.resetting)
        return;
    if ((add & VIRTIO_FEATURES_OK) && !features_fit(v))
        add &= (uint8_t)~VIRTIO_FEATURES_OK;
    if (!((now | add) & VIRTIO_FEATURES_OK))
        add &= (uint8_t)~VIRTIO_DRIVER_OK;
    __atomic_fetch_or(&v->s.status, add, __ATOMIC_SEQ_CST);
    if (!(add & VIRTIO_DRIVER_OK))
        return;
    update_all(v);
    if (v->ops->started)
        v->ops->started(v->device);
}

static void write_features(struct vvirtio *v, uint32_t value)
{
    unsigned shift = 32 * v->s.driver_feature_select;

    if (v->s.driver_feature_select > 1 || (status_of(v) & VIRTIO_FEATURES_OK))
        return;
    v->s.driver_features &= ~((uint64_t)UINT32_MAX << shift);
    v->s.driver_features |= (uint64_t)value << shift;
}

/* 4.1.5.1.2: a vector that there is not reads back as none. */
static uint16_t vector_of(const struct vvirtio *v, uint64_t value)
{
    return value < v->msix.count ? (uint16_t)value : VIRTIO_NO_VECTOR;
}

static void write_half(uint64_t *field, uint32_t offset, uint32_t value)
{
    unsigned shift = offset & 4 ? 32 : 0;

    *field = (*field & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)value << shift;
}

/* 4.1.4.3.2: nothing of a queue but its vector is written while it is enabled. */
static void write_queue(struct vvirtio *v, uint32_t offset, unsigned size, uint32_t value)
{
    struct vvirtio_queue *queue;

    if (v->s.queue_select >= v->queues)
        return;
    queue = &v->queue[v->s.queue_select];
    if (size == 2 && offset == VIRTIO_COMMON_QUEUE_VECTOR) {
        lock_take(&queue->lock);
        queue->s.vector = vector_of(v, value);
        lock_release(&queue->lock);
    } else if (size == 2 && offset == VIRTIO_COMMON_QUEUE_RESET && value == 1) {
        begin_queue_reset(v, queue);
    } else if (queue->s.enabled) {
        return;
    } else if (size == 2 && offset == VIRTIO_COMMON_QUEUE_ENABLE && value == 1) {
        enable(v, queue);
    } else if (size == 2 && offset == VIRTIO_COMMON_QUEUE_SIZE && value > 0 && value <= queue->max_size) {
        queue->s.size = (uint16_t)value;
    } else if (size == 4 && (offset & ~4u) == VIRTIO_COMMON_QUEUE_DESC) {
        write_half(&queue->s.desc, offset, value);
    } else if (size == 4 && (offset & ~4u) == VIRTIO_COMMON_QUEUE_DRIVER) {
        write_half(&queue->s.driver, offset, value);
    } else if (size == 4 && (offset & ~4u) == VIRTIO_COMMON_QUEUE_DEVICE) {
        write_half(&queue->s.device, offset, value);
    }
}

/* Each field is written as a whole, by its own width (4.1.3.1). */
static void write_common(struct vvirtio *v, uint32_t offset, unsigned size, uint32_t value)
{
    if (size == 1 && offset == VIRTIO_COMMON_STATUS) {
        write_status(v, (uint8_t)value);
        return;
    }
    if (v->s.resetting)
        return;
    if (size == 4 && offset == VIRTIO_COMMON_DEVICE_FEATURE_SELECT)
        v->s.device_feature_select = value;
    else if (size == 4 && offset == VIRTIO_COMMON_DRIVER_FEATURE_SELECT)
        v->s.driver_feature_select = value;
    else if (size == 4 && offset == VIRTIO_COMMON_DRIVER_FEATURE)
        write_features(v, value);
    else if (size == 2 && offset == VIRTIO_COMMON_CONFIG_VECTOR)
        __atomic_store_n(&v->s.config_vector, vector_of(v, value), __ATOMIC_RELAXED);
    else if (size == 2 && offset == VIRTIO_COMMON_QUEUE_SELECT)
        v->s.queue_select = (uint16_t)value;
    else
        write_queue(v, offset, size, value);
}

static uint32_t half(uint64_t features, uint32_t select)
{
    return select > 1 ? 0 : (uint32_t)(features >> 32 * select);
}

/* A queue that there is not has size 0. */
static uint32_t read_queue(const struct vvirtio *v, uint32_t dword)
{
    static const struct vvirtio_queue_state absent = { .vector = VIRTIO_NO_VECTOR };
    bool there = v->s.queue_select < v->queues;
    const struct vvirtio_queue_state *s = there ? &v->queue[v->s.queue_select].s : &absent;

    switch (dword) {
    case VIRTIO_COMMON_QUEUE_SIZE:
        return s->size | (uint32_t)s->vector << 16;
    case VIRTIO_COMMON_QUEUE_ENABLE:
        return s->enabled | (there ? (uint32_t)v->s.queue_select << 16 : 0);
    case VIRTIO_COMMON_QUEUE_DESC:
    case VIRTIO_COMMON_QUEUE_DESC + 4:
        return (uint32_t)(s->desc >> 8 * (dword & 4));
    case VIRTIO_COMMON_QUEUE_DRIVER:
    case VIRTIO_COMMON_QUEUE_DRIVER + 4:
        return (uint32_t)(s->driver >> 8 * (dword & 4));
    case VIRTIO_COMMON_QUEUE_DEVICE:
    case VIRTIO_COMMON_QUEUE_DEVICE + 4:
        return (uint32_t)(s->device >> 8 * (dword & 4));
    case VIRTIO_COMMON_QUEUE_NOTIFY_DATA:
        return (there ? v->s.queue_select : 0) | (uint32_t)s->resetting << 16;
    default:
        return 0;
    }
}

static uint32_t read_common(struct vvirtio *v, uint32_t dword)
{
    settle(v);
    switch (dword) {
    case VIRTIO_COMMON_DEVICE_FEATURE_SELECT:
        return v->s.device_feature_select;
    case VIRTIO_COMMON_DEVICE_FEATURE:
        return half(v->features, v->s.device_feature_select);
    case VIRTIO_COMMON_DRIVER_FEATURE_SELECT:
        return v->s.driver_feature_select;
    case VIRTIO_COMMON_DRIVER_FEATURE:
        return half(v->s.driver_features, v->s.driver_feature_select);
    case VIRTIO_COMMON_CONFIG_VECTOR:
        return v->s.config_vector | v->queues << 16;
    case VIRTIO_COMMON_STATUS:
        return status_of(v) | (uint32_t)__atomic_load_n(&v->s.generation, __ATOMIC_SEQ_CST) << 8 |
               (uint32_t)v->s.queue_select << 16;
    default:
        return read_queue(v, dword);
    }
}

/* --- BAR 0
 * --------------------------------------------------------------------------------------------------
 */

static uint64_t part(uint32_t dword, uint32_t offset, unsigned size)
{
    return (dword >> (8 * (offset % 4))) & (UINT32_MAX >> (32 - 8 * size));
}

uint64_t vvirtio_read(void *virtio, uint32_t offset, unsigned size)
{
    struct vvirtio *v = virtio;
    uint32_t at = offset & PAGE_MASK;

    switch (offset >> PAGE_SHIFT) {
    case VVIRTIO_COMMON:
        return at < VIRTIO_COMMON_SIZE ? part(read_common(v, at & ~3u), at, size) : 0;
    case VVIRTIO_ISR:
        return at == 0 ? take_isr(v) : 0;
    case VVIRTIO_DEVICE:
        return at < v->config_size ? part(v->ops->config_read(v->device, at / 4), at, size) : 0;
    case VVIRTIO_TABLE:
        return vmsix_read_table(&v->msix, at, size);
    case VVIRTIO_PENDING:
        return vmsix_read_pending(&v->msix, at, size);
    default:
        return 0;
    }
}

/* A doorbell comes first, being what comes often. */
void vvirtio_write(void *virtio, uint32_t offset, unsigned size, uint64_t value)
{
    struct vvirtio *v = virtio;
    uint32_t at = offset & PAGE_MASK;
    unsigned queue = at / VVIRTIO_NOTIFY_MULTIPLIER;

    switch (offset >> PAGE_SHIFT) {
    case VVIRTIO_NOTIFY:
        if (queue < v->queues && v->queue[queue].running)
            v->ops->notified(v->device, queue);
        break;
    case VVIRTIO_COMMON:
        write_common(v, at, size, (uint32_t)value);
        break;
    case VVIRTIO_DEVICE:
        if (v->ops->config_write && at < v->config_size)
            v->ops->config_write(v->device, at, size, (uint32_t)value);
        break;
    case VVIRTIO_TABLE:
        vmsix_write_table(&v->msix, at, size, value);
        break;
    default:
        break;
    }
}

/* --- Life
 * ---------------------------------------------------------------------------------------------------
 */

void vvirtio_init(struct vvirtio *v, const struct vvirtio_kind *kind, const struct gmem *mem,
                  struct vlapic_bus *bus, void *device)
{
    memset(v, 0, sizeof(*v));
    v->queues = kind->queues;
    v->mem = mem;
    v->ops = kind->ops;
    v->device = device;
    v->features = (kind->features & ~vvirtio_withheld(kind->id)) | VIRTIO_F_VERSION_1;
    v->config_size = kind->config_size;
    for (unsigned i = 0; i < v->queues; i++)
        v->queue[i].max_size = kind->queue_size;
    vmsix_init(&v->msix, bus, v->queues + 1);
    vvirtio_pci_init(v, kind);
    vvirtio_reset(v);
}

void vvirtio_reset(struct vvirtio *v)
{
    vvirtio_pci_reset(v);
    vmsix_reset(&v->msix);
    v->s.generation = 0;
    begin_reset(v);
}

void vvirtio_save(struct vvirtio *v, struct vvirtio_state *out)
{
    settle(v);
    *out = v->s;
    memcpy(out->config, v->function.config, sizeof(out->config));
    vmsix_save(&v->msix, &out->msix);
    for (unsigned i = 0; i < v->queues; i++) {
        out->queue[i] = v->queue[i].s;
        if (v->queue[i].s.enabled)
            out->queue[i].ring = v->queue[i].ring.s;
    }
}

static int check_queue(const struct vvirtio *v, const struct vvirtio_state *state, unsigned index)
{
    const struct vvirtio_queue_state *s = &state->queue[index];
    struct vring_config config = ring_config(state->driver_features, s);
    struct vring ring;

    if (s->size == 0 || s->size > v->queue[index].max_size || s->resetting || s->enabled > 1)
        return -EINVAL;
    if (s->vector != VIRTIO_NO_VECTOR && s->vector >= v->msix.count)
        return -EINVAL;
    if (!s->enabled)
        return 0;
    if (!(state->status & VIRTIO_FEATURES_OK) || s->ring.in_flight || vring_init(&ring, v->mem, &config))
        return -EINVAL;
    return vring_check(&config, &s->ring);
}

int vvirtio_check(const struct vvirtio *v, const struct vvirtio_state *s)
{
    if (vpci_check_config(&v->function, s->config) || vmsix_check(&v->msix, &s->msix))
        return -EINVAL;
    if ((s->status & ~(DRIVER_STATUS | VIRTIO_NEEDS_RESET)) || s->resetting ||
        (s->isr & ~(VIRTIO_ISR_QUEUE | VIRTIO_ISR_CONFIG)))
        return -EINVAL;
    if ((s->status & VIRTIO_DRIVER_OK) && !(s->status & VIRTIO_FEATURES_OK))
        return -EINVAL;
    if ((s->status & VIRTIO_FEATURES_OK) &&
        ((s->driver_features & ~v->features) || !(s->driver_features & VIRTIO_F_VERSION_1)))
        return -EINVAL;
    if (s->config_vector != VIRTIO_NO_VECTOR && s->config_vector >= v->msix.count)
        return -EINVAL;
    for (unsigned i = 0; i < v->queues; i++)
        if (check_queue(v, s, i))
            return -EINVAL;
    return 0;
}

static void load_queue(struct vvirtio *v, struct vvirtio_queue *queue, const struct vvirtio_queue_state *s)
{
    struct vring_config config = ring_config(v->s.driver_features, s);

    lock_take(&queue->lock);
    default_queue(queue);
    queue->s = *s;
    queue->s.ring = (struct vring_state){ 0 };
    if (s->enabled && vring_init(&queue->ring, v->mem, &config) == 0)
        queue->ring.s = s->ring;
    update_running(v, queue);
    lock_release(&queue->lock);
}

void vvirtio_load(struct vvirtio *v, const struct vvirtio_state *state)
{
    v->s = *state;
    memset(v->s.config, 0, sizeof(v->s.config));
    memset(&v->s.msix, 0, sizeof(v->s.msix));
    memset(v->s.queue, 0, sizeof(v->s.queue));
    for (unsigned i = 0; i < v->queues; i++)
        load_queue(v, &v->queue[i], &state->queue[i]);
    vmsix_load(&v->msix, &state->msix);
    vvirtio_pci_load(v, state->config);
}
