// Fuzzes the native readers under AddressSanitizer and UBSan: node tools/fuzz.mjs [--seconds 60] [--seed 1] [target …]
// With clang++ the targets are libFuzzer programs; with g++ alone test/native/fuzz_main.cpp drives them, guided by the same kind of coverage.
// The committed corpus is copied first and never written to. A crash leaves its input in build/fuzz-crashes/ and exit code 1.
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const core = name => join(root, 'csrc/core', name)
const sources = ['json.cpp', 'files.cpp', 'safetensors.cpp'].map(core)

let seconds = 60
let seed = 1
const targets = []
const words = process.argv.slice(2)
while (words.length > 0) {
  const word = words.shift()
  if (word === '--seconds') seconds = Number(words.shift())
  else if (word === '--seed') seed = Number(words.shift())
  else targets.push(word)
}
if (!(seconds > 0) || !Number.isSafeInteger(seed)) {
  console.error('usage: node tools/fuzz.mjs [--seconds N] [--seed N] [safetensors] [json]')
  process.exit(2)
}
if (targets.length === 0) targets.push('safetensors', 'json')

const works = (compiler, flags) =>
  spawnSync(compiler, [...flags, '-x', 'c++', '-std=c++17', '-o', '/dev/null', '-'], {
    input: '#include <cstdint>\n#include <cstddef>\nextern "C" int LLVMFuzzerTestOneInput(const uint8_t*, size_t) { return 0; }\n' +
      (flags.some(flag => flag.includes('fuzzer')) ? '' : 'int main() { return 0; }\n'),
  }).status === 0

const warnings = ['-std=c++17', '-O1', '-g', '-Wall', '-Wextra', '-fno-omit-frame-pointer', '-fno-sanitize-recover=all']
const clang = ['clang++', 'clang++-19', 'clang++-18', 'clang++-17', 'clang++-16', 'clang++-15', 'clang++-14']
  .find(name => works(name, ['-fsanitize=fuzzer,address,undefined']))
const gcc = clang ? undefined : [process.env.CXX, 'g++', 'c++'].find(name => name && works(name, ['-fsanitize=address,undefined']))
if (!clang && !gcc) {
  console.error('Fuzzing needs clang++ with libFuzzer or g++ with AddressSanitizer, and neither was found on PATH')
  process.exit(1)
}

const run = (command, args, options = {}) => {
  const { status, signal, error } = spawnSync(command, args, { stdio: 'inherit', ...options })
  if (error) console.error(error.message)
  return status ?? (signal ? `signal ${signal}` : 'not started')
}

const build = (target, folder) => {
  const program = join(folder, target)
  const harness = join(root, 'test/native', `fuzz_${target}.cpp`)
  if (clang) return run(clang, [...warnings, '-fsanitize=fuzzer,address,undefined', harness, ...sources, '-o', program]) === 0 && program
  const sanitize = ['-fsanitize=address,undefined']
  const objects = []
  for (const source of [harness, ...sources]) {
    objects.push(join(folder, `${target}-${objects.length}.o`))
    if (run(gcc, [...warnings, ...sanitize, '-fsanitize-coverage=trace-pc', '-c', source, '-o', objects.at(-1)]) !== 0) return false
  }
  return run(gcc, [...warnings, ...sanitize, join(root, 'test/native/fuzz_main.cpp'), ...objects, '-o', program]) === 0 && program
}

let failed = false
const folder = mkdtempSync(join(tmpdir(), 'vin-fuzz-'))
const crashes = join(root, 'build/fuzz-crashes')
try {
  for (const target of targets) {
    const committed = join(root, 'test/native/corpus', target)
    if (!existsSync(committed)) {
      console.error(`Expected a target with a corpus in test/native/corpus but received ${target}`)
      process.exitCode = 2
      break
    }
    const corpus = join(folder, `${target}-corpus`)
    cpSync(committed, corpus, { recursive: true })
    console.log(`${target}: ${clang ?? gcc}, ${seconds} s, seed ${seed}`)
    const program = build(target, folder)
    let status = 'not built'
    if (program && clang) {
      mkdirSync(crashes, { recursive: true })
      status = run(program, [corpus, `-max_total_time=${seconds}`, `-seed=${seed}`, '-max_len=4096', '-timeout=20', '-print_final_stats=1', '-verbosity=1',
        `-artifact_prefix=${crashes}/${target}-`])
    } else if (program) {
      mkdirSync(crashes, { recursive: true })
      status = run(program, ['--seconds', String(seconds), '--seed', String(seed), '--crash', join(crashes, `${target}-crash`),
        ...readdirSync(corpus).sort().map(name => join(corpus, name))])
    }
    if (status !== 0) {
      console.error(`${target}: failed (${status})`)
      failed = true
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
  if (existsSync(crashes) && readdirSync(crashes).length === 0) rmSync(crashes, { recursive: true })
}
if (failed) process.exitCode = 1
