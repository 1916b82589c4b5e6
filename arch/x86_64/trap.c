#include "arch/x86_64/trap.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/smp.h"
#include "kernel/log.h"
#include "kernel/panic.h"
#include "lib/format.h"
#include "lib/string.h"

static uint64_t nmi_count;

static const char *const exception_names[VECTOR_EXCEPTIONS] = {
    [VECTOR_DE] = "#DE divide error",
    [VECTOR_DB] = "#DB debug",
    [VECTOR_NMI] = "NMI",
    [VECTOR_BP] = "#BP breakpoint",
    [VECTOR_OF] = "#OF overflow",
    [VECTOR_BR] = "#BR bound range",
    [VECTOR_UD] = "#UD invalid instruction",
    [VECTOR_NM] = "#NM FPU not available",
    [VECTOR_DF] = "#DF double fault",
    [VECTOR_TS] = "#TS invalid TSS",
    [VECTOR_NP] = "#NP segment not present",
    [VECTOR_SS] = "#SS stack fault",
    [VECTOR_GP] = "#GP general protection",
    [VECTOR_PF] = "#PF page fault",
    [VECTOR_MF] = "#MF x87 error",
    [VECTOR_AC] = "#AC alignment check",
    [VECTOR_MC] = "#MC machine check",
    [VECTOR_XM] = "#XM SIMD error",
    [VECTOR_VE] = "#VE virtualization",
    [VECTOR_CP] = "#CP control protection",
    [VECTOR_HV] = "#HV hypervisor injection",
    [VECTOR_VC] = "#VC VMM communication",
    [VECTOR_SX] = "#SX security",
};

/* Page-fault error code. Source: AMD APM vol. 2, 8.4.2. */
#define PF_PRESENT  BIT(0)
#define PF_WRITE    BIT(1)
#define PF_RESERVED BIT(3)
#define PF_FETCH    BIT(4)

/* Selector error code. Source: AMD APM vol. 2, 8.4.1. */
#define SELECTOR_EXTERNAL BIT(0)
#define SELECTOR_IDT      BIT(1)
#define SELECTOR_LDT      BIT(2)

uint64_t trap_nmi_count(void)
{
    return nmi_count;
}

int trap_load(uint64_t address, uint64_t *value)
{
    uint64_t loaded = 0;
    int error;

    __asm__ volatile("movl %[fault], %[error]\n"
                     "1: movq (%[address]), %[loaded]\n"
                     "xorl %[error], %[error]\n"
                     "2:\n" FIXUP_1_TO_2
                     : [error] "=&r"(error), [loaded] "+&r"(loaded)
                     : [address] "r"(address), [fault] "i"(-EFAULT)
                     : "memory");
    *value = loaded;
    return error;
}

static bool fix_up(struct trap_frame *frame)
{
    if (frame->vector != VECTOR_GP && frame->vector != VECTOR_PF && frame->vector != VECTOR_UD &&
        frame->vector != VECTOR_DB)
        return false;
    for (const struct fixup *fixup = fixup_start; fixup < fixup_end; fixup++) {
        if (fixup->at == frame->rip) {
            frame->rip = fixup->resume;
            return true;
        }
    }
    return false;
}

/* The stack whose guard page holds `address`, or NULL. */
static const char *overflown_stack(uint64_t address)
{
    static const struct {
        uint64_t base; /* lowest address of the stack in its block */
        const char *name;
    } stacks[] = {
        { CPU_MAIN_STACK, "main" },
        { CPU_DF_STACK_TOP - CPU_IST_STACK, "#DF" },
        { CPU_MC_STACK_TOP - CPU_IST_STACK, "#MC" },
        { CPU_NMI_STACK_TOP - CPU_IST_STACK, "NMI" },
    };

    if (address < PERCPU_BASE || address >= PERCPU_BASE + CPU_MAX * CPU_BLOCK_SIZE)
        return NULL;
    for (unsigned i = 0; i < ARRAY_SIZE(stacks); i++)
        if (address % CPU_BLOCK_SIZE - (stacks[i].base - PAGE_SIZE) < PAGE_SIZE)
            return stacks[i].name;
    return NULL;
}

static void explain_page_fault(char *to, size_t size, const struct trap_frame *frame, uint64_t address)
{
    const char *access = frame->error & PF_FETCH   ? "execution of"
                         : frame->error & PF_WRITE ? "write to"
                                                   : "read of";
    const char *cause = "which is not mapped";

    if (frame->error & PF_RESERVED)
        cause = "whose page table has a reserved bit set";
    else if (frame->error & PF_PRESENT)
        cause = "which its page does not allow";
    if (address < PAGE_SIZE)
        cause = "which is not mapped (a null pointer)";
    format_text(to, size, "%s address %016llx, %s", access, (unsigned long long)address, cause);
}

static void explain_selector(char *to, size_t size, uint64_t error)
{
    const char *table = error & SELECTOR_IDT ? "IDT" : error & SELECTOR_LDT ? "LDT" : "GDT";

    if (error == 0)
        format_text(to, size, "no selector is involved");
    else
        format_text(to, size, "%s entry %llu%s", table, (unsigned long long)(error >> 3 & 0x1fff),
                    error & SELECTOR_EXTERNAL ? ", while an event was delivered" : "");
}

/* One sentence: what happened. */
static void explain(char *to, size_t size, const struct trap_frame *frame)
{
    const char *name = exception_names[frame->vector];
    uint64_t address = read_cr2();
    const char *stack = frame->vector == VECTOR_PF || frame->vector == VECTOR_DF ? overflown_stack(address)
                                                                                 : NULL;
    int length = format_text(to, size, "%s", name ? name : "reserved exception");
    char *rest = to + length;
    size_t left = size - (size_t)length;

    if (stack) {
        format_text(rest, left, ": stack overflow: the %s stack reached its guard page at %016llx", stack,
                    (unsigned long long)address);
        return;
    }
    format_text(rest, left, ": ");
    if (frame->vector == VECTOR_PF)
        explain_page_fault(rest + 2, left - 2, frame, address);
    else if (frame->vector >= VECTOR_TS && frame->vector <= VECTOR_GP)
        explain_selector(rest + 2, left - 2, frame->error);
    else
        *rest = '\0';
}

static void report_registers(const struct trap_frame *f)
{
#define R(x) ((unsigned long long)(x))
    log_error("rax %016llx  rbx %016llx  rcx %016llx  rdx %016llx", R(f->rax), R(f->rbx), R(f->rcx),
              R(f->rdx));
    log_error("rsi %016llx  rdi %016llx  rbp %016llx  rsp %016llx", R(f->rsi), R(f->rdi), R(f->rbp),
              R(f->rsp));
    log_error("r8  %016llx  r9  %016llx  r10 %016llx  r11 %016llx", R(f->r8), R(f->r9), R(f->r10), R(f->r11));
    log_error("r12 %016llx  r13 %016llx  r14 %016llx  r15 %016llx", R(f->r12), R(f->r13), R(f->r14),
              R(f->r15));
    log_error("rip %016llx  rflags %08llx  cs %04llx  ss %04llx  error %llx", R(f->rip), R(f->rflags),
              R(f->cs), R(f->ss), R(f->error));
    log_error("cr0 %016llx  cr2 %016llx  cr3 %016llx  cr4 %016llx", R(read_cr0()), R(read_cr2()),
              R(read_cr3()), R(read_cr4()));
#undef R
}

static void report_code(uint64_t rip)
{
    char text[3 * 16 + 1];

    for (unsigned i = 0; i < 2; i++) {
        uint64_t bytes;

        if (trap_load(rip + 8 * i, &bytes)) {
            log_error("code at rip is not readable");
            return;
        }
        for (unsigned j = 0; j < 8; j++)
            format_text(text + 3 * (8 * i + j), 4, "%02x ", (unsigned)(bytes >> 8 * j & 0xff));
    }
    log_error("code at rip: %s", text);
}

/* A call to where no code is has left nothing but its return address: the backtrace starts there. */
static uint64_t backtrace_start(const struct trap_frame *frame)
{
    uint64_t caller;

    if (frame->vector == VECTOR_PF && (frame->error & PF_FETCH) != 0 && trap_load(frame->rsp, &caller) == 0)
        return caller;
    return frame->rip;
}

static _Noreturn void crash(const struct trap_frame *frame)
{
    char text[160];

    explain(text, sizeof(text), frame);
    panic_begin("%s", text);
    report_registers(frame);
    report_code(frame->rip);
    panic_backtrace(backtrace_start(frame), frame->rbp);
    panic_end();
}

void trap_handle(struct trap_frame *frame)
{
    if (frame->vector == VECTOR_NMI) {
        smp_nmi();
        __atomic_fetch_add(&nmi_count, 1, __ATOMIC_RELAXED);
        return;
    }
    if (!fix_up(frame))
        crash(frame);
}
