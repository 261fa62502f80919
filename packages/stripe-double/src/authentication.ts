import { Refusal } from './answer.ts';

/** Lets pass `Bearer` or `Basic` with a secret or restricted test key; 401 else (Stripe docs, Authentication). */
export function checkApiKey(authorization: string | undefined): void {
  const key = readKey(authorization);
  if (key === undefined || key === '') {
    throw unauthorised(
      "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
    );
  }
  if (!/^(sk|rk)_test_/.test(key)) {
    throw unauthorised(`Invalid API Key provided: ${key.slice(0, 8)}${'*'.repeat(Math.max(0, key.length - 8))}`);
  }
}

function readKey(authorization: string | undefined): string | undefined {
  const [scheme, credentials] = authorization?.split(' ') ?? [];
  if (credentials === undefined) return undefined;
  if (scheme?.toLowerCase() === 'bearer') return credentials;
  if (scheme?.toLowerCase() !== 'basic') return undefined;
  return Buffer.from(credentials, 'base64').toString().split(':')[0];
}

function unauthorised(message: string): Refusal {
  return new Refusal(401, { type: 'invalid_request_error', message });
}
