/** How much each part does. Every part ends by itself after that much. */
export interface Sizes {
  /** Interleaved rounds of two things that are compared; the median of their ratios counts. */
  readonly rounds: number;
  /** Events of one round of requests with 100 events. */
  readonly eventsPerRound: number;
  /** Events of one round of requests with one event. */
  readonly singlesPerRound: number;
  readonly customers: number;
  /** Hours that are aggregated, each with usage of every customer. */
  readonly hours: number;
  /** Events in each customer's hour. */
  readonly eventsPerCustomerHour: number;
  readonly steadyEvents: number;
  readonly growthEvents: number;
  /** Submissions made while Stripe fails three calls in ten. */
  readonly faultySubmissions: number;
  /** Customers of the smaller of two outboxes. */
  readonly fewCustomers: number;
  /** Requests with 1,000 events of as many customers. */
  readonly hostileRequests: number;
  /** Customers that wait in the journal at once. */
  readonly hostileCustomers: number;
  /** Customers with a calendar of their own. */
  readonly hostilePairs: number;
  readonly hostileMeters: number;
  /** Webhook bodies of strangers at once. */
  readonly hostileBodies: number;
}

export const FULL_SIZES: Sizes = {
  rounds: 5,
  eventsPerRound: 100_000,
  singlesPerRound: 20_000,
  customers: 1_000,
  hours: 100,
  eventsPerCustomerHour: 10,
  steadyEvents: 1_000_000,
  growthEvents: 5_000_000,
  faultySubmissions: 1_000_000,
  fewCustomers: 10_000,
  hostileRequests: 70,
  hostileCustomers: 350_000,
  hostilePairs: 10_000,
  hostileMeters: 1_000,
  hostileBodies: 1_200,
};

export const QUICK_SIZES: Sizes = {
  rounds: 3,
  eventsPerRound: 20_000,
  singlesPerRound: 4_000,
  customers: 200,
  hours: 50,
  eventsPerCustomerHour: 10,
  steadyEvents: 100_000,
  growthEvents: 200_000,
  faultySubmissions: 10_000,
  fewCustomers: 1_000,
  hostileRequests: 5,
  hostileCustomers: 20_000,
  hostilePairs: 1_000,
  hostileMeters: 100,
  hostileBodies: 100,
};
