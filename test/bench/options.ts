// What `npm run bench -- …` was asked for; tools/bench.mjs reads the arguments and hands them on as VIN_BENCH.

export interface BenchOptions {
  /** Compare with PyTorch. */
  peer: boolean
  /** The Python that has it. */
  python: string
  /** One round of short samples: shows that everything runs and agrees, measures nothing. */
  quick: boolean
  /** How often the contenders take turns. */
  rounds: number
}

const defaults: BenchOptions = { peer: false, python: 'python3', quick: false, rounds: 5 }

export const options: BenchOptions = { ...defaults, ...(JSON.parse(process.env['VIN_BENCH'] ?? '{}') as Partial<BenchOptions>) }
