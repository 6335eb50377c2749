// vin-native study page FOLDER: a page on which people vote blindly between videos of a comparison. vin-native study votes FILE…: what several of them said, as a table.

import { join } from 'node:path'
import { makeStudy } from '../index.js'
import type { StudyOptions, StudySummary } from '../index.js'
import { VinError, typeError } from '../errors.js'
import { REPORT } from '../compare/report.js'
import { countAnswers } from '../compare/votes.js'
import { readSmallFile } from '../files/small-file.js'
import { errorMessage } from '../realms.js'
import { given, namesOption, numberOption, numbersOption } from './arguments.js'
import { defineCommand } from './command.js'
import { checkInput } from './inputs.js'
import type { StopOnSignal } from './interrupt.js'
import { outputArguments, textValues } from './options.js'
import { createReporter } from './output.js'
import { textTable } from './table.js'

const maxAnswerBytes = 64 << 20

const pageArguments = {
  output: { type: 'string', alias: 'o', description: 'page: folder of the study (study in that of the comparison)', valueHint: 'folder' },
  reference: { type: 'string', description: "page: the method whose wins and losses are counted (the report's reference)", valueHint: 'method' },
  methods: { type: 'string', description: 'page: what it is shown beside (all others)', valueHint: 'a,b' },
  frames: { type: 'string', description: 'page: lengths, video frames (all)', valueHint: 'a,b' },
  pairs: { type: 'string', description: 'page: pairs a person is shown, drawn evenly over methods (all)', valueHint: 'n' },
  question: { type: 'string', description: 'page: what people are asked (Which video is better?)', valueHint: 'words' }
} as const

const subjects = { page: Object.keys(pageArguments), votes: [] }

export const studyCommand = defineCommand({
  meta: { name: 'study', description: 'a page on which people vote blindly between videos of a comparison, and the count of their votes' },
  args: {
    subject: { type: 'positional', required: true, description: Object.keys(subjects).join(', ') },
    'path…': { type: 'positional', required: true, description: 'page: the folder of a comparison; votes: files that people have saved' },
    ...pageArguments,
    ...outputArguments
  },
  subjects,
  async run({ args, data }) {
    const { signal } = data as StopOnSignal
    const [subject, ...paths] = args._ as [string, ...string[]]
    const values = textValues(args)
    if (subject === 'page' && paths.length > 1) throw typeError(`Expected one folder of a comparison for study page but received '${paths[1]}' too`)
    const reporter = await createReporter(args.json)
    try {
      if (subject === 'votes') {
        for (const file of paths) await checkInput(file, 'answers of a study')
        const summary = countAnswers(await Promise.all(paths.map(async (name) => ({ name, value: await readAnswers(name) }))))
        reporter.result(votesTable(summary), { type: 'votes', ...summary })
        return
      }
      await checkInput(join(paths[0]!, REPORT), 'the report.json of a comparison')
      const options: StudyOptions = given({
        output: values['output'],
        reference: values['reference'],
        methods: namesOption(values['methods']),
        frames: numbersOption(values['frames'], '--frames'),
        pairs: numberOption(values['pairs'], '--pairs'),
        question: values['question']
      })
      const { path, pairs, perPerson, reference, methods } = await makeStudy(paths[0]!, { ...options, signal, onProgress: ({ done, total }) => reporter.progress({ stage: 'copying', done, total }) })
      reporter.result(`${path}: ${perPerson === pairs ? '' : `${perPerson} of `}${pairs} pairs a person, ${reference} beside ${methods.join(', ')}`, { type: 'page', path, pairs, perPerson, reference, methods })
    } finally {
      reporter.close()
    }
  }
})

async function readAnswers(file: string): Promise<unknown> {
  const bytes = await readSmallFile(file, maxAnswerBytes)
  try {
    return JSON.parse(bytes.toString())
  } catch (error) {
    throw new VinError('ERR_VIN_FORMAT', `Expected answers of a study in ${file} but it is no JSON: ${errorMessage(error)}`, { file, expected: 'answers of a study' })
  }
}

/** Wins, ties and losses of the reference. */
function votesTable({ reference, question, people, results }: StudySummary): string {
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`
  const heading = [`${reference} against`, 'frames', 'votes', 'wins', 'ties', 'losses', 'lost', '95 %']
  const several = new Set(results.map(({ frames }) => frames)).size > 2
  const lines = results
    .filter(({ frames }) => several || frames === undefined)
    .map(({ method, frames, votes, wins, ties, losses, lossRate: { mean, interval } }) => [method, String(frames ?? 'all'), ...[votes, wins, ties, losses].map(String), percent(mean), interval!.map(percent).join(' … ')])
  const notes = [`“${question}”, ${people} ${people === 1 ? 'person' : 'people'}; lost: the share of all votes, ties included, that preferred the other; Wilson’s intervals, which take votes as independent`]
  return [textTable([heading, ...lines], new Set([1, 2, 3, 4, 5, 6, 7])), ...notes].join('\n')
}
