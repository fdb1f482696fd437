// Numbers as people read them.

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });

const BYTES = ["B", "kB", "MB", "GB", "TB"];
const PERIODS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

export function count(number) {
  return number < 10 && !Number.isInteger(number) ? short.format(number) : whole.format(number);
}

export function bytes(number) {
  const step = Math.min(Math.floor(Math.log10(Math.max(number, 1)) / 3), BYTES.length - 1);
  return `${short.format(number / 1000 ** step)} ${BYTES[step]}`;
}

// The two largest units: "3 h 4 min".
export function duration(seconds) {
  const first = PERIODS.findIndex(([, length]) => seconds >= length);
  if (first < 0) {
    return "0 s";
  }
  const [unit, length] = PERIODS[first];
  const [next, part] = PERIODS[first + 1] ?? [];
  const rest = next ? ` ${Math.floor((seconds % length) / part)} ${next}` : "";
  return `${Math.floor(seconds / length)} ${unit}${rest}`;
}
