// inspect prebuilds: the prebuilt addons of the package, and which of them this machine takes.

import { listPrebuilds, type PrebuildReport } from '../../native/prebuilds.js'
import type { Inspection } from '../inspect.js'

export function inspectPrebuilds(): Inspection {
  const report = listPrebuilds()
  return { text: describePrebuilds(report), json: { ...report } }
}

export function describePrebuilds({ machine, prebuilds, chosen, used }: PrebuildReport): string {
  const { platform, arch, libc, runtime, abi } = machine
  const lines = prebuilds.map(({ file, bytes, refused }) => {
    const verdict = refused.length > 0 ? refused.join('; ') : file === chosen ? 'fits this machine' : 'fits this machine, but another one fits better'
    return `  ${file} (${(bytes / 2 ** 20).toFixed(1)} MiB): ${verdict}`
  })
  return [
    `this machine: ${platform} ${arch}, ${libc}, ${runtime} with ABI ${abi}`,
    ...(lines.length === 0 ? ['  no prebuilt addon in the package: it is compiled at install, or by npm run make:prebuilds in a checkout'] : lines),
    used === undefined ? 'no addon is found: npx vin-native doctor says more' : `in use: ${used}`
  ].join('\n')
}
