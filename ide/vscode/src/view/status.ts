// The status bar: whether something is connected, and whether it works.

import * as vscode from 'vscode';

import type { Session } from '../documents.ts';
import type { Live } from './live.ts';

export class StatusBar implements vscode.Disposable {
  private readonly item: vscode.StatusBarItem;

  constructor(private readonly live: Live) {
    this.item = vscode.window.createStatusBarItem('bridge.status', vscode.StatusBarAlignment.Left, 10);
    this.item.name = 'bridge';
    this.item.command = 'bridge.services.focus';
    live.changed(() => this.refresh());
  }

  dispose(): void {
    this.item.dispose();
  }

  private refresh(): void {
    const { sessions } = this.live;
    if (sessions.length === 0) {
      this.item.hide();
      return;
    }
    const broken = sessions.filter((session) => session.state !== 'routing');
    this.item.text = textFor(sessions, broken);
    this.item.tooltip = sessions.map(line).join('\n');
    this.item.backgroundColor =
      broken.length > 0 ? new vscode.ThemeColor('statusBarItem.warningBackground') : undefined;
    this.item.accessibilityInformation = { label: `bridge: ${sessions.map(line).join('; ')}` };
    this.item.show();
  }
}

export function textFor(sessions: Session[], broken: Session[]): string {
  const names = sessions.map((session) => session.target.split('/').at(-1)).join(', ');
  const count = sessions.reduce((sum, session) => sum + session.requests.toLaptop.count, 0);
  const latencies = sessions.flatMap((session) => session.requests.toLaptop.p50Ms ?? []);
  const latency = latencies.length > 0 ? `, ${Math.max(...latencies).toFixed(1)} ms` : '';
  const icon = broken.length > 0 ? '$(warning)' : '$(plug)';
  const state = broken[0] ? ` ${broken[0].state}` : '';
  return `${icon} ${names}${state}: ${count}${latency}`;
}

function line(session: Session): string {
  const { toLaptop, toOrigin } = session.requests;
  const requests = `${toLaptop.count} requests to you, ${toOrigin.count} to the pods`;
  const detail = session.detail ? `: ${session.detail}` : '';
  return `${session.target} in ${session.namespace} is ${session.state}${detail} (${requests})`;
}
