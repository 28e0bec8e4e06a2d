/**
 * The published states that claims are about, each with its whole log.
 */
import { readFileSync } from "node:fs"
import { type FamilyName, Location } from "@coppice/merkle"
import { Tree } from "./prover.ts"

/** Bytes as the published files write them. */
export const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")
/** Bytes that the published files write so. */
export const unhex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"))

/** A published state. */
export interface State {
  readonly size: number
  readonly floor: number
  readonly ops_root: string
  readonly root?: string
  readonly bitmap?: string
  readonly active?: Readonly<Record<string, number>>
  readonly new_operations: ReadonlyArray<{ readonly encoded: string }>
}
/** A published database, state after state. */
export interface Case {
  readonly family: FamilyName
  readonly encoding: string
  readonly chunk_bytes?: number
  readonly steps: ReadonlyArray<{
    readonly genesis?: State
    readonly after?: State
    readonly proofs?: { readonly ops_root_witness: string }
  }>
}

/** A published file. */
export const published = (file: string): Readonly<Record<string, ReadonlyArray<Case>>> =>
  JSON.parse(readFileSync(new URL(`../../conformance/vectors/${file}`, import.meta.url), "utf8"))

/** The states of a case, each with its whole log. */
export const statesOf = ({ steps }: Case, format: { readonly family: Tree["log"]["family"] }) => {
  const operations: Array<Uint8Array> = []
  return steps.map(({ genesis, after, proofs }) => {
    const state = (after ?? genesis)!
    operations.push(...state.new_operations.map(({ encoded }) => unhex(encoded)))
    const tree = new Tree({ family: format.family, operations: [...operations], floor: Location(state.floor) })
    return { state, tree, proofs }
  })
}

/** Family and encoding of a case. */
export const encodingOf = ({ encoding, family }: Case) => ({
  family,
  encoding: encoding.startsWith("fixed") ? ("fixed" as const) : ("variable" as const),
})
