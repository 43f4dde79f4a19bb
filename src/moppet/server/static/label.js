// Rating sets: create one, select a rater, and open the agreement when two raters have finished.
import { request } from "./request.js";
import { $, element } from "./dom.js";
import { agree } from "./label_agree.js";
import { rate } from "./label_rate.js";

const asked = new URLSearchParams(location.search);
const name = asked.get("set");
const api = `/api/labels/${encodeURIComponent(name ?? "")}`;
const counted = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

function say(error) {
  $("#said").textContent = error.message ?? error;
  $("#said").classList.toggle("bad", error instanceof Error);
}

function address(more = {}) {
  return `/label?${new URLSearchParams({ set: name, ...more })}`;
}

async function start() {
  const sets = await request("GET", "/api/labels");
  $("#no-sets").hidden = sets.length > 0;
  $("#sets").replaceChildren(...sets.map((one) => {
    if (one.error) {
      return element("li", {}, element("span", { className: "name" }, one.name), element("span", { className: "error" }, one.error));
    }
    const far = one.opened.length ? "agreement opened"
      : one.raters.map((rater) => `${rater.name} ${rater.left ? `has ${rater.left.toLocaleString("en")} left` : "has finished"}`).join(", ");
    const link = element("a", { href: `/label?${new URLSearchParams({ set: one.name })}` }, one.name);
    const what = [counted(one.images, "image"), far || "nobody has started"].join(" · ");
    return element("li", {}, element("span", { className: "name" }, link), element("span", { className: "quiet" }, what));
  }));
  $("#new-set").addEventListener("submit", async (event) => {
    event.preventDefault();
    const classes = $("#class-words").value.split(",").map((word) => word.trim()).filter(Boolean);
    const body = { name: $("#set-name").value, folder: $("#folder").value, classes };
    if ($("#subject").value.trim()) body.subject = $("#subject").value.trim();
    try {
      const made = await request("POST", "/api/labels", body);
      location.assign(`/label?${new URLSearchParams({ set: made.name })}`);
    } catch (error) {
      say(error);
    }
  });
}

function opening(set) {
  if (set.opened.length) {
    const link = element("a", { href: address({ agreement: 1 }), className: "button" }, "Show agreement");
    $("#opening").replaceChildren(`The rating has ended. Compared raters: ${set.opened.join(", ")}. `, link);
    return;
  }
  const left = set.raters.filter((rater) => rater.left);
  const waits = left.map((rater) => `${rater.name} has ${counted(rater.left, "image")} left`).join(", ");
  if (set.finished < 2) {
    $("#opening").textContent = `Available when two raters have finished. ${waits ? `${waits}. ` : ""}`
      + (set.raters.length < 2 ? "One more rater is needed." : "");
    return;
  }
  const lost = left.length ? ` ${waits}: their ratings would be left out, so let them finish first.` : "";
  $("#opening").textContent = `${set.finished} raters have finished.${lost} Showing the agreement ends the rating permanently, `
    + "because raters who have seen it are no longer blind.";
  $("#open-row").hidden = false;
  $("#open").addEventListener("click", async () => {
    if (!confirm("End the rating of this set permanently?")) return;
    try {
      await request("POST", `${api}/open`);
      location.assign(address({ agreement: 1 }));
    } catch (error) {
      say(error);
    }
  });
}

function show(set) {
  const ended = set.opened.length > 0;
  $("#set-title").textContent = set.name;
  $("#set-what").textContent = `${counted(set.images, "image")} of ${set.folder}: ${set.classes.join(", ")}`;
  $("#raters").replaceChildren(...set.raters.map((rater) => {
    const line = element("li", {}, element("span", { className: "name" }, rater.name));
    line.append(element("span", { className: "quiet" }, rater.left
      ? `${rater.done.toLocaleString("en")} of ${set.images.toLocaleString("en")}` : "finished"));
    const bar = element("progress", { max: set.images, value: rater.done, "aria-label": `progress of ${rater.name}` });
    if (!ended) {
      const text = rater.left ? "Continue" : "Correct";
      line.append(element("a", { className: "button", href: address({ rater: rater.name }), "aria-label": `${text} as ${rater.name}` }, text));
    }
    line.append(bar);
    return line;
  }));
  $("#new-rater").hidden = ended;
  $("#blind").hidden = ended;
  $("#new-rater").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const made = await request("POST", `${api}/raters`, { name: $("#rater").value });
      location.assign(address({ rater: made.name }));
    } catch (error) {
      say(error);
    }
  });
  opening(set);
}

try {
  if (name === null) {
    $("#where").textContent = "Two or more people label faces independently.";
    await start();
    $("#start").hidden = false;
  } else {
    const set = await request("GET", api);
    const rater = asked.get("rater");
    const home = element("a", { href: address() }, set.name);
    $("#where").replaceChildren(...(rater ? [home, ` · ${rater}`] : asked.has("agreement") ? [home] : [set.name]));
    document.title = `${set.name} – moppet`;
    const view = rater ? "#rate" : asked.has("agreement") ? "#agree" : "#set";
    document.body.classList.toggle("wide", view !== "#set");
    if (view === "#rate") await rate(api, rater, set, say, address());
    else if (view === "#agree") {
      say("Measuring the agreement …");
      await agree(api, set, say);
      say("");
    }
    else show(set);
    $(view).hidden = false;
  }
} catch (error) {
  say(error);
}
