// What tools/arm64.mjs runs on both machines: ops on numbers that follow from their index, and one video. Prints one JSON object; arrays as base64 of float32.
import { performance } from 'node:perf_hooks'
import { createRequire } from 'node:module'
import { generate } from '../../dist/esm/index.js'

const binding = createRequire(import.meta.url)(process.env.VIN_NATIVE_BINDING)
const engine = binding.createEngine({ device: 'cpu', threads: 2, isa: 'portable' })
let salt = 0
/** −1 … 1, without a pattern that an op could follow. */
const input = (...shape) => {
  salt++
  const length = shape.reduce((a, b) => a * b)
  return engine.upload(Float32Array.from({ length }, (_, i) => ((Math.imul(i + 1 + 7919 * salt, 2654435761) >>> 0) / 2 ** 31 - 1)), shape)
}
const out = (...shape) => ({ shape })

const calls = {
  linear: () => ({ y: out(37, 48), x: input(37, 64), weight: input(48, 64), bias: input(48), activation: 1 }),
  conv3d: () => ({ y: out(4, 9, 7, 6), x: input(4, 9, 7, 5), weight: input(6, 5, 3, 3, 3), bias: input(6), stride_t: 1, stride_s: 1, pad_t: 1, pad_s: 1 }),
  attention: () => ({ y: out(2, 3, 17, 24), lse: out(2, 3, 17), q: input(2, 3, 17, 24), k: input(2, 3, 29, 24), v: input(2, 3, 29, 24), scale: 0.2 }),
  layer_norm_modulate: () => ({ y: out(33, 72), stats: out(33, 2), x: input(33, 72), scale: input(1, 72), shift: input(1, 72), eps: 1e-6 }),
  rms_norm_rope: () => ({ y: out(11, 3, 16), rstd: out(11, 3), x: input(11, 3, 16), weight: input(16), rope: input(11, 16), rows_per_position: 1, eps: 1e-6 }),
  group_norm: () => ({ y: out(2, 15, 12), stats: out(2, 4, 2), x: input(2, 15, 12), weight: input(12), bias: input(12), groups: 4, silu: 1, eps: 1e-6 }),
  multiply: () => ({ y: out(5, 123), a: input(5, 123), b: input(5, 123) }),
  linear_combination: () => ({ y: out(5, 123), a: input(5, 123), b: input(5, 123), fa: 0.3, fb: -1.7, fc: 0, fd: 0 }),
  gelu: () => ({ y: out(1001), x: input(1001) }),
  silu_backward: () => ({ dx: out(1001), dy: input(1001), x: input(1001) }),
  gaussian_sample: () => ({ y: out(75, 4), moments: input(75, 8), noise: input(75, 4) }),
  randn: () => ({ y: out(4, 9, 8, 8), seed_low: 7, seed_high: 0, stream: 0, frame_major: 1 })
}

const base64 = (data) => Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64')
const ops = {}
for (const [name, describe] of Object.entries(calls)) {
  const results = engine.op(name, describe())
  for (const [field, tensor] of Object.entries(results)) ops[`${name}.${field}`] = base64(Float32Array.from((await tensor.read()).data))
}
await engine.dispose()

// Two steps with one evaluation each: the emulated machine is a hundred times slower.
const begin = performance.now()
const video = await generate({ prompt: 'a red circle moves over the meadow', device: 'cpu', numFrames: 16, numInferenceSteps: 2, guidanceScale: 1, seed: 7 })
const latents = base64(video.latents.data)
const frames = []
for await (const { data } of video.frames()) frames.push(Float32Array.from(data))
const pixels = new Float32Array(frames.length * frames[0].length)
frames.forEach((frame, i) => pixels.set(frame, i * frame.length))
console.log(JSON.stringify({ node: process.version, arch: process.arch, ops, latents, pixels: base64(pixels), seconds: (performance.now() - begin) / 1000 }))
