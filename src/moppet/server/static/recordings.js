// The start page: upload recordings, queue them, and list the results.
import { request } from "./request.js";

const said = document.querySelector("#said");
const list = document.querySelector("#jobs");
const OPEN = ["queued", "running"];

function say(text, bad = false) {
  said.textContent = text;
  said.classList.toggle("bad", bad);
}

const settings = () => ({
  model: document.querySelector("#model").value || "default",
  every: Number(document.querySelector("#every").value) || 1,
});

async function take(files) {
  for (const file of files) {
    say(`Uploading ${file.name} …`);
    try {
      const { recording } = await request("PUT", `/api/uploads/${encodeURIComponent(file.name)}`, file);
      await request("POST", "/api/jobs", { recording, settings: settings() });
      say(`${file.name} is in the queue.`);
    } catch (error) {
      say(error.message, true);
    }
    await show();
  }
}

document.querySelector("#files").addEventListener("change", (event) => take(event.target.files));
document.querySelector("#by-path").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = document.querySelector("#path");
  try {
    const job = await request("POST", "/api/jobs", { path: field.value.trim(), settings: settings() });
    say(`${job.name} is in the queue.`);
    field.value = "";
  } catch (error) {
    say(error.message, true);
  }
  await show();
});

const drop = document.querySelector("#drop");
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const kind of ["dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.remove("over");
  });
}
document.addEventListener("drop", (event) => take(event.dataTransfer.files));

function duration(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function state(job) {
  if (job.state === "running") {
    const parts = [`frame ${job.frames.toLocaleString("en")}`];
    if (job.total) parts[0] += ` of ${job.total.toLocaleString("en")}`;
    if (job.speed) parts.push(`${job.speed} frames/s`);
    if (job.left_s !== null) parts.push(`${duration(job.left_s)} left`);
    return parts.join(" · ");
  }
  if (job.state === "done") return `${job.frames.toLocaleString("en")} frames analyzed`;
  return job.state;
}

function button(text, act, name) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.setAttribute("aria-label", `${text}: ${name}`);
  made.addEventListener("click", act);
  return made;
}

function link(text, path, name) {
  const made = document.createElement("a");
  made.className = "button";
  made.href = path;
  made.target = "_blank";
  made.textContent = text;
  made.setAttribute("aria-label", `${text}: ${name}`);
  return made;
}

function line(job) {
  const item = document.createElement("li");
  item.dataset.job = job.id;
  const name = document.createElement("span");
  name.className = "name";
  name.textContent = job.name;
  const acts = document.createElement("span");
  acts.className = "acts";
  const change = (what) => async () => {
    try {
      await request("POST", `/api/jobs/${job.id}/${what}`);
    } catch (error) {
      say(error.message, true);
    }
    await show();
  };
  if (OPEN.includes(job.state)) acts.append(button("Cancel", change("cancel"), job.name));
  if (["failed", "canceled"].includes(job.state)) acts.append(button("Resume", change("resume"), job.name));
  if (job.state === "done" || (job.state === "running" && job.frames)) {
    acts.append(link("Review", `/review?job=${job.id}`, job.name));
  }
  if (job.state === "done") {
    acts.append(link("Report", `/api/jobs/${job.id}/results/report.html`, job.name));
    acts.append(link("Timeline", `/api/jobs/${job.id}/results/timeline.parquet`, job.name));
  }
  if (!OPEN.includes(job.state)) acts.append(button("Delete", () => remove(job), job.name));
  item.append(name, acts);
  if (OPEN.includes(job.state)) {
    const bar = document.createElement("progress");
    bar.setAttribute("aria-label", `progress of ${job.name}`);
    if (job.total) {
      bar.max = job.total;
      bar.value = job.frames;
    } else if (job.state === "queued") bar.value = 0;
    item.append(bar);
  }
  const said = document.createElement("span");
  const problem = job.error ?? job.waiting;
  said.className = problem ? "error" : "state quiet";
  said.textContent = problem ?? state(job);
  item.append(said);
  return item;
}

async function remove(job) {
  if (!confirm(`Delete ${job.name} with its results, and the recording if it was uploaded here?`)) return;
  try {
    await request("DELETE", `/api/jobs/${job.id}`);
    say(`${job.name} was deleted.`);
  } catch (error) {
    say(error.message, true);
  }
  await show();
}

let before = "";
async function show() {
  const jobs = await request("GET", "/api/jobs");
  const now = JSON.stringify(jobs);
  if (now === before) return jobs;
  before = now;
  const focused = document.activeElement?.getAttribute("aria-label");
  list.replaceChildren(...jobs.map(line));
  document.querySelector("#none").hidden = jobs.length > 0;
  document.querySelector("#all").hidden = !jobs.some((job) => job.state === "done");
  if (focused) list.querySelector(`[aria-label="${CSS.escape(focused)}"]`)?.focus();
  return jobs;
}

const limits = document.querySelector("#limits");
limits.addEventListener("close", () => localStorage.setItem("limits-read", "yes"));
document.querySelector("#show-limits").addEventListener("click", () => limits.showModal());
if (!localStorage.getItem("limits-read")) limits.showModal();

request("GET", "/api/models").then((models) => {
  document.querySelector("#model").replaceChildren(...models.map((name) => new Option(name)));
  document.querySelector("#model").value = "default";
}, () => {});

async function follow() {
  let wait = 2000;
  try {
    const jobs = await show();
    if (jobs.some((job) => OPEN.includes(job.state))) wait = 500;
  } catch {
    say("moppet does not answer. Is it still running in its terminal?", true);
  }
  setTimeout(follow, wait);
}
follow();
