"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;
  const css = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();
  const steps = data.operators.length;
  const last = steps ? data.operators[steps - 1] : null;
  const cycles = data.cycles || 0;
  const full = { steps: [0, Math.max(1, steps)], cycles: [0, Math.max(1, cycles)] };
  const view = { steps: [...full.steps], cycles: [...full.cycles] };
  const state = { mode: cycles ? "cycles" : "steps", storage: -1, step: -1 };
  const whole = new Intl.NumberFormat("en");
  const MIN_VISIBLE = { steps: 2, cycles: 40 };

  function bytes(count) {
    const units = ["B", "KiB", "MiB", "GiB"];
    let unit = 0, value = count;
    while (value >= 1024 && unit < 3) { value /= 1024; unit += 1; }
    return (unit && value < 100 ? value.toFixed(value < 10 ? 2 : 1) : Math.round(value)) + " " + units[unit];
  }
  const short = (n) => n >= 1e9 ? (n / 1e9).toFixed(2) + " G" : n >= 1e6 ? (n / 1e6).toFixed(2) + " M"
    : n >= 1e4 ? (n / 1e3).toFixed(1) + " k" : whole.format(n);

  // A boundary in steps becomes the cycle at which the operator behind it starts. Engines overlap,
  // so starts are made monotone first.
  const startCycle = [], endCycle = [];
  let reached = 0;
  for (const op of data.operators) {
    reached = Math.max(reached, op.start);
    startCycle.push(reached);
    endCycle.push(Math.max(reached, op.end));
  }
  const time = (boundary, closing) => {
    if (state.mode === "steps") return boundary;
    if (closing) return boundary > 0 ? endCycle[boundary - 1] : 0;
    return boundary < steps ? startCycle[boundary] : cycles;
  };
  // When a block's space is taken, its content valid, its space free again. In cycles a load's own
  // times are known; in steps only its window is.
  const extent = ([, , , reserved, start, end, , load]) => state.mode === "cycles" && load
    ? [load[0], load[1], time(end, true)] : [time(reserved, false), time(start, false), time(end, true)];
  const stepAt = (t) => {
    if (state.mode === "steps") return Math.max(0, Math.min(steps - 1, Math.floor(t)));
    let low = 0, high = steps - 1;
    while (low < high) { const mid = (low + high + 1) >> 1; if (startCycle[mid] <= t) low = mid; else high = mid - 1; }
    return low;
  };

  function surface(canvas, height) {
    const ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth;
    canvas.style.height = height + "px";
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = "12px system-ui, sans-serif";
    return [pen, width];
  }
  function niceStep(span, count) {
    const raw = span / count, power = 10 ** Math.floor(Math.log10(raw));
    return [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  }
  function byteStep(span, count) {
    let step = 1;
    while (span / step > count) step *= 2;
    return step;
  }
  const LEFT = 76, RIGHT = 12, TOP = 18, FOOT = 26;
  const xOf = (t, [a, b], width) => LEFT + (t - a) / (b - a) * (width - LEFT - RIGHT);
  const tOf = (x, [a, b], width) => a + (x - LEFT) / (width - LEFT - RIGHT) * (b - a);

  function timeAxis(pen, range, width, height, unit) {
    const step = Math.max(unit === "steps" ? 1 : 0, niceStep(range[1] - range[0], Math.max(3, width / 130)));
    pen.textAlign = "center"; pen.textBaseline = "top";
    for (let t = Math.ceil(range[0] / step) * step; t <= range[1]; t += step) {
      const x = xOf(t, range, width);
      pen.fillStyle = css("grid"); pen.fillRect(x, TOP, 1, height - TOP - FOOT);
      pen.fillStyle = css("soft");
      const label = unit === "steps" ? whole.format(t) : short(t);
      pen.fillText(label, Math.min(x, width - RIGHT - pen.measureText(label).width / 2), height - FOOT + 7);
    }
    pen.textAlign = "right"; pen.textBaseline = "top";
    pen.fillText(unit, LEFT - 10, height - FOOT + 7);
  }

  const shade = data.storages.map((_, i) => 0.66 + 0.34 * ((i * 0.618034) % 1));
  const colours = {};
  function readColours() {
    for (const name of ["input", "weight", "output", "state", "activation", "workspace", "reload", "ink", "soft",
      "grid", "hatch", "bad", "track", "card", "accent"]) colours[name] = css(name);
  }
  const MAP_HEIGHT = 430;
  const top = Math.max(1, Math.min(data.capacity, Math.ceil(data.peak * 1.06)), data.peak);
  const yOf = (address) => MAP_HEIGHT - FOOT - address / top * (MAP_HEIGHT - TOP - FOOT);

  function drawMap() {
    const canvas = $("map");
    const [pen, width] = surface(canvas, MAP_HEIGHT);
    const range = view[state.mode];
    timeAxis(pen, range, width, MAP_HEIGHT, state.mode);
    const step = byteStep(top, 7);
    pen.textAlign = "right"; pen.textBaseline = "middle";
    for (let address = 0; address <= top; address += step) {
      pen.fillStyle = colours.grid; pen.fillRect(LEFT, yOf(address), width - LEFT - RIGHT, 1);
      pen.fillStyle = colours.soft; pen.fillText(bytes(address), LEFT - 10, yOf(address));
    }
    pen.save();
    pen.beginPath(); pen.rect(LEFT, 0, width - LEFT - RIGHT, MAP_HEIGHT - FOOT); pen.clip();
    for (const block of data.blocks) drawBlock(pen, block, range, width);
    if (data.capacity <= top) {
      pen.fillStyle = colours.bad; pen.fillRect(LEFT, yOf(data.capacity), width, 1.5);
      pen.textAlign = "right"; pen.textBaseline = "bottom";
      pen.fillText("capacity " + bytes(data.capacity), width - RIGHT - 4, yOf(data.capacity) - 1);
    }
    if (state.step >= 0) {
      const a = xOf(time(state.step, false), range, width), b = xOf(time(state.step + 1, true), range, width);
      pen.globalAlpha = 0.1; pen.fillStyle = colours.ink;
      pen.fillRect(a, TOP, Math.max(1, b - a), MAP_HEIGHT - TOP - FOOT);
    }
    pen.restore();
  }
  function drawBlock(pen, block, range, width) {
    const [storage, address, size] = block, [taken, ready, freed] = extent(block);
    const x0 = xOf(taken, range, width), x1 = xOf(freed, range, width);
    if (x1 < LEFT || x0 > width) return;
    const y = yOf(address + size), height = Math.max(0.7, size / top * (MAP_HEIGHT - TOP - FOOT));
    const span = Math.max(0.7, x1 - x0);
    const picked = state.storage === storage;
    pen.globalAlpha = state.storage >= 0 && !picked ? 0.22 : shade[storage];
    pen.fillStyle = colours[data.categories[block[8]]];
    pen.fillRect(x0, y, span, height);
    const valid = xOf(ready, range, width);
    if (valid - x0 > 1.5) hatch(pen, x0, y, valid - x0, height);
    pen.globalAlpha = 1;
    if (span > 4 && height > 4) {
      pen.strokeStyle = picked ? colours.ink : colours.card;
      pen.lineWidth = picked ? 2 : 0.8;
      pen.strokeRect(x0 + 0.4, y + 0.4, span - 0.8, height - 0.8);
    }
    if (span > 60 && height > 15) label(pen, data.storages[storage], Math.max(valid, LEFT), y + height / 2, Math.min(x1, width - RIGHT));
  }
  function hatch(pen, x, y, width, height) {
    pen.save();
    pen.beginPath(); pen.rect(x, y, width, height); pen.clip();
    pen.strokeStyle = colours.hatch; pen.lineWidth = 1.6; pen.globalAlpha = 1;
    const from = Math.max(x, LEFT) - height, to = Math.min(x + width, LEFT + 4000);
    pen.beginPath();
    for (let at = from - (from % 6); at < to; at += 6) { pen.moveTo(at, y + height); pen.lineTo(at + height, y); }
    pen.stroke();
    pen.restore();
  }
  function label(pen, text, left, y, right) {
    const room = right - left - 12;
    if (room < 40) return;
    let shown = text;
    const tail = text.split("/").filter(Boolean);
    if (pen.measureText(shown).width > room && tail.length > 1) shown = "…/" + tail[tail.length - 1];
    while (shown.length > 3 && pen.measureText(shown).width > room) shown = shown.slice(0, -2) + "…";
    if (shown.length < 4) return;
    pen.fillStyle = "#fff"; pen.textAlign = "left"; pen.textBaseline = "middle";
    pen.fillText(shown, left + 6, y);
  }
  const blockAt = (x, y, width) => {
    const range = view[state.mode];
    for (let i = data.blocks.length - 1; i >= 0; i -= 1) {
      const [, address, size] = data.blocks[i], [taken, , freed] = extent(data.blocks[i]);
      const x0 = xOf(taken, range, width), x1 = xOf(freed, range, width);
      if (x >= x0 && x <= Math.max(x1, x0 + 1) && y <= yOf(address) && y >= yOf(address + size)) return data.blocks[i];
    }
    return null;
  };

  const LANE = 34;
  const engineColour = (name) => /in|load|read/.test(name) ? "input" : /out|store|write/.test(name) ? "output"
    : /vec/.test(name) ? "state" : "activation";
  const laneHeight = () => TOP + data.engines.length * LANE + FOOT;
  function drawLanes() {
    const canvas = $("lanes");
    if (!canvas) return;
    const height = laneHeight(), [pen, width] = surface(canvas, height), range = view.cycles;
    timeAxis(pen, range, width, height, "cycles");
    data.engines.forEach((engine, lane) => {
      const y = TOP + lane * LANE;
      pen.fillStyle = colours.soft; pen.textAlign = "right"; pen.textBaseline = "middle";
      pen.fillText(engine.name, LEFT - 10, y + LANE / 2 - 3);
      pen.fillStyle = colours.track; pen.fillRect(LEFT, y + 3, width - LEFT - RIGHT, LANE - 10);
      pen.save();
      pen.beginPath(); pen.rect(LEFT, y, width - LEFT - RIGHT, LANE); pen.clip();
      for (const span of engine.spans) drawSpan(pen, span, y, range, width, colours[engineColour(engine.name)]);
      pen.restore();
    });
  }
  function drawSpan(pen, span, y, range, width, colour) {
    const [start, end, name, step] = span;
    const x0 = xOf(start, range, width), x1 = xOf(end, range, width);
    if (x1 < LEFT || x0 > width) return;
    const length = Math.max(0.6, x1 - x0 - (x1 - x0 > 3 ? 0.8 : 0));
    pen.globalAlpha = state.step >= 0 && state.step !== step ? 0.45 : step % 2 ? 0.78 : 1;
    pen.fillStyle = colour; pen.fillRect(x0, y + 3, length, LANE - 10);
    pen.globalAlpha = 1;
    if (length > 60) label(pen, data.labels[name], Math.max(x0, LEFT), y + LANE / 2 - 2, Math.min(x1, width - RIGHT));
  }
  const spanAt = (x, y, width) => {
    const engine = data.engines[Math.floor((y - TOP) / LANE)];
    if (!engine) return null;
    const hit = engine.spans.find(([start, end]) => {
      const x0 = xOf(start, view.cycles, width);
      return x >= x0 - 1 && x <= Math.max(xOf(end, view.cycles, width), x0 + 1);
    });
    return hit ? [engine, hit] : null;
  };

  const tip = $("tip");
  function showTip(event, title, rows) {
    tip.replaceChildren();
    const head = document.createElement("b"); head.textContent = title; tip.append(head);
    const table = document.createElement("table");
    for (const [key, value] of rows) {
      const row = table.insertRow(); row.insertCell().textContent = key; row.insertCell().textContent = value;
    }
    tip.append(table); tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = Math.min(event.clientX + 14, window.innerWidth - box.width - 10) + "px";
    tip.style.top = (event.clientY + 18 + box.height > window.innerHeight ? event.clientY - box.height - 12 : event.clientY + 18) + "px";
  }
  function redraw() { readColours(); drawMap(); drawLanes(); }
  let pending = false;
  function later() {
    if (pending) return;
    pending = true;
    requestAnimationFrame(() => { pending = false; redraw(); });
  }

  function zoom(mode, factor, centre) {
    const [a, b] = view[mode], [low, high] = full[mode];
    let span = Math.max(Math.min(MIN_VISIBLE[mode], high), Math.min(high - low, (b - a) * factor));
    let start = centre - (centre - a) * span / (b - a);
    start = Math.max(low, Math.min(high - span, start));
    view[mode] = [start, start + span];
    later();
  }
  function pan(mode, by) {
    const [a, b] = view[mode], [low, high] = full[mode];
    const shift = Math.max(low - a, Math.min(high - b, by));
    view[mode] = [a + shift, b + shift];
    later();
  }
  function interactive(canvas, modeOf, hover) {
    let drag = null;
    canvas.addEventListener("wheel", (event) => {
      const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
      if (!event.ctrlKey && !event.metaKey && !sideways) return;
      event.preventDefault();
      const mode = modeOf(), width = canvas.clientWidth;
      if (sideways) pan(mode, event.deltaX / width * (view[mode][1] - view[mode][0]));
      else zoom(mode, Math.exp(event.deltaY * 0.0016), tOf(event.offsetX, view[mode], width));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => { drag = event.offsetX; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointerup", () => { drag = null; });
    canvas.addEventListener("pointermove", (event) => {
      const mode = modeOf(), width = canvas.clientWidth;
      if (drag !== null) {
        pan(mode, (drag - event.offsetX) / (width - LEFT - RIGHT) * (view[mode][1] - view[mode][0]));
        drag = event.offsetX; tip.hidden = true;
        return;
      }
      hover(event, width);
    });
    canvas.addEventListener("pointerleave", () => { tip.hidden = true; state.storage = -1; state.step = -1; later(); });
    canvas.addEventListener("dblclick", () => { const mode = modeOf(); view[mode] = [...full[mode]]; later(); });
    canvas.addEventListener("keydown", (event) => {
      const mode = modeOf(), [a, b] = view[mode], middle = (a + b) / 2;
      if (event.key === "+" || event.key === "=") zoom(mode, 0.7, middle);
      else if (event.key === "-") zoom(mode, 1.4, middle);
      else if (event.key === "ArrowLeft") pan(mode, (a - b) / 8);
      else if (event.key === "ArrowRight") pan(mode, (b - a) / 8);
      else if (event.key === "0") { view[mode] = [...full[mode]]; later(); } else return;
      event.preventDefault();
    });
  }
  for (const [id, factor] of [["closer", 0.6], ["wider", 1 / 0.6]]) {
    $(id).addEventListener("click", () => {
      const [a, b] = view[state.mode];
      zoom(state.mode, factor, (a + b) / 2);
    });
  }

  function hoverMap(event, width) {
    const range = view[state.mode], block = blockAt(event.offsetX, event.offsetY, width);
    if (event.offsetX < LEFT || !steps) { tip.hidden = true; return; }
    state.step = stepAt(tOf(event.offsetX, range, width));
    state.storage = block ? block[0] : -1;
    const op = data.operators[state.step];
    if (block) {
      const [storage, address, size, reserved, start, end, loaded] = block;
      showTip(event, data.storages[storage], [
        ["what", data.categories[block[8]] + (loaded ? ", loaded from DRAM" : ", written on chip")],
        ["size", whole.format(size) + " B (" + bytes(size) + ")"],
        ["address", "0x" + address.toString(16) + " – 0x" + (address + size).toString(16)],
        ["steps", "[" + start + ", " + end + ")" + (reserved < start ? ", reserved from " + reserved : "")],
        ["now", "step " + state.step + ": " + op.name]]);
    } else {
      showTip(event, "step " + state.step + ": " + op.name, [["kind", op.kind], ["engine", op.engine], ["live", bytes(op.live)]]);
    }
    later();
  }
  function hoverLanes(event, width) {
    const hit = spanAt(event.offsetX, event.offsetY, width);
    if (!hit) { tip.hidden = true; if (state.step >= 0) { state.step = -1; later(); } return; }
    const [engine, [start, end, name, step, size]] = hit;
    state.step = step;
    const rows = [["engine", engine.name], ["cycles", whole.format(start) + " – " + whole.format(end) + " (" + whole.format(end - start) + ")"]];
    if (size) rows.push(["bytes", whole.format(size) + " (" + bytes(size) + ")"]);
    if (step >= 0) rows.push(["step", step + (data.operators[step] ? ": " + data.operators[step].name : "")]);
    showTip(event, data.labels[name], rows);
    later();
  }

  // What an engine does or waits for: its words and its colour.
  const CAUSES = {
    busy: ["busy", "var(--activation)"], delay: ["latency", "var(--state)"],
    setup: ["set-up", "color-mix(in srgb, var(--state) 55%, var(--track))"],
    bank: ["slowed by banks", "var(--weight)"], dram: ["slowed by DRAM", "var(--output)"],
    held: ["held by the array", "color-mix(in srgb, var(--activation) 45%, var(--track))"],
    wait_load: ["waits for a load", "var(--input)"],
    wait_weight: ["waits for weights", "color-mix(in srgb, var(--weight) 55%, var(--track))"],
    wait_store: ["waits for a store", "color-mix(in srgb, var(--output) 50%, var(--track))"],
    wait_compute: ["waits for a computation", "var(--wait)"],
    queue: ["queue full", "color-mix(in srgb, var(--wait) 55%, var(--track))"],
    clock: ["between two clocks", "color-mix(in srgb, var(--state) 75%, var(--wait))"],
    priority: ["others go first", "color-mix(in srgb, var(--output) 75%, var(--wait))"],
    wait_engine: ["waits for the other engine", "var(--workspace)"], done: ["idle", "var(--track)"],
  };
  function buildCauses() {
    const place = $("causes");
    if (!place) return;
    const seen = new Set();
    for (const { engine, cycles: spent } of data.causes) {
      const row = document.createElement("div"), name = document.createElement("span"), bar = document.createElement("div");
      row.className = "cause"; bar.className = "bar"; name.textContent = engine;
      for (const [cause, count] of Object.entries(spent)) {
        if (!count) continue;
        seen.add(cause);
        const [words, colour] = CAUSES[cause] || [cause, "var(--workspace)"], part = document.createElement("i");
        part.style.width = 100 * count / cycles + "%"; part.style.background = colour;
        part.title = engine + " " + words + ": " + whole.format(count) + " cycles, " + (100 * count / cycles).toFixed(1) + " %";
        bar.append(part);
      }
      row.append(name, bar); place.append(row);
    }
    for (const cause of Object.keys(CAUSES)) {
      if (!seen.has(cause)) continue;
      const entry = document.createElement("span");
      entry.style.setProperty("--swatch", CAUSES[cause][1]); entry.textContent = CAUSES[cause][0];
      $("causes-legend").append(entry);
    }
  }

  const columns = [
    ["Step", (op) => op.step], ["Operator", (op) => op.name, "text name"], ["Kind", (op) => op.kind, "text"],
    ["Engine", (op) => op.engine, "text"], ["Output", (op) => op.shape, "text"], ["MACs", (op) => op.macs],
    ["Cycles", (op) => op.end - op.start, "meter"], ["Live bytes", (op) => op.live], ["Off-chip bytes", (op) => op.offchip],
  ];
  const sort = { column: 0, down: false };
  const ROW_LIMIT = 300;
  let showAll = false;
  function buildHead() {
    const row = $("operators").tHead.rows[0];
    columns.forEach(([title, , kind], index) => {
      const cell = document.createElement("th"), button = document.createElement("button");
      cell.scope = "col"; cell.className = (kind || "").includes("text") ? "text" : "";
      button.textContent = title;
      button.addEventListener("click", () => {
        sort.down = sort.column === index ? !sort.down : index > 4;
        sort.column = index; fillTable();
      });
      cell.append(button); row.append(cell);
    });
  }
  function fillTable() {
    const key = columns[sort.column][1], words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = data.operators
      .filter((op) => words.every((w) => (op.name + " " + op.kind + " " + op.engine).toLowerCase().includes(w)))
      .sort((a, b) => { const [x, y] = [key(a), key(b)]; return (x < y ? -1 : x > y ? 1 : a.step - b.step) * (sort.down ? -1 : 1); });
    [...$("operators").tHead.rows[0].cells].forEach((cell, i) => {
      if (i === sort.column) cell.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    const longest = Math.max(1, ...data.operators.map((op) => op.end - op.start));
    const shown = showAll ? rows : rows.slice(0, ROW_LIMIT);
    $("operators").tBodies[0].replaceChildren(...shown.map((op) => tableRow(op, longest)));
    $("more").hidden = shown.length === rows.length;
    $("more").textContent = "Show all " + whole.format(rows.length) + " operators";
    $("count").textContent = whole.format(rows.length) + " of " + whole.format(steps);
  }
  function tableRow(op, longest) {
    const row = document.createElement("tr");
    for (const [, key, kind] of columns) {
      const cell = row.insertCell(), value = key(op);
      cell.className = kind || ""; cell.textContent = typeof value === "number" ? whole.format(value) : value;
      if (kind === "text name") cell.title = op.name;
      if (kind === "meter") {
        cell.className = "";
        const meter = document.createElement("span"), fill = document.createElement("i");
        meter.className = "meter"; fill.style.width = 100 * value / longest + "%"; meter.append(fill); cell.append(meter);
      }
    }
    row.addEventListener("click", () => focusStep(op.step));
    row.addEventListener("pointerenter", () => { state.step = op.step; later(); });
    row.addEventListener("pointerleave", () => { state.step = -1; later(); });
    return row;
  }
  function focusStep(step) {
    view.steps = clampRange(step - 8, step + 9, full.steps);
    const length = Math.max(1, endCycle[step] - startCycle[step]);
    view.cycles = clampRange(startCycle[step] - 4 * length, endCycle[step] + 4 * length, full.cycles);
    $("map").scrollIntoView({ behavior: "smooth", block: "center" });
    later();
  }
  const clampRange = (a, b, [low, high]) => [Math.max(low, a), Math.min(high, b)];

  function setMode(mode) {
    state.mode = mode;
    for (const button of document.querySelectorAll("[data-mode]")) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    later();
  }
  for (const button of document.querySelectorAll("[data-mode]")) button.addEventListener("click", () => setMode(button.dataset.mode));
  $("reset").addEventListener("click", () => { view.steps = [...full.steps]; view.cycles = [...full.cycles]; later(); });
  $("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    later();
  });
  $("filter").addEventListener("input", fillTable);
  $("more").addEventListener("click", () => { showAll = true; fillTable(); });
  interactive($("map"), () => state.mode, hoverMap);
  if ($("lanes")) interactive($("lanes"), () => "cycles", hoverLanes);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", later);
  window.addEventListener("resize", later);
  buildHead(); buildCauses(); fillTable(); setMode(state.mode); redraw();
})();
