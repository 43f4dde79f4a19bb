// The agreement of the raters, decisions on disputed images, and the manifest.
import { request } from "./request.js";
import { $, element } from "./dom.js";

const PAGE = 24;
const counted = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

function figure(estimate) {
  const [value, low, high] = [estimate.value, estimate.low, estimate.high].map((x) => x?.toFixed(2));
  if (value === undefined) return ["–"];
  return low === undefined ? [value] : [`${value} `, element("span", { className: "interval" }, `(${low} to ${high})`)];
}

function row(...cells) {
  const [first, ...others] = cells;
  return element("tr", {}, element("th", { scope: "row" }, first), ...others.map((cell) => element("td", {}, ...[cell].flat())));
}

function figures(found) {
  const lines = found.pairs.map((pair) => row(`${pair.raters.join(" – ")}, Cohen`, String(pair.equal.n), figure(pair.equal), figure(pair.cohen_kappa)));
  lines.push(row("all, Fleiss", String(found.fleiss_kappa.n), "", figure(found.fleiss_kappa)));
  $("#figures").tBodies[0].replaceChildren(...lines);
  const drawn = found.subjects ? counted(found.subjects, "subject") : "images";
  const aside = found.raters.map((rater, i) => `${rater} saw no face in ${found.no_face[i]} and left out ${found.unrated[i]}`);
  $("#rests").textContent = `n: images that these raters gave a class. In brackets: 95 % confidence intervals from bootstrap samples of ${drawn}. Kappa: 1 = perfect agreement, 0 = `
    + `chance agreement. Images without a class are not included in these figures: ${aside.join("; ")}.`;
}

function crossed(found, number) {
  const counts = found.tables[number];
  const kept = found.table_names.map((_, i) => i).filter((i) => counts[i].some(Boolean) || counts.some((line) => line[i]));
  const most = Math.max(1, ...counts.flat());
  const [first, second] = found.pairs[number].raters;
  const head = element("tr", {}, element("th", { scope: "col" }, `${first} ↓  ${second} →`));
  head.append(...kept.map((i) => element("th", { scope: "col" }, found.table_names[i])));
  const lines = kept.map((i) => {
    const line = row(found.table_names[i], ...kept.map((j) => String(counts[i][j] || "")));
    kept.forEach((j, at) => {
      const cell = line.cells[at + 1];
      cell.className = i === j ? "same" : "other";
      cell.style.setProperty("--share", `${Math.round((100 * counts[i][j]) / most)}%`);
    });
    return line;
  });
  const title = `Labels of ${first} (rows) and ${second} (columns) for the same images`;
  const table = element("table", { className: "crossed" }, element("thead", {}, head), element("tbody", {}, ...lines));
  const box = element("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": title }, table);
  return element("div", {}, element("p", {}, title), box);
}

function card(api, found, one, number, changed, say) {
  const said = found.raters.map((rater, i) => element("li", {}, `${rater}: `, element("b", {}, one.answers[i] ?? "left out")));
  const near = [...new Set(one.answers.filter((word) => word !== null))];
  const far = found.choices.filter((word) => !near.includes(word));
  const title = `Disagreement ${number + 1}`;
  const buttons = near.map((word) => element("button", { type: "button" }, word));
  const select = element("select", { "aria-label": `Other label for disagreement ${number + 1}` },
    element("option", { value: "" }, "other label …"), ...far.map((word) => element("option", { value: word }, word)));
  const state = element("p", { className: "quiet", role: "status" });
  const paint = () => {
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.textContent === one.decided));
    select.value = far.includes(one.decided) ? one.decided : "";
    select.classList.toggle("chosen", select.value !== "");
    state.textContent = one.decided === null ? "unsettled" : `settled: ${one.decided}`;
  };
  const decide = async (label) => {
    try {
      one.decided = (await request("POST", `${api}/decisions`, { image: one.image, label })).decided;
      say("");
    } catch (error) {
      say(error);
    }
    paint();
    changed();
  };
  for (const button of buttons) {
    button.addEventListener("click", () => decide(one.decided === button.textContent ? null : button.textContent));
  }
  select.addEventListener("change", () => decide(select.value || null));
  paint();
  const image = element("img", { loading: "lazy", src: `${api}/images/${one.image}`, alt: title });
  const group = element("div", { className: "deciding", role: "group", "aria-label": `Settle disagreement ${number + 1}` }, ...buttons, select);
  return element("li", {}, image, element("ul", { className: "said" }, ...said), group, state);
}

function written(found, write) {
  const labels = Object.entries(found.labels).map(([name, n]) => `${name} ${n}`).join(", ");
  const copy = element("button", { type: "button" }, "Copy");
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(found.command);
    copy.textContent = "Copied";
  });
  const lines = [
    element("p", {}, `${counted(found.images, "image")}: ${labels}${found.unlabeled ? `, no label yet ${found.unlabeled}` : ""}. Left out, with no face or no class: ${found.left_out}.`),
    element("p", {}, "Train a model on it with:"),
    element("div", { className: "command" }, element("code", {}, found.command), copy),
  ];
  if (found.rare.length) {
    const without = element("button", { type: "button" }, "Write it without them");
    without.addEventListener("click", () => write({ without_rare: true }));
    lines.splice(1, 0, element("p", { className: "error" },
      `moppet train needs three images of each class. Too few: ${found.rare.join(", ")}. Settle more images, or leave these classes out. `, without));
  }
  $("#written").replaceChildren(...lines);
}

export async function agree(api, set, say) {
  const found = await request("GET", `${api}/agreement`);
  const all = found.disagreements;
  let listed = all;
  let count = PAGE;
  figures(found);
  $("#tables").replaceChildren(...found.tables.map((_, i) => crossed(found, i)));

  function changed() {
    const open = all.filter((one) => one.decided === null).length;
    $("#disputed-what").textContent = all.length
      ? `${counted(all.length, "image")} of ${set.images.toLocaleString("en")}, ${open || "none"} unsettled. Click the right label for each; click again to undo.`
      : "There are none.";
  }
  function list() {
    const part = listed.slice(0, count);
    $("#disputed").replaceChildren(...part.map((one) => card(api, found, one, all.indexOf(one), changed, say)));
    $("#more").hidden = count >= listed.length;
  }
  $("#open-only-row").hidden = !all.length;
  $("#open-only").addEventListener("change", (event) => {
    listed = event.target.checked ? all.filter((one) => one.decided === null) : all;
    count = PAGE;
    list();
  });
  $("#more").addEventListener("click", () => {
    const first = count;
    count += PAGE;
    list();
    $("#disputed").children[first].querySelector("button").focus();
  });
  changed();
  list();

  async function write(asked) {
    try {
      written(await request("POST", `${api}/manifest`, asked), write);
      say("");
    } catch (error) {
      say(error);
    }
  }
  $("#write").addEventListener("click", () => write({}));
}
