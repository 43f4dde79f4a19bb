// Edits of a timeline (people and corrections) and exports.
import { $ } from "./dom.js";
import { request } from "./request.js";
import { clock } from "./expressions.js";

const FILES = {
  csv: "CSV", parquet: "Parquet", elan: "ELAN", boris: "BORIS", datavyu: "Datavyu",
  textgrid: "Praat", summary: "Summary", corrections: "Corrections",
};

const FOR_FILMS = ["elan", "boris", "datavyu", "textgrid"];

// page: {api, head, face(), time(), frame_s(), show(head), say(text, bad)}
export function startEdits(page) {
  const before = []; // earlier states of the people, for undo

  async function change(method, path, body, undoable = false) {
    const was = page.head.people;
    try {
      page.show(await request(method, `${page.api}/${path}`, body));
      if (undoable) before.push(was);
      $("#who-undo").disabled = before.length === 0;
      page.say("");
      return true;
    } catch (error) {
      page.say(error.message, true);
      return false;
    }
  }

  const edit = (what, more = {}) => change("POST", `people/${what}`, { face: page.face(), ...more }, true);
  $("#who-form").addEventListener("submit", (event) => {
    event.preventDefault();
    edit("name", { name: $("#who-name").value, role: $("#who-role").value });
  });
  $("#who-join").addEventListener("click", () => edit("join", { into: Number($("#who-into").value) }));
  $("#who-split").addEventListener("click", () => edit("split", { at_s: page.time() }));
  $("#who-forget").addEventListener("click", () => edit("forget"));
  $("#who-undo").addEventListener("click", async () => {
    const people = before.pop();
    if (!(await change("PUT", "people", people))) before.push(people);
  });

  $("#coder").value = localStorage.getItem("coder") ?? "";
  $("#this-frame").addEventListener("click", () => mark(page.time(), page.time() + page.frame_s()));
  $("#correct-form").addEventListener("submit", (event) => {
    event.preventDefault();
    localStorage.setItem("coder", $("#coder").value);
    change("POST", "corrections", {
      face: page.face(), start_s: Number($("#from").value), end_s: Number($("#to").value),
      label: $("#label").value, by: $("#coder").value,
    });
  });

  $("#with-movements").addEventListener("change", listFiles);

  function mark(from, to) {
    if (from !== null) $("#from").value = from.toFixed(3);
    if (to !== null) $("#to").value = to.toFixed(3);
  }

  function listCorrections() {
    const names = Object.fromEntries(page.head.faces.map((face) => [face.id, face.name]));
    const lines = page.head.corrections.map((one) => {
      const line = document.createElement("tr");
      const back = document.createElement("button");
      back.type = "button";
      back.textContent = "Remove";
      back.setAttribute("aria-label", `remove ${one.label} from ${clock(one.start_s)}`);
      back.addEventListener("click", (event) => {
        event.stopPropagation();
        change("POST", `corrections/${one.number}/remove`, { by: $("#coder").value || one.by });
      });
      [clock(one.start_s), clock(one.end_s), names[one.face], one.label, one.by, back].forEach((cell, place) => {
        const made = document.createElement("td");
        made.className = place < 2 ? "film-only" : "";
        made.append(cell);
        line.append(made);
      });
      line.addEventListener("click", () => page.go(one.start_s));
      return line;
    });
    $("#corrections").tBodies[0].replaceChildren(...lines);
    $("#corrections-box").hidden = lines.length === 0;
  }

  function listFiles() {
    const links = Object.entries(FILES).map(([kind, text]) => {
      const made = document.createElement("a");
      made.className = "button plain";
      const moved = FOR_FILMS.includes(kind) && $("#with-movements").checked;
      made.href = `${page.api}/export/${kind}${moved ? "?movements=all" : ""}`;
      made.download = "";
      if (FOR_FILMS.includes(kind)) made.classList.add("film-only");
      made.textContent = text;
      return made;
    });
    const report = document.createElement("a");
    report.className = "button plain";
    report.href = `${page.api}/results/report.html`;
    report.target = "_blank";
    report.textContent = "Report";
    const chart = document.createElement("button");
    chart.type = "button";
    chart.className = "plain film-only";
    chart.textContent = "Image of the chart";
    chart.addEventListener("click", () => page.saveChart());
    $("#exports").replaceChildren(report, ...links, chart);
  }

  // Fill the forms for the selected face.
  function fill() {
    const { faces, names, complete } = page.head;
    const here = faces.find((face) => face.id === page.face());
    for (const box of ["#who", "#correct", "#take"]) $(box).hidden = !complete;
    if (!here) return;
    const named = Object.values(page.head.people.persons).some((one) => one.name === here.name);
    $("#who-name").value = named ? here.name : "";
    $("#who-name").placeholder = here.name;
    $("#who-role").value = here.role ?? "";
    $("#who-forget").disabled = !named;
    $("#whose").textContent = here.name;
    const others = faces.filter((face) => face.id !== here.id);
    $("#who-into").replaceChildren(...others.map((face) => new Option(face.name, face.id)));
    $("#who-join").disabled = $("#who-into").disabled = others.length === 0;
    if ($("#label").options.length === 0) $("#label").replaceChildren(...names.map((name) => new Option(name)));
    $("#with-movements-box").hidden = page.head.movements.length === 0;
    listCorrections();
    listFiles();
  }

  return { fill, mark };
}
