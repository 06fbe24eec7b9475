// The cells of the audio explorer: a button each, one of them in the order of tabs at a time.
(function () {
  "use strict";
  const page = window.insidessl;
  const make = page.make;
  const SHADES = 9;
  const FAR = 4.4; // from here on a shade is nearer to the ink than to the ground

  // Of `shown`, an example; `pick(i, j)` is called for a cell that was clicked, `near(i, j)` for
  // one that is pointed at or focused.
  page.explorerCells = function (shown, { pick, near }) {
    const element = make("div", "cells-box");
    const grid = make("div", "cells", null, {
      role: "grid",
      "aria-label": "Cells: a row a decoder, a column a token layer",
    });
    const reading = make("p", "cells-reading", "");
    const scale = make("div", "cells-scale");
    const worse = make("span", "scale-worse");
    const better = make("span", "scale-better");
    let metric = "";
    let told = null; // the cell that was read last

    const button = (i, j) => grid.querySelector(`.cell[data-i="${i}"][data-j="${j}"]`);
    const buttons = () => grid.querySelectorAll(".cell");
    const at = (one) => [Number(one.dataset.i), Number(one.dataset.j)];

    function build() {
      grid.style.setProperty("--count", shown.layers.length);
      const head = make("div", "cells-row", null, { role: "row" });
      head.append(make("span", "", "", { role: "presentation" }));
      for (const layer of shown.layers) {
        const says = { role: "columnheader", "aria-label": `Tokens of layer ${layer}` };
        head.append(make("span", "cells-column", layer, says));
      }
      grid.append(head, ...shown.layers.map(line));
      scale.append(worse, make("i", "scale-bar"), better);
      element.append(
        make("p", "cells-across", "Tokens z(j) of layer j →"),
        make("p", "cells-down", "Decoder D(i) →"),
        grid,
        scale,
        reading,
        make(
          "p",
          "field-note cells-keys",
          "Arrow keys move, Enter plays and stops, Escape stops, X switches A and B. " +
            "A ring marks a decoder on its own layer.",
        ),
      );
    }

    function line(layer, i) {
      const row = make("div", "cells-row", null, { role: "row" });
      const says = { role: "rowheader", "aria-label": `Decoder ${layer}` };
      row.append(make("span", "cells-name", layer, says));
      if (!shown.rows.includes(i)) {
        const why = `no decoder: ${shown.missing[layer]}`;
        row.append(make("span", "cells-missing", why, { role: "gridcell", title: why }));
        return row;
      }
      shown.layers.forEach((_token, j) => {
        const holder = make("span", "cells-cell", null, { role: "gridcell" });
        const about = { type: "button", tabindex: -1, "data-i": i, "data-j": j };
        holder.append(make("button", i === j ? "cell own" : "cell", "", about));
        row.append(holder);
      });
      return row;
    }

    function paint(name) {
      metric = name;
      const { higher_is_better: higher, cells, title } = shown.metrics[metric];
      const values = cells.flat().filter((value) => value !== null);
      const [low, high] = [Math.min(...values), Math.max(...values)];
      for (const one of buttons()) {
        const sound = at(one).join("/");
        const value = shown.score(metric, sound);
        const pending = shown.pending(sound);
        one.setAttribute("aria-label", `${shown.spoken(sound)}: ${said(sound, title)}`);
        one.classList.toggle("void", value === null && !pending);
        one.classList.toggle("pending", pending);
        if (pending) one.setAttribute("aria-disabled", "true");
        else one.removeAttribute("aria-disabled");
        const share = high > low ? (value - low) / (high - low) : 0.5;
        const good = (higher ? share : 1 - share) * (SHADES - 1);
        one.style.background = value === null ? "" : shade(good);
        one.classList.toggle("far", value !== null && good > FAR);
      }
      const ends = higher ? [low, high] : [high, low];
      const [bad, good] = values.length ? ends.map((v) => shown.valued(metric, v)) : ["", ""];
      scale.hidden = !values.length;
      if (told) read(...told);
      worse.textContent = `worse, ${bad}`;
      better.textContent = `${good}, better`;
    }

    function said(sound, title) {
      if (shown.pending(sound)) return "not decoded yet";
      return `${title} ${shown.valued(metric, shown.score(metric, sound))}`;
    }

    function shade(place) {
      const under = Math.min(Math.floor(place), SHADES - 2);
      const share = (100 * (place - under)).toFixed(1);
      return `color-mix(in oklab, var(--v${under + 1}) ${share}%, var(--v${under}))`;
    }

    function tab(i, j) {
      for (const one of grid.querySelectorAll('.cell[tabindex="0"]')) one.tabIndex = -1;
      button(i, j).tabIndex = 0;
      return button(i, j);
    }

    function choose(i, j) {
      for (const one of grid.querySelectorAll(".cell.chosen")) one.classList.remove("chosen");
      tab(i, j).classList.add("chosen");
      read(i, j);
    }

    function read(i, j) {
      told = [i, j];
      const sound = `${i}/${j}`;
      const why = shown.reason(metric, sound);
      const words = said(sound, shown.metrics[metric].title);
      reading.textContent = `${shown.spoken(sound)}: ${words}${why ? ` (${why})` : ""}`;
    }

    function move(event) {
      const from = event.target.closest(".cell");
      if (!from || event.altKey || event.metaKey) return;
      let [i, j] = at(from);
      const { rows } = shown;
      const last = shown.layers.length - 1;
      const step = (by) => rows[Math.min(Math.max(rows.indexOf(i) + by, 0), rows.length - 1)];
      if (event.key === "ArrowRight") j = Math.min(j + 1, last);
      else if (event.key === "ArrowLeft") j = Math.max(j - 1, 0);
      else if (event.key === "ArrowDown") i = step(1);
      else if (event.key === "ArrowUp") i = step(-1);
      else if (event.key === "Home") [i, j] = [event.ctrlKey ? rows[0] : i, 0];
      else if (event.key === "End") [i, j] = [event.ctrlKey ? rows[rows.length - 1] : i, last];
      else return;
      event.preventDefault();
      tab(i, j).focus();
    }

    build();
    grid.addEventListener("keydown", move);
    grid.addEventListener("click", (event) => {
      const one = event.target.closest(".cell");
      if (!one) return;
      one.focus();
      if (!shown.pending(at(one).join("/"))) pick(...at(one));
    });
    for (const kind of ["pointerover", "focusin"]) {
      grid.addEventListener(kind, (event) => {
        const one = event.target.closest(".cell");
        if (!one) return;
        read(...at(one));
        if (!shown.pending(at(one).join("/"))) near(...at(one));
      });
    }

    return {
      element,
      paint,
      choose,
      focus: (i, j) => button(i, j).focus({ preventScroll: true }),
      sounds(playing) {
        for (const one of grid.querySelectorAll('.cell[aria-pressed="true"]')) {
          one.setAttribute("aria-pressed", "false");
        }
        if (playing && shown.isCell(playing)) {
          button(...playing.split("/")).setAttribute("aria-pressed", "true");
        }
      },
    };
  };
})();
