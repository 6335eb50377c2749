// One build at a time per repository: a file that holds the owner's process id. The file of a process that has ended is taken over.
import { linkSync, readFileSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

const isAlive = (id) => {
  try {
    process.kill(id, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

const owner = (path) => {
  try {
    return Number(readFileSync(path, 'utf8'))
  } catch {
    return undefined
  }
}

/** Linking a finished file, and not creating an empty one, makes the id readable from the first moment. */
function acquire(path) {
  const own = `${path}.${process.pid}`
  writeFileSync(own, String(process.pid))
  try {
    linkSync(own, path)
    return true
  } catch (error) {
    if (error.code !== 'EEXIST') throw error
    return false
  } finally {
    unlinkSync(own)
  }
}

/** Moves a dead owner's file away; if another process was quicker and the file is its new one, it is put back. */
function breakStale(path, dead) {
  const moved = `${path}.${process.pid}.stale`
  try {
    renameSync(path, moved)
    if (owner(moved) !== dead) linkSync(moved, path)
  } catch (error) {
    if (error.code !== 'ENOENT' && error.code !== 'EEXIST') throw error
  }
  rmSync(moved, { force: true })
}

/** Runs `body` while no other process holds `path`; `onWait(id)` is called once if there is something to wait for. */
export async function withLock(path, body, onWait = () => {}) {
  for (let waited = false; !acquire(path); ) {
    const id = owner(path)
    if (id !== undefined && !isAlive(id)) breakStale(path, id)
    else {
      if (!waited && id !== undefined) onWait(id)
      waited = true
      await sleep(100)
    }
  }
  const release = () => rmSync(path, { force: true })
  process.once('exit', release)
  try {
    return await body()
  } finally {
    process.removeListener('exit', release)
    release()
  }
}
