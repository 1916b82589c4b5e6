/* Gregorian calendar arithmetic. */
#include "lib/calendar.h"

/* Days of a common year before each month. */
static const uint16_t days_before_month[12] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };

static bool leap(uint64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* Year 0 is a leap year, so the leap years before a year are those quotients rounded up. */
static uint64_t days_before_year(uint64_t year)
{
    return 365 * year + (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
}

static unsigned day_of_year(uint64_t year, unsigned month)
{
    return days_before_month[month - 1] + (month > 2 && leap(year) ? 1u : 0u);
}

uint64_t calendar_to_seconds(const struct calendar *date)
{
    unsigned month = date->month < 1 ? 1 : date->month > 12 ? 12 : date->month;
    uint64_t days = days_before_year(date->year) + day_of_year(date->year, month);

    days += date->day ? date->day - 1u : 0;
    return days * CALENDAR_DAY + date->hour * UINT64_C(3600) + date->minute * UINT64_C(60) + date->second;
}

struct calendar calendar_from_seconds(uint64_t seconds)
{
    uint64_t days = seconds / CALENDAR_DAY, time = seconds % CALENDAR_DAY;
    uint64_t year = days * 400 / 146097; /* 400 years have that many days: at most one year off */
    unsigned month = 12;

    while (days_before_year(year) > days)
        year--;
    while (days_before_year(year + 1) <= days)
        year++;
    while (days_before_year(year) + day_of_year(year, month) > days)
        month--;
    return (struct calendar){
        .year = (uint32_t)year,
        .month = (uint8_t)month,
        .day = (uint8_t)(days - days_before_year(year) - day_of_year(year, month) + 1),
        .hour = (uint8_t)(time / 3600),
        .minute = (uint8_t)(time / 60 % 60),
        .second = (uint8_t)(time % 60),
        .weekday = (uint8_t)((days + 6) % 7), /* 0000-01-01 was a Saturday */
    };
}
