; Entry of the 64-bit guests: from the loader's flat 32-bit mode to long mode, the low 4 GiB mapped one to
; one in 2 MiB pages (uncached from 3 GiB up, where the devices are). Then guest_start().
%include "lib/multiboot.inc"

global start, boot_magic, boot_info, page_pml4, page_pdpt, page_pd, gdt, tss
extern guest_start

%define PTE_RW_P    0x3
%define PTE_LARGE   0x80
%define PTE_UC      0x18     ; PCD and PWT
%define EFER        0xc0000080
%define EFER_LME    (1 << 8)
%define EFER_NXE    (1 << 11)
%define CR4_PAE     (1 << 5)
%define CR0_PG_WP   ((1 << 31) | (1 << 16))
%define UNCACHED_PD 1536     ; first 2 MiB page at 3 GiB

section .text
bits 32
start:
    mov     esp, stack_top
    mov     [boot_magic], eax
    mov     [boot_info], ebx

    mov     edi, page_pd
    xor     ecx, ecx
.page:
    mov     eax, ecx
    shl     eax, 21
    or      eax, PTE_RW_P | PTE_LARGE
    cmp     ecx, UNCACHED_PD
    jb      .cached
    or      eax, PTE_UC
.cached:
    mov     [edi + ecx * 8], eax
    inc     ecx
    cmp     ecx, 4 * 512
    jb      .page
    mov     dword [page_pml4], page_pdpt + PTE_RW_P
    mov     dword [page_pdpt], page_pd + PTE_RW_P
    mov     dword [page_pdpt + 8], page_pd + 0x1000 + PTE_RW_P
    mov     dword [page_pdpt + 16], page_pd + 0x2000 + PTE_RW_P
    mov     dword [page_pdpt + 24], page_pd + 0x3000 + PTE_RW_P

    mov     eax, page_pml4
    mov     cr3, eax
    mov     eax, cr4
    or      eax, CR4_PAE
    mov     cr4, eax
    mov     ecx, EFER
    rdmsr
    or      eax, EFER_LME | EFER_NXE
    wrmsr
    mov     eax, cr0
    or      eax, CR0_PG_WP
    mov     cr0, eax
    lgdt    [gdt_pointer]
    jmp     0x18:.long

bits 64
.long:
    mov     eax, 0x10
    mov     ds, eax
    mov     es, eax
    mov     ss, eax
    xor     eax, eax
    mov     fs, eax
    mov     gs, eax
    mov     rax, tss         ; its base goes into the descriptor in pieces (AMD APM vol. 2, 4.8.3)
    mov     [gdt + 0x22], ax
    shr     rax, 16
    mov     [gdt + 0x24], al
    mov     [gdt + 0x27], ah
    mov     eax, 0x20
    ltr     ax
    call    guest_start

section .data
align 16
gdt:
    dq 0
    dq 0x00cf9b000000ffff    ; 0x08 code, 32 bits
    dq 0x00cf93000000ffff    ; 0x10 data
    dq 0x00af9b000000ffff    ; 0x18 code, 64 bits
    dq 0x0000890000000067    ; 0x20 TSS, base filled in
    dq 0
    dq 0x00cff3000000ffff    ; 0x30 data, ring 3
    dq 0x00affb000000ffff    ; 0x38 code, 64 bits, ring 3
    dq 0x00cf13000000ffff    ; 0x40 data, not present
gdt_end:
gdt_pointer:
    dw gdt_end - gdt - 1
    dq gdt
align 16
tss:                         ; AMD APM vol. 2, figure 12-8
    dd 0
    dq stack_top, 0, 0       ; RSP0 to RSP2
    dq 0
    dq ist_top, 0, 0, 0, 0, 0, 0
    dq 0
    dw 0, 0x68

section .bss nobits
align 4096
page_pml4:  resb 4096
page_pdpt:  resb 4096
page_pd:    resb 4 * 4096
stack:      resb 32768
stack_top:
ist:        resb 8192
ist_top:
boot_magic: resd 1
boot_info:  resd 1
