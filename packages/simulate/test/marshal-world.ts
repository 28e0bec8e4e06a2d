/**
 * One marshal on a disk in maps, in virtual time, with a peer and an executor that do what a test says.
 */
import { bytesKey, encode } from "@coppice/codec"
import {
  type Ack,
  anchorOf,
  type BlockRequest,
  type BlockTransport,
  type ExecutorPort,
  ExecutorStopped,
  encodeBlock,
  finalizationCodec,
  MARSHAL_MAPS,
  type Marshal,
  type MarshalOptions,
  makeMarshal,
  verifyFinalization,
} from "@coppice/consensus"
import { type MemoryDisk, Storage, type StorageError, type StorageShape } from "@coppice/storage"
import { Cause, Effect, Exit, Option, type Scope } from "effect"
import { blockCodec, CHAIN, chainOn, ed25519, finalize, genesis, participants, type TestBlock } from "../src/chain.ts"
import { makeDisks } from "../src/cluster.ts"
import { simulate } from "../src/scheduler.ts"

export const chain = chainOn(genesis, 1, 70)
export const at = (height: number): TestBlock => chain[height - 1]!
export const PEER = new Uint8Array(32).fill(7)
export const standsOnGenesis = { deliverAfter: anchorOf(genesis) }

const blockOf = (request: BlockRequest): TestBlock | undefined =>
  request.tag === "finalized"
    ? chain[request.height - 1]
    : chain.find(({ digest }) => bytesKey(digest) === bytesKey(request.digest))

/** A peer, and what it was asked. */
export class FakePeer implements BlockTransport {
  readonly asked: Array<BlockRequest> = []
  readonly peers = Effect.succeed([PEER])
  /** Heights of the blocks it gave. */
  readonly given: Array<number> = []
  blamed = 0
  answer: (request: BlockRequest) => Uint8Array | undefined = () => undefined
  readonly request = (_peer: Uint8Array, request: BlockRequest) =>
    Effect.sync(() => {
      this.asked.push(request)
      const bytes = this.answer(request)
      const block = blockOf(request)
      if (bytes !== undefined && block !== undefined) this.given.push(block.height)
      return bytes
    })
  readonly blame = () => Effect.sync(() => void this.blamed++)
}

/** Answers everything about the chain truly. */
export const knowsAll = (request: BlockRequest): Uint8Array | undefined => {
  const block = blockOf(request)
  if (block === undefined) return undefined
  const bytes = encodeBlock(blockCodec, block)
  return request.tag === "block" ? bytes : new Uint8Array([...encode(finalizationCodec, finalize(block)), ...bytes])
}

/** Acknowledges after a while, in the order of delivery. */
export class FakeExecutor implements ExecutorPort<TestBlock> {
  readonly delivered: Array<TestBlock> = []
  readonly acks: Array<Ack> = []
  acknowledges = true
  stopsAt = 0
  readonly propose = () => Effect.never
  readonly verify = () => Effect.never
  readonly finalized = (block: TestBlock, ack: Ack) =>
    Effect.gen({ self: this }, function* () {
      if (block.height === this.stopsAt) return yield* new ExecutorStopped({ cause: undefined })
      this.delivered.push(block)
      this.acks.push(ack)
      if (this.acknowledges) yield* Effect.forkDetach(Effect.map(Effect.sleep(5), () => ack.acknowledge()))
    })
  get heights(): ReadonlyArray<number> {
    return this.delivered.map(({ height }) => height)
  }
}

/** Changes a handle before the marshal gets it. Canaries use it. */
export type Wrap = (storage: StorageShape) => StorageShape

export const makeDisk = (seed = 1) => makeDisks(seed, 1, 5)[0]!

export const open = Effect.fnUntraced(function* (
  disk: MemoryDisk,
  peer: BlockTransport = new FakePeer(),
  options: Partial<MarshalOptions<TestBlock>> = {},
  wrap: Wrap = (storage) => storage,
) {
  const storage = wrap(yield* disk.open("marshal", MARSHAL_MAPS))
  return yield* makeMarshal({
    chainId: CHAIN,
    genesis,
    codec: blockCodec,
    verify: (finalization) => verifyFinalization(ed25519, participants, CHAIN, finalization),
    transport: peer,
    ...options,
  }).pipe(Effect.provideService(Storage, storage))
})

export const run = <A, E>(program: Effect.Effect<A, E, Scope.Scope>, seed = 1): A => {
  const { exit } = simulate(seed, Effect.scoped(program))
  if (Exit.isFailure(exit)) throw new Error(`failed: ${exit.cause}`, { cause: exit.cause })
  return exit.value
}

export const failureOf = <A, E>(exit: Exit.Exit<A, E>): E => {
  if (Exit.isSuccess(exit)) throw new Error("it succeeded")
  return Option.getOrThrow(Cause.findErrorOption(exit.cause))
}

/** Opens the environment beside the marshal. */
export const beside = <A>(disk: MemoryDisk, use: (storage: StorageShape) => Effect.Effect<A, StorageError>) =>
  Effect.scoped(Effect.flatMap(disk.open("marshal", MARSHAL_MAPS), use))

export const readAll = (disk: MemoryDisk) =>
  beside(disk, (storage) => Effect.sync(() => MARSHAL_MAPS.map((map) => [map, storage.scan(map, {})] as const)))

export const rowsOf = (disk: MemoryDisk, map: (typeof MARSHAL_MAPS)[number]) =>
  beside(disk, (storage) => Effect.sync(() => storage.scan(map, {})))

export const storeAll = (marshal: Marshal<TestBlock>, blocks: ReadonlyArray<TestBlock>) =>
  Effect.forEach(blocks, (block) => marshal.verified(block.context.round, block), {
    concurrency: "unbounded",
    discard: true,
  })
