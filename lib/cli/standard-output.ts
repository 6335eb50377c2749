// `-o -`: the video goes to standard output as an mp4, and what a command says goes to standard error.

import { pipeline } from 'node:stream/promises'
import type { SaveOptions, Video } from '../index.js'
import { rangeError } from '../errors.js'
import { leaveStandardOutput } from './output.js'

export const standardOutput = '-'

/** Whether the video goes to standard output, which is free for it then. */
export function takesStandardOutput(output: string): boolean {
  if (output !== standardOutput) return false
  if (process.stdout.isTTY === true) throw rangeError('Expected a pipe or a file on standard output for -o - but it is a terminal; write vin-native … -o - > out.mp4')
  leaveStandardOutput()
  return true
}

/** To the file, or to standard output. */
export async function writeVideo(video: Video, output: string, options: SaveOptions): Promise<void> {
  if (output === standardOutput) await pipeline(video.toStream('mp4', options), process.stdout, { end: false })
  else await video.save(output, options)
}
