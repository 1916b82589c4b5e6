; The shortest interrupt handler that acknowledges, so that what is measured is the hypervisor's and not the
; guest's.
global bench_isr, bench_eoi_dry, bench_other_isr, eoi_start, eoi_end, handled, other_stamp

%define X2APIC_EOI 0x80b
%define X2APIC_ICR 0x830
%define REPLY      0x81         ; bench.c, VECTOR

%macro ACKNOWLEDGE 1         ; the EOI itself, or nothing in its place
    rdtsc
    mov     [rel eoi_start], eax
    mov     ecx, X2APIC_EOI
    xor     eax, eax
    xor     edx, edx
    %1
    rdtsc
    mov     [rel eoi_end], eax
%endmacro

section .text
bits 64
bench_isr:
    push    rax
    push    rcx
    push    rdx
    ACKNOWLEDGE wrmsr
    inc     dword [rel handled]
    pop     rdx
    pop     rcx
    pop     rax
    iretq

; What the sequence takes without the WRMSR.
bench_eoi_dry:
    ACKNOWLEDGE {}
    ret

; On the second vCPU: when it came, and an answer for the first.
bench_other_isr:
    push    rax
    push    rcx
    push    rdx
    rdtsc
    mov     [rel other_stamp], eax
    mov     ecx, X2APIC_EOI
    xor     eax, eax
    xor     edx, edx
    wrmsr
    mov     ecx, X2APIC_ICR
    mov     eax, REPLY
    wrmsr
    pop     rdx
    pop     rcx
    pop     rax
    iretq

section .bss nobits
align 4
eoi_start: resd 1            ; low halves of the TSC
eoi_end:   resd 1
handled:   resd 1
other_stamp: resd 1
