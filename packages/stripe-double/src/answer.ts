/** What goes back over the wire. The body is rendered when it is sent: a stored answer can be a reference to what is kept anyway. */
export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Requests refused by a lock get no `request-id` (Stripe docs, Rate limits). */
  readonly withoutRequestId?: true;
  render(): string;
}

/** An answer with the object as it is now. */
export function answer(body: object): Answer {
  const text = JSON.stringify(body);
  return { status: 200, render: () => text };
}

/** The inside of Stripe's error envelope (Stripe docs, Errors). Most errors of v2 have no type. */
export interface ErrorBody {
  type?: 'invalid_request_error' | 'idempotency_error' | 'api_error' | 'card_error';
  code?: string;
  message: string;
  param?: string;
}

/** A refusal on its way to the one place that turns it into an answer. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly answer: Answer;

  constructor(status: number, error: ErrorBody, options: Omit<Answer, 'status' | 'render'> = {}) {
    super(error.message);
    this.answer = { ...options, status, render: () => JSON.stringify({ error }, null, 2) };
  }
}

/** A 400 `invalid_request_error`. */
export function invalidRequest(
  message: string,
  details: { code?: string | undefined; param?: string } = {},
  headers: Record<string, string> = {},
): Refusal {
  const { code, param } = details;
  const error: ErrorBody = {
    type: 'invalid_request_error',
    ...(code !== undefined && { code }),
    message,
    ...(param !== undefined && { param }),
  };
  return new Refusal(400, error, { headers });
}

/** What the path names does not exist: 404 `resource_missing`. */
export function missingResource(noun: string, id: string): Refusal {
  return new Refusal(404, {
    type: 'invalid_request_error',
    code: 'resource_missing',
    message: `No such ${noun}: '${id}'`,
    param: 'id',
  });
}

/** The same in the words of v2, whose errors mostly carry no type. */
export function missingInV2(noun: string, id: string): Refusal {
  return new Refusal(404, { code: 'not_found', message: `No such ${noun}: '${id}'` });
}

/** 429 of the rate limiter (Stripe docs, Rate limits). */
export function tooManyRequests(): Refusal {
  return new Refusal(
    429,
    {
      type: 'invalid_request_error',
      code: 'rate_limit',
      message: 'Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits.',
    },
    { headers: { 'stripe-rate-limited-reason': 'global-rate' } },
  );
}

/** 409 for a second call on the same customer and meter, in the words of v2 (Stripe API, v2 meter events). */
export function concurrentConflict(): Refusal {
  return new Refusal(409, {
    type: 'invalid_request_error',
    code: 'too_many_concurrent_requests',
    message: 'Cannot create multiple usage events for the same customer, meter concurrently.',
  });
}

/** 429 for the same, as the object lock answers it: no reason header and no request id (Stripe docs, Rate limits). */
export function lockTimeout(): Refusal {
  return new Refusal(
    429,
    {
      type: 'invalid_request_error',
      code: 'lock_timeout',
      message:
        "This object can't be accessed right now because another API request or Stripe process is currently accessing it.",
    },
    { withoutRequestId: true },
  );
}

/** A 500 of Stripe's own. */
export function serverError(): Refusal {
  return new Refusal(500, {
    type: 'api_error',
    message: 'An unknown error occurred; the request may or may not have been carried out.',
  });
}
