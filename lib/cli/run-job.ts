// One run of the command line, for generate and resume: open the model, sample with progress, save. Interrupted or failed, its folder stays and says how to go on.

import { existsSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import { VideoPipeline, type GenerateOptions, type Video } from '../index.js'
import { expected } from '../errors.js'
import { LATENTS, RunFolder } from '../files/run-folder.js'
import { isAbort } from '../realms.js'
import { defaultScale } from '../video/frames.js'
import { numberOption, quoted } from './arguments.js'
import { checkSamplingInputs } from './inputs.js'
import { writeJob, type Job } from './job-folder.js'
import { modelOptions, samplingOptions, type Values } from './options.js'
import type { Reporter } from './output.js'
import { writePreview } from './preview.js'
import { writeVideo } from './standard-output.js'

export interface RunSettings {
  job: Job
  values: Values
  output: string
  /** Absent: the smallest whole scale whose shorter side is at least 256. */
  scale: number | undefined
  preview: boolean
}

/** The value of --scale. */
export function checkScale(text: string | undefined): number | undefined {
  const scale = numberOption(text, '--scale')
  if (scale !== undefined && !(Number.isInteger(scale) && scale >= 1 && scale <= 64)) throw expected('a whole number from 1 to 64', '--scale', text, 'range')
  return scale
}

export async function runJob(settings: RunSettings, reporter: Reporter, signal: AbortSignal): Promise<void> {
  const { job, values, output, preview } = settings
  const start = performance.now()
  await checkSamplingInputs(values)
  // Texts that are no numbers, and a folder that is not this run's, are refused before the model is opened.
  const options: GenerateOptions = { ...samplingOptions(values), signal }
  const run = await RunFolder.open(job.folder, async (seed) => {
    // A seed that was drawn is part of the run: going on without it would be another video.
    await writeJob(job, { output, scale: settings.scale, preview, values: { ...values, seed: String(seed) } })
    reporter.event({ type: 'job', id: job.id, folder: job.folder, output })
  })
  const onProgress = ({ component, done, total }: { component: string; done: number; total: number }): void => reporter.progress({ stage: `loading ${component}`, done, total })
  let pipeline: VideoPipeline | undefined
  try {
    pipeline = await VideoPipeline.fromPretrained(values['model'], { ...modelOptions(values), signal, onProgress })
    // Latents need no VAE, a preview does.
    const isPixels = !output.endsWith('.safetensors')
    const outputType = isPixels || preview ? 'video' : 'latents'
    const video = await sample(pipeline, { ...options, outputType, resume: job.folder }, settings, reporter)
    // Those of sampling have been told when they came.
    const known = video.warnings.length
    const latents = join(job.folder, LATENTS)
    await video.save(latents, { signal })
    const scale = isPixels ? (settings.scale ?? defaultScale(video.width, video.height)) : 1
    await writeVideo(video, output, { scale, signal, onProgress: ({ done, total }) => reporter.progress({ stage: 'writing', done, total }) })
    for (const warning of video.warnings.slice(known)) reporter.warning(warning)
    if (job.own) await run.remove()
    const seconds = ((performance.now() - start) / 1000).toFixed(1)
    const { numFrames, fps, seed, skippedSteps } = video
    const [width, height] = [video.width * scale, video.height * scale]
    const size = isPixels ? `${width} × ${height}` : 'latents'
    reporter.result(`${output}: ${numFrames} frames, ${size}, ${fps} fps, seed ${seed}, ${seconds} s${skippedSteps === 0 ? '' : `, ${skippedSteps} steps skipped`}`, { type: 'done', path: output, numFrames, width, height, scale, fps, seed, seconds: Number(seconds), skippedSteps })
  } catch (error) {
    if (run.begins) explain(error, job, output, reporter)
    throw error
  } finally {
    reporter.close()
    await pipeline?.dispose()
    await run.close()
  }
}

/** The events of sampling alone: `save` decodes the frames. */
async function sample(pipeline: VideoPipeline, options: GenerateOptions, { preview, output }: RunSettings, reporter: Reporter): Promise<Video> {
  const job = pipeline.generate({ ...options, preview })
  for await (const event of job.sampling()) {
    if (event.type === 'plan') reporter.event({ type: 'plan', plan: event.plan })
    else if (event.type === 'warning') reporter.warning(event)
    else if (event.type === 'step') {
      const { step, numInferenceSteps, timestep, etaMs } = event
      reporter.progress({ stage: 'sampling', done: step + 1, total: numInferenceSteps, etaMs })
      reporter.event({ type: 'step', step, numInferenceSteps, timestep, etaMs })
    } else if (event.type === 'preview') await writePreview(output, event.frames)
  }
  return job
}

function explain(error: unknown, job: Job, output: string, reporter: Reporter): void {
  reporter.close()
  const latents = join(job.folder, LATENTS)
  const resume = `npx vin-native resume ${quoted(job.folder)}`
  if (existsSync(latents)) reporter.note(`the latents are in ${latents}: npx vin-native decode ${quoted(latents)} -o ${quoted(output)}, or ${resume}`)
  else reporter.note(`${isAbort(error) ? 'interrupted: ' : ''}the run is saved in ${isAbsolute(job.folder) ? '' : './'}${job.folder}, go on with: ${resume}`)
  reporter.event({ type: 'saved', folder: job.folder, resume })
}
