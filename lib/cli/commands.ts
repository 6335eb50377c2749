// The commands, each loaded only when it runs.

export const commands = {
  generate: { description: 'make a video from a prompt', load: async () => (await import('./generate.js')).generateCommand },
  plan: { description: 'show chunks, cost and memory of a run, without running it', load: async () => (await import('./plan.js')).planCommand },
  resume: { description: 'go on with an interrupted run', load: async () => (await import('./resume.js')).resumeCommand },
  decode: { description: 'turn saved latents into a video', load: async () => (await import('./decode.js')).decodeCommand },
  evaluate: { description: 'measure videos, whoever made them', load: async () => (await import('./evaluate.js')).evaluateCommand },
  compare: { description: 'compare methods: a report with tables, curves and videos side by side', load: async () => (await import('./compare.js')).compareCommand },
  study: { description: 'a page on which people vote blindly between videos of a comparison, and the count of their votes', load: async () => (await import('./study.js')).studyCommand },
  'fit-step-cache': { description: "fit a model's own polynomial for --step-cache, and write it into its config", load: async () => (await import('./fit-step-cache.js')).fitStepCacheCommand },
  train: { description: 'train a model folder', load: async () => (await import('./train.js')).trainCommand },
  inspect: { description: 'show a model folder, GPU backends, prebuilt addons, or attention of the VIN', load: async () => (await import('./inspect.js')).inspectCommand },
  bench: { description: 'measure this machine (in a checkout of the repository)', load: async () => (await import('./bench.js')).benchCommand },
  build: { description: 'compile the addon, where no prebuilt one fits this machine', load: async () => (await import('./build.js')).buildCommand },
  doctor: { description: 'check this machine and installation', load: async () => (await import('./doctor.js')).doctorCommand }
} as const

export const commandNames = Object.keys(commands) as (keyof typeof commands)[]

/** Commands of the interface that this version does not have. */
export const laterCommands = ['serve', 'work'] as const
