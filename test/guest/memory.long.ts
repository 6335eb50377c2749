// The demo model at its own size: 1,024 frames beside 64.
import { test, vi } from 'vitest'
import { expectFlat, linux } from './memory.js'

vi.setConfig({ testTimeout: 30 * 60_000 })

test.skipIf(!linux)('1,024 frames of 64 × 64 take no more memory than 64 (/proc/self/status says so, on Linux)', () => expectFlat(64))
