/* Features of virtio devices that the command line takes away, for trying drivers without them. */
#pragma once

#include "lib/types.h"

/* A name of vvirtio_without_names; -ENOENT: it is none of them. Before the first device is made. */
int vvirtio_without(const char *name) __must_check;

/* What devices of one kind (VIRTIO_ID_) are not to offer: feature bits. */
uint64_t vvirtio_withheld(unsigned id);

extern const char vvirtio_without_names[]; /* with commas between, for messages */
