import { invalidRequest } from './answer.ts';

/** Form parameters as a tree: `payload[value]=1` is `payload → value → "1"`; `expand[]=a` is `expand → "0" → "a"`. */
export type FormTree = Map<string, FormValue>;
export type FormValue = string | FormTree;

/** Reads `application/x-www-form-urlencoded` text with Stripe's bracket notation (also a query string). */
export function parseForm(text: string): FormTree {
  const tree: FormTree = new Map();
  if (text === '') return tree;
  for (const pair of text.split('&')) {
    if (pair === '') continue;
    const equals = pair.indexOf('=');
    const name = decode(equals < 0 ? pair : pair.slice(0, equals));
    insert(tree, name, equals < 0 ? '' : decode(pair.slice(equals + 1)));
  }
  return tree;
}

/** The same for the same parameters in any order: what an idempotency key is compared by. */
export function canonicalForm(text: string): string {
  return text.split('&').sort().join('&');
}

function decode(text: string): string {
  const spaced = text.includes('+') ? text.replaceAll('+', ' ') : text;
  if (!spaced.includes('%')) return spaced;
  try {
    return decodeURIComponent(spaced);
  } catch {
    throw invalidRequest('Invalid request body: it is not valid form encoding.');
  }
}

function insert(tree: FormTree, name: string, value: string): void {
  const bracket = name.indexOf('[');
  if (bracket <= 0 || !name.endsWith(']')) {
    tree.set(name, value);
    return;
  }
  let branch = childOf(tree, name.slice(0, bracket));
  const keys = name.slice(bracket + 1, -1).split('][');
  const last = keys.pop() ?? '';
  for (const key of keys) branch = childOf(branch, key);
  branch.set(last === '' ? String(branch.size) : last, value);
}

function childOf(tree: FormTree, key: string): FormTree {
  const present = tree.get(key);
  if (present instanceof Map) return present;
  const child: FormTree = new Map();
  tree.set(key, child);
  return child;
}
