// The page's one script. The server renders everything; this puts what it sends in place, draws the charts and sends forms
// without leaving the page. Without it the page is renewed by the browser and forms work as forms do.
'use strict';

(() => {
  const LONGEST = 900;
  const COLUMNS = 13;
  const status = document.getElementById('told');

  // The token is in a cookie by now; it need not stay in the address, where it is seen when projected.
  if (location.search.includes('token=')) history.replaceState(null, '', location.pathname + location.hash);

  // -- Regions ------------------------------------------------------------------------------------------------------

  // Makes `old` like `fresh` and keeps every element that can stay where it is: focus, selections and half-filled forms
  // survive. What has a key stays with its key, everything else with its place among the others.
  function morph(old, fresh) {
    const keyOf = (node) => node.dataset?.key;
    const have = [...old.childNodes];
    const keyed = new Map(have.filter(keyOf).map((node) => [keyOf(node), node]));
    const others = have.filter((node) => !keyOf(node));
    const next = [...fresh.childNodes].map((node) => {
      const there = keyOf(node) ? keyed.get(keyOf(node)) : others.shift();
      if (there?.nodeType !== node.nodeType || there.nodeName !== node.nodeName) return document.importNode(node, true);
      morphNode(there, node);
      return there;
    });
    const kept = new Set(next);
    have.filter((node) => !kept.has(node)).forEach((node) => node.remove());
    // An element that is moved loses the focus: only what is not in its place is.
    let place = old.firstChild;
    for (const node of next) {
      if (node === place) place = place.nextSibling;
      else old.insertBefore(node, place);
    }
  }

  function morphNode(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !(name === 'open' && old.nodeName === 'DETAILS')) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (name === 'open' && old.nodeName === 'DETAILS') continue;
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    // A choice that is being made is not taken back; one that is not follows the server.
    if (old.nodeName === 'OPTION' && old.defaultSelected !== fresh.defaultSelected) old.selected = fresh.defaultSelected;
    morph(old, fresh);
  }

  function show(regions) {
    for (const [name, html] of Object.entries(regions)) {
      const region = document.querySelector(`[data-region="${name}"]`);
      if (region) morph(region, new DOMParser().parseFromString(`<div>${html}</div>`, 'text/html').body.firstChild);
    }
  }

  // -- Charts -------------------------------------------------------------------------------------------------------

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const columns = Array.from({ length: COLUMNS }, () => []);
  let bands = [];
  let charts = [];

  // Column, name, colour, dashes: lines differ in more than colour.
  const CHARTS = {
    rate: [[1, 'good', '--good', []], [2, '4xx', '--muted', [2, 3]], [3, '429 refused', '--warn', [8, 4]],
      [4, '5xx', '--bad', [4, 2]], [5, 'gave up', '--ink', [1, 4]]],
    latency: [[6, 'p50', '--good', []], [7, 'p95', '--accent', [8, 4]], [8, 'p99', '--warn', [3, 3]]],
    cache: [[9, 'hit', '--good', []], [10, 'stale', '--warn', [8, 4]], [11, 'miss', '--accent', [3, 3]],
      [12, 'bypass', '--bad', [4, 2]]],
  };

  function hatched(context, height, tone) {
    const tile = document.createElement('canvas');
    tile.width = tile.height = 8;
    const pen = tile.getContext('2d');
    pen.strokeStyle = tone;
    pen.lineWidth = 1.5;
    pen.beginPath();
    pen.moveTo(0, 8);
    pen.lineTo(8, 0);
    pen.stroke();
    return context.createPattern(tile, 'repeat');
  }

  // Ordered → effect hatched, active, undone → recovered hatched.
  function drawBands(chart, isFirst) {
    const { ctx, bbox } = chart;
    const now = columns[0].at(-1);
    const x = (seconds) => Math.min(Math.max(chart.valToPos(seconds, 'x', true), bbox.left), bbox.left + bbox.width);
    const fill = (from, to, style) => {
      ctx.fillStyle = style;
      const left = x(from);
      ctx.fillRect(left, bbox.top, Math.max(x(to) - left, to > from ? 1 : 0), bbox.height);
    };
    ctx.save();
    ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
    let free = 0;
    for (const band of bands) {
      const end = band.recovered ?? now;
      if (!(end >= chart.scales.x.min)) continue;
      const effect = band.effect ?? end;
      const undone = band.undone ?? end;
      fill(band.ordered, effect, hatched(ctx, bbox.height, color('--band-edge')));
      fill(effect, undone, color('--band'));
      fill(undone, end, hatched(ctx, bbox.height, color('--band-edge')));
      // A name that would lie over the one before is left out; the event log has them all.
      const width = ctx.measureText(band.label).width;
      const left = Math.min(x(effect) + 4 * devicePixelRatio, bbox.left + bbox.width - width);
      if (isFirst && left >= free) {
        ctx.fillStyle = color('--bad');
        ctx.textAlign = 'left';
        ctx.fillText(band.label, left, bbox.top + 13 * devicePixelRatio);
        free = left + width + 6 * devicePixelRatio;
      }
    }
    ctx.restore();
  }

  function drawContract(chart) {
    const { ctx, bbox } = chart;
    const y = chart.valToPos(320, 'y', true);
    if (!(y > bbox.top && y < bbox.top + bbox.height)) return;
    ctx.save();
    ctx.strokeStyle = color('--bad');
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.fillStyle = color('--bad');
    ctx.textAlign = 'left';
    ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.fillText('320 ms', bbox.left + 4 * devicePixelRatio, y - 4 * devicePixelRatio);
    ctx.restore();
  }

  const two = (number) => String(number).padStart(2, '0');
  const clock = (seconds) => {
    const at = new Date(seconds * 1000);
    return `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())}`;
  };

  const told = (value, format) => (value === null || value === undefined ? '–' : format(value));

  function options(name, width, isFirst) {
    const axis = { stroke: color('--muted'), grid: { stroke: color('--line'), width: 1 }, ticks: { show: false },
      font: '12px system-ui, sans-serif' };
    const isLog = name === 'latency';
    const unit = isLog ? ' ms' : '/s';
    return {
      width,
      height: 160,
      cursor: { sync: { key: 'console' }, drag: { x: true, y: false } },
      scales: {
        x: { time: false },
        y: isLog
          ? { distr: 3, range: (_, low, high) => [0.4, Math.max(1000, high || 1)] }
          : { range: (_, low, high) => [0, Math.max(high || 0, 1) * 1.1] },
      },
      axes: [
        { ...axis, size: 28, values: (_, ticks) => ticks.map(clock), space: 90 },
        { ...axis, size: 56, ...(isLog && { splits: (_, __, low, high) => [1, 10, 100, 1000, 10000].filter((tick) => tick >= low && tick <= high) }),
          values: (_, ticks) => ticks.map((tick) => (tick === null ? '' : String(tick))) },
      ],
      series: [
        { label: 'time', value: (chart, value, _, index) => told(index === null ? chart.data[0].at(-1) : value, clock) },
        ...CHARTS[name].map(([, label, tone, dash]) => ({
          label,
          stroke: color(tone),
          width: 1.8,
          dash,
          points: { show: false },
          // Without a cursor the legend tells the last second.
          value: (chart, value, series, index) => told(columns[CHARTS[name][series - 1][0]].at(index ?? -1),
            (known) => `${known.toFixed(known < 10 ? 1 : 0)}${unit}`),
        })),
      ],
      hooks: { drawClear: [(chart) => drawBands(chart, isFirst)], draw: isLog ? [drawContract] : [] },
    };
  }

  // nginx measures whole milliseconds; a logarithm has no zero.
  const onLog = (column) => column.map((ms) => (ms === null ? null : Math.max(ms, 0.5)));
  // What does not happen is not drawn, except where it begins and ends: a red line along the axis would look like failures.
  const whereSome = (column) => column.map((rate, at) => (rate > 0 || column[at - 1] > 0 || column[at + 1] > 0 ? rate : null));
  const data = (name) => [columns[0], ...CHARTS[name].map(([column]) =>
    (name === 'latency' ? onLog(columns[column]) : whereSome(columns[column])))];

  function buildCharts() {
    charts.forEach(({ chart }) => chart.destroy());
    charts = [...document.querySelectorAll('[data-chart]')].map((place, index) => {
      const name = place.dataset.chart;
      return { name, place, chart: new uPlot(options(name, place.clientWidth, index === 0), data(name), place) };
    });
  }

  function drawCharts() {
    charts.forEach(({ name, chart }) => chart.setData(data(name)));
  }

  function take(points) {
    for (const point of points) point.forEach((value, column) => columns[column].push(value));
    const surplus = columns[0].length - LONGEST;
    if (surplus > 0) columns.forEach((column) => column.splice(0, surplus));
  }

  // -- The stream ---------------------------------------------------------------------------------------------------

  // What a hidden tab has not shown: the last of each region. Points are few numbers and are taken in at once.
  let waiting = {};

  function redraw() {
    if (document.hidden) return;
    show(waiting);
    waiting = {};
    drawCharts();
  }

  function receive(event) {
    const frame = JSON.parse(event.data);
    if (frame.reset) columns.forEach((column) => column.splice(0));
    take(frame.points);
    if (frame.bands) bands = frame.bands;
    Object.assign(waiting, frame.regions);
    redraw();
  }

  function watch() {
    const stream = new EventSource('/stream');
    stream.addEventListener('frame', (event) => {
      document.body.classList.remove('cut');
      receive(event);
    });
    // The browser connects again by itself, and says which frame it saw last.
    stream.addEventListener('error', () => document.body.classList.add('cut'));
  }

  // -- Forms --------------------------------------------------------------------------------------------------------

  function tell(text, isBad) {
    status.textContent = text;
    status.className = isBad ? 'bad' : '';
    clearTimeout(tell.timer);
    tell.timer = setTimeout(() => { status.textContent = ''; }, isBad ? 12000 : 6000);
  }

  async function send(form, submitter) {
    const fields = new URLSearchParams(new FormData(form, submitter));
    submitter?.setAttribute('aria-busy', 'true');
    try {
      const answer = await fetch(form.action, { method: 'POST', body: fields, headers: { Accept: 'application/json' } });
      const body = await answer.json();
      tell(answer.ok ? body.told : body.detail, !answer.ok);
    } catch {
      tell('The console does not answer. Is it still running?', true);
    } finally {
      submitter?.removeAttribute('aria-busy');
    }
  }

  document.addEventListener('submit', (event) => {
    event.preventDefault();
    send(event.target, event.submitter);
  });

  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || !location.hash.startsWith('#node-')) return;
    const opener = document.querySelector(`svg a[href="${CSS.escape(location.hash).replace('\\#', '#')}"]`);
    location.hash = '#picture';
    opener?.focus();
  });

  document.addEventListener('visibilitychange', redraw);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', buildCharts);
  new ResizeObserver(() => {
    charts.forEach(({ chart, place }) => {
      if (place.clientWidth > 0 && place.clientWidth !== chart.width) chart.setSize({ width: place.clientWidth, height: 160 });
    });
  }).observe(document.getElementById('charts'));
  buildCharts();
  watch();
})();
