// What the plug-in says of NVIDIA's driver: the real host code of cuda/, over a libcuda.so.1 of this test's own, as `inspect gpu` shows it. A preloaded library answers for
// the places of the machine that matter, so that every test runs on every machine.
import { spawn, spawnSync } from 'node:child_process'
import { copyFileSync, cpSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import type { RejectedBackend } from '../../lib/index.js'
import { bindingPath } from '../../lib/native/load.js'
import { root } from '../support/addon.js'
import { tinyVAE } from '../support/models.js'
import { compiler, emptyFolder, library, pluginFolder } from '../support/plugins.js'

const cxx = ['c++', 'g++', 'clang++'].find((name) => spawnSync(name, ['--version']).status === 0)
const canRun = process.platform === 'linux' && compiler !== undefined && cxx !== undefined

const shim = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int there(const char* path) {
    char wanted[256];
    snprintf(wanted, sizeof wanted, ":%s:", path);
    const char* list = getenv("STUB_THERE");
    return list && strstr(list, wanted);
}
void* dlopen(const char* name, int flags) {
    void* (*real)(const char*, int) = (void* (*)(const char*, int))dlsym(RTLD_NEXT, "dlopen");
    const char* variable = !name ? NULL : strcmp(name, "libcuda.so.1") == 0 ? "STUB_CUDA" : strcmp(name, "/usr/lib/wsl/lib/libcuda.so.1") == 0 ? "STUB_WSL" : NULL;
    if (!variable) return real(name, flags);
    const char* file = getenv(variable);
    return real(file ? file : "not-here.so.1", flags);
}
int access(const char* path, int mode) {
    const char *file = strrchr(path, '/'), *cuda = getenv("STUB_CUDA");
    if (file && strcmp(file, "/libcuda.so.1") == 0 && strncmp(path, "/usr/lib/wsl", 12) != 0 && !(cuda && strcmp(path, cuda) == 0)) return errno = ENOENT, -1;
    if (strncmp(path, "/proc/driver/nvidia", 19) == 0 || strncmp(path, "/usr/lib/wsl", 12) == 0 || strcmp(path, "/dev/dxg") == 0) return there(path) ? 0 : (errno = ENOENT, -1);
    int (*real)(const char*, int) = (int (*)(const char*, int))dlsym(RTLD_NEXT, "access");
    return real(path, mode);
}`

const symbols = [...readFileSync(join(root, 'cuda/driver.h'), 'utf8').matchAll(/CALL\(\w+, "(\w+)"/g)].map(([, name]) => name!)

interface Stub {
  /** What cuInit gives. */
  init?: number | string
  /** Of CUDA; a negative one is an error. */
  version?: number
  without?: string
  /** Devices; a negative number that is none is an error. */
  count?: number
  /** What every other function gives. */
  rest?: number
  /** Runs as the library is loaded. */
  loading?: string
}

/** A file that the loader takes for NVIDIA's driver. */
function driverFile(make: (file: string) => void): string {
  const file = join(emptyFolder(), 'libcuda.so.1')
  make(file)
  return file
}

/** NVIDIA's libcuda, as far as these tests get. */
function libcuda({ init = 0, version = 13000, without = '', count = 0, rest = 999, loading = '' }: Stub): string {
  const own: Record<string, string> = {
    cuInit: `int cuInit(unsigned flags) { return ${init}; }`,
    cuDriverGetVersion: `int cuDriverGetVersion(int* version) { return *version = ${version}, ${version < 0 ? -version : 0}; }`,
    cuDeviceGetCount: `int cuDeviceGetCount(int* count) { return *count = ${count}, ${count === -999 ? 999 : 0}; }`
  }
  const functions = symbols.filter((name) => name !== without).map((name) => own[name] ?? `int ${name}(void) { return ${rest}; }`)
  return driverFile((file) => writeFileSync(file, library(`#include <signal.h>\n#include <unistd.h>\n__attribute__((constructor)) static void loading(void) { ${loading} }\n${functions.join('\n')}`)))
}

const damaged = (): string => driverFile((file) => copyFileSync(join(root, 'package.json'), file))
const pipe = (): string => driverFile((file) => expect(spawnSync('mkfifo', [file]).status).toBe(0))

describe.runIf(canRun)('a plug-in of CUDA 13', () => {
  let folder = '', preloaded = '', installed = ''
  beforeAll(() => {
    const build = emptyFolder()
    writeFileSync(join(build, 'images.cpp'), '#include "images.h"\nnamespace vin { namespace cuda { const KernelImage kernel_images[] = {{nullptr, nullptr}}; } }\n')
    const sources = ['backend.cpp', 'driver.cpp', 'launch.cpp'].map((name) => join(root, 'cuda', name))
    const { status, stderr } = spawnSync(cxx!, ['-shared', '-fPIC', '-std=c++17', '-O0', '-fvisibility=hidden', '-DVIN_TOOLKIT_VERSION="13.5"', '-I', join(root, 'cuda'), ...sources, join(build, 'images.cpp'), '-o', join(build, 'plugin.so'), '-ldl', '-lpthread'], { encoding: 'utf8' })
    if (status !== 0) throw new Error(stderr)
    folder = pluginFolder({ cuda13: readFileSync(join(build, 'plugin.so')) })
    preloaded = join(build, 'shim.so')
    writeFileSync(preloaded, library(shim))
    // Without the plug-ins that this clone may have built, each of which would be tested too.
    installed = emptyFolder()
    cpSync(join(root, 'dist'), join(installed, 'dist'), { recursive: true })
    copyFileSync(join(root, 'package.json'), join(installed, 'package.json'))
    symlinkSync(join(root, 'node_modules'), join(installed, 'node_modules'))
  }, 120_000)

  interface Machine {
    cuda?: string
    wsl?: string
    /** Of the places that matter, those that are there. */
    there?: string[]
    env?: Record<string, string>
  }
  function environment({ cuda, wsl, there = [], env = {} }: Machine): Record<string, string | undefined> {
    const stubs = { ...(cuda === undefined ? {} : { STUB_CUDA: cuda, LD_LIBRARY_PATH: dirname(cuda) }), ...(wsl === undefined ? {} : { STUB_WSL: wsl }), STUB_THERE: `:${there.join(':')}:` }
    const { CUDA_VISIBLE_DEVICES: _, ...inherited } = process.env
    return { ...inherited, NODE_OPTIONS: '', XDG_CACHE_HOME: emptyFolder(), LD_PRELOAD: preloaded, VIN_NATIVE_BACKEND_PATH: folder, VIN_NATIVE_BINDING: bindingPath(), ...stubs, ...env }
  }
  function refusal(machine: Machine): RejectedBackend {
    const { status, stdout, stderr } = spawnSync(process.execPath, [join(installed, 'dist/esm/cli/index.js'), 'inspect', 'gpu', '--json'], { encoding: 'utf8', env: environment(machine) })
    expect(stderr).toBe('')
    expect(status).toBe(0)
    const { backends } = JSON.parse(stdout) as { backends: RejectedBackend[] }
    return backends.find(({ backend }) => backend.startsWith(folder))!
  }

  const noFile = '/usr/lib/wsl/lib/libcuda.so.1'
  test.each<[string, string, RegExp, () => Machine]>([
    ['no driver', 'driver_missing', /^Expected NVIDIA's driver but libcuda\.so\.1 was not found; install the driver, or use device 'cpu'$/, () => ({})],
    ['a driver that is damaged', 'driver_missing', /^Expected to load NVIDIA's driver but .*: (file too short|invalid ELF header); install the driver again$/, () => ({ cuda: damaged() })],
    ['a driver for CUDA 12', 'driver_too_old', /^Expected a driver for CUDA 13 but found one for CUDA 12\.4; update it to 580 or later$/, () => ({ cuda: libcuda({ version: 12040 }) })],
    ['an old driver without a function', 'driver_too_old', /^Expected a driver for CUDA 13 but found one for CUDA 12\.4; update it to 580 or later$/, () => ({ cuda: libcuda({ version: 12040, without: 'cuDeviceGetUuid_v2' }) })],
    ['a new driver without a function', 'driver_missing', /^Expected cuDeviceGetUuid_v2 in libcuda\.so\.1 but it has none: it is not NVIDIA's driver, or damaged; install the driver again/, () => ({ cuda: libcuda({ without: 'cuDeviceGetUuid_v2' }) })],
    ['another library of its name', 'driver_missing', /^Expected cuInit in libcuda\.so\.1 but it has none: it is not NVIDIA's driver, .* take another library of that name out of LD_LIBRARY_PATH$/, () => ({ cuda: driverFile((file) => writeFileSync(file, library('int other;'))) })],
    ['the stub of a toolkit', 'driver_missing', /^Expected NVIDIA's driver but libcuda\.so\.1 is the stub that programs are linked with; take its folder out of LD_LIBRARY_PATH$/, () => ({ cuda: libcuda({ init: 34, version: -34, rest: 34 }) })],
    ['a container that was given no GPU', 'no_access', /^Expected libcuda\.so\.1, since the machine has NVIDIA's driver, but it is not here; start the container with --gpus all/, () => ({ there: ['/proc/driver/nvidia/version'] })],
    ['a container with the driver and without its devices', 'no_access', /^Expected a GPU but NVIDIA's driver does not start here \(cuInit gave 100\); give the container its devices \(--gpus all\)/, () => ({ cuda: libcuda({ init: 100 }), there: ['/proc/driver/nvidia/version'] })],
    ['a driver without a GPU', 'no_device', /^Expected a GPU but NVIDIA's driver finds none; use device 'cpu'$/, () => ({ cuda: libcuda({ init: 100 }) })],
    ['a driver that shows no device', 'no_device', /^Expected a GPU but the driver counts 0 of them; see whether nvidia-smi shows one, or use device 'cpu'$/, () => ({ cuda: libcuda({}) })],
    ['a driver that shows less than no device', 'no_device', /^Expected a GPU but the driver counts -5 of them; see whether nvidia-smi shows one/, () => ({ cuda: libcuda({ count: -5 }) })],
    ['a driver that cannot count', 'device_failed', /^Expected the device of .*libvin_cuda\.so to open but counting devices failed with CUDA error 999: unknown error; end other programs that use it, update its driver, or use device 'cpu'$/, () => ({ cuda: libcuda({ count: -999 }) })],
    ['a driver that gives no device', 'device_failed', /^Expected the device of .* to open but finding the device failed with CUDA error 999: unknown error; end other programs/, () => ({ cuda: libcuda({ count: 1 }) })],
    ['a driver that does not start', 'no_access', /^Expected a GPU but NVIDIA's driver does not start here \(cuInit gave 999\); .*, or start the machine again$/, () => ({ cuda: libcuda({ init: 999 }) })],
    ['GPUs that a variable hides', 'no_device', /^Expected a GPU but CUDA_VISIBLE_DEVICES=-1 shows none; unset it$/, () => ({ cuda: libcuda({ init: 100 }), there: ['/proc/driver/nvidia/version'], env: { CUDA_VISIBLE_DEVICES: '-1' } })],
    ['a driver that was updated under its kernel module', 'no_access', /^Expected one version of NVIDIA's driver but its library and its kernel module differ; restart the machine/, () => ({ cuda: libcuda({ init: 803 }), there: ['/proc/driver/nvidia/version'] })],
    ['WSL without a driver in Windows', 'wsl_driver', /^Expected \/usr\/lib\/wsl\/lib\/libcuda\.so\.1, which Windows lends, but it is not there; install NVIDIA's driver in Windows \(none in this Linux\)/, () => ({ there: ['/dev/dxg', '/usr/lib/wsl'] })],
    ['WSL with a driver that does not load', 'wsl_driver', /^Expected to load the driver that Windows lends but .*; add \/usr\/lib\/wsl\/lib to LD_LIBRARY_PATH, or run `wsl --update` in Windows$/, () => ({ wsl: join(root, 'package.json'), there: ['/dev/dxg', '/usr/lib/wsl', noFile] })],
    ["the driver that Windows lends, outside of the loader's path", 'driver_too_old', /^Expected a driver for CUDA 13 but found one for CUDA 12\.2;/, () => ({ wsl: libcuda({ version: 12020 }), there: ['/dev/dxg', '/usr/lib/wsl', noFile] })],
    ['a driver that crashes', 'selftest_crashed', /^Expected the self-test of cuda:0 to give an answer but the process ended with SIGSEGV; update the driver/, () => ({ cuda: libcuda({ init: '*(volatile int*)0' }) })],
    ['a driver that crashes as it is loaded', 'selftest_crashed', /^Expected the self-test of cuda:0 to give an answer but the process ended with SIGSEGV; update the driver/, () => ({ cuda: libcuda({ loading: 'raise(SIGSEGV);' }) })],
    ['a driver that ends its process as it is loaded', 'selftest_crashed', /ended with code 3; update the driver/, () => ({ cuda: libcuda({ loading: '_exit(3);' }) })],
    ['a driver that hangs as it is loaded', 'selftest_timeout', /^Expected the self-test of cuda:0 to end within 1 s but it hangs; /, () => ({ cuda: libcuda({ loading: 'for (;;) pause();' }), env: { VIN_NATIVE_SELFTEST_SECONDS: '1' } })],
    ['a driver that hangs as it starts', 'selftest_timeout', /^Expected the self-test of cuda:0 to end within 1 s but it hangs; /, () => ({ cuda: libcuda({ init: 'pause()' }), env: { VIN_NATIVE_SELFTEST_SECONDS: '1' } })],
    ['a pipe in its place', 'selftest_timeout', /^Expected the self-test of cuda:0 to end within 1 s but it hangs; /, () => ({ cuda: pipe(), env: { VIN_NATIVE_SELFTEST_SECONDS: '1' } })],
    ['a plug-in without kernels', 'selftest_failed', /^Expected cuda:0 to compute the op randn but it refuses; update the driver, and report this with the output of npx vin-native doctor --json$/, () => ({ cuda: libcuda({ count: 1, rest: 0 }) })]
  ])('over %s: %s', (_, code, reason, machine) => {
    expect(refusal(machine())).toMatchObject({ device: 'cuda', usable: false, code, reason: expect.stringMatching(reason) as string })
  })

  test.each<[string, string, string, () => string]>([
    ['crashes as it is loaded', 'selftest_crashed', '', () => libcuda({ loading: 'raise(SIGSEGV);' })],
    ['is a pipe', 'selftest_timeout', '1', pipe]
  ])('a driver that %s costs a program with device auto a warning', (_, code, seconds, make) => {
    const { status, signal, stdout, stderr } = spawnSync(process.execPath, ['-e', `require(${JSON.stringify(join(installed, 'dist/cjs/index.js'))}).VAE.fromConfig(${JSON.stringify(tinyVAE)}, { threads: 1 }).then(({ engine }) => console.log(JSON.stringify(engine.runtime)))`], { encoding: 'utf8', env: environment({ cuda: make(), env: { VIN_NATIVE_SELFTEST_SECONDS: seconds } }) })
    expect({ status, signal }, stderr).toEqual({ status: 0, signal: null })
    expect(JSON.parse(stdout)).toMatchObject({ device: 'cpu', rejected: expect.arrayContaining([expect.objectContaining({ backend: join(folder, 'cuda13', 'libvin_cuda.so'), code })]) as object[] })
    expect(stderr.match(/VIN_CPU_FALLBACK/g)).toHaveLength(1)
  })

  test.each([[['doctor']], [['inspect', 'gpu']]])('%s stops at SIGTERM while a driver hangs', async (command) => {
    const program = spawn(process.execPath, [join(installed, 'dist/esm/cli/index.js'), ...command], { env: environment({ cuda: pipe() }) as NodeJS.ProcessEnv })
    const ended = new Promise((resolve) => program.once('close', resolve))
    const children = `/proc/${program.pid}/task/${program.pid}/children`
    await expect.poll(() => readFileSync(children, 'utf8').trim(), { timeout: 20_000 }).toMatch(/^\d+$/)
    const start = performance.now()
    program.kill('SIGTERM')
    expect(await ended).toBe(130)
    expect(performance.now() - start).toBeLessThan(5000)
  })

  test("that a driver is too old is remembered, as long as it is the driver's file", () => {
    const [first, second] = [libcuda({ version: 12040 }), libcuda({ version: 12040 })]
    const cuda = driverFile((file) => symlinkSync(first, file))
    const machine = { cuda, env: { XDG_CACHE_HOME: emptyFolder() } }
    const ask = (): RejectedBackend => {
      const { stdout, stderr } = spawnSync(process.execPath, ['-e', `require(${JSON.stringify(join(installed, 'dist/cjs/index.js'))}).VAE.fromConfig(${JSON.stringify(tinyVAE)}, { threads: 1 }).then(({ engine }) => console.log(JSON.stringify(engine.runtime.rejected[0])))`], { encoding: 'utf8', env: environment(machine) })
      expect(stderr).toContain('VIN_CPU_FALLBACK')
      return JSON.parse(stdout) as RejectedBackend
    }
    const kept = /^Expected a driver for CUDA 13 but found one for CUDA 12\.4; .* \(found at \S+; npx vin-native doctor tests again\)$/
    expect(ask()).toMatchObject({ code: 'driver_too_old', reason: expect.not.stringMatching(kept) as string })
    expect(ask()).toMatchObject({ code: 'driver_too_old', reason: expect.stringMatching(kept) as string })
    rmSync(cuda)
    symlinkSync(second, cuda)
    expect(ask()).toMatchObject({ code: 'driver_too_old', reason: expect.not.stringMatching(kept) as string })
  })

  test('a machine without a driver starts no process', () => {
    const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', `
import { createRequire, syncBuiltinESMExports } from 'node:module'
const children = createRequire('/')('node:child_process')
let started = 0
for (const name of ['fork', 'spawn', 'execFile']) children[name] = () => { started++; throw new Error('started') }
syncBuiltinESMExports()
const { VideoPipeline } = await import(${JSON.stringify(join(root, 'dist/esm/index.js'))})
const error = await VideoPipeline.fromPretrained('demo', { device: 'cuda' }).catch((reason) => reason)
console.log(JSON.stringify({ started, codes: error.details.rejected.map(({ code }) => code) }))`], { encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '', LD_PRELOAD: preloaded, VIN_NATIVE_BACKEND_PATH: folder } })
    expect(stderr).toBe('')
    expect(status).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ started: 0, codes: expect.arrayContaining(['driver_missing']) as string[] })
  })
})
