// SIGKILL at 20 moments of a training run whose checkpoint folder is a mount point, or a link: the old or the new checkpoint, whole, and the place as it was.
import { lstatSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { TestContext } from 'vitest'
import { mount, useFolder } from '../files/support.js'
import { killChain } from './kill.js'

const at = useFolder()

async function killed(prepare: (run: string) => void, seed: bigint): Promise<void> {
  const chain = await killChain(at('chain'), { kills: 20, insideWrites: 12, seed, prepare })
  expect(chain.kills).toBeGreaterThanOrEqual(20)
  expect(chain.insideWrites).toBeGreaterThanOrEqual(12)
  const numberOf = (line: string) => Number(line.split(' ')[0])
  const wrong = chain.sittings.flat().filter((line) => line !== chain.whole[numberOf(line)])
  expect(wrong).toEqual([])
  expect([...chain.files.chain.keys()]).toEqual([...chain.files.whole.keys()])
  expect([...chain.files.whole].filter(([name, bytes]) => !bytes.equals(chain.files.chain.get(name)!)).map(([name]) => name)).toEqual([])
}

test('a mount point', async (context: TestContext) => {
  let device = -1
  await killed((run) => {
    mkdirSync(run)
    mount(context, run, '-t', 'tmpfs', 'tmpfs')
    device = lstatSync(run).dev
  }, 8n)
  expect(lstatSync(at('chain', 'run')).dev).toBe(device)
  expect(device).not.toBe(lstatSync(at('chain')).dev)
})

test('a link', async () => {
  await killed((run) => {
    mkdirSync(join(run, '..', 'real'))
    symlinkSync('real', run)
  }, 9n)
  expect(lstatSync(at('chain', 'run')).isSymbolicLink()).toBe(true)
  expect(readdirSync(at('chain')).filter((name) => name.startsWith('.'))).toEqual([])
})
