; Interrupt entry points for all vectors, and guarded calls. Assembled for 64 and for 32 bits.
global trap_entries, guard_call, guard_landing
extern trap

%ifidn __OUTPUT_FORMAT__, elf64
bits 64
default rel
%define SLOT  dq
%define A     rax
%define S     rsp
%else
bits 32
%define SLOT  dd
%define A     eax
%define S     esp
%endif

section .text
%assign vector 0
%rep 256
entry_%+vector:
; Vectors with an error code: AMD APM vol. 2, table 8-1.
%if vector != 8 && (vector < 10 || vector > 14) && vector != 17 && vector != 21 && vector != 29 && vector != 30
    push    0
%endif
%if vector < 128
    push    vector
%else
    push    dword vector
%endif
    jmp     trap_common
%assign vector vector + 1
%endrep

%ifidn __OUTPUT_FORMAT__, elf64
trap_common:
    push    rax
    push    rcx
    push    rdx
    push    rbx
    push    rbp
    push    rsi
    push    rdi
    push    r8
    push    r9
    push    r10
    push    r11
    push    r12
    push    r13
    push    r14
    push    r15
    cld
    mov     rdi, rsp
    mov     rbx, rsp
    and     rsp, -16
    call    trap
    mov     rsp, rbx
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     r11
    pop     r10
    pop     r9
    pop     r8
    pop     rdi
    pop     rsi
    pop     rbp
    pop     rbx
    pop     rdx
    pop     rcx
    pop     rax
    add     rsp, 16
    iretq

; void guard_call(void (*function)(void *), void *argument): a fault inside comes back here (trap.c sends it
; to guard_landing).
guard_call:
    push    rbx
    push    rbp
    push    r12
    push    r13
    push    r14
    push    r15
    sub     rsp, 8
    mov     [guard_stack], rsp
    mov     rax, rdi
    mov     rdi, rsi
    call    rax
guard_landing:
    mov     rsp, [guard_stack]
    add     rsp, 8
    pop     r15
    pop     r14
    pop     r13
    pop     r12
    pop     rbp
    pop     rbx
    ret
%else
trap_common:
    push    ds
    push    es
    pushad
    mov     eax, 0x10
    mov     ds, eax
    mov     es, eax
    cld
    mov     eax, esp
    push    eax
    call    trap
    add     esp, 4
    popad
    pop     es
    pop     ds
    add     esp, 8
    iretd

guard_call:
    push    ebx
    push    ebp
    push    esi
    push    edi
    mov     [guard_stack], esp
    mov     eax, [esp + 20]
    push    dword [esp + 24]
    call    eax
guard_landing:
    mov     esp, [guard_stack]
    pop     edi
    pop     esi
    pop     ebp
    pop     ebx
    ret
%endif

section .rodata
align 8
trap_entries:
%assign vector 0
%rep 256
    SLOT    entry_%+vector
%assign vector vector + 1
%endrep

section .bss nobits
align 8
guard_stack: resq 1
