/* The hardware and kernel services that code under test finds on the host. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/host/host.h"
#include "kernel/log.h"
#include "kernel/panic.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/tsc.h"

uint64_t host_tsc;
struct timer_queue host_timers = { .next = TIMER_NEVER };
uint8_t *host_memory;
char host_log_last[256];
unsigned host_log_count;
bool host_log_quiet;

uint64_t tsc_hz(void)
{
    return HOST_TSC_HZ;
}

void tsc_delay_us(unsigned us)
{
    host_tsc += us * (HOST_TSC_HZ / 1000000);
}

void log_line_v(enum log_level level, const char *fmt, va_list args)
{
    vsnprintf(host_log_last, sizeof(host_log_last), fmt, args);
    host_log_count++;
    if (!host_log_quiet)
        fprintf(stderr, "log %d: %s\n", (int)level, host_log_last);
}

void log_line(enum log_level level, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    log_line_v(level, fmt, args);
    va_end(args);
}

void panic(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}

void host_advance(struct timer_queue *queue, uint64_t ticks)
{
    uint64_t end = host_tsc + ticks;

    while (timer_queue_next(queue) <= end) {
        uint64_t due = timer_queue_next(queue);

        if (due > host_tsc)
            host_tsc = due;
        timer_queue_run(queue, host_tsc);
        if (timer_queue_next(queue) <= host_tsc)
            host_tsc++; /* it armed itself for now: let time pass */
    }
    host_tsc = end;
}

void host_gmem_init(struct gmem *mem, uint64_t size)
{
    size_t chunks = size / GMEM_CHUNK;

    memset(mem, 0, sizeof(*mem));
    mem->count = 1;
    mem->slot[0].size = mem->direct = size;
    mem->slot[0].chunk = calloc(chunks, sizeof(uint8_t *));
    for (size_t i = 0; i < chunks; i++)
        mem->slot[0].chunk[i] = calloc(1, GMEM_CHUNK);
    mem->hole_base = gpa(0xa0000);
    mem->hole_size = 0x20000;
}

void host_gmem_free(struct gmem *mem)
{
    for (size_t i = 0; i < mem->slot[0].size / GMEM_CHUNK; i++)
        free(mem->slot[0].chunk[i]);
    free(mem->slot[0].chunk);
    memset(mem, 0, sizeof(*mem));
}

void host_irq_set(void *record, unsigned pin, bool level)
{
    struct host_irq *irq = record;

    irq->pin = pin;
    if (level && !irq->level)
        irq->rises++;
    if (!level && irq->level)
        irq->falls++;
    irq->level = level;
}
