import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export interface Answer {
  readonly status: number;
  readonly body: string;
}

/** Silence after which a measurement is over. */
const SILENCE_MS_MAX = 120_000;
const HEAD_END = '\r\n\r\n';

/**
 * One keep-alive connection that sends a request at a time. Knows just enough HTTP/1.1 for our own servers: a load
 * generator on the same two cores must cost little.
 */
export class Connection {
  readonly #socket: Socket;
  readonly #head: string;
  #received = '';
  #finish: ((answer: Answer) => void) | undefined;
  #fail: ((error: Error) => void) | undefined;

  private constructor(socket: Socket, head: string) {
    this.#socket = socket;
    this.#head = head;
    socket.setNoDelay(true);
    socket.setTimeout(SILENCE_MS_MAX, () => socket.destroy(new Error('the server says nothing')));
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => this.#receive(text));
    socket.on('error', (error) => this.#fail?.(error));
    socket.on('close', () => this.#fail?.(new Error('the server closed the connection')));
  }

  static async open(url: string, headers: Readonly<Record<string, string>>): Promise<Connection> {
    const { hostname, port, pathname } = new URL(url);
    const socket = connect(Number(port), hostname);
    await once(socket, 'connect');
    const lines = Object.entries({ host: `${hostname}:${port}`, ...headers }).map(
      ([name, value]) => `${name}: ${value}`,
    );
    return new Connection(socket, [`POST ${pathname} HTTP/1.1`, ...lines, 'content-length: '].join('\r\n'));
  }

  post(body: Buffer): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#finish = resolve;
      this.#fail = reject;
      this.#socket.cork();
      this.#socket.write(`${this.#head}${body.length}${HEAD_END}`, 'latin1');
      this.#socket.write(body);
      this.#socket.uncork();
    });
  }

  close(): void {
    this.#fail = undefined;
    this.#socket.destroy();
  }

  #receive(text: string): void {
    this.#received = this.#received === '' ? text : this.#received + text;
    const headEnd = this.#received.indexOf(HEAD_END);
    if (headEnd < 0) return;
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(this.#received)?.[1] ?? Number.NaN);
    if (Number.isNaN(length)) {
      this.#fail?.(new Error('the answer has no content-length'));
      return;
    }
    const end = headEnd + HEAD_END.length + length;
    if (this.#received.length < end) return;
    const answer = { status: Number(this.#received.slice(9, 12)), body: this.#received.slice(end - length, end) };
    this.#received = this.#received.slice(end);
    this.#finish?.(answer);
  }
}
