/* VT-x: what the CPU can do, and turning it on. Source: Intel SDM vol. 3, 24.6 to 24.8 and appendix A. */
#include "vmx/intel/vmx.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/paging.h"
#include "arch/x86_64/tsc.h"
#include "kernel/frames.h"
#include "kernel/heap.h"
#include "kernel/log.h"
#include "kernel/sched.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmx/intel/ept.h"

struct vmx_machine vmx_machine;

/* MSRs that the guest reads and writes without an exit: the VMCS holds them, but for KERNEL_GS_BASE (vmx.c).
 */
static const uint32_t msr_direct[] = {
    0x174,      0x175,      0x176,      /* SYSENTER_CS, _ESP, _EIP */
    0xc0000100, 0xc0000101, 0xc0000102, /* FS_BASE, GS_BASE, KERNEL_GS_BASE */
};

static int vmxon(hpa_t region)
{
    bool failed;

    __asm__ volatile("vmxon %1" : "=@ccbe"(failed) : "m"(region.raw) : "memory");
    return failed ? -EIO : 0;
}

/* What the command line takes away (VMX_WITHOUT_). */
static unsigned without;

static const struct {
    const char *name;
    unsigned bits;
} features[] = {
    { "apicv", VMX_WITHOUT_APICV },
    { "tpr-shadow", VMX_WITHOUT_APICV | VMX_WITHOUT_TPR_SHADOW },
    { "preemption-timer", VMX_WITHOUT_TIMER },
};

int vmx_without(const char *feature)
{
    for (unsigned i = 0; i < ARRAY_SIZE(features); i++)
        if (strcmp(feature, features[i].name) == 0) {
            without |= features[i].bits;
            return 0;
        }
    return -EINVAL;
}

/* Vendor strings that begin "Genu" and, for Zhaoxin's and VIA's, "Cent" and "  Sh" (CPUID leaf 0 EBX). */
bool vmx_present(void)
{
    uint32_t vendor = cpuid(0).ebx;

    return vendor == 0x756e6547 || vendor == 0x746e6543 || vendor == 0x68532020;
}

static void read_capabilities(struct vmx_capabilities *cap)
{
    static const uint32_t old[VMX_CONTROLS] = { MSR_VMX_PIN, MSR_VMX_PRIMARY, 0, MSR_VMX_EXIT,
                                                MSR_VMX_ENTRY };
    static const uint32_t new[VMX_CONTROLS] = { MSR_VMX_TRUE_PIN, MSR_VMX_TRUE_PRIMARY, 0, MSR_VMX_TRUE_EXIT,
                                                MSR_VMX_TRUE_ENTRY };

    cap->basic = rdmsr(MSR_VMX_BASIC);
    for (unsigned i = 0; i < VMX_CONTROLS; i++)
        if (i != CONTROL_SECONDARY)
            cap->control[i] = rdmsr(cap->basic & VMX_BASIC_TRUE_CONTROLS ? new[i] : old[i]);
    if (cap->control[CONTROL_PRIMARY] >> 32 & PRIMARY_SECONDARY)
        cap->control[CONTROL_SECONDARY] = rdmsr(MSR_VMX_SECONDARY);
    if (cap->control[CONTROL_SECONDARY] >> 32 & (SECONDARY_EPT | SECONDARY_VPID))
        cap->ept_vpid = rdmsr(MSR_VMX_EPT_VPID);
    cap->misc = rdmsr(MSR_VMX_MISC);
    cap->cr0_fixed0 = rdmsr(MSR_VMX_CR0_FIXED0);
    cap->cr0_fixed1 = rdmsr(MSR_VMX_CR0_FIXED1);
    cap->cr4_fixed0 = rdmsr(MSR_VMX_CR4_FIXED0);
    cap->cr4_fixed1 = rdmsr(MSR_VMX_CR4_FIXED1);
    cap->maxphyaddr = cpu_features.maxphyaddr;
}

/* IA32_FEATURE_CONTROL, which the firmware locks; where it did not, Plinth decides (24.7). */
static int check_feature_control(void)
{
    uint64_t control;

    if (rdmsr_safe(MSR_FEATURE_CONTROL, &control))
        return 0; /* no such MSR: an emulated CPU, which locks nothing */
    if (!(control & FEATURE_CONTROL_LOCK)) {
        control |= FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX;
        wrmsr(MSR_FEATURE_CONTROL, control);
    }
    if (control & FEATURE_CONTROL_VMX)
        return 0;
    log_error("VT-x: the firmware has disabled it with a lock (IA32_FEATURE_CONTROL 0x%llx); enable Intel "
              "virtualisation (VT-x, VMX) in the firmware's setup",
              (unsigned long long)control);
    return -EPERM;
}

/* What has no bit in the controls but is needed. */
static int check_ept(uint64_t cap)
{
    const char *missing = !(cap & EPT_CAP_WALK_4) ? "4-level tables"
                          : !(cap & EPT_CAP_WB)   ? "write-back tables"
                          : !(cap & EPT_CAP_2M)   ? "2 MiB pages"
                          : (cap & (EPT_CAP_INVEPT | EPT_CAP_INVEPT_SINGLE)) !=
                                  (EPT_CAP_INVEPT | EPT_CAP_INVEPT_SINGLE)
                              ? "INVEPT"
                              : NULL;

    if (!missing)
        return 0;
    log_error("VT-x: this CPU's EPT lacks %s (IA32_VMX_EPT_VPID_CAP 0x%llx), which Plinth needs", missing,
              (unsigned long long)cap);
    return -ENODEV;
}

/* Another CPU than the first: what was chosen for that one must hold for it. */
static int compare(void)
{
    struct vmx_capabilities cap;

    memset(&cap, 0, sizeof(cap));
    read_capabilities(&cap);
    if (memcmp(&cap, &vmx_machine.cap, sizeof(cap)) == 0)
        return 0;
    log_error(
        "VT-x: this CPU's capabilities differ from the boot CPU's (IA32_VMX_BASIC 0x%llx instead of 0x%llx)",
        (unsigned long long)cap.basic, (unsigned long long)vmx_machine.cap.basic);
    return -ENODEV;
}

static int detect(bool first)
{
    struct vmx_capabilities *cap = &vmx_machine.cap;
    char why[80];
    int err;

    if (!(cpuid(1).ecx & BIT(5))) {
        log_error("VT-x: this CPU does not have it (CPUID 1 ECX.VMX is 0), or the firmware hides it; virtual "
                  "machines cannot be started");
        return -ENODEV;
    }
    err = check_feature_control();
    if (err)
        return err;
    if (!first)
        return compare();
    read_capabilities(cap);
    if (controls_compute(cap, without, &vmx_machine.controls, why, sizeof(why))) {
        log_error("VT-x: this CPU cannot be used: the control %s; virtual machines cannot be started", why);
        return -ENODEV;
    }
    vmx_machine.timer = vmx_machine.controls.optional[CONTROL_PIN] & PIN_PREEMPTION_TIMER;
    vmx_machine.timer_rate = cap->misc & VMX_MISC_TIMER_RATE;
    vmx_machine.slice = tsc_hz() / 1000000 * SHARE_SLICE_US;
    if ((cap->ept_vpid & (EPT_CAP_INVVPID | EPT_CAP_INVVPID_SINGLE)) !=
        (EPT_CAP_INVVPID | EPT_CAP_INVVPID_SINGLE))
        vmx_machine.controls.value[CONTROL_SECONDARY] &= ~(uint32_t)SECONDARY_VPID;
    return check_ept(cap->ept_vpid);
}

static void msr_bitmap_allow(uint8_t *map, uint32_t msr, bool writes)
{
    uint32_t index = msr & 0x1fff, high = msr >= 0xc0000000 ? 1024 : 0;

    map[high + index / 8] &= (uint8_t) ~(1u << index % 8);
    if (writes)
        map[2048 + high + index / 8] &= (uint8_t) ~(1u << index % 8);
}

/* A page of ones: everything exits. */
static hpa_t create_map(void)
{
    hpa_t page = frames_alloc(FRAME_ORDER_4K, FRAME_HEAP);

    if (page.raw)
        memset(phys_to_virt(page), 0xff, PAGE_SIZE);
    return page;
}

static int create_maps(void)
{
    struct vmx_machine *m = &vmx_machine;

    m->io_bitmap[0] = create_map();
    m->io_bitmap[1] = create_map();
    m->msr_bitmap = create_map();
    if (!m->io_bitmap[0].raw || !m->io_bitmap[1].raw || !m->msr_bitmap.raw) {
        log_error("VT-x: no memory for the bitmaps");
        return -ENOMEM;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(msr_direct); i++)
        msr_bitmap_allow(phys_to_virt(m->msr_bitmap), msr_direct[i], true);
    for (unsigned i = 0; i < VMX_SYSCALL_MSRS; i++)
        msr_bitmap_allow(phys_to_virt(m->msr_bitmap), MSR_STAR + i, false);
    return vmx_apic_init();
}

static const char *yes(bool has)
{
    return has ? "yes" : "no";
}

static void log_features(void)
{
    const struct vmx_controls *c = &vmx_machine.controls;

    log_info("VT-x: EPT with %s pages, VPID: %s, TPR shadow: %s, APIC virtualisation: %s, "
             "preemption timer: %s",
             vmx_machine.cap.ept_vpid & EPT_CAP_1G ? "1 GiB" : "2 MiB",
             yes(c->value[CONTROL_SECONDARY] & SECONDARY_VPID),
             yes(c->value[CONTROL_PRIMARY] & PRIMARY_TPR_SHADOW), yes(vmx_machine.apicv),
             yes(c->optional[CONTROL_PIN] & PIN_PREEMPTION_TIMER));
}

int vmx_cpu_enable(struct cpu *cpu)
{
    struct vmx_cpu *vmx;
    bool first = cpu->index == 0;
    int err = detect(first);

    if (err)
        return err;
    if (first) {
        err = create_maps();
        if (err)
            return err;
        log_features();
    }
    vmx = heap_alloc(sizeof(*vmx));
    if (vmx)
        vmx->vmxon = frames_alloc(FRAME_ORDER_4K, FRAME_PERCPU);
    if (!vmx || !vmx->vmxon.raw) {
        log_error("VT-x: no memory for CPU %u's VMXON region", cpu->index);
        return -ENOMEM;
    }
    memset(phys_to_virt(vmx->vmxon), 0, PAGE_SIZE);
    *(uint32_t *)phys_to_virt(vmx->vmxon) = (uint32_t)(vmx_machine.cap.basic & VMX_BASIC_REVISION);
    write_cr0((read_cr0() | vmx_machine.cap.cr0_fixed0) & vmx_machine.cap.cr0_fixed1);
    write_cr4((read_cr4() | vmx_machine.cap.cr4_fixed0) & vmx_machine.cap.cr4_fixed1);
    if (vmxon(vmx->vmxon)) {
        log_error("VT-x: CPU %u refused VMXON", cpu->index);
        return -EIO;
    }
    for (unsigned i = 0; i < VMX_SYSCALL_MSRS; i++)
        wrmsr(MSR_STAR + i, vmx->syscall_msr[i]);
    cpu->vmx = vmx;
    return 0;
}
