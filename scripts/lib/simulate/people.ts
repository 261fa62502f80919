import type { Dice } from './dice.ts';
import type { World } from './world.ts';

const CANDIDATES_MAX = 100;

/** What people decide in a week: about late usage, and about invoices that wait. */
export class People {
  readonly #dice: Dice;

  constructor(dice: Dice) {
    this.#dice = dice;
  }

  /** Decides about one entry of late usage, if any waits. Returns what was decided. */
  async decideLate(world: World): Promise<string | undefined> {
    const waiting = await world.parts.stores.lateUsage.list({ state: 'waiting', limit: CANDIDATES_MAX });
    if (waiting.length === 0) return undefined;
    const { _id, reason, invoiceId, identifier } = this.#dice.pick(waiting);
    // An answer was lost around the finalisation: whoever decides looks at the invoice first.
    const isBilled = reason === 'accepted_after_finalization' && isOnInvoice(world, identifier, invoiceId ?? '');
    const policy = isBilled || this.#dice.chance(0.2) ? 'dismiss' : 'next_period';
    const isDecided = await world.decideLate(_id, policy);
    return `${_id} ${policy}${isDecided ? '' : ' refused'}`;
  }

  /** Lets a draft go, if there is one. Returns which. */
  async release(world: World): Promise<string | undefined> {
    const drafts = world.simulator.invoices().filter(({ status }) => status === 'draft');
    const held = drafts.filter(({ auto_advance: isAdvancing }) => isAdvancing === false);
    const [invoice] = held.length > 0 ? held : drafts;
    if (invoice === undefined) return undefined;
    await world.release(invoice.id);
    return invoice.id;
  }
}

function isOnInvoice({ simulator }: World, identifier: string, invoiceId: string): boolean {
  const invoice = simulator.invoices().find(({ id }) => id === invoiceId);
  const event = simulator.meterEvents().find((each) => each.identifier === identifier && each.outcome === 'counted');
  const finalAt = invoice?.status_transitions.finalized_at ?? 0;
  return event !== undefined && event.receivedAt < finalAt * 1000;
}
