// What the views and the status bar show, read again and again while someone looks or something is connected.

import * as vscode from 'vscode';

import type { Bridge, Place } from '../bridge.ts';
import { Failed, placeOptions } from '../bridge.ts';
import type { Listing, Service, Session, Status } from '../documents.ts';

const SESSIONS_EVERY_MS = 2_000;
const SERVICES_EVERY_MS = 4_000;
const PLACES = 'places';

/** A namespace of a context, and what was last read there. */
export interface Shown {
  place: Place;
  listing?: Listing;
  /** Why it cannot be read. */
  failed?: Failed;
}

export interface Rate {
  /** Requests a second to the laptop, and to the pods. */
  laptop: number;
  origin: number;
}

export class Live implements vscode.Disposable {
  sessions: Session[] = [];
  readonly shown: Shown[];
  private readonly changes = new vscode.EventEmitter<void>();
  readonly changed = this.changes.event;
  private readonly rates = new Map<string, Rate>();
  private readonly counted = new Map<string, { at: number; laptop: number; origin: number }>();
  private readonly watchers = new Set<string>();
  /** What an earlier round has begun does not go on. */
  private round = 0;

  constructor(
    private readonly bridge: Bridge,
    private readonly memory: vscode.Memento,
  ) {
    const more = memory.get<Place[]>(PLACES, []);
    this.shown = [{}, ...more].map((place) => ({ place }));
  }

  /** Someone looks, or not any more. */
  watch(who: string, looks: boolean): void {
    if (!looks) {
      this.watchers.delete(who);
    } else if (!this.watchers.has(who)) {
      this.watchers.add(who);
      this.again();
    }
  }

  /** Reads all of it now. */
  again(): void {
    this.round += 1;
    void this.followSessions(this.round);
    void this.followServices(this.round);
  }

  async add(place: Place): Promise<void> {
    this.shown.push({ place });
    await this.remember();
    this.again();
  }

  async remove(shown: Shown): Promise<void> {
    this.shown.splice(this.shown.indexOf(shown), 1);
    await this.remember();
    this.changes.fire();
  }

  /** This user's session with a Service. */
  sessionOf(listing: Listing, service: Service): Session | undefined {
    return this.sessions.find(
      (session) =>
        session.target === service.name &&
        session.namespace === listing.namespace &&
        session.context === listing.context,
    );
  }

  rateOf(session: Session): Rate | undefined {
    return this.rates.get(session.id);
  }

  dispose(): void {
    this.round += 1;
    this.changes.dispose();
  }

  private async remember(): Promise<void> {
    await this.memory.update(PLACES, this.shown.slice(1).map((shown) => shown.place));
  }

  private async followSessions(round: number): Promise<void> {
    const { sessions } = await this.bridge.json<Status>(['status']).catch(() => ({ sessions: [] }));
    if (round !== this.round) {
      return;
    }
    this.count(sessions);
    const before = JSON.stringify(this.sessions);
    this.sessions = sessions;
    if (before !== JSON.stringify(sessions)) {
      this.changes.fire();
    }
    if (this.watchers.size > 0 || sessions.length > 0) {
      this.later(round, SESSIONS_EVERY_MS, () => this.followSessions(round));
    }
  }

  private async followServices(round: number): Promise<void> {
    if (!this.watchers.has('services')) {
      return;
    }
    await Promise.all(this.shown.map((shown) => this.read(shown)));
    if (round === this.round) {
      this.changes.fire();
      this.later(round, SERVICES_EVERY_MS, () => this.followServices(round));
    }
  }

  private async read(shown: Shown): Promise<void> {
    try {
      shown.listing = await this.bridge.json<Listing>(['list', ...placeOptions(shown.place)]);
      delete shown.failed;
    } catch (error) {
      shown.failed = error instanceof Failed ? error : new Failed('internal', String(error), '');
    }
  }

  private count(sessions: Session[]): void {
    const at = Date.now();
    for (const { id, requests } of sessions) {
      const now = { at, laptop: requests.toLaptop.count, origin: requests.toOrigin.count };
      const before = this.counted.get(id);
      if (before && at > before.at) {
        const rate = (count: number, was: number) => (Math.max(0, count - was) * 1000) / (at - before.at);
        this.rates.set(id, { laptop: rate(now.laptop, before.laptop), origin: rate(now.origin, before.origin) });
      }
      this.counted.set(id, now);
    }
  }

  private later(round: number, ms: number, what: () => Promise<void>): void {
    setTimeout(() => round === this.round && void what(), ms);
  }
}
