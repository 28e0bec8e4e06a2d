/**
 * `coppice inspect`: what a stopped node, or every node of a stopped devnet, has on disk.
 *
 * Invariant: changes nothing; a node that runs is refused, with who runs it.
 */
import { existsSync } from "node:fs"
import { PENDING_ACKS_MAX } from "@coppice/consensus"
import { nodeHasher } from "@coppice/crypto/node"
import { acquireLock, fromHex, inspectNode, type NodeInspection, nodePaths, setPath } from "@coppice/node"
import { openDatabaseSet, SET_MAPS, type Targets } from "@coppice/stateful"
import { openLmdb } from "@coppice/storage/lmdb"
import { type LedgerDatabases, makeLedger } from "@coppice-apps/ledger"
import { Console, Effect } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { readHome, validatorDirectory } from "../devnet/home.ts"
import { formatBytes } from "../devnet/watch.ts"

/** Counts of active keys by member: what only who knows the application can say. */
type Active = Readonly<Record<string, number>>

/** Active keys of the ledger's members. */
const ledgerActive = Effect.fnUntraced(function* ({ directory, chain, genesis }: NodeInspection) {
  const paths = nodePaths(directory)
  yield* acquireLock(paths)
  // What the chain began with decides its genesis and nothing else that matters here: the stored one is taken as it is.
  const ledger = makeLedger({ chainId: chain, allocations: [] }).application
  const digest = fromHex(genesis)!
  const application = {
    ...ledger,
    genesis: (targets: Targets<LedgerDatabases>) => ({ ...ledger.genesis(targets), digest }),
  }
  const storage = yield* openLmdb({ directory: setPath(paths, application.name), maps: SET_MAPS })
  const environment = { chainId: chain, hasher: nodeHasher, storage, pendingAcksMax: PENDING_ACKS_MAX }
  const set = yield* openDatabaseSet({ application, ...environment })
  const active: Active = set.use("read", ({ accounts }) => ({ accounts: accounts.active }))
  return active
}, Effect.scoped)

const activeOf = (node: NodeInspection): Effect.Effect<Active, Effect.Error<ReturnType<typeof ledgerActive>>> =>
  node.application === "ledger" && node.set?.anchor != null ? ledgerActive(node) : Effect.succeed({})

const inspectOne = Effect.fnUntraced(function* (directory: string) {
  const node = yield* inspectNode(directory)
  const active = yield* activeOf(node)
  if (node.set === null) return node
  const members = node.set.members.map((member) => ({ ...member, active: active[member.name] ?? null }))
  return { ...node, set: { ...node.set, members } }
})

type Inspected = Effect.Success<ReturnType<typeof inspectOne>>

const inspectAll = Effect.fnUntraced(function* (directory: string) {
  const home = yield* readHome(directory)
  if (home === undefined) return [yield* inspectOne(directory)]
  yield* acquireLock(nodePaths(directory))
  const directories = Array.from({ length: home.validators }, (_, index) => validatorDirectory(directory, index))
  return yield* Effect.forEach(
    directories.filter((each) => existsSync(nodePaths(each).config)),
    inspectOne,
  )
}, Effect.scoped)

const range = (window: { readonly first: number; readonly last: number } | null | undefined): string =>
  window == null ? "none" : `${window.first} to ${window.last}`

const memberLines = (member: NonNullable<Inspected["set"]>["members"][number]): ReadonlyArray<string> => [
  `  ${member.name}`,
  `    root       ${member.root ?? "none"}`,
  ...("canonical" in member && member.canonical !== undefined ? [`    canonical  ${member.canonical}`] : []),
  `    operations ${member.size ?? 0}, floor ${member.floor ?? 0}${"active" in member && member.active !== null ? `, active keys ${member.active}` : ""}`,
  `    format     ${member.format}, incarnation ${member.incarnation}`,
]

const linesOf = ({ directory, set, marshal, bytes, ...config }: Inspected): ReadonlyArray<string> => [
  directory,
  `  chain        ${config.chain}, application ${config.application}, validator ${config.validator ?? "none"}, format ${config.format}`,
  `  genesis      ${config.genesis}`,
  `  anchor       ${set?.anchor == null ? "none" : `height ${set.anchor.height}, round ${set.anchor.round.epoch}/${set.anchor.round.view}`}`,
  `               ${set?.anchor?.digest ?? ""}`,
  `  undo window  heights ${range(set?.window)}`,
  `  sync plan    ${set?.syncPlan ?? "none"}`,
  ...(set?.members ?? []).flatMap(memberLines),
  `  blocks       heights ${range(marshal?.finalized)}, acknowledged ${marshal?.processed ?? "none"}, certified ${marshal?.certified?.height ?? "none"}`,
  `  on disk      databases ${formatBytes(bytes.set)}, blocks ${formatBytes(bytes.marshal)}`,
  "",
]

const run = Effect.fnUntraced(function* (directory: string, json: boolean) {
  const nodes = yield* inspectAll(directory)
  if (json) return yield* Console.log(JSON.stringify({ nodes }))
  for (const line of nodes.flatMap(linesOf)) yield* Console.log(line)
})

/** The command. */
export const inspect = Command.make(
  "inspect",
  {
    directory: Argument.String("DIR").pipe(Argument.withDescription("Directory of a node, or of a devnet")),
    json: Flag.Boolean("json").pipe(Flag.withDescription("One line of JSON"), Flag.withDefault(false)),
  },
  ({ directory, json }) => run(directory, json),
).pipe(Command.withDescription("Show what a stopped node has on disk: anchor, roots, sizes, windows"))
