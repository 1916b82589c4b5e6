#include "guests/capsule.h"
#include "guests/linux_dmesg.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/tsc.h"
#include "kernel/log.h"
#include "kernel/recorder.h"
#include "lib/format.h"
#include "lib/string.h"
#include "vmx/trace_line.h"

#define TEXT_MAX      32768
#define FULL_VCPUS    4 /* the registers of so many are told in full */
#define CODE_BYTES    16
#define STACK_WORDS   8
#define FRAMES_MAX    16
#define FRAME_SPAN    0x10000 /* a frame pointer that jumps further is not one */
#define EVENTS        24
#define CONSOLE_BYTES 1200
#define CONSOLE_LINES 12
#define DMESG_LINES   30
#define TELL_SPACE                                                                                           \
    15360 /* bytes that the serial line must take, for a line to be sent: others wait 0.1 s at most */
#define TELL_LINES   4     /* in one step */
#define TELL_WAIT_US 20000 /* for the line */

/* Lines are separated by NULs. */
static struct {
    unsigned number; /* of the present one; 0: none */
    unsigned last_number;
    bool crash;
    enum { SEARCH, READ, DONE } stage;
    struct machine *machine;
    size_t length;
    char text[TEXT_MAX];
    struct linux_dmesg dmesg;
    struct recorded event[EVENTS];
    char console[CONSOLE_BYTES + 1];
    size_t told;
    void (*on_told)(void);
    struct sched_work tell;
    struct timer wait;
} capsule;

typedef unsigned long long ull;

static void line(const char *fmt, ...) __printf(1, 2);

static void line(const char *fmt, ...)
{
    size_t left = sizeof(capsule.text) - capsule.length;
    va_list args;

    va_start(args, fmt);
    if (left > 1)
        capsule.length += min_u64((uint64_t)format_text_v(capsule.text + capsule.length, left, fmt, args),
                                  left - 1) +
                          1;
    va_end(args);
}

/* --- A vCPU */

/* What its addresses mean. */
struct view {
    const struct gmem *mem;
    struct gva_mode mode;
    enum code_size code;
    uint64_t cs_base, ss_base;
};

static void look(struct view *view, const struct vcpu *vcpu, const struct vcpu_system *s)
{
    unsigned attributes = s->segment[SEG_CS].attributes;

    *view = (struct view){ .mem = &vcpu->vm->mem,
                           .mode = { .cr0 = s->cr0,
                                     .cr3 = s->cr3,
                                     .cr4 = s->cr4,
                                     .efer = s->efer,
                                     .rflags_ac = true /* SMAP hides nothing from here */ },
                           .code = attributes & SEG_ATTR_DB ? CODE_32 : CODE_16,
                           .cs_base = s->segment[SEG_CS].base,
                           .ss_base = s->segment[SEG_SS].base };
    if ((s->efer & EFER_LMA) && (attributes & SEG_ATTR_L)) {
        view->code = CODE_64;
        view->cs_base = view->ss_base = 0;
    }
}

/* Up to `size` bytes from a linear address; how many there are before a page that is not there. */
static size_t read_linear(const struct view *view, uint64_t at, void *to, size_t size)
{
    size_t done = 0;

    while (done < size) {
        uint64_t from = view->code == CODE_64 ? at + done : (uint32_t)(at + done);
        size_t part = min_u64(size - done, PAGE_SIZE - (from & PAGE_MASK));
        uint32_t error;
        gpa_t target;

        if (gva_translate(view->mem, &view->mode, gva(from), 0, &target, &error) ||
            gmem_read(view->mem, target, (uint8_t *)to + done, part))
            break;
        done += part;
    }
    return done;
}

static void tell_segment(const char *name, const struct vcpu_segment *segment)
{
    line("  %-4s %04x  base %016llx  limit %08x  attributes %03x", name, segment->selector,
         (ull)segment->base, segment->limit, segment->attributes);
}

static void tell_registers(const struct vcpu *vcpu, const struct vcpu_system *s)
{
    static const char *const name[GPR_COUNT] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                                 "r8 ", "r9 ", "r10", "r11", "r12", "r13", "r14", "r15" };
    static const char *const segment[SEG_COUNT] = { "es", "cs", "ss", "ds", "fs", "gs" };

    for (unsigned i = 0; i < GPR_COUNT; i += 4)
        line("  %s %016llx  %s %016llx  %s %016llx  %s %016llx", name[i], (ull)vcpu->gpr[i], name[i + 1],
             (ull)vcpu->gpr[i + 1], name[i + 2], (ull)vcpu->gpr[i + 2], name[i + 3], (ull)vcpu->gpr[i + 3]);
    line("  rip %016llx  rflags %08llx", (ull)vcpu->rip, (ull)vcpu->rflags);
    line("  cr0 %016llx  cr2 %016llx  cr3 %016llx  cr4 %016llx", (ull)s->cr0, (ull)s->cr2, (ull)s->cr3,
         (ull)s->cr4);
    line("  efer %llx  dr6 %llx  dr7 %llx  xcr0 %llx", (ull)s->efer, (ull)s->dr6, (ull)s->dr7,
         (ull)vcpu->xcr0);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        tell_segment(segment[i], &s->segment[i]);
    tell_segment("ldtr", &s->ldtr);
    tell_segment("tr", &s->tr);
    line("  gdtr %016llx, limit %04x  idtr %016llx, limit %04x", (ull)s->gdtr.base, s->gdtr.limit,
         (ull)s->idtr.base, s->idtr.limit);
}

static void tell_code(const struct view *view, uint64_t rip)
{
    uint8_t code[CODE_BYTES];
    char text[3 * CODE_BYTES + 1] = "";
    size_t count = read_linear(view, view->cs_base + rip, code, sizeof(code));

    for (size_t i = 0; i < count; i++)
        format_text(text + 3 * i, 4, " %02x", code[i]);
    line("  code at rip:%s", count ? text : " not readable");
}

static void tell_stack(const struct view *view, uint64_t rsp)
{
    uint64_t word[STACK_WORDS];
    size_t count = read_linear(view, view->ss_base + rsp, word, sizeof(word)) / sizeof(word[0]);

    for (size_t i = 0; i + 1 < count; i += 2)
        line("  %-13s %016llx %016llx", i ? "" : "stack at rsp:", (ull)word[i], (ull)word[i + 1]);
    if (count < 2)
        line("  stack at rsp: not readable");
}

/* By frame pointers, as far as they are some: each higher than the last, and not by much. */
static void tell_backtrace(const struct view *view, uint64_t rip, uint64_t rbp)
{
    size_t size = view->code == CODE_64 ? 8 : 4;

    if (view->code == CODE_16)
        return;
    line("  #0  %016llx", (ull)rip);
    for (unsigned i = 1; i < FRAMES_MAX && rbp && rbp % size == 0; i++) {
        uint64_t frame[2] = { 0, 0 }, next, caller;

        if (read_linear(view, view->ss_base + rbp, frame, 2 * size) < 2 * size)
            break;
        next = size == 8 ? frame[0] : (uint32_t)frame[0];
        caller = size == 8 ? frame[1] : frame[0] >> 32;
        if (!caller)
            break;
        line("  #%-2u %016llx", i, (ull)caller);
        if (next <= rbp || next - rbp > FRAME_SPAN)
            break;
        rbp = next;
    }
}

static void tell_vcpu(const struct vcpu *vcpu)
{
    static const char *const states[] = { [VCPU_STOPPED] = "stopped",
                                          [VCPU_WAIT_SIPI] = "waits for its start",
                                          [VCPU_RUNNABLE] = "runs",
                                          [VCPU_HALTED] = "halted" };
    static const char *const codes[] = { [CODE_16] = "16", [CODE_32] = "32", [CODE_64] = "64" };
    struct vcpu_system s;
    struct view view;

    vmx_ops->get_system(vcpu, &s);
    look(&view, vcpu, &s);
    line("vCPU %u: %s, %s-bit code, RIP 0x%llx, last exit: %s", vcpu->index, states[vcpu->state],
         codes[view.code], (ull)vcpu->rip, vmexit_names[vcpu->exit.reason]);
    if (vcpu->index >= FULL_VCPUS)
        return;
    tell_registers(vcpu, &s);
    tell_code(&view, vcpu->rip);
    tell_stack(&view, vcpu->gpr[GPR_RSP]);
    tell_backtrace(&view, vcpu->rip, vcpu->gpr[GPR_RBP]);
}

/* --- The rest */

static void tell_events(unsigned vm)
{
    const struct recording *now = recorder_now();
    unsigned count = recording_collect(now, (int)vm, capsule.event, EVENTS);
    char text[TRACE_LINE_MAX];

    line("its last events:");
    for (unsigned i = 0; i < count; i++)
        if (trace_line(text, now, capsule.event, count, i))
            line("  %s", text);
}

/* The start of the last CONSOLE_LINES lines of a text; what is before its first newline is half a line. */
static const char *last_lines(const char *text, size_t length)
{
    size_t at = length;

    for (unsigned lines = 0; at > 0; at--)
        if (text[at - 1] == '\n' && at < length && ++lines == CONSOLE_LINES)
            break;
    return text + at;
}

static void tell_console(const struct console *console)
{
    uint64_t written = console_end(console), at = written - min_u64(written, CONSOLE_BYTES), lost;
    size_t length = console_read(console, &at, capsule.console, CONSOLE_BYTES, &lost);
    const char *from;
    char *to = capsule.console;

    for (size_t i = 0; i < length; i++) { /* without what a terminal would act on */
        char c = capsule.console[i];

        if (c == '\n' || (c >= ' ' && c <= '~'))
            *to++ = c;
    }
    *to = '\0';
    from = last_lines(capsule.console, (size_t)(to - capsule.console));
    line("its console's last lines:");
    while (*from) {
        const char *end = strchr(from, '\n');
        size_t size = end ? (size_t)(end - from) : strlen(from);

        line("  %.*s", (int)size, from);
        from += size + (end != NULL);
    }
}

static void tell_dmesg(void)
{
    char text[DMESG_LINE_MAX];

    if (!capsule.dmesg.found) {
        line("no kernel log was found in its memory (that of Linux since 5.10 would be)");
        return;
    }
    line("dmesg of Linux %s, whose addresses are 0x%llx above System.map's:", capsule.dmesg.release,
         (ull)capsule.dmesg.layout.kernel_offset);
    linux_dmesg_tail(&capsule.dmesg, DMESG_LINES);
    while (linux_dmesg_next(&capsule.dmesg, text))
        line("  %s", text);
}

unsigned capsule_begin(struct machine *machine, const char *cause, enum capsule_of of)
{
    struct vm *vm = &machine->vm;
    bool crash = of == CAPSULE_CRASH;

    if (capsule.number && capsule.crash)
        return 0;
    if (++capsule.last_number == 0)
        capsule.last_number = 1;
    capsule.number = capsule.last_number;
    capsule.crash = crash;
    capsule.machine = machine;
    capsule.length = 0;
    capsule.stage = SEARCH;
    line("---- %s of vm %s: %s ----", crash ? "Crash" : "Dump", vm->name, cause);
    vm_pause(vm);
    for (unsigned i = 0; i < vm->vcpu_count; i++)
        tell_vcpu(vm->vcpu[i]);
    if (of == CAPSULE_RUNS)
        vm_resume(vm);
    tell_events(vm->index);
    tell_console(&machine->console);
    linux_dmesg_init(&capsule.dmesg, &vm->mem);
    return capsule.number;
}

bool capsule_step(unsigned number)
{
    if (number != capsule.number || capsule.stage == DONE)
        return false;
    if (capsule.stage == SEARCH) {
        if (!linux_dmesg_search(&capsule.dmesg))
            capsule.stage = READ;
        return true;
    }
    tell_dmesg();
    line("---- end of vm %s ----", capsule.machine->vm.name);
    capsule.stage = DONE;
    return false;
}

const char *capsule_line(unsigned number, size_t *at)
{
    const char *text = capsule.text + *at;

    if (number != capsule.number || capsule.stage != DONE || *at >= capsule.length)
        return NULL;
    *at += strlen(text) + 1;
    return text;
}

void capsule_end(unsigned number)
{
    if (number == capsule.number)
        capsule.number = 0;
}

static bool tell_step(struct sched_work *work)
{
    (void)work;
    for (unsigned i = 0; i < TELL_LINES; i++) {
        const char *text;

        if (log_space() < TELL_SPACE) {
            timer_arm(&capsule.wait, tsc_now() + tsc_hz() / 1000000 * TELL_WAIT_US);
            return false;
        }
        text = capsule_line(capsule.number, &capsule.told);
        if (!text) {
            capsule.number = 0;
            capsule.on_told();
            return false;
        }
        log_info("%s", text);
    }
    return true;
}

static void tell_on(struct timer *timer)
{
    (void)timer;
    sched_queue_work(&capsule.tell);
}

bool capsule_is_busy(void)
{
    return capsule.number && capsule.crash;
}

void capsule_tell(unsigned number, void (*told)(void))
{
    if (number != capsule.number || capsule.stage != DONE)
        return;
    capsule.told = 0;
    capsule.on_told = told;
    capsule.tell.step = tell_step;
    timer_init(&capsule.wait, &this_cpu()->timers, tell_on);
    sched_queue_work(&capsule.tell);
}
