// One cursor for all heatmaps: the cell that is pointed at is outlined in each, and its numbers are
// written below. The outlines are drawn by figures/gcm.py at the first cell, and moved from there.
(function () {
  "use strict";
  const page = window.insidessl;
  let cell = null; // [i, j]
  let count = 0; // layers

  const graph = () => document.querySelector("#gcm-graph .js-plotly-plot");
  const maps = (plot) => plot.data.filter((trace) => trace.type === "heatmap");

  function paint() {
    const plot = graph();
    if (!plot || !plot.data) return;
    maps(plot).forEach((trace, index) => {
      const path = plot.querySelector(`.shapelayer path[data-index="${index}"]`);
      if (!path) return;
      path.style.opacity = inside(trace) ? 1 : 0;
      if (!inside(trace)) return;
      const box = path.getBBox();
      path.style.transform = `translate(${cell[1] * box.width}px, ${cell[0] * box.height}px)`;
    });
    write(plot);
  }

  // Models side by side need not be equally deep.
  const inside = (trace) => Boolean(cell) && Math.max(...cell) < trace.z.length;

  function write(plot) {
    const place = document.getElementById("gcm-reading");
    const all = maps(plot);
    const found = all.filter(inside);
    place.hidden = !all.length;
    if (!all.length) return;
    if (!found.length) {
      place.replaceChildren(
        page.make(
          "p",
          "reading-hint",
          "Point at a cell to see it in all four; with the keyboard, focus here and use the arrow " +
            "keys. A click, or Enter, leads to its sound.",
        ),
      );
      return;
    }
    const [i, j] = cell;
    const { layers } = found[0].meta;
    const named = `Decoder ${layers[i]}, tokens of layer ${layers[j]}`;
    const head = page.make("p", "reading-cell", named);
    const lines = [...new Set(found.map((trace) => trace.meta.panel))].map((panel) => {
      const mine = found.filter((trace) => trace.meta.panel === panel);
      const line = page.make("p", "reading-values");
      if (all.some((trace) => trace.meta.panel !== panel)) line.append(page.make("b", "", mine[0].meta.model));
      for (const { meta, customdata } of mine) {
        const unit = meta.unit && customdata[i][j] !== "–" ? ` ${meta.unit}` : "";
        const value = page.make("span", "");
        value.append(`${meta.title} `, page.make("strong", "", customdata[i][j] + unit));
        line.append(value);
      }
      return line;
    });
    place.replaceChildren(head, ...lines);
  }

  function point(to) {
    if (cell && to && cell[0] === to[0] && cell[1] === to[1]) return;
    cell = to;
    paint();
  }

  function listen() {
    const plot = graph();
    if (!plot || !plot.on || !plot.data) return void requestAnimationFrame(listen);
    const found = maps(plot);
    count = Math.max(0, ...found.map((trace) => trace.z.length));
    if (cell && Math.max(...cell) >= count) cell = null;
    if (!plot.dataset.listens) {
      plot.dataset.listens = "yes";
      plot.on("plotly_hover", (event) => point([event.points[0].y, event.points[0].x]));
      plot.on("plotly_click", (event) => {
        const { data, x, y } = event.points[0];
        if (data.meta && page.explore) page.explore(data.meta.matrix, y, x);
      });
      plot.on("plotly_afterplot", paint);
      plot.addEventListener("mouseleave", () => point(null));
      keys();
    }
    paint();
  }

  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

  function keys() {
    const place = document.getElementById("gcm-reading");
    const says = {
      tabindex: 0,
      role: "group",
      "aria-live": "polite",
      "aria-label": "Cell under the cursor; arrow keys move it",
    };
    for (const [name, value] of Object.entries(says)) place.setAttribute(name, value);
    place.addEventListener("keydown", (event) => {
      const step = event.altKey || event.metaKey ? null : STEPS[event.key];
      const within = (at) => Math.min(Math.max(at, 0), count - 1);
      if (step) {
        event.preventDefault();
        const [i, j] = cell || [-step[0], -step[1]];
        point([within(i + step[0]), within(j + step[1])]);
      } else if (event.key === "Enter" && cell && page.explore) {
        page.explore(maps(graph()).find(inside).meta.matrix, ...cell);
      }
    });
  }

  // The section follows an address once it is near the screen.
  let near = false;
  let wanted = null;

  function ask() {
    if (!near || !wanted) return;
    page.set("gcm-asked", { data: wanted });
    wanted = null;
  }

  window.dash_clientside.insidessl.gcmAsked = function (followed, address) {
    if (!address || followed !== address.visit) return;
    wanted = address;
    ask();
  };

  window.dash_clientside.insidessl.gcmDrawn = function (figure) {
    if (figure && figure.data.length) listen();
  };

  page.near("gcm", () => {
    near = true;
    ask();
  });
})();
