/** Headers that keep a browser, or a cache in between, from doing more with an answer than reading it once. */

/** A policy that lets a browser load nothing: an answer of the API is no page. */
const NOTHING = "default-src 'none'; frame-ancestors 'none'";

/** For every answer. The pages under /docs have a policy of their own. */
export const SAFE_HEADERS: Readonly<Record<string, string>> = {
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store',
  'content-security-policy': NOTHING,
  'referrer-policy': 'no-referrer',
};

/**
 * For the pages under /docs: they load their own files and ask their own daemon, and nothing else. They set styles on their
 * elements, and draw with images in their text.
 */
export const DOCS_POLICY = [
  "default-src 'none'",
  "base-uri 'none'",
  "connect-src 'self'",
  "font-src 'self' data:",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "img-src 'self' data:",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
].join('; ');
