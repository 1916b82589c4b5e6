; Where the other CPUs start (arch/x86_64/smp.h): from real mode in a page below 1 MiB to ap_main() on a stack of their own.
; Sources: Intel SDM vol. 3, 9.4.4 (what a CPU does after a start-up IPI), 10.1.4 (its state after INIT), 10.8.5 (long mode).
%include "offsets.inc"

CR0_PE            equ 1 << 0
CR0_MP            equ 1 << 1
CR0_ET            equ 1 << 4
CR0_NE            equ 1 << 5
CR0_WP            equ 1 << 16
CR0_PG            equ 1 << 31
CR4_PAE           equ 1 << 5
MSR_EFER          equ 0xc0000080
EFER_LME          equ 1 << 8
EFER_NXE          equ 1 << 11
CPUID_EDX_NX      equ 1 << 20           ; leaf 0x80000001
CPUID_EDX_LM      equ 1 << 29

SELECTOR_CODE_64  equ 0x08              ; of multiboot2.asm's gdt
SELECTOR_CODE_32  equ 0x10
SELECTOR_DATA     equ 0x18

extern gdt, early_pml4, smp_start, ap_main

; Copied to the start of the page that the start-up IPI names: CS is its segment, IP is 0. Relocated for no address of its own.
section .rodata
bits 16
global trampoline_start, trampoline_end
trampoline_start:
    cli
    cld
    o32 lgdt [cs:.gdt_pointer - trampoline_start]
    mov eax, CR0_PE | CR0_ET            ; and caches on: INIT leaves CD and NW as they were, a power-on sets them
    mov cr0, eax
    jmp dword SELECTOR_CODE_32:ap_protected
.gdt_pointer:
    dw 4 * 8 - 1
    dd gdt
trampoline_end:

; At its physical address, as the boot CPU's way is. The tables are the boot CPU's first ones, which lie below 4 GiB and map the low
; addresses; nothing else uses them any more. The hypervisor's own may lie above 4 GiB, where a 32-bit CR3 does not reach.
section .boot
bits 32
ap_protected:
    mov eax, SELECTOR_DATA
    mov ds, eax
    mov es, eax
    mov ss, eax
    mov eax, 0x80000001
    cpuid
    and edx, CPUID_EDX_LM | CPUID_EDX_NX
    cmp edx, CPUID_EDX_LM | CPUID_EDX_NX
    jne .useless
    mov eax, CR4_PAE
    mov cr4, eax
    mov eax, early_pml4
    mov cr3, eax
    mov ecx, MSR_EFER
    rdmsr
    or eax, EFER_LME | EFER_NXE
    wrmsr
    mov eax, CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE
    mov cr0, eax
    jmp SELECTOR_CODE_64:ap_long
.useless:
    hlt                                 ; the boot CPU waits in vain, and says so
    jmp .useless

bits 64
ap_long:
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    mov rax, ap_take_stack
    jmp rax

; One CPU starts at a time. One that comes too late finds another's number, or no stack, and goes no further.
section .text
bits 64
ap_take_stack:
    xor eax, eax
    cpuid
    cmp eax, 0xb
    jb .old_id
    mov eax, 0xb                        ; the id in 32 bits (SDM vol. 2, CPUID); the leaf is there if EBX is not 0
    xor ecx, ecx
    cpuid
    mov eax, edx
    test ebx, ebx
    jnz .have_id
.old_id:
    mov eax, 1
    cpuid
    mov eax, ebx
    shr eax, 24
.have_id:
    cmp eax, [rel smp_start + SMP_START_APIC_ID]
    jne .late
    xor eax, eax
    xchg rax, [rel smp_start + SMP_START_BLOCK]
    test rax, rax
    jz .late
    mov rcx, [rel smp_start + SMP_START_ROOT]
    mov cr3, rcx
    lea rsp, [rax + CPU_BLOCK_SIZE]
    push 0                              ; no caller: ends a backtrace
    jmp ap_main
.late:
    hlt
    jmp .late
