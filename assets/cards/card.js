// The figures of a model's card: fetched for the colour scheme and the width, drawn by Plotly.
(function () {
  "use strict";
  const page = window.insidessl;
  const root = document.documentElement;
  const narrow = window.matchMedia("(max-width: 759px)");
  const places = [...document.querySelectorAll("[data-figure]")];
  if (!places.length) return;
  const config = { displayModeBar: false, responsive: true, doubleClick: "reset" };
  let wanted = "";

  async function draw() {
    const dark = root.getAttribute("data-mantine-color-scheme") === "dark";
    const query = `?scheme=${dark ? "dark" : "light"}&compact=${narrow.matches ? 1 : 0}`;
    if (query === wanted) return;
    wanted = query;
    let figures;
    try {
      const response = await fetch(document.body.dataset.figures + query);
      if (!response.ok) throw new Error(`the server answered ${response.status}`);
      figures = await response.json();
    } catch (error) {
      page.banner(`The figures could not be fetched (${error.message}). Reload the page.`);
      return;
    }
    if (query !== wanted) return;
    for (const place of places) {
      const figure = figures[place.dataset.figure];
      if (!figure) continue;
      place.parentElement.style.height = `${figure.layout.height + 14}px`;
      await window.Plotly.react(place, figure.data, figure.layout, config);
      place.closest(".panel").classList.remove("is-loading");
    }
  }

  narrow.addEventListener("change", draw);
  new MutationObserver(draw).observe(root, { attributeFilter: ["data-mantine-color-scheme"] });
  draw();
})();
