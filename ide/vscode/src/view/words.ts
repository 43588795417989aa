// Sentences about sessions and Services. Pure.

import type { Service, Session } from '../documents.ts';
import type { Rate } from './live.ts';

/** One line: "stand-in · you, bob · 3.5/s to you, 120/s to the pods". */
export function summary(service: Service, mine: Session | undefined, rate: Rate | undefined): string {
  const others = service.sessions.map((session) => session.user).filter((user) => user !== mine?.user);
  const people = [...(mine ? ['you'] : []), ...others].join(', ');
  const traffic = rate && `${perSecond(rate.laptop)} to you, ${perSecond(rate.origin)} to the pods`;
  const state = mine && mine.state !== 'routing' ? mine.state : undefined;
  const how = service.mode ?? service.obstacles[0]?.short ?? 'cannot be connected';
  return [how, state, people, traffic].filter(Boolean).join(' · ');
}

function perSecond(rate: number): string {
  return `${rate >= 10 ? Math.round(rate) : Math.round(rate * 10) / 10}/s`;
}

/** The status bar: "$(plug) orders: 12, 3.1 ms". */
export function statusText(sessions: Session[], broken: Session[]): string {
  const names = sessions.map((session) => session.target.split('/').at(-1)).join(', ');
  const count = sessions.reduce((sum, session) => sum + session.requests.toLaptop.count, 0);
  const latencies = sessions.flatMap((session) => session.requests.toLaptop.p50Ms ?? []);
  const latency = latencies.length > 0 ? `, ${Math.max(...latencies).toFixed(1)} ms` : '';
  const icon = broken.length > 0 ? '$(warning)' : '$(plug)';
  const state = broken[0] ? ` ${broken[0].state}` : '';
  return `${icon} ${names}${state}: ${count}${latency}`;
}

/** The same at length. */
export function line(session: Session): string {
  const { toLaptop, toOrigin } = session.requests;
  const requests = `${toLaptop.count} requests to you, ${toOrigin.count} to the pods`;
  const detail = session.detail ? `: ${session.detail}` : '';
  return `${session.target} in ${session.namespace} is ${session.state}${detail} (${requests})`;
}
