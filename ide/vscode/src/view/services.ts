// The tree of namespaces and their Services: how each can be connected or why not, and who is connected.

import * as vscode from 'vscode';

import { placeOptions, type Place } from '../bridge.ts';
import type { Service, Session } from '../documents.ts';
import type { Live, Rate, Shown } from './live.ts';
import { summary } from './words.ts';

/** A Service, for the commands on it. */
export interface ServiceNode {
  kind: 'service';
  place: Place;
  service: Service;
  mine: Session | undefined;
}

export interface PlaceNode {
  kind: 'place';
  shown: Shown;
}

interface Fact {
  kind: 'fact';
  text: string;
  detail?: string;
  icon: string;
}

export type Node = PlaceNode | ServiceNode | Fact;

export class Services implements vscode.TreeDataProvider<Node> {
  readonly onDidChangeTreeData: vscode.Event<void>;

  constructor(private readonly live: Live) {
    this.onDidChangeTreeData = live.changed;
  }

  getChildren(node?: Node): Node[] {
    switch (node?.kind) {
      case undefined:
        return this.live.shown.map((shown) => ({ kind: 'place', shown }));
      case 'place':
        return this.inPlace(node.shown);
      case 'service':
        return facts(node);
      case 'fact':
        return [];
    }
  }

  getTreeItem(node: Node): vscode.TreeItem {
    switch (node.kind) {
      case 'place':
        return placeItem(node.shown);
      case 'service':
        return serviceItem(node, node.mine && this.live.rateOf(node.mine));
      case 'fact':
        return factItem(node);
    }
  }

  private inPlace(shown: Shown): Node[] {
    if (shown.failed) {
      const { message, next } = shown.failed;
      return [{ kind: 'fact', text: message, detail: next, icon: 'error' }];
    }
    const { listing } = shown;
    if (!listing) {
      return [{ kind: 'fact', text: 'reading …', icon: 'loading~spin' }];
    }
    if (listing.services.length === 0) {
      return [{ kind: 'fact', text: 'no Services', icon: 'info' }];
    }
    const place = { context: listing.context, namespace: listing.namespace };
    return listing.services.map((service) => {
      const mine = this.live.sessionOf(listing, service);
      return { kind: 'service', place, service, mine };
    });
  }
}

export function optionsOf(node: ServiceNode): string[] {
  return [node.service.name, ...placeOptions(node.place)];
}

function placeItem(shown: Shown): vscode.TreeItem {
  const namespace = shown.listing?.namespace ?? shown.place.namespace ?? 'current namespace';
  const item = new vscode.TreeItem(namespace, vscode.TreeItemCollapsibleState.Expanded);
  item.id = `place:${JSON.stringify(shown.place)}`;
  item.description = shown.listing?.context ?? shown.place.context ?? '';
  item.iconPath = new vscode.ThemeIcon('symbol-namespace');
  const isCurrent = shown.place.context === undefined && shown.place.namespace === undefined;
  item.contextValue = isCurrent ? 'current' : 'place';
  return item;
}

function serviceItem(node: ServiceNode, rate: Rate | undefined): vscode.TreeItem {
  const { service, mine, place } = node;
  const item = new vscode.TreeItem(service.name, vscode.TreeItemCollapsibleState.Collapsed);
  item.id = `service:${place.context}/${place.namespace}/${service.name}`;
  item.description = summary(service, mine, rate);
  item.tooltip = `${service.name}: ${item.description}`;
  item.contextValue = mine ? 'mine' : service.mode ? 'free' : 'refused';
  item.iconPath = icon(service, mine);
  return item;
}

function icon(service: Service, mine: Session | undefined): vscode.ThemeIcon {
  if (mine) {
    const works = mine.state === 'routing';
    return works
      ? new vscode.ThemeIcon('plug', new vscode.ThemeColor('testing.iconPassed'))
      : new vscode.ThemeIcon('warning', new vscode.ThemeColor('list.warningForeground'));
  }
  if (!service.mode) {
    return new vscode.ThemeIcon('circle-slash');
  }
  return new vscode.ThemeIcon(service.sessions.length > 0 ? 'person' : 'symbol-interface');
}

function facts(node: ServiceNode): Fact[] {
  const { service, mine } = node;
  const fact = (text: string, icon: string, detail?: string): Fact =>
    detail === undefined ? { kind: 'fact', text, icon } : { kind: 'fact', text, icon, detail };
  return [
    ...(mine?.detail ? [fact(mine.detail, 'warning')] : []),
    ...(mine?.routes ?? []).map((route) => fact(`${route.match} → localhost:${route.localPort}`, 'arrow-right')),
    ...service.sessions
      .filter((session) => session.user !== mine?.user)
      .map((session) => fact(session.user, 'person', session.matches.join('; '))),
    ...service.obstacles.map((obstacle) => fact(obstacle.short, 'circle-slash', obstacle.detail)),
    ...(service.ports.length > 0 ? [fact(service.ports.join(', '), 'symbol-number', 'ports')] : []),
    ...service.workloads.map((workload) => fact(workload, 'server-process')),
  ];
}

function factItem(node: Fact): vscode.TreeItem {
  const item = new vscode.TreeItem(node.text);
  item.iconPath = new vscode.ThemeIcon(node.icon);
  if (node.detail) {
    item.description = node.detail;
    item.tooltip = `${node.text}: ${node.detail}`;
  } else {
    item.tooltip = node.text;
  }
  return item;
}
