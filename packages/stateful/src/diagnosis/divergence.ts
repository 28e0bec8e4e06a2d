/**
 * The divergence bundle: one file with everything that is needed to find out why a block led to another state than it says.
 *
 *   mismatch --> what was executed, the parent's state, the block once more and recorded --> bundle --> file
 *   file --> replay-divergence.ts                                                            anywhere, with any code
 *
 * Terms: the *parent* is the state below the block. Of each member the bundle has what headers commit to (of the parent and of
 * the block), a copy of the parent's state where it fits, and for each execution its target and its operations. `calls` are
 * those of the recorded execution; see call-log.ts.
 *
 * Invariant: reading what was written gives the same bundle; a file that is cut, changed or of another format is refused with
 * the reason. Every part has a bound in limits.ts, and `omitted` says in words what a bound left out.
 */
import { DIGEST_BYTES } from "@coppice/crypto"
import { nodeHasher } from "@coppice/crypto/node"
import { Location, type StateCopy, type SyncTarget } from "@coppice/qmdb"
import { Data, Effect, Exit, Schema } from "effect"
import type { Targets } from "../application.ts"
import type { Databases } from "../database-set.ts"
import { DIVERGENCE_FILE_BYTES_MAX, DIVERGENCE_OPERATIONS_BYTES_MAX, DIVERGENCE_STATE_BYTES_MAX } from "../limits.ts"
import { memberNames } from "../targets.ts"
import type { Execution } from "./executions.ts"
import type { Json } from "./plain-values.ts"

const FORMAT = 2

// Without a repetition that can be gone back over: these texts are megabytes long.
const NOT_HEX = /[^0-9a-f]/
const isHex = (text: string): boolean => text.length % 2 === 0 && !NOT_HEX.test(text)
const Hex = Schema.String.check(Schema.makeFilter(isHex, { expected: "bytes in hex" }))
/** Several byte strings in hex, none of them empty, a space between two. */
const HexWords = Schema.String.check(
  Schema.makeFilter((text: string) => text === "" || text.split(" ").every((word) => word !== "" && isHex(word)), {
    expected: "words of bytes in hex",
  }),
)
const Count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }))
const Digest = Hex.check(Schema.isBetweenLength(2 * DIGEST_BYTES, 2 * DIGEST_BYTES))
const Target = Schema.Struct({ start: Count, end: Count, root: Digest, canonical: Schema.optionalKey(Digest) })
const Plain = Schema.Unknown as unknown as Schema.Codec<Json>

const BundleSchema = Schema.Struct({
  format: Schema.Literal(FORMAT),
  versions: Schema.Record(Schema.String, Schema.String),
  chain: Schema.String,
  application: Schema.String,
  hook: Schema.Literals(["propose", "verify", "apply"]),
  reason: Schema.Literals(["commitment", "determinism"]),
  height: Count,
  digest: Digest,
  block: Hex,
  parent: Schema.Struct({ height: Count, view: Count, digest: Digest }),
  members: Schema.Array(
    Schema.Struct({
      name: Schema.String,
      format: Schema.String,
      parent: Target,
      header: Target,
      /** The parent's operations from `start` on and the peaks before them: all of its state. */
      state: Schema.NullOr(Schema.Struct({ start: Count, pins: HexWords, operations: HexWords })),
    }),
  ),
  /** The first is the one that was judged, the last the recorded one where that was sealed. */
  executions: Schema.Array(
    Schema.Struct({
      of: Schema.Literals(["hook", "guard", "record"]),
      /** In the order of `members`. */
      members: Schema.Array(Schema.Struct({ target: Target, operations: HexWords })),
    }),
  ),
  omitted: Schema.Array(Schema.String),
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

/** An execution as a bundle has it. */
export type PlainExecution = Divergence["executions"][number]

/** A file that is no bundle, or a bundle that is not of this application. */
export class DivergenceUnreadable extends Data.TaggedError("DivergenceUnreadable")<{ readonly reason: string }> {}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")

/** Bytes that a bundle has in hex. */
export const bytesOf = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"))

const words = (items: ReadonlyArray<Uint8Array>): string => items.map(hex).join(" ")

/** Byte strings that a bundle has as words. */
export const wordsOf = (text: string): ReadonlyArray<Uint8Array> => (text === "" ? [] : text.split(" ").map(bytesOf))

/** A target in plain data. */
export const plainTarget = ({ start, end, root, canonical }: SyncTarget): PlainTarget => ({
  start,
  end,
  root: hex(root),
  ...(canonical === undefined ? {} : { canonical: hex(canonical) }),
})

/** The target that plain data stands for. */
export const targetOf = ({ start, end, root, canonical }: PlainTarget): SyncTarget => ({
  start: Location(start),
  end: Location(end),
  root: bytesOf(root),
  ...(canonical === undefined ? {} : { canonical: bytesOf(canonical) }),
})

/** A copied state in plain data. */
export const plainState = ({ start, pins, operations }: StateCopy): Divergence["members"][number]["state"] => ({
  start,
  pins: words(pins),
  operations: words(operations),
})

/** An execution in plain data. */
export const plainExecution = <M extends Databases>(
  databases: M,
  of: PlainExecution["of"],
  { targets, operations }: Execution<M>,
): PlainExecution => ({
  of,
  members: memberNames(databases).map((name) => ({
    target: plainTarget(targets[name]!),
    operations: words(operations[name]!),
  })),
})

/** The execution that plain data stands for. Its members are those of the application. */
export const executionFrom = <M extends Databases>(databases: M, { members }: PlainExecution): Execution<M> => {
  const names = memberNames(databases)
  return {
    targets: Object.fromEntries(names.map((name, i) => [name, targetOf(members[i]!.target)])) as Targets<M>,
    operations: Object.fromEntries(
      names.map((name, i) => [name, wordsOf(members[i]!.operations)]),
    ) as Execution<M>["operations"],
  }
}

/** What the bounds left out of a bundle, in words. */
export const omissions = (
  members: Divergence["members"],
  executions: Divergence["executions"],
): ReadonlyArray<string> => [
  ...members.flatMap(({ name, state }) =>
    state === null
      ? [`the state of ${name} below the block: it was gone, or all take more than ${DIVERGENCE_STATE_BYTES_MAX} bytes`]
      : [],
  ),
  ...executions.flatMap((execution, i) =>
    execution.members.flatMap(({ target, operations }, at) => {
      const { name, parent } = members[at]!
      const known = parent.end + wordsOf(operations).length
      if (known === target.end) return []
      const bound = `more than ${DIVERGENCE_OPERATIONS_BYTES_MAX} bytes`
      return [`operations ${known} to ${target.end - 1} of ${name} in execution ${i + 1}: ${bound}`]
    }),
  ),
]

const CHECKSUM = ',\n "checksum": "'
const END = '"\n}\n'

const checksumOf = (text: string): string => hex(nodeHasher.hash(Buffer.from(text, "utf8")))

/** A bundle as the text of a file, one call a line, its checksum last. */
export const writeDivergence = ({ calls, ...head }: Divergence): string => {
  const lines = calls.map((call) => `  ${JSON.stringify(call)}`)
  const text = `${JSON.stringify(head, null, 1).slice(0, -2)},\n "calls": [\n${lines.join(",\n")}\n ]`
  return `${text}${CHECKSUM}${checksumOf(text)}${END}`
}

const unreadable = (reason: string) => new DivergenceUnreadable({ reason })

/** Why a text is not one that was written, as far as its outside tells; undefined when it may be. */
const damageOf = (text: string): string | undefined => {
  if (text.length > DIVERGENCE_FILE_BYTES_MAX) {
    return `it has ${text.length} characters, a bundle has at most ${DIVERGENCE_FILE_BYTES_MAX}`
  }
  if (!text.startsWith("{\n")) return "it does not begin like a bundle"
  const format = /^\{\n "format": (\d+),/.exec(text)?.[1]
  if (format !== undefined && Number(format) !== FORMAT) return `its format is ${format}, this program reads ${FORMAT}`
  const at = text.lastIndexOf(CHECKSUM)
  if (at === -1 || !text.endsWith(END)) return "it is cut: its end is missing"
  const checksum = text.slice(at + CHECKSUM.length, -END.length)
  return checksum === checksumOf(text.slice(0, at)) ? undefined : "it was changed: its checksum is another"
}

const readBundle = Schema.decodeUnknownEffect(Schema.fromJsonString(BundleSchema), { onExcessProperty: "error" })

const consistent = (bundle: Divergence): Effect.Effect<Divergence, DivergenceUnreadable> =>
  bundle.executions.every(({ members }) => members.length === bundle.members.length)
    ? Effect.succeed(bundle)
    : Effect.fail(unreadable("an execution is not one of its members"))

/** Reads the text of a file. Errors: `DivergenceUnreadable`. Cost: memory for several times the text. */
export const readDivergence = (text: string): Effect.Effect<Divergence, DivergenceUnreadable> =>
  Effect.suspend(() => {
    const damage = damageOf(text)
    if (damage !== undefined) return Effect.fail(unreadable(damage))
    const inside = `${text.slice(0, text.lastIndexOf(CHECKSUM))}\n}`
    return Effect.flatMap(
      Effect.mapError(readBundle(inside), (error) => unreadable(error.message)),
      consistent,
    )
  })

/** How an execution ended. */
export const endOf = (exit: Exit.Exit<unknown, unknown>): Divergence["ended"] => {
  if (Exit.isFailure(exit)) return "failed"
  return exit.value === undefined ? "declined" : "sealed"
}
