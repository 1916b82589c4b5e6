/* Numbers that nasm sources need, taken from the C declarations. Compiled to assembly only; see the Makefile.
 */
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/smp.h"
#include "arch/x86_64/trap.h"
#include "vmx/vcpu.h"

#define EMIT(name, value) __asm__ volatile("# ->" #name " %c0" : : "i"(value))

void emit_offsets(void);

void emit_offsets(void)
{
    EMIT(TRAP_STUB_SIZE, TRAP_STUB_SIZE);
    EMIT(VECTOR_EXCEPTIONS, VECTOR_EXCEPTIONS);
    EMIT(CPU_BLOCK_SIZE, CPU_BLOCK_SIZE);
    EMIT(SMP_START_BLOCK, offsetof(struct smp_start, block));
    EMIT(SMP_START_ROOT, offsetof(struct smp_start, root));
    EMIT(SMP_START_APIC_ID, offsetof(struct smp_start, apic_id));
    EMIT(VCPU_ON_EXIT, offsetof(struct vcpu, on_exit));
    EMIT(VCPU_RAX, offsetof(struct vcpu, gpr[GPR_RAX]));
    EMIT(VCPU_RCX, offsetof(struct vcpu, gpr[GPR_RCX]));
    EMIT(VCPU_RDX, offsetof(struct vcpu, gpr[GPR_RDX]));
    EMIT(VCPU_RBX, offsetof(struct vcpu, gpr[GPR_RBX]));
    EMIT(VCPU_RBP, offsetof(struct vcpu, gpr[GPR_RBP]));
    EMIT(VCPU_RSI, offsetof(struct vcpu, gpr[GPR_RSI]));
    EMIT(VCPU_RDI, offsetof(struct vcpu, gpr[GPR_RDI]));
    EMIT(VCPU_R8, offsetof(struct vcpu, gpr[8]));
    EMIT(VCPU_R9, offsetof(struct vcpu, gpr[9]));
    EMIT(VCPU_R10, offsetof(struct vcpu, gpr[10]));
    EMIT(VCPU_R11, offsetof(struct vcpu, gpr[11]));
    EMIT(VCPU_R12, offsetof(struct vcpu, gpr[12]));
    EMIT(VCPU_R13, offsetof(struct vcpu, gpr[13]));
    EMIT(VCPU_R14, offsetof(struct vcpu, gpr[14]));
    EMIT(VCPU_R15, offsetof(struct vcpu, gpr[15]));
}
