// "Run this on the cluster…": picks a launch configuration, a Service and a port, and writes the attribute.

import * as fs from 'node:fs/promises';
import * as vscode from 'vscode';

import { placeOptions, type Bridge, type Place } from './bridge.ts';
import type { Contexts, Description, Listing, Namespaces, Service } from './documents.ts';
import { configurations, withAttribute, withConfiguration } from './launch/file.ts';

interface Item<T> extends vscode.QuickPickItem {
  value: T;
}

interface Launchable {
  file: vscode.Uri;
  /** The text of launch.json with the attribute. */
  write: (text: string, attribute: unknown) => string;
  name: string;
}

/** Where and what, as somebody has picked it. */
export interface Picked {
  place: Place;
  service: Service;
}

export class Picker {
  constructor(private readonly bridge: Bridge) {}

  /** From a lens with the file and the index of the configuration; else it asks for one. */
  async attach(file?: vscode.Uri, index?: number): Promise<void> {
    const launchable = file && index !== undefined ? await inFile(file, index) : await this.launchable();
    const picked = launchable && (await this.service());
    const attribute = picked && (await this.attribute(picked));
    if (!launchable || attribute === undefined) {
      return;
    }
    await write(launchable, attribute);
  }

  /** A context, a namespace and a Service there that can be connected. */
  async service(): Promise<Picked | undefined> {
    const place = await this.place();
    if (!place) {
      return undefined;
    }
    const listing = this.bridge.json<Listing>(['list', ...placeOptions(place)]);
    const items = listing.then(({ services }) => services.map((service) => serviceItem(service)));
    for (;;) {
      const service = await pick('Which Service does your program take the place of?', items);
      if (!service || service.mode) {
        return service && { place, service };
      }
      const [obstacle] = service.obstacles;
      const message = `${service.name} cannot be connected: ${obstacle?.detail ?? obstacle?.short ?? 'no reason is known'}`;
      void vscode.window.showWarningMessage(message);
    }
  }

  /** A namespace. What is current is left out, so that it stays what it is on each machine. */
  async place(): Promise<Place | undefined> {
    const { contexts } = await this.bridge.json<Contexts>(['list', '--contexts']);
    const contextItems = contexts.map((context) => ({
      label: context.name,
      description: context.current ? 'current' : '',
      value: context,
    }));
    const context = contexts.length > 1 ? await pick('In which context?', contextItems) : contexts[0];
    if (!context) {
      return undefined;
    }
    const chosen = context.current ? {} : { context: context.name };
    const { namespaces } = await this.bridge.json<Namespaces>(['list', '--namespaces', ...placeOptions(chosen)]);
    const usual = context.namespace;
    const namespaceItems = [usual, ...namespaces.filter((namespace) => namespace !== usual)].map((namespace) => ({
      label: namespace,
      description: namespace === usual ? 'the context’s' : '',
      value: namespace,
    }));
    const namespace = namespaceItems.length > 1 ? await pick('In which namespace?', namespaceItems) : usual;
    if (namespace === undefined) {
      return undefined;
    }
    return namespace === usual ? chosen : { ...chosen, namespace };
  }

  private async launchable(): Promise<Launchable | undefined> {
    const items = (await Promise.all((vscode.workspace.workspaceFolders ?? []).map(launchables))).flat();
    if (items.length === 0) {
      const message = 'There is no launch configuration and no npm script in this workspace: make a launch configuration first';
      const add = 'Add Configuration…';
      if ((await vscode.window.showInformationMessage(message, add)) === add) {
        await vscode.commands.executeCommand('debug.addConfiguration');
      }
      return undefined;
    }
    return pick('What do you start?', items);
  }

  private async attribute({ place, service }: Picked): Promise<unknown> {
    const options = [service.name, ...placeOptions(place)];
    const { ports } = await this.bridge.json<Description>(['describe', ...options]);
    const chosen: string[] = [];
    for (const { port, name, target } of ports) {
      const value = await askPort(`${service.name}:${name ?? port}`, target);
      if (value === undefined) {
        return undefined;
      }
      if (value !== target) {
        chosen.push(ports.length > 1 ? `${value}:${name ?? port}` : `${value}`);
      }
    }
    if (chosen.length === 0 && placeOptions(place).length === 0) {
      return service.name;
    }
    return { target: service.name, ...place, ...(chosen.length > 0 && { ports: chosen }) };
  }
}

async function askPort(what: string, usual: number): Promise<number | undefined> {
  const text = await vscode.window.showInputBox({
    title: `On which port does your program listen for ${what}?`,
    prompt: `The pods listen on ${usual}`,
    value: String(usual),
    validateInput: (text) => (/^[1-9]\d{0,4}$/.test(text) && Number(text) < 65536 ? undefined : 'a port is 1 to 65535'),
  });
  return text === undefined ? undefined : Number(text);
}

function serviceItem(service: Service): Item<Service> {
  const people = service.sessions.map((session) => `${session.user}: ${session.matches.join('; ')}`);
  const [obstacle] = service.obstacles;
  const detail = service.mode ? people.join(' · ') : (obstacle?.detail ?? '');
  return {
    label: service.mode ? service.name : `$(circle-slash) ${service.name}`,
    description: [service.mode ?? obstacle?.short ?? 'cannot be connected', ...service.ports].join(' · '),
    ...(detail && { detail }),
    value: service,
  };
}

async function pick<T>(title: string, items: Item<T>[] | Promise<Item<T>[]>): Promise<T | undefined> {
  const options = { title, matchOnDescription: true, ignoreFocusOut: true };
  return (await vscode.window.showQuickPick<Item<T>>(items, options))?.value;
}

async function inFile(file: vscode.Uri, index: number): Promise<Launchable | undefined> {
  const found = configurations(await textOf(file)).find((one) => one.index === index);
  return found && ofConfiguration(file, index, found.name);
}

function ofConfiguration(file: vscode.Uri, index: number, name: string): Launchable {
  return { file, name, write: (text, attribute) => withAttribute(text, index, attribute) };
}

/** What a folder has: launch configurations, and npm scripts, for which one is made. */
async function launchables(folder: vscode.WorkspaceFolder): Promise<Item<Launchable>[]> {
  const file = vscode.Uri.joinPath(folder.uri, '.vscode', 'launch.json');
  const found = configurations(await textOf(file)).filter((one) => one.request === 'launch');
  const configured = found.map(({ name, index, target }) => ({
    label: name,
    description: target ? `in the place of ${target}` : 'launch configuration',
    value: ofConfiguration(file, index, name),
  }));
  const scripts = (await scriptsOf(folder)).map((script) => ({
    label: `npm run ${script}`,
    description: 'npm script',
    value: ofScript(file, script),
  }));
  return [...configured, ...scripts];
}

function ofScript(file: vscode.Uri, script: string): Launchable {
  const name = `npm run ${script}`;
  const configuration = { name, type: 'node', request: 'launch', runtimeExecutable: 'npm', runtimeArgs: ['run-script', script] };
  return { file, name, write: (text, bridge) => withConfiguration(text, { ...configuration, bridge }) };
}

async function scriptsOf(folder: vscode.WorkspaceFolder): Promise<string[]> {
  try {
    const file = vscode.Uri.joinPath(folder.uri, 'package.json');
    const { scripts } = JSON.parse(await textOf(file)) as { scripts?: Record<string, string> };
    return Object.keys(scripts ?? {});
  } catch {
    return [];
  }
}

/** An open editor's, saved or not. */
async function textOf(file: vscode.Uri): Promise<string> {
  const open = vscode.workspace.textDocuments.find((document) => document.uri.toString() === file.toString());
  return open?.getText() ?? fs.readFile(file.fsPath, 'utf8').catch(() => '');
}

async function write(launchable: Launchable, attribute: unknown): Promise<void> {
  const { file } = launchable;
  if ((await textOf(file)) === '') {
    await vscode.workspace.fs.writeFile(file, new Uint8Array());
  }
  const document = await vscode.workspace.openTextDocument(file);
  const editor = await vscode.window.showTextDocument(document);
  const all = new vscode.Range(document.positionAt(0), document.positionAt(document.getText().length));
  await editor.edit((edit) => edit.replace(all, launchable.write(document.getText(), attribute)));
  await document.save();
}
