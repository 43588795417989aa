// Commands that are held while something is debugged: each lives as long as this process keeps its stdin open. However
// this process ends, the command ends, and gives the Service back.

import { createInterface } from 'node:readline';

import { ended, failureOf, hear, type Bridge, type Child, type Said } from '../bridge.ts';

/** A restart begins within this time after the end: the session stays meanwhile. */
const LINGERS_MS = 3_000;

/** A command to hold: it works when it prints its first line, and ends with its stdin. */
export interface Held {
  args: string[];
  /** It does not read its stdin: a shell ends it. */
  deaf?: boolean;
}

/** One user of it. */
export interface Hold {
  /** What it has printed first. */
  line: string;
  release(): void;
}

interface Running {
  child: Child;
  deaf: boolean;
  users: number;
  works: boolean;
  ready: Promise<string>;
  said: Set<(said: Said) => void>;
  lingers?: NodeJS.Timeout;
}

export class Holds {
  private readonly held = new Map<string, Running>();

  constructor(
    private readonly bridge: Bridge,
    /** The number of held sessions has changed. */
    private readonly changed: (count: number) => void,
    /** Something about a session needs a person. */
    private readonly warned: (text: string) => void,
  ) {}

  /** Resolves when it works. Rejects with `Failed` if it cannot, or with the signal's reason. */
  async take(what: Held, said: (said: Said) => void, signal: AbortSignal): Promise<Hold> {
    await this.bridge.isGood();
    const key = JSON.stringify(what);
    const held = this.held.get(key) ?? this.begin(key, what);
    clearTimeout(held.lingers);
    held.users += 1;
    held.said.add(said);
    const given = { up: false };
    const release = () => {
      if (!given.up) {
        given.up = true;
        this.left(key, held);
      }
    };
    try {
      return { line: await unless(signal, held.ready), release };
    } catch (error) {
      release();
      throw error;
    } finally {
      held.said.delete(said);
    }
  }

  /** Ends all of them. */
  dispose(): void {
    for (const held of this.held.values()) {
      clearTimeout(held.lingers);
      end(held);
    }
    this.held.clear();
  }

  private begin(key: string, { args, deaf = false }: Held): Running {
    const child = this.bridge.start(['--progress=json', ...args], { deaf });
    const heard: Said[] = [];
    const listeners = new Set<(said: Said) => void>();
    hear(child, (said) => {
      heard.push(said);
      listeners.forEach((listener) => listener(said));
      if (said.kind === 'warning') {
        this.warned(said.text);
      }
    });
    const ready = new Promise<string>((resolve, reject) => {
      // `cat` gives it back once it runs.
      child.stdin.write('\n');
      createInterface({ input: child.stdout }).once('line', (line) => {
        held.works = true;
        resolve(line);
      });
      ended(child, this.bridge.program)
        .then(([code, signal]) => reject(failureOf(heard, code, signal)), reject)
        .finally(() => this.forget(key, held));
    });
    // Whoever waits for it hears of it.
    ready.catch(() => undefined);
    const held: Running = { child, deaf, users: 0, works: false, ready, said: listeners };
    this.held.set(key, held);
    this.changed(this.held.size);
    return held;
  }

  private left(key: string, held: Running): void {
    held.users -= 1;
    if (held.users > 0) {
      return;
    }
    held.lingers = setTimeout(() => this.end(key, held), held.works ? LINGERS_MS : 0);
  }

  private end(key: string, held: Running): void {
    this.forget(key, held);
    end(held);
  }

  private forget(key: string, held: Running): void {
    if (this.held.get(key) === held) {
      this.held.delete(key);
      this.changed(this.held.size);
    }
  }
}

function end({ child, deaf, works }: Running): void {
  child.stdin.end();
  // Nothing reads yet while it connects; a shell always does.
  if (!works && !deaf) {
    child.kill('SIGTERM');
  }
}

function unless<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const aborted = () => reject(signal.reason as Error);
    if (signal.aborted) {
      aborted();
    }
    signal.addEventListener('abort', aborted, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', aborted));
  });
}
