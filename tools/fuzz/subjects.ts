/**
 * Every subject: claims of every kind about the states of every published log.
 */
import { Blob, Bytes } from "@coppice/codec"
import { currentFormat, immutableFormat, keyedFormat, keylessFormat, type OperationFormat } from "@coppice/verify"
import { compactSubjects } from "./compact-subjects.ts"
import { currentSubjects } from "./current-subjects.ts"
import { logSubjects } from "./log-subjects.ts"
import { type Case, encodingOf, published, statesOf, unhex } from "./published.ts"
import type { Subject } from "./subject.ts"

/** Every subject: states of every published log, and of every `current` database. */
export const subjects = (): ReadonlyArray<Subject> => {
  const value = ({ encoding }: Case) => (encoding.includes("length-prefixed value") ? Blob(64) : Bytes(32))
  const all: Array<Subject> = []
  const addLogs = <O extends { readonly tag: string }>(
    name: string,
    cases: ReadonlyArray<Case>,
    formatOf: (log: Case) => OperationFormat<Uint8Array, O>,
  ): void => {
    for (const log of cases) {
      const format = formatOf(log)
      for (const { state, tree } of statesOf(log, format)) {
        all.push(...logSubjects(`${name}/${log.family}`, format, tree, unhex(state.ops_root)))
      }
    }
  }
  for (const ordered of [false, true]) {
    const order = ordered ? "ordered" : "unordered"
    addLogs(`any/${order}`, published(`any-${order}.json`)["cases"]!, (log) =>
      keyedFormat({ key: Bytes(32), value: value(log), ordered, ...encodingOf(log) }),
    )
    for (const given of published(`current-${order}.json`)["cases"]!) {
      const format = currentFormat({
        key: Bytes(32),
        value: Bytes(32),
        ordered,
        chunkBytes: given.chunk_bytes,
        ...encodingOf(given),
      })
      for (const { state, tree, proofs } of statesOf(given, format)) {
        all.push(...currentSubjects(format, state, tree, proofs?.ops_root_witness))
      }
    }
  }
  const others = published("immutable-keyless.json")
  addLogs("immutable", others["immutable"]!, (log) =>
    immutableFormat({ key: Bytes(32), value: Bytes(32), ...encodingOf(log) }),
  )
  const keyless = (log: Case) =>
    keylessFormat({ value: log.encoding.startsWith("fixed") ? Bytes(8) : Blob(64), ...encodingOf(log) })
  addLogs("keyless", others["keyless"]!, keyless)
  for (const log of others["keyless"]!) {
    if (!log.encoding.startsWith("fixed")) continue
    const format = keyless(log)
    for (const { state, tree } of statesOf(log, format)) all.push(...compactSubjects(format, state, tree))
  }
  return all
}
