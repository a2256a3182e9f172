// Draws the curves of an arm when its part is opened. Without a script the part is not shown.
for (const part of document.querySelectorAll("details.zoom")) {
  part.hidden = false;
  part.addEventListener("toggle", () => part.open && !part.dataset.drawn && draw(part));
}

function draw(part) {
  part.dataset.drawn = "yes";
  const { at, good, bad, p50, p95 } = JSON.parse(part.querySelector("script").textContent);
  const colour = (name) => getComputedStyle(part).getPropertyValue(name).trim();
  const axis = () => ({ stroke: colour("--ink"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } });
  const key = `zoom-${[...document.querySelectorAll("details.zoom")].indexOf(part)}`;
  const chart = (title, series, data, log) =>
    new uPlot(
      {
        title,
        width: part.clientWidth,
        height: 240,
        cursor: { sync: { key } },
        scales: { x: { time: false }, y: log ? { distr: 3 } : { range: (_, low, high) => [Math.min(0, low), Math.max(1, high * 1.05)] } },
        axes: [{ ...axis(), values: (_, ticks) => ticks.map((tick) => `${tick} s`) }, { ...axis(), size: 64 }],
        series: [{ label: "time", value: (_, value) => (value === null ? "–" : `${value.toFixed(2)} s`) }, ...series],
      },
      data,
      part,
    );
  const line = (label, name, dash) => ({ label, stroke: colour(name), width: 1.5, dash, points: { show: false } });
  const charts = [
    chart("requests per second", [line("good", "--s2"), line("not good", "--s5", [4, 3])], [at, good, bad], false),
    chart("latency of good answers, ms", [line("p50", "--p50"), line("p95", "--p95", [4, 3])], [at, p50, p95], true),
  ];
  addEventListener("resize", () => {
    for (const one of charts) one.setSize({ width: part.clientWidth, height: 240 });
  });
}
