// Finding the addon, in child processes with an installed copy of the package that has a prebuilt addon and no build/.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { root } from '../support/addon.js'
import { builtAddon, installCopy } from '../support/installed.js'
import type { Installed } from '../support/installed.js'

let installed: Installed
beforeAll(() => {
  installed = installCopy(['tools'])
})
afterAll(() => installed.remove())

test('a prebuilt addon is found without a diagnostic report, which would look up the name of every socket', () => {
  const { answer } = installed.run(`
const calls = []
const { getReport } = process.report
process.report.getReport = (...args) => { calls.push(process.report.excludeNetwork === true); return getReport.apply(process.report, args) }
await vin.randn({ seed: 7, shape: [2] })
const report = await vin.doctor()
print({ ok: report.ok, lookups: calls.filter((excluded) => !excluded).length })`)
  expect(answer).toEqual({ ok: true, lookups: 0 })
})

test('an addon given as nativeBinding is that of all that is used with it, also where no other one is installed', async () => {
  const bare = installCopy([], false)
  try {
    const body = (binding: string): string => `
import { createRequire } from 'node:module'
const nativeBinding = ${binding}
const demo = ${JSON.stringify(join(root, 'models', 'demo'))}
const before = await vin.randn({ seed: 7, shape: [2] }).then(() => 'found', ({ code }) => code)
const made = await vin.generate({ model: demo, nativeBinding, prompt: 'a red circle', numFrames: 1, numInferenceSteps: 1, outputType: 'latents', seed: 7 })
const scheduler = vin.FlowMatchEulerDiscreteScheduler.fromConfig(demo + '/scheduler')
scheduler.setTimesteps(2)
const noise = await vin.randn({ seed: 7, shape: [1, 1, 2, 2] })
await scheduler.step(noise, scheduler.timesteps[0], noise)
await vin.Tensor.from(noise).read()
print({ before, seed: made.seed, addon: (await vin.doctor()).checks.find(({ id }) => id === 'addon').status })`
    for (const binding of [JSON.stringify(builtAddon), `createRequire(import.meta.url)(${JSON.stringify(builtAddon)})`]) {
      expect(bare.run(body(binding)).answer).toEqual({ before: 'ERR_VIN_BACKEND_UNAVAILABLE', seed: 7, addon: 'ok' })
    }
  } finally {
    bare.remove()
  }
})

/** What the first use of the addon fails with. */
const firstUse = 'try { await vin.randn({ seed: 7, shape: [2] }); print({}) } catch ({ code, message, details }) { print({ code, message, codes: details?.attempts?.map(({ code }) => code) }) }'
const permission = process.allowedNodeEnvironmentFlags.has('--permission') ? '--permission' : '--experimental-permission'

test('where Node loads no addons, the error says how to start Node, by the code of its refusal', () => {
  const plain = installed.run(firstUse, { flags: ['--no-addons'] }).answer as { code: string; message: string; codes: string[] }
  expect(plain).toMatchObject({ code: 'ERR_VIN_BACKEND_UNAVAILABLE', message: expect.stringMatching(/\nStart Node, or the worker, without --no-addons\.$/) as string })
  expect(plain.codes).toContain('ERR_DLOPEN_DISABLED')
  // The words of another version of Node.
  const words = `process.dlopen = () => { throw Object.assign(new Error('No.'), { code: 'ERR_DLOPEN_DISABLED' }) }\n`
  expect(installed.run(words + firstUse).answer).toMatchObject({ message: expect.stringMatching(/No\.\nStart Node, or the worker, without --no-addons\.$/) as string })
  // Words that look so, with another code.
  const other = `process.dlopen = () => { throw Object.assign(new Error('libno-addons.so: cannot open shared object file'), { code: 'ERR_DLOPEN_FAILED' }) }\n`
  expect(installed.run(other + firstUse).answer).toMatchObject({ message: expect.stringContaining('Run `npx vin-native build`') as string })
})

test("Node's permission model: what is forbidden is said with the flag that allows it", () => {
  const folder = join(installed.folder, 'node_modules')
  const advice = `\nUnder Node's permission model, start it with --allow-addons and --allow-fs-read=${folder}`
  const needed = [permission, `--allow-fs-read=${join(installed.folder, 'program.mjs')}`, `--allow-fs-read=${join(installed.root, 'dist')}`, `--allow-fs-read=${join(installed.root, 'package.json')}`]
  for (const flags of [[permission, '--allow-fs-read=*'], [...needed, '--allow-addons']]) {
    expect(installed.run(firstUse, { flags }).answer).toMatchObject({ code: 'ERR_VIN_BACKEND_UNAVAILABLE', message: expect.stringContaining(advice) as string })
  }
  const allowed = [permission, '--allow-addons', `--allow-fs-read=${join(installed.folder, 'program.mjs')}`, `--allow-fs-read=${folder}`]
  expect(installed.run(firstUse, { flags: allowed }).answer).toEqual({})
  const report = installed.run('print(Object.fromEntries((await vin.doctor()).checks.map(({ id, status, fix }) => [id, status + (fix ?? "")])))', { flags: allowed }).answer as Record<string, string>
  expect(report).toMatchObject({ addon: 'ok', selftest: 'ok' })
  expect(Object.entries(report).filter(([, status]) => status.startsWith('broken'))).toEqual([])
})

test('on Windows the first use, the installer and build say in one sentence where it runs', () => {
  const preload = join(installed.folder, 'windows.cjs')
  writeFileSync(preload, "Object.defineProperty(process, 'platform', { value: 'win32' })")
  const sentence = 'vin-native does not run on Windows itself; it runs in WSL 2 (in PowerShell: wsl --install), where Node and vin-native are installed as on Linux'
  expect(installed.run(firstUse, { flags: ['--require', preload] }).answer).toMatchObject({ message: expect.stringContaining(`\n${sentence}.`) as string })
  expect(installed.node(['--require', preload, join(installed.root, 'tools', 'install.cjs')])).toEqual({ status: 0, stdout: `vin-native: ${sentence}\n`, stderr: '' })
  expect(installed.node(['--require', preload, join(installed.root, 'dist/esm/cli/index.js'), 'build'])).toMatchObject({ status: 3, stderr: `vin-native: ${sentence}\n` })
})

test('what the permission model forbids to start is named with its flag', () => {
  const flags = [permission, '--allow-fs-read=*', '--allow-addons']
  const program = `
const video = new vin.Video({ latents: { data: new Float32Array(), shape: [0, 0, 0, 0] }, decode: async function* () { yield { index: 0, data: new Uint8Array(64 * 64 * 3), width: 64, height: 64 } }, numFrames: 1, width: 64, height: 64, fps: 16, seed: 0, options: {}, timings: {}, warnings: [] })
try { await video.toBuffer('mp4'); print('made') } catch ({ code, message }) { print({ code, message }) }`
  expect(installed.run(program, { flags }).answer).toEqual({
    code: 'ERR_VIN_NOT_SUPPORTED',
    message: "Expected to start the thread that encodes mp4 but Node's permission model forbids it; start Node with --allow-worker"
  })
})
