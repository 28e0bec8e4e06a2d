/**
 * The divergence bundle: one file with everything that is needed to find out why a block led to another state than it says.
 *
 *   mismatch --> apply the block once more, recording --> bundle --> file       on the node, while the parent state is there
 *   file --> apply the block over the recorded answers --> the first call that differs     anywhere, with any code
 *
 * Terms: the *states* of a member are the targets that executions on the node gave: first the one that was judged, last
 * the recorded one. See call-log.ts for what is recorded.
 *
 * Invariant: reading what was written gives the same bundle; anything else is refused. A bundle is bounded by the bound of
 * a block and `DIVERGENCE_CALLS_BYTES_MAX`.
 */
import { type Block, decodeBlock } from "@coppice/consensus"
import type { SyncTarget } from "@coppice/qmdb"
import { Data, Effect, Exit, Schema } from "effect"
import type { Application, HookTools, Targets } from "../application.ts"
import type { Batches, Databases, SealedSet } from "../database-set.ts"
import { runHook } from "../hooks.ts"
import { memberNames } from "../targets.ts"
import { type CallDifference, CallPlayer } from "./call-log.ts"
import type { Json } from "./plain-values.ts"

const FORMAT = 1

const Hex = Schema.String.check(Schema.isPattern(/^(?:[0-9a-f]{2})*$/))
const Target = Schema.Struct({ start: Schema.Int, end: Schema.Int, root: Hex, canonical: Schema.optionalKey(Hex) })
const Plain = Schema.Unknown as unknown as Schema.Codec<Json>

const BundleSchema = Schema.Struct({
  format: Schema.Literal(FORMAT),
  versions: Schema.Record(Schema.String, Schema.String),
  chain: Schema.String,
  application: Schema.String,
  hook: Schema.Literals(["propose", "verify", "apply"]),
  reason: Schema.Literals(["commitment", "determinism"]),
  height: Schema.Int,
  digest: Hex,
  block: Hex,
  parent: Schema.Struct({ height: Schema.Int, view: Schema.Int, digest: Hex }),
  members: Schema.Array(
    Schema.Struct({
      name: Schema.String,
      format: Schema.String,
      parent: Target,
      header: Target,
      states: Schema.Array(Target),
      /** Operations that the recorded execution appended to this member. */
      appended: Schema.NullOr(Schema.Int),
    }),
  ),
  /** How the recorded execution ended. */
  ended: Schema.Literals(["sealed", "declined", "failed"]),
  complete: Schema.Boolean,
  calls: Schema.Array(
    Schema.Struct({
      member: Schema.String,
      method: Schema.String,
      args: Schema.optionalKey(Schema.Array(Plain)),
      returned: Schema.optionalKey(Plain),
      thrown: Schema.optionalKey(Schema.Struct({ name: Schema.String, message: Schema.String, fields: Plain })),
    }),
  ),
})

/** See the head of this file. */
export type Divergence = typeof BundleSchema.Type

/** A target as a bundle has it. */
export type PlainTarget = typeof Target.Type

/** A bundle that is none, or of another application. */
export class DivergenceUnreadable extends Data.TaggedError("DivergenceUnreadable")<{ readonly reason: string }> {}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")
const bytesOf = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"))

/** A target in plain data. */
export const plainTarget = ({ start, end, root, canonical }: SyncTarget): PlainTarget => ({
  start,
  end,
  root: hex(root),
  ...(canonical === undefined ? {} : { canonical: hex(canonical) }),
})

const targetOf = ({ start, end, root, canonical }: PlainTarget): SyncTarget =>
  ({
    start,
    end,
    root: bytesOf(root),
    ...(canonical === undefined ? {} : { canonical: bytesOf(canonical) }),
  }) as SyncTarget

/** A bundle as the text of a file, one call a line. */
export const writeDivergence = ({ calls, ...head }: Divergence): string => {
  const lines = calls.map((call) => `  ${JSON.stringify(call)}`)
  return `${JSON.stringify(head, null, 1).slice(0, -2)},\n "calls": [\n${lines.join(",\n")}\n ]\n}\n`
}

const readBundle = Schema.decodeUnknownEffect(Schema.fromJsonString(BundleSchema), { onExcessProperty: "error" })

/** Reads the text of a file. Errors: `DivergenceUnreadable`. */
export const readDivergence = (text: string): Effect.Effect<Divergence, DivergenceUnreadable> =>
  Effect.mapError(readBundle(text), (error) => new DivergenceUnreadable({ reason: error.message }))

/** What a replay found. */
export type Replayed =
  /** The first call that differs; the code that was recorded and this code part there. */
  | ({ readonly tag: "differs" } & CallDifference)
  /** The same calls, and another end. */
  | {
      readonly tag: "ended"
      readonly calls: number
      readonly recorded: Divergence["ended"]
      readonly replayed: Divergence["ended"]
    }
  /**
   * The same calls to the same end: this is the code that was recorded, and it alone explains nothing. What remains is the
   * header, the state below, or the databases.
   */
  | { readonly tag: "reproduced"; readonly calls: number }
  /** The record was cut, and up to there nothing differs. */
  | { readonly tag: "cut"; readonly calls: number }

const requireSame = (what: string, expected: string, actual: string) =>
  expected === actual
    ? Effect.void
    : Effect.fail(new DivergenceUnreadable({ reason: `its ${what} is ${expected}, the one given is ${actual}` }))

const readBlock = <B extends Block>(application: Application<B, never>, bundle: Divergence) =>
  Effect.try({
    try: () => decodeBlock(application.codec, bytesOf(bundle.block)),
    catch: (cause) => new DivergenceUnreadable({ reason: `its block does not decode: ${String(cause)}` }),
  })

/**
 * Applies a bundle's block with an application, over the recorded answers.
 *
 * Errors: `DivergenceUnreadable` when the bundle is not of this application, or its block does not decode with it.
 */
export const replayDivergence = Effect.fn("Stateful.replayDivergence")(function* <B extends Block, M extends Databases>(
  application: Application<B, M>,
  bundle: Divergence,
): Effect.fn.Return<Replayed, DivergenceUnreadable> {
  const names = memberNames(application.databases)
  yield* requireSame("application", bundle.application, application.name)
  yield* requireSame("list of members", bundle.members.map(({ name }) => name).join(", "), names.join(", "))
  const block = yield* readBlock(application as unknown as Application<B, never>, bundle)
  yield* requireSame("block", bundle.digest, hex(block.digest))
  const player = new CallPlayer(bundle)
  const batches = player.batches<M>(names)
  const targets = Object.fromEntries(
    bundle.members.map(({ name, header, states }) => [name, targetOf(states.at(-1) ?? header)]),
  ) as Targets<M>
  const sealed: SealedSet<M> = { id: 0, targets, bytes: 0 }
  const tools: HookTools<M> = {
    seal: (given: Batches<M>) =>
      given === batches ? Effect.succeed(sealed) : Effect.die(new TypeError("a hook seals the batches it was given")),
    signal: new AbortController().signal,
  }
  const exit = yield* Effect.exit(runHook(() => application.apply(block, batches, tools)))
  const { difference, played: calls } = player
  if (player.isBeyond || (difference === undefined && !bundle.complete)) return { tag: "cut", calls }
  if (difference !== undefined) return { tag: "differs", ...difference }
  const replayed = endOf(exit)
  return replayed === bundle.ended
    ? { tag: "reproduced", calls }
    : { tag: "ended", calls, recorded: bundle.ended, replayed }
})

/** How an execution ended. */
export const endOf = (exit: Exit.Exit<unknown, unknown>): Divergence["ended"] => {
  if (Exit.isFailure(exit)) return "failed"
  return exit.value === undefined ? "declined" : "sealed"
}
