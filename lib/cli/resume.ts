// vin-native resume FOLDER

import { defineCommand } from './command.js'
import { checkInput } from './inputs.js'
import type { StopOnSignal } from './interrupt.js'
import { checkOutputPlace, readJob, shownPath } from './job-folder.js'
import { checkOutput, framesOf } from './generate.js'
import { outputArguments } from './options.js'
import { createReporter } from './output.js'
import { runJob } from './run-job.js'

export const resumeCommand = defineCommand({
  meta: { name: 'resume', description: 'go on with an interrupted run' },
  args: {
    folder: { type: 'positional', required: true, description: 'the vin-… folder that the run left' },
    output: { type: 'string', alias: 'o', description: "another file to write (the run's)", valueHint: 'file' },
    ...outputArguments
  },
  async run({ args, data }) {
    await checkInput(args.folder, 'the folder of an interrupted run', ['folder'])
    const { id, output: asked, scale, preview, values } = await readJob(args.folder)
    const output = checkOutput(args.output ?? shownPath(asked))
    await checkOutputPlace(output, framesOf(values), preview)
    const reporter = await createReporter(args.json)
    // Only a folder that a run made for itself is removed at the end.
    const own = new RegExp(`(^|[/\\\\])vin-${id}[/\\\\]?$`).test(args.folder)
    await runJob({ job: { id, folder: args.folder, own }, values, output, scale, preview }, reporter, (data as StopOnSignal).signal)
  }
})
