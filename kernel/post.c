#include "kernel/post.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/smp.h"

static struct post *first; /* the last one that came; taken as a whole, so that no lock is needed */

void post_boot(struct post *post)
{
    if (this_cpu()->index == 0) {
        post->run(post);
        return;
    }
    if (__atomic_exchange_n(&post->queued, true, __ATOMIC_ACQ_REL))
        return;
    post->next = __atomic_load_n(&first, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&first, &post->next, post, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        ;
    smp_kick(smp_cpu(0));
}

void post_run(void)
{
    struct post *post = __atomic_exchange_n(&first, NULL, __ATOMIC_ACQUIRE);

    while (post) {
        struct post *next = post->next;

        __atomic_store_n(&post->queued, false, __ATOMIC_RELEASE); /* first: what comes now is another one */
        post->run(post);
        post = next;
    }
}
