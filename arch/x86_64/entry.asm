; Where exceptions and interrupts enter. An exception saves all registers as struct trap_frame for trap_handle(); an interrupt saves
; what the System V ABI lets irq_dispatch() change.
%include "offsets.inc"

extern trap_handle
extern irq_dispatch

section .text progbits alloc exec nowrite align=16
bits 64

; Exceptions that push an error code. Source: AMD APM vol. 2, table 8-1.
%define HAS_ERROR(v) ((v) == 8 || ((v) >= 10 && (v) <= 14) || (v) == 17 || (v) == 21 || \
                      (v) == 29 || (v) == 30)

align 16
global trap_stubs
trap_stubs:
%assign vector 0
%rep 256
    align TRAP_STUB_SIZE
%if vector >= VECTOR_EXCEPTIONS
    push qword vector
    jmp interrupt_common
%else
%if !HAS_ERROR(vector)
    push 0
%endif
    push qword vector
    jmp trap_common
%endif
%assign vector vector + 1
%endrep
    align TRAP_STUB_SIZE

; Interrupts come while the hypervisor runs, and only where it lets them: DF is clear, as the ABI has it.
interrupt_common:
    push rax
    push rcx
    push rdx
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    mov edi, [rsp + 72]                 ; the vector
    call irq_dispatch
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rax
    add rsp, 8
    iretq

trap_common:
    push rax
    push rcx
    push rdx
    push rbx
    push rbp
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp
    call trap_handle
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rbp
    pop rbx
    pop rdx
    pop rcx
    pop rax
    add rsp, 16                         ; vector and error code
    iretq

; stack_switch(block, enter)
global stack_switch
stack_switch:
    lea rsp, [rdi + CPU_BLOCK_SIZE]
    push 0                              ; no caller: ends a backtrace
    jmp rsi
