// The Signal Lab's two sounds: seen on one scale, heard one at a time, switched at one position.
// It shares the audio explorer's player, so that no two sounds of the page overlap; each of the two
// sections is told of its own sounds only.
(function () {
  "use strict";
  const page = window.insidessl;
  const make = page.make;
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const STILL_MS = 500; // between two places of the cursor where motion is not wanted
  const FADE_S = 0.006; // that the player takes to switch
  const PLAY = "M4 2.5v11l9.5-5.5z";
  const STOP = "M3.5 3.5h9v9h-9z";
  const SOUNDS = ["original", "perturbed"];
  const TITLES = { original: "Original", perturbed: "Perturbed" };

  // -- one player, two listeners --------------------------------------------------------------

  const player = { ...page.sound };
  const mine = (key) => typeof key === "string" && key.startsWith("lab/");
  let listener = () => {};

  function share() {
    const theirs = page.sound.changed;
    let last = null;
    page.sound.playing = () => (mine(player.playing()) ? null : player.playing());
    page.sound.position = () => (mine(player.playing()) ? 0 : player.position());
    page.sound.changed = (key) => {
      const before = last;
      last = key;
      const ended = before !== null && (key === null || mine(before) !== mine(key));
      if (ended) (mine(before) ? listener : theirs)(null);
      if (key !== null) (mine(key) ? listener : theirs)(key);
    };
  }

  // -- the two sounds -------------------------------------------------------------------------

  page.labSounds = function () {
    if (!page.sound.labShares) {
      share();
      page.sound.labShares = true;
    }
    const element = make("div", "lab-sounds", null, {
      role: "group",
      "aria-label": "Original and perturbed sound",
    });
    const cards = Object.fromEntries(SOUNDS.map((name, index) => [name, card(name, "AB"[index])]));
    const note = make("p", "field-note lab-sound-note");
    element.append(...SOUNDS.map((name) => cards[name].box), note);
    let shown = null; // places of the sounds, and their seconds
    let buffers = null;
    let at = 0; // share of the clip where playing starts
    let heard = null; // what plays
    let following = false;

    function card(name, letter) {
      const box = make("div", "lab-sound", null, { "data-sound": name });
      const start = make("button", "now-play", "", { type: "button" });
      start.innerHTML = '<svg viewBox="0 0 16 16" aria-hidden="true"><path></path></svg>';
      start.addEventListener("click", () => toggle(name));
      const head = make("div", "lab-sound-head");
      const title = make("div", "lab-sound-title");
      title.append(make("b", "", letter), make("span", "", TITLES[name]));
      const time = make("output", "now-time", "");
      head.append(start, title, time);
      const views = make("div", "now-views lab-views");
      const extent = make("div", "lab-extent");
      const wave = make("canvas", "now-wave lab-wave", null, { "aria-hidden": "true" });
      const spectrum = make("canvas", "now-spectrum lab-spectrum", null, { "aria-hidden": "true" });
      const cursor = make("i", "now-cursor");
      const seek = make("input", "now-seek", null, {
        type: "range",
        min: 0,
        max: 1,
        step: 0.001,
        value: 0,
        "aria-label": `Position in the ${TITLES[name].toLowerCase()} sound`,
      });
      seek.addEventListener("input", () => goTo(name, Number(seek.value)));
      extent.append(wave, spectrum, cursor, seek);
      views.append(extent, make("span", "lab-high", "8 kHz"), make("span", "lab-low", "0"));
      box.append(head, views);
      return { box, start, time, wave, spectrum, cursor, seek, extent };
    }

    const other = (name) => SOUNDS[1 - SOUNDS.indexOf(name)];
    const length = (name) => shown.seconds[SOUNDS.indexOf(name)];
    const share_ = () => (heard ? player.position() / length(heard) : at);

    async function play(name, share) {
      if (!shown) return;
      try {
        await player.play(`lab/${name}`, shown.places[name], share * length(name));
      } catch (error) {
        page.banner(`The ${TITLES[name].toLowerCase()} sound cannot be played: ${error.message}`);
      }
    }

    function toggle(name) {
      if (heard === name) player.stop();
      else if (heard) swap(name);
      else play(name, at);
    }

    // At the same moment of what is said, whatever the speed; the old sound fades first.
    function swap(name) {
      play(name, Math.min(1, (player.position() + FADE_S) / length(heard)));
    }

    function goTo(name, share) {
      at = share;
      if (heard) play(name, share);
      else moveCursors();
    }

    listener = (key) => {
      heard = key === null ? null : key.split("/")[1];
      if (key === null) at = 0;
      describe();
      page.announce(heard ? `Playing: ${TITLES[heard].toLowerCase()}.` : "Stopped.");
      if (heard) follow();
    };

    function describe() {
      for (const name of SOUNDS) {
        const { start, box } = cards[name];
        const playing = heard === name;
        start.disabled = !shown;
        start.setAttribute("aria-label", `${playing ? "Stop" : "Play"} the ${name} sound`);
        start.setAttribute("aria-pressed", String(playing));
        start.querySelector("path").setAttribute("d", playing ? STOP : PLAY);
        box.classList.toggle("is-playing", playing);
      }
      moveCursors();
    }

    function moveCursors() {
      const share = Math.min(1, share_());
      for (const name of SOUNDS) {
        const { cursor, seek, time } = cards[name];
        cursor.style.left = `${100 * share}%`;
        seek.value = share;
        if (!shown) continue;
        const seconds = share * length(name);
        seek.setAttribute("aria-valuetext", `${seconds.toFixed(1)} seconds`);
        time.textContent = `${seconds.toFixed(1)} / ${length(name).toFixed(1)} s`;
      }
    }

    function follow() {
      if (following) return;
      following = true;
      (function next() {
        moveCursors();
        if (!heard || !element.isConnected) return void (following = false);
        if (still.matches) setTimeout(next, STILL_MS);
        else requestAnimationFrame(next);
      })();
    }

    function draw() {
      if (!buffers) return;
      const longest = Math.max(...shown.seconds);
      for (const name of SOUNDS) {
        const { wave, spectrum, extent } = cards[name];
        extent.style.width = `${(100 * length(name)) / longest}%`;
        page.soundViews(buffers[name], buffers.loudest, wave, spectrum);
      }
    }

    // Sounds of an answer; the original's place stays while its bytes are the same, so that it is
    // fetched once for a clip.
    async function show(id, answer, current) {
      const base = `/api/v1/lab/${id}/`;
      const places = {};
      for (const name of SOUNDS) {
        const version = answer.versions[name];
        const known = shown && shown.places[name];
        const same = known && known.version === version;
        places[name] = same ? known : { base: base + name, version, lossless: true };
      }
      const [original, perturbed] = await Promise.all(
        SOUNDS.map((name) => page.sound.load(places[name])),
      );
      if (!current()) return;
      const was = heard;
      const share = share_();
      const changed = was && shown.places[was].version !== places[was].version;
      const peak = (buffer) => buffer.getChannelData(0).reduce((m, x) => Math.max(m, Math.abs(x)), 0);
      const loudest = peak(perturbed) > peak(original) ? perturbed : original;
      shown = { places, seconds: answer.seconds };
      buffers = { original, perturbed, loudest };
      say(answer);
      describe();
      draw();
      if (changed) play(was, share);
    }

    function say(answer) {
      const parts = [];
      if (answer.gain_db < 0) {
        const softer = Math.abs(answer.gain_db).toFixed(1);
        parts.push(
          `Both sounds are played ${softer} dB softer, so that neither clips; the models hear them ` +
            "as they are.",
        );
      }
      if (answer.notes.length) parts.push(`Read: ${answer.notes.join("; ")}.`);
      note.textContent = parts.join(" ");
    }

    function stop() {
      if (heard) player.stop();
    }

    element.addEventListener("pointerdown", (event) => {
      if (event.target.closest("button")) player.prepare();
    });
    describe();
    return {
      element,
      show,
      draw,
      stop,
      swap: () => (heard ? swap(other(heard)) : play("original", at)),
      playing: () => heard,
    };
  };
})();
