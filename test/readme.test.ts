// Every block of README runs as it stands: shell lines in an empty folder, scripts as a program that has vin-native installed.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { get, type IncomingMessage } from 'node:http'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { demoWorld } from '../lib/index.js'
import { findProgram } from '../lib/native/optional.js'
import { root } from './support/addon.js'

const readme = readFileSync(join(root, 'README.md'), 'utf8')
const blocks = [...readme.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].map(([, language, text]) => ({ language: language!, text: text! }))
const scripts = blocks.filter(({ language }) => language === 'js').map(({ text }) => text)
const lines = blocks.filter(({ language }) => language === 'sh').flatMap(({ text }) => text.trim().split('\n'))

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'vin-readme-'))
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(root, join(folder, 'node_modules', 'vin-native'))
  symlinkSync(join(root, 'models'), join(folder, 'models'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Words of a shell line; quotes keep spaces. */
const words = (line: string): string[] => [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain!)

/** What npm and npx would start, without them. */
function command(line: string): string[] {
  const [tool, name, ...rest] = words(line)
  const args = rest[0] === '--' ? rest.slice(1) : rest
  if (tool === 'npm' && name === 'start') return [join(root, 'tools/bootstrap.mjs'), 'start', ...args]
  if (tool === 'npx' && name === 'vin-native') return [join(root, 'dist/esm/cli/index.js'), ...args]
  throw new Error(`README has a line that this test cannot run: ${line}`)
}

function run(args: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: folder, env: { ...process.env, INIT_CWD: folder }, encoding: 'utf8' })
  return { status, output: stdout + stderr }
}

function write(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

test('README has its blocks', () => {
  expect(scripts.length).toBeGreaterThanOrEqual(3)
  expect(lines.length).toBeGreaterThanOrEqual(6)
})

test('npx finds the program in the repository itself', { timeout: 60_000 }, () => {
  const { status, stdout, stderr } = spawnSync('npx', ['--no', 'vin-native', 'plan', 'a white circle moves'], { cwd: root, encoding: 'utf8' })
  expect(status, stdout + stderr).toBe(0)
})

describe('shell', () => {
  test.each(lines.filter((line) => !line.includes('train')))('%s', { timeout: 300_000 }, async (line) => {
    const { status, output } = run(command(line))
    if (line.includes('evaluate') && (await findProgram('ffmpeg')) === undefined) return expect(output).toMatch(/ffmpeg/)
    expect(status, output).toBe(0)
    const file = /-o (\S+)/.exec(line)?.[1] ?? (line === 'npm start' ? 'vin-demo.mp4' : undefined)
    if (file !== undefined) expect(statSync(join(folder, file)).size).toBeGreaterThan(1000)
  })

  test('training on a folder of videos', { timeout: 300_000 }, async () => {
    const training = lines.filter((each) => each.includes('train'))
    if ((await findProgram('ffmpeg')) === undefined) {
      const { status, output } = run(command(training[0]!))
      console.warn('ffmpeg is not on PATH: the training block ran only as far as its message')
      expect(status).not.toBe(0)
      expect(output).toMatch(/ffmpeg/)
      return
    }
    mkdirSync(join(folder, 'videos'), { recursive: true })
    let made = 0
    for await (const { frames, prompt } of demoWorld({ seed: 1, count: 2 })) {
      const [count, height, width] = frames.shape
      const raw = write('clip.rgb', '')
      writeFileSync(raw, frames.data)
      const encoded = spawnSync('ffmpeg', ['-y', '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', `${width}x${height}`, '-r', '16', '-i', raw, '-frames:v', String(count), join(folder, 'videos', `${made}.mp4`)])
      expect(encoded.status).toBe(0)
      writeFileSync(join(folder, 'videos', `${made}.txt`), prompt)
      made++
    }
    // A thousand steps are hours: the same line with two of them.
    for (const line of training) {
      const { status, output } = run(command(line.replace(/--steps \d+/, '--steps 2')))
      expect(status, output).toBe(0)
    }
    expect(existsSync(join(folder, 'my-model', 'model_index.json'))).toBe(true)
  })
})

describe('scripts', () => {
  const server = scripts.findIndex((text) => text.includes('createServer'))

  test.each(scripts.map((text, index) => ({ name: text.split('\n').find((line) => line.includes("from 'vin-native'"))!, index })).filter(({ index }) => index !== server))(
    '$name',
    { timeout: 180_000 },
    ({ index }) => {
      const { status, output } = run([write(`script-${index}.mjs`, scripts[index]!)])
      expect(status, output).toBe(0)
      expect(output).not.toMatch(/different bits/)
    }
  )

  test('the service makes a video, answers a second request meanwhile, and survives a client that leaves', { timeout: 180_000 }, async () => {
    const free = createServer().listen(0)
    await once(free, 'listening')
    const { port } = free.address() as AddressInfo
    free.close()
    await once(free, 'close')
    const service = spawn(process.execPath, [write('service.mjs', scripts[server]!)], { cwd: folder, env: { ...process.env, PORT: String(port) }, stdio: 'inherit' })
    const url = `http://localhost:${port}`
    try {
      for (;;) {
        try {
          await fetch(url)
          break
        } catch {
          expect(service.exitCode).toBeNull()
          await new Promise((resolve) => setTimeout(resolve, 100))
        }
      }
      // An address that is none, of which URL throws.
      const [odd] = (await once(get({ port, path: '//' }), 'response')) as [IncomingMessage]
      expect(odd.resume().statusCode).toBe(200)
      // Wrong arguments are the client's: the statuses of docs/errors.md.
      for (const [query, text] of [['', 'Expected a string or a list of { at, prompt } for prompt but received null\n'], [`?prompt=${'x'.repeat(9000)}`, 'Expected at most 8192 bytes of UTF-8 for prompt but received']] as const) {
        const refused = await fetch(`${url}/video${query}`)
        expect([refused.status, await refused.text()]).toEqual([400, expect.stringContaining(text)])
      }
      const ask = `${url}/video?prompt=${encodeURIComponent('a red circle moves over the sea')}`
      const leaving = new AbortController()
      const left = fetch(ask, { signal: leaving.signal })
      await new Promise((resolve) => setTimeout(resolve, 300))
      leaving.abort()
      await expect(left).rejects.toThrow()
      let finished = false
      const making = fetch(ask).then(async (response) => {
        const bytes = Buffer.from(await response.arrayBuffer())
        finished = true
        return { type: response.headers.get('content-type'), bytes }
      })
      const second = await fetch(url)
      expect(await second.text()).toBe('ok\n')
      expect(finished).toBe(false)
      const { type, bytes } = await making
      expect(type).toBe('video/mp4')
      expect(bytes.subarray(4, 8).toString()).toBe('ftyp')
    } finally {
      service.kill()
      await once(service, 'exit')
    }
  })
})
