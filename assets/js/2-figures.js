// Saving a figure and its numbers, and switching curves on and off.
(function () {
  "use strict";
  const page = window.insidessl;

  document.addEventListener("click", (event) => {
    const save = event.target.closest("[data-export]");
    if (save) return void exportAs(save);
    const curve = event.target.closest(".curve[data-model]");
    if (curve) toggle(curve);
  });

  function toggle(curve) {
    const hidden = [...document.querySelectorAll(".curve[aria-pressed='false']")].map(
      (button) => button.dataset.model,
    );
    const known = new URLSearchParams(window.location.search).get("hide");
    const names = new Set([...(known ? known.split(",") : []), ...hidden]);
    const name = curve.dataset.model;
    const showing = curve.getAttribute("aria-pressed") === "true";
    if (showing) names.add(name);
    else names.delete(name);
    page.set("hide", { data: [...names].sort() });
    page.announce(`${curve.textContent} ${showing ? "hidden" : "shown"}.`);
  }

  async function exportAs(button) {
    const kind = button.dataset.export;
    try {
      if (kind === "svg" || kind === "png") await saveImage(button, kind);
      else await saveNumbers(button, kind);
      page.announce(`Saved as ${kind.toUpperCase()}.`);
    } catch (error) {
      page.banner(`The figure could not be saved: ${error.message}`);
    }
  }

  async function saveImage(button, kind) {
    const plot = document.querySelector(`#${button.dataset.graph} .js-plotly-plot`);
    const { width, height } = plot.getBoundingClientRect();
    await window.Plotly.downloadImage(plot, {
      format: kind,
      filename: button.dataset.name,
      width: Math.round(width),
      height: Math.round(height),
      scale: kind === "png" ? 3 : 1,
    });
  }

  async function saveNumbers(button, kind) {
    const texts = await Promise.all(
      button.dataset.urls.split(" ").map(async (address) => {
        const response = await fetch(address);
        if (!response.ok) {
          throw new Error(page.message(await response.json().catch(() => null), response.status));
        }
        return response.text();
      }),
    );
    const whole = kind === "csv" ? joinCsv(texts) : `[\n${texts.map((t) => t.trim()).join(",\n")}\n]\n`;
    const type = kind === "csv" ? "text/csv" : "application/json";
    const address = URL.createObjectURL(new Blob([whole], { type }));
    const link = page.make("a", "", "", { href: address, download: `${button.dataset.name}.${kind}` });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  function joinCsv(texts) {
    return texts.map((text, i) => (i ? text.slice(text.indexOf("\n") + 1) : text)).join("");
  }
})();
