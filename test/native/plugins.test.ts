// Why a CUDA plug-in is not used: its manifest, its file, its own sentence, its self-test. Each has a code and says what to do, and the CPU works on.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { VideoPipeline, doctor, type RejectedBackend } from '../../lib/index.js'
import { pluginAbi } from '../../lib/native/plugins.js'
import { emulatedBackend, root } from '../support/addon.js'
import { lateness, sleep } from '../support/emulator.js'
import { tinyPipeline, tinyVAE } from '../support/models.js'
import { compiler, emptyFolder, emulated, library, pluginFolder, refusing, spoiled, type Manifest } from '../support/plugins.js'

beforeEach(() => vi.stubEnv('XDG_CACHE_HOME', emptyFolder()))
afterEach(() => vi.unstubAllEnvs())

const plain = Buffer.from('no plug-in')

/** What the library says of the plug-ins in a folder when CUDA is asked for. */
async function refused(folder: string): Promise<RejectedBackend[]> {
  vi.stubEnv('VIN_NATIVE_BACKEND_PATH', folder)
  const error = (await tinyPipeline({ device: 'cuda' }).catch((reason: unknown) => reason)) as { code: string; message: string; details: { rejected: RejectedBackend[] } }
  expect(error).toMatchObject({ code: 'ERR_VIN_BACKEND_UNAVAILABLE', details: { device: 'cuda' } })
  const own = error.details.rejected.filter(({ backend }) => backend.startsWith(folder))
  for (const { backend, code, reason } of own) expect(error.message).toContain(`${backend}: ${code}, ${reason}`)
  return own
}

test('the ABI is that of csrc/backend.h', () => {
  expect(readFileSync(join(root, 'csrc', 'backend.h'), 'utf8')).toContain(`#define VIN_ABI ${pluginAbi}\n`)
})

describe('a manifest', () => {
  const changed = (change: (manifest: Manifest) => unknown) => pluginFolder({ cuda13: plain }, change)
  test.each<[string, string, RegExp, () => string]>([
    ['of another ABI', 'abi', /^Expected plug-ins of ABI 2 but .*manifest\.json is for ABI 1; install those of vin-native /, () => changed((manifest) => (manifest.abi = 1))],
    ['of another version', 'version', /^Expected plug-ins of vin-native \d.* is of 0\.0\.1; install those of this version$/, () => changed((manifest) => (manifest.version = '0.0.1'))],
    ['of an ABI in words', 'corrupt', /^Expected a number for abi in .*manifest\.json but found "2"; install the plug-ins again$/, () => changed((manifest) => (manifest.abi = '2' as never))],
    ['without a version', 'corrupt', /^Expected a text for version in .* but found undefined; /, () => changed((manifest) => delete (manifest as Partial<Manifest>).version)],
    ['without a list', 'corrupt', /^Expected a list of backends, each with id, file and toolkit, in .* but found an object \(Object\); install the plug-ins again$/, () => changed((manifest) => (manifest.backends = {} as never))],
    ['with an empty list', 'not_found', /^Expected a plug-in in .*manifest\.json but its list is empty; install the plug-ins again$/, () => changed((manifest) => (manifest.backends = []))],
    ['of something else', 'corrupt', /^Expected an object for backends\[0\] in .* but found null; /, () => changed((manifest) => (manifest.backends = [null as never]))],
    ['that leaves its folder', 'corrupt', /^Expected a path inside its folder for file of backends\[0\] in .*manifest\.json but found "\.\.\/libvin_cuda\.so"; install the plug-ins again$/, () => changed(({ backends }) => (backends[0]!['file'] = '../libvin_cuda.so'))],
    ['of a file that no system can open', 'corrupt', /^Expected a path inside its folder for file of backends\[0\] in .*manifest\.json but found "a\\u0000b"; install the plug-ins again$/, () => changed(({ backends }) => (backends[0]!['file'] = 'a\0b'))],
    ['of an id that is no name', 'corrupt', /^Expected a name such as 'cuda13' for id of backends\[0\] in .*manifest\.json but found "\.\.\/x\\n"; install the plug-ins again$/, () => changed(({ backends }) => (backends[0]!['id'] = '../x\n'))],
    ['without a toolkit', 'corrupt', /^Expected a version such as '13\.5' for toolkit of backends\[0\] in .* but found undefined; /, () => changed(({ backends }) => delete backends[0]!['toolkit'])],
    ['of less than no bytes', 'corrupt', /^Expected a whole number from 0 for bytes of backends\[0\] in .* but found -1; install the plug-ins again$/, () => changed(({ backends }) => (backends[0]!['bytes'] = -1))],
    ['of a folder', 'corrupt', /^Expected a regular file in .*cuda13 but found a folder; install the plug-ins again$/, () => changed(({ backends }) => (backends[0]!['file'] = 'cuda13'))],
    ['for musl', 'libc', /^Expected a plug-in for glibc but cuda13 is for musl; /, () => changed(({ backends }) => (backends[0]!['libc'] = 'musl'))],
    ['of a file that is not there', 'not_found', /manifest\.json names it, but it is not there; install the plug-ins again$/, () => changed(({ backends }) => (backends[0]!['file'] = 'cuda13/other.so'))],
    ['of another size', 'corrupt', /^Expected 11 bytes as its manifest says but found 10; the file is damaged, install it again$/, () => changed(({ backends }) => (backends[0]!['bytes'] = 11))],
    ['of another file', 'corrupt', /^Expected sha256 0123 as its manifest says but found [0-9a-f]{64}; the file is damaged, install it again$/, () => changed(({ backends }) => (backends[0]!['sha256'] = '0123'))],
    ['without size and hash, of no library', 'dlopen', /^Expected to load the backend .*libvin_cuda\.so but .*(file too short|invalid ELF header); install the plug-ins of this vin-native again$/, () => changed(({ backends }) => [delete backends[0]!['sha256'], delete backends[0]!['bytes']])]
  ])('%s: %s', async (_, code, reason, make) => {
    const [found, ...more] = await refused(make())
    expect(found).toMatchObject({ code, reason: expect.stringMatching(reason) as string })
    expect(more).toEqual([])
  })

  test.each(['', '{', 'null', '[]', '"x"', '{"abi":2}'])('of the text %j is refused in one sentence', async (text) => {
    const folder = emptyFolder()
    writeFileSync(join(folder, 'manifest.json'), text)
    expect(await refused(folder)).toEqual([{ backend: folder, code: expect.stringMatching(/^(corrupt|abi|version)$/) as string, reason: expect.stringMatching(/^Expected .*manifest\.json.*; install /) as string }])
  })

  test('that is no object is damaged', async () => {
    const folder = emptyFolder()
    writeFileSync(join(folder, 'manifest.json'), '[]')
    expect(await refused(folder)).toEqual([{ backend: folder, code: 'corrupt', reason: `Expected an object in ${join(folder, 'manifest.json')} but found an array of 0; install the plug-ins again` }])
  })

  const asked = (what: string): string => `Expected a folder with manifest.json for VIN_NATIVE_BACKEND_PATH but ${what}; set it to the folder of a manifest.json, or unset it`
  test('that is not there, and a folder that is not there', async () => {
    for (const folder of [emptyFolder(), join(emptyFolder(), 'nowhere')]) expect(await refused(folder)).toEqual([{ backend: folder, code: 'not_found', reason: asked('there is none') }])
  })

  test('where a file is in place of the folder, or a link that leads to itself', async () => {
    const [file, loop] = [join(emptyFolder(), 'file'), join(emptyFolder(), 'loop')]
    writeFileSync(file, '')
    symlinkSync(loop, loop)
    expect(await refused(file)).toEqual([{ backend: file, code: 'not_found', reason: asked(`${file} is no folder`) }])
    expect(await refused(loop)).toEqual([{ backend: loop, code: 'not_found', reason: expect.stringMatching(/ for VIN_NATIVE_BACKEND_PATH but \S*loop cannot be looked into \(ELOOP: .*\); remove the link that leads to itself$/) as string }])
    const folder = pluginFolder({ cuda13: plain }), plugin = join(folder, 'cuda13', 'libvin_cuda.so')
    rmSync(plugin)
    symlinkSync(plugin, plugin)
    expect(await refused(folder)).toEqual([{ backend: plugin, code: 'corrupt', reason: expect.stringMatching(/^Expected a plug-in that can be read in .* but ELOOP: .*; remove the link that leads to itself$/) as string }])
  })

  test("what Node's permission model keeps back is said with its flag", () => {
    const folder = pluginFolder({ cuda13: plain })
    const permission = process.allowedNodeEnvironmentFlags.has('--permission') ? '--permission' : '--experimental-permission'
    const program = `require(${JSON.stringify(join(root, 'dist/cjs/index.js'))}).VAE.fromConfig(${JSON.stringify(tinyVAE)}, { device: 'cuda' }).catch(({ message }) => console.log(message))`
    const { stdout, stderr } = spawnSync(process.execPath, [permission, '--allow-addons', `--allow-fs-read=${root}*`, '-e', program], { encoding: 'utf8', cwd: root, env: { ...process.env, NODE_OPTIONS: '', VIN_NATIVE_BACKEND_PATH: folder } })
    expect(stdout, stderr).toContain(`${folder}: not_found, Expected a folder with manifest.json for VIN_NATIVE_BACKEND_PATH but ${folder} cannot be looked into (`)
    expect(stdout).toContain(`; start Node with --allow-fs-read=${folder}\n`)
  })

  test.each<[string, RegExp, (file: string) => void]>([
    ['a folder', /^Expected a regular file in .* but found a folder; install the plug-ins again$/, (file) => mkdirSync(file)],
    ['a pipe', /^Expected a regular file in .* but found another kind; install the plug-ins again$/, (file) => expect(spawnSync('mkfifo', [file]).status).toBe(0)],
    ['too large', /^Expected at most \d+ bytes in .* but found 2000000000; install the plug-ins again$/, (file) => (writeFileSync(file, ''), truncateSync(file, 2e9))]
  ])('or a plug-in that is %s', async (_, reason, make) => {
    const folder = emptyFolder(), file = join(folder, 'manifest.json')
    make(file)
    expect(await refused(folder)).toEqual([{ backend: folder, code: 'corrupt', reason: expect.stringMatching(reason) as string }])
    const other = pluginFolder({ cuda13: plain }, ({ backends }) => delete backends[0]!['bytes']), plugin = join(other, 'cuda13', 'libvin_cuda.so')
    rmSync(plugin)
    make(plugin)
    expect(await refused(other)).toEqual([{ backend: plugin, code: 'corrupt', reason: expect.stringMatching(reason) as string }])
  })

  test('the newest toolkit is tried first', async () => {
    expect((await refused(pluginFolder({ cuda12: plain, cuda13: plain }))).map(({ backend }) => backend.split('/').at(-2))).toEqual(['cuda13', 'cuda12'])
  })
})

describe.runIf(compiler)('a plug-in', () => {
  const only = (bytes: Buffer) => refused(pluginFolder({ cuda13: bytes }))
  const entry = (body: string) => library(`#include "backend.h"\nvin_status vin_backend_entry(uint32_t host_abi, const vin_host* host, vin_backend* backend) { ${body} }`)

  test('without the one symbol', async () => {
    expect(await only(library('int other(void) { return 0; }'))).toMatchObject([{ code: 'symbol', reason: expect.stringMatching(/^Expected the symbol vin_backend_entry in .* but it has none: it is no plug-in of vin-native; install the plug-ins of this vin-native again$/) as string }])
  })
  test('that needs a symbol which nobody has', async () => {
    expect(await only(library('int nobody_has_this(void); int vin_backend_entry(void) { return nobody_has_this(); }'))).toMatchObject([{ code: 'symbol', reason: expect.stringMatching(/undefined symbol: nobody_has_this; it was built for other libraries than this system's: install one for these$/) as string }])
  })
  test('of another ABI names both numbers, and of another size', async () => {
    const sizes = /^Expected a backend of ABI 2 and size (\d+) in .* but found ABI (\d+) and size (\d+); install one of this version$/
    const [other] = await only(entry('backend->abi = 1; backend->size = 8; return 1;'))
    expect(other).toMatchObject({ code: 'abi', reason: expect.stringMatching(sizes) as string })
    expect(sizes.exec(other!.reason)!.slice(2)).toEqual(['1', '8'])
    expect(await only(entry('backend->abi = VIN_ABI; backend->size = 24; return 0;'))).toMatchObject([{ code: 'abi', reason: expect.stringMatching(/found ABI 2 and size 24/) as string }])
  })
  test.each([
    [8, 'driver_missing', 'Expected a driver; install it'],
    [9, 'driver_too_old', 'Expected a newer driver; update it'],
    [11, 'no_device', 'Expected a GPU but there is none'],
    [12, 'no_access', 'Expected a GPU; --gpus all'],
    [13, 'wsl_driver', 'Expected a driver in Windows']
  ])('that refuses with status %i is heard in its own words: %s', async (status, code, sentence) => {
    expect(await only(refusing(status, sentence))).toEqual([{ backend: expect.any(String) as string, code, reason: sentence }])
  })

  test('a GPU that is refused is warned of by auto, once; a machine without one is not', async () => {
    const emitWarning = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
    try {
      for (const [status, warnings] of [[8, 0], [11, 0], [13, 0], [9, 1], [9, 1]] as const) {
        vi.stubEnv('VIN_NATIVE_BACKEND_PATH', pluginFolder({ cuda13: refusing(status, `Expected status ${status}`) }))
        await using pipeline = await tinyPipeline({ device: 'auto' })
        expect(pipeline.runtime).toMatchObject({ device: 'cpu', backend: 'cpu', rejected: expect.arrayContaining([expect.objectContaining({ reason: `Expected status ${status}` })]) as object })
        expect(emitWarning).toHaveBeenCalledTimes(warnings)
      }
      expect(emitWarning).toHaveBeenCalledWith(expect.stringMatching(/^Runs on the CPU, because no CUDA plug-in can be used \(.*driver_too_old, Expected status 9\)$/), { type: 'VinNativeWarning', code: 'VIN_CPU_FALLBACK' })
    } finally {
      emitWarning.mockRestore()
    }
  })

  test('doctor lists both, and why each is refused', async () => {
    const folder = pluginFolder({ cuda12: refusing(8, 'Expected a driver for 12'), cuda13: refusing(9, 'Expected a newer driver for 13') })
    vi.stubEnv('VIN_NATIVE_BACKEND_PATH', folder)
    const check = (await doctor()).checks.find(({ id }) => id === 'cuda')!
    expect(check).toMatchObject({ status: 'warning', fix: 'Expected a newer driver for 13' })
    expect(check.detail).toContain(`${join(folder, 'cuda13', 'libvin_cuda.so')}: driver_too_old, Expected a newer driver for 13; ${join(folder, 'cuda12', 'libvin_cuda.so')}: driver_missing, Expected a driver for 12`)
  })

  const open = 'int32_t device, void* pool, vin_stream** stream'
  describe.runIf(emulatedBackend)('that takes long to open', () => {
    const slow = () => pluginFolder({ cuda13: spoiled('stream_open', open, 'usleep(700000); return replaced(device, pool, stream);') })
    beforeEach(() => vi.stubEnv('VIN_NATIVE_SELFTEST', 'off'))

    test('holds nobody up', async () => {
      vi.stubEnv('VIN_NATIVE_BACKEND_PATH', slow())
      const { result, late } = await lateness(() => tinyPipeline({ device: 'cuda' }))
      await result.dispose()
      expect(late).toBeLessThan(200)
    })

    test('is not waited for by a worker that ends', async () => {
      vi.stubEnv('VIN_NATIVE_BACKEND_PATH', slow())
      const program = `const { Worker } = require('node:worker_threads')
const worker = new Worker(${JSON.stringify(`require(${JSON.stringify(join(root, 'dist/cjs/index.js'))}).VAE.fromConfig(${JSON.stringify(tinyVAE)}, { device: 'cuda', threads: 1 }).then(() => console.log('opened')); require('node:worker_threads').parentPort.postMessage(0)`)}, { eval: true })
worker.once('message', () => setTimeout(() => worker.terminate().then((code) => console.log('ended', code)), 200))`
      const { status, signal, stdout, stderr } = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '' } })
      expect({ status, signal, stdout, stderr }).toEqual({ status: 0, signal: null, stdout: 'ended 1\n', stderr: '' })
    })
  })

  describe.runIf(emulatedBackend)('in its self-test', () => {
    const wrongNumbers = () => spoiled('linear', 'vin_stream* stream, const vin_linear_args* args', 'vin_linear_args other = *args; memset(&other.bias, 0, sizeof other.bias); return replaced(stream, &other);')
    const wrongText = /^Expected the CPU's numbers of the op linear from .* but it gave \S+ instead of \S+ at 0 of 4690; update the driver, and report this/
    test.each<[string, string, RegExp, () => Buffer]>([
      ['crashes', 'selftest_crashed', /^Expected the self-test of cuda:0 to give an answer but the process ended with SIGSEGV; update the driver, and report this/, () => spoiled('stream_open', open, 'return raise(SIGSEGV);')],
      ['ends the process with words', 'selftest_crashed', /ended with code 3 \(the driver gives up\); /, () => spoiled('stream_open', open, 'write(2, "before\\nthe driver gives up\\n", 27); _exit(3);')],
      ['hangs', 'selftest_timeout', /^Expected the self-test of cuda:0 to end within 1 s but it hangs; /, () => spoiled('stream_open', open, 'for (;;) pause();')],
      ['computes wrong numbers', 'selftest_failed', wrongText, wrongNumbers],
      ['gives no memory', 'selftest_failed', /^Expected \S.* to compute the op randn but it refuses; update the driver, and report this with the output of npx vin-native doctor --json$/, () => spoiled('alloc', 'vin_stream* stream, size_t bytes, void** data', '*data = NULL; return VIN_OK;')],
      ['fails in a kernel', 'selftest_failed', /^Expected the self-test of cuda:0 to run but the device failed without a reason; look for other programs on the GPU/, () => spoiled('event_wait', 'vin_event* event', 'return VIN_DEVICE_ERROR;')]
    ])('%s: %s, which is remembered', async (_, code, reason, make) => {
      if (code === 'selftest_timeout') vi.stubEnv('VIN_NATIVE_SELFTEST_SECONDS', '1')
      const folder = pluginFolder({ cuda13: make() })
      const [found] = await refused(folder)
      expect(found).toMatchObject({ code, reason: expect.stringMatching(reason) as string })
      const start = performance.now()
      const [again] = await refused(folder)
      expect(again).toMatchObject({ code, reason: expect.stringMatching(/\(found at 20\S+; npx vin-native doctor tests again\)$/) as string })
      expect(again!.reason.startsWith(found!.reason)).toBe(true)
      expect(performance.now() - start).toBeLessThan(500)
      await using pipeline = await tinyPipeline({ device: 'cpu' })
      expect((await pipeline.generate({ prompt: 'a red circle', numFrames: 5, seed: 1, outputType: 'latents' })).latents.data.length).toBeGreaterThan(0)
    })

    test('a refusal of the device speaks for itself, and is asked again', async () => {
      const folder = pluginFolder({ cuda13: spoiled('stream_open', open, 'return VIN_NO_CODE;') })
      for (let i = 0; i < 2; i++) expect(await refused(folder)).toMatchObject([{ code: 'no_code_for_device', reason: expect.not.stringContaining('found at') as string }])
    })

    test('a device that is full is no reason to go to the CPU', async () => {
      vi.stubEnv('VIN_NATIVE_BACKEND_PATH', pluginFolder({ cuda13: spoiled('stream_open', open, 'return VIN_OUT_OF_MEMORY;') }))
      for (const device of ['cuda', 'auto'] as const) await expect(tinyPipeline({ device })).rejects.toMatchObject({ code: 'ERR_VIN_OUT_OF_MEMORY' })
    })

    test.each(['cuda', 'auto'] as const)('an abort ends the waiting for %s at once, and says nothing of the device', async (device) => {
      vi.stubEnv('VIN_NATIVE_BACKEND_PATH', pluginFolder({ cuda13: spoiled('stream_open', open, 'for (;;) pause();') }))
      const controller = new AbortController(), reason = new Error('enough')
      setTimeout(() => controller.abort(reason), 300)
      const start = performance.now()
      await expect(VideoPipeline.fromPretrained('demo', { device, signal: controller.signal })).rejects.toBe(reason)
      expect(performance.now() - start).toBeLessThan(2000)
      await sleep(200)
      expect(existsSync(join(process.env['XDG_CACHE_HOME']!, 'vin-native', 'selftest'))).toBe(false)
    })
    test('an abort ends the waiting of one, and not of others', async () => {
      vi.stubEnv('VIN_NATIVE_BACKEND_PATH', pluginFolder({ cuda13: spoiled('stream_open', open, 'usleep(600000); return replaced(device, pool, stream);') }))
      const controller = new AbortController()
      setTimeout(() => controller.abort(new Error('enough')), 200)
      const [first, second] = await Promise.allSettled([tinyPipeline({ device: 'cuda', signal: controller.signal }), tinyPipeline({ device: 'cuda' })])
      expect(first).toMatchObject({ status: 'rejected', reason: { message: 'enough' } })
      expect(second).toMatchObject({ status: 'fulfilled', value: { runtime: { device: 'cuda:0' } } })
      if (second.status === 'fulfilled') await second.value.dispose()
    })

    test.runIf(existsSync(`/proc/self/task/${process.pid}/children`))('a test that hangs ends with the program that began it, however that ends', async () => {
      vi.stubEnv('VIN_NATIVE_BACKEND_PATH', pluginFolder({ cuda13: spoiled('stream_open', open, 'for (;;) pause();') }))
      const program = spawn(process.execPath, ['-e', `require(${JSON.stringify(join(root, 'dist/cjs/index.js'))}).VAE.fromConfig(${JSON.stringify(tinyVAE)}, { device: 'cuda' })`], { env: { ...process.env, NODE_OPTIONS: '' } })
      const children = `/proc/${program.pid}/task/${program.pid}/children`
      await expect.poll(() => readFileSync(children, 'utf8').trim(), { timeout: 20_000 }).toMatch(/^\d+$/)
      const child = Number(readFileSync(children, 'utf8'))
      await expect.poll(() => readFileSync(`/proc/${child}/maps`, 'utf8').includes('libvin_cuda.so'), { timeout: 20_000 }).toBe(true)
      program.kill('SIGKILL')
      await expect.poll(() => existsSync(`/proc/${child}`) && !readFileSync(`/proc/${child}/stat`, 'utf8').includes(') Z '), { timeout: 5000 }).toBe(false)
    })

    test('the next plug-in serves where one refuses', async () => {
      vi.stubEnv('VIN_NATIVE_BACKEND_PATH', pluginFolder({ cuda12: emulated(), cuda13: spoiled('stream_open', open, 'return raise(SIGSEGV);') }))
      await using pipeline = await tinyPipeline({ device: 'auto' })
      expect(pipeline.runtime).toMatchObject({ device: 'cuda:0', backend: 'cuda-emu', rejected: [{ code: 'selftest_crashed' }] })
    })

    test.each(['fork', 'inline', 'off'])('VIN_NATIVE_SELFTEST=%s', async (mode) => {
      vi.stubEnv('VIN_NATIVE_SELFTEST', mode)
      const folder = pluginFolder({ cuda13: wrongNumbers() })
      if (mode !== 'off') return expect(await refused(folder)).toMatchObject([{ code: 'selftest_failed', reason: expect.stringMatching(wrongText) as string }])
      vi.stubEnv('VIN_NATIVE_BACKEND_PATH', folder)
      await using pipeline = await tinyPipeline({ device: 'cuda' })
      expect(pipeline.runtime.device).toBe('cuda:0')
    })

    test('a word that VIN_NATIVE_SELFTEST does not know, and a wrong number of seconds', async () => {
      vi.stubEnv('VIN_NATIVE_BACKEND_PATH', pluginFolder({ cuda13: emulated() }))
      vi.stubEnv('VIN_NATIVE_SELFTEST', 'yes')
      await expect(tinyPipeline({ device: 'cuda' })).rejects.toThrow('Expected one of fork, inline, off for VIN_NATIVE_SELFTEST but received "yes"')
      vi.stubEnv('VIN_NATIVE_SELFTEST', '')
      vi.stubEnv('VIN_NATIVE_SELFTEST_SECONDS', '-1')
      const wrong = { code: 'ERR_OUT_OF_RANGE', message: 'Expected a number of seconds above 0, up to 3600, for VIN_NATIVE_SELFTEST_SECONDS but received "-1"' }
      await expect(tinyPipeline({ device: 'cuda' })).rejects.toMatchObject(wrong)
    })
  })

  test.each([
    ['VIN_NATIVE_SELFTEST', 'yes', 'Expected one of fork, inline, off for VIN_NATIVE_SELFTEST but received "yes"'],
    ['VIN_NATIVE_SELFTEST_SECONDS', '0', 'Expected a number of seconds above 0, up to 3600, for VIN_NATIVE_SELFTEST_SECONDS but received "0"']
  ])('a wrong %s is told whatever plug-ins there are, by everything that looks for a GPU', async (name, value, message) => {
    vi.stubEnv(name, value)
    for (const folder of [emptyFolder(), pluginFolder({ cuda13: refusing(8, 'Expected a driver') })]) {
      vi.stubEnv('VIN_NATIVE_BACKEND_PATH', folder)
      for (const device of ['cuda', 'auto'] as const) await expect(tinyPipeline({ device })).rejects.toMatchObject({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE', message })
      expect((await doctor()).checks.find(({ id }) => id === 'cuda')).toEqual({ id: 'cuda', status: 'broken', detail: message, fix: 'give the environment variable such a value, or unset it' })
      const { status, stderr } = spawnSync(process.execPath, [join(root, 'dist/esm/cli/index.js'), 'inspect', 'gpu'], { encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '' } })
      expect({ status, stderr }).toEqual({ status: 2, stderr: `vin-native: ${message}\n` })
    }
    await (await tinyPipeline({ device: 'cpu' })).dispose()
  })

  test('doctor says once what two plug-ins say', async () => {
    vi.stubEnv('VIN_NATIVE_BACKEND_PATH', pluginFolder({ cuda12: refusing(9, 'Expected a newer driver'), cuda13: refusing(9, 'Expected a newer driver') }))
    expect((await doctor()).checks.find(({ id }) => id === 'cuda')).toMatchObject({ status: 'warning', fix: 'Expected a newer driver' })
  })
})
