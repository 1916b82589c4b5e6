; Entry of the guests that stay in flat 32-bit protected mode, paging off. Then guest_start().
%include "lib/multiboot.inc"

global start, boot_magic, boot_info, gdt
extern guest_start

section .text
bits 32
start:
    mov     esp, stack_top
    mov     [boot_magic], eax
    mov     [boot_info], ebx
    lgdt    [gdt_pointer]
    jmp     0x08:.flat
.flat:
    mov     eax, 0x10
    mov     ds, eax
    mov     es, eax
    mov     ss, eax
    mov     fs, eax
    mov     gs, eax
    call    guest_start

section .data
align 16
gdt:
    dq 0
    dq 0x00cf9b000000ffff    ; 0x08 code, 32 bits
    dq 0x00cf93000000ffff    ; 0x10 data
    dq 0x00cf93000000ffff    ; 0x18 data whose base the guest sets
    dq 0x00009b000000ffff    ; 0x20 code, 16 bits
    dq 0x000093000000ffff    ; 0x28 data, 16 bits
    dq 0x00cf93000000ffff    ; 0x30 data whose base the guest sets
gdt_end:
gdt_pointer:
    dw gdt_end - gdt - 1
    dd gdt

section .bss nobits
align 4096
stack:      resb 32768
stack_top:
boot_magic: resd 1
boot_info:  resd 1
