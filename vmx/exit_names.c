/* Short names of the kinds of exit, for people and programs that count them. */
#include "vmx/ops.h"

const char *const vmexit_names[EXIT_REASONS] = {
    [EXIT_INTERRUPT] = "interrupt",
    [EXIT_TIMER] = "timer",
    [EXIT_CPUID] = "cpuid",
    [EXIT_MSR_READ] = "msr-read",
    [EXIT_MSR_WRITE] = "msr-write",
    [EXIT_IO] = "io",
    [EXIT_MEMORY] = "memory",
    [EXIT_HLT] = "hlt",
    [EXIT_HYPERCALL] = "hypercall",
    [EXIT_APIC] = "apic",
    [EXIT_WINDOW] = "window",
    [EXIT_EXCEPTION] = "exception",
    [EXIT_IRET] = "iret",
    [EXIT_NMI_WINDOW] = "nmi-window",
    [EXIT_TASK_SWITCH] = "task-switch",
    [EXIT_XSETBV] = "xsetbv",
    [EXIT_DEBUG] = "debug",
    [EXIT_SKIP] = "skip",
    [EXIT_PAUSE] = "pause",
    [EXIT_UNDEFINED] = "undefined",
    [EXIT_PROTECTED] = "protected",
    [EXIT_SHUTDOWN] = "shutdown",
    [EXIT_FPU_FREEZE] = "fpu-freeze",
    [EXIT_INVALID] = "invalid",
    [EXIT_BACKEND] = "backend",
    [EXIT_UNKNOWN] = "unknown",
};

static_assert(EXIT_REASONS == EXIT_UNKNOWN + 1, "each has a name");
