// What each launch holds: a session with the target and a folder for its shim. Both go with the debug session.

import * as crypto from 'node:crypto';
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import * as vscode from 'vscode';

import type { Hold } from './holds.ts';

/** The attribute by which a debug session is known as ours. */
export const LAUNCH = '__bridgeLaunch';

/** A launch that nothing has come of within this time was given up: a task before it failed, or a debugger is missing. */
const BEGINS_WITHIN_MS = 120_000;

interface Launch {
  id: string;
  folder: string;
  hold: Hold;
  waits: NodeJS.Timeout;
}

export class Launches implements vscode.Disposable, vscode.DebugAdapterTrackerFactory {
  private readonly launches = new Map<string, Launch>();
  /** By debug session; a restart within the session adds one. */
  private readonly ofSession = new Map<string, Set<string>>();

  constructor(private readonly storage: string) {}

  begin(hold: Hold): Launch {
    const id = crypto.randomUUID();
    const folder = path.join(this.storage, 'shims', id);
    const waits = setTimeout(() => this.end(id), BEGINS_WITHIN_MS);
    const launch = { id, folder, hold, waits };
    this.launches.set(id, launch);
    return launch;
  }

  end(id: string): void {
    const launch = this.launches.get(id);
    if (!launch) {
      return;
    }
    this.launches.delete(id);
    clearTimeout(launch.waits);
    launch.hold.release();
    // A folder that stays is a few bytes, and the next start removes it.
    fs.rm(launch.folder, { recursive: true, force: true }).catch(() => undefined);
  }

  /** Of windows that were killed. Those of a window that is open are younger. */
  async removeOld(olderThanMs: number): Promise<void> {
    const folder = path.join(this.storage, 'shims');
    for (const name of await fs.readdir(folder).catch(() => [])) {
      const there = path.join(folder, name);
      const { mtimeMs } = await fs.stat(there).catch(() => ({ mtimeMs: Date.now() }));
      if (!this.launches.has(name) && Date.now() - mtimeMs > olderThanMs) {
        await fs.rm(there, { recursive: true, force: true });
      }
    }
  }

  createDebugAdapterTracker(session: vscode.DebugSession): vscode.DebugAdapterTracker | undefined {
    const id: unknown = session.configuration[LAUNCH];
    if (typeof id !== 'string' || session.parentSession) {
      return undefined;
    }
    this.adopt(session.id, id);
    return {
      // A restart may come with a configuration that was resolved for it.
      onWillReceiveMessage: (message: { command?: string; arguments?: { arguments?: Record<string, unknown> } }) => {
        const again = message.command === 'restart' ? message.arguments?.arguments?.[LAUNCH] : undefined;
        if (typeof again === 'string') {
          this.adopt(session.id, again);
        }
      },
      onError: () => this.sessionEnded(session),
      onExit: () => this.sessionEnded(session),
    };
  }

  sessionEnded(session: vscode.DebugSession): void {
    for (const id of this.ofSession.get(session.id) ?? []) {
      this.end(id);
    }
    this.ofSession.delete(session.id);
  }

  dispose(): void {
    for (const id of [...this.launches.keys()]) {
      this.end(id);
    }
  }

  private adopt(session: string, id: string): void {
    const launch = this.launches.get(id);
    if (launch) {
      clearTimeout(launch.waits);
      this.ofSession.set(session, (this.ofSession.get(session) ?? new Set()).add(id));
    }
  }
}
