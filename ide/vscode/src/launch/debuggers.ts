// Where each type of debugger takes the program that it starts, and so where the shim goes.

import * as os from 'node:os';

/** The parts of a launch configuration that matter here. */
export interface Configuration {
  type: string;
  request: string;
  [attribute: string]: unknown;
}

/** A configuration to be changed: `program` is what the shim runs, `with` gives the configuration for the shim's path. */
export interface Place {
  program: string[];
  with(shim: string): Record<string, unknown>;
}

/** `attribute` holds the path of an interpreter or a tool; `usual` is what stands for it by default. */
function at(attribute: string, usual: string) {
  return (configuration: Configuration): Place => ({
    program: words(configuration[attribute]) ?? [usual],
    with: (shim) => ({ [attribute]: shim }),
  });
}

function shell(configuration: Configuration): Place {
  return {
    program: ['sh'],
    with: (shim) => ({ command: `${quoted(shim)} -c ${quoted(String(configuration['command'] ?? ''))}` }),
  };
}

const node = at('runtimeExecutable', 'node');
const python = at('python', 'python3');
const gdb = at('miDebuggerPath', 'gdb');

const PLACES: Record<string, (configuration: Configuration) => Place> = {
  node,
  'pwa-node': node,
  'node-terminal': shell,
  python,
  debugpy: python,
  go: at('dlvToolPath', 'dlv'),
  cppdbg: gdb,
  'lldb-dap': at('debugAdapterExecutable', 'lldb-dap'),
  java: at('javaExec', 'java'),
  php: at('runtimeExecutable', 'php'),
  rdbg: at('rdbgPath', 'rdbg'),
};

/** Browsers: what they open is the Service, as me. */
const BROWSERS = ['chrome', 'pwa-chrome', 'msedge', 'pwa-msedge'];

/** The path that a browser is to open there; undefined: it is no browser. */
export function opened(configuration: Configuration): string | undefined {
  if (!BROWSERS.includes(configuration.type)) {
    return undefined;
  }
  const { url } = configuration;
  const { pathname, search, hash } = new URL(typeof url === 'string' ? url : '/', 'http://localhost');
  return pathname + search + hash;
}

/** Undefined: bridge does not know how this type starts programs. */
export function placeOf(configuration: Configuration): Place | undefined {
  return PLACES[configuration.type]?.(configuration);
}

/** Whether the configuration starts a program of its own: it is no attach, and no child of another session. */
export function startsSomething(configuration: Configuration): boolean {
  const ofParent = configuration['__pendingTargetId'] ?? configuration['__parentId'];
  return configuration.request === 'launch' && ofParent === undefined;
}

/** What to set by hand for a type that is not known. */
export function adviceFor(type: string, target: string): string {
  return (
    `bridge does not know how "${type}" starts programs: yours has the environment of ${target} and gets your ` +
    `requests, but not the cluster's network. If something in the configuration names the program or the tool that is ` +
    `started, put the path of a shim there: bridge shim ${target} -- PROGRAM.`
  );
}

/** The names of the variables in the text of an .env file. */
export function namesIn(text: string): string[] {
  return [...text.matchAll(/^\s*(?:export\s+)?([A-Za-z_][\w.]*)\s*=/gm)].map(([, name]) => name ?? '');
}

function words(value: unknown): string[] | undefined {
  if (typeof value === 'string' && value !== '') {
    return [home(value)];
  }
  if (Array.isArray(value) && value.length > 0) {
    return value.map(String);
  }
  return undefined;
}

function home(path: string): string {
  return path.startsWith('~/') ? os.homedir() + path.slice(1) : path;
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
