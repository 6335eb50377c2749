import { defineConfig } from 'vitest/config'

// Native code runs in forked processes, so that a crash is one failed file and not the end of the run. Two files at once: engines bring threads of their own.
const native = { pool: 'forks' as const, maxWorkers: 2, testTimeout: 60_000, hookTimeout: 60_000 }
// Vite leaves .cts files alone unless told.
const oxc = { include: /\.(?:[cm]?ts|[jt]sx)$/, lang: 'ts' as const }

export default defineConfig({
  test: {
    projects: [
      { oxc, test: { ...native, name: 'unit', include: ['test/**/*.test.ts'] } },
      { oxc, test: { ...native, name: 'long', include: ['test/**/*.long.ts'], maxWorkers: 1, testTimeout: 30 * 60_000 } },
      { oxc, test: { ...native, name: 'bench', include: ['test/**/*.bench.ts'], globalSetup: 'test/bench/report.ts', maxWorkers: 1, fileParallelism: false, testTimeout: 30 * 60_000, hookTimeout: 5 * 60_000 } }
    ]
  }
})
