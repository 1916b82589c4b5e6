#include "drivers/virtio_device.h"

uint32_t virtio_read(const volatile uint8_t *at, unsigned bytes)
{
    if (bytes == 1)
        return *at;
    return bytes == 2 ? *(const volatile uint16_t *)at : *(const volatile uint32_t *)at;
}

void virtio_write(volatile uint8_t *at, unsigned bytes, uint32_t value)
{
    if (bytes == 1)
        *at = (uint8_t)value;
    else if (bytes == 2)
        *(volatile uint16_t *)at = (uint16_t)value;
    else
        *(volatile uint32_t *)at = value;
}
