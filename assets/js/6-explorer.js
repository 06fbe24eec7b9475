// The audio explorer: a button for every cell, what is playing, and two sounds at one position.
// It is built from the API once the section comes near, or at once on the page of a cell.
(function () {
  "use strict";
  const page = window.insidessl;
  const sound = page.sound;
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const SHADES = 9;
  const KEY_RATE_MS = 500; // of the cursor where motion is not wanted

  let root = null;
  let own = false; // whether this is the page of a cell
  let examples = [];
  let shown = null; // the example: its document, with address and names
  let metric = "";
  let cell = null; // [i, j]: the chosen cell, sound B
  let held = "original"; // sound A
  let heard = "original"; // what the panel shows
  let at = 0; // where playing starts, in seconds
  let wanted = null; // a cell that was chosen above before there was anything here

  const $ = (selector) => root.querySelector(selector);
  const make = page.make;
  const key = (i, j) => `${i}/${j}`;
  const place = (name) => ({
    base: `${shown.url}/${name.includes("/") ? `cells/${name}` : name}`,
    version: shown.version,
  });
  const row = (i) => shown.decoder_layers.indexOf(shown.layers[i]);
  const score = (name, i, j) => shown.metrics[name].cells[row(i)][j];

  // A number with the places that the rest of the page gives it (figures/points.py).
  function number(value) {
    const size = Math.abs(value);
    return value.toFixed(size < 10 ? 3 : size < 1000 ? 1 : 0).replace("-", "−");
  }

  function valued(name, value) {
    if (value === null) return "not measurable";
    const unit = shown.metrics[name].unit;
    return number(value) + (unit ? ` ${unit}` : "");
  }

  function titled(name) {
    if (name === "original") return "Original";
    if (name === "vocoder") return "Vocoder only";
    const [i, j] = name.split("/");
    return `D(${shown.layers[i]}) · z(${shown.layers[j]})`;
  }

  function spoken(name) {
    if (!name.includes("/")) return titled(name);
    const [i, j] = name.split("/");
    return `Decoder ${shown.layers[i]}, tokens of layer ${shown.layers[j]}`;
  }

  // -- building -------------------------------------------------------------------------------

  async function begin(found) {
    root = found;
    own = root.dataset.page === "own";
    try {
      examples = (await page.api("GET", "/examples")).examples;
    } catch (error) {
      return void page.banner(error.message);
    }
    if (!examples.length) return void root.replaceChildren(nothing());
    const asked = own
      ? [root.dataset.model, root.dataset.example, root.dataset.i, root.dataset.j]
      : (new URLSearchParams(window.location.search).get("cell") || "").split(",");
    const first =
      examples.find((e) => e.model === asked[0] && e.name === asked[1]) ||
      examples.find((e) => e.model === "wav2vec2-nano") ||
      examples[0];
    cell = asked[3] === undefined ? null : [Number(asked[2]), Number(asked[3])];
    await show(first);
    if (wanted) page.explore(...wanted);
  }

  function nothing() {
    const box = make("div", "state state-missing");
    box.append(
      make("p", "state-title", "No example has been decoded on this installation"),
      make("p", "", "Each example is one utterance in every cell of a matrix, kept as sound. They come with a matrix that was trained and decoded; nothing is played that a decoder did not say."),
    );
    return box;
  }

  async function show(example) {
    sound.stop();
    try {
      const found = await page.api("GET", example.url.replace("/api/v1", ""));
      shown = { ...found, url: example.url, page: example.page, folder: example.model, name: example.name };
    } catch (error) {
      return void page.banner(error.message);
    }
    if (!shown.metrics[metric]) metric = Object.keys(shown.metrics)[0];
    if (!cell || !(shown.layers[cell[0]] && shown.layers[cell[1]]) || row(cell[0]) < 0) {
      const middle = shown.layers.indexOf(shown.decoder_layers[shown.decoder_layers.length >> 1]);
      cell = [middle, middle];
    }
    if (held.includes("/") && row(held.split("/")[0]) < 0) held = "original";
    heard = key(...cell);
    at = 0;
    root.replaceChildren(controls(), matrix(), panel());
    paint();
    tell();
    sound.load(place("original")).catch(() => {});
  }

  function field(label, control) {
    const box = make("div", "field");
    const head = make("label", "field-label", label, { for: control.id });
    box.append(head, control);
    return box;
  }

  function select(id, options, value, changed) {
    const box = make("select", "plain-select", null, { id });
    for (const [name, title] of options) box.append(new Option(title, name, false, name === value));
    box.addEventListener("change", () => changed(box.value));
    return box;
  }

  function controls() {
    const bar = make("div", "explorer-controls");
    const models = [...new Map(examples.map((e) => [e.model, e.title]))];
    if (models.length > 1) {
      bar.append(field("Model", select("explorer-model", models, shown.folder, (model) => {
        const mine = examples.filter((e) => e.model === model);
        show(mine.find((e) => e.name === shown.name) || mine[0]).then(() => $("#explorer-model").focus());
      })));
    }
    const voices = make("div", "voices", null, { role: "group", "aria-label": "Voice" });
    for (const example of examples.filter((e) => e.model === shown.folder)) {
      const chosen = example.name === shown.name;
      const button = make("button", "voice", null, { type: "button", "aria-pressed": chosen });
      const about = [example.gender, `${example.seconds.toFixed(1)} s`].filter(Boolean).join(", ");
      button.append(make("span", "voice-name", example.voice), make("span", "voice-about", about));
      button.addEventListener("click", () =>
        show(example).then(() => $('.voice[aria-pressed="true"]').focus()),
      );
      voices.append(button);
    }
    const voice = make("div", "field field-voices");
    voice.append(make("div", "field-label", "Voice"), voices);
    const metrics = Object.entries(shown.metrics).map(([name, m]) => [name, m.title]);
    bar.append(
      voice,
      field("Colour by", select("explorer-metric", metrics, metric, (name) => {
        metric = name;
        paint();
      })),
    );
    return bar;
  }

  function matrix() {
    const box = make("div", "cells-box");
    const grid = make("div", "cells", null, { role: "grid", "aria-label": "Cells: a row a decoder, a column a token layer" });
    grid.style.setProperty("--count", shown.layers.length);
    const head = make("div", "cells-row", null, { role: "row" });
    head.append(make("span", "cells-corner", "", { role: "presentation" }));
    for (const layer of shown.layers) head.append(make("span", "cells-column", layer, { role: "columnheader", "aria-label": `Tokens of layer ${layer}` }));
    grid.append(head);
    shown.layers.forEach((layer, i) => {
      const line = make("div", "cells-row", null, { role: "row" });
      line.append(make("span", "cells-name", layer, { role: "rowheader", "aria-label": `Decoder ${layer}` }));
      if (row(i) < 0) {
        line.append(make("span", "cells-missing", `no decoder: ${shown.missing[layer]}`, { role: "gridcell" }));
      } else {
        shown.layers.forEach((_token, j) => {
          const holder = make("span", "cells-cell", null, { role: "gridcell" });
          holder.append(make("button", i === j ? "cell own" : "cell", "", { type: "button", "data-i": i, "data-j": j }));
          line.append(holder);
        });
      }
      grid.append(line);
    });
    const scale = make("div", "cells-scale");
    scale.append(make("span", "scale-worse"), make("i", "scale-bar"), make("span", "scale-better"));
    box.append(make("p", "cells-across", "Tokens z(j) of layer j →"), make("p", "cells-down", "Decoder D(i) →"), grid, scale,
      make("p", "cells-reading", ""),
      make("p", "field-note cells-keys", "Arrow keys move, Enter plays and stops, Escape stops, X switches A and B. A ring marks a decoder on its own layer."));
    grid.addEventListener("click", (event) => {
      const button = event.target.closest(".cell");
      if (button) press(button);
    });
    for (const kind of ["pointerover", "focusin"]) grid.addEventListener(kind, (event) => {
      const button = event.target.closest(".cell");
      if (button) near(button);
    });
    grid.addEventListener("keydown", move);
    return box;
  }

  function panel() {
    const box = make("div", "now", null, { role: "group", "aria-label": "Now playing" });
    const head = make("div", "now-head");
    const start = make("button", "now-play", "", { type: "button" });
    start.innerHTML = '<svg viewBox="0 0 16 16" aria-hidden="true"><path></path></svg>';
    start.addEventListener("click", () => toggle(heard));
    const title = make("div", "now-title");
    title.append(make("h3", "now-name", ""), make("p", "now-what", ""));
    head.append(start, title, make("output", "now-time", ""));
    const views = make("div", "now-views");
    views.append(make("canvas", "now-wave", null, { "aria-hidden": "true" }), make("canvas", "now-spectrum", null, { "aria-hidden": "true" }),
      make("span", "now-high", "8 kHz"), make("span", "now-low", "0"), make("i", "now-cursor"));
    const seek = make("input", "now-seek", null, { type: "range", min: 0, max: shown.seconds, step: 0.01, value: 0, "aria-label": "Position" });
    seek.addEventListener("input", () => {
      at = Number(seek.value);
      if (sound.playing()) play(heard, at);
      else moveCursor();
    });
    views.append(seek);
    const pair = make("div", "now-pair", null, { role: "group", "aria-label": "Compare at the same position" });
    for (const slot of ["a", "b"]) {
      const button = make("button", "slot", null, { type: "button", "data-slot": slot });
      button.append(make("b", "", slot.toUpperCase()), make("span", "slot-name", ""));
      button.addEventListener("click", () => compare(slot));
      pair.append(button);
    }
    const hold = make("button", "quiet", "Keep B as A", { type: "button", title: "Hold this cell against the next one you choose" });
    hold.addEventListener("click", () => {
      held = key(...cell);
      describe();
      page.announce(`A is ${spoken(held)}.`);
    });
    pair.append(hold);
    const others = make("div", "now-others");
    for (const name of ["original", "vocoder"]) {
      const button = make("button", "button small", titled(name), { type: "button", "data-sound": name });
      button.addEventListener("click", () => toggle(name));
      for (const kind of ["pointerover", "focus"]) button.addEventListener(kind, () => sound.load(place(name)).catch(() => {}));
      others.append(button);
    }
    const links = make("p", "now-links");
    links.append(make("a", "now-wav", "Download WAV", { download: "" }), make("button", "quiet now-copy", "Copy link", { type: "button" }));
    if (!own) links.append(make("a", "now-page", "Its own page"));
    box.append(head, views, pair, others, make("dl", "now-scores"), links, make("p", "field-note now-made", made()));
    return box;
  }

  function made() {
    const decoders = `${shown.decoders.preset === "flow" ? "Flow-matching" : "Regression (first look)"} decoders`;
    const gain = shown.config.gain_db;
    const voice = [shown.corpus, shown.licence].filter(Boolean).join(", ");
    return `${shown.text ? `“${shown.text}” ` : ""}${decoders}, vocoder ${shown.vocoder.name}; one gain of ${gain < 0 ? "−" : "+"}${Math.abs(gain).toFixed(1)} dB for all cells and the vocoder, none for the original. Recording: ${voice}.`;
  }

  // -- the cells ------------------------------------------------------------------------------

  const button = (i, j) => $(`.cell[data-i="${i}"][data-j="${j}"]`);

  function paint() {
    const { higher_is_better: higher, cells, title } = shown.metrics[metric];
    const values = cells.flat().filter((value) => value !== null);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    for (const one of root.querySelectorAll(".cell")) {
      const [i, j] = [one.dataset.i, one.dataset.j];
      const value = score(metric, i, j);
      one.setAttribute("aria-label", `${spoken(key(i, j))}: ${title} ${valued(metric, value)}`);
      one.classList.toggle("void", value === null);
      if (value === null) {
        one.style.background = "";
        continue;
      }
      const share = high > low ? (value - low) / (high - low) : 0.5;
      const good = (higher ? share : 1 - share) * (SHADES - 1);
      const under = Math.min(Math.floor(good), SHADES - 2);
      one.style.background = `color-mix(in oklab, var(--v${under + 1}) ${(100 * (good - under)).toFixed(1)}%, var(--v${under}))`;
      one.classList.toggle("far", good > 4.4);
    }
    const ends = values.length ? [higher ? low : high, higher ? high : low].map((v) => valued(metric, v)) : ["", ""];
    $(".scale-worse").textContent = `worse, ${ends[0]}`;
    $(".scale-better").textContent = `${ends[1]}, better`;
    choose(...cell, false);
  }

  function choose(i, j, focus) {
    for (const one of root.querySelectorAll('.cell[tabindex="0"], .cell.chosen')) {
      one.tabIndex = -1;
      one.classList.remove("chosen");
    }
    for (const one of root.querySelectorAll(".cell:not([tabindex])")) one.tabIndex = -1;
    cell = [Number(i), Number(j)];
    const one = button(i, j);
    one.tabIndex = 0;
    one.classList.add("chosen");
    if (focus) one.focus();
    read(i, j);
    describe();
  }

  function read(i, j) {
    $(".cells-reading").textContent = `${spoken(key(i, j))}: ${shown.metrics[metric].title} ${valued(metric, score(metric, i, j))}`;
  }

  function near(one) {
    const name = key(one.dataset.i, one.dataset.j);
    read(one.dataset.i, one.dataset.j);
    sound.load(place(name)).catch(() => {});
  }

  function press(one) {
    choose(one.dataset.i, one.dataset.j, true);
    toggle(key(...cell));
    tell();
  }

  function move(event) {
    const one = event.target.closest(".cell");
    if (!one) return;
    let [i, j] = [Number(one.dataset.i), Number(one.dataset.j)];
    const last = shown.layers.length - 1;
    const rows = shown.layers.map((_layer, k) => k).filter((k) => row(k) >= 0);
    const step = (by) => rows[Math.min(Math.max(rows.indexOf(i) + by, 0), rows.length - 1)];
    if (event.key === "ArrowRight") j = Math.min(j + 1, last);
    else if (event.key === "ArrowLeft") j = Math.max(j - 1, 0);
    else if (event.key === "ArrowDown") i = step(1);
    else if (event.key === "ArrowUp") i = step(-1);
    else if (event.key === "Home") [i, j] = [event.ctrlKey ? rows[0] : i, 0];
    else if (event.key === "End") [i, j] = [event.ctrlKey ? rows[rows.length - 1] : i, last];
    else return;
    event.preventDefault();
    for (const tabbed of root.querySelectorAll('.cell[tabindex="0"]')) tabbed.tabIndex = -1;
    const next = button(i, j);
    next.tabIndex = 0;
    next.focus();
  }

  // -- playing --------------------------------------------------------------------------------

  async function play(name, from) {
    heard = name;
    describe();
    try {
      await sound.play(name, place(name), from);
    } catch (error) {
      page.banner(`${spoken(name)} cannot be played: ${error.message}`);
    }
  }

  function toggle(name) {
    if (sound.playing() === name) return sound.stop();
    play(name, name === heard ? at : 0);
  }

  function compare(slot) {
    const name = slot === "a" ? held : key(...cell);
    play(name, sound.playing() ? null : at);
  }

  sound.changed = function (playing) {
    for (const one of root.querySelectorAll('.cell[aria-pressed="true"]')) one.setAttribute("aria-pressed", "false");
    if (playing === null) at = 0;
    else if (playing.includes("/")) button(...playing.split("/")).setAttribute("aria-pressed", "true");
    for (const one of root.querySelectorAll("[data-sound]")) one.setAttribute("aria-pressed", String(one.dataset.sound === playing));
    root.classList.toggle("is-playing", playing !== null);
    describe();
    page.announce(playing === null ? "Stopped." : `Playing: ${spoken(playing)}.`);
    if (playing !== null) follow();
  };

  document.addEventListener("keydown", (event) => {
    if (!root || !shown || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape" && sound.playing()) sound.stop();
    const typing = event.target.closest("select, textarea, input:not([type=range])");
    if (event.key.toLowerCase() !== "x" || typing || !root.contains(event.target)) return;
    compare(heard === held ? "b" : "a");
  });
  document.addEventListener("pointerdown", (event) => {
    if (root && event.target.closest(".cell, .now button")) sound.prepare();
  });

  // -- what is playing ------------------------------------------------------------------------

  const PLAY = "M4 2.5v11l9.5-5.5z";
  const STOP = "M3.5 3.5h9v9h-9z";

  function describe() {
    const chosen = key(...cell);
    const playing = sound.playing();
    $(".now-name").textContent = titled(heard);
    $(".now-what").textContent = heard.includes("/")
      ? `${spoken(heard)}${heard.split("/")[0] === heard.split("/")[1] ? ": its own" : ""}`
      : heard === "original" ? "The recording itself" : "The original’s own mel, vocoded: the most a cell can reach";
    const start = $(".now-play");
    start.setAttribute("aria-label", playing === heard ? "Stop" : `Play ${spoken(heard)}`);
    start.querySelector("path").setAttribute("d", playing === heard ? STOP : PLAY);
    for (const [slot, name] of [["a", held], ["b", chosen]]) {
      const one = $(`[data-slot="${slot}"]`);
      one.querySelector(".slot-name").textContent = titled(name);
      one.setAttribute("aria-pressed", String(heard === name));
      one.setAttribute("aria-label", `${slot.toUpperCase()}: ${spoken(name)}`);
    }
    scores();
    const wav = `${place(heard).base}.wav?v=${shown.version}`;
    $(".now-wav").href = wav;
    const link = `${shown.page}/${chosen}`;
    $(".now-copy").dataset.copy = window.location.origin + link;
    if (!own) $(".now-page").href = link;
    draw(heard);
    moveCursor();
  }

  function scores() {
    const list = $(".now-scores");
    list.replaceChildren();
    for (const [name, { title, higher_is_better: higher, vocoder }] of Object.entries(shown.metrics)) {
      const value = heard === "original" ? undefined : heard === "vocoder" ? vocoder : score(name, ...heard.split("/"));
      if (value === undefined) continue;
      const said = make("dd", "", valued(name, value));
      list.append(make("dt", "", `${title}, ${higher ? "higher" : "lower"} is better`), said);
    }
  }

  let drawn = "";

  async function draw(name) {
    const scheme = document.documentElement.getAttribute("data-mantine-color-scheme");
    const mark = `${shown.url} ${name} ${scheme} ${$(".now-views").clientWidth}`;
    if (mark === drawn) return;
    drawn = mark;
    let buffer, original;
    try {
      [buffer, original] = await Promise.all([sound.load(place(name)), sound.load(place("original"))]);
    } catch (error) {
      drawn = "";
      return; // playing it says why
    }
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done))); // sound comes first
    if (mark !== drawn) return;
    page.soundViews(buffer, original, $(".now-wave"), $(".now-spectrum"));
    $(".now-seek").max = buffer.duration;
  }

  new MutationObserver(() => shown && draw(heard)).observe(document.documentElement, { attributeFilter: ["data-mantine-color-scheme"] });
  window.addEventListener("resize", () => shown && draw(heard));

  function moveCursor() {
    const seconds = sound.playing() ? sound.position() : at;
    const share = Math.min(1, seconds / shown.seconds);
    $(".now-cursor").style.left = `${100 * share}%`;
    $(".now-time").textContent = `${seconds.toFixed(1)} / ${shown.seconds.toFixed(1)} s`;
    const seek = $(".now-seek");
    seek.value = seconds;
    seek.setAttribute("aria-valuetext", `${seconds.toFixed(1)} seconds`);
  }

  let following = false;

  function follow() {
    if (following) return;
    following = true;
    (function next() {
      moveCursor();
      if (!sound.playing()) return void (following = false);
      if (still.matches) setTimeout(next, KEY_RATE_MS);
      else requestAnimationFrame(next);
    })();
  }

  // -- the address ----------------------------------------------------------------------------

  function tell() {
    const names = [shown.folder, shown.name, ...cell];
    if (own) window.history.replaceState(null, "", `${shown.page}/${key(...cell)}`);
    else if (told || root.contains(document.activeElement)) page.setParameters({ cell: names.join(",") }, true);
    told = true;
  }

  let told = false;

  // A cell of a heatmap above was chosen.
  page.explore = async function (model, i, j) {
    const section = document.getElementById("explorer");
    section.scrollIntoView({ behavior: still.matches ? "instant" : "smooth" });
    if (!shown) return void (wanted = [model, i, j]);
    if (shown.folder !== model) {
      const other = examples.filter((e) => e.model === model);
      if (!other.length) return page.announce("No sound of this matrix is on this installation.");
      await show(other.find((e) => e.name === shown.name) || other[0]);
    }
    if (row(i) >= 0) {
      choose(i, j, false);
      heard = key(i, j);
      button(i, j).focus({ preventScroll: true });
      describe();
      tell();
    }
  };

  page.near("explorer-root", begin);
})();
