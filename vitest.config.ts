import { join } from 'node:path'
import { defineConfig } from 'vitest/config'

// Native code runs in forked processes, so that a crash is one failed file and not the end of the run. Two files at once: engines bring threads of their own (test:gpu runs more, on larger machines).
const native = { pool: 'forks' as const, maxWorkers: Number(process.env['VIN_TEST_WORKERS'] ?? 2), testTimeout: 60_000, hookTimeout: 60_000 }
// Vite leaves .cts files alone unless told.
const oxc = { include: /\.(?:[cm]?ts|[jt]sx)$/, lang: 'ts' as const }

// What belongs to the built-in model alone imports the package by its name; tests give it the sources.
const source = (name: string) => join(import.meta.dirname, 'lib', name)
const resolve = { alias: [{ find: /^vin-native$/, replacement: source('index.ts') }, { find: /^vin-native\/demo-world$/, replacement: source('training/demo-world.ts') }] }

export default defineConfig({
  test: {
    projects: [
      { oxc, resolve, test: { ...native, name: 'unit', include: ['test/**/*.test.ts'] } },
      { oxc, resolve, test: { ...native, name: 'long', include: ['test/**/*.long.ts'], maxWorkers: 1, testTimeout: 30 * 60_000 } },
      { oxc, resolve, test: { ...native, name: 'bench', include: ['test/**/*.bench.ts'], globalSetup: 'test/bench/report.ts', maxWorkers: 1, fileParallelism: false, testTimeout: 30 * 60_000, hookTimeout: 5 * 60_000 } }
    ]
  }
})
