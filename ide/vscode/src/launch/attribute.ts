// The attribute "bridge" of a launch configuration: what is written there, and the options that it means.

import { placeOptions, type Place } from '../bridge.ts';

/** What a launch configuration asks for. */
export interface Wish extends Place {
  target: string;
  /** Options of `bridge run` besides the place. */
  options: string[];
  /** Variables for the program; the configuration's own win. */
  env: Record<string, string>;
  /** Whether the program has the cluster's network; without, it gets requests and the environment. */
  network: boolean;
}

type Value = string | number | boolean | string[] | Record<string, string>;

/** Attributes that are options with one value, or with several. */
const OPTIONS: Record<string, { option: string; several?: boolean; words?: readonly string[] }> = {
  me: { option: 'me' },
  header: { option: 'header', several: true },
  path: { option: 'path', several: true },
  method: { option: 'method' },
  ports: { option: 'port', several: true },
  mode: { option: 'mode', words: ['stand-in', 'sidecar'] },
  envExclude: { option: 'env-exclude', several: true },
  files: { option: 'files', words: ['auto', 'dir', 'mount', 'none'] },
  fallback: { option: 'fallback', words: ['answer', 'origin'] },
};
/** Attributes that are true or false. */
const SWITCHES: Record<string, string> = {
  everything: 'everything',
  copy: 'copy',
  replace: 'replace',
  noRequests: 'no-requests',
};

/** Throws a sentence if it cannot be meant. */
export function wishOf(attribute: unknown): Wish {
  if (typeof attribute === 'string') {
    return wishOf({ target: attribute });
  }
  if (typeof attribute !== 'object' || attribute === null || Array.isArray(attribute)) {
    throw new Error('"bridge" is the name of a Service, or an object with "target"');
  }
  const wish: Wish = { target: '', options: [], env: {}, network: true };
  for (const [name, value] of Object.entries(attribute as Record<string, Value>)) {
    take(wish, name, value);
  }
  if (wish.target === '') {
    throw new Error('"bridge" has no "target", which is the Service whose place the program takes');
  }
  return wish;
}

/** The words of `bridge run` between the command's name and the program. */
export function runOptions(wish: Wish): string[] {
  return [wish.target, ...placeOptions(wish), ...wish.options];
}

/** A session that is held while something else is started in it. The files are for the program alone. */
export function held(wish: Wish): string[] {
  const options = runOptions(wish).filter((option) => !option.startsWith('--files='));
  return ['run', ...options, '--files=none', '--', 'cat'];
}

function take(wish: Wish, name: string, value: Value): void {
  const known = OPTIONS[name];
  const option = SWITCHES[name];
  if (known) {
    const values = known.several && Array.isArray(value) ? value : [value];
    wish.options.push(...values.map((one) => `--${known.option}=${word(name, one, known.words)}`));
  } else if (option) {
    if (truth(name, value)) {
      wish.options.push(`--${option}`);
    }
  } else if (name === 'target' || name === 'namespace' || name === 'context') {
    wish[name] = nameIn(name, value);
  } else if (name === 'network') {
    wish.network = truth(name, value);
  } else if (name === 'env') {
    wish.env = variables(value);
  } else {
    throw new Error(`"bridge" has no attribute "${name}"`);
  }
}

function word(name: string, value: unknown, words: readonly string[] | undefined): string {
  if ((typeof value !== 'string' && typeof value !== 'number') || value === '') {
    throw new Error(`"${name}" of "bridge" is a text`);
  }
  if (words && !words.includes(String(value))) {
    throw new Error(`"${name}" of "bridge" is one of ${words.join(', ')}`);
  }
  return String(value);
}

/** A name never becomes an option. */
function nameIn(name: string, value: unknown): string {
  const text = word(name, value, undefined);
  if (text.startsWith('-')) {
    throw new Error(`"${name}" of "bridge" is a name, and ${text} is none`);
  }
  return text;
}

function truth(name: string, value: unknown): boolean {
  if (typeof value !== 'boolean') {
    throw new Error(`"${name}" of "bridge" is true or false`);
  }
  return value;
}

function variables(value: unknown): Record<string, string> {
  const entries = typeof value === 'object' && value !== null ? Object.entries(value) : undefined;
  if (!entries || Array.isArray(value)) {
    throw new Error('"env" of "bridge" is an object with the names and values of variables');
  }
  return Object.fromEntries(entries.map(([name, text]) => [name, String(text)]));
}
