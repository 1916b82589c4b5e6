#include "arch/x86_64/cmos.h"
#include "arch/x86_64/cpu.h"
#include "arch/x86_64/tsc.h"
#include "kernel/log.h"
#include "lib/calendar.h"

#define CMOS_INDEX 0x70
#define CMOS_DATA  0x71

#define RTC_SECONDS  0x00
#define RTC_MINUTES  0x02
#define RTC_HOURS    0x04
#define RTC_DAY      0x07
#define RTC_MONTH    0x08
#define RTC_YEAR     0x09
#define RTC_A        0x0a
#define RTC_A_UIP    0x80
#define RTC_B        0x0b
#define RTC_B_24H    0x02
#define RTC_B_BINARY 0x04
#define RTC_PM       0x80

#define POLL_LIMIT 100000

static uint64_t start_seconds, start_tsc;

static uint8_t cmos_read(uint8_t index)
{
    out8(CMOS_INDEX, index);
    return in8(CMOS_DATA);
}

/* One reading; the fields are as the chip holds them. */
static struct calendar read_fields(void)
{
    for (unsigned i = 0; i < POLL_LIMIT && (cmos_read(RTC_A) & RTC_A_UIP); i++)
        ;
    return (struct calendar){
        .year = cmos_read(RTC_YEAR),
        .month = cmos_read(RTC_MONTH),
        .day = cmos_read(RTC_DAY),
        .hour = cmos_read(RTC_HOURS),
        .minute = cmos_read(RTC_MINUTES),
        .second = cmos_read(RTC_SECONDS),
    };
}

static uint8_t from_bcd(uint8_t value)
{
    return (uint8_t)((value >> 4) * 10 + (value & 0xf));
}

static void to_binary(struct calendar *date, uint8_t b)
{
    bool pm = !(b & RTC_B_24H) && (date->hour & RTC_PM);

    date->hour &= (uint8_t)~RTC_PM;
    if (!(b & RTC_B_BINARY)) {
        date->year = from_bcd((uint8_t)date->year);
        date->month = from_bcd(date->month);
        date->day = from_bcd(date->day);
        date->hour = from_bcd(date->hour);
        date->minute = from_bcd(date->minute);
        date->second = from_bcd(date->second);
    }
    if (!(b & RTC_B_24H))
        date->hour = (uint8_t)(date->hour % 12 + (pm ? 12 : 0));
    date->year += 2000;
}

void cmos_init(void)
{
    struct calendar date = read_fields(), again = read_fields();

    /* An update between two fields shows as two readings that differ. */
    for (unsigned i = 0; i < 8 && (date.second != again.second || date.minute != again.minute); i++) {
        date = again;
        again = read_fields();
    }
    to_binary(&date, cmos_read(RTC_B));
    start_tsc = tsc_now();
    start_seconds = 0;
    if (date.month < 1 || date.month > 12 || date.day < 1 || date.day > 31 || date.hour > 23 ||
        date.minute > 59) {
        log_warn("clock: the real-time clock holds no date; VMs start in 1970");
        return;
    }
    start_seconds = calendar_to_seconds(&date) - CALENDAR_UNIX_EPOCH;
    log_info("clock: %u-%02u-%02u %02u:%02u:%02u UTC", date.year, date.month, date.day, date.hour,
             date.minute, date.second);
}

uint64_t cmos_utc_seconds(void)
{
    return start_seconds + (tsc_now() - start_tsc) / tsc_hz();
}
