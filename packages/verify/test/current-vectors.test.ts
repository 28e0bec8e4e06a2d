/**
 * Goal: every published proof of a `current` database holds against its root, and no bit of it is without meaning.
 * Method: current-unordered.json and current-ordered.json, all chunk sizes; each record decoded, encoded back and checked,
 * then with each bit flipped for the last state, and one bit a byte for the others; operations, chunks, keys and values
 * are changed apart.
 */
import { Bytes, type Codec, decode, encode } from "@coppice/codec"
import type { Digest } from "@coppice/crypto"
import { opensslHasher } from "@coppice/crypto/node"
import type { FamilyName } from "@coppice/merkle"
import { Location } from "@coppice/merkle"
import { describe, expect, it } from "vitest"
import { syncBoundary } from "../src/grafting.ts"
import {
  type CurrentFormat,
  type CurrentRejection,
  checkCurrentRange,
  checkExclusion,
  checkKeyValue,
  checkOpsRoot,
  currentFormat,
  decodeOperation,
} from "../src/index.ts"
import { type Bits, expectBitsToMatter, hex, isRefused, unhex, vectors } from "./support/vectors.ts"

interface State {
  readonly size: number
  readonly root: string
  readonly ops_root: string
  readonly ops_root_witness: string
  readonly sync_boundary: number
  readonly range_proofs: ReadonlyArray<{
    readonly start: number
    readonly operations: ReadonlyArray<string>
    readonly chunks: ReadonlyArray<string>
    readonly encoded: string
  }>
  readonly key_value_proofs: ReadonlyArray<{ readonly key: string; readonly value: string; readonly encoded: string }>
  readonly exclusion_proofs: ReadonlyArray<{ readonly key: string; readonly encoded: string }>
}

interface Case {
  readonly family: FamilyName
  readonly chunk_bytes: number
  readonly encoding: string
  readonly steps: ReadonlyArray<{
    readonly genesis?: { readonly floor: number }
    readonly after?: { readonly floor: number }
    readonly proofs?: State
  }>
}

type Format = CurrentFormat<Uint8Array, Uint8Array>
type Check = (bytes: Uint8Array) => CurrentRejection | undefined

const formatOf = ({ family, chunk_bytes, encoding }: Case, ordered: boolean): Format =>
  currentFormat({
    key: Bytes(32),
    value: Bytes(32),
    family,
    encoding: encoding.startsWith("fixed") ? "fixed" : "variable",
    chunkBytes: chunk_bytes,
    ordered,
  })

const reencoded = <T>(codec: Codec<T>, encoded: string): string => hex(encode(codec, decode(codec, unhex(encoded))))

const flipped = (bytes: Uint8Array): Uint8Array => bytes.with(bytes.length - 1, bytes.at(-1)! ^ 1)

const rangeCheck = (format: Format, published: State["range_proofs"][number], root: Digest) => {
  const operations = published.operations.map((text) => decodeOperation(format, unhex(text)))
  const chunks = published.chunks.map(unhex)
  const start = Location(published.start)
  const check =
    (claim: Partial<Parameters<typeof checkCurrentRange<Uint8Array, Uint8Array>>[2]>): Check =>
    (bytes) =>
      checkCurrentRange(
        opensslHasher,
        format,
        { start, operations, chunks, proof: decode(format.rangeProof, bytes), ...claim },
        root,
      )
  return { operations, chunks, check }
}

for (const file of ["current-unordered.json", "current-ordered.json"]) {
  const { ordered, cases } = vectors(file) as { readonly ordered: boolean; readonly cases: ReadonlyArray<Case> }

  describe.each(cases)(`${file}, $family, chunks of $chunk_bytes bytes, $encoding`, (published) => {
    const format = formatOf(published, ordered)
    const states = published.steps.flatMap(({ proofs }) => (proofs === undefined ? [] : [proofs]))

    const bitsOf = (state: State): Bits => (state === states.at(-1) ? "every bit" : "a bit a byte")

    it("has states with proofs", () => {
      expect(states.length).toBeGreaterThanOrEqual(4)
    })

    it("range proofs", () => {
      for (const state of states) {
        const root = unhex(state.root)
        for (const [i, proof] of state.range_proofs.entries()) {
          const note = `${state.size} range ${i}`
          const { check, operations, chunks } = rangeCheck(format, proof, root)
          const bytes = unhex(proof.encoded)
          expect(reencoded(format.rangeProof, proof.encoded), note).toBe(proof.encoded)
          expectBitsToMatter(check({}), bytes, bitsOf(state), note)
          const refused = (claim: Parameters<typeof check>[0], what: string): void =>
            expect(isRefused(check(claim), bytes), `${note}: ${what}`).toBe(true)
          for (const [n, chunk] of chunks.entries()) refused({ chunks: chunks.with(n, flipped(chunk)) }, "chunk")
          for (const n of operations.keys()) {
            refused({ operations: operations.with(n, { tag: "delete", key: new Uint8Array(32) }) }, "operation")
          }
          refused({ operations: [] }, "no operations")
          refused({ chunks: chunks.slice(1) }, "a chunk less")
          refused({ chunks: [...chunks, chunks[0]!] }, "a chunk more")
          refused({ start: Location(proof.start + 1) }, "start")
        }
      }
    })

    it("key-value proofs", () => {
      for (const state of states) {
        const root = unhex(state.root)
        for (const { key, value, encoded } of state.key_value_proofs) {
          const check =
            (k: Uint8Array, v: Uint8Array): Check =>
            (bytes) =>
              checkKeyValue(
                opensslHasher,
                format,
                { key: k, value: v, proof: decode(format.keyValueProof, bytes) },
                root,
              )
          const bytes = unhex(encoded)
          expect(reencoded(format.keyValueProof, encoded)).toBe(encoded)
          expectBitsToMatter(check(unhex(key), unhex(value)), bytes, bitsOf(state), `${state.size} ${key}`)
          expect(check(flipped(unhex(key)), unhex(value))(bytes)?._tag).toBe("RootMismatch")
          expect(check(unhex(key), flipped(unhex(value)))(bytes)?._tag).toBe("RootMismatch")
        }
      }
    })

    it("exclusion proofs", () => {
      const kinds = new Set<string>()
      for (const state of states) {
        const root = unhex(state.root)
        const active = new Set(state.key_value_proofs.map(({ key }) => key))
        for (const { key, encoded } of state.exclusion_proofs) {
          const check =
            (k: Uint8Array): Check =>
            (bytes) =>
              checkExclusion(opensslHasher, format, { key: k, proof: decode(format.exclusionProof, bytes) }, root)
          const bytes = unhex(encoded)
          const proof = decode(format.exclusionProof, bytes)
          kinds.add(proof.tag)
          expect(reencoded(format.exclusionProof, encoded)).toBe(encoded)
          expectBitsToMatter(check(unhex(key)), bytes, bitsOf(state), `${state.size} not ${key}`)
          for (const held of active) {
            const rejection = check(unhex(held))(bytes)
            const isOwner = proof.tag === "owner" && hex(proof.update.key) === held
            expect(rejection?._tag, held).toBe(isOwner ? "KeyActive" : "KeyOutsideSpan")
          }
        }
      }
      expect(kinds).toEqual(new Set(ordered ? ["owner", "empty"] : []))
    })

    it("ops-root witnesses and sync boundaries", () => {
      for (const { proofs: state, after, genesis } of published.steps) {
        if (state === undefined) continue
        const check =
          (opsRoot: Uint8Array): Check =>
          (bytes) =>
            checkOpsRoot(opensslHasher, format, opsRoot, decode(format.opsRootWitness, bytes), unhex(state.root))
        const bytes = unhex(state.ops_root_witness)
        expect(reencoded(format.opsRootWitness, state.ops_root_witness)).toBe(state.ops_root_witness)
        expectBitsToMatter(check(unhex(state.ops_root)), bytes, "every bit", `${state.size}`)
        expect(check(flipped(unhex(state.ops_root)))(bytes)?._tag).toBe("RootMismatch")
        const floor = Location((after ?? genesis)!.floor)
        expect(syncBoundary(format.grafting, Location(state.size), floor)).toBe(state.sync_boundary)
      }
    })
  })
}
