"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const all = (query, from = document) => Array.from(from.querySelectorAll(query));

  function makeSortable(table) {
    all("thead th", table).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        all("th", head.parentNode).forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
        const rows = all("tbody tr", table).sort(
          (a, b) => parseFloat(key(a)) - parseFloat(key(b)) || key(a).localeCompare(key(b)));
        if (!up) rows.reverse();
        table.tBodies[0].append(...rows);
      });
    });
  }
  all("table.sortable").forEach(makeSortable);
  const folded = () => all("details:not([open])").filter((fold) => !fold.closest(".lane"));
  let opened = [];
  addEventListener("beforeprint", () => { opened = folded(); opened.forEach((fold) => { fold.open = true; }); });
  addEventListener("afterprint", () => opened.forEach((fold) => { fold.open = false; }));
  if (!data.steps) return;

  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  let sum = 0;
  const times = data.steps.map((step) => (sum += step) / 1000);
  const [start, end] = data.span;
  const span = end - start;
  const k = data.names.length;
  const widest = 24000;
  const fewest = Object.values(data.lanes).some((lane) => lane.peak) ? 60 : 12;
  const closest = Math.min(1, Math.max(fewest / times.length, 0.001));
  let view = [0, 1], cursor = null;

  const stepFor = (seconds, most) => STEPS.find((step) => seconds / step <= most) || 604800;
  const STEPS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120,
    300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
  function clock(seconds, step) {
    const digits = step >= 1 ? 0 : Math.min(3, Math.ceil(-Math.log10(step) - 1e-9));
    const total = Math.round(seconds * 10 ** digits) / 10 ** digits;
    if (total < 60) return total.toFixed(digits) + " s";
    const whole = Math.floor(total + 1e-9), hours = Math.floor(whole / 3600);
    const two = (n) => String(n).padStart(2, "0");
    const minutes = Math.floor(whole / 60) % 60;
    const tail = (total - 60 * Math.floor(whole / 60)).toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
    return (hours ? hours + ":" + two(minutes) : minutes) + ":" + tail;
  }
  const make = (name, attributes, text) => {
    const node = document.createElementNS(document.querySelector("svg").namespaceURI, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text) node.textContent = text;
    return node;
  };

  const stages = all(".stage").map((node) => {
    const figure = node.closest(".lane"), block = node.closest(".grid");
    const packed = figure && data.lanes[figure.dataset.face];
    return {
      node, figure, packed, moves: "moves" in node.dataset,
      zoomed: node.querySelector(".zoomed"), lines: node.querySelector(".grid"),
      axis: node.querySelector(".axis"), cross: node.querySelector(".cross"),
      values: figure && block.querySelector(".values"),
      now: figure && figure.querySelector(".now"),
      peaks: figure && all(".values li", block).map((item) => item.textContent),
    };
  });
  function unpack(packed) {
    if (!packed.flagBytes) {
      packed.flagBytes = bytes(packed.flags);
      packed.bestBytes = bytes(packed.best);
      packed.meanBytes = bytes(packed.mean);
      packed.peakBytes = packed.peak ? bytes(packed.peak) : null;
      packed.secondBytes = packed.second ? bytes(packed.second) : null;
      packed.movedBytes = packed.moved ? bytes(packed.moved) : null;
    }
    return packed;
  }

  function nearest(time) {
    let low = 0, high = times.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (times[middle] < time) low = middle; else high = middle;
    }
    return time - times[low] <= times[high] - time ? low : high;
  }
  const place = (time) => ((time - start) / span - view[0]) / (view[1] - view[0]);
  const percent = (byte) => byte === 255 ? "–" : Math.round(byte / 2) + " %";

  const signed = (byte) => (byte < 100 ? "−" : "+") + (Math.abs(byte - 100) / 100).toFixed(2);
  function showMoves(stage, lane, at, flags) {
    stage.values.dataset.title = "here";
    for (const item of all("li", stage.values)) {
      const found = item.dataset.at.split(",").map((i) => lane.movedBytes[at * data.moved + Number(i)]);
      const whole = item.matches(".valence,.two_way");
      if (!flags || found.some((byte) => byte === 255)) item.textContent = "–";
      else item.textContent = whole ? signed(found[0]) : found.map((byte) => byte - 100).join(" / ") + "\u00a0%";
    }
  }
  function bestOf(values, at) {
    const mine = Array.from(values.subarray(at * k, at * k + k), (byte) => byte === 255 ? -1 : byte);
    return mine.indexOf(Math.max(...mine));
  }
  function showLane(stage, index) {
    const lane = unpack(stage.packed), at = index - lane.first;
    const flags = lane.flagBytes[at] || 0;
    if (stage.moves) { showMoves(stage, lane, at, flags); return; }
    const when = clock(times[index], span < 600 ? 0.01 : 0.1);
    stage.values.dataset.title = "here";
    const items = all("li", stage.values);
    for (let i = 0; i < k; i++) items[i].textContent = flags ? percent(lane.meanBytes[at * k + i]) : "–";
    let text = when + " · this face is not visible";
    if (flags) {
      const best = lane.bestBytes[at];
      text = when + " · " + (best === 255 ? "no value" : data.names[best] + " " + percent(lane.meanBytes[at * k + best]));
      if (lane.peakBytes && best !== 255) text += ", up to " + percent(lane.peakBytes[at * k + best]);
      if (lane.secondBytes && best !== 255) {
        const other = bestOf(lane.secondBytes, at);
        text += ` · ${data.second}: ${data.names[other]} ${percent(lane.secondBytes[at * k + other])}`;
      }
      if (flags & 2) text += " · unsure";
      if (flags & 4) text += " · low quality";
    }
    stage.now.textContent = text;
    stage.node.setAttribute("aria-valuenow", times[index].toFixed(2));
    stage.node.setAttribute("aria-valuetext", text);
  }
  function showCursor() {
    for (const stage of stages) {
      const x = cursor === null ? -1 : place(times[cursor]);
      const inside = x >= 0 && x <= 1;
      stage.cross.setAttribute("visibility", inside ? "visible" : "hidden");
      if (inside) ["x1", "x2"].forEach((key) => stage.cross.setAttribute(key, 100 * x + "%"));
      if (!stage.figure) continue;
      if (cursor !== null) { showLane(stage, cursor); continue; }
      stage.values.dataset.title = "peak";
      all("li", stage.values).forEach((item, i) => { item.textContent = stage.peaks[i]; });
      if (!stage.moves) stage.now.textContent = "";
    }
  }
  function showView() {
    const shown = (view[1] - view[0]) * span;
    for (const stage of stages) {
      const box = stage.zoomed.viewBox.baseVal;
      box.x = view[0] * widest;
      box.width = (view[1] - view[0]) * widest;
      if (times.length < 2) continue;
      const step = stepFor(shown, Math.max(3, Math.min(10, stage.node.clientWidth / 90)));
      const lines = [], texts = [];
      const first = start + view[0] * span;
      for (let i = Math.ceil(first / step - 1e-9); i * step <= first + shown + 1e-9; i++) {
        const x = 100 * place(i * step);
        lines.push(make("line", { x1: x + "%", x2: x + "%", y2: "100%" }));
        const anchor = x < 4 ? "start" : x > 96 ? "end" : "middle";
        texts.push(make("text", { x: x + "%", y: 15, "text-anchor": anchor }, clock(i * step, step)));
      }
      stage.lines.replaceChildren(...lines);
      stage.axis.replaceChildren(...texts);
    }
    const whole = view[1] - view[0] > 0.9999;
    all("[data-zoom=out],[data-zoom=all],[data-zoom=back],[data-zoom=on]").forEach((b) => { b.disabled = whole; });
    all("[data-zoom=in]").forEach((b) => { b.disabled = view[1] - view[0] <= closest * 1.0001; });
    showCursor();
  }
  function setView(from, width) {
    width = Math.min(1, Math.max(closest, width));
    from = Math.min(1 - width, Math.max(0, from));
    view = [from, from + width];
    showView();
  }
  function zoom(factor, centre) {
    const width = view[1] - view[0];
    setView(centre - (centre - view[0]) * factor, width * factor);
  }
  const middle = () => {
    const x = cursor === null ? -1 : (times[cursor] - start) / span;
    return x >= view[0] && x <= view[1] ? x : (view[0] + view[1]) / 2;
  };
  const move = (share) => setView(view[0] + share * (view[1] - view[0]), view[1] - view[0]);
  const actions = {
    in: () => zoom(0.5, middle()), out: () => zoom(2, middle()), all: () => setView(0, 1),
    back: () => move(-0.5), on: () => move(0.5),
  };
  all("[data-zoom]").forEach((b) => b.addEventListener("click", actions[b.dataset.zoom]));
  all(".tools").forEach((tools) => { tools.hidden = false; });

  function listen(stage) {
    const node = stage.node;
    let from = null, band = null;
    const share = (event) => {
      const box = node.getBoundingClientRect();
      return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    };
    const inView = (x) => view[0] + x * (view[1] - view[0]);
    node.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse" && event.button === 0) { from = share(event); node.setPointerCapture(event.pointerId); }
    });
    node.addEventListener("pointermove", (event) => {
      const x = share(event);
      cursor = nearest(start + inView(x) * span);
      showCursor();
      if (from === null || Math.abs(x - from) < 0.01) return;
      if (!band) node.querySelector(".plot").append(band = make("rect", { class: "band", height: "100%" }));
      band.setAttribute("x", 100 * Math.min(x, from) + "%");
      band.setAttribute("width", 100 * Math.abs(x - from) + "%");
    });
    node.addEventListener("pointerup", (event) => {
      const x = share(event);
      if (band) { band.remove(); setView(inView(Math.min(x, from)), Math.abs(x - from) * (view[1] - view[0])); }
      from = band = null;
    });
    node.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse" && document.activeElement !== node) { cursor = null; showCursor(); }
    });
    node.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoom(event.deltaY > 0 ? 1.25 : 0.8, inView(share(event)));
    }, { passive: false });
    if (!stage.figure || stage.moves) return;
    Object.entries({
      tabindex: 0, role: "slider", "aria-label": stage.figure.querySelector("h3").textContent + ", values over time",
      "aria-valuemin": start.toFixed(2), "aria-valuemax": end.toFixed(2), "aria-valuenow": start.toFixed(2),
    }).forEach(([key, value]) => node.setAttribute(key, value));
    node.addEventListener("keydown", (event) => {
      const big = event.shiftKey ? 10 : 1, last = times.length - 1, at = cursor ?? nearest(start + inView(0) * span);
      const goal = { ArrowLeft: at - big, ArrowRight: at + big, PageDown: at + 25, PageUp: at - 25, Home: 0, End: last }[event.key];
      if (goal !== undefined) {
        cursor = Math.min(last, Math.max(0, goal));
        const x = (times[cursor] - start) / span, width = view[1] - view[0];
        if (x < view[0] || x > view[1]) setView(x - width / 2, width); else showCursor();
      } else if (event.key === "+" || event.key === "=") actions.in();
      else if (event.key === "-") actions.out();
      else if (event.key === "Escape") { cursor = null; showCursor(); }
      else return;
      event.preventDefault();
    });
  }
  stages.forEach(listen);
  showView();
  addEventListener("resize", showView);
  all("details.more,details.moves").forEach((fold) => fold.addEventListener("toggle", showView));
})();
