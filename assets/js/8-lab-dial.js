// The Signal Lab's controls: which clip, which models, which perturbation, and the dial. Everything
// in them comes from GET /lab. `act.chosen()` is called when a choice was made, and for the dial
// when it is let go.
(function () {
  "use strict";
  const page = window.insidessl;
  const make = page.make;
  const POSITIONS = 100; // of a dial that moves in ratios

  const decimals = (step) => (String(step).split(".")[1] || "").length;

  function rounded(dial, value) {
    return Number((Math.round(value / dial.step) * dial.step).toFixed(decimals(dial.step)));
  }

  // As core/dials.py writes it.
  page.labWritten = function (dial, value) {
    const sign = dial.neutral === 0 && dial.low < 0 && value > 0 ? "+" : "";
    const one = Math.abs(value) === 1 && dial.unit === "semitones";
    return `${sign}${value} ${one ? "semitone" : dial.unit}`.replace("-", "−").trim();
  };

  // A strength from a link, or null if the dial has no such place.
  page.labTaken = function (dial, text) {
    const value = Number(text);
    const within = text !== "" && value >= dial.low && value <= dial.high;
    return within ? rounded(dial, value) : null;
  };

  page.labDial = function (choices, state, act) {
    const element = make("div", "lab-controls");
    const dialled = () => choices.perturbations.find((one) => one.name === state.by);
    let input = null;
    let value = null;

    // -- clip and models ----------------------------------------------------------------------

    function select(id, label, changed) {
      const box = make("div", "field");
      const found = make("select", "plain-select", null, { id });
      found.addEventListener("change", () => changed(found.value));
      box.append(make("label", "field-label", label, { for: id }), found);
      return [box, found];
    }

    const [clipField, clipSelect] = select("lab-clip", "Clip", (clip) => {
      state.clip = clip;
      act.chosen();
    });
    const [modelField, modelSelect] = select("lab-model", "Model", (name) => {
      state.models = [name, ...state.models.slice(1).filter((other) => other !== name)];
      fillModels();
      act.chosen();
    });
    const [besideField, besideSelect] = select("lab-beside", "Beside it", (name) => {
      state.models = name ? [state.models[0], name] : [state.models[0]];
      act.chosen();
    });
    clipField.classList.add("lab-clip-field");

    function group(label, options) {
      const found = make("optgroup", "", null, { label });
      found.append(...options);
      return found;
    }

    const option = (name, title, chosen) => new Option(title, name, false, name === chosen);

    function fillClips(uploads) {
      const voices = new Map();
      for (const clip of choices.clips) {
        const kind = { f: "female", m: "male" }[clip.gender] || clip.gender;
        const voice = [clip.speaker, kind].filter(Boolean).join(", ");
        if (!voices.has(voice)) voices.set(voice, []);
        const seconds = clip.seconds ? `${clip.seconds.toFixed(1)} s: ` : "";
        voices.get(voice).push(option(clip.id, `${seconds}${clip.text || clip.id}`, state.clip));
      }
      const groups = [...voices].map(([voice, options]) => group(`Demo corpus, ${voice}`, options));
      if (uploads.length) {
        const mine = uploads.map((upload) => {
          const title = `${upload.name}, ${page.duration(upload.seconds)}`;
          return option(`~${upload.id}`, title, state.clip);
        });
        groups.unshift(group("Your recordings", mine));
      }
      clipSelect.replaceChildren(...groups);
    }

    function fillModels() {
      const all = choices.models;
      modelSelect.replaceChildren(...all.map((one) => option(one.name, one.title, state.models[0])));
      const others = all.filter((one) => one.name !== state.models[0]);
      besideSelect.replaceChildren(
        option("", "Nothing", state.models[1] || ""),
        ...others.map((one) => option(one.name, one.title, state.models[1])),
      );
    }

    // -- the dial -----------------------------------------------------------------------------

    function perturbations() {
      const says = { role: "radiogroup", "aria-label": "Perturbation" };
      const box = make("div", "lab-kinds", null, says);
      const buttons = choices.perturbations.map((dial) => {
        const one = make("button", "lab-kind", dial.title, {
          type: "button",
          role: "radio",
          "data-dial": dial.name,
        });
        one.addEventListener("click", () => turnTo(dial.name));
        return one;
      });
      const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
      box.addEventListener("keydown", (event) => {
        const step = STEPS[event.key];
        if (!step) return;
        event.preventDefault();
        const at = buttons.findIndex((one) => one.dataset.dial === state.by);
        const next = buttons[(at + step + buttons.length) % buttons.length];
        turnTo(next.dataset.dial);
        next.focus();
      });
      box.append(...buttons);
      return box;
    }

    function turnTo(name) {
      if (state.by === name) return;
      state.by = name;
      showDial();
      act.chosen();
    }

    const position = (dial, at) =>
      dial.logarithmic ? (POSITIONS * Math.log(at / dial.low)) / Math.log(dial.high / dial.low) : at;

    function strengthAt(dial, place) {
      if (!dial.logarithmic) return rounded(dial, place);
      return rounded(dial, dial.low * (dial.high / dial.low) ** (place / POSITIONS));
    }

    function read() {
      const dial = dialled();
      const written = page.labWritten(dial, state.at[dial.name]);
      value.textContent = written;
      input.setAttribute("aria-valuetext", `${written}`);
      const share = (input.value - input.min) / (input.max - input.min);
      input.style.setProperty("--share", share);
    }

    const dialBox = make("div", "lab-dial");

    function showDial() {
      for (const one of element.querySelectorAll("[data-dial]")) {
        const chosen = one.dataset.dial === state.by;
        one.setAttribute("aria-checked", String(chosen));
        one.tabIndex = chosen ? 0 : -1;
      }
      const dial = dialled();
      const whole = dial.logarithmic;
      input = make("input", "lab-range", null, {
        id: "lab-strength",
        type: "range",
        min: whole ? 0 : dial.low,
        max: whole ? POSITIONS : dial.high,
        step: whole ? 1 : dial.step,
        value: position(dial, state.at[dial.name]),
      });
      input.addEventListener("input", () => {
        state.at[dial.name] = strengthAt(dial, Number(input.value));
        read();
      });
      input.addEventListener("change", act.chosen);
      value = make("output", "lab-value", "", { for: "lab-strength" });
      const head = make("div", "lab-dial-head");
      head.append(make("label", "field-label", dial.parameter, { for: "lab-strength" }), value);
      const ends = make("div", "lab-ends", null, { "aria-hidden": "true" });
      [dial.low, dial.high].forEach((end, index) => {
        ends.append(make("span", "", `${page.labWritten(dial, end)}, ${dial.ends[index]}`));
      });
      const track = make("div", "lab-track");
      if (dial.neutral !== null && dial.neutral > dial.low) {
        const mark = make("i", "lab-neutral", "", { "aria-hidden": "true" });
        mark.style.left = `${(100 * (dial.neutral - dial.low)) / (dial.high - dial.low)}%`;
        track.append(mark);
      }
      track.append(input);
      const about = make("p", "field-note", `${dial.description} ${dial.alignment}`);
      dialBox.replaceChildren(head, track, ends, about);
      read();
    }

    const bar = make("div", "lab-choices");
    bar.append(clipField, modelField, besideField);
    element.append(bar, perturbations(), dialBox);
    fillModels();
    showDial();
    clipSelect.addEventListener("focus", act.refresh);
    return { element, fillClips };
  };
})();
