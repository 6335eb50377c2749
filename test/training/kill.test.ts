// SIGKILL at any moment: the checkpoint that is there goes on with the bits of a run that nobody killed.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CHECKPOINT_EVERY, killChain } from './kill.js'
import type { Chain } from './kill.js'

describe('a run killed twenty times, at least five times inside the write of a checkpoint', () => {
  let folder: string
  let chain: Chain
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'kill-'))
    chain = await killChain(folder, { kills: 20, insideWrites: 5, seed: 6n })
  }, 600_000)
  afterAll(() => rm(folder, { recursive: true, force: true }))

  const numberOf = (line: string) => Number(line.split(' ')[0])

  test('the kills fell where they should', () => {
    expect(chain.kills).toBeGreaterThanOrEqual(20)
    expect(chain.insideWrites).toBeGreaterThanOrEqual(5)
    // Some of them early in the write, some late.
    expect(new Set(chain.depths).size).toBeGreaterThan(1)
    expect(chain.sittings).toHaveLength(chain.kills + 1)
  })

  test('losses and norms of every sitting have the bits of the run that was left alone', () => {
    expect(chain.whole.map(numberOf)).toEqual(Array.from({ length: chain.steps }, (_, step) => step))
    const seen = new Set<number>()
    for (const sitting of chain.sittings) {
      for (const line of sitting) {
        expect(line).toBe(chain.whole[numberOf(line)])
        seen.add(numberOf(line))
      }
    }
    expect(seen.size).toBe(chain.steps)
  })

  test('a sitting begins at the last checkpoint, or at the one before it when the last was being written', () => {
    chain.sittings.slice(1).forEach((sitting, index) => {
      const ended = numberOf(chain.sittings[index]!.at(-1)!) + 1
      const due = ended - (ended % CHECKPOINT_EVERY)
      expect([due, due - CHECKPOINT_EVERY]).toContain(numberOf(sitting[0]!))
      expect(sitting.map(numberOf)).toEqual(sitting.map((_, i) => numberOf(sitting[0]!) + i))
    })
  })

  test('the last checkpoints are equal, byte by byte: weights, averages, moments, place in the data', () => {
    const { chain: killed, whole } = chain.files
    expect([...killed.keys()]).toEqual([...whole.keys()])
    expect([...killed.keys()]).toEqual(expect.arrayContaining([join('training', 'state.json'), join('training', 'state.safetensors'), join('transformer', 'diffusion_pytorch_model.safetensors')]))
    expect([...whole].filter(([name, bytes]) => !bytes.equals(killed.get(name)!)).map(([name]) => name)).toEqual([])
  })
})
