// Sessions that are held while something is debugged: `bridge run TARGET … -- cat` lives as long as this process keeps its
// stdin open. However this process ends, the command ends, and gives the Service back.

import { ended, failureOf, hear, type Bridge, type Child, type Said } from '../bridge.ts';
import { runOptions, type Wish } from './attribute.ts';

/** A restart begins within this time after the end: the session stays meanwhile. */
const LINGERS_MS = 3_000;

/** One user of a held session. */
export interface Hold {
  release(): void;
}

interface Held {
  child: Child;
  users: number;
  works: boolean;
  ready: Promise<void>;
  said: Set<(said: Said) => void>;
  lingers?: NodeJS.Timeout;
}

export class Holds {
  private readonly held = new Map<string, Held>();

  constructor(
    private readonly bridge: Bridge,
    /** The number of held sessions has changed. */
    private readonly changed: (count: number) => void,
  ) {}

  /** Resolves when the session works. Rejects with `Failed` if it cannot, or with the signal's reason. */
  async take(wish: Wish, said: (said: Said) => void, signal: AbortSignal): Promise<Hold> {
    await this.bridge.isGood();
    const key = JSON.stringify(runOptions(wish));
    const held = this.held.get(key) ?? this.begin(key, wish);
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
      await unless(signal, held.ready);
    } catch (error) {
      release();
      throw error;
    } finally {
      held.said.delete(said);
    }
    return { release };
  }

  /** Ends all of them. */
  dispose(): void {
    for (const held of this.held.values()) {
      clearTimeout(held.lingers);
      end(held);
    }
    this.held.clear();
  }

  private begin(key: string, wish: Wish): Held {
    const args = ['--progress=json', 'run', ...withoutFiles(runOptions(wish)), '--', 'cat'];
    const child = this.bridge.start(args);
    const heard: Said[] = [];
    const listeners = new Set<(said: Said) => void>();
    hear(child, (said) => {
      heard.push(said);
      listeners.forEach((listener) => listener(said));
    });
    const ready = new Promise<void>((resolve, reject) => {
      // It comes back once the command runs.
      child.stdin.on('error', () => undefined).write('\n');
      child.stdout.once('data', () => {
        held.works = true;
        resolve();
      });
      ended(child, this.bridge.program)
        .then(([code, signal]) => reject(failureOf(heard, code, signal)), reject)
        .finally(() => this.forget(key, held));
    });
    // Whoever waits for it hears of it.
    ready.catch(() => undefined);
    const held: Held = { child, users: 0, works: false, ready, said: listeners };
    this.held.set(key, held);
    this.changed(this.held.size);
    return held;
  }

  private left(key: string, held: Held): void {
    held.users -= 1;
    if (held.users > 0) {
      return;
    }
    held.lingers = setTimeout(() => this.end(key, held), held.works ? LINGERS_MS : 0);
  }

  private end(key: string, held: Held): void {
    this.forget(key, held);
    end(held);
  }

  private forget(key: string, held: Held): void {
    if (this.held.get(key) === held) {
      this.held.delete(key);
      this.changed(this.held.size);
    }
  }
}

function end({ child, works }: Held): void {
  child.stdin.end();
  // Nothing reads yet while it connects.
  if (!works) {
    child.kill('SIGTERM');
  }
}

/** The program has the files; nobody else reads them. */
function withoutFiles(options: string[]): string[] {
  return [...options.filter((option) => !option.startsWith('--files=')), '--files=none'];
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
