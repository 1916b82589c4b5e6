/* Numbers that nasm sources need, taken from the C declarations. Compiled to assembly only; see the Makefile.
 */
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/trap.h"

#define EMIT(name, value) __asm__ volatile("# ->" #name " %c0" : : "i"(value))

void emit_offsets(void);

void emit_offsets(void)
{
    EMIT(TRAP_STUB_SIZE, TRAP_STUB_SIZE);
    EMIT(CPU_BLOCK_SIZE, CPU_BLOCK_SIZE);
}
