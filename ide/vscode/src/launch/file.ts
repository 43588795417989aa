// launch.json as a text: where its configurations are, and how the attribute is put into one. Comments stay.

import { applyEdits, findNodeAtLocation, getNodeValue, modify, parseTree, type FormattingOptions } from 'jsonc-parser';

/** A configuration in the file. */
export interface Found {
  index: number;
  name: string;
  request: string;
  /** The target in its attribute, if it has one. */
  target: string | undefined;
  /** Where it begins in the text. */
  offset: number;
}

const FORMAT: FormattingOptions = { insertSpaces: true, tabSize: 2 };

export function configurations(text: string): Found[] {
  const root = parseTree(text, [], { allowTrailingComma: true });
  const array = root && findNodeAtLocation(root, ['configurations']);
  return (array?.children ?? []).flatMap((node, index) => {
    const value: unknown = getNodeValue(node);
    if (typeof value !== 'object' || value === null) {
      return [];
    }
    const { name, request, bridge } = value as Record<string, unknown>;
    return [{ index, name: String(name ?? ''), request: String(request ?? ''), target: targetOf(bridge), offset: node.offset }];
  });
}

/** The text with the attribute in a configuration. */
export function withAttribute(text: string, index: number, attribute: unknown): string {
  return changed(text, ['configurations', index, 'bridge'], attribute);
}

/** The text with one configuration more. An empty text becomes a whole file. */
export function withConfiguration(text: string, configuration: object): string {
  const file = text.trim() === '' ? '{\n  "version": "0.2.0",\n  "configurations": []\n}\n' : text;
  return changed(file, ['configurations', configurations(file).length], configuration);
}

function changed(text: string, path: (string | number)[], value: unknown): string {
  return applyEdits(text, modify(text, path, value, { formattingOptions: FORMAT }));
}

function targetOf(attribute: unknown): string | undefined {
  if (typeof attribute === 'string') {
    return attribute;
  }
  const target = (attribute as { target?: unknown } | undefined)?.target;
  return typeof target === 'string' ? target : undefined;
}
