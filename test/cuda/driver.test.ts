// What the plug-in says of NVIDIA's driver: the real host code of cuda/, over a libcuda.so.1 of this test's own, as `inspect gpu` shows it. A preloaded library answers for
// the places of the machine that matter, so that every test runs on every machine.
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import type { RejectedBackend } from '../../lib/index.js'
import { root } from '../support/addon.js'
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
    if (strncmp(path, "/proc/driver/nvidia", 19) == 0 || strncmp(path, "/usr/lib/wsl", 12) == 0 || strcmp(path, "/dev/dxg") == 0) return there(path) ? 0 : (errno = ENOENT, -1);
    int (*real)(const char*, int) = (int (*)(const char*, int))dlsym(RTLD_NEXT, "access");
    return real(path, mode);
}`

const symbols = [...readFileSync(join(root, 'cuda/driver.h'), 'utf8').matchAll(/CALL\(\w+, "(\w+)"/g)].map(([, name]) => name!)

/** NVIDIA's libcuda, as far as these tests get: cuInit gives `init`, the driver is for CUDA `version`. */
function libcuda({ init = 0, version = 13000, without = '' }: { init?: number; version?: number; without?: string }): string {
  const own: Record<string, string> = {
    cuInit: `int cuInit(unsigned flags) { return ${init}; }`,
    cuDriverGetVersion: `int cuDriverGetVersion(int* version) { return *version = ${version}, 0; }`,
    cuDeviceGetCount: 'int cuDeviceGetCount(int* count) { return *count = 0, 0; }'
  }
  const file = join(emptyFolder(), 'libcuda.so.1')
  writeFileSync(file, library(symbols.filter((name) => name !== without).map((name) => own[name] ?? `int ${name}(void) { return 999; }`).join('\n')))
  return file
}

describe.runIf(canRun)('a plug-in of CUDA 13', () => {
  let folder = '', preloaded = ''
  beforeAll(() => {
    const build = emptyFolder()
    writeFileSync(join(build, 'images.cpp'), '#include "images.h"\nnamespace vin { namespace cuda { const KernelImage kernel_images[] = {{nullptr, nullptr}}; } }\n')
    const sources = ['backend.cpp', 'driver.cpp', 'launch.cpp'].map((name) => join(root, 'cuda', name))
    const { status, stderr } = spawnSync(cxx!, ['-shared', '-fPIC', '-std=c++17', '-O0', '-fvisibility=hidden', '-DVIN_TOOLKIT_VERSION="13.5"', '-I', join(root, 'cuda'), ...sources, join(build, 'images.cpp'), '-o', join(build, 'plugin.so'), '-ldl', '-lpthread'], { encoding: 'utf8' })
    if (status !== 0) throw new Error(stderr)
    folder = pluginFolder({ cuda13: readFileSync(join(build, 'plugin.so')) })
    preloaded = join(build, 'shim.so')
    writeFileSync(preloaded, library(shim))
  }, 120_000)

  interface Machine {
    cuda?: string
    wsl?: string
    /** Of the places that matter, those that are there. */
    there?: string[]
    env?: Record<string, string>
  }
  function refusal({ cuda, wsl, there = [], env = {} }: Machine): RejectedBackend {
    const stubs = { ...(cuda === undefined ? {} : { STUB_CUDA: cuda }), ...(wsl === undefined ? {} : { STUB_WSL: wsl }), STUB_THERE: `:${there.join(':')}:` }
    const { CUDA_VISIBLE_DEVICES: _, ...inherited } = process.env
    const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'dist/esm/cli/index.js'), 'inspect', 'gpu', '--json'], {
      encoding: 'utf8',
      env: { ...inherited, NODE_OPTIONS: '', XDG_CACHE_HOME: emptyFolder(), LD_PRELOAD: preloaded, VIN_NATIVE_BACKEND_PATH: folder, ...stubs, ...env }
    })
    expect(stderr).toBe('')
    expect(status).toBe(0)
    const { backends } = JSON.parse(stdout) as { backends: RejectedBackend[] }
    return backends.find(({ backend }) => backend.startsWith(folder))!
  }

  const noFile = '/usr/lib/wsl/lib/libcuda.so.1'
  test.each<[string, string, RegExp, () => Machine]>([
    ['no driver', 'driver_missing', /^Expected NVIDIA's driver but libcuda\.so\.1 was not found; install the driver, or use device 'cpu'$/, () => ({})],
    ['a driver that is damaged', 'driver_missing', /^Expected to load NVIDIA's driver but .*: (file too short|invalid ELF header); install the driver again$/, () => ({ cuda: join(root, 'package.json') })],
    ['a driver for CUDA 12', 'driver_too_old', /^Expected a driver for CUDA 13 but found one for CUDA 12\.4; update it to 580 or later$/, () => ({ cuda: libcuda({ version: 12040 }) })],
    ['a driver without a function', 'driver_too_old', /^Expected cuDeviceGetUuid_v2 in libcuda\.so\.1 but this driver is too old; update it to 580 or later$/, () => ({ cuda: libcuda({ without: 'cuDeviceGetUuid_v2' }) })],
    ['a container that was given no GPU', 'no_access', /^Expected libcuda\.so\.1, since the machine has NVIDIA's driver, but it is not here; start the container with --gpus all/, () => ({ there: ['/proc/driver/nvidia/version'] })],
    ['a container with the driver and without its devices', 'no_access', /^Expected a GPU but NVIDIA's driver does not start here \(cuInit gave 100\); give the container its devices \(--gpus all\)/, () => ({ cuda: libcuda({ init: 100 }), there: ['/proc/driver/nvidia/version'] })],
    ['a driver without a GPU', 'no_device', /^Expected a GPU but NVIDIA's driver finds none; use device 'cpu'$/, () => ({ cuda: libcuda({ init: 100 }) })],
    ['a driver that shows no device', 'no_device', /^Expected one of the 0 CUDA devices, which count from 0, but received 0$/, () => ({ cuda: libcuda({}) })],
    ['GPUs that a variable hides', 'no_device', /^Expected a GPU but CUDA_VISIBLE_DEVICES=-1 shows none; unset it$/, () => ({ cuda: libcuda({ init: 100 }), there: ['/proc/driver/nvidia/version'], env: { CUDA_VISIBLE_DEVICES: '-1' } })],
    ['a driver that was updated under its kernel module', 'no_access', /^Expected one version of NVIDIA's driver but its library and its kernel module differ; restart the machine/, () => ({ cuda: libcuda({ init: 803 }), there: ['/proc/driver/nvidia/version'] })],
    ['WSL without a driver in Windows', 'wsl_driver', /^Expected \/usr\/lib\/wsl\/lib\/libcuda\.so\.1, which Windows lends, but it is not there; install NVIDIA's driver in Windows \(none in this Linux\)/, () => ({ there: ['/dev/dxg', '/usr/lib/wsl'] })],
    ['WSL with a driver that does not load', 'wsl_driver', /^Expected to load the driver that Windows lends but .*; add \/usr\/lib\/wsl\/lib to LD_LIBRARY_PATH, or run `wsl --update` in Windows$/, () => ({ wsl: join(root, 'package.json'), there: ['/dev/dxg', '/usr/lib/wsl', noFile] })],
    ["the driver that Windows lends, outside of the loader's path", 'driver_too_old', /^Expected a driver for CUDA 13 but found one for CUDA 12\.2;/, () => ({ wsl: libcuda({ version: 12020 }), there: ['/dev/dxg', '/usr/lib/wsl', noFile] })],
    ['a driver that crashes', 'selftest_crashed', /^Expected the self-test of cuda:0 to end but its process ended with SIGSEGV; update the driver/, () => ({ cuda: libcuda({ init: '*(volatile int*)0' as never }) })]
  ])('over %s: %s', (_, code, reason, machine) => {
    expect(refusal(machine())).toMatchObject({ device: 'cuda', usable: false, code, reason: expect.stringMatching(reason) as string })
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
