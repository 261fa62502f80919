/**
 * The forms of secrets. Each function says what is wrong with a text, as a clause that follows the name of its variable,
 * or undefined. A clause never repeats any part of a secret.
 */

const KEY_OF_STRIPE = /^[sr]k_(test|live)_[A-Za-z0-9_]+$/;
/** Stripe's keys have 24 characters behind their prefix, newer ones about a hundred. */
const STRIPE_KEY_LENGTH_MIN = 24;
const SIGNING_SECRET = /^whsec_[A-Za-z0-9+/=_-]+$/;
/** Stripe's signing secrets have 32 characters behind their prefix, those of `stripe listen` 64. */
const SIGNING_SECRET_LENGTH_MIN = 24;
/** A double of Stripe's takes what it was given; this is still no secret that anybody would guess. */
const SIMULATED_LENGTH_MIN = 4;
const ADMIN_KEY_LENGTH_MIN = 20;
const ADMIN_KEY_LENGTH_MAX = 512;
/** Different characters that an administrator's key has at least; a random one has twice as many. */
const ADMIN_KEY_VARIETY_MIN = 8;
/** The same without placeholders and runs. */
const UNGUESSED_VARIETY_MIN = 4;
/** What stands in examples and is left there. */
const PLACEHOLDERS = /change[-_.]?me|password|placeholder|replace[-_.]?(?:me|this)/g;
/** What people type when they want something long: runs along the alphabet, the digits or a keyboard. */
const RUNS = ['abcdefghijklmnopqrstuvwxyz', '01234567890', '09876543210', 'qwertyuiop', 'asdfghjkl', 'zxcvbnm'];
const RUN_LENGTH = 6;
const MAKE_ONE = 'make one with: openssl rand -base64 32';

/** Whether a key of Stripe's bills real customers. */
export function isLiveKey(secretKey: string): boolean {
  return /^[sr]k_live_/.test(secretKey);
}

/** What is meant by the address that Stripe is called at. */
export interface StripePlace {
  /** Whether it is a double of Stripe's rather than Stripe. */
  readonly isSimulated: boolean;
}

/** A secret or restricted key of Stripe's, whole. */
export function stripeKeyFault(text: string, { isSimulated }: StripePlace): string | undefined {
  if (text.startsWith('pk_'))
    return 'is a publishable key: the secret key is needed, or a restricted one (sk_… or rk_…)';
  if (text.startsWith('whsec_')) return 'is a signing secret: it belongs into STRIPE_WEBHOOK_SECRET';
  if (!KEY_OF_STRIPE.test(text)) {
    return 'must be a secret or restricted key of Stripe (sk_test_…, rk_live_…), without spaces, quotes or anything else';
  }
  const length = text.length - text.indexOf('_', 3) - 1;
  if (isSimulated || length >= STRIPE_KEY_LENGTH_MIN) return undefined;
  return `must be a whole key: at least ${STRIPE_KEY_LENGTH_MIN} characters follow its prefix`;
}

/** The signing secret of an event destination, whole. */
export function signingSecretFault(text: string, { isSimulated }: StripePlace): string | undefined {
  if (/^(?:[sr]k|pk)_/.test(text)) return 'must be a signing secret (whsec_…), and is a key of Stripe';
  if (/^(?:we|ed)_/.test(text)) return 'must be a signing secret (whsec_…), and is the id of a destination';
  if (!SIGNING_SECRET.test(text)) {
    return 'must be a signing secret of Stripe (whsec_…), without spaces or quotes; several with commas between them';
  }
  const lengthMin = isSimulated ? SIMULATED_LENGTH_MIN : SIGNING_SECRET_LENGTH_MIN;
  if (text.length - 'whsec_'.length >= lengthMin) return undefined;
  return `must be a whole signing secret: at least ${lengthMin} characters follow whsec_`;
}

/** A key that we are told, and that everybody who guesses it has every right with. */
export function apiKeyFault(text: string): string | undefined {
  if (text.length < ADMIN_KEY_LENGTH_MIN || text.length > ADMIN_KEY_LENGTH_MAX || !/^[\u0021-\u007e]+$/.test(text)) {
    const lengths = `${ADMIN_KEY_LENGTH_MIN} to ${ADMIN_KEY_LENGTH_MAX}`;
    return `must be ${lengths} visible ASCII characters without spaces; ${MAKE_ONE}`;
  }
  if (/^(?:(?:[sr]k|pk)_(?:test|live)|whsec)_/.test(text)) return `must not be a secret of Stripe's; ${MAKE_ONE}`;
  const isVaried = varietyOf(text) >= ADMIN_KEY_VARIETY_MIN && varietyOf(withoutGuesses(text)) >= UNGUESSED_VARIETY_MIN;
  const isGuessed = !isVaried || isRepetition(text);
  return isGuessed ? `must not be one that can be guessed; ${MAKE_ONE}` : undefined;
}

function varietyOf(text: string): number {
  return new Set(text).size;
}

/** Whether a text is a shorter one over and over. */
function isRepetition(text: string): boolean {
  return `${text}${text}`.indexOf(text, 1) < text.length;
}

/** What is left of a text without placeholders and runs. */
function withoutGuesses(text: string): string {
  const lower = text.toLowerCase().replaceAll(PLACEHOLDERS, '');
  let left = '';
  for (let at = 0; at < lower.length;) {
    const length = runLengthAt(lower, at);
    if (length < RUN_LENGTH) left += lower.charAt(at);
    at += length < RUN_LENGTH ? 1 : length;
  }
  return left;
}

function runLengthAt(text: string, at: number): number {
  let length = 1;
  while (at + length < text.length && RUNS.some((run) => run.includes(text.slice(at, at + length + 1)))) length += 1;
  return length;
}
