// vin-native decode latents.safetensors -o out.mp4

import { VideoPipeline, openLatents, videoFormats } from '../index.js'
import { checkGenerateOptions } from '../options/generate.js'
import { resolveLimits } from '../options/limits.js'
import { defaultScale } from '../video/frames.js'
import { given, numberOption } from './arguments.js'
import { defineCommand } from './command.js'
import { checkOutput } from './generate.js'
import { checkInput } from './inputs.js'
import type { StopOnSignal } from './interrupt.js'
import { checkOutputPlace } from './job-folder.js'
import { modelArguments, modelOptions, outputArguments, textValues } from './options.js'
import { createReporter } from './output.js'
import { checkScale } from './run-job.js'
import { writeVideo } from './standard-output.js'

export const decodeCommand = defineCommand({
  meta: { name: 'decode', description: 'turn saved latents into a video' },
  args: {
    latents: { type: 'positional', required: true, description: '.safetensors file with the tensor latents' },
    output: { type: 'string', alias: 'o', description: `file to write: ${videoFormats.map((format) => `.${format}`).join(' ')}, or - for an mp4 on standard output`, default: 'out.mp4', valueHint: 'file' },
    scale: { type: 'string', description: 'whole-number enlargement (shorter side of at least 256 pixels)', valueHint: 'n' },
    frames: { type: 'string', description: "video frames (the file's)", valueHint: 'n' },
    fps: { type: 'string', description: "video frames per second (the file's)", valueHint: 'n' },
    ...modelArguments,
    ...outputArguments
  },
  async run({ args, data }) {
    const { signal } = data as StopOnSignal
    const values = textValues(args)
    const output = checkOutput(args.output)
    const asked = checkScale(args.scale)
    const options = given({ numFrames: numberOption(args.frames, '--frames'), fps: numberOption(args.fps, '--fps') })
    checkGenerateOptions(options, resolveLimits())
    await checkInput(args.latents, 'a .safetensors file of latents')
    await checkOutputPlace(output, options.numFrames)
    const reporter = await createReporter(args.json)
    const pipeline = await VideoPipeline.fromPretrained(values['model'], { ...modelOptions(values), signal })
    try {
      const video = await openLatents(pipeline, args.latents, options)
      const scale = asked ?? defaultScale(video.width, video.height)
      await writeVideo(video, output, { scale, signal, onProgress: ({ done, total }) => reporter.progress({ stage: 'writing', done, total }) })
      for (const warning of video.warnings) reporter.warning(warning)
      const { numFrames, width, height, fps } = video
      reporter.result(`${output}: ${numFrames} frames, ${width * scale} × ${height * scale}, ${fps} fps`, { type: 'done', path: output, numFrames, width, height, scale, fps })
    } finally {
      reporter.close()
      await pipeline.dispose()
    }
  }
})
