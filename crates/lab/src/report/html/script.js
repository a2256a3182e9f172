// Shows the figures under the pointer, in every panel of the arm. All else on the page works without a script.
for (const figure of document.querySelectorAll("figure.arm")) {
  const data = figure.querySelector('script[type="application/json"]');
  const steps = data ? JSON.parse(data.textContent) : [];
  const pictures = [...figure.querySelectorAll(".panel svg")];
  const box = figure.appendChild(document.createElement("div"));
  box.className = "reading";
  box.hidden = true;
  for (const svg of pictures) {
    svg.addEventListener("pointermove", (event) => {
      const frame = svg.getBoundingClientRect();
      const x = ((event.clientX - frame.left) / frame.width) * svg.viewBox.baseVal.width;
      const step = steps.findLast(([from]) => from <= x);
      if (!step) return;
      for (const cursor of figure.querySelectorAll(".cursor")) {
        cursor.setAttribute("x1", x);
        cursor.setAttribute("x2", x);
        cursor.setAttribute("visibility", "visible");
      }
      box.textContent = step[1];
      box.hidden = false;
      const around = figure.getBoundingClientRect();
      const left = event.clientX - around.left;
      const toLeft = left + box.offsetWidth + 24 > around.width;
      box.style.left = `${Math.max(0, toLeft ? left - box.offsetWidth - 12 : left + 12)}px`;
      box.style.top = `${event.clientY - around.top - 10}px`;
    });
    svg.addEventListener("pointerleave", () => {
      for (const cursor of figure.querySelectorAll(".cursor")) cursor.setAttribute("visibility", "hidden");
      box.hidden = true;
    });
  }
}
