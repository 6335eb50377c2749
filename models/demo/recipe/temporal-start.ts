// Where the temporal VAE starts: it keeps one of every four frames and shows it four times. From random weights it would first have to discover that pictures
// pass through it at all; from here it learns what lies between the kept frames.
//
// Residual blocks start as identities (conv2 = 0). The norm and SiLU in front of the last convolutions would bend the values, so that each value z travels
// as a pair (z, −z): silu(a) − silu(−a) = a. Constants (K, −K) beside it in its group of channels are large against z, so that the norm divides by nearly
// the same number in every video. Channels that carry nothing keep their random weights and feed nothing yet.

import type { VAE } from 'vin-native'

/** Large against 0.18215 · z of the 2D latents, whose deviation lies near 1. */
const K = 2
/** Latents are this multiple of the scaled 2D latents: a deviation near 1. */
const GAIN = 2
/** Log variance of the posterior: a little noise. */
const LOG_VARIANCE = -6

const CHANNELS = 4

/** What channel c of a trunk with `perGroup` channels to a norm group carries: (value, sign), a constant's sign, or nothing. */
interface Slot {
  value?: number
  constant?: boolean
  sign: number
}

/** Slots of the first channels. Each group holds values as pairs in its first half, constants in its second half, so its mean is 0. */
function slots(perGroup: number): Slot[] {
  const pairs = perGroup / 4
  const out: Slot[] = []
  for (let first = 0; first < CHANNELS; first += pairs) {
    for (const sign of [1, -1]) for (let value = first; value < first + pairs; value++) out.push({ value, sign })
    for (const sign of [1, -1]) for (let index = 0; index < pairs; index++) out.push({ constant: true, sign })
  }
  return out
}

/** The time tap of a causal convolution that reads the present frame; with stride 2, the later frame of each pair. */
const PRESENT = 2
/** With stride 2: the earlier frame of each pair. */
const EARLIER = 1

/** Sets rows of a weight [out, in, kt, kh, kw]: zero, and 1 (or the given factor) at one input channel, one time tap, the middle place. */
function setRows(weight: { data: Float32Array; shape: number[] }, rows: readonly (readonly { input: number; factor: number }[])[], tap: number): void {
  const [, inputs = 0, kt = 1, kh = 1, kw = 1] = weight.shape
  const kernel = kt * kh * kw
  const middle = (kt === 1 ? 0 : tap) * kh * kw + Math.floor(kh / 2) * kw + Math.floor(kw / 2)
  rows.forEach((terms, row) => {
    weight.data.fill(0, row * inputs * kernel, (row + 1) * inputs * kernel)
    for (const { input, factor } of terms) weight.data[(row * inputs + input) * kernel + middle] = factor
  })
}

/** Rewrites the weights of `temporal_vae.*` in place. */
export async function startTemporalVAE(vae: VAE): Promise<void> {
  const { temporal, norm_num_groups: groups } = vae.config
  const widths = temporal.channel_multipliers.map((multiplier) => multiplier * temporal.filters)
  const deepest = widths.at(-1)!
  const shallow = widths[0]!
  const encoderSlots = slots(deepest / groups)
  const decoderSlots = slots(shallow / groups)
  if (encoderSlots.length > Math.min(...widths) || decoderSlots.length > Math.min(...widths)) throw new RangeError(`Expected at least ${4 * CHANNELS} channels in every level of the temporal VAE`)

  const change = async (name: string, edit: (weight: { data: Float32Array; shape: number[] }) => void) => {
    const weight = await vae.readWeight(`temporal_vae.${name}`)
    edit(weight)
    vae.writeWeight(`temporal_vae.${name}`, weight)
  }
  const names = new Set(vae.weights().map(({ name }) => name))
  const passing = (list: readonly Slot[]) => list.map((_, channel) => [{ input: channel, factor: 1 }])

  for (const name of names) if (/^temporal_vae\..*res_blocks.*\.conv2\.conv\.weight$/.test(name)) await change(name.slice('temporal_vae.'.length), ({ data }) => data.fill(0))
  for (const [part, list] of [['encoder', encoderSlots], ['decoder', decoderSlots]] as const) {
    for (const name of names) {
      if (name.startsWith(`temporal_vae.${part}.`) && name.endsWith('.conv3.conv.weight')) await change(name.slice('temporal_vae.'.length), (weight) => setRows(weight, passing(list), 0))
    }
  }

  // Encoder: values enter at conv_in, constants at the first convolution with a bias. Of frames 4u … 4u + 3 it keeps 4u + 2.
  const halvings = temporal.temporal_downsample.flatMap((halves, level) => (halves ? [level] : []))
  await change('encoder.conv_in.conv.weight', (weight) => setRows(weight, encoderSlots.map(({ value, sign }) => (value === undefined ? [] : [{ input: value, factor: sign }])), PRESENT))
  for (const [index, level] of halvings.entries()) {
    const first = index === 0
    await change(`encoder.conv_blocks.${level}.conv.weight`, (weight) =>
      setRows(weight, encoderSlots.map(({ constant }, channel) => (first && constant === true ? [] : [{ input: channel, factor: 1 }])), first ? EARLIER : PRESENT)
    )
    await change(`encoder.conv_blocks.${level}.conv.bias`, ({ data }) => encoderSlots.forEach(({ constant, sign }, channel) => (data[channel] = first && constant === true ? sign * K : 0)))
  }
  // The norm divides by √(mean of squares) = K/√2, as half of a group are constants.
  await change('encoder.conv2.conv.weight', (weight) => {
    const rows = Array.from({ length: 2 * CHANNELS }, (_, row) =>
      encoderSlots.flatMap(({ value, sign }, input) => (value === row ? [{ input, factor: (sign * GAIN * K) / Math.SQRT2 }] : []))
    )
    setRows(weight, rows, 0)
  })
  await change('encoder.conv2.conv.bias', ({ data }) => data.forEach((_, row) => (data[row] = row < CHANNELS ? 0 : LOG_VARIANCE)))
  const identity = (count: number) => Array.from({ length: count }, (_, channel) => [{ input: channel, factor: 1 }])
  await change('quant_conv.conv.weight', (weight) => setRows(weight, identity(2 * CHANNELS), 0))
  await change('post_quant_conv.conv.weight', (weight) => setRows(weight, identity(CHANNELS), 0))

  // Decoder: values and constants enter at conv1; doubling in time gives channel c of frame 2t + s from channel 2c + s of frame t.
  await change('decoder.conv1.conv.weight', (weight) => setRows(weight, decoderSlots.map(({ value, sign }) => (value === undefined ? [] : [{ input: value, factor: sign / GAIN }])), PRESENT))
  await change('decoder.conv1.conv.bias', ({ data }) => decoderSlots.forEach(({ constant, sign }, channel) => (data[channel] = constant === true ? sign * K : 0)))
  for (const level of halvings) {
    await change(`decoder.conv_blocks.${level}.conv.weight`, (weight) => setRows(weight, decoderSlots.flatMap((_, channel) => [[{ input: channel, factor: 1 }], [{ input: channel, factor: 1 }]]), PRESENT))
    await change(`decoder.conv_blocks.${level}.conv.bias`, ({ data }) => data.fill(0, 0, 2 * decoderSlots.length))
  }
  await change('decoder.conv_out.conv.weight', (weight) => {
    const rows = Array.from({ length: CHANNELS }, (_, row) => decoderSlots.flatMap(({ value, sign }, input) => (value === row ? [{ input, factor: (sign * K) / Math.SQRT2 }] : [])))
    setRows(weight, rows, PRESENT)
  })
}
