// The screen for the child: the video, or a calm image while paused. It plays only if no reason to pause is active.
import { $ } from "./dom.js";
import { onHold } from "./hold_button.js";

// Events: "resume" and "end" (a button was held), "over" (the video ended).
export class ChildScreen extends EventTarget {
  constructor() {
    super();
    this.video = $("#show");
    this.holds = new Map(); // reasons to pause: "rule" or "unwatched" → text for the caregiver
    onHold($("#go-on"), () => this.dispatchEvent(new Event("resume")));
    onHold($("#end"), () => this.dispatchEvent(new Event("end")));
    this.video.addEventListener("ended", () => this.dispatchEvent(new Event("over")));
    // A key of the keyboard or headset must not resume what the guard has paused.
    this.video.addEventListener("play", () => this.holds.size && this.video.pause());
  }

  open(source) {
    this.holds.clear();
    if (this.video.src !== source) this.video.src = source;
    this.video.currentTime = 0;
    $("#screen").hidden = false;
    $("#page").inert = true;
    document.documentElement.requestFullscreen?.().catch(() => {}); // fallback: the video fills the window
    navigator.wakeLock?.request("screen").catch(() => {}); // a dark screen hides the page
    this.follow();
    $("#screen").focus({ preventScroll: true }); // not a button, so that keys have no effect
  }

  close() {
    this.video.pause();
    $("#screen").hidden = true;
    $("#page").inert = false;
    if (document.fullscreenElement) document.exitFullscreen().catch(() => {});
  }

  say(text) {
    if ($("#state").textContent !== text) $("#state").textContent = text;
  }

  pause(reason, words) {
    this.holds.set(reason, words);
    this.follow();
  }

  // Remove one reason to pause, or all if none is given.
  resume(reason) {
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
      this.video.pause();
      if (!was) $("#go-on").focus({ preventScroll: true });
    } else {
      this.video.play().catch(() => this.pause("unwatched", "The browser blocked playback: hold to resume."));
    }
  }
}
