// What every part of the page uses: the API, the live region, copying, and what the screen is.
(function () {
  "use strict";
  const page = (window.insidessl = {});
  const narrow = window.matchMedia("(max-width: 759px)");

  // -- talking to the server ------------------------------------------------------------------

  page.message = function (body, status) {
    const said = body && body.error && body.error.message;
    return said || `The server answered ${status || "nothing"}. Try again in a moment.`;
  };

  page.api = async function (method, path, body) {
    const options = { method, headers: { Accept: "application/json" } };
    if (body !== undefined) {
      options.headers["Content-Type"] = "application/json";
      options.body = JSON.stringify(body);
    }
    let response;
    try {
      response = await fetch(`/api/v1${path}`, options);
    } catch (offline) {
      const error = new Error("The server does not answer. Is it still running?");
      error.status = 0;
      throw error;
    }
    const answer = await response.json().catch(() => null);
    if (!response.ok) {
      const error = new Error(page.message(answer, response.status));
      error.status = response.status;
      throw error;
    }
    return answer;
  };

  // A view that cannot be fetched says so, and stops saying so with the next one that can.
  let offline = "";
  const plainFetch = window.fetch;
  window.fetch = async function (resource, options) {
    const address = String((resource && resource.url) || resource);
    const view = address.includes("_dash-update-component");
    try {
      const response = await plainFetch.call(window, resource, options);
      if (view && response.ok && offline) page.banner((offline = ""));
      return response;
    } catch (failure) {
      offline = "The server does not answer. Is it still running? Nothing here is lost.";
      if (view) page.banner(offline);
      throw failure;
    }
  };

  page.banner = function (text) {
    const banner = document.getElementById("error");
    if (!banner) return;
    banner.replaceChildren();
    if (!text) return;
    const close = page.make("button", "quiet", "Dismiss", { type: "button" });
    close.addEventListener("click", () => page.banner(""));
    banner.append(page.make("p", "", text), close);
  };

  // -- the document ---------------------------------------------------------------------------

  page.ready = function (id, then) {
    const found = document.getElementById(id);
    if (found) return then(found);
    const watch = new MutationObserver(() => {
      const late = document.getElementById(id);
      if (late) {
        watch.disconnect();
        then(late);
      }
    });
    watch.observe(document.documentElement, { childList: true, subtree: true });
  };

  // What is far down the page is fetched once it comes near the screen.
  page.near = function (id, then) {
    page.ready(id, (found) => {
      const watch = new IntersectionObserver(
        (entries) => {
          if (!entries.some((entry) => entry.isIntersecting)) return;
          watch.disconnect();
          then(found);
        },
        { rootMargin: "600px" },
      );
      watch.observe(found);
    });
  };

  page.make = function (tag, className, text, attributes) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined && text !== null) element.textContent = text;
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    return element;
  };

  page.announce = function (text) {
    const region = document.getElementById("announce");
    if (region && region.textContent !== text) region.textContent = text;
  };

  page.duration = function (seconds) {
    if (seconds < 59.5) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
    const minutes = Math.floor(Math.round(seconds) / 60);
    if (minutes < 60) return `${minutes} min ${Math.round(seconds) - 60 * minutes} s`;
    return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  };

  page.set = function (id, props) {
    window.dash_clientside.set_props(id, props);
  };

  // -- the address ----------------------------------------------------------------------------

  // Each part of the page sets its own parameters (null takes one away) and leaves the others. The
  // app is told of an address only where the visitor went to it (see callbacks/screen.py).
  let search = window.location.search;
  let visits = 1;

  page.setParameters = function (values, replace) {
    const query = new URLSearchParams(window.location.search);
    for (const [name, value] of Object.entries(values)) {
      if (value === null) query.delete(name);
      else query.set(name, value);
    }
    const text = query.toString().replaceAll("%2C", ",");
    const next = text ? `?${text}` : "";
    if (next === window.location.search) return;
    search = next;
    const address = `${window.location.pathname}${next}${window.location.hash}`;
    window.history[replace ? "replaceState" : "pushState"](null, "", address);
  };

  window.addEventListener("popstate", () => {
    if (window.location.search === search) return; // only the part after the # changed
    search = window.location.search;
    visits += 1;
    page.set("asked", { data: { search, visit: visits } });
  });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copyFrom);
    const text = button.dataset.copy || (source && source.textContent) || "";
    const before = button.dataset.label || button.textContent;
    button.dataset.label = before;
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch (refused) {
      done = copyBySelection(text);
    }
    button.textContent = done ? "Copied" : "Select it and press Ctrl-C";
    page.announce(done ? "Copied." : "The browser refused to copy.");
    setTimeout(() => (button.textContent = before), 1600);
  });

  function copyBySelection(text) {
    const area = page.make("textarea", "sr-only");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }

  // -- the screen -----------------------------------------------------------------------------

  // Mantine writes the scheme on the root element, whoever changes it.
  const root = document.documentElement;
  const screen = () => ({
    scheme: root.getAttribute("data-mantine-color-scheme") === "dark" ? "dark" : "light",
    compact: narrow.matches,
  });
  let told = null;
  function tell() {
    const now = screen();
    if (!told || (told.scheme === now.scheme && told.compact === now.compact)) return;
    told = now;
    page.set("screen", { data: now });
  }
  narrow.addEventListener("change", tell);
  new MutationObserver(tell).observe(root, { attributeFilter: ["data-mantine-color-scheme"] });

  // -- what the server hands over as HTML (pages/markup.py) -----------------------------------

  function paint(id, markup) {
    const place = document.getElementById(id);
    if (!place || place.dataset.painted === markup) return;
    const summaries = [...place.querySelectorAll("details[open] > summary")];
    const open = new Set(summaries.map((summary) => summary.textContent));
    const focused = place.contains(document.activeElement) ? markOf(document.activeElement) : "";
    place.innerHTML = markup;
    place.dataset.painted = markup;
    for (const summary of place.querySelectorAll("details > summary")) {
      if (open.has(summary.textContent)) summary.parentElement.open = true;
    }
    const again =
      focused && [...place.querySelectorAll("button, summary, a")].find((e) => markOf(e) === focused);
    if (again) again.focus({ preventScroll: true });
  }

  const markOf = (element) => element.dataset.model || element.textContent;

  // A link to a section is followed once the section is there.
  if (/^#(dynamics|gcm|explorer|analyze)$/.test(window.location.hash)) {
    page.ready(window.location.hash.slice(1), (section) =>
      requestAnimationFrame(() => section.scrollIntoView({ behavior: "instant" })),
    );
  }

  // -- light and dark -------------------------------------------------------------------------

  page.ready("scheme", (button) => {
    const show = () => button.setAttribute("aria-pressed", String(screen().scheme === "dark"));
    button.addEventListener("click", () => {
      const next = screen().scheme === "dark" ? "light" : "dark";
      const key = "mantine-color-scheme-value";
      root.setAttribute("data-mantine-color-scheme", next);
      try {
        localStorage.setItem(key, next);
        // Mantine listens to other windows; this window's choice is told it in the same way.
        const told = { key, newValue: next, storageArea: localStorage };
        window.dispatchEvent(new StorageEvent("storage", told));
      } catch (blocked) {
        page.announce("The browser keeps no choice of colour scheme for this page.");
      }
      show();
    });
    show();
  });

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    insidessl: {
      screen() {
        told = screen();
        return told;
      },
      asked() {
        return { search, visit: visits };
      },
      shown(part) {
        if (part) page.setParameters(part.values, part.replace);
      },
      paint(parts) {
        for (const [id, markup] of Object.entries(parts || {})) paint(id, markup);
      },
      trouble(trouble) {
        if (trouble) page.banner(trouble.message);
      },
      choices(models, lenses, perturbation) {
        page.choices = { models: models || [], lenses: lenses || [], perturbation };
        if (page.refreshRun) page.refreshRun();
        return window.dash_clientside.no_update;
      },
    },
  });
})();
