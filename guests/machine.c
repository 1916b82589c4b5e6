#include "guests/machine.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/tsc.h"
#include "guests/acpitab.h"
#include "guests/linux.h"
#include "guests/machine_balloon.h"
#include "guests/machine_io.h"
#include "guests/multiboot.h"
#include "kernel/config_share.h"
#include "kernel/frames.h"
#include "kernel/heap.h"
#include "kernel/log.h"
#include "lib/errno.h"
#include "lib/format.h"
#include "lib/string.h"
#include "vmx/reclaim.h"

static uint64_t (*utc_seconds)(void);

void machine_set_clock(uint64_t (*utc)(void))
{
    utc_seconds = utc;
}

/* --- Interrupts
 * ----------------------------------------------------------------------------------------------- */

/* An ISA interrupt goes to both controllers; the guest's choice decides which one listens. IRQ 0 is I/O APIC
 * pin 2. */
static void isa_irq(void *context, unsigned irq, bool level)
{
    struct machine *machine = context;

    vpic_set(&machine->pic, irq, level);
    vioapic_set(&machine->ioapic, irq == 0 ? 2 : irq, level);
}

/* The 8259's INTR output is LINT0 of the first local APIC. */
static void pic_intr(void *context, unsigned pin, bool level)
{
    struct machine *machine = context;

    (void)pin;
    vlapic_lint(&machine->lapic[0], 0, level);
    if (level && machine->vm.vcpu[0])
        vcpu_post(machine->vm.vcpu[0], PEND_EVENT);
}

static struct irq_line isa_line(struct machine *machine, unsigned irq)
{
    return (struct irq_line){ isa_irq, machine, irq };
}

static void lapic_interrupt(void *vcpu)
{
    vcpu_post(vcpu, PEND_EVENT);
}

static void lapic_nmi(void *vcpu)
{
    vcpu_post(vcpu, PEND_NMI);
}

static void lapic_init_ipi(void *vcpu)
{
    vcpu_post(vcpu, PEND_INIT);
}

static void lapic_startup(void *context, uint8_t vector)
{
    struct vcpu *vcpu = context;

    vcpu->startup_vector = vector;
    vcpu_post(vcpu, PEND_STARTUP);
}

/* On the CPU where the guest armed it; the vCPU may run on another one by now, or soon. */
static void lapic_timer(void *context)
{
    struct vcpu *vcpu = context;

    if (likely(vcpu_is_here(vcpu)))
        vlapic_timer_due(vcpu->intc_context);
    else
        vcpu_post(vcpu, PEND_TIMER);
}

/* The CPU holds a copy of the task priority, for CR8. */
static void lapic_priority(void *context, uint8_t cr8)
{
    struct vcpu *vcpu = context;

    if (vcpu->cr8 == cr8)
        return;
    vcpu->cr8 = cr8;
    vmx_ops->set_cr8(vcpu, cr8);
}

static void lapic_mode(void *vcpu)
{
    if (vmx_ops->apic_mode)
        vmx_ops->apic_mode(vcpu);
}

static const struct vlapic_up lapic_up = { .interrupt = lapic_interrupt,
                                           .priority = lapic_priority,
                                           .nmi = lapic_nmi,
                                           .init = lapic_init_ipi,
                                           .startup = lapic_startup,
                                           .timer = lapic_timer,
                                           .mode = lapic_mode };

/* The end of a level-triggered interrupt reaches the I/O APIC, by which it may come again. */
static void end_level(void *context, uint8_t vector)
{
    struct machine *machine = context;

    lock_take(&machine->vm.devices);
    vioapic_eoi(&machine->ioapic, vector);
    lock_release(&machine->vm.devices);
}

/* --- What a vCPU asks: the context is its local APIC
 * ---------------------------------------------------------- */

static bool has_extint(const struct vlapic *lapic)
{
    const struct vcpu *vcpu = lapic->vcpu;

    return vcpu->index == 0 && vpic_pending(&container_of(vcpu->vm, struct machine, vm)->pic) &&
           vlapic_takes_extint(lapic);
}

static bool intc_pending(void *context)
{
    return vlapic_pending(context) >= 0 || has_extint(context);
}

static __attribute__((noinline)) int take_extint(struct vlapic *lapic)
{
    const struct vcpu *vcpu = lapic->vcpu;
    int vector = -1;

    if (has_extint(lapic)) {
        lock_take(&vcpu->vm->devices);
        vector = vpic_acknowledge(&container_of(vcpu->vm, struct machine, vm)->pic);
        lock_release(&vcpu->vm->devices);
    }
    return vector;
}

static int intc_take(void *context)
{
    int vector = vlapic_take(context);

    return likely(vector >= 0) ? vector : take_extint(context);
}

static int intc_held(void *context)
{
    return vlapic_held(context);
}

static void intc_set_cr8(void *context, uint8_t cr8)
{
    vlapic_set_cr8(context, cr8);
}

/* 32-bit accesses, aligned; others mean nothing (SDM 11.4.1). */
static uint64_t intc_read(void *context, uint32_t offset, unsigned size)
{
    return size == 4 && !(offset & 3) ? vlapic_read(context, offset, size) : UINT64_MAX;
}

static void intc_write(void *context, uint32_t offset, unsigned size, uint64_t value)
{
    if (size == 4 && !(offset & 3))
        vlapic_write(context, offset, size, value);
}

static bool intc_send(void *context, uint32_t id, uint32_t icr)
{
    struct vlapic *lapic = context;
    struct apic_message message = {
        .destination = id,
        .vector = (uint8_t)icr,
        .mode = (uint8_t)((icr & APIC_ICR_MODE) >> APIC_ICR_MODE_SHIFT),
    };

    if (message.mode != APIC_MODE_NMI && (message.mode != APIC_MODE_FIXED || message.vector < 16))
        return false;
    return vlapic_bus_send(lapic->bus, &message);
}

static void intc_set_eoi_word(void *context, uint32_t *word)
{
    vlapic_set_eoi_word(context, word);
}

static bool intc_uses(void *context, const uint8_t *host, size_t size)
{
    const struct vlapic *lapic = context;
    const uint8_t *word = (const uint8_t *)lapic->eoi_word;

    return word && (uint64_t)(word - host) < size;
}

static void intc_timer_due(void *context)
{
    vlapic_timer_due(context);
}

static void intc_reset(void *context)
{
    vlapic_init_signal(context);
}

static void intc_attach(void *context, uint32_t *page)
{
    if (page)
        vlapic_attach(context, page);
    else
        vlapic_detach(context);
}

static void intc_sync(void *context, struct vcpu_interrupt_status *out)
{
    struct vlapic_status status = vlapic_sync(context);

    *out = (struct vcpu_interrupt_status){ .rvi = status.rvi, .svi = status.svi };
}

static bool intc_level_vectors(void *context, uint64_t bitmap[4])
{
    return vlapic_level_vectors(context, bitmap);
}

static void intc_page_written(void *context, uint32_t offset)
{
    vlapic_page_written(context, offset);
}

static void intc_eoi_done(void *context, uint8_t vector)
{
    vlapic_eoi_done(context, vector);
}

static bool intc_external(void *context)
{
    return has_extint(context);
}

static const struct vcpu_intc intc = {
    .pending = intc_pending,
    .take = intc_take,
    .set_cr8 = intc_set_cr8,
    .held = intc_held,
    .msr_read = vlapic_msr_read,
    .msr_write = vlapic_msr_write,
    .read = intc_read,
    .write = intc_write,
    .send = intc_send,
    .set_eoi_word = intc_set_eoi_word,
    .uses = intc_uses,
    .timer_due = intc_timer_due,
    .reset = intc_reset,
    .attach = intc_attach,
    .sync = intc_sync,
    .level_vectors = intc_level_vectors,
    .page_written = intc_page_written,
    .eoi_done = intc_eoi_done,
    .external = intc_external,
};

/* --- The guest's end
 * ------------------------------------------------------------------------------------------ */

/* The first reason counts, whichever of its CPUs it comes from. */
static bool claim_stop(struct machine *machine, enum machine_stop stop)
{
    enum machine_stop runs = MACHINE_RUNS;

    return __atomic_compare_exchange_n(&machine->stop, &runs, stop, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

/* No vCPU is entered again; the manager hears of it once. */
static void stop_now(struct machine *machine)
{
    machine->vm.dead = true;
    for (unsigned i = 0; i < machine->vm.vcpu_count; i++)
        vcpu_note(machine->vm.vcpu[i], PEND_LEAVE);
    machine->stopped(machine);
}

static void power_off(void *context)
{
    if (claim_stop(context, MACHINE_POWERED_OFF))
        stop_now(context);
}

static void reset(void *context)
{
    if (claim_stop(context, MACHINE_RESET))
        stop_now(context);
}

static void debug_exit(void *context, uint32_t code)
{
    struct machine *machine = context;

    if (!claim_stop(machine, MACHINE_EXITED))
        return;
    machine->exit_code = code;
    stop_now(machine);
}

static void watchdog_expired(void *context, uint64_t ms)
{
    struct machine *machine = context;

    vm_die(&machine->vm, "its watchdog expired: the guest had not fed it for %llu.%llu s",
           (unsigned long long)(ms / 1000), (unsigned long long)(ms % 1000 / 100));
}

static void died(struct vm *vm, const char *reason)
{
    struct machine *machine = container_of(vm, struct machine, vm);

    if (!claim_stop(machine, MACHINE_DIED))
        return;
    format_text(machine->reason, sizeof(machine->reason), "%s", reason);
    stop_now(machine);
}

/* --- Making one
 * ----------------------------------------------------------------------------------------------- */

/* As firmware leaves the 8259s: PCI's interrupts are levels. */
static void set_level_mode(struct machine *m)
{
    vpic_elcr_write(&m->pic, 1, 1, BIT(vpci_irq(0) - 8) | BIT(vpci_irq(1) - 8));
}

static void init_devices(struct machine *m)
{
    struct timer_queue *queue = &this_cpu()->timers;
    const struct vclock *clock = &m->vm.clock;
    struct irq_line intr = { pic_intr, m, 0 };
    uint64_t low = min_u64(gmem_size(&m->vm.mem), GUEST_LOW_MAX);

    vioapic_init(&m->ioapic, &m->apics);
    m->apics.eoi = end_level;
    m->apics.ioapic = m;
    vpic_init(&m->pic, &intr);
    set_level_mode(m);
    vpit_init(&m->pit, clock, queue, isa_line(m, VPIT_IRQ));
    vrtc_init(&m->rtc, clock, queue, isa_line(m, VRTC_IRQ), utc_seconds(), low, gmem_size(&m->vm.mem) - low);
    vuart_init(&m->uart, clock, queue, isa_line(m, VUART_COM1_IRQ), &m->console);
    vpm_init(&m->pm, clock, queue, isa_line(m, VPM_SCI), power_off, m);
    vreset_init(&m->reset, reset, m);
    vpci_init(&m->pci, &m->reset);
    vwatchdog_init(&m->watchdog, clock, queue, watchdog_expired, m);
    vdebug_init(&m->debug, m->config->debug_exit ? debug_exit : NULL, m);
}

static int attach_pic(struct machine *m)
{
    const struct io_region regions[] = {
        { VPIC_MASTER, 2, IO_8, vpic_master_read, vpic_master_write, &m->pic, "8259 master" },
        { VPIC_SLAVE, 2, IO_8, vpic_slave_read, vpic_slave_write, &m->pic, "8259 slave" },
        { VPIC_ELCR, 2, IO_8, vpic_elcr_read, vpic_elcr_write, &m->pic, "ELCR" },
    };
    int err = 0;

    for (unsigned i = 0; i < ARRAY_SIZE(regions) && !err; i++)
        err = iobus_add(&m->vm.ports, &regions[i]);
    return err;
}

static int attach_mmio(struct machine *m)
{
    const struct io_region ioapic = { GUEST_IOAPIC_BASE, 4096,       IO_32,     vioapic_read,
                                      vioapic_write,     &m->ioapic, "I/O APIC" };

    return iobus_add(&m->vm.mmio, &ioapic);
}

static int attach_devices(struct machine *m)
{
    const struct irq_line pins[VPCI_LINES] = { isa_line(m, vpci_irq(0)), isa_line(m, vpci_irq(1)) };
    int err = attach_pic(m);

    err = err ? err : vpit_attach(&m->pit, &m->vm.ports);
    err = err ? err : vrtc_attach(&m->rtc, &m->vm.ports);
    err = err ? err : vuart_attach(&m->uart, &m->vm.ports, VUART_COM1_PORT);
    err = err ? err : vpm_attach(&m->pm, &m->vm.ports);
    err = err ? err : vreset_attach(&m->reset, &m->vm.ports);
    err = err ? err : vdebug_attach(&m->debug, &m->vm.ports);
    err = err ? err : attach_mmio(m);
    if (!err && m->config->watchdog)
        err = vwatchdog_attach(&m->watchdog, &m->pci);
    err = err ? err : machine_io_create(m, pins);
    return err ? err : vpci_attach(&m->pci, &m->vm.ports, &m->vm.mmio);
}

static int create_vcpus(struct machine *m)
{
    m->vm.vcpu_count = m->config->cpus;
    for (unsigned i = 0; i < m->config->cpus; i++) {
        struct vcpu *vcpu;
        int err = vcpu_create(&m->vm, i, VLAPIC_HZ, &vcpu);

        if (err) {
            m->vm.vcpu_count = i;
            return err;
        }
        vcpu->intc = &intc;
        vcpu->intc_context = &m->lapic[i];
        m->vm.vcpu[i] = vcpu;
        vlapic_init(&m->lapic[i], &m->apics, i, &lapic_up, vcpu, &m->vm.clock, &this_cpu()->timers);
    }
    vlapic_virtual_wire(&m->lapic[0]);
    return 0;
}

int machine_create(const struct config_vm *config, const struct config_share *share, unsigned index,
                   void (*stopped)(struct machine *), struct machine **out)
{
    struct machine *m = heap_alloc(sizeof(*m));
    int err = -ENOMEM;

    if (!m)
        return -ENOMEM;
    m->config = config;
    m->stopped = stopped;
    m->vm.index = index;
    m->vm.died = died;
    m->vm.balloon = config->balloon;
    m->vm.share = config_share_of_vcpu(share, config->cpus);
    format_text(m->vm.name, sizeof(m->vm.name), "%s", config->name);
    vclock_init(&m->vm.clock, tsc_hz());
    m->vm.clock.lock = &m->vm.devices;
    iobus_init(&m->vm.ports);
    iobus_init(&m->vm.mmio);
    console_init(&m->console);
    err = vm_create_memory(&m->vm, config->memory);
    if (err)
        goto fail;
    init_devices(m);
    err = create_vcpus(m);
    if (!err)
        err = attach_devices(m);
    if (err)
        goto fail_vcpus;
    *out = m;
    return 0;

fail_vcpus:
    while (m->vm.vcpu_count)
        vcpu_destroy(m->vm.vcpu[--m->vm.vcpu_count]);
    machine_io_destroy(m);
    vm_destroy_memory(&m->vm);
fail:
    heap_free(m);
    return err;
}

/* Every timer of the devices is off its queue. */
static void reset_devices(struct machine *m)
{
    lock_take(&m->vm.devices);
    for (unsigned i = 0; i < m->vm.vcpu_count; i++)
        vlapic_reset(&m->lapic[i]);
    vlapic_virtual_wire(&m->lapic[0]);
    vioapic_reset(&m->ioapic);
    vpic_reset(&m->pic);
    set_level_mode(m);
    vpit_reset(&m->pit);
    vrtc_reset(&m->rtc);
    vuart_reset(&m->uart);
    vpm_reset(&m->pm);
    vreset_reset(&m->reset);
    vwatchdog_reset(&m->watchdog);
    machine_io_reset(m);
    vpci_reset(&m->pci);
    vdebug_reset(&m->debug);
    lock_release(&m->vm.devices);
}

void machine_destroy(struct machine *machine)
{
    machine_halt(machine);
    sched_barrier(); /* a timer of it may just be firing somewhere */
    while (machine->vm.vcpu_count)
        vcpu_destroy(machine->vm.vcpu[--machine->vm.vcpu_count]);
    machine_io_destroy(machine);
    vm_destroy_memory(&machine->vm);
    heap_free(machine);
}

/* --- Starting and stopping
 * ------------------------------------------------------------------------------------ */

void machine_halt(struct machine *machine)
{
    for (unsigned i = 0; i < machine->vm.vcpu_count; i++)
        vcpu_stop(machine->vm.vcpu[i]);
    machine_io_cancel(machine);
    reset_devices(machine);
    machine->wiped = 0;
}

void machine_pause(struct machine *machine)
{
    vm_pause(&machine->vm);
    vwatchdog_pause(&machine->watchdog);
}

void machine_resume(struct machine *machine)
{
    vwatchdog_resume(&machine->watchdog);
    vm_resume(&machine->vm);
}

/* One that is away comes back zeroed. False: there is no memory for it. */
static bool wipe_chunk(struct machine *machine, unsigned slot, uint64_t chunk)
{
    uint8_t *host = machine->vm.mem.slot[slot].chunk[chunk];

    if (!host)
        return reclaim_fill(&machine->vm, slot, chunk);
    memset(host, 0, GMEM_CHUNK);
    return true;
}

bool machine_wipe(struct machine *machine)
{
    uint64_t at = machine->wiped;

    if (!machine_io_idle(machine))
        return true;
    machine_balloon_idle(machine);
    for (unsigned i = 0; i < machine->vm.mem.count; i++) {
        const struct gmem_slot *slot = &machine->vm.mem.slot[i];

        if (at < slot->size) {
            if (!wipe_chunk(machine, i, at / GMEM_CHUNK))
                return false;
            machine->wiped += GMEM_CHUNK;
            break;
        }
        at -= slot->size;
    }
    return machine->wiped < gmem_size(&machine->vm.mem);
}

/* Flat segments, in the mode that the loader asks for. */
static void set_boot_state(struct vcpu *vcpu, const struct boot_state *boot)
{
    bool is_long = boot->mode == BOOT_MODE_LONG;
    uint16_t code = SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_G | SEG_ATTR_CODE | SEG_ATTR_RW | 1;
    uint16_t data = SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_G | SEG_ATTR_DB | SEG_ATTR_RW | 1;
    struct vcpu_system s;

    vmx_ops->get_system(vcpu, &s);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        s.segment[i] = (struct vcpu_segment){ boot->ds, data, UINT32_MAX, 0 };
    s.segment[SEG_CS] = (struct vcpu_segment){ boot->cs, code | (is_long ? SEG_ATTR_L : SEG_ATTR_DB),
                                               UINT32_MAX, 0 };
    s.gdtr.base = boot->gdt.raw;
    s.gdtr.limit = boot->gdt_limit;
    s.idtr.limit = 0;
    s.cr0 = is_long ? BIT(31) | BIT(4) | BIT(0) : BIT(4) | BIT(0); /* PG ET PE */
    s.cr3 = boot->cr3;
    s.cr4 = is_long ? BIT(5) : 0;            /* PAE */
    s.efer = is_long ? BIT(8) | BIT(10) : 0; /* LME LMA */
    vmx_ops->set_system(vcpu, &s);
    memset(vcpu->gpr, 0, sizeof(vcpu->gpr));
    vcpu->gpr[GPR_RAX] = boot->rax;
    vcpu->gpr[GPR_RBX] = boot->rbx;
    vcpu->gpr[GPR_RSI] = boot->rsi;
    vcpu->gpr[GPR_RSP] = boot->rsp;
    vcpu->rip = boot->rip;
}

static int load_image(struct machine *machine, const struct machine_images *images, struct boot_state *boot,
                      struct load_error *error)
{
    const struct acpitab_config tables = { .cpus = machine->vm.vcpu_count };
    struct load_request request = {
        .mem = &machine->vm.mem,
        .kernel = images->kernel,
        .initrd = images->initrd,
        .cmdline = machine->config->cmdline,
        .module = images->module,
        .module_count = machine->config->module_count,
    };

    if (acpitab_build(&machine->vm.mem, &tables, &request.rsdp)) {
        format_text(error->text, sizeof(error->text),
                    "its memory is too small for the ACPI tables; give it at least 2M");
        return -ENOEXEC;
    }
    if (linux_probe(&images->kernel))
        return linux_load(&request, boot, error);
    if (!multiboot_probe(&images->kernel))
        return load_refuse(
            error, "%s is neither a Linux bzImage nor a multiboot kernel: make `kernel` name one of these",
            images->kernel.name);
    return multiboot_load(&request, boot, error);
}

int machine_power_on(struct machine *machine, const struct machine_images *images, struct load_error *error)
{
    struct boot_state boot;
    uint64_t low = min_u64(gmem_size(&machine->vm.mem), GUEST_LOW_MAX);
    int err;

    if (machine->wiped < gmem_size(&machine->vm.mem))
        return load_refuse(error,
                           "out of memory: its balloon had given %llu MiB to others, which are not to be had "
                           "back, and %llu MiB of the machine's are free; stop another VM, or lower `memory`",
                           (unsigned long long)(machine->vm.away * GMEM_CHUNK / MiB),
                           (unsigned long long)(frames_count(FRAME_FREE) * PAGE_SIZE / MiB));
    err = load_image(machine, images, &boot, error);
    if (err)
        return err;
    machine->vm.refills = 0;
    vclock_init(&machine->vm.clock, tsc_hz());
    machine->vm.epoch_ns = utc_seconds() * 1000000000;
    vrtc_init(&machine->rtc, &machine->vm.clock, &this_cpu()->timers, isa_line(machine, VRTC_IRQ),
              utc_seconds(), low, gmem_size(&machine->vm.mem) - low);
    reset_devices(machine);
    machine->stop = MACHINE_RUNS;
    machine->vm.dead = false;
    machine->vm.wall_clock_gpa = 0;
    for (unsigned i = 0; i < machine->vm.vcpu_count; i++)
        vcpu_power_on(machine->vm.vcpu[i]);
    msr_reset(&machine->vm);
    set_boot_state(machine->vm.vcpu[0], &boot);
    for (unsigned i = 0; i < machine->vm.vcpu_count; i++)
        vcpu_start(machine->vm.vcpu[i]);
    return 0;
}

bool machine_type(struct machine *machine, char c)
{
    bool taken;

    lock_take(&machine->vm.devices);
    taken = console_type(&machine->console, c);
    lock_release(&machine->vm.devices);
    return taken;
}

void machine_power_button(struct machine *machine)
{
    lock_take(&machine->vm.devices);
    vpm_power_button(&machine->pm);
    lock_release(&machine->vm.devices);
}
