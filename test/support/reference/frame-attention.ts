// Attention over frames in float64, from methods.md §3 and §4 alone: each frame's keys by the definition of its windows, the blend by the Fourier sum itself.

/** Rows [frame · S + token] of [channels]. */
export type Rows = Float64Array[]

export interface Heads {
  q: Rows
  k: Rows
  v: Rows
  heads: number
}

/** What rows of frame f get from the keys of frames [begin, end): of the same token (acrossFrames), or of all tokens. */
function attended({ q, k, v, heads }: Heads, row: number, S: number, [begin, end]: readonly [number, number], acrossFrames: boolean): Float64Array {
  const C = q[0]!.length
  const d = C / heads
  const keys: number[] = []
  for (let frame = begin; frame < end; frame++) for (let token = 0; token < S; token++) if (!acrossFrames || token === row % S) keys.push(frame * S + token)
  const out = new Float64Array(C)
  for (let head = 0; head < heads; head++) {
    const scores = keys.map((key) => {
      let sum = 0
      for (let c = head * d; c < (head + 1) * d; c++) sum += q[row]![c]! * k[key]![c]!
      return sum / Math.sqrt(d)
    })
    const most = Math.max(...scores)
    const weights = scores.map((score) => Math.exp(score - most))
    const total = weights.reduce((a, b) => a + b, 0)
    for (let c = head * d; c < (head + 1) * d; c++) out[c] = keys.reduce((sum, key, i) => sum + weights[i]! * v[key]![c]!, 0) / total
  }
  return out
}

export function wholeAttention(heads: Heads, frames: number, acrossFrames: boolean): Rows {
  const S = heads.q.length / frames
  return heads.q.map((_, row) => attended(heads, row, S, [0, frames], acrossFrames))
}

/** Pyramid weights; what is left after the last full window comes from one that ends with the video. */
export function windowAttention(heads: Heads, frames: number, window: number, stride: number, acrossFrames: boolean): Rows {
  const S = heads.q.length / frames
  const centre = (window - 1) / 2
  return heads.q.map((_, row) => {
    const frame = Math.floor(row / S)
    const begins: number[] = []
    for (let begin = 0; begin + window <= frames; begin += stride) if (frame >= begin && frame < begin + window) begins.push(begin)
    if (begins.length === 0) return attended(heads, row, S, [frames - window, frames], acrossFrames)
    const weights = begins.map((begin) => Math.ceil(window / 2) - Math.floor(Math.abs(frame - begin - centre)))
    const total = weights.reduce((a, b) => a + b, 0)
    const out = new Float64Array(heads.q[0]!.length)
    for (const [i, begin] of begins.entries()) attended(heads, row, S, [begin, begin + window], acrossFrames).forEach((value, c) => (out[c]! += (weights[i]! / total) * value))
    return out
  })
}

export function nearbyAttention(heads: Heads, frames: number, window: number, acrossFrames: boolean): Rows {
  const S = heads.q.length / frames
  return heads.q.map((_, row) => {
    const frame = Math.floor(row / S)
    let [begin, end] = [Math.max(0, frame - Math.floor(window / 2)), Math.min(frames, frame + Math.floor(window / 2) + 1)]
    if (end - begin < window) {
      if (begin === 0) end = Math.min(frames, window)
      else begin = Math.max(0, end - window)
    }
    return attended(heads, row, S, [begin, end], acrossFrames)
  })
}

/** IFFT(FFT(global) ⊙ P + FFT(local) ⊙ (1 − P)) over frames, rows and columns of each channel. */
export function spectralBlend(global: Rows, local: Rows, [T, h, w]: readonly [number, number, number], cutoffTime: number, cutoffSpace: number): Rows {
  const frequency = (bin: number, n: number): number => (bin < n / 2 ? bin : bin - n) / n
  const pass = (t: number, y: number, x: number): number => {
    if (cutoffTime === 0 || cutoffSpace === 0) return 0
    return Math.exp(-0.5 * (((2 * frequency(t, T)) / cutoffTime) ** 2 + ((2 * frequency(y, h)) / cutoffSpace) ** 2 + ((2 * frequency(x, w)) / cutoffSpace) ** 2))
  }
  const C = global[0]!.length
  const places = Array.from({ length: T * h * w }, (_, i) => [Math.floor(i / (h * w)), Math.floor(i / w) % h, i % w] as const)
  const angle = ([t, y, x]: readonly [number, number, number], [a, b, c]: readonly [number, number, number]): number => 2 * Math.PI * (((t * a) % T) / T + ((y * b) % h) / h + ((x * c) % w) / w)
  const out: Rows = places.map(() => new Float64Array(C))
  for (let c = 0; c < C; c++) {
    const spectrum = places.map((bin) => {
      const p = pass(...bin)
      let [re, im] = [0, 0]
      for (const [i, place] of places.entries()) {
        const value = p * global[i]![c]! + (1 - p) * local[i]![c]!
        re += value * Math.cos(angle(bin, place))
        im -= value * Math.sin(angle(bin, place))
      }
      return [re, im] as const
    })
    for (const [i, place] of places.entries()) {
      let sum = 0
      for (const [k, bin] of places.entries()) sum += spectrum[k]![0] * Math.cos(angle(bin, place)) - spectrum[k]![1] * Math.sin(angle(bin, place))
      out[i]![c] = sum / places.length
    }
  }
  return out
}
