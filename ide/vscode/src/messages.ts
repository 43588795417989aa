// Failures as notifications: what happened, what to do next, and a button that does it.

import * as vscode from 'vscode';

import { Failed } from './bridge.ts';

let log: vscode.LogOutputChannel | undefined;

export function messagesTo(channel: vscode.LogOutputChannel): void {
  log = channel;
}

/** Shows why something was not done. */
export async function show(error: unknown, about: string): Promise<void> {
  const failed = error instanceof Failed ? error : undefined;
  const message = error instanceof Error ? error.message : String(error);
  log?.error(`${about}: ${message}`);
  const text = failed?.next ? `${about}: ${message} (${failed.next})` : `${about}: ${message}`;
  const actions = actionsFor(failed?.code);
  const chosen = await vscode.window.showErrorMessage(text, ...Object.keys(actions));
  if (chosen) {
    await actions[chosen]?.();
  }
}

/** Shows what has happened to a session. Not every debugger shows what its program's command says. */
export async function warn(text: string): Promise<void> {
  log?.warn(text);
  const services = 'Show Services';
  if ((await vscode.window.showWarningMessage(`bridge: ${text}`, services)) === services) {
    await vscode.commands.executeCommand('bridge.services.focus');
  }
}

function actionsFor(code: string | undefined): Record<string, () => unknown> {
  const settings = () => vscode.commands.executeCommand('workbench.action.openSettings', 'bridge.path');
  switch (code) {
    case 'no-bridge':
    case 'old-bridge':
      return { 'Open Settings': settings };
    case undefined:
      return {};
    default:
      return {
        'Show Services': () => vscode.commands.executeCommand('bridge.services.focus'),
        'Show Log': () => log?.show(),
      };
  }
}
