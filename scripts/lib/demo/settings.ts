/** What the demo needs otherwise than in production: nothing waits for lags that the simulator does not have. */
export const DEMO_SETTINGS: Readonly<Record<string, string>> = {
  HOST: '127.0.0.1',
  ROLES: 'http,worker,ticker',
  LOG_LEVEL: 'warn',
  WINDOW_SETTLE_MS: '0',
  SUMMARY_LAG_MAX_MS: '0',
  SUMMARY_REREAD_MS: '500',
  STRIPE_CALLS_PER_SECOND_MAX: '1000',
  STRIPE_LIVE: 'no',
};

/** As fast as a large account of Stripe's. */
export const SIMULATOR_SETTINGS = { port: 0, callsPerSecond: 1000 };
