// What colour words do to the prediction from noise alone, beside what they should do: whether a word is heard at all shows here, long before a sampler with
// guidance shows it. A word that is not heard moves nothing, whatever its embedding is.

import type { TensorData, VideoPipeline } from 'vin-native'
import { colours, drawCaption, drawWorld, PhiloxRandom, streams, WORLD_FPS } from 'vin-native/demo-world'
import type { ColourName, World } from 'vin-native/demo-world'
import { encodeWorld, noiseFor } from '../recipe/world.js'
import { embedPrompt } from './sampler.js'

const HELD_OUT = 6_000_001
const SECONDS = 4

export const colourNames = Object.keys(colours) as ColourName[]

export interface WordsRecord {
  video: number
  /** In the order of `colourNames`: means of the latent channels of the video with its object in that colour. */
  shown: number[][]
  /** The same of x_0 as predicted at σ 1 from a caption that names everything. */
  predicted: number[][]
}

export interface WordEffect {
  colour: ColourName
  /** Predicted change against the mean of all colours, along the true one; 1 is right, 0 is no effect, and more is too much. */
  share: number
  /** Cosine between both changes: 1 is the direction of this colour; 0 for a word that moves nothing. */
  cosine: number
}

const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, value, at) => sum + value * b[at]!, 0)

function channelMeans({ data, shape }: TensorData): number[] {
  const channels = shape[0]!
  const size = data.length / channels
  return Array.from({ length: channels }, (_, channel) => (data as Float32Array).subarray(channel * size, (channel + 1) * size).reduce((sum, value) => sum + value, 0) / size)
}

/** A video of one object in every colour, and what the model expects of its captions, all from one noise. */
export async function measureWords(pipeline: VideoPipeline, video: number): Promise<WordsRecord> {
  const drawn: World = { ...drawWorld(new PhiloxRandom(HELD_OUT, streams.world, video), { duration: SECONDS, objects: 1 }), event: 'none' }
  const numFrames = SECONDS * WORLD_FPS
  const record: WordsRecord = { video, shown: [], predicted: [] }
  for (const colour of colourNames) {
    const world: World = { ...drawn, objects: [{ ...drawn.objects[0]!, colour }] }
    const clean = await encodeWorld(pipeline.vae, world, numFrames)
    const noise = noiseFor(clean, HELD_OUT, video)
    const promptEmbeds = await embedPrompt(pipeline, drawCaption(new PhiloxRandom(HELD_OUT, streams.caption, video), world, 'everything'))
    // Flow match at σ 1: the output is ε − x_0 and the input ε.
    const output = await pipeline.denoise<TensorData>({ latents: noise, timestep: 1000, promptEmbeds, guidanceScale: 1, fps: pipeline.defaults.fps })
    const [expected, velocity] = [channelMeans(noise), channelMeans(output)]
    record.shown.push(channelMeans(clean))
    record.predicted.push(expected.map((value, channel) => value - velocity[channel]!))
  }
  return record
}

/** Over all videos; what is common to the colours is taken away first. */
export function wordEffects(records: readonly WordsRecord[]): WordEffect[] {
  const changes = (kind: 'shown' | 'predicted') => {
    const means = colourNames.map((_, colour) => records[0]![kind][colour]!.map((_value, channel) => records.reduce((sum, record) => sum + record[kind][colour]![channel]!, 0) / records.length))
    return means.map((own) => own.map((value, channel) => value - means.reduce((sum, other) => sum + other[channel]!, 0) / means.length))
  }
  const [shown, predicted] = [changes('shown'), changes('predicted')]
  return colourNames.map((colour, index) => {
    const [truth, own] = [shown[index]!, predicted[index]!]
    const along = dot(own, truth)
    return { colour, share: along / dot(truth, truth), cosine: along === 0 ? 0 : along / Math.sqrt(dot(own, own) * dot(truth, truth)) }
  })
}
