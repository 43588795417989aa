// The commands on a Service of the view.

import * as vscode from 'vscode';

import { placeOptions, type Bridge } from './bridge.ts';
import type { Description } from './documents.ts';
import type { Picker } from './picker.ts';
import { terminal } from './shells.ts';
import type { Live } from './view/live.ts';
import { optionsOf, type Node, type ServiceNode } from './view/services.ts';

export class Actions {
  constructor(
    private readonly bridge: Bridge,
    private readonly live: Live,
    private readonly picker: Picker,
  ) {}

  /** By the commands' names; each takes a Service of the view, or asks for one. */
  readonly commands: Record<string, (node: ServiceNode) => Promise<unknown>> = {
    'bridge.connect': (node) => this.connect(node),
    'bridge.disconnect': (node) => this.steps(`Disconnecting ${node.service.name}`, ['disconnect', ...optionsOf(node)]),
    'bridge.copyHeader': async (node) => copy((await this.describe(node)).header, 'The header'),
    'bridge.copyCurl': (node) => this.copyCurl(node),
    'bridge.shell': async (node) => this.inTerminal(node, ['shell', ...optionsOf(node)]),
    'bridge.open': async (node) => this.inTerminal(node, ['open', ...optionsOf(node)]),
    'bridge.logs': async (node) => this.inTerminal(node, ['logs', '--follow', ...optionsOf(node)]),
    'bridge.forward': async (node) =>
      this.inTerminal(node, ['forward', node.service.name, ...placeOptions(node.place)]),
    'bridge.copyEnvironment': async (node) => copy(await this.environment(node), 'The environment'),
    'bridge.saveEnvironment': (node) => this.saveEnvironment(node),
  };

  async node(given: Node | undefined): Promise<ServiceNode | undefined> {
    if (given?.kind === 'service') {
      return given;
    }
    const picked = await this.picker.service();
    return picked && { kind: 'service', ...picked, mine: undefined };
  }

  async addPlace(): Promise<void> {
    const place = await this.picker.place();
    if (place) {
      await this.live.add(place);
    }
  }

  doctor(): void {
    vscode.window.createTerminal({ ...terminal(this.bridge, 'bridge doctor', ['doctor']) }).show();
  }

  private async connect(node: ServiceNode): Promise<void> {
    const { ports } = await this.describe(node);
    const [first] = ports;
    const text = await vscode.window.showInputBox({
      title: `To which local port do your requests to ${node.service.name} come?`,
      prompt: 'LOCAL, or LOCAL:PORT for one of several ports of the Service',
      value: first && ports.length > 1 ? `${first.target}:${first.name ?? first.port}` : `${first?.target ?? ''}`,
      validateInput: (text) => (/^\d{1,5}(:[\w.-]+)?$/.test(text) ? undefined : 'for example 3000, or 3000:http'),
    });
    if (text !== undefined) {
      await this.steps(`Connecting ${node.service.name}`, ['connect', ...optionsOf(node), `--port=${text}`]);
    }
  }

  private async steps(title: string, args: string[]): Promise<void> {
    const options = { location: vscode.ProgressLocation.Notification, title, cancellable: true };
    await vscode.window.withProgress(options, async (progress, button) => {
      const cancel = new AbortController();
      button.onCancellationRequested(() => cancel.abort());
      const said = ({ kind, text }: { kind: string; text: string }) =>
        kind === 'step' ? progress.report({ message: text }) : undefined;
      try {
        await this.bridge.json(args, { signal: cancel.signal, said });
      } catch (error) {
        if (!cancel.signal.aborted) {
          throw error;
        }
      }
    });
    this.live.again();
  }

  private describe(node: ServiceNode): Promise<Description> {
    return this.bridge.json<Description>(['describe', ...optionsOf(node)]);
  }

  private async copyCurl(node: ServiceNode): Promise<void> {
    const { curl, header, service } = await this.describe(node);
    await copy(curl ?? `curl -H '${header}' http://${service}`, 'The command');
  }

  private environment(node: ServiceNode): Promise<string> {
    return this.bridge.text(['env', ...optionsOf(node)]);
  }

  private async saveEnvironment(node: ServiceNode): Promise<void> {
    const folder = vscode.workspace.workspaceFolders?.[0]?.uri;
    const defaultUri = folder && vscode.Uri.joinPath(folder, `${node.service.name}.env`);
    const file = await vscode.window.showSaveDialog({ ...(defaultUri && { defaultUri }), title: 'Save the environment' });
    if (file) {
      await vscode.workspace.fs.writeFile(file, new TextEncoder().encode(await this.environment(node)));
    }
  }

  private inTerminal(node: ServiceNode, args: string[]): void {
    vscode.window.createTerminal(terminal(this.bridge, `bridge: ${node.service.name}`, args)).show();
  }
}

async function copy(text: string, what: string): Promise<void> {
  await vscode.env.clipboard.writeText(text);
  vscode.window.setStatusBarMessage(`bridge: ${what} is in the clipboard`, 3_000);
}
