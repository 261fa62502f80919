#!/usr/bin/env node
/**
 * The double of Stripe's API in a process of its own, for the demo and `tallystick dev`: the daemon's share of a core
 * stays the daemon's. Started by another process it tells its address over the channel and ends with it.
 */
import { Command } from 'commander';
import { ForwardClock } from '../src/platform/clock.ts';
import { startSimulator } from '../packages/stripe-double/src/simulator.ts';
import { untilInterrupted } from './lib/until-interrupted.ts';

const options = new Command('simulator')
  .description("Run the double of Stripe's API. It keeps everything in memory, and sends webhooks where it is told to.")
  .option('--port <number>', 'the port on 127.0.0.1; 0 takes a free one', '12111')
  .option('--calls-per-second <number>', 'calls that are let through; 0: all', '25')
  .option('--ahead-ms <number>', 'how far its clock is ahead of the machine to begin with', '0')
  .addHelpText('after', '\nExample:\n  $ node dist/scripts/simulator.js --port 12111')
  .parse()
  .opts<{ port: string; callsPerSecond: string; aheadMs: string }>();

const simulator = await startSimulator({
  clock: new ForwardClock(Number(options.aheadMs)),
  port: Number(options.port),
  rateLimitPerSecond: Number(options.callsPerSecond),
  automatic: true,
});
const isChild = process.send !== undefined;
if (isChild) process.send?.({ url: simulator.url });
else process.stdout.write(`${simulator.url}\n`);
// Ctrl-C reaches a child too, while its parent may still need it.
if (isChild) process.on('SIGINT', () => {});
await (isChild ? new Promise((resolve) => process.once('disconnect', resolve)) : untilInterrupted());
await simulator.stop();
