// The compilers of CUDA, from PyPI's wheels: no driver, no root, no GPU. They are fetched into build-backends/toolchain when a build asks for them, and kept.
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { run } from './run.mjs'
import { root, say } from './stamp.mjs'

/** Folder of the wheels, what is fetched, and how many MB. */
const wheels = {
  nvcc: {
    megabytes: 130,
    packages: ['nvidia-cuda-nvcc==13.5.37', 'nvidia-cuda-crt==13.5.37', 'nvidia-nvvm==13.5.37', 'nvidia-cuda-runtime==13.5.37', 'nvidia-cuda-cccl==13.3.5.0.6']
  },
  // PTX that every driver of CUDA 13 reads is what nvcc 13.0 writes.
  'nvcc-13.0': {
    megabytes: 102,
    packages: ['nvidia-cuda-nvcc==13.0.88', 'nvidia-cuda-crt==13.0.88', 'nvidia-nvvm==13.0.88', 'nvidia-cuda-runtime==13.0.96', 'nvidia-cuda-cccl==13.0.85']
  },
  // There is no wheel with an nvcc of CUDA 12.
  nvrtc: { megabytes: 90, packages: ['nvidia-cuda-nvrtc-cu12==12.9.86'] }
}

/** The folder that a compiler was fetched into. */
async function fetched(name) {
  const { megabytes, packages } = wheels[name]
  const folder = join(root, 'build-backends', 'toolchain', name)
  if (existsSync(folder)) return folder
  const partial = `${folder}.partial`
  rmSync(partial, { recursive: true, force: true })
  mkdirSync(partial, { recursive: true })
  say(`fetching ${packages.join(', ')}: ${megabytes} MB, once …`)
  const code = await run('python3', ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--root-user-action', 'ignore', '--no-deps', '--target', partial, ...packages], { cwd: root, env: process.env })
  if (code !== 0) throw new Error(`Expected pip to fetch ${packages.join(' ')} but it ended with ${code}; it needs python3 with pip and a package registry`)
  renameSync(partial, folder)
  return folder
}

const bin = async (name, program) => join(await fetched(name), 'nvidia', 'cu13', 'bin', program)

/** CUDACXX names another one, of CUDA 13 too. */
export const nvcc = async () => process.env.CUDACXX || bin('nvcc', 'nvcc')
/** Puts images for several architectures into one file. */
export const fatbinary = async () => (process.env.CUDACXX ? join(dirname(process.env.CUDACXX), 'fatbinary') : bin('nvcc', 'fatbinary'))
export const nvccOfPtx = () => bin('nvcc-13.0', 'nvcc')
export const nvrtc = async () => join(await fetched('nvrtc'), 'nvidia', 'cuda_nvrtc', 'lib', 'libnvrtc.so.12')
