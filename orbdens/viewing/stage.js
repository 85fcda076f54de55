// The stage: atoms, sticks and surfaces in WebGL 2, turned by hand, with names drawn over them.

const VERTEX = `#version 300 es
in vec3 place; in vec3 normal; in vec3 colour;
uniform mat3 turn; uniform vec3 centre; uniform vec2 scale; uniform float radius;
out vec3 across; out vec3 tint;
void main() {
  vec3 p = turn * (place - centre);
  float away = p.z - 4.0 * radius;
  gl_Position = vec4(4.0 * p.xy * scale, (-4.0 * away - 7.0 * radius) / 3.0, -away);
  across = turn * normal; tint = colour;
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec3 across; in vec3 tint;
uniform float opacity;
out vec4 shade;
void main() {
  vec3 n = normalize(across) * (gl_FrontFacing ? 1.0 : -1.0);
  float lit = 0.58 + 0.46 * max(dot(n, normalize(vec3(-0.35, 0.55, 0.8))), 0.0);
  float shine = pow(max(dot(n, normalize(vec3(-0.18, 0.3, 1.0))), 0.0), 40.0);
  float alpha = opacity >= 1.0 ? 1.0 : mix(1.0, opacity, pow(abs(n.z), 1.2));
  shade = vec4((tint * lit + 0.28 * shine) * alpha, alpha);
}`;

class Stage {
  constructor(element, centre, radius, places) {
    this.element = element; this.centre = centre; this.radius = radius;
    [this.canvas, this.over] = element.querySelectorAll("canvas");
    this.gl = this.canvas.getContext("webgl2", { antialias: true, premultipliedAlpha: true });
    this.meshes = new Map(); this.names = [];
    this.reset();
    // Half of the room, in Å, that the first view takes to the side and upward, near atoms larger than far ones.
    const seen = places.map((place) => this.turn.map((row) => row.reduce((sum, c, k) => sum + c * (place[k] - centre[k]), 0)));
    this.room = [0, 1].map((a) => 2.1 + Math.max(...seen.map((p) => Math.abs(p[a]) * 4 * radius / (4 * radius - p[2]))));
    if (!this.gl) return;
    const gl = this.gl, program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source); gl.compileShader(shader); gl.attachShader(program, shader);
    }
    gl.linkProgram(program); gl.useProgram(program);
    this.program = program;
    this.uniforms = {};
    for (const name of ["turn", "centre", "scale", "radius", "opacity"]) this.uniforms[name] = gl.getUniformLocation(program, name);
    this.listen();
    new ResizeObserver(() => this.later()).observe(element);
  }
  reset() {
    this.turn = turned(turned([[1, 0, 0], [0, 1, 0], [0, 0, 1]], 1, -0.35), 0, 0.45);
    this.zoom = 1;
    this.later();
  }
  put(name, mesh, opacity) {
    const gl = this.gl;
    if (!gl) return;
    const before = this.meshes.get(name);
    if (before) { before.buffers.forEach((b) => gl.deleteBuffer(b)); gl.deleteVertexArray(before.array); }
    const array = gl.createVertexArray(), buffers = [];
    gl.bindVertexArray(array);
    for (const [attribute, numbers] of [["place", mesh.places], ["normal", mesh.normals], ["colour", mesh.colours]]) {
      const buffer = gl.createBuffer(), where = gl.getAttribLocation(this.program, attribute);
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(numbers), gl.STATIC_DRAW);
      gl.enableVertexAttribArray(where); gl.vertexAttribPointer(where, 3, gl.FLOAT, false, 0, 0);
      buffers.push(buffer);
    }
    const index = gl.createBuffer();
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, index);
    gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, new Uint32Array(mesh.triangles), gl.STATIC_DRAW);
    buffers.push(index);
    gl.bindVertexArray(null);
    this.meshes.set(name, { array, buffers, n: mesh.triangles.length, opacity });
    this.later();
  }
  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.draw(); });
  }
  draw() {
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.round(this.element.clientWidth * ratio), height = Math.round(this.element.clientHeight * ratio);
    if (!width || !height) return;
    for (const canvas of [this.canvas, this.over]) if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width; canvas.height = height;
    }
    const size = 2 * this.radius * this.zoom * Math.min(width / 2 / this.room[0], height / 2 / this.room[1]);
    this.scale = [size / width, size / height];
    const gl = this.gl;
    if (gl) {
      const u = this.uniforms;
      gl.viewport(0, 0, width, height);
      gl.clearColor(0, 0, 0, 0); gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      gl.enable(gl.DEPTH_TEST); gl.enable(gl.BLEND); gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      gl.uniformMatrix3fv(u.turn, true, this.turn.flat());
      gl.uniform3fv(u.centre, this.centre); gl.uniform2fv(u.scale, this.scale); gl.uniform1f(u.radius, this.radius);
      for (const { array, n, opacity } of [...this.meshes.values()].sort((a, b) => b.opacity - a.opacity)) {
        gl.bindVertexArray(array); gl.uniform1f(u.opacity, opacity);
        gl.depthMask(opacity >= 1);
        if (opacity >= 1) { gl.disable(gl.CULL_FACE); gl.drawElements(gl.TRIANGLES, n, gl.UNSIGNED_INT, 0); continue; }
        gl.enable(gl.CULL_FACE);
        for (const face of [gl.FRONT, gl.BACK]) { gl.cullFace(face); gl.drawElements(gl.TRIANGLES, n, gl.UNSIGNED_INT, 0); }
      }
      gl.depthMask(true);
    }
    this.write(width, height, ratio);
  }
  write(width, height, ratio) {
    const pen = this.over.getContext("2d");
    pen.clearRect(0, 0, width, height);
    pen.font = `600 ${12 * ratio}px system-ui, "DejaVu Sans", sans-serif`;
    pen.textAlign = "center"; pen.textBaseline = "middle"; pen.lineJoin = "round";
    pen.lineWidth = 3 * ratio; pen.strokeStyle = "rgba(255,255,255,.85)";
    const placed = this.names.map(({ text, place }) => {
      const p = this.turn.map((row) => row.reduce((sum, c, k) => sum + c * (place[k] - this.centre[k]), 0));
      const w = 4 * this.radius - p[2];
      return { text, depth: p[2], x: width / 2 * (1 + 4 * p[0] * this.scale[0] / w), y: height / 2 * (1 - 4 * p[1] * this.scale[1] / w) };
    }).sort((a, b) => a.depth - b.depth);
    for (const { text, x, y, depth } of placed) {
      pen.globalAlpha = Math.max(0.35, Math.min(1, 0.8 + 0.5 * depth / this.radius));
      pen.strokeText(text, x, y); pen.fillStyle = "#1d2733"; pen.fillText(text, x, y);
    }
    pen.globalAlpha = 1;
  }
  listen() {
    const element = this.element, pointers = new Map();
    element.addEventListener("pointerdown", (event) => { element.setPointerCapture(event.pointerId); pointers.set(event.pointerId, [event.clientX, event.clientY]); });
    for (const end of ["pointerup", "pointercancel"]) element.addEventListener(end, (event) => pointers.delete(event.pointerId));
    element.addEventListener("pointermove", (event) => {
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const now = [event.clientX, event.clientY];
      if (pointers.size === 1) {
        this.turn = turned(turned(this.turn, 1, (now[0] - before[0]) * 0.008), 0, (now[1] - before[1]) * 0.008);
      } else {
        const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
        const apart = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]);
        this.zoom = Math.min(8, Math.max(0.4, this.zoom * apart(now) / Math.max(apart(before), 1)));
      }
      pointers.set(event.pointerId, now);
      this.later();
    });
    element.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom = Math.min(8, Math.max(0.4, this.zoom * Math.exp(-event.deltaY * 0.0012)));
      this.later();
    }, { passive: false });
    element.addEventListener("dblclick", () => this.reset());
  }
}
