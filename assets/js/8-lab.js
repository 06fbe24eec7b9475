// The Signal Lab: what is asked, what is waited for, what is shown. An answer to a question that a
// newer one has overtaken is never shown.
(function () {
  "use strict";
  const page = window.insidessl;
  const make = page.make;
  const narrow = window.matchMedia("(max-width: 759px)");
  const FIRST = ["hubert-nano", "hubert-nano-init"]; // what training gave, against none
  const WAITING = ["queued", "running"];
  const BUSY_MS = 150; // before it is said that something is computed
  const CONFIG = { displayModeBar: false, responsive: true, doubleClick: "reset" };

  let root = null;
  let choices = null;
  let controls = null;
  let sounds = null;
  let figure = null;
  let measures = null;
  let shown = null; // the answered question
  let answered = 0; // which one that was
  let order = 0; // counts questions; an answer to an earlier one is late
  let drawn = 0; // counts drawings
  let told = false;
  let busy = 0;
  const state = { clip: "", models: [], by: "", at: {}, measure: "" };

  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  const pause = (look) => [30, 30, 40, 60, 80][look] || (look < 60 ? 120 : 1000);

  // -- beginning ------------------------------------------------------------------------------

  async function begin(found) {
    root = found;
    try {
      choices = await page.api("GET", "/lab");
    } catch (error) {
      return void root.replaceChildren(trouble("The Signal Lab cannot be opened", error.message));
    }
    const uploads = await ownRecordings();
    if (!choices.models.length) return void root.replaceChildren(noModel());
    if (!choices.clips.length && !uploads.length) return void root.replaceChildren(noClip());
    follow(new URLSearchParams(window.location.search), uploads);
    controls = page.labDial(choices, state, {
      chosen() {
        told = true;
        tell();
        ask();
      },
      refresh: async () => controls.fillClips(await ownRecordings()),
    });
    controls.fillClips(uploads);
    sounds = page.labSounds();
    const left = make("div", "lab-bench");
    left.append(controls.element, sounds.element);
    root.replaceChildren(left, panel());
    if (told) tell();
    ask();
  }

  async function ownRecordings() {
    try {
      return (await page.api("GET", "/uploads")).uploads;
    } catch (error) {
      return [];
    }
  }

  function trouble(title, text) {
    const box = make("div", "state state-error");
    box.append(make("p", "state-title", title), make("p", "", text));
    return box;
  }

  function noModel() {
    const box = make("div", "state state-missing");
    const command = make("div", "command");
    command.append(make("code", "", "insidessl-dash analyze demo --model hubert-base"));
    box.append(
      make("p", "state-title", "No model is at hand"),
      make("p", "", "The lab answers while you turn a dial, so it takes only models whose weights " +
        "are on this machine. This fetches one:"),
      command,
    );
    return box;
  }

  function noClip() {
    const text = "The demo corpus is not on this installation, and you have no recording here yet. " +
      "Drop one under Analyze, then come back.";
    const box = trouble("There is nothing to listen to", text);
    box.className = "state state-missing";
    return box;
  }

  // -- the address ----------------------------------------------------------------------------

  // clip, perturbation, strength, model, another model; what it says wrongly is the default.
  function follow(query, uploads) {
    const said = (query.get("lab") || "").split(",");
    told = query.has("lab");
    for (const dial of choices.perturbations) state.at[dial.name] = dial.default;
    const clips = [...choices.clips.map((one) => one.id), ...uploads.map((one) => `~${one.id}`)];
    state.clip = clips.includes(said[0]) ? said[0] : clips[0];
    const dial = choices.perturbations.find((one) => one.name === said[1]);
    state.by = (dial || choices.perturbations[0]).name;
    const strength = dial && page.labTaken(dial, said[2] || "");
    if (strength !== null && dial) state.at[state.by] = strength;
    const known = (name) => choices.models.some((one) => one.name === name);
    const models = [...new Set(said.slice(3).filter(known))].slice(0, choices.most_models);
    const first = FIRST.filter(known);
    state.models = models.length ? models : first.length ? first : [choices.models[0].name];
    state.measure = query.get("lab-measure") || "";
  }

  function tell() {
    const parts = [state.clip, state.by, state.at[state.by], ...state.models];
    page.setParameters({ lab: parts.join(","), "lab-measure": state.measure || null }, true);
  }

  // -- the figure's panel ---------------------------------------------------------------------

  function panel() {
    const box = make("div", "lab-result");
    measures = make("div", "lab-measures", null, { role: "group", "aria-label": "Measure" });
    for (const one of choices.measures) {
      const button = make("button", "lab-measure", one.label, {
        type: "button",
        "data-measure": one.name,
        title: one.title,
      });
      button.addEventListener("click", () => {
        state.measure = one.name;
        told = true;
        tell();
        drawFigure();
      });
      measures.append(button);
    }
    figure = make("figure", "figure panel is-loading", null, { "aria-labelledby": "lab-caption" });
    const frame = make("div", "graph-frame", null, { id: "lab-graph" });
    frame.append(make("div", "lab-plot"));
    const working = make("p", "field-note lab-state", "", { "aria-hidden": "true" });
    figure.append(frame, working, make("figcaption", "caption", "", { id: "lab-caption" }));
    box.append(
      measures,
      make("p", "field-note lab-reading"),
      figure,
      make("div", "lab-problem"),
      make("div", "lab-export"),
      make("div", "lab-numbers"),
    );
    return box;
  }

  const part = (name) => root.querySelector(`.lab-${name}`);

  function setBusy(on) {
    clearTimeout(busy);
    if (!on) {
      root.classList.remove("is-busy");
      figure.removeAttribute("aria-busy");
      part("state").textContent = "";
      return;
    }
    busy = setTimeout(() => {
      root.classList.add("is-busy");
      figure.setAttribute("aria-busy", "true");
      const dial = choices.perturbations.find((one) => one.name === state.by);
      const said = page.labWritten(dial, state.at[state.by]);
      part("state").textContent = `Computing ${dial.title.toLowerCase()} at ${said} …`;
    }, BUSY_MS);
  }

  // -- asking ---------------------------------------------------------------------------------

  function question() {
    const own = state.clip.startsWith("~");
    return {
      ...(own ? { upload: state.clip.slice(1) } : { utterance: state.clip }),
      models: state.models,
      perturbation: state.by,
      strength: state.at[state.by],
    };
  }

  // Two requests at once may arrive in either order, and the later one is taken for the newest:
  // one is sent after the other, and what was overtaken meanwhile not at all.
  let sending = Promise.resolve();

  function send(late) {
    const turn = sending.then(() => (late() ? null : page.api("POST", "/lab", question())));
    sending = turn.catch(() => {});
    return turn;
  }

  async function ask() {
    const mine = (order += 1);
    const late = () => mine !== order;
    setBusy(true);
    try {
      let ticket = await send(late);
      if (!ticket) return;
      for (let look = 0; WAITING.includes(ticket.state); look += 1) {
        await wait(pause(look));
        if (late()) return;
        ticket = await page.api("GET", `/lab/${ticket.id}`);
      }
      if (late()) return;
      if (ticket.state !== "done") return failed(ticket.error || OVERTAKEN);
      shown = ticket;
      answered = mine;
      problem(null);
      const heard = sounds.show(ticket.id, ticket.answer, () => !late());
      await Promise.all([drawFigure(true), heard]);
      if (!late()) setBusy(false);
    } catch (error) {
      if (!late()) failed(error.message);
    }
  }

  const OVERTAKEN = "Another window of yours asked something newer, so this was not computed.";

  function failed(text) {
    setBusy(false);
    problem(text);
    page.announce(text);
  }

  function problem(text) {
    root.classList.toggle("is-stale", text !== null);
    const place = part("problem");
    if (text === null) return void place.replaceChildren();
    const before = "Not computed: figure and sounds are of the question before";
    const partly = "Computed, but not all of it could be fetched";
    const title = !shown ? "Not computed" : answered === order ? partly : before;
    const box = trouble(title, text);
    const again = make("button", "button small", "Ask again", { type: "button" });
    again.addEventListener("click", ask);
    box.append(again);
    place.replaceChildren(box);
  }

  // -- drawing --------------------------------------------------------------------------------

  async function drawFigure(speak) {
    if (!shown) return;
    const mine = (drawn += 1);
    const dark = document.documentElement.getAttribute("data-mantine-color-scheme") === "dark";
    const query = new URLSearchParams({
      scheme: dark ? "dark" : "light",
      compact: narrow.matches ? "1" : "0",
      measure: state.measure,
    });
    let drawing;
    try {
      drawing = await page.api("GET", `/lab/${shown.id}/figure?${query}`);
    } catch (error) {
      if (mine === drawn) failed(error.message);
      return;
    }
    if (mine !== drawn) return;
    const place = part("plot");
    place.parentElement.style.height = `${drawing.figure.layout.height + 14}px`;
    await window.Plotly.react(place, drawing.figure.data, drawing.figure.layout, CONFIG);
    if (mine !== drawn) return;
    figure.classList.remove("is-loading");
    figure.dataset.question = shown.id;
    document.getElementById("lab-caption").innerHTML = drawing.caption;
    part("reading").textContent = drawing.reading;
    part("export").innerHTML = drawing.export;
    const numbers = part("numbers");
    const open = numbers.querySelector("details[open]");
    numbers.innerHTML = drawing.numbers;
    if (open) numbers.querySelector("details").open = true;
    showMeasures(drawing.measure);
    if (speak) page.announce(document.getElementById("lab-caption").textContent);
  }

  function showMeasures(name) {
    const { results } = shown.answer;
    for (const button of measures.children) {
      const defined = results.some((result) => {
        const curve = result.measures[button.dataset.measure];
        return curve && curve.mean.some((value) => value !== null);
      });
      button.setAttribute("aria-pressed", String(button.dataset.measure === name));
      button.disabled = !defined;
    }
  }

  function redraw() {
    if (!shown) return;
    sounds.draw();
    drawFigure();
  }

  const scheme = { attributeFilter: ["data-mantine-color-scheme"] };
  new MutationObserver(redraw).observe(document.documentElement, scheme);
  narrow.addEventListener("change", redraw);
  window.addEventListener("resize", () => void (sounds && sounds.draw()));

  document.addEventListener("keydown", (event) => {
    if (!sounds || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape") sounds.stop();
    const typing = event.target.closest("select, textarea, input:not([type=range])");
    if (event.key.toLowerCase() !== "x" || typing || !root.contains(event.target)) return;
    sounds.swap();
  });

  // A link to this section is followed once the section is there.
  if (window.location.hash === "#lab") {
    page.ready("lab", (section) =>
      requestAnimationFrame(() => section.scrollIntoView({ behavior: "instant" })),
    );
  }

  page.near("lab-root", begin);
})();
