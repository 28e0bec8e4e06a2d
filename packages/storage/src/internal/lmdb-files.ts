/**
 * The files of an LMDB environment, looked at before lmdb-js opens them.
 *
 *   page 0:  ... magic @24, version @28 ... page size @48        page 1: the same again
 *
 * LMDB refuses a file that is not its own, and lmdb-js 3.5.6 then dies of a segmentation fault instead of throwing. The
 * same goes for a lock file that cannot be opened.
 *
 * Invariant: when this returns, both files are absent, or can be opened for writing, and the data file is empty or
 * begins with two meta pages of the format that lmdb-js reads. It writes nothing.
 */
import { closeSync, openSync, readSync, statSync } from "node:fs"
import { join } from "node:path"

const MAGIC = 0xbeef_c0de
const VERSION = 2
const META_BYTES = 52
const [MAGIC_AT, VERSION_AT, PAGE_BYTES_AT] = [24 / 4, 28 / 4, 48 / 4] as const

/** The file that holds the maps. */
export const DATA_FILE = "data.mdb"
const LOCK_FILE = "lock.mdb"

const refuse = (path: string, what: string): never => {
  throw new Error(`${path} ${what}; restore it from a backup, or name another directory`)
}

/** The beginning of a meta page, in the byte order of this machine as LMDB has it. */
const metaAt = (file: number, path: string, position: number): Uint32Array => {
  const meta = new Uint32Array(META_BYTES / 4)
  const read = readSync(file, meta, 0, META_BYTES, position)
  if (read < META_BYTES) refuse(path, "is too short for an LMDB environment")
  if (meta[MAGIC_AT] !== MAGIC) refuse(path, "is not an LMDB environment")
  const version = meta[VERSION_AT]
  if (version !== VERSION) refuse(path, `is an LMDB environment of format ${version}, not ${VERSION}`)
  return meta
}

const within = (path: string, look: (file: number) => void): void => {
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return
  const file = openSync(path, "r+")
  try {
    look(file)
  } finally {
    closeSync(file)
  }
}

/** Throws unless the files in a directory are absent or such as LMDB can open. */
export const requireLmdbFiles = (directory: string): void => {
  const path = join(directory, DATA_FILE)
  within(path, (file) => {
    if (statSync(path).size === 0) return
    const pageBytes = metaAt(file, path, 0)[PAGE_BYTES_AT]!
    metaAt(file, path, pageBytes)
  })
  within(join(directory, LOCK_FILE), () => undefined)
}
