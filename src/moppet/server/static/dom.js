// Short forms for elements of a page.
export const $ = (selector) => document.querySelector(selector);

// Show a message in the status line; bad: as an error.
export function say(text, bad = false) {
  $("#said").textContent = text;
  $("#said").classList.toggle("bad", bad);
}

// Create an element with properties, "aria-…" and "data-…" attributes, and children.
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}
