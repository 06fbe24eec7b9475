// The audio explorer: which example, which cell, what plays. It is built from the API once the
// section comes near, or at once on the page of a cell.
(function () {
  "use strict";
  const page = window.insidessl;
  const sound = page.sound;
  const make = page.make;
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const FIRST = "wav2vec2-nano";
  const ROWS_MS = 3000; // between two looks for rows that were decoded since
  const PATIENCE_MS = 600000; // without a new one

  let root = null;
  let own = false; // whether this is the page of a cell
  let examples = [];
  let shown = null; // the example, as 6-explorer-example.js makes it
  let cells = null;
  let panel = null;
  let metric = "";
  let cell = null; // [i, j]: the chosen cell, sound B
  let held = "original"; // sound A
  let heard = ""; // what the panel shows
  let at = 0; // where playing starts, in seconds
  let wanted = null; // a cell that was chosen above before there was anything here
  let told = false; // whether the address names the cell
  let asked = 0; // examples that were asked for

  const chosen = () => cell.join("/");

  async function begin(found) {
    root = found;
    own = root.dataset.page === "own";
    if (!(await list())) return;
    if (!examples.length) return void root.replaceChildren(nothing());
    const link = new URLSearchParams(window.location.search).get("cell") || "";
    const { url, i, j } = root.dataset;
    const names = own ? ["", "", i, j] : link.split(",");
    cell = names[3] === undefined ? null : [Number(names[2]), Number(names[3])];
    told = !own && Boolean(link);
    await show(
      examples.find((e) => (own ? e.url === url : e.model === names[0] && e.name === names[1])) ||
        examples.find((e) => e.model === FIRST) ||
        examples[0],
    );
    if (wanted) page.explore(...wanted);
  }

  async function list() {
    try {
      const [shipped, mine] = await Promise.all([
        page.api("GET", "/examples"),
        page.api("GET", "/own-matrices"),
      ]);
      const recorded = mine.matrices.map((matrix) => ({ ...matrix, own: true }));
      examples = [...shipped.examples, ...recorded];
    } catch (error) {
      page.banner(error.message);
      return false;
    }
    return true;
  }

  function nothing() {
    const box = make("div", "state state-missing");
    box.append(
      make("p", "state-title", "No example has been decoded on this installation"),
      make(
        "p",
        "",
        "Each example is one utterance in every cell of a matrix, kept as sound. They come with " +
          "a matrix that was trained and decoded; nothing is played that a decoder did not say. " +
          "Where decoders were trained, this makes examples of four voices of the demo corpus:",
      ),
    );
    const command = make("div", "command");
    command.append(
      make("code", "", "insidessl-dash gcm render --model MODEL --decoders RUN/final"),
    );
    box.append(command);
    return box;
  }

  async function show(header) {
    const mine = (asked += 1);
    let found;
    try {
      found = await page.api("GET", header.url.replace("/api/v1", ""));
    } catch (error) {
      return void page.banner(error.message);
    }
    if (mine !== asked) return; // another one was chosen meanwhile
    sound.stop();
    shown = page.explorerExample(header, found);
    if (!shown.metrics[metric]) metric = Object.keys(shown.metrics)[0];
    if (!cell || !shown.hasCell(...cell)) {
      const middle = shown.rows[shown.rows.length >> 1];
      cell = [middle, middle];
    }
    if (shown.isCell(held) && !shown.hasCell(...held.split("/"))) held = "original";
    heard = shown.pending(chosen()) ? "original" : chosen();
    at = 0;
    cells = page.explorerCells(shown, {
      pick(i, j) {
        choose(i, j);
        toggle(chosen());
      },
      near: (i, j) => void sound.load(shown.place(`${i}/${j}`)).catch(() => {}),
    });
    panel = page.explorerPanel(shown, {
      own,
      act: { toggle, compare, keep, seek },
      state: () => ({ heard, a: held, b: chosen(), at }),
    });
    root.replaceChildren(controls(), cells.element, panel.element);
    cells.paint(metric);
    cells.choose(...cell);
    panel.describe();
    if (own || told) tell();
    sound.load(shown.place("original")).catch(() => {});
    if (own) grow(shown, Date.now());
  }

  // The page of a matrix that is still being decoded takes in its rows as they come.
  function grow(mine, since) {
    if (!mine.done || mine.done.length === mine.rows.length || Date.now() - since > PATIENCE_MS) return;
    setTimeout(async () => {
      const before = mine.done.length;
      const now = shown === mine ? await page.explorerOwn(mine.name, false) : -1;
      if (shown === mine) grow(mine, now > before ? Date.now() : since);
    }, ROWS_MS);
  }

  // -- what can be chosen ---------------------------------------------------------------------

  function field(label, control) {
    const box = make("div", "field");
    box.append(make("label", "field-label", label, { for: control.id }), control);
    return box;
  }

  function select(id, options, value, changed) {
    const box = make("select", "plain-select", null, { id });
    for (const [name, title] of options) {
      box.append(new Option(title, name, false, name === value));
    }
    box.addEventListener("change", () => changed(box.value));
    return box;
  }

  async function showAndFocus(header, selector) {
    await show(header);
    root.querySelector(selector).focus();
  }

  function ofModel(model) {
    const mine = examples.filter((e) => e.model === model);
    return mine.find((e) => e.name === shown.name) || mine[0];
  }

  function controls() {
    const bar = make("div", "explorer-controls");
    const models = [...new Map(examples.map((e) => [e.model, e.title]))];
    if (models.length > 1) {
      const changed = (model) => showAndFocus(ofModel(model), "#explorer-model");
      bar.append(field("Model", select("explorer-model", models, shown.model, changed)));
    }
    const voices = make("div", "voices", null, { role: "group", "aria-label": "Voice" });
    for (const example of examples.filter((e) => e.model === shown.model)) {
      const pressed = example.name === shown.name;
      const one = make("button", "voice", null, { type: "button", "aria-pressed": pressed });
      const whose = example.own ? "yours" : example.gender;
      const about = [whose, `${example.seconds.toFixed(1)} s`].filter(Boolean).join(", ");
      one.append(make("span", "voice-name", example.voice), make("span", "voice-about", about));
      one.addEventListener("click", () => showAndFocus(example, '.voice[aria-pressed="true"]'));
      voices.append(one);
    }
    const voice = make("div", "field");
    voice.append(make("div", "field-label", "Voice"), voices);
    const metrics = Object.entries(shown.metrics).map(([name, { title }]) => [name, title]);
    const colour = select("explorer-metric", metrics, metric, (name) => {
      metric = name;
      cells.paint(metric);
      cells.choose(...cell);
    });
    bar.append(voice, field("Colour by", colour));
    return bar;
  }

  function choose(i, j) {
    cell = [i, j];
    cells.choose(i, j);
    panel.describe();
    tell();
  }

  // -- playing --------------------------------------------------------------------------------

  async function play(name, from) {
    heard = name;
    panel.describe();
    try {
      await sound.play(name, shown.place(name), from);
    } catch (error) {
      page.banner(`${shown.spoken(name)} cannot be played: ${error.message}`);
    }
  }

  function toggle(name) {
    if (sound.playing() === name) sound.stop();
    else play(name, name === heard ? at : 0);
  }

  function compare(slot) {
    if (shown.pending(slot === "a" ? held : chosen())) return;
    play(slot === "a" ? held : chosen(), sound.playing() ? null : at);
  }

  function keep() {
    held = chosen();
    panel.describe();
    page.announce(`A is ${shown.spoken(held)}.`);
  }

  function seek(seconds) {
    at = seconds;
    if (sound.playing()) play(heard, at);
    else panel.moveCursor();
  }

  sound.changed = function (playing) {
    if (playing === null) at = 0;
    cells.sounds(playing);
    root.classList.toggle("is-playing", playing !== null);
    panel.describe();
    page.announce(playing === null ? "Stopped." : `Playing: ${shown.spoken(playing)}.`);
  };

  document.addEventListener("keydown", (event) => {
    if (!shown || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape") sound.stop(); // also one that is still loading
    const typing = event.target.closest("select, textarea, input:not([type=range])");
    if (event.key.toLowerCase() !== "x" || typing || !root.contains(event.target)) return;
    compare(heard === held ? "b" : "a");
  });

  document.addEventListener("pointerdown", (event) => {
    if (root && event.target.closest(".cell, .now button")) sound.prepare();
  });

  const redraw = () => void (panel && panel.draw());
  const scheme = { attributeFilter: ["data-mantine-color-scheme"] };
  new MutationObserver(redraw).observe(document.documentElement, scheme);
  window.addEventListener("resize", redraw);

  // -- the address ----------------------------------------------------------------------------

  function tell() {
    told = true;
    if (own) return void window.history.replaceState(null, "", `${shown.page}/${chosen()}`);
    page.setParameters({ cell: [shown.model, shown.name, ...cell].join(",") }, true);
  }

  // A cell of a heatmap above was chosen.
  page.explore = async function (model, i, j) {
    const section = document.getElementById("explorer");
    section.scrollIntoView({ behavior: still.matches ? "instant" : "smooth" });
    if (!shown) return void (wanted = [model, i, j]);
    if (shown.model !== model) {
      const other = ofModel(model);
      if (!other) return page.announce("No sound of this matrix is on this installation.");
      await show(other);
    }
    if (!shown.hasCell(i, j)) return;
    sound.stop();
    heard = `${i}/${j}`;
    choose(i, j);
    cells.focus(i, j);
  };

  // -- the visitor's own matrices -------------------------------------------------------------

  // Show one (`bring`), or the rows that have come since where it is shown. Gives how many there are.
  page.explorerOwn = async function (name, bring) {
    if (!root) return -1;
    if (!(shown && shown.name === name)) {
      if (!bring || !(await list())) return -1;
      const header = examples.find((e) => e.own && e.name === name);
      if (header) await show(header);
    } else {
      try {
        shown.take(await page.api("GET", shown.url.replace("/api/v1", "")));
      } catch (error) {
        return -1; // deleted meanwhile: the job says so
      }
      cells.paint(metric);
      panel.describe();
    }
    return shown && shown.done ? shown.done.length : 0;
  };

  // A recording was deleted, and its sounds with it.
  document.addEventListener("forgotten", async () => {
    if (!shown || !(await list())) return;
    if (examples.some((e) => e.url === shown.url)) {
      return void root.querySelector(".explorer-controls").replaceWith(controls());
    }
    sound.stop();
    shown = null;
    if (examples.length) await show(examples[0]);
    else root.replaceChildren(nothing());
  });

  page.near("explorer-root", begin);
})();
