/**
 * What is meant to go wrong in a world, as data.
 *
 *   0 ----------- faults ----------- faultsMs ------- all up, links whole ------- every node at the height, judged
 *
 * Terms: a *part* is one thing that goes wrong: a fault of consensus, of a node, of its disk, of links. A *point* is a place
 * that a node passes: an event of a storage write, or a step at one of its ports.
 *
 * Invariant: parts are drawn from the seed before the run, or at the call that they befall, each from a stream of its own;
 * leaving one out moves no other.
 */

import type { ExecutorLimits } from "@coppice/stateful"
import type { Fault as StorageFault } from "@coppice/storage"
import type { Forgery, Lie } from "./liars.ts"
import type { LinkOptions, Way } from "./links.ts"
import type { ConsensusSchedule, Fault } from "./schedule.ts"

/** Storage writes at whose events a node can lose power, by environment. */
export const WRITE_POINTS: Readonly<Record<string, { readonly environment: string; readonly fault: StorageFault }>> = {
  "marshal write begins": { environment: "marshal", fault: "crash before" },
  "marshal write is visible": { environment: "marshal", fault: "crash visible" },
  "marshal write is durable": { environment: "marshal", fault: "crash durable" },
  "marshal write ends": { environment: "marshal", fault: "crash after" },
  "set write begins": { environment: "set", fault: "crash before" },
  "set write is visible": { environment: "set", fault: "crash visible" },
  "set write is durable": { environment: "set", fault: "crash durable" },
  "set write ends": { environment: "set", fault: "crash after" },
}

/** Steps at a node's ports at which it can lose power. */
export const PORT_POINTS = [
  "asked to propose",
  "has proposed",
  "asked to verify",
  "has verified",
  "proposal stored",
  "vote stored",
  "notarized block stored",
  "certificate stored",
  "block delivered",
  "block acknowledged",
  "peer asks",
] as const

/** Steps of state sync at which a joiner can lose power. */
export const SYNC_POINTS = [
  "floor found",
  "sync begun",
  "tip recorded",
  "databases synced",
  "handed over block acknowledged",
  "plan complete",
] as const

/** One of `SYNC_POINTS`. */
export type SyncPoint = (typeof SYNC_POINTS)[number]

/** Every point that any node passes. */
export const POINTS: ReadonlyArray<string> = [...Object.keys(WRITE_POINTS), ...PORT_POINTS]

/** Something that goes wrong with nodes and links. Times are virtual milliseconds from the start. */
export type WorldFault =
  /** Nodes lose power at once. At time 0: they are not there until they come up. */
  | { readonly kind: "crash"; readonly atMs: number; readonly nodes: ReadonlyArray<number>; readonly downMs: number }
  /** A node is not there until it comes up on an empty disk and joins by state sync. */
  | { readonly kind: "join"; readonly node: number; readonly atMs: number }
  /** A group is cut off from all others, both ways when not given. */
  | {
      readonly kind: "partition"
      readonly atMs: number
      readonly nodes: ReadonlyArray<number>
      readonly forMs: number
      readonly way?: Way
    }
  /** A node loses power the n-th time it passes a point, and everyone else with it where it says so. */
  | {
      readonly kind: "point"
      readonly node: number
      readonly point: string
      readonly nth: number
      readonly downMs: number
      readonly everyone?: boolean
    }
  /** A node answers its peers' requests, for blocks and for floors, with a lie. */
  | { readonly kind: "lie"; readonly node: number; readonly how: Lie; readonly atMs: number; readonly forMs: number }
  /** A node is given a finalization that no quorum signed. */
  | { readonly kind: "forgery"; readonly node: number; readonly how: Forgery; readonly atMs: number }
  /** A node's clock runs at another rate, and is ahead or behind, from the start. */
  | { readonly kind: "clock"; readonly node: number; readonly rate: number; readonly offsetMs: number }
  /** No finalizer runs when the node loses power: all that it does stops where it is. */
  | { readonly kind: "halted"; readonly node: number }

/** A part of a run's schedule, which it can do without. */
export type SchedulePart =
  | Fault
  | WorldFault
  /** A call of a node's disk, counted from the first, meets a fault by chance. */
  | { readonly kind: "storage"; readonly node: number; readonly call: number; readonly fault: StorageFault }
  /** Links lose messages, all of them as often. */
  | { readonly kind: "loss" }

/** What happened in a run, for plans that must contain it. */
export interface Happenings {
  readonly finalizedBlocks: number
  readonly forks: number
  readonly nullified: number
  /** Most blocks, beyond two, that one certificate made final. */
  readonly finalizedAtOnce: number
  readonly corrupted: number
  readonly refused: number
  readonly crashes: number
  /** Crashes of nodes at points. */
  readonly pointCrashes: number
  readonly storageFaults: number
  readonly partitions: number
  /** Those that cut one way only. */
  readonly oneWay: number
  /** Blocks that were delivered again. */
  readonly redelivered: number
  /** Verifications that their caller gave up. */
  readonly cancelled: number
  /** Requests of peers that were answered. */
  readonly fetched: number
  /** Answers of liars. */
  readonly lies: number
  /** Forged finalizations that were refused. */
  readonly forgeries: number
  /** Crashes in which no finalizer ran. */
  readonly halted: number
  /** Nodes whose clock drifts. */
  readonly drifting: number
  /** Verifications that never end by themselves. */
  readonly abstained: number
  /** Turns that a leader declined or did not take in time. */
  readonly declined: number
  /** Votes for blocks that the voter did not look at. */
  readonly blindVotes: number
  /** Peers blamed. */
  readonly blames: number
  /** Nodes whose databases forgot old operations. */
  readonly pruned: number
  /** Floors that probes found. */
  readonly probed: number
  /** Nodes whose databases came by state sync. */
  readonly synced: number
  /** Blocks that were acknowledged because a state sync covers them. */
  readonly absorbed: number
  /** Crashes of nodes whose state sync was under way. */
  readonly cutSyncs: number
  /** Times that members of a sync which were ahead were sent on to where its last one had come. */
  readonly regrouped: number
  /** Most blocks that one node had in scratch. */
  readonly spilled: number
  /** Times in which no node reached a quorum that reached it. */
  readonly quorumLosses: number
}

/** Faults by chance of disk calls, within a span of time. */
export interface StorageTrouble {
  readonly rates: Partial<Readonly<Record<StorageFault, number>>>
  /** Reads too, not writes alone. */
  readonly reads: boolean
  readonly fromMs: number
  readonly toMs: number
}

/** What ails the hooks of every application. */
export interface HookTrouble {
  /** Verifications take up to so long. */
  readonly verifyMsMax: number
  /** Chance that a verification never ends by itself. */
  readonly abstainChance: number
  /** Chance that a proposal is declined. */
  readonly declineChance: number
}

/** What a world is meant to go through. */
export interface Plan {
  /** `[a-z][a-z0-9-]*` */
  readonly name: string
  readonly about: string
  readonly schedule: ConsensusSchedule
  readonly link: LinkOptions
  /** Every node stands there, durably, at the end. */
  readonly height: number
  /** The faults of nodes, disks and links are over by then. */
  readonly faultsMs: number
  /** Draws them. `chance` is uniform in [0, 1). */
  readonly faults: (chance: () => number) => ReadonlyArray<WorldFault>
  readonly storage?: StorageTrouble
  /** Blocks delivered and not yet acknowledged; what marshals take when not given. */
  readonly pendingAcksMax?: number
  /** A write takes up to three times as long; 2 when not given. */
  readonly writeMsMax?: number
  /** How slow or unwilling executors are. */
  readonly hooks?: HookTrouble
  /** Automatic pruning: heights from one to the next, and the blocks that marshals keep. */
  readonly pruning?: { readonly interval: number; readonly marshalBlocks: number }
  /** Finalized heights that the set can go back to; the ack window and one more when not given. */
  readonly rewindHeights?: number
  readonly limits?: Partial<ExecutorLimits>
  /** What must have happened, over all its seeds. */
  readonly intends: ReadonlyArray<keyof Happenings>
}

/** What a plan intends and no run of it contained (P-16). */
export const missedBy = (
  { intends }: Pick<Plan, "intends">,
  runs: ReadonlyArray<Happenings>,
): ReadonlyArray<keyof Happenings> => intends.filter((what) => runs.every((happenings) => happenings[what] === 0))

/** Keeps the parts of a schedule that are listed, and no other. */
export const only = (parts: ReadonlyArray<SchedulePart>): ((part: SchedulePart) => boolean) => {
  const kept = new Set(parts.map(partWords))
  return (part) => kept.has(partWords(part))
}

const WAY_WORDS: Readonly<Record<Way, string>> = {
  both: "",
  in: ": nothing gets in",
  out: ": nothing gets out",
}

/** A part in words, which name it within its run. */
export const partWords = (part: SchedulePart): string => {
  switch (part.kind) {
    case "loss":
      return "messages between nodes are lost"
    case "silent":
      return `view ${part.view}: the leader says nothing`
    case "split":
      return `view ${part.view}: nullified besides being notarized`
    case "fork":
      return `view ${part.view}: the leader builds on an older block than it could`
    case "stall":
      return `view ${part.view}: finality begins to stall`
    case "corrupt":
      return `view ${part.view}: a corrupt leader: ${part.how}`
    case "down":
      return `view ${part.view}: validator ${part.node} loses power`
    case "crash":
      return `${part.atMs} ms: validators ${part.nodes.join(", ")} lose power for ${part.downMs} ms`
    case "join":
      return `${part.atMs} ms: validator ${part.node} comes up for the first time, by state sync`
    case "partition":
      return `${part.atMs} ms: validators ${part.nodes.join(", ")} are cut off for ${part.forMs} ms${WAY_WORDS[part.way ?? "both"]}`
    case "point":
      return `validator ${part.node}${part.everyone ? " and everyone else" : ""} loses power for ${part.downMs} ms, time ${part.nth} that: ${part.point}`
    case "lie":
      return `${part.atMs} ms: validator ${part.node} serves for ${part.forMs} ms: ${part.how}`
    case "forgery":
      return `${part.atMs} ms: validator ${part.node} is given a forged finalization: ${part.how}`
    case "clock":
      return `validator ${part.node}: its clock runs at ${part.rate}, ahead by ${part.offsetMs} ms`
    case "halted":
      return `validator ${part.node} runs no finalizer when it loses power`
    case "blind":
      return `view ${part.view}: validator ${part.node} votes for what it did not look at`
    case "storage":
      return `validator ${part.node}, storage call ${part.call}: ${part.fault}`
  }
}
