// The encoders' thread in a program that is started in an unusual way.

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'
import { root } from '../support/addon.js'

const module = pathToFileURL(join(root, 'dist', 'esm', 'video', 'video.js')).href
const program = `
const { Video } = await import(${JSON.stringify(module)})
const decode = async function* () { for (let index = 0; index < 2; index++) yield { index, data: new Uint8Array(48).fill(index * 99), width: 4, height: 4 } }
const video = new Video({ latents: { data: new Float32Array(0), shape: [4, 0, 1, 1] }, decode, width: 4, height: 4, fps: 8, numFrames: 2, seed: 0, options: {}, plan: undefined, timings: {}, warnings: [] })
try { console.log((await video.toBuffer('gif')).toString('latin1', 0, 6)) } catch (error) { console.log(error.code + ': ' + error.message) }
`

test('a program given as a text: its flags are not the thread’s', () => {
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '' } })
  expect(stdout.trim() || stderr).toBe('GIF89a')
})
