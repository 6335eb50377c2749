// A page in headless Chromium, driven through its debugging pipe: what it says on the console, what is focused, what keys do.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import type { Readable, Writable } from 'node:stream'

export const chromium = (process.env['PATH'] ?? '')
  .split(delimiter)
  .flatMap((folder) => ['chromium', 'chromium-browser', 'google-chrome'].map((name) => join(folder, name)))
  .find((path) => {
    try {
      accessSync(path, constants.X_OK)
      return true
    } catch {
      return false
    }
  })

export interface Page {
  /** Warnings, errors and exceptions of the page, and what it could not load. */
  complaints: string[]
  /** The value of an expression; a promise is waited for. */
  evaluate<T>(expression: string): Promise<T>
  /** A key as a keyboard sends it: 'Tab', ' ', 'ArrowRight'. */
  press(key: string): Promise<void>
  /** Text into what is focused. */
  type(text: string): Promise<void>
  resize(width: number, height: number): Promise<void>
  dark(on: boolean): Promise<void>
  /** Writes a picture of the whole page. */
  screenshot(file: string): Promise<void>
}

type Answer = { id?: number; method?: string; params?: Record<string, unknown>; result?: Record<string, unknown>; error?: { message: string } }

/** Opens a page for as long as `use` runs. */
export async function withPage<T>(program: string, url: string, use: (page: Page) => Promise<T>): Promise<T> {
  const profile = await mkdtemp(join(tmpdir(), 'vin-page-'))
  const flags = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run', '--no-proxy-server', '--mute-audio', '--autoplay-policy=no-user-gesture-required', `--user-data-dir=${profile}`, '--remote-debugging-pipe']
  const child = spawn(program, [...flags, 'about:blank'], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'], detached: true })
  const exited = once(child, 'exit')
  const [input, output] = [child.stdio[3] as Writable, child.stdio[4] as Readable]
  input.on('error', () => {})
  const waiting = new Map<number, { resolve: (result: Record<string, unknown>) => void; reject: (error: Error) => void }>()
  const listeners: ((method: string, params: Record<string, unknown>) => void)[] = []
  let rest = ''
  output.setEncoding('utf8').on('data', (text: string) => {
    const messages = (rest + text).split('\0')
    rest = messages.pop()!
    for (const message of messages) {
      const { id, method, params = {}, result = {}, error } = JSON.parse(message) as Answer
      if (id === undefined) for (const listener of listeners) listener(method!, params)
      else if (error === undefined) waiting.get(id)?.resolve(result)
      else waiting.get(id)?.reject(new Error(error.message))
    }
  })
  let calls = 0
  const call = (method: string, params: object = {}, sessionId?: string): Promise<Record<string, unknown>> =>
    Promise.race([
      new Promise<Record<string, unknown>>((resolve, reject) => {
        const id = ++calls
        waiting.set(id, { resolve, reject })
        input.write(`${JSON.stringify({ id, method, params, ...(sessionId === undefined ? {} : { sessionId }) })}\0`)
      }),
      exited.then(() => {
        throw new Error(`the browser ended before it answered ${method}`)
      })
    ])
  try {
    const { targetId } = await call('Target.createTarget', { url: 'about:blank' })
    const { sessionId } = (await call('Target.attachToTarget', { targetId, flatten: true })) as { sessionId: string }
    const send = (method: string, params: object = {}): Promise<Record<string, unknown>> => call(method, params, sessionId)
    const complaints: string[] = []
    let loaded: () => void
    const load = new Promise<void>((resolve) => (loaded = resolve))
    listeners.push((method, params) => {
      if (method === 'Page.loadEventFired') loaded()
      if (method === 'Runtime.exceptionThrown' || method === 'Log.entryAdded') complaints.push(JSON.stringify(params))
      if (method === 'Runtime.consoleAPICalled' && ['error', 'warning'].includes(String(params['type']))) complaints.push(JSON.stringify(params))
    })
    for (const domain of ['Page', 'Runtime', 'Log']) await send(`${domain}.enable`)
    await send('Page.navigate', { url })
    await load
    const page: Page = {
      complaints,
      async evaluate<V>(expression: string): Promise<V> {
        const { result, exceptionDetails } = (await send('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true, userGesture: true })) as { result: { value: V }; exceptionDetails?: object }
        if (exceptionDetails !== undefined) throw new Error(JSON.stringify(exceptionDetails))
        return result.value
      },
      async press(key) {
        const codes: Record<string, [string, number]> = { Tab: ['Tab', 9], ' ': ['Space', 32], Enter: ['Enter', 13], Home: ['Home', 36], Backspace: ['Backspace', 8], ArrowLeft: ['ArrowLeft', 37], ArrowUp: ['ArrowUp', 38], ArrowRight: ['ArrowRight', 39], ArrowDown: ['ArrowDown', 40] }
        const [code, windowsVirtualKeyCode] = codes[key]!
        const text = key === ' ' ? { text: ' ' } : key === 'Enter' ? { text: '\r' } : {}
        await send('Input.dispatchKeyEvent', { type: 'keyDown', key, code, windowsVirtualKeyCode, ...text })
        await send('Input.dispatchKeyEvent', { type: 'keyUp', key, code, windowsVirtualKeyCode })
      },
      async type(text) {
        await send('Input.insertText', { text })
      },
      async resize(width, height) {
        await send('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor: 1, mobile: false })
      },
      async dark(on) {
        await send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: on ? 'dark' : 'light' }] })
      },
      async screenshot(file) {
        const { data } = (await send('Page.captureScreenshot', { captureBeyondViewport: true })) as { data: string }
        await writeFile(file, Buffer.from(data, 'base64'))
      }
    }
    return await use(page)
  } finally {
    if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
      // The browser leads a process group of its own: its helpers end with it.
      process.kill(-child.pid, 'SIGKILL')
      await exited
    }
    await rm(profile, { recursive: true, force: true, maxRetries: 5 })
  }
}
