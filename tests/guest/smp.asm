; Where the second CPU starts: 16-bit code at 0x8000 (start-up vector 8), then the first CPU's page tables
; and GDT, then ap_main().
extern page_pml4, gdt, ap_main, idt

%define EFER      0xc0000080
%define EFER_LME_NXE ((1 << 8) | (1 << 11))
%define CR4_PAE   (1 << 5)
%define CR0_PE_PG_WP ((1 << 31) | (1 << 16) | 1)

section .low
bits 16
ap_start:
    cli
    xor     ax, ax
    mov     ds, ax
    mov     eax, CR4_PAE
    mov     cr4, eax
    mov     eax, page_pml4
    mov     cr3, eax
    mov     ecx, EFER
    xor     edx, edx
    mov     eax, EFER_LME_NXE
    wrmsr
    lgdt    [ap_gdt]
    mov     eax, CR0_PE_PG_WP
    mov     cr0, eax
    jmp     dword 0x18:ap_long
align 8
ap_gdt:
    dw      9 * 8 - 1
    dd      gdt

section .text
bits 64
ap_long:
    mov     eax, 0x10
    mov     ds, eax
    mov     es, eax
    mov     ss, eax
    mov     rsp, ap_stack_top
    lidt    [ap_idt]
    call    ap_main

section .data
align 8
ap_idt:
    dw      256 * 16 - 1
    dq      idt

section .bss nobits
align 16
ap_stack:   resb 8192
ap_stack_top:
