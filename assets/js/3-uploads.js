// The visitor's files: chosen or dropped, streamed to the server, listed, deleted.
(function () {
  "use strict";
  const page = window.insidessl;
  const files = []; // {id, name, seconds, bytes, notes, state: sending | ready | error, ...}
  let input = null;

  page.ready("files", (place) => {
    input = page.make("input", "", null, {
      type: "file",
      multiple: "",
      accept: place.dataset.accept,
      "aria-label": "Choose recordings",
      tabindex: "-1",
    });
    input.addEventListener("change", () => {
      add([...input.files]);
      input.value = "";
    });
    place.append(input);
    restore();
  });

  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-choose]") && input) input.click();
  });

  // Anywhere on the page counts: a file dropped beside the box must not replace the page.
  for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
    document.addEventListener(name, (event) => {
      if (!event.dataTransfer || ![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      const over = name === "dragenter" || name === "dragover";
      for (const box of document.querySelectorAll(".drop")) box.classList.toggle("is-over", over);
      if (name === "drop") add([...event.dataTransfer.files]);
    });
  }

  async function restore() {
    try {
      const answer = await page.api("GET", "/uploads");
      for (const upload of answer.uploads) keep(upload);
    } catch (error) {
      page.banner(error.message);
    }
    draw();
  }

  function keep(upload) {
    if (!files.some((file) => file.id === upload.id)) {
      files.push({ ...upload, state: "ready", use: true });
    }
  }

  let chain = Promise.resolve();

  function add(chosen) {
    for (const file of chosen) {
      const entry = { name: file.name, bytes: file.size, state: "sending", sent: 0 };
      files.push(entry);
      chain = chain.then(() => send(file, entry)).then(draw);
    }
    draw();
    const box = document.getElementById("analyze");
    if (box && chosen.length) page.announce(`${chosen.length} file(s) being sent.`);
  }

  // XMLHttpRequest, not fetch: it tells how much has been sent.
  function send(file, entry) {
    return new Promise((resolve) => {
      const form = new FormData();
      form.append("files", file, file.name);
      const request = new XMLHttpRequest();
      request.open("POST", "/api/v1/uploads");
      request.responseType = "json";
      request.upload.onprogress = (event) => {
        if (event.lengthComputable) {
          entry.sent = event.loaded / event.total;
          progress(entry);
        }
      };
      request.onload = () => {
        const answer = request.response;
        const outcome = answer && answer.files && answer.files[0];
        if (outcome && outcome.ok) accept(entry, outcome.upload);
        else {
          const why = (outcome && outcome.error && outcome.error.message) || null;
          refuse(entry, why || page.message(answer, request.status));
        }
        resolve();
      };
      request.onerror = () => {
        refuse(entry, "The server does not answer. Is it still running?");
        resolve();
      };
      entry.abort = () => request.abort();
      request.onabort = () => resolve();
      request.send(form);
    });
  }

  function accept(entry, upload) {
    const twin = files.find((file) => file.id === upload.id);
    if (twin) {
      files.splice(files.indexOf(entry), 1);
      twin.use = true;
      return;
    }
    Object.assign(entry, upload, { state: "ready", use: true });
    page.announce(`${upload.name} is ready.`);
  }

  function refuse(entry, why) {
    Object.assign(entry, { state: "error", why });
    page.announce(why);
  }

  async function remove(entry) {
    if (entry.state === "sending") entry.abort();
    if (entry.id) {
      try {
        await page.api("DELETE", `/uploads/${entry.id}`);
      } catch (error) {
        if (error.status !== 404) return page.banner(error.message);
      }
    }
    files.splice(files.indexOf(entry), 1);
    page.announce(`${entry.name} deleted.`);
    document.dispatchEvent(new CustomEvent("forgotten"));
    draw();
    if (!files.some((file) => file.id) && page.forgetAnalysis) page.forgetAnalysis();
  }

  async function removeAll() {
    try {
      await page.api("DELETE", "/uploads");
    } catch (error) {
      return page.banner(error.message);
    }
    files.splice(0);
    if (page.forgetAnalysis) page.forgetAnalysis();
    document.dispatchEvent(new CustomEvent("forgotten"));
    page.announce("Your recordings and what was computed from them are deleted.");
    draw();
  }

  // -- drawing --------------------------------------------------------------------------------

  function draw() {
    document.dispatchEvent(new CustomEvent("uploads"));
    const list = document.getElementById("file-list");
    if (!list) return;
    list.replaceChildren(...files.map(row));
    if (files.some((file) => file.id)) {
      const foot = page.make("li", "files-foot");
      const button = page.make("button", "quiet", "Delete my data", { id: "forget", type: "button" });
      button.addEventListener("click", removeAll);
      foot.append(page.make("span", "field-note", expiry()), button);
      list.append(foot);
    }
    page.refreshRun();
  }

  function row(entry) {
    const item = page.make("li", entry.state === "error" ? "is-error" : "");
    entry.row = item;
    const name = page.make("span", "file-name", entry.name);
    if (entry.state === "ready") {
      const label = page.make("label", "file-name");
      const box = page.make("input", "", null, { type: "checkbox" });
      box.checked = entry.use;
      box.addEventListener("change", () => {
        entry.use = box.checked;
        page.refreshRun();
      });
      label.append(box, ` ${entry.name}`);
      item.append(label);
    } else item.append(name);
    const size = `${(entry.bytes / 2 ** 20).toFixed(entry.bytes > 2 ** 20 ? 1 : 2)} MB`;
    const facts = entry.state === "ready" ? page.duration(entry.seconds) : size;
    item.append(page.make("span", "file-facts", facts));
    const button = page.make("button", "quiet", entry.state === "error" ? "Dismiss" : "Delete", {
      type: "button",
      "aria-label": `${entry.state === "error" ? "Dismiss" : "Delete"} ${entry.name}`,
    });
    button.addEventListener("click", () => remove(entry));
    item.append(button);
    if (entry.state === "sending") {
      item.append(meter(entry.sent, `Sending ${entry.name}`));
    }
    const notes = entry.state === "error" ? [entry.why] : entry.notes || [];
    for (const note of notes) item.append(page.make("span", "file-note", note));
    return item;
  }

  function meter(share, label) {
    const bar = page.make("div", "meter", null, {
      role: "progressbar",
      "aria-label": label,
      "aria-valuemin": "0",
      "aria-valuemax": "100",
      "aria-valuenow": String(Math.round(100 * share)),
    });
    const fill = page.make("span");
    fill.style.width = `${100 * share}%`;
    bar.append(fill);
    return bar;
  }

  page.meter = meter;

  function progress(entry) {
    const old = entry.row && entry.row.querySelector(".meter");
    if (old) old.replaceWith(meter(entry.sent, `Sending ${entry.name}`));
  }

  function expiry() {
    const soonest = files.map((file) => file.expires).filter(Boolean).sort()[0];
    const hours = (new Date(soonest) - Date.now()) / 3.6e6;
    if (!(hours > 0)) return "";
    return hours >= 1.5
      ? `Deleted by itself in ${Math.round(hours)} hours.`
      : `Deleted by itself in ${Math.max(1, Math.round(60 * hours))} minutes.`;
  }

  // Those chosen for an analysis, or all.
  page.uploads = (all) => files.filter((file) => file.state === "ready" && (all || file.use));
  // Why the file that came last was refused; "" where it was not.
  page.lastRefusal = () => {
    const last = files[files.length - 1];
    return last && last.state === "error" ? last.why : "";
  };
  page.addFiles = add;
  page.sending = () => chain;
  page.busySending = () => files.some((file) => file.state === "sending");
})();
