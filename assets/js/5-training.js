// The slider over checkpoints. Every curve is drawn already (figures/training.py); moving the slider
// makes another one opaque and shifts the outline on the map. The figure's own data are kept in
// step, so that a redraw and a saved image show the chosen checkpoint; the server is told nothing.
(function () {
  "use strict";
  const page = window.insidessl;
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const EVERY_MS = 650;
  const REST_MS = 200;
  const PLAY = "M4 2.5v11l9.5-5.5z";
  const PAUSE = "M4 2.5h3v11H4zM9.5 2.5h3v11h-3z";

  let shown = null; // what the server handed over: stops, and the traces that belong to them
  let step = 0;
  let waiting = 0; // an animation frame that will paint
  let playing = 0;
  let resting = 0;
  const marks = new Map(); // path of an outline -> the column that Plotly drew it at

  const plot = (id) => document.querySelector(`#${id} .js-plotly-plot`);
  const control = () => document.querySelector("#training-scrubber input");

  // -- painting -------------------------------------------------------------------------------

  function paint() {
    waiting = 0;
    if (!shown) return;
    const stop = shown.stops[step];
    paintCurves(plot("training-curves"), stop);
    paintMap(plot("training-map"), stop);
    write(stop);
  }

  function paintCurves(graph, stop) {
    if (!graph || !graph.data) return;
    shown.traces.forEach((traces, panel) => {
      traces.forEach((index, row) => {
        const trace = graph.data[index];
        const opacity = stop.rows[panel] === row ? 1 : 0;
        if (!trace || trace.opacity === opacity) return;
        trace.opacity = opacity;
        const node = graph.querySelector(`.scatterlayer .trace${trace.uid}`);
        if (node) node.style.opacity = opacity;
      });
    });
  }

  function paintMap(graph, stop) {
    if (!graph || !graph.layout || !graph.layout.shapes) return;
    graph.layout.shapes.forEach((shape, panel) => {
      const row = stop.rows[panel];
      const path = graph.querySelector(`.shapelayer path[data-index="${panel}"]`);
      shape.opacity = row === null ? 0 : 1;
      shape.x0 = (row || 0) - 0.5;
      shape.x1 = (row || 0) + 0.5;
      if (!path) return;
      const from = marks.has(path) ? marks.get(path) : row || 0;
      path.style.opacity = shape.opacity;
      path.style.transform = `translateX(${((row || 0) - from) * path.getBBox().width}px)`;
    });
  }

  function write(stop) {
    const root = document.getElementById("training-scrubber");
    const input = control();
    if (!input) return;
    input.value = step;
    input.setAttribute("aria-valuetext", `${stop.title}. ${stop.reading.join(". ")}`);
    input.style.setProperty("--at", stop.colour);
    root.querySelector(".scrub-title").textContent = stop.title;
    root.querySelector(".scrub-reading").textContent = stop.reading.join("  ·  ");
  }

  // Plotly has drawn the figure anew; on a resize it draws what it last laid out, not what the
  // layout says since.
  function drawn(id) {
    const graph = plot(id);
    const laid = (graph && graph._fullLayout && graph._fullLayout.shapes) || [];
    if (id === "training-map") {
      marks.clear();
      laid.forEach((shape, panel) => {
        const path = graph.querySelector(`.shapelayer path[data-index="${panel}"]`);
        if (path) marks.set(path, shape.x0 + 0.5);
      });
    }
    ask();
  }

  function ask() {
    if (!waiting) waiting = requestAnimationFrame(paint);
  }

  // -- moving ---------------------------------------------------------------------------------

  function go(next) {
    const last = shown.stops.length - 1;
    step = Math.min(Math.max(next, 0), last);
    ask();
    clearTimeout(resting);
    resting = setTimeout(rest, REST_MS);
  }

  // The address, and where the next figure starts, follow once the slider rests.
  function rest() {
    if (!shown) return;
    const end = step === shown.stops.length - 1;
    const update = end ? null : shown.stops[step].update;
    page.set("training-at", { data: update });
    page.setParameters({ update: update === null ? null : String(update) }, true);
  }

  function play() {
    if (playing) return pause();
    if (still.matches || !shown) return;
    if (step === shown.stops.length - 1) go(0);
    playing = setInterval(() => {
      go(step + 1);
      if (step === shown.stops.length - 1) pause();
    }, EVERY_MS);
    button();
  }

  function pause() {
    clearInterval(playing);
    playing = 0;
    button();
  }

  function button() {
    const found = document.querySelector(".scrub-play");
    if (!found) return;
    found.setAttribute("aria-label", playing ? "Pause" : "Play through the checkpoints");
    found.querySelector("path").setAttribute("d", playing ? PAUSE : PLAY);
  }

  still.addEventListener("change", pause);

  // -- the slider -----------------------------------------------------------------------------

  function build(root) {
    const stops = shown.stops;
    const start = page.make("button", "scrub-play", "", { type: "button" });
    start.innerHTML = '<svg viewBox="0 0 16 16" aria-hidden="true"><path></path></svg>';
    start.addEventListener("click", play);
    const input = page.make("input", "scrub-input", null, {
      type: "range",
      min: 0,
      max: stops.length - 1,
      step: 1,
      "aria-label": "Checkpoint",
    });
    input.addEventListener("input", () => {
      pause();
      go(Number(input.value));
    });
    input.addEventListener("keydown", (event) => {
      if (event.key !== " ") return;
      event.preventDefault();
      play();
    });
    const colours = page.make("div", "scrub-colours", null, { "aria-hidden": "true" });
    const ticks = page.make("div", "scrub-ticks", null, { "aria-hidden": "true" });
    const few = Math.ceil(stops.length / 6);
    stops.forEach((stop, index) => {
      const cell = page.make("i", stop.update === 0 ? "untrained" : "");
      cell.style.setProperty("--shade", stop.colour);
      colours.append(cell);
      const end = index === stops.length - 1;
      const minor = !end && (index % few !== 0 || stops.length - 1 - index < few);
      const tick = page.make("span", minor ? "minor" : "", stop.label);
      tick.style.left = `${(100 * index) / Math.max(1, stops.length - 1)}%`;
      ticks.append(tick);
    });
    const track = page.make("div", "scrub-track");
    track.append(colours, input, ticks);
    const reading = page.make("p", "scrub-words");
    reading.append(page.make("strong", "scrub-title"), page.make("span", "scrub-reading"));
    root.replaceChildren(start, track, reading);
    button();
  }

  function listen(id, clicked) {
    const graph = plot(id);
    if (!graph || !graph.on || !graph.data) return void requestAnimationFrame(() => listen(id, clicked));
    if (!graph.dataset.scrubbed) {
      graph.dataset.scrubbed = "yes";
      graph.on("plotly_afterplot", () => drawn(id));
      graph.on("plotly_click", (event) => {
        const stop = shown && clicked(event.points[0]);
        if (!stop) return;
        pause();
        go(shown.stops.indexOf(stop));
      });
    }
    drawn(id);
  }

  const onCurve = (point) => {
    const update = point.data.meta && point.data.meta.update;
    return shown.stops.find((stop) => stop.update === update);
  };
  const onMap = (point) => shown.stops.find((stop) => stop.rows[point.curveNumber] === point.x);

  window.dash_clientside.insidessl.scrubber = function (frames) {
    pause();
    clearTimeout(resting);
    shown = frames || null;
    page.ready("training-scrubber", (root) => {
      root.hidden = !shown;
      if (!shown) return;
      step = shown.step;
      const focused = root.contains(document.activeElement);
      build(root);
      if (focused) control().focus({ preventScroll: true });
      write(shown.stops[step]);
      listen("training-curves", onCurve);
      listen("training-map", onMap);
    });
    const end = !shown || shown.step === shown.stops.length - 1;
    page.set("training-at", { data: end ? null : shown.stops[shown.step].update });
  };

  // The address reaches this section once the first figure is on the screen (a tab in the
  // background draws no frames, hence the limit).
  const FIRST_FIGURE_MS = 2000;
  let asked = 0;

  function firstFigure() {
    return new Promise((done) => {
      setTimeout(done, FIRST_FIGURE_MS);
      (function look() {
        const drawn = document.querySelector("#layers-graph .main-svg");
        requestAnimationFrame(drawn ? () => setTimeout(done) : look);
      })();
    });
  }

  window.dash_clientside.insidessl.trainingAsked = async function (followed, address) {
    if (!address || followed !== address.visit || followed === asked) {
      return window.dash_clientside.no_update;
    }
    asked = followed;
    await firstFigure();
    return address;
  };

  // A link to this section is followed once the section is there.
  if (window.location.hash === "#training") {
    page.ready("training", (section) =>
      requestAnimationFrame(() => section.scrollIntoView({ behavior: "instant" })),
    );
  }
})();
