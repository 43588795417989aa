// Above each configuration in launch.json: the Service whose place its program takes, or the way to choose one.

import * as vscode from 'vscode';

import { configurations } from './file.ts';

export class Lenses implements vscode.CodeLensProvider {
  provideCodeLenses(document: vscode.TextDocument): vscode.CodeLens[] {
    return configurations(document.getText())
      .filter((found) => found.request === 'launch')
      .map((found) => {
        const at = document.positionAt(found.offset);
        const title = found.target ? `bridge: in the place of ${found.target} (change…)` : 'Run this on the cluster…';
        const command = { title, command: 'bridge.attach', arguments: [document.uri, found.index] };
        return new vscode.CodeLens(new vscode.Range(at, at), command);
      });
  }
}
