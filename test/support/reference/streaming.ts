// One chunk of streaming-t2v in float64, from model.md §3.5 and methods.md §5 alone: the transformer's blocks, CAM and APM.

export type Rows = Float64Array[]
export type Weights = ReadonlyMap<string, { data: ArrayLike<number>; shape: readonly number[] }>

export interface ChunkOptions {
  weights: Weights
  layout: 'full' | 'hybrid' | 'factorised'
  depth: number
  heads: number
  /** Latents [C, N, H, W], H and W even. */
  latents: { data: ArrayLike<number>; shape: readonly number[] }
  /** Tokens of all frames [N · S] without their patches: 2D position and time code. */
  positions: Rows
  /** t_vec of t, and of 0. */
  times: [Float64Array, Float64Array]
  text: Rows
  /** [N] */
  frameMask: readonly number[]
  chunk: { first: number; start: number; end: number }
  /** CAM and APM take part; the latent frame that APM reads, or none: the null anchor. */
  streaming: { anchor?: number | undefined } | undefined
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))
const silu = (x: number): number => x * sigmoid(x)
const gelu = (x: number): number => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
const plus = (a: Rows, b: Rows, factor: (row: number, c: number) => number = () => 1): Rows => a.map((row, i) => row.map((value, c) => value + factor(i, c) * b[i]![c]!))

function norm(row: Float64Array): Float64Array {
  const mean = row.reduce((a, b) => a + b, 0) / row.length
  const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / row.length
  return row.map((value) => (value - mean) / Math.sqrt(variance + 1e-6))
}

/** softmax(q kᵀ / √d) v of each head; `sees(query, key)` says which keys count. */
function attention(q: Rows, k: Rows, v: Rows, heads: number, sees: (query: number, key: number) => boolean): Rows {
  const d = q[0]!.length / heads
  return q.map((row, i) => {
    const out = new Float64Array(row.length)
    const keys = k.flatMap((_, j) => (sees(i, j) ? [j] : []))
    for (let at = 0; at < row.length; at += d) {
      const scores = keys.map((j) => {
        let sum = 0
        for (let c = at; c < at + d; c++) sum += row[c]! * k[j]![c]!
        return sum / Math.sqrt(d)
      })
      const most = Math.max(...scores)
      const shares = scores.map((score) => Math.exp(score - most))
      const total = shares.reduce((a, b) => a + b, 0)
      keys.forEach((j, at2) => {
        for (let c = at; c < at + d; c++) out[c]! += (shares[at2]! / total) * v[j]![c]!
      })
    }
    return out
  })
}

/** The chunk's prediction, rows [frame · S + token] of (dy, dx, channel). */
export function streamingChunk({ weights, layout, depth, heads, latents, positions, times, text, frameMask, chunk, streaming }: ChunkOptions): Rows {
  const weight = (name: string) => weights.get(name)!
  const linear = (rows: Rows, name: string): Rows => {
    const [w, b] = [weight(`${name}.weight`), weight(`${name}.bias`)]
    const [out = 0] = w.shape
    const inner = w.data.length / out
    return rows.map((row) => Float64Array.from({ length: out }, (_, o) => row.reduce((sum, value, i) => sum + value * w.data[o * inner + i]!, b.data[o]!)))
  }
  const mlp = (rows: Rows, fc1: string, fc2: string, act: (x: number) => number): Rows => linear(linear(rows, fc1).map((row) => row.map(act)), fc2)
  const part = (rows: Rows, i: number, count: number): Rows => rows.map((row) => row.slice((i * row.length) / count, ((i + 1) * row.length) / count))
  const [channels = 0, N = 0, H = 0, W = 0] = latents.shape
  const [h, w] = [H / 2, W / 2]
  const S = h * w
  const C = positions[0]!.length
  const context = chunk.start - chunk.first
  /** Patches of one frame: channel, dy, dx. */
  const patches = (value: (c: number, y: number, x: number) => number): Rows =>
    Array.from({ length: S }, (_, s) => Float64Array.from({ length: 4 * channels }, (_2, i) => value(Math.floor(i / 4), 2 * Math.floor(s / w) + (Math.floor(i / 2) % 2), 2 * (s % w) + (i % 2))))
  const frame = (f: number): Rows => patches((c, y, x) => latents.data[((c * N + f) * H + y) * W + x]!)
  const tokens = (frames: number[], embedder: string): Rows => frames.flatMap((f) => plus(linear(frame(f), embedder), positions.slice(f * S, (f + 1) * S)))
  const range = (begin: number, end: number): number[] => Array.from({ length: end - begin }, (_, i) => begin + i)

  /** One block over rows of frames; `live` of each frame: 1 takes t, 0 takes t = 0; places are those of the rotary positions. */
  function block(rows: Rows, name: string, spatial: boolean, live: number[], places: number[], captions: Rows): Rows {
    const table = weight(`${name}.scale_shift_table`).data
    const [now, clean] = times.map((time) => linear([time.map(silu)], 't_block.1')[0]!)
    const mod = (i: number) => (row: number, c: number): number => table[i * C + c]! + (live[Math.floor(row / S)] === 1 ? now! : clean!)[i * C + c]!
    const modulated = (x: Rows, shift: number, scale: number): Rows => x.map((row, r) => norm(row).map((value, c) => value * (1 + mod(scale)(r, c)) + mod(shift)(r, c)))
    const qkv = linear(modulated(rows, 0, 1), `${name}.attn.qkv`)
    const turned = (x: Rows, normName: string): Rows =>
      x.map((row, r) => {
        const out = new Float64Array(C)
        const d = C / heads
        const gain = weight(`${name}.attn.${normName}.weight`).data
        for (let head = 0; head < heads; head++) {
          const own = row.slice(head * d, (head + 1) * d)
          const rms = Math.sqrt(own.reduce((sum, value) => sum + value * value, 0) / d + 1e-6)
          const normed = own.map((value, c) => (value / rms) * gain[c]!)
          for (let pair = 0; pair < d / 2; pair++) {
            const angle = spatial ? 0 : places[Math.floor(r / S)]! * weight('rope.freqs').data[pair]!
            const [a, b] = [normed[2 * pair]!, normed[2 * pair + 1]!]
            out[head * d + 2 * pair] = a * Math.cos(angle) - b * Math.sin(angle)
            out[head * d + 2 * pair + 1] = a * Math.sin(angle) + b * Math.cos(angle)
          }
        }
        return out
      })
    const sees = (q: number, k: number): boolean => (spatial ? Math.floor(q / S) === Math.floor(k / S) : layout !== 'factorised' || q % S === k % S)
    const attended = attention(turned(part(qkv, 0, 3), 'q_norm'), turned(part(qkv, 1, 3), 'k_norm'), part(qkv, 2, 3), heads, sees)
    const h1 = plus(rows, linear(attended, `${name}.attn.proj`), mod(2))
    const kv = linear(captions, `${name}.cross_attn.kv_linear`)
    const crossed = attention(linear(h1, `${name}.cross_attn.q_linear`), part(kv, 0, 2), part(kv, 1, 2), heads, () => true)
    const h2 = plus(h1, linear(crossed, `${name}.cross_attn.proj`))
    return plus(h2, mlp(modulated(h2, 3, 4), `${name}.mlp.fc1`, `${name}.mlp.fc2`, gelu), mod(5))
  }
  const names = (i: number): { name: string; spatial: boolean }[] => (layout === 'full' ? [{ name: `blocks.${i}`, spatial: false }] : [{ name: `spatial_blocks.${i}`, spatial: true }, { name: `temporal_blocks.${i}`, spatial: false }])

  const y = mlp(text, 'y_embedder.y_proj.fc1', 'y_embedder.y_proj.fc2', gelu)
  let mixed: Rows | undefined
  if (streaming !== undefined && weights.has('apm.alpha')) {
    const anchor = linear(streaming.anchor === undefined ? patches(() => 0) : frame(streaming.anchor), 'x_embedder.proj')
    const pooled: Rows = range(0, 16).map((p) => {
      const [i, j] = [Math.floor(p / 4), p % 4]
      const inside = range(0, S).filter((s) => Math.floor(s / w) >= Math.floor((i * h) / 4) && Math.floor(s / w) < Math.ceil(((i + 1) * h) / 4) && s % w >= Math.floor((j * w) / 4) && s % w < Math.ceil(((j + 1) * w) / 4))
      return Float64Array.from({ length: C }, (_, c) => inside.reduce((sum, s) => sum + anchor[s]![c]!, 0) / inside.length)
    })
    const A = mlp(pooled, 'apm.fc1', 'apm.fc2', silu)
    const kv = linear([...y, ...A], 'apm.mix.kv_linear')
    mixed = linear(attention(linear(y, 'apm.mix.q_linear'), part(kv, 0, 2), part(kv, 1, 2), heads, () => true), 'apm.mix.proj').map(norm)
  }
  const frames = range(chunk.first, chunk.end)
  const live = frames.map((f) => frameMask[f]!)
  const places = frames.map((f) => f - chunk.start)
  let rows = tokens(frames, 'x_embedder.proj')
  const reads = streaming !== undefined && context > 0 && weights.has('cam.x_embedder.proj.weight')
  let m = reads ? tokens(range(chunk.first, chunk.start), 'cam.x_embedder.proj') : []
  let l = 0
  for (let i = 0; i < depth; i++) {
    for (const { name, spatial } of names(i)) {
      const share = mixed === undefined ? 0 : silu(weight('apm.alpha').data[l++]!)
      rows = block(rows, name, spatial, live, places, mixed === undefined ? y : plus(y, mixed, () => share))
    }
    if (!reads || i >= Math.floor(depth / 2)) continue
    for (const { name, spatial } of names(i)) m = block(m, `cam.${name}`, spatial, new Array<number>(context).fill(1), places.slice(0, context), y)
    const kv = linear(m, `cam.inject.${i}.kv_linear`)
    const attended = attention(linear(rows.map(norm), `cam.inject.${i}.q_linear`), part(kv, 0, 2), part(kv, 1, 2), heads, (q, k) => q % S === k % S)
    rows = plus(rows, linear(attended, `cam.inject.${i}.proj`))
  }
  const table = weight('final_layer.scale_shift_table').data
  const modulated = rows.map((row, r) => {
    const time = times[live[Math.floor(r / S)] === 1 ? 0 : 1]
    return norm(row).map((value, c) => value * (1 + table[C + c]! + time[c]!) + table[c]! + time[c]!)
  })
  return linear(modulated, 'final_layer.linear')
}
