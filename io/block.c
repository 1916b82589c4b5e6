#include "io/block.h"
#include "arch/x86_64/tsc.h"
#include "lib/errno.h"
#include "lib/format.h"

/*
 * A request's way: block_submit() checks it, holds it if its user is over a limit, and forward() gives it to
 * the driver, or keeps it in the device's queue if the driver is busy. Each of the two queues is emptied by
 * one CPU at a time (`releasing`, `dispatching`), without the lock while the driver has the CPU: a driver may
 * complete at once, and done() may come back to here. While a queue is being emptied newcomers stand in line
 * too, so that none overtakes.
 */

static struct block_device *first_device;
static uint64_t us_per_tick; /* in 1/2^32 */

#define BANDWIDTH_SHIFT 16 /* of the cost of a sector */
#define BURST_DIVISOR   10 /* who was idle may spend a tenth of a second's worth at once */

/* --- Queues */

static void append(struct block_queue *queue, struct block_request *request)
{
    request->next = NULL;
    if (queue->first)
        queue->last->next = request;
    else
        queue->first = request;
    queue->last = request;
}

static void prepend(struct block_queue *queue, struct block_request *request)
{
    request->next = queue->first;
    if (!queue->first)
        queue->last = request;
    queue->first = request;
}

static struct block_request *take_first(struct block_queue *queue)
{
    struct block_request *request = queue->first;

    queue->first = request->next;
    return request;
}

/* Moves the requests of `user` from one to the other. */
static void take_all_of(struct block_queue *from, const struct block_user *user, struct block_queue *to)
{
    struct block_queue kept = { NULL, NULL };

    while (from->first) {
        struct block_request *request = take_first(from);

        append(request->user == user ? to : &kept, request);
    }
    *from = kept;
}

/* --- Devices */

/* A range goes behind its disk and the ranges that this has. */
void block_add(struct block_device *device)
{
    struct block_device **at = &first_device;

    us_per_tick = (UINT64_C(1000000) << 32) / tsc_hz();
    while (*at && (!device->whole || *at != device->whole))
        at = &(*at)->next;
    while (*at && (*at == device->whole || (*at)->whole == device->whole))
        at = &(*at)->next;
    device->next = *at;
    *at = device;
}

void block_remove(struct block_device *device)
{
    struct block_device **at = &first_device;

    while (*at && *at != device)
        at = &(*at)->next;
    if (*at)
        *at = device->next;
}

struct block_device *block_device(unsigned n)
{
    struct block_device *device = first_device;

    while (device && n--)
        device = device->next;
    return device;
}

static struct block_device *whole_of(struct block_device *device)
{
    return device->whole ? device->whole : device;
}

static void add_counts(struct block_counts *to, const struct block_counts *more)
{
    for (unsigned op = 0; op < BLOCK_OPS; op++) {
        to->requests[op] += more->requests[op];
        to->sectors[op] += more->sectors[op];
        for (unsigned i = 0; i < BLOCK_BUCKETS; i++)
            to->latency[op][i] += more->latency[op][i];
    }
    to->errors += more->errors;
}

void block_count(struct block_device *device, struct block_counts *to)
{
    struct lock *lock = &whole_of(device)->lock;

    *to = (struct block_counts){ .errors = 0 };
    lock_take(lock);
    for (struct block_device *part = first_device; part; part = part->next) {
        if (part != device && part->whole != device)
            continue;
        add_counts(to, &part->past);
        for (const struct block_user *user = part->users; user; user = user->next)
            add_counts(to, &user->counts);
    }
    lock_release(lock);
}

/* --- From a driver */

/* The number of the bucket: the position of the highest bit, of microseconds. */
static unsigned bucket_of(uint64_t ticks)
{
    uint64_t us = (uint64_t)((unsigned __int128)ticks * us_per_tick >> 32);
    unsigned bit = 63 - (unsigned)__builtin_clzll(us | 1);

    return bit < BLOCK_BUCKETS ? bit : BLOCK_BUCKETS - 1;
}

static inline void count(struct block_counts *counts, const struct block_request *request, unsigned bucket,
                         bool failed)
{
    counts->requests[request->op]++;
    counts->sectors[request->op] += request->sectors;
    counts->latency[request->op][bucket]++;
    counts->errors += failed;
}

/* done(), and only then may the user's memory go. */
static inline void end(struct block_request *request, int status)
{
    struct block_user *user = request->user;

    request->done(request, status);
    __atomic_sub_fetch(&user->in_flight, 1, __ATOMIC_RELEASE);
}

void block_complete(struct block_device *device, struct block_request *request, int status)
{
    struct block_user *user = request->user;
    uint64_t now = tsc_now();
    unsigned bucket = bucket_of(now > request->begun ? now - request->begun : 0);

    lock_take(&device->lock);
    count(&user->counts, request, bucket, status != 0);
    if (unlikely(status == -EIO) && device->health == BLOCK_HEALTHY)
        device->health = BLOCK_FAILING;
    lock_release(&device->lock);
    end(request, status);
}

/* The driver takes it, or wants it later (false). */
static inline bool give(struct block_device *device, struct block_request *request)
{
    int err = device->ops->submit(device, request);

    if (likely(!err))
        return true;
    if (err == -EBUSY)
        return false;
    block_complete(device, request, err);
    return true;
}

/* Gives the driver what waits, until it is busy again. */
static void dispatch(struct block_device *device)
{
    lock_take(&device->lock);
    if (!device->dispatching) {
        device->dispatching = true;
        while (device->waiting.first) {
            struct block_request *request = take_first(&device->waiting);
            unsigned readies = device->readies;
            bool taken;

            lock_release(&device->lock);
            taken = give(device, request);
            lock_take(&device->lock);
            if (taken)
                continue;
            prepend(&device->waiting, request);
            if (device->readies == readies) /* else there is room again already */
                break;
        }
        device->dispatching = false;
    }
    lock_release(&device->lock);
}

void block_ready(struct block_device *device)
{
    bool any;

    lock_take(&device->lock);
    device->readies++;
    any = device->waiting.first != NULL;
    lock_release(&device->lock);
    if (any)
        dispatch(device);
}

/* The driver may have got room between its -EBUSY and our keeping the request. */
__cold static void keep(struct block_device *device, struct block_request *request, unsigned readies)
{
    bool again;

    lock_take(&device->lock);
    append(&device->waiting, request);
    again = device->readies != readies;
    lock_release(&device->lock);
    if (again)
        dispatch(device);
}

/* To the driver, behind those that wait for it. Called with the device's lock, which it gives back. */
static inline void forward(struct block_device *device, struct block_request *request)
{
    unsigned readies = device->readies;

    request->begun = tsc_now();
    if (unlikely(device->waiting.first || device->dispatching)) {
        append(&device->waiting, request);
        lock_release(&device->lock);
        return;
    }
    lock_release(&device->lock);
    if (unlikely(!give(device, request)))
        keep(device, request, readies);
}

/* --- Limits */

static bool has_data(const struct block_request *request)
{
    return request->op <= BLOCK_WRITE;
}

static bool is_limited(const struct block_user *user)
{
    return user->requests.cost | user->bandwidth.cost;
}

/* When the next request may go. */
static uint64_t next_turn(const struct block_user *user)
{
    return max_u64(user->requests.due, user->bandwidth.due);
}

/* The bucket is never fuller than a burst's worth. */
static void charge(struct block_bucket *bucket, uint64_t now, uint64_t ticks)
{
    uint64_t burst = tsc_hz() / BURST_DIVISOR;

    bucket->due = (bucket->due + burst < now ? now - burst : bucket->due) + ticks;
}

/* True if it may go now; a large one may leave a debt, for which the next ones wait. */
static bool take_turn(struct block_user *user, const struct block_request *request)
{
    uint64_t now = tsc_now();

    if (next_turn(user) > now)
        return false;
    if (user->requests.cost)
        charge(&user->requests, now, user->requests.cost);
    if (user->bandwidth.cost && has_data(request))
        charge(&user->bandwidth, now,
               (uint64_t)((unsigned __int128)request->sectors * user->bandwidth.cost >> BANDWIDTH_SHIFT));
    return true;
}

/* Gives on what was held, as far as the limits now let it. Called without the lock. */
static void release_held(struct block_user *user)
{
    struct block_device *device = user->device;

    lock_take(&device->lock);
    if (!user->releasing) {
        user->releasing = true;
        while (user->held.first && take_turn(user, user->held.first)) {
            forward(device, take_first(&user->held));
            lock_take(&device->lock);
        }
        user->releasing = false;
        if (user->held.first)
            timer_arm(&user->timer, next_turn(user));
    }
    lock_release(&device->lock);
}

static void timer_fired(struct timer *timer)
{
    release_held(container_of(timer, struct block_user, timer));
}

/* Under the lock. True: the request waits for its turn. */
__cold static bool hold(struct block_user *user, struct block_request *request)
{
    if (!user->held.first && !user->releasing && take_turn(user, request))
        return false;
    append(&user->held, request);
    if (!user->releasing && user->held.first == request)
        timer_arm(&user->timer, next_turn(user));
    return true;
}

/* --- Users */

static struct block_bucket new_bucket(uint64_t ticks_per_second, uint64_t limit)
{
    if (!limit)
        return (struct block_bucket){ 0 };
    return (struct block_bucket){ .cost = max_u64(ticks_per_second / limit, 1), .due = tsc_now() };
}

int block_open(struct block_user *user, struct block_device *device, const char *name, bool readonly,
               const struct block_limits *limits, struct timer_queue *queue)
{
    struct block_device *whole = whole_of(device);

    if (whole->health == BLOCK_GONE)
        return -ENODEV;
    if (!readonly && (device->readonly || whole->readonly))
        return -EROFS;
    *user = (struct block_user){ .device = whole,
                                 .opened = device,
                                 .first = device->first,
                                 .sectors = device->sectors,
                                 .readonly = readonly,
                                 .next = device->users };
    if (limits)
        user->limits = *limits;
    format_text(user->name, sizeof(user->name), "%s", name);
    user->requests = new_bucket(tsc_hz(), user->limits.iops);
    user->bandwidth = new_bucket(tsc_hz() * BLOCK_SECTOR << BANDWIDTH_SHIFT, user->limits.bandwidth);
    timer_init(&user->timer, queue, timer_fired);
    device->users = user;
    return 0;
}

void block_cancel(struct block_user *user)
{
    struct block_queue ended = { NULL, NULL };

    lock_take(&user->device->lock);
    timer_cancel(&user->timer);
    take_all_of(&user->device->waiting, user, &ended);
    take_all_of(&user->held, user, &ended);
    lock_release(&user->device->lock);
    while (ended.first)
        end(take_first(&ended), -ENODEV);
}

void block_close(struct block_user *user)
{
    struct block_user **at = &user->opened->users;

    while (*at && *at != user)
        at = &(*at)->next;
    if (*at) {
        *at = user->next;
        lock_take(&user->device->lock);
        add_counts(&user->opened->past, &user->counts);
        lock_release(&user->device->lock);
    }
    block_cancel(user);
}

/* --- Requests */

static int check_segments(const struct block_device *device, const struct block_request *request)
{
    uint64_t bytes = 0;
    uintptr_t bits = 0;

    if (unlikely(request->segments > device->max_segments || request->sectors > device->max_sectors))
        return -EINVAL;
    for (unsigned i = 0; i < request->segments; i++) {
        const struct block_segment *segment = &request->segment[i];

        if (unlikely(segment->bytes == 0))
            return -EINVAL;
        bits |= (uintptr_t)segment->data | segment->bytes;
        bytes += segment->bytes;
    }
    if (unlikely(bytes != (uint64_t)request->sectors * BLOCK_SECTOR || (bits & (device->segment_align - 1))))
        return -EINVAL;
    return 0;
}

/* 0, or what done() is to be told. */
static inline int check(const struct block_user *user, const struct block_request *request)
{
    const struct block_device *device = user->device;
    uint64_t block = device->logical_block / BLOCK_SECTOR - 1;

    if (unlikely(device->health == BLOCK_GONE))
        return -ENODEV;
    if (unlikely(request->op >= BLOCK_OPS))
        return -EINVAL;
    if (request->op == BLOCK_FLUSH)
        return request->sector || request->sectors || request->segments ? -EINVAL : 0;
    if (unlikely(request->op != BLOCK_READ && user->readonly))
        return -EROFS;
    if (unlikely(!request->sectors || request->sector > user->sectors ||
                 request->sectors > user->sectors - request->sector))
        return -EINVAL;
    if (unlikely((request->sector | request->sectors) & block))
        return -EINVAL;
    if (has_data(request))
        return check_segments(device, request);
    if (request->segments)
        return -EINVAL;
    return (request->op == BLOCK_DISCARD ? device->has_discard : device->has_write_zeroes) ? 0 : -EOPNOTSUPP;
}

void block_submit(struct block_user *user, struct block_request *request)
{
    struct block_device *device = user->device;
    int err = check(user, request);

    if (unlikely(err || (request->op == BLOCK_FLUSH && !device->has_flush))) {
        request->done(request, err);
        return;
    }
    request->user = user;
    request->start = user->first + request->sector;
    __atomic_add_fetch(&user->in_flight, 1, __ATOMIC_RELAXED);
    lock_take(&device->lock);
    if (unlikely(is_limited(user)) && hold(user, request)) {
        lock_release(&device->lock);
        return;
    }
    forward(device, request);
}
