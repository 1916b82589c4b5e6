/* virtio's console with rings of anything, rewritten as it reads and writes, beside a 16550: no byte goes
 * where it was not asked for, none that was typed is lost, and no doorbell goes on for ever. */
#include "devices/vcon.h"
#include "devices/vuart.h"
#include "hw/virtio_console.h"
#include "tests/fuzz/virtio_guest.h"

#define START 0x180 /* bytes of input for each queue's beginning */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct vcon vcon;
static struct vuart uart;
static struct console console;

static void round_trip(void)
{
    static struct vcon_state before, after;

    assert(vvirtio_is_idle(&vcon.virtio));
    vcon_save(&vcon, &before);
    assert(vcon_check(&vcon, &before) == 0);
    vcon_load(&vcon, &before);
    vcon_save(&vcon, &after);
    before.listens = after.listens; /* a ring that is only found to be nonsense now ends it */
    before.virtio.status |= after.virtio.status & VIRTIO_NEEDS_RESET;
    assert(before.sent == after.sent && before.virtio.status == after.virtio.status);
    assert(vcon_check(&vcon, &after) == 0);
}

static void do_one(uint8_t what)
{
    uint64_t before = console_end(&console);

    switch (what % 8) {
    case 0:
        if (!console_type(&console, (char)what))
            assert(console_has_input(&console));
        break;
    case 1:
        guest_kick(&vcon.virtio, VIRTIO_CONSOLE_RECEIVEQ);
        break;
    case 2:
        guest_kick(&vcon.virtio, VIRTIO_CONSOLE_TRANSMITQ);
        break;
    case 3:
        advance(&board, VCON_PAUSE_NS);
        break;
    case 4:
        vuart_write(&uart, 0, 1, what);
        break;
    case 5:
        (void)vuart_read(&uart, 0, 1);
        break;
    case 6:
        vvirtio_write(&vcon.virtio, 0x2000 + what / 8 % 16, 1, what);
        break;
    default:
        round_trip();
        break;
    }
    assert(console_end(&console) - before <= 2 * VCON_TURN);
}

/* A byte of choices, the rings' starts, 16 bytes of what is done, and what the thread writes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct guest_material material = { .queues = 2 };
    pthread_t thread;

    if (size < 1 + 2 * START + 16)
        return 0;
    guest_init();
    console_init(&console);
    vuart_init(&uart, &board.clock, &board.queue, board_line(&board, VUART_COM1_IRQ), &console);
    vcon_init(&vcon, &mem, &apics, &board.clock, &board.queue, &console);
    assert(vcon_attach(&vcon, &pci) == 0 && vpci_attach(&pci, &board.ports, &board.mmio) == 0);
    guest_start(&vcon.virtio, data[0] & 1 ? 0 : VIRTIO_F_PACKED, 2);
    for (unsigned n = 0; n < 2; n++)
        memcpy(gmem_ptr(&mem, gpa(GUEST_RING + n * GUEST_AREA), START), data + 1 + n * START, START);
    data += 1 + 2 * START;
    material.data = data + 16;
    material.size = size - 1 - 2 * START - 16;
    if (pthread_create(&thread, NULL, guest_thread, &material))
        return 0;
    for (unsigned i = 0; i < 16; i++)
        do_one(data[i]);
    pthread_join(thread, NULL);
    for (unsigned i = 0; i < 16; i++)
        do_one(data[i]);
    vcon_reset(&vcon);
    assert(console_listens(&console, &uart) && vcon.sent == 0 && !vtimer_armed(&vcon.again));
    vtimer_cancel(&uart.timeout);
    return 0;
}
