#include "drivers/ns16550.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/paging.h"
#include "lib/errno.h"

#define UART_CLOCK 1843200u
#define FIFO_SIZE  16

uint8_t ns16550_read(const struct ns16550 *port, unsigned reg)
{
    const volatile uint8_t *at;

    if (!port->registers)
        return in8((uint16_t)(port->config.base + reg * port->config.stride));
    at = port->registers + reg * port->config.stride;
    return port->config.stride == 4 ? (uint8_t) * (const volatile uint32_t *)at : *at;
}

void ns16550_write(const struct ns16550 *port, unsigned reg, uint8_t value)
{
    volatile uint8_t *at;

    if (!port->registers) {
        out8((uint16_t)(port->config.base + reg * port->config.stride), value);
        return;
    }
    at = port->registers + reg * port->config.stride;
    if (port->config.stride == 4)
        *(volatile uint32_t *)at = value;
    else
        *at = value;
}

/* Floating lines read as ones; the scratch register keeps two patterns that differ in each bit (8.11). */
static bool answers(const struct ns16550 *port)
{
    ns16550_write(port, UART_SCR, 0x5a);
    if (ns16550_read(port, UART_SCR) != 0x5a)
        return false;
    ns16550_write(port, UART_SCR, 0xa5);
    return ns16550_read(port, UART_SCR) == 0xa5 && ns16550_read(port, UART_LSR) != 0xff;
}

static void set_up(struct ns16550 *port)
{
    ns16550_write(port, UART_IER, 0);
    if (port->config.baud) {
        uint32_t divisor = UART_CLOCK / 16 / port->config.baud;

        ns16550_write(port, UART_LCR, LCR_8N1 | LCR_DLAB);
        ns16550_write(port, UART_DLL, (uint8_t)divisor);
        ns16550_write(port, UART_DLM, (uint8_t)(divisor >> 8));
    }
    ns16550_write(port, UART_LCR, LCR_8N1);
    ns16550_write(port, UART_FCR, FCR_ENABLE | FCR_CLEAR | FCR_TRIGGER_8);
    port->fifo = (ns16550_read(port, UART_IIR) & IIR_FIFOS) == IIR_FIFOS ? FIFO_SIZE : 1;
    ns16550_write(port, UART_MCR, MCR_DTR_RTS | MCR_OUT2);
}

int ns16550_open(struct ns16550 *port, const struct uart_config *config)
{
    port->config = *config;
    port->registers = NULL;
    if (config->mmio) {
        port->registers = map_device(hpa(config->base), 8u * config->stride);
        if (!port->registers)
            return -ENOMEM;
    }
    if (!answers(port))
        return -ENODEV;
    set_up(port);
    return 0;
}
