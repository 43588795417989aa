// The live table of requests: each with its status, who answered it, and why.

import * as crypto from 'node:crypto';
import { createInterface } from 'node:readline';
import * as vscode from 'vscode';

import { hear, type Bridge, type Child } from '../bridge.ts';
import type { Seen } from '../documents.ts';
import type { Live } from './live.ts';

/** Older ones go. The page keeps as many. */
const KEPT = 1_000;
/** Requests go to the page in batches. */
const BATCH_EVERY_MS = 100;

export type Filter = 'all' | 'mine' | 'missed';

export class Requests implements vscode.WebviewViewProvider, vscode.Disposable {
  private view: vscode.WebviewView | undefined;
  private child: Child | undefined;
  /** The sessions that are followed. */
  private followed = '';
  private seen: Seen[] = [];
  private batch: Seen[] = [];
  private flush: NodeJS.Timeout | undefined;

  constructor(
    private readonly bridge: Bridge,
    private readonly live: Live,
    private readonly extension: vscode.Uri,
  ) {
    live.changed(() => this.follow());
  }

  resolveWebviewView(view: vscode.WebviewView): void {
    this.view = view;
    const media = vscode.Uri.joinPath(this.extension, 'media');
    view.webview.options = { enableScripts: true, localResourceRoots: [media] };
    view.webview.html = page(view.webview, media);
    view.webview.onDidReceiveMessage((message: { kind?: string }) => {
      if (message.kind === 'ready') {
        this.post({ kind: 'sessions', ...this.connected() });
        this.post({ kind: 'seen', requests: this.seen });
      }
    });
    view.onDidChangeVisibility(() => this.looks());
    view.onDidDispose(() => {
      this.view = undefined;
      this.looks();
    });
    this.looks();
  }

  /** Shows those that went to the pods, and opens the explanation of the last one. */
  async explain(): Promise<void> {
    await vscode.commands.executeCommand('bridge.requests.focus');
    this.post({ kind: 'filter', filter: 'missed' satisfies Filter });
  }

  dispose(): void {
    this.stop();
  }

  private looks(): void {
    const looks = this.view?.visible ?? false;
    this.live.watch('requests', looks);
    if (looks) {
      this.follow();
    } else {
      this.stop();
    }
  }

  private connected(): { users: string[]; targets: string[] } {
    const { sessions } = this.live;
    return { users: sessions.map((session) => session.user), targets: sessions.map((session) => session.target) };
  }

  /** Follows the sessions that there are now. What they saw before comes again. */
  private follow(): void {
    const ids = this.live.sessions.map((session) => session.id).sort();
    const now = ids.join(' ');
    if (!this.view?.visible || (now === this.followed && this.child)) {
      return;
    }
    this.stop();
    this.post({ kind: 'sessions', ...this.connected() });
    if (ids.length === 0) {
      return;
    }
    this.followed = now;
    this.seen = [];
    this.post({ kind: 'clear' });
    const child = this.bridge.start(['--progress=json', 'requests', '--follow', '-o', 'json'], { deaf: true });
    this.child = child;
    hear(child, () => undefined);
    createInterface({ input: child.stdout }).on('line', (line) => this.take(line));
    const gone = () => {
      if (this.child === child) {
        this.child = undefined;
      }
    };
    child.on('error', gone).on('close', gone);
  }

  private stop(): void {
    this.child?.stdin.end();
    this.child = undefined;
    this.followed = '';
  }

  private take(line: string): void {
    const request = parsed(line);
    if (!request) {
      return;
    }
    this.seen.push(request);
    this.seen.splice(0, this.seen.length - KEPT);
    this.batch.push(request);
    this.flush ??= setTimeout(() => {
      this.flush = undefined;
      this.post({ kind: 'seen', requests: this.batch.splice(0).slice(-KEPT) });
    }, BATCH_EVERY_MS);
  }

  private post(message: object): void {
    void this.view?.webview.postMessage(message);
  }
}

function parsed(line: string): Seen | undefined {
  try {
    return JSON.parse(line) as Seen;
  } catch {
    return undefined;
  }
}

function page(webview: vscode.Webview, media: vscode.Uri): string {
  const nonce = crypto.randomBytes(16).toString('base64url');
  const file = (name: string) => webview.asWebviewUri(vscode.Uri.joinPath(media, name)).toString();
  const policy = `default-src 'none'; style-src ${webview.cspSource}; script-src 'nonce-${nonce}'`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<link rel="stylesheet" href="${file('requests.css')}">
<title>Requests</title>
</head>
<body>
<header>
<div role="radiogroup" aria-label="Which requests" id="filters">
<button role="radio" aria-checked="true" data-filter="all">All</button>
<button role="radio" aria-checked="false" data-filter="mine">Mine</button>
<button role="radio" aria-checked="false" data-filter="missed">Missed</button>
</div>
<input id="search" type="search" placeholder="Filter by path, method, status or reason" aria-label="Filter">
<span id="count" role="status"></span>
</header>
<main>
<table aria-label="Requests">
<thead><tr><th>Time</th><th>Service</th><th>Method</th><th>Path</th><th>Status</th><th>Took</th><th>To</th><th>Why</th></tr></thead>
<tbody id="rows"></tbody>
</table>
<p id="nothing"></p>
</main>
<aside id="details" hidden aria-live="polite"></aside>
<script nonce="${nonce}" src="${file('requests.js')}"></script>
</body>
</html>`;
}
