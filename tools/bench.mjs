// The arguments of `npm run bench`: its own options become VIN_BENCH for test/bench/options.ts, the others are vitest's.

export const benchHelp = `npm run bench -- [part of a file's name …] [options]

Measures this machine: every figure is a ratio taken in one run, contenders in turns (A B A B), median of the rounds with the lowest and the highest.
Prints each row when it is measured (matrix products and attention, whose rows take turns as well, when all are), at the end one table and the goals that are read off it, and writes bench.json with every round. Figures mean something on an idle machine only.

  --peer           compare with PyTorch (fp32, the same work on the same numbers, as many threads), eager and compiled: the faster one counts
  --python PATH    the Python that has PyTorch (default: python3)
  --quick          one round of short samples of one shape each, and nothing compiled by PyTorch: shows that everything runs and agrees
  --rounds N       rounds of each row (default 5)
  -t PATTERN       only benchmarks whose name matches (vitest's)

Files: peak gemm attention denoise training components start. PyTorch for the CPU, in a folder outside of the tree (1.4 GB), and a run with it:
  python3 test/bench/peer/install.py ~/torch-cpu
  npm run bench -- --peer --python ~/torch-cpu/bin/python
`

/** { help } or { settings, rest }; throws RangeError for a value that is none. */
export function readBenchArguments(args) {
  const settings = {}
  const rest = []
  const left = [...args]
  const value = (option, inline) => {
    const found = inline ?? left.shift()
    if (found === undefined || found === '') throw new RangeError(`Expected a value after ${option} but received none`)
    return found
  }
  while (left.length > 0) {
    const arg = left.shift()
    const [option, inline] = arg.startsWith('--') && arg.includes('=') ? [arg.slice(0, arg.indexOf('=')), arg.slice(arg.indexOf('=') + 1)] : [arg]
    if (option === '--help' || option === '-h') return { help: true }
    else if (option === '--peer') settings.peer = true
    else if (option === '--quick') settings.quick = true
    else if (option === '--python') settings.python = value(option, inline)
    else if (option === '--rounds') {
      const rounds = value(option, inline)
      if (!/^[1-9]\d{0,3}$/.test(rounds)) throw new RangeError(`Expected a number of rounds from 1 to 9999 for --rounds but received ${rounds}`)
      settings.rounds = Number(rounds)
    } else rest.push(arg)
  }
  if (settings.quick) settings.rounds ??= 1
  return { settings, rest }
}
