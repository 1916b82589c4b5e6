/*
 * The PCI function of a virtio device: header, capabilities, and what its BAR holds where. For vvirtio.c
 * only. Source: OASIS virtio 1.2, section 4.1.
 */
#pragma once

#include "devices/vvirtio.h"

/* BAR 0, a page for each structure. */
#define VVIRTIO_BAR_SIZE 0x8000u
#define VVIRTIO_COMMON   0u
#define VVIRTIO_ISR      1u
#define VVIRTIO_DEVICE   2u
#define VVIRTIO_NOTIFY   3u
#define VVIRTIO_TABLE    4u
#define VVIRTIO_PENDING  5u
#define VVIRTIO_PAGES(n) ((uint32_t)(n) << PAGE_SHIFT)

#define VVIRTIO_NOTIFY_MULTIPLIER 4u /* bytes from one queue's doorbell to the next one's */

void vvirtio_pci_init(struct vvirtio *v, const struct vvirtio_kind *kind);
/* What a guest can write, but for the BAR, which is vpci_reset()'s. */
void vvirtio_pci_reset(struct vvirtio *v);
/* As vpci_load_config(). */
void vvirtio_pci_load(struct vvirtio *v, const uint32_t config[VPCI_CONFIG_DWORDS]);
