// The screen for the child: the video, or a calm image while paused. It plays only if no reason to pause is active.
import { whenHeld } from "./hold.js";

const $ = (selector) => document.querySelector(selector);

// Events: "goon" and "end" (a button was held), "over" (the video ended).
export class Stage extends EventTarget {
  constructor() {
    super();
    this.film = $("#show");
    this.holds = new Map(); // reasons to pause: "rule" or "unwatched" → text for the caregiver
    whenHeld($("#go-on"), () => this.dispatchEvent(new Event("goon")));
    whenHeld($("#end"), () => this.dispatchEvent(new Event("end")));
    this.film.addEventListener("ended", () => this.dispatchEvent(new Event("over")));
    // A key of the keyboard or headset must not resume what the guard has paused.
    this.film.addEventListener("play", () => this.holds.size && this.film.pause());
  }

  open(source) {
    this.holds.clear();
    if (this.film.src !== source) this.film.src = source;
    this.film.currentTime = 0;
    $("#screen").hidden = false;
    $("#page").inert = true;
    document.documentElement.requestFullscreen?.().catch(() => {}); // fallback: the video fills the window
    navigator.wakeLock?.request("screen").catch(() => {}); // a dark screen hides the page
    this.follow();
    $("#screen").focus({ preventScroll: true }); // not a button, so that keys have no effect
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

  // Remove one reason to pause, or all if none is given.
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
