// Shapes: surfaces of a field, spheres, sticks; and small linear algebra.

function halfToFloat(bytes) {
  const source = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  const table = new Float32Array(65536);
  for (let h = 0; h < 65536; h++) {
    const exponent = (h >> 10) & 31, fraction = h & 1023;
    const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
    table[h] = h & 32768 ? -size : size;
  }
  return Float32Array.from(source, (h) => table[h]);
}

function fromBase64(text) {
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
}

// A field [nx, ny, nz], z fastest, on steps of one length.
class Field {
  constructor(values, shape, spacing) {
    this.values = values; this.shape = shape; this.spacing = spacing;
    this.strides = [shape[1] * shape[2], shape[2], 1];
  }
  at(x, y, z) {  // trilinear, at a place in Å from the first point
    const n = this.shape, s = this.strides, place = [x / this.spacing, y / this.spacing, z / this.spacing];
    const low = place.map((p, a) => Math.min(Math.max(Math.floor(p), 0), n[a] - 2));
    const part = place.map((p, a) => Math.min(Math.max(p - low[a], 0), 1));
    const start = low[0] * s[0] + low[1] * s[1] + low[2];
    let sum = 0;
    for (let corner = 0; corner < 8; corner++) {
      let weight = 1, index = start;
      for (let a = 0; a < 3; a++) {
        const bit = (corner >> a) & 1;
        weight *= bit ? part[a] : 1 - part[a];
        index += bit * s[a];
      }
      sum += weight * this.values[index];
    }
    return sum;
  }
  slope(x, y, z) {
    const h = this.spacing;
    return [this.at(x + h, y, z) - this.at(x - h, y, z), this.at(x, y + h, z) - this.at(x, y - h, z),
            this.at(x, y, z + h) - this.at(x, y, z - h)].map((d) => d / (2 * h));
  }
}

// Where a field crosses a level: a vertex in every cell that it crosses, a quad about every edge (surface nets).
// sign -1 draws where the field falls below -level. Gives positions, normals (outward) and triangles.
function surface(field, level, sign) {
  const [nx, ny, nz] = field.shape, [sx, sy] = field.strides, v = field.values, h = field.spacing;
  const vertex = new Int32Array(v.length).fill(-1), places = [], normals = [], triangles = [];
  const inside = (i) => sign * v[i] > level;
  const corners = [0, sx, sy, sx + sy, 1, sx + 1, sy + 1, sx + sy + 1];
  const edges = [[0, 1], [2, 3], [4, 5], [6, 7], [0, 2], [1, 3], [4, 6], [5, 7], [0, 4], [1, 5], [2, 6], [3, 7]];
  for (let x = 0; x < nx - 1; x++) for (let y = 0; y < ny - 1; y++) for (let z = 0; z < nz - 1; z++) {
    const start = x * sx + y * sy + z;
    let mask = 0;
    for (let c = 0; c < 8; c++) if (inside(start + corners[c])) mask |= 1 << c;
    if (mask === 0 || mask === 255) continue;
    let px = 0, py = 0, pz = 0, n = 0;
    for (const [a, b] of edges) {
      if (((mask >> a) & 1) === ((mask >> b) & 1)) continue;
      const va = sign * v[start + corners[a]], vb = sign * v[start + corners[b]], t = (level - va) / (vb - va);
      px += (a & 1) + t * ((b & 1) - (a & 1));
      py += ((a >> 1) & 1) + t * (((b >> 1) & 1) - ((a >> 1) & 1));
      pz += (a >> 2) + t * ((b >> 2) - (a >> 2));
      n++;
    }
    vertex[start] = places.length / 3;
    let p = [(x + px / n) * h, (y + py / n) * h, (z + pz / n) * h], g = field.slope(...p);
    const square = g[0] * g[0] + g[1] * g[1] + g[2] * g[2];
    const far = square > 0 ? Math.max(-0.4 * h, Math.min(0.4 * h, (sign * level - field.at(...p)) / Math.sqrt(square))) : 0;
    const length = Math.sqrt(square) || 1;
    p = p.map((value, a) => value + far * g[a] / length);
    places.push(...p);
    normals.push(...g.map((value) => -sign * value / length));
  }
  const around = [[sy, 1], [1, sx], [sx, sy]], along = [sx, sy, 1];
  for (let x = 1; x < nx - 1; x++) for (let y = 1; y < ny - 1; y++) for (let z = 1; z < nz - 1; z++) {
    const start = x * sx + y * sy + z;
    for (let a = 0; a < 3; a++) {
      const first = inside(start), second = inside(start + along[a]);
      if (first === second) continue;
      const [u, w] = around[a];
      const q = [vertex[start - u - w], vertex[start - w], vertex[start], vertex[start - u]];
      if (q.some((i) => i < 0)) continue;
      if (first) triangles.push(q[0], q[1], q[2], q[0], q[2], q[3]);
      else triangles.push(q[0], q[2], q[1], q[0], q[3], q[2]);
    }
  }
  return { places: new Float32Array(places), normals: new Float32Array(normals), triangles: new Uint32Array(triangles) };
}

function ball(mesh, centre, radius, colour, rings = 14) {
  const first = mesh.places.length / 3, turns = 2 * rings;
  for (let i = 0; i <= rings; i++) for (let j = 0; j <= turns; j++) {
    const t = Math.PI * i / rings, p = 2 * Math.PI * j / turns;
    const n = [Math.sin(t) * Math.cos(p), Math.sin(t) * Math.sin(p), Math.cos(t)];
    mesh.places.push(...n.map((c, a) => centre[a] + radius * c));
    mesh.normals.push(...n); mesh.colours.push(...colour);
  }
  for (let i = 0; i < rings; i++) for (let j = 0; j < turns; j++) {
    const a = first + i * (turns + 1) + j, b = a + turns + 1;
    mesh.triangles.push(a, b, b + 1, a, b + 1, a + 1);
  }
}

function stick(mesh, from, to, radius, colour, turns = 14) {
  const axis = unit(to.map((c, a) => c - from[a]));
  const u = unit(cross(axis, Math.abs(axis[0]) < 0.8 ? [1, 0, 0] : [0, 1, 0])), w = cross(axis, u);
  const first = mesh.places.length / 3;
  for (let j = 0; j <= turns; j++) {
    const c = Math.cos(2 * Math.PI * j / turns), s = Math.sin(2 * Math.PI * j / turns);
    const n = u.map((value, a) => c * value + s * w[a]);
    for (const end of [from, to]) {
      mesh.places.push(...n.map((value, a) => end[a] + radius * value));
      mesh.normals.push(...n); mesh.colours.push(...colour);
    }
  }
  for (let j = 0; j < turns; j++) {
    const a = first + 2 * j;
    mesh.triangles.push(a, a + 2, a + 1, a + 1, a + 2, a + 3);
  }
}

function cross(a, b) { return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]; }
function unit(a) { const l = Math.hypot(...a) || 1; return a.map((c) => c / l); }
function turned(matrix, axis, angle) {  // rows of a rotation, turned about x (0) or y (1) of the screen
  const c = Math.cos(angle), s = Math.sin(angle), [p, q] = axis === 0 ? [1, 2] : [2, 0];
  const rows = matrix.map((row) => row.slice());
  for (let k = 0; k < 3; k++) {
    rows[p][k] = c * matrix[p][k] - s * matrix[q][k];
    rows[q][k] = s * matrix[p][k] + c * matrix[q][k];
  }
  return rows;
}
