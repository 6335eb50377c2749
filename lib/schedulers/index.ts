// The schedulers by class name, as scheduler_config.json names them.

import { existsSync } from 'node:fs'
import { expected, notSupported } from '../errors.js'
import { DDIMScheduler } from './ddim.js'
import { DPMSolverMultistepScheduler } from './dpm-solver-multistep.js'
import { FlowMatchEulerDiscreteScheduler } from './flow-match-euler-discrete.js'
import { RFlowScheduler } from './rflow.js'
import { Scheduler, readSchedulerConfig } from './scheduler.js'
import type { SchedulerConfig } from './scheduler.js'

export { DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, RFlowScheduler, Scheduler }
export type { NoiseTerms, SchedulerConfig, StepOptions, TimestepSize } from './scheduler.js'

const classes = { DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler, RFlowScheduler }

export type SchedulerName = keyof typeof classes

/** A class name, a config (object or path) or an instance. */
export type SchedulerOption = SchedulerName | SchedulerConfig | Scheduler

const schedulerNames = Object.keys(classes) as SchedulerName[]

function isName(name: string): name is SchedulerName {
  return Object.hasOwn(classes, name)
}

/**
The scheduler that a class name, a config or an instance means: an instance of its own, with no state of another run.

@example
const scheduler = createScheduler({ ...pipeline.scheduler.config, shift: 5 })
*/
export function createScheduler(option: SchedulerOption | string = 'DDIMScheduler'): Scheduler {
  if (option instanceof Scheduler) return createScheduler({ ...option.config })
  if (typeof option === 'string' && isName(option)) return classes[option].fromConfig()
  if (typeof option === 'string' && !/[./\\]/.test(option) && !existsSync(option)) throw expected(`one of ${schedulerNames.join(', ')}`, 'scheduler', option, 'range')
  if (typeof option !== 'string' && (typeof option !== 'object' || option === null)) throw expected('a class name, a config or an instance', 'scheduler', option, 'type')
  const name = readSchedulerConfig(option)['_class_name'] ?? 'DDIMScheduler'
  if (typeof name !== 'string' || !isName(name)) {
    throw notSupported('_class_name', `Expected one of ${schedulerNames.join(', ')} for _class_name of the scheduler config but received ${String(name)}`)
  }
  // Not what was read: what a file does not say means something else than what an object does not say.
  return classes[name].fromConfig(option)
}
