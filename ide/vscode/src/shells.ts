// Terminals and tasks in the place of a Service.

import * as vscode from 'vscode';

import type { Bridge } from './bridge.ts';
import type { Picker } from './picker.ts';
import { placeOptions } from './bridge.ts';

/** A command of bridge in a terminal. */
export function terminal(bridge: Bridge, name: string, args: string[]): vscode.TerminalOptions {
  return { name, shellPath: bridge.program, shellArgs: args, iconPath: new vscode.ThemeIcon('plug') };
}

/** "bridge: a Shell in the Place of a Service" among the terminals. */
export class ShellProfile implements vscode.TerminalProfileProvider {
  constructor(
    private readonly bridge: Bridge,
    private readonly picker: Picker,
  ) {}

  async provideTerminalProfile(): Promise<vscode.TerminalProfile | undefined> {
    const picked = await this.picker.service();
    if (!picked) {
      return undefined;
    }
    const { place, service } = picked;
    const args = ['shell', service.name, ...placeOptions(place)];
    return new vscode.TerminalProfile(terminal(this.bridge, `bridge: ${service.name}`, args));
  }
}

interface Definition extends vscode.TaskDefinition {
  target: string;
  command: string;
  options?: string[];
}

/** Tasks of the type "bridge", which are written in tasks.json. */
export class Tasks implements vscode.TaskProvider {
  constructor(private readonly bridge: Bridge) {}

  provideTasks(): vscode.Task[] {
    return [];
  }

  resolveTask(task: vscode.Task): vscode.Task | undefined {
    const { target, command, options = [] } = task.definition as Definition;
    if (typeof target !== 'string' || typeof command !== 'string') {
      return undefined;
    }
    const args = ['run', target, ...options, '--', 'sh', '-c', command];
    const execution = new vscode.ProcessExecution(this.bridge.program, args);
    const scope = task.scope ?? vscode.TaskScope.Workspace;
    const named = new vscode.Task(task.definition, scope, task.name || target, 'bridge', execution, '$bridge');
    named.isBackground = task.isBackground;
    return named;
  }
}
