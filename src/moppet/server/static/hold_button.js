// A button that must be held, so that a child does not press it by accident. Mouse, touch, Space and
// Enter can hold it; a click from a screen reader, which cannot be held, acts at once.
const HOLD_MS = 1000;

export function onHold(button, act) {
  let begun, frame;
  const stop = () => {
    cancelAnimationFrame(frame);
    begun = undefined;
    button.style.setProperty("--held", "0%");
  };
  const grow = () => {
    const share = (performance.now() - begun) / HOLD_MS;
    button.style.setProperty("--held", `${Math.min(100, 100 * share)}%`);
    if (share < 1) frame = requestAnimationFrame(grow);
    else {
      stop();
      act();
    }
  };
  const start = () => {
    if (begun !== undefined) return;
    begun = performance.now();
    grow();
  };
  button.addEventListener("pointerdown", start);
  for (const kind of ["pointerup", "pointerleave", "pointercancel", "blur"]) button.addEventListener(kind, stop);
  button.addEventListener("keydown", (event) => {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    if (!event.repeat) start();
  });
  button.addEventListener("keyup", (event) => {
    if (event.key === " ") event.preventDefault();
    stop();
  });
  button.addEventListener("click", (event) => {
    if (event.detail === 0) act(); // keys do not cause clicks here
  });
  button.addEventListener("contextmenu", (event) => event.preventDefault());
}
