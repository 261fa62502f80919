import { type UsageEvent } from './usage-event.ts';
import { canonicalProperty, type EventFault } from '../meters/property.ts';

/** Names that are told; an event may have 50 properties. */
const NAMES_MAX = 10;

/**
 * The names of the fields in which two events with one key differ, as a caller knows them (`properties.plan`).
 * Empty exactly when the two are duplicates.
 */
export function differingFields(a: UsageEvent, b: UsageEvent): string[] {
  const names: string[] = [];
  if (a.eventType !== b.eventType) names.push('eventType');
  if (a.occurredAtMs !== b.occurredAtMs) names.push('occurredAt');
  if (a.quantity !== b.quantity) names.push('quantity');
  if (a.userId !== b.userId) names.push('userId');
  const before = new Map((a.properties ?? []).map(([name, value]) => [name, canonicalProperty(value)]));
  const after = new Map((b.properties ?? []).map(([name, value]) => [name, canonicalProperty(value)]));
  for (const name of new Set([...before.keys(), ...after.keys()].sort())) {
    if (before.get(name) !== after.get(name)) names.push(`properties.${name}`);
  }
  return names;
}

/**
 * What is said of an event whose key is known with other content. It names fields and no stored value: a key that may
 * only write must not read by guessing.
 * @param stored the event that stands; undefined while it is not durable yet.
 */
export function conflictFault(event: UsageEvent, stored: UsageEvent | undefined): EventFault {
  const differing = stored === undefined ? [] : differingFields(event, stored);
  return { code: 'event_conflict', detail: conflictDetail('event', differing), pointer: '/idempotencyKey' };
}

/** The sentences about a fact that is stored with other content under the same key. */
export function conflictDetail(kind: 'event' | 'adjustment', differing: readonly string[]): string {
  const fact = kind === 'event' ? 'An event' : 'An adjustment';
  const said = `${fact} with this idempotencyKey and other content is stored; it stands.`;
  if (differing.length === 0) return said;
  const rest = differing.length - NAMES_MAX;
  const more = rest > 0 ? ` and ${rest} more` : '';
  const names = `Different: ${differing.slice(0, NAMES_MAX).join(', ')}${more}.`;
  if (!differing.includes('occurredAt')) return `${said} ${names}`;
  return `${said} ${names} occurredAt belongs to the work, like the key: a retry sends the same one.`;
}
