"use strict";
const charts = JSON.parse(document.getElementById("chart-data").textContent);

for (const plot of document.querySelectorAll(".plot")) {
  const chart = charts[plot.dataset.chart];
  const cursor = plot.querySelector(".cursor");
  const readout = plot.parentElement.querySelector(".readout");
  let place = chart.x.length - 1;

  const show = (index) => {
    place = Math.min(Math.max(index, 0), chart.x.length - 1);
    cursor.hidden = false;
    cursor.style.left = `${chart.across[place]}%`;
    const values = chart.lines.map((line) => `${line.name} ${line.values[place]}`);
    readout.textContent = `${chart.xLabel} ${chart.x[place].toLocaleString("en")}: ${values.join("; ")}`;
  };
  const nearest = (event) => {
    const box = plot.getBoundingClientRect();
    const across = (100 * (event.clientX - box.left)) / box.width;
    let best = 0;
    chart.across.forEach((x, index) => {
      if (Math.abs(x - across) < Math.abs(chart.across[best] - across)) best = index;
    });
    return best;
  };
  const hide = () => {
    cursor.hidden = true;
    readout.textContent = "";
  };

  plot.addEventListener("pointermove", (event) => show(nearest(event)));
  plot.addEventListener("pointerdown", (event) => show(nearest(event)));
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("focus", () => show(place));
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const far = Math.max(1, Math.round(chart.x.length / 10));
    const moves = { ArrowLeft: place - 1, ArrowRight: place + 1, PageDown: place - far, PageUp: place + far, Home: 0, End: chart.x.length - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    show(moves[event.key]);
  });
}
