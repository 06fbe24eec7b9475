// The visitor's own audio in the audio explorer: choose or record it, pick a model, and the matrix
// is decoded on the worker while its finished rows can be heard.
(function () {
  "use strict";
  const page = window.insidessl;
  const make = page.make;

  let root = null;
  let known = { models: [], others: [], longest_s: 10 };
  let recorder = null; // while the microphone is on
  let current = null; // the job that is being watched
  let upload = ""; // id of the chosen recording
  let trouble = ""; // why the microphone cannot be used
  let model = "";
  const $ = (selector) => root.querySelector(selector);

  async function begin(found) {
    root = found;
    try {
      known = await page.api("GET", "/decoders");
    } catch (error) {
      return void page.banner(error.message);
    }
    model = (known.models[0] || known.others[0] || {}).model || "";
    root.append(source(), choices(), make("div", "own-job", null, { id: "own-job" }));
    document.addEventListener("uploads", refresh);
    refresh();
    resume();
  }

  // -- what is asked for ----------------------------------------------------------------------

  function source() {
    const box = make("div", "drop own-drop");
    const words = make("p", "drop-title");
    words.append(
      make("span", "drop-words", "Drop a recording of speech here, or "),
      make("button", "link", "choose a file", { type: "button", "data-choose": "files" }),
      ", or",
    );
    const start = make("button", "button small own-record", "Record", { type: "button" });
    start.addEventListener("click", record);
    const line = make("div", "own-line");
    line.append(words, start);
    const live = make("div", "own-live", null, { hidden: "" });
    const says = `Its first ${known.longest_s} s are decoded. Seen and heard by nobody but you.`;
    box.append(line, live, make("p", "field-note own-source-note", says, { "aria-live": "polite" }));
    return box;
  }

  function choices() {
    const box = make("div", "own-choices");
    const recordings = make("select", "plain-select", null, { id: "own-upload" });
    recordings.addEventListener("change", () => {
      upload = recordings.value;
      refresh();
    });
    const models = make("select", "plain-select", null, { id: "own-model" });
    for (const [title, list] of [
      ["Can be heard here", known.models],
      ["No decoders here", known.others],
    ]) {
      const group = make("optgroup", "", null, { label: title });
      group.append(...list.map((one) => new Option(one.title, one.model, false, one.model === model)));
      if (list.length) models.append(group);
    }
    models.addEventListener("change", () => {
      model = models.value;
      refresh();
    });
    const run = make("button", "button primary", "Decode every layer", { id: "own-run", type: "button" });
    run.addEventListener("click", decode);
    const row = make("div", "own-fields");
    row.append(field("Recording", recordings), field("Model", models), run);
    const note = make("div", "field-note", null, { id: "own-note", "aria-live": "polite" });
    box.append(row, note);
    return box;
  }

  function field(label, control) {
    const box = make("div", "field");
    box.append(make("label", "field-label", label, { for: control.id }), control);
    return box;
  }

  function refresh() {
    const list = page.uploads ? page.uploads(true) : [];
    const select = $("#own-upload");
    const newest = list[list.length - 1];
    const fresh = newest && ![...select.options].some((option) => option.value === newest.id);
    if (fresh) trouble = "";
    if (fresh || !list.some((file) => file.id === upload)) upload = newest ? newest.id : "";
    const options = list.map((file) => {
      const title = `${file.name}, ${page.duration(file.seconds)}`;
      return new Option(title, file.id, false, file.id === upload);
    });
    select.replaceChildren(...(options.length ? options : [new Option("none yet", "")]));
    select.disabled = !options.length;
    tellTrouble();
    describe(list.find((file) => file.id === upload));
  }

  function describe(file) {
    const note = $("#own-note");
    const found = known.models.find((one) => one.model === model);
    const other = known.others.find((one) => one.model === model);
    let why = "";
    note.replaceChildren();
    if (other) {
      note.append(`${other.title} has no decoders on this installation. This trains them, and this page then has them:`);
      const box = make("div", "command");
      box.append(
        make("code", "", other.command),
        make("button", "quiet", "Copy", { type: "button", "data-copy": other.command }),
      );
      note.append(box);
      why = "no decoders";
    } else if (found) {
      if (current) why = "Being decoded.";
      else if (recorder) why = "Recording.";
      else if (page.busySending && page.busySending()) why = "The recording is being sent.";
      else if (!file) why = "Add a recording first.";
      note.textContent = why || about(found, file);
    }
    $("#own-run").disabled = Boolean(why) || !found;
  }

  function about(found, file) {
    const size = `${found.decoder_layers.length} × ${found.layers.length} cells`;
    const part =
      file.seconds > known.longest_s
        ? `the first ${known.longest_s} s of ${page.duration(file.seconds)}`
        : page.duration(file.seconds);
    const gaps = found.missing.length ? ` Layers without a decoder: ${found.missing.join(", ")}.` : "";
    const look = found.preset === "flow" ? "" : `, by ${found.preset} decoders (a first look)`;
    return (
      `${size} of ${part}${look}; vocoder: ${found.vocoder}; words judged by ${found.content}, ` +
      `the voice by ${found.voice}.${gaps}`
    );
  }

  // -- recording ------------------------------------------------------------------------------

  async function record() {
    const live = $(".own-live");
    const start = $(".own-record");
    start.disabled = true;
    trouble = "";
    try {
      const time = make("output", "own-time", "0.0 s");
      const fill = make("span");
      const level = make("div", "meter own-level", null, { "aria-hidden": "true" });
      level.append(fill);
      recorder = await page.record(known.longest_s, (seconds, loud) => {
        time.textContent = `${seconds.toFixed(1)} of ${known.longest_s} s`;
        fill.style.width = `${(100 * loud).toFixed(1)}%`;
      });
      const stop = make("button", "button small own-stop", "Stop", { type: "button" });
      stop.addEventListener("click", () => recorder.stop());
      live.replaceChildren(make("i", "own-dot", null, { "aria-hidden": "true" }), time, level, stop);
      live.hidden = false;
      start.hidden = true;
      stop.focus();
      page.announce("Recording.");
      refresh();
      const file = await recorder.file;
      recorder = null;
      page.announce("Recorded.");
      page.addFiles([file]);
    } catch (error) {
      trouble = error.message;
    } finally {
      recorder = null;
      live.hidden = true;
      live.replaceChildren();
      start.hidden = false;
      start.disabled = false;
      refresh();
    }
    start.focus();
  }

  // A file that was refused, e.g. a silent one, says why here too.
  function tellTrouble() {
    const words = trouble || (page.lastRefusal ? page.lastRefusal() : "");
    const note = $(".own-source-note");
    note.dataset.plain = note.dataset.plain || note.textContent;
    note.textContent = words || note.dataset.plain;
    note.classList.toggle("is-error", Boolean(words));
  }

  // -- decoding -------------------------------------------------------------------------------

  async function decode() {
    try {
      await follow(await page.api("POST", "/own-matrices", { model, upload }));
    } catch (error) {
      failed(error.message);
    }
  }

  // A matrix that was being decoded when the page was left is watched again.
  async function resume() {
    try {
      const { jobs } = await page.api("GET", "/jobs");
      const open = jobs.find((job) => job.spec.upload && !page.jobEnded(job));
      if (open) await follow(open);
    } catch (error) {
      failed(error.message);
    }
  }

  async function follow(job) {
    current = job.id;
    refresh();
    const find = known.models.find((one) => one.model === job.spec.model);
    const columns = find ? find.layers.length : 1;
    const rowsOf = find ? find.decoder_layers.length : 1;
    let rows = -1; // that the explorer shows
    let brought = false; // once; the visitor may look at something else meanwhile

    async function show(now) {
      if (!now.results.length) return;
      const there = Math.floor(now.completed / columns);
      if (there <= rows && !page.jobEnded(now)) return;
      const before = rows;
      rows = await page.explorerOwn(now.results[0], !brought);
      brought = brought || rows >= 0;
      if (rows > Math.max(0, before)) page.announce(`${rows} rows of ${rowsOf} can be heard.`);
    }

    try {
      const ended = await page.watchJob(
        job,
        async (now) => {
          draw(now);
          await show(now);
        },
        () => current === job.id,
      );
      if (!ended) return;
      await show(ended);
      conclude(ended);
    } finally {
      if (current === job.id) current = null;
      refresh();
    }
  }

  function draw(job) {
    const share = job.total ? job.completed / job.total : 0;
    panel(false, ...page.progressOf(job, share, () => stop(job.id)));
  }

  async function stop(id) {
    page.announce("Cancelling.");
    const button = $(`[data-cancel="${id}"]`);
    if (button) button.disabled = true;
    try {
      await page.api("DELETE", `/jobs/${id}`);
    } catch (error) {
      failed(error.message);
    }
  }

  function conclude(job) {
    if (job.state === "failed") return failed(job.error || "The job failed.");
    const done = "Decoded. It is below, under Voice, and goes when its recording is deleted.";
    const words =
      job.state === "done" ? done : "Cancelled. Rows that are done stay; decode again to go on.";
    panel(false, make("span", "job-state", words));
    page.announce(words);
  }

  function failed(message) {
    panel(
      true,
      make("span", "job-state", "This could not be decoded to its end."),
      make("span", "field-note", message),
    );
    page.announce(message);
  }

  function panel(bad, ...children) {
    const box = $("#own-job");
    box.classList.toggle("is-failed", bad);
    box.replaceChildren(...children);
  }

  page.near("own-matrix", begin);
})();
