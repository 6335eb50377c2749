// tools/emu.mjs on a folder that was copied with its build tree.
import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { emulatedBackend, root } from '../support/addon.js'

const { buildEmulated } = (await import(join(root, 'tools/emu.mjs'))) as { buildEmulated: (root: string) => Promise<number> }

/** A stand-in for cuda/: its plug-in is the path of the folder that was built. */
const project = `cmake_minimum_required(VERSION 3.18)
project(vin_cuda LANGUAGES NONE)
file(GENERATE OUTPUT \${CMAKE_BINARY_DIR}/text CONTENT "\${CMAKE_CURRENT_SOURCE_DIR}")
add_custom_target(vin_cuda ALL COMMAND \${CMAKE_COMMAND} -E copy text libvin_cuda.so)
`

// Where the plug-in was built there is CMake.
test.runIf(emulatedBackend)('a copied folder builds itself, not the one it was copied from', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'vin-emu-'))
  const built = async (path: string): Promise<string> => {
    expect(await buildEmulated(path)).toBe(0)
    return readFile(join(path, 'build-backends/emu/libvin_cuda.so'), 'utf8')
  }
  const [first, copy] = [join(folder, 'first'), join(folder, 'copy')]
  await mkdir(join(first, 'cuda'), { recursive: true })
  await writeFile(join(first, 'cuda/CMakeLists.txt'), project)
  expect(await built(first)).toBe(join(first, 'cuda'))
  // A tree of its own is kept.
  const kept = join(first, 'build-backends/emu-tree/kept')
  await writeFile(kept, '')
  await built(first)
  expect(existsSync(kept)).toBe(true)
  await cp(first, copy, { recursive: true })
  expect(await built(copy)).toBe(join(copy, 'cuda'))
  await rm(folder, { recursive: true })
})
