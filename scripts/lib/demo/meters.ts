/** What the demo counts: five meters over one event type. `expected` names the field of the known truth. */
export const DEMO_METERS = [
  { key: 'flights', aggregation: 'count', unit: 'flight', displayName: 'Flights', expected: 'flights' },
  { key: 'air_minutes', aggregation: 'sum', unit: 'minute', displayName: 'Minutes in the air', expected: 'airMinutes' },
  {
    key: 'miles',
    aggregation: 'sum',
    unit: 'mile',
    displayName: 'Miles flown',
    valueFrom: 'properties.distanceMiles',
    expected: 'miles',
  },
  {
    key: 'longest_flight',
    aggregation: 'max',
    unit: 'minute',
    displayName: 'Longest flight',
    expected: 'longestMinutes',
  },
  {
    key: 'tailnums',
    aggregation: 'unique',
    unit: 'aircraft',
    displayName: 'Distinct aircraft',
    uniqueBy: 'properties.tailnum',
    expected: 'uniqueTailnums',
  },
] as const;

export type DemoMeter = (typeof DEMO_METERS)[number];

/** The body of `PUT /v1/meters/{key}`. */
export function toMeterBody(meter: DemoMeter): object {
  const { key, expected: _expected, ...counted } = meter;
  return { ...counted, eventType: 'flight', stripe: { eventName: key } };
}
