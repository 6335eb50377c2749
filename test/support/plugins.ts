// CUDA plug-ins that tests make: a folder with a manifest as VIN_NATIVE_BACKEND_PATH names it, with the emulated plug-in in it, or with small ones in C.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { packageVersion } from '../../lib/native/package-root.js'
import { pluginAbi } from '../../lib/native/plugins.js'
import { emulatedBackend, root } from './addon.js'

export const compiler: string | undefined = ['cc', 'gcc', 'clang'].find((name) => spawnSync(name, ['--version']).status === 0)

const scratch = mkdtempSync(join(tmpdir(), 'vin-plugins-'))
process.once('exit', () => rmSync(scratch, { recursive: true, force: true }))
let count = 0

export function emptyFolder(): string {
  const folder = join(scratch, String(count++))
  mkdirSync(folder)
  return folder
}

export interface Manifest {
  version: string
  abi: number
  backends: Record<string, unknown>[]
}

/** A folder of plug-ins, by id: cuda13 is of toolkit 13.5, cuda12 of 12.9. */
export function pluginFolder(files: Record<string, Buffer>, change: (manifest: Manifest) => unknown = () => {}): string {
  const folder = emptyFolder()
  const backends = Object.entries(files).map(([id, bytes]) => {
    const file = `${id}/libvin_cuda.so`
    mkdirSync(dirname(join(folder, file)))
    writeFileSync(join(folder, file), bytes)
    return { id, file, sha256: createHash('sha256').update(bytes).digest('hex'), bytes: bytes.length, libc: 'glibc', toolkit: id === 'cuda12' ? '12.9' : '13.5' }
  })
  const manifest = { version: packageVersion(), abi: pluginAbi, backends }
  change(manifest)
  writeFileSync(join(folder, 'manifest.json'), JSON.stringify(manifest))
  return folder
}

/** A library as a file that no other test has had, since verdicts go by content: what is behind an ELF file's end is nobody's. */
const unique = (bytes: Buffer): Buffer => Buffer.concat([bytes, Buffer.from(`${process.pid} ${count++} ${Date.now()}`)])

export const emulated = (): Buffer => unique(readFileSync(emulatedBackend!))

/** A shared library of C. */
export function library(source: string, ...options: string[]): Buffer {
  const folder = emptyFolder()
  const [file, output] = [join(folder, 'source.c'), join(folder, 'library.so')]
  writeFileSync(file, source)
  const { status, stderr } = spawnSync(compiler!, ['-shared', '-fPIC', '-O1', '-I', join(root, 'csrc'), file, '-o', output, '-ldl', ...options], { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
  return unique(readFileSync(output))
}

/** A plug-in that does nothing but refuse. */
export const refusing = (status: number, sentence: string): Buffer =>
  library(`
#include <string.h>
#include "backend.h"
static const char* last_error(void) { return ${JSON.stringify(sentence)}; }
vin_status vin_backend_entry(uint32_t host_abi, const vin_host* host, vin_backend* backend) {
    memset(backend, 0, sizeof *backend);
    backend->abi = VIN_ABI;
    backend->size = sizeof *backend;
    backend->last_error = last_error;
    return ${status};
}`)

/** The emulated plug-in with something else in place of one of its functions. `body` is what that does first; `replaced` is the real one. */
export const spoiled = (slot: string, parameters: string, body: string): Buffer =>
  library(`
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "backend.h"
static vin_backend real;
#define replaced real.${slot}
static vin_status spoiled(${parameters}) { ${body} }
vin_status vin_backend_entry(uint32_t host_abi, const vin_host* host, vin_backend* backend) {
    void* library = dlopen(${JSON.stringify(emulatedBackend)}, RTLD_NOW | RTLD_LOCAL);
    vin_status (*entry)(uint32_t, const vin_host*, vin_backend*) = (vin_status (*)(uint32_t, const vin_host*, vin_backend*))dlsym(library, "vin_backend_entry");
    const vin_status status = entry(host_abi, host, &real);
    *backend = real;
    backend->${slot} = spoiled;
    return status;
}`)
