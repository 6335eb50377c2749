// The VAE of Open-Sora 1.2 in float64 and plain loops, at any size: the numbers that the product's are held to. It shares nothing with the product but names.

/** Row by row, the last axis fastest. */
export interface Values {
  data: ArrayLike<number>
  shape: readonly number[]
}

/** What config.json says. */
export interface Sizes {
  block_out_channels: readonly number[]
  layers_per_block: number
  norm_num_groups: number
  scaling_factor: number
  temporal: { filters: number; num_res_blocks: number; channel_multipliers: readonly number[]; temporal_downsample: readonly boolean[] }
  micro_frame_size: number
  micro_latent_size: number
}

/** [channels, frames, height, width] */
class Volume {
  readonly data: Float64Array

  constructor(readonly C: number, readonly T: number, readonly H: number, readonly W: number, data?: ArrayLike<number>) {
    this.data = data === undefined ? new Float64Array(C * T * H * W) : Float64Array.from(data)
  }

  static from({ data, shape: [C = 0, T = 0, H = 0, W = 0] }: Values): Volume {
    return new Volume(C, T, H, W, data)
  }

  map(f: (value: number, channel: number, index: number) => number): Volume {
    const perChannel = this.T * this.H * this.W
    return new Volume(this.C, this.T, this.H, this.W, this.data.map((value, index) => f(value, Math.floor(index / perChannel), index)))
  }

  plus(other: Volume): Volume {
    return this.map((value, _, index) => value + other.data[index]!)
  }

  /** Frames in the order of `indices`; −1 is a frame of zeros. */
  frames(indices: readonly number[]): Volume {
    const { C, T, H, W, data } = this
    const result = new Volume(C, indices.length, H, W)
    for (let c = 0; c < C; c++) {
      indices.forEach((index, t) => {
        if (index >= 0) result.data.set(data.subarray((c * T + index) * H * W, (c * T + index + 1) * H * W), (c * indices.length + t) * H * W)
      })
    }
    return result
  }

  /** One after another in time. */
  static join(parts: readonly Volume[]): Volume {
    const [{ C, H, W }] = parts as [Volume]
    const result = new Volume(C, parts.reduce((sum, { T }) => sum + T, 0), H, W)
    let at = 0
    for (let c = 0; c < C; c++) {
      for (const { T, data } of parts) {
        result.data.set(data.subarray(c * T * H * W, (c + 1) * T * H * W), at)
        at += T * H * W
      }
    }
    return result
  }
}

const range = (begin: number, end: number): number[] => Array.from({ length: end - begin }, (_, i) => begin + i)

/** Rows, or frames, of zeros before the first and after the last. */
interface Padding {
  begin: number
  end: number
}

/** A kernel [out, in, kt, kh, kw], [out, in, kh, kw] or [out, in] over a volume with zeros around it. */
function convolve(x: Volume, kernel: Values, bias: Values | undefined, stride: { time: number; space: number }, time: Padding, space: Padding): Volume {
  const [out = 0, inputs = 0, ...window] = kernel.shape
  if (inputs !== x.C) throw new Error(`a kernel of ${inputs} channels over ${x.C}`)
  const [kt = 1, kh = 1, kw = 1] = window.length === 2 ? [1, ...window] : window
  const size = (length: number, k: number, step: number, { begin, end }: Padding): number => Math.floor((length + begin + end - k) / step) + 1
  const y = new Volume(out, size(x.T, kt, stride.time, time), size(x.H, kh, stride.space, space), size(x.W, kw, stride.space, space))
  const length = y.T * y.H * y.W
  const result = y.data
  for (let o = 0; o < out; o++) result.fill(bias?.data[o] ?? 0, o * length, (o + 1) * length)
  // What one place of the kernel sees of one channel, for every element of the output.
  const seen = new Float64Array(length)
  const taps = kt * kh * kw
  for (let i = 0; i < inputs * taps; i++) {
    const [channel, dt, dh, dw] = [Math.floor(i / taps), Math.floor(i / (kh * kw)) % kt, Math.floor(i / kw) % kh, i % kw]
    let at = 0
    for (let t = 0; t < y.T; t++) {
      const frame = t * stride.time + dt - time.begin
      for (let h = 0; h < y.H; h++) {
        const row = h * stride.space + dh - space.begin
        const outside = frame < 0 || frame >= x.T || row < 0 || row >= x.H
        const start = ((channel * x.T + frame) * x.H + row) * x.W
        for (let w = 0; w < y.W; w++) {
          const column = w * stride.space + dw - space.begin
          seen[at++] = outside || column < 0 || column >= x.W ? 0 : x.data[start + column]!
        }
      }
    }
    for (let o = 0; o < out; o++) {
      const factor = kernel.data[o * inputs * taps + i]!
      const first = o * length
      for (let p = 0; p < length; p++) result[first + p]! += factor * seen[p]!
    }
  }
  return y
}

const silu = (value: number): number => value / (1 + Math.exp(-value))

/** Mean 0 and variance 1 in each group of channels, over all of its frames, then weight and bias of the channel. */
function groupNorm(x: Volume, groups: number, epsilon: number, weight: Values, bias: Values): Volume {
  const length = x.data.length / groups
  const moments = range(0, groups).map((group) => {
    const values = x.data.subarray(group * length, (group + 1) * length)
    const mean = values.reduce((sum, value) => sum + value, 0) / length
    return { mean, variance: values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / length }
  })
  return x.map((value, channel, index) => {
    const { mean, variance } = moments[Math.floor(index / length)]!
    return ((value - mean) / Math.sqrt(variance + epsilon)) * weight.data[channel]! + bias.data[channel]!
  })
}

/** Each pixel becomes 2 × 2. */
function enlarge(x: Volume): Volume {
  const y = new Volume(x.C, x.T, 2 * x.H, 2 * x.W)
  for (let i = 0; i < y.data.length; i++) {
    const [column, row, plane] = [i % y.W, Math.floor(i / y.W) % y.H, Math.floor(i / (y.W * y.H))]
    y.data[i] = x.data[(plane * x.H + (row >> 1)) * x.W + (column >> 1)]!
  }
  return y
}

/** The first half of the channels; the other is the logarithm of the variance. */
const mean = ({ C, T, H, W, data }: Volume): Volume => new Volume(C / 2, T, H, W, data.subarray(0, data.length / 2))

/** Channels 2c and 2c + 1 of a frame become channel c of two frames. */
function depthToTime(x: Volume): Volume {
  const plane = x.H * x.W
  const y = new Volume(x.C / 2, 2 * x.T, x.H, x.W)
  for (let c = 0; c < y.C; c++) {
    for (let t = 0; t < y.T; t++) {
      const from = ((2 * c + (t % 2)) * x.T + (t >> 1)) * plane
      y.data.set(x.data.subarray(from, from + plane), (c * y.T + t) * plane)
    }
  }
  return y
}

/** One head over the pixels of one frame. */
function attend(q: Volume, k: Volume, v: Volume): Volume {
  const pixels = q.H * q.W
  const result = new Volume(q.C, 1, q.H, q.W)
  for (let i = 0; i < pixels; i++) {
    const scores = range(0, pixels).map((j) => {
      let sum = 0
      for (let c = 0; c < q.C; c++) sum += q.data[c * pixels + i]! * k.data[c * pixels + j]!
      return sum / Math.sqrt(q.C)
    })
    const largest = Math.max(...scores)
    const shares = scores.map((score) => Math.exp(score - largest))
    const total = shares.reduce((sum, share) => sum + share, 0)
    for (let c = 0; c < q.C; c++) {
      let sum = 0
      for (let j = 0; j < pixels; j++) sum += shares[j]! * v.data[c * pixels + j]!
      result.data[c * pixels + i] = sum / total
    }
  }
  return result
}

export class ReferenceVAE {
  /** The weights that were read so far. */
  readonly read = new Set<string>()

  constructor(readonly sizes: Sizes, readonly weights: Readonly<Record<string, Values>>) {}

  #weight(name: string): Values {
    const weight = this.weights[name]
    if (weight === undefined) throw new Error(`there is no weight ${name}`)
    this.read.add(name)
    return weight
  }

  #norm(name: string, x: Volume, epsilon: number): Volume {
    return groupNorm(x, this.sizes.norm_num_groups, epsilon, this.#weight(`${name}.weight`), this.#weight(`${name}.bias`))
  }

  // ---- the 2D VAE: one frame at a time ----

  /** The size stays. */
  #flat(name: string, x: Volume): Volume {
    const kernel = this.#weight(`${name}.weight`)
    const around = (kernel.shape[2] ?? 1) >> 1
    return convolve(x, kernel, this.#weight(`${name}.bias`), { time: 1, space: 1 }, { begin: 0, end: 0 }, { begin: around, end: around })
  }

  #flatNorm = (name: string, x: Volume): Volume => this.#norm(name, x, 1e-6)

  #flatResidual(name: string, x: Volume, channels: number): Volume {
    const first = this.#flat(`${name}.conv1`, this.#flatNorm(`${name}.norm1`, x).map(silu))
    const second = this.#flat(`${name}.conv2`, this.#flatNorm(`${name}.norm2`, first).map(silu))
    return second.plus(x.C === channels ? x : this.#flat(`${name}.conv_shortcut`, x))
  }

  #middle(name: string, x: Volume): Volume {
    const before = this.#flatResidual(`${name}.resnets.0`, x, x.C)
    const part = `${name}.attentions.0`
    const normal = this.#flatNorm(`${part}.group_norm`, before)
    const [q, k, v] = ['q', 'k', 'v'].map((which) => this.#flat(`${part}.to_${which}`, normal)) as [Volume, Volume, Volume]
    return this.#flatResidual(`${name}.resnets.1`, before.plus(this.#flat(`${part}.to_out.0`, attend(q, k, v))), x.C)
  }

  /** One frame of pixels → the mean of its latents. */
  #flatEncode(pixels: Volume): Volume {
    const { block_out_channels: widths, layers_per_block: layers } = this.sizes
    const at = 'spatial_vae.module.encoder'
    let x = this.#flat(`${at}.conv_in`, pixels)
    widths.forEach((width, level) => {
      for (const layer of range(0, layers)) x = this.#flatResidual(`${at}.down_blocks.${level}.resnets.${layer}`, x, width)
      const down = `${at}.down_blocks.${level}.downsamplers.0.conv`
      if (level < widths.length - 1) x = convolve(x, this.#weight(`${down}.weight`), this.#weight(`${down}.bias`), { time: 1, space: 2 }, { begin: 0, end: 0 }, { begin: 0, end: 1 })
    })
    x = this.#flatNorm(`${at}.conv_norm_out`, this.#middle(`${at}.mid_block`, x)).map(silu)
    const moments = this.#flat('spatial_vae.module.quant_conv', this.#flat(`${at}.conv_out`, x))
    return mean(moments)
  }

  #flatDecode(latents: Volume): Volume {
    const { block_out_channels: widths, layers_per_block: layers } = this.sizes
    const at = 'spatial_vae.module.decoder'
    let x = this.#middle(`${at}.mid_block`, this.#flat(`${at}.conv_in`, this.#flat('spatial_vae.module.post_quant_conv', latents)))
    widths.toReversed().forEach((width, level) => {
      for (const layer of range(0, layers + 1)) x = this.#flatResidual(`${at}.up_blocks.${level}.resnets.${layer}`, x, width)
      if (level < widths.length - 1) x = this.#flat(`${at}.up_blocks.${level}.upsamplers.0.conv`, enlarge(x))
    })
    return this.#flat(`${at}.conv_out`, this.#flatNorm(`${at}.conv_norm_out`, x).map(silu))
  }

  // ---- the temporal VAE: one micro-batch at a time ----

  /** Causal: a frame sees those before it and itself. */
  #causal(name: string, x: Volume, stride = 1): Volume {
    const kernel = this.#weight(`${name}.conv.weight`)
    const bias = `${name}.conv.bias` in this.weights ? this.#weight(`${name}.conv.bias`) : undefined
    const [, , kt = 1, kh = 1] = kernel.shape
    return convolve(x, kernel, bias, { time: stride, space: 1 }, { begin: kt - 1 + (1 - stride), end: 0 }, { begin: kh >> 1, end: kh >> 1 })
  }

  #temporalNorm = (name: string, x: Volume): Volume => this.#norm(name, x, 1e-5)

  #temporalResidual(name: string, x: Volume, channels: number): Volume {
    const first = this.#causal(`${name}.conv1`, this.#temporalNorm(`${name}.norm1`, x).map(silu))
    const second = this.#causal(`${name}.conv2`, this.#temporalNorm(`${name}.norm2`, first).map(silu))
    return second.plus(x.C === channels ? x : this.#causal(`${name}.conv3`, x))
  }

  #temporalEncode(frames: Volume): Volume {
    const { filters, num_res_blocks: blocks, channel_multipliers: multipliers, temporal_downsample: halved } = this.sizes.temporal
    const at = 'temporal_vae.encoder'
    let x = this.#causal(`${at}.conv_in`, frames)
    multipliers.forEach((multiplier, level) => {
      for (const block of range(0, blocks)) x = this.#temporalResidual(`${at}.block_res_blocks.${level}.${block}`, x, filters * multiplier)
      if (halved[level] === true) x = this.#causal(`${at}.conv_blocks.${level}`, x, 2)
    })
    for (const block of range(0, blocks)) x = this.#temporalResidual(`${at}.res_blocks.${block}`, x, x.C)
    const moments = this.#causal('temporal_vae.quant_conv', this.#causal(`${at}.conv2`, this.#temporalNorm(`${at}.norm1`, x).map(silu)))
    return mean(moments)
  }

  #temporalDecode(latents: Volume): Volume {
    const { filters, num_res_blocks: blocks, channel_multipliers: multipliers, temporal_downsample: halved } = this.sizes.temporal
    const at = 'temporal_vae.decoder'
    let x = this.#causal(`${at}.conv1`, this.#causal('temporal_vae.post_quant_conv', latents))
    for (const block of range(0, blocks)) x = this.#temporalResidual(`${at}.res_blocks.${block}`, x, x.C)
    for (const level of range(0, multipliers.length).toReversed()) {
      for (const block of range(0, blocks)) x = this.#temporalResidual(`${at}.block_res_blocks.${level}.${block}`, x, filters * multipliers[level]!)
      if (halved[level - 1] === true) x = depthToTime(this.#causal(`${at}.conv_blocks.${level - 1}`, x))
    }
    return this.#causal(`${at}.conv_out`, this.#temporalNorm(`${at}.norm1`, x).map(silu))
  }

  // ---- both ----

  /** Frames in front of a micro-batch of `frames`, and latent frames that it becomes. */
  #micro(frames: number): { front: number; latents: number; repeated: boolean } {
    const { micro_frame_size: F, micro_latent_size: L } = this.sizes
    const extra = L - Math.ceil(F / 4)
    const latents = Math.ceil(frames / 4) + extra
    return { front: 4 * latents - frames, latents, repeated: extra > 0 }
  }

  /** Frames of each micro-batch of a video. */
  #batches(frames: number): number[] {
    const F = this.sizes.micro_frame_size
    return range(0, Math.ceil(frames / F)).map((batch) => Math.min(F, frames - batch * F))
  }

  /** Pixels [3, T, H, W] → mean latents. */
  encode(pixels: Values): Values {
    const video = Volume.from(pixels)
    const flat = Volume.join(range(0, video.T).map((t) => this.#flatEncode(video.frames([t])))).map((value) => value * this.sizes.scaling_factor)
    let begin = 0
    const parts = this.#batches(video.T).map((frames) => {
      const { front, repeated } = this.#micro(frames)
      const before = new Array<number>(front).fill(repeated ? begin : -1)
      begin += frames
      return this.#temporalEncode(flat.frames([...before, ...range(begin - frames, begin)]))
    })
    const [shift, scale] = [this.#weight('shift'), this.#weight('scale')]
    const { C, T, H, W, data } = Volume.join(parts).map((value, channel) => (value - shift.data[channel]!) / scale.data[channel]!)
    return { data, shape: [C, T, H, W] }
  }

  /** Latents [C, N, H, W] → pixels of as many frames. */
  decode(latents: Values, numFrames: number): Values {
    const [shift, scale] = [this.#weight('shift'), this.#weight('scale')]
    const all = Volume.from(latents).map((value, channel) => value * scale.data[channel]! + shift.data[channel]!)
    let begin = 0
    const parts = this.#batches(numFrames).map((frames) => {
      const { front, latents: count } = this.#micro(frames)
      begin += count
      return this.#temporalDecode(all.frames(range(begin - count, begin))).frames(range(front, front + frames))
    })
    const flat = Volume.join(parts).map((value) => value / this.sizes.scaling_factor)
    const { C, T, H, W, data } = Volume.join(range(0, flat.T).map((t) => this.#flatDecode(flat.frames([t]))))
    return { data, shape: [C, T, H, W] }
  }
}
