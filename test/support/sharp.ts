// sharp as a machine without it has it, for modules that are imported after vi.resetModules().
import { vi } from 'vitest'

const module = '../../lib/native/package-root.js'

/** What Node answers where a package is not installed. */
export const notInstalled = Object.assign(new Error("Cannot find module 'sharp'"), { code: 'MODULE_NOT_FOUND' })

/** Loading sharp throws. */
export function breakSharp(error: Error): void {
  vi.doMock(module, async (original) => {
    const real = await original<typeof import('../../lib/native/package-root.js')>()
    return {
      ...real,
      requireFrom: (id: string) => {
        if (id === 'sharp') throw error
        return real.requireFrom(id)
      }
    }
  })
}

export function mendSharp(): void {
  vi.doUnmock(module)
}
