// One run of the command line, for generate and resume: open the model, sample with progress, save. Interrupted or failed, its folder stays and says how to go on.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { VideoPipeline } from '../index.js'
import type { GenerateOptions, Video } from '../index.js'
import { isAbort } from './exit.js'
import { removeJob, writeJob } from './job-folder.js'
import type { Job } from './job-folder.js'
import { modelOptions, samplingOptions } from './options.js'
import type { Values } from './options.js'
import type { Reporter } from './output.js'
import { writePreview } from './preview.js'

export interface RunSettings {
  job: Job
  values: Values
  output: string
  /** Absent: the smallest whole scale whose shorter side is at least 256. */
  scale: number | undefined
  preview: boolean
}

/** The smallest whole number by which the shorter side reaches 256 pixels. */
export function defaultScale(width: number, height: number): number {
  return Math.max(1, Math.ceil(256 / Math.min(width, height)))
}

export async function runJob(settings: RunSettings, reporter: Reporter, signal: AbortSignal): Promise<void> {
  const { job, values, output, preview } = settings
  const start = performance.now()
  const onProgress = ({ component, done, total }: { component: string; done: number; total: number }): void => reporter.progress({ stage: `loading ${component}`, done, total })
  const pipeline = await VideoPipeline.fromPretrained(values['model'], { ...modelOptions(values), signal, onProgress })
  let saved = false
  try {
    const options: GenerateOptions = { ...samplingOptions(values), signal }
    // Refused before there is a folder.
    pipeline.plan(options)
    await writeJob(job, { output, scale: settings.scale, preview, values })
    saved = true
    reporter.event({ type: 'job', id: job.id, folder: job.folder, output })
    const video = await sample(pipeline, { ...options, resume: job.folder }, settings, reporter)
    const latents = join(job.folder, 'latents.safetensors')
    await video.save(latents, { signal })
    if (output.endsWith('.safetensors')) await video.save(output, { signal })
    else {
      const scale = settings.scale ?? defaultScale(video.width, video.height)
      await video.save(output, { scale, signal, onProgress: ({ done, total }) => reporter.progress({ stage: 'writing', done, total }) })
    }
    for (const warning of video.warnings) reporter.warning(warning)
    await removeJob(job)
    const seconds = ((performance.now() - start) / 1000).toFixed(1)
    reporter.result(`${output}: ${video.numFrames} frames, ${video.width} × ${video.height}, ${video.fps} fps, seed ${video.seed}, ${seconds} s`, {
      type: 'done',
      path: output,
      numFrames: video.numFrames,
      width: video.width,
      height: video.height,
      fps: video.fps,
      seed: video.seed,
      seconds: Number(seconds)
    })
  } catch (error) {
    if (saved) explain(error, job, output, reporter)
    throw error
  } finally {
    reporter.close()
    await pipeline.dispose()
  }
}

async function sample(pipeline: VideoPipeline, options: GenerateOptions, { preview, output }: RunSettings, reporter: Reporter): Promise<Video> {
  const onPreview = preview ? { onPreview: ({ frames }: { frames: Parameters<typeof writePreview>[1] }) => writePreview(output, frames) } : {}
  // Only steps are asked for: frames are decoded once, while they are written.
  const job = pipeline.generate({
    ...options,
    ...onPreview,
    onStep: ({ step, numInferenceSteps, timestep, etaMs }) => {
      reporter.progress({ stage: 'sampling', done: step + 1, total: numInferenceSteps, etaMs })
      reporter.event({ type: 'step', step, numInferenceSteps, timestep, etaMs })
    }
  })
  return job
}

function explain(error: unknown, job: Job, output: string, reporter: Reporter): void {
  reporter.close()
  const latents = join(job.folder, 'latents.safetensors')
  const resume = `npx vin-native resume ${job.folder}`
  if (existsSync(latents)) reporter.note(`the latents are in ${latents}: npx vin-native decode ${latents} -o ${output}, or ${resume}`)
  else reporter.note(`${isAbort(error) ? 'interrupted: ' : ''}the run is saved in ./${job.folder}, go on with: ${resume}`)
  reporter.event({ type: 'saved', folder: job.folder, resume })
}
