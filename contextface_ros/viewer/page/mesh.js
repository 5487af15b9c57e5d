// Reads the head as contextface_ros/viewer/head_mesh.py packs it.

const KINDS = {
  float32: Float32Array, int16: Int16Array, uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array,
};

/** Fetches the head. Throws an Error whose message can be shown. */
export async function fetchMesh(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(await response.text());
  return readMesh(await response.arrayBuffer());
}

/** The header's settings, and each array with its shape: {settings, arrays, shapes}. */
export function readMesh(buffer) {
  const magic = new TextDecoder().decode(new Uint8Array(buffer, 0, 4));
  if (magic !== "CFH1") throw new Error("The head that was sent cannot be read: reload the page.");
  const length = new DataView(buffer).getUint32(4, true);
  const settings = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const arrays = {}, shapes = {};
  for (const [name, place] of Object.entries(settings.arrays)) {
    const count = place.shape.reduce((product, side) => product * side, 1);
    arrays[name] = new KINDS[place.type](buffer, 8 + length + place.offset, count);
    shapes[name] = place.shape;
  }
  return { settings, arrays, shapes };
}
