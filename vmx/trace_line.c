#include "vmx/trace_line.h"
#include "lib/format.h"
#include "vmx/ops.h"

/* What a recording holds need not be a reason. */
static const char *exit_name(unsigned reason)
{
    return reason < EXIT_REASONS && vmexit_names[reason] ? vmexit_names[reason] : "?";
}

/* Whose event it is: "name/vCPU". */
static void whose(char *to, size_t size, const struct recording *from, const struct recorder_event *event)
{
    const char *name = event->vm < RECORDER_VMS ? from->header.name[event->vm] : "";

    if (event->vm == RECORD_NO_VM)
        format_text(to, size, "%s", "-");
    else if (name[0])
        format_text(to, size, "%s/%u", name, event->vcpu);
    else
        format_text(to, size, "vm %u/%u", event->vm, event->vcpu);
}

/* Where the members of struct vmexit lie in the word of detail. It is taken apart by hand, as it may hold
 * what no bool can. */
#define EXIT_BYTE(detail, member) ((uint8_t)((detail) >> 8 * (offsetof(struct vmexit, member) - 4)))

static void exit_detail(char *to, size_t size, uint8_t reason, uint32_t detail)
{
    uint8_t bytes = EXIT_BYTE(detail, io.size);
    bool eoi = EXIT_BYTE(detail, apic.eoi);

    to[0] = '\0';
    if (reason == EXIT_IO)
        format_text(to, size, ": %s port 0x%x, %u byte%s", EXIT_BYTE(detail, io.in) ? "in from" : "out to",
                    (uint16_t)detail, bytes, bytes == 1 ? "" : "s");
    else if (reason == EXIT_MSR_READ || reason == EXIT_MSR_WRITE)
        format_text(to, size, ": MSR 0x%x", detail);
    else if (reason == EXIT_MEMORY)
        format_text(to, size, ": address 0x%x", detail);
    else if (reason == EXIT_APIC)
        format_text(to, size, eoi ? ": end of vector 0x%x" : ": register 0x%x",
                    eoi ? EXIT_BYTE(detail, apic.vector) : detail >> 16);
    else if (reason == EXIT_EXCEPTION)
        format_text(to, size, ": vector %u", EXIT_BYTE(detail, exception.vector));
    else if (reason == EXIT_TASK_SWITCH)
        format_text(to, size, ": to TSS 0x%x", (uint16_t)detail);
}

static_assert(offsetof(struct vmexit, io.port) == 4 && offsetof(struct vmexit, task.selector) == 4 &&
                  offsetof(struct vmexit, msr) == 4 && offsetof(struct vmexit, apic.offset) == 6,
              "the word of detail");

static void what(char *to, size_t size, const struct recorder_event *event)
{
    static const char *const injected[] = { [EVENT_INTERRUPT] = "interrupt",
                                            [EVENT_NMI] = "NMI",
                                            [EVENT_EXCEPTION] = "exception",
                                            [EVENT_SOFTWARE] = "software interrupt" };
    const char *name = event->code < ARRAY_SIZE(injected) ? injected[event->code] : NULL;
    unsigned long long rip = event->a;
    char detail[64];

    switch (event->kind) {
    case RECORD_INJECT:
        format_text(to, size, "inject %s, vector 0x%x, RIP 0x%llx", name ? name : "?", event->detail, rip);
        break;
    case RECORD_LOAD:
        format_text(to, size, "gets the CPU, RIP 0x%llx", rip);
        break;
    case RECORD_LEAVE:
        format_text(to, size, "leaves the CPU%s, RIP 0x%llx", event->code ? " halted" : "", rip);
        break;
    default:
        exit_detail(detail, sizeof(detail), event->code, event->detail);
        format_text(to, size, "exit %s%s, RIP 0x%llx", exit_name(event->code), detail, rip);
        break;
    }
}

/* Appends one piece's text, but for what no terminal should see. */
static size_t add_text(char *to, size_t length, size_t size, const struct recorder_event *event)
{
    const char *text = (const char *)&event->detail;

    for (unsigned i = 0; i < RECORDER_TEXT && text[i] && length + 1 < size; i++)
        to[length++] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    to[length] = '\0';
    return length;
}

/* A log line out of its pieces: its CPU wrote them one behind the other. */
static void log_text(char *to, size_t size, const struct recorded *list, unsigned count, unsigned at)
{
    size_t length = (size_t)format_text(to, size, "log: ");
    unsigned piece = 0;

    for (unsigned i = at; i < count; i++) {
        const struct recorder_event *event = &list[i].event;

        if (list[i].cpu != list[at].cpu)
            continue;
        if (event->kind != RECORD_LOG || (i > at && event->code != piece))
            break;
        length = add_text(to, length, size, event);
        piece = event->code + 1u;
    }
}

size_t trace_line(char to[TRACE_LINE_MAX], const struct recording *from, const struct recorded *list,
                  unsigned count, unsigned at)
{
    const struct recorder_event *event = &list[at].event;
    uint64_t us = recording_us(from, recorder_tsc(event));
    char who[RECORDER_NAME + 16], text[TRACE_LINE_MAX - 80];
    int length;

    if (event->kind == RECORD_LOG && event->code && at)
        return 0;
    if (event->kind == RECORD_LOG)
        log_text(text, sizeof(text), list, count, at);
    else
        what(text, sizeof(text), event);
    whose(who, sizeof(who), from, event);
    length = format_text(to, TRACE_LINE_MAX, "[%5llu.%06llu] cpu%-2u %-12s %s",
                         (unsigned long long)(us / 1000000), (unsigned long long)(us % 1000000), list[at].cpu,
                         who, text);
    return min_u64((uint64_t)length, TRACE_LINE_MAX - 1);
}
