// vin-native inspect model|gpu|prebuilds|attention: what there is, in words or as one line of JSON. Each subject is a file of inspect/, loaded when it is asked for.

import { typeError } from '../errors.js'
import { defineCommand } from './command.js'
import type { StopOnSignal } from './interrupt.js'
import { modelArguments, outputArguments, textValues, type Values } from './options.js'
import { createReporter, type Reporter } from './output.js'

/** What a subject shows. */
export interface Inspection {
  text: string
  json: Record<string, unknown>
}

type Subject = (folder: string | undefined, values: Values, reporter: Reporter, signal: AbortSignal) => Inspection | Promise<Inspection>

const loads = {
  model: async () => (await import('./inspect/model.js')).inspectModel,
  gpu: async () => (await import('./inspect/gpu.js')).inspectGpu,
  prebuilds: async () => (await import('./inspect/prebuilds.js')).inspectPrebuilds,
  attention: async () => (await import('./inspect/attention.js')).inspectAttention
} satisfies Record<string, () => Promise<Subject>>
const withFolder = ['model', 'attention']

const { model: _, ...deviceArguments } = modelArguments
const attentionArguments = {
  prompt: { type: 'string', description: 'attention: what to show (the one of generate)', valueHint: 'text' },
  frames: { type: 'string', description: 'attention: video frames (64)', valueHint: 'n' },
  seed: { type: 'string', description: 'attention: seed of the noise (0)', valueHint: 'n' },
  steps: { type: 'string', description: "attention: steps of the scheduler (the model's)", valueHint: 'n' },
  step: { type: 'string', description: 'attention: the sampling step that is looked at (0, pure noise)', valueHint: 'n' },
  output: { type: 'string', alias: 'o', description: 'attention: .safetensors file for the maps (none)', valueHint: 'file' },
  ...deviceArguments
} as const

const subjects = { model: [], gpu: [], prebuilds: [], attention: Object.keys(attentionArguments) } satisfies Record<keyof typeof loads, string[]>

export const inspectCommand = defineCommand({
  meta: { name: 'inspect', description: 'show a model folder, GPU backends, prebuilt addons, or attention of the VIN' },
  args: {
    subject: { type: 'positional', required: true, description: Object.keys(subjects).join(', ') },
    folder: { type: 'positional', description: "model folder, or 'demo'", required: false },
    ...attentionArguments,
    ...outputArguments
  },
  subjects,
  async run({ args, data }) {
    const { subject, folder } = args
    const values = textValues(args)
    if (folder !== undefined && !withFolder.includes(subject)) throw typeError(`Expected nothing after inspect ${subject} but received '${folder}'`)
    const reporter = await createReporter(args.json)
    try {
      const { text, json } = await ((await loads[subject as keyof typeof loads]()) as Subject)(folder, values, reporter, (data as StopOnSignal).signal)
      reporter.result(text, { type: subject, ...json })
    } finally {
      reporter.close()
    }
  }
})
