#include "drivers/fb.h"
#include "drivers/font.h"
#include "arch/x86_64/paging.h"
#include "kernel/log.h"
#include "lib/string.h"

#define SCALE       2 /* pixels per dot */
#define CELL_WIDTH  ((FONT_WIDTH + 1) * SCALE)
#define CELL_HEIGHT ((FONT_HEIGHT + 1) * SCALE)
#define COLUMNS_MAX 160
#define ROWS_MAX    100
#define PIXELS_MAX  16384
#define TEXT_WHITE  0x0f00 /* EGA attribute: white on black */

/* What is on the screen. Drawing goes through cell(), which leaves alone what is right already. */
static struct {
    struct boot_framebuffer mode;
    volatile uint8_t *memory;
    unsigned columns, rows, column, row;
    char cell[ROWS_MAX][COLUMNS_MAX];
} screen;

static void draw_pixels(unsigned row, unsigned column, char c)
{
    unsigned bytes = screen.mode.bits / 8u;
    volatile uint8_t *line = screen.memory + (uint64_t)row * CELL_HEIGHT * screen.mode.pitch +
                             (uint64_t)column * CELL_WIDTH * bytes;

    for (unsigned y = 0; y < CELL_HEIGHT; y++, line += screen.mode.pitch) {
        uint8_t dots = y / SCALE < FONT_HEIGHT ? font_row(c, y / SCALE) : 0;

        for (unsigned x = 0; x < CELL_WIDTH; x++) {
            /* Black and white are the same in all formats. */
            uint32_t value = dots & BIT(x / SCALE) ? UINT32_MAX : 0;

            if (bytes == 4)
                *(volatile uint32_t *)(line + x * 4) = value;
            else
                for (unsigned i = 0; i < bytes; i++)
                    line[x * bytes + i] = (uint8_t)value;
        }
    }
}

static void draw_text(unsigned row, unsigned column, char c)
{
    volatile uint16_t *at = (volatile uint16_t *)(screen.memory + row * screen.mode.pitch + 2 * column);

    *at = (uint16_t)(TEXT_WHITE | (uint8_t)c);
}

static void cell(unsigned row, unsigned column, char c)
{
    if (screen.cell[row][column] == c)
        return;
    screen.cell[row][column] = c;
    if (screen.mode.text)
        draw_text(row, column, c);
    else
        draw_pixels(row, column, c);
}

static void clear_row(unsigned row)
{
    for (unsigned column = 0; column < screen.columns; column++)
        cell(row, column, ' ');
}

/*
 * The last line is followed by the first: a scroll would draw the whole screen anew, which takes many
 * milliseconds, and no guest runs meanwhile. An empty line is between the newest and the oldest.
 */
static void new_line(void)
{
    screen.column = 0;
    screen.row = (screen.row + 1) % screen.rows;
    clear_row(screen.row);
    clear_row((screen.row + 1) % screen.rows);
}

static void fb_write(struct log_sink *sink, const char *text, size_t length)
{
    (void)sink;
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\n') {
            new_line();
            continue;
        }
        if (screen.column == screen.columns)
            new_line();
        cell(screen.row, screen.column++, text[i]);
    }
}

/* The loader's numbers may be anything; what passes here keeps every access inside pitch * height bytes. */
static bool usable(const struct boot_framebuffer *fb)
{
    if (fb->start.raw == 0 || fb->width > PIXELS_MAX || fb->height > PIXELS_MAX || fb->pitch > PIXELS_MAX * 8)
        return false;
    if (fb->text)
        return fb->width >= 40 && fb->height >= 2 && fb->pitch >= fb->width * 2;
    return (fb->bits == 16 || fb->bits == 24 || fb->bits == 32) && fb->pitch >= fb->width * (fb->bits / 8u) &&
           fb->width >= CELL_WIDTH * 40 && fb->height >= CELL_HEIGHT * 2;
}

void fb_init(const struct boot_framebuffer *fb)
{
    static struct log_sink sink = { .name = "screen", .write = fb_write };

    if (!usable(fb))
        return;
    screen.mode = *fb;
    screen.memory = map_framebuffer(fb->start, (uint64_t)fb->pitch * fb->height);
    if (!screen.memory)
        return;
    screen.columns = (unsigned)min_u64(fb->text ? fb->width : fb->width / CELL_WIDTH, COLUMNS_MAX);
    screen.rows = (unsigned)min_u64(fb->text ? fb->height : fb->height / CELL_HEIGHT, ROWS_MAX);
    memset(screen.cell, ' ', sizeof(screen.cell));
    if (fb->text)
        for (unsigned i = 0; i < screen.rows * screen.columns; i++)
            draw_text(i / screen.columns, i % screen.columns, ' ');
    else
        memset((void *)(uintptr_t)screen.memory, 0, (size_t)fb->pitch * fb->height);
    log_add_sink(&sink);
}
