// Draws the head with WebGL 2, whenever its face, the place one looks from or the size has changed.

import { EYE_PIXEL, EYE_POINT, SKIN_PIXEL, SKIN_POINT } from "./shaders.js";

const TARGET = [0, 0.0225, 0]; // looked at, in m
const DISTANCE_M = 1.05;
const FRONT = [0.07, 0.014]; // in rad round the target: to the person's left, and up
const VIEW_HEIGHT_M = 0.283;
const VIEW_WIDTH_M = 0.225; // that is always to be seen
const WIDEST = [0.9, 0.35]; // in rad, to which the head can be turned

// A machine without a graphics card is also that of the model: what is dear is drawn coarser, and
// half as often. The address ?detail=1 asks for every pixel nevertheless.
const DEAR_MS = 20, CHEAP_MS = 4, PAUSE_MS = 30, COARSEST = 0.6;
const WEIGHED_EVERY = 240; // times that it is drawn

export class HeadView {
  /** Throws an Error whose message can be shown. */
  constructor(canvas, morph, mesh) {
    this.canvas = canvas;
    this.morph = morph;
    this.mesh = mesh;
    this.angles = [...FRONT];
    this.stale = true;
    this.drawn = 0; // times
    this.detail = 1; // share of the pixels of a line
    this.pauseMs = 0;
    this.dueMs = 0;
    this.fixed = new URLSearchParams(location.search).has("detail");
    this.gl = canvas.getContext("webgl2", { antialias: true, alpha: true });
    if (!this.gl) throw new Error("This browser has no WebGL 2, so the face cannot be drawn.");
    this.build();
    canvas.addEventListener("webglcontextlost", (event) => {
      event.preventDefault();
      this.lost = true;
    });
    canvas.addEventListener("webglcontextrestored", () => {
      this.lost = false;
      this.build();
    });
    new ResizeObserver(() => { this.stale = true; }).observe(canvas);
    this.followPointer();
  }

  /** Shows the face that the morph has now. */
  update() {
    this.stale = true;
  }

  draw(nowMs) {
    if (!this.stale || this.lost || nowMs < this.dueMs) return;
    this.stale = false;
    this.dueMs = nowMs + this.pauseMs;
    const startMs = performance.now();
    const { gl, canvas, morph } = this;
    const scale = this.detail * Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.max(Math.round(canvas.clientWidth * scale), 1);
    const height = Math.max(Math.round(canvas.clientHeight * scale), 1);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    gl.viewport(0, 0, width, height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const { matrix, place } = camera(this.angles, width / height);

    gl.useProgram(this.skin.program);
    gl.bindVertexArray(this.skinArrays);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.pointBuffer);
    gl.bufferSubData(gl.ARRAY_BUFFER, 0, morph.points);
    gl.bindBuffer(gl.ARRAY_BUFFER, this.normalBuffer);
    gl.bufferSubData(gl.ARRAY_BUFFER, 0, morph.normals);
    gl.uniformMatrix4fv(this.skin.at("camera"), false, matrix);
    gl.uniform3fv(this.skin.at("eye"), place);
    gl.uniform4fv(this.skin.at("foldDepths"), morph.folds);
    gl.uniform1f(this.skin.at("teethLight"), morph.teethLight);
    gl.drawElements(gl.TRIANGLES, this.mesh.arrays.triangles.length, gl.UNSIGNED_INT, 0);

    gl.useProgram(this.eyes.program);
    gl.bindVertexArray(this.eyeArrays);
    gl.uniformMatrix4fv(this.eyes.at("camera"), false, matrix);
    gl.uniformMatrix3fv(this.eyes.at("turn"), false, turned(morph.gaze));
    const { eye_centres: centres, ball_triangles: triangles } = this.mesh.arrays;
    for (let k = 0; k < centres.length; k += 3) {
      gl.uniform3fv(this.eyes.at("centre"), centres.subarray(k, k + 3));
      gl.drawElements(gl.TRIANGLES, triangles.length, gl.UNSIGNED_INT, 0);
    }
    if (!this.fixed && this.drawn++ % WEIGHED_EVERY === 3) this.weigh(startMs);
  }

  /** Sees how long the drawing took; asking for a pixel waits for its end. */
  weigh(startMs) {
    this.gl.readPixels(0, 0, 1, 1, this.gl.RGBA, this.gl.UNSIGNED_BYTE, new Uint8Array(4));
    const tookMs = performance.now() - startMs;
    if (tookMs > DEAR_MS) {
      this.detail = COARSEST;
      this.pauseMs = PAUSE_MS;
    } else if (tookMs < CHEAP_MS) {
      this.detail = 1;
      this.pauseMs = 0;
    }
  }

  build() {
    const { gl } = this;
    const { settings, arrays, shapes } = this.mesh;
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND); // the edge of the hair, and of the neck
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);

    this.skin = new Program(gl, SKIN_POINT, SKIN_PIXEL);
    this.skinArrays = gl.createVertexArray();
    gl.bindVertexArray(this.skinArrays);
    this.pointBuffer = this.skin.attribute("position", this.morph.points, 3, gl.DYNAMIC_DRAW);
    this.normalBuffer = this.skin.attribute("normal", this.morph.normals, 3, gl.DYNAMIC_DRAW);
    this.skin.attribute("rest", arrays.rest, 3);
    this.skin.attribute("colour", arrays.colours, 3);
    this.skin.attribute("material", arrays.materials, 4);
    this.skin.attribute("sheetPlace", arrays.sheet_coordinates, 2);
    indices(gl, arrays.triangles);

    gl.useProgram(this.skin.program);
    const { light } = settings;
    gl.uniform3fv(this.skin.at("lightDirections"), light.directions.flatMap(unit));
    gl.uniform3fv(this.skin.at("lightColours"), light.colours.flat());
    for (const name of ["sky", "ground", "wrap"]) gl.uniform3fv(this.skin.at(name), light[name]);
    gl.uniform1f(this.skin.at("gloss"), light.gloss);
    gl.uniform1f(this.skin.at("sharpness"), light.sharpness);
    gl.uniform1f(this.skin.at("darkest"), settings.folds.darkest);
    picture(gl, 0, arrays.sheet, shapes.sheet);
    pictures(gl, 1, arrays.folds, shapes.folds);
    gl.uniform1i(this.skin.at("sheet"), 0);
    gl.uniform1i(this.skin.at("foldSheet"), 1);

    this.eyes = new Program(gl, EYE_POINT, EYE_PIXEL);
    this.eyeArrays = gl.createVertexArray();
    gl.bindVertexArray(this.eyeArrays);
    this.eyes.attribute("ball", arrays.ball, 3);
    indices(gl, arrays.ball_triangles);
    gl.useProgram(this.eyes.program);
    gl.uniform1f(this.eyes.at("radius"), settings.eye_radius);
    gl.uniform3fv(this.eyes.at("catchlight"), settings.catchlight);
    picture(gl, 2, arrays.eye_colours, shapes.eye_colours);
    gl.uniform1i(this.eyes.at("eyeColours"), 2);
    this.stale = true;
  }

  /** A pointer that is dragged turns the head; a double click turns it to the front. */
  followPointer() {
    const { canvas } = this;
    let from = null;
    canvas.addEventListener("pointerdown", (event) => {
      from = { x: event.clientX, y: event.clientY, angles: [...this.angles] };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!from) return;
      const turn = 2.4 / canvas.clientHeight; // rad a pixel
      const moved = [from.x - event.clientX, event.clientY - from.y];
      this.angles = moved.map((pixels, k) =>
        Math.min(Math.max(from.angles[k] + turn * pixels, -WIDEST[k]), WIDEST[k]));
      this.stale = true;
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, () => { from = null; });
    }
    canvas.addEventListener("dblclick", () => {
      this.angles = [...FRONT];
      this.stale = true;
    });
  }
}

class Program {
  constructor(gl, pointText, pixelText) {
    this.gl = gl;
    this.program = gl.createProgram();
    this.places = new Map();
    for (const [kind, text] of [[gl.VERTEX_SHADER, pointText], [gl.FRAGMENT_SHADER, pixelText]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(this.program, shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS) && !gl.isContextLost()) {
        throw new Error(`The face cannot be drawn here: ${gl.getShaderInfoLog(shader)}`);
      }
    }
    gl.linkProgram(this.program);
  }

  at(uniform) {
    if (!this.places.has(uniform)) {
      this.places.set(uniform, this.gl.getUniformLocation(this.program, uniform));
    }
    return this.places.get(uniform);
  }

  /** A buffer that feeds an attribute; whole numbers are read as shares of their largest. */
  attribute(name, values, size, use = this.gl.STATIC_DRAW) {
    const { gl } = this;
    const buffer = gl.createBuffer(), place = gl.getAttribLocation(this.program, name);
    const kinds = new Map([
      [Float32Array, gl.FLOAT], [Uint8Array, gl.UNSIGNED_BYTE], [Uint16Array, gl.UNSIGNED_SHORT],
    ]);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, values, use);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, kinds.get(values.constructor), true, 0, 0);
    return buffer;
  }
}

function indices(gl, triangles) {
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
  gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, triangles, gl.STATIC_DRAW);
}

function picture(gl, unit, pixels, [height, width]) {
  texture(gl, unit, gl.TEXTURE_2D);
  gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGB8, width, height, 0, gl.RGB, gl.UNSIGNED_BYTE, pixels);
  gl.generateMipmap(gl.TEXTURE_2D);
}

function pictures(gl, unit, pixels, [count, height, width]) {
  texture(gl, unit, gl.TEXTURE_2D_ARRAY);
  gl.texImage3D(
    gl.TEXTURE_2D_ARRAY, 0, gl.RGBA8, width, height, count, 0, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
  gl.generateMipmap(gl.TEXTURE_2D_ARRAY);
}

function texture(gl, unit, kind) {
  gl.activeTexture(gl.TEXTURE0 + unit);
  gl.bindTexture(kind, gl.createTexture());
  gl.texParameteri(kind, gl.TEXTURE_MIN_FILTER, gl.LINEAR_MIPMAP_LINEAR);
  gl.texParameteri(kind, gl.TEXTURE_MAG_FILTER, gl.LINEAR);
  gl.texParameteri(kind, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
  gl.texParameteri(kind, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
}

/** Camera matrix (column by column) and place, for angles round the head and width / height. */
function camera([left, up], aspect) {
  const back = [Math.sin(left) * Math.cos(up), Math.sin(up), Math.cos(left) * Math.cos(up)];
  const place = TARGET.map((t, k) => t + DISTANCE_M * back[k]);
  const right = unit(cross([0, 1, 0], back)), above = cross(back, right);
  const tall = Math.max(VIEW_HEIGHT_M, VIEW_WIDTH_M / aspect) / 2 / DISTANCE_M;
  const near = 0.6, far = 1.6, sx = 1 / (tall * aspect), sy = 1 / tall;
  const sz = (near + far) / (near - far), tz = (2 * near * far) / (near - far);
  const shift = [right, above, back].map((axis) => -dot(axis, place));
  const row = (k) => [sx * right[k], sy * above[k], sz * back[k], -back[k]];
  const last = [sx * shift[0], sy * shift[1], sz * shift[2] + tz, -shift[2]];
  return { matrix: new Float32Array([...row(0), ...row(1), ...row(2), ...last]), place };
}

/** The rotation (column by column) of eyes that look left and up by so many rad. */
function turned([left, up]) {
  const angle = Math.hypot(left, up), half = Math.sin(angle / 2) / (angle || 1);
  const w = Math.cos(angle / 2), x = -up * half, y = left * half; // a quaternion without z
  return new Float32Array([
    1 - 2 * y * y, 2 * x * y, -2 * w * y,
    2 * x * y, 1 - 2 * x * x, 2 * w * x,
    2 * w * y, -2 * w * x, 1 - 2 * x * x - 2 * y * y,
  ]);
}

const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [
  a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0],
];
const unit = (v) => v.map((x) => x / Math.sqrt(dot(v, v)));
