/* CRC-32 as IEEE 802.3, zlib and UEFI (5.3.1) have it: polynomial 0x04c11db7, bits reflected, all ones in and
 * out. */
#pragma once

#include "lib/types.h"

/* The CRC of `size` bytes behind those whose CRC is `crc`; 0 for the first. Any context may call it. */
uint32_t crc32(uint32_t crc, const void *data, size_t size);
