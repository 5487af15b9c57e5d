// What the graphics card does with a point and a pixel. The light is that of face/light.py.

export const SKIN_POINT = `#version 300 es
uniform mat4 camera;
in vec3 position, normal, rest;
in vec3 colour;
in vec4 material;
in vec2 sheetPlace;
out vec3 vPosition, vNormal, vRest, vColour;
out vec4 vMaterial;
out vec2 vSheetPlace;
void main() {
  vPosition = position; vNormal = normal; vRest = rest;
  vColour = colour; vMaterial = material; vSheetPlace = sheetPlace;
  // The inside of the mouth lies close behind the lips, and must not show through them.
  float inside = (1.0 - material.x) * step(max(material.z, material.w), 0.5);
  gl_Position = camera * vec4(position - vec3(0.0, 0.0, 0.002 * inside), 1.0);
}`;

const LIGHT = `
uniform vec3 lightDirections[3], lightColours[3], sky, ground, wrap, eye;

vec3 lightOn(vec3 n) {
  vec3 diffuse = vec3(0.0);
  for (int k = 0; k < 3; k++) {
    float facing = dot(n, lightDirections[k]);
    diffuse += clamp((facing + wrap) / (1.0 + wrap), 0.0, 1.0) * lightColours[k];
  }
  return 0.92 * diffuse + mix(ground, sky, 0.5 + 0.5 * n.y);
}

float glossOn(vec3 n, vec3 towardsEye, float sharpness) {
  float sum = 0.0;
  for (int k = 0; k < 3; k++) {
    vec3 halfway = normalize(lightDirections[k] + towardsEye);
    float strength = dot(lightColours[k], vec3(1.0 / 3.0));
    sum += strength * pow(max(dot(n, halfway), 0.0), sharpness);
  }
  return sum;
}`;

export const SKIN_PIXEL = `#version 300 es
precision highp float;
precision highp sampler2DArray;
in vec3 vPosition, vNormal, vRest, vColour;
in vec4 vMaterial; // gloss, hair, teeth (upper 1, lower 0.7), tongue and lashes
in vec2 vSheetPlace;
uniform sampler2D sheet;
uniform sampler2DArray foldSheet;
uniform vec4 foldDepths[4];
uniform float gloss, sharpness, darkest, teethLight;
out vec4 pixel;
${LIGHT}

float hash(vec2 p) {
  vec3 q = fract(vec3(p.xyx) * 0.1031);
  q += dot(q, q.yzx + 33.33);
  return fract((q.x + q.y) * q.z);
}

float noise(vec2 p) {
  vec2 cell = floor(p), part = fract(p);
  part = part * part * (3.0 - 2.0 * part);
  return mix(mix(hash(cell), hash(cell + vec2(1, 0)), part.x),
             mix(hash(cell + vec2(0, 1)), hash(cell + vec2(1, 1)), part.x), part.y);
}

// Strands run from the crown outwards and down: fine across, long along.
float strands(vec3 p) {
  vec3 q = p - vec3(0.0, 0.03, -0.03);
  float around = atan(q.x, q.z) + 0.25 * sin(6.0 * atan(length(q.xz), q.y));
  float down = atan(length(q.xz), q.y);
  float fine = noise(vec2(around * 110.0, down * 7.0));
  float coarse = noise(vec2(around * 26.0 + 7.0, down * 3.0));
  return 0.55 * fine + 0.45 * coarse;
}

// What is drawn on the skin lies on the front alone.
vec3 drawnOn() {
  vec3 drawn = texture(sheet, vSheetPlace).rgb;
  vec4 left = vec4(1.0);
  for (int k = 0; k < 4; k++) {
    if (foldDepths[k] != vec4(0.0))
      left *= 1.0 - min(foldDepths[k] * texture(foldSheet, vec3(vSheetPlace, float(k))), darkest);
  }
  vec3 folds = pow(vec3(left.x * left.y * left.z * left.w), vec3(0.72, 1.0, 1.04)); // warm
  return mix(vec3(1.0), drawn * folds, smoothstep(-0.01, 0.01, vRest.z));
}

// Where one tooth meets the next, and the dark towards the corners of the mouth.
float teeth() {
  vec4 ends = 0.95e-3 * (vMaterial.z > 0.85 ? vec4(0.0, 8.4, 14.8, 21.6) : vec4(0.0, 5.3, 11.0, 17.6));
  vec4 gaps = 1.0 - smoothstep(0.15e-3, 0.5e-3, abs(abs(vPosition.x) - ends));
  float gap = max(max(gaps.x, gaps.y), max(gaps.z, gaps.w));
  return (1.0 - 0.2 * gap) * mix(0.92, 0.5, smoothstep(0.006, 0.024, abs(vPosition.x)));
}

void main() {
  bool isSkin = max(vMaterial.z, vMaterial.w) < 0.5;
  if (isSkin && !gl_FrontFacing) discard; // the inside of the cheeks
  vec3 towardsEye = normalize(eye - vPosition);
  vec3 n = normalize(vNormal);
  if (vMaterial.z > 0.5) n = normalize(vec3(vPosition.x, 0.0, vPosition.z)); // teeth: their arch
  vec3 light = lightOn(n);
  float facing = max(dot(n, towardsEye), 0.0);

  vec3 colour = vColour * light;
  float cover = 1.0;
  if (vMaterial.z > 0.5) {
    colour = teethLight * (teeth() * min(colour, 1.0) + 0.10 * glossOn(n, towardsEye, 40.0));
  } else if (vMaterial.w > 0.5) {
    colour += 0.06 * glossOn(n, towardsEye, 20.0);
  } else {
    float hair = vMaterial.y, bare = vMaterial.x * (1.0 - hair);
    float strand = strands(vRest);
    cover = mix(1.0, smoothstep(-0.02, 0.06 + 0.16 * strand, facing), hair); // thin at its edge
    colour *= mix(1.0, 0.62 + 0.76 * strand, hair);
    colour += hair * 0.10 * (0.4 + strand) * glossOn(n, towardsEye, 14.0) * vec3(1.0, 0.88, 0.78);
    colour += bare * gloss * glossOn(n, towardsEye, sharpness);
    colour += bare * 0.10 * pow(1.0 - facing, 3.0) * vec3(1.0, 0.78, 0.68); // down, at the edge
    colour *= drawnOn();
    cover *= smoothstep(-0.112, -0.095, vRest.y); // the neck ends in nothing
    // The chin's shade on the neck.
    float neck = smoothstep(-0.072, -0.105, vRest.y) * smoothstep(0.075, 0.03, vRest.z);
    colour *= 1.0 - 0.34 * neck * smoothstep(-0.19, -0.10, vRest.y);
  }
  pixel = vec4(colour * cover, cover);
}`;

export const EYE_POINT = `#version 300 es
uniform mat4 camera;
uniform mat3 turn;
uniform vec3 centre;
uniform float radius;
in vec3 ball;
out vec3 vPosition, vBall, vTurned;
void main() {
  vBall = ball;
  vTurned = turn * ball;
  vPosition = centre + radius * vTurned;
  gl_Position = camera * vec4(vPosition, 1.0);
}`;

// As paint.eye_colours lights the ball, with a second, fainter reflection below the first.
export const EYE_PIXEL = `#version 300 es
precision highp float;
in vec3 vPosition, vBall, vTurned;
uniform sampler2D eyeColours;
uniform vec3 catchlight;
out vec4 pixel;
void main() {
  vec3 ball = normalize(vBall), turned = normalize(vTurned);
  vec3 colour = texture(eyeColours, 0.5 + 0.5 * ball.xy).rgb;
  float roundOff = 0.62 + 0.36 * max(turned.z, 0.0);
  float lid = 0.45 * smoothstep(0.05, 0.6, turned.y);
  colour *= roundOff * (1.0 - lid);
  colour = mix(colour, vec3(1.0), 0.95 * smoothstep(0.12, 0.06, distance(turned, catchlight)));
  vec3 below = normalize(catchlight * vec3(-1.0, -1.0, 1.0));
  colour += 0.12 * smoothstep(0.22, 0.05, distance(turned, below));
  pixel = vec4(colour, 1.0);
}`;
