; Where the second CPU starts: as in smp.asm.
%include "smp.asm"
