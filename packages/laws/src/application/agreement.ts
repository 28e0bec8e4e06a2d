/** Laws of agreement: between the three hooks, between nodes, between a block and what its batches give. */
import { bytesEqual } from "@coppice/codec"
import { type Block, contextsEqual, decodeBlock, encodeBlock } from "@coppice/consensus"
import { Effect } from "effect"
import { claim, seededLaw } from "../law.ts"
import { claimSame, targetsOf } from "./compare.ts"
import {
  type ApplicationLaw,
  type ApplicationPower,
  type ApplicationWorld,
  contextOn,
  HEIGHTS,
  type LawNode,
  openNode,
  type Tip,
} from "./world.ts"

/** Proposes, finalizes, and goes on to the height of a law's chain. `each` sees every proposal before it is applied. */
export const growing = Effect.fnUntraced(function* (
  node: LawNode,
  each: (proposal: Tip, parent: Tip, at: string) => Effect.Effect<unknown, unknown>,
  hooks = 1,
) {
  for (let height = 1; height <= HEIGHTS; height++) {
    const parent = node.tip
    const proposal = yield* node.build(parent, height)
    yield* each(proposal, parent, `height ${height}`)
    yield* node.finalize(proposal, hooks)
  }
})

const sameHooks: ApplicationLaw = seededLaw<ApplicationWorld, ApplicationPower>(
  "a block is the same state whether it is proposed, verified or applied",
  () => ({
    body: (world, seed) =>
      Effect.gen(function* () {
        const [proposer, judge, replica] = [yield* openNode(world), yield* openNode(world), yield* openNode(world)]
        yield* growing(proposer, ({ block, sealed }, _parent, height) =>
          Effect.gen(function* () {
            const at = `seed ${seed}, ${height}`
            const verified = yield* judge.verify(judge.tip, block)
            claim(verified !== undefined, `${at}: verify finds a block invalid that propose made`)
            claimSame(proposer.application, sealed.targets, verified.targets, `${at}: propose and verify`)
            const applied = yield* replica.apply(replica.tip, block)
            claim(applied !== undefined, `${at}: apply refuses a block that propose made`)
            claimSame(proposer.application, verified.targets, applied.targets, `${at}: verify and apply`)
            yield* judge.finalize({ block, sealed: verified })
            yield* replica.finalize({ block, sealed: applied })
          }),
        )
      }),
  }),
)

const claimHeader = (block: Block, parent: Block, view: number, at: string): void => {
  claim(block.height === parent.height + 1, `${at}: a block of height ${block.height} on ${parent.height}`)
  claim(bytesEqual(block.parent, parent.digest), `${at}: the block names another parent`)
  claim(contextsEqual(block.context, contextOn(parent, view)), `${at}: the block embeds another context`)
}

const commitment: ApplicationLaw = seededLaw<ApplicationWorld, ApplicationPower>(
  "a block commits to what its batches give, and extends the parent that it was built on",
  () => ({
    body: (world, seed) =>
      Effect.gen(function* () {
        const node = yield* openNode(world)
        const { application } = node
        yield* growing(node, ({ block, sealed }, parent, height) =>
          Effect.sync(() => {
            const at = `seed ${seed}, ${height}`
            claimHeader(block, parent.block, block.height, at)
            claimSame(application, application.syncTargets(block), sealed.targets, `${at}: header and state`)
            claimSame(application, application.syncTargets(block), application.syncTargets(block), `${at}: header`)
          }),
        )
      }),
  }),
)

const encoding: ApplicationLaw = seededLaw<ApplicationWorld, ApplicationPower>(
  "a block survives its encoding, which is canonical and within its bound",
  () => ({
    body: (world, seed) =>
      Effect.gen(function* () {
        const node = yield* openNode(world)
        const { application } = node
        const { codec } = application
        const check = (block: Block, at: string): void => {
          const bytes = encodeBlock(codec, block)
          const again = decodeBlock(codec, bytes)
          claim(bytesEqual(again.digest, block.digest), `${at}: another digest`)
          claim(bytesEqual(encodeBlock(codec, again), bytes), `${at}: other bytes`)
          claim(again.height === block.height && bytesEqual(again.parent, block.parent), `${at}: another place`)
          claim(contextsEqual(again.context, block.context), `${at}: another context`)
          claimSame(application, application.syncTargets(block), application.syncTargets(again), `${at}: targets`)
        }
        yield* growing(node, ({ block }, _parent, height) =>
          Effect.sync(() => check(block, `seed ${seed}, ${height}, encoded and decoded`)),
        )
      }),
  }),
)

/** Fills a node with what others' proposals leave: pending siblings, an open fork, hooks that have run. */
const disturb = Effect.fnUntraced(function* (node: LawNode, parent: Tip, view: number) {
  const sibling = yield* node.build(parent, view + 50)
  const nephew = yield* node.build(sibling, view + 60)
  const open = node.set.openBatches(nephew.sealed)
  return Effect.sync(() => {
    node.set.closeBatches(open)
    node.set.close(sibling.sealed)
  })
})

const stable: ApplicationLaw = seededLaw<ApplicationWorld, ApplicationPower>(
  "a verdict is stable: twice on one node, on a node with other forks, on one whose hooks ran again",
  () => ({
    body: (world, seed) =>
      Effect.gen(function* () {
        const [proposer, calm, busy] = [yield* openNode(world), yield* openNode(world), yield* openNode(world)]
        yield* growing(proposer, ({ block }, _parent, height) =>
          Effect.gen(function* () {
            const at = `seed ${seed}, ${height}`
            const first = yield* calm.verify(calm.tip, block)
            const again = yield* calm.verify(calm.tip, block)
            claimSame(calm.application, targetsOf(first), targetsOf(again), `${at}: verified twice`)
            const settle = yield* disturb(busy, busy.tip, block.height)
            const other = yield* busy.verify(busy.tip, block)
            claimSame(calm.application, targetsOf(first), targetsOf(other), `${at}: verified beside other forks`)
            claim(first !== undefined && other !== undefined, `${at}: a block that propose made is invalid`)
            yield* settle
            yield* calm.finalize({ block, sealed: first }, 0)
            yield* busy.finalize({ block, sealed: other }, 2)
          }),
        )
      }),
  }),
)

/** Laws of agreement. */
export const agreementLaws: ReadonlyArray<ApplicationLaw> = [sameHooks, commitment, encoding, stable]
