// The page: what is shown, slices, and the table of atoms.

const scene = JSON.parse(document.getElementById("scene").textContent);
const find = (id) => document.getElementById(id);
const decoded = (field, shape, spacing) => new Field(halfToFloat(fromBase64(field)), shape, spacing);
const fields = Object.fromEntries(Object.entries(scene.fields).map(([name, f]) => [name, decoded(f, scene.shape, scene.spacing)]));
const coarse = scene.shape.map((n) => (n + 1) / 2);
const potential = scene.potential ? decoded(scene.potential, coarse, 2 * scene.spacing) : null;
const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255);
const RED = rgb("#c0392b"), BLUE = rgb("#2166ac"), PLAIN = rgb("#56b4e9");
const DIVERGING = ["#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fddbc7", "#ef8a62", "#b2182b"].map(rgb);
const WARM_TO_COLD = DIVERGING.slice().reverse();
const RISING = ["#ffffff", "#edf8b1", "#c7e9b4", "#7fcdbb", "#41b6c4", "#1d91c0", "#225ea8", "#0c2c84"].map(rgb);
const SLICE_RANGE = [1e-3, 3];
const state = { show: scene.show, levels: { ...scene.levels }, names: scene.names, axis: 2, places: scene.shape.map((n) => (n - 1) / 2) };

function colourOf(map, t) {
  const place = Math.min(Math.max(t, 0), 1) * (map.length - 1), low = Math.min(Math.floor(place), map.length - 2);
  return map[low].map((c, a) => c + (place - low) * (map[low + 1][a] - c));
}
function choose(box, choices, now, act) {
  box.replaceChildren(...choices.map(([value, text]) => {
    const button = document.createElement("button");
    button.textContent = text; button.type = "button";
    button.setAttribute("aria-pressed", String(value === now()));
    button.addEventListener("click", () => { act(value); for (const b of box.children) b.setAttribute("aria-pressed", String(b === button)); });
    return button;
  }));
}
function number(value, digits = 3) { return String(Number(value.toPrecision(digits))).replace("-", "−"); }
function signed(value) { return (value <= -0.005 ? "−" : value >= 0.005 ? "+" : "") + Math.abs(value).toFixed(2); }
function bar(map, low, high, unit) {
  const canvas = document.createElement("canvas"), pen = canvas.getContext("2d");
  canvas.width = 176; canvas.height = 1;
  for (let i = 0; i < 176; i++) {
    pen.fillStyle = `rgb(${colourOf(map, i / 175).map((c) => Math.round(255 * c))})`;
    pen.fillRect(i, 0, 1, 1);
  }
  return [low, canvas, `${high} ${unit}`];
}
function dot(colour, text) {
  const span = document.createElement("span"), mark = document.createElement("i");
  if (colour) { mark.style.background = `rgb(${colour.map((c) => Math.round(255 * c))})`; span.append(mark); }
  span.append(text);
  return span;
}

const fieldName = () => state.show === "potential" ? "density" : state.show;
const isSigned = () => state.show === "deformation" || state.show === "difference";
const centre = [0, 1, 2].map((a) => (Math.min(...scene.atoms.map((t) => t.place[a])) + Math.max(...scene.atoms.map((t) => t.place[a]))) / 2);
const radius = 1.6 + Math.max(...scene.atoms.map((t) => Math.hypot(...t.place.map((c, a) => c - centre[a]))));
const stage = new Stage(find("stage"), centre, radius, scene.atoms.map((t) => t.place));
if (!stage.gl) find("stage").append("This browser shows no WebGL 2; slices and figures below do without.");

function drawAtoms() {
  const mesh = { places: [], normals: [], colours: [], triangles: [] };
  const rings = scene.atoms.length > 60 ? 9 : 14;
  for (const atom of scene.atoms) ball(mesh, atom.place, atom.radius, rgb(atom.colour), rings);
  for (const [i, j] of scene.bonds) {
    const a = scene.atoms[i], b = scene.atoms[j], middle = a.place.map((c, k) => (c + b.place[k]) / 2);
    stick(mesh, a.place, middle, 0.11, rgb(a.colour)); stick(mesh, middle, b.place, 0.11, rgb(b.colour));
  }
  stage.put("atoms", mesh, 1);
}
function drawSurface() {
  const name = fieldName(), level = state.levels[name], field = fields[name];
  const parts = (isSigned() ? [1, -1] : [1]).map((sign) => ({ ...surface(field, level, sign), sign }));
  const n = parts.reduce((sum, part) => sum + part.places.length, 0);
  const mesh = { places: new Float32Array(n), normals: new Float32Array(n), colours: new Float32Array(n), triangles: [] };
  let start = 0, largest = 0;
  const values = [];
  for (const part of parts) {
    mesh.places.set(part.places, start); mesh.normals.set(part.normals, start);
    for (let i = 0; i < part.places.length; i += 3) {
      if (state.show === "potential") values.push(potential.at(part.places[i], part.places[i + 1], part.places[i + 2]));
      mesh.colours.set(isSigned() ? (part.sign > 0 ? RED : BLUE) : PLAIN, start + i);
    }
    for (const vertex of part.triangles) mesh.triangles.push(vertex + start / 3);
    start += part.places.length;
  }
  if (state.show === "potential") {
    const sizes = values.map(Math.abs).sort((a, b) => a - b);
    largest = Math.max(1, sizes.length ? sizes[Math.floor(0.98 * (sizes.length - 1))] : 1);
    values.forEach((value, i) => mesh.colours.set(colourOf(WARM_TO_COLD, 0.5 + value / largest / 2), 3 * i));
  }
  stage.put("surface", mesh, state.show === "potential" ? 0.78 : 0.5);
  const none = n ? [] : ["no surface at this level"];
  if (state.show === "potential") find("key").replaceChildren(dot(null, "potential"), ...bar(WARM_TO_COLD, `−${number(largest, 2)}`, `+${number(largest, 2)}`, "kcal/mol per e"), ...none);
  else if (isSigned()) find("key").replaceChildren(dot(RED, `more than ${scene.less[state.show]}`), dot(BLUE, "less"), ...none);
  else find("key").replaceChildren(dot(PLAIN, `density of ${number(level)} e/Å³`), ...none);
}
function drawNames() {
  const text = { none: () => "", elements: (t) => t.symbol, numbers: (t, i) => t.symbol + (i + 1), charges: (t) => signed(t.charge) }[state.names];
  stage.names = state.names === "none" ? [] : scene.atoms.map((t, i) => ({ text: text(t, i), place: t.place }));
  stage.later();
}
function setLevel(name, level) {
  state.levels[name] = level;
  const [low, high] = scene.ranges[name];
  find("level").value = Math.log(level / low) / Math.log(high / low);
  find("level-text").textContent = `${isSigned() ? "±" : ""}${number(level)} e/Å³`;
}

function drawSlice() {
  const canvas = find("slice"), field = fields[fieldName()], axis = state.axis;
  const [u, w] = [[1, 2], [0, 2], [0, 1]][axis], nu = scene.shape[u], nw = scene.shape[w], at = state.places[axis];
  const image = new ImageData(nu, nw), stride = field.strides, map = isSigned() ? DIVERGING : RISING;
  let largest = 0;
  if (isSigned()) {
    const middle = [];
    for (let i = 0; i < nu; i++) for (let j = 0; j < nw; j++) middle.push(Math.abs(field.values[at * stride[axis] + i * stride[u] + j * stride[w]]));
    middle.sort((a, b) => a - b);
    largest = Math.max(1e-3, middle[Math.floor(0.995 * (middle.length - 1))]);
  }
  for (let i = 0; i < nu; i++) for (let j = 0; j < nw; j++) {
    const value = field.values[at * stride[axis] + i * stride[u] + j * stride[w]];
    const t = isSigned() ? 0.5 + value / largest / 2 : Math.log(Math.max(value, 1e-9) / SLICE_RANGE[0]) / Math.log(SLICE_RANGE[1] / SLICE_RANGE[0]);
    const colour = colourOf(map, t), pixel = 4 * ((nw - 1 - j) * nu + i);
    for (let a = 0; a < 3; a++) image.data[pixel + a] = Math.round(255 * colour[a]);
    image.data[pixel + 3] = 255;
  }
  const ratio = Math.min(window.devicePixelRatio || 1, 2), room = canvas.parentElement.clientWidth;
  const width = Math.min(room, 420 * nu / nw);
  canvas.style.width = `${width}px`;
  canvas.width = Math.round(width * ratio); canvas.height = Math.round(canvas.width * nw / nu);
  const small = new OffscreenCanvas(nu, nw);
  small.getContext("2d").putImageData(image, 0, 0);
  const pen = canvas.getContext("2d"), step = canvas.width / nu;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(small, 0, 0, canvas.width, canvas.height);
  pen.font = `600 ${13 * ratio}px system-ui, "DejaVu Sans", sans-serif`; pen.textAlign = "center"; pen.textBaseline = "middle";
  pen.lineJoin = "round"; pen.lineWidth = 3 * ratio; pen.strokeStyle = "rgba(255,255,255,.85)"; pen.fillStyle = "#1d2733";
  for (const atom of scene.atoms) {
    if (Math.abs(atom.place[axis] - at * scene.spacing) > 0.35) continue;
    const x = (atom.place[u] / scene.spacing + 0.5) * step, y = (nw - 0.5 - atom.place[w] / scene.spacing) * step;
    pen.strokeText(atom.symbol, x, y); pen.fillText(atom.symbol, x, y);
  }
  find("place").max = scene.shape[axis] - 1; find("place").value = at;
  find("place-text").textContent = `${number((at - (scene.shape[axis] - 1) / 2) * scene.spacing, 2)} Å`;
  if (isSigned()) find("slice-key").replaceChildren(...bar(DIVERGING, `−${number(largest, 2)}`, `+${number(largest, 2)}`, "e/Å³"));
  else find("slice-key").replaceChildren(...bar(RISING, String(SLICE_RANGE[0]), String(SLICE_RANGE[1]), "e/Å³, logarithmic"));
}
function writeAtoms() {
  const cell = (kind, text) => Object.assign(document.createElement(kind), { textContent: text });
  const columns = ["atom"], known = scene.atoms[0];
  if (known.charge !== null) columns.push("charge [e]");
  if (known.error !== null) columns.push("expected error [%]");
  if (columns.length === 1) columns.push("x, y, z [Å]");
  const head = document.createElement("thead"), body = document.createElement("tbody"), row = document.createElement("tr");
  row.append(...columns.map((text) => cell("th", text))); head.append(row);
  scene.atoms.forEach((atom, i) => {
    const line = document.createElement("tr"), texts = [atom.symbol + (i + 1)];
    if (known.charge !== null) texts.push(signed(atom.charge));
    if (known.error !== null) texts.push(atom.error.toFixed(2));
    if (texts.length === 1) texts.push(atom.position.map((c) => c.toFixed(3)).join(", ").replaceAll("-", "−"));
    line.append(...texts.map((text) => cell("td", text))); body.append(line);
  });
  find("atoms").append(head, body);
}

let asked = false;
function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; drawSurface(); });
}
choose(find("shows"), scene.shows.map((name) => [name, name]), () => state.show, (show) => {
  state.show = show; setLevel(fieldName(), state.levels[fieldName()]); drawSurface(); drawSlice();
});
const kinds = [["none", "none"], ["elements", "elements"], ["numbers", "numbers"]];
if (scene.atoms[0].charge !== null) kinds.push(["charges", "charges"]);
choose(find("names"), kinds, () => state.names, (names) => { state.names = names; drawNames(); });
choose(find("axes"), [[2, "plane"], [1, "side"], [0, "end"]], () => state.axis, (axis) => { state.axis = axis; drawSlice(); });
find("level").addEventListener("input", () => {
  const [low, high] = scene.ranges[fieldName()];
  setLevel(fieldName(), low * (high / low) ** Number(find("level").value)); redraw();
});
find("place").addEventListener("input", () => { state.places[state.axis] = Number(find("place").value); drawSlice(); });
new ResizeObserver(() => requestAnimationFrame(drawSlice)).observe(find("slice").parentElement);
writeAtoms(); drawAtoms(); drawNames(); setLevel(fieldName(), state.levels[fieldName()]); drawSurface(); drawSlice();
document.documentElement.dataset.ready = "yes";
