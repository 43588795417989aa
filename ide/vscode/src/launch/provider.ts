// Launch configurations with the attribute "bridge": connects, and puts a shim where the debugger takes its program.

import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import * as vscode from 'vscode';

import { placeOptions, type Bridge, type Said } from '../bridge.ts';
import { show } from '../messages.ts';
import { held, runOptions, wishOf, type Wish } from './attribute.ts';
import { adviceFor, namesIn, opened, placeOf, startsSomething } from './debuggers.ts';
import type { Holds } from './holds.ts';
import { LAUNCH, type Launches } from './launches.ts';

export class Provider implements vscode.DebugConfigurationProvider {
  private readonly advised = new Set<string>();

  constructor(
    private readonly bridge: Bridge,
    private readonly holds: Holds,
    private readonly launches: Launches,
  ) {}

  async resolveDebugConfigurationWithSubstitutedVariables(
    _folder: vscode.WorkspaceFolder | undefined,
    configuration: vscode.DebugConfiguration,
    token?: vscode.CancellationToken,
  ): Promise<vscode.DebugConfiguration | undefined> {
    const attribute: unknown = configuration['bridge'];
    if (attribute === undefined || !startsSomething(configuration)) {
      return configuration;
    }
    try {
      return await this.resolved(configuration, wishOf(attribute), token);
    } catch (error) {
      if (!(error instanceof vscode.CancellationError)) {
        void show(error, configuration.name);
      }
      return undefined;
    }
  }

  private async resolved(
    configuration: vscode.DebugConfiguration,
    wish: Wish,
    token: vscode.CancellationToken | undefined,
  ): Promise<vscode.DebugConfiguration> {
    const own = { ...wish.env, ...(configuration['env'] as Record<string, string> | undefined) };
    const place = wish.network ? placeOf(configuration) : undefined;
    const page = opened(configuration);
    const what = page === undefined ? { args: held(wish) } : { args: open(wish, page), deaf: true };
    const hold = await connecting(wish, token, (said, signal) => this.holds.take(what, said, signal));
    const launch = this.launches.begin(hold);
    try {
      const resolved = { ...configuration, [LAUNCH]: launch.id };
      if (page !== undefined) {
        return { ...resolved, url: hold.line };
      }
      if (place) {
        const names = [...Object.keys(own), ...(await namesOfFiles(configuration['envFile']))];
        const shim = await this.shim(wish, names, place.program, launch.folder);
        return { ...resolved, env: own, ...place.with(shim) };
      }
      const ofTarget = JSON.parse(await this.bridge.text(environment(wish))) as Record<string, string>;
      if (wish.network) {
        this.advise(configuration.type, wish.target);
      }
      return { ...resolved, env: { ...ofTarget, ...own } };
    } catch (error) {
      this.launches.end(launch.id);
      throw error;
    }
  }

  private async shim(wish: Wish, names: string[], program: string[], folder: string): Promise<string> {
    const file = path.join(folder, path.basename(program[0] ?? 'program'));
    const kept = names.map((name) => `--env-exclude=${name}`);
    // A debugger that is killed with its window leaves the program behind.
    const options = [...runOptions(wish), ...kept, `--until-exit=${process.pid}`];
    await this.bridge.text(['shim', ...options, `--file=${file}`, '--', ...program]);
    return file;
  }

  private advise(type: string, target: string): void {
    if (!this.advised.has(type)) {
      this.advised.add(type);
      void vscode.window.showWarningMessage(adviceFor(type, target));
    }
  }
}

/** Shows what happens, with a button to cancel it. */
async function connecting<T>(
  wish: Wish,
  token: vscode.CancellationToken | undefined,
  take: (said: (said: Said) => void, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const title = `bridge: ${wish.target}`;
  const options = { location: vscode.ProgressLocation.Notification, title, cancellable: true };
  return vscode.window.withProgress(options, (progress, button) => {
    const cancel = new AbortController();
    const cancelled = () => cancel.abort(new vscode.CancellationError());
    button.onCancellationRequested(cancelled);
    token?.onCancellationRequested(cancelled);
    const said = (one: Said) => {
      if (one.kind === 'step') {
        progress.report({ message: one.text });
      }
    };
    return take(said, cancel.signal);
  });
}

/** The options about requests are those of the session that is there, if there is one. */
function open(wish: Wish, page: string): string[] {
  return ['open', wish.target, ...placeOptions(wish), '--print', page];
}

function environment(wish: Wish): string[] {
  const excluded = wish.options.filter((option) => option.startsWith('--env-exclude='));
  const place = runOptions({ ...wish, options: excluded });
  return ['env', ...place, '--format=json'];
}

/** A debugger that reads such files says itself which it cannot read. */
async function namesOfFiles(attribute: unknown): Promise<string[]> {
  const files = [attribute].flat().filter((file): file is string => typeof file === 'string');
  const texts = files.map((file) => fs.readFile(file, 'utf8').catch(() => ''));
  return (await Promise.all(texts)).flatMap(namesIn);
}

