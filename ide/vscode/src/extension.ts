// The extension: puts the rooms together when something of it is first used.

import * as vscode from 'vscode';

import { Actions } from './actions.ts';
import { Bridge } from './bridge.ts';
import { Holds } from './launch/holds.ts';
import { Launches } from './launch/launches.ts';
import { Lenses } from './launch/lenses.ts';
import { Provider } from './launch/provider.ts';
import { messagesTo, show, warn } from './messages.ts';
import { Picker } from './picker.ts';
import { ShellProfile, Tasks } from './shells.ts';
import { Live } from './view/live.ts';
import { Requests } from './view/requests.ts';
import { Services, type Node, type PlaceNode } from './view/services.ts';
import { StatusBar } from './view/status.ts';

/** A debug session lasts a working day at most; what is older is of a window that was killed. */
const OLD_MS = 7 * 24 * 60 * 60 * 1_000;

export function activate(context: vscode.ExtensionContext): void {
  const log = vscode.window.createOutputChannel('bridge', { log: true });
  messagesTo(log);
  const path = () => vscode.workspace.getConfiguration('bridge').get<string>('path') || 'bridge';
  const bridge = new Bridge(path, (line) => log.info(line));
  const picker = new Picker(bridge);
  const live = new Live(bridge, context.workspaceState);
  const actions = new Actions(bridge, live, picker);
  const requests = new Requests(bridge, live, context.extensionUri);
  const services = vscode.window.createTreeView<Node>('bridge.services', {
    treeDataProvider: new Services(live),
    showCollapseAll: true,
  });
  services.onDidChangeVisibility(({ visible }) => live.watch('services', visible));

  context.subscriptions.push(
    log,
    live,
    services,
    requests,
    new StatusBar(live),
    ...debugging(context, bridge, live),
    vscode.window.registerWebviewViewProvider('bridge.requests', requests),
    vscode.window.registerTerminalProfileProvider('bridge.shell', new ShellProfile(bridge, picker)),
    vscode.tasks.registerTaskProvider('bridge', new Tasks(bridge)),
    vscode.languages.registerCodeLensProvider({ pattern: '**/.vscode/launch.json' }, new Lenses()),
    command('bridge.attach', (file?: vscode.Uri, index?: number) => picker.attach(file, index)),
    command('bridge.refresh', async () => live.again()),
    command('bridge.addPlace', () => actions.addPlace()),
    command('bridge.removePlace', (node: PlaceNode) => live.remove(node.shown)),
    command('bridge.why', () => requests.explain()),
    command('bridge.showRequests', async () => vscode.commands.executeCommand('bridge.requests.focus')),
    command('bridge.doctor', async () => actions.doctor()),
    ...Object.entries(actions.commands).map(([name, act]) =>
      command(name, async (given?: Node) => {
        const node = await actions.node(given);
        return node && act(node);
      }),
    ),
  );
}

function debugging(context: vscode.ExtensionContext, bridge: Bridge, live: Live): vscode.Disposable[] {
  const changed = (count: number) => live.watch('launches', count > 0);
  const holds = new Holds(bridge, changed, (text) => void warn(text));
  const storage = (context.storageUri ?? context.globalStorageUri).fsPath;
  const launches = new Launches(storage);
  void launches.removeOld(OLD_MS);
  const provider = new Provider(bridge, holds, launches);
  return [
    launches,
    holds,
    vscode.debug.registerDebugConfigurationProvider('*', provider),
    vscode.debug.registerDebugAdapterTrackerFactory('*', launches),
    vscode.debug.onDidTerminateDebugSession((session) => launches.sessionEnded(session)),
  ];
}

/** A command whose failure is shown. */
function command<T extends unknown[]>(name: string, act: (...args: T) => Promise<unknown>): vscode.Disposable {
  return vscode.commands.registerCommand(name, async (...args: T) => {
    try {
      return await act(...args);
    } catch (error) {
      return void show(error, 'bridge');
    }
  });
}
