// What the tests do and look at: requests from inside the cluster, debug sessions and what they say.

import { execFile } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import * as vscode from 'vscode';

/** Longer than anything takes on a busy machine. */
export const USUAL_MS = 60_000;

export interface Answer {
  status: number;
  answeredBy: 'laptop' | 'origin';
  body: string;
}

interface Message {
  type: string;
  event?: string;
  body?: Record<string, unknown>;
}

export function folder(): vscode.WorkspaceFolder {
  const [first] = vscode.workspace.workspaceFolders ?? [];
  if (!first) {
    throw new Error('expected a folder');
  }
  return first;
}

export function file(name: string): vscode.Uri {
  return vscode.Uri.joinPath(folder().uri, name);
}

export function made(name: string): string {
  return path.join(process.env['BRIDGE_IDE'] ?? '', name);
}

export function bridge(...args: string[]): Promise<unknown> {
  return new Promise((resolve, reject) => {
    execFile('bridge', [...args, '-o', 'json'], (error, stdout, stderr) => {
      if (error && stdout === '') {
        reject(new Error(`bridge ${args.join(' ')}: ${stderr}`));
      } else {
        resolve(JSON.parse(stdout));
      }
    });
  });
}

/** A request with my marks. */
export async function mine(url: string): Promise<Answer> {
  return (await bridge('call', 'orders', url)) as Answer;
}

/** A request of somebody else. */
export async function others(url: string): Promise<Answer> {
  const marks = ['-H', 'baggage: bridge=bob', '-H', 'x-bridge: bob'];
  return (await bridge('call', 'orders', url, ...marks)) as Answer;
}

export async function sessions(): Promise<{ target: string; state: string }[]> {
  return ((await bridge('status')) as { sessions: { target: string; state: string }[] }).sessions;
}

/** The daemon's process. */
export async function daemon(): Promise<number> {
  return ((await bridge('status')) as { daemon: { pid: number } }).daemon.pid;
}

/** The number of commands by which the extension holds sessions. */
export function holds(): number {
  const commands = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map((name) => {
    try {
      return fs.readFileSync(`/proc/${name}/cmdline`, 'latin1');
    } catch {
      return '';
    }
  });
  return commands.filter((command) => command.includes('\0--files=none\0')).length;
}

/** Asks until it holds. */
export async function eventually<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
  const began = Date.now();
  for (;;) {
    const got = await ask().catch(() => undefined);
    if (got !== undefined) {
      return got;
    }
    if (Date.now() - began > USUAL_MS) {
      throw new Error(`expected within ${USUAL_MS / 1000} s: ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export async function within<T>(what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`expected within ${USUAL_MS / 1000} s: ${what}\n${said()}`)), USUAL_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** What debug adapters have said since the test began. */
let messages: { session: vscode.DebugSession; message: Message }[] = [];
const heard = new vscode.EventEmitter<void>();

export function listen(): vscode.Disposable {
  return vscode.debug.registerDebugAdapterTrackerFactory('*', {
    createDebugAdapterTracker: (session) => ({
      onDidSendMessage: (message: Message) => {
        messages.push({ session, message });
        heard.fire();
      },
    }),
  });
}

export function forget(): void {
  messages = [];
}

/** The first message that fits, or the next one. */
export function message(
  what: string,
  fits: (message: Message) => boolean,
): Promise<{ session: vscode.DebugSession; message: Message }> {
  const found = new Promise<{ session: vscode.DebugSession; message: Message }>((resolve) => {
    const look = () => {
      const there = messages.find((one) => fits(one.message));
      if (there) {
        subscription.dispose();
        resolve(there);
      }
    };
    const subscription = heard.event(look);
    look();
  });
  return within(what, found);
}

/** The next debug session that starts. */
export function started(): Promise<vscode.DebugSession> {
  return new Promise((resolve) => {
    const subscription = vscode.debug.onDidStartDebugSession((session) => {
      subscription.dispose();
      resolve(session);
    });
  });
}

export function prints(text: string): Promise<unknown> {
  const has = ({ event, body }: Message) => event === 'output' && String(body?.['output']).includes(text);
  return message(`the program prints ${text}`, has);
}

/** The program stands at a breakpoint: its session and the frame. */
export async function stops(): Promise<{ session: vscode.DebugSession; thread: number; frame: number }> {
  const { session, message: stopped } = await message('the program stops', ({ event }) => event === 'stopped');
  const thread = Number(stopped.body?.['threadId'] ?? 1);
  const trace = (await session.customRequest('stackTrace', { threadId: thread, startFrame: 0, levels: 1 })) as {
    stackFrames: { id: number }[];
  };
  return { session, thread, frame: trace.stackFrames[0]?.id ?? 0 };
}

export async function evaluate(session: vscode.DebugSession, frame: number, expression: string): Promise<string> {
  const said = { expression, frameId: frame, context: 'watch' };
  return ((await session.customRequest('evaluate', said)) as { result: string }).result;
}

export function breakAt(name: string, line: number): void {
  const place = new vscode.Location(file(name), new vscode.Position(line - 1, 0));
  vscode.debug.addBreakpoints([new vscode.SourceBreakpoint(place)]);
}

/** Ends all that a test has begun, and returns when nothing is connected. */
export async function stopAll(): Promise<void> {
  vscode.debug.removeBreakpoints(vscode.debug.breakpoints);
  await vscode.debug.stopDebugging();
  // A command that is still there may connect again, if its daemon was killed.
  await eventually('no session is held', async () => (holds() === 0 ? true : undefined));
  await eventually('nothing stays connected', async () => ((await sessions()).length === 0 ? true : undefined));
}

function said(): string {
  const lines = messages.filter(({ message }) => message.event === 'output');
  return lines.map(({ message }) => String(message.body?.['output'])).join('').slice(-2_000);
}
