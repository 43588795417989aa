// Debuggers as the extensions of Python and Go declare them: the configuration names the interpreter, or the adapter.

import * as path from 'node:path';
import * as vscode from 'vscode';

const made = process.env['BRIDGE_IDE'] ?? '';

export function activate(context: vscode.ExtensionContext): void {
  const env = { PYTHONPATH: path.join(made, 'python') };
  const python = new vscode.DebugAdapterExecutable('/usr/bin/python3', ['-m', 'debugpy.adapter'], { env });
  const usual: vscode.DebugConfigurationProvider = {
    resolveDebugConfigurationWithSubstitutedVariables: (_folder, configuration) => ({
      python: '/usr/bin/python3',
      ...configuration,
    }),
  };
  context.subscriptions.push(
    vscode.debug.registerDebugConfigurationProvider('debugpy', usual),
    vscode.debug.registerDebugAdapterDescriptorFactory('debugpy', { createDebugAdapterDescriptor: () => python }),
    vscode.debug.registerDebugAdapterDescriptorFactory('unheard-of', {
      createDebugAdapterDescriptor: () => new vscode.DebugAdapterInlineImplementation(new Silent()),
    }),
    vscode.debug.registerDebugAdapterDescriptorFactory('go', {
      createDebugAdapterDescriptor: ({ configuration }) => delve(configuration),
    }),
  );
}

/** As the extension of Go starts it: `dlv dap` connects to us. */
async function delve(configuration: vscode.DebugConfiguration): Promise<vscode.DebugAdapterDescriptor> {
  const net = await import('node:net');
  const { spawn } = await import('node:child_process');
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  const tool = String(configuration['dlvToolPath'] ?? 'dlv');
  const env = { ...process.env, ...(configuration['env'] as Record<string, string>) };
  const child = spawn(tool, ['dap', `--client-addr=127.0.0.1:${port}`], { env, stdio: 'ignore' });
  const socket = await new Promise<import('node:net').Socket>((resolve, reject) => {
    server.once('connection', resolve);
    child.once('error', reject).once('exit', (code) => reject(new Error(`dlv ended with ${code}`)));
  });
  server.close();
  return new vscode.DebugAdapterInlineImplementation(new OverSocket(socket));
}

/** Agrees to everything. */
class Silent implements vscode.DebugAdapter {
  private readonly messages = new vscode.EventEmitter<vscode.DebugProtocolMessage>();
  readonly onDidSendMessage = this.messages.event;

  handleMessage(message: vscode.DebugProtocolMessage): void {
    const { seq, command } = message as unknown as { seq: number; command: string };
    const answer = { type: 'response', seq: 0, request_seq: seq, command, success: true };
    this.messages.fire(answer as unknown as vscode.DebugProtocolMessage);
    if (command === 'disconnect') {
      this.messages.fire({ type: 'event', seq: 0, event: 'terminated' } as unknown as vscode.DebugProtocolMessage);
    }
  }

  dispose(): void {
    this.messages.dispose();
  }
}

/** The protocol's messages over a socket, each with its length before it. */
class OverSocket implements vscode.DebugAdapter {
  private readonly messages = new vscode.EventEmitter<vscode.DebugProtocolMessage>();
  readonly onDidSendMessage = this.messages.event;
  private buffer = Buffer.alloc(0);

  constructor(private readonly socket: import('node:net').Socket) {
    socket.on('data', (data) => this.read(data));
  }

  handleMessage(message: vscode.DebugProtocolMessage): void {
    const text = JSON.stringify(message);
    this.socket.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
  }

  dispose(): void {
    this.socket.destroy();
  }

  private read(data: Buffer): void {
    this.buffer = Buffer.concat([this.buffer, data]);
    for (;;) {
      const end = this.buffer.indexOf('\r\n\r\n');
      const length = /Content-Length: (\d+)/.exec(this.buffer.toString('latin1', 0, Math.max(end, 0)));
      const from = end + 4;
      if (!length || this.buffer.length < from + Number(length[1])) {
        return;
      }
      const message = this.buffer.toString('utf8', from, from + Number(length[1]));
      this.buffer = this.buffer.subarray(from + Number(length[1]));
      this.messages.fire(JSON.parse(message) as vscode.DebugProtocolMessage);
    }
  }
}
