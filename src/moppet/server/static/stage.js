// What the child sees: the film, and a calm screen while it rests. It plays only while nothing holds it.
import { whenHeld } from "./hold.js";

const $ = (selector) => document.querySelector(selector);

// Tells by events: "goon" and "end" (somebody held the button), "over" (the film ended).
export class Stage extends EventTarget {
  constructor() {
    super();
    this.film = $("#show");
    this.holds = new Map(); // why the film rests: "rule" or "unwatched" → words for the caregiver
    whenHeld($("#go-on"), () => this.dispatchEvent(new Event("goon")));
    whenHeld($("#end"), () => this.dispatchEvent(new Event("end")));
    this.film.addEventListener("ended", () => this.dispatchEvent(new Event("over")));
    // A key of the keyboard or the headset must not start what the guard has stopped.
    this.film.addEventListener("play", () => this.holds.size && this.film.pause());
  }

  open(source) {
    this.holds.clear();
    if (this.film.src !== source) this.film.src = source;
    this.film.currentTime = 0;
    $("#screen").hidden = false;
    $("#page").inert = true;
    document.documentElement.requestFullscreen?.().catch(() => {}); // it fills the window then
    navigator.wakeLock?.request("screen").catch(() => {}); // a dark screen is a hidden page
    this.follow();
    $("#screen").focus({ preventScroll: true }); // not a button: keys that a child presses do nothing
  }

  close() {
    this.film.pause();
    $("#screen").hidden = true;
    $("#page").inert = false;
    if (document.fullscreenElement) document.exitFullscreen().catch(() => {});
  }

  say(text) {
    if ($("#state").textContent !== text) $("#state").textContent = text;
  }

  rest(reason, words) {
    this.holds.set(reason, words);
    this.follow();
  }

  // Let go of one reason; of all where none is named.
  goOn(reason) {
    if (reason) this.holds.delete(reason);
    else this.holds.clear();
    this.follow();
  }

  follow() {
    const rests = this.holds.size > 0;
    const was = !$("#rest").hidden;
    $("#rest").hidden = !rests;
    $("#rest-why").textContent = [...this.holds.values()].join(" ");
    if (rests) {
      this.film.pause();
      if (!was) $("#go-on").focus({ preventScroll: true });
    } else {
      this.film.play().catch(() => this.rest("unwatched", "The browser blocked playback: hold to resume."));
    }
  }
}
