/**
 * Claims about a log: operations with and without pins, answers to sync requests, multi-proofs, single operations.
 */
import { Blob, bytesEqual, type Codec, encode, List, Struct } from "@coppice/codec"
import { opensslHasher as hasher } from "@coppice/crypto/node"
import { checkMultiProof, Location, multiProof, rangeProofCodec, safeIntegers } from "@coppice/merkle"
import {
  checkOperations,
  checkOperationsWithPins,
  checkSyncResponse,
  decodeOperation,
  type OperationFormat,
  type SyncRequest,
  type SyncResponse,
  syncRequestCodec,
  syncResponseCodec,
} from "@coppice/verify"
import type { Tree } from "./prover.ts"
import { CLAIMED_MAX, digests, made, type Subject, same } from "./subject.ts"

const RANGE_MAX = 4
const MULTI_DIGESTS_MAX = 400
const ELEMENT_BYTES_MAX = 256

/** A log, and the range of it that claims are about. */
class Ground<O extends { readonly tag: string }> {
  readonly name: string
  readonly format: OperationFormat<Uint8Array, O>
  readonly tree: Tree
  readonly root: Uint8Array
  readonly typed: ReadonlyArray<O>
  readonly start: Location
  readonly operations: ReadonlyArray<O>
  readonly pins: ReadonlyArray<Uint8Array>

  constructor(name: string, format: OperationFormat<Uint8Array, O>, tree: Tree, root: Uint8Array) {
    this.name = name
    this.format = format
    this.tree = tree
    this.root = root
    this.typed = tree.log.operations.map((operation) => decodeOperation(format, operation))
    this.start = Location(Math.floor(tree.leaves / 3))
    this.operations = this.typed.slice(this.start, this.start + RANGE_MAX)
    this.pins = tree.pins(this.start)
  }

  get proof() {
    return this.tree.prove(this.start, Location(this.start + this.operations.length))
  }
}

const ranges = <O extends { readonly tag: string }>(ground: Ground<O>): ReadonlyArray<Subject> => {
  const { name, format, root, start, operations, proof, pins } = ground
  const { location } = safeIntegers(format.family)
  const codec = Struct({
    start: location,
    operations: List(format.operation, CLAIMED_MAX),
    proof: rangeProofCodec(format.family),
  })
  const range = { start, operations, proof }
  return [
    made({
      kind: `${name}/operations`,
      claim: range,
      codec,
      check: (claim) => checkOperations(hasher, format, claim, root),
    }),
    made({
      kind: `${name}/operations-with-pins`,
      claim: { range, pins },
      codec: Struct({ range: codec, pins: digests }),
      check: (claim) => checkOperationsWithPins(hasher, format, claim.range, claim.pins, root),
    }),
  ]
}

interface Answer<O> {
  readonly request: SyncRequest
  readonly response: SyncResponse<O>
}

const answers = <O extends { readonly tag: string }>(ground: Ground<O>): ReadonlyArray<Subject> => {
  const { name, format, tree, root, start, operations, proof, pins, typed } = ground
  const { leaves } = tree
  const request = { tag: "operations", size: leaves, start, max: RANGE_MAX } as const
  const asked: Answer<O> = { request, response: { tag: "operations", operations, proof } }
  const single = tree.prove(start, Location(start + 1))
  const boundary: Answer<O> = {
    request: { tag: "boundary", size: leaves, start },
    response: { tag: "boundary", operation: typed[start]!, proof: single, pins },
  }
  const codec = Struct({ request: syncRequestCodec(format), response: syncResponseCodec(format) })
  const subject = (claim: Answer<O>, nearMiss?: string): Subject =>
    made({
      kind: `${name}/sync-${claim.response.tag}`,
      claim,
      codec,
      check: (changed) => checkSyncResponse(hasher, format, changed.request, changed.response, root),
      // A source may answer with less than was asked for.
      alsoTrue: (changed) =>
        changed.request.tag === "operations" &&
        changed.request.max >= operations.length &&
        same(codec, { ...changed, request: { ...changed.request, max: RANGE_MAX } }, asked),
      ...(nearMiss === undefined ? {} : { nearMiss }),
    })
  const few = { ...request, max: operations.length - 1 }
  return [
    subject(asked),
    subject(boundary),
    subject({ request: boundary.request, response: asked.response }, "KindMismatch"),
    ...(few.max > 0 ? [subject({ request: few, response: asked.response }, "OperationCount")] : []),
  ]
}

const multiProofs = <O extends { readonly tag: string }>(ground: Ground<O>): Subject => {
  const { name, format, tree, root, start, proof: range } = ground
  const { family } = format
  const { leaves, log } = tree
  const { location } = safeIntegers(family)
  const shape = { leaves, inactivePeaks: range.inactivePeaks, bagging: "backward" } as const
  const places = [...new Set([0, start, leaves - 1])].map(Location)
  const proofCodec = rangeProofCodec(family, MULTI_DIGESTS_MAX)
  const element = Struct({ location, element: Blob(ELEMENT_BYTES_MAX) })
  const proven = (of: ReadonlyArray<Location>) => multiProof(family, shape, of, ({ position }) => tree.at(position))
  const proof = proven(places)
  return made({
    kind: `${name}/multi-proof`,
    claim: { proof, elements: places.map((place) => ({ location: place, element: log.operations[place]! })) },
    codec: Struct({ proof: proofCodec, elements: List(element, CLAIMED_MAX) }),
    check: (claim) => checkMultiProof(hasher, { family, bagging: "backward", ...claim }, root),
    // The order of elements says nothing, nor does one that is said twice; fewer have another proof.
    alsoTrue: (claim) =>
      same(proofCodec, claim.proof, proven(claim.elements.map((said) => said.location))) &&
      claim.elements.every((said) => {
        const own = log.operations[said.location]
        return own !== undefined && bytesEqual(own, said.element)
      }),
  })
}

const single = <O extends { readonly tag: string }>({
  name,
  format,
  typed,
  start,
}: Ground<O>): ReadonlyArray<Subject> =>
  [typed[0]!, typed[start]!, typed.at(-1)!].map((operation) =>
    made({
      kind: `${name}/operation`,
      claim: operation,
      codec: format.operation as Codec<O>,
      // An operation says nothing by itself: it is what its bytes are, or has none.
      check: (claim) => void encode(format.operation, claim),
      alsoTrue: () => true,
    }),
  )

/** Claims about one log. */
export const logSubjects = <O extends { readonly tag: string }>(
  name: string,
  format: OperationFormat<Uint8Array, O>,
  tree: Tree,
  root: Uint8Array,
): ReadonlyArray<Subject> => {
  const ground = new Ground(name, format, tree, root)
  return [...ranges(ground), ...answers(ground), multiProofs(ground), ...single(ground)]
}
