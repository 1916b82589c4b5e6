/*
 * Turns a fuzzer's bytes into the life of one port-mapped device: port accesses, time, events from outside,
 * resets, saving and loading, and loading of damaged state, which check() must refuse or the device survive.
 */
#pragma once

#include <assert.h>
#include <string.h>
#include "tests/unit/board.h"

#define FUZZ_STATE_MAX 512

struct fuzz_device {
    const uint16_t *ports; /* those worth an access; some beside the device, too */
    uint8_t port_count;
    size_t state_size; /* of its struct vX_state, at most FUZZ_STATE_MAX */
    void (*reset)(void);
    void (*save)(void *state);
    int (*check)(const void *state);
    void (*load)(const void *state);
    void (*event)(uint8_t what); /* something happens outside of the guest; NULL: nothing ever does */
};

struct fuzz_input {
    const uint8_t *data;
    size_t left;
};

/* The next byte, 0 at the end. */
static inline uint8_t fuzz_byte(struct fuzz_input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->data++;
}

static inline uint32_t fuzz_bytes(struct fuzz_input *input, unsigned count)
{
    uint32_t value = 0;

    while (count-- > 0)
        value = value << 8 | fuzz_byte(input);
    return value;
}

static inline void fuzz_access(const struct fuzz_device *device, struct board *board,
                               struct fuzz_input *input)
{
    uint8_t how = fuzz_byte(input);
    uint16_t port = device->ports[fuzz_byte(input) % device->port_count];
    unsigned size = 1u << (how >> 1) % 3;
    uint64_t value;

    if (how & 1) {
        iobus_write(&board->ports, port, size, fuzz_bytes(input, size));
        return;
    }
    value = iobus_read(&board->ports, port, size);
    assert(value >> (8 * size) == 0);
}

/* What was saved passes the check, and loading it is no change. */
static inline void fuzz_round_trip(const struct fuzz_device *device)
{
    uint8_t before[FUZZ_STATE_MAX], after[FUZZ_STATE_MAX];

    device->save(before);
    assert(device->check(before) == 0);
    device->load(before);
    device->save(after);
    assert(memcmp(before, after, device->state_size) == 0);
}

static inline void fuzz_damaged_load(const struct fuzz_device *device, struct fuzz_input *input)
{
    uint8_t state[FUZZ_STATE_MAX];
    unsigned count = fuzz_byte(input) % 16 + 1;

    device->save(state);
    while (count-- > 0)
        state[fuzz_bytes(input, 2) % device->state_size] = fuzz_byte(input);
    if (device->check(state) == 0)
        device->load(state);
}

static inline void fuzz_live(const struct fuzz_device *device, struct board *board, const uint8_t *data,
                             size_t size)
{
    struct fuzz_input input = { data, size };

    while (input.left > 0) {
        switch (fuzz_byte(&input) % 16) {
        case 0:
            advance(board, fuzz_bytes(&input, 3)); /* up to 16 ms, timers on time */
            break;
        case 1:
            host_tsc += (uint64_t)fuzz_bytes(&input, 2) << 24; /* up to 18 minutes, timers late */
            advance(board, 0);
            break;
        case 2:
            fuzz_round_trip(device);
            break;
        case 3:
            fuzz_damaged_load(device, &input);
            break;
        case 4:
            device->reset();
            break;
        case 5:
            if (device->event)
                device->event(fuzz_byte(&input));
            break;
        default:
            fuzz_access(device, board, &input);
            break;
        }
    }
    device->reset();
    assert(timer_queue_next(&board->queue) == TIMER_NEVER && !board->irq.level);
}
