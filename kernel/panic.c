#include "kernel/panic.h"
#include "kernel/log.h"
#include "kernel/recorder.h"
#include "kernel/symbols.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/power.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/trap.h"

#define BACKTRACE_MAX 24
#define FRAME_MAX     0x10000 /* a frame pointer that jumps further is not one */

static bool reboot;
static unsigned
    depth; /* crash reports begun, by the one CPU that is not stopped; the second does not get its own */

void panic_set_reboot(bool wanted)
{
    reboot = wanted;
}

static void begin(const char *fmt, va_list args)
{
    va_list again;

    __asm__ volatile("cli" : : : "memory");
    smp_stop_others(); /* of CPUs that crash at once one gets further than this line */
    switch (depth++) {
    case 0:
        log_crash();
        va_copy(again, args);
        recorder_end_v(fmt, again);
        va_end(again);
        log_error("---- Plinth has crashed on CPU %u. Its version is %s. ----", this_slot(), PLINTH_VERSION);
        log_line_v(LOG_ERROR, fmt, args);
        break;
    case 1:
        log_error("crashed again inside the crash report:");
        log_line_v(LOG_ERROR, fmt, args);
        panic_end();
    default:
        cpu_halt_forever();
    }
}

void panic_begin(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    begin(fmt, args);
    va_end(args);
}

static void report_frame(unsigned number, uint64_t rip)
{
    uint64_t offset;
    const char *name = symbol_find(rip, &offset);

    if (name)
        log_error("#%-2u %016llx  %s+0x%llx", number, (unsigned long long)rip, name,
                  (unsigned long long)offset);
    else
        log_error("#%-2u %016llx  (not code)", number, (unsigned long long)rip);
}

void panic_backtrace(uint64_t rip, uint64_t rbp)
{
    report_frame(0, rip);
    for (unsigned i = 1; i < BACKTRACE_MAX && rbp % 8 == 0; i++) {
        uint64_t next, caller;

        if (trap_load(rbp, &next) || trap_load(rbp + 8, &caller) || caller == 0)
            break;
        report_frame(i, caller);
        if (next <= rbp || next - rbp > FRAME_MAX)
            break;
        rbp = next;
    }
}

void panic_end(void)
{
    log_error("---- %s. Please report the lines above. ----", reboot ? "Rebooting" : "Halted");
    if (reboot)
        machine_reboot();
    cpu_halt_forever();
}

void panic(const char *fmt, ...)
{
    va_list args;
    uint64_t frame = (uint64_t)(uintptr_t)__builtin_frame_address(0), caller;

    va_start(args, fmt);
    begin(fmt, args);
    va_end(args);
    if (trap_load(frame + 8, &caller) == 0 && trap_load(frame, &frame) == 0)
        panic_backtrace(caller, frame);
    panic_end();
}
