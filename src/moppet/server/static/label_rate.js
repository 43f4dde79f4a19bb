// Rating by one rater, one image at a time, with keys, undo and skip; the next image is prefetched.
import { request } from "./request.js";
import { $, element } from "./dom.js";

export async function rate(api, rater, set, say, home) {
  const mine = `${api}/raters/${encodeURIComponent(rater)}`;
  const said = []; // only of this window: the server does not return ratings
  let state;
  let ready = false; // whether the image is visible: keys are ignored before
  const wait = (busy) => {
    ready = !busy;
    $("#shown").setAttribute("aria-busy", String(busy));
  };
  let broken = false;
  let coming = { number: null };

  function fetched(number) {
    const image = element("img", { alt: "face to rate", decoding: "async", draggable: false });
    const loaded = new Promise((resolve) => {
      image.addEventListener("load", () => resolve(true));
      image.addEventListener("error", () => resolve(false));
    });
    image.src = `${api}/images/${number}`;
    return { number, image, loaded };
  }

  async function show(next) {
    state = next;
    wait(true);
    const over = state.image === null;
    $("#shown").hidden = $("#choosing").hidden = over;
    $("#all-done").hidden = !over;
    $("#undo").disabled = $("#undo-last").disabled = !state.undo;
    if (over) {
      $("#all-done-title").textContent = `All ${state.total.toLocaleString("en")} images are done`;
      $("#all-done-title").focus();
      return;
    }
    const number = state.image;
    const current = coming.number === number ? coming : fetched(number);
    $("#far").textContent = `${state.done.toLocaleString("en")} of ${state.total.toLocaleString("en")}`
      + (state.later ? ` · ${state.later} skipped, ${state.again ? "shown again now" : "shown again at the end"}` : "");
    $("#bar").max = state.total;
    $("#bar").value = state.done;
    $("#last").textContent = said.length ? `Previous: ${said.at(-1)}` : "";
    $("#stage").replaceChildren(current.image);
    broken = !(await current.loaded);
    if (state !== next) return;
    $("#broken").hidden = !broken;
    current.image.hidden = broken;
    for (const button of $("#classes").children) button.disabled = broken;
    $("#no-face").disabled = broken;
    $("#skip span").textContent = broken ? "skip" : state.again ? "leave out" : "skip";
    wait(false);
    if (state.next !== null) coming = fetched(state.next);
  }

  async function send(path, body, after) {
    wait(true);
    try {
      const next = await request("POST", `${mine}/${path}`, body);
      after();
      say("");
      await show(next);
    } catch (error) {
      say(error);
      coming = { number: null };
      try {
        await show(await request("GET", mine)); // another window may have changed it
      } catch {
        say(new Error("moppet does not answer. Is it still running in its terminal? Press the same key to try again."));
        wait(false);
      }
    }
  }

  function choose(rating) {
    if (!ready || (broken && rating.mark !== "skip")) return;
    const mark = broken ? { mark: "unreadable" } : rating;
    send("ratings", { image: state.image, ...mark }, () => said.push(mark.label ?? mark.mark));
  }

  function undo() {
    if (!state.undo || (!ready && state.image !== null)) return;
    send("undo", undefined, () => said.pop());
  }

  $("#classes").replaceChildren(...set.classes.map((label, i) => {
    const key = i < 9 ? [element("kbd", {}, String(i + 1)), " "] : [];
    const made = element("button", { type: "button" }, ...key, label);
    if (i < 9) made.setAttribute("aria-keyshortcuts", String(i + 1));
    made.addEventListener("click", () => choose({ label }));
    return made;
  }));
  $("#no-face").addEventListener("click", () => choose({ mark: "no face" }));
  $("#skip").addEventListener("click", () => choose({ mark: "skip" }));
  $("#undo").addEventListener("click", undo);
  $("#undo-last").addEventListener("click", undo);
  $("#back").href = home;
  document.addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    const label = /^[1-9]$/.test(event.key) ? set.classes[Number(event.key) - 1] : undefined;
    const act = label !== undefined ? () => choose({ label }) : {
      0: () => choose({ mark: "no face" }), s: () => choose({ mark: "skip" }), u: undo, Backspace: undo,
    }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  await show(await request("GET", mine));
}
