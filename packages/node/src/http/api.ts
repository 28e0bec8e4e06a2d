/**
 * The HTTP API that every node has. An application adds its own groups: `NodeApi.add(LedgerGroup)`.
 *
 * Terms: *live* = the process answers; *ready* = the node works and keeps up with the finalized chain.
 *
 * Invariant: numbers are integers below 2^53; bytes are lower-case hex. Nothing here changes a node.
 */
import { Schema, SchemaTransformation } from "effect"
import { HttpApi, HttpApiEndpoint, HttpApiGroup, HttpApiSchema, OpenApi } from "effect/http-api"
import { apiError } from "./errors.ts"

/** A whole number from 0, below 2^53. */
export const Count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }))
/** The same in a path or a query: decimal digits and nothing else, so that a number has one spelling. */
export const CountText = Schema.String.check(Schema.isPattern(/^(0|[1-9][0-9]{0,15})$/)).pipe(
  Schema.decodeTo(Count, SchemaTransformation.numberFromString),
)
/** Bytes as lower-case hex. */
export const Hex = Schema.String.check(Schema.isPattern(/^([0-9a-f]{2})*$/))
/** A digest as hex. */
export const DigestHex = Schema.String.check(Schema.isPattern(/^[0-9a-f]{64}$/))

const Round = Schema.Struct({ epoch: Count, view: Count })
const Named = Schema.Struct({ height: Count, digest: DigestHex })

/** What a block commits to for one database. */
export const TargetSchema = Schema.Struct({
  root: DigestHex.annotate({ description: "Root over all operations" }),
  start: Count.annotate({ description: "Lowest location that a sync may begin at" }),
  end: Count.annotate({ description: "Number of operations" }),
  canonical: Schema.optionalKey(DigestHex).annotate({
    description: "Root that proofs of current values lead to, where the database has one",
  }),
})

/** Answer of `/chain`: what a light client starts from, if it trusts who tells it. */
export const ChainSchema = Schema.Struct({
  chain: Schema.String,
  application: Schema.String,
  genesis: DigestHex,
  validators: Schema.Array(DigestHex).annotate({ description: "Identity keys of the validators, by index" }),
  quorum: Count.annotate({ description: "Signatures that make a certificate" }),
  members: Schema.Array(Schema.Struct({ name: Schema.String, format: Schema.String })),
})

/** Answer of `/status`. */
export const StatusSchema = Schema.Struct({
  chain: Schema.String,
  application: Schema.String,
  validator: Schema.NullOr(Count).annotate({ description: "Index among the validators; null for a follower" }),
  height: Count.annotate({ description: "Newest executed block" }),
  digest: DigestHex,
  durable: Named.annotate({ description: "Newest block whose state survives power loss" }),
  finalized: Schema.Struct({ height: Count, digest: DigestHex, round: Round }).annotate({
    description: "Newest final block held, executed or not yet",
  }),
  pending: Schema.Struct({
    ...{ blocks: Count, layers: Count, bytes: Count },
    scratch: Schema.Struct({ blocks: Count, bytes: Count }),
  }).annotate({
    description:
      "States that are not durable: of speculative blocks, all un-flushed layers, their bytes of memory; and what of them lies in scratch",
  }),
  forksPruned: Count.annotate({ description: "Speculative blocks dropped because another branch became final" }),
  replayed: Count.annotate({ description: "Blocks executed again, to recover a parent or after a restart" }),
  evicted: Count.annotate({ description: "Speculative blocks dropped to stay within the memory budget" }),
  flushes: Count,
  flushSeconds: Schema.Number.annotate({ description: "Time of the newest durable write" }),
  disk: Schema.Struct({ databases: Count, blocks: Count }).annotate({ description: "Bytes on disk" }),
  members: Schema.Array(Schema.Struct({ name: Schema.String, ...TargetSchema.fields })),
})

/** Answer of `/blocks/{height}`. */
export const BlockSchema = Schema.Struct({
  height: Count,
  digest: DigestHex,
  parent: DigestHex,
  round: Round,
  leader: DigestHex.annotate({ description: "Identity key of the leader who proposed it" }),
  transactions: Schema.NullOr(Count),
  targets: Schema.Record(Schema.String, TargetSchema),
  header: Schema.NullOr(Hex).annotate({ description: "Header bytes: the digest is computed from them" }),
  certificate: Schema.NullOr(Hex).annotate({
    description: "Finalization: proposal and signatures of a quorum. Null where a later block's certificate covers it",
  }),
})

/** There is no final block of that height here. */
export const BlockNotFound = apiError("BlockNotFound", 404, { height: Count, latest: Count })

/** The node runs and cannot serve yet, or any more. */
export const NotReady = apiError("NotReady", 503, {
  reason: Schema.Literals(["syncing", "failed", "behind"]),
  height: Count,
  finalized: Count,
})

/** The endpoints of every node. */
export class NodeGroup extends HttpApiGroup.make("node", { topLevel: true })
  .add(
    HttpApiEndpoint.get("health", "/health", { success: Schema.Struct({ status: Schema.Literal("live") }) }).annotate(
      OpenApi.Summary,
      "Whether the process answers",
    ),
    HttpApiEndpoint.get("ready", "/ready", {
      success: Schema.Struct({ status: Schema.Literal("ready"), height: Count }),
      error: NotReady,
    }).annotate(OpenApi.Summary, "Whether the node works and keeps up with the finalized chain"),
    HttpApiEndpoint.get("chain", "/chain", { success: ChainSchema }).annotate(
      OpenApi.Summary,
      "What the chain is: genesis, validators, databases",
    ),
    HttpApiEndpoint.get("status", "/status", { success: StatusSchema }).annotate(
      OpenApi.Summary,
      "Where the node stands: heights, roots, what waits in memory",
    ),
    HttpApiEndpoint.get("latestBlock", "/blocks/latest", { success: BlockSchema }).annotate(
      OpenApi.Summary,
      "The newest executed block",
    ),
    HttpApiEndpoint.get("block", "/blocks/:height", {
      params: { height: CountText },
      success: BlockSchema,
      error: BlockNotFound,
    }).annotate(OpenApi.Summary, "A final block by height, with header and certificate"),
    HttpApiEndpoint.get("metrics", "/metrics", {
      success: Schema.String.pipe(HttpApiSchema.asText({ contentType: "text/plain; version=0.0.4; charset=utf-8" })),
    }).annotate(OpenApi.Summary, "Metrics in the text format of Prometheus"),
  )
  .annotate(OpenApi.Title, "Node")
  .annotate(OpenApi.Description, "What every node answers, whatever its application") {}

/** The API of a node without an application's own endpoints. */
export class NodeApi extends HttpApi.make("coppice")
  .add(NodeGroup)
  .annotate(OpenApi.Title, "Coppice node")
  .annotate(
    OpenApi.Description,
    "Errors are JSON: { error, message } and the evidence as further fields. Bytes are lower-case hex.",
  ) {}
