import { createPaint, type Paint } from './color.ts';
import { toCommandError } from './command-error.ts';
import type { ExitCode } from './exit-codes.ts';
import { type Progress, silentProgress, startProgress } from './progress.ts';

export interface OutputOptions {
  /** One JSON document on standard output, nothing else. */
  readonly json?: boolean | undefined;
  /** Nothing but results asked for as JSON, and errors. */
  readonly quiet?: boolean | undefined;
}

/** What a command says: results on standard output, progress and errors on standard error. */
export class Output {
  readonly #options: OutputOptions;
  readonly paint: Paint;

  constructor(options: OutputOptions, env: NodeJS.ProcessEnv = process.env) {
    this.#options = options;
    this.paint = createPaint(process.stdout, env);
  }

  /** The result: as JSON, or as text made by `render`. */
  result(value: unknown, render: () => string): void {
    if (this.#options.json === true) process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
    else if (this.#options.quiet !== true) write(process.stdout, render());
  }

  /** A remark on standard error. */
  note(text: string): void {
    if (this.#options.quiet !== true) write(process.stderr, text);
  }

  progress(label: string, total: number): Progress {
    return this.#options.quiet === true ? silentProgress : startProgress({ label, total });
  }

  /** Says what failed, why and what to do; returns the exit code. */
  failure(error: unknown, command: string): ExitCode {
    const { message: what, why, todo, exitCode } = toCommandError(error);
    if (this.#options.json === true) {
      process.stderr.write(`${JSON.stringify({ error: { what, why, todo, exitCode } })}\n`);
      return exitCode;
    }
    const paint = createPaint(process.stderr, process.env);
    const lines = [
      `${command}: ${paint.bad(what)}`,
      ...(why === undefined ? [] : [`  why: ${why}`]),
      ...(todo === undefined ? [] : [`  do:  ${todo}`]),
    ];
    write(process.stderr, lines.join('\n'));
    return exitCode;
  }
}

function write(stream: NodeJS.WriteStream, text: string): void {
  if (text !== '') stream.write(text.endsWith('\n') ? text : `${text}\n`);
}
