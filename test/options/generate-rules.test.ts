// An option of generate is written once: what the type's comments promise, the command line says, and the library does.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { samplingArguments } from '../../lib/cli/options.js'
import { defaultNumFrames, generateOptionNames, generateRules } from '../../lib/options/generate.js'

const page = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'api', 'interfaces', 'GenerateOptions.md'), 'utf8')
const documented = new Map(
  page.split('\n### ').slice(1).map((section) => [/^\w+/.exec(section)![0], /#### Default\n+(?:```ts\n)?([^\n]+)/.exec(section)?.[1]])
)

test('every documented option has a rule, and every rule is documented', () => {
  expect([...generateOptionNames].sort()).toEqual([...documented.keys()].sort())
})

test('help says the default that the type documents', () => {
  const said = generateOptionNames.flatMap((name) => {
    const rule = generateRules[name]
    return 'flag' in rule ? [[name, documented.get(name) ?? 'none', rule.flag.value === 'switch' && rule.flag.otherwise === 'off' ? 'false' : rule.flag.otherwise] as const] : []
  })
  expect(said.length).toBeGreaterThan(14)
  const words: Record<string, string> = { "the model's": "the checkpoint's", drawn: 'random', nothing: "the checkpoint's learned empty text", 'that of --guidance': 'guidanceScale' }
  for (const [name, default_, otherwise] of said) {
    const wanted = Object.entries(words).find(([word]) => otherwise.startsWith(word))?.[1] ?? otherwise
    expect(default_.replaceAll("'", ''), name).toContain(wanted.replaceAll("'", ''))
  }
  expect(documented.get('numFrames')).toBe(String(defaultNumFrames))
})

test('the command line has an argument for every flag, and no two have one name', () => {
  const flags = generateOptionNames.flatMap((name) => ('flag' in generateRules[name] ? [(generateRules[name] as { flag: { name: string } }).flag.name] : []))
  expect(Object.keys(samplingArguments)).toEqual(['prompt', ...flags])
  expect(new Set(flags).size).toBe(flags.length)
})
