/** Dates of the calendar, without the leniency of Date.parse (for which the 30th of February is a day of March). */
const MONTH_DAYS = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] as const;

/** Milliseconds since 1970 of a date and time in UTC from 1900 on, or null when there is no such second. */
export function calendarTime(
  year: number,
  month: number,
  day: number,
  hour: number,
  minute: number,
  second: number,
): number | null {
  const leap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
  const days = month === 2 && !leap ? 28 : (MONTH_DAYS[month - 1] ?? 0);
  if (year < 1900 || day < 1 || day > days || hour > 23 || minute > 59 || second > 59) return null;
  return Date.UTC(year, month - 1, day, hour, minute, second);
}

/** Milliseconds since 1970 of `2026-01-31T12:00:00Z`, in exactly that form, or null. */
export function isoTime(text: string): number | null {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(text)) return null;
  const part = (from: number, to: number) => Number(text.slice(from, to));
  return calendarTime(part(0, 4), part(5, 7), part(8, 10), part(11, 13), part(14, 16), part(17, 19));
}
