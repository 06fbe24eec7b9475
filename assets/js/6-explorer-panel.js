// What the audio explorer plays: its name, its picture with a moving cursor, its scores; and the two
// sounds, A and B, that are switched between at one position.
(function () {
  "use strict";
  const page = window.insidessl;
  const make = page.make;
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const STILL_MS = 500; // between two places of the cursor where motion is not wanted
  const PLAY = "M4 2.5v11l9.5-5.5z";
  const STOP = "M3.5 3.5h9v9h-9z";

  // Of `shown`, an example. `act` says what buttons do: toggle(sound), compare("a" | "b"), keep(),
  // seek(seconds). `state()` is asked for what there is: heard, a, b, at (seconds).
  page.explorerPanel = function (shown, { act, state, own }) {
    const { sound } = page;
    const element = make("div", "now", null, { role: "group", "aria-label": "Now playing" });
    const $ = (selector) => element.querySelector(selector);
    let drawn = "";
    let following = false;

    function build() {
      element.append(
        head(),
        views(),
        pair(),
        references(),
        make("dl", "now-scores"),
        links(),
        make("p", "field-note now-made", made()),
      );
    }

    function head() {
      const box = make("div", "now-head");
      const start = make("button", "now-play", "", { type: "button" });
      start.innerHTML = '<svg viewBox="0 0 16 16" aria-hidden="true"><path></path></svg>';
      start.addEventListener("click", () => act.toggle(state().heard));
      const title = make("div", "now-title");
      title.append(make("h3", "now-name", ""), make("p", "now-what", ""));
      box.append(start, title, make("output", "now-time", ""));
      return box;
    }

    function views() {
      const box = make("div", "now-views");
      const seek = make("input", "now-seek", null, {
        type: "range",
        min: 0,
        max: shown.seconds,
        step: 0.01,
        value: 0,
        "aria-label": "Position",
      });
      seek.addEventListener("input", () => act.seek(Number(seek.value)));
      box.append(
        make("canvas", "now-wave", null, { "aria-hidden": "true" }),
        make("canvas", "now-spectrum", null, { "aria-hidden": "true" }),
        make("span", "now-high", "8 kHz"),
        make("span", "now-low", "0"),
        make("i", "now-cursor"),
        seek,
      );
      return box;
    }

    function pair() {
      const says = { role: "group", "aria-label": "Compare at the same position" };
      const box = make("div", "now-pair", null, says);
      for (const slot of ["a", "b"]) {
        const one = make("button", "slot", null, { type: "button", "data-slot": slot });
        one.append(make("b", "", slot.toUpperCase()), make("span", "slot-name", ""));
        one.addEventListener("click", () => act.compare(slot));
        box.append(one);
      }
      const why = "Hold this cell against the next one you choose";
      const keep = make("button", "quiet", "Keep B as A", { type: "button", title: why });
      keep.addEventListener("click", act.keep);
      box.append(keep);
      return box;
    }

    function references() {
      const box = make("div", "now-others");
      for (const name of ["original", "vocoder"]) {
        const about = { type: "button", "data-sound": name };
        const one = make("button", "button small", shown.titled(name), about);
        const near = () => sound.load(shown.place(name)).catch(() => {});
        one.addEventListener("click", () => act.toggle(name));
        one.addEventListener("pointerover", near);
        one.addEventListener("focus", near);
        box.append(one);
      }
      return box;
    }

    function links() {
      const box = make("p", "now-links");
      box.append(
        make("a", "now-wav", "Download WAV", { download: "" }),
        make("button", "quiet now-copy", "Copy link", { type: "button" }),
      );
      if (!own) box.append(make("a", "now-page", "Its own page"));
      return box;
    }

    function made() {
      const { preset, size, tokens } = shown.decoders;
      const kind = preset === "flow" ? "Flow-matching" : "Regression (first look)";
      const blocks = size.blocks ? ` of ${size.blocks} blocks of ${size.width}` : "";
      const read = tokens ? `, layers quantised to ${tokens} tokens` : "";
      const gain = shown.config.gain_db;
      const level = `${gain < 0 ? "−" : "+"}${Math.abs(gain).toFixed(1)} dB`;
      const recording = shown.own
        ? ["yours, seen by nobody else", ...shown.notes].join("; ")
        : [shown.corpus, shown.licence].filter(Boolean).join(", ");
      const judges = ["content", "speaker"]
        .filter((name) => shown.metrics[name])
        .map((name) => shown.metrics[name].scored_by);
      const text = shown.text ? `“${shown.text}” ` : "";
      return (
        `${text}${kind} decoders${blocks}${read}, vocoder ${shown.vocoder.name}. Every sound, the ` +
        `original too, is of speech at −${-shown.level_dbfs} dBFS; all cells and the vocoder get ` +
        `one gain of ${level}. Words judged by ${judges[0]}, the voice by ` +
        `${judges[1]}. Recording: ${recording}.`
      );
    }

    function what(heard) {
      if (heard === "original") return "The recording itself, at the level of the others";
      if (heard === "vocoder") return "The original’s own mel, vocoded: the most a cell can reach";
      const [i, j] = heard.split("/");
      return shown.spoken(heard) + (i === j ? ": its own" : "");
    }

    function describe() {
      const { heard, a, b } = state();
      const playing = sound.playing();
      $(".now-name").textContent = shown.titled(heard);
      $(".now-what").textContent = what(heard);
      const start = $(".now-play");
      start.setAttribute("aria-label", playing === heard ? "Stop" : `Play ${shown.spoken(heard)}`);
      start.querySelector("path").setAttribute("d", playing === heard ? STOP : PLAY);
      for (const [slot, name] of [["a", a], ["b", b]]) {
        const one = $(`[data-slot="${slot}"]`);
        one.querySelector(".slot-name").textContent = shown.titled(name);
        one.setAttribute("aria-pressed", String(heard === name));
        one.setAttribute("aria-label", `${slot.toUpperCase()}: ${shown.spoken(name)}`);
        one.disabled = shown.pending(name);
      }
      for (const one of element.querySelectorAll("[data-sound]")) {
        one.setAttribute("aria-pressed", String(one.dataset.sound === playing));
      }
      scores(heard);
      $(".now-wav").href = `${shown.place(heard).base}.wav?v=${shown.version}`;
      const link = `${shown.page}/${b}`;
      $(".now-copy").dataset.copy = window.location.origin + link;
      if (!own) $(".now-page").href = link;
      draw();
      moveCursor();
      if (playing) follow();
    }

    function scores(heard) {
      const list = $(".now-scores");
      list.replaceChildren();
      for (const [name, metric] of Object.entries(shown.metrics)) {
        const value = shown.score(name, heard);
        if (value === undefined) continue;
        const direction = metric.higher_is_better ? "higher" : "lower";
        const why = shown.reason(name, heard);
        list.append(
          make("dt", "", `${metric.title}, ${direction} is better`),
          make("dd", "", shown.valued(name, value) + (why ? ` (${why})` : "")),
        );
      }
    }

    async function draw() {
      const { heard } = state();
      const scheme = document.documentElement.getAttribute("data-mantine-color-scheme");
      const mark = `${heard} ${scheme} ${$(".now-views").clientWidth}`;
      if (mark === drawn) return;
      drawn = mark;
      let sounds;
      try {
        sounds = await Promise.all(
          [heard, "original"].map((name) => sound.load(shown.place(name))),
        );
      } catch (error) {
        drawn = "";
        return; // playing it says why
      }
      await new Promise((done) => requestAnimationFrame(() => setTimeout(done))); // sound first
      if (mark !== drawn) return;
      page.soundViews(...sounds, $(".now-wave"), $(".now-spectrum"));
      $(".now-seek").max = sounds[0].duration;
    }

    function moveCursor() {
      const seconds = sound.playing() ? sound.position() : state().at;
      $(".now-cursor").style.left = `${100 * Math.min(1, seconds / shown.seconds)}%`;
      $(".now-time").textContent = `${seconds.toFixed(1)} / ${shown.seconds.toFixed(1)} s`;
      const seek = $(".now-seek");
      seek.value = seconds;
      seek.setAttribute("aria-valuetext", `${seconds.toFixed(1)} seconds`);
    }

    function follow() {
      if (following) return;
      following = true;
      (function next() {
        moveCursor();
        if (!sound.playing() || !element.isConnected) return void (following = false);
        if (still.matches) setTimeout(next, STILL_MS);
        else requestAnimationFrame(next);
      })();
    }

    build();
    return { element, describe, draw, moveCursor };
  };
})();
