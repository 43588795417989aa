// The page of the requests: rows come in batches; filter, search and keys work on what is there.
(() => {
  const vscode = acquireVsCodeApi();
  const KEPT = 1000;
  const find = (id) => document.getElementById(id);
  const state = { filter: 'all', ...vscode.getState() };
  /** Each request with its row. */
  let entries = [];
  let users = [];
  let targets = [];
  let selected;

  const COLUMNS = {
    time: (one) => new Date(one.time).toLocaleTimeString([], { hour12: false }),
    target: (one) => one.target,
    method: (one) => one.method ?? '',
    path: (one) => one.path ?? '',
    status: (one) => one.status ?? '–',
    took: (one) => (one.durationMs === null ? '' : `${one.durationMs.toFixed(one.durationMs < 10 ? 1 : 0)} ms`),
    to: (one) => (one.to === 'origin' ? 'pods' : `${one.user ?? ''}’s laptop${one.to === 'copy' ? ' (copy)' : ''}`),
    why: (one) => one.why,
  };
  /** What might have been meant for me: something of the match is there, or the laptop was not. */
  const MISSED = ['differs', 'laptop-away', 'nothing-listens', 'loop', 'opaque-own-pod'];
  const isMine = (one) => one.user !== null && users.includes(one.user) && one.to !== 'origin';
  const isMissed = (one) => one.to === 'origin' && (MISSED.includes(one.reason) || one.reason.startsWith('opaque-'));
  const ADVICE = {
    absent: 'It carries none of your marks. If a service before this one was to hand them on, it does not: look whether it forwards baggage.',
    differs: 'It carries the mark, with another value: compare it with what your session matches.',
    'no-route': 'No session takes requests on this port: connect the Service with this port.',
    'nothing-listens': 'Your program does not listen on the port that requests come to.',
    'laptop-away': 'The connection to the laptop was gone when it came.',
    'opaque-tls': 'It is encrypted, so no header can be read: end TLS before the Service, or take everything.',
    'opaque-own-pod': 'It came through kubectl port-forward, which goes past the agents for your safety: call the Service by name.',
  };

  function rowOf(one) {
    const row = document.createElement('tr');
    row.tabIndex = -1;
    row.classList.add(`to-${one.to}`);
    row.classList.toggle('failed', one.status === null || one.status >= 500);
    row.classList.toggle('missed', isMissed(one));
    for (const [name, text] of Object.entries(COLUMNS)) {
      const cell = row.insertCell();
      cell.className = name;
      cell.textContent = text(one);
      cell.title = cell.textContent;
    }
    return row;
  }

  function shows(one) {
    if (state.filter === 'mine' && !isMine(one)) return false;
    if (state.filter === 'missed' && !isMissed(one)) return false;
    const wanted = find('search').value.trim().toLowerCase();
    const text = Object.values(COLUMNS).map((column) => column(one)).join(' ').toLowerCase();
    return wanted.split(/\s+/).every((word) => text.includes(word));
  }

  function refresh() {
    let visible = 0;
    for (const entry of entries) {
      entry.row.hidden = !shows(entry.one);
      visible += entry.row.hidden ? 0 : 1;
    }
    find('count').textContent = `${visible} of ${entries.length}`;
    for (const button of document.querySelectorAll('#filters button')) {
      const isChosen = button.dataset.filter === state.filter;
      button.setAttribute('aria-checked', String(isChosen));
      button.tabIndex = isChosen ? 0 : -1;
    }
    const first = entries.find((entry) => !entry.row.hidden);
    if (first && !(selected && !selected.row.hidden)) first.row.tabIndex = 0;
    find('nothing').textContent =
      targets.length === 0 ? 'Nothing is connected.' : visible === 0 ? `No such requests to ${targets.join(', ')} yet.` : '';
  }

  function add(requests) {
    for (const one of requests) {
      const entry = { one, row: rowOf(one) };
      entry.row.addEventListener('click', () => select(entry));
      entries.unshift(entry);
      find('rows').prepend(entry.row);
    }
    for (const { row } of entries.splice(KEPT)) row.remove();
    refresh();
  }

  function select(entry) {
    if (selected) {
      selected.row.tabIndex = -1;
      selected.row.removeAttribute('aria-selected');
    }
    selected = entry;
    const details = find('details');
    details.hidden = !entry;
    if (!entry) return;
    entry.row.tabIndex = 0;
    entry.row.setAttribute('aria-selected', 'true');
    entry.row.focus();
    const { one } = entry;
    const facts = {
      Request: [one.method, one.path, one.protocol].filter(Boolean).join(' '),
      Began: one.time,
      Answered: one.to === 'origin' ? 'by the pods' : `by ${COLUMNS.to(one)}`,
      Why: one.why,
      ...(ADVICE[one.reason] && one.to === 'origin' && { Next: ADVICE[one.reason] }),
      Agent: `${one.agent}, port ${one.port}`,
      ...(one.trace && { Trace: one.trace }),
    };
    const list = document.createElement('dl');
    for (const [name, text] of Object.entries(facts)) {
      list.append(Object.assign(document.createElement('dt'), { textContent: name }));
      list.append(Object.assign(document.createElement('dd'), { textContent: text }));
    }
    details.replaceChildren(list);
  }

  function choose(filter) {
    state.filter = filter;
    vscode.setState(state);
    refresh();
  }

  find('filters').addEventListener('click', ({ target }) => target.dataset.filter && choose(target.dataset.filter));
  find('filters').addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const buttons = [...document.querySelectorAll('#filters button')];
    const next = buttons[(buttons.indexOf(event.target) + step + buttons.length) % buttons.length];
    choose(next.dataset.filter);
    next.focus();
  });
  find('search').addEventListener('input', refresh);
  find('rows').addEventListener('keydown', (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const visible = entries.filter((entry) => !entry.row.hidden);
    const at = visible.findIndex((entry) => entry.row === event.target);
    if (event.key === 'Escape') select(undefined);
    else if (event.key === 'Enter' && visible[at]) select(visible[at]);
    else if (step && visible[at + step]) select(visible[at + step]);
    else return;
    event.preventDefault();
  });
  window.addEventListener('message', ({ data }) => {
    if (data.kind === 'seen') add(data.requests);
    if (data.kind === 'clear') {
      select(undefined);
      entries = [];
      find('rows').replaceChildren();
      refresh();
    }
    if (data.kind === 'sessions') {
      ({ users, targets } = data);
      refresh();
    }
    if (data.kind === 'filter') {
      choose(data.filter);
      const last = entries.find((entry) => !entry.row.hidden);
      if (last) select(last);
    }
  });
  refresh();
  vscode.postMessage({ kind: 'ready' });
})();
