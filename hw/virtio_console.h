/* Virtio's console as the wire has it. Source: OASIS virtio 1.2, section 5.3. */
#pragma once

#include "lib/types.h"

/* 5.3.3: features. */
#define VIRTIO_CONSOLE_F_SIZE        BIT(0) /* cols and rows are valid */
#define VIRTIO_CONSOLE_F_MULTIPORT   BIT(1)
#define VIRTIO_CONSOLE_F_EMERG_WRITE BIT(2) /* emerg_wr can be written */

/* 5.3.2: the queues of port 0, which are all without VIRTIO_CONSOLE_F_MULTIPORT. */
#define VIRTIO_CONSOLE_RECEIVEQ  0
#define VIRTIO_CONSOLE_TRANSMITQ 1

/* 5.3.4: configuration. */
struct virtio_console_config {
    uint16_t cols;
    uint16_t rows;
    uint32_t max_nr_ports;
    uint32_t emerg_wr; /* its low byte is output at once, even by a device that nobody has set up */
};
static_assert(sizeof(struct virtio_console_config) == 12, "5.3.4");
