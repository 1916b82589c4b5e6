#include "lib/spell.h"
#include "lib/string.h"

#define COMPARED_MAX 32 /* longer words are nobody's typing error */

/* The distance by optimal string alignment. Row i of its table is row[i % 3]: the swaps look two rows back.
 */
static unsigned edit_distance(const char *a, size_t m, const char *b, size_t n)
{
    unsigned row[3][COMPARED_MAX + 1];

    for (unsigned j = 0; j <= n; j++)
        row[0][j] = j;
    for (unsigned i = 1; i <= m; i++) {
        unsigned *now = row[i % 3], *above = row[(i + 2) % 3], *two_above = row[(i + 1) % 3];
        now[0] = i;
        for (unsigned j = 1; j <= n; j++) {
            unsigned best = above[j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u);
            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && two_above[j - 2] + 1 < best)
                best = two_above[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[m % 3][n];
}

bool spelt_like(const char *word, const char *meant)
{
    size_t m = strlen(word), n = strlen(meant);

    if (m > COMPARED_MAX || n > COMPARED_MAX)
        return false;
    return edit_distance(word, m, meant, n) <= (n < 5 ? 1u : 2u);
}
