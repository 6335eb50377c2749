// The emulator finds what it promises to find: each planted bug is a kernel of planted_bugs.cpp, run in a process of its own.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const hasCMake = process.arch === 'x64' && spawnSync('cmake', ['--version']).status === 0

describe.runIf(hasCMake)('the emulator', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'vin-emulator-'))
    execFileSync('cmake', ['-S', import.meta.dirname, '-B', folder, '-DCMAKE_BUILD_TYPE='], { stdio: 'pipe' })
    execFileSync('cmake', ['--build', folder], { stdio: 'pipe' })
  }, 240_000)
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  const run = (name: string, environment: Record<string, string> = {}) =>
    execFileSync(join(folder, 'planted_bugs'), [name], { encoding: 'utf8', env: { ...process.env, VIN_EMU_ARCH: '', VIN_EMU_SCHED: '', VIN_EMU_EXECUTOR: '', VIN_EMU_FAULT: '', ...environment } }).trim()
  const schedules = ['rr', 'reverse', 'random:1', 'random:2', 'random:3']

  test.each(schedules)('runs correct kernels under %s', (schedule) => {
    for (const name of ['sum', 'numbering', 'nan_fill']) expect(run(name, { VIN_EMU_SCHED: schedule }), name).toBe('ok')
  })

  test.each(schedules)('finds barriers that only a part of the block reaches, under %s', (schedule) => {
    const sites = run('divergent_sites', { VIN_EMU_SCHED: schedule })
    expect(sites).toMatch(/^error 719: divergent_sites, block \(0, 0, 0\): barrier divergence: thread \(\d+, 0, 0\) waits at planted_bugs\.cpp:(\d+), thread \(\d+, 0, 0\) at planted_bugs\.cpp:(\d+)$/)
    const exited = run('early_exit', { VIN_EMU_SCHED: schedule })
    expect(exited).toMatch(/barrier divergence: thread \(0, 0, 0\) waits at planted_bugs\.cpp:\d+, thread \(31, 0, 0\) has exited$/)
  })

  test('finds shared memory out of bounds', () => {
    expect(run('past_the_end')).toBe('error 719: past_the_end, block (0, 0, 0): shared memory out of bounds: thread (31, 0, 0) uses element 32 of an array of 32')
    expect(run('into_the_red_zone')).toContain('shared memory was written outside of its arrays, at byte 128')
    expect(run('more_than_asked')).toMatch(/takes bytes 0 to 256 of shared memory, the launch asked for 192$/)
  })

  test('checks launches against the limits of the architecture', () => {
    expect(run('too_many_threads')).toMatch(/^error 1: .*at most 1024 threads, not 1025$/)
    expect(run('flat_grid')).toMatch(/^error 1: .*at most 65535 blocks along y and z, not 65536$/)
    expect(run('no_blocks')).toMatch(/^error 1: /)
    expect(run('unasked_shared')).toMatch(/^error 1: .*49168 bytes of shared memory were not asked for: 49152 may be used$/)
    expect(run('opt_in', { VIN_EMU_ARCH: '80' })).toBe('ok')
    expect(run('opt_in', { VIN_EMU_ARCH: '86' })).toMatch(/asks for 102400 bytes of shared memory, sm_86 has 101376$/)
    expect(run('unknown_kernel')).toMatch(/^error 500: .*no_such_kernel$/)
  })

  // An int beside half an address that the stack still held would name memory that the kernel has nothing to do with: freed meanwhile, it would be a fault.
  test('padding of a parameter is no address', () => {
    expect(run('padding')).toBe('1 0')
  })

  test('a fault fails every later call', () => {
    expect(run('sticky')).toMatch(/^error 719: early_exit/)
  })

  test('finds wrong frees and copies', () => {
    expect(run('double_free')).toMatch(/^error 1: .*twice$/)
    expect(run('long_copy')).toMatch(/^error 1: .*outside of its allocation$/)
  })

  const executors = ['fifo', 'lifo', 'random:1', 'random:2', 'random:3', 'starve', 'last-moment']

  test('streams and events leave the same bits under every executor', () => {
    for (const executor of executors) expect(run('chain', { VIN_EMU_EXECUTOR: executor }), executor).toBe('5')
  })

  test('finds a dropped wait for an event', () => {
    const found = executors.map((executor) => run('dropped_wait', { VIN_EMU_EXECUTOR: executor }))
    expect(new Set(found).size, found.join(' ')).toBeGreaterThan(1)
    expect(executors.map((executor) => run('chain', { VIN_EMU_EXECUTOR: executor, VIN_EMU_FAULT: 'wait:3' }))).toEqual(found)
  })

  test.each(executors)('finds what is touched in flight, under %s', (executor) => {
    const environment = { VIN_EMU_EXECUTOR: executor }
    expect(run('free_in_flight', environment)).toBe('error 719: an allocation of 4 bytes is freed in flight')
    expect(run('host_write_in_flight', environment)).toBe('error 719: host memory was written while a copy of 4 bytes from it was in flight')
    expect(run('early_read', environment)).toBe('NaN, then 0')
  })

  test('a wild read is a report', () => {
    expect(run('wild_read')).toMatch(/^error 719: wild_read, block \(0, 0, 0\): thread \(0, 0, 0\) uses 60 bytes behind an allocation of 4$/)
    expect(run('freed_read')).toMatch(/^error 719: one_more, .* uses memory that was freed$/)
    expect(run('null')).toMatch(/^error 719: one_more, .* uses no memory of the device$/)
  })

  test('a device has memory and errors of its own', () => {
    expect(run('full', { VIN_EMU_MEMORY: String(4 << 20) })).toBe('1048576 of 4194304 free; error 2: the device has no 2097152 bytes left')
    expect(run('two_devices', { VIN_EMU_DEVICES: '2' })).toBe('second works; first works again')
  })

  test('faults come when they are asked for', () => {
    expect(run('sum', { VIN_EMU_FAULT: 'launch:1' })).toBe('error 719: tree_sum faults, as was asked for')
    expect(run('sum', { VIN_EMU_FAULT: 'lost:1' })).toBe('error 999: the device is lost, as was asked for')
    expect(run('full', { VIN_EMU_FAULT: 'allocation:1' })).toBe('error 2: out of memory, as was asked for')
    expect(run('sum', { VIN_EMU_FAULT: 'launch:2' })).toBe('ok')
  })

  test('refuses settings that it does not know', () => {
    expect(run('sum', { VIN_EMU_ARCH: '87' })).toContain('Expected 75, 80, 86')
    expect(run('sum', { VIN_EMU_SCHED: 'random:' })).toContain('Expected rr, reverse or random:<seed>')
    expect(run('sum', { VIN_EMU_EXECUTOR: 'filo' })).toContain('Expected fifo, lifo, random:<seed>, starve or last-moment')
  })
})
