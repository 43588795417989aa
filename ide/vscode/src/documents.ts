// The documents of the command that are read here (`-o json`), as far as they are read.

export interface Listing {
  context: string;
  namespace: string;
  services: Service[];
}

export interface Service {
  name: string;
  ports: string[];
  workloads: string[];
  /** Null: it cannot be connected. */
  mode: string | null;
  obstacles: { short: string; detail: string }[];
  sessions: { user: string; matches: string[] }[];
}

export interface Status {
  sessions: Session[];
}

export interface Session {
  id: string;
  user: string;
  target: string;
  namespace: string;
  context: string;
  state: string;
  detail: string;
  mode: string;
  routes: { port: string; localPort: number; match: string }[];
  requests: { toLaptop: Traffic; toOrigin: Traffic };
}

interface Traffic {
  count: number;
  failed: number;
  p50Ms: number | null;
}

export interface Description {
  service: string;
  ports: { port: number; name: string | null; target: number }[];
  header: string;
  curl: string | null;
  urls: string[];
}

export interface Seen {
  time: string;
  target: string;
  method: string | null;
  path: string | null;
  status: number | null;
  durationMs: number | null;
  to: 'laptop' | 'origin' | 'copy';
  user: string | null;
  reason: string;
  /** The reason as a sentence. */
  why: string;
}

export interface Contexts {
  contexts: { name: string; namespace: string; current: boolean }[];
}

export interface Namespaces {
  namespaces: string[];
}
