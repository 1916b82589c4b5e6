/*
 * virtio's memory balloon (OASIS virtio 1.2, section 5.5), with statistics and free-page reporting. The guest
 * says which of its pages it does without: page by page, when the balloon is to grow, or in large blocks that
 * it has free just now. What is of use to others is a whole chunk of the VM's RAM (GMEM_CHUNK). The device
 * collects these and tells its owner, who takes them away and says so; only then is a report given back, so
 * that the guest does not use what is being taken.
 *
 * The guest may touch any page at any time, whatever it has said: that is between it and the owner. So all
 * that it says is only believed as far as it harms itself.
 *
 * As with the console (vcon.h) nothing is ever in flight: a buffer whose time has not come is put back into
 * the ring. The event index is not offered, nor the reset of a single queue.
 */
#pragma once

#include "devices/vvirtio.h"
#include "hw/virtio_balloon.h"
#include "vmx/vclock.h"

#define VBALLOON_SLOT       29
#define VBALLOON_QUEUES     5
#define VBALLOON_QUEUE_SIZE 64
#define VBALLOON_SEGMENTS   128 /* pieces of one buffer, which has at most VBALLOON_QUEUE_SIZE descriptors */
#define VBALLOON_TURN       4096u   /* page numbers that a doorbell takes before others have their turn */
#define VBALLOON_PAUSE_NS   1000000 /* until what is left then goes on */

/* Who takes memory away. wanted(): there is some; vm.devices is held. It may be called again before that is
 * taken. */
struct vballoon_owner {
    void (*wanted)(void *context);
    void *context;
};

struct vballoon_state {
    struct vvirtio_state virtio;
    uint64_t
        done[2]; /* bytes of the next buffer of the inflate and the deflate queue that are done already */
    uint64_t stat[VIRTIO_BALLOON_S_COUNT];
    uint32_t target, actual; /* pages */
    uint32_t stat_known;     /* a bit for each */
    uint8_t asked;           /* the driver's next statistics have been asked for, or are its first */
    uint8_t reserved[3];
};

struct vballoon {
    struct vvirtio virtio;
    struct vballoon_owner owner;
    struct vtimer again; /* goes on with what a turn has left */
    uint64_t *pages;     /* a bit for each page of 4 KiB of RAM: it is in the balloon */
    uint64_t *chunks;    /* a bit for each chunk of RAM: it is to be taken away */
    uint64_t page_count; /* of RAM, the hole included */
    uint64_t inflated;   /* pages in the balloon */
    uint64_t wanted;     /* chunks to be taken away */
    uint64_t reported;   /* bytes in reports that were given back, since power-on */
    uint64_t done[2];
    uint64_t stat[VIRTIO_BALLOON_S_COUNT];
    uint32_t stat_known;
    uint32_t target, actual;
    bool asked;
    bool report_waits;                  /* chunks of the next report are among `chunks` */
    struct vvirtio_queue *report_queue; /* the report then: its ring, */
    struct vring_chain report;      /* itself, and where the ring stands behind it: it must not be looked */
    struct vvirtio_mark report_end; /* at again, which would bring its memory back */
    struct vring_segment segment[VBALLOON_SEGMENTS]; /* of the buffer at hand; too much for a stack */
};

/* 64-bit words of each of the two maps. */
#define VBALLOON_PAGE_WORDS(ram)  ((ram) / PAGE_SIZE / 64)
#define VBALLOON_CHUNK_WORDS(ram) (((ram) / GMEM_CHUNK + 63) / 64)

/*
 * `pages` and `chunks` are the maps, VBALLOON_..._WORDS(gmem_size(mem)) long; they stay the caller's and as
 * long as the device. Without an owner nothing is ever taken away, and reporting is not offered. All calls
 * belong to the holder of vm.devices; `queue` is the caller's CPU's.
 */
void vballoon_init(struct vballoon *vb, const struct gmem *mem, struct vlapic_bus *bus,
                   const struct vclock *clock, struct timer_queue *queue, uint64_t *pages, uint64_t *chunks,
                   const struct vballoon_owner *owner);
void vballoon_reset(struct vballoon *vb);

/* The maps of the pages go to and come from `pages`, which is as long as the device's own. What is still to
 * be taken away is not kept: the guest has it for good then. */
void vballoon_save(struct vballoon *vb, struct vballoon_state *out, uint64_t *pages);
int vballoon_check(const struct vballoon *vb, const struct vballoon_state *state,
                   const uint64_t *pages) __must_check;
void vballoon_load(struct vballoon *vb, const struct vballoon_state *state, const uint64_t *pages);

/* How many pages the balloon is to have, at most all. It is what the owner wishes, so a reset leaves it. */
void vballoon_set_target(struct vballoon *vb, uint64_t pages);

/* Asks the driver for new statistics, which come when it likes. */
void vballoon_ask_stats(struct vballoon *vb);

/*
 * For the owner: the next chunk that is to be taken away, at most once each; false: there is none. When they
 * all are, or are not to be had, vballoon_taken() gives the report back that they came of, and looks at the
 * next one, of which wanted() tells; before, it does nothing.
 */
bool vballoon_take(struct vballoon *vb, gpa_t *chunk);
void vballoon_taken(struct vballoon *vb);

/* Puts it on the bus, before vpci_attach(); errors are those of vpci_add(). */
int vballoon_attach(struct vballoon *vb, struct vpci *pci) __must_check;
