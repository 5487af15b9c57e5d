// A face from 52 weights: where its points are, where they face, how deep its folds are.

const FOLDS = 16;

export class Morph {
  constructor({ settings, arrays }) {
    this.settings = settings;
    this.arrays = arrays;
    this.points = new Float32Array(arrays.rest);
    this.normals = new Float32Array(arrays.rest.length);
    this.folds = new Float32Array(FOLDS); // 0 to settings.folds.deepest
    this.teethLight = 1;
    this.gaze = [0, 0]; // in rad, to the person's left and up
    this.probes = new Float32Array(arrays.probes);
    this.foldsAtRest = Array.from({ length: FOLDS }, (_, k) => this.across(2 * k, 2 * k + 1));
    this.lipsAtRest = this.lipGaps();
    this.show(new Float32Array(settings.units.length));
  }

  /** Takes the shape that the weights (52) ask for. */
  show(weights) {
    this.move(weights);
    this.turnNormals();
    this.measure(weights);
  }

  move(weights) {
    const { rest, first_move: first, moved_point: moved, moves, move_step: step } = this.arrays;
    const points = this.points;
    points.set(rest);
    for (let unit = 0; unit < weights.length; unit++) {
      const factor = weights[unit] * step[unit];
      if (factor === 0) continue;
      for (let k = first[unit], end = first[unit + 1]; k < end; k++) {
        const point = 3 * moved[k], move = 3 * k;
        points[point] += factor * moves[move];
        points[point + 1] += factor * moves[move + 1];
        points[point + 2] += factor * moves[move + 2];
      }
    }
  }

  /** The mean of the normals of each point's triangles, by area; the shader makes them unit. */
  turnNormals() {
    const { points: p, normals: n } = this;
    const triangles = this.arrays.triangles;
    n.fill(0);
    for (let k = 0; k < triangles.length; k += 3) {
      const a = 3 * triangles[k], b = 3 * triangles[k + 1], c = 3 * triangles[k + 2];
      const ux = p[b] - p[a], uy = p[b + 1] - p[a + 1], uz = p[b + 2] - p[a + 2];
      const vx = p[c] - p[a], vy = p[c + 1] - p[a + 1], vz = p[c + 2] - p[a + 2];
      const x = uy * vz - uz * vy, y = uz * vx - ux * vz, z = ux * vy - uy * vx;
      n[a] += x; n[a + 1] += y; n[a + 2] += z;
      n[b] += x; n[b + 1] += y; n[b + 2] += z;
      n[c] += x; n[c + 1] += y; n[c + 2] += z;
    }
    for (let k = 0; k < n.length; k += 3) {
      const scale = 1 / (Math.hypot(n[k], n[k + 1], n[k + 2]) || 1);
      n[k] *= scale; n[k + 1] *= scale; n[k + 2] *= scale;
    }
  }

  /** Folds where skin is pushed together, light on the teeth where lips part, and the gaze. */
  measure(weights) {
    const { probes: rest, probe_moves: moves, fold_full: full, gaze } = this.arrays;
    const probes = this.probes;
    probes.set(rest);
    this.gaze = [0, 0];
    for (let unit = 0; unit < weights.length; unit++) {
      if (weights[unit] === 0) continue;
      const first = unit * rest.length;
      for (let k = 0; k < rest.length; k++) probes[k] += weights[unit] * moves[first + k];
      this.gaze[0] += weights[unit] * gaze[2 * unit];
      this.gaze[1] += weights[unit] * gaze[2 * unit + 1];
    }
    const { onset, deepest } = this.settings.folds;
    for (let k = 0; k < FOLDS; k++) {
      const change = this.across(2 * k, 2 * k + 1) / this.foldsAtRest[k] - 1;
      this.folds[k] = Math.min(Math.max((change / full[k] - onset) / (1 - onset), 0), deepest);
    }
    const apart = Math.max(...this.lipGaps().map((gap, k) => gap - this.lipsAtRest[k]));
    const [[near, far], [dark, bright]] = this.settings.teeth_light;
    const share = Math.min(Math.max((apart - near) / (far - near), 0), 1);
    this.teethLight = dark + share * (bright - dark);
  }

  lipGaps() {
    return [0, 1, 2].map((k) => this.across(2 * FOLDS + k, 2 * FOLDS + 3 + k));
  }

  across(one, other) {
    const p = this.probes, a = 3 * one, b = 3 * other;
    return Math.hypot(p[a] - p[b], p[a + 1] - p[b + 1], p[a + 2] - p[b + 2]);
  }
}
