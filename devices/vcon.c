/* virtio's console. Section numbers are those of OASIS virtio 1.2. */
#include "devices/vcon.h"
#include "hw/virtio_console.h"
#include "lib/errno.h"
#include "lib/string.h"

#define QUEUES 2
#define CLASS  0x078000u /* communication controller, none of the others */

/* The driver reads what is typed, as far as the device can know. */
static bool is_up(uint8_t status)
{
    return (status & (VIRTIO_DRIVER_OK | VIRTIO_NEEDS_RESET | VIRTIO_FAILED)) == VIRTIO_DRIVER_OK;
}

static bool driver_is_up(const struct vcon *vcon)
{
    return is_up(__atomic_load_n(&vcon->virtio.s.status, __ATOMIC_RELAXED));
}

static void stop_listening(struct vcon *vcon)
{
    if (console_listens(vcon->console, vcon))
        console_listen(vcon->console, vcon->other_ready, vcon->other);
}

/* --- Output: 5.3.6 */

/* A buffer, from where the last turn stopped; false: at most *left bytes are out, and there are more. */
static bool put_out(struct vcon *vcon, const struct vring_chain *chain, uint32_t *left)
{
    uint64_t skip = vcon->sent;

    for (unsigned i = 0; i < chain->readable; i++) {
        const struct vring_segment *segment = &vcon->segment[i];
        uint32_t rest, part;

        if (skip >= segment->bytes) {
            skip -= segment->bytes;
            continue;
        }
        rest = segment->bytes - (uint32_t)skip;
        part = (uint32_t)min_u64(rest, *left);
        console_write(vcon->console, segment->data + skip, part);
        vcon->sent += part;
        *left -= part;
        if (part < rest)
            return false;
        skip = 0;
    }
    return true;
}

/*
 * As many buffers as a ring holds, see vcon.h, and *left bytes. A buffer that has more is put back, so that
 * nothing is ever in flight, and looked at anew in the next turn. False: that is to come.
 */
static bool send_some(struct vcon *vcon, struct vvirtio_queue *queue, uint32_t *left)
{
    struct vring_chain chain;

    for (unsigned i = 0; i < VCON_QUEUE_SIZE; i++) {
        struct vvirtio_mark mark = vvirtio_mark(queue);

        if (vvirtio_pop(&vcon->virtio, queue, &chain, vcon->segment, VCON_SEGMENTS) != 1)
            break;
        if (!put_out(vcon, &chain, left)) {
            vvirtio_rewind(queue, &mark);
            return false;
        }
        vcon->sent = 0;
        vvirtio_push(queue, &chain, 0);
    }
    return true;
}

static void send(struct vcon *vcon)
{
    struct vvirtio_queue *queue = &vcon->virtio.queue[VIRTIO_CONSOLE_TRANSMITQ];
    uint32_t left = VCON_TURN;

    lock_take(&queue->lock);
    if (!send_some(vcon, queue, &left))
        vtimer_arm(&vcon->again, vclock_ns(vcon->again.clock) + VCON_PAUSE_NS);
    lock_release(&queue->lock);
    vvirtio_interrupt(&vcon->virtio, queue);
    if (!driver_is_up(vcon))
        stop_listening(vcon);
    else if (left < VCON_TURN && !console_listens(vcon->console, vcon))
        console_listen(vcon->console, vcon_input, vcon);
}

static void send_again(void *device)
{
    send(device);
}

/* --- Input: 5.3.6 */

/* As much as was typed, or as there is room for. Returns what was written. */
static uint32_t fill(struct vcon *vcon, const struct vring_chain *chain)
{
    uint32_t written = 0;
    char c;

    for (unsigned i = chain->readable; i < chain->readable + chain->writable; i++)
        for (uint32_t at = 0; at < vcon->segment[i].bytes; at++) {
            if (!console_get(vcon->console, &c))
                return written;
            vcon->segment[i].data[at] = (uint8_t)c;
            written++;
        }
    return written;
}

void vcon_input(void *device)
{
    struct vcon *vcon = device;
    struct vvirtio_queue *queue = &vcon->virtio.queue[VIRTIO_CONSOLE_RECEIVEQ];
    struct vring_chain chain;

    if (!console_listens(vcon->console, vcon))
        return;
    lock_take(&queue->lock);
    for (unsigned i = 0; i < VCON_QUEUE_SIZE && console_has_input(vcon->console); i++) {
        if (vvirtio_pop(&vcon->virtio, queue, &chain, vcon->segment, VCON_SEGMENTS) != 1)
            break;
        vvirtio_push(queue, &chain, fill(vcon, &chain));
    }
    lock_release(&queue->lock);
    vvirtio_interrupt(&vcon->virtio, queue);
    if (!driver_is_up(vcon))
        stop_listening(vcon);
}

/* --- Life */

static void notified(void *device, unsigned queue)
{
    if (queue == VIRTIO_CONSOLE_TRANSMITQ)
        send(device);
    else
        vcon_input(device);
}

/* There is no size, and one port needs no number. */
static uint32_t config_read(void *device, unsigned index)
{
    (void)device;
    (void)index;
    return 0;
}

/* 5.3.4: an emergency write needs no driver, so it says nothing of who listens. */
static void config_write(void *device, uint32_t offset, unsigned size, uint32_t value)
{
    struct vcon *vcon = device;

    (void)size;
    if (offset == offsetof(struct virtio_console_config, emerg_wr))
        console_put(vcon->console, (char)value);
}

static void was_reset(void *device)
{
    struct vcon *vcon = device;

    vtimer_cancel(&vcon->again);
    vcon->sent = 0;
    stop_listening(vcon);
}

void vcon_init(struct vcon *vcon, const struct gmem *mem, struct vlapic_bus *bus, const struct vclock *clock,
               struct timer_queue *queue, struct console *console)
{
    static const struct vvirtio_ops ops = {
        .notified = notified, .config_read = config_read, .config_write = config_write, .reset = was_reset
    };
    static const struct vvirtio_kind kind = {
        .id = VIRTIO_ID_CONSOLE,
        .class_code = CLASS,
        .queues = QUEUES,
        .queue_size = VCON_QUEUE_SIZE,
        .features = VIRTIO_F_INDIRECT | VIRTIO_F_PACKED | VIRTIO_CONSOLE_F_EMERG_WRITE,
        .config_size = sizeof(struct virtio_console_config),
        .ops = &ops,
    };

    memset(vcon, 0, sizeof(*vcon));
    vcon->console = console;
    vcon->other_ready = console->input_ready;
    vcon->other = console->input_context;
    vtimer_init(&vcon->again, clock, queue, send_again, vcon);
    vvirtio_init(&vcon->virtio, &kind, mem, bus, vcon);
}

void vcon_reset(struct vcon *vcon)
{
    vvirtio_reset(&vcon->virtio);
}

int vcon_attach(struct vcon *vcon, struct vpci *pci)
{
    return vpci_add(pci, VCON_SLOT, &vcon->virtio.function);
}

/* --- State */

void vcon_save(struct vcon *vcon, struct vcon_state *out)
{
    memset(out, 0, sizeof(*out));
    vvirtio_save(&vcon->virtio, &out->virtio);
    out->sent = vcon->sent;
    out->listens = console_listens(vcon->console, vcon);
}

int vcon_check(const struct vcon *vcon, const struct vcon_state *state)
{
    static const uint8_t zero[sizeof(state->reserved)];
    uint8_t status = state->virtio.status;

    if (state->listens > 1 || (state->listens && !is_up(status)) ||
        memcmp(state->reserved, zero, sizeof(zero)) != 0)
        return -EINVAL;
    if (state->sent &&
        !((status & VIRTIO_DRIVER_OK) && state->virtio.queue[VIRTIO_CONSOLE_TRANSMITQ].enabled))
        return -EINVAL;
    return vvirtio_check(&vcon->virtio, &state->virtio);
}

/* What waits in the rings goes on. */
void vcon_load(struct vcon *vcon, const struct vcon_state *state)
{
    vtimer_cancel(&vcon->again);
    vvirtio_load(&vcon->virtio, &state->virtio);
    vcon->sent = state->sent;
    if (state->listens)
        console_listen(vcon->console, vcon_input, vcon);
    else
        stop_listening(vcon);
    if (state->virtio.status & VIRTIO_DRIVER_OK)
        vtimer_arm(&vcon->again, vclock_ns(vcon->again.clock));
}
