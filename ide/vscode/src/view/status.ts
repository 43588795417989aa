// The status bar: whether something is connected, and whether it works.

import * as vscode from 'vscode';

import type { Live } from './live.ts';
import { line, statusText } from './words.ts';

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
    this.item.text = statusText(sessions, broken);
    this.item.tooltip = sessions.map(line).join('\n');
    this.item.backgroundColor =
      broken.length > 0 ? new vscode.ThemeColor('statusBarItem.warningBackground') : undefined;
    this.item.accessibilityInformation = { label: `bridge: ${sessions.map(line).join('; ')}` };
    this.item.show();
  }
}
