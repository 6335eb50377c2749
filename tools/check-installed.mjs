// Installs a packed package in an empty folder, without scripts, and uses it without a compiler: node tools/check-installed.mjs FILE.tgz
// It must import, generate on the CPU, and name both CUDA plug-ins with the reason why they are not used here.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { say } from './stamp.mjs'

const program = `
import { generate } from 'vin-native'
const video = await generate({ prompt: 'a red circle', numFrames: 16, numInferenceSteps: 2, seed: 1, device: 'cpu' })
await video.save('circle.mp4')
let frames = 0
for await (const { data } of video.frames()) if (data.length > 0) frames++
console.log(frames, 'frames of', video.width, 'x', video.height)
`

const folder = mkdtempSync(join(tmpdir(), 'vin-installed-'))
try {
  writeFileSync(join(folder, 'package.json'), '{ "name": "service", "private": true, "type": "module" }')
  execFileSync('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--omit=dev', '--omit=peer', resolve(process.argv[2])], { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] })
  // Nothing on the path but node.
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  symlinkSync(process.execPath, join(bin, 'node'))
  const env = { PATH: bin, HOME: join(folder, 'home') }
  const node = (...args) => execFileSync(process.execPath, args, { cwd: folder, env, encoding: 'utf8' })
  writeFileSync(join(folder, 'program.js'), program)
  say(`generate: ${node('program.js').trim()}, ${statSync(join(folder, 'circle.mp4')).size} bytes of mp4`)
  const { ok, checks } = JSON.parse(node(join('node_modules', 'vin-native', 'dist', 'esm', 'cli', 'index.js'), 'doctor', '--json'))
  const { detail } = checks.find(({ id }) => id === 'cuda')
  say(`doctor: ${detail}`)
  if (!ok) throw new Error(`Expected doctor to find nothing broken but it says ${JSON.stringify(checks.filter(({ status }) => status === 'broken'))}`)
  for (const name of ['cuda13', 'cuda12']) if (!detail.includes(name)) throw new Error(`Expected doctor to name the plug-in ${name} but it says: ${detail}`)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
