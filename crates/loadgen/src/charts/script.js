// Shows the values of the step under the pointer. Everything else on the page works without a script.
for (const time of document.querySelectorAll("time[data-unix-ms]")) {
  time.textContent = new Date(Number(time.dataset.unixMs)).toLocaleString();
}
for (const figure of document.querySelectorAll("figure")) {
  const svg = figure.querySelector("svg");
  const cursor = figure.querySelector(".cursor");
  const steps = JSON.parse(figure.querySelector("script").textContent);
  const box = figure.appendChild(document.createElement("div"));
  box.className = "reading";
  box.hidden = true;
  svg.addEventListener("pointermove", (event) => {
    const frame = svg.getBoundingClientRect();
    const x = ((event.clientX - frame.left) / frame.width) * svg.viewBox.baseVal.width;
    const step = steps.findLast(([from]) => from <= x) ?? steps[0];
    if (!step) return;
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.setAttribute("visibility", "visible");
    box.textContent = step[1];
    box.hidden = false;
    const around = figure.getBoundingClientRect();
    const left = event.clientX - around.left;
    const toLeft = left + box.offsetWidth + 24 > around.width;
    box.style.left = `${toLeft ? left - box.offsetWidth - 12 : left + 12}px`;
    box.style.top = `${event.clientY - around.top - 10}px`;
  });
  svg.addEventListener("pointerleave", () => {
    cursor.setAttribute("visibility", "hidden");
    box.hidden = true;
  });
}
