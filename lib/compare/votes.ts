// Votes of a blind study: answer files of several people become wins, ties and losses of the reference method against each other one.

import { VinError, expected, rangeError, show } from '../errors.js'
import { shareOf, type Estimate } from './statistics.js'

export const ANSWERS_KIND = 'vin-native study answers'

/** One pair that a person has looked at. */
export interface StudyVote {
  /** What the reference was shown beside. */
  method: string
  frames: number
  prompt: string
  seed: number
  /** The method that was on the left, the other one was on the right. */
  left: string
  choice: 'left' | 'right' | 'tie'
  /** From the first sight of the pair to the vote. */
  seconds: number
}

/** What the page of a study saves. */
export interface StudyAnswers {
  kind: typeof ANSWERS_KIND
  version: 1
  /** SHA-256 of what the study shows. */
  study: string
  reference: string
  question: string
  /** As the person has called themselves; may be empty. */
  person: string
  /** A number that was drawn for this person: order and sides follow from it. */
  session: number
  votes: StudyVote[]
  /** Of this person's votes alone. */
  results: StudyResult[]
}

/** Of the reference, against one method. */
export interface StudyResult {
  method: string
  /** Video frames; absent: of all lengths. */
  frames?: number
  votes: number
  wins: number
  ties: number
  losses: number
  /** Shares of all votes, ties included, with Wilson's 95 % intervals. */
  winRate: Estimate
  tieRate: Estimate
  lossRate: Estimate
}

export interface StudySummary {
  reference: string
  question: string
  people: number
  results: StudyResult[]
}

/** The same order as the page's: methods by name, first over all lengths, then each length. */
export function resultsOf(votes: readonly StudyVote[]): StudyResult[] {
  const methods = [...new Set(votes.map(({ method }) => method))].sort()
  return methods.flatMap((method) => {
    const own = votes.filter((vote) => vote.method === method)
    const lengths = [...new Set(own.map(({ frames }) => frames))].sort((a, b) => a - b)
    return [tally(method, own), ...lengths.map((frames) => tally(method, own.filter((vote) => vote.frames === frames), frames))]
  })
}

function tally(method: string, votes: readonly StudyVote[], frames?: number): StudyResult {
  const ties = votes.filter(({ choice }) => choice === 'tie').length
  // The other method lost where the chosen side was not its own.
  const losses = votes.filter(({ choice, left }) => choice !== 'tie' && (choice === 'left') === (left === method)).length
  const wins = votes.length - ties - losses
  const rate = (count: number): Estimate => shareOf(count, votes.length)!
  return { method, ...(frames === undefined ? {} : { frames }), votes: votes.length, wins, ties, losses, winRate: rate(wins), tieRate: rate(ties), lossRate: rate(losses) }
}

/**
Counts the answers of several people: how often the reference method was preferred to each other one, as good, or worse. A loss rate is the share of all votes, ties
included, in which the other video was preferred, as the paper tells it ("loses less than 30 % of votes"); intervals are Wilson's. They take votes as independent, which
those of one person, and those on one pair, are not quite: of few people or pairs they are too narrow.

A person's file that was saved twice counts once, the longer one.

@example
const { results } = countVotes(files.map((file) => JSON.parse(readFileSync(file, 'utf8'))))
@throws VinError ERR_VIN_FORMAT for something that is no answers of a study, or answers without a vote; TypeError for no list; RangeError for an empty one, and for answers to
different studies
*/
export function countVotes(answers: readonly StudyAnswers[]): StudySummary {
  if (!Array.isArray(answers)) throw expected('a list of answers', 'countVotes', answers, 'type')
  return countAnswers((answers as readonly unknown[]).map((value, i) => ({ name: `answers[${i}]`, value })))
}

/** `countVotes` of answers by the names that errors call them. */
export function countAnswers(files: readonly { name: string; value: unknown }[]): StudySummary {
  if (files.length === 0) throw rangeError('Expected answers of at least one person for countVotes but received none')
  const read = files.map(({ name, value }) => ({ name, answers: checkAnswers(value, name) }))
  const studies = [...new Set(read.map(({ answers }) => answers.study))]
  if (studies.length > 1) {
    const groups = studies.map((id) => `study ${id.slice(0, 12)} in ${shown(read.filter(({ answers }) => answers.study === id))}`)
    throw rangeError(`Expected answers to one study but received those to ${studies.length}, which were shown different videos: ${groups.slice(0, 3).join('; ')}${groups.length > 3 ? '; …' : ''}; count them apart`)
  }
  const people = new Map<number, StudyAnswers>()
  for (const { answers } of read) if (answers.votes.length > (people.get(answers.session)?.votes.length ?? 0)) people.set(answers.session, answers)
  const [{ reference, question }] = [...people.values()] as [StudyAnswers]
  return { reference, question, people: people.size, results: resultsOf([...people.values()].flatMap(({ votes }) => votes)) }
}

/** Files and whose they are, as many as a sentence bears. */
function shown(files: readonly { name: string; answers: StudyAnswers }[]): string {
  const most = 4
  const names = files.slice(0, most).map(({ name, answers: { person } }) => (person === '' ? name : `${name} (${show(person)})`))
  return names.join(', ') + (files.length > most ? ` and ${files.length - most} more` : '')
}

/** @throws VinError ERR_VIN_FORMAT */
function checkAnswers(value: unknown, name: string): StudyAnswers {
  const fail = (expected: string): VinError => new VinError('ERR_VIN_FORMAT', `Expected ${expected} in ${name} but found something else; take the file as the page of the study saved it`, { file: name, expected })
  const { kind, version, study, reference, question, person, session, votes } = (value ?? {}) as Partial<StudyAnswers>
  const isText = (text: unknown): text is string => typeof text === 'string'
  if (kind !== ANSWERS_KIND || version !== 1 || ![study, reference, question, person].every(isText) || !Number.isInteger(session) || !Array.isArray(votes)) throw fail('answers of a study')
  const isVote = (vote: StudyVote | null): boolean =>
    typeof vote === 'object' && vote !== null && isText(vote.method) && vote.method !== reference && isText(vote.prompt) && Number.isInteger(vote.frames) && Number.isInteger(vote.seed) && [vote.method, reference].includes(vote.left) && ['left', 'right', 'tie'].includes(vote.choice)
  const wrong = votes.findIndex((vote) => !isVote(vote as StudyVote | null))
  if (wrong >= 0) throw fail(`a vote of method, frames, prompt, seed, left and choice as votes[${wrong}]`)
  if (votes.length === 0) throw new VinError('ERR_VIN_FORMAT', `Expected at least one vote in ${name} but found none; leave it out`, { file: name, expected: 'a vote' })
  // The page shows a person each pair once.
  const seen = new Map<string, number>()
  for (const [i, { method, frames, prompt, seed }] of votes.entries()) {
    const pair = JSON.stringify([method, frames, prompt, seed])
    const before = seen.get(pair)
    if (before !== undefined) throw new VinError('ERR_VIN_FORMAT', `Expected one vote on each pair in ${name} but found votes[${before}] and votes[${i}] on the same (${method}, ${frames} frames, ${show(prompt)}, seed ${seed}); take the file as the page of the study saved it`, { file: name, expected: 'one vote on each pair' })
    seen.set(pair, i)
  }
  return value as StudyAnswers
}
