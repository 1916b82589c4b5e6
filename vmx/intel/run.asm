; Entering a guest on VT-x. Source: Intel SDM vol. 3, 27 (VM entries), 28.5 (loading host state), 31.
%include "offsets.inc"

bits 64
default rel
section .text

VMCS_HOST_RSP equ 0x6c14

extern vmx_exit
extern vmx_entry_refused

; All but RSP, which the VMCS holds, and the vCPU's own RDI comes last. Flags are kept.
%macro LOAD_GUEST 0
    mov rax, [rdi + VCPU_RAX]
    mov rcx, [rdi + VCPU_RCX]
    mov rdx, [rdi + VCPU_RDX]
    mov rbx, [rdi + VCPU_RBX]
    mov rbp, [rdi + VCPU_RBP]
    mov rsi, [rdi + VCPU_RSI]
    mov r8,  [rdi + VCPU_R8]
    mov r9,  [rdi + VCPU_R9]
    mov r10, [rdi + VCPU_R10]
    mov r11, [rdi + VCPU_R11]
    mov r12, [rdi + VCPU_R12]
    mov r13, [rdi + VCPU_R13]
    mov r14, [rdi + VCPU_R14]
    mov r15, [rdi + VCPU_R15]
    mov rdi, [rdi + VCPU_RDI]
%endmacro

; void vmx_run(struct vcpu *vcpu, bool launched)
; The loop is here so that the hypervisor's own registers are saved once for many exits. An exit arrives at vmx_exit_entry with RSP
; as it was at the entry. When the entry itself is refused, execution goes on behind VMLAUNCH or VMRESUME with the guest's general
; registers in place: RSP alone is ours, and is all that is trusted.
global vmx_run
vmx_run:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    push rdi
    mov eax, VMCS_HOST_RSP
    vmwrite rax, rsp
    test sil, sil
    jnz resume
    LOAD_GUEST
    vmlaunch
    jmp refused
resume:
    LOAD_GUEST
    vmresume
refused:
    mov rdi, [rsp]
    call vmx_entry_refused
    jmp done

global vmx_exit_entry
vmx_exit_entry:
    push rdi
    mov rdi, [rsp + 8]
    mov [rdi + VCPU_RAX], rax
    mov [rdi + VCPU_RCX], rcx
    mov [rdi + VCPU_RDX], rdx
    mov [rdi + VCPU_RBX], rbx
    mov [rdi + VCPU_RBP], rbp
    mov [rdi + VCPU_RSI], rsi
    mov [rdi + VCPU_R8], r8
    mov [rdi + VCPU_R9], r9
    mov [rdi + VCPU_R10], r10
    mov [rdi + VCPU_R11], r11
    mov [rdi + VCPU_R12], r12
    mov [rdi + VCPU_R13], r13
    mov [rdi + VCPU_R14], r14
    mov [rdi + VCPU_R15], r15
    pop qword [rdi + VCPU_RDI]
%ifdef PLINTH_DEBUG
    lea rbp, [rsp + 48]                 ; the chain of frames, for a crash report: here lies our caller's RBP
%endif
    call vmx_exit
    mov rdi, [rsp]
    test al, al
    jnz resume
done:
    add rsp, 8
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret
