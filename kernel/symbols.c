#include "kernel/symbols.h"
#include "arch/x86_64/paging.h"

const char *symbol_find(uint64_t address, uint64_t *offset)
{
    uint64_t low = 0, high = symbol_count;

    while (low < high) {
        uint64_t middle = (low + high) / 2;

        if (symbol_address[middle] <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || address < (uintptr_t)image_text_start || address >= (uintptr_t)image_text_end)
        return NULL;
    *offset = address - symbol_address[low - 1];
    return symbol_text + symbol_name[low - 1];
}
