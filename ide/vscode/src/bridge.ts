// The command `bridge`: every use of it is a process of its own, with JSON on stdout and on stderr.

import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';

/** The oldest command that this extension works with. */
const OLDEST = [0, 1, 0] as const;
/** A document larger than this is a mistake. */
const LARGEST_DOCUMENT = 32 * 1024 * 1024;

/** Runs its arguments until nobody writes to its stdin any more. */
const ENDS_WITH_STDIN = '"$@" </dev/null & cat >/dev/null; kill "$!"; wait "$!"';

export type Child = ChildProcessByStdio<Writable, Readable, Readable>;

/** Why something is not done, in the words of the command. */
export class Failed extends Error {
  constructor(
    /** As documented for `-o json`: "no-such-target", "quota" …; here also "no-bridge" and "old-bridge". */
    readonly code: string,
    message: string,
    /** What to do next; empty if there is nothing. */
    readonly next: string,
  ) {
    super(message);
  }
}

/** A line of what the command says meanwhile (`--progress json`). */
export interface Said {
  kind: 'step' | 'note' | 'warning' | 'error' | 'next';
  text: string;
}

export interface Place {
  /** Undefined: the current one. */
  context?: string | undefined;
  /** Undefined: the context's. */
  namespace?: string | undefined;
}

export interface Run {
  /** Ends the process with SIGTERM; it undoes what it has begun. */
  signal?: AbortSignal | undefined;
  cwd?: string | undefined;
  said?: ((said: Said) => void) | undefined;
}

export function placeOptions(place: Place): string[] {
  const named = (name: string, value: string | undefined) => (value ? [`--${name}=${value}`] : []);
  return [...named('context', place.context), ...named('namespace', place.namespace)];
}

export class Bridge {
  /** The command whose version was found good. */
  private checked: string | undefined;

  constructor(
    private readonly path: () => string,
    private readonly log: (line: string) => void,
  ) {}

  get program(): string {
    return this.path();
  }

  /** `deaf`: it does not read its stdin, and ends with it all the same. */
  start(args: string[], { cwd, deaf }: { cwd?: string | undefined; deaf?: boolean } = {}): Child {
    this.log(`$ bridge ${args.join(' ')}`);
    const words = [this.path(), ...args];
    const [program = '', ...rest] = deaf ? ['sh', '-c', ENDS_WITH_STDIN, 'sh', ...words] : words;
    const child = spawn(program, rest, { stdio: ['pipe', 'pipe', 'pipe'], cwd });
    // One that has ended reads no more.
    child.stdin.on('error', () => undefined);
    return child;
  }

  /** Runs a command to its end and reads its document. */
  async json<T>(args: string[], run: Run = {}): Promise<T> {
    return JSON.parse(await this.text([...args, '-o', 'json'], run)) as T;
  }

  /** The same of a command whose output is not a document. */
  async text(args: string[], run: Run = {}): Promise<string> {
    await this.isGood();
    return this.toItsEnd(args, run);
  }

  /** Rejects if the command is not there, or too old. */
  async isGood(): Promise<void> {
    const path = this.path();
    if (this.checked === path) {
      return;
    }
    const found = await this.version();
    if (isOlder(found, OLDEST)) {
      const message = `${path} is bridge ${found}; this extension needs ${OLDEST.join('.')} or later`;
      throw new Failed('old-bridge', message, 'update it, or name another one in the setting bridge.path');
    }
    this.checked = path;
  }

  /** Linux has another program of the same name, for network bridges. */
  private async version(): Promise<string> {
    const said = await this.toItsEnd(['version', '--short'], {}).catch((error: unknown) => {
      if (error instanceof Failed && error.code === 'no-bridge') {
        throw error;
      }
      return '';
    });
    if (!/^\d+\.\d+\.\d+/.test(said)) {
      const message = `${this.path()} is another program, and not the command that this extension uses`;
      throw new Failed('no-bridge', message, 'install bridge, or name it in the setting bridge.path');
    }
    return said.trim();
  }

  private async toItsEnd(args: string[], run: Run): Promise<string> {
    const child = this.start(['--progress=json', ...args], { cwd: run.cwd });
    child.stdin.end();
    const stop = () => child.kill('SIGTERM');
    run.signal?.addEventListener('abort', stop, { once: true });
    if (run.signal?.aborted) {
      stop();
    }
    try {
      return await outcome(child, this.path(), (said) => {
        this.log(`  ${said.kind}: ${said.text}`);
        run.said?.(said);
      });
    } finally {
      run.signal?.removeEventListener('abort', stop);
    }
  }
}

/** The whole of stdout, once the process has ended well. */
async function outcome(child: Child, path: string, said: (said: Said) => void): Promise<string> {
  let output = '';
  const heard: Said[] = [];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    if (output.length <= LARGEST_DOCUMENT) {
      output += text;
    }
  });
  hear(child, (one) => {
    heard.push(one);
    said(one);
  });
  const [code, signal] = await ended(child, path);
  if (code !== 0) {
    throw documented(output) ?? failureOf(heard, code, signal);
  }
  if (output.length > LARGEST_DOCUMENT) {
    throw new Failed('internal', 'bridge printed more than anybody can read', '');
  }
  return output;
}

/** The exit code or the signal of a process; rejects if it did not start. */
export function ended(child: Child, path: string): Promise<[number | null, NodeJS.Signals | null]> {
  return new Promise((resolve, reject) => {
    child.once('error', (error) => reject(notStarted(path, error)));
    child.once('close', (code, signal) => resolve([code, signal]));
  });
}

/** Calls back for each line that the process says on stderr. */
export function hear(child: Child, said: (said: Said) => void): void {
  createInterface({ input: child.stderr }).on('line', (line) => said(saidIn(line)));
}

export function saidIn(line: string): Said {
  try {
    const [[kind, text] = []] = Object.entries(JSON.parse(line) as object);
    if (typeof text === 'string' && ['step', 'note', 'warning', 'error', 'next'].includes(kind ?? '')) {
      return { kind: kind as Said['kind'], text };
    }
  } catch {
    // A program's own line.
  }
  return { kind: 'note', text: line };
}

/** The failure that a process has described on stderr. */
export function failureOf(heard: Said[], code: number | null, signal: NodeJS.Signals | null): Failed {
  const of = (kind: Said['kind']) => heard.findLast((said) => said.kind === kind)?.text;
  const how = signal ? `by ${signal}` : `with exit code ${code}`;
  return new Failed(`exit-${code ?? signal}`, of('error') ?? `bridge ended ${how}`, of('next') ?? '');
}

/** The failure of a command with `-o json`. */
function documented(output: string): Failed | undefined {
  try {
    const { error } = JSON.parse(output) as { error?: { code: string; message: string; next?: string } };
    return error && new Failed(error.code, error.message, error.next ?? '');
  } catch {
    return undefined;
  }
}

function notStarted(path: string, error: NodeJS.ErrnoException): Failed {
  if (error.code === 'ENOENT') {
    const message = `There is no ${path} on this machine, where the extension runs`;
    return new Failed('no-bridge', message, 'install bridge, or name it in the setting bridge.path');
  }
  return new Failed('no-bridge', `${path} cannot be started: ${error.message}`, 'see the setting bridge.path');
}

export function isOlder(version: string, oldest: readonly number[]): boolean {
  const parts = version.split(/[.+-]/).map(Number);
  for (const [index, wanted] of oldest.entries()) {
    const part = parts[index] ?? 0;
    if (part !== wanted) {
      return !(part > wanted);
    }
  }
  return false;
}
