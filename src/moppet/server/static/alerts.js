// Call a caregiver: a gentle sound, and a notification if the browser has permission.
let audio;

// Browsers allow sound only after a click: call this in a click handler.
export function unlockSound() {
  audio ??= new AudioContext();
  return audio.resume();
}

// Play two soft notes, a third apart, `times` times.
export function chime(times = 1) {
  if (!audio) return;
  for (let i = 0; i < 2 * times; i += 1) {
    const start = audio.currentTime + 0.05 + i * 0.45;
    const note = audio.createOscillator();
    const loudness = audio.createGain();
    note.frequency.value = i % 2 ? 659.3 : 523.3;
    loudness.gain.setValueAtTime(0, start);
    loudness.gain.linearRampToValueAtTime(0.35, start + 0.04);
    loudness.gain.exponentialRampToValueAtTime(0.001, start + 0.9);
    note.connect(loudness).connect(audio.destination);
    note.start(start);
    note.stop(start + 1);
  }
}

export function notify(text) {
  if (globalThis.Notification?.permission !== "granted") return;
  try {
    new Notification("moppet", { body: text, tag: "moppet", renotify: true });
  } catch {
    // Some browsers refuse notifications of pages: the sound plays anyway.
  }
}

export function notificationStatus() {
  const words = {
    granted: "A browser notification.",
    denied: "No notification: your browser blocks notifications for this page.",
    default: "A browser notification, once you allow it.",
  };
  return words[globalThis.Notification?.permission] ?? "No notification: this browser does not support them.";
}
