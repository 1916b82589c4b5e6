; Task switches from known registers, and the tasks that are switched to.
bits 32

extern task_run
global attempt, landing, after_call, after_jmp, after_int, at_call, entry32, entry16, after_iret
global far_target, way_back, back_by_jmp, seen, after

%define EFLAGS_PATTERN 0x893      ; CF, AF, SF, OF

section .text
%macro PATTERNS 0
    push    dword EFLAGS_PATTERN
    popfd
    mov     eax, 0x11111111
    mov     ecx, 0x22222222
    mov     edx, 0x33333333
    mov     ebx, 0x44444444
    mov     ebp, 0x66666666
    mov     esi, 0x77777777
    mov     edi, 0x88888888
%endmacro

; Stores the registers in the order of a TSS, then EFLAGS, at %1.
%macro STORE 1
    mov     [%1], eax
    mov     [%1 + 4], ecx
    mov     [%1 + 8], edx
    mov     [%1 + 12], ebx
    mov     [%1 + 16], esp
    mov     [%1 + 20], ebp
    mov     [%1 + 24], esi
    mov     [%1 + 28], edi
    pushfd
    pop     dword [%1 + 32]
%endmacro

; unsigned attempt(unsigned how): 0 CALL, 1 JMP, 2 INT 0x50, 3 IRET, 4 a bad selector into FS. Returns 0 if it
; came back behind the switch, else 1: a handler has sent it to `landing`.
attempt:
    push    ebx
    push    ebp
    push    esi
    push    edi
    mov     eax, [esp + 20]
    mov     [attempt_stack], esp
    jmp     [ways + eax * 4]
by_call:
    PATTERNS
at_call:
    call    far [far_target]
after_call:
    jmp     came_back
by_jmp:
    PATTERNS
    jmp     far [far_target]
after_jmp:
    jmp     came_back
by_int:
    PATTERNS
    int     0x50
after_int:
    jmp     came_back
by_iret:
    PATTERNS
    push    dword EFLAGS_PATTERN | 0x4000
    popfd
    iretd
    jmp     came_back
by_bad:
    PATTERNS
    mov     fs, [bad_selector]
came_back:
    STORE   after
    xor     eax, eax
    jmp     leave_attempt
landing:
    mov     eax, 1
leave_attempt:
    mov     esp, [attempt_stack]
    cld
    pop     edi
    pop     esi
    pop     ebp
    pop     ebx
    ret

section .rodata
ways:
    dd by_call, by_jmp, by_int, by_iret, by_bad
bad_selector:
    dw 0xfff8

section .text
; The task: says what it was given, lets C look around, and goes back. Then it would start anew.
entry32:
    STORE   seen
    mov     [seen + 36], es
    mov     [seen + 38], cs
    mov     [seen + 40], ss
    mov     [seen + 42], ds
    mov     [seen + 44], fs
    mov     [seen + 46], gs
    sldt    [seen + 48]
    str     [seen + 50]
    mov     eax, cr0
    mov     [seen + 52], eax
    mov     eax, cr3
    mov     [seen + 56], eax
    mov     eax, dr7
    mov     [seen + 60], eax
    mov     eax, [esp]
    mov     [seen + 64], eax
    push    ds
    push    es
    mov     eax, 0x10
    mov     ds, eax
    mov     es, eax
    call    task_run
    pop     es
    pop     ds
    test    eax, eax            ; bytes of an error code
    jz      no_error
    add     esp, eax
no_error:
    cmp     dword [back_by_jmp], 0
    jne     go_by_jmp
    mov     eax, 0xaaaaaaaa
    mov     edx, 0xbbbbbbbb
    iretd
after_iret:
    jmp     entry32
go_by_jmp:
    jmp     far [way_back]
    jmp     entry32

; The same in a small way for a 16-bit TSS: its CS has its base here, its stack is not C's.
entry16:
    STORE   seen
    mov     [seen + 38], cs
    str     [seen + 50]
    iretd
    jmp     entry16

section .data
align 4
far_target:  dd 0, 0
way_back:    dd 0, 0
back_by_jmp: dd 0

section .bss nobits
align 4
attempt_stack: resd 1
seen:          resd 17
after:         resd 9
