// Every op of csrc/ops.def as one call: its operands' shapes, and what the call moves and computes; and a call for each further kernel that an op has. test/gpu times these,
// holds large ones against the CPU, and runs small ones under compute-sanitizer.

/**
 * small: a few thousand elements, for an emulator and for tools that slow a kernel down a hundredfold. large: more elements than one grid of 65,535 blocks of 256
 * threads has threads, quick enough for a CPU. full: tensors several times a GPU's cache.
 */
const sizes = {
  small: { rows: 40, C: 72, M: 70, K: 72, N: 132, tokens: 70, heads: 2, frames: 3, side: 8, channels: 32, vocabulary: 50 },
  large: { rows: 14800, C: 1152, M: 2400, K: 1152, N: 1152, tokens: 1200, heads: 16, frames: 17, side: 88, channels: 128, vocabulary: 4096 },
  full: { rows: 58254, C: 1152, M: 9600, K: 1152, N: 4608, tokens: 4800, heads: 16, frames: 17, side: 176, channels: 128, vocabulary: 32128 }
}

const count = (shape) => shape.reduce((n, size) => n * size, 1)
const bytesOf = { float32: 4, float64: 8, bfloat16: 2, int32: 4, uint8: 1 }

/** Operands: `[shape]` holds normals; others say `{ shape, dtype, value, below }`. `updated`: outputs that are read too. */
function list({ rows, C, M, K, N, tokens, heads, frames, side, channels, vocabulary }) {
  const x = [rows, C]
  const d = 72
  const image = [frames, side, side, channels]
  const latents = [4, frames * 4, side * 2, side * 2]
  const patches = [frames * 4, side * side, 16]
  const qkv = [1, heads, tokens, d]
  const split = [rows, C / d, d]
  const product = 2 * M * K * N
  // 3 × 3 × 3, in half as many frames: as much as the largest convolution of a decoder, in a second of a CPU.
  const volume = [Math.ceil(frames / 2), side / 2, side / 2, channels]
  const weight = [channels, channels, 3, 3, 3]
  const convolution = 2 * count(volume) * channels * 27
  const scores = heads * tokens * tokens * d
  const pads = { stride_t: 1, stride_s: 1, pad_t: 1, pad_s: 1 }
  const groups = { groups: 32, silu: 1 }
  const normed = [1, frames * side * side, channels]
  const loss = { loss: { shape: [1], dtype: 'float64' } }
  const adam = { learning_rate: 1e-3, beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.01, correction1: 0.1, correction2: 0.01 }
  const positive = { shape: x, value: 0.5 }
  const ids = { shape: [rows], dtype: 'int32', below: vocabulary }
  // Tokens among frames; pixels of one frame, as an autoencoder attends.
  const temporal = [(side * side) >> 3, heads, frames, d]
  const wide = [frames, 1, tokens >> 2, 512]
  const biased = [1, 1, tokens >> 1, 512]
  const bias = [1, 1, tokens >> 1, tokens >> 1]
  const lse = ([B, H, Q]) => ({ shape: [B, H, Q], value: Math.log(Q) })
  const scoresOf = ([B, H, Q, size]) => B * H * Q * Q * size
  const lookups = [Math.max(rows, 5000), C >> 3]
  return {
    linear: { out: { y: [M, N] }, in: { x: [M, K], weight: [N, K], bias: [N] }, scalars: { activation: 0 }, flops: product },
    linear_backward: { out: { dx: [M, K], dweight: [N, K], dbias: [N] }, in: { dy: [M, N], x: [M, K], weight: [N, K] }, updated: ['dweight', 'dbias'], flops: 2 * product },
    conv3d: { out: { y: volume }, in: { x: volume, weight, bias: [channels] }, scalars: pads, flops: convolution },
    conv3d_backward: { out: { dx: volume, dweight: weight, dbias: [channels] }, in: { dy: volume, x: volume, weight }, scalars: pads, updated: ['dweight', 'dbias'], flops: 2 * convolution },
    attention: { out: { y: qkv, lse: [1, heads, tokens] }, in: { q: qkv, k: qkv, v: qkv }, scalars: { scale: d ** -0.5 }, flops: 4 * scores },
    attention_backward: {
      out: { dq: qkv, dk: qkv, dv: qkv }, in: { dy: qkv, y: qkv, lse: { shape: [1, heads, tokens], value: Math.log(tokens) }, q: qkv, k: qkv, v: qkv },
      scalars: { scale: d ** -0.5, key_grad_from: 0 }, flops: 10 * scores
    },
    layer_norm_modulate: { out: { y: x, stats: [rows, 2] }, in: { x, scale: [1, C], shift: [1, C] }, scalars: { eps: 1e-6 } },
    layer_norm_modulate_backward: { out: { dx: x, dscale: [1, C], dshift: [1, C] }, in: { dy: x, x, stats: { shape: [rows, 2], value: 0.75 }, scale: [1, C] } },
    rms_norm_rope: { out: { y: split, rstd: [rows, C / d] }, in: { x: split, weight: [d], rope: [rows / 2, d] }, scalars: { rows_per_position: 2, eps: 1e-6 } },
    rms_norm_rope_backward: { out: { dx: split, dweight: [d] }, in: { dy: split, x: split, rstd: { shape: [rows, C / d], value: 0.75 }, weight: [d], rope: [rows / 2, d] }, scalars: { rows_per_position: 2 }, updated: ['dweight'] },
    group_norm: { out: { y: normed, stats: [1, 32, 2] }, in: { x: normed, weight: [channels], bias: [channels] }, scalars: { ...groups, eps: 1e-6 } },
    group_norm_backward: { out: { dx: normed, dweight: [channels], dbias: [channels] }, in: { dy: normed, x: normed, stats: { shape: [1, 32, 2], value: 0.75 }, weight: [channels], bias: [channels] }, scalars: groups, updated: ['dweight', 'dbias'] },
    add: { out: { y: x }, in: { a: x, b: x } },
    multiply: { out: { y: x }, in: { a: x, b: x } },
    linear_combination: { out: { y: x }, in: { a: x, b: x, c: x, d: x }, scalars: { fa: 0.5, fb: -1.25, fc: 2, fd: 0.1 } },
    gelu: { out: { y: x }, in: { x } },
    gelu_backward: { out: { dx: x }, in: { dy: x, x } },
    silu: { out: { y: x }, in: { x } },
    silu_backward: { out: { dx: x }, in: { dy: x, x } },
    copy: { out: { y: x }, in: { x } },
    fill: { out: { y: x }, in: {}, scalars: { value: 3 } },
    reduce_sum: { out: { y: [rows, 1] }, in: { x } },
    gated_residual: { out: { y: x }, in: { x, gate: [1, C], residual: x } },
    gated_residual_backward: { out: { dx: x, dgate: [1, C] }, in: { dy: x, x, gate: [1, C] } },
    sinusoid: { out: { y: x }, in: { x: [rows] } },
    position_embedding_2d: { out: { y: [side * side * 4, C] }, in: {}, scalars: { rows: 2 * side, columns: 2 * side, scale: 1, base_size: 16 } },
    rope_table: { out: { y: x }, in: { position: [rows], freqs: [C / 2] } },
    patchify: { out: { y: patches }, in: { x: latents }, scalars: { channels_last: 0 } },
    unpatchify: { out: { y: latents }, in: { x: patches }, scalars: { channels_last: 0 } },
    embedding: { out: { y: x }, in: { table: [vocabulary, C], ids }, bytes: 2 * 4 * count(x) },
    embedding_backward: { out: { dtable: [vocabulary, C] }, in: { dy: x, ids }, updated: ['dtable'] },
    upsample_nearest: { out: { y: [frames, 2 * side, 2 * side, channels] }, in: { x: image } },
    upsample_nearest_backward: { out: { dx: image }, in: { dy: [frames, 2 * side, 2 * side, channels] } },
    fusion_blend: { out: { y: latents }, in: { earlier: latents, later: latents } },
    randn: { out: { y: x }, in: {}, scalars: { seed_low: 5, seed_high: 0, stream: 1, frame_major: 0 } },
    check_finite: { out: { flag: { shape: [1], dtype: 'int32' } }, in: { x }, scalars: { code: 1 } },
    squared_error: { out: loss, in: { prediction: latents, target: latents, weight: [frames * 4] }, scalars: { scale: 0.5 } },
    squared_error_backward: { out: { dprediction: latents }, in: { prediction: latents, target: latents, weight: [frames * 4] }, scalars: { scale: 0.5 } },
    reconstruction_loss: { out: loss, in: { prediction: x, target: x, weight: [rows] }, scalars: { l1: 0.5, l2: 2 } },
    reconstruction_loss_backward: { out: { dprediction: x }, in: { prediction: x, target: x, weight: [rows] }, scalars: { l1: 0.5, l2: 2 } },
    gaussian_sample: { out: { y: [rows, C / 2] }, in: { moments: x, noise: [rows, C / 2] } },
    gaussian_sample_backward: { out: { dmoments: x }, in: { dy: [rows, C / 2], moments: x, noise: [rows, C / 2] } },
    gaussian_kl: { out: loss, in: { moments: x }, scalars: { scale: 0.5 } },
    gaussian_kl_backward: { out: { dmoments: x }, in: { moments: x }, scalars: { scale: 0.5 } },
    sum_squares: { out: { y: { shape: [1], dtype: 'float64' } }, in: { x } },
    clip_coefficient: { out: { y: [1] }, in: { sum_squares: { shape: [1], dtype: 'float64', value: 9 } }, scalars: { max_norm: 1 } },
    adamw: { out: { weight: x, first_moment: x, second_moment: positive }, in: { gradient: x, clip: { shape: [1], value: 0.5 } }, scalars: adam, updated: ['weight', 'first_moment', 'second_moment'] },
    ema: { out: { average: x }, in: { weight: x }, scalars: { decay: 0.999 }, updated: ['average'] },
    to_pixels: { out: { y: { shape: x, dtype: 'uint8' } }, in: { x } },
    'attention of few queries': { op: 'attention', out: { y: temporal }, in: { q: temporal, k: temporal, v: temporal }, scalars: { scale: d ** -0.5 }, flops: 4 * scoresOf(temporal) },
    'attention of wide heads': { op: 'attention', out: { y: wide }, in: { q: wide, k: wide, v: wide }, scalars: { scale: 512 ** -0.5 }, flops: 4 * scoresOf(wide) },
    'attention_backward of few queries': {
      op: 'attention_backward', out: { dq: temporal, dk: temporal, dv: temporal }, in: { dy: temporal, y: temporal, lse: lse(temporal), q: temporal, k: temporal, v: temporal },
      scalars: { scale: d ** -0.5, key_grad_from: 0 }, flops: 10 * scoresOf(temporal)
    },
    'attention_backward of wide heads, with a bias': {
      op: 'attention_backward', out: { dq: biased, dk: biased, dv: biased, dbias: bias }, in: { dy: biased, y: biased, lse: lse(biased), q: biased, k: biased, v: biased, bias },
      scalars: { scale: 512 ** -0.5, key_grad_from: 0 }, updated: ['dbias'], flops: 10 * scoresOf(biased)
    },
    'copy to bfloat16': { op: 'copy', out: { y: { shape: x, dtype: 'bfloat16' } }, in: { x } },
    'copy of an odd number': { op: 'copy', out: { y: [count(x) + 1] }, in: { x: [count(x) + 1] } },
    'embedding_backward of few rows': {
      op: 'embedding_backward', out: { dtable: [32, lookups[1]] }, in: { dy: lookups, ids: { shape: [lookups[0]], dtype: 'int32', below: 32 } }, updated: ['dtable']
    }
  }
}

const operand = (given) => ({ dtype: 'float32', ...(Array.isArray(given) ? { shape: given } : given) })

/** `{ name, op, out, in, scalars, updated, bytes, flops, title }` of each. bytes: what is read and written, once. */
export function worksOf(size) {
  return Object.entries(list(sizes[size])).map(([name, { op = name, out, in: inputs, scalars = {}, updated = [], bytes, flops = 0 }]) => {
    const outputs = Object.fromEntries(Object.entries(out).map(([field, given]) => [field, operand(given)]))
    const operands = Object.fromEntries(Object.entries(inputs).map(([field, given]) => [field, operand(given)]))
    const moved = ({ shape, dtype }) => count(shape) * bytesOf[dtype]
    const all = [...Object.values(operands), ...Object.values(outputs), ...updated.map((field) => outputs[field])]
    const largest = [...Object.values(operands), ...Object.values(outputs)].reduce((a, b) => (count(b.shape) > count(a.shape) ? b : a))
    return { name, op, out: outputs, in: operands, scalars, updated, bytes: bytes ?? all.reduce((sum, each) => sum + moved(each), 0), flops, title: largest.shape.join(' × ') }
  })
}

/** Tensors of a work, made on the engine, and the call. Inputs are normals, the same on each device but for noise's last bit. */
export function prepare(engine, { op, out, in: inputs, scalars, updated }) {
  let stream = 0
  const make = ({ shape, dtype, value, below }) => {
    stream++
    if (below !== undefined) return engine.upload(Int32Array.from({ length: count(shape) }, (_, i) => (i * 7919) % below), shape)
    if (dtype === 'float32' && value === undefined) return engine.op('randn', { y: { shape }, seed_low: 7, seed_high: 0, stream, frame_major: 0 }).y
    return engine.op('fill', { y: { shape, dtype }, value: value ?? 0 }).y
  }
  const tensors = {}
  for (const [name, each] of Object.entries(inputs)) tensors[name] = make(each)
  for (const [name, each] of Object.entries(out)) tensors[name] = make(updated.includes(name) ? each : { ...each, value: 0 })
  return {
    outputs: Object.fromEntries(Object.keys(out).map((name) => [name, tensors[name]])),
    call: (times = 1) => engine.op(op, { ...tensors, ...scalars }, times),
    dispose: () => {
      for (const tensor of Object.values(tensors)) tensor.dispose()
    }
  }
}
