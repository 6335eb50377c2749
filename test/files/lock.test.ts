// One run at a time in a folder: who holds it is said, a dead holder is followed, and of many that follow one comes first.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, readdirSync, utimesSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { expect, test, vi } from 'vitest'
import { checkUnlocked, lockFolder } from '../../lib/files/lock.js'
import { hasEnded, isTokenDead, newToken, thisProcess } from '../../lib/files/process-mark.js'
import { useFolder } from './support.js'

const at = useFolder()
const since = '2024-02-29T12:00:00.000Z'

/** A lock as its holder left it. */
function heldBy(holder: object, ageMs = 0): void {
  mkdirSync(at('.vin-lock'))
  const time = new Date(Date.now() - ageMs)
  utimesSync(at('.vin-lock'), time, time)
  writeFileSync(at('.vin-lock.json'), JSON.stringify({ ...thisProcess(), since, ...holder }))
}

const deadPid = () => spawnSync(process.execPath, ['-e', '']).pid
const refusal = (pid: number) => ({ code: 'ERR_VIN_DISK', details: { reason: 'ELOCKED', pid } })

test('a lock brings no handler of signals along: those of the program alone decide how it ends', async () => {
  const listeners = (): number[] => ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'exit'].map((name) => process.listenerCount(name))
  const before = listeners()
  const lock = await lockFolder(at())
  expect(listeners()).toEqual(before)
  await lock.release()
})

test('a lock is had once, said with its holder, and gone when it is given back', async () => {
  const lock = await lockFolder(at(), 'my folder')
  await expect(lockFolder(at(), 'my folder')).rejects.toMatchObject({ ...refusal(process.pid), message: expect.stringMatching(/^Expected my folder for this run alone but another run of this process \(\d+\) uses it since .*; wait for it, or choose another folder$/) as string })
  await lock.release()
  expect(readdirSync(at())).toEqual([])
  await (await lockFolder(at())).release()
})

test('a living holder keeps its lock, and is named', async () => {
  heldBy({ pid: process.ppid })
  await expect(lockFolder(at())).rejects.toMatchObject(refusal(process.ppid))
  await expect(checkUnlocked(at())).rejects.toMatchObject({ ...refusal(process.ppid), message: expect.stringContaining(`process ${process.ppid} on ${hostname()} uses it since ${since}`) as string })
})

test.each<[string, () => void]>([
  ['has ended', () => heldBy({ pid: deadPid() })],
  ['had the number of this process before it', () => heldBy({ started: thisProcess().started - 60_000 })],
  ['is of another machine and has not refreshed its lock', () => heldBy({ host: 'elsewhere', pid: 1 }, 120_000)]
])('a holder that %s is followed, by one of many', async (_how, hold) => {
  hold()
  await checkUnlocked(at())
  const locks = await Promise.allSettled(Array.from({ length: 8 }, () => lockFolder(at())))
  const had = locks.filter((lock) => lock.status === 'fulfilled')
  expect(had).toHaveLength(1)
  for (const lock of locks) if (lock.status === 'rejected') expect(lock.reason).toMatchObject({ code: 'ERR_VIN_DISK', details: { reason: 'ELOCKED' } })
  await had[0]!.value.release()
  expect(readdirSync(at())).toEqual([])
})

test('a holder of another machine is believed while its lock is fresh', async () => {
  heldBy({ host: 'elsewhere', pid: 1 })
  await expect(lockFolder(at())).rejects.toMatchObject({ details: { reason: 'ELOCKED', host: 'elsewhere', pid: 1 } })
})

test('a token names its process', () => {
  expect(newToken()).toMatch(/^[0-9a-f]{36}$/)
  expect(newToken()).not.toBe(newToken())
  expect(isTokenDead(newToken())).toBe(false)
  const own = thisProcess()
  const token = newToken()
  const of = (pid: number) => token.slice(0, 8) + pid.toString(16).padStart(8, '0') + token.slice(16)
  expect([of(deadPid()), of(process.ppid)].map(isTokenDead)).toEqual([true, false])
  for (const strange of ['', 'f'.repeat(36), 'x'.repeat(36)]) expect(isTokenDead(strange)).toBe(false)
  expect([own, { ...own, pid: 1 }, { ...own, host: 'elsewhere', pid: deadPid() }].map(hasEnded)).toEqual([false, false, false])
})

test.skipIf(process.platform !== 'linux')('a process that was killed and that nobody has asked for has ended', async () => {
  const parent = spawn('sh', ['-c', 'sleep 0.2 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] })
  try {
    const [text] = (await once(parent.stdout!, 'data')) as [Buffer]
    const pid = Number(text.toString())
    await vi.waitFor(() => expect(readFileSync(`/proc/${pid}/stat`, 'utf8')).toContain(') Z '))
    process.kill(pid, 0)
    expect(hasEnded({ ...thisProcess(), pid })).toBe(true)
    expect(hasEnded({ ...thisProcess(), pid: parent.pid! })).toBe(false)
  } finally {
    parent.kill('SIGKILL')
  }
})
