// Jobs: submitted, watched by short polls, cancelled; their end hands the results to the page.
(function () {
  "use strict";
  const page = window.insidessl;
  const ENDED = ["done", "failed", "cancelled"];
  page.choices = { models: [], lenses: [], perturbation: null };
  let current = null; // id of the analysis being watched

  const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  // Answers that were computed before come at once, so the first looks are close together.
  const pause = (look) => [15, 30, 50, 80, 120][look] || (look < 200 ? 160 : 1000);

  async function watch(job, show, alive) {
    for (let look = 0; !ENDED.includes(job.state); look += 1) {
      await show(job);
      await wait(pause(look));
      if (!alive()) return null;
      job = await page.api("GET", `/jobs/${job.id}`);
    }
    return job;
  }

  page.watchJob = watch;
  page.jobEnded = (job) => ENDED.includes(job.state);
  page.progressOf = progressOf;

  // -- analysing uploads ----------------------------------------------------------------------

  // React drops the clicks of a button it once drew disabled, so this one is ours alone.
  document.addEventListener("click", (event) => {
    if (event.target.closest("#run")) analyze();
  });

  async function analyze() {
    const uploads = page.uploads();
    const { models, lenses, perturbation } = page.choices;
    const requests = lenses.map((name) => ({
      name,
      config: name === "invariance" && perturbation ? { perturbation } : {},
    }));
    const spec = { models, lenses: requests, uploads: uploads.map((file) => file.id) };
    try {
      await follow(await page.api("POST", "/jobs", spec));
    } catch (error) {
      failed(error.message);
    }
  }

  async function follow(job) {
    current = job.id;
    refreshRun();
    try {
      const ended = await watch(job, draw, () => current === job.id);
      if (!ended) return;
      if (ended.state === "done") {
        page.setParameters({ job: ended.id });
        hand(ended);
        show();
      }
      conclude(ended);
    } finally {
      if (current === job.id) current = null;
      refreshRun();
    }
  }

  function hand(job) {
    page.set("analysis", {
      data: {
        job: job.id,
        search: window.location.search,
        results: job.results,
        names: job.names,
        skipped: job.skipped,
      },
    });
  }

  // On a narrow screen the curves are below the form: bring them into view once they are there.
  function show(tries = 120) {
    const view = document.getElementById("own-view");
    if (!window.matchMedia("(max-width: 1020px)").matches || !view) return;
    if (!view.hidden) return void view.scrollIntoView({ block: "start" });
    if (tries) requestAnimationFrame(() => show(tries - 1));
  }

  page.forgetAnalysis = function () {
    current = null;
    page.set("analysis", { data: null });
    const panel = document.getElementById("job");
    if (panel) panel.replaceChildren();
  };

  function draw(job) {
    const panel = document.getElementById("job");
    panel.classList.remove("is-failed");
    const share = job.total ? job.completed / job.total : 0;
    panel.replaceChildren(...progressOf(job, share, () => cancel(job.id)));
    const tenth = Math.floor(10 * share);
    page.announce(`${sentence(job.step)} ${10 * tenth} percent.`);
  }

  function progressOf(job, share, stop) {
    const left =
      job.remaining_s === null || job.remaining_s === undefined
        ? "estimating the time left"
        : `${page.duration(job.remaining_s)} left`;
    const line = page.make("div", "job-line");
    line.append(
      page.make("span", "job-state", sentence(job.step)),
      page.make("span", "job-time", `${job.completed} of ${job.total}, ${left}`),
    );
    const button = page.make("button", "quiet", "Cancel", { type: "button", "data-cancel": job.id });
    button.addEventListener("click", stop);
    return [line, page.meter(share, "Progress"), button];
  }

  function sentence(step) {
    return `${step.charAt(0).toUpperCase()}${step.slice(1)}.`;
  }

  async function cancel(id) {
    page.announce("Cancelling.");
    const button = document.querySelector(`[data-cancel="${id}"]`);
    if (button) button.disabled = true;
    try {
      await page.api("DELETE", `/jobs/${id}`);
    } catch (error) {
      failed(error.message);
    }
  }

  function conclude(job) {
    const panel = document.getElementById("job");
    if (job.state === "failed") return failed(job.error || "The job failed.");
    panel.classList.remove("is-failed");
    const skipped = Object.keys(job.skipped || {}).length;
    const words =
      job.state === "cancelled"
        ? "Cancelled. What was finished is kept, and is not computed again."
        : skipped
          ? `Done. ${skipped} of your recordings could not be used; the table says why.`
          : "Done.";
    panel.replaceChildren(page.make("span", "job-state", words));
    if (job.warning) panel.append(page.make("span", "field-note", job.warning));
    page.announce(words);
  }

  function failed(message) {
    const panel = document.getElementById("job");
    panel.classList.add("is-failed");
    const words = page.make("span", "job-state", "This could not be computed.");
    panel.replaceChildren(words, page.make("span", "field-note", message));
    page.announce(message);
  }

  // -- the button -----------------------------------------------------------------------------

  function refreshRun() {
    const button = document.getElementById("run");
    const note = document.getElementById("run-note");
    if (!button || !note) return;
    const { models, lenses } = page.choices;
    const count = page.uploads().length;
    let why = "";
    if (current) why = "Being computed.";
    else if (page.busySending()) why = "Recordings are being sent.";
    else if (!count) why = "Add a recording first.";
    else if (!models.length) why = "Choose a model.";
    else if (!lenses.length) why = "Choose a lens.";
    button.disabled = Boolean(why);
    const what = `${count} recording${count === 1 ? "" : "s"}, ${models.length} model${
      models.length === 1 ? "" : "s"
    }, ${lenses.length} lens${lenses.length === 1 ? "" : "es"}.`;
    note.textContent = why || what;
  }
  page.refreshRun = refreshRun;
  page.ready("run", refreshRun);

  // -- a link to an analysis ------------------------------------------------------------------

  page.ready("job", async () => {
    const id = new URLSearchParams(window.location.search).get("job");
    if (!id) return;
    try {
      const job = await page.api("GET", `/jobs/${encodeURIComponent(id)}`);
      await follow(job);
    } catch (error) {
      if (error.status !== 404) return failed(error.message);
      page.setParameters({ job: null }, true);
      failed("The analysis in this link was deleted, has expired, or is somebody else's.");
    }
  });

  // -- computing what the figure lacks --------------------------------------------------------

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-compute]");
    if (button) compute(button);
  });

  async function compute(button) {
    const { compute: model, corpus, lens, perturbation } = button.dataset;
    const place = button.closest("li").querySelector(".missing-progress");
    const config = perturbation ? { perturbation } : {};
    const spec = { models: [model], lenses: [{ name: lens, config }], corpus };
    let stopped = false;
    const show = (job) => {
      const share = job.total ? job.completed / job.total : 0;
      const stop = () => {
        stopped = true;
        cancel(job.id);
      };
      place.replaceChildren(...progressOf(job, share, stop));
    };
    button.disabled = true;
    place.classList.remove("is-failed");
    try {
      const job = await watch(await page.api("POST", "/jobs", spec), show, () => true);
      if (job.state === "done") {
        page.announce(`${model} is computed.`);
        page.set("refresh", { data: Date.now() });
      } else if (job.state === "cancelled" || stopped) place.replaceChildren();
      else throw new Error(job.error || "The job failed.");
    } catch (error) {
      place.classList.add("is-failed");
      place.replaceChildren(page.make("span", "field-note", error.message));
      page.announce(error.message);
    } finally {
      button.disabled = false;
    }
  }
})();
