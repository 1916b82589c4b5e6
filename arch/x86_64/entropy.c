#include "arch/x86_64/entropy.h"
#include "arch/x86_64/cpu.h"
#include "lib/string.h"

#define LEAF1_ECX_RDRAND BIT(30)
#define LEAF7_EBX_RDSEED BIT(18)

/* SDM vol. 1, 7.3.17.1: after 10 tries in a row RDRAND is out of order. RDSEED may be empty for a while. */
#define RDRAND_TRIES 10
#define RDSEED_TRIES 100

static bool has_rdrand(void)
{
    return cpuid(1).ecx & LEAF1_ECX_RDRAND;
}

static bool has_rdseed(void)
{
    return cpuid(0).eax >= 7 && (cpuid_count(7, 0).ebx & LEAF7_EBX_RDSEED);
}

bool entropy_present(void)
{
    return has_rdseed() || has_rdrand();
}

static bool rdseed(uint64_t *value)
{
    bool good = false;

    for (unsigned i = 0; i < RDSEED_TRIES && !good; i++) {
        __asm__ volatile("rdseed %0" : "=r"(*value), "=@ccc"(good));
        if (!good)
            __builtin_ia32_pause();
    }
    return good;
}

static bool rdrand(uint64_t *value)
{
    bool good = false;

    for (unsigned i = 0; i < RDRAND_TRIES && !good; i++)
        __asm__ volatile("rdrand %0" : "=r"(*value), "=@ccc"(good));
    return good;
}

bool entropy_seed(uint8_t seed[32])
{
    bool has_seed = has_rdseed(), has_rand = has_rdrand();
    uint64_t word[4];

    for (unsigned i = 0; i < ARRAY_SIZE(word); i++)
        if (!(has_seed && rdseed(&word[i])) && !(has_rand && rdrand(&word[i])))
            return false;
    memcpy(seed, word, sizeof(word));
    return true;
}
