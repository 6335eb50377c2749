// device: 'cuda' end to end without a GPU: the emulated plug-in where a real one would lie, through the library and the command line, with its verdict kept on disk.
import { spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { build } from 'esbuild'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { doctor, type ModelOptions } from '../../lib/index.js'
import { emulatedBackend, root } from '../support/addon.js'
import { setEmulator } from '../support/emulator.js'
import { tinyPipeline, tinyVAE } from '../support/models.js'
import { emptyFolder, emulated, pluginFolder } from '../support/plugins.js'

const run = { prompt: 'a red circle', numFrames: 17, seed: 7, outputType: 'latents' as const }

describe.runIf(emulatedBackend)("device 'cuda'", () => {
  let cache = '', folder = ''
  beforeEach(() => {
    cache = emptyFolder()
    folder = pluginFolder({ cuda13: emulated() })
    vi.stubEnv('XDG_CACHE_HOME', cache)
    vi.stubEnv('VIN_NATIVE_BACKEND_PATH', folder)
    vi.stubEnv('VIN_EMU_COUNTERS', '')
    vi.stubEnv('VIN_EMU_DEVICES', '2')
    setEmulator({})
  })
  afterEach(() => vi.unstubAllEnvs())

  async function latents(options: ModelOptions): Promise<{ device: string; backend: string; rejected: readonly object[]; data: number[] }> {
    await using pipeline = await tinyPipeline({ threads: 1, ...options })
    const { device, backend, rejected } = pipeline.runtime
    return { device, backend, rejected, data: [...(await pipeline.generate(run)).latents.data] }
  }

  test("'cuda', 'cuda:1' and 'auto' take the plug-in, and give the bits of the test device", async () => {
    const expected = await latents({ device: 'cuda-emu' })
    for (const [device, found] of [['cuda', 'cuda:0'], ['cuda:1', 'cuda:1'], ['auto', 'cuda:0']] as const) expect(await latents({ device })).toEqual({ ...expected, device: found, rejected: [] })
    expect((await latents({ device: 'cpu' })).rejected).toEqual([])
  })

  test('a device that is not there is named, with how many there are', async () => {
    await expect(latents({ device: 'cuda:2' })).rejects.toMatchObject({
      code: 'ERR_VIN_BACKEND_UNAVAILABLE',
      details: { rejected: expect.arrayContaining([expect.objectContaining({ code: 'no_device', reason: 'Expected one of the 2 CUDA devices, which count from 0, but received 2' })]) as object }
    })
  })

  test('two that ask at once share one engine, which goes with the last', async () => {
    const both = await Promise.all([tinyPipeline({ device: 'cuda', threads: 1 }), tinyPipeline({ device: 'cuda', threads: 1 })])
    const [first, second] = both.map(({ transformer }) => transformer.engine.native)
    expect(first).toBe(second)
    await both[0].dispose()
    expect((await both[1].generate(run)).latents.shape[0]).toBe(4)
    await both[1].dispose()
    await expect(async () => second!.stats()).rejects.toMatchObject({ code: 'ERR_VIN_DISPOSED' })
  })

  interface Ended {
    code: number | null
    stdout: string
    stderr: string
  }
  const node = (args: string[], env: Record<string, string> = {}, cwd = root): Promise<Ended> =>
    new Promise((resolve, reject) => {
      const child = spawn(process.execPath, args, { cwd, env: { ...process.env, NODE_OPTIONS: '', NODE_DEBUG: 'vin-native', ...env } })
      let [stdout, stderr] = ['', '']
      child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
      child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
      child.on('error', reject)
      child.on('close', (code) => resolve({ code, stdout, stderr }))
    })
  const commandLine = (...args: string[]) => node([join(root, 'dist/esm/cli/index.js'), ...args])
  /** A process of its own that opens a device, twice at once. */
  const open = async (device = 'cuda', env: Record<string, string> = {}, cwd = root): Promise<{ runtime: { device: string; backend: string }; tests: number }> => {
    const body = `const { VAE } = await import(${JSON.stringify(join(root, 'dist/esm/index.js'))})
const both = await Promise.all([1, 2].map((threads) => VAE.fromConfig(${JSON.stringify(tinyVAE)}, { device: ${JSON.stringify(device)}, threads })))
console.log(JSON.stringify(both[0].engine.runtime))
for (const vae of both) await vae.dispose()`
    const { code, stdout, stderr } = await node(['--input-type=module', '-e', body], env, cwd)
    expect(code, stderr).toBe(0)
    return { runtime: JSON.parse(stdout) as { device: string; backend: string }, tests: (stderr.match(/self-test of \S+ passed/g) ?? []).length }
  }
  const verdicts = (): string[] => (existsSync(join(cache, 'vin-native', 'selftest')) ? readdirSync(join(cache, 'vin-native', 'selftest'), { recursive: true }) : []).map(String).filter((name) => name.endsWith('.json'))

  test('the verdict is kept: one test for each device, in whichever process', async () => {
    expect(await open()).toMatchObject({ runtime: { device: 'cuda:0', backend: 'cuda-emu' }, tests: 1 })
    expect(await open()).toMatchObject({ tests: 0 })
    expect(await open('cuda:1')).toMatchObject({ runtime: { device: 'cuda:1' }, tests: 1 })
    expect(await open('cuda:1')).toMatchObject({ tests: 0 })
    expect(verdicts()).toHaveLength(2)
    // Another file is another plug-in.
    expect(await open('cuda', { VIN_NATIVE_BACKEND_PATH: pluginFolder({ cuda13: emulated() }) })).toMatchObject({ tests: 1 })
  })

  test("a verdict is for the driver's file, and for the number that a GPU is asked for by", async () => {
    // The emulated plug-in with the name in it that those of a real GPU have: the library looks for that file, and the plug-in does not open it.
    const driver = join(emptyFolder(), 'libcuda.so.1')
    writeFileSync(driver, 'first')
    const env = { VIN_NATIVE_BACKEND_PATH: pluginFolder({ cuda13: Buffer.concat([emulated(), Buffer.from('libcuda.so.1')]) }), LD_LIBRARY_PATH: dirname(driver) }
    for (const tests of [1, 0]) expect(await open('cuda', env)).toMatchObject({ runtime: { device: 'cuda:0' }, tests })
    writeFileSync(driver, 'second one')
    for (const tests of [1, 0]) expect(await open('cuda', env)).toMatchObject({ tests })
    for (const tests of [1, 0]) expect(await open('cuda', { ...env, CUDA_VISIBLE_DEVICES: '1,0' })).toMatchObject({ tests })
    expect(await open('cuda', env)).toMatchObject({ tests: 0 })
  })

  test('a verdict that is damaged is none', async () => {
    await open()
    for (const text of ['', '{"accepted":"yes"}', 'x'.repeat(100_000)]) {
      for (const name of verdicts()) writeFileSync(join(cache, 'vin-native', 'selftest', name), text)
      expect(await open(), text.slice(0, 20)).toMatchObject({ tests: 1 })
    }
    expect(await open()).toMatchObject({ tests: 0 })
  })

  test.each<[string, (place: string) => void]>([
    ['is a file', (place) => writeFileSync(place, '')],
    ['holds something else', (place) => (mkdirSync(join(place, 'vin-native'), { recursive: true }), writeFileSync(join(place, 'vin-native', 'selftest'), ''))],
    ['may not be written', (place) => (mkdirSync(place), chmodSync(place, 0o500))]
  ])('a cache folder that %s costs the test each time', async (_, make) => {
    const place = join(cache, 'place')
    make(place)
    // Nothing is forbidden to root.
    const kept = process.getuid?.() === 0 && statSync(place).mode % 0o1000 === 0o500
    for (const tests of [1, kept ? 0 : 1]) expect(await open('cuda', { XDG_CACHE_HOME: place })).toMatchObject({ runtime: { device: 'cuda:0' }, tests })
  })

  test.each<[string, Record<string, string>, string | undefined]>([
    ['a relative XDG_CACHE_HOME', { XDG_CACHE_HOME: 'relative' }, '.cache'],
    ['an empty HOME', { XDG_CACHE_HOME: '', HOME: '' }, undefined],
    ['a relative HOME', { XDG_CACHE_HOME: 'relative', HOME: 'home' }, undefined]
  ])('%s leaves nothing in the working folder', async (_, env, place) => {
    const [cwd, home] = [emptyFolder(), emptyFolder()]
    for (const tests of [1, place === undefined ? 1 : 0]) expect(await open('cuda', { HOME: home, ...env }, cwd)).toMatchObject({ runtime: { device: 'cuda:0' }, tests })
    expect(readdirSync(cwd)).toEqual([])
    expect(readdirSync(home)).toEqual(place === undefined ? [] : [place])
  })

  test('a user without a home folder, of whom the system knows none, uses the GPU too', async () => {
    const body = `require('node:os').homedir = () => { throw new Error('uv_os_homedir returned ENOENT') }
require(${JSON.stringify(join(root, 'dist/cjs/index.js'))}).VAE.fromConfig(${JSON.stringify(tinyVAE)}, { device: 'cuda', threads: 1 }).then(({ engine }) => console.log(engine.runtime.device), ({ message }) => console.log(message))`
    expect((await node(['-e', body], { XDG_CACHE_HOME: '' })).stdout).toBe('cuda:0\n')
  })

  test('processes that begin at once leave one whole verdict', async () => {
    const found = await Promise.all(Array.from({ length: 4 }, () => open()))
    for (const { runtime } of found) expect(runtime.device).toBe('cuda:0')
    expect(verdicts()).toHaveLength(1)
    expect(JSON.parse(readFileSync(join(cache, 'vin-native', 'selftest', verdicts()[0]!), 'utf8'))).toMatchObject({ accepted: true, uuid: expect.stringMatching(/^[0-9a-f-]{36}$/) as string })
    expect(await open()).toMatchObject({ tests: 0 })
  })

  test('the command line makes a video on it', async () => {
    const file = join(emptyFolder(), 'out.safetensors')
    const { code, stderr } = await commandLine('generate', 'a red circle', '--device', 'cuda:1', '--frames', '1', '--steps', '1', '--seed', '1', '-o', file)
    expect(code, stderr).toBe(0)
    expect(existsSync(file)).toBe(true)
    expect(stderr).toContain('engine on cuda:1: cuda-emu')
  })

  test('inspect gpu and doctor show plug-in and devices', async () => {
    const { stdout, code } = await commandLine('inspect', 'gpu', '--json')
    expect(code).toBe(0)
    const { device, backends } = JSON.parse(stdout) as { device: string; backends: { device: string; usable: boolean; backend: string; devices?: object[] }[] }
    expect(device).toBe('cuda:0')
    expect(backends[0]).toMatchObject({ device: 'cuda', usable: true, backend: join(folder, 'cuda13', 'libvin_cuda.so'), toolkit: '13.5', devices: [{ driver: 13000 }, { driver: 13000 }] })
    expect(new Set(backends[0]!.devices!.map((each) => (each as { uuid: string }).uuid)).size).toBe(2)
    const { stdout: text } = await commandLine('inspect', 'gpu')
    expect(text).toMatch(/^device 'auto' is cuda:0\n/)
    expect(text).toMatch(/\n    cuda:1 .*, sm_80, \d+ multiprocessors, \S+ of \S+ GiB free, driver for CUDA 13\.0, GPU-[0-9a-f-]{36}\n/)
    const check = (await doctor()).checks.find(({ id }) => id === 'cuda')
    expect(check).toMatchObject({ status: 'ok', detail: expect.stringMatching(/^runs on cuda:0; .*cuda13\/libvin_cuda\.so: usable, CUDA 13\.5, .*sm_80, driver for CUDA 13\.0/) as string })
  })

  test.each(['fork', 'inline'])("under Node's permission model, with VIN_NATIVE_SELFTEST=%s", async (mode) => {
    const body = `require(${JSON.stringify(join(root, 'dist/cjs/index.js'))}).VAE.fromConfig(${JSON.stringify(tinyVAE)}, { device: 'cuda', threads: 1 }).then(({ engine }) => console.log(engine.runtime.device), ({ message }) => console.log(message))`
    const permission = process.allowedNodeEnvironmentFlags.has('--permission') ? '--permission' : '--experimental-permission'
    const { stdout } = await node([permission, '--allow-fs-read=*', '--allow-addons', '-e', body], { VIN_NATIVE_SELFTEST: mode })
    if (mode === 'inline') expect(stdout).toBe('cuda:0\n')
    else expect(stdout).toContain(": selftest_failed, Expected to start the self-test of a GPU but Node's permission model forbids it; start Node with --allow-child-process, or set VIN_NATIVE_SELFTEST=inline\n")
  })

  test('in a bundle that has left the package behind the self-test runs in the program', async () => {
    const place = emptyFolder(), entry = join(place, 'entry.js'), outfile = join(place, 'alone', 'bundle.cjs')
    writeFileSync(entry, `import { VAE } from ${JSON.stringify(join(root, 'dist/esm/index.js'))}
VAE.fromConfig(${JSON.stringify(tinyVAE)}, { device: 'cuda', threads: 1 }).then((vae) => (console.log(vae.engine.runtime.device), vae.dispose()))`)
    await build({ entryPoints: [entry], outfile, bundle: true, platform: 'node', format: 'cjs', logLevel: 'silent' })
    const { stdout, stderr } = await node([outfile], { VIN_NATIVE_BINDING: join(root, 'build/Release/vin-native.node') }, place)
    expect(stdout, stderr).toBe('cuda:0\n')
    expect(stderr).toContain('the self-test of cuda:0 runs in this process: ')
  })

  test('works in CommonJS and in a worker thread', async () => {
    const body = (load: string) => `(async () => {
  const { VAE } = ${load}
  const vae = await VAE.fromConfig(${JSON.stringify(tinyVAE)}, { device: 'cuda', threads: 1 })
  const { device } = vae.engine.runtime
  await vae.dispose()
  return device
})()`
    const load = `require(${JSON.stringify(join(root, 'dist/cjs/index.js'))})`
    const { stdout } = await node(['-e', `${body(load)}.then((device) => console.log(device))`])
    expect(stdout).toBe('cuda:0\n')
    const worker = new Worker(`${body(load)}.then((device) => require('node:worker_threads').parentPort.postMessage(device))`, { eval: true, env: { ...process.env } as Record<string, string> })
    expect(await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))).toBe('cuda:0')
    await worker.terminate()
  })
})
