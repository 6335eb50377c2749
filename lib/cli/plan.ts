// vin-native plan: chunks, cost and memory of a run.

import { VideoPipeline } from '../index.js'
import { defineCommand } from './command.js'
import { checkSamplingInputs } from './inputs.js'
import type { StopOnSignal } from './interrupt.js'
import { modelArguments, modelOptions, outputArguments, samplingArguments, samplingOptions, textValues } from './options.js'
import { toJson, writeLine } from './output.js'

export const planCommand = defineCommand({
  meta: { name: 'plan', description: 'show chunks, cost and memory of a run, without running it' },
  args: { ...samplingArguments, ...modelArguments, ...outputArguments },
  async run({ args, data }) {
    const values = textValues(args)
    await checkSamplingInputs(values)
    const options = samplingOptions(values)
    const pipeline = await VideoPipeline.fromPretrained(values['model'], { ...modelOptions(values), signal: (data as StopOnSignal).signal })
    try {
      const plan = pipeline.plan(options)
      writeLine(args.json === true ? toJson({ type: 'plan', plan }) : describePlan(plan))
    } finally {
      await pipeline.dispose()
    }
  }
})

type Plan = ReturnType<VideoPipeline['plan']>

function describePlan({ latentFrames, chunks, overlaps, keyframes, prompts, flops, memory, warnings }: Plan): string {
  const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`
  const lines = [
    `${latentFrames} latent frames in ${chunks.length} ${chunks.length === 1 ? 'chunk' : 'chunks'}`,
    ...chunks.map(({ first, start, end }, i) => `  chunk ${i}: frames ${start} … ${end - 1}${start > first ? `, context from ${first}` : ''}${prompts[i] === undefined ? '' : `, ${JSON.stringify(prompts[i])}`}`),
    `overlaps: ${overlaps.length === 0 ? 'none' : overlaps.map(({ from, until }) => `${from} … ${until - 1}`).join(', ')}`,
    `keyframes: ${keyframes.length === 0 ? 'none' : keyframes.join(' ')}`,
    `${(flops.perStep / 1e9).toFixed(1)} GFLOP a step; by method: ${Object.entries(flops.byMethod).map(([name, value]) => `${name} ${(value / 1e9).toFixed(1)}`).join(', ')}`,
    `memory: weights ${mebibytes(memory.weights)}, activations ${mebibytes(memory.activations)}, decode ${mebibytes(memory.decode)}, peak ${mebibytes(memory.peak)}`,
    ...warnings.map((warning) => `warning: ${warning.message}`)
  ]
  return lines.join('\n')
}
