/**
 * Claims about what is current in a state: ranges with their activity, values of keys, keys without one, the ops root.
 */
import { Bytes, decode, List, Struct } from "@coppice/codec"
import { opensslHasher as hasher } from "@coppice/crypto/node"
import { Location, safeIntegers } from "@coppice/merkle"
import {
  type CurrentFormat,
  checkCurrentRange,
  checkExclusion,
  checkKeyValue,
  checkOpsRoot,
  decodeOperation,
  type ExclusionProof,
  type KeyedOperation,
} from "@coppice/verify"
import { Grafted, type Tree } from "./prover.ts"
import { hex, type State, unhex } from "./published.ts"
import { CLAIMED_MAX, made, type Subject, same } from "./subject.ts"

type Bytes32 = Uint8Array
const RANGE_MAX = 11

/** A state, its operations, and proofs of it. */
class Ground {
  readonly format: CurrentFormat<Bytes32, Bytes32>
  readonly state: State
  readonly name: string
  readonly root: Bytes32
  readonly opsRoot: Bytes32
  readonly typed: ReadonlyArray<KeyedOperation<Bytes32, Bytes32>>
  readonly grafted: Grafted

  constructor(format: CurrentFormat<Bytes32, Bytes32>, state: State, tree: Tree) {
    this.format = format
    this.state = state
    this.name = `current/${format.ordered ? "ordered" : "unordered"}/${format.family.name}`
    this.root = unhex(state.root!)
    this.opsRoot = unhex(state.ops_root)
    this.typed = tree.log.operations.map((operation) => decodeOperation(format, operation))
    this.grafted = new Grafted(tree, format.grafting, state.bitmap!, this.opsRoot)
  }

  isActive(location: number): boolean {
    return this.state.bitmap![location] === "1"
  }
}

const ranges = ({ name, format, root, typed, grafted }: Ground): ReadonlyArray<Subject> => {
  const { length } = typed
  const { location } = safeIntegers(format.family)
  const codec = Struct({
    start: location,
    operations: List(format.operation, CLAIMED_MAX),
    chunks: List(Bytes(format.grafting.chunkBytes), CLAIMED_MAX),
    proof: format.rangeProof,
  })
  return [0, Math.floor(length / 2), length - 1].map((start) => {
    const end = Math.min(length, start + RANGE_MAX)
    return made({
      kind: `${name}/range`,
      claim: {
        start: Location(start),
        operations: typed.slice(start, end),
        chunks: grafted.chunks(start, end),
        proof: grafted.prove(Location(start), Location(end)),
      },
      codec,
      check: (claim) => checkCurrentRange(hasher, format, claim, root),
    })
  })
}

/** Values that keys have, and, as near misses, one in four of those that they had. */
const keyValues = (ground: Ground): ReadonlyArray<Subject> => {
  const { name, format, root, typed, grafted } = ground
  const codec = Struct({ key: Bytes(32), value: Bytes(32), proof: format.keyValueProof })
  return typed.flatMap((operation, location) => {
    const isActive = ground.isActive(location)
    if (operation.tag !== "update" || (!isActive && location % 4 !== 0)) return []
    const { key, value, nextKey } = operation
    return made({
      kind: `${name}/key-value`,
      claim: { key, value, proof: { operation: grafted.proveOperation(Location(location)), nextKey } },
      codec,
      check: (claim) => checkKeyValue(hasher, format, claim, root),
      ...(isActive ? {} : { nearMiss: "Inactive" }),
    })
  })
}

type Exclusion = ExclusionProof<Bytes32, Bytes32>

/** Every proof that a state has for the absence of some key. */
const exclusionProofs = (ground: Ground): ReadonlyArray<Exclusion> =>
  ground.typed.flatMap((operation, location): ReadonlyArray<Exclusion> => {
    if (!ground.isActive(location)) return []
    const proven = ground.grafted.proveOperation(Location(location))
    if (operation.tag === "update") return [{ tag: "owner", operation: proven, update: operation }]
    const isEmpty = operation.tag === "commit" && Object.keys(ground.state.active!).length === 0
    return isEmpty ? [{ tag: "empty", operation: proven, metadata: operation.metadata }] : []
  })

/** Keys that have no value, and, as near misses, those that have one. */
const exclusions = (ground: Ground): ReadonlyArray<Subject> => {
  const { name, format, root, state } = ground
  const active = state.active!
  const codec = Struct({ key: Bytes(32), proof: format.exclusionProof })
  const subject = (key: Bytes32, proof: Exclusion, nearMiss?: string): Subject =>
    made({
      kind: `${name}/exclusion`,
      claim: { key, proof },
      codec,
      check: (claim) => checkExclusion(hasher, format, claim, root),
      alsoTrue: (claim) => active[hex(claim.key)] === undefined && same(format.exclusionProof, claim.proof, proof),
      ...(nearMiss === undefined ? {} : { nearMiss }),
    })
  return exclusionProofs(ground).flatMap((proof) => {
    if (proof.tag === "empty") return [subject(new Uint8Array(32).fill(7), proof)]
    const owner = proof.update.key
    const others = Object.keys(active).filter((key) => key !== hex(owner))
    return [
      // The key right after the owner's, where its last byte leaves room for one.
      ...(owner[31] === 0xff ? [] : [subject(owner.with(31, owner[31]! + 1), proof)]),
      subject(owner, proof, "KeyActive"),
      ...others.map((key) => subject(unhex(key), proof, "KeyOutsideSpan")),
    ]
  })
}

const opsRoots = ({ name, format, root, opsRoot }: Ground, witness: string): Subject =>
  made({
    kind: `${name}/ops-root`,
    claim: { opsRoot, witness: decode(format.opsRootWitness, unhex(witness)) },
    codec: Struct({ opsRoot: Bytes(32), witness: format.opsRootWitness }),
    check: (claim) => checkOpsRoot(hasher, format, claim.opsRoot, claim.witness, root),
  })

/** Claims about one state; `witness` is that of its ops root, where it is published. */
export const currentSubjects = (
  format: CurrentFormat<Bytes32, Bytes32>,
  state: State,
  tree: Tree,
  witness: string | undefined,
): ReadonlyArray<Subject> => {
  const ground = new Ground(format, state, tree)
  return [
    ...ranges(ground),
    ...keyValues(ground),
    ...(format.ordered ? exclusions(ground) : []),
    ...(witness === undefined ? [] : [opsRoots(ground, witness)]),
  ]
}
