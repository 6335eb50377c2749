// One cell: sample, save the video, measure it, and last of all write the row. Until then nothing counts; a run that was killed goes on from the states beside it.

import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { VinError } from '../errors.js'
import { writeFileAtomically } from '../files/atomic-file.js'
import { evaluate } from '../evaluate/index.js'
import type { EvaluateSource, Evaluation } from '../evaluate/index.js'
import type { FrameEncoder } from '../evaluate/consistency.js'
import { packageVersion } from '../native/package-root.js'
import { methods } from '../methods/index.js'
import type { TensorData } from '../native/tensor.js'
import type { GenerateOptions } from '../options/generate.js'
import type { GeneratedVideo } from '../pipeline/job.js'
import type { VideoPipeline } from '../pipeline/pipeline.js'
import { listStates } from '../pipeline/resume.js'
import { firstVideoFrame } from '../plan/frames.js'
import { defaultScale, type Frame } from '../video/frames.js'
import { encodePng } from '../video/png.js'
import { attentionPicture, shownKeyframes } from './attention.js'
import { latentSeamScore } from './latents.js'
import type { ResolvedCompareOptions } from './options.js'
import { CELLS, writeRow, type Cell, type CompareRow } from './row.js'

const VIDEO = 'video.mp4'
const LATENTS = 'latents.safetensors'
const ATTENTION = 'attention.png'
const STATES = 'states'

/** Failures that are results: this method at this length does not fit, or breaks down. */
const results = ['ERR_VIN_OUT_OF_MEMORY', 'ERR_VIN_NONFINITE']

export function generateOptionsOf({ variant, frames, prompt, embeds, seed }: Cell, { shared, pixels }: Pick<ResolvedCompareOptions, 'shared' | 'pixels'>): GenerateOptions {
  return { ...shared, ...variant.options, method: variant.method, numFrames: frames, seed, ...(embeds === undefined ? { prompt } : { promptEmbeds: embeds.tensor }), ...(pixels ? {} : { outputType: 'latents' }) }
}

/** Features in a row are for the eye of a machine: a hundred-thousandth is enough. */
function rounded(evaluation: Evaluation): Evaluation {
  const { identityOverGap } = evaluation
  return identityOverGap === undefined ? evaluation : { ...evaluation, identityOverGap: { ...identityOverGap, meanFeature: identityOverGap.meanFeature.map((value) => Number(value.toFixed(5))) } }
}

/** The video, whose wanted frames are kept as they pass. */
function watched(video: GeneratedVideo, wanted: readonly number[], kept: Frame[]): EvaluateSource {
  const { fps, numFrames, plan } = video
  return {
    fps,
    numFrames,
    plan,
    frames: async function* (options) {
      for await (const frame of video.frames(options)) {
        for (const index of wanted) if (index === frame.index) kept.push({ ...frame, data: frame.data.slice() })
        yield frame
      }
    }
  }
}

/** A picture that does not fit into memory is left out, and told. */
async function addAttention(
  pipeline: VideoPipeline,
  row: CompareRow,
  { latents, keyframes, pictures, own, asked, signal }: { latents: TensorData; keyframes: readonly number[]; pictures: readonly Frame[]; own: string; asked: GenerateOptions; signal: AbortSignal | undefined }
): Promise<void> {
  try {
    const { fps, keyframeInterval } = asked
    const { picture, heads, keyframes: shown } = await attentionPicture(pipeline, latents, keyframes, pictures, { fps, keyframeInterval, signal })
    const bytes = await encodePng(picture)
    await writeFileAtomically(join(own, ATTENTION), (async function* () { yield bytes })(), signal)
    row.attention = { picture: [CELLS, row.cell, ATTENTION].join('/'), keyframes: shown, heads }
  } catch (error) {
    if (!(error instanceof VinError) || error.code !== 'ERR_VIN_OUT_OF_MEMORY') throw error
    row.warnings.push({ code: error.code, message: error.message })
  }
}

export async function runCell(pipeline: VideoPipeline, cell: Cell, folder: string, options: ResolvedCompareOptions, encoder: FrameEncoder | undefined, told: (detail: string, share: number) => void): Promise<CompareRow> {
  const { signal, metrics } = options
  const own = join(folder, CELLS, cell.id)
  const states = join(own, STATES)
  const asked = generateOptionsOf(cell, options)
  const plan = pipeline.plan(asked)
  const { device, backend, isa, threads } = pipeline.runtime
  const row: CompareRow = {
    cell: cell.id,
    method: cell.variant.name,
    frames: cell.frames,
    prompt: cell.prompt,
    ...(cell.embeds === undefined ? {} : { promptSha256: cell.embeds.digest }),
    seed: cell.seed,
    runtime: { version: packageVersion(), device, backend, isa, threads },
    flops: plan.flops.total,
    skippedSteps: 0,
    peakMemory: plan.memory.peak,
    warnings: []
  }
  try {
    const goesOn = (await listStates(states)).length > 0
    const video = await pipeline.generate({
      ...asked,
      resume: states,
      signal,
      onStep: ({ step, numInferenceSteps }) => void told(`step ${step + 1} of ${numInferenceSteps}`, 0.5 * ((step + 1) / numInferenceSteps))
    })
    if (!goesOn) row.seconds = (video.timings['sampling'] ?? 0) / 1000
    row.skippedSteps = video.skippedSteps
    const started = performance.now()
    if (options.videos) {
      const name = options.pixels ? VIDEO : LATENTS
      await video.save(join(own, name), { scale: options.pixels ? defaultScale(video.width, video.height) : 1, ...(signal === undefined ? {} : { signal }) })
      row[options.pixels ? 'video' : 'latents'] = [CELLS, cell.id, name].join('/')
    }
    // One seed of each prompt shows where the heads look.
    const keyframes = options.videos && methods[cell.variant.method].globalTokens && cell.seed === options.seeds[0] ? plan.keyframes : []
    const wanted = shownKeyframes(keyframes).map((frame) => Math.min(cell.frames - 1, firstVideoFrame(frame, pipeline.microBatch)))
    const pictures: Frame[] = []
    if (options.pixels) {
      const evaluation = await evaluate(watched(video, wanted, pictures), { metrics, encoder, signal, onProgress: ({ done, total = done }) => told(`measuring ${done} of ${total}`, 0.5 + 0.5 * (done / total)) })
      row.evaluation = rounded(evaluation)
    } else if (metrics.includes('seamScore')) {
      const seamScore = latentSeamScore(video.latents, plan.chunks.slice(1).map(({ start }) => start))
      if (seamScore !== undefined) row.latentScores = { seamScore }
    }
    if (keyframes.length > 0) await addAttention(pipeline, row, { latents: video.latents, keyframes, pictures, own, asked, signal })
    row.measuringSeconds = (performance.now() - started) / 1000
    row.warnings.push(...video.warnings)
  } catch (error) {
    if (!(error instanceof VinError) || !results.includes(error.code)) throw error
    row.failed = { code: error.code, message: error.message }
  }
  await writeRow(folder, row)
  await rm(states, { recursive: true, force: true })
  return row
}
