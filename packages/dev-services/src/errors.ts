/** Why a service is not there. The code names the case; the message is for a person. */
export class ServicesError extends Error {
  override readonly name = 'ServicesError';
  readonly code: ServicesErrorCode;

  constructor(code: ServicesErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

/** A service could not be found, fetched or started; or one that was started could not be stopped. */
export type ServicesErrorCode = 'embedded_unavailable' | 'embedded_stop_failed';

/** Throws unless `condition` holds: something is not as this package made it. */
export function assert(condition: unknown, message: string): asserts condition {
  if (condition !== true) throw new Error(message);
}
